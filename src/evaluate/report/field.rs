//! The part of the page about one field: headline figures, curves, confusions, tables.

use super::{count, decimal, escape, main_target, percent, points};
use crate::evaluate::charts;
use crate::evaluate::interval::Interval;
use crate::evaluate::metrics::{Confusion, CoverageAt, FieldMetrics, LabelMetrics};
use crate::ticket::Language;

/// Up to this many labels the whole confusion matrix stands in the page as a table.
const MAX_TABLE_LABELS: usize = 40;
/// Confusions that are named in words.
const MAX_CONFUSIONS: usize = 8;

/// The section of a field, with `anchor` as prefix of its ids.
pub(super) fn section(anchor: &str, field: &str, metrics: &FieldMetrics) -> String {
    let heading = format!("<h2>Field <span class=\"name\">{}</span></h2>\n", escape(field));
    if metrics.n == 0 {
        return format!(
            "<section class=\"field\" id=\"{anchor}\">\n{heading}<p>No held-out ticket has a value for this field.</p>\n</section>\n"
        );
    }
    let n_values = metrics.labels.values().filter(|label| label.n > 0).count();
    let warning = if metrics.calibrated {
        ""
    } else {
        "<p class=\"note\"><strong>Not calibrated.</strong> There were no examples to fit the confidences to, so they \
         only rank: a confidence of 90&nbsp;% does not mean that 90 of 100 are right.</p>\n"
    };
    format!(
        "<section class=\"field\" id=\"{anchor}\">\n{heading}<p class=\"sub\">{} held-out tickets with {n_values} different \
         values.</p>\n{warning}{}<div class=\"charts\">\n{}{}</div>\n{}{}{}{}</section>\n",
        count(metrics.n),
        headline(metrics),
        charts::reliability(anchor, metrics),
        charts::automation(anchor, metrics),
        targets(metrics),
        languages(metrics),
        confusions(anchor, metrics),
        labels(metrics),
    )
}

fn headline(metrics: &FieldMetrics) -> String {
    let mut cards = String::new();
    let interval = |name: &str| metrics.intervals.get(name).copied();
    cards.push_str(&card(
        "Right at the first guess",
        &percent(metrics.accuracy),
        &share_range(interval("accuracy")),
        &format!(
            "Of 100 tickets, about {:.0} get the right value. Always giving the most frequent value would be right for {}.",
            metrics.accuracy.unwrap_or(0.0) * 100.0,
            percent(metrics.majority_accuracy)
        ),
    ));
    let (target, at) = main_target(metrics);
    let rule = match target {
        Some(target) => format!("Confident enough for {:.0}&nbsp;% precision.", target * 100.0),
        None => "Confident enough for the field's own precision target.".to_owned(),
    };
    let outcome = if at.n == 0 {
        "No ticket reached its threshold; all stay with a person.".to_owned()
    } else {
        format!(
            "Of these {} tickets, {} were right{}.",
            count(at.n),
            percent(at.precision),
            bracketed(at.precision_interval)
        )
    };
    cards.push_str(&card("Decided without a person", &percent(at.coverage), "", &format!("{rule} {outcome}")));
    cards.push_str(&card(
        "Right value among three",
        &percent(metrics.top3),
        &share_range(interval("top3")),
        "How often an agent finds the right value among the first three suggestions.",
    ));
    cards.push_str(&card(
        "Confidence is off by",
        &points(metrics.ece),
        "",
        "Average distance between the confidence that is shown and the share that is really right (ECE). 0 is perfect.",
    ));
    cards.push_str(&card(
        "Every value counted alike",
        &decimal(metrics.macro_f1),
        &interval("macro_f1").map_or_else(String::new, |range| format!("{:.3} to {:.3}", range.low, range.high)),
        "Macro-F1, 0 to 1: rare values count as much as frequent ones. Far below the accuracy, it shows that rare \
         values suffer.",
    ));
    if metrics.ordinal {
        cards.push_str(&card(
            "Agreement on the scale",
            &decimal(metrics.quadratic_kappa),
            "",
            &format!(
                "Quadratic kappa: 1 is perfect, 0 is chance. {} are at most one step off.",
                percent(metrics.within_one_step)
            ),
        ));
    } else {
        cards.push_str(&card(
            "Quality of all probabilities",
            &decimal(metrics.log_loss),
            "",
            &format!(
                "Log-loss, lower is better; being sure and wrong costs most. Brier score {}.",
                decimal(metrics.brier)
            ),
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

fn share_range(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |range| format!("{:.1} to {:.1}\u{a0}%", range.low * 100.0, range.high * 100.0))
}

fn bracketed(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |range| format!(" ({})", share_range(Some(range))))
}

/// What each precision target decides, and whether its promise held on these tickets.
fn targets(metrics: &FieldMetrics) -> String {
    let row = |name: &str, target: Option<f64>, at: &CoverageAt| {
        format!(
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}{}</td><td class=\"text\">{}</td></tr>\n",
            percent(at.coverage),
            count(at.n),
            percent(at.precision),
            bracketed(at.precision_interval),
            promise(target, at),
        )
    };
    let mut rows = row("the field's own", None, &metrics.at_target);
    for (name, at) in &metrics.coverage_at {
        let target: Option<f64> = name.parse().ok();
        let name = target.map_or_else(|| escape(name), |target| format!("{}&nbsp;%", (target * 1000.0).round() / 10.0));
        rows.push_str(&row(&name, target, at));
    }
    format!(
        "<h3>What can be left to the machine</h3>\n<p>The thresholds were set on training data, to keep a promise: that at \
         least the asked share of decisions is right. Here is what they do with tickets never seen before.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Precision target</th><th scope=\"col\">Decided</th>\
         <th scope=\"col\">Tickets</th><th scope=\"col\">Right among those</th>\
         <th scope=\"col\" class=\"text\">Promise</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn promise(target: Option<f64>, at: &CoverageAt) -> &'static str {
    let (Some(target), Some(precision), Some(range)) = (target, at.precision, at.precision_interval) else {
        return "–";
    };
    if precision >= target {
        "<span class=\"kept\">✓ kept</span>"
    } else if range.high >= target {
        "<span class=\"close\">≈ missed, within chance</span>"
    } else {
        "<span class=\"missed\">✗ missed</span>"
    }
}

fn languages(metrics: &FieldMetrics) -> String {
    let rows: String = metrics
        .by_language
        .iter()
        .filter(|(_, of_language)| of_language.n > 0)
        .map(|(language, of_language)| {
            let name = match language {
                Language::De => "German",
                Language::En => "English",
                Language::Und => "other, mixed or too short to tell",
            };
            let range = of_language.accuracy.and_then(|share| crate::evaluate::wilson(share, of_language.n));
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}{}</td><td>{}</td></tr>\n",
                count(of_language.n),
                percent(of_language.accuracy),
                bracketed(range),
                points(of_language.ece),
            )
        })
        .collect();
    format!(
        "<h3>By language</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Language</th>\
         <th scope=\"col\">Tickets</th><th scope=\"col\">Right at first guess</th><th scope=\"col\">Confidence is off by</th>\
         </tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

/// The heat map, the largest confusions in words, and the whole matrix as a table when it is not too large.
fn confusions(anchor: &str, metrics: &FieldMetrics) -> String {
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
            let share = percent((truth.n > 0).then(|| n as f64 / truth.n as f64));
            Some(format!(
                "<li><b>{}</b> was taken for <b>{}</b> {}\u{a0}times ({share} of its {} tickets)</li>\n",
                escape(&truth.name),
                escape(&given.name),
                count(n),
                count(truth.n),
            ))
        })
        .collect();
    let in_words = if sentences.is_empty() {
        "<p>No value was taken for another.</p>\n".to_owned()
    } else {
        format!("<p>The most frequent confusions:</p>\n<ol class=\"confusions\">\n{sentences}</ol>\n")
    };
    format!(
        "<h3>What is taken for what</h3>\n{in_words}{}{}",
        charts::confusion_map(anchor, metrics),
        confusion_table(confusion, metrics)
    )
}

fn confusion_table(confusion: &Confusion, metrics: &FieldMetrics) -> String {
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
        "<details>\n<summary>Confusion table with all values</summary>\n<div class=\"scroll\"><table class=\"matrix\">\n\
         <caption>Row: the right value. Column: the value that was given.</caption>\n<thead><tr><td></td>{head}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table></div>\n</details>\n"
    )
}

/// One row a label, most tickets first.
fn labels(metrics: &FieldMetrics) -> String {
    let mut labels: Vec<&LabelMetrics> =
        metrics.labels.values().filter(|label| label.n > 0 || label.predicted > 0).collect();
    labels.sort_by(|a, b| (b.n, b.predicted, &a.name).cmp(&(a.n, a.predicted, &b.name)));
    let rows: String = labels
        .iter()
        .map(|label| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"bar\">{}</td></tr>\n",
                escape(&label.name),
                count(label.n),
                count(label.predicted),
                percent(label.precision),
                percent(label.recall),
                decimal(label.f1),
                charts::bar(label.f1),
            )
        })
        .collect();
    let n_unseen = metrics.labels.len() - labels.len();
    let unseen = match n_unseen {
        0 => String::new(),
        1 => "<p class=\"sub\">1 more value of the field occurs neither as right nor as given value.</p>\n".to_owned(),
        n => format!("<p class=\"sub\">{n} more values of the field occur neither as right nor as given value.</p>\n"),
    };
    format!(
        "<h3>Value by value</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">Value</th>\
         <th scope=\"col\">Tickets</th><th scope=\"col\">Times given</th><th scope=\"col\">Precision</th>\
         <th scope=\"col\">Recall</th><th scope=\"col\">F1</th><td></td></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n{unseen}"
    )
}
