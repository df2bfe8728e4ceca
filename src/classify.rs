//! Here is a ticket's text, vector and neighbours, give me a calibrated probability per label of a field.
//!
//! Three members that err in different ways look at a ticket: margins on words and characters ([`sparse`]), logits on the
//! standardised vector ([`dense`], or [`ordinal`] for an ordered field), and the votes of the nearest resolved tickets
//! ([`neighbours`]). What each says is put together by weights learnt on tickets it did not see ([`stack`]); the same
//! tickets say how far the result may be trusted ([`calibration`]). [`fit`] is training, [`FieldModel::predict`] is
//! serving. Without a single example the names of the labels alone are compared with the ticket.
//!
//! It is not for embedding, for finding neighbours while serving, or for deciding what to do with a probability.

mod features;

mod dense;
mod neighbours;
mod ordinal;
mod sparse;

mod calibration;
mod stack;

mod names;
mod trained;

mod compact;
mod folds;
mod minimise;
mod product;
mod saved;
mod standardise;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::standardise::Standardiser;

use self::names::Names;
use self::trained::Trained;
use crate::error::{Error, Result};

/// Neighbours that vote.
pub const NEIGHBOURS: usize = 20;

/// Predictions of one label from which on it has a threshold of its own.
const ENOUGH_FOR_A_LABEL: usize = 50;

/// The examples of one field.
pub struct TrainingSet<'a> {
    /// Canonical text by row.
    pub texts: &'a [&'a str],
    /// `[n, dim]`, rows of length 1.
    pub vectors: &'a [f32],
    /// Length of a vector.
    pub dim: usize,
    /// Label by row, an index into `label_ids`.
    pub labels: &'a [u32],
    /// The closed set of labels; of an ordinal field in rising order.
    pub label_ids: &'a [String],
    /// `[labels, dim]`: vectors of the labels' names and descriptions, rows of length 1.
    pub name_vectors: &'a [f32],
    /// Whether the labels are levels of a scale.
    pub ordinal: bool,
    /// What the folds are drawn with.
    pub seed: u64,
}

/// Fits one field. The same set and seed give the same model, on any number of threads. `progress` is told the share
/// that is done, rising to 1.
///
/// A set without rows gives [`FieldModel::from_names`].
///
/// # Errors
/// [`Error::Invalid`] when there is no label; [`Error::Bug`] when the parts of the set do not fit together or a vector is
/// not finite.
pub fn fit(set: &TrainingSet<'_>, standardiser: &Standardiser, progress: &dyn Fn(f32)) -> Result<FieldModel> {
    set.check(standardiser)?;
    if set.texts.is_empty() {
        progress(1.0);
        return Ok(FieldModel::from_names(set.label_ids, set.name_vectors, standardiser));
    }
    let mut examples_per_label = vec![0; set.label_ids.len()];
    for &label in set.labels {
        examples_per_label[label as usize] += 1;
    }
    let trained = Trained::fit(set, standardiser, &examples_per_label, progress);
    progress(1.0);
    Ok(FieldModel { label_ids: set.label_ids.to_vec(), examples_per_label, head: Head::Trained(Box::new(trained)) })
}

impl TrainingSet<'_> {
    fn check(&self, standardiser: &Standardiser) -> Result<()> {
        if self.label_ids.is_empty() {
            return Err(Error::invalid("", "expected at least one label, the field has none"));
        }
        let (rows, labels) = (self.texts.len(), self.label_ids.len());
        let lengths_fit = self.labels.len() == rows
            && self.vectors.len() == rows * self.dim
            && self.name_vectors.len() == labels * self.dim
            && standardiser.dim() == self.dim;
        if !lengths_fit || self.labels.iter().any(|&label| label as usize >= labels) {
            return Err(Error::Bug("texts, vectors, labels and names of a training set do not fit together"));
        }
        if self.vectors.iter().chain(self.name_vectors).any(|value| !value.is_finite()) {
            return Err(Error::Bug("a vector of a training set is not finite"));
        }
        Ok(())
    }
}

/// What tells the labels of one field apart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FieldModel {
    label_ids: Vec<String>,
    examples_per_label: Vec<u32>,
    head: Head,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Head {
    Names(Names),
    Trained(Box<Trained>),
}

/// What is known of a ticket when a field is predicted.
pub struct Features<'a> {
    /// Canonical text.
    pub text: &'a str,
    /// `[dim]`, of length 1.
    pub vector: &'a [f32],
    /// Resolved tickets as (label, cosine of the standardised vectors), nearest first, at most [`NEIGHBOURS`].
    pub neighbours: &'a [(u32, f32)],
}

/// What a field's label may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// By label, summing to 1.
    pub probabilities: Vec<f32>,
    /// Whether the probabilities were calibrated on held-out examples; if not, only their order means something.
    pub calibrated: bool,
    /// Whether the ticket is less like the examples than all but 2.5 % of held-out examples were.
    pub far_from_training: bool,
    /// How unlike the examples the ticket is, in standard deviations of held-out examples; 0 is usual, more is stranger.
    pub novelty: f32,
}

/// How a training row was predicted by a model that had not seen it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OutOfFold {
    /// The predicted label, an index into [`FieldModel::label_ids`].
    pub label: u32,
    /// Probability of that label.
    pub confidence: f32,
    /// Whether it was the right one.
    pub correct: bool,
}

impl FieldModel {
    /// A model that has no example yet: `name_vectors` `[labels, dim]` are compared with the ticket. Not calibrated.
    pub fn from_names(label_ids: &[String], name_vectors: &[f32], standardiser: &Standardiser) -> FieldModel {
        FieldModel {
            label_ids: label_ids.to_vec(),
            examples_per_label: vec![0; label_ids.len()],
            head: Head::Names(Names::new(name_vectors, standardiser)),
        }
    }

    /// The labels, in the order of [`Prediction::probabilities`].
    pub fn label_ids(&self) -> &[String] {
        &self.label_ids
    }

    /// How many examples of each label the model was fitted on.
    pub fn examples_per_label(&self) -> &[u32] {
        &self.examples_per_label
    }

    /// Predicts one ticket. `standardiser` is the one the model was fitted with.
    pub fn predict(&self, standardiser: &Standardiser, features: &Features<'_>) -> Prediction {
        match &self.head {
            Head::Names(names) => names.predict(&standardiser.apply(features.vector), features.neighbours),
            Head::Trained(trained) => {
                trained.predict(&standardiser.apply(features.vector), features, &self.examples_per_label)
            }
        }
    }

    /// The lowest confidence from which predictions of `label` are right with `precision_target` (0 to 1): the one-sided
    /// 80 % Clopper-Pearson bound of the precision on held-out examples reaches it. From the predictions of that label
    /// where there are at least 50, else from those of all labels. Nothing when no confidence is enough.
    pub fn threshold(&self, label: usize, precision_target: f32) -> Option<f32> {
        let all = self.out_of_fold();
        let of_label = all.iter().filter(|row| row.label as usize == label);
        let has_its_own = of_label.clone().count() >= ENOUGH_FOR_A_LABEL;
        let mut predictions: Vec<(f32, bool)> = all
            .iter()
            .filter(|row| !has_its_own || row.label as usize == label)
            .map(|row| (row.confidence, row.correct))
            .collect();
        predictions.sort_by(|a, b| b.0.total_cmp(&a.0));
        calibration::lowest_confidence(&predictions, f64::from(precision_target))
    }

    /// The held-out predictions that confidence and thresholds rest on; empty for a model from names alone.
    pub fn out_of_fold(&self) -> &[OutOfFold] {
        match &self.head {
            Head::Names(_) => &[],
            Head::Trained(trained) => trained.out_of_fold(),
        }
    }

    /// Whether all parts fit together, so that no prediction can go wrong.
    fn is_consistent(&self, dim: usize) -> bool {
        let labels = self.label_ids.len();
        let head = match &self.head {
            Head::Names(names) => names.is_consistent(dim, labels),
            Head::Trained(trained) => trained.is_consistent(dim, labels),
        };
        labels > 0 && self.examples_per_label.len() == labels && head
    }
}

/// All trained parts of a department: what a model version consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DepartmentModel {
    /// Fingerprint of the encoder whose vectors the model was fitted on.
    pub encoder: String,
    /// Version of the canonical text the model was fitted on.
    pub text_version: u32,
    /// Fitted on the department's tickets; all fields share it, and so does the search for neighbours.
    pub standardiser: Standardiser,
    /// Model by field name.
    pub fields: BTreeMap<String, FieldModel>,
}
