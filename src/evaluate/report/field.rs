//! The part of the page about one field: headline figures, curves, confusions, tables.

use super::words::{Words, fill};
use super::{count, escape, main_target, sections, table};
use crate::evaluate::charts;
use crate::evaluate::comparison::{Comparison, FieldComparison};
use crate::evaluate::interval::Interval;
use crate::evaluate::metrics::{Confusion, CoverageAt, FieldMetrics, LabelMetrics};
use crate::ticket::Language;

/// Up to this many labels the whole confusion matrix stands in the page as a table.
const MAX_TABLE_LABELS: usize = 40;
/// Confusions that are named in words.
const MAX_CONFUSIONS: usize = 8;

/// The section of a field, with `anchor` as prefix of its ids.
pub(super) fn section(
    words: &Words,
    anchor: &str,
    field: &str,
    metrics: &FieldMetrics,
    compared: Option<(&Comparison, &FieldComparison)>,
) -> String {
    let heading = format!("<h2>{} <span class=\"name\">{}</span></h2>\n", words.field, escape(field));
    if metrics.n == 0 {
        return format!("<section class=\"field\" id=\"{anchor}\">\n{heading}<p>{}</p>\n</section>\n", words.no_ticket);
    }
    let n_values = metrics.labels.values().filter(|label| label.n > 0).count();
    let warning =
        if metrics.calibrated { String::new() } else { format!("<p class=\"note\">{}</p>\n", words.not_calibrated) };
    let counts = fill(words.field_counts, &[("n", &count(metrics.n)), ("values", &count(n_values))]);
    let parts = [
        headline(words, metrics),
        format!(
            "<div class=\"charts\">\n{}{}</div>\n",
            charts::reliability(words, anchor, metrics),
            charts::automation(words, anchor, metrics)
        ),
        targets(words, metrics),
        sections::costs(words, metrics),
        sections::unknown(words, metrics),
        compared.map_or_else(String::new, |(whole, of_field)| sections::comparison(words, whole, of_field)),
        languages(words, metrics),
        sections::members(words, metrics),
        confusions(words, anchor, metrics),
        labels(words, metrics),
    ];
    format!(
        "<section class=\"field\" id=\"{anchor}\">\n{heading}<p class=\"sub\">{counts}</p>\n{warning}{}</section>\n",
        parts.concat()
    )
}

fn headline(words: &Words, metrics: &FieldMetrics) -> String {
    let mut cards = String::new();
    let interval = |name: &str| metrics.intervals.get(name).copied();
    let of_100 = words.number(metrics.accuracy.unwrap_or(0.0) * 100.0, 0);
    cards.push_str(&card(
        words.card_accuracy,
        &words.percent(metrics.accuracy),
        &words.share_range(interval("accuracy")),
        &fill(words.card_accuracy_why, &[("of_100", &of_100), ("majority", &words.percent(metrics.majority_accuracy))]),
    ));
    let (target, at) = main_target(metrics);
    let rule = match target {
        Some(target) => fill(words.rule_target, &[("target", &words.short_percent(target))]),
        None => words.rule_own.to_owned(),
    };
    let outcome = if at.n == 0 {
        words.none_decided.to_owned()
    } else {
        fill(
            words.some_decided,
            &[
                ("n", &count(at.n)),
                ("precision", &words.percent(at.precision)),
                ("range", &bracketed(words, at.precision_interval)),
            ],
        )
    };
    cards.push_str(&card(words.card_decided, &words.percent(at.coverage), "", &format!("{rule} {outcome}")));
    cards.push_str(&card(
        words.card_top3,
        &words.percent(metrics.top3),
        &words.share_range(interval("top3")),
        words.card_top3_why,
    ));
    cards.push_str(&card(
        words.confidence_off,
        &words.points(metrics.ece),
        "",
        &fill(words.card_ece_why, &[("by_chance", &words.points(metrics.ece_by_chance))]),
    ));
    cards.push_str(&card(
        words.card_macro_f1,
        &words.decimal(metrics.macro_f1),
        &words.decimal_range(interval("macro_f1")),
        words.card_macro_f1_why,
    ));
    if metrics.ordinal {
        cards.push_str(&card(
            words.card_kappa,
            &words.decimal(metrics.quadratic_kappa),
            "",
            &fill(words.card_kappa_why, &[("within_one", &words.percent(metrics.within_one_step))]),
        ));
    } else {
        cards.push_str(&card(
            words.card_log_loss,
            &words.decimal(metrics.log_loss),
            "",
            &fill(words.card_log_loss_why, &[("brier", &words.decimal(metrics.brier))]),
        ));
    }
    format!("<div class=\"cards\">\n{cards}</div>\n")
}

/// `explanation` and `range` are HTML already.
fn card(name: &str, figure: &str, range: &str, explanation: &str) -> String {
    let range = if range.is_empty() { String::new() } else { format!("<p class=\"range\">{range}</p>") };
    format!(
        "<div class=\"card\"><h3>{name}</h3><p class=\"figure\">{figure}</p>{range}<p class=\"why\">{explanation}</p></div>\n"
    )
}

fn bracketed(words: &Words, interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |range| format!(" ({})", words.share_range(Some(range))))
}

/// What each precision target decides, and whether its promise held on these tickets.
fn targets(words: &Words, metrics: &FieldMetrics) -> String {
    let row = |name: &str, target: Option<f64>, at: &CoverageAt| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}{}</td><td class=\"text\">{}</td></tr>\n",
            words.percent(at.coverage),
            count(at.n),
            words.percent(at.precision),
            bracketed(words, at.precision_interval),
            promise(words, target, at),
        )
    };
    let mut rows = row(words.own_target, None, &metrics.at_target);
    for (name, at) in &metrics.coverage_at {
        let target: Option<f64> = name.parse().ok();
        let name = target.map_or_else(|| escape(name), |target| words.short_percent(target));
        rows.push_str(&row(&name, target, at));
    }
    let columns = [words.precision_target, words.decided, words.tickets, words.right_among_those, words.promise];
    format!("<h3>{}</h3>\n<p>{}</p>\n{}", words.targets, words.targets_why, table(&columns, Some(4), &rows))
}

fn promise(words: &Words, target: Option<f64>, at: &CoverageAt) -> String {
    let (Some(target), Some(precision), Some(range)) = (target, at.precision, at.precision_interval) else {
        return "–".to_owned();
    };
    let (class, verdict) = if precision >= target {
        ("kept", words.promise_kept)
    } else if range.high >= target {
        ("close", words.promise_close)
    } else {
        ("missed", words.promise_missed)
    };
    format!("<span class=\"{class}\">{verdict}</span>")
}

fn languages(words: &Words, metrics: &FieldMetrics) -> String {
    let rows: String = metrics
        .by_language
        .iter()
        .filter(|(_, of_language)| of_language.n > 0)
        .map(|(language, of_language)| {
            let name = match language {
                Language::De => words.german,
                Language::En => words.english,
                Language::Und => words.other_language,
            };
            let range = of_language.accuracy.and_then(|share| crate::evaluate::wilson(share, of_language.n));
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}{}</td><td>{}</td></tr>\n",
                count(of_language.n),
                words.percent(of_language.accuracy),
                bracketed(words, range),
                words.points(of_language.ece),
            )
        })
        .collect();
    let columns = [words.language, words.tickets, words.right_at_first_guess, words.confidence_off];
    format!("<h3>{}</h3>\n{}", words.by_language, table(&columns, None, &rows))
}

/// The heat map, the largest confusions in words, and the whole matrix as a table when it is not too large.
fn confusions(words: &Words, anchor: &str, metrics: &FieldMetrics) -> String {
    let confusion = &metrics.confusion;
    let name_of = |index: usize| confusion.labels.get(index).and_then(|id| metrics.labels.get(id));
    let mut errors: Vec<(usize, usize, usize)> =
        confusion.cells.iter().copied().filter(|(truth, given, _)| truth != given).collect();
    errors.sort_by_key(|&(truth, given, n)| (std::cmp::Reverse(n), truth, given));
    let sentences: String = errors
        .iter()
        .take(MAX_CONFUSIONS)
        .filter_map(|&(truth, given, n)| {
            let (truth, given) = (name_of(truth)?, name_of(given)?);
            let share = words.percent((truth.n > 0).then(|| n as f64 / truth.n as f64));
            let sentence = fill(
                words.confusion,
                &[
                    ("truth", &escape(&truth.name)),
                    ("given", &escape(&given.name)),
                    ("n", &count(n)),
                    ("share", &share),
                    ("total", &count(truth.n)),
                ],
            );
            Some(format!("<li>{sentence}</li>\n"))
        })
        .collect();
    let in_words = if sentences.is_empty() {
        format!("<p>{}</p>\n", words.no_confusion)
    } else {
        format!("<p>{}</p>\n<ol class=\"confusions\">\n{sentences}</ol>\n", words.frequent_confusions)
    };
    format!(
        "<h3>{}</h3>\n{in_words}{}{}",
        words.confusions,
        charts::confusion_map(words, anchor, metrics),
        confusion_table(words, confusion, metrics)
    )
}

fn confusion_table(words: &Words, confusion: &Confusion, metrics: &FieldMetrics) -> String {
    let shown = charts::occurring_labels(metrics);
    if shown.len() > MAX_TABLE_LABELS {
        return String::new();
    }
    let name = |index: usize| {
        let label = confusion.labels.get(index).and_then(|id| metrics.labels.get(id));
        escape(label.map_or("", |label| label.name.as_str()))
    };
    let head: String = shown.iter().map(|&given| format!("<th scope=\"col\">{}</th>", name(given))).collect();
    let mut rows = String::new();
    for &truth in &shown {
        let mut line: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
        line.extend(confusion.cells.iter().filter(|cell| cell.0 == truth).map(|&(_, given, n)| (given, n)));
        let cells: String = shown
            .iter()
            .map(|given| {
                let class = if *given == truth { " class=\"right\"" } else { "" };
                let n = line.get(given).copied().map_or_else(|| "·".to_owned(), count);
                format!("<td{class}>{n}</td>")
            })
            .collect();
        rows.push_str(&format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", name(truth)));
    }
    format!(
        "<details>\n<summary>{}</summary>\n<div class=\"scroll\"><table class=\"matrix\">\n\
         <caption>{}</caption>\n<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</details>\n",
        words.confusion_table, words.confusion_caption
    )
}

/// One row a label, most tickets first.
fn labels(words: &Words, metrics: &FieldMetrics) -> String {
    let mut labels: Vec<&LabelMetrics> =
        metrics.labels.values().filter(|label| label.n > 0 || label.predicted > 0).collect();
    labels.sort_by(|a, b| (b.n, b.predicted, &a.name).cmp(&(a.n, a.predicted, &b.name)));
    let rows: String = labels
        .iter()
        .map(|label| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td class=\"bar\">{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(&label.name),
                count(label.n),
                count(label.predicted),
                words.percent(label.precision),
                words.percent(label.recall),
                words.decimal(label.f1),
                charts::bar(label.f1),
                count(label.decided),
                words.percent(label.decided_precision),
            )
        })
        .collect();
    let unseen = match metrics.labels.len() - labels.len() {
        0 => String::new(),
        1 => format!("<p class=\"sub\">{}</p>\n", words.one_unseen),
        n => format!("<p class=\"sub\">{}</p>\n", fill(words.more_unseen, &[("n", &count(n))])),
    };
    let columns = [
        words.value,
        words.tickets,
        words.times_given,
        words.precision,
        words.recall,
        "F1",
        "",
        words.decided,
        words.decided_precision,
    ];
    format!("<h3>{}</h3>\n{}{unseen}", words.values, table(&columns, None, &rows))
}
