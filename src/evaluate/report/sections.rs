//! The parts of a field's section that only some reports have: costs, unknown tickets, two versions, members.

use super::words::{Words, fill};
use super::{count, escape, table};
use crate::classify::MEMBER_NAMES;
use crate::evaluate::comparison::{Comparison, Difference, FieldComparison};
use crate::evaluate::metrics::FieldMetrics;

/// Labels that are named among those gained or lost.
const MAX_LABELS: usize = 10;

pub(super) fn members(words: &Words, metrics: &FieldMetrics) -> String {
    if metrics.members.is_empty() {
        return String::new();
    }
    let row = |name: &str, accuracy: Option<f64>, macro_f1: Option<f64>| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td></tr>\n",
            words.percent(accuracy),
            words.decimal(macro_f1)
        )
    };
    let names = [words.member_words, words.member_vectors, words.member_neighbours];
    let mut rows = String::new();
    for (member, name) in MEMBER_NAMES.iter().zip(names) {
        if let Some(alone) = metrics.members.get(*member) {
            rows.push_str(&row(name, alone.accuracy, alone.macro_f1));
        }
    }
    rows.push_str(&row(words.together, metrics.accuracy, metrics.macro_f1));
    let columns = [words.member, words.right_at_first_guess, words.macro_f1];
    format!("<h3>{}</h3>\n<p>{}</p>\n{}", words.members, words.members_why, table(&columns, None, &rows))
}

pub(super) fn unknown(words: &Words, metrics: &FieldMetrics) -> String {
    let Some(unknown) = &metrics.unknown else { return String::new() };
    let why = fill(
        words.unknown_why,
        &[
            ("unknown", &count(unknown.n_unknown)),
            ("known", &count(unknown.n_known)),
            ("flagged_unknown", &words.percent(unknown.flagged_unknown)),
            ("flagged_known", &words.percent(unknown.flagged_known)),
        ],
    );
    let figures = if unknown.auroc.is_none() {
        format!("<p class=\"note\">{}</p>\n", words.unknown_none)
    } else {
        let share = unknown.n_unknown as f64 / (unknown.n_known + unknown.n_unknown).max(1) as f64;
        let range = words.decimal_range(unknown.auroc_interval);
        let range = if range.is_empty() { range } else { format!(" ({range})") };
        let rows = [
            (words.auroc, format!("{}{range}", words.decimal(unknown.auroc)), words.auroc_why.to_owned()),
            (words.aupr, words.decimal(unknown.aupr), fill(words.aupr_why, &[("share", &words.decimal(Some(share)))])),
            (words.fpr, words.percent(unknown.fpr_at_95), words.fpr_why.to_owned()),
        ];
        let rows: String = rows
            .iter()
            .map(|(name, figure, why)| {
                format!("<tr><th scope=\"row\">{name}</th><td>{figure}</td><td class=\"text\">{why}</td></tr>\n")
            })
            .collect();
        table(&[words.measure, words.figure, words.meaning], Some(2), &rows)
    };
    format!("<h3>{}</h3>\n<p>{why}</p>\n{figures}", words.unknown)
}

pub(super) fn costs(words: &Words, metrics: &FieldMetrics) -> String {
    let Some(costs) = &metrics.costs else { return String::new() };
    let best = match costs.best.threshold {
        Some(threshold) => fill(words.cost_best, &[("threshold", &words.percent(Some(threshold)))]),
        None => words.cost_best_none.to_owned(),
    };
    let all = (metrics.n > 0).then_some(1.0);
    let none = (metrics.n > 0).then_some(0.0);
    let rows = [
        (words.cost_at_target, costs.at_target, metrics.at_target.coverage),
        (words.cost_all, costs.all_decided, all),
        (words.cost_none, costs.none_decided, none),
        (best.as_str(), costs.best.mean_cost, costs.best.coverage),
    ];
    let rows: String = rows
        .iter()
        .map(|(way, cost, coverage)| {
            format!(
                "<tr><th scope=\"row\">{way}</th><td>{}</td><td>{}</td></tr>\n",
                words.decimal(*cost),
                words.percent(*coverage)
            )
        })
        .collect();
    format!(
        "<h3>{}</h3>\n<p>{}</p>\n{}<p class=\"sub\">{}</p>\n",
        words.costs,
        words.costs_why,
        table(&[words.way, words.mean_cost, words.decided], None, &rows),
        words.cost_seen
    )
}

/// Which direction of a figure is the good one.
#[derive(Clone, Copy)]
enum Good {
    Higher,
    Lower,
    Neither,
}

pub(super) fn comparison(words: &Words, whole: &Comparison, field: &FieldComparison) -> String {
    let versions = [("active", whole.active_version.to_string()), ("other", whole.other_version.to_string())];
    let with_versions = |phrase: &str| fill(phrase, &versions.each_ref().map(|(name, n)| (*name, n.as_str())));
    let p = words.number(field.mcnemar.p, 4);
    let why = fill(
        words.comparison_why,
        &[
            ("n", &count(field.n)),
            ("active", &versions[0].1),
            ("other", &versions[1].1),
            ("only_active", &count(field.mcnemar.only_active_right)),
            ("only_other", &count(field.mcnemar.only_other_right)),
            ("p", &p),
        ],
    );
    let (active, other) = (&field.active, &field.other);
    let figures = [
        (words.accuracy, "accuracy", active.accuracy, other.accuracy, Good::Higher),
        (words.macro_f1, "macro_f1", active.macro_f1, other.macro_f1, Good::Higher),
        (words.ece, "ece", active.ece, other.ece, Good::Lower),
        (words.decided_at_target, "coverage", active.coverage, other.coverage, Good::Neither),
        (words.right_among_those, "precision", active.precision, other.precision, Good::Higher),
    ];
    let rows: String = figures
        .iter()
        .map(|(name, key, of_active, of_other, good)| {
            let is_share = *key != "macro_f1";
            let figure = |figure| if is_share { words.percent(figure) } else { words.decimal(figure) };
            let difference = field.differences.get(*key);
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>\n",
                figure(*of_active),
                figure(*of_other),
                difference.map_or_else(|| "–".to_owned(), |difference| signed(words, difference, is_share)),
                difference.map_or("–", |difference| verdict(words, difference, *good)),
            )
        })
        .collect();
    let version = |n: &str| fill(words.version, &[("n", n)]);
    let (of_active, of_other) = (version(&versions[0].1), version(&versions[1].1));
    let columns = [words.measure, &of_active, &of_other, words.difference, words.verdict];
    let changes = if field.gained.is_empty() && field.lost.is_empty() {
        format!("<p>{}</p>\n", words.no_label_change)
    } else {
        let gained = label_changes(words, field, &field.gained, &with_versions(words.gained));
        gained + &label_changes(words, field, &field.lost, &with_versions(words.lost))
    };
    format!("<h3>{}</h3>\n<p>{why}</p>\n{}{changes}", with_versions(words.comparison), table(&columns, Some(4), &rows))
}

/// "+1.2 points (-0.3 to 2.7)" for a share, else "+0.012 (-0.003 to 0.027)".
fn signed(words: &Words, difference: &Difference, is_share: bool) -> String {
    let (scale, decimals) = if is_share { (100.0, 1) } else { (1.0, 3) };
    let number = |value: f64| words.number(value * scale, decimals);
    let sign = if difference.value > 0.0 { "+" } else { "" };
    let value = if is_share { words.points(Some(difference.value)) } else { number(difference.value) };
    let range = difference.interval.map_or_else(String::new, |interval| {
        format!(" ({})", fill(words.range, &[("low", &number(interval.low)), ("high", &number(interval.high))]))
    });
    format!("{sign}{value}{range}").replace('-', "−")
}

fn verdict<'a>(words: &'a Words, difference: &Difference, good: Good) -> &'a str {
    let Some(interval) = difference.interval else { return "–" };
    let is_more = interval.low > 0.0;
    let is_less = interval.high < 0.0;
    match good {
        _ if !is_more && !is_less => words.within_chance,
        Good::Neither if is_more => words.more,
        Good::Neither => words.less,
        Good::Higher if is_more => words.better,
        Good::Lower if is_less => words.better,
        Good::Higher | Good::Lower => words.worse,
    }
}

fn label_changes(words: &Words, field: &FieldComparison, ids: &[String], heading: &str) -> String {
    let changes: String = ids
        .iter()
        .take(MAX_LABELS)
        .filter_map(|id| field.labels.get(id))
        .map(|label| {
            let change = fill(
                words.label_change,
                &[
                    ("name", &escape(&label.name)),
                    ("other", &words.decimal(label.f1_other)),
                    ("active", &words.decimal(label.f1_active)),
                    ("n", &count(label.n)),
                ],
            );
            format!("<li>{change}</li>\n")
        })
        .collect();
    if changes.is_empty() { changes } else { format!("<p>{heading}</p>\n<ol class=\"confusions\">\n{changes}</ol>\n") }
}
