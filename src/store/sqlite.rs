//! Here is a piece of work on the database, give me its result: committed and synced if it writes, from one snapshot
//! if it only reads. Knows connections, threads and what SQLite's faults mean; knows no tickets.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, ErrorCode, ffi};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, oneshot};

use super::{migrate, open, writer};
use crate::error::{Error, Result};

/// Read-only connections; each also is a blocking thread while it reads.
const READERS: usize = 4;

/// Writes that may wait for the writer thread; more wait before they are queued.
const QUEUED_WRITES: usize = 1024;

/// An open store file: one thread that writes, a few connections that read.
pub(super) struct Database {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    reader_slots: Arc<Semaphore>,
    writer_slots: Arc<Semaphore>,
    /// None only while dropping.
    queue: Option<mpsc::Sender<writer::Job>>,
    writer: Option<JoinHandle<()>>,
    /// Held until the writer thread has ended.
    _lock: File,
}

/// Why a piece of work failed, before it is told to anyone outside.
#[derive(Debug)]
pub(super) enum Fault {
    /// The request cannot be carried out as it is.
    Refused(Error),
    /// The store cannot be used as it is; what to do.
    Unusable(&'static str),
    /// The database said no.
    Sqlite(rusqlite::Error),
    /// A stored record is not what this version writes.
    Record(serde_json::Error),
}

impl Database {
    /// Opens or creates the store of a data directory. Blocks.
    pub(super) fn open(data_dir: &Path) -> Result<Database> {
        let folder = open::prepare_folder(data_dir)?;
        let lock = open::lock(&folder)?;
        let path = folder.join("triage.db");
        open::create_file(&path)?;
        let mut connection = open::connect(&path, open::Access::ReadWrite)?;
        migrate::check_owner(&connection, &path)?;
        open::make_durable(&connection).map_err(|fault| fault.into_error(&path))?;
        migrate::migrate(&mut connection, &path)?;
        // The last process may have been killed between a deletion and this.
        writer::empty_log(&connection);
        let (queue, jobs) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer::run(&connection, &jobs))
            .map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Database {
            path,
            readers: Mutex::new(Vec::new()),
            reader_slots: Arc::new(Semaphore::new(READERS)),
            writer_slots: Arc::new(Semaphore::new(QUEUED_WRITES)),
            queue: Some(queue),
            writer: Some(writer),
            _lock: lock,
        })
    }

    /// Runs `work` in a transaction and answers once that is committed and synced. All or nothing: an error of
    /// `work` undoes what it did. Once queued, the work is done even if the caller stops waiting.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.enqueue(work, writer::Leaves::Traces).await
    }

    /// [`Database::write`] for work that removes data: soon afterwards the write-ahead log is emptied as well, unless a
    /// reader still needs it.
    pub(super) async fn erase<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        self.enqueue(work, writer::Leaves::Nothing).await
    }

    /// Runs `work` on one snapshot of what is committed.
    pub(super) async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let slot = Arc::clone(&self.reader_slots).acquire_owned().await.map_err(|_| stopping())?;
        let database = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let connection = match database.idle_reader() {
                Some(connection) => connection,
                None => open::connect(&database.path, open::Access::ReadOnly)?,
            };
            let result = snapshot(&connection, work);
            database.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result.map_err(|fault| fault.into_error(&database.path))
        });
        reading.await.map_err(|_| Error::Bug("a read of the store panicked"))?
    }

    async fn enqueue<T, F>(&self, work: F, leaves: writer::Leaves) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let slot = Arc::clone(&self.writer_slots).acquire_owned().await.map_err(|_| stopping())?;
        let (sender, answer) = oneshot::channel();
        let path = self.path.clone();
        let run = Box::new(move |access: Result<&Connection, String>| {
            let result = match access {
                Ok(connection) => writer::in_savepoint(connection, work).map_err(|fault| fault.into_error(&path)),
                Err(reason) => Err(Error::Store { path: path.clone(), reason }),
            };
            let reply: writer::Reply = Box::new(move |lost: Option<String>| {
                let result = match lost {
                    Some(reason) => result.and(Err(Error::Store { path, reason })),
                    None => result,
                };
                // A caller that no longer waits has its write done all the same.
                let _ = sender.send(result);
                drop(slot);
            });
            reply
        });
        let queue = self.queue.as_ref().ok_or_else(stopping)?;
        queue.send(writer::Job { run, leaves }).map_err(|_| Error::Bug("the store's writer thread ended"))?;
        answer.await.map_err(|_| Error::Bug("the store's writer thread dropped a write"))?
    }

    fn idle_reader(&self) -> Option<Connection> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

impl Drop for Database {
    /// Waits until what is queued is written and the file is closed, so that the directory can be opened again at once.
    fn drop(&mut self) {
        // Readers first: the last connection to close is the one that folds the log into the file.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // It catches panics of its work; one of its own has nothing left to save.
            let _ = writer.join();
        }
    }
}

fn snapshot<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    let transaction = connection.unchecked_transaction()?;
    let result = work(&transaction);
    transaction.finish()?;
    result
}

fn stopping() -> Error {
    Error::Unavailable { state: "stopping" }
}

impl Fault {
    /// The error as the caller sees it: where, and what to do.
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Fault::Refused(error) => error,
            Fault::Unusable(reason) => Error::Store { path: path.to_owned(), reason: reason.to_owned() },
            Fault::Sqlite(error) => Error::Store { path: path.to_owned(), reason: explain(&error) },
            // Not its Display, which may quote the record.
            Fault::Record(error) => Error::Store {
                path: path.to_owned(),
                reason: format!("a stored record is unreadable ({:?} at column {})", error.classify(), error.column()),
            },
        }
    }
}

/// What a fault of SQLite means and what to do. Never holds stored text: SQLite's messages name tables and columns.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    let remedy = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full; free some space, nothing of this request was stored",
        Some(ErrorCode::SystemIoFailure) => "the disk failed; check it and its file system, then restart the service",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds a lock on the file; end its transaction and try again"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "the file is damaged or not a store; stop the service and restore a backup"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            "the file cannot be opened or written; check its owner, its mode and how the file system is mounted"
        }
        Some(ErrorCode::TooBig) => "a record is larger than the store takes",
        Some(ErrorCode::OutOfMemory) => "there is not enough memory",
        _ => "unexpected fault of the database",
    };
    format!("{remedy} ({error})")
}

/// True when nothing may be written any more: what the disk lost or the file holds is unknown. After a failed fsync
/// the kernel may drop the pages it could not write, and a second try that succeeds proves nothing.
pub(super) fn is_fatal(error: &rusqlite::Error) -> bool {
    let Some(failure) = error.sqlite_error() else { return false };
    matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        || matches!(failure.extended_code, ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)
}

/// Time as the store's columns hold it: RFC 3339 in UTC with milliseconds.
pub(super) fn timestamp(time: &DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// SHA-256 in 64 hex digits.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A count or sequence number as SQLite holds it; what does not fit is larger than anything stored.
pub(super) fn to_sql(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A count or sequence number as it came from a column that is never negative.
pub(super) fn from_sql<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sqlite(error)
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Fault {
        Fault::Record(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_says_what_to_do_and_whether_writing_may_go_on() {
        let cases = [
            (ffi::SQLITE_FULL, "disk is full", false),
            (ffi::SQLITE_IOERR_WRITE, "disk failed", false),
            (ffi::SQLITE_IOERR_FSYNC, "disk failed", true),
            (ffi::SQLITE_IOERR_DIR_FSYNC, "disk failed", true),
            (ffi::SQLITE_CORRUPT, "restore a backup", true),
            (ffi::SQLITE_BUSY, "another program", false),
            (ffi::SQLITE_READONLY, "check its owner", false),
            (ffi::SQLITE_TOOBIG, "larger than", false),
        ];
        for (code, expected, fatal) in cases {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert!(explain(&error).contains(expected), "{}", explain(&error));
            assert_eq!(is_fatal(&error), fatal, "code {code}");
        }
    }

    #[test]
    fn an_unreadable_record_is_not_quoted() {
        let error = serde_json::from_str::<u32>("\"SECRET\"").unwrap_err();
        let message = Fault::from(error).into_error(Path::new("triage.db")).to_string();
        assert!(message.contains("unreadable") && !message.contains("SECRET"), "{message}");
    }
}
