//! Here are the names of the labels, give me a first guess without any example.

use serde::{Deserialize, Serialize};

use super::Prediction;
use super::compact;
use super::neighbours::log_votes;
use super::product::dot;
use super::stack::softmax;
use super::standardise::{Standardiser, unit};

/// A label whose name is this much less alike has 1/e of the probability. A guess: nothing can be calibrated here.
const WIDTH: f32 = 0.1;
/// Weight of the neighbours' log-votes beside the names, once the first outcomes are there.
const VOTE_WEIGHT: f32 = 0.7;

/// Label names as vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Names {
    /// `[labels, dim]`, centred, of length 1.
    #[serde(with = "compact::f32s")]
    vectors: Vec<f32>,
    labels: u32,
}

impl Names {
    /// From vectors `[labels, dim]`.
    pub(super) fn new(name_vectors: &[f32], standardiser: &Standardiser) -> Names {
        let centred = centred(name_vectors, standardiser);
        Names { labels: centred.len() as u32, vectors: centred.into_iter().flat_map(unit).collect() }
    }

    /// Compares a standardised vector with the names, and listens to the neighbours if there are any.
    pub(super) fn predict(&self, vector: &[f32], neighbours: &[(u32, f32)]) -> Prediction {
        let labels = self.labels as usize;
        let dim = self.vectors.len() / labels.max(1);
        let direction = unit(vector.to_vec());
        let mut logits: Vec<f32> =
            (0..labels).map(|label| dot(&self.vectors[label * dim..][..dim], &direction) / WIDTH).collect();
        if !neighbours.is_empty() {
            for (logit, vote) in logits.iter_mut().zip(log_votes(neighbours, &vec![0; labels])) {
                *logit += VOTE_WEIGHT * vote;
            }
        }
        softmax(&mut logits);
        Prediction {
            probabilities: logits,
            calibrated: false,
            far_from_training: false,
            novelty: 0.0,
            by_member: Vec::new(),
        }
    }

    /// Whether it is for so many dimensions and labels.
    pub(super) fn is_consistent(&self, dim: usize, labels: usize) -> bool {
        self.labels as usize == labels
            && self.vectors.len() == dim * labels
            && self.vectors.iter().all(|value| value.is_finite())
    }
}

/// Standardised name vectors minus their own mean: what names have in common tells no label apart.
pub(super) fn centred(name_vectors: &[f32], standardiser: &Standardiser) -> Vec<Vec<f32>> {
    let mut names: Vec<Vec<f32>> =
        name_vectors.chunks_exact(standardiser.dim().max(1)).map(|vector| standardiser.apply(vector)).collect();
    let mut mean = vec![0.0; standardiser.dim()];
    for name in &names {
        for (mean, value) in mean.iter_mut().zip(name) {
            *mean += value / names.len() as f32;
        }
    }
    for name in &mut names {
        for (value, mean) in name.iter_mut().zip(&mean) {
            *value -= mean;
        }
    }
    names
}
