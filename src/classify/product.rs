//! Matrix products of small tiles: the two shapes that the dense members need, in plain loops that the compiler turns
//! into vector instructions of any x86-64 or ARM processor.

/// Rows of a tile. The padded width of a [`Rows`] is a multiple of it.
pub(super) const TILE_ROWS: usize = 4;
/// Columns of a tile. Panels are this wide.
pub(super) const TILE_COLUMNS: usize = 8;

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

    /// The rows `[n, width]` as columns: panels `[ceil(n / 8), stride, 8]`, the last filled up with zeros.
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

/// `out[r][c] = rows[r] · panel[..][c]` for four rows of equal length against a panel `[length, 8]`.
pub(super) fn rows_by_panel(rows: [&[f32]; TILE_ROWS], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    let [a, b, c, d] = rows;
    let (cells, _) = panel.as_chunks::<TILE_COLUMNS>();
    let mut out = [[0.0; TILE_COLUMNS]; TILE_ROWS];
    for ((((cell, &a), &b), &c), &d) in cells.iter().zip(a).zip(b).zip(c).zip(d) {
        for (k, &w) in cell.iter().enumerate() {
            out[0][k] += a * w;
            out[1][k] += b * w;
            out[2][k] += c * w;
            out[3][k] += d * w;
        }
    }
    out
}

/// `out[j][c] += Σ_r left[r][j] × right[r][c]`: `left` is `[n, stride]`, `right` `[n, 8]`, `out` a panel `[stride, 8]`.
pub(super) fn add_transposed_product(left: &[f32], stride: usize, right: &[[f32; TILE_COLUMNS]], out: &mut [f32]) {
    let (cells, _) = out.as_chunks_mut::<TILE_COLUMNS>();
    for (tile, cells) in cells.chunks_exact_mut(TILE_ROWS).enumerate() {
        let mut sums = [[0.0; TILE_COLUMNS]; TILE_ROWS];
        let columns = tile * TILE_ROWS..(tile + 1) * TILE_ROWS;
        for (row, factors) in left.chunks_exact(stride).zip(right) {
            let &[a, b, c, d] = row[columns.clone()].as_array::<TILE_ROWS>().unwrap_or(&[0.0; TILE_ROWS]);
            for (k, &factor) in factors.iter().enumerate() {
                sums[0][k] += a * factor;
                sums[1][k] += b * factor;
                sums[2][k] += c * factor;
                sums[3][k] += d * factor;
            }
        }
        for (cell, sum) in cells.iter_mut().zip(sums) {
            for (value, add) in cell.iter_mut().zip(sum) {
                *value += add;
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
    fn tiles_agree_with_the_definition() {
        let (left, right) = (rows(4, 10, 3), rows(11, 10, 5));
        let panels = right.panels();
        for (p, panel) in panels.chunks_exact(right.stride * TILE_COLUMNS).enumerate() {
            let tile = rows_by_panel([left.row(0), left.row(1), left.row(2), left.row(3)], panel);
            for (r, row) in tile.iter().enumerate() {
                for (c, &value) in row.iter().enumerate() {
                    let other = p * TILE_COLUMNS + c;
                    let expected = if other < right.len() { dot(left.row(r), right.row(other)) } else { 0.0 };
                    assert_eq!(value, expected, "row {r}, column {other}");
                }
            }
        }
    }

    #[test]
    fn transposed_product_adds_to_what_is_there() {
        let left = rows(3, 6, 3);
        let right = [[1.0; 8], [2.0; 8], [-1.0; 8]];
        let mut out = vec![1.0; left.stride * TILE_COLUMNS];
        add_transposed_product(&left.values, left.stride, &right, &mut out);
        for j in 0..left.stride {
            let expected = 1.0 + left.row(0)[j] + 2.0 * left.row(1)[j] - left.row(2)[j];
            assert_eq!(out[j * TILE_COLUMNS + 3], expected, "column {j}");
        }
    }
}
