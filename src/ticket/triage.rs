//! What goes out: the answer to one ticket and its parts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ticket::Language;

/// The answer to one ticket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Triage {
    /// UUIDv7 of this decision.
    pub decision_id: uuid::Uuid,
    /// Id of the ticket that was read.
    pub ticket: String,
    /// Model version that decided: department/version, encoder and its fingerprint.
    #[schema(example = "it/7 e5-small-de-en@sha256:ab12cd34")]
    pub model: String,
    /// Language of the text.
    pub language: Language,
    /// Stages that failed or were left out; the rest of the answer stands.
    pub degraded: Vec<Stage>,
    /// What was read and what was left out of it.
    pub text: TextReport,
    /// One decision per field of the department, by field id.
    pub fields: BTreeMap<String, FieldDecision>,
    /// Resolved tickets that are like this one, best first.
    pub similar: Vec<SimilarTicket>,
    /// Knowledge articles that fit, best first.
    pub articles: Vec<ArticleHit>,
    /// What could be replied, each sentence with its source.
    pub answer: Answer,
    /// Tickets that report the same thing, most probable first.
    pub duplicates: Vec<Duplicate>,
    /// Time spent, in milliseconds, by stage. In a batch, stages that ran for all tickets at once are shared out equally.
    pub timing_ms: Timing,
}

/// A stage of the pipeline, as named in `degraded`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Text hygiene.
    Text,
    /// Embedding.
    Embed,
    /// Retrieval of tickets and articles.
    Retrieve,
    /// Probabilities per field.
    Classify,
    /// Decisions, answer and duplicates.
    Suggest,
    /// The decision could not be written to the store.
    Record,
}

/// What the text stage kept and removed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TextReport {
    /// Characters of the canonical text, subject and line break included.
    pub kept_chars: usize,
    /// What was taken out, in order of appearance.
    pub removed: Vec<Removal>,
    /// True when the text was cut because it is longer than the service reads.
    pub truncated: bool,
}

/// A stretch of text that was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Why.
    pub kind: RemovalKind,
    /// How many characters.
    pub chars: usize,
}

/// Why a stretch of text was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemovalKind {
    /// An earlier message, quoted below or above the new one.
    Quote,
    /// Name, address and numbers at the end of a mail.
    Signature,
    /// Legal or confidentiality notice.
    Disclaimer,
    /// Warning that the mail system put on top.
    Banner,
    /// Markup: tags, styles, scripts.
    Markup,
}

/// The decision on one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldDecision {
    /// What the frontend should do with `value`.
    pub outcome: Decision,
    /// Why the service abstains; only with `abstain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The label decided on; absent with `abstain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<LabelRef>,
    /// Calibrated probability that the best label is right, 0 to 1; absent where nothing was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// Confidence from which the field's precision target is met; absent where none could be derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// Confidence from which the value is set without asking; only for a field that may be, and where one could be derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_threshold: Option<f32>,
    /// Resolved tickets with the best label that stand behind the decision.
    pub based_on: usize,
    /// Next best labels, most probable first; with `abstain` the best label leads.
    pub alternatives: Vec<Alternative>,
    /// Nearest resolved tickets with the best label.
    pub evidence: Vec<Evidence>,
    /// Nearest resolved tickets with another label.
    pub against: Vec<Evidence>,
    /// What the ticket itself says about an ordinal field, beside the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Stated>,
    /// The values that the field's matrix was read at, by field; only for a field that has a matrix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub derived_from: BTreeMap<String, LabelRef>,
}

/// The level that a ticket came with, and what the evidence makes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stated {
    /// The level that the requester gave.
    pub value: LabelRef,
    /// Whether the evidence contradicts it.
    pub evidence: StatedEvidence,
    /// Calibrated probability that the right level is lower.
    pub lower: f32,
    /// Calibrated probability that the right level is higher.
    pub higher: f32,
}

/// What the evidence says about a stated level, at the field's precision target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StatedEvidence {
    /// Nothing speaks against it with enough certainty.
    NotContradicted,
    /// The requester said high, the evidence says lower.
    SaysLower,
    /// The requester said low, the evidence says higher.
    SaysHigher,
}

/// What the frontend should do with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Set it without asking.
    Apply,
    /// Fill it in and let an agent confirm.
    Preselect,
    /// Show it beside the field.
    Suggest,
    /// Leave the field alone.
    Abstain,
}

/// Why the service abstains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The best label is less sure than the threshold.
    LowConfidence,
    /// The two best labels are too close.
    LowMargin,
    /// Nothing like this was seen in training.
    FarFromTraining,
    /// The text holds too little to decide on.
    TooShort,
    /// No resolved ticket in this language stands behind the field.
    LanguageUnseen,
    /// The field has no label with a resolved ticket or a usable name.
    NoExamples,
    /// The field is switched off.
    FieldOff,
    /// The best label is one that is never to be given.
    NeverGiven,
}

/// A label, by its stable id and its present name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LabelRef {
    /// Stable id.
    pub id: String,
    /// Present name.
    pub name: String,
}

/// A label that was not decided on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alternative {
    /// Stable id.
    pub id: String,
    /// Present name.
    pub name: String,
    /// Calibrated probability, 0 to 1; absent where nothing was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
}

/// A resolved ticket that speaks for or against a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// Id of the resolved ticket.
    pub ticket: String,
    /// Id of the label it got.
    pub label: String,
    /// Cosine of the standardised vectors, -1 to 1.
    pub score: f32,
    /// Words of that ticket that this one shares most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

/// A resolved ticket that is like the one asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimilarTicket {
    /// Id of the ticket.
    pub id: String,
    /// Its subject, or its first words.
    pub title: String,
    /// Fused score: centred cosine plus weighted BM25; only for ranking.
    pub score: f32,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// What solved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Excerpt>,
}

/// A stretch of text with what to mark in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Excerpt {
    /// The text.
    pub text: String,
    /// Stretches of `text` that match the query, in order.
    pub highlights: Vec<(usize, usize)>,
}

/// A knowledge article that fits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArticleHit {
    /// Id of the article.
    pub id: String,
    /// Headline.
    pub title: String,
    /// Fused score: centred cosine plus weighted BM25; only for ranking.
    pub score: f32,
    /// Where a person reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The part that fits best.
    pub passage: PassageExcerpt,
}

/// A stretch of an article's canonical body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PassageExcerpt {
    /// The text.
    pub text: String,
    /// Where it stands in the canonical body.
    pub range: (usize, usize),
    /// Stretches of `text` that match the query, in order.
    pub highlights: Vec<(usize, usize)>,
}

/// What could be replied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// Whether anything came close enough.
    pub status: AnswerStatus,
    /// The sentences, joined; absent with `nothing_close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Each sentence with its source, in reading order.
    pub sentences: Vec<CitedSentence>,
}

/// Whether an answer could be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerStatus {
    /// The sentences answer tickets like this one.
    Suggested,
    /// No resolved ticket or article is near enough.
    NothingClose,
}

/// A sentence taken word by word from its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CitedSentence {
    /// The sentence.
    pub text: String,
    /// Where it stands.
    pub source: Source,
}

/// Where a sentence stands: `range` counts characters of an article's canonical body or a ticket's resolution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Source {
    /// What it was taken from.
    pub kind: SourceKind,
    /// Id of the article or ticket.
    pub id: String,
    /// Where in it.
    pub range: (usize, usize),
}

/// What a sentence was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// A knowledge article.
    Article,
    /// The resolution of a ticket.
    Ticket,
}

/// A ticket that may report the same thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Duplicate {
    /// Id of the ticket.
    pub id: String,
    /// Probability that both report the same thing, 0 to 1.
    pub probability: f32,
}

/// Milliseconds by stage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timing {
    /// Waiting for a worker.
    pub queue: f32,
    /// Text hygiene.
    pub text: f32,
    /// Embedding.
    pub embed: f32,
    /// Retrieval.
    pub retrieve: f32,
    /// Probabilities.
    pub classify: f32,
    /// Decisions and answer.
    pub suggest: f32,
}
