//! Here are tickets and articles, keep them; here is an id or a page, give them back as they came.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::changes::next_seq;
use super::departments::{self, Labels, Unknown};
use super::quotes;
use super::sqlite::{Fault, from_sql, hex, timestamp, to_sql};
use super::{Kind, Upserted};
use crate::error::{Error, Result};
use crate::ticket::{Article, Ticket};

/// Stores tickets in order; a later one with the same id replaces the earlier one.
pub(super) fn upsert_tickets(
    connection: &Connection,
    department: &str,
    tickets: Vec<Ticket>,
    unknown: Unknown,
) -> Result<Upserted, Fault> {
    let mut labels = Labels::load(connection, department, unknown)?;
    let mut upserted = Upserted { n: tickets.len(), ..Upserted::default() };
    for mut ticket in tickets {
        ticket.check().map_err(|error| at_record(error, &ticket.id))?;
        labels.settle(&mut ticket)?;
        let seq = put_ticket(connection, department, ticket)?;
        upserted.change_seq = upserted.change_seq.max(seq);
    }
    upserted.added_labels = labels.save(connection)?;
    Ok(upserted)
}

/// Stores articles in order; a later one with the same id replaces the earlier one.
pub(super) fn upsert_articles(
    connection: &Connection,
    department: &str,
    articles: Vec<Article>,
) -> Result<Upserted, Fault> {
    departments::ensure(connection, department)?;
    let mut upserted = Upserted { n: articles.len(), ..Upserted::default() };
    for mut article in articles {
        article.check().map_err(|error| at_record(error, &article.id))?;
        let text_hash = article_hash(&article);
        override_department(&mut article.department, department);
        let record = serde_json::to_string(&article)?;
        let seq = put(connection, Kind::Article, department, &article.id, &record, &text_hash, |seq| {
            connection
                .prepare_cached(
                    "INSERT INTO articles (department, id, updated_at, text_hash, change_seq, record)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (department, id) DO UPDATE SET updated_at = excluded.updated_at,
                         text_hash = excluded.text_hash, change_seq = excluded.change_seq, record = excluded.record",
                )?
                .execute(params![
                    department,
                    article.id,
                    article.updated_at.as_ref().map(timestamp),
                    text_hash,
                    seq,
                    record
                ])
        })?;
        upserted.change_seq = upserted.change_seq.max(seq);
    }
    Ok(upserted)
}

/// Stores a ticket whose labels are settled, and returns the number of its last change.
pub(super) fn put_ticket(connection: &Connection, department: &str, mut ticket: Ticket) -> Result<u64, Fault> {
    override_department(&mut ticket.department, department);
    let text_hash = ticket_hash(&ticket);
    let record = serde_json::to_string(&ticket)?;
    let status = if ticket.is_resolved() { "resolved" } else { "open" };
    put(connection, Kind::Ticket, department, &ticket.id, &record, &text_hash, |seq| {
        connection
            .prepare_cached(
                "INSERT INTO tickets (department, id, status, created_at, resolved_at, text_hash, change_seq, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (department, id) DO UPDATE SET status = excluded.status, created_at = excluded.created_at,
                     resolved_at = excluded.resolved_at, text_hash = excluded.text_hash,
                     change_seq = excluded.change_seq, record = excluded.record",
            )?
            .execute(params![
                department,
                ticket.id,
                status,
                ticket.created_at.as_ref().map(timestamp),
                ticket.resolved_at.as_ref().map(timestamp),
                text_hash,
                seq,
                record
            ])
    })
}

/// Deletes an object, what was derived from it, what was reported or decided about it, and its words in the decisions
/// about others. Leaves its id as a tombstone.
pub(super) fn delete(connection: &Connection, kind: Kind, department: &str, id: &str) -> Result<u64, Fault> {
    quotes::forget(connection, kind, department, id)?;
    let sql = match kind {
        Kind::Ticket => "DELETE FROM tickets WHERE department = ?1 AND id = ?2",
        Kind::Article => "DELETE FROM articles WHERE department = ?1 AND id = ?2",
    };
    let n_deleted = connection.prepare_cached(sql)?.execute([department, id])?;
    if n_deleted == 0 {
        return Err(Error::NotFound { what: kind.name(), id: id.to_owned() }.into());
    }
    delete_derived(connection, kind, department, id)?;
    let seq = next_seq(connection)?;
    connection
        .prepare_cached(
            "INSERT INTO tombstones (kind, department, id, change_seq, deleted_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![kind.name(), department, id, to_sql(seq), timestamp(&chrono::Utc::now())])?;
    Ok(seq)
}

/// The ticket with this id.
pub(super) fn ticket(connection: &Connection, department: &str, id: &str) -> Result<Option<Ticket>, Fault> {
    let statement = connection.prepare_cached("SELECT record FROM tickets WHERE department = ?1 AND id = ?2")?;
    Ok(parse_all(statement, [department, id])?.pop())
}

/// The article with this id.
pub(super) fn article(connection: &Connection, department: &str, id: &str) -> Result<Option<Article>, Fault> {
    let statement = connection.prepare_cached("SELECT record FROM articles WHERE department = ?1 AND id = ?2")?;
    Ok(parse_all(statement, [department, id])?.pop())
}

/// At most `limit` records after an id, by id.
pub(super) fn page<T: DeserializeOwned>(
    connection: &Connection,
    kind: Kind,
    department: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<T>, Fault> {
    let statement = connection.prepare_cached(match kind {
        Kind::Ticket => "SELECT record FROM tickets WHERE department = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        Kind::Article => "SELECT record FROM articles WHERE department = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    })?;
    parse_all(statement, params![department, after, to_sql(limit)])
}

/// How many objects a department has.
pub(super) fn count(connection: &Connection, kind: Kind, department: &str) -> Result<u64, Fault> {
    let sql = match kind {
        Kind::Ticket => "SELECT count(*) FROM tickets WHERE department = ?1",
        Kind::Article => "SELECT count(*) FROM articles WHERE department = ?1",
    };
    let n: i64 = connection.prepare_cached(sql)?.query_row([department], |row| row.get(0))?;
    Ok(from_sql(n))
}

/// How many resolved tickets with labels have changed after a number.
pub(super) fn labelled_since(connection: &Connection, department: &str, after: u64) -> Result<u64, Fault> {
    let n: i64 = connection
        .prepare_cached(
            "SELECT count(*) FROM tickets WHERE change_seq > ?2 AND department = ?1 AND status = 'resolved'
             AND json_extract(record, '$.labels') IS NOT NULL",
        )?
        .query_row(params![department, to_sql(after)], |row| row.get(0))?;
    Ok(from_sql(n))
}

/// Hash over what a ticket's canonical text is made of: not its labels, status or resolution.
pub(super) fn ticket_hash(ticket: &Ticket) -> String {
    let mut hash = PartsHash::default();
    hash.part(&ticket.subject);
    hash.part(&ticket.body);
    hash.part(&serde_name(&ticket.content_type));
    for message in &ticket.messages {
        hash.part(&serde_name(&message.role));
        hash.part(if message.internal { "internal" } else { "public" });
        hash.part(&message.body);
    }
    hash.finish()
}

fn article_hash(article: &Article) -> String {
    let mut hash = PartsHash::default();
    hash.part(&article.title);
    hash.part(&article.body);
    hash.part(&serde_name(&article.content_type));
    hash.finish()
}

/// Removes what was derived from an object.
pub(super) fn delete_derived(connection: &Connection, kind: Kind, department: &str, id: &str) -> Result<(), Fault> {
    connection.prepare_cached("DELETE FROM derived WHERE kind = ?1 AND department = ?2 AND id = ?3")?.execute([
        kind.name(),
        department,
        id,
    ])?;
    Ok(())
}

/// Runs `store` with the next change number, unless the very same record is there already.
fn put(
    connection: &Connection,
    kind: Kind,
    department: &str,
    id: &str,
    record: &str,
    text_hash: &str,
    store: impl FnOnce(i64) -> rusqlite::Result<usize>,
) -> Result<u64, Fault> {
    let sql = match kind {
        Kind::Ticket => "SELECT change_seq, text_hash, record = ?3 FROM tickets WHERE department = ?1 AND id = ?2",
        Kind::Article => "SELECT change_seq, text_hash, record = ?3 FROM articles WHERE department = ?1 AND id = ?2",
    };
    let stored: Option<(i64, String, bool)> = connection
        .prepare_cached(sql)?
        .query_row([department, id, record], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match stored {
        Some((seq, _, true)) => return Ok(from_sql(seq)),
        Some((_, old_hash, false)) if old_hash != text_hash => delete_derived(connection, kind, department, id)?,
        Some(_) => {}
        None => {
            connection
                .prepare_cached("DELETE FROM tombstones WHERE kind = ?1 AND department = ?2 AND id = ?3")?
                .execute([kind.name(), department, id])?;
        }
    }
    let seq = next_seq(connection)?;
    store(to_sql(seq))?;
    Ok(seq)
}

fn parse_all<T: DeserializeOwned>(mut statement: CachedStatement<'_>, params: impl Params) -> Result<Vec<T>, Fault> {
    let mut rows = statement.query(params)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(records)
}

/// A record lies in one department, and that is what an export says: the request's own wins.
fn override_department(own: &mut Option<String>, department: &str) {
    if let Some(own) = own
        && own != department
    {
        department.clone_into(own);
    }
}

/// Says which record of a batch a fault is in; the pointer stays relative to the record.
fn at_record(error: Error, id: &str) -> Error {
    match error {
        Error::Invalid { pointer, reason } if pointer != "/id" => {
            Error::Invalid { pointer, reason: format!("{reason} (record {id:?})") }
        }
        other => other,
    }
}

/// A value's name in JSON, without the quotes that stand around it.
fn serde_name(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// SHA-256 over parts, each led by its length so that moving text from one to the next changes the hash.
#[derive(Default)]
struct PartsHash(Sha256);

impl PartsHash {
    fn part(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part.as_bytes());
    }

    fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}
