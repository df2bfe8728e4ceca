//! Here are scores of rows that a model did not see, give me how far they may be trusted: a temperature, and the
//! confidence from which a precision can be promised.

/// Range in which a temperature factor is looked for.
const SMALLEST_FACTOR: f64 = 0.02;
const LARGEST_FACTOR: f64 = 50.0;
/// A bound may be wrong this often, on one side.
const RISK: f64 = 0.2;

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
    // The loss is convex in a: halve the range in which the slope changes its sign, on a logarithmic scale.
    let (mut low, mut high) = (SMALLEST_FACTOR.ln(), LARGEST_FACTOR.ln());
    if scored.rows.is_empty() {
        return 1.0;
    }
    for _ in 0..24 {
        let middle = 0.5 * (low + high);
        if slope(scored, middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (0.5 * (low + high)).exp() as f32
}

/// How much of a target is spread over all labels.
pub(super) fn softening(n_rows: usize) -> f64 {
    1.0 / (n_rows as f64 + 2.0)
}

/// Slope of the softened loss in the factor.
fn slope(scored: Scored<'_>, factor: f64) -> f64 {
    let soft = softening(scored.rows.len());
    let mut sum = 0.0;
    for &row in scored.rows {
        let scores = &scored.scores[row as usize * scored.n_labels..][..scored.n_labels];
        let best = scores.iter().fold(f32::NEG_INFINITY, |best, &score| score.max(best));
        let (mut total, mut weighed, mut plain) = (0.0f64, 0.0f64, 0.0f64);
        for &score in scores {
            let below = f64::from(score - best);
            let weight = (factor * below).exp();
            total += weight;
            weighed += weight * below;
            plain += below;
        }
        let right = f64::from(scores[scored.labels[row as usize] as usize] - best);
        sum += weighed / total - (1.0 - soft) * right - soft * plain / scored.n_labels as f64;
    }
    sum
}

/// The lowest confidence c such that predictions at c or above are right at least as often as `precision`, or nothing.
///
/// `predictions` are (confidence, right) by falling confidence. "Right" is judged by the one-sided 80 % Clopper-Pearson
/// bound, so that few lucky predictions do not make a promise.
pub(super) fn lowest_confidence(predictions: &[(f32, bool)], precision: f64) -> Option<f32> {
    let mut right = predictions.iter().filter(|(_, right)| *right).count();
    for n in (1..=predictions.len()).rev() {
        let (confidence, last_is_right) = predictions[n - 1];
        // Equal confidences stand or fall together.
        let is_boundary = predictions.get(n).is_none_or(|&(next, _)| next < confidence);
        if is_boundary && bound_reaches(right, n, precision) {
            return Some(confidence);
        }
        right -= usize::from(last_is_right);
    }
    None
}

/// Whether the lower bound of `right` out of `n` is at least `precision`.
fn bound_reaches(right: usize, n: usize, precision: f64) -> bool {
    // The bound lies below the share itself, which is cheaper to look at.
    if precision <= 0.0 {
        return true;
    }
    if (right as f64) < precision * n as f64 || precision >= 1.0 {
        return false;
    }
    // The bound b solves I_b(right, n − right + 1) = risk, and I rises with b.
    incomplete_beta(right as f64, (n - right + 1) as f64, precision) <= RISK
}

/// The regularised incomplete beta function I_x(a, b) for a, b > 0 and x in 0..1, by its continued fraction (DLMF
/// 8.17.22) with Lentz's method.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
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
