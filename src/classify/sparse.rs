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

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small matrix without pattern that can be written down in any language.
    pub(in super::super) fn grid(n: usize, width: usize, step: usize) -> Vec<Vec<f32>> {
        let value = |i: usize, j: usize| ((i * width + j) * step * 7 + i * i * 3 + j * 5) % 19;
        (0..n).map(|i| (0..width).map(|j| value(i, j) as f32 / 9.0 - 1.0).collect()).collect()
    }

    /// Labels of the rows of `grid(30, 3, 5)`.
    pub(in super::super) const LABELS: [u32; 30] =
        [2, 1, 1, 2, 1, 0, 1, 0, 1, 1, 2, 0, 2, 0, 2, 0, 2, 1, 1, 2, 1, 1, 2, 1, 0, 1, 0, 1, 1, 2];

    /// `grid(30, 3, 5)` with only the values above 0.4, by starts, columns and values.
    pub(in super::super) fn sparse_grid() -> (Vec<usize>, Vec<u32>, Vec<f32>) {
        let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in grid(30, 3, 5) {
            for (column, value) in (0..).zip(row).filter(|(_, value)| *value > 0.4) {
                columns.push(column);
                values.push(value);
            }
            starts.push(columns.len());
        }
        (starts, columns, values)
    }

    fn planes(tolerance: f32, start: &[Vec<f32>]) -> Vec<Plane> {
        let (starts, columns, values) = sparse_grid();
        let rows = SparseRows { starts: &starts, columns: &columns, values: &values, width: 3 };
        let training: Vec<u32> = (0..30).collect();
        (0..3)
            .map(|label| {
                let start = start.get(label).map_or(&[][..], Vec::as_slice);
                separate(rows, &training, |i| LABELS[i] as usize == label, start, tolerance)
            })
            .collect()
    }

    #[test]
    fn planes_equal_those_of_scikit_learn() {
        // LinearSVC(C=1, tol=1e-10).coef_ and .intercept_
        let weights =
            [[0.313832, -0.746599, 0.127537], [0.138417, 0.740898, 1.062887], [-0.653832, 0.011779, -1.471203]];
        let intercepts = [-0.403846, -0.631793, 0.104262];
        let found = planes(1e-5, &[]);
        for (plane, (weights, intercept)) in found.iter().zip(weights.into_iter().zip(intercepts)) {
            for (a, b) in plane.weights.iter().zip(weights) {
                assert!((a - b).abs() < 1e-3, "{:?} and {weights:?}", plane.weights);
            }
            assert!((plane.intercept - intercept).abs() < 1e-3);
        }
    }

    #[test]
    fn a_start_from_elsewhere_ends_at_the_same_plane() {
        let cold = planes(1e-5, &[]);
        let start: Vec<Vec<f32>> =
            cold.iter().map(|plane| plane.pushes.iter().map(|push| 0.7 * push).collect()).collect();
        for (a, b) in cold.iter().zip(planes(1e-5, &start)) {
            assert!(a.weights.iter().zip(b.weights).all(|(a, b)| (a - b).abs() < 1e-3));
        }
    }

    #[test]
    fn margins_are_those_of_the_planes_in_the_order_of_the_columns() {
        let planes = planes(1e-3, &[]);
        let margins = Margins::new(&planes, &[2, 0, 1]).of(&[(0, 0.5), (2, -1.0)]);
        for (margin, plane) in margins.iter().zip(&planes) {
            let expected = plane.intercept + 0.5 * plane.weights[2] - plane.weights[1];
            assert!((margin - expected).abs() < 2e-3, "{margin} and {expected}");
        }
    }
}
