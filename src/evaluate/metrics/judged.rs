//! Here is what was said about a ticket, give me whether that was right and how sure it was.

use std::cmp::Ordering;

use crate::evaluate::{FieldResult, Scored};

/// A row, read once.
#[derive(Clone, Copy)]
pub(in crate::evaluate) struct Judged<'a> {
    pub(in crate::evaluate) row: &'a Scored,
    /// None when it is not a label of the field.
    pub(in crate::evaluate) truth: Option<usize>,
    /// The label decided on; none when there are no probabilities.
    pub(in crate::evaluate) predicted: Option<usize>,
    /// Probability of the label decided on.
    pub(in crate::evaluate) confidence: f64,
    pub(in crate::evaluate) correct: bool,
    pub(super) among_three: bool,
    pub(super) log_loss: f64,
    pub(super) brier: f64,
}

/// Reads the rows of a field, the most confident first; equals by ticket, so that the order of the rows does not matter.
pub(in crate::evaluate) fn judge(result: &FieldResult) -> Vec<Judged<'_>> {
    let mut judged: Vec<Judged<'_>> = result.rows.iter().map(|row| Judged::new(row, result.labels.len())).collect();
    judged.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then_with(|| a.row.ticket.cmp(&b.row.ticket)));
    judged
}

impl<'a> Judged<'a> {
    fn new(row: &'a Scored, n_labels: usize) -> Self {
        let probability = |label: usize| match row.probabilities.get(label) {
            Some(p) if p.is_finite() => f64::from(*p).clamp(0.0, 1.0),
            _ => 0.0,
        };
        let n_scored = row.probabilities.len().min(n_labels);
        let most_likely = (0..n_scored).reduce(|best, label| {
            if probability(label).total_cmp(&probability(best)) == Ordering::Greater { label } else { best }
        });
        let predicted = row.predicted.filter(|label| *label < n_labels).or(most_likely);
        let truth = (row.truth < n_labels).then_some(row.truth);
        let of_truth = truth.map_or(0.0, probability);
        let is_ahead = |label: usize, truth: usize| {
            probability(label) > of_truth || (probability(label) == of_truth && label < truth)
        };
        let among_three = truth
            .is_some_and(|truth| truth < n_scored && (0..n_scored).filter(|&label| is_ahead(label, truth)).count() < 3);
        let squares: f64 = (0..n_scored).map(|label| probability(label).powi(2)).sum();
        Judged {
            row,
            truth,
            predicted,
            confidence: predicted.map_or(0.0, probability),
            correct: predicted.is_some() && predicted == truth,
            among_three,
            log_loss: -of_truth.max(f64::from(f32::EPSILON)).ln(),
            // sum over labels of (p - y)^2, where y is 1 for the right label: also when that one cannot be given.
            brier: squares - 2.0 * of_truth + 1.0,
        }
    }
}
