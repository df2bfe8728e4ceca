//! Here are held-out predictions, give me the confidence from which each label may be decided on, and what a target would
//! bring.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::calibration::{RISK, incomplete_beta, lowest_confidence};

/// Predictions of one label from which on it is looked at alone.
const ENOUGH_FOR_A_LABEL: usize = 200;
/// Predictions of one label from which on it has a threshold of its own in any case: the bound then lies at most 0.6
/// points under a precision of 95 %.
const ENOUGH_FOR_ITS_OWN: usize = 1_000;
/// A bound at even odds is the share itself.
const EVEN: f64 = 0.5;

/// A held-out prediction under some rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Predicted {
    /// The label decided on.
    pub label: u32,
    /// Its probability.
    pub confidence: f32,
    /// Whether it was right.
    pub is_right: bool,
    /// Fold it was held out with.
    pub fold: u32,
}

/// The lowest confidence from which predictions of each of `n_labels` labels are right with `precision` (0 to 1).
///
/// The labels share the lowest confidence whose one-sided 80 % Clopper-Pearson bound reaches the precision. A label with
/// 1,000 predictions has its own. One with at least 200 has its own, and a higher one, when it falls short at the shared
/// confidence by more than chance allows (one-sided binomial test, the risk of 20 % shared out among the labels tested):
/// the confidence from which its own share is right. That it was picked for looking bad makes that share an
/// underestimate, so no bound is taken off again.
pub(super) fn thresholds(predictions: &[Predicted], n_labels: usize, precision: f64) -> Vec<Option<f32>> {
    let mut sorted: Vec<Predicted> = predictions.to_vec();
    sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let pairs: Vec<(f32, bool)> = sorted.iter().map(|row| (row.confidence, row.is_right)).collect();
    let shared = lowest_confidence(&pairs, precision, RISK);
    let mut by_label: Vec<Vec<(f32, bool)>> = vec![Vec::new(); n_labels];
    for row in &sorted {
        if let Some(of_label) = by_label.get_mut(row.label as usize) {
            of_label.push((row.confidence, row.is_right));
        }
    }
    let tested = by_label.iter().filter(|rows| rows.len() >= ENOUGH_FOR_A_LABEL).count().max(1);
    let threshold = |rows: &Vec<(f32, bool)>| {
        if rows.len() >= ENOUGH_FOR_ITS_OWN {
            return lowest_confidence(rows, precision, RISK);
        }
        let shared = shared?;
        if rows.len() < ENOUGH_FOR_A_LABEL {
            return Some(shared);
        }
        let decided = rows.partition_point(|&(confidence, _)| confidence >= shared);
        let right = rows[..decided].iter().filter(|(_, right)| *right).count();
        if chance_of_at_most(right, decided, precision) >= RISK / tested as f64 {
            return Some(shared);
        }
        lowest_confidence(rows, precision, EVEN).map(|own| own.max(shared))
    };
    by_label.iter().map(threshold).collect()
}

/// P(X ≤ `right`) when each of `n` is right with probability `p`.
fn chance_of_at_most(right: usize, n: usize, p: f64) -> f64 {
    if right >= n { 1.0 } else { incomplete_beta((n - right) as f64, (right + 1) as f64, 1.0 - p) }
}

/// What a precision target would bring, judged on held-out tickets that its thresholds were not derived from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Simulation {
    /// The target, 0 to 1.
    pub precision_target: f32,
    /// Held-out tickets.
    pub n: usize,
    /// Share of tickets that would be decided.
    pub automation_rate: f32,
    /// Share of the decided ones that would be right; absent when none would be decided.
    pub precision: Option<f32>,
    /// One-sided 80 % Clopper-Pearson bound of that share.
    pub precision_at_least: Option<f32>,
    /// Labels that would be decided on, most tickets first.
    pub labels: Vec<SimulatedLabel>,
    /// The decided tickets, wrong ones first, then the least sure ones.
    pub tickets: Vec<SimulatedTicket>,
}

/// One label of a [`Simulation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimulatedLabel {
    /// Id of the label.
    pub label: String,
    /// Confidence from which it would be decided on, derived from all held-out tickets.
    pub threshold: Option<f32>,
    /// Tickets for which it was the best label.
    pub predicted: usize,
    /// Tickets that would be decided.
    pub decided: usize,
    /// Share of those that would be right; absent when there are none.
    pub precision: Option<f32>,
}

/// One ticket of a [`Simulation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SimulatedTicket {
    /// Id of the ticket.
    pub ticket: String,
    /// Id of the label it would get.
    pub label: String,
    /// Id of the label it has.
    pub recorded: String,
    /// Confidence of the decision.
    pub confidence: f32,
}

/// Whether each prediction reaches the thresholds derived from the other folds.
pub(super) fn decided_across_folds(predictions: &[Predicted], n_labels: usize, precision: f64) -> Vec<bool> {
    let mut folds: Vec<u32> = predictions.iter().map(|row| row.fold).collect();
    folds.sort_unstable();
    folds.dedup();
    let mut decided = vec![false; predictions.len()];
    for fold in folds {
        let others: Vec<Predicted> = predictions.iter().filter(|row| row.fold != fold).copied().collect();
        let thresholds = thresholds(&others, n_labels, precision);
        for (decided, row) in decided.iter_mut().zip(predictions).filter(|(_, row)| row.fold == fold) {
            let threshold = thresholds.get(row.label as usize).copied().flatten();
            *decided = threshold.is_some_and(|threshold| row.confidence >= threshold);
        }
    }
    decided
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    /// Confidences that mean what they say, except for label 1, which is right `penalty` less often.
    fn predictions(n: usize, penalty: f32) -> Vec<Predicted> {
        let mut random = Random::new(11);
        let mut share = || random.below(1_000_000) as f32 / 1e6;
        (0..n)
            .map(|i| {
                let (label, confidence) = ((i % 3) as u32, 0.5 + 0.5 * share());
                let is_right = share() < confidence - if label == 1 { penalty } else { 0.0 };
                Predicted { label, confidence, is_right, fold: (i % 5) as u32 }
            })
            .collect()
    }

    #[test]
    fn labels_that_keep_the_promise_share_one_threshold() {
        let found = thresholds(&predictions(1_500, 0.0), 4, 0.9);
        assert!(found[0].is_some() && found.iter().all(|threshold| *threshold == found[0]), "{found:?}");
    }

    #[test]
    fn a_label_that_falls_short_is_held_to_more() {
        let rows = predictions(1_500, 0.12);
        let found = thresholds(&rows, 3, 0.9);
        let (shared, own) = (found[0].unwrap(), found[1].unwrap_or(1.0));
        assert!(own > shared && found[2] == Some(shared), "{found:?}");
        let decided: Vec<&Predicted> = rows.iter().filter(|row| row.label == 1 && row.confidence >= own).collect();
        let right = decided.iter().filter(|row| row.is_right).count();
        assert!(right as f64 >= 0.9 * decided.len() as f64, "{right} of {}", decided.len());
    }

    #[test]
    fn a_label_with_many_predictions_has_its_own() {
        let found = thresholds(&predictions(6_000, 0.05), 3, 0.9);
        assert!(found[1] > found[0] && found[0] != found[2], "{found:?}");
    }

    #[test]
    fn chance_agrees_with_scipy() {
        // scipy.stats.binom.cdf(right, n, p)
        for (right, n, p, expected) in
            [(90, 100, 0.95, 0.028_188), (185, 200, 0.95, 0.078_129), (0, 3, 0.5, 0.125), (3, 3, 0.9, 1.0)]
        {
            assert!((chance_of_at_most(right, n, p) - expected).abs() < 1e-5, "{right} of {n} at {p}");
        }
    }

    #[test]
    fn what_is_simulated_is_what_comes() {
        let rows = predictions(3_000, 0.0);
        let decided = decided_across_folds(&rows, 3, 0.9);
        let n = decided.iter().filter(|decided| **decided).count();
        let right = decided.iter().zip(&rows).filter(|(decided, row)| **decided && row.is_right).count();
        // Confidences from 0.8 on are right in 90 of 100 cases, and 0.4 of all confidences are.
        assert!((0.33..0.42).contains(&(n as f64 / 3_000.0)), "{n}");
        assert!((0.88..0.94).contains(&(right as f64 / n as f64)), "{right} of {n}");
    }
}
