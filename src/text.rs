//! Here is what a customer wrote, give me the one canonical form that every other stage reads.
//!
//! [`canonical`] and its three siblings are the only functions that change customer text. Serving, import, training and
//! evaluation all pass through them, and a model remembers [`TEXT_VERSION`]. They are total: any text comes out as some
//! text, in time linear in its length. Not for display of the original, and not for hiding personal data.

mod characters;
mod entities;
mod html;
mod identifiers;
mod kind;
mod language;
mod markdown;
mod phrases;
mod reply;
mod subject;

use regex::Regex;

use crate::ticket::{Article, ContentType, Language, Removal, RemovalKind, Role, Ticket};

use html::HtmlLine;
use markdown::BlockQuotes;
use reply::{Cleaned, Hint};

/// Changes whenever the canonical form of any text changes.
pub const TEXT_VERSION: u32 = 1;
/// Characters of a canonical body; what follows is cut off.
pub const MAX_KEPT_CHARS: usize = 16_000;
/// Characters of a canonical subject or title.
const MAX_SUBJECT_CHARS: usize = 1_000;
/// Characters of a raw plain or Markdown text that are looked at, before hygiene.
const MAX_READ_CHARS: usize = 200_000;
/// Characters of raw HTML that are looked at: style sheets and embedded pictures take most of a mail.
const MAX_READ_HTML_CHARS: usize = 1_000_000;

/// The canonical form of a ticket or a search text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// Subject, line break, body; the body alone when it begins with the subject. What encoder and heads read.
    pub text: String,
    /// Subject in one line, without reply prefixes and ticket numbers; at most 1,000 characters.
    pub subject: String,
    /// What the requester wrote, at most [`MAX_KEPT_CHARS`] characters: no empty line at the ends, at most one in a row.
    pub body: String,
    /// Language of `text`; the ticket's own hint where the text does not tell.
    pub language: Language,
    /// Whether a person wrote it.
    pub kind: MessageKind,
    /// What was taken out of the body, in order of appearance; markup as one sum, before all else.
    pub removed: Vec<Removal>,
    /// Error codes, host names, versions, product codes and ticket numbers as written, in order of first appearance, each
    /// once; at most 32 of at most 64 characters.
    pub identifiers: Vec<String>,
    /// True when subject or body were longer than the service reads.
    pub truncated: bool,
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A person, for the helpdesk.
    #[default]
    Message,
    /// An absence note or another automatic answer.
    AutoReply,
    /// A report that a mail could not be delivered.
    Bounce,
}

/// The canonical form of a knowledge article.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalArticle {
    /// Headline in one line, at most 1,000 characters.
    pub title: String,
    /// Text with one block (paragraph, heading, list item, table row, line of code) a line and no empty lines.
    pub body: String,
    /// Language of title and body; the article's own hint where they do not tell.
    pub language: Language,
}

/// Brings a ticket into canonical form: one character form, no markup, no quoted mails, signatures, legal notices or
/// gateway warnings. A forwarded mail is kept when the note above it says nothing. Never empty when the ticket says
/// something; canonical text comes out unchanged.
pub fn canonical(ticket: &Ticket) -> Canonical {
    let (raw_subject, subject_cut) = cut_line(&ticket.subject);
    let (subject, hint) = subject::strip(&raw_subject);
    let (raw, raw_cut) = cut_raw(raw_body(ticket), ticket.content_type);
    let lines = mail_lines(raw, ticket.content_type);
    let kind = kind::kind_of(&raw_subject, &first_chars(&lines));

    let mut removed = markup_removal(raw, ticket.content_type, &lines);
    let cleaned = reply::clean(lines, hint);
    removed.extend(cleaned.removed);
    let (body, body_cut, cut_removed) = settle(cleaned.text);
    removed.extend(cut_removed);

    let text = join_subject(&subject, &body);
    let language = detect(&text, ticket.language.as_deref());
    let identifiers = identifiers::find(&text);
    Canonical {
        text,
        subject,
        body,
        language,
        kind,
        removed,
        identifiers,
        truncated: subject_cut || raw_cut || body_cut,
    }
}

/// Brings a search text into canonical form: one character form, nothing taken out.
pub fn canonical_query(text: &str) -> Canonical {
    let (raw, raw_cut) = characters::cut(text, MAX_READ_CHARS);
    let lines = characters::lines(raw);
    let whole = characters::join(lines.iter().map(String::as_str));
    let (body, body_cut) = cut_end(&whole, MAX_KEPT_CHARS);
    Canonical {
        text: body.clone(),
        subject: String::new(),
        language: language::detect(&body),
        kind: MessageKind::Message,
        removed: Vec::new(),
        identifiers: identifiers::find(&body),
        truncated: raw_cut || body_cut,
        body,
    }
}

/// Brings a knowledge article into canonical form. Quotes in it are part of it.
pub fn canonical_article(article: &Article) -> CanonicalArticle {
    let (title, _) = cut_line(&article.title);
    let (raw, _) = cut_raw(&article.body, article.content_type);
    let blocks = match article.content_type {
        ContentType::Plain => characters::lines(raw),
        ContentType::Html => html::read(raw).iter().map(|line| characters::one_line(&line.text)).collect(),
        ContentType::Markdown => {
            markdown::read(raw, BlockQuotes::Text).iter().map(|block| characters::one_line(block)).collect()
        }
    };
    let body = blocks.into_iter().filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n");
    let language = detect(&join_subject(&title, &body), article.language.as_deref());
    CanonicalArticle { title, body, language }
}

/// Brings what solved a ticket into canonical form, by the same rules as a mail: agents close tickets by mail.
pub fn canonical_resolution(text: &str, content_type: ContentType) -> String {
    let (raw, _) = cut_raw(text, content_type);
    let cleaned = reply::clean(mail_lines(raw, content_type), Hint::None);
    settle(cleaned.text).0
}

/// The ticket's body; without one the first message of the customer, or else of anyone but the frontend itself.
fn raw_body(ticket: &Ticket) -> &str {
    if !ticket.body.trim().is_empty() {
        return &ticket.body;
    }
    let first = |wanted: &dyn Fn(Role) -> bool| {
        ticket.messages.iter().find(|message| wanted(message.role) && !message.body.trim().is_empty())
    };
    let message = first(&|role| role == Role::Customer).or_else(|| first(&|role| role != Role::System));
    message.map_or(ticket.body.as_str(), |message| message.body.as_str())
}

fn cut_raw(text: &str, content_type: ContentType) -> (&str, bool) {
    let max_chars = if content_type == ContentType::Html { MAX_READ_HTML_CHARS } else { MAX_READ_CHARS };
    characters::cut(text, max_chars)
}

/// A subject or title in one line of the one character form, and whether it was cut.
fn cut_line(raw: &str) -> (String, bool) {
    let (raw, raw_cut) = characters::cut(raw, 4 * MAX_SUBJECT_CHARS);
    let (line, line_cut) = cut_end(&characters::one_line(raw), MAX_SUBJECT_CHARS);
    (line, raw_cut || line_cut)
}

/// Lines of a mail in the one character form.
fn mail_lines(raw: &str, content_type: ContentType) -> Vec<HtmlLine> {
    let in_form = |text: &str, quoted: bool| {
        characters::lines(text).into_iter().map(move |text| HtmlLine { text, quoted }).collect::<Vec<_>>()
    };
    let mut lines = match content_type {
        ContentType::Plain => in_form(raw, false),
        ContentType::Html => html::read(raw).iter().flat_map(|line| in_form(&line.text, line.quoted)).collect(),
        ContentType::Markdown => {
            markdown::read(raw, BlockQuotes::Mail).iter().flat_map(|line| in_form(line, false)).collect()
        }
    };
    let mut chars = 0;
    lines.retain(|line| {
        chars += line.text.len() + 1;
        chars <= 4 * MAX_READ_CHARS
    });
    lines
}

fn first_chars(lines: &[HtmlLine]) -> String {
    characters::join(lines.iter().take(60).map(|line| line.text.as_str()))
}

/// How many characters of the raw text were markup.
fn markup_removal(raw: &str, content_type: ContentType, lines: &[HtmlLine]) -> Vec<Removal> {
    if content_type.is_plain() {
        return Vec::new();
    }
    let kept: usize = lines.iter().map(|line| line.text.chars().count()).sum();
    let blanks = raw.chars().filter(|c| c.is_whitespace()).count();
    let kept_blanks: usize = lines.iter().map(|line| line.text.matches(' ').count()).sum();
    let chars = (raw.chars().count() - blanks).saturating_sub(kept - kept_blanks);
    if chars == 0 { Vec::new() } else { vec![Removal { kind: RemovalKind::Markup, chars }] }
}

/// Cuts a cleaned body to its length. The cut may uncover a signature, so that the rest is cleaned again.
fn settle(cleaned: String) -> (String, bool, Vec<Removal>) {
    let (body, was_cut) = cut_end(&cleaned, MAX_KEPT_CHARS);
    if !was_cut {
        return (cleaned, false, Vec::new());
    }
    let lines = body.split('\n').map(|line| HtmlLine { text: line.to_owned(), quoted: false }).collect();
    let Cleaned { text, removed } = reply::clean(lines, Hint::None);
    (text, true, removed)
}

/// The first `max_chars` characters, without blanks at the end.
fn cut_end(text: &str, max_chars: usize) -> (String, bool) {
    let (kept, was_cut) = characters::cut(text, max_chars);
    (kept.trim_end().to_owned(), was_cut)
}

fn join_subject(subject: &str, body: &str) -> String {
    match (subject, body) {
        ("", _) => body.to_owned(),
        (_, "") => subject.to_owned(),
        _ if body.starts_with(subject) => body.to_owned(),
        _ => format!("{subject}\n{body}"),
    }
}

fn detect(text: &str, hint: Option<&str>) -> Language {
    match language::detect(text) {
        Language::Und => hint.map_or(Language::Und, language::of_tag),
        detected => detected,
    }
}

/// Compiles a constant pattern. Its word boundaries are those of ASCII: Unicode's keep the regex crate from its fast
/// engines on any text with an umlaut (documentation of the regex crate, "Performance"), and no phrase begins or ends with one.
fn pattern(pattern: &str) -> Regex {
    Regex::new(&pattern.replace(r"\b", r"(?-u:\b)")).expect("the pattern is a constant that the tests compile")
}

#[cfg(test)]
mod tests;
