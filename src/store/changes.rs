//! Here is the number of a change, give me what changed after it, with what was derived from it; here is something
//! derived, keep it while its object stays the same.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rusqlite::{Connection, Row, params};

use super::sqlite::{Fault, from_sql, to_sql};
use super::{Change, Changed, Derived, Kind};
use crate::error::{Error, Result};
use crate::ticket::Language;

/// The number after the last change, which the caller gives to what it is about to store.
pub(super) fn next_seq(connection: &Connection) -> Result<u64, Fault> {
    let seq: i64 = connection
        .prepare_cached("UPDATE change_sequence SET last = last + 1 RETURNING last")?
        .query_row([], |row| row.get(0))?;
    Ok(from_sql(seq))
}

/// The number of the last change; 0 before the first.
pub(super) fn last_seq(connection: &Connection) -> Result<u64, Fault> {
    let seq: i64 = connection.prepare_cached("SELECT last FROM change_sequence")?.query_row([], |row| row.get(0))?;
    Ok(from_sql(seq))
}

/// At most `limit` changes after a number, ascending.
pub(super) fn since(
    connection: &Connection,
    after: u64,
    limit: usize,
    encoder: &str,
    text_version: u32,
) -> Result<Vec<Change>, Fault> {
    let mut statement = connection.prepare_cached(SINCE)?;
    let mut rows = statement.query(params![to_sql(after), to_sql(limit), encoder, text_version])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        changes.push(change(row, encoder, text_version)?);
    }
    Ok(changes)
}

/// Keeps what was derived from an object, unless the object is gone or reads differently by now.
///
/// # Errors
/// [`Error::Bug`] when the rows are not what the passages ask for.
pub(super) fn put_derived(
    connection: &Connection,
    kind: Kind,
    department: &str,
    id: &str,
    derived: &Derived,
) -> Result<(), Fault> {
    let n_rows = 1 + usize::from(derived.has_title) + derived.passages.len();
    if derived.dim == 0 || derived.rows.len() != n_rows * derived.dim {
        return Err(Error::Bug("derived rows do not match title and passages").into());
    }
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO derived (kind, department, id, encoder, text_version, text_hash, language, title,
                                         text, passages, has_title, dim, vectors)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
         WHERE ?6 = CASE ?1 WHEN 'ticket' THEN (SELECT text_hash FROM tickets WHERE department = ?2 AND id = ?3)
                    ELSE (SELECT text_hash FROM articles WHERE department = ?2 AND id = ?3) END",
    )?;
    statement.execute(params![
        kind.name(),
        department,
        id,
        derived.encoder,
        derived.text_version,
        derived.text_hash,
        language_name(derived.language),
        derived.title,
        derived.text,
        serde_json::to_string(&derived.passages)?,
        derived.has_title,
        to_sql(derived.dim),
        halves(&derived.rows),
    ])?;
    Ok(())
}

/// The three parts are each read along their index on `change_seq` and merged, so a page costs what it holds.
pub(super) const SINCE: &str = "
SELECT o.change_seq, 'ticket', o.department, o.id, o.record, o.text_hash,
       d.language, d.title, d.text, d.passages, d.has_title, d.dim, d.vectors
FROM tickets AS o LEFT JOIN derived AS d ON d.kind = 'ticket' AND d.department = o.department AND d.id = o.id
    AND d.encoder = ?3 AND d.text_version = ?4 AND d.text_hash = o.text_hash
WHERE o.change_seq > ?1
UNION ALL
SELECT o.change_seq, 'article', o.department, o.id, o.record, o.text_hash,
       d.language, d.title, d.text, d.passages, d.has_title, d.dim, d.vectors
FROM articles AS o LEFT JOIN derived AS d ON d.kind = 'article' AND d.department = o.department AND d.id = o.id
    AND d.encoder = ?3 AND d.text_version = ?4 AND d.text_hash = o.text_hash
WHERE o.change_seq > ?1
UNION ALL
SELECT change_seq, kind, department, id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM tombstones WHERE change_seq > ?1
ORDER BY 1 LIMIT ?2";

fn change(row: &Row<'_>, encoder: &str, text_version: u32) -> Result<Change, Fault> {
    let kind = match row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)? {
        "ticket" => Kind::Ticket,
        _ => Kind::Article,
    };
    let record = row.get_ref(4)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let object = match record {
        None => Changed::Deleted { kind },
        Some(record) => {
            let text_hash: String = row.get(5)?;
            let derived = derived(row, encoder, text_version, &text_hash)?;
            match kind {
                Kind::Ticket => Changed::Ticket { ticket: serde_json::from_str(record)?, text_hash, derived },
                Kind::Article => Changed::Article { article: serde_json::from_str(record)?, text_hash, derived },
            }
        }
    };
    Ok(Change { seq: from_sql(row.get(0)?), department: row.get(2)?, id: row.get(3)?, object })
}

fn derived(row: &Row<'_>, encoder: &str, text_version: u32, text_hash: &str) -> Result<Option<Derived>, Fault> {
    let Some(language) = row.get_ref(6)?.as_str_or_null().map_err(rusqlite::Error::from)? else { return Ok(None) };
    Ok(Some(Derived {
        encoder: encoder.to_owned(),
        text_version,
        text_hash: text_hash.to_owned(),
        language: language_named(language),
        title: row.get(7)?,
        text: row.get(8)?,
        passages: serde_json::from_str(row.get_ref(9)?.as_str().map_err(rusqlite::Error::from)?)?,
        has_title: row.get(10)?,
        dim: from_sql(row.get(11)?),
        rows: floats(row.get_ref(12)?.as_blob().map_err(rusqlite::Error::from)?),
    }))
}

fn halves(rows: &[f32]) -> Vec<u8> {
    let mut halves = vec![f16::ZERO; rows.len()];
    halves.convert_from_f32_slice(rows);
    halves.iter().flat_map(|half| half.to_le_bytes()).collect()
}

fn floats(blob: &[u8]) -> Vec<f32> {
    let bits: Vec<u16> = blob.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let mut rows = vec![0.0; bits.len()];
    bits.reinterpret_cast::<f16>().convert_to_f32_slice(&mut rows);
    rows
}

fn language_name(language: Language) -> &'static str {
    match language {
        Language::De => "de",
        Language::En => "en",
        Language::Und => "und",
    }
}

fn language_named(name: &str) -> Language {
    match name {
        "de" => Language::De,
        "en" => Language::En,
        _ => Language::Und,
    }
}
