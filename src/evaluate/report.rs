//! Here are the figures of each field, give me one report: JSON for machines, one self-contained HTML page for people.
//!
//! The page needs no script, no network and no other file, can be printed, and names neither tickets nor persons.

mod field;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

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
    /// What was held out and how, in a sentence or two.
    pub protocol: String,
    /// Seed of the split.
    pub seed: u64,
    /// Figures by field id.
    pub fields: BTreeMap<String, FieldMetrics>,
}

impl Report {
    /// The report as indented JSON with a line break at its end.
    ///
    /// # Errors
    /// [`Error::Bug`] only: every figure is finite or absent.
    pub fn to_json(&self) -> Result<String> {
        let mut json = serde_json::to_string_pretty(self).map_err(|_| Error::Bug("a report that is not JSON"))?;
        json.push('\n');
        Ok(json)
    }

    /// The report as one HTML page, in light or dark as the reader's system asks.
    pub fn to_html(&self) -> String {
        let title = format!("How well triage decides: {}", escape(&self.department));
        let sections: String = self
            .fields
            .iter()
            .enumerate()
            .map(|(index, (name, metrics))| field::section(&anchor(index), name, metrics))
            .collect();
        // The policy forbids what the page does not need, should a label ever get past the escaping.
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<header class=\"page\">\n<h1>{title}</h1>\n{}{}</header>\n<main>\n{}{sections}</main>\n\
             {GLOSSARY}</body>\n</html>\n",
            self.provenance(),
            INTRODUCTION,
            self.overview(),
        )
    }

    fn provenance(&self) -> String {
        let created_at = self.created_at.format("%Y-%m-%d %H:%M UTC").to_string();
        let seed = self.seed.to_string();
        let entries = [
            ("Model", self.model.as_str()),
            ("Measured", &created_at),
            ("Held out", &self.protocol),
            ("Seed", &seed),
            ("Triage", &self.version),
        ];
        let rows: String =
            entries.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
        format!("<dl class=\"provenance\">\n{rows}</dl>\n")
    }

    /// All fields in one table; left out for a single field, whose section says it all.
    fn overview(&self) -> String {
        if self.fields.is_empty() {
            return "<p>No field was measured.</p>\n".to_owned();
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
                    anchor(index),
                    escape(name),
                    count(metrics.n),
                    percent(metrics.accuracy),
                    percent(at.coverage),
                    percent(at.precision),
                    points(metrics.ece),
                )
            })
            .collect();
        format!(
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">At a glance</h2>\n<div class=\"scroll\"><table>\n\
             <thead><tr><th scope=\"col\">Field</th><th scope=\"col\">Tickets</th><th scope=\"col\">Right at first guess</th>\
             <th scope=\"col\">Decided alone</th><th scope=\"col\">Right among those</th>\
             <th scope=\"col\">Confidence is off by</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</section>\n"
        )
    }
}

/// Style sheet of all pages, in light and dark and for print.
pub(super) const STYLE: &str = include_str!("report/style.css");

const INTRODUCTION: &str = "<p class=\"lead\">Triage was shown tickets whose right values are known and that it had \
    not learnt from, and its answers were compared with those values. A figure in brackets is the range in which the \
    true value lies with 95&nbsp;% certainty. The report measures the software: it names no ticket, no requester and no \
    agent, and says nothing about a person's work.</p>\n";

const GLOSSARY: &str = "<footer class=\"page\">\n<h2>What the measures mean</h2>\n<dl class=\"glossary\">\n\
    <dt>Accuracy</dt><dd>Share of tickets whose most likely value is the right one. Range: Wilson's interval.</dd>\n\
    <dt>Precision and recall of a value</dt><dd>Precision: of the tickets that were given the value, the share that \
    should have it. Recall: of the tickets that should have it, the share that was given it.</dd>\n\
    <dt>F1, macro-F1</dt><dd>F1 is the harmonic mean of precision and recall. Macro-F1 is its plain average over all \
    values that occur, so a rare value counts as much as a frequent one. Range: bootstrap, 500 resamples.</dd>\n\
    <dt>Confidence error (ECE)</dt><dd>Tickets are put into up to 15 groups of equal size by confidence; the average \
    distance between a group's confidence and its share of right answers, weighted by size. 0 is perfect.</dd>\n\
    <dt>Log-loss, Brier score</dt><dd>Two measures of all probabilities together, lower is better. They reward being \
    right and punish being sure and wrong.</dd>\n\
    <dt>Threshold and precision target</dt><dd>A value is decided without a person only when its confidence reaches the \
    threshold that was set for that value on training data, so that the asked share of decisions is right.</dd>\n\
    <dt>Quadratic kappa</dt><dd>Agreement on a scale beyond chance: 1 is perfect, 0 is chance. Being two steps off \
    counts four times as much as being one step off.</dd>\n</dl>\n</footer>\n";

fn anchor(index: usize) -> String {
    format!("field-{}", index + 1)
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

/// "84.2 %", or a dash.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}\u{a0}%", share * 100.0))
}

/// "1.2 points" for a difference of shares, or a dash.
fn points(difference: Option<f64>) -> String {
    difference.map_or_else(|| "–".to_owned(), |difference| format!("{:.1}\u{a0}points", difference * 100.0))
}

/// "0.848", or a dash.
fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
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
    use crate::evaluate::{FieldResult, Scored, field_metrics};
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
                decided: top > 0.7,
                decided_at: [("0.90", 0.6), ("0.95", 0.83), ("0.99", 0.98)]
                    .into_iter()
                    .map(|(target, threshold)| (target.to_owned(), top > threshold))
                    .collect(),
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
        let fields = [made_up("category", &categories, 900, false), made_up("priority", &priorities, 900, true)];
        Report {
            version: "0.1.0".to_owned(),
            created_at: DateTime::from_timestamp(1_767_225_600, 0).unwrap(),
            model: "it/7 e5-small-de-en@sha256:ab12cd34ef56".to_owned(),
            department: "it".to_owned(),
            protocol: "The newest 20 % of the resolved tickets, by time of creation; trained on the older 80 %."
                .to_owned(),
            seed: 42,
            fields: fields.iter().map(|result| (result.field.clone(), field_metrics(result))).collect(),
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
        let html = sample_report().to_html();
        for forbidden in ["<script", "http://", "https://", "<link", "<img", "@import", "url(", " onload", "NaN"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for wanted in ["prefers-color-scheme: dark", "@media print", "role=\"img\"", "<desc"] {
            assert!(html.contains(wanted), "{wanted}");
        }
    }

    #[test]
    fn page_is_well_formed_and_ids_are_unique() {
        let html = sample_report().to_html();
        for element in ["section", "figure", "svg", "g", "table", "tr", "td", "th", "details", "div", "p", "dl", "text"]
        {
            let opened = html.matches(&format!("<{element}>")).count() + html.matches(&format!("<{element} ")).count();
            assert_eq!(opened, html.matches(&format!("</{element}>")).count(), "{element}");
        }
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for reference in html.split("labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(reference.split(' ').all(|id| ids.contains(&id)), "{reference}");
        }
        let n_ids = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), n_ids);
    }

    #[test]
    fn hostile_names_are_escaped_everywhere() {
        let hostile = "\"><script>alert('x')</script>&\u{202e}\u{0}";
        let mut report = with_field(&made_up("<i>", &[(hostile, hostile), ("b", hostile)], 200, true));
        report.department = hostile.to_owned();
        report.model = hostile.to_owned();
        report.protocol = hostile.to_owned();
        report.version = hostile.to_owned();
        let html = report.to_html();
        for forbidden in ["<script", "<i>", "alert('x')", "\u{202e}", "\u{0}"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"));
    }

    #[test]
    fn empty_fields_and_reports_have_pages_too() {
        let html = with_field(&made_up("category", &[("a", "A")], 0, true)).to_html();
        assert!(html.contains("No held-out ticket has a value for this field."));
        assert!(!html.contains("<svg"));
        assert!(Report { fields: BTreeMap::new(), ..sample_report() }.to_html().contains("No field was measured."));
    }

    #[test]
    fn many_labels_are_gathered_in_the_map_but_listed_in_the_table() {
        let names: Vec<String> = (0..60).map(|i| format!("Label {i:02}")).collect();
        let labels: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
        let html = with_field(&made_up("category", &labels, 3000, false)).to_html();
        assert!(html.contains("all others"));
        // The rarest labels may not occur at all.
        assert!(names[..45].iter().all(|name| html.contains(&format!("<th scope=\"row\">{name}</th>"))));
        let few = with_field(&made_up("category", &labels[..30], 3000, false)).to_html();
        assert!(few.contains("Confusion table with all values") && !html.contains("Confusion table with all values"));
    }

    #[test]
    fn counts_are_grouped() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")] {
            assert_eq!(count(n), text);
        }
    }
}
