//! Here is the probability of each level of a scale, say which one to decide on.

use super::OutOfFold;
use crate::taxonomy::Rule;

/// Steps in which the weight of a level is looked for, as natural logarithms.
const STEP: f32 = 0.1;
const STEPS: i32 = 25;
/// Rounds over all levels.
const ROUNDS: usize = 6;
/// Macro-F1 that a weight of e or 1/e must at least bring: small gains on held-out tickets are chance.
const PRICE: f64 = 0.005;

/// The level to decide on; `weights` are those of [`weights_for_macro_f1`].
pub(super) fn choose(rule: Rule, probabilities: &[f32], weights: &[f32]) -> usize {
    let score = |level: usize| match rule {
        Rule::Likeliest => probabilities[level],
        Rule::LeastCost => {
            let cost = |(other, p): (usize, &f32)| p * (level.abs_diff(other) as f32).powi(2);
            -probabilities.iter().enumerate().map(cost).sum::<f32>()
        }
        Rule::Balanced => probabilities[level] * weights.get(level).copied().unwrap_or(1.0),
    };
    (0..probabilities.len())
        .reduce(|best, level| if score(level).total_cmp(&score(best)).is_gt() { level } else { best })
        .unwrap_or(0)
}

/// One weight per level such that the level with the greatest weighted probability has the best macro-F1 on held-out
/// tickets: coordinate ascent from no weights, each level in turn.
pub(super) fn weights_for_macro_f1(held_out: &[OutOfFold], n_levels: usize) -> Vec<f32> {
    let mut logs = vec![0.0f32; n_levels];
    let value = |logs: &[f32]| {
        let weights: Vec<f32> = logs.iter().map(|log| log.exp()).collect();
        let price: f64 = logs.iter().map(|log| PRICE * f64::from(log.abs())).sum();
        macro_f1(held_out, n_levels, &weights) - price
    };
    let mut best = value(&logs);
    for _ in 0..ROUNDS {
        let before = best;
        for level in 0..n_levels {
            let former = logs[level];
            let mut at = former;
            for step in -STEPS..=STEPS {
                logs[level] = step as f32 * STEP;
                let found = value(&logs);
                if found > best {
                    best = found;
                    at = logs[level];
                }
            }
            logs[level] = at;
        }
        if best <= before {
            break;
        }
    }
    logs.iter().map(|log| log.exp()).collect()
}

/// Mean F1 of the levels that occur.
fn macro_f1(held_out: &[OutOfFold], n_levels: usize, weights: &[f32]) -> f64 {
    let (mut right, mut occurrences) = (vec![0usize; n_levels], vec![0usize; n_levels]);
    for row in held_out.iter().filter(|row| row.levels.len() == n_levels) {
        let level = choose(Rule::Balanced, &row.levels, weights);
        occurrences[level] += 1;
        occurrences[row.truth as usize] += 1;
        right[level] += usize::from(level == row.truth as usize);
    }
    let scores: Vec<f64> = right
        .iter()
        .zip(&occurrences)
        .filter(|(_, occurrences)| **occurrences > 0)
        .map(|(&right, &occurrences)| 2.0 * right as f64 / occurrences as f64)
        .collect();
    scores.iter().sum::<f64>() / scores.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_differ_where_probabilities_are_spread() {
        let spread = [0.4, 0.1, 0.15, 0.35];
        assert_eq!(choose(Rule::Likeliest, &spread, &[]), 0);
        // Expected squared distances: 3.85, 1.95, 2.05, 4.15.
        assert_eq!(choose(Rule::LeastCost, &spread, &[]), 1);
        assert_eq!(choose(Rule::Balanced, &spread, &[1.0, 1.0, 5.0, 1.0]), 2);
        assert_eq!(choose(Rule::Balanced, &spread, &[]), 0);
        assert_eq!(choose(Rule::Likeliest, &[], &[]), 0);
    }

    #[test]
    fn weights_raise_rare_levels_that_are_seen_but_outvoted() {
        let row = |truth: u32, levels: [f32; 3]| OutOfFold {
            ticket: String::new(),
            fold: 0,
            truth,
            label: 1,
            confidence: levels[1],
            levels: levels.to_vec(),
        };
        let mut rows = vec![row(1, [0.05, 0.9, 0.05]); 40];
        rows.extend(vec![row(2, [0.05, 0.6, 0.35]); 8]);
        rows.extend(vec![row(1, [0.2, 0.6, 0.2]); 10]);
        let weights = weights_for_macro_f1(&rows, 3);
        assert!(weights[2] / weights[1] > 1.7, "{weights:?}");
        assert!(macro_f1(&rows, 3, &weights) > macro_f1(&rows, 3, &[1.0; 3]) + 0.3);
        assert_eq!(weights_for_macro_f1(&[], 2), [1.0, 1.0]);
    }
}
