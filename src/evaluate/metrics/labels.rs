//! Here is which label was right and which was given, ticket by ticket, give me the figures label by label.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Judged;
use crate::evaluate::FieldResult;
use crate::evaluate::interval::{mean, round};
use crate::ticket::LabelRef;

/// The figures of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    /// Present name.
    pub name: String,
    /// Tickets of which it is the right label.
    pub n: usize,
    /// Tickets that were given it.
    pub predicted: usize,
    /// Share of `predicted` that is right; absent when it was never given.
    pub precision: Option<f64>,
    /// Share of `n` that was found; absent when no ticket has it.
    pub recall: Option<f64>,
    /// Harmonic mean of both; absent when the label occurs nowhere.
    pub f1: Option<f64>,
    /// Tickets that were decided as it at the field's own precision target.
    pub decided: usize,
    /// Share of `decided` that is right; absent when none was decided as it.
    pub decided_precision: Option<f64>,
}

/// Confusion matrix, sparse.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Label ids in the field's order; `cells` count in it.
    pub labels: Vec<String>,
    /// `[right label, given label, tickets]`, without empty cells, in order.
    pub cells: Vec<(usize, usize, usize)>,
}

/// Tickets by label.
pub(in crate::evaluate) struct Counts {
    pub(super) truth: Vec<usize>,
    predicted: Vec<usize>,
    right: Vec<usize>,
}

impl Counts {
    pub(in crate::evaluate) fn of(
        n_labels: usize,
        pairs: impl Iterator<Item = (Option<usize>, Option<usize>)>,
    ) -> Counts {
        let mut counts = Counts { truth: vec![0; n_labels], predicted: vec![0; n_labels], right: vec![0; n_labels] };
        for (truth, predicted) in pairs {
            if let Some(truth) = truth {
                counts.truth[truth] += 1;
            }
            if let Some(predicted) = predicted {
                counts.predicted[predicted] += 1;
                counts.right[predicted] += usize::from(truth == Some(predicted));
            }
        }
        counts
    }

    /// F1 = 2 right / (truth + predicted); none when the label occurs nowhere.
    pub(in crate::evaluate) fn f1(&self, label: usize) -> Option<f64> {
        let occurrences = self.truth[label] + self.predicted[label];
        (occurrences > 0).then(|| 2.0 * self.right[label] as f64 / occurrences as f64)
    }

    pub(in crate::evaluate) fn macro_f1(&self) -> Option<f64> {
        let scores: Vec<f64> = (0..self.truth.len()).filter_map(|label| self.f1(label)).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}

pub(super) fn confusion(result: &FieldResult, pairs: &[(Option<usize>, Option<usize>)]) -> Confusion {
    let mut cells = BTreeMap::new();
    for (truth, predicted) in pairs.iter().filter_map(|&(truth, predicted)| truth.zip(predicted)) {
        *cells.entry((truth, predicted)).or_insert(0) += 1;
    }
    Confusion {
        labels: result.labels.iter().map(|label| label.id.clone()).collect(),
        cells: cells.into_iter().map(|((truth, predicted), n)| (truth, predicted, n)).collect(),
    }
}

/// 1 - observed / expected squared distance (Cohen 1968); none when all tickets and answers have one label.
pub(super) fn quadratic_kappa(confusion: &Confusion) -> Option<f64> {
    let n: usize = confusion.cells.iter().map(|cell| cell.2).sum();
    let mut truths = vec![0.0; confusion.labels.len()];
    let mut answers = truths.clone();
    let mut observed = 0.0;
    for &(truth, answer, count) in &confusion.cells {
        truths[truth] += count as f64;
        answers[answer] += count as f64;
        observed += truth.abs_diff(answer).pow(2) as f64 * count as f64;
    }
    let mut expected = 0.0;
    for (truth, n_truth) in truths.iter().enumerate() {
        for (answer, n_answer) in answers.iter().enumerate() {
            expected += truth.abs_diff(answer).pow(2) as f64 * n_truth * n_answer / n as f64;
        }
    }
    (expected > 0.0).then(|| round(1.0 - observed / expected))
}

pub(super) fn label_metrics(
    result: &FieldResult,
    judged: &[Judged<'_>],
    counts: &Counts,
) -> BTreeMap<String, LabelMetrics> {
    let decided = Counts::of(
        result.labels.len(),
        judged.iter().filter(|row| row.row.decided).map(|row| (row.truth, row.predicted)),
    );
    let figures = |(index, label): (usize, &LabelRef)| {
        let right = counts.right[index] as f64;
        let metrics = LabelMetrics {
            name: label.name.clone(),
            n: counts.truth[index],
            predicted: counts.predicted[index],
            precision: mean(right, counts.predicted[index]),
            recall: mean(right, counts.truth[index]),
            f1: counts.f1(index).map(round),
            decided: decided.predicted[index],
            decided_precision: mean(decided.right[index] as f64, decided.predicted[index]),
        };
        (label.id.clone(), metrics)
    };
    result.labels.iter().enumerate().map(figures).collect()
}
