//! Here are confidences and what was right, give me how far the confidences can be believed.
//!
//! Everywhere: confidences in falling order, and `right` in the same order.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::classify::Random;
use crate::evaluate::interval::{Interval, mean, wilson};

/// Bins of the reliability curve and of the expected calibration error.
const RELIABILITY_BINS: usize = 15;
/// Bars of the histogram of confidences, each 0.05 wide.
const HISTOGRAM_BARS: usize = 20;
/// Draws behind the calibration error that chance alone would give.
const CHANCE_DRAWS: usize = 200;
/// Start of those draws: a report of the same decisions is the same report.
const CHANCE_SEED: u64 = 20_260_215;

/// One bin of the reliability curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean confidence.
    pub confidence: f64,
    /// Share that is right.
    pub accuracy: f64,
    /// Tickets.
    pub n: usize,
    /// 95 % Wilson interval of `accuracy`.
    pub interval: Interval,
}

/// End of a stretch of about `rank` rows that does not part equal confidences.
pub(super) fn after_equals(confidences: &[f64], rank: usize) -> usize {
    let Some(last) = rank.checked_sub(1).and_then(|last| confidences.get(last)) else { return rank };
    rank + confidences.iter().skip(rank).take_while(|confidence| *confidence == last).count()
}

/// Up to 15 bins of equal mass, the most confident first.
fn bins(confidences: &[f64]) -> Vec<Range<usize>> {
    let mut bins = Vec::with_capacity(RELIABILITY_BINS);
    let mut start = 0;
    for bin in 1..=RELIABILITY_BINS {
        let end = after_equals(confidences, bin * confidences.len() / RELIABILITY_BINS);
        if end > start {
            bins.push(start..end);
            start = end;
        }
    }
    bins
}

pub(super) fn reliability_bins(confidences: &[f64], right: &[bool]) -> Vec<ReliabilityBin> {
    let of_bin = |bin: Range<usize>| {
        let n = bin.len();
        let n_right = right.get(bin.clone())?.iter().filter(|right| **right).count();
        let confidence = mean(confidences.get(bin)?.iter().sum(), n)?;
        let accuracy = mean(n_right as f64, n)?;
        Some(ReliabilityBin { confidence, accuracy, n, interval: wilson(accuracy, n)? })
    };
    bins(confidences).into_iter().rev().filter_map(of_bin).collect()
}

/// Mean of |accuracy - mean confidence| over bins of equal mass, weighted by tickets (Naeini et al. 2015, with bins of
/// equal mass in place of equal width).
pub(in crate::evaluate) fn calibration_error(confidences: &[f64], right: &[bool]) -> Option<f64> {
    let of_bin = |bin: Range<usize>| {
        let gaps = confidences.iter().zip(right).skip(bin.start).take(bin.len());
        gaps.map(|(confidence, right)| f64::from(u8::from(*right)) - confidence).sum::<f64>().abs()
    };
    mean(bins(confidences).into_iter().map(of_bin).sum(), confidences.len())
}

/// The calibration error to expect of a model whose every confidence is exact: with few tickets a bin, its share of
/// right answers misses the confidence by chance. Mean over 200 draws in which each ticket is right with its confidence.
pub(super) fn calibration_error_by_chance(confidences: &[f64]) -> Option<f64> {
    if confidences.is_empty() {
        return None;
    }
    let bins = bins(confidences);
    let mut random = Random::new(CHANCE_SEED);
    let mut sum = 0.0;
    for _ in 0..CHANCE_DRAWS {
        for bin in &bins {
            let of_bin = confidences.get(bin.clone()).unwrap_or_default();
            let gap = |confidence: &f64| f64::from(u8::from(random.unit() < *confidence)) - confidence;
            sum += of_bin.iter().map(gap).sum::<f64>().abs();
        }
    }
    mean(sum / CHANCE_DRAWS as f64, confidences.len())
}

pub(super) fn histogram(confidences: &[f64]) -> Vec<usize> {
    let mut bars = vec![0; HISTOGRAM_BARS];
    for confidence in confidences {
        let bar = (confidence * HISTOGRAM_BARS as f64) as usize;
        bars[bar.min(HISTOGRAM_BARS - 1)] += 1;
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_alone_gives_the_error_that_theory_says() {
        // 15 bins of 40 tickets at about 0.8: mean |share - 0.8| = sqrt(2 / pi) * sqrt(0.8 * 0.2 / 40) = 0.0505.
        let confidences: Vec<f64> = (0..600).map(|i| 0.8 - f64::from(i) * 1e-9).collect();
        let by_chance = calibration_error_by_chance(&confidences).unwrap();
        assert!((by_chance - 0.0505).abs() < 0.003, "{by_chance}");
        assert_eq!(Some(by_chance), calibration_error_by_chance(&confidences));
        assert_eq!(calibration_error_by_chance(&[1.0; 30]), Some(0.0));
        assert_eq!(calibration_error_by_chance(&[]), None);
    }

    #[test]
    fn more_tickets_leave_less_to_chance() {
        let by_chance = |n: u32| {
            calibration_error_by_chance(&(0..n).map(|i| 1.0 - f64::from(i) / f64::from(n)).collect::<Vec<_>>())
        };
        assert!(by_chance(150) > by_chance(1500) && by_chance(1500) > by_chance(15_000));
    }
}
