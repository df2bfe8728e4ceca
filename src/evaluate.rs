//! Here are held-out tickets with what the model said and what was right, give me figures that can be trusted: metrics
//! with their uncertainty, curves, a report for people, and a gate for machines.
//!
//! Not for running the model: this part is pure arithmetic and text, and no ticket text passes through it.

pub mod audit;
mod charts;
mod comparison;
mod gate;
mod interval;
mod metrics;
mod report;
mod retrieval;
pub mod run;
pub mod search;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use comparison::{Comparison, Difference, FieldComparison, LabelComparison, McNemar, VersionMetrics, compare};
pub use gate::{Bound, Gate};
pub use interval::{Interval, wilson};
pub use metrics::{
    Confusion, CostMetrics, Costs, CoverageAt, CurvePoint, FieldCosts, FieldMetrics, LabelMetrics, LanguageMetrics,
    MemberMetrics, PairCost, ReliabilityBin, ThresholdCost, UnknownMetrics, field_metrics,
};
pub use report::{DepartmentReports, PageLanguage, Protocol, Report};
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
    /// Tickets that belong to no label of the field, in any order; usually none.
    #[serde(default)]
    pub unknown: Vec<Stranger>,
}

/// A ticket that belongs to no label of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stranger {
    /// How unlike the training data it is, higher is stranger; absent without trained heads.
    pub novelty: Option<f32>,
    /// True when it counts as far from the training data.
    pub far_from_training: bool,
}

/// One held-out ticket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scored {
    /// Id of the ticket; breaks ties, and does not leave this module.
    pub ticket: String,
    /// Language of its text.
    pub language: Language,
    /// Index of the right label. One that is out of range stands for a label the model cannot give: always wrong.
    pub truth: usize,
    /// Probability by label, 0 to 1, summing to 1. Labels beyond its end have probability 0.
    pub probabilities: Vec<f32>,
    /// Index of the label decided on; the most likely one, the first among equals, if not given.
    pub predicted: Option<usize>,
    /// What each of [`crate::classify::MEMBER_NAMES`] would say alone; none for a label the field no longer has. Empty
    /// without trained heads.
    pub by_member: Vec<Option<usize>>,
    /// How unlike the training data the ticket is, higher is stranger; absent without trained heads.
    pub novelty: Option<f32>,
    /// True when it counts as far from the training data.
    pub far_from_training: bool,
    /// True when the label decided on lies above its threshold at the field's own precision target.
    pub decided: bool,
    /// The same at other precision targets, by target as text: "0.90", "0.95", "0.99".
    pub decided_at: BTreeMap<String, bool>,
}
