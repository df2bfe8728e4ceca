//! Here are scores of rows that a model did not see, give me how far they may be trusted: a temperature, and the
//! confidence from which a precision can be promised.

use rayon::prelude::*;

/// Range in which a temperature factor is looked for.
const SMALLEST_FACTOR: f64 = 0.02;
const LARGEST_FACTOR: f64 = 50.0;
/// Rows that are summed in one piece of work.
const PART: usize = 512;
/// A bound may be wrong this often, on one side.
pub(super) const RISK: f64 = 0.2;

/// Scores `[rows, labels]` with the right label of each row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scored<'a> {
    /// `[rows, labels]`.
    pub scores: &'a [f32],
    /// The right label by row.
    pub labels: &'a [u32],
    /// Which rows count.
    pub rows: &'a [u32],
    /// Labels.
    pub n_labels: usize,
}

/// The factor a for which softmax(a × scores) has the least mean −log p (Guo et al., "On Calibration of Modern Neural
/// Networks", 2017; a is one over their temperature).
///
/// The targets are a little softer than 0 and 1 (Platt, "Probabilistic Outputs for Support Vector Machines", 1999), so
/// that a handful of rows, all of them right, does not end in certainty.
pub(super) fn temperature_factor(scored: Scored<'_>) -> f32 {
    if scored.rows.is_empty() {
        return 1.0;
    }
    // The loss is convex in a: Newton's steps, kept inside the range in which the slope changes its sign.
    let (mut low, mut high) = (SMALLEST_FACTOR, LARGEST_FACTOR);
    let mut factor = 1.0;
    for _ in 0..40 {
        let (slope, curvature) = slope_and_curvature(scored, factor);
        if slope < 0.0 {
            low = factor
        } else {
            high = factor
        }
        let newton = factor - slope / curvature;
        let next = if newton > low && newton < high { newton } else { (low * high).sqrt() };
        let is_done = (next / factor - 1.0).abs() < 1e-4;
        factor = next;
        if is_done {
            break;
        }
    }
    factor as f32
}

/// Mean −log p of the right labels with softmax(factor × scores).
pub(super) fn log_loss(scored: Scored<'_>, factor: f32) -> f64 {
    let of_row = |&row: &u32| {
        let scores = &scored.scores[row as usize * scored.n_labels..][..scored.n_labels];
        let right = scores[scored.labels[row as usize] as usize];
        f64::from(scores.iter().map(|score| (factor * (score - right)).exp()).sum::<f32>()).ln()
    };
    scored.rows.iter().map(of_row).sum::<f64>() / scored.rows.len().max(1) as f64
}

/// How much of a target is spread over all labels.
pub(super) fn softening(n_rows: usize) -> f64 {
    1.0 / (n_rows as f64 + 2.0)
}

/// First and second derivative of the softened loss in the factor, summed over the rows in a fixed order.
fn slope_and_curvature(scored: Scored<'_>, factor: f64) -> (f64, f64) {
    let soft = softening(scored.rows.len());
    let of_row = |&row: &u32| {
        let scores = &scored.scores[row as usize * scored.n_labels..][..scored.n_labels];
        let best = scores.iter().fold(f32::NEG_INFINITY, |best, &score| score.max(best));
        let (mut total, mut first, mut second, mut plain) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
        for &score in scores {
            let below = score - best;
            let weight = f64::from((factor as f32 * below).exp());
            let below = f64::from(below);
            total += weight;
            first += weight * below;
            second += weight * below * below;
            plain += below;
        }
        let mean = first / total;
        let right = f64::from(scores[scored.labels[row as usize] as usize] - best);
        (mean - (1.0 - soft) * right - soft * plain / scored.n_labels as f64, second / total - mean * mean)
    };
    let parts: Vec<(f64, f64)> = scored
        .rows
        .par_chunks(PART)
        .map(|rows| rows.iter().map(of_row).fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1)))
        .collect();
    parts.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
}

/// The lowest confidence c such that predictions at c or above are right at least as often as `precision`, or nothing.
///
/// `predictions` are (confidence, right) by falling confidence. "Right" is judged by the one-sided Clopper-Pearson bound
/// that is wrong with probability `risk`, so that few lucky predictions do not make a promise.
pub(super) fn lowest_confidence(predictions: &[(f32, bool)], precision: f64, risk: f64) -> Option<f32> {
    let mut right = predictions.iter().filter(|(_, right)| *right).count();
    for n in (1..=predictions.len()).rev() {
        let (confidence, last_is_right) = predictions[n - 1];
        // Equal confidences stand or fall together.
        let is_boundary = predictions.get(n).is_none_or(|&(next, _)| next < confidence);
        if is_boundary && bound_reaches(right, n, precision, risk) {
            return Some(confidence);
        }
        right -= usize::from(last_is_right);
    }
    None
}

/// One-sided lower bound of a share of which `right` of `n` were seen (Clopper and Pearson 1934): a true share below it
/// would show so many with a probability of less than `risk`, which lies between 0 and 1. 0 without any.
pub fn lower_bound(right: usize, n: usize, risk: f64) -> f64 {
    let right = right.min(n);
    let (mut low, mut high) = (0.0, right as f64 / n.max(1) as f64);
    // 50 halvings are finer than any figure that is shown.
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if bound_reaches(right, n, middle, risk) { low = middle } else { high = middle }
    }
    low
}

/// Whether the lower bound of `right` out of `n` is at least `precision`.
pub(super) fn bound_reaches(right: usize, n: usize, precision: f64, risk: f64) -> bool {
    if precision <= 0.0 {
        return true;
    }
    // The bound lies below the share itself, which is cheaper to look at.
    if (right as f64) < precision * n as f64 || precision >= 1.0 {
        return false;
    }
    // The bound b solves I_b(right, n − right + 1) = risk, and I rises with b.
    incomplete_beta(right as f64, (n - right + 1) as f64, precision) <= risk
}

/// The regularised incomplete beta function I_x(a, b) for a, b > 0 and x in 0..1, by its continued fraction (DLMF
/// 8.17.22) with Lentz's method.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0), TINY);
    let (mut c, mut fraction) = (1.0, d);
    for m in 1..10_000 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut factor = 1.0;
        for term in [even, odd] {
            d = 1.0 / nonzero(1.0 + term * d, TINY);
            c = nonzero(1.0 + term / c, TINY);
            factor = c * d;
            fraction *= factor;
        }
        if (factor - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (front.exp() / a * fraction).clamp(0.0, 1.0)
}

fn nonzero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// ln Γ(x) for x > 0: Stirling's series (DLMF 5.11.1) after lifting x above 10.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut lifted) = (x, 0.0);
    while x < 10.0 {
        lifted += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = (1.0 / 12.0 - inverse * (1.0 / 360.0 - inverse * (1.0 / 1260.0 - inverse * (1.0 / 1680.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - lifted
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    #[test]
    fn incomplete_beta_equals_scipy() {
        for (a, b, x, expected) in [
            (2.0, 3.0, 0.4, 0.5248),
            (95.0, 6.0, 0.9, 0.057_576_886_487_033_89),
            (1.0, 1.0, 0.3, 0.3),
            (950.0, 51.0, 0.95, 0.537_529_040_801_425),
            (9500.0, 501.0, 0.945, 0.014_027_316_374_935_796),
            (0.5, 0.5, 0.2, 0.295_167_235_300_866_5),
            (1.0, 10_001.0, 0.0001, 0.632_175_739_671_713_4),
        ] {
            let found = incomplete_beta(a, b, x);
            assert!((found - expected).abs() < 1e-10, "I_{x}({a}, {b}): expected {expected}, got {found}");
        }
    }

    #[test]
    fn bound_is_that_of_clopper_and_pearson() {
        // scipy.stats.beta.ppf(0.2, right, n - right + 1)
        for (right, n, bound) in
            [(50, 50, 0.968_323), (19, 20, 0.857_567), (97, 100, 0.945_541), (480, 500, 0.950_779), (1, 3, 0.071_682)]
        {
            assert!(bound_reaches(right, n, bound - 1e-6, RISK), "{right} of {n}");
            assert!(!bound_reaches(right, n, bound + 1e-5, RISK), "{right} of {n}");
        }
        assert!(!bound_reaches(50, 50, 1.0, RISK));
    }

    #[test]
    fn lower_bound_agrees_with_scipy() {
        // scipy.stats.beta.ppf(0.05, k, n - k + 1)
        for (k, n, low) in [(1, 2, 0.025_321), (5, 5, 0.549_280), (10, 20, 0.301_954), (0, 9, 0.0)] {
            assert!((lower_bound(k, n, 0.05) - low).abs() < 2e-6, "{k}/{n}: {}", lower_bound(k, n, 0.05));
        }
        let many = lower_bound(2500, 5000, 0.05);
        assert!((many - (0.5 - 1.645 * (0.25f64 / 5000.0).sqrt())).abs() < 5e-4, "{many}");
    }

    /// Confidences that mean what they say.
    fn honest(n: usize) -> Vec<(f32, bool)> {
        let mut random = Random::new(5);
        let mut share = || random.below(1_000_000) as f32 / 1e6;
        let mut predictions: Vec<(f32, bool)> =
            (0..n).map(|_| (0.5 + 0.5 * share(), share())).map(|(c, u)| (c, u < c)).collect();
        predictions.sort_by(|a, b| b.0.total_cmp(&a.0));
        predictions
    }

    #[test]
    fn confidence_rises_with_the_target_until_none_is_enough() {
        let predictions = honest(2_000);
        let found: Vec<Option<f32>> = [0.5, 0.8, 0.9, 0.95, 0.97, 0.9999]
            .iter()
            .map(|&target| lowest_confidence(&predictions, target, RISK))
            .collect();
        assert!(found[..5].windows(2).all(|pair| pair[0] <= pair[1]), "{found:?}");
        // Confidences from 0.8 on are right in 90 of 100 cases.
        assert!((found[2].unwrap() - 0.8).abs() < 0.04, "{found:?}");
        assert_eq!(found[5], None);
        assert_eq!(lowest_confidence(&[], 0.5, RISK), None);
    }

    #[test]
    fn equal_confidences_are_not_torn_apart() {
        let mut predictions = vec![(0.9, true); 60];
        predictions.extend([(0.9, false); 40]);
        assert_eq!(lowest_confidence(&predictions, 0.95, RISK), None);
        assert_eq!(lowest_confidence(&predictions, 0.5, RISK), Some(0.9));
    }

    #[test]
    fn temperature_lowers_the_log_loss_to_its_minimum() {
        let mut random = Random::new(9);
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..600 {
            let label = random.below(3) as u32;
            let row: Vec<f32> =
                (0..3).map(|k| random.below(1000) as f32 / 100.0 + if k == label { 4.0 } else { 0.0 }).collect();
            scores.extend(row);
            labels.push(label);
        }
        let rows: Vec<u32> = (0..600).collect();
        let scored = Scored { scores: &scores, labels: &labels, rows: &rows, n_labels: 3 };
        let factor = temperature_factor(scored);
        assert!(factor < 0.9, "these scores are too sure of themselves: {factor}");
        let least = log_loss(scored, factor);
        assert!(least < log_loss(scored, 1.0) - 0.05);
        assert!(least < log_loss(scored, factor * 1.1) && least < log_loss(scored, factor / 1.1));
    }

    #[test]
    fn a_handful_of_right_answers_is_no_certainty() {
        let (scores, labels, rows) = ([1.0, 0.0, 0.0, 1.0], [0, 1], [0, 1]);
        let factor = temperature_factor(Scored { scores: &scores, labels: &labels, rows: &rows, n_labels: 2 });
        assert!(factor < 5.0, "{factor}");
    }

    #[derive(serde::Deserialize)]
    struct Fixture {
        scores: Vec<Vec<f32>>,
        labels: Vec<u32>,
        temperature_factor: f32,
        confidences: Vec<f32>,
        right: Vec<u8>,
        thresholds: std::collections::BTreeMap<String, Option<f32>>,
        bounds: Vec<(usize, usize, f64)>,
    }

    #[test]
    fn temperature_thresholds_and_bounds_equal_those_of_scipy() {
        let fixture: Fixture = serde_json::from_str(include_str!("../../tests/fixtures/calibration.json")).unwrap();
        let scores: Vec<f32> = fixture.scores.concat();
        let rows: Vec<u32> = (0..fixture.labels.len() as u32).collect();
        let scored = Scored { scores: &scores, labels: &fixture.labels, rows: &rows, n_labels: 4 };
        let factor = temperature_factor(scored);
        assert!((factor / fixture.temperature_factor - 1.0).abs() < 1e-3, "{factor}");
        let mut predictions: Vec<(f32, bool)> = fixture
            .confidences
            .iter()
            .zip(&fixture.right)
            .map(|(&confidence, &right)| (confidence, right == 1))
            .collect();
        predictions.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (precision, expected) in fixture.thresholds {
            let found = lowest_confidence(&predictions, precision.parse().unwrap(), RISK);
            assert_eq!(found, expected, "at {precision}");
        }
        for (right, n, bound) in fixture.bounds {
            assert!(bound_reaches(right, n, bound - 1e-9, RISK) && !bound_reaches(right, n, bound + 1e-9, RISK));
        }
    }
}
