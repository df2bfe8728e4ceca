//! Here are figures, give me inline SVG: colours come from the page's style sheet, so one drawing serves light, dark and
//! print; every chart has a title and a description for those who do not see it.

use std::collections::BTreeMap;

use super::metrics::FieldMetrics;
use super::report::words::{Words, fill};
use super::report::{count, escape};

/// Labels that the confusion map shows one by one; the rest are gathered.
const MAX_MAP_LABELS: usize = 25;
/// Longest names beside and above the confusion map.
const ROW_NAME_CHARS: usize = 32;
const COLUMN_NAME_CHARS: usize = 22;

/// Width and height of the line charts, in SVG units.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 420.0;
/// Edges of their plot area; to the left stand the axis' name and figures.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 454.0;
const TOP: f64 = 18.0;

/// Confidence against the share that is right, with a histogram of confidences below.
pub(super) fn reliability(words: &Words, anchor: &str, metrics: &FieldMetrics) -> String {
    const BOTTOM: f64 = 282.0;
    const BARS_TOP: f64 = 302.0;
    const BARS_BOTTOM: f64 = 362.0;
    let x = |share: f64| LEFT + share * (RIGHT - LEFT);
    let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    let mut svg = String::new();
    for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        svg.push_str(&grid_y(words, y(tick), tick));
        svg.push_str(&line("grid", (x(tick), TOP), (x(tick), BOTTOM)));
        svg.push_str(&text("tick middle", x(tick), BARS_BOTTOM + 18.0, &words.short_percent(tick)));
    }
    svg.push_str(&line("ideal", (x(0.0), y(0.0)), (x(1.0), y(1.0))));
    let path: Vec<String> =
        metrics.reliability.iter().map(|bin| format!("{:.1},{:.1}", x(bin.confidence), y(bin.accuracy))).collect();
    svg.push_str(&format!("<polyline class=\"curve thin\" points=\"{}\"/>\n", path.join(" ")));
    for bin in &metrics.reliability {
        let at = x(bin.confidence);
        svg.push_str(&line("whisker", (at, y(bin.interval.low)), (at, y(bin.interval.high))));
        svg.push_str(&format!(
            "<circle class=\"dot\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"4.5\"><title>{}</title></circle>\n",
            y(bin.accuracy),
            fill(
                words.reliability_dot,
                &[
                    ("n", &count(bin.n)),
                    ("confidence", &words.percent(Some(bin.confidence))),
                    ("accuracy", &words.percent(Some(bin.accuracy))),
                ],
            ),
        ));
    }
    let tallest = metrics.confidence_histogram.iter().copied().max().unwrap_or(0).max(1);
    let step = 1.0 / metrics.confidence_histogram.len().max(1) as f64;
    for (index, n) in metrics.confidence_histogram.iter().copied().enumerate().filter(|(_, n)| *n > 0) {
        // A bar of a few tickets beside thousands must still be seen.
        let height = (n as f64 / tallest as f64 * (BARS_BOTTOM - BARS_TOP)).max(1.0);
        let start = index as f64 * step;
        svg.push_str(&format!(
            "<rect class=\"mass\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{}</title></rect>\n",
            x(start) + 1.0,
            BARS_BOTTOM - height,
            step * (RIGHT - LEFT) - 2.0,
            fill(
                words.histogram_bar,
                &[
                    ("n", &count(n)),
                    ("low", &words.short_percent(start)),
                    ("high", &words.short_percent(start + step)),
                ],
            ),
        ));
    }
    svg.push_str(&text("small start halo", x(0.14) + 8.0, y(0.14) + 14.0, words.as_stated));
    svg.push_str(&line("axis", (LEFT, BARS_BOTTOM), (RIGHT, BARS_BOTTOM)));
    svg.push_str(&text("tick end", LEFT - 8.0, BARS_TOP + 8.0, &count(tallest)));
    svg.push_str(&text("tick end", LEFT - 8.0, BARS_BOTTOM, "0"));
    svg.push_str(&text("label middle", f64::midpoint(LEFT, RIGHT), HEIGHT - 12.0, words.axis_confidence));
    svg.push_str(&text_upright(16.0, f64::midpoint(TOP, BOTTOM), words.axis_right));
    svg.push_str(&text_upright(16.0, f64::midpoint(BARS_TOP, BARS_BOTTOM), words.axis_tickets));

    let rows: String = metrics
        .reliability
        .iter()
        .map(|bin| {
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                words.percent(Some(bin.confidence)),
                words.percent(Some(bin.accuracy)),
                words.share_range(Some(bin.interval)),
                count(bin.n)
            )
        })
        .collect();
    let description = fill(
        words.reliability_description,
        &[("groups", &metrics.reliability.len().to_string()), ("ece", &words.percent(metrics.ece))],
    );
    figure(
        words,
        &Figure {
            id: &format!("{anchor}-reliability"),
            title: words.reliability,
            description: &description,
            caption: words.reliability_caption,
            size: (WIDTH, HEIGHT),
            fixed_size: false,
            drawing: &svg,
            columns: &[words.confidence, words.right, words.range_of_right, words.tickets],
            rows: &rows,
        },
    )
}

/// Share that is decided against accuracy of what is decided, most confident first.
pub(super) fn automation(words: &Words, anchor: &str, metrics: &FieldMetrics) -> String {
    // Above the plot there is room for the names of dots at 100 %.
    const TOP: f64 = 44.0;
    const BOTTOM: f64 = 362.0;
    let mut marks: Vec<(String, f64, f64, bool)> = metrics
        .coverage_at
        .iter()
        .map(|(target, at)| {
            (target.parse().map_or_else(|_| target.clone(), |share| words.short_percent(share)), at, false)
        })
        .chain([(words.own_target_dot.to_owned(), &metrics.at_target, true)])
        .filter_map(|(name, at, is_chosen)| Some((name, at.coverage?, at.precision?, is_chosen)))
        .collect();
    marks.sort_by(|a, b| a.3.cmp(&b.3).then(a.1.total_cmp(&b.1)));
    let lowest =
        metrics.curve.iter().map(|point| point.accuracy).chain(marks.iter().map(|mark| mark.2)).fold(0.9, f64::min);
    // The axis starts at a whole tenth below everything drawn.
    let floor = ((lowest * 10.0 - 0.2).floor() / 10.0).clamp(0.0, 0.8);
    let x = |share: f64| LEFT + share * (RIGHT - LEFT);
    let y = |share: f64| BOTTOM - (share - floor) / (1.0 - floor) * (BOTTOM - TOP);
    let mut svg = String::new();
    let step = if floor < 0.5 {
        20
    } else if floor < 0.75 {
        10
    } else {
        5
    };
    for tick in (0..=100).rev().step_by(step).map(|tick| f64::from(tick) / 100.0).filter(|tick| *tick >= floor - 1e-9) {
        svg.push_str(&grid_y(words, y(tick), tick));
    }
    for tick in [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] {
        svg.push_str(&line("grid", (x(tick), TOP), (x(tick), BOTTOM)));
        svg.push_str(&text("tick middle", x(tick), BOTTOM + 18.0, &words.short_percent(tick)));
    }
    svg.push_str(&line("promise", (LEFT, y(0.95)), (RIGHT, y(0.95))));
    svg.push_str(&text("small start", LEFT + 6.0, y(0.95) + 14.0, words.promise_line));
    let path: Vec<String> =
        metrics.curve.iter().map(|point| format!("{:.1},{:.1}", x(point.coverage), y(point.accuracy))).collect();
    svg.push_str(&format!("<polyline class=\"curve\" points=\"{}\"/>\n", path.join(" ")));
    // Dots over names: a name must not hide a dot.
    svg.push_str(&mark_names(&marks, x, y));
    for (name, coverage, precision, is_chosen) in &marks {
        let (class, radius) = if *is_chosen { ("chosen", 7.0) } else { ("mark", 5.0) };
        svg.push_str(&format!(
            "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}</title></circle>\n",
            x(*coverage),
            y(*precision),
            fill(
                words.automation_dot,
                &[
                    ("name", &escape(name)),
                    ("coverage", &words.percent(Some(*coverage))),
                    ("precision", &words.percent(Some(*precision))),
                ],
            ),
        ));
    }
    svg.push_str(&line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM)));
    let middle = f64::midpoint(LEFT, RIGHT);
    svg.push_str(&text("label middle", middle, HEIGHT - 12.0, words.axis_decided));
    svg.push_str(&text_upright(16.0, f64::midpoint(TOP, BOTTOM), words.axis_right_of_decided));

    let rows: String = metrics
        .curve
        .iter()
        .map(|point| {
            format!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                words.percent(Some(point.coverage)),
                words.percent(Some(point.accuracy)),
                words.percent(Some(point.confidence))
            )
        })
        .collect();
    let description = fill(
        words.automation_description,
        &[
            ("accuracy", &words.percent(metrics.accuracy)),
            ("coverage", &words.percent(metrics.at_target.coverage)),
            ("precision", &words.percent(metrics.at_target.precision)),
        ],
    );
    figure(
        words,
        &Figure {
            id: &format!("{anchor}-automation"),
            title: words.automation,
            description: &description,
            caption: words.automation_caption,
            size: (WIDTH, HEIGHT),
            fixed_size: false,
            drawing: &svg,
            columns: &[words.decided, words.right_among_those, words.lowest_confidence],
            rows: &rows,
        },
    )
}

/// Names of the dots: (name, coverage, precision, whether it is the chosen one), by rising coverage.
fn mark_names(marks: &[(String, f64, f64, bool)], x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut names = String::new();
    let mut last_x = f64::NEG_INFINITY;
    let mut is_raised = false;
    for (name, coverage, precision, is_chosen) in marks {
        let (at_x, at_y) = (x(*coverage), y(*precision));
        if *is_chosen {
            // Below and to the left a falling curve leaves room.
            let (side, label_x) = if at_x > LEFT + 110.0 { ("end", at_x - 9.0) } else { ("start", at_x + 4.0) };
            names.push_str(&text(&format!("small strong halo {side}"), label_x, at_y + 20.0, &escape(name)));
            continue;
        }
        // Above and to the right it is free as well; neighbours stand on two levels, not on each other.
        is_raised = !is_raised && at_x - last_x < 42.0;
        last_x = at_x;
        let (side, label_x) = if at_x < RIGHT - 20.0 { ("start", at_x + 7.0) } else { ("end", WIDTH - 2.0) };
        let label_y = at_y - if is_raised { 24.0 } else { 9.0 };
        names.push_str(&text(&format!("small strong halo {side}"), label_x, label_y, &escape(name)));
    }
    names
}

/// Heat map: row = right label, column = given label, colour = share of the row.
pub(super) fn confusion_map(words: &Words, anchor: &str, metrics: &FieldMetrics) -> String {
    let shown = occurring_labels(metrics);
    let n_single = if shown.len() > MAX_MAP_LABELS { MAX_MAP_LABELS } else { shown.len() };
    let n_others = shown.len() - n_single;
    // Place in the map by label index; all gathered labels share the last place.
    let place: BTreeMap<usize, usize> = shown.iter().enumerate().map(|(i, &label)| (label, i.min(n_single))).collect();
    let n_places = n_single + usize::from(n_others > 0);
    let cell_size = if n_places > 16 { 28.0 } else { 36.0 };
    let mut cells = vec![vec![0_usize; n_places]; n_places];
    for &(truth, given, n) in &metrics.confusion.cells {
        let (Some(&row), Some(&column)) = (place.get(&truth), place.get(&given)) else { continue };
        cells[row][column] += n;
    }
    let name_of = |index: usize| {
        let label = shown.get(index).filter(|_| index < n_single);
        let id = label.and_then(|&label| metrics.confusion.labels.get(label));
        match id {
            Some(id) => metrics.labels.get(id).map_or(id.as_str(), |label| label.name.as_str()).to_owned(),
            None => fill(words.all_others, &[("n", &count(n_others))]),
        }
    };

    // Room for the names: 7.4 to 7.8 units a character, those of the columns turned by 50 degrees.
    let longest = (0..n_places).map(|index| name_of(index).chars().count()).max().unwrap_or(0);
    let names_width = longest.min(ROW_NAME_CHARS) as f64 * 7.8 + 12.0;
    let turned = longest.min(COLUMN_NAME_CHARS) as f64 * 7.4;
    let (head, overhang) = (turned * 0.77 + 24.0, turned * 0.65 + 6.0);

    let mut svg = String::new();
    for (index, row) in cells.iter().enumerate() {
        let name = name_of(index);
        let total: usize = row.iter().sum();
        let middle = head + (index as f64 + 0.5) * cell_size;
        let across = names_width + (index as f64 + 0.5) * cell_size;
        svg.push_str(&titled_text("tick strong end", (names_width - 8.0, middle + 4.0), None, &name, ROW_NAME_CHARS));
        svg.push_str(&titled_text(
            "tick strong start",
            (across + 4.0, head - 8.0),
            Some(-50.0),
            &name,
            COLUMN_NAME_CHARS,
        ));
        for (column, &n) in row.iter().enumerate() {
            let share = if total == 0 { 0.0 } else { n as f64 / total as f64 };
            let is_right = index == column && index < n_single;
            // What was gathered may be right or wrong: it gets no colour of either.
            let hue = if index == column && index == n_single {
                "o"
            } else if is_right {
                "r"
            } else {
                "w"
            };
            let class = if n == 0 { "none".to_owned() } else { format!("{hue}{}", shade(share)) };
            let (left, top) = (names_width + column as f64 * cell_size, head + index as f64 * cell_size);
            let title = if n == 0 {
                String::new()
            } else {
                let given = name_of(column);
                format!(
                    "<title>{} → {}: {} ({})</title>",
                    escape(&name),
                    escape(&given),
                    count(n),
                    words.percent(Some(share))
                )
            };
            svg.push_str(&format!(
                "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"3\">{title}</rect>\n",
                left + 1.0,
                top + 1.0,
                cell_size - 2.0,
                cell_size - 2.0
            ));
            if n > 0 {
                let tone = if hue == "o" { "cell low".to_owned() } else { format!("cell {}", tone(share)) };
                svg.push_str(&text(
                    &format!("{tone} middle"),
                    left + cell_size / 2.0,
                    top + cell_size / 2.0 + 4.0,
                    &short_count(n),
                ));
            }
        }
    }
    let size = (names_width + n_places as f64 * cell_size + overhang, head + n_places as f64 * cell_size + 6.0);
    let gathered = if n_others > 0 {
        fill(words.confusion_map_gathered, &[("single", &count(n_single)), ("others", &count(n_others))])
    } else {
        String::new()
    };
    let caption = format!("{}{gathered}", words.confusion_map_caption);
    figure(
        words,
        &Figure {
            id: &format!("{anchor}-confusion"),
            title: words.confusion_map,
            description: &fill(
                words.confusion_map_description,
                &[("n", &n_places.to_string()), ("accuracy", &words.percent(metrics.accuracy))],
            ),
            caption: &caption,
            size,
            fixed_size: true,
            drawing: &svg,
            columns: &[],
            rows: "",
        },
    )
}

/// Indices of the labels that are right or given anywhere: a short scale in its order, else most tickets
/// first.
pub(super) fn occurring_labels(metrics: &FieldMetrics) -> Vec<usize> {
    let figures = |index: usize| metrics.confusion.labels.get(index).and_then(|id| metrics.labels.get(id));
    let occurs = |index: &usize| figures(*index).is_some_and(|label| label.n + label.predicted > 0);
    let mut labels: Vec<usize> = (0..metrics.confusion.labels.len()).filter(occurs).collect();
    if !metrics.ordinal || labels.len() > MAX_MAP_LABELS {
        labels.sort_by_key(|&index| {
            let label = figures(index);
            std::cmp::Reverse(label.map_or((0, 0), |label| (label.n, label.predicted)))
        });
    }
    labels
}

/// A bar for a value of 0 to 1 in a table cell; the figure beside it says the same.
pub(super) fn bar(value: Option<f64>) -> String {
    let width = value.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0;
    format!(
        "<svg class=\"inline\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"track\" width=\"100\" height=\"10\"/><rect class=\"fill\" width=\"{width:.1}\" height=\"10\"/></svg>"
    )
}

struct Figure<'a> {
    id: &'a str,
    title: &'a str,
    description: &'a str,
    /// HTML.
    caption: &'a str,
    size: (f64, f64),
    /// Keeps its size and scrolls, instead of shrinking with the page.
    fixed_size: bool,
    drawing: &'a str,
    /// Table with the same figures; none without columns.
    columns: &'a [&'a str],
    rows: &'a str,
}

fn figure(words: &Words, figure: &Figure<'_>) -> String {
    let Figure { id, title, description, caption, size: (width, height), drawing, rows, .. } = figure;
    let style = if figure.fixed_size { format!(" style=\"width:{width:.0}px\"") } else { String::new() };
    let head: String = figure.columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
    let table = if figure.columns.is_empty() {
        String::new()
    } else {
        format!(
            "<details>\n<summary>{}</summary>\n<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table></div>\n</details>\n",
            words.as_table
        )
    };
    format!(
        "<figure>\n<h3>{title}</h3>\n<div class=\"scroll\"><svg class=\"chart\" viewBox=\"0 0 {width:.0} {height:.0}\"{style} \
         role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\n\
         <desc id=\"{id}-desc\">{description}</desc>\n{drawing}</svg></div>\n<figcaption>{caption}</figcaption>\n{table}</figure>\n"
    )
}

fn line(class: &str, from: (f64, f64), to: (f64, f64)) -> String {
    format!(
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

/// `content` is escaped already.
fn text(class: &str, x: f64, y: f64, content: &str) -> String {
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>\n")
}

fn text_upright(x: f64, y: f64, content: &str) -> String {
    format!("<text class=\"label middle\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{content}</text>\n")
}

/// A name shortened to `max_chars`, whole in its tooltip.
fn titled_text(class: &str, (x, y): (f64, f64), turned: Option<f64>, name: &str, max_chars: usize) -> String {
    let shown = shorten(name, max_chars);
    let turn = turned.map_or_else(String::new, |degrees| format!(" rotate({degrees})"));
    format!(
        "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}){turn}\">{}<title>{}</title></text>\n",
        escape(&shown),
        escape(name)
    )
}

/// Leaves out the middle: names of one branch ("Network::VPN::…") differ at their ends.
fn shorten(name: &str, max_chars: usize) -> String {
    let n_chars = name.chars().count();
    if n_chars <= max_chars {
        return name.to_owned();
    }
    let n_start = max_chars / 3;
    let start: String = name.chars().take(n_start).collect();
    let end: String = name.chars().skip(n_chars + n_start + 1 - max_chars).collect();
    format!("{}…{}", start.trim_end(), end.trim_start())
}

fn grid_y(words: &Words, y: f64, share: f64) -> String {
    let mut grid = line("grid", (LEFT, y), (RIGHT, y));
    grid.push_str(&text("tick end", LEFT - 8.0, y + 4.0, &words.short_percent(share)));
    grid
}

/// Four characters at most.
fn short_count(n: usize) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{}k", n / 1000),
        _ => format!("{}M", n / 1_000_000),
    }
}

/// Step of the colour scale, 1 to 6.
fn shade(share: f64) -> usize {
    1 + [0.05, 0.15, 0.35, 0.6, 0.85].iter().filter(|limit| share > **limit).count()
}

/// Which ink can be read on that step.
fn tone(share: f64) -> &'static str {
    if shade(share) > 4 { "high" } else { "low" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_lose_their_middle() {
        for (name, shown) in [
            ("short", "short"),
            ("exactly nine", "exactly nine"),
            ("Network::VPN::Error 809", "Netw…rror 809"),
            ("Störungen und Ausfälle", "Stör…Ausfälle"),
        ] {
            let shortened = shorten(name, 13);
            assert_eq!(shortened, shown);
            assert!(shortened.chars().count() <= 13);
        }
    }

    #[test]
    fn colours_follow_the_share_and_keep_the_ink_readable() {
        for (share, step, ink) in
            [(0.01, 1, "low"), (0.1, 2, "low"), (0.2, 3, "low"), (0.5, 4, "low"), (0.7, 5, "high"), (1.0, 6, "high")]
        {
            assert_eq!((shade(share), tone(share)), (step, ink));
        }
    }

    #[test]
    fn counts_in_cells_stay_short() {
        for (n, shown) in [(9_999, "9999"), (10_000, "10k"), (999_999, "999k"), (3_000_000, "3M")] {
            assert_eq!(short_count(n), shown);
        }
    }
}
