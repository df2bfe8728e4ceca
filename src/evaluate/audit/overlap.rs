//! Here are predictions on held-out tickets, give me the pairs of labels that are taken for each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{FieldRows, Scored, rounded};
use crate::classify::lower_bound;
use crate::evaluate::interval::round;
use crate::ticket::LabelRef;

/// "Beyond chance" is wrong this often, on one side.
const RISK: f64 = 0.05;
/// A pair is listed when, beyond chance, more than this share of its tickets are taken for the other label ...
const LEAST_SHARE: f64 = 0.10;
/// ... or more than this share of the rarer label's tickets are, which a much more frequent label hides in the first.
const LEAST_ABSORBED: f64 = 0.5;
/// From this share of the errors that naming the more frequent label always would make, telling them apart is no better
/// than a guess.
const NO_BETTER_THAN_GUESSING: f64 = 0.75;
/// Tickets that are shown of a pair.
const MAX_EXAMPLES: usize = 5;

/// Two labels that the service cannot tell apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// The label with more tickets; the first in the field of equals.
    pub label: LabelRef,
    /// The other.
    pub other: LabelRef,
    /// Tickets of `label`.
    pub tickets: usize,
    /// Those of them that were taken for `other`.
    pub taken_for_other: usize,
    /// Tickets of `other`.
    pub other_tickets: usize,
    /// Those of them that were taken for `label`.
    pub other_taken_for_label: usize,
    /// Share of the tickets of both that were taken for the other label, 0 to 1.
    pub share: f64,
    /// One-sided lower bound of that share (Clopper and Pearson 1934, 95 %).
    pub share_at_least: f64,
    /// Mistakes between the two, as a share of those that naming the more frequent one always would make; from about 1
    /// on the texts do not say which it is.
    pub of_guessing: f64,
    /// What to do.
    pub advice: Advice,
    /// The tickets that look most like the other label.
    pub examples: Vec<Confused>,
}

/// What to do about two labels that overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Make one label of the two: the texts do not tell them apart.
    Merge,
    /// Say in both descriptions where the line is, and correct the tickets on the wrong side of it.
    Sharpen,
}

/// A ticket that was taken for the other label of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confused {
    /// Id of the ticket.
    pub ticket: String,
    /// Its recorded label.
    pub label: LabelRef,
    /// Probability of that label, 0 to 1.
    pub probability: f64,
    /// Probability of the other label, 0 to 1.
    pub other_probability: f64,
}

/// Pairs that overlap, by their share's lower bound, then by their place in the field.
pub(super) fn find(scored: &[Scored<'_>], field: &FieldRows) -> Vec<Overlap> {
    let mut tickets = vec![0usize; field.labels.len()];
    let mut confused: BTreeMap<(usize, usize), Vec<&Scored<'_>>> = BTreeMap::new();
    for row in scored {
        tickets[row.label] += 1;
        let best = row.best();
        if best != row.label {
            confused.entry((best.min(row.label), best.max(row.label))).or_default().push(row);
        }
    }
    let mut found: Vec<Overlap> = confused
        .into_iter()
        .filter_map(|((a, b), rows)| {
            let (label, other) = if tickets[b] > tickets[a] { (b, a) } else { (a, b) };
            overlap(label, other, rows, &tickets, field)
        })
        .collect();
    // Stable, so that equal pairs stay in the order of the field.
    found.sort_by(|a, b| b.share_at_least.total_cmp(&a.share_at_least).then(b.share.total_cmp(&a.share)));
    found
}

fn overlap(
    label: usize,
    other: usize,
    mut rows: Vec<&Scored<'_>>,
    tickets: &[usize],
    field: &FieldRows,
) -> Option<Overlap> {
    let (n, n_other) = (tickets[label], tickets[other]);
    let taken_for_other = rows.iter().filter(|row| row.label == label).count();
    let other_taken_for_label = rows.len() - taken_for_other;
    let share_at_least = lower_bound(rows.len(), n + n_other, RISK);
    if share_at_least < LEAST_SHARE && lower_bound(other_taken_for_label, n_other, RISK) < LEAST_ABSORBED {
        return None;
    }
    let of_guessing = rows.len() as f64 / n_other.max(1) as f64;
    let opposite = |row: &Scored<'_>| if row.label == label { other } else { label };
    let margin = |row: &Scored<'_>| row.probability(opposite(row)) - row.probability(row.label);
    rows.sort_by(|a, b| margin(b).total_cmp(&margin(a)).then(a.ticket.cmp(b.ticket)));
    let examples = rows.iter().take(MAX_EXAMPLES).filter_map(|row| {
        Some(Confused {
            ticket: row.ticket.to_owned(),
            label: field.labels.get(row.label)?.clone(),
            probability: rounded(row.probability(row.label)),
            other_probability: rounded(row.probability(opposite(row))),
        })
    });
    Some(Overlap {
        label: field.labels.get(label)?.clone(),
        other: field.labels.get(other)?.clone(),
        tickets: n,
        taken_for_other,
        other_tickets: n_other,
        other_taken_for_label,
        share: round(rows.len() as f64 / (n + n_other).max(1) as f64),
        share_at_least: round(share_at_least),
        of_guessing: round(of_guessing),
        // Steps of a scale are not merged: that two neighbours are confused is in their nature.
        advice: if of_guessing >= NO_BETTER_THAN_GUESSING && !field.ordinal { Advice::Merge } else { Advice::Sharpen },
        examples: examples.collect(),
    })
}
