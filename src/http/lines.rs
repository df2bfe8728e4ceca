//! Here is an upload of JSON Lines, give me checked records, a batch at a time. What is in memory is one batch and one
//! line, however long the upload is.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode};

use crate::exchange::Record;
use crate::http::Limits;
use crate::http::body::{broken_off, check_announced, parse, too_large, too_slow};
use crate::http::problem::Problem;

/// Records of a batch at most.
const MAX_BATCH: usize = 500;

/// Bytes of the lines of a batch, about.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Byte order mark, which some editors put in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// An upload that is being read.
pub(super) struct Lines<'a> {
    limits: &'a Limits,
    body: Body,
    /// Bytes that arrived; those before `start` are used up.
    buffer: Vec<u8>,
    start: usize,
    n_read: usize,
    has_ended: bool,
    /// Number of the last line, counted from 1.
    line: usize,
}

impl<'a> Lines<'a> {
    /// Begins to read.
    pub(super) fn new(headers: &HeaderMap, body: Body, limits: &'a Limits) -> Result<Lines<'a>, Problem> {
        check_announced(headers, limits.max_upload_bytes)?;
        Ok(Lines { limits, body, buffer: Vec::new(), start: 0, n_read: 0, has_ended: false, line: 0 })
    }

    /// The records of the next lines; none at the end. Empty lines are skipped. A fault names its line, and no record
    /// of its batch comes out.
    pub(super) async fn next_batch<T: Record>(&mut self) -> Result<Vec<T>, Problem> {
        let mut records = Vec::new();
        let mut n_bytes = 0;
        while records.len() < MAX_BATCH && n_bytes < MAX_BATCH_BYTES {
            let Some(line) = self.next_line().await? else { break };
            if line.trim_ascii().is_empty() {
                continue;
            }
            n_bytes += line.len();
            let record = parse::<T>(&line, self.limits);
            let record = record.and_then(|record| record.check().map(|()| record).map_err(Problem::from));
            records.push(record.map_err(|problem| problem.at_line(self.line))?);
        }
        Ok(records)
    }

    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, Problem> {
        let mut searched = self.start;
        loop {
            if let Some(n) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                return self.take_line(searched + n, 1).map(Some);
            }
            if self.has_ended {
                let end = self.buffer.len();
                return if end > self.start { self.take_line(end, 0).map(Some) } else { Ok(None) };
            }
            self.check_length(self.buffer.len())?;
            self.buffer.drain(..self.start);
            self.start = 0;
            searched = self.buffer.len();
            self.read_more().await?;
        }
    }

    fn take_line(&mut self, end: usize, n_separators: usize) -> Result<Vec<u8>, Problem> {
        self.check_length(end)?;
        let line = &self.buffer[self.start..end];
        let line = if self.line == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        let line = line.to_vec();
        self.line += 1;
        self.start = end + n_separators;
        Ok(line)
    }

    fn check_length(&self, end: usize) -> Result<(), Problem> {
        let limit = self.limits.max_line_bytes;
        if end - self.start <= limit {
            return Ok(());
        }
        let detail = format!("is longer than {limit} bytes");
        Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).at_line(self.line + 1))
    }

    async fn read_more(&mut self) -> Result<(), Problem> {
        let next = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
        let patience = Duration::from_millis(self.limits.body_read_ms);
        let frame = tokio::time::timeout(patience, next).await.map_err(|_| too_slow(self.limits))?;
        match frame {
            None => self.has_ended = true,
            Some(Err(_)) => return Err(broken_off()),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                self.n_read += data.len();
                if self.n_read > self.limits.max_upload_bytes {
                    return Err(too_large(self.limits.max_upload_bytes));
                }
                self.buffer.extend_from_slice(&data);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Ticket;

    async fn read(text: impl Into<Body>, limits: &Limits) -> (Vec<usize>, Option<serde_json::Value>) {
        let mut lines = Lines::new(&HeaderMap::new(), text.into(), limits).unwrap();
        let mut batches = Vec::new();
        loop {
            match lines.next_batch::<Ticket>().await {
                Ok(batch) if batch.is_empty() => return (batches, None),
                Ok(batch) => batches.push(batch.len()),
                Err(problem) => return (batches, Some(serde_json::to_value(problem.document()).unwrap())),
            }
        }
    }

    fn ticket(n: usize) -> String {
        format!("{{\"id\":\"{n}\",\"body\":\"x\"}}\n")
    }

    #[tokio::test]
    async fn lines_come_in_batches_and_a_fault_spoils_its_own_only() {
        let limits = Limits::default();
        let all: String = (0..1200).map(ticket).collect();
        assert_eq!(read(all.clone(), &limits).await, (vec![500, 500, 200], None));
        let (batches, problem) = read(format!("{all}{{\"id\":\"7\",\"body\":[\"geheim\"]}}"), &limits).await;
        assert_eq!(batches, [500, 500]);
        let problem = problem.unwrap();
        assert_eq!((problem["status"].clone(), problem["errors"][0]["pointer"].clone()), (422.into(), "/body".into()));
        let told = problem.to_string();
        assert!(told.contains("line 1201") && !told.contains("geheim"), "{told}");
    }

    #[tokio::test]
    async fn line_ends_and_marks_of_other_systems_are_read() {
        let text = format!("\u{feff}{}\r\n\n  \n{}", ticket(1).trim(), ticket(2).trim());
        assert_eq!(read(text, &Limits::default()).await, (vec![2], None));
        assert_eq!(read("", &Limits::default()).await, (vec![], None));
    }

    #[tokio::test]
    async fn long_lines_and_long_uploads_are_refused() {
        let limits = Limits { max_line_bytes: 40, max_upload_bytes: 200, ..Limits::default() };
        let status = async |text: String| read(text, &limits).await.1.map(|problem| problem["status"].clone());
        assert_eq!(status(ticket(1)).await, None);
        assert_eq!(status("a".repeat(41)).await, Some(413.into()));
        assert_eq!(status(format!("{}{}\n", ticket(1), "a".repeat(41))).await, Some(413.into()));
        assert_eq!(status("\n".repeat(201)).await, Some(413.into()));
    }
}
