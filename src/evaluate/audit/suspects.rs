//! Here are recorded labels and out-of-fold probabilities, give me the tickets that are probably filed wrong.
//!
//! Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
//! Journal of Artificial Intelligence Research 70, 2021): a label's threshold is the mean probability it gets on its
//! own tickets; a ticket below its own label's threshold that reaches another label's is counted as one of that.

use serde::{Deserialize, Serialize};

use super::near::Space;
use super::{FieldRows, Scored, Subject, rounded};
use crate::evaluate::interval::{Interval, bootstrap, round};
use crate::ticket::LabelRef;

/// Seed of the interval.
const SEED: u64 = 20_210_414;

/// Resolved tickets that are shown beside a suspect.
const NEIGHBOURS: usize = 3;

/// A ticket whose recorded label is probably wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// Id of the ticket.
    pub ticket: String,
    /// Its recorded label.
    pub label: LabelRef,
    /// The label that is likelier.
    pub likelier: LabelRef,
    /// Probability of the recorded label, 0 to 1.
    pub probability: f64,
    /// Probability of the likelier one, 0 to 1.
    pub likelier_probability: f64,
    /// What separates the two.
    pub margin: f64,
    /// The resolved tickets with a value in this field that are nearest, nearest first.
    pub neighbours: Vec<Neighbour>,
}

/// A resolved ticket beside a suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Id of the ticket.
    pub ticket: String,
    /// Its recorded label.
    pub label: LabelRef,
    /// Cosine of standardised vectors, -1 to 1.
    pub similarity: f64,
}

/// What one row counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    /// The recorded label reaches its threshold.
    Right,
    /// This label does, the recorded one does not.
    Wrong { likelier: usize },
    /// None does.
    Open,
}

/// The confident joint of a field, row by row.
pub(super) struct Learning {
    n_labels: usize,
    /// `(recorded label, what it counts as)`, in the order of the scored rows.
    counts: Vec<(usize, Count)>,
}

impl Learning {
    pub(super) fn new(scored: &[Scored<'_>], n_labels: usize) -> Learning {
        let thresholds = thresholds(scored, n_labels);
        let counts = scored.iter().map(|row| (row.label, count(row, &thresholds))).collect();
        Learning { n_labels, counts }
    }

    /// Tickets that are probably filed wrong.
    pub(super) fn n_suspects(&self) -> usize {
        self.counts.iter().filter(|(_, count)| matches!(count, Count::Wrong { .. })).count()
    }

    /// Estimated share of wrong labels: of each label the share among its counted tickets, weighted by all its tickets
    /// (the calibrated joint of the paper, equation 3).
    pub(super) fn share_wrong(&self) -> Option<f64> {
        self.share_of(0..self.counts.len()).map(round)
    }

    /// Bounds of that share, by resampling tickets with the thresholds as they are.
    pub(super) fn share_wrong_interval(&self) -> Option<Interval> {
        bootstrap(self.counts.len(), SEED, |picks| self.share_of(picks.iter().copied()))
    }

    fn share_of(&self, rows: impl Iterator<Item = usize>) -> Option<f64> {
        #[derive(Clone, Copy, Default)]
        struct Label {
            tickets: f64,
            right: f64,
            wrong: f64,
        }
        let mut labels = vec![Label::default(); self.n_labels];
        let mut n = 0.0;
        for (label, count) in rows.filter_map(|row| self.counts.get(row)) {
            let Some(label) = labels.get_mut(*label) else { continue };
            n += 1.0;
            label.tickets += 1.0;
            match count {
                Count::Right => label.right += 1.0,
                Count::Wrong { .. } => label.wrong += 1.0,
                Count::Open => {}
            }
        }
        let wrong = labels.iter().filter(|label| label.wrong > 0.0);
        let sum: f64 = wrong.map(|label| label.tickets * label.wrong / (label.right + label.wrong)).sum();
        (n > 0.0).then(|| sum / n)
    }

    /// The clearest `top` suspects, by margin, then by id.
    pub(super) fn list(
        &self,
        scored: &[Scored<'_>],
        field: &FieldRows,
        subjects: &[Subject<'_>],
        space: &Space,
        top: usize,
    ) -> Vec<Suspect> {
        let mut wrong: Vec<(&Scored<'_>, usize)> = scored
            .iter()
            .zip(&self.counts)
            .filter_map(|(row, (_, count))| match count {
                Count::Wrong { likelier } => Some((row, *likelier)),
                _ => None,
            })
            .collect();
        let margin = |(row, likelier): &(&Scored<'_>, usize)| row.probability(*likelier) - row.probability(row.label);
        wrong.sort_by(|a, b| margin(b).total_cmp(&margin(a)).then(a.0.ticket.cmp(b.0.ticket)));
        wrong.truncate(top);
        let mut label_of = vec![None; subjects.len()];
        for row in &field.rows {
            label_of[row.subject] = field.labels.get(row.label);
        }
        let suspect = |(row, likelier): &(&Scored<'_>, usize)| {
            let among = field.rows.iter().map(|row| row.subject);
            let neighbours = space.nearest(row.subject, among, NEIGHBOURS).into_iter().filter_map(|(near, cosine)| {
                Some(Neighbour {
                    ticket: subjects.get(near)?.ticket.to_owned(),
                    label: label_of.get(near).copied().flatten()?.clone(),
                    similarity: rounded(cosine),
                })
            });
            Some(Suspect {
                ticket: row.ticket.to_owned(),
                label: field.labels.get(row.label)?.clone(),
                likelier: field.labels.get(*likelier)?.clone(),
                probability: rounded(row.probability(row.label)),
                likelier_probability: rounded(row.probability(*likelier)),
                margin: rounded(margin(&(*row, *likelier))),
                neighbours: neighbours.collect(),
            })
        };
        wrong.iter().filter_map(suspect).collect()
    }
}

/// Mean probability of each label on its own tickets, `[n_labels]`; none for a label without any. At least the
/// probability of a blind guess: a label that is never recognised would otherwise be likelier everywhere.
fn thresholds(scored: &[Scored<'_>], n_labels: usize) -> Vec<Option<f32>> {
    let mut sums = vec![(0.0f64, 0usize); n_labels];
    for row in scored {
        if let Some((sum, n)) = sums.get_mut(row.label) {
            *sum += f64::from(row.probability(row.label));
            *n += 1;
        }
    }
    let guess = 1.0 / n_labels.max(1) as f64;
    sums.into_iter().map(|(sum, n)| (n > 0).then(|| (sum / n as f64).max(guess) as f32)).collect()
}

fn count(row: &Scored<'_>, thresholds: &[Option<f32>]) -> Count {
    let reaches = |label: usize| {
        thresholds.get(label).copied().flatten().is_some_and(|threshold| row.probability(label) >= threshold)
    };
    if reaches(row.label) {
        return Count::Right;
    }
    let own = row.probability(row.label);
    let likelier = (0..thresholds.len())
        .filter(|&label| label != row.label && reaches(label) && row.probability(label) > own)
        // The last of equals wins in `max_by`; counting down makes that the first of the field.
        .rev()
        .max_by(|&a, &b| row.probability(a).total_cmp(&row.probability(b)));
    likelier.map_or(Count::Open, |likelier| Count::Wrong { likelier })
}
