//! Here are tickets and their levels on an ordered scale, give me a score per level: one binary logistic regression for
//! each step of the scale ("is it above this level?") on sparse features and vectors side by side.
//!
//! Frank and Hall, "A Simple Approach to Ordinal Classification", ECML 2001. A single line with cuts (proportional odds)
//! was measured worse on priorities of bug reports: priority is not one direction in these features.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::compact;
use super::features::SparseRows;
use super::minimise::{Stop, minimise};
use super::product::{Rows, dot};

/// Weight of the errors against the length of the weights.
const C: f64 = 3.0;
/// No level is taken for impossible: the steps are fitted apart and may cross.
const LEAST_PROBABILITY: f32 = 1e-3;
/// Columns whose slopes are summed in one piece of work.
const COLUMNS: usize = 2_048;

/// One log-probability per level.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cumulative {
    /// `[features, steps]`.
    #[serde(with = "compact::f16s")]
    sparse: Vec<f32>,
    /// `[steps, dim]`, for standardised vectors of length 1.
    #[serde(with = "compact::f16s")]
    dense: Vec<f32>,
    /// `[steps]`; one step fewer than there are levels.
    #[serde(with = "compact::f32s")]
    intercepts: Vec<f32>,
}

impl Cumulative {
    /// Log-probability of each level, for a row of (column, value) and a standardised vector of length 1.
    pub(super) fn of(&self, row: &[(u32, f32)], unit_vector: &[f32]) -> Vec<f32> {
        let steps = self.intercepts.len();
        let dim = self.dense.len() / steps.max(1);
        let mut logits = self.intercepts.clone();
        for (logit, weights) in logits.iter_mut().zip(self.dense.chunks_exact(dim.max(1))) {
            *logit += dot(weights, unit_vector);
        }
        for &(column, value) in row {
            for (logit, weight) in logits.iter_mut().zip(&self.sparse[column as usize * steps..]) {
                *logit += value * weight;
            }
        }
        log_levels(&logits)
    }

    /// Whether there are weights for so many features, dimensions and levels, all finite.
    pub(super) fn is_consistent(&self, features: usize, dim: usize, levels: usize) -> bool {
        let steps = self.intercepts.len();
        steps + 1 == levels
            && self.sparse.len() == features * steps
            && self.dense.len() == dim * steps
            && [&self.sparse, &self.dense, &self.intercepts].into_iter().flatten().all(|value| value.is_finite())
    }
}

/// Weights while they are fitted: `[features + dim + 1, steps]`.
#[derive(Debug, Clone)]
pub(super) struct Fit {
    weights: Vec<f64>,
    features: usize,
    dim: usize,
    steps: usize,
}

impl Fit {
    /// The fitted weights, rounded as they are saved; `columns` says which feature stands at each place.
    pub(super) fn cumulative(&self, columns: &[u32]) -> Cumulative {
        let Fit { features, dim, steps, .. } = *self;
        let at = |row: usize, step: usize| self.weights[row * steps + step] as f32;
        let mut sparse = Vec::with_capacity(columns.len() * steps);
        for &column in columns {
            sparse.extend((0..steps).map(|step| at(column as usize, step)));
        }
        let mut dense = Vec::with_capacity(dim * steps);
        for step in 0..steps {
            dense.extend((0..dim).map(|j| at(features + j, step)));
        }
        compact::round(&mut sparse);
        compact::round(&mut dense);
        Cumulative { sparse, dense, intercepts: (0..steps).map(|step| at(features + dim, step)).collect() }
    }

    /// Log-probability of each level for a sparse row and a standardised vector of length 1.
    pub(super) fn of(&self, row: (&[u32], &[f32]), unit_vector: &[f32]) -> Vec<f32> {
        let logits = logits(&self.weights, self.features, self.steps, row, &unit_vector[..self.dim]);
        log_levels(&logits.iter().map(|&logit| logit as f32).collect::<Vec<_>>())
    }
}

/// Fits the levels of the rows in `training` (`levels` by row of the whole set, below `n_levels`). `start` is a fit to a
/// similar problem on the same columns.
pub(super) fn fit(
    sparse: SparseRows<'_>,
    unit_vectors: &Rows,
    training: &[u32],
    levels: &[u32],
    n_levels: usize,
    start: Option<Fit>,
) -> Fit {
    let (features, dim, steps) = (sparse.width, unit_vectors.width, n_levels.saturating_sub(1));
    let mut fit =
        start.unwrap_or_else(|| Fit { weights: vec![0.0; (features + dim + 1) * steps], features, dim, steps });
    if steps == 0 {
        return fit;
    }
    let by_column = ByColumn::new(sparse, training);
    let n = training.len().max(1) as f64;
    let shrink = 1.0 / (C * n);
    let stop = Stop { steps: 100, gradient: 1e-5, fall: 1e-5 };
    fit.weights = minimise(
        std::mem::take(&mut fit.weights),
        stop,
        |_| {},
        |at, gradient| {
            let rows: Vec<(f64, Vec<f64>)> = training
                .par_iter()
                .map(|&row| {
                    let (sparse, dense) = (sparse.row(row as usize), &unit_vectors.row(row as usize)[..dim]);
                    let mut logits = logits(at, features, steps, sparse, dense);
                    let mut loss = 0.0;
                    for (step, logit) in logits.iter_mut().enumerate() {
                        let is_above = f64::from(u8::from(levels[row as usize] as usize > step));
                        loss += logit.max(0.0) - is_above * *logit + (-logit.abs()).exp().ln_1p();
                        *logit = 1.0 / (1.0 + (-*logit).exp()) - is_above;
                    }
                    (loss, logits)
                })
                .collect();

            let loss: f64 = rows.iter().map(|(loss, _)| loss).sum();
            let residuals: Vec<f32> = rows.iter().flat_map(|(_, residuals)| residuals).map(|&r| r as f32).collect();
            let (of_sparse, of_dense) = gradient.split_at_mut(features * steps);
            by_column.add_up(&residuals, steps, of_sparse);
            of_dense.fill(0.0);
            for (&row, residuals) in training.iter().zip(residuals.chunks_exact(steps)) {
                let vector = unit_vectors.row(row as usize)[..dim].iter().chain(&[1.0]);
                for (slopes, &value) in of_dense.chunks_exact_mut(steps).zip(vector) {
                    for (slope, residual) in slopes.iter_mut().zip(residuals) {
                        *slope += f64::from(value * residual);
                    }
                }
            }
            let free = gradient.len() - steps;
            let mut square = 0.0;
            for (i, (slope, weight)) in gradient.iter_mut().zip(at).enumerate() {
                *slope /= n;
                if i < free {
                    *slope += shrink * weight;
                    square += weight * weight;
                }
            }
            loss / n + 0.5 * shrink * square
        },
    );
    fit
}

/// One logit per step of the scale.
fn logits(weights: &[f64], features: usize, steps: usize, row: (&[u32], &[f32]), vector: &[f32]) -> Vec<f64> {
    let mut logits = vec![0.0; steps];
    let columns = row.0.iter().map(|&column| column as usize).chain(features..);
    for (column, &value) in columns.zip(row.1.iter().chain(vector).chain(&[1.0])) {
        for (logit, weight) in logits.iter_mut().zip(&weights[column * steps..]) {
            *logit += weight * f64::from(value);
        }
    }
    logits
}

/// Log-probability of each level from the logits of the steps: P(above) must not rise along the scale, so a running
/// minimum is taken, and a level's probability is the fall at it.
fn log_levels(logits: &[f32]) -> Vec<f32> {
    let mut above = 1.0;
    let mut levels = Vec::with_capacity(logits.len() + 1);
    for logit in logits {
        let above_this = (1.0 / (1.0 + (-logit).exp())).min(above);
        levels.push(above - above_this);
        above = above_this;
    }
    levels.push(above);
    levels.iter_mut().for_each(|level| *level = level.max(LEAST_PROBABILITY));
    let total: f32 = levels.iter().sum();
    levels.iter().map(|level| (level / total).ln()).collect()
}

/// Sparse rows turned over: for each column the training rows (by position) that have it.
struct ByColumn {
    starts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl ByColumn {
    fn new(sparse: SparseRows<'_>, training: &[u32]) -> ByColumn {
        let mut starts = vec![0; sparse.width + 1];
        for &row in training {
            for &column in sparse.row(row as usize).0 {
                starts[column as usize + 1] += 1;
            }
        }
        for column in 0..sparse.width {
            starts[column + 1] += starts[column];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); starts[sparse.width]];
        for (position, &row) in training.iter().enumerate() {
            let (columns, values) = sparse.row(row as usize);
            for (&column, &value) in columns.iter().zip(values) {
                entries[next[column as usize]] = (position as u32, value);
                next[column as usize] += 1;
            }
        }
        ByColumn { starts, entries }
    }

    /// `out[column] = Σ value × residuals[position]`, `residuals` being `[positions, steps]`.
    fn add_up(&self, residuals: &[f32], steps: usize, out: &mut [f64]) {
        out.par_chunks_mut(COLUMNS * steps).enumerate().for_each(|(chunk, out)| {
            for (column, slopes) in (chunk * COLUMNS..).zip(out.chunks_exact_mut(steps)) {
                slopes.fill(0.0);
                for &(position, value) in &self.entries[self.starts[column]..self.starts[column + 1]] {
                    for (slope, residual) in slopes.iter_mut().zip(&residuals[position as usize * steps..]) {
                        *slope += f64::from(value * residual);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sparse::tests::{grid, sparse_grid};
    use super::super::standardise::unit;
    use super::*;

    const LEVELS: [u32; 30] =
        [0, 2, 1, 0, 1, 1, 2, 1, 1, 1, 0, 2, 1, 1, 1, 1, 2, 1, 1, 0, 2, 1, 0, 1, 1, 2, 1, 1, 1, 0];

    #[test]
    fn steps_equal_binary_regressions_of_scikit_learn() {
        // LogisticRegression(C=3, tol=1e-10) on [sparse, unit] for level > 0 and level > 1.
        let expected = [
            [0.887287, 0.439079, 0.176895, 1.173883, 1.449598, 2.168154, 1.807957],
            [2.226844, 1.141493, 0.041767, 1.672398, 0.263528, -1.245725, -2.326298],
        ];
        let (starts, columns, values) = sparse_grid();
        let sparse = SparseRows { starts: &starts, columns: &columns, values: &values, width: 3 };
        let mut units = Rows::with_capacity(30, 3);
        grid(30, 3, 5).into_iter().for_each(|row| units.push(unit(row)));
        let training: Vec<u32> = (0..30).collect();
        let fit = fit(sparse, &units, &training, &LEVELS, 3, None);
        for (step, expected) in expected.iter().enumerate() {
            for (i, expected) in expected.iter().enumerate() {
                let found = fit.weights[i * 2 + step];
                assert!((found - expected).abs() < 0.02, "step {step}, weight {i}: expected {expected}, got {found}");
            }
        }

        let cumulative = fit.cumulative(&[2, 0, 1]);
        let row: Vec<(u32, f32)> = vec![(0, 0.5), (1, 0.25)];
        let served = cumulative.of(&row, units.row(4).get(..3).unwrap());
        let fitted = fit.of((&[0, 2], &[0.25, 0.5]), units.row(4));
        assert!(served.iter().zip(&fitted).all(|(a, b)| (a - b).abs() < 2e-3), "{served:?} and {fitted:?}");
    }

    #[test]
    fn crossing_steps_still_give_a_distribution() {
        let levels: Vec<f32> = log_levels(&[-1.0, 2.0, -3.0]).iter().map(|log| log.exp()).collect();
        assert_eq!(levels.len(), 4);
        assert!((levels.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(levels[0] > 0.7 && levels[1] < 2.0 * LEAST_PROBABILITY && levels[2] > 0.2, "{levels:?}");
        assert_eq!(log_levels(&[]), [0.0]);
    }
}
