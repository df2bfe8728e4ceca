//! Here is an object that is to be forgotten, take its words out of every decision. A decision quotes titles,
//! passages and resolutions of what it found, so deleting an object has to reach into the decisions about others.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::Kind;
use super::sqlite::Fault;

/// Notes which objects a decision quotes.
pub(super) fn insert(
    connection: &Connection,
    department: &str,
    decision_id: &str,
    triage: &Value,
) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "INSERT OR IGNORE INTO decision_sources (department, kind, id, decision_id) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (kind, id) in quoted(triage.clone()) {
        statement.execute([department, kind, &id, decision_id])?;
    }
    Ok(())
}

/// Takes an object's words out of the decisions that quote it, and drops the decisions about it.
pub(super) fn forget(connection: &Connection, kind: Kind, department: &str, id: &str) -> Result<(), Fault> {
    if kind == Kind::Ticket {
        drop_decisions(connection, department, id)?;
    }
    let quoting = decision_ids(
        connection,
        "SELECT decision_id FROM decision_sources WHERE department = ?1 AND kind = ?2 AND id = ?3",
        &[department, kind.name(), id],
    )?;
    for decision_id in quoting {
        let Some(mut triage) = triage(connection, department, &decision_id)? else { continue };
        retain(&mut triage, &mut |quoted_kind, quoted| quoted_kind != kind || quoted != id);
        connection
            .prepare_cached("UPDATE decisions SET triage = ?3 WHERE department = ?1 AND decision_id = ?2")?
            .execute(params![department, decision_id, serde_json::to_string(&triage)?])?;
    }
    connection
        .prepare_cached("DELETE FROM decision_sources WHERE department = ?1 AND kind = ?2 AND id = ?3")?
        .execute([department, kind.name(), id])?;
    Ok(())
}

fn drop_decisions(connection: &Connection, department: &str, ticket: &str) -> Result<(), Fault> {
    let about = decision_ids(
        connection,
        "SELECT decision_id FROM decisions WHERE department = ?1 AND ticket = ?2",
        &[department, ticket],
    )?;
    let mut statement = connection.prepare_cached(
        "DELETE FROM decision_sources WHERE department = ?1 AND kind = ?2 AND id = ?3 AND decision_id = ?4",
    )?;
    for decision_id in about {
        let Some(triage) = triage(connection, department, &decision_id)? else { continue };
        for (kind, id) in quoted(triage) {
            statement.execute([department, kind, &id, &decision_id])?;
        }
    }
    connection
        .prepare_cached("DELETE FROM decisions WHERE department = ?1 AND ticket = ?2")?
        .execute([department, ticket])?;
    Ok(())
}

fn decision_ids(connection: &Connection, sql: &str, values: &[&str]) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map(rusqlite::params_from_iter(values), |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(ids)
}

fn triage(connection: &Connection, department: &str, decision_id: &str) -> Result<Option<Value>, Fault> {
    let json: Option<String> = connection
        .prepare_cached("SELECT triage FROM decisions WHERE department = ?1 AND decision_id = ?2")?
        .query_row([department, decision_id], |row| row.get(0))
        .optional()?;
    Ok(json.map(|json| serde_json::from_str(&json)).transpose()?)
}

fn quoted(mut triage: Value) -> BTreeSet<(&'static str, String)> {
    let mut objects = BTreeSet::new();
    retain(&mut triage, &mut |kind, id| {
        objects.insert((kind.name(), id.to_owned()));
        true
    });
    objects
}

/// Keeps of a stored decision what `keep` says of the objects behind it. Reads JSON and not [`crate::ticket::Triage`],
/// because a decision stays as the version that made it wrote it.
fn retain(triage: &mut Value, keep: &mut dyn FnMut(Kind, &str) -> bool) {
    retain_items(triage.get_mut("similar"), "/id", Kind::Ticket, keep);
    retain_items(triage.get_mut("duplicates"), "/id", Kind::Ticket, keep);
    retain_items(triage.get_mut("articles"), "/id", Kind::Article, keep);
    if let Some(fields) = triage.get_mut("fields").and_then(Value::as_object_mut) {
        for field in fields.values_mut() {
            retain_items(field.get_mut("evidence"), "/ticket", Kind::Ticket, keep);
            retain_items(field.get_mut("against"), "/ticket", Kind::Ticket, keep);
        }
    }
    if let Some(answer) = triage.get_mut("answer") {
        retain_sentences(answer, keep);
    }
}

fn retain_items(items: Option<&mut Value>, id: &str, kind: Kind, keep: &mut dyn FnMut(Kind, &str) -> bool) {
    if let Some(Value::Array(items)) = items {
        items.retain(|item| item.pointer(id).and_then(Value::as_str).is_none_or(|id| keep(kind, id)));
    }
}

/// An answer loses the sentences of a forgotten source, and its text is put together anew from the others.
fn retain_sentences(answer: &mut Value, keep: &mut dyn FnMut(Kind, &str) -> bool) {
    let Some(Value::Array(sentences)) = answer.get_mut("sentences") else { return };
    let n_before = sentences.len();
    sentences.retain(|sentence| {
        let kind = match sentence.pointer("/source/kind").and_then(Value::as_str) {
            Some("article") => Kind::Article,
            _ => Kind::Ticket,
        };
        sentence.pointer("/source/id").and_then(Value::as_str).is_none_or(|id| keep(kind, id))
    });
    if sentences.len() == n_before {
        return;
    }
    let texts: Vec<&str> =
        sentences.iter().filter_map(|sentence| sentence.get("text").and_then(Value::as_str)).collect();
    let text = texts.join(" ");
    if let Some(answer) = answer.as_object_mut() {
        if text.is_empty() {
            answer.remove("text");
            answer.insert("status".to_owned(), Value::from("nothing_close"));
        } else {
            answer.insert("text".to_owned(), Value::from(text));
        }
    }
}
