//! Here is a data directory, give me its lock and its connections, set up so that what is committed is on the disk.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::sqlite::Fault;
use crate::error::{Error, Result};

/// How long a connection waits for another program, such as an administrator's `sqlite3`, to let go of the file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// First bytes of every SQLite file (sqlite.org, "Database File Format", section 1.3).
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Largest record or model, in bytes.
const MAX_VALUE_BYTES: i32 = 512 * 1024 * 1024;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// The writer's.
    ReadWrite,
    /// A reader's.
    ReadOnly,
}

/// Creates the directory if it is missing, readable by its owner alone, and returns its absolute path.
pub(super) fn prepare_folder(data_dir: &Path) -> Result<PathBuf> {
    let file_error = |source| Error::File { path: data_dir.to_owned(), source };
    let created: Vec<&Path> = data_dir.ancestors().take_while(|folder| !folder.exists()).collect();
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(data_dir).map_err(file_error)?;
    // Absolute, so that a change of the working directory or a name that begins with "file:" means nothing to SQLite.
    let folder = data_dir.canonicalize().map_err(file_error)?;
    // A directory that a power cut takes away takes the synced store inside it along.
    for made in folder.ancestors().take(created.len()) {
        sync_folder(made.parent().unwrap_or(made))?;
    }
    Ok(folder)
}

/// Takes the lock that keeps a second process out of the directory, until the file is dropped.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("triage.lock");
    let file = private_file(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Store {
            path,
            reason: "another triage process has this data directory open; stop it or choose another directory"
                .to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::File { path, source }),
    }
}

/// Makes an empty file if there is none, readable by its owner alone, and refuses one that is not SQLite's. SQLite gives
/// its log files the same mode.
pub(super) fn create_file(path: &Path) -> Result<()> {
    let file_error = |source| Error::File { path: path.to_owned(), source };
    let file = private_file(path)?;
    let mut head = Vec::new();
    (&file).take(SQLITE_MAGIC.len() as u64).read_to_end(&mut head).map_err(file_error)?;
    if head.is_empty() {
        file.sync_all().map_err(file_error)?;
        return sync_folder(path.parent().unwrap_or(path));
    }
    if head != SQLITE_MAGIC {
        let reason = "is not a SQLite file; move it away or choose another data directory".to_owned();
        return Err(Error::Store { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Opens a connection. A writer's also wants [`make_durable`], after the file was found to be a store.
pub(super) fn connect(path: &Path, access: Access) -> Result<Connection> {
    let flags = match access {
        Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(Fault::from)
        .and_then(|connection| set_up(&connection, access).map(|()| connection))
        .map_err(|fault| fault.into_error(path))
}

/// Write-ahead log, synced at every commit; deleted data is overwritten.
pub(super) fn make_durable(connection: &Connection) -> Result<(), Fault> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Unusable("the file system cannot hold a write-ahead log; use a local disk"));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    // macOS: fsync alone leaves data in the drive's cache. Elsewhere without effect.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // The log is cut back to this size once its content is in the file.
    connection.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |_| Ok(()))?;
    Ok(())
}

fn set_up(connection: &Connection, access: Access) -> Result<(), Fault> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The file may have been changed by others: it may not run code or reach beyond itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Temporary files would hold ticket text outside the data directory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let cache_kib = match access {
        Access::ReadWrite => 32 * 1024,
        Access::ReadOnly => 8 * 1024,
    };
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 100_000),
        (Limit::SQLITE_LIMIT_COLUMN, 100),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 8),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, 16),
        // VACUUM INTO attaches its target.
        (Limit::SQLITE_LIMIT_ATTACHED, 1),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 8),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    Ok(())
}

fn private_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|handle| handle.sync_all())
        .map_err(|source| Error::File { path: folder.to_owned(), source })
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> Result<()> {
    Ok(())
}
