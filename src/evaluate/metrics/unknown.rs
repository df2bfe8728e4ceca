//! Here is how strange tickets with and without a label of the field look, give me how well they are told apart.
//!
//! What is detected ("positive") is the ticket that belongs to no label; conventions are those of scikit-learn.

use serde::{Deserialize, Serialize};

use crate::evaluate::FieldResult;
use crate::evaluate::interval::{Interval, bootstrap, mean, round};

/// Start of the bootstrap's random numbers.
const SEED: u64 = 20_260_301;
/// Share of unknown tickets that has to be flagged for `fpr_at_95`.
const MOST_UNKNOWN: f64 = 0.95;

/// How well tickets that belong to no label are told apart by their novelty. Shares lie between 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnknownMetrics {
    /// Tickets with a label of the field.
    pub n_known: usize,
    /// Tickets that belong to none.
    pub n_unknown: usize,
    /// Chance that an unknown ticket looks stranger than a known one, ties counting half: area under the ROC curve.
    /// Absent when either kind is missing, as for a field without trained heads.
    pub auroc: Option<f64>,
    /// 95 % bootstrap interval of `auroc`.
    pub auroc_interval: Option<Interval>,
    /// Average precision: precision at each share of unknown tickets found, weighted by what that step adds.
    pub aupr: Option<f64>,
    /// Share of known tickets that is flagged when 95 % of the unknown ones are; lower is better.
    pub fpr_at_95: Option<f64>,
    /// Share of known tickets that the service itself flags as far from its training data.
    pub flagged_known: Option<f64>,
    /// Share of unknown tickets that it flags.
    pub flagged_unknown: Option<f64>,
}

/// One ticket; a sorted list of them has the strangest first.
#[derive(Clone, Copy)]
struct Seen {
    novelty: f32,
    is_unknown: bool,
}

/// None when there was no unknown ticket.
pub(super) fn unknown_metrics(result: &FieldResult) -> Option<UnknownMetrics> {
    if result.unknown.is_empty() {
        return None;
    }
    let known = result.rows.iter().map(|row| (row.novelty, false));
    let unknown = result.unknown.iter().map(|stranger| (stranger.novelty, true));
    let mut seen: Vec<Seen> = known
        .chain(unknown)
        .filter_map(|(novelty, is_unknown)| Some(Seen { novelty: novelty.filter(|n| n.is_finite())?, is_unknown }))
        .collect();
    seen.sort_by(|a, b| b.novelty.total_cmp(&a.novelty).then(a.is_unknown.cmp(&b.is_unknown)));
    let flagged_known = result.rows.iter().filter(|row| row.far_from_training).count();
    let flagged_unknown = result.unknown.iter().filter(|stranger| stranger.far_from_training).count();
    let interval = bootstrap(seen.len(), SEED, |picks| {
        let mut weights = vec![0; seen.len()];
        for pick in picks {
            weights[*pick] += 1;
        }
        auroc(&seen, &weights)
    });
    let once = vec![1; seen.len()];
    Some(UnknownMetrics {
        n_known: result.rows.len(),
        n_unknown: result.unknown.len(),
        auroc: auroc(&seen, &once).map(round),
        auroc_interval: interval,
        aupr: average_precision(&seen).map(round),
        fpr_at_95: false_positive_rate(&seen).map(round),
        flagged_known: mean(flagged_known as f64, result.rows.len()),
        flagged_unknown: mean(flagged_unknown as f64, result.unknown.len()),
    })
}

/// Tickets of equal novelty: (known, unknown), the strangest first, each counted as often as its weight says.
fn steps(seen: &[Seen], weights: &[usize]) -> Vec<(usize, usize)> {
    let mut steps: Vec<(usize, usize)> = Vec::new();
    let mut last: Option<f32> = None;
    for (seen, weight) in seen.iter().zip(weights) {
        if last != Some(seen.novelty) {
            steps.push((0, 0));
            last = Some(seen.novelty);
        }
        if let Some(step) = steps.last_mut() {
            if seen.is_unknown { step.1 += weight } else { step.0 += weight }
        }
    }
    steps
}

/// Rank statistic of Mann and Whitney, divided by the number of pairs.
fn auroc(seen: &[Seen], weights: &[usize]) -> Option<f64> {
    let steps = steps(seen, weights);
    let n_known: usize = steps.iter().map(|step| step.0).sum();
    let n_unknown: usize = steps.iter().map(|step| step.1).sum();
    if n_known == 0 || n_unknown == 0 {
        return None;
    }
    let mut less_strange = n_known;
    let mut won = 0.0;
    for (known, unknown) in steps {
        less_strange -= known;
        won += unknown as f64 * (less_strange as f64 + known as f64 / 2.0);
    }
    Some(won / (n_known as f64 * n_unknown as f64))
}

fn average_precision(seen: &[Seen]) -> Option<f64> {
    let steps = steps(seen, &vec![1; seen.len()]);
    let n_unknown: usize = steps.iter().map(|step| step.1).sum();
    if n_unknown == 0 || n_unknown == seen.len() {
        return None;
    }
    let (mut flagged, mut found, mut sum) = (0, 0, 0.0);
    for (known, unknown) in steps {
        flagged += known + unknown;
        found += unknown;
        sum += unknown as f64 * found as f64 / flagged as f64;
    }
    Some(sum / n_unknown as f64)
}

/// At the highest novelty that flags 95 % of the unknown tickets.
fn false_positive_rate(seen: &[Seen]) -> Option<f64> {
    let steps = steps(seen, &vec![1; seen.len()]);
    let n_known: usize = steps.iter().map(|step| step.0).sum();
    let n_unknown: usize = steps.iter().map(|step| step.1).sum();
    if n_known == 0 || n_unknown == 0 {
        return None;
    }
    let (mut flagged, mut found) = (0, 0);
    for (known, unknown) in steps {
        flagged += known;
        found += unknown;
        if found as f64 >= MOST_UNKNOWN * n_unknown as f64 {
            break;
        }
    }
    Some(flagged as f64 / n_known as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::{Scored, Stranger};

    fn result(known: &[f32], unknown: &[f32]) -> FieldResult {
        let known = known.iter().map(|novelty| Scored {
            novelty: Some(*novelty),
            far_from_training: *novelty > 2.0,
            ..Scored::default()
        });
        let unknown =
            unknown.iter().map(|novelty| Stranger { novelty: Some(*novelty), far_from_training: *novelty > 2.0 });
        FieldResult {
            field: "category".to_owned(),
            labels: Vec::new(),
            ordinal: false,
            calibrated: true,
            rows: known.collect(),
            unknown: unknown.collect(),
        }
    }

    #[test]
    fn figures_by_hand() {
        // Pairs won by the unknown: 3.0 wins 4; 1.0 wins 2 and ties 1 (2.5); 0.5 wins 1 and ties 1 (1.5): 8 of 12.
        let metrics = unknown_metrics(&result(&[0.0, 0.5, 1.0, 2.5], &[3.0, 1.0, 0.5])).unwrap();
        assert_eq!((metrics.n_known, metrics.n_unknown), (4, 3));
        assert_eq!(metrics.auroc, Some(round(8.0 / 12.0)));
        // (1/1 + 2/4 + 3/6) / 3
        assert_eq!(metrics.aupr, Some(round((1.0 + 0.5 + 0.5) / 3.0)));
        // All three unknown tickets are flagged from 0.5 on, and with them three of four known ones.
        assert_eq!(metrics.fpr_at_95, Some(0.75));
        assert_eq!((metrics.flagged_known, metrics.flagged_unknown), (Some(0.25), Some(round(1.0 / 3.0))));
        let interval = metrics.auroc_interval.unwrap();
        assert!(interval.low < 0.6 && interval.high > 0.9, "{interval:?}");
    }

    #[test]
    fn what_is_perfectly_apart_and_what_is_all_equal() {
        let apart = unknown_metrics(&result(&[0.0, 0.1], &[5.0, 6.0])).unwrap();
        assert_eq!((apart.auroc, apart.aupr, apart.fpr_at_95), (Some(1.0), Some(1.0), Some(0.0)));
        let equal = unknown_metrics(&result(&[1.0; 3], &[1.0])).unwrap();
        assert_eq!((equal.auroc, equal.aupr, equal.fpr_at_95), (Some(0.5), Some(0.25), Some(1.0)));
    }

    #[test]
    fn without_a_measure_of_novelty_there_is_no_figure() {
        assert_eq!(unknown_metrics(&result(&[1.0], &[])), None);
        let mut none = result(&[f32::NAN], &[]);
        none.unknown.push(Stranger::default());
        let metrics = unknown_metrics(&none).unwrap();
        assert_eq!((metrics.auroc, metrics.aupr, metrics.fpr_at_95, metrics.n_unknown), (None, None, None, 1));
        assert_eq!(unknown_metrics(&result(&[], &[1.0])).unwrap().flagged_known, None);
    }
}
