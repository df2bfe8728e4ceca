//! Here is what each member says of a ticket, give me one probability per label.
//!
//! softmax(Σ wₘ log pₘ + b): each member gets a temperature of its own and a weight, each label a bias, all of them learnt
//! on rows that the members did not see.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::calibration::{Scored, softening, temperature_factor};
use super::minimise::{Stop, minimise};

/// Members: margins on sparse features, logits on vectors, votes of neighbours.
pub(super) const MEMBERS: usize = 3;
/// Price of a weight's square, and of a bias's square times the number of labels.
const WEIGHT_PRICE: f64 = 0.001;
const BIAS_PRICE: f64 = 0.01;
/// Parts whose gradients are summed apart. Fixed, so that the sum does not depend on the number of threads.
const PARTS: usize = 16;

/// How the members are put together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Stack {
    /// What each member's scores are multiplied by before their softmax.
    factors: [f32; MEMBERS],
    /// What each member's log-probabilities are multiplied by, at least 0.
    weights: [f32; MEMBERS],
    /// `[labels]`.
    biases: Vec<f32>,
}

/// Scores of all members for the same rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberScores<'a> {
    /// By member: `[rows, labels]`.
    pub scores: [&'a [f32]; MEMBERS],
    /// The right label by row.
    pub labels: &'a [u32],
    /// Labels.
    pub n_labels: usize,
}

/// How much is learnt from the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learn {
    /// Temperatures; the weights stay at what suits few rows.
    Temperatures,
    /// A temperature for the member on vectors, which alone decides.
    DenseAlone,
    /// Temperatures, weights and biases.
    All,
}

impl Stack {
    /// The factors and weights that suit when nothing can be learnt. Measured on 150 intents with one and two rows a label
    /// (3,000 other rows, two draws): vectors alone .759 and .812, with .3 for each of the others .761 and .809, so .759
    /// and .819.
    pub(super) fn untaught(n_labels: usize) -> Stack {
        Stack { factors: [3.0, 1.0, 1.3], weights: [0.15, 0.85, 0.15], biases: vec![0.0; n_labels] }
    }

    /// Learns from the given rows of `members`. Labels without examples get no bias: nothing could have been right.
    pub(super) fn fit(members: MemberScores<'_>, rows: &[u32], learn: Learn, has_examples: &[bool]) -> Stack {
        let mut stack = Stack::untaught(members.n_labels);
        if rows.is_empty() {
            return stack;
        }
        for (factor, scores) in stack.factors.iter_mut().zip(members.scores) {
            *factor = temperature_factor(Scored { scores, labels: members.labels, rows, n_labels: members.n_labels });
        }
        match learn {
            Learn::Temperatures => {}
            Learn::DenseAlone => stack.weights = [0.0, 1.0, 0.0],
            Learn::All => stack.fit_weights(members, rows, has_examples),
        }

        let combined: Vec<f32> = rows.iter().flat_map(|&row| stack.combine(members.row(row as usize))).collect();
        let labels: Vec<u32> = rows.iter().map(|&row| members.labels[row as usize]).collect();
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        let scored = Scored { scores: &combined, labels: &labels, rows: &all, n_labels: members.n_labels };
        let factor = temperature_factor(scored);
        stack.weights.iter_mut().chain(&mut stack.biases).for_each(|value| *value *= factor);
        stack
    }

    /// Probability of each label; `scores` by member `[labels]`.
    pub(super) fn probabilities(&self, scores: [&[f32]; MEMBERS]) -> Vec<f32> {
        let mut logits = self.combine(scores);
        softmax(&mut logits);
        logits
    }

    /// Whether it is for so many labels, all numbers finite.
    pub(super) fn is_consistent(&self, labels: usize) -> bool {
        self.biases.len() == labels
            && self.factors.iter().chain(&self.weights).chain(&self.biases).all(|value| value.is_finite())
    }

    fn combine(&self, scores: [&[f32]; MEMBERS]) -> Vec<f32> {
        let mut logits = self.biases.clone();
        for ((scores, factor), weight) in scores.iter().zip(self.factors).zip(self.weights) {
            let normaliser = log_sum_exp(scores, factor);
            for (logit, score) in logits.iter_mut().zip(*scores) {
                *logit += weight * (factor * score - normaliser);
            }
        }
        logits
    }

    /// Weights that would be negative are set to 0, the worst first, and the others learnt again.
    fn fit_weights(&mut self, members: MemberScores<'_>, rows: &[u32], has_examples: &[bool]) {
        let n_labels = members.n_labels;
        let mut logs = vec![0.0f32; rows.len() * MEMBERS * n_labels];
        logs.par_chunks_exact_mut(MEMBERS * n_labels).zip(rows).for_each(|(logs, &row)| {
            let members = members.row(row as usize);
            for ((logs, scores), factor) in logs.chunks_exact_mut(n_labels).zip(members).zip(self.factors) {
                let normaliser = log_sum_exp(scores, factor);
                for (log, score) in logs.iter_mut().zip(scores) {
                    *log = factor * score - normaliser;
                }
            }
        });
        let labels: Vec<u32> = rows.iter().map(|&row| members.labels[row as usize]).collect();
        let mut is_used = [true; MEMBERS];
        loop {
            let mut start = vec![0.0; MEMBERS + n_labels];
            for (weight, used) in start.iter_mut().zip(is_used) {
                *weight = if used { 1.0 / MEMBERS as f64 } else { 0.0 };
            }
            let stop = Stop { steps: 200, gradient: 1e-5, fall: 1e-6 };
            let found = minimise(
                start,
                stop,
                |_| {},
                |at, gradient| {
                    let value = loss_and_gradient(&logs, &labels, n_labels, at, gradient);
                    for (slope, used) in gradient.iter_mut().zip(is_used.iter().chain(has_examples)) {
                        *slope = if *used { *slope } else { 0.0 };
                    }
                    value
                },
            );
            let lowest = (0..MEMBERS).min_by(|&a, &b| found[a].total_cmp(&found[b])).unwrap_or(0);
            if found[lowest] < 0.0 && is_used.iter().filter(|used| **used).count() > 1 {
                is_used[lowest] = false;
                continue;
            }
            for (weight, found) in self.weights.iter_mut().zip(&found) {
                *weight = found.max(0.0) as f32;
            }
            self.biases = found[MEMBERS..].iter().map(|&bias| bias as f32).collect();
            return;
        }
    }
}

impl<'a> MemberScores<'a> {
    /// Scores of row `row` by member.
    pub(super) fn row(&self, row: usize) -> [&'a [f32]; MEMBERS] {
        self.scores.map(|scores| &scores[row * self.n_labels..][..self.n_labels])
    }
}

/// Mean softened −log p with the prices of weights and biases; `logs` are `[rows, members, labels]`.
fn loss_and_gradient(logs: &[f32], labels: &[u32], n_labels: usize, at: &[f64], gradient: &mut [f64]) -> f64 {
    let soft = softening(labels.len());
    let (weights, biases) = at.split_at(MEMBERS);
    let size = labels.len().div_ceil(PARTS).max(1);
    let parts: Vec<(f64, Vec<f64>)> = labels
        .par_chunks(size)
        .zip(logs.par_chunks(size * MEMBERS * n_labels))
        .map(|(labels, logs)| {
            let mut gradient = vec![0.0; at.len()];
            let mut loss = 0.0;
            let mut logits = vec![0.0f64; n_labels];
            for (&label, logs) in labels.iter().zip(logs.chunks_exact(MEMBERS * n_labels)) {
                logits.copy_from_slice(biases);
                for (logs, weight) in logs.chunks_exact(n_labels).zip(weights) {
                    for (logit, &log) in logits.iter_mut().zip(logs) {
                        *logit += weight * f64::from(log);
                    }
                }
                let target = |k: usize| soft / n_labels as f64 + if k == label as usize { 1.0 - soft } else { 0.0 };
                loss -= logits.iter().enumerate().map(|(k, logit)| target(k) * logit).sum::<f64>();
                let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
                let total: f64 = logits.iter().sum();
                loss += most + total.ln();
                for (k, value) in logits.iter_mut().enumerate() {
                    *value = *value / total - target(k);
                }
                let (of_weights, of_biases) = gradient.split_at_mut(MEMBERS);
                for (slope, logs) in of_weights.iter_mut().zip(logs.chunks_exact(n_labels)) {
                    *slope += logs.iter().zip(&logits).map(|(&log, residual)| f64::from(log) * residual).sum::<f64>();
                }
                for (slope, residual) in of_biases.iter_mut().zip(&logits) {
                    *slope += residual;
                }
            }
            (loss, gradient)
        })
        .collect();

    let n = labels.len() as f64;
    gradient.fill(0.0);
    let mut value = 0.0;
    for (loss, part) in parts {
        value += loss / n;
        for (slope, part) in gradient.iter_mut().zip(part) {
            *slope += part / n;
        }
    }
    for (i, (slope, parameter)) in gradient.iter_mut().zip(at).enumerate() {
        let price = if i < MEMBERS { WEIGHT_PRICE } else { BIAS_PRICE / n_labels as f64 };
        value += price * parameter * parameter;
        *slope += 2.0 * price * parameter;
    }
    value
}

/// log Σ exp(factor × score).
fn log_sum_exp(scores: &[f32], factor: f32) -> f32 {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    factor * most + scores.iter().map(|score| (factor * (score - most)).exp()).sum::<f32>().ln()
}

/// Replaces logits by probabilities that sum to 1.
pub(super) fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter_mut().for_each(|logit| *logit = (*logit - most).exp());
    let total: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= total);
}
