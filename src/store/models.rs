//! Here is a trained model, keep it under the department's next version; here is a version, make it the active one.

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension, params};

use super::sqlite::{Fault, from_sql, timestamp, to_sql};
use super::{ModelInfo, NewModel, departments};
use crate::error::{Error, Result};

/// Rollbacks that pruning leaves possible.
const ROLLBACKS_KEPT: usize = 2;

/// Stores a model version, and activates it if asked to.
pub(super) fn put(connection: &Connection, department: &str, model: &NewModel) -> Result<u32, Fault> {
    departments::ensure(connection, department)?;
    let version: i64 = connection
        .prepare_cached(
            "INSERT INTO models (department, version, created_at, encoder, text_version, data_seq, metrics, model)
             SELECT ?1, coalesce(max(version), 0) + 1, ?2, ?3, ?4, ?5, ?6, ?7 FROM models WHERE department = ?1
             RETURNING version",
        )?
        .query_row(
            params![
                department,
                timestamp(&Utc::now()),
                model.encoder,
                model.text_version,
                to_sql(model.data_seq),
                serde_json::to_string(&model.metrics)?,
                model.blob
            ],
            |row| row.get(0),
        )?;
    let version = from_sql(version);
    if model.activate {
        activate(connection, department, version)?;
    }
    Ok(version)
}

/// All versions of one or of every department, by department and version.
pub(super) fn list(connection: &Connection, department: Option<&str>) -> Result<Vec<ModelInfo>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT department, version, created_at, encoder, text_version, data_seq, metrics, length(model),
                version IS (SELECT version FROM model_activations AS a
                            WHERE a.department = m.department ORDER BY a.id DESC LIMIT 1)
         FROM models AS m WHERE ?1 IS NULL OR department = ?1 ORDER BY department, version",
    )?;
    let mut rows = statement.query([department])?;
    let mut models = Vec::new();
    while let Some(row) = rows.next()? {
        models.push(ModelInfo {
            department: row.get(0)?,
            version: row.get(1)?,
            created_at: row.get(2)?,
            encoder: row.get(3)?,
            text_version: row.get(4)?,
            data_seq: from_sql(row.get(5)?),
            metrics: serde_json::from_str(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
            bytes: from_sql(row.get(7)?),
            active: row.get(8)?,
        });
    }
    Ok(models)
}

/// The model of one version.
pub(super) fn blob(connection: &Connection, department: &str, version: u32) -> Result<Option<Vec<u8>>, Fault> {
    let blob = connection
        .prepare_cached("SELECT model FROM models WHERE department = ?1 AND version = ?2")?
        .query_row(params![department, version], |row| row.get(0))
        .optional()?;
    Ok(blob)
}

/// The active version, and its model.
pub(super) fn active(connection: &Connection, department: &str) -> Result<Option<(u32, Vec<u8>)>, Fault> {
    let Some((_, version)) = newest_activation(connection, department)? else { return Ok(None) };
    Ok(blob(connection, department, version)?.map(|blob| (version, blob)))
}

/// Makes a version the active one; the one before it is what [`rollback`] returns to.
pub(super) fn promote(connection: &Connection, department: &str, version: u32) -> Result<(), Fault> {
    let exists: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM models WHERE department = ?1 AND version = ?2)")?
        .query_row(params![department, version], |row| row.get(0))?;
    if !exists {
        return Err(Error::NotFound { what: "model version", id: format!("{department}/{version}") }.into());
    }
    activate(connection, department, version)
}

/// Back to the version that was active before.
pub(super) fn rollback(connection: &Connection, department: &str) -> Result<u32, Fault> {
    let nothing_before = || Error::NotFound { what: "earlier active model version of", id: department.to_owned() };
    let (newest, _) = newest_activation(connection, department)?.ok_or_else(nothing_before)?;
    connection.prepare_cached("DELETE FROM model_activations WHERE id = ?1")?.execute([newest])?;
    let (_, version) = newest_activation(connection, department)?.ok_or_else(nothing_before)?;
    Ok(version)
}

/// Versions by activation, the active one first: what [`rollback`] would return to, one after the other.
pub(super) fn activations(connection: &Connection, department: &str, limit: usize) -> Result<Vec<u32>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT version FROM model_activations WHERE department = ?1 ORDER BY id DESC LIMIT ?2")?;
    let versions = statement.query_map(params![department, to_sql(limit)], |row| row.get(0))?;
    Ok(versions.collect::<Result<_, _>>()?)
}

/// Deletes all but the `keep` newest versions; the active one and what the next [`ROLLBACKS_KEPT`] rollbacks return to
/// stay in any case, and so does the newest one, whose number must not be given again. Returns what was deleted, ascending.
pub(super) fn prune(connection: &Connection, department: &str, keep: u32) -> Result<Vec<u32>, Fault> {
    let needed = activations(connection, department, 1 + ROLLBACKS_KEPT)?;
    let mut statement = connection
        .prepare_cached("SELECT version FROM models WHERE department = ?1 ORDER BY version DESC LIMIT -1 OFFSET ?2")?;
    let older = statement.query_map(params![department, keep.max(1)], |row| row.get(0))?;
    let mut pruned: Vec<u32> = older.collect::<Result<_, _>>()?;
    pruned.retain(|version| !needed.contains(version));
    pruned.sort_unstable();
    for version in &pruned {
        for sql in [
            "DELETE FROM model_activations WHERE department = ?1 AND version = ?2",
            "DELETE FROM models WHERE department = ?1 AND version = ?2",
        ] {
            connection.prepare_cached(sql)?.execute(params![department, version])?;
        }
    }
    // Two activations of one version may now follow each other, and a rollback between them would do nothing.
    connection
        .prepare_cached(
            "DELETE FROM model_activations WHERE id IN (
                 SELECT id FROM (SELECT id, version, lag(version) OVER (ORDER BY id) AS former
                                 FROM model_activations WHERE department = ?1)
                 WHERE version = former)",
        )?
        .execute([department])?;
    Ok(pruned)
}

fn activate(connection: &Connection, department: &str, version: u32) -> Result<(), Fault> {
    if newest_activation(connection, department)?.is_some_and(|(_, active)| active == version) {
        return Ok(());
    }
    connection
        .prepare_cached("INSERT INTO model_activations (department, version, activated_at) VALUES (?1, ?2, ?3)")?
        .execute(params![department, version, timestamp(&Utc::now())])?;
    Ok(())
}

fn newest_activation(connection: &Connection, department: &str) -> Result<Option<(i64, u32)>, Fault> {
    let newest = connection
        .prepare_cached("SELECT id, version FROM model_activations WHERE department = ?1 ORDER BY id DESC LIMIT 1")?
        .query_row([department], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(newest)
}
