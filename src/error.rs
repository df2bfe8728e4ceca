//! One error enum for the library, grouped by who must act on it.
//!
//! Messages are lower-case, without a final period, and say what was expected and what came. Ticket text never
//! stands in one. `http::problem` is the only place that turns a variant into a status code.

use std::path::PathBuf;

/// What every fallible function of the library returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong, grouped by who must act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The caller must change the request.
    /// A value breaks a rule; `pointer` is an RFC 6901 JSON pointer into the record ("" is the record itself).
    #[error("{}: {reason}", if pointer.is_empty() { "record" } else { pointer })]
    Invalid {
        /// Where in the record.
        pointer: String,
        /// What was expected and what came.
        reason: String,
    },
    /// Nothing of that kind has that id.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// What it is.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// A request asks for more than one call may carry.
    #[error("{what} is {got}, and at most {limit} is allowed")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// How much was asked for.
        got: usize,
        /// How much is allowed.
        limit: usize,
    },

    // The caller must wait.
    /// The service has more queued work than it can finish in time.
    #[error("the service is full, try again in {retry_after_s} s")]
    Overloaded {
        /// Seconds until another try makes sense.
        retry_after_s: u64,
    },
    /// The deadline of the call passed before an answer was there.
    #[error("the deadline of {limit_ms} ms passed")]
    Timeout {
        /// The deadline, in milliseconds.
        limit_ms: u64,
    },
    /// The service is starting or stopping.
    #[error("the service is {state}")]
    Unavailable {
        /// "starting" or "stopping".
        state: &'static str,
    },

    // The operator must act.
    /// The encoder cannot be loaded or run.
    #[error("model {path}: {reason}", path = path.display())]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The index cannot be read or written. It is derived: `triage index rebuild` makes it anew.
    #[error("index {path}: {reason}", path = path.display())]
    Index {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The store cannot be read or written.
    #[error("store {path}: {reason}", path = path.display())]
    Store {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// A file cannot be read or written.
    #[error("{path}", path = path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of an import file is wrong; nothing of its batch was stored.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    Line {
        /// The file or folder.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong and what to do.
        reason: String,
    },

    // We must act.
    /// An invariant of this program does not hold.
    #[error("internal error: {0}")]
    Bug(&'static str),
}

impl Error {
    /// An [`Error::Invalid`] at `pointer`.
    pub fn invalid(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Invalid { pointer: pointer.into(), reason: reason.into() }
    }
}
