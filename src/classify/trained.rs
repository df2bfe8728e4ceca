//! The head of a field with examples: its members, fitted on all rows, and the stack, fitted on rows held out.

use serde::{Deserialize, Serialize};

use super::compact;
use super::dense::Logits;
use super::examples::{DenseFit, Examples};
use super::features::Vocabulary;
use super::folds::Folds;
use super::held_out::HeldOut;
use super::neighbours::{self, log_votes};
use super::novelty::Novelty;
use super::ordinal::Cumulative;
use super::rule;
use super::sparse::Margins;
use super::stack::{Learn, Stack};
use super::standardise::{Standardiser, unit};
use super::{Features, OutOfFold, Prediction, TrainingSet};

/// Below so many rows, or so many a label on average, weights and biases of the stack cannot be learnt.
const FEW_ROWS: usize = 60;
const FEW_ROWS_A_LABEL: usize = 4;
/// Held-out rows from which probabilities count as calibrated and a ticket can be called far from training.
const ENOUGH_TO_CALIBRATE: usize = 30;
const ENOUGH_FOR_FAR: usize = 80;

/// Fitted members and stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trained {
    vocabulary: Vocabulary,
    margins: Margins,
    dense: Dense,
    stack: Stack,
    novelty: Option<Novelty>,
    /// For an ordered field, one per level: what makes the best level by weight right for rare ones too.
    #[serde(with = "compact::f32s")]
    level_weights: Vec<f32>,
    out_of_fold: Vec<OutOfFold>,
}

/// The member on vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Dense {
    Nominal(Logits),
    Ordinal(Cumulative),
}

impl Trained {
    /// Fits all members on all rows, and the stack on what members fitted on the other folds say of each row.
    pub(super) fn fit(
        set: &TrainingSet<'_>,
        standardiser: &Standardiser,
        examples_per_label: &[u32],
        progress: &dyn Fn(f32),
    ) -> Trained {
        let n = set.texts.len();
        let folds = Folds::draw(set);
        let examples = Examples::new(set, standardiser, &folds.of_members);
        let held_out = HeldOut::score(&examples, &folds, progress);

        let is_small = n < FEW_ROWS || n < FEW_ROWS_A_LABEL * set.label_ids.len();
        // Margins and votes know no order: beside them the steps of a scale lose the rare levels at its ends (quadratic
        // kappa 0.20 alone, 0.12 with all three, measured on priorities of bug reports at equal accuracy).
        let learn = match (is_small, set.ordinal) {
            (true, _) => Learn::Temperatures,
            (false, true) => Learn::DenseAlone,
            (false, false) => Learn::All,
        };
        let has_examples: Vec<bool> = examples_per_label.iter().map(|&n| n > 0).collect();
        let stack = Stack::fit(held_out.members(set), &held_out.usable(|_| true), learn, &has_examples);
        let out_of_fold = held_out.out_of_fold(set, learn, &has_examples);
        let novelty = held_out.novelty(set);
        let level_weights = match set.ordinal {
            true => rule::weights_for_macro_f1(&out_of_fold, set.label_ids.len()),
            false => Vec::new(),
        };

        let all: Vec<u32> = (0..n as u32).collect();
        let weighed = examples.corpus.weigh(&all);
        let (vocabulary, columns) = examples.corpus.vocabulary(&weighed);
        let rows = examples.corpus.rows(&weighed);
        let margins = Margins::new(&examples.planes(rows, &all, &held_out.pushes), &columns);
        let dense = match examples.fit_dense(rows, &all, held_out.last_dense) {
            DenseFit::Nominal(fit) => Dense::Nominal(fit.logits()),
            DenseFit::Ordinal(fit) => Dense::Ordinal(fit.cumulative(&columns)),
        };
        Trained { vocabulary, margins, dense, stack, novelty, level_weights, out_of_fold }
    }

    /// Predicts from a standardised vector, the text and the neighbours.
    pub(super) fn predict(&self, vector: &[f32], features: &Features<'_>, examples_per_label: &[u32]) -> Prediction {
        let row = self.vocabulary.row(features.text);
        let margins = self.margins.of(&row);
        let dense = match &self.dense {
            Dense::Nominal(logits) => logits.of(vector),
            Dense::Ordinal(cumulative) => cumulative.of(&row, &unit(vector.to_vec())),
        };
        let votes = log_votes(features.neighbours, examples_per_label);
        let (novelty, far_from_training) = match &self.novelty {
            Some(usual) => {
                let novelty = usual.of(best(&margins), neighbours::distance(features.neighbours));
                (novelty, self.out_of_fold.len() >= ENOUGH_FOR_FAR && usual.is_far(novelty))
            }
            None => (0.0, false),
        };
        let by_member = [&margins, &dense, &votes].map(|scores| position_of_best(scores));
        Prediction {
            by_member: by_member.to_vec(),
            probabilities: self.stack.probabilities([&margins, &dense, &votes]),
            calibrated: self.out_of_fold.len() >= ENOUGH_TO_CALIBRATE,
            far_from_training,
            novelty,
        }
    }

    /// One weight per level of an ordered field, for [`crate::taxonomy::Rule::Balanced`]; none for others.
    pub(super) fn level_weights(&self) -> &[f32] {
        &self.level_weights
    }

    /// Held-out predictions, each by a stack that had not seen the row either.
    pub(super) fn out_of_fold(&self) -> &[OutOfFold] {
        &self.out_of_fold
    }

    /// Whether all parts are for so many dimensions and labels.
    pub(super) fn is_consistent(&self, dim: usize, labels: usize) -> bool {
        let features = self.vocabulary.len();
        let dense = match &self.dense {
            Dense::Nominal(logits) => logits.is_consistent(dim, labels),
            Dense::Ordinal(cumulative) => cumulative.is_consistent(features, dim, labels),
        };
        self.vocabulary.is_consistent()
            && self.margins.is_consistent(features, labels)
            && dense
            && self.novelty.as_ref().is_none_or(Novelty::is_consistent)
            && (self.level_weights.is_empty() || self.level_weights.len() == labels)
            && self.level_weights.iter().all(|weight| weight.is_finite())
            && self.stack.is_consistent(labels)
            && self.out_of_fold.iter().all(|row| {
                (row.label as usize) < labels
                    && (row.truth as usize) < labels
                    && (row.levels.is_empty() || row.levels.len() == labels)
            })
    }
}

/// The highest score.
pub(super) fn best(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Position of the highest score, the first among equals.
pub(super) fn position_of_best(scores: &[f32]) -> u32 {
    let better = |best: (u32, f32), next: (u32, f32)| if next.1 > best.1 { next } else { best };
    (0..).zip(scores.iter().copied()).reduce(better).map_or(0, |(position, _)| position)
}
