//! The head of a field with examples: its members, fitted on all rows, and the stack, fitted on rows held out.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dense::{self, Logits};
use super::features::{Corpus, SparseRows, Vocabulary};
use super::folds::{Random, folds};
use super::neighbours::{self, log_votes};
use super::ordinal::{self, Cumulative};
use super::product::{Rows, dot};
use super::sparse::{Margins, Plane, TOLERANCE, separate};
use super::stack::{Learn, MEMBERS, MemberScores, Stack};
use super::standardise::{Standardiser, unit};
use super::{Features, OutOfFold, Prediction, TrainingSet, names};

/// Folds, and above so many rows one fewer: the models of a fold then see nearly enough anyway.
const FOLDS: usize = 5;
const ROWS_FOR_FEWER_FOLDS: usize = 9_000;
/// Held-out rows that the stack learns from at most: more make its few numbers no better, and finding the neighbours of
/// each takes time in proportion to all rows.
const MAX_SCORED: usize = 12_000;
/// Below so many rows, or so many a label on average, weights and biases of the stack cannot be learnt.
const FEW_ROWS: usize = 60;
const FEW_ROWS_A_LABEL: usize = 4;
/// Held-out rows from which probabilities count as calibrated and a ticket can be called far from training.
const ENOUGH_TO_CALIBRATE: usize = 30;
const ENOUGH_FOR_FAR: usize = 80;
/// Share of held-out rows that are less novel than what is called far from training.
const FAR_QUANTILE: f32 = 0.975;
/// Examples from which on a label's name teaches nothing more.
const ENOUGH_WITHOUT_NAME: u32 = 16;

/// Fitted members and stack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trained {
    vocabulary: Vocabulary,
    margins: Margins,
    dense: Dense,
    stack: Stack,
    novelty: Option<Novelty>,
    out_of_fold: Vec<OutOfFold>,
}

/// The member on vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Dense {
    Nominal(Logits),
    Ordinal(Cumulative),
}

/// What is usual: mean and deviation of held-out rows.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Novelty {
    margin: (f32, f32),
    distance: (f32, f32),
    /// Novelty above which a ticket is far from training.
    far: f32,
}

impl Trained {
    /// Fits all members on all rows, and the stack on what members fitted on the other folds say of each row.
    pub(super) fn fit(
        set: &TrainingSet<'_>,
        standardiser: &Standardiser,
        examples_per_label: &[u32],
        progress: &dyn Fn(f32),
    ) -> Trained {
        let examples = Examples::new(set, standardiser);
        let n = set.texts.len();
        let n_folds = if n > ROWS_FOR_FEWER_FOLDS { FOLDS - 1 } else { FOLDS };
        let fold_of = folds(set.texts, set.labels, n_folds, set.seed);
        let held_out = HeldOut::score(&examples, &fold_of, n_folds, progress);

        let is_small = n < FEW_ROWS || n < FEW_ROWS_A_LABEL * set.label_ids.len();
        let learn = if is_small { Learn::Temperatures } else { Learn::All };
        let has_examples: Vec<bool> = examples_per_label.iter().map(|&n| n > 0).collect();
        let stack = Stack::fit(held_out.members(set), &held_out.usable(|_| true), learn, &has_examples);
        let out_of_fold = held_out.out_of_fold(set, n_folds, learn, &has_examples);
        let novelty = held_out.novelty(set);

        let all: Vec<u32> = (0..n as u32).collect();
        let weighed = examples.corpus.weigh(&all);
        let (vocabulary, columns) = examples.corpus.vocabulary(&weighed);
        let rows = examples.corpus.rows(&weighed);
        let margins = Margins::new(&examples.planes(rows, &all, &held_out.pushes), &columns);
        let dense = match examples.fit_dense(rows, &all, held_out.last_dense) {
            DenseFit::Nominal(fit) => Dense::Nominal(fit.logits()),
            DenseFit::Ordinal(fit) => Dense::Ordinal(fit.cumulative(&columns)),
        };
        Trained { vocabulary, margins, dense, stack, novelty, out_of_fold }
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
                (novelty, self.out_of_fold.len() >= ENOUGH_FOR_FAR && novelty > usual.far)
            }
            None => (0.0, false),
        };
        Prediction {
            probabilities: self.stack.probabilities([&margins, &dense, &votes]),
            calibrated: self.out_of_fold.len() >= ENOUGH_TO_CALIBRATE,
            far_from_training,
            novelty,
        }
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
            && self.stack.is_consistent(labels)
            && self.out_of_fold.iter().all(|row| (row.label as usize) < labels)
    }
}

impl Novelty {
    /// From pairs of best margin and distance of the neighbours, of which there are at least two.
    fn fit(pairs: &[(f32, Option<f32>)]) -> Novelty {
        let margins: Vec<f32> = pairs.iter().map(|&(margin, _)| -margin).collect();
        let distances: Vec<f32> = pairs.iter().filter_map(|&(_, distance)| distance).collect();
        let mut novelty =
            Novelty { margin: mean_and_deviation(&margins), distance: mean_and_deviation(&distances), far: f32::MAX };
        let mut usual: Vec<f32> = pairs.iter().map(|&(margin, distance)| novelty.of(margin, distance)).collect();
        usual.sort_by(f32::total_cmp);
        let rank = (FAR_QUANTILE * usual.len() as f32).ceil() as usize;
        novelty.far = usual[rank.clamp(1, usual.len()) - 1];
        novelty
    }

    /// The mean of both scores, or the one of the margin alone without neighbours.
    fn of(&self, best_margin: f32, distance: Option<f32>) -> f32 {
        let score = |value: f32, (mean, deviation): (f32, f32)| (value - mean) / deviation;
        let of_margin = score(-best_margin, self.margin);
        distance.map_or(of_margin, |distance| 0.5 * (of_margin + score(distance, self.distance)))
    }
}

fn mean_and_deviation(values: &[f32]) -> (f32, f32) {
    let n = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / n;
    (mean, variance.sqrt().max(1e-6))
}

fn best(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// The rows of a training set in the shapes that the members want.
struct Examples<'a> {
    set: &'a TrainingSet<'a>,
    corpus: Corpus,
    /// Standardised, with a last column of 1.
    vectors: Rows,
    /// Standardised, of length 1.
    units: Rows,
    /// Centred names as long as a ticket's vector is on average.
    names: Vec<Vec<f32>>,
}

/// The member on vectors while it is fitted.
enum DenseFit {
    Nominal(dense::Fit),
    Ordinal(ordinal::Fit),
}

impl<'a> Examples<'a> {
    fn new(set: &'a TrainingSet<'a>, standardiser: &Standardiser) -> Examples<'a> {
        let n = set.texts.len();
        let mut vectors = Rows::with_capacity(n, set.dim + 1);
        let mut units = Rows::with_capacity(n, set.dim);
        let mut mean_length = 0.0;
        for vector in set.vectors.chunks_exact(set.dim) {
            let vector = standardiser.apply(vector);
            mean_length += dot(&vector, &vector).sqrt() / n as f32;
            vectors.push(vector.iter().copied().chain([1.0]));
            units.push(unit(vector));
        }
        let names = names::centred(set.name_vectors, standardiser).into_iter().map(|name| {
            let mut name = unit(name);
            name.iter_mut().for_each(|value| *value *= mean_length);
            name
        });
        Examples { set, corpus: Corpus::read(set.texts), vectors, units, names: names.collect() }
    }

    /// One plane per label; `start` are the pushes of a similar fit `[labels][rows of the set]`.
    fn planes(&self, rows: SparseRows<'_>, training: &[u32], start: &[Vec<f32>]) -> Vec<Plane> {
        (0..self.set.label_ids.len()).into_par_iter().map(|label| self.plane(rows, training, label, start)).collect()
    }

    fn plane(&self, rows: SparseRows<'_>, training: &[u32], label: usize, start: &[Vec<f32>]) -> Plane {
        let is_positive = |i: usize| self.set.labels[training[i] as usize] as usize == label;
        separate(rows, training, is_positive, start.get(label).map_or(&[], Vec::as_slice), TOLERANCE)
    }

    fn fit_dense(&self, rows: SparseRows<'_>, training: &[u32], start: Option<DenseFit>) -> DenseFit {
        let (set, n_labels) = (self.set, self.set.label_ids.len());
        if set.ordinal {
            let start = match start {
                Some(DenseFit::Ordinal(fit)) => Some(fit),
                _ => None,
            };
            return DenseFit::Ordinal(ordinal::fit(rows, &self.units, training, set.labels, n_labels, start));
        }
        let start = match start {
            Some(DenseFit::Nominal(fit)) => Some(fit),
            _ => None,
        };
        let mut labels: Vec<u32> = training.iter().map(|&row| set.labels[row as usize]).collect();
        let mut examples = vec![0; n_labels];
        labels.iter().for_each(|&label| examples[label as usize] += 1);
        let mut vectors = Rows::with_capacity(training.len() + n_labels, self.vectors.width);
        for &row in training {
            vectors.push(self.vectors.row(row as usize).iter().copied());
        }
        for ((label, name), examples) in (0..).zip(&self.names).zip(examples) {
            if examples < ENOUGH_WITHOUT_NAME && name.iter().any(|&value| value != 0.0) {
                vectors.push(name.iter().copied().chain([1.0]));
                labels.push(label);
            }
        }
        let c = dense::suitable_c(training.len(), n_labels);
        DenseFit::Nominal(dense::fit(&vectors, &labels, n_labels, c, start))
    }
}

/// What members fitted without a row's fold say of the row.
struct HeldOut {
    /// The rows that were scored; everything below goes by position in this list.
    rows: Vec<u32>,
    fold: Vec<u32>,
    labels: Vec<u32>,
    /// By member `[positions, labels]`.
    scores: [Vec<f32>; MEMBERS],
    distances: Vec<Option<f32>>,
    /// Whether the fold left rows to learn from.
    is_scored: Vec<bool>,
    /// Mean pushes `[labels][rows of the set]` and weights of the fits, for the last fit to start from.
    pushes: Vec<Vec<f32>>,
    last_dense: Option<DenseFit>,
}

impl HeldOut {
    fn score(examples: &Examples<'_>, fold_of: &[u32], n_folds: usize, progress: &dyn Fn(f32)) -> HeldOut {
        let set = examples.set;
        let (n, n_labels) = (set.texts.len(), set.label_ids.len());
        let mut rows: Vec<u32> = (0..n as u32).collect();
        if n > MAX_SCORED {
            Random::new(set.seed).shuffle(&mut rows);
            rows.truncate(MAX_SCORED);
            rows.sort_unstable();
        }
        let mut held_out = HeldOut {
            fold: rows.iter().map(|&row| fold_of[row as usize]).collect(),
            labels: rows.iter().map(|&row| set.labels[row as usize]).collect(),
            scores: [const { Vec::new() }; MEMBERS].map(|_: Vec<f32>| vec![0.0; rows.len() * n_labels]),
            distances: vec![None; rows.len()],
            is_scored: vec![false; rows.len()],
            pushes: vec![vec![0.0; n]; n_labels],
            last_dense: None,
            rows,
        };
        for fold in 0..n_folds {
            held_out.score_fold(examples, fold_of, fold as u32);
            progress((fold + 1) as f32 / (n_folds + 2) as f32);
        }
        // Every row was in all folds but its own.
        let share = 1.0 / (n_folds - 1).max(1) as f32;
        held_out.pushes.iter_mut().flatten().for_each(|push| *push *= share);
        held_out.vote(examples, fold_of, n_folds);
        progress((n_folds + 1) as f32 / (n_folds + 2) as f32);
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
        let of_labels: Vec<(Vec<f32>, Vec<f32>)> = (0..n_labels)
            .into_par_iter()
            .map(|label| {
                let plane = examples.plane(rows, &training, label, &[]);
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

    fn members<'a>(&'a self, set: &TrainingSet<'_>) -> MemberScores<'a> {
        MemberScores {
            scores: self.scores.each_ref().map(Vec::as_slice),
            labels: &self.labels,
            n_labels: set.label_ids.len(),
        }
    }

    /// Positions that were scored, of the folds that are wanted.
    fn usable(&self, is_wanted: impl Fn(u32) -> bool) -> Vec<u32> {
        (0..self.rows.len() as u32)
            .filter(|&position| self.is_scored[position as usize] && is_wanted(self.fold[position as usize]))
            .collect()
    }

    /// Predicts each fold with a stack learnt on the other folds: thresholds from the stack's own rows would promise too
    /// much.
    fn out_of_fold(
        &self,
        set: &TrainingSet<'_>,
        n_folds: usize,
        learn: Learn,
        has_examples: &[bool],
    ) -> Vec<OutOfFold> {
        let members = self.members(set);
        let predict = |fold: u32| -> Vec<OutOfFold> {
            let stack = Stack::fit(members, &self.usable(|other| other != fold), learn, has_examples);
            let predict = |&position: &u32| {
                let probabilities = stack.probabilities(members.row(position as usize));
                let (label, &confidence) =
                    (0..).zip(&probabilities).max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, &0.0));
                OutOfFold { label, confidence, correct: label == self.labels[position as usize] }
            };
            self.usable(|other| other == fold).iter().map(predict).collect()
        };
        (0..n_folds as u32).into_par_iter().flat_map_iter(predict).collect()
    }

    fn novelty(&self, set: &TrainingSet<'_>) -> Option<Novelty> {
        let n_labels = set.label_ids.len();
        let of_position = |position: u32| {
            let margins = &self.scores[0][position as usize * n_labels..][..n_labels];
            (best(margins), self.distances[position as usize])
        };
        let pairs: Vec<_> = self.usable(|_| true).into_iter().map(of_position).collect();
        (pairs.len() >= 2).then(|| Novelty::fit(&pairs))
    }
}
