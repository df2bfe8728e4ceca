//! Here are the figures of each field, give me one report: JSON for machines, one self-contained HTML page for people.
//!
//! The page needs no script, no network and no other file, can be printed, and names neither tickets nor persons.

mod departments;
mod field;
mod sections;
pub(super) mod words;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::departments::DepartmentReports;
pub use self::words::PageLanguage;
use self::words::{Words, fill};
use super::comparison::Comparison;
use super::metrics::{CoverageAt, FieldMetrics};
use crate::error::{Error, Result};

/// What was measured, on what, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of triage that measured.
    pub version: String,
    /// When it measured.
    pub created_at: DateTime<Utc>,
    /// Model version that was measured, as decisions name it.
    pub model: String,
    /// Id of the department.
    pub department: String,
    /// What was held out and how.
    pub protocol: Protocol,
    /// Seed of the split.
    pub seed: u64,
    /// Figures by field id.
    pub fields: BTreeMap<String, FieldMetrics>,
    /// The same tickets with another model version; only when one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
}

/// What was held out and how; `tickets` is how many there were, with a split those that were learnt from included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "held_out", rename_all = "snake_case")]
pub enum Protocol {
    /// A file that the heads in service have not learnt from.
    File {
        /// Tickets of the file.
        tickets: usize,
    },
    /// A fifth, drawn at random by text.
    Random {
        /// Resolved tickets.
        tickets: usize,
    },
    /// The newest fifth.
    Temporal {
        /// Resolved tickets.
        tickets: usize,
    },
    /// What was marked for testing.
    Given {
        /// Resolved tickets.
        tickets: usize,
    },
    /// Each in turn.
    Folds {
        /// Resolved tickets.
        tickets: usize,
        /// Parts they were divided into.
        parts: usize,
    },
}

impl Protocol {
    /// The protocol in a sentence.
    pub fn sentence(&self, language: PageLanguage) -> String {
        let words = language.words();
        let (phrase, tickets, n_parts) = match *self {
            Protocol::File { tickets } => (words.protocol_file, tickets, 1),
            Protocol::Random { tickets } => (words.protocol_random, tickets, 1),
            Protocol::Temporal { tickets } => (words.protocol_temporal, tickets, 1),
            Protocol::Given { tickets } => (words.protocol_given, tickets, 1),
            Protocol::Folds { tickets, parts } => (words.protocol_folds, tickets, parts),
        };
        fill(phrase, &[("n", &count(tickets)), ("parts", &n_parts.to_string())])
    }
}

impl Report {
    /// The report as indented JSON with a line break at its end.
    ///
    /// # Errors
    /// [`Error::Bug`] only: every figure is finite or absent.
    pub fn to_json(&self) -> Result<String> {
        as_json(self)
    }

    /// The report as one HTML page, in light or dark as the reader's system asks.
    pub fn to_html(&self, language: PageLanguage) -> String {
        let words = language.words();
        let title = fill(words.title, &[("department", &escape(&self.department))]);
        page(
            words,
            &title,
            &self.provenance(language),
            &format!("{}{}", self.overview(words), self.sections(words, "")),
        )
    }

    /// One section a field; `prefix` keeps the ids of one page apart.
    fn sections(&self, words: &Words, prefix: &str) -> String {
        let sections = self.fields.iter().enumerate().map(|(index, (name, metrics))| {
            let compared =
                self.comparison.as_ref().and_then(|comparison| Some((comparison, comparison.fields.get(name)?)));
            field::section(words, &anchor(prefix, index), name, metrics, compared)
        });
        sections.collect()
    }

    fn provenance(&self, language: PageLanguage) -> String {
        let words = language.words();
        let entries = [
            (words.model, self.model.clone()),
            (words.measured, words.date(self.created_at)),
            (words.held_out, self.protocol.sentence(language)),
            (words.seed, self.seed.to_string()),
            ("Triage", self.version.clone()),
        ];
        let rows: String =
            entries.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
        format!("<dl class=\"provenance\">\n{rows}</dl>\n")
    }

    /// All fields in one table; left out for a single field, whose section says it all.
    fn overview(&self, words: &Words) -> String {
        if self.fields.is_empty() {
            return format!("<p>{}</p>\n", words.no_field);
        }
        if self.fields.len() == 1 {
            return String::new();
        }
        let rows: String = self
            .fields
            .iter()
            .enumerate()
            .map(|(index, (name, metrics))| {
                let (_, at) = main_target(metrics);
                format!(
                    "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    anchor("", index),
                    escape(name),
                    count(metrics.n),
                    words.percent(metrics.accuracy),
                    words.percent(at.coverage),
                    words.percent(at.precision),
                    words.points(metrics.ece),
                )
            })
            .collect();
        let columns = [
            words.field,
            words.tickets,
            words.right_at_first_guess,
            words.decided_alone,
            words.right_among_those,
            words.confidence_off,
        ];
        format!(
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">{}</h2>\n{}</section>\n",
            words.at_a_glance,
            table(&columns, None, &rows)
        )
    }
}

/// Style sheet of all pages, in light and dark and for print.
pub(super) const STYLE: &str = include_str!("report/style.css");

/// Any report as indented JSON with a line break at its end.
fn as_json(report: &impl Serialize) -> Result<String> {
    let mut json = serde_json::to_string_pretty(report).map_err(|_| Error::Bug("a report that is not JSON"))?;
    json.push('\n');
    Ok(json)
}

/// A whole page; `title`, `head` and `main` are HTML.
fn page(words: &Words, title: &str, head: &str, main: &str) -> String {
    // The policy forbids what the page does not need, should a label ever get past the escaping.
    format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n<header class=\"page\">\n<h1>{title}</h1>\n{head}<p class=\"lead\">{}</p>\n</header>\n\
         <main>\n{main}</main>\n{}</body>\n</html>\n",
        words.code,
        words.lead,
        glossary(words),
    )
}

fn glossary(words: &Words) -> String {
    let entries = [
        (words.accuracy, words.glossary_accuracy),
        (words.glossary_precision, words.glossary_precision_why),
        (words.glossary_f1, words.glossary_f1_why),
        (words.ece, words.glossary_ece_why),
        (words.glossary_log_loss, words.glossary_log_loss_why),
        (words.glossary_threshold, words.glossary_threshold_why),
        (words.glossary_kappa, words.glossary_kappa_why),
    ];
    let entries: String = entries.iter().map(|(name, why)| format!("<dt>{name}</dt><dd>{why}</dd>\n")).collect();
    format!(
        "<footer class=\"page\">\n<h2>{}</h2>\n<dl class=\"glossary\">\n{entries}</dl>\n</footer>\n",
        words.glossary
    )
}

/// A table that scrolls when it is too wide, with names in its first column and figures in the others but `text`. An
/// empty name gives a column without a heading; `rows` is HTML.
fn table(columns: &[&str], text: Option<usize>, rows: &str) -> String {
    let head: String = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let class = if text == Some(index) { " class=\"text\"" } else { "" };
            if column.is_empty() { "<td></td>".to_owned() } else { format!("<th scope=\"col\"{class}>{column}</th>") }
        })
        .collect();
    format!("<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

fn anchor(prefix: &str, index: usize) -> String {
    format!("{prefix}field-{}", index + 1)
}

/// The decision rule the headline speaks of: 95 % precision when it was measured, else the field's own target.
fn main_target(metrics: &FieldMetrics) -> (Option<f64>, &CoverageAt) {
    match metrics.coverage_at.get("0.95") {
        Some(at) => (Some(0.95), at),
        None => (None, &metrics.at_target),
    }
}

/// Escapes text for HTML content and quoted attributes. Control characters and those that turn the direction of
/// writing become U+FFFD, so that a label cannot disguise its neighbours.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// "12 345", with narrow spaces between thousands.
pub(super) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::evaluate::{Costs, FieldResult, Scored, Stranger, compare, field_metrics};
    use crate::ticket::{LabelRef, Language};

    /// Made-up decisions of a model that is a little too sure: the right label is drawn from its tempered probabilities.
    pub(in crate::evaluate) fn made_up(field: &str, labels: &[(&str, &str)], n: usize, ordinal: bool) -> FieldResult {
        let mut state = 42_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f32 / (1_u64 << 31) as f32
        };
        let rows = (0..n).map(|i| {
            let subject = ((random() * random() * labels.len() as f32) as usize).min(labels.len() - 1);
            let strength = 9.0 * random().sqrt();
            let scores: Vec<f32> = (0..labels.len())
                .map(|l| 2.5 * random() - 0.1 * l.abs_diff(subject) as f32 + if l == subject { strength } else { 0.0 })
                .collect();
            let probabilities = softmax(&scores, 1.0);
            let mut left = random();
            let truth = softmax(&scores, 0.9).iter().position(|p| {
                left -= p;
                left < 0.0
            });
            let top = probabilities.iter().copied().fold(0.0, f32::max);
            Scored {
                ticket: format!("T{i}"),
                language: [Language::De, Language::De, Language::En, Language::Und][(random() * 3.1) as usize],
                truth: truth.unwrap_or(subject),
                probabilities,
                by_member: (0..3)
                    .map(|member| Some((truth.unwrap_or(subject) + usize::from(i % (member + 2) == 0)) % labels.len()))
                    .collect(),
                novelty: Some(top * -3.0),
                far_from_training: top < 0.3,
                decided: top > 0.7,
                decided_at: [("0.90", 0.6), ("0.95", 0.83), ("0.99", 0.98)]
                    .into_iter()
                    .map(|(target, threshold)| (target.to_owned(), top > threshold))
                    .collect(),
                ..Scored::default()
            }
        });
        FieldResult {
            field: field.to_owned(),
            rows: rows.collect(),
            labels: labels
                .iter()
                .map(|(id, name)| LabelRef { id: (*id).to_owned(), name: (*name).to_owned() })
                .collect(),
            ordinal,
            calibrated: true,
            unknown: Vec::new(),
        }
    }

    fn softmax(scores: &[f32], sharpness: f32) -> Vec<f32> {
        let weights: Vec<f32> = scores.iter().map(|score| (score * sharpness).exp()).collect();
        let sum: f32 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    /// A report on made-up tickets with the fields "category" and "priority".
    pub(in crate::evaluate) fn sample_report() -> Report {
        let categories = [
            ("vpn", "Network::VPN"),
            ("mail", "Communication::E-mail and calendar"),
            ("hw", "Hardware::Laptop"),
            ("print", "Hardware::Printer"),
            ("acc", "Accounts::Password and locked account"),
            ("sap", "Business applications::SAP"),
            ("tel", "Communication::Telephone"),
            ("sec", "Security::Phishing report"),
        ];
        let priorities = [("1", "1 low"), ("2", "2 normal"), ("3", "3 high"), ("4", "4 critical")];
        let mut category = made_up("category", &categories, 900, false);
        category.unknown =
            (0..40).map(|i| Stranger { novelty: Some(i as f32 / -20.0), far_from_training: i < 25 }).collect();
        let results = [category, made_up("priority", &priorities, 900, true)];
        let costs = Costs::parse(
            r#"{"category": {"wrong": 1.0, "handover": 0.2}, "priority": {"wrong": 0.01, "handover": 2}}"#,
        )
        .unwrap();
        let fields = results.iter().map(|result| {
            let metrics = FieldMetrics { costs: costs.of(result).unwrap(), ..field_metrics(result) };
            (result.field.clone(), metrics)
        });
        let other = FieldResult { unknown: Vec::new(), ..made_up("category", &categories, 900, false) };
        let mut worse = other.clone();
        for row in worse.rows.iter_mut().step_by(7) {
            row.truth = (row.truth + 1) % categories.len();
        }
        let comparison = Comparison {
            active_version: 7,
            other_version: 6,
            fields: [("category".to_owned(), compare(&other, &worse))].into(),
        };
        Report {
            version: "0.1.0".to_owned(),
            created_at: DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
            model: "it/7 e5-small-de-en@sha256:ab12cd34ef56".to_owned(),
            department: "it".to_owned(),
            protocol: Protocol::Temporal { tickets: 4500 },
            seed: 42,
            fields: fields.collect(),
            comparison: Some(comparison),
        }
    }

    fn with_field(result: &FieldResult) -> Report {
        let fields = BTreeMap::from([(result.field.clone(), field_metrics(result))]);
        Report { fields, ..sample_report() }
    }

    #[test]
    fn json_comes_back_as_the_same_report() {
        let report = sample_report();
        let json = report.to_json().unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let field = &value["fields"]["category"];
        for key in ["n", "accuracy", "macro_f1", "ece"] {
            assert!(field[key].is_number(), "{key}");
        }
        assert!(field["coverage_at"]["0.95"]["coverage"].is_number());
        assert!(field["labels"]["vpn"]["f1"].is_number());
    }

    #[test]
    fn page_stands_alone() {
        let html = sample_report().to_html(PageLanguage::En);
        for forbidden in ["<script", "http://", "https://", "<link", "<img", "@import", "url(", " onload", "NaN"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for wanted in ["prefers-color-scheme: dark", "@media print", "role=\"img\"", "<desc"] {
            assert!(html.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn page_is_well_formed_and_ids_are_unique() {
        let departments =
            [("hr", sample_report()), ("it", sample_report())].map(|(id, report)| (id.to_owned(), report));
        let left_out = [("<fm>".to_owned(), "nothing to learn from".to_owned())].into();
        let all = DepartmentReports { departments: departments.into(), left_out };
        for language in [PageLanguage::De, PageLanguage::En] {
            check_form(&sample_report().to_html(language));
            check_form(&all.to_html(language));
        }
        assert!(all.to_html(PageLanguage::En).contains("&lt;fm&gt;"));
    }

    fn check_form(html: &str) {
        for element in ["section", "figure", "svg", "g", "table", "tr", "td", "th", "details", "div", "p", "dl", "text"]
        {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for reference in html.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(ids.contains(&reference), "{reference}");
        }
        for reference in html.split("labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(reference.split(' ').all(|id| ids.contains(&id)), "{reference}");
        }
        let n_ids = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), n_ids);
    }

    #[test]
    fn the_german_page_is_german_throughout() {
        let html = sample_report().to_html(PageLanguage::De);
        assert!(html.contains("<html lang=\"de\">"));
        for wanted in
            ["Auf Anhieb richtig", "Kann man der Konfidenz glauben?", "Version 7 neben Version 6", "01.01.2026"]
        {
            assert!(html.contains(wanted), "{wanted}");
        }
        for (name, english, german) in words::ALL {
            let is_telling =
                english.len() > 5 && english != german && !english.contains('{') && !german.contains(english);
            assert!(!is_telling || !html.contains(&format!(">{english}<")), "{name}");
        }
        // No figure of the text is written with a point: those left are coordinates, versions and the style sheet.
        let text: String = html
            .split("</style>")
            .skip(1)
            .flat_map(|body| body.split('<'))
            .fold(String::new(), |text, tag| text + tag.split_once('>').map_or("", |(_, content)| content) + " ");
        let is_decimal = |word: &&str| {
            let parts: Vec<&str> = word.split('.').collect();
            parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()))
        };
        assert_eq!(text.split([' ', '(', ')', '\u{a0}', '\n']).find(is_decimal), None);
    }

    #[test]
    fn hostile_names_are_escaped_everywhere() {
        let hostile = "\"><script>alert('x')</script>&\u{202e}\u{0}";
        let mut report = with_field(&made_up("<i>", &[(hostile, hostile), ("b", hostile)], 200, true));
        report.department = hostile.to_owned();
        report.model = hostile.to_owned();
        report.version = hostile.to_owned();
        let html = report.to_html(PageLanguage::En);
        for forbidden in ["<script", "<i>", "alert('x')", "\u{202e}", "\u{0}"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    }

    #[test]
    fn empty_fields_and_reports_have_pages_too() {
        let html = with_field(&made_up("category", &[("a", "A")], 0, true)).to_html(PageLanguage::En);
        assert!(html.contains("No held-out ticket has a value for this field."));
        assert!(!html.contains("<svg"));
        assert!(
            Report { fields: BTreeMap::new(), ..sample_report() }
                .to_html(PageLanguage::En)
                .contains("No field was measured.")
        );
    }

    #[test]
    fn many_labels_are_gathered_in_the_map_but_listed_in_the_table() {
        let names: Vec<String> = (0..60).map(|i| format!("Label {i:02}")).collect();
        let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let html = with_field(&made_up("category", &labels, 3000, false)).to_html(PageLanguage::En);
        assert!(html.contains("all others"));
        // The rarest labels may not occur at all.
        assert!(names[..45].iter().all(|name| html.contains(&format!("<th scope=\"row\">{name}</th>"))));
        let few = with_field(&made_up("category", &labels[..30], 3000, false)).to_html(PageLanguage::En);
        assert!(few.contains("Confusion table with all values") && !html.contains("Confusion table with all values"));
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")] {
            assert_eq!(count(n), text);
        }
    }
}
