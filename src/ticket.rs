//! The nouns that every stage speaks: what comes in ([`Ticket`], [`Article`], [`Outcome`]) and what goes out
//! ([`Triage`] and its parts). Plain data; the same objects stand in the API, in import and export, in training,
//! evaluation and batch files.
//!
//! Positions in text (`range`, `highlights`) count Unicode scalar values, the end excluded.

mod triage;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::triage::{
    Alternative, Answer, AnswerStatus, ArticleHit, CitedSentence, Decision, Duplicate, Evidence, Excerpt,
    FieldDecision, LabelRef, PassageExcerpt, Reason, Removal, RemovalKind, SimilarTicket, Source, SourceKind, Stage,
    Stated, StatedEvidence, TextReport, Timing, Triage,
};
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
