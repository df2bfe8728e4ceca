//! Here is an audit, give me one self-contained HTML page in German or English: a summary for who is responsible, tables
//! to work through for who keeps the labels.
//!
//! The page needs no script, no network and no other file, can be printed, and holds no ticket text.

mod words;

use std::fmt::Display;

use chrono::{DateTime, Utc};

use self::words::Words;
use super::{Audit, Conflict, FieldAudit, Summary, WEAK_AGREEMENT};
use crate::evaluate::PageLanguage;
use crate::evaluate::interval::Interval;
use crate::evaluate::report::{self, STYLE, escape};
use crate::ticket::LabelRef;

/// Rows of a table; a page with tens of thousands is of no use to anyone.
const MAX_ROWS: usize = 500;
/// Tickets of one label that a conflict names.
const MAX_TICKETS: usize = 12;

/// What the tables of this page need beyond the common style.
const OWN_STYLE: &str = ".overview thead th { white-space: normal; }\n.work { width: 100%; }\n.work th, .work td { text-align: left; vertical-align: top; \
    white-space: normal; overflow-wrap: anywhere; }\n.work td:first-child { padding-left: 0; }\n.work td.num, \
    .work th.num { text-align: right; white-space: nowrap; }\n.work ul { list-style: none; margin: 0; padding: 0; }\n\
    code { font-family: ui-monospace, SFMono-Regular, Consolas, \"DejaVu Sans Mono\", monospace; font-size: .9em; }\n";

impl Audit {
    /// The audit as one HTML page, in German for [`PageLanguage::De`], else in English, and in light or dark as the reader's
    /// system asks.
    pub fn to_html(&self, language: PageLanguage) -> String {
        let words = Words::of(language);
        let title = format!("{}: {}", words.title, escape(&self.department));
        let sections: String =
            self.fields.iter().enumerate().map(|(index, field)| section(words, &anchor(index), field)).collect();
        // The policy forbids what the page does not need, should a name ever get past the escaping.
        format!(
            "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<header class=\"page\">\n<h1>{title}</h1>\n{}\
             <p class=\"lead\">{}</p>\n<p>{}</p>\n<p class=\"sub\">{}</p>\n{}</header>\n<main>\n{}{sections}</main>\n\
             <footer class=\"page\">\n<h2>{}</h2>\n<p class=\"sub\">{}</p>\n</footer>\n</body>\n</html>\n",
            words.code,
            self.provenance(words),
            words.lead,
            words.how_to,
            words.confidential,
            self.sample_note(words),
            self.overview(words),
            words.method,
            words.method_text,
        )
    }

    fn provenance(&self, words: &Words) -> String {
        let near = format!(
            "{} {} {}",
            report::count(self.search.texts),
            words.texts_compared,
            decimal(words, self.search.least_cosine)
        );
        let entries = [
            (words.department, self.department.clone()),
            (words.resolved_tickets, report::count(self.tickets)),
            (words.newest_ticket, day(self.newest_ticket)),
            (words.near_copies, near),
            (words.held_out, format!("{} {}", self.folds, words.parts)),
            (words.encoder, self.encoder.clone()),
            ("Triage", self.version.clone()),
        ];
        let rows: String =
            entries.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
        format!("<dl class=\"provenance\">\n{rows}</dl>\n")
    }

    fn sample_note(&self, words: &Words) -> String {
        if self.search.compared_with >= self.search.texts {
            return String::new();
        }
        let (compared, texts) = (report::count(self.search.compared_with), report::count(self.search.texts));
        format!("<p class=\"note\">{} ({compared} {} {texts})</p>\n", words.sample_note, words.of)
    }

    /// All fields in one table.
    fn overview(&self, words: &Words) -> String {
        if self.fields.is_empty() {
            return format!("<p>{}</p>\n", words.no_fields);
        }
        let columns =
            [words.field, words.tickets, words.in_conflict, words.overlapping, words.dead, words.suspects, words.wrong];
        let head: String = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
        let rows: String = self
            .fields
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let summary = &field.summary;
                let measured = |n: usize| field.unmeasured.map_or_else(|| report::count(n), |_| "–".to_owned());
                let cells = [
                    report::count(summary.tickets),
                    percent(words, summary.share_in_conflict),
                    measured(field.overlapping.len()),
                    report::count(field.dead.len()),
                    measured(summary.suspects),
                    percent(words, summary.share_wrong),
                ];
                let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
                format!(
                    "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th>{cells}</tr>\n",
                    anchor(index),
                    escape(&field.field)
                )
            })
            .collect();
        format!(
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">{}</h2>\n<div class=\"scroll\"><table class=\"overview\">\n\
             <thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n",
            words.overview
        )
    }
}

fn section(words: &Words, anchor: &str, field: &FieldAudit) -> String {
    let note = field
        .unmeasured
        .map_or_else(String::new, |reason| format!("<p class=\"note\">{}</p>\n", words.unmeasured(reason)));
    let is_weak = field.summary.agreement.is_some_and(|agreement| agreement < WEAK_AGREEMENT);
    let note = if is_weak { format!("{note}<p class=\"note\">{}</p>\n", words.weak) } else { note };
    let mut parts = String::new();
    if field.unmeasured.is_none() {
        parts.push_str(&overlapping(words, field));
    }
    parts.push_str(&dead(words, field));
    parts.push_str(&conflicts(words, field));
    if field.unmeasured.is_none() {
        parts.push_str(&suspects(words, field));
    }
    format!(
        "<section class=\"field\" id=\"{anchor}\">\n<h2>{} <span class=\"name\">{}</span></h2>\n{note}{}{parts}</section>\n",
        words.field,
        escape(&field.field),
        cards(words, field),
    )
}

fn cards(words: &Words, field: &FieldAudit) -> String {
    let summary = &field.summary;
    let mut cards = card(
        words.tickets,
        &report::count(summary.tickets),
        "",
        &format!(
            "{}: {}. {}: {}. {}: {}.",
            words.labels,
            report::count(summary.labels),
            words.without_value,
            report::count(summary.without_value),
            words.other_value,
            report::count(summary.with_other_value)
        ),
    );
    cards.push_str(&card(
        words.in_conflict,
        &percent(words, summary.share_in_conflict),
        &format!("{} {} {}", report::count(summary.in_conflict), words.of, report::count(summary.tickets)),
        &format!("{} {} {}.", words.in_conflict_why, report::count(summary.against_majority), words.changes),
    ));
    if field.unmeasured.is_none() {
        let range = range(words, summary);
        cards.push_str(&card(words.wrong, &percent(words, summary.share_wrong), &range, words.wrong_why));
        cards.push_str(&card(words.agreement, &percent(words, summary.agreement), "", words.agreement_why));
    }
    format!("<div class=\"cards\">\n{cards}</div>\n")
}

fn range(words: &Words, summary: &Summary) -> String {
    summary.share_wrong_interval.map_or_else(String::new, |Interval { low, high }| {
        format!("{} {} {}", percent(words, Some(low)), words.to, percent(words, Some(high)))
    })
}

fn card(name: &str, figure: &str, range: &str, explanation: &str) -> String {
    let range = if range.is_empty() { String::new() } else { format!("<p class=\"range\">{range}</p>") };
    format!(
        "<div class=\"card\"><h3>{name}</h3><p class=\"figure\">{figure}</p>{range}<p class=\"why\">{explanation}</p></div>\n"
    )
}

fn overlapping(words: &Words, field: &FieldAudit) -> String {
    let rows = field.overlapping.iter().map(|overlap| {
        let examples = overlap.examples.iter().map(|example| id(&example.ticket)).collect::<Vec<_>>().join(", ");
        let side = |label: &LabelRef, taken: usize, n: usize| {
            format!("{} ({} {} {})", name(label), report::count(taken), words.of, report::count(n))
        };
        let cells = [
            cell(side(&overlap.label, overlap.taken_for_other, overlap.tickets)),
            cell(side(&overlap.other, overlap.other_taken_for_label, overlap.other_tickets)),
            number(percent(words, Some(overlap.share))),
            number(percent(words, Some(overlap.share_at_least))),
            cell(words.advice(overlap.advice)),
            cell(examples),
        ];
        cells.concat()
    });
    let columns = [
        (words.label, false),
        (words.other_label, false),
        (words.confused, true),
        (words.at_least, true),
        (words.advice, false),
        (words.examples, false),
    ];
    table(words, words.overlapping, words.overlapping_why, &columns, rows, field.overlapping.len())
}

fn dead(words: &Words, field: &FieldAudit) -> String {
    let rows = field.dead.iter().map(|dead| {
        let cells = [
            cell(name(&dead.label)),
            number(report::count(dead.tickets)),
            number(day(dead.last_ticket)),
            cell(words.dead_reason(dead.reason)),
        ];
        cells.concat()
    });
    let columns = [(words.label, false), (words.tickets, true), (words.last_ticket, true), (words.reason, false)];
    table(words, words.dead, words.dead_why, &columns, rows, field.dead.len())
}

fn conflicts(words: &Words, field: &FieldAudit) -> String {
    let rows = field.conflicts.iter().map(|conflict| {
        let majority = conflict.majority.as_ref().map_or_else(|| "–".to_owned(), name);
        let cells = [
            cell(decimal(words, conflict.similarity)),
            cell(words.conflict_kind(conflict.kind)),
            cell(filed(words, conflict)),
            cell(majority),
        ];
        cells.concat()
    });
    let columns = [(words.similarity, false), (words.kind, false), (words.filed_under, false), (words.majority, false)];
    table(words, words.conflicts, words.conflicts_why, &columns, rows, field.conflicts.len())
}

/// A line for each label of a conflict, with its tickets.
fn filed(words: &Words, conflict: &Conflict) -> String {
    let lines: String = conflict
        .tickets
        .chunk_by(|a, b| a.label == b.label)
        .filter_map(|same| Some((same.first()?, same)))
        .map(|(first, same)| {
            let ids: Vec<String> = same.iter().take(MAX_TICKETS).map(|filed| id(&filed.ticket)).collect();
            let more = match same.len().saturating_sub(MAX_TICKETS) {
                0 => String::new(),
                n => format!(", {} {}", report::count(n), words.more),
            };
            format!("<li><b>{}</b>: {}{more}</li>", name(&first.label), ids.join(", "))
        })
        .collect();
    format!("<ul>{lines}</ul>")
}

fn suspects(words: &Words, field: &FieldAudit) -> String {
    let rows = field.suspects.iter().map(|suspect| {
        let neighbours: String = suspect
            .neighbours
            .iter()
            .map(|near| {
                format!("<li>{} {}, {}</li>", id(&near.ticket), name(&near.label), decimal(words, near.similarity))
            })
            .collect();
        let with_share = |label: &LabelRef, share: f64| format!("{} ({})", name(label), percent(words, Some(share)));
        let cells = [
            cell(id(&suspect.ticket)),
            cell(with_share(&suspect.label, suspect.probability)),
            cell(with_share(&suspect.likelier, suspect.likelier_probability)),
            cell(format!("<ul>{neighbours}</ul>")),
        ];
        cells.concat()
    });
    let columns = [(words.ticket, false), (words.recorded, false), (words.likelier, false), (words.nearest, false)];
    table(words, words.suspects, words.suspects_why, &columns, rows, field.summary.suspects)
}

/// A heading, what it means, and a table of at most [`MAX_ROWS`]; `n` is how many findings there are in all. A column is
/// its name and whether it holds numbers.
fn table(
    words: &Words,
    heading: &str,
    why: &str,
    columns: &[(&str, bool)],
    rows: impl ExactSizeIterator<Item = String>,
    n: usize,
) -> String {
    let heading = format!("<h3>{heading} ({})</h3>\n<p class=\"sub\">{why}</p>\n", report::count(n));
    if n == 0 {
        return format!("{heading}<p>{}</p>\n", words.nothing);
    }
    let shown = rows.len().min(MAX_ROWS);
    let head: String = columns
        .iter()
        .map(|(name, is_number)| {
            format!("<th scope=\"col\"{}>{name}</th>", if *is_number { " class=\"num\"" } else { "" })
        })
        .collect();
    let rows: String = rows.take(MAX_ROWS).map(|cells| format!("<tr>{cells}</tr>\n")).collect();
    let rest = match n - shown.min(n) {
        0 => String::new(),
        rest => format!("<p class=\"sub\">{} {}</p>\n", report::count(rest), words.not_shown),
    };
    format!(
        "{heading}<div class=\"scroll\"><table class=\"work\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n{rest}"
    )
}

/// `html` is HTML already.
fn cell(html: impl Display) -> String {
    format!("<td>{html}</td>")
}

fn number(html: impl Display) -> String {
    format!("<td class=\"num\">{html}</td>")
}

fn name(label: &LabelRef) -> String {
    escape(&label.name)
}

fn id(ticket: &str) -> String {
    format!("<code>{}</code>", escape(ticket))
}

fn anchor(index: usize) -> String {
    format!("field-{}", index + 1)
}

fn day(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "–".to_owned(), |at| at.format("%Y-%m-%d").to_string())
}

fn percent(words: &Words, share: Option<f64>) -> String {
    let Some(share) = share else { return "–".to_owned() };
    format!("{:.1} %", share * 100.0).replace('.', words.decimal_point)
}

/// "0.97"
fn decimal(words: &Words, value: f64) -> String {
    format!("{value:.2}").replace('.', words.decimal_point)
}
