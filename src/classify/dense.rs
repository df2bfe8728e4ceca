//! Here are vectors and their labels, give me one logit per label: multinomial logistic regression.
//!
//! The problem of scikit-learn's `LogisticRegression(C)`: C Σ −log p(label) + ½‖W‖², one row of weights per label, the
//! intercepts free of charge. Solved with L-BFGS on gradients in 32 bits, summed in a fixed order.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::compact;
use super::minimise::{Stop, minimise};
use super::precondition::InverseCurvature;
use super::product::{Rows, TILE_COLUMNS, add_transposed_product, dot, multiply};

/// Weight of the errors against the length of the weights, with many rows a label and with few. Measured by
/// cross-validation on sets of 8, 77 and 150 labels, where the optimum is flat.
const C_MANY: f32 = 0.1;
const C_FEW: f32 = 0.03;
/// Rows a label on average from which there are many.
const MANY_ROWS: usize = 100;
/// Parts whose gradients are summed apart. Fixed, so that the sum does not depend on the number of threads.
const PARTS: usize = 16;
/// Rows times labels from which on fewer steps are worth the inverse of the curvature.
const WORTH_PRECONDITIONING: usize = 20_000;
/// Rows from which on a loss that falls by less than a ten-thousandth in a step is left as it is: the weights' own noise is
/// smaller there, and a step costs more.
const MANY_FOR_LAST_STEPS: usize = 25_000;
/// Share of the even spread p(1 − p) that is left on average when the labels are told apart. Any value will do.
const SPREAD: f64 = 0.3;
/// Rows that go through both products together, so that they stay in the cache.
const BLOCK: usize = 32;

/// One logit per label.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Logits {
    /// `[labels, dim]`.
    #[serde(with = "compact::f16s")]
    weights: Vec<f32>,
    /// `[labels]`.
    #[serde(with = "compact::f32s")]
    intercepts: Vec<f32>,
}

impl Logits {
    /// The logit of each label for a standardised vector.
    pub(super) fn of(&self, vector: &[f32]) -> Vec<f32> {
        let dim = self.weights.len() / self.intercepts.len().max(1);
        let weights = self.weights.chunks_exact(dim.max(1));
        self.intercepts.iter().zip(weights).map(|(intercept, weights)| intercept + dot(weights, vector)).collect()
    }

    /// Whether there are weights for so many dimensions and labels, all finite.
    pub(super) fn is_consistent(&self, dim: usize, labels: usize) -> bool {
        self.intercepts.len() == labels
            && self.weights.len() == dim * labels
            && self.weights.iter().chain(&self.intercepts).all(|value| value.is_finite())
    }
}

/// The C that suits so many rows for so many labels, where the data do not say it themselves.
pub(super) fn usual_c(rows: usize, labels: usize) -> f32 {
    if rows >= MANY_ROWS * labels { C_MANY } else { C_FEW }
}

/// Weights while they are fitted: panels `[ceil(labels / 16), stride, 16]`, the last used column that of the intercept.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    weights: Vec<f64>,
    stride: usize,
    width: usize,
    labels: usize,
}

impl Fit {
    /// The fitted weights, rounded as they are saved.
    pub(super) fn logits(&self) -> Logits {
        let dim = self.width - 1;
        let at = |label: usize, column: usize| {
            let panel = label / TILE_COLUMNS * self.stride * TILE_COLUMNS;
            self.weights[panel + column * TILE_COLUMNS + label % TILE_COLUMNS] as f32
        };
        let mut weights: Vec<f32> = (0..self.labels * dim).map(|i| at(i / dim, i % dim)).collect();
        compact::round(&mut weights);
        Logits { weights, intercepts: (0..self.labels).map(|label| at(label, dim)).collect() }
    }
}

/// Fits `labels` (below `n_labels`) to `rows`, whose last column is 1. `start` is a fit to a similar problem.
pub(super) fn fit(rows: &Rows, labels: &[u32], n_labels: usize, c: f32, start: Option<Fit>) -> Fit {
    let (stride, panels) = (rows.stride, n_labels.div_ceil(TILE_COLUMNS));
    let mut fit = start.unwrap_or_else(|| Fit {
        weights: vec![0.0; panels * stride * TILE_COLUMNS],
        stride,
        width: rows.width,
        labels: n_labels,
    });
    let n = rows.len().max(1) as f64;
    let shrink = 1.0 / (f64::from(c) * n);
    let uniform = 1.0 / n_labels as f64;
    let curvature = (rows.len() * n_labels >= WORTH_PRECONDITIONING)
        .then(|| InverseCurvature::new(rows, SPREAD * uniform * (1.0 - uniform), shrink))
        .flatten();
    let precondition = |values: &mut [f64]| {
        if let Some(curvature) = &curvature {
            curvature.apply(values);
        }
    };
    let fall = if rows.len() > MANY_FOR_LAST_STEPS { 1e-4 } else { 1e-5 };
    let stop = Stop { steps: 200, gradient: 1e-5, fall };
    fit.weights = minimise(std::mem::take(&mut fit.weights), stop, precondition, |at, gradient| {
        let weights: Vec<f32> = at.iter().map(|&weight| weight as f32).collect();
        let parts: Vec<(f64, Vec<f32>)> = part_ranges(rows.len())
            .into_par_iter()
            .map(|part| loss_and_gradient(rows, part, labels, n_labels, &weights))
            .collect();

        gradient.fill(0.0);
        let mut loss = 0.0;
        for (part_loss, part_gradient) in parts {
            loss += part_loss;
            for (sum, value) in gradient.iter_mut().zip(part_gradient) {
                *sum += f64::from(value);
            }
        }
        let mut square = 0.0;
        for (i, (slope, weight)) in gradient.iter_mut().zip(at).enumerate() {
            *slope /= n;
            if i / TILE_COLUMNS % stride != rows.width - 1 {
                *slope += shrink * weight;
                square += weight * weight;
            }
        }
        loss / n + 0.5 * shrink * square
    });
    fit
}

fn part_ranges(n: usize) -> Vec<std::ops::Range<usize>> {
    let size = n.div_ceil(PARTS).max(1);
    (0..n).step_by(size).map(|start| start..(start + size).min(n)).collect()
}

/// Sum of −log p over the rows of `part`, and its gradient in the layout of [`Fit::weights`].
fn loss_and_gradient(
    rows: &Rows,
    part: std::ops::Range<usize>,
    labels: &[u32],
    n_labels: usize,
    weights: &[f32],
) -> (f64, Vec<f32>) {
    let stride = rows.stride;
    let panels = n_labels.div_ceil(TILE_COLUMNS);
    let mut gradient = vec![0.0f32; weights.len()];
    let mut residuals = vec![[0.0f32; TILE_COLUMNS]; panels * BLOCK];
    let mut probabilities = vec![0.0f32; panels * TILE_COLUMNS];
    let mut loss = 0.0f64;
    for first in part.clone().step_by(BLOCK) {
        let block = &rows.values[first * stride..(first + BLOCK).min(part.end) * stride];
        let n = block.len() / stride;
        multiply(block, stride, weights, &mut residuals[..panels * n]);
        for r in 0..n {
            for panel in 0..panels {
                probabilities[panel * TILE_COLUMNS..][..TILE_COLUMNS].copy_from_slice(&residuals[panel * n + r]);
            }
            let label = labels[first + r] as usize;
            let logit = probabilities[label];
            loss += log_sum_and_softmax(&mut probabilities[..n_labels]) - f64::from(logit);
            probabilities[n_labels..].fill(0.0);
            probabilities[label] -= 1.0;
            for panel in 0..panels {
                residuals[panel * n + r].copy_from_slice(&probabilities[panel * TILE_COLUMNS..][..TILE_COLUMNS]);
            }
        }
        for (panel, gradient) in gradient.chunks_exact_mut(stride * TILE_COLUMNS).enumerate() {
            add_transposed_product(block, stride, &residuals[panel * n..][..n], gradient);
        }
    }
    (loss, gradient)
}

/// Replaces logits by their softmax and returns log Σ exp.
fn log_sum_and_softmax(logits: &mut [f32]) -> f64 {
    let most = logits.iter().fold(f32::NEG_INFINITY, |most, &logit| logit.max(most));
    let mut sum = 0.0f32;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    logits.iter_mut().for_each(|value| *value /= sum);
    f64::from(most) + f64::from(sum.ln())
}

#[cfg(test)]
mod tests {
    use super::super::sparse::tests::{LABELS, grid};
    use super::*;

    fn rows() -> Rows {
        let mut rows = Rows::with_capacity(30, 4);
        grid(30, 3, 5).into_iter().for_each(|row| rows.push(row.into_iter().chain([1.0])));
        rows
    }

    #[test]
    fn weights_equal_those_of_scikit_learn() {
        // LogisticRegression(C=0.5, tol=1e-10).coef_ and .intercept_; labels may be shifted together in the intercept.
        let weights =
            [[0.35186, -0.274668, 0.331616], [0.449433, 0.668065, 0.527518], [-0.801293, -0.393397, -0.859134]];
        let intercepts = [-0.087962, 0.246277, -0.158314];
        let logits = fit(&rows(), &LABELS, 3, 0.5, None).logits();
        for (label, (weights, intercept)) in weights.iter().zip(intercepts).enumerate() {
            for (a, b) in logits.weights[label * 3..].iter().zip(weights) {
                assert!((a - b).abs() < 1e-3, "{:?} for {label}", &logits.weights[label * 3..][..3]);
            }
            assert!((logits.intercepts[label] - intercept).abs() < 1e-3, "{:?}", logits.intercepts);
        }
    }

    #[test]
    fn more_labels_than_a_panel_and_rows_than_a_block_are_told_apart() {
        let mut rows = Rows::with_capacity(110, 12);
        let labels: Vec<u32> = (0..110).map(|i| i % 11).collect();
        for &label in &labels {
            rows.push((0..12).map(|j| if j == label as usize || j == 11 { 1.0 } else { 0.0 }));
        }
        let logits = fit(&rows, &labels, 11, 10.0, None).logits();
        for label in 0..11 {
            let scores = logits.of(&rows.row(label)[..11]);
            let best = (0..11).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            assert_eq!(best, Some(label), "{scores:?}");
        }
    }
}
