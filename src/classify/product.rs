//! Matrix products of small tiles: the two shapes that the dense members need, in plain loops that the compiler turns
//! into vector instructions.
//!
//! They are compiled several times, and the one for the widest vectors of the processor at hand runs. No operation is
//! fused or taken in another order for that, so results are the same to the last bit on every machine.

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

/// Rows of a tile. The padded width of a [`Rows`] is a multiple of it.
pub(super) const TILE_ROWS: usize = 4;
/// Columns of a tile. Panels are this wide.
pub(super) const TILE_COLUMNS: usize = 16;

static PROCESSOR: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Dense rows `[n, width]`, each padded with zeros to `stride`.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// Columns that hold values.
    pub width: usize,
    /// Columns from one row to the next.
    pub stride: usize,
    /// `[n, stride]`.
    pub values: Vec<f32>,
}

impl Rows {
    /// No rows yet of `width` values each, with room for `n`.
    pub(super) fn with_capacity(n: usize, width: usize) -> Rows {
        let stride = width.max(1).next_multiple_of(TILE_ROWS);
        Rows { width, stride, values: Vec::with_capacity(n * stride) }
    }

    /// Adds a row of `width` values.
    pub(super) fn push(&mut self, row: impl IntoIterator<Item = f32>) {
        let start = self.values.len();
        self.values.extend(row.into_iter().take(self.width));
        self.values.resize(start + self.stride, 0.0);
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.values.len() / self.stride
    }

    /// Row `i` with its padding.
    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.stride..][..self.stride]
    }

    /// The rows `[n, width]` as columns: panels `[ceil(n / 16), stride, 16]`, the last filled up with zeros.
    pub(super) fn panels(&self) -> Vec<f32> {
        let mut panels = vec![0.0; self.len().div_ceil(TILE_COLUMNS) * self.stride * TILE_COLUMNS];
        for (i, row) in self.values.chunks_exact(self.stride).enumerate() {
            let panel = &mut panels[i / TILE_COLUMNS * self.stride * TILE_COLUMNS..][..self.stride * TILE_COLUMNS];
            for (cells, &value) in panel.chunks_exact_mut(TILE_COLUMNS).zip(row) {
                cells[i % TILE_COLUMNS] = value;
            }
        }
        panels
    }
}

/// `out[p][r][c] = rows[r] · panels[p][..][c]`: `rows` are `[n, stride]`, `panels` `[panels, stride, 16]`, `out`
/// `[panels, n]` cells.
pub(super) fn multiply(rows: &[f32], stride: usize, panels: &[f32], out: &mut [[f32; TILE_COLUMNS]]) {
    PROCESSOR.dispatch(Multiply { rows, stride, panels, out });
}

struct Multiply<'a> {
    rows: &'a [f32],
    stride: usize,
    panels: &'a [f32],
    out: &'a mut [[f32; TILE_COLUMNS]],
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Multiply { rows, stride, panels, out } = self;
        let n = rows.len() / stride;
        for (panel, out) in panels.chunks_exact(stride * TILE_COLUMNS).zip(out.chunks_exact_mut(n.max(1))) {
            for tile in (0..n).step_by(TILE_ROWS) {
                let row = |r: usize| &rows[(tile + r).min(n - 1) * stride..][..stride];
                let sums = rows_by_panel([row(0), row(1), row(2), row(3)], panel);
                for (out, sums) in out[tile..].iter_mut().zip(sums) {
                    *out = sums;
                }
            }
        }
    }
}

#[inline(always)]
fn rows_by_panel([a, b, c, d]: [&[f32]; TILE_ROWS], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    let (cells, _) = panel.as_chunks::<TILE_COLUMNS>();
    let [mut of_a, mut of_b, mut of_c, mut of_d] = [[0.0; TILE_COLUMNS]; TILE_ROWS];
    for ((((cell, &a), &b), &c), &d) in cells.iter().zip(a).zip(b).zip(c).zip(d) {
        for (k, &w) in cell.iter().enumerate() {
            of_a[k] += a * w;
            of_b[k] += b * w;
            of_c[k] += c * w;
            of_d[k] += d * w;
        }
    }
    [of_a, of_b, of_c, of_d]
}

/// `out[j][c] += Σ_r left[r][j] × right[r][c]`: `left` is `[n, stride]`, `right` `[n, 16]`, `out` a panel `[stride, 16]`.
pub(super) fn add_transposed_product(left: &[f32], stride: usize, right: &[[f32; TILE_COLUMNS]], out: &mut [f32]) {
    PROCESSOR.dispatch(AddTransposed { left, stride, right, out });
}

struct AddTransposed<'a> {
    left: &'a [f32],
    stride: usize,
    right: &'a [[f32; TILE_COLUMNS]],
    out: &'a mut [f32],
}

impl WithSimd for AddTransposed<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AddTransposed { left, stride, right, out } = self;
        let (cells, _) = out.as_chunks_mut::<TILE_COLUMNS>();
        for (tile, cells) in cells.chunks_exact_mut(TILE_ROWS).enumerate() {
            let [mut of_a, mut of_b, mut of_c, mut of_d] = [[0.0; TILE_COLUMNS]; TILE_ROWS];
            let columns = tile * TILE_ROWS..(tile + 1) * TILE_ROWS;
            for (row, factors) in left.chunks_exact(stride).zip(right) {
                let &[a, b, c, d] = row[columns.clone()].as_array::<TILE_ROWS>().unwrap_or(&[0.0; TILE_ROWS]);
                for (k, &factor) in factors.iter().enumerate() {
                    of_a[k] += a * factor;
                    of_b[k] += b * factor;
                    of_c[k] += c * factor;
                    of_d[k] += d * factor;
                }
            }
            for (cell, sum) in cells.iter_mut().zip([of_a, of_b, of_c, of_d]) {
                for (value, add) in cell.iter_mut().zip(sum) {
                    *value += add;
                }
            }
        }
    }
}

/// `a · b` in eight running sums.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (a, b) in a8.iter().zip(b8) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize, width: usize, step: usize) -> Rows {
        let mut rows = Rows::with_capacity(n, width);
        for i in 0..n {
            rows.push((0..width).map(|j| ((i * width + j) * step % 17) as f32 - 8.0));
        }
        rows
    }

    #[test]
    fn products_agree_with_the_definition() {
        for n in [1, 4, 6] {
            let (left, right) = (rows(n, 10, 3), rows(19, 10, 5));
            let mut out = vec![[f32::NAN; TILE_COLUMNS]; 2 * n];
            multiply(&left.values, left.stride, &right.panels(), &mut out);
            for (i, cells) in out.iter().enumerate() {
                for (c, &value) in cells.iter().enumerate() {
                    let (row, other) = (i % n, i / n * TILE_COLUMNS + c);
                    let expected = if other < right.len() { dot(left.row(row), right.row(other)) } else { 0.0 };
                    assert_eq!(value, expected, "row {row}, column {other}");
                }
            }
        }
    }

    #[test]
    fn transposed_product_adds_to_what_is_there() {
        let left = rows(3, 6, 3);
        let right = [[1.0; TILE_COLUMNS], [2.0; TILE_COLUMNS], [-1.0; TILE_COLUMNS]];
        let mut out = vec![1.0; left.stride * TILE_COLUMNS];
        add_transposed_product(&left.values, left.stride, &right, &mut out);
        for j in 0..left.stride {
            let expected = 1.0 + left.row(0)[j] + 2.0 * left.row(1)[j] - left.row(2)[j];
            assert_eq!(out[j * TILE_COLUMNS + 3], expected, "column {j}");
        }
    }
}
