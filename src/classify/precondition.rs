//! Here are the rows of a regression, give me the inverse of about its curvature, so that a descent needs few steps.
//!
//! The dimensions of an encoder are correlated, so that a plain descent takes hundreds of steps down a narrow valley. The
//! curvature of a softmax regression in the weights of one label is about p(1 − p) XᵀX + shrinkage, with p one over the
//! number of labels (Böhning, "Multinomial logistic regression algorithm", 1992, bounds it in this way).

use rayon::prelude::*;

use super::product::{Rows, TILE_COLUMNS, add_transposed_product, multiply};

/// The inverse of `spread × XᵀX / n + shrink × I`, a square of `stride` columns.
pub(super) struct InverseCurvature {
    stride: usize,
    /// `[stride, stride]`.
    inverse: Vec<f32>,
}

impl InverseCurvature {
    /// Of rows X; `shrink` is above 0. Nothing when rounding leaves no positive matrix.
    pub(super) fn new(rows: &Rows, spread: f64, shrink: f64) -> Option<InverseCurvature> {
        let size = rows.stride;
        let scale = spread / rows.len().max(1) as f64;
        let mut curvature: Vec<f64> = products_of_columns(rows).into_iter().map(|sum| f64::from(sum) * scale).collect();
        for i in 0..size {
            curvature[i * size + i] += shrink;
        }
        Some(InverseCurvature { stride: size, inverse: inverse(curvature, size)? })
    }

    /// Multiplies each column of the panels `[.., stride, 16]` by the inverse.
    pub(super) fn apply(&self, panels: &mut [f64]) {
        panels.par_chunks_exact_mut(self.stride * TILE_COLUMNS).for_each(|panel| {
            let values: Vec<f32> = panel.iter().map(|&value| value as f32).collect();
            let mut products = vec![[0.0; TILE_COLUMNS]; self.stride];
            multiply(&self.inverse, self.stride, &values, &mut products);
            for (value, product) in panel.iter_mut().zip(products.as_flattened()) {
                *value = f64::from(*product);
            }
        });
    }
}

/// XᵀX, `[stride, stride]`.
fn products_of_columns(rows: &Rows) -> Vec<f32> {
    let stride = rows.stride;
    let panels: Vec<Vec<f32>> = (0..stride)
        .into_par_iter()
        .step_by(TILE_COLUMNS)
        .map(|first| {
            let columns = |row: &[f32]| std::array::from_fn(|k| row.get(first + k).copied().unwrap_or(0.0));
            let right: Vec<[f32; TILE_COLUMNS]> = rows.values.chunks_exact(stride).map(columns).collect();
            let mut panel = vec![0.0; stride * TILE_COLUMNS];
            add_transposed_product(&rows.values, stride, &right, &mut panel);
            panel
        })
        .collect();
    let at = |row: usize, column: usize| panels[column / TILE_COLUMNS][row * TILE_COLUMNS + column % TILE_COLUMNS];
    (0..stride * stride).map(|i| at(i / stride, i % stride)).collect()
}

/// The inverse of a symmetric positive matrix by its Cholesky factor.
fn inverse(mut matrix: Vec<f64>, size: usize) -> Option<Vec<f32>> {
    for i in 0..size {
        let (above, from_i) = matrix.split_at_mut(i * size);
        let row = &mut from_i[..size];
        for j in 0..i {
            let other = &above[j * size..][..size];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let rest = row[i] - dot(&row[..i], &row[..i]);
        if rest.is_nan() || rest <= 0.0 {
            return None;
        }
        row[i] = rest.sqrt();
    }
    let mut transposed = vec![0.0; size * size];
    for i in 0..size {
        for j in 0..=i {
            transposed[j * size + i] = matrix[i * size + j];
        }
    }
    // Column by column: solve L y = unit vector, then Lᵀ x = y. The inverse is symmetric, so columns are rows.
    let columns: Vec<Vec<f32>> = (0..size)
        .into_par_iter()
        .map(|column| {
            let mut x = vec![0.0; size];
            for i in column..size {
                let unit = f64::from(u8::from(i == column));
                x[i] = (unit - dot(&matrix[i * size + column..i * size + i], &x[column..i])) / matrix[i * size + i];
            }
            for i in (0..size).rev() {
                let row = &transposed[i * size..][..size];
                x[i] = (x[i] - dot(&row[i + 1..], &x[i + 1..])) / row[i];
            }
            x.into_iter().map(|value| value as f32).collect()
        })
        .collect();
    Some(columns.concat())
}

/// `a · b` in four running sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a4, a_rest) = a.as_chunks::<4>();
    let (b4, b_rest) = b.as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (a, b) in a4.iter().zip(b4) {
        for k in 0..4 {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_it_undoes_the_curvature() {
        let mut rows = Rows::with_capacity(20, 6);
        for i in 0..20 {
            rows.push((0..6).map(|j| ((i * i + 3 * j * i + j) % 7) as f32 - 3.0));
        }
        let (spread, shrink) = (0.25, 0.1);
        let curvature = InverseCurvature::new(&rows, spread, shrink).unwrap();
        let wanted: Vec<f64> = (0..rows.stride * TILE_COLUMNS).map(|i| (i % 5) as f64 - 2.0).collect();
        let mut panel: Vec<f64> = vec![0.0; wanted.len()];
        for i in 0..rows.stride {
            for k in 0..TILE_COLUMNS {
                panel[i * TILE_COLUMNS + k] = shrink * wanted[i * TILE_COLUMNS + k];
                for row in rows.values.chunks_exact(rows.stride) {
                    let along: f64 = (0..rows.stride).map(|j| f64::from(row[j]) * wanted[j * TILE_COLUMNS + k]).sum();
                    panel[i * TILE_COLUMNS + k] += spread / 20.0 * f64::from(row[i]) * along;
                }
            }
        }
        curvature.apply(&mut panel);
        assert!(panel.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{panel:?}");
    }
}
