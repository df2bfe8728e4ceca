//! Here are a mean and a deviation per dimension; give me the length of every row in the space
//! `(row - mean) / deviation`.
//!
//! The lengths are those of the pair asked for last and follow the rows of the table. Not for the cosine itself:
//! [`Metric`] holds a query in a form whose plain dot product with a raw row is the numerator.

use std::sync::{Arc, Mutex, PoisonError};

use super::table::dot;

/// Deviation under which a dimension counts as dead: an encoder can have one that never changes.
const MIN_DEVIATION: f32 = 1e-6;

/// Inverse norms of a table's rows for one pair of mean and deviation, computed when first asked for.
#[derive(Debug, Default)]
pub(super) struct Standardised {
    cached: Mutex<Option<Lengths>>,
}

#[derive(Debug)]
struct Lengths {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    inverse_norms: Arc<Vec<f32>>,
}

/// A query for raw rows: `cosine = (dot(weights, row) - offset) * inverse_norm of the row`.
#[derive(Debug)]
pub(super) struct Metric {
    weights: Vec<f32>,
    offset: f32,
}

impl Metric {
    /// None when the standardised query has no direction.
    pub(super) fn new(vector: &[f32], mean: &[f32], deviation: &[f32]) -> Option<Metric> {
        let point: Vec<f32> =
            vector.iter().zip(mean).zip(deviation).map(|((v, m), d)| (v - m) / d.max(MIN_DEVIATION)).collect();
        let norm = dot(&point, &point).sqrt();
        if !norm.is_finite() || norm <= 0.0 {
            return None;
        }
        let weights: Vec<f32> = point.iter().zip(deviation).map(|(p, d)| p / norm / d.max(MIN_DEVIATION)).collect();
        let offset = dot(&weights, mean);
        Some(Metric { weights, offset })
    }

    /// Cosine with a raw row whose standardised inverse length is `inverse_norm`.
    pub(super) fn cosine(&self, row: &[f32], inverse_norm: f32) -> f32 {
        (dot(&self.weights, row) - self.offset) * inverse_norm
    }
}

impl Standardised {
    /// Inverse length of every one of `rows`, in order; 0 for a row that lies on the mean.
    pub(super) fn inverse_norms<'a>(
        &self,
        mean: &[f32],
        deviation: &[f32],
        rows: impl Iterator<Item = &'a [f32]>,
    ) -> Arc<Vec<f32>> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lengths) = cached.as_ref().filter(|lengths| lengths.mean == mean && lengths.deviation == deviation)
        {
            return Arc::clone(&lengths.inverse_norms);
        }
        let inverse_norms = Arc::new(rows.map(|row| inverse_norm(row, mean, deviation)).collect::<Vec<f32>>());
        *cached = Some(Lengths {
            mean: mean.to_vec(),
            deviation: deviation.to_vec(),
            inverse_norms: Arc::clone(&inverse_norms),
        });
        inverse_norms
    }

    /// Follows a row that was added at the end.
    pub(super) fn push(&mut self, row: &[f32]) {
        if let Some(lengths) = self.cached.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let inverse_norm = inverse_norm(row, &lengths.mean, &lengths.deviation);
            Arc::make_mut(&mut lengths.inverse_norms).push(inverse_norm);
        }
    }

    /// Follows a row that was taken out, with the last in its place. `row` is in range.
    pub(super) fn swap_remove(&mut self, row: usize) {
        if let Some(lengths) = self.cached.get_mut().unwrap_or_else(PoisonError::into_inner) {
            Arc::make_mut(&mut lengths.inverse_norms).swap_remove(row);
        }
    }

    /// Bytes held on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.as_ref().map_or(0, |lengths| (lengths.inverse_norms.capacity() + 2 * lengths.mean.len()) * 4)
    }
}

fn inverse_norm(row: &[f32], mean: &[f32], deviation: &[f32]) -> f32 {
    let squared: f32 = row
        .iter()
        .zip(mean)
        .zip(deviation)
        .map(|((value, mean), deviation)| {
            let point = (value - mean) / deviation.max(MIN_DEVIATION);
            point * point
        })
        .sum();
    if squared.is_finite() && squared > 0.0 { 1.0 / squared.sqrt() } else { 0.0 }
}
