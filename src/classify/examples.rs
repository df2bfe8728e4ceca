//! The rows of a training set in the shapes that the members want, and the members' fits to any part of them.

use super::calibration::{Scored, log_loss, temperature_factor};
use super::dense;
use super::features::{Corpus, SparseRows};
use super::ordinal;
use super::product::{Rows, dot};
use super::sparse::{Plane, separate, tolerance};
use super::standardise::{Standardiser, unit};
use super::{TrainingSet, names};

/// Examples from which on a label's name teaches nothing more.
const ENOUGH_WITHOUT_NAME: u32 = 16;
/// What C is chosen from, rising so that each fit starts from the one before. Measured: 0.01 is best on 3,000 noisy
/// service-desk tickets, 0.1 on 10,000 clean questions.
const C_CHOICES: [f32; 3] = [0.01, 0.03, 0.1];
/// Rows from which one fold can tell which C is better, and rows from which it no longer matters.
const ROWS_TO_CHOOSE_C: usize = 1_000;
const ROWS_FOR_USUAL_C: usize = 9_000;

/// The rows of a training set in the shapes that the members want.
pub(super) struct Examples<'a> {
    /// Where the rows come from.
    pub set: &'a TrainingSet<'a>,
    /// Their words and characters.
    pub corpus: Corpus,
    /// Standardised vectors with a last column of 1.
    pub vectors: Rows,
    /// Standardised vectors of length 1.
    pub units: Rows,
    /// Centred names as long as a ticket's vector is on average.
    names: Vec<Vec<f32>>,
    /// What the errors weigh in the member on vectors. One for all folds and the final fit, so that the logits that the
    /// stack learns from have the scale of those it will see.
    c: f32,
}

/// The member on vectors while it is fitted.
pub(super) enum DenseFit {
    /// Of labels without order.
    Nominal(dense::Fit),
    /// Of levels.
    Ordinal(ordinal::Fit),
}

impl<'a> Examples<'a> {
    /// Brings the rows of `set` into shape; the choice of C holds out the rows of fold 0.
    pub(super) fn new(set: &'a TrainingSet<'a>, standardiser: &Standardiser, fold_of: &[u32]) -> Examples<'a> {
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
        let c = dense::usual_c(n, set.label_ids.len());
        let mut examples = Examples { set, corpus: Corpus::read(set.texts), vectors, units, names: names.collect(), c };
        if !set.ordinal && (ROWS_TO_CHOOSE_C..ROWS_FOR_USUAL_C).contains(&n) {
            examples.c = examples.best_c(fold_of);
        }
        examples
    }

    /// One plane per label; `start` are the pushes of a similar fit `[labels][rows of the set]`.
    pub(super) fn planes(&self, rows: SparseRows<'_>, training: &[u32], start: &[Vec<f32>]) -> Vec<Plane> {
        let set = self.set;
        separate(rows, training, set.labels, set.label_ids.len(), start, tolerance(set.texts.len()))
    }

    /// The member on vectors, fitted on the rows of `training`; `start` is a similar fit.
    pub(super) fn fit_dense(&self, rows: SparseRows<'_>, training: &[u32], start: Option<DenseFit>) -> DenseFit {
        let (set, n_labels) = (self.set, self.set.label_ids.len());
        match (set.ordinal, start) {
            (true, Some(DenseFit::Ordinal(start))) => {
                DenseFit::Ordinal(ordinal::fit(rows, &self.units, training, set.labels, n_labels, Some(start)))
            }
            (true, _) => DenseFit::Ordinal(ordinal::fit(rows, &self.units, training, set.labels, n_labels, None)),
            (false, Some(DenseFit::Nominal(start))) => {
                DenseFit::Nominal(self.fit_nominal(training, self.c, Some(start)))
            }
            (false, _) => DenseFit::Nominal(self.fit_nominal(training, self.c, None)),
        }
    }

    fn fit_nominal(&self, training: &[u32], c: f32, start: Option<dense::Fit>) -> dense::Fit {
        let n_labels = self.set.label_ids.len();
        let mut labels: Vec<u32> = training.iter().map(|&row| self.set.labels[row as usize]).collect();
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
        dense::fit(&vectors, &labels, n_labels, c, start)
    }

    /// The C with the least log-loss on fold 0, each at its best temperature, for that is how the stack will use it.
    fn best_c(&self, fold_of: &[u32]) -> f32 {
        let (held_out, training): (Vec<u32>, Vec<u32>) =
            (0..fold_of.len() as u32).partition(|&row| fold_of[row as usize] == 0);
        if held_out.is_empty() || training.is_empty() {
            return self.c;
        }
        let labels: Vec<u32> = held_out.iter().map(|&row| self.set.labels[row as usize]).collect();
        let rows: Vec<u32> = (0..held_out.len() as u32).collect();
        let mut fit = None;
        let mut best = (f64::INFINITY, self.c);
        for c in C_CHOICES {
            let fitted = self.fit_nominal(&training, c, fit);
            let logits = fitted.logits();
            let vector = |&row: &u32| &self.vectors.row(row as usize)[..self.set.dim];
            let scores: Vec<f32> = held_out.iter().flat_map(|row| logits.of(vector(row))).collect();
            let n_labels = self.set.label_ids.len();
            let scored = Scored { scores: &scores, labels: &labels, rows: &rows, n_labels };
            let loss = log_loss(scored, temperature_factor(scored));
            if loss < best.0 {
                best = (loss, c);
            }
            fit = Some(fitted);
        }
        best.1
    }
}
