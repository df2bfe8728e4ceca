//! How far a figure may be off by chance: Wilson's interval for shares, the bootstrap for everything else.

use serde::{Deserialize, Serialize};

use crate::classify::Random;

/// Bounds that hold the true value in 95 of 100 such measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

/// Quantile of the normal distribution for a two-sided interval of 95 %.
const Z_95: f64 = 1.959_963_984_540_054;

/// Resamples of a bootstrap: the ends of the interval then scatter by about a tenth of its width.
const RESAMPLES: usize = 500;

/// Wilson's score interval (Wilson 1927) for `mean` of `n` values between 0 and 1; none without values.
///
/// Exact in form for shares. For an average of values inside 0 to 1 it is on the safe side, because their variance is at
/// most `mean * (1 - mean)`.
pub fn wilson(mean: f64, n: usize) -> Option<Interval> {
    if n == 0 || !mean.is_finite() {
        return None;
    }
    let n = n as f64;
    let mean = mean.clamp(0.0, 1.0);
    let z2 = Z_95 * Z_95;
    let middle = (mean + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z_95 / (1.0 + z2 / n) * (mean * (1.0 - mean) / n + z2 / (4.0 * n * n)).sqrt();
    Some(Interval { low: round((middle - half).max(0.0)), high: round((middle + half).min(1.0)) })
}

/// Percentile bootstrap (Efron 1979): `statistic` of `n` picks with replacement, 500 times; the same at each call.
/// Resamples without a value are left out; none when no resample has one.
pub(super) fn bootstrap(n: usize, seed: u64, statistic: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    bootstrap_of(RESAMPLES, n, seed, statistic)
}

/// [`bootstrap`] with a number of resamples of its own.
pub(super) fn bootstrap_of(
    resamples: usize,
    n: usize,
    seed: u64,
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let mut random = Random::new(seed);
    let mut picks = vec![0; n];
    let mut values = Vec::with_capacity(resamples);
    for _ in 0..resamples {
        for pick in &mut picks {
            *pick = random.below(n);
        }
        values.extend(statistic(&picks));
    }
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)? as f64;
    let quantile = |q: f64| values.get((q * last).round() as usize).copied();
    Some(Interval { low: round(quantile(0.025)?), high: round(quantile(0.975)?) })
}

/// Six decimals: finer than any interval, and a committed report changes only when a figure does.
pub(super) fn round(value: f64) -> f64 {
    let rounded = (value * 1e6).round() / 1e6;
    // -0.0 would be printed with its sign.
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// `sum / n`, rounded; none for n = 0 or a value that JSON cannot carry.
pub(super) fn mean(sum: f64, n: usize) -> Option<f64> {
    (n > 0 && sum.is_finite()).then(|| round(sum / n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval_agrees_with_published_values() {
        // statsmodels.stats.proportion.proportion_confint(k, n, method="wilson")
        for (k, n, low, high) in [(81, 263, 0.255_289, 0.366_210), (0, 20, 0.0, 0.161_125), (20, 20, 0.838_875, 1.0)] {
            let interval = wilson(f64::from(k) / f64::from(n), n as usize).unwrap();
            assert!((interval.low - low).abs() < 2e-6, "{k}/{n}: {interval:?}");
            assert!((interval.high - high).abs() < 2e-6, "{k}/{n}: {interval:?}");
        }
        assert_eq!(wilson(0.5, 0), None);
        assert_eq!(wilson(f64::NAN, 3), None);
    }

    #[test]
    fn bootstrap_repeats_itself_and_is_about_as_wide_as_theory_says() {
        let values: Vec<f64> = (0..400).map(|i| if i % 4 == 0 { 0.0 } else { 1.0 }).collect();
        let share = |picks: &[usize]| mean(picks.iter().map(|&i| values[i]).sum(), picks.len());
        let interval = bootstrap(values.len(), 7, share).unwrap();
        assert_eq!(Some(interval), bootstrap(values.len(), 7, share));
        // 0.75 +- 1.96 * sqrt(0.75 * 0.25 / 400) = 0.7076 to 0.7924
        assert!((interval.low - 0.7076).abs() < 0.01, "{interval:?}");
        assert!((interval.high - 0.7924).abs() < 0.01, "{interval:?}");
        assert_eq!(bootstrap(0, 7, share), None);
        assert_eq!(bootstrap(5, 7, |_| None), None);
    }
}
