//! Here are a ticket's nearest resolved tickets, give me a vote per label.

use rayon::prelude::*;

use super::NEIGHBOURS;
use super::product::{Rows, TILE_COLUMNS, multiply};

/// A neighbour that is this much less alike than the best has 1/e of its weight. Measured: 0.07 to 0.15 are equal.
const WIDTH: f32 = 0.1;
/// Votes that the labels get in proportion to how common they are, and in equal parts.
const PRIOR_VOTES: f32 = 0.3;
const EQUAL_VOTES: f32 = 0.01;
/// The nearest neighbours whose mean distance says how far a ticket is from all others.
const DISTANCE_NEIGHBOURS: usize = 5;
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

/// Mean of 1 − cosine over the five nearest, or over all when there are fewer; nothing without neighbours.
pub(super) fn distance(neighbours: &[(u32, f32)]) -> Option<f32> {
    let nearest = &neighbours[..neighbours.len().min(DISTANCE_NEIGHBOURS)];
    (!nearest.is_empty()).then(|| nearest.iter().map(|&(_, cosine)| 1.0 - cosine).sum::<f32>() / nearest.len() as f32)
}

/// For each of `queries` the nearest rows of another fold: (row, cosine), nearest first. `rows` have length 1.
pub(super) fn of_other_folds(rows: &Rows, queries: &[u32], fold_of: &[u32]) -> Vec<Vec<(u32, f32)>> {
    let panels = rows.panels();
    let found: Vec<Vec<Vec<(u32, f32)>>> =
        queries.par_chunks(QUERIES).map(|queries| nearest_of(rows, &panels, queries, fold_of)).collect();
    found.into_iter().flatten().collect()
}

fn nearest_of(rows: &Rows, panels: &[f32], queries: &[u32], fold_of: &[u32]) -> Vec<Vec<(u32, f32)>> {
    let block: Vec<f32> = queries.iter().flat_map(|&query| rows.row(query as usize)).copied().collect();
    let mut cosines = vec![[0.0; TILE_COLUMNS]; queries.len()];
    let mut nearest: Vec<Nearest> = queries.iter().map(|_| Nearest::default()).collect();
    for (p, panel) in panels.chunks_exact(rows.stride * TILE_COLUMNS).enumerate() {
        multiply(&block, rows.stride, panel, &mut cosines);
        for ((nearest, cosines), &query) in nearest.iter_mut().zip(&cosines).zip(queries) {
            let fold = fold_of[query as usize];
            for (other, &cosine) in (p * TILE_COLUMNS..rows.len()).zip(cosines) {
                if cosine > nearest.worst && fold_of[other] != fold {
                    nearest.insert(other as u32, cosine);
                }
            }
        }
    }
    nearest.into_iter().map(|nearest| nearest.found).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn votes_follow_the_formula() {
        // Weights 1 and exp(-1); prior 3/4 and 1/4 of 0.3, 0.005 each on top; over 1 + exp(-1) + 0.31.
        let votes = log_votes(&[(1, 0.8), (0, 0.7), (9, 0.6)], &[3, 1]);
        let far = (-1.0f32).exp();
        let expected = [(far + 0.225 + 0.005) / (1.31 + far), (1.0 + 0.075 + 0.005) / (1.31 + far)];
        for (vote, expected) in votes.iter().zip(expected) {
            assert!((vote.exp() - expected).abs() < 1e-5, "{} and {expected}", vote.exp());
        }
        let nobody: Vec<f32> = log_votes(&[], &[0, 0]).iter().map(|log| log.exp()).collect();
        assert!(nobody.iter().all(|p| (p - 0.5).abs() < 1e-6), "{nobody:?}");
    }

    #[test]
    fn neighbours_come_from_other_folds_nearest_first() {
        let mut rows = Rows::with_capacity(50, 2);
        for i in 0..50 {
            let angle = i as f32 * 0.02;
            rows.push([angle.cos(), angle.sin()]);
        }
        let fold_of: Vec<u32> = (0..50).map(|i| i % 2).collect();
        let found = of_other_folds(&rows, &[0, 49, 10], &fold_of);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [NEIGHBOURS; 3]);
        let rows_of = |i: usize| found[i].iter().map(|&(row, _)| row).collect::<Vec<_>>();
        assert_eq!(rows_of(0)[..3], [1, 3, 5]);
        assert_eq!(rows_of(1)[..3], [48, 46, 44]);
        assert!(rows_of(2)[..2].contains(&9) && rows_of(2)[..2].contains(&11));
        let mean = [0.02f32, 0.06, 0.1, 0.14, 0.18].iter().map(|angle| 1.0 - angle.cos()).sum::<f32>() / 5.0;
        assert!((distance(&found[0]).unwrap() - mean).abs() < 1e-6);
        assert_eq!(distance(&[]), None);
    }
}
