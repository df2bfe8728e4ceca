//! The nouns that every stage speaks: what comes in ([`Ticket`], [`Article`], [`Outcome`]) and what goes out
//! ([`Triage`] and its parts). Plain data; the same objects stand in the API, in import and export, in training,
//! evaluation and batch files.
//!
//! Positions in text (`range`, `highlights`) count Unicode scalar values, the end excluded.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};

/// Longest id of a ticket, article, department, field or label, in bytes.
pub const MAX_ID_BYTES: usize = 200;

/// A support ticket, as it arrives or as it was resolved.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ticket {
    /// The frontend's own id, unique within the department.
    #[schema(required = true, min_length = 1, max_length = 200, example = "HELP-881")]
    pub id: String,
    /// Subject line; empty when there is none.
    pub subject: String,
    /// First message of the requester, raw.
    pub body: String,
    /// How `body` and the messages are written.
    #[serde(skip_serializing_if = "ContentType::is_plain")]
    pub content_type: ContentType,
    /// Department the ticket belongs to; the request's own department wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Language as the frontend knows it (BCP 47); a hint only, the text decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// How the ticket came in: "email", "phone", "portal" and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester: Option<Requester>,
    /// State in the frontend; an imported ticket without one counts as resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// When the ticket was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// When the ticket was resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// Final values by field: `{"category": "Network::VPN"}`, each a label's id or name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What solved the ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// The conversation, oldest first, for frontends that send it whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// "train" or "test" in a set with a given split; only evaluation reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// How a text is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum ContentType {
    /// Plain text.
    #[default]
    #[serde(rename = "text/plain")]
    Plain,
    /// HTML mail or page.
    #[serde(rename = "text/html")]
    Html,
    /// Markdown.
    #[serde(rename = "text/markdown")]
    Markdown,
}

/// State of a ticket in its frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody has solved it yet.
    #[serde(alias = "new", alias = "pending", alias = "waiting")]
    Open,
    /// Solved; its labels and resolution are what the service learns from.
    #[serde(alias = "closed", alias = "solved", alias = "done")]
    Resolved,
}

/// Who opened a ticket.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Requester {
    /// The frontend's id of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Company or unit the person belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// One message of a ticket's conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// True for a note that the requester cannot see.
    #[serde(default)]
    pub internal: bool,
    /// Raw text, in the ticket's content type.
    pub body: String,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// Author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The requester.
    Customer,
    /// Someone who works on the ticket.
    Agent,
    /// The frontend itself.
    System,
}

/// A knowledge article.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Article {
    /// The knowledge base's own id, unique within the department.
    #[schema(required = true, min_length = 1, max_length = 200, example = "kb-17")]
    pub id: String,
    /// Headline.
    pub title: String,
    /// The article itself, raw.
    #[schema(required = true)]
    pub body: String,
    /// How `body` is written.
    #[serde(skip_serializing_if = "ContentType::is_plain")]
    pub content_type: ContentType,
    /// Department the article belongs to; the request's own department wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Language as the knowledge base knows it; a hint only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Where a person reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Last change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<DateTime<Utc>>,
}

/// What became of a ticket: its final field values, when it closes or when an agent corrects it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Outcome {
    /// Final values by field; fields that are not named keep their value.
    pub labels: BTreeMap<String, String>,
    /// What solved the ticket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<String>,
    /// When the ticket was closed; now, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<DateTime<Utc>>,
}

/// Language of a text. What the detector is unsure of is [`Language::Und`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// German.
    De,
    /// English.
    En,
    /// Neither, mixed, or too short to tell.
    #[default]
    Und,
}

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
    /// Resolved tickets with the best label that stand behind the decision.
    pub based_on: usize,
    /// Next best labels, most probable first; with `abstain` the best label leads.
    pub alternatives: Vec<Alternative>,
    /// Nearest resolved tickets with the best label.
    pub evidence: Vec<Evidence>,
    /// Nearest resolved tickets with another label.
    pub against: Vec<Evidence>,
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

impl ContentType {
    /// True for [`ContentType::Plain`], which is left out of files.
    pub fn is_plain(&self) -> bool {
        *self == ContentType::Plain
    }
}

impl Ticket {
    /// Checks what serde cannot: an id, and something to read.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the JSON pointer of the field, relative to the ticket.
    pub fn check(&self) -> Result<()> {
        check_id("/id", &self.id)?;
        let has_text = !self.subject.trim().is_empty()
            || !self.body.trim().is_empty()
            || self.messages.iter().any(|message| !message.body.trim().is_empty());
        if !has_text {
            return Err(Error::invalid("/body", "one of subject, body or messages must hold text"));
        }
        for (field, label) in &self.labels {
            check_id(&format!("/labels/{}", pointer_token(field)), field)?;
            check_id(&format!("/labels/{}", pointer_token(field)), label)?;
        }
        Ok(())
    }

    /// True for a ticket that counts as solved: `resolved`, or without a status.
    pub fn is_resolved(&self) -> bool {
        self.status != Some(Status::Open)
    }
}

impl Article {
    /// Checks what serde cannot: an id, and something to read.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the JSON pointer of the field, relative to the article.
    pub fn check(&self) -> Result<()> {
        check_id("/id", &self.id)?;
        if self.title.trim().is_empty() && self.body.trim().is_empty() {
            return Err(Error::invalid("/body", "one of title or body must hold text"));
        }
        Ok(())
    }
}

/// Checks an id: not empty, at most [`MAX_ID_BYTES`], no control characters, no blanks at its ends.
///
/// # Errors
/// [`Error::Invalid`] at `pointer`.
pub fn check_id(pointer: &str, id: &str) -> Result<()> {
    let reason = if id.is_empty() {
        "must not be empty".to_owned()
    } else if id.len() > MAX_ID_BYTES {
        format!("is {} bytes long, and at most {MAX_ID_BYTES} are allowed", id.len())
    } else if id.chars().any(char::is_control) {
        "must not hold control characters".to_owned()
    } else if id.trim() != id {
        "must not begin or end with a blank".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(pointer, reason))
}

/// Escapes one reference token of a JSON pointer (RFC 6901 §3).
pub fn pointer_token(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}
