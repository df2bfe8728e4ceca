//! Here are a ticket's nearest resolved tickets, give me a vote per label.

use rayon::prelude::*;

use super::NEIGHBOURS;
use super::product::{Rows, TILE_COLUMNS, TILE_ROWS, rows_by_panel};

/// A neighbour that is this much less alike than the best has 1/e of its weight. Measured: 0.07 to 0.15 are equal.
const WIDTH: f32 = 0.1;
/// Votes that the labels get in proportion to how common they are, and in equal parts.
const PRIOR_VOTES: f32 = 0.3;
const EQUAL_VOTES: f32 = 0.01;
/// The neighbour whose distance says how far a ticket is from all others, counted from 1.
const DISTANCE_RANK: usize = 5;
/// Rows whose neighbours are found together.
const QUERIES: usize = 64;

/// Log-probability per label: each neighbour (label, cosine), nearest first, votes with exp((s − best) / 0.1).
/// Neighbours of a label that does not exist are passed over.
pub(super) fn log_votes(neighbours: &[(u32, f32)], examples_per_label: &[u32]) -> Vec<f32> {
    let examples = examples_per_label.iter().map(|&n| n as f32).sum::<f32>();
    let n_labels = examples_per_label.len() as f32;
    let prior = |&n: &u32| if examples > 0.0 { n as f32 / examples } else { 1.0 / n_labels };
    let mut votes: Vec<f32> =
        examples_per_label.iter().map(|n| PRIOR_VOTES * prior(n) + EQUAL_VOTES / n_labels).collect();
    let mut total = PRIOR_VOTES + EQUAL_VOTES;
    let best = neighbours.iter().map(|&(_, cosine)| cosine).fold(f32::NEG_INFINITY, f32::max);
    for &(label, cosine) in neighbours.iter().take(NEIGHBOURS) {
        if let Some(votes) = votes.get_mut(label as usize) {
            let weight = ((cosine - best) / WIDTH).exp();
            *votes += weight;
            total += weight;
        }
    }
    votes.iter().map(|votes| (votes / total).ln()).collect()
}

/// 1 − cosine of the fifth neighbour, or of the last when there are fewer; nothing without neighbours.
pub(super) fn distance(neighbours: &[(u32, f32)]) -> Option<f32> {
    neighbours.iter().take(DISTANCE_RANK).last().map(|&(_, cosine)| 1.0 - cosine)
}

/// For each of `queries` the nearest rows of another fold: (row, cosine), nearest first. `rows` have length 1.
pub(super) fn of_other_folds(rows: &Rows, queries: &[u32], fold_of: &[u32]) -> Vec<Vec<(u32, f32)>> {
    let panels = rows.panels();
    let found: Vec<Vec<Vec<(u32, f32)>>> = queries
        .par_chunks(QUERIES)
        .map(|queries| {
            let mut nearest: Vec<Nearest> = queries.iter().map(|_| Nearest::default()).collect();
            for (p, panel) in panels.chunks_exact(rows.stride * TILE_COLUMNS).enumerate() {
                for tile in (0..queries.len()).step_by(TILE_ROWS) {
                    let row = |r: usize| rows.row(queries[(tile + r).min(queries.len() - 1)] as usize);
                    let cosines = rows_by_panel([row(0), row(1), row(2), row(3)], panel);
                    for (r, cosines) in cosines.iter().enumerate().take(queries.len() - tile) {
                        let nearest = &mut nearest[tile + r];
                        let fold = fold_of[queries[tile + r] as usize];
                        for (other, &cosine) in (p * TILE_COLUMNS..rows.len()).zip(cosines) {
                            if cosine > nearest.worst && fold_of[other] != fold {
                                nearest.insert(other as u32, cosine);
                            }
                        }
                    }
                }
            }
            nearest.into_iter().map(|nearest| nearest.found).collect()
        })
        .collect();
    found.into_iter().flatten().collect()
}

/// The best so far, by falling cosine.
struct Nearest {
    found: Vec<(u32, f32)>,
    /// What a further one must exceed.
    worst: f32,
}

impl Default for Nearest {
    fn default() -> Self {
        Nearest { found: Vec::with_capacity(NEIGHBOURS + 1), worst: f32::NEG_INFINITY }
    }
}

impl Nearest {
    fn insert(&mut self, row: u32, cosine: f32) {
        let place = self.found.partition_point(|&(_, other)| other >= cosine);
        self.found.insert(place, (row, cosine));
        self.found.truncate(NEIGHBOURS);
        if self.found.len() == NEIGHBOURS {
            self.worst = self.found[NEIGHBOURS - 1].1;
        }
    }
}
