//! Here are held-out tickets with what the model said and what was right, give me figures that can be trusted: metrics
//! with their uncertainty, curves, a report for people, and a gate for machines.
//!
//! Not for running the model: this part is pure arithmetic and text, and no ticket text passes through it.

pub mod audit;
mod charts;
mod gate;
mod interval;
mod metrics;
mod report;
mod retrieval;
pub mod run;
pub mod search;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use gate::{Bound, Gate};
pub use interval::{Interval, wilson};
pub use metrics::{
    Confusion, CoverageAt, CurvePoint, FieldMetrics, LabelMetrics, LanguageMetrics, ReliabilityBin, field_metrics,
};
pub use report::Report;
pub use retrieval::{Ranking, RetrievalMetrics, RetrievalReport, retrieval_metrics};

use crate::ticket::{LabelRef, Language};

/// What the model said about one field of the held-out tickets, beside what was right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldResult {
    /// Id of the field.
    pub field: String,
    /// The closed set, in the order that `truth` and `probabilities` count in; for an ordinal field lowest first.
    pub labels: Vec<LabelRef>,
    /// True when the labels are steps of one scale.
    pub ordinal: bool,
    /// False when the probabilities were never fitted to outcomes (a field without examples).
    pub calibrated: bool,
    /// One row a ticket, in any order.
    pub rows: Vec<Scored>,
}

/// One held-out ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Id of the ticket; breaks ties, and does not leave this module.
    pub ticket: String,
    /// Language of its text.
    pub language: Language,
    /// Index of the right label. One that is out of range stands for a label the model cannot give: always wrong.
    pub truth: usize,
    /// Probability by label, 0 to 1, summing to 1. Labels beyond its end have probability 0.
    pub probabilities: Vec<f32>,
    /// True when the most likely label lies above its threshold at the field's own precision target.
    pub decided: bool,
    /// The same at other precision targets, by target as text: "0.90", "0.95", "0.99".
    pub decided_at: BTreeMap<String, bool>,
}
