//! Here is a department, give me its closed set of labels; here are labels, hold them against it.

use std::collections::BTreeMap;

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension, params};

use super::sqlite::{Fault, from_sql, timestamp};
use crate::error::{Error, Result};
use crate::taxonomy::Taxonomy;
use crate::ticket::{Ticket, check_id, pointer_token};

/// What happens to a label that the taxonomy lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It is added.
    Add,
    /// The record is refused.
    Refuse,
}

/// Ids of all departments, sorted.
pub(super) fn list(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached("SELECT id FROM departments ORDER BY id")?;
    let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

/// The taxonomy and its revision.
pub(super) fn taxonomy(connection: &Connection, department: &str) -> Result<Option<(Taxonomy, u64)>, Fault> {
    let stored: Option<(String, i64)> = connection
        .prepare_cached("SELECT taxonomy, revision FROM departments WHERE id = ?1")?
        .query_row([department], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((taxonomy, revision)) = stored else { return Ok(None) };
    Ok(Some((serde_json::from_str(&taxonomy)?, from_sql(revision))))
}

/// Stores a taxonomy; the same one again keeps its revision.
pub(super) fn put_taxonomy(connection: &Connection, department: &str, taxonomy: &Taxonomy) -> Result<u64, Fault> {
    check_id("/department", department)?;
    taxonomy.check()?;
    let json = serde_json::to_string(taxonomy)?;
    let revision: i64 = connection
        .prepare_cached(
            "INSERT INTO departments (id, taxonomy, revision, created_at, updated_at) VALUES (?1, ?2, 1, ?3, ?3)
             ON CONFLICT (id) DO UPDATE SET
                 revision = revision + (taxonomy <> excluded.taxonomy),
                 updated_at = iif(taxonomy <> excluded.taxonomy, excluded.updated_at, updated_at),
                 taxonomy = excluded.taxonomy
             RETURNING revision",
        )?
        .query_row(params![department, json, timestamp(&Utc::now())], |row| row.get(0))?;
    Ok(from_sql(revision))
}

/// Creates the department without any field if it is missing.
pub(super) fn ensure(connection: &Connection, department: &str) -> Result<(), Fault> {
    check_id("/department", department)?;
    connection
        .prepare_cached(
            "INSERT INTO departments (id, taxonomy, revision, created_at, updated_at) VALUES (?1, ?2, 1, ?3, ?3)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![department, serde_json::to_string(&Taxonomy::default())?, timestamp(&Utc::now())])?;
    Ok(())
}

/// The department's taxonomy while a batch of records is held against it.
pub(super) struct Labels {
    department: String,
    taxonomy: Taxonomy,
    unknown: Unknown,
    added: Vec<(String, String)>,
}

impl Labels {
    /// Reads the taxonomy; a missing department is created.
    pub(super) fn load(connection: &Connection, department: &str, unknown: Unknown) -> Result<Labels, Fault> {
        ensure(connection, department)?;
        let (taxonomy, _) = taxonomy(connection, department)?.unwrap_or_default();
        Ok(Labels { department: department.to_owned(), taxonomy, unknown, added: Vec::new() })
    }

    /// Replaces label names by ids, in place, and treats unknown ones as agreed.
    ///
    /// # Errors
    /// [`Error::Invalid`] at `/labels/FIELD`, with the ticket's id in the reason.
    pub(super) fn settle(&mut self, ticket: &mut Ticket) -> Result<()> {
        let mut settled = BTreeMap::new();
        for (field, value) in std::mem::take(&mut ticket.labels) {
            let id = self.id_of(&field, &value, &ticket.id)?;
            settled.insert(field, id);
        }
        ticket.labels = settled;
        Ok(())
    }

    /// Stores what was added, and returns it as (field, label).
    pub(super) fn save(self, connection: &Connection) -> Result<Vec<(String, String)>, Fault> {
        if !self.added.is_empty() {
            let json = serde_json::to_string(&self.taxonomy)?;
            connection
                .prepare_cached(
                    "UPDATE departments SET taxonomy = ?2, revision = revision + 1, updated_at = ?3 WHERE id = ?1",
                )?
                .execute(params![self.department, json, timestamp(&Utc::now())])?;
        }
        Ok(self.added)
    }

    /// The id to store for a label's id or name.
    pub(super) fn id_of(&mut self, field: &str, value: &str, ticket_id: &str) -> Result<String> {
        let known = self.taxonomy.field(field).and_then(|known| known.find(value));
        if let Some(label) = known {
            return Ok(label.id.clone());
        }
        match self.unknown {
            Unknown::Add => {
                self.taxonomy.add(field, value);
                self.added.push((field.to_owned(), value.to_owned()));
                Ok(value.to_owned())
            }
            Unknown::Refuse => {
                let reason = if self.taxonomy.field(field).is_none() {
                    format!("is not a field of department {:?} (ticket {ticket_id:?})", self.department)
                } else {
                    format!("{value:?} is not a label of this field (ticket {ticket_id:?})")
                };
                Err(Error::invalid(format!("/labels/{}", pointer_token(field)), reason))
            }
        }
    }
}
