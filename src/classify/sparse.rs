//! Here are sparse rows and their labels, give me one margin per label: one-vs-rest linear support vector machines with
//! squared hinge loss.
//!
//! The problem of scikit-learn's `LinearSVC(C=1)`: ½‖w‖² + C Σ max(0, 1 − y w·x)² per label, with the intercept as the
//! weight of a further feature that is always 1. Solved by dual coordinate descent with shrinking (Hsieh et al., "A Dual
//! Coordinate Descent Method for Large-scale Linear SVM", ICML 2008), as in LIBLINEAR's solver 1.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::compact;
use super::features::SparseRows;
use super::folds::Random;

/// Weight of the errors against the length of the weights.
const C: f32 = 1.0;
/// Width of the band in which all projected gradients must lie. LIBLINEAR's own default for this solver is 0.1.
pub(super) const TOLERANCE: f32 = 0.02;
/// Passes over the rows at most.
const PASSES: usize = 300;

/// One margin per label.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Margins {
    /// `[features, labels]`.
    #[serde(with = "compact::f16s")]
    weights: Vec<f32>,
    /// `[labels]`.
    #[serde(with = "compact::f16s")]
    intercepts: Vec<f32>,
}

impl Margins {
    /// From one separating plane per label; `columns` says which feature of the plane stands at each place.
    pub(super) fn new(planes: &[Plane], columns: &[u32]) -> Margins {
        let mut weights = vec![0.0; columns.len() * planes.len()];
        weights.par_chunks_exact_mut(planes.len().max(1)).zip(columns).for_each(|(row, &column)| {
            for (weight, plane) in row.iter_mut().zip(planes) {
                *weight = plane.weights[column as usize];
            }
        });
        let mut intercepts: Vec<f32> = planes.iter().map(|plane| plane.intercept).collect();
        compact::round(&mut weights);
        compact::round(&mut intercepts);
        Margins { weights, intercepts }
    }

    /// The margin of each label for a row of (column, value).
    pub(super) fn of(&self, row: &[(u32, f32)]) -> Vec<f32> {
        let mut margins = self.intercepts.clone();
        let labels = margins.len();
        for &(column, value) in row {
            let weights = &self.weights[column as usize * labels..][..labels];
            for (margin, weight) in margins.iter_mut().zip(weights) {
                *margin += value * weight;
            }
        }
        margins
    }

    /// Whether there are weights for so many features and labels, all finite.
    pub(super) fn is_consistent(&self, features: usize, labels: usize) -> bool {
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        self.intercepts.len() == labels
            && self.weights.len() == features * labels
            && finite(&self.weights)
            && finite(&self.intercepts)
    }
}

/// A plane between one label's rows and all others.
pub(super) struct Plane {
    /// By column.
    pub weights: Vec<f32>,
    /// Weight of the feature that is always 1.
    pub intercept: f32,
    /// Dual variables by position in `training`: how hard each row pushes the plane. A good start for a similar problem.
    pub pushes: Vec<f32>,
}

impl Plane {
    /// The signed distance of a row from the plane, in units of the margin.
    pub(super) fn margin(&self, (columns, values): (&[u32], &[f32])) -> f32 {
        self.intercept + sparse_dot(&self.weights, columns, values)
    }
}

/// Separates the rows of `training` for which `is_positive` (by position in `training`) from the others.
///
/// `start` holds dual variables to begin with, or nothing. The result does not depend on the number of threads.
pub(super) fn separate(
    rows: SparseRows<'_>,
    training: &[u32],
    is_positive: impl Fn(usize) -> bool,
    start: &[f32],
    tolerance: f32,
) -> Plane {
    let mut plane = Plane { weights: vec![0.0; rows.width], intercept: 0.0, pushes: vec![0.0; training.len()] };
    let sign = |i: usize| if is_positive(i) { 1.0 } else { -1.0 };
    for (i, &push) in start.iter().enumerate().filter(|&(_, &push)| push > 0.0) {
        plane.pushes[i] = push;
        plane.push(rows.row(training[i] as usize), sign(i) * push);
    }
    let diagonal = 0.5 / C;
    let curvatures: Vec<f32> = training
        .iter()
        .map(|&row| rows.row(row as usize).1.iter().map(|value| value * value).sum::<f32>() + 1.0 + diagonal)
        .collect();

    // Positions in `training`; the first `n_active` are visited, the others rest at zero.
    let mut order: Vec<u32> = (0..training.len() as u32).collect();
    let mut n_active = order.len();
    let mut bound = f32::INFINITY;
    let mut random = Random::new(0);
    for _ in 0..PASSES {
        random.shuffle(&mut order[..n_active]);
        let (mut most, mut least) = (f32::NEG_INFINITY, f32::INFINITY);
        let mut at = 0;
        while at < n_active {
            let i = order[at] as usize;
            let row = rows.row(training[i] as usize);
            let (push, sign) = (plane.pushes[i], sign(i));
            let gradient = sign * plane.margin(row) - 1.0 + diagonal * push;
            if push == 0.0 && gradient > bound {
                n_active -= 1;
                order.swap(at, n_active);
                continue;
            }
            at += 1;
            let projected = if push == 0.0 { gradient.min(0.0) } else { gradient };
            most = most.max(projected);
            least = least.min(projected);
            if projected.abs() > 1e-12 {
                plane.pushes[i] = (push - gradient / curvatures[i]).max(0.0);
                plane.push(row, sign * (plane.pushes[i] - push));
            }
        }
        if most - least <= tolerance {
            if n_active == order.len() {
                break;
            }
            n_active = order.len();
            bound = f32::INFINITY;
        } else {
            bound = if most > 0.0 { most } else { f32::INFINITY };
        }
    }
    plane
}

impl Plane {
    fn push(&mut self, (columns, values): (&[u32], &[f32]), by: f32) {
        self.intercept += by;
        for (&column, value) in columns.iter().zip(values) {
            self.weights[column as usize] += by * value;
        }
    }
}

/// Four running sums, so that the processor need not wait for each.
fn sparse_dot(weights: &[f32], columns: &[u32], values: &[f32]) -> f32 {
    let (columns4, columns_rest) = columns.as_chunks::<4>();
    let (values4, values_rest) = values.as_chunks::<4>();
    let mut sums = [0.0f32; 4];
    for (columns, values) in columns4.iter().zip(values4) {
        for k in 0..4 {
            sums[k] += weights[columns[k] as usize] * values[k];
        }
    }
    let rest: f32 = columns_rest.iter().zip(values_rest).map(|(&c, v)| weights[c as usize] * v).sum();
    (sums[0] + sums[1]) + (sums[2] + sums[3]) + rest
}
