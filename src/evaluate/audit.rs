//! Here are resolved tickets with their recorded labels, and what the service says of each without having learnt from it,
//! give me a work list for the person who keeps the labels: contradictions between near copies, labels that cannot be
//! told apart, labels that nobody uses, and tickets that are probably filed wrong.
//!
//! The findings name tickets by id and labels by name; no ticket text leaves this module.

mod conflicts;
mod dead;
mod near;
mod overlap;
mod page;
mod store;
mod suspects;
mod table;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::conflicts::{Conflict, ConflictKind};
pub use self::dead::{DeadLabel, DeadReason};
pub use self::overlap::{Advice, Confused, Overlap};
pub use self::store::of_store;
pub use self::suspects::{Neighbour, Suspect};
pub use self::table::{CSV_COLUMNS, csv_rows};
use super::Interval;
use super::interval::mean;
use crate::error::{Error, Result};
use crate::ticket::LabelRef;

/// Parts into which the tickets are drawn, each held out in turn.
pub const FOLDS: usize = 5;

/// Suspects that are listed of each field, unless asked otherwise.
pub const DEFAULT_TOP: usize = 200;

/// Fewer tickets with a value than this, and predictions on held-out ones say nothing of the labels.
pub const LEAST_TICKETS: usize = 20;

/// Where fewer held-out tickets than this share are predicted as recorded, suspects are mostly errors of the service.
pub const WEAK_AGREEMENT: f64 = 0.8;

/// A resolved ticket, as every field's audit sees it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Id of the ticket, unique in the department.
    pub ticket: &'a str,
    /// Its canonical text. Only its letters are compared; it is in no finding.
    pub text: &'a str,
    /// Vector of the whole text, `[dim]`, of the same length for all.
    pub vector: &'a [f32],
    /// When it was opened.
    pub created_at: Option<DateTime<Utc>>,
}

/// What is recorded and predicted in one field.
#[derive(Debug, Clone)]
pub struct FieldRows {
    /// Id of the field.
    pub field: String,
    /// Labels that may be given, in the order that `label` and `probabilities` count in.
    pub labels: Vec<LabelRef>,
    /// True when the labels are steps of one scale: neighbours are then never to be merged.
    pub ordinal: bool,
    /// False when the probabilities were not fitted to outcomes in every part; they are then left alone.
    pub calibrated: bool,
    /// Tickets with one of the labels, each subject at most once.
    pub rows: Vec<Row>,
    /// Tickets without a value in this field.
    pub without_value: usize,
    /// Tickets whose value is none of the labels: unknown, or no longer given.
    pub with_other_value: usize,
}

/// One ticket in one field.
#[derive(Debug, Clone)]
pub struct Row {
    /// Index of the ticket among the subjects.
    pub subject: usize,
    /// Index of the recorded label.
    pub label: usize,
    /// Probability by label from heads that did not learn from the ticket, summing to 1; none when there are no such.
    pub probabilities: Option<Vec<f32>>,
}

/// The whole audit of a department. The same data give the same audit, to the last digit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Version of triage that audited.
    pub version: String,
    /// Id of the department.
    pub department: String,
    /// Encoder whose vectors were compared.
    pub encoder: String,
    /// Resolved tickets.
    pub tickets: usize,
    /// When the newest of them was opened; none when no ticket has a date.
    pub newest_ticket: Option<DateTime<Utc>>,
    /// How near copies were searched.
    pub search: NearSearch,
    /// Parts into which the tickets were drawn, each held out in turn for the predictions.
    pub folds: usize,
    /// Findings by field, in the order of the taxonomy.
    pub fields: Vec<FieldAudit>,
}

/// How near copies were searched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NearSearch {
    /// Least cosine of standardised vectors from which two texts count as near copies.
    pub least_cosine: f64,
    /// Texts that differ in more than digits, case and punctuation.
    pub texts: usize,
    /// Texts that each of them was compared with: all, or a sample when there are very many.
    pub compared_with: usize,
}

/// Findings in one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldAudit {
    /// Id of the field.
    pub field: String,
    /// Figures of the field as a whole.
    pub summary: Summary,
    /// Why there is nothing from predictions (overlapping labels, suspects); none when there is.
    pub unmeasured: Option<Unmeasured>,
    /// Near copies with different labels, the most similar first.
    pub conflicts: Vec<Conflict>,
    /// Pairs of labels that the service cannot tell apart, the most confused first.
    pub overlapping: Vec<Overlap>,
    /// Labels that are not, or no longer, of use.
    pub dead: Vec<DeadLabel>,
    /// Tickets whose recorded label is probably wrong, the clearest first, at most as many as were asked for.
    pub suspects: Vec<Suspect>,
}

/// Figures of a field as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Tickets with one of the field's labels.
    pub tickets: usize,
    /// Tickets without a value in this field.
    pub without_value: usize,
    /// Tickets whose value is unknown or no longer given.
    pub with_other_value: usize,
    /// Labels that may be given.
    pub labels: usize,
    /// Tickets in a conflict.
    pub in_conflict: usize,
    /// Share of the tickets that are in a conflict, 0 to 1. A count of all tickets, so it has no interval.
    pub share_in_conflict: Option<f64>,
    /// Tickets that do not carry the most frequent label of their conflict: the fewest changes that would end all.
    pub against_majority: usize,
    /// Suspects in all, those beyond the list included.
    pub suspects: usize,
    /// Estimated share of wrong labels, 0 to 1. Tickets on which the service errs are in it too, so the truth lies lower:
    /// far lower where `agreement` is below [`WEAK_AGREEMENT`].
    pub share_wrong: Option<f64>,
    /// Bounds of that share by chance alone, 95 %.
    pub share_wrong_interval: Option<Interval>,
    /// Share of held-out tickets whose likeliest label is the recorded one, 0 to 1.
    pub agreement: Option<f64>,
}

/// Why predictions were not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unmeasured {
    /// There are fewer than [`LEAST_TICKETS`] tickets with a value.
    TooFewTickets,
    /// No heads could be fitted in at least one part, as when all tickets have the same value.
    NotCalibrated,
}

/// What is audited, and how much of it is listed.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Id of the department.
    pub department: &'a str,
    /// Name of the encoder that made the vectors.
    pub encoder: String,
    /// Suspects to list of each field.
    pub top: usize,
}

/// Looks for faults in the labels. A row whose subject or label is out of range is left out.
pub fn audit(request: &Request<'_>, subjects: &[Subject<'_>], fields: Vec<FieldRows>) -> Audit {
    let fields: Vec<FieldRows> = fields.into_iter().map(|field| checked(field, subjects.len())).collect();
    let vectors: Vec<&[f32]> = subjects.iter().map(|subject| subject.vector).collect();
    let space = near::Space::new(&vectors);
    let texts = conflicts::Texts::new(subjects);
    let (conflicts, compared_with) = conflicts::find(subjects, &texts, &space, &fields);
    let newest_ticket = subjects.iter().filter_map(|subject| subject.created_at).max();
    let fields = fields.iter().zip(conflicts).map(|(field, conflicts)| {
        let unmeasured = if field.rows.len() < LEAST_TICKETS {
            Some(Unmeasured::TooFewTickets)
        } else if !field.calibrated || field.rows.iter().any(|row| row.probabilities.is_none()) {
            Some(Unmeasured::NotCalibrated)
        } else {
            None
        };
        let scored: Vec<Scored<'_>> = match unmeasured {
            Some(_) => Vec::new(),
            None => field.rows.iter().filter_map(|row| Scored::new(row, subjects)).collect(),
        };
        let learning = suspects::Learning::new(&scored, field.labels.len());
        let n = field.rows.len();
        let in_conflict = conflicts.iter().map(|conflict| conflict.tickets.len()).sum();
        FieldAudit {
            field: field.field.clone(),
            unmeasured,
            summary: Summary {
                tickets: n,
                without_value: field.without_value,
                with_other_value: field.with_other_value,
                labels: field.labels.len(),
                in_conflict,
                share_in_conflict: mean(in_conflict as f64, n),
                against_majority: conflicts.iter().map(|conflict| conflict.against_majority).sum(),
                suspects: learning.n_suspects(),
                share_wrong: learning.share_wrong(),
                share_wrong_interval: learning.share_wrong_interval(),
                agreement: mean(scored.iter().filter(|row| row.best() == row.label).count() as f64, scored.len()),
            },
            conflicts,
            overlapping: overlap::find(&scored, field),
            dead: dead::find(&scored, subjects, field, newest_ticket),
            suspects: learning.list(&scored, field, subjects, &space, request.top),
        }
    });
    Audit {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        department: request.department.to_owned(),
        encoder: request.encoder.clone(),
        tickets: subjects.len(),
        newest_ticket,
        search: NearSearch { least_cosine: near::LEAST_COSINE_SHOWN, texts: texts.len(), compared_with },
        folds: FOLDS,
        fields: fields.collect(),
    }
}

impl Audit {
    /// The audit as indented JSON with a line break at its end.
    ///
    /// # Errors
    /// [`Error::Bug`] only: every figure is finite or absent.
    pub fn to_json(&self) -> Result<String> {
        let mut json = serde_json::to_string_pretty(self).map_err(|_| Error::Bug("an audit that is not JSON"))?;
        json.push('\n');
        Ok(json)
    }
}

/// The field without rows that point nowhere, which a caller can only produce by mistake.
fn checked(mut field: FieldRows, n_subjects: usize) -> FieldRows {
    let n_labels = field.labels.len();
    field.rows.retain(|row| row.subject < n_subjects && row.label < n_labels);
    for row in &mut field.rows {
        if let Some(probabilities) = &mut row.probabilities {
            probabilities.resize(n_labels, 0.0);
            probabilities.iter_mut().filter(|p| !p.is_finite()).for_each(|p| *p = 0.0);
        }
    }
    field
}

/// A ticket with a recorded label and a prediction.
#[derive(Debug, Clone, Copy)]
struct Scored<'a> {
    ticket: &'a str,
    subject: usize,
    label: usize,
    /// One for each label of the field.
    probabilities: &'a [f32],
}

impl<'a> Scored<'a> {
    fn new(row: &'a Row, subjects: &[Subject<'a>]) -> Option<Scored<'a>> {
        Some(Scored {
            ticket: subjects.get(row.subject)?.ticket,
            subject: row.subject,
            label: row.label,
            probabilities: row.probabilities.as_deref()?,
        })
    }

    /// Probability of a label, 0 to 1.
    fn probability(&self, label: usize) -> f32 {
        self.probabilities.get(label).copied().unwrap_or(0.0)
    }

    /// The likeliest label; the first of equals.
    fn best(&self) -> usize {
        let first = (0, f32::NEG_INFINITY);
        self.probabilities.iter().enumerate().fold(first, |best, (i, &p)| if p > best.1 { (i, p) } else { best }).0
    }
}

/// Six decimals of a probability or cosine, so that a report changes only when a figure does.
fn rounded(value: f32) -> f64 {
    super::interval::round(f64::from(value))
}

#[cfg(test)]
mod tests;
