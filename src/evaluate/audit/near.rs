//! Here are vectors, give me pairs that lie close to each other, and the nearest of one.
//!
//! Cosines are taken after every dimension was brought to mean 0 and deviation 1 over all tickets: the vectors of an
//! encoder share a large offset, and raw cosines of unrelated texts lie near those of copies.

use rayon::prelude::*;

use crate::classify::Standardiser;

/// Least cosine of two near copies.
///
/// Of 283 German and English tickets with one word replaced, a typing error, a greeting or a sentence about urgency added,
/// nine in ten lie above it, and two different tickets of one label never above 0.42. Among ten thousand short banking
/// questions, of which many paraphrase each other, pairs that were filed differently say the same from 0.95 on ("Where do
/// I find PIN for my card?", "Where can I find my card PIN?"), while below it single words begin to turn the meaning
/// ("someone took", "someone used my card": 0.944). A dropped "nicht" does not show in any cosine.
pub(super) const LEAST_COSINE: f32 = 0.95;
/// The same number as reports show it.
pub(super) const LEAST_COSINE_SHOWN: f64 = 0.95;

/// Up to this many rows, every pair is compared.
pub(super) const MAX_COMPARED: usize = 20_000;

/// Pairs that are kept of one row: a flood of alerts would otherwise take memory in proportion to its square.
const MAX_PAIRS_OF_A_ROW: usize = 32;

/// Rows of a tile; 64 rows of 384 numbers and as many columns stay in a core's cache.
const TILE: usize = 64;

/// Two rows, `a` before `b`, and their cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub a: usize,
    pub b: usize,
    pub cosine: f32,
}

/// Standardised unit vectors `[n, dim]`.
pub(super) struct Space {
    dim: usize,
    rows: Vec<f32>,
}

impl Space {
    /// Standardises vectors over themselves. One of another length than the first, or that holds no numbers, is like
    /// nothing.
    pub(super) fn new(vectors: &[&[f32]]) -> Space {
        let dim = vectors.first().map_or(0, |vector| vector.len());
        let is_usable = |vector: &[f32]| vector.len() == dim && vector.iter().all(|value| value.is_finite());
        let usable: Vec<f32> = vectors.iter().filter(|vector| is_usable(vector)).copied().flatten().copied().collect();
        let standardiser = Standardiser::fit(&usable, dim);
        let mut rows = Vec::with_capacity(vectors.len() * dim);
        for vector in vectors {
            let mut row = if is_usable(vector) { standardiser.apply(vector) } else { vec![0.0; dim] };
            let length = dot(&row, &row).sqrt();
            if length > 0.0 {
                row.iter_mut().for_each(|value| *value /= length);
            }
            rows.extend(row);
        }
        Space { dim, rows }
    }

    fn row(&self, i: usize) -> &[f32] {
        self.rows.get(i * self.dim..(i + 1) * self.dim).unwrap_or_default()
    }

    /// The `k` rows of `among` nearest to row `of`, itself left out, nearest first; equals in the order of `among`.
    pub(super) fn nearest(&self, of: usize, among: impl Iterator<Item = usize>, k: usize) -> Vec<(usize, f32)> {
        let mut found: Vec<(usize, f32)> = among
            .filter(|other| *other != of)
            .map(|other| (other, dot(self.row(of), self.row(other)).clamp(-1.0, 1.0)))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1));
        found.truncate(k);
        found
    }

    /// Pairs of `rows` (positions in that list) with a cosine of at least [`LEAST_COSINE`] for which `is_wanted` says yes,
    /// once for each of `n_kinds` kinds; and the number of rows that each was compared with. Of every row at most
    /// [`MAX_PAIRS_OF_A_ROW`] of a kind are kept, the closest.
    ///
    /// Up to [`MAX_COMPARED`] rows every pair is looked at, in tiles and without keeping the cosines; above, each row is
    /// compared with a sample of that size, spread evenly over the list.
    pub(super) fn pairs(
        &self,
        rows: &[usize],
        n_kinds: usize,
        is_wanted: impl Fn(usize, usize, usize) -> bool + Sync,
    ) -> (Vec<Vec<Pair>>, usize) {
        let compared = rows.len().min(MAX_COMPARED);
        let is_whole = compared == rows.len();
        let columns: Vec<usize> = (0..compared).map(|i| i * rows.len() / compared.max(1)).collect();
        let tiles: Vec<Vec<Vec<Pair>>> = (0..rows.len().div_ceil(TILE))
            .into_par_iter()
            .map(|tile| {
                let of_tile = tile * TILE..rows.len().min((tile + 1) * TILE);
                let mut kept: Vec<Vec<Vec<Pair>>> = vec![vec![Vec::new(); of_tile.len()]; n_kinds];
                // The earlier columns saw these rows from their side.
                let first = if is_whole { of_tile.start } else { 0 };
                for columns in columns.get(first..).unwrap_or_default().chunks(TILE) {
                    for (place, a) in of_tile.clone().enumerate() {
                        for &b in columns {
                            if a == b || is_whole && b < a {
                                continue;
                            }
                            let cosine = dot(self.row(rows[a]), self.row(rows[b]));
                            if cosine < LEAST_COSINE {
                                continue;
                            }
                            let pair = Pair { a: a.min(b), b: a.max(b), cosine: cosine.min(1.0) };
                            for (kind, kept) in kept.iter_mut().enumerate() {
                                if is_wanted(kind, a, b) {
                                    keep(&mut kept[place], pair);
                                }
                            }
                        }
                    }
                }
                kept.into_iter().map(|rows| rows.into_iter().flatten().collect()).collect()
            })
            .collect();
        let mut by_kind = vec![Vec::new(); n_kinds];
        for tile in tiles {
            for (all, of_tile) in by_kind.iter_mut().zip(tile) {
                all.extend(of_tile);
            }
        }
        for pairs in &mut by_kind {
            pairs.sort_by_key(|pair| (pair.a, pair.b));
            pairs.dedup_by_key(|pair| (pair.a, pair.b));
        }
        (by_kind, compared)
    }
}

/// Adds a pair to those of a row, in place of the least similar when there are enough.
fn keep(pairs: &mut Vec<Pair>, pair: Pair) {
    if pairs.len() < MAX_PAIRS_OF_A_ROW {
        pairs.push(pair);
    } else if let Some(least) = pairs.iter_mut().min_by(|a, b| a.cosine.total_cmp(&b.cosine))
        && least.cosine < pair.cosine
    {
        *least = pair;
    }
}

/// Eight sums abreast, which compilers turn into vector instructions; the same order of additions on every machine.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` directions by a fixed rule, each followed by a copy that is a little off.
    fn twins(n: usize, dim: usize, off: f32) -> Vec<Vec<f32>> {
        let mut state = 7u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f32 / (1u64 << 31) as f32 - 0.5
        };
        (0..n)
            .flat_map(|_| {
                let one: Vec<f32> = (0..dim).map(|_| random()).collect();
                let other = one.iter().map(|value| value + off * random()).collect();
                [one, other]
            })
            .collect()
    }

    #[test]
    fn every_pair_of_twins_is_found_and_nothing_else() {
        let vectors = twins(150, 64, 0.1);
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let rows: Vec<usize> = (0..300).collect();
        let (pairs, compared) = Space::new(&vectors).pairs(&rows, 2, |kind, a, _| kind == 0 || a < 10);
        assert_eq!(compared, 300);
        let found: Vec<(usize, usize)> = pairs[0].iter().map(|pair| (pair.a, pair.b)).collect();
        assert_eq!(found, (0..150).map(|i| (2 * i, 2 * i + 1)).collect::<Vec<_>>());
        assert_eq!(pairs[1].len(), 5);
    }

    #[test]
    fn above_the_limit_a_sample_is_compared() {
        let vectors = twins(MAX_COMPARED / 2 + 50, 8, 0.0);
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let rows: Vec<usize> = (0..vectors.len()).collect();
        let (pairs, compared) = Space::new(&vectors).pairs(&rows, 1, |_, a, b| a / 2 == b / 2);
        assert_eq!(compared, MAX_COMPARED);
        assert!(pairs[0].len() > MAX_COMPARED / 2 - 100, "{}", pairs[0].len());
    }

    #[test]
    fn vectors_that_hold_no_numbers_are_like_nothing() {
        let vectors: [&[f32]; 4] = [&[1.0, 0.0], &[f32::NAN, 1.0], &[1.0], &[0.9, 0.1]];
        let space = Space::new(&vectors);
        assert_eq!(space.nearest(1, 0..4, 3).iter().map(|(_, cosine)| *cosine).collect::<Vec<_>>(), [0.0; 3]);
        assert!(Space::new(&[]).pairs(&[], 1, |_, _, _| true).0[0].is_empty());
    }
}
