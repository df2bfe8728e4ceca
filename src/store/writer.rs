//! Here are writes, give me as few syncs as possible: the thread that owns the writing connection takes what is queued,
//! runs each write in a savepoint of its own and commits them together. A write that fails or panics undoes itself
//! alone. Nobody is answered before the commit is on the disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::open::BUSY_TIMEOUT;
use super::sqlite::{Fault, explain, is_fatal};
use crate::error::{Error, Result};

/// Most writes of one commit: bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 64;

/// Longest time until the log is emptied after a write that leaves nothing, as far as no reader still needs the log.
/// Not at once: emptying takes several syncs, and deletions often come in rows.
const ERASE_WITHIN: Duration = Duration::from_secs(1);

/// Pause between writes that is taken as the end of a row of deletions, and between tries while a reader needs the log.
const ERASE_PAUSE: Duration = Duration::from_millis(50);

/// How long emptying the log may hold up writes.
const ERASE_WAIT: Duration = Duration::from_millis(20);

/// A queued write.
pub(super) struct Job {
    /// Does the work on the connection, or takes the reason why nothing can be written.
    pub(super) run: Work,
    /// What must be left of replaced and deleted data.
    pub(super) leaves: Leaves,
}

/// Does the work, and returns how its caller is answered.
pub(super) type Work = Box<dyn FnOnce(Result<&Connection, String>) -> Reply + Send>;

/// Answers the caller, once the fate of the commit is known: None, or why it was lost.
pub(super) type Reply = Box<dyn FnOnce(Option<String>) + Send>;

/// What a write leaves of the data that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Old pages stay in the write-ahead log until it is used anew.
    Traces,
    /// The log is emptied, too.
    Nothing,
}

/// Runs until every sender is gone and the queue is empty.
pub(super) fn run(connection: &Connection, jobs: &Receiver<Job>) {
    let mut group = VecDeque::new();
    let mut must_empty_log_by: Option<Instant> = None;
    let mut broken: Option<String> = None;
    loop {
        match wait(jobs, must_empty_log_by.is_some()) {
            Ok(job) => group.push_back(job),
            Err(RecvTimeoutError::Timeout) => must_empty_log_by = Some(Instant::now()),
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while !group.is_empty() && group.len() < MAX_GROUP {
            let Ok(job) = jobs.try_recv() else { break };
            group.push_back(job);
        }
        if must_empty_log_by.is_none() && group.iter().any(|job| job.leaves == Leaves::Nothing) {
            must_empty_log_by = Some(Instant::now() + ERASE_WITHIN);
        }
        while !group.is_empty() {
            if broken.is_none() {
                broken = commit(connection, &mut group).err();
            }
            if let Some(reason) = &broken {
                group.drain(..).for_each(|job| (job.run)(Err(reason.clone()))(None));
            }
        }
        if must_empty_log_by.is_some_and(|time| time <= Instant::now()) {
            let is_done = broken.is_some() || empty_log(connection);
            must_empty_log_by = if is_done { None } else { Some(Instant::now() + ERASE_WITHIN) };
        }
    }
    if must_empty_log_by.is_some() && broken.is_none() {
        empty_log(connection);
    }
}

/// Runs `work` so that its error or panic undoes only what it did itself.
pub(super) fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    connection.prepare_cached("SAVEPOINT request")?.execute([])?;
    // A panic may leave half of the work behind; the savepoint takes it back.
    let result = catch_unwind(AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(Error::Bug("a write to the store panicked").into()));
    if result.is_err() && !connection.is_autocommit() {
        let undone = connection.execute_batch("ROLLBACK TO request");
        if undone.is_err() {
            // Half a request must not be committed with the others: give up the whole transaction.
            let _ = connection.execute_batch("ROLLBACK");
            return result;
        }
    }
    if !connection.is_autocommit() {
        connection.prepare_cached("RELEASE request")?.execute([])?;
    }
    result
}

/// The next job; a timeout when it is time to empty the log.
fn wait(jobs: &Receiver<Job>, must_empty_log: bool) -> Result<Job, RecvTimeoutError> {
    if must_empty_log {
        return jobs.recv_timeout(ERASE_PAUSE);
    }
    jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
}

/// Commits jobs from the front of `group`. An error is the reason why nothing may be written any more.
fn commit(connection: &Connection, group: &mut VecDeque<Job>) -> Result<(), String> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let reason = explain(&error);
        group.drain(..).for_each(|job| (job.run)(Err(reason.clone()))(None));
        return if is_fatal(&error) { Err(reason) } else { Ok(()) };
    }
    let mut replies = Vec::with_capacity(group.len());
    while let Some(job) = group.pop_front() {
        replies.push((job.run)(Ok(connection)));
        if connection.is_autocommit() {
            // A full disk or failing I/O can make SQLite roll back the whole transaction at any statement.
            let reason = "another write of the same commit failed and took this one along; try again".to_owned();
            replies.into_iter().for_each(|reply| reply(Some(reason.clone())));
            return Ok(());
        }
    }
    let Err(error) = connection.execute_batch("COMMIT") else {
        replies.into_iter().for_each(|reply| reply(None));
        return Ok(());
    };
    if !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    let reason = explain(&error);
    replies.into_iter().for_each(|reply| reply(Some(reason.clone())));
    if is_fatal(&error) { Err(reason) } else { Ok(()) }
}

/// Moves the log into the file and cuts it to nothing. False while a reader still needs it.
pub(super) fn empty_log(connection: &Connection) -> bool {
    let _ = connection.busy_timeout(ERASE_WAIT);
    let is_busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    let _ = connection.busy_timeout(BUSY_TIMEOUT);
    is_busy == Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    type Log = mpsc::Sender<(&'static str, Option<String>, i64)>;

    /// A job that inserts a row and then runs `sql`; answered, it logs its fate and how many rows another connection
    /// sees by then.
    fn job(name: &'static str, sql: &'static str, path: &std::path::Path, log: &Log) -> Job {
        let (path, log) = (path.to_owned(), log.clone());
        let run = Box::new(move |access: Result<&Connection, String>| {
            let failed = match access {
                Ok(connection) => in_savepoint(connection, |connection| {
                    connection.execute("INSERT INTO row (name) VALUES (?1)", [name])?;
                    Ok(connection.execute_batch(sql)?)
                })
                .err()
                .map(|_| "failed".to_owned()),
                Err(reason) => Some(reason),
            };
            let reply: Reply = Box::new(move |lost| {
                let other = Connection::open(path).unwrap();
                let n_rows = other.query_row("SELECT count(*) FROM row", [], |row| row.get(0)).unwrap();
                log.send((name, failed.or(lost), n_rows)).unwrap();
            });
            reply
        });
        Job { run, leaves: Leaves::Traces }
    }

    #[test]
    fn nobody_is_answered_before_the_commit_and_each_hears_only_of_its_own_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE row (name TEXT) STRICT").unwrap();
        let (queue, jobs) = mpsc::channel();
        let (log, fates) = mpsc::channel();
        for (name, sql) in [
            ("first", ""),
            ("refused", "SELECT nonsense"),
            ("second", ""),
            // What SQLite itself may do when the disk is full.
            ("rolled back", "ROLLBACK; SELECT nonsense"),
            ("third", ""),
            ("fourth", ""),
        ] {
            queue.send(job(name, sql, &path, &log)).unwrap();
        }
        drop((queue, log));
        run(&connection, &jobs);

        let seen: Vec<(&str, bool, i64)> = fates.iter().map(|(name, fault, n)| (name, fault.is_some(), n)).collect();
        let expected = [
            ("first", true, 0),
            ("refused", true, 0),
            ("second", true, 0),
            ("rolled back", true, 0),
            ("third", false, 2),
            ("fourth", false, 2),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_log_is_emptied_after_a_write_that_leaves_nothing() {
        for (leaves, expected) in [(Leaves::Traces, false), (Leaves::Nothing, true)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("rows.db");
            let connection = Connection::open(&path).unwrap();
            connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE row (name TEXT) STRICT").unwrap();
            let (queue, jobs) = mpsc::channel();
            let (log, _fates) = mpsc::channel();
            queue.send(Job { leaves, ..job("only", "", &path, &log) }).unwrap();
            drop(queue);
            run(&connection, &jobs);
            let log_bytes = std::fs::metadata(folder.path().join("rows.db-wal")).unwrap().len();
            assert_eq!(log_bytes == 0, expected, "{leaves:?}");
        }
    }
}
