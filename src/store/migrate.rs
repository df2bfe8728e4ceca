//! Here is a database file, give it this version's tables. Forward only; each migration is one transaction that also
//! moves `user_version` and notes the script's checksum. Not for moving data between stores.

use std::path::Path;

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::sqlite::{Fault, sha256_hex, timestamp};
use crate::error::{Error, Result};

/// `application_id` of a Triage store: "TRIA" in ASCII.
const APPLICATION_ID: i32 = 0x5452_4941;

const MIGRATIONS: &[Migration] =
    &[Migration { number: 1, name: "initial", sql: include_str!("migrations/0001_initial.sqlite.sql") }];

struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
}

/// Refuses a file that is not a Triage store, or is one of a newer version. Changes nothing.
///
/// # Errors
/// [`Error::Store`] with what to do.
pub(super) fn check_owner(connection: &Connection, path: &Path) -> Result<()> {
    let refuse = |reason: String| Err(Error::Store { path: path.to_owned(), reason });
    let (application_id, schema, is_empty) = describe(connection).map_err(|fault| fault.into_error(path))?;
    if application_id != APPLICATION_ID && !(application_id == 0 && is_empty) {
        return refuse("is a database of another program; choose another data directory".to_owned());
    }
    let newest = newest();
    if schema > newest {
        return refuse(format!(
            "has schema {schema}, and this version of triage knows schemas up to {newest}; \
             install the version that wrote it, or restore an older backup"
        ));
    }
    Ok(())
}

/// Runs what is missing. Call [`check_owner`] first.
///
/// # Errors
/// [`Error::Store`]; the file is as the last successful migration left it.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    run(connection, MIGRATIONS).map_err(|fault| fault.into_error(path))
}

fn run(connection: &mut Connection, migrations: &[Migration]) -> Result<(), Fault> {
    let applied: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for migration in migrations {
        let checksum = sha256_hex(migration.sql.as_bytes());
        if migration.number <= applied {
            let noted: Option<String> = connection
                .query_row("SELECT checksum FROM schema_migrations WHERE number = ?1", [migration.number], |row| {
                    row.get(0)
                })
                .optional()?;
            if noted.as_deref() != Some(checksum.as_str()) {
                return Err(Fault::Unusable("was set up by another build with other tables; restore a backup"));
            }
            continue;
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations (
                 number     INTEGER NOT NULL PRIMARY KEY,
                 name       TEXT    NOT NULL,
                 checksum   TEXT    NOT NULL,
                 applied_at TEXT    NOT NULL
             ) STRICT",
        )?;
        transaction.execute_batch(migration.sql)?;
        transaction.execute(
            "INSERT INTO schema_migrations (number, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)",
            params![migration.number, migration.name, checksum, timestamp(&Utc::now())],
        )?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", migration.number)?;
        transaction.commit()?;
    }
    Ok(())
}

fn describe(connection: &Connection) -> Result<(i32, i64, bool), Fault> {
    let application_id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let schema = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let is_empty = connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    Ok((application_id, schema, is_empty))
}

fn newest() -> i64 {
    MIGRATIONS.last().map_or(0, |migration| migration.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_migration_leaves_the_schema_of_the_one_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        let broken = [
            Migration { number: 1, name: "first", sql: "CREATE TABLE kept (id INTEGER) STRICT" },
            Migration { number: 2, name: "second", sql: "CREATE TABLE gone (id INTEGER) STRICT; SELECT nonsense;" },
        ];
        assert!(run(&mut connection, &broken).is_err());
        let tables: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(tables, ["kept", "schema_migrations"]);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 1);
    }

    #[test]
    fn a_changed_script_is_noticed() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, &[Migration { number: 1, name: "a", sql: "CREATE TABLE a (id INTEGER) STRICT" }]).unwrap();
        let changed = [Migration { number: 1, name: "a", sql: "CREATE TABLE b (id INTEGER) STRICT" }];
        assert!(matches!(run(&mut connection, &changed), Err(Fault::Unusable(_))));
    }

    #[test]
    fn numbers_count_up_from_one() {
        let numbers: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.number).collect();
        assert_eq!(numbers, (1..=newest()).collect::<Vec<_>>());
    }
}
