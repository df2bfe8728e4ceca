//! Here is what a search returned and what would have been right, give me its figures.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use super::interval::{Interval, mean, wilson};

/// One judged query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Id of the query.
    pub query: String,
    /// Ids that came back, best first; an id that comes again counts once, at its first place.
    pub ranked: Vec<String>,
    /// Ids that are right, in any order.
    pub relevant: Vec<String>,
}

/// The same queries, ranked in three ways.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// Vectors and words together, as the service searches.
    pub hybrid: RetrievalMetrics,
    /// Vectors alone.
    pub dense: RetrievalMetrics,
    /// Words alone.
    pub lexical: RetrievalMetrics,
}

/// Averages over queries, each 0 to 1; absent without queries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalMetrics {
    /// Queries that have anything relevant; the others are left out.
    pub n: usize,
    /// Share whose first result is relevant.
    pub hit_at_1: Option<f64>,
    /// |relevant among the first 1| / |relevant|. With two relevant ids it is 0.5 at most: nothing is capped.
    pub recall_at_1: Option<f64>,
    /// |relevant among the first 5| / |relevant|.
    pub recall_at_5: Option<f64>,
    /// |relevant among the first 10| / |relevant|.
    pub recall_at_10: Option<f64>,
    /// 1 / place of the first relevant result among the first 10, else 0.
    pub mrr: Option<f64>,
    /// Sum of 1 / log2(place + 1) over the relevant among the first 10, divided by the best possible sum
    /// (Järvelin and Kekäläinen 2002, relevance 0 or 1).
    pub ndcg_at_10: Option<f64>,
    /// 95 % interval of each figure, by its name (Wilson; on the safe side for averages).
    pub intervals: BTreeMap<String, Interval>,
}

/// Computes the figures of one way to rank.
pub fn retrieval_metrics(rankings: &[Ranking]) -> RetrievalMetrics {
    let mut n = 0;
    let mut sums = [0.0; 6];
    for scores in rankings.iter().filter_map(query_scores) {
        n += 1;
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += score;
        }
    }
    let means = sums.map(|sum| mean(sum, n));
    let [hit_at_1, recall_at_1, recall_at_5, recall_at_10, mrr, ndcg_at_10] = means;
    let names = ["hit_at_1", "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg_at_10"];
    let intervals =
        names.iter().zip(means).filter_map(|(name, mean)| Some(((*name).to_owned(), wilson(mean?, n)?))).collect();
    RetrievalMetrics { n, hit_at_1, recall_at_1, recall_at_5, recall_at_10, mrr, ndcg_at_10, intervals }
}

/// hit@1, recall@1, recall@5, recall@10, reciprocal rank, nDCG@10; none when nothing is relevant.
fn query_scores(ranking: &Ranking) -> Option<[f64; 6]> {
    let relevant: HashSet<&str> = ranking.relevant.iter().map(String::as_str).collect();
    if relevant.is_empty() {
        return None;
    }
    let mut seen = HashSet::new();
    let places: Vec<usize> = ranking
        .ranked
        .iter()
        .filter(|id| seen.insert(id.as_str()))
        .take(10)
        .zip(1..)
        .filter(|(id, _)| relevant.contains(id.as_str()))
        .map(|(_, place)| place)
        .collect();
    let hits_within = |k: usize| places.iter().filter(|&&place| place <= k).count() as f64;
    let recall = |k: usize| hits_within(k) / relevant.len() as f64;
    let discounted = |places: &mut dyn Iterator<Item = usize>| -> f64 {
        places.map(|place| 1.0 / ((place + 1) as f64).log2()).sum()
    };
    let ideal = discounted(&mut (1..=relevant.len().min(10)));
    Some([
        hits_within(1),
        recall(1),
        recall(5),
        recall(10),
        places.first().map_or(0.0, |&place| 1.0 / place as f64),
        discounted(&mut places.iter().copied()) / ideal,
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranking(ranked: &[&str], relevant: &[&str]) -> Ranking {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        Ranking { query: "q".to_owned(), ranked: owned(ranked), relevant: owned(relevant) }
    }

    fn close(value: Option<f64>, expected: f64) {
        assert!((value.unwrap() - expected).abs() < 1e-6, "{value:?} is not {expected}");
    }

    #[test]
    fn figures_agree_with_scikit_learn() {
        let rankings = [
            ranking(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], &["b", "f"]),
            ranking(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], &["a"]),
            ranking(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"], &["k", "d", "missing"]),
            ranking(&["a", "b"], &["z"]),
        ];
        let metrics = retrieval_metrics(&rankings);
        assert_eq!(metrics.n, 4);
        close(metrics.hit_at_1, 0.25);
        close(metrics.recall_at_1, 0.25);
        close(metrics.recall_at_5, (0.5 + 1.0 + 1.0 / 3.0) / 4.0);
        close(metrics.recall_at_10, (1.0 + 1.0 + 1.0 / 3.0) / 4.0);
        close(metrics.mrr, (0.5 + 1.0 + 0.25) / 4.0);
        // sklearn.metrics.ndcg_score(k=10) of each: 0.605260, 1, 0.202107, 0
        close(metrics.ndcg_at_10, 0.451_842);
    }

    #[test]
    fn a_repeated_id_takes_one_place_only() {
        let metrics = retrieval_metrics(&[ranking(&["a", "a", "a", "b"], &["b"])]);
        close(metrics.mrr, 0.5);
    }

    #[test]
    fn nothing_relevant_and_no_query_give_no_figures() {
        for rankings in [vec![], vec![ranking(&["a"], &[])]] {
            let metrics = retrieval_metrics(&rankings);
            assert_eq!(metrics, RetrievalMetrics::default());
            assert!(serde_json::to_string(&metrics).unwrap().contains("\"mrr\":null"));
        }
    }

    #[test]
    fn a_perfect_search_scores_one_everywhere() {
        let metrics = retrieval_metrics(&[ranking(&["a", "b"], &["a"]), ranking(&["b"], &["b"])]);
        for value in [metrics.hit_at_1, metrics.recall_at_1, metrics.recall_at_5, metrics.mrr, metrics.ndcg_at_10] {
            close(value, 1.0);
        }
    }

    proptest! {
        #[test]
        fn figures_are_ordered_and_bounded(
            queries in prop::collection::vec(
                (prop::collection::vec(0u8..30, 0..20), prop::collection::vec(0u8..30, 0..6)), 0..8)
        ) {
            let ids = |numbers: &[u8]| numbers.iter().map(u8::to_string).collect::<Vec<_>>();
            let rankings: Vec<Ranking> = queries
                .iter()
                .map(|(ranked, relevant)| Ranking { query: String::new(), ranked: ids(ranked), relevant: ids(relevant) })
                .collect();
            let metrics = retrieval_metrics(&rankings);
            prop_assert!(metrics.recall_at_1 <= metrics.recall_at_5);
            prop_assert!(metrics.recall_at_5 <= metrics.recall_at_10);
            prop_assert!(metrics.recall_at_1 <= metrics.hit_at_1);
            prop_assert!(metrics.hit_at_1 <= metrics.mrr);
            for value in [metrics.hit_at_1, metrics.recall_at_10, metrics.mrr, metrics.ndcg_at_10].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&value));
            }
            for interval in metrics.intervals.values() {
                prop_assert!(interval.low <= interval.high);
            }
        }
    }
}
