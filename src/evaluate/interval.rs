//! How far a figure may be off by chance: Wilson's interval for shares, the bootstrap for everything else.

use serde::{Deserialize, Serialize};

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

/// One-sided lower bound of a share, 95 %, when `hits` of `n` were seen (Clopper and Pearson 1934): a true share below it
/// would show so many hits in fewer than 5 of 100 such counts. 0 without hits.
pub(super) fn lowest_share(hits: usize, n: usize) -> f64 {
    const RISK: f64 = 0.05;
    let hits = hits.min(n);
    if hits == 0 {
        return 0.0;
    }
    // The chance of at least `hits` rises with the share; 50 halvings are finer than any figure that is shown.
    let (mut low, mut high) = (0.0, hits as f64 / n as f64);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if at_least(hits, n, middle) < RISK {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Chance of `hits` or more in `n` draws that each hit with probability `share`, which lies between 0 and 1.
fn at_least(hits: usize, n: usize, share: f64) -> f64 {
    let odds = (share / (1.0 - share)).ln();
    // In logarithms, because (1 - share)^n is no number for large n.
    let mut term = n as f64 * (1.0 - share).ln();
    let mut below = 0.0;
    for k in 0..hits {
        below += term.exp();
        term += ((n - k) as f64 / (k + 1) as f64).ln() + odds;
    }
    1.0 - below
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

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine.
pub(super) struct Random(u64);

impl Random {
    /// The same numbers for the same seed.
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, by multiplication (Lemire 2019); its bias of n / 2^64 does not matter here.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
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
    fn lowest_share_agrees_with_published_values() {
        // scipy.stats.beta.ppf(0.05, k, n - k + 1)
        for (k, n, low) in [(1, 2, 0.025_321), (5, 5, 0.549_280), (10, 20, 0.301_954), (0, 9, 0.0)] {
            assert!((lowest_share(k, n) - low).abs() < 2e-6, "{k}/{n}: {}", lowest_share(k, n));
        }
        let many = lowest_share(2500, 5000);
        assert!((many - (0.5 - 1.645 * (0.25f64 / 5000.0).sqrt())).abs() < 5e-4, "{many}");
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

    #[test]
    fn random_numbers_follow_the_reference() {
        // First outputs of SplitMix64 for seed 1234567: 6457827717110365317, 3203168211198807973.
        let mut random = Random::new(1_234_567);
        let top_of = |value: u64| ((u128::from(value) * 1_000_000) >> 64) as usize;
        assert_eq!(random.below(1_000_000), top_of(6_457_827_717_110_365_317));
        assert_eq!(random.below(1_000_000), top_of(3_203_168_211_198_807_973));
    }
}
