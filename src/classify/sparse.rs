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
use super::random::Random;

/// Weight of the errors against the length of the weights.
const C: f32 = 1.0;
/// Width of the band in which all projected gradients must lie. LIBLINEAR's own default for this solver is 0.1, which is
/// enough for many rows.
const TOLERANCE: f32 = 0.02;
const TOLERANCE_FOR_MANY: f32 = 0.1;
const MANY_ROWS: usize = 25_000;
/// Passes over the rows at most.
const PASSES: usize = 300;

/// The tolerance that suits so many rows.
pub(super) fn tolerance(rows: usize) -> f32 {
    if rows > MANY_ROWS { TOLERANCE_FOR_MANY } else { TOLERANCE }
}

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

/// Labels whose planes are fitted together, side by side in vectors: a row is read once for all of them. Fewer where there
/// are few labels, so that every core has some.
const LANES: usize = 8;
const LABELS_FOR_ALL_LANES: usize = 32;

/// One plane per label, in order: those between its rows and all others. `labels` go by row of the whole set, `start`
/// holds dual variables to begin with, by label and row of the whole set, or nothing. The result does not depend on the
/// number of threads.
pub(super) fn separate(
    rows: SparseRows<'_>,
    training: &[u32],
    labels: &[u32],
    n_labels: usize,
    start: &[Vec<f32>],
    tolerance: f32,
) -> Vec<Plane> {
    let lanes = if n_labels < LABELS_FOR_ALL_LANES { LANES / 2 } else { LANES };
    let groups: Vec<(usize, usize)> =
        (0..n_labels).step_by(lanes).map(|first| (first, lanes.min(n_labels - first))).collect();
    let fit = |(first, n): (usize, usize)| {
        let mut group = Group::new(rows, training, labels, first, n);
        group.start_from(start);
        group.descend(tolerance);
        group.planes()
    };
    groups.into_par_iter().flat_map_iter(fit).collect()
}

/// The planes of some labels while they are fitted, one in each lane.
struct Group<'a> {
    rows: SparseRows<'a>,
    training: &'a [u32],
    labels: &'a [u32],
    first: usize,
    n: usize,
    /// By column.
    weights: Vec<[f32; LANES]>,
    intercepts: [f32; LANES],
    /// By position in `training`.
    pushes: Vec<[f32; LANES]>,
}

/// What one pass over the rows found in a lane.
#[derive(Clone, Copy)]
struct Lane {
    most: f32,
    least: f32,
    /// A gradient above it at a push of zero says that the row may rest.
    bound: f32,
    is_done: bool,
}

const DIAGONAL: f32 = 0.5 / C;

impl<'a> Group<'a> {
    fn new(rows: SparseRows<'a>, training: &'a [u32], labels: &'a [u32], first: usize, n: usize) -> Group<'a> {
        let (weights, pushes) = (vec![[0.0; LANES]; rows.width], vec![[0.0; LANES]; training.len()]);
        Group { rows, training, labels, first, n, weights, intercepts: [0.0; LANES], pushes }
    }

    /// 1 in the lane of the row's own label, -1 in the others.
    fn signs(&self, i: usize) -> [f32; LANES] {
        let label = self.labels[self.training[i] as usize] as usize;
        std::array::from_fn(|lane| if self.first + lane == label { 1.0 } else { -1.0 })
    }

    fn start_from(&mut self, start: &[Vec<f32>]) {
        if start.is_empty() {
            return;
        }
        for i in 0..self.training.len() {
            let row = self.training[i] as usize;
            let of_lane = |lane: usize| start.get(self.first + lane).and_then(|pushes| pushes.get(row)).copied();
            let pushes: [f32; LANES] =
                std::array::from_fn(|lane| if lane < self.n { of_lane(lane).unwrap_or(0.0).max(0.0) } else { 0.0 });
            let signs = self.signs(i);
            self.pushes[i] = pushes;
            self.push(i, std::array::from_fn(|lane| signs[lane] * pushes[lane]));
        }
    }

    fn margins(&self, i: usize) -> [f32; LANES] {
        let (columns, values) = self.rows.row(self.training[i] as usize);
        let mut margins = self.intercepts;
        for (&column, value) in columns.iter().zip(values) {
            let weights = &self.weights[column as usize];
            for lane in 0..LANES {
                margins[lane] += value * weights[lane];
            }
        }
        margins
    }

    fn push(&mut self, i: usize, by: [f32; LANES]) {
        if by == [0.0; LANES] {
            return;
        }
        let (columns, values) = self.rows.row(self.training[i] as usize);
        for (intercept, by) in self.intercepts.iter_mut().zip(by) {
            *intercept += by;
        }
        for (&column, value) in columns.iter().zip(values) {
            let weights = &mut self.weights[column as usize];
            for lane in 0..LANES {
                weights[lane] += value * by[lane];
            }
        }
    }

    /// Passes over the rows until every gradient lies in the band; a row that no lane has a use for rests meanwhile.
    fn descend(&mut self, tolerance: f32) {
        let curvature = |&row: &u32| {
            let squares = self.rows.row(row as usize).1.iter().map(|value| value * value);
            squares.sum::<f32>() + 1.0 + DIAGONAL
        };
        let curvatures: Vec<f32> = self.training.iter().map(curvature).collect();
        // Positions in `training`; the first `n_active` are visited, the others rest at zero.
        let mut order: Vec<u32> = (0..self.training.len() as u32).collect();
        let mut n_active = order.len();
        let fresh = Lane { most: f32::NEG_INFINITY, least: f32::INFINITY, bound: f32::INFINITY, is_done: false };
        let mut lanes = [fresh; LANES];
        let mut random = Random::new(0);
        for _ in 0..PASSES {
            random.shuffle(&mut order[..n_active]);
            for lane in &mut lanes[..self.n] {
                *lane = Lane { bound: lane.bound, is_done: lane.is_done, ..fresh };
            }
            let mut at = 0;
            while at < n_active {
                let i = order[at] as usize;
                if self.visit(i, curvatures[i], &mut lanes) {
                    at += 1;
                } else {
                    n_active -= 1;
                    order.swap(at, n_active);
                }
            }
            for lane in lanes[..self.n].iter_mut().filter(|lane| !lane.is_done) {
                lane.is_done = lane.most - lane.least <= tolerance;
                lane.bound = if lane.most > 0.0 { lane.most } else { f32::INFINITY };
            }
            if lanes[..self.n].iter().all(|lane| lane.is_done) {
                if n_active == order.len() {
                    return;
                }
                n_active = order.len();
                lanes = [fresh; LANES];
            }
        }
    }

    /// Moves the pushes of one row; false when the row may rest in every lane.
    fn visit(&mut self, i: usize, curvature: f32, lanes: &mut [Lane; LANES]) -> bool {
        let (margins, signs) = (self.margins(i), self.signs(i));
        let mut by = [0.0; LANES];
        let mut is_wanted = false;
        for (k, lane) in lanes[..self.n].iter_mut().enumerate().filter(|(_, lane)| !lane.is_done) {
            let push = self.pushes[i][k];
            let gradient = signs[k] * margins[k] - 1.0 + DIAGONAL * push;
            if push == 0.0 && gradient > lane.bound {
                continue;
            }
            is_wanted = true;
            let projected = if push == 0.0 { gradient.min(0.0) } else { gradient };
            lane.most = lane.most.max(projected);
            lane.least = lane.least.min(projected);
            if projected.abs() > 1e-12 {
                let moved = (push - gradient / curvature).max(0.0);
                self.pushes[i][k] = moved;
                by[k] = signs[k] * (moved - push);
            }
        }
        self.push(i, by);
        is_wanted
    }

    fn planes(self) -> Vec<Plane> {
        let of_lane = |lane: usize| Plane {
            weights: self.weights.iter().map(|weights| weights[lane]).collect(),
            intercept: self.intercepts[lane],
            pushes: self.pushes.iter().map(|pushes| pushes[lane]).collect(),
        };
        (0..self.n).map(of_lane).collect()
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
        separate(rows, &training, &LABELS, 3, start, tolerance)
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
