//! Here is what the service decided and what became of it, keep it; here is a department, give me its decisions.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, Utc};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::departments::{self, Labels, Unknown};
use super::quotes;
use super::records::{put_ticket, ticket, ticket_hash};
use super::sqlite::{Fault, timestamp, to_sql};
use super::{DecisionRecord, Kind};
use crate::error::{Error, Result};
use crate::ticket::{Outcome, Status, Ticket, Triage};

/// Merges an outcome into its ticket and notes it.
pub(super) fn record_outcome(
    connection: &Connection,
    department: &str,
    ticket_id: &str,
    outcome: &Outcome,
) -> Result<u64, Fault> {
    let Some(mut ticket) = ticket(connection, department, ticket_id)? else {
        return Err(Error::NotFound { what: Kind::Ticket.name(), id: ticket_id.to_owned() }.into());
    };
    let now = Utc::now().trunc_subsecs(3);
    // A later correction does not move the time at which the ticket was resolved.
    let resolved_before = ticket.resolved_at.filter(|_| ticket.is_resolved());
    ticket.resolved_at = Some(outcome.closed_at.or(resolved_before).unwrap_or(now));
    ticket.status = Some(Status::Resolved);
    let mut labels = Labels::load(connection, department, Unknown::Refuse)?;
    let mut reported = BTreeMap::new();
    for (field, value) in &outcome.labels {
        reported.insert(field.clone(), labels.id_of(field, value, ticket_id)?);
    }
    ticket.labels.extend(reported.clone());
    if outcome.resolution.is_some() {
        ticket.resolution.clone_from(&outcome.resolution);
    }
    let seq = put_ticket(connection, department, ticket)?;
    connection
        .prepare_cached(
            "INSERT INTO outcomes (department, ticket, recorded_at, closed_at, labels, resolution, change_seq)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            department,
            ticket_id,
            timestamp(&now),
            outcome.closed_at.as_ref().map(timestamp),
            serde_json::to_string(&reported)?,
            outcome.resolution,
            to_sql(seq)
        ])?;
    Ok(seq)
}

/// Stores decisions, and each ticket as open and without labels unless it is there already. A ticket that is stored as
/// resolved stays as it is; an open one is replaced when its text is another, and keeps its labels.
pub(super) fn record(connection: &Connection, department: &str, decisions: Vec<(Ticket, Triage)>) -> Result<(), Fault> {
    departments::ensure(connection, department)?;
    for (mut new, triage) in decisions {
        new.check()?;
        let id = new.id.clone();
        let stored = ticket(connection, department, &id)?;
        let is_stale =
            stored.as_ref().is_none_or(|stored| !stored.is_resolved() && ticket_hash(stored) != ticket_hash(&new));
        if is_stale {
            // What the service decides is no outcome: only an import or an outcome resolves a ticket. The labels that a
            // ticket arrives with may be what this service has set in the frontend, so they must not wait here for an
            // outcome that does not name them.
            new.status = Some(Status::Open);
            new.labels = stored.map(|stored| stored.labels).unwrap_or_default();
            put_ticket(connection, department, new)?;
        }
        insert(connection, department, &id, &triage)?;
    }
    Ok(())
}

/// At most `limit` decisions after one, by id.
pub(super) fn page(
    connection: &Connection,
    department: &str,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<DecisionRecord>, Fault> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut statement = connection.prepare_cached(
        "SELECT decision_id, ticket, decided_at, model, triage FROM decisions
         WHERE department = ?1 AND decision_id > ?2 ORDER BY decision_id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![department, after, to_sql(limit)])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(DecisionRecord {
            decision_id: Uuid::parse_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)
                .map_err(|_| Fault::Unusable("the id of a stored decision is not a UUID; restore a backup"))?,
            ticket: row.get(1)?,
            at: row.get(2)?,
            model: row.get(3)?,
            triage: serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?,
        });
    }
    Ok(records)
}

/// Writes a decision with what it quotes; the same id again changes nothing.
fn insert(connection: &Connection, department: &str, ticket_id: &str, triage: &Triage) -> Result<(), Fault> {
    let decision_id = triage.decision_id.to_string();
    let n_inserted = connection
        .prepare_cached(
            "INSERT INTO decisions (department, decision_id, ticket, decided_at, model, triage)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (department, decision_id) DO NOTHING",
        )?
        .execute(params![
            department,
            decision_id,
            ticket_id,
            timestamp(&decided_at(triage.decision_id)),
            triage.model,
            serde_json::to_string(triage)?
        ])?;
    if n_inserted == 1 {
        quotes::insert(connection, department, &decision_id, &serde_json::to_value(triage)?)?;
    }
    Ok(())
}

/// The time inside a UUIDv7; now for another version.
fn decided_at(decision_id: Uuid) -> DateTime<Utc> {
    decision_id
        .get_timestamp()
        .map(|timestamp| timestamp.to_unix())
        .and_then(|(seconds, nanoseconds)| DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds))
        .unwrap_or_else(Utc::now)
}
