//! What members fitted without a row's fold say of the row: the ground that the stack and all promises stand on.

use rayon::prelude::*;

use super::examples::{DenseFit, Examples};
use super::folds::Folds;
use super::neighbours::{self, log_votes};
use super::novelty::Novelty;
use super::stack::{Learn, MEMBERS, MemberScores, Stack};
use super::trained::best;
use super::{OutOfFold, TrainingSet};

/// What members fitted without a row's fold say of the row.
pub(super) struct HeldOut {
    /// The rows that were scored; everything below goes by position in this list.
    rows: Vec<u32>,
    fold: Vec<u32>,
    stack_part: Vec<u32>,
    stack_parts: usize,
    labels: Vec<u32>,
    /// By member `[positions, labels]`.
    scores: [Vec<f32>; MEMBERS],
    distances: Vec<Option<f32>>,
    /// Whether the fold left rows to learn from.
    is_scored: Vec<bool>,
    /// Mean pushes `[labels][rows of the set]` over the folds, for the final fit to start from.
    pub pushes: Vec<Vec<f32>>,
    /// The last fold's member on vectors, likewise.
    pub last_dense: Option<DenseFit>,
}

impl HeldOut {
    /// Fits the members once per fold and scores the rows left out. `progress` is told the share of the whole fit.
    pub(super) fn score(examples: &Examples<'_>, folds: &Folds, progress: &dyn Fn(f32)) -> HeldOut {
        let set = examples.set;
        let (n, n_labels) = (set.texts.len(), set.label_ids.len());
        let rows: Vec<u32> =
            (0..n as u32).filter(|&row| (folds.of_members[row as usize] as usize) < folds.left_out).collect();
        let of_rows = |values: &[u32]| rows.iter().map(|&row| values[row as usize]).collect::<Vec<u32>>();
        let mut held_out = HeldOut {
            fold: of_rows(&folds.of_members),
            stack_part: of_rows(&folds.of_stack),
            stack_parts: folds.stack_parts,
            labels: of_rows(set.labels),
            scores: [const { Vec::new() }; MEMBERS].map(|_: Vec<f32>| vec![0.0; rows.len() * n_labels]),
            distances: vec![None; rows.len()],
            is_scored: vec![false; rows.len()],
            pushes: vec![vec![0.0; n]; n_labels],
            last_dense: None,
            rows,
        };
        for fold in 0..folds.left_out {
            held_out.score_fold(examples, &folds.of_members, fold as u32);
            progress((fold + 1) as f32 / (folds.left_out + 2) as f32);
        }
        // Every row was in all folds but its own.
        let share = 1.0 / (folds.left_out - 1).max(1) as f32;
        held_out.pushes.iter_mut().flatten().for_each(|push| *push *= share);
        held_out.vote(examples, &folds.of_members, folds.left_out);
        progress((folds.left_out + 1) as f32 / (folds.left_out + 2) as f32);
        held_out
    }

    fn score_fold(&mut self, examples: &Examples<'_>, fold_of: &[u32], fold: u32) {
        let training: Vec<u32> = (0..fold_of.len() as u32).filter(|&row| fold_of[row as usize] != fold).collect();
        let positions: Vec<usize> = (0..self.rows.len()).filter(|&position| self.fold[position] == fold).collect();
        if training.is_empty() || positions.is_empty() {
            return;
        }
        let n_labels = examples.set.label_ids.len();
        let weighed = examples.corpus.weigh(&training);
        let rows = examples.corpus.rows(&weighed);
        let of_labels: Vec<(Vec<f32>, Vec<f32>)> = examples
            .planes(rows, &training, &[])
            .into_par_iter()
            .map(|plane| {
                let margins = positions.iter().map(|&p| plane.margin(rows.row(self.rows[p] as usize)));
                (margins.collect(), plane.pushes)
            })
            .collect();
        for (label, (margins, pushes)) in of_labels.into_iter().enumerate() {
            for (&position, margin) in positions.iter().zip(margins) {
                self.scores[0][position * n_labels + label] = margin;
            }
            for (&row, push) in training.iter().zip(pushes) {
                self.pushes[label][row as usize] += push;
            }
        }

        let fit = examples.fit_dense(rows, &training, None);
        let logits = match &fit {
            DenseFit::Nominal(fit) => Some(fit.logits()),
            DenseFit::Ordinal(_) => None,
        };
        for &position in &positions {
            let row = self.rows[position] as usize;
            let scores = match (&fit, &logits) {
                (DenseFit::Ordinal(fit), _) => fit.of(rows.row(row), examples.units.row(row)),
                (_, Some(logits)) => logits.of(&examples.vectors.row(row)[..examples.set.dim]),
                _ => continue,
            };
            self.scores[1][position * n_labels..][..n_labels].copy_from_slice(&scores);
            self.is_scored[position] = true;
        }
        self.last_dense = Some(fit);
    }

    fn vote(&mut self, examples: &Examples<'_>, fold_of: &[u32], n_folds: usize) {
        let set = examples.set;
        let n_labels = set.label_ids.len();
        let mut examples_per_label = vec![vec![0u32; n_labels]; n_folds];
        for (&label, &fold) in set.labels.iter().zip(fold_of) {
            for (_, counts) in examples_per_label.iter_mut().enumerate().filter(|(other, _)| *other != fold as usize) {
                counts[label as usize] += 1;
            }
        }
        let nearest = neighbours::of_other_folds(&examples.units, &self.rows, fold_of);
        for (position, mut nearest) in nearest.into_iter().enumerate() {
            nearest.iter_mut().for_each(|(row, _)| *row = set.labels[*row as usize]);
            let votes = log_votes(&nearest, &examples_per_label[self.fold[position] as usize]);
            self.scores[2][position * n_labels..][..n_labels].copy_from_slice(&votes);
            self.distances[position] = neighbours::distance(&nearest);
        }
    }

    /// The scores as the stack wants them.
    pub(super) fn members<'a>(&'a self, set: &TrainingSet<'_>) -> MemberScores<'a> {
        MemberScores {
            scores: self.scores.each_ref().map(Vec::as_slice),
            labels: &self.labels,
            n_labels: set.label_ids.len(),
        }
    }

    /// Positions that were scored, of the parts that are wanted.
    pub(super) fn usable(&self, is_wanted: impl Fn(u32) -> bool) -> Vec<u32> {
        (0..self.rows.len() as u32)
            .filter(|&position| self.is_scored[position as usize] && is_wanted(self.stack_part[position as usize]))
            .collect()
    }

    /// Predicts each part with a stack learnt on the other parts: thresholds from the stack's own rows would promise too
    /// much.
    pub(super) fn out_of_fold(&self, set: &TrainingSet<'_>, learn: Learn, has_examples: &[bool]) -> Vec<OutOfFold> {
        let members = self.members(set);
        let predict = |part: u32| -> Vec<OutOfFold> {
            let stack = Stack::fit(members, &self.usable(|other| other != part), learn, has_examples);
            let predict = |&position: &u32| {
                let probabilities = stack.probabilities(members.row(position as usize));
                let (label, &confidence) =
                    (0..).zip(&probabilities).max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, &0.0));
                OutOfFold {
                    ticket: set.tickets[self.rows[position as usize] as usize].to_owned(),
                    fold: part,
                    truth: self.labels[position as usize],
                    label,
                    confidence,
                    levels: if set.ordinal { probabilities } else { Vec::new() },
                }
            };
            self.usable(|other| other == part).iter().map(predict).collect()
        };
        (0..self.stack_parts as u32).into_par_iter().flat_map_iter(predict).collect()
    }

    /// What is usual, when there are rows enough for a mean and a deviation.
    pub(super) fn novelty(&self, set: &TrainingSet<'_>) -> Option<Novelty> {
        let n_labels = set.label_ids.len();
        let of_position = |position: u32| {
            let margins = &self.scores[0][position as usize * n_labels..][..n_labels];
            (best(margins), self.distances[position as usize])
        };
        let pairs: Vec<_> = self.usable(|_| true).into_iter().map(of_position).collect();
        (pairs.len() >= 2).then(|| Novelty::fit(&pairs))
    }
}
