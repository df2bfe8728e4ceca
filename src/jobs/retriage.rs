//! Here is a backlog of tickets, give me a decision for each, and go on where you stopped when you are run again.
//!
//! Input and output are JSON Lines; line n of the output is the decision on line n of the input. A line that was cut
//! short by a kill is taken off before the work goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pipeline::{Options, Pipeline, Request};
use crate::ticket::{Decision, Ticket, Triage};

/// Tickets triaged together.
const PAGE: usize = 64;

/// What changed against the labels that the tickets came with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Decisions written in this run.
    pub written: usize,
    /// Decisions that were there already.
    pub resumed: usize,
    /// Per field.
    pub fields: BTreeMap<String, FieldChanges>,
}

/// What changed in one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FieldChanges {
    /// The decided value is the one the ticket has.
    pub unchanged: usize,
    /// The ticket had no value.
    pub filled: usize,
    /// The service abstains.
    pub abstained: usize,
    /// Tickets whose value would change, by "from → to".
    pub changed: BTreeMap<String, usize>,
}

#[derive(Deserialize)]
struct Done {
    ticket: String,
}

/// Triages `tickets` and appends the decisions to `output`. `progress` is told how many are done.
///
/// # Errors
/// When `output` cannot be written, holds decisions on other tickets, or the department is unknown.
pub fn retriage(
    pipeline: &Pipeline,
    department: &str,
    tickets: &[Ticket],
    output: &Path,
    progress: impl Fn(usize),
) -> Result<Changes> {
    let file_error = |source| Error::File { path: output.to_owned(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(output).map_err(file_error)?;
    let done = completed(&mut file, output)?;
    if done.len() > tickets.len() || done.iter().zip(tickets).any(|(done, ticket)| *done != ticket.id) {
        return Err(Error::Line {
            path: output.to_owned(),
            line: done.iter().zip(tickets).take_while(|(done, ticket)| **done == ticket.id).count() + 1,
            reason: "holds the decision on another ticket than the input; give another output file".to_owned(),
        });
    }
    let mut changes = Changes { resumed: done.len(), ..Changes::default() };
    progress(done.len());
    let options = Options { record: false, ..Options::default() };
    let mut writer = BufWriter::new(&mut file);
    for page in tickets[done.len()..].chunks(PAGE) {
        let requests: Vec<Request<'_>> =
            page.iter().map(|ticket| Request { department, ticket, options: &options }).collect();
        for (triage, ticket) in pipeline.triage(&requests).into_iter().zip(page) {
            let triage = triage?;
            changes.count(ticket, &triage);
            serde_json::to_writer(&mut writer, &triage).map_err(|error| file_error(error.into()))?;
            writer.write_all(b"\n").map_err(file_error)?;
        }
        writer.flush().map_err(file_error)?;
        progress(changes.resumed + changes.written);
    }
    drop(writer);
    file.sync_all().map_err(file_error)?;
    Ok(changes)
}

/// Ids of the tickets that are decided already; leaves the file positioned after the last whole line.
fn completed(file: &mut File, path: &Path) -> Result<Vec<String>> {
    let file_error = |source| Error::File { path: path.to_owned(), source };
    let mut ids = Vec::new();
    let mut whole_bytes = 0;
    let mut reader = BufReader::new(&mut *file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let n = reader.read_until(b'\n', &mut line).map_err(file_error)?;
        if n == 0 || line.last() != Some(&b'\n') {
            break;
        }
        let done: Done = serde_json::from_slice(&line).map_err(|_| Error::Line {
            path: path.to_owned(),
            line: ids.len() + 1,
            reason: "is not a decision; give another output file".to_owned(),
        })?;
        ids.push(done.ticket);
        whole_bytes += n as u64;
    }
    file.set_len(whole_bytes).map_err(file_error)?;
    file.seek(SeekFrom::Start(whole_bytes)).map_err(file_error)?;
    Ok(ids)
}

impl Changes {
    fn count(&mut self, ticket: &Ticket, triage: &Triage) {
        self.written += 1;
        for (field, decision) in &triage.fields {
            let counts = self.fields.entry(field.clone()).or_default();
            let Some(value) = decision.value.as_ref().filter(|_| decision.outcome != Decision::Abstain) else {
                counts.abstained += 1;
                continue;
            };
            match ticket.labels.get(field) {
                None => counts.filled += 1,
                Some(before) if *before == value.id || *before == value.name => counts.unchanged += 1,
                Some(before) => *counts.changed.entry(format!("{before} → {}", value.id)).or_default() += 1,
            }
        }
    }
}
