//! Here is a ticket's text, vector and neighbours, give me a calibrated probability per label of a field.
//!
//! Three members that err in different ways look at a ticket: margins on words and characters (`sparse`), logits on the
//! standardised vector (`dense`, or `ordinal` for an ordered field), and the votes of the nearest resolved tickets
//! (`neighbours`). What each says is put together by weights learnt on tickets it did not see (`stack`); the same
//! tickets say how far the result may be trusted (`calibration`). [`fit`] is training, [`FieldModel::predict`] is
//! serving. Without a single example the names of the labels alone are compared with the ticket.
//!
//! It is not for embedding, for finding neighbours while serving, or for deciding what to do with a probability.

mod features;

mod dense;
mod neighbours;
mod ordinal;
mod sparse;

mod calibration;
mod rule;
mod stack;
mod thresholds;

mod names;
mod newcomers;
mod novelty;
mod trained;

mod examples;
mod held_out;

mod compact;
mod folds;
mod minimise;
mod precondition;
mod product;
mod random;
mod saved;
mod standardise;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::calibration::lower_bound;
pub(crate) use self::folds::wording;
pub use self::random::Random;
pub use self::standardise::Standardiser;
pub use self::thresholds::{SimulatedLabel, SimulatedTicket, Simulation};

use self::calibration::RISK;
use self::names::Names;
use self::thresholds::Predicted;
use self::trained::Trained;
use crate::error::{Error, Result};
use crate::taxonomy::Rule;

/// Neighbours that vote.
pub const NEIGHBOURS: usize = 20;

/// The examples of one field.
pub struct TrainingSet<'a> {
    /// Id of the ticket by row.
    pub tickets: &'a [&'a str],
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
            && self.tickets.len() == rows
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

/// Gives labels that are younger than a head their place behind `probabilities`; see the module `newcomers`.
pub fn make_room(probabilities: &mut Vec<f32>, votes: &[(u32, f32)], labels: usize) {
    newcomers::make_room(probabilities, votes, labels);
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
    /// What each of [`MEMBER_NAMES`] would say alone, as indices into the labels; empty for a model from names alone.
    pub by_member: Vec<u32>,
}

/// What looks at a ticket, in the order of [`Prediction::by_member`].
pub const MEMBER_NAMES: [&str; 3] = ["words", "vectors", "neighbours"];

/// How a training row was predicted by a model that had not seen it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutOfFold {
    /// Id of the ticket.
    pub ticket: String,
    /// Fold it was held out with.
    pub fold: u32,
    /// The label it has, an index into [`FieldModel::label_ids`].
    pub truth: u32,
    /// The most likely label, likewise.
    pub label: u32,
    /// Probability of the most likely label.
    pub confidence: f32,
    /// Probability of every label, for an ordered field; empty for others.
    pub levels: Vec<f32>,
}

impl OutOfFold {
    /// Whether the most likely label is the right one.
    pub fn is_right(&self) -> bool {
        self.label == self.truth
    }
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

    /// Whether the model was fitted on examples.
    pub fn is_trained(&self) -> bool {
        matches!(self.head, Head::Trained(_))
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

    /// The label that `rule` decides on, an index into `probabilities`, which are those of [`FieldModel::predict`].
    pub fn choose(&self, rule: Rule, probabilities: &[f32]) -> usize {
        let weights = match &self.head {
            Head::Trained(trained) => trained.level_weights(),
            Head::Names(_) => &[],
        };
        rule::choose(rule, probabilities, weights)
    }

    /// By label, the lowest confidence from which decisions on it under `rule` are right with `precision_target` (0 to
    /// 1); nothing where no confidence is enough. The labels share one, except those with many held-out predictions and
    /// those that it would not hold for.
    pub fn thresholds(&self, precision_target: f32, rule: Rule) -> Vec<Option<f32>> {
        thresholds::thresholds(&self.predicted(rule), self.label_ids.len(), f64::from(precision_target))
    }

    /// What a precision target would bring under `rule`: each held-out ticket is judged by thresholds that were derived
    /// without its fold. At most `max_tickets` tickets are listed.
    pub fn simulate(&self, precision_target: f32, rule: Rule, max_tickets: usize) -> Simulation {
        let rows = self.predicted(rule);
        let target = f64::from(precision_target);
        let decided = thresholds::decided_across_folds(&rows, self.label_ids.len(), target);
        let in_force = thresholds::thresholds(&rows, self.label_ids.len(), target);
        let name = |label: u32| self.label_ids.get(label as usize).cloned().unwrap_or_default();
        let share = |right: usize, n: usize| (n > 0).then(|| right as f32 / n as f32);

        let mut labels: Vec<SimulatedLabel> = Vec::new();
        for (label, threshold) in (0..).zip(in_force) {
            let of_label = rows.iter().zip(&decided).filter(|(row, _)| row.label == label);
            let (predicted, n, right) = of_label.fold((0, 0, 0), |(predicted, n, right), (row, &decided)| {
                (predicted + 1, n + usize::from(decided), right + usize::from(decided && row.is_right))
            });
            if predicted > 0 {
                let precision = share(right, n);
                labels.push(SimulatedLabel { label: name(label), threshold, predicted, decided: n, precision });
            }
        }
        labels.sort_by(|a, b| b.decided.cmp(&a.decided).then_with(|| a.label.cmp(&b.label)));

        let mut touched: Vec<(&OutOfFold, &Predicted)> = self
            .out_of_fold()
            .iter()
            .zip(&rows)
            .zip(&decided)
            .filter(|(_, decided)| **decided)
            .map(|(row, _)| row)
            .collect();
        let n_decided = touched.len();
        let right = touched.iter().filter(|(_, row)| row.is_right).count();
        touched.sort_by(|(a, left), (b, other)| {
            let order = left.is_right.cmp(&other.is_right).then(left.confidence.total_cmp(&other.confidence));
            order.then_with(|| a.ticket.cmp(&b.ticket))
        });
        let tickets = touched.into_iter().take(max_tickets).map(|(held_out, row)| SimulatedTicket {
            ticket: held_out.ticket.clone(),
            label: name(row.label),
            recorded: name(held_out.truth),
            confidence: row.confidence,
        });
        Simulation {
            precision_target,
            n: rows.len(),
            automation_rate: share(n_decided, rows.len()).unwrap_or(0.0),
            precision: share(right, n_decided),
            precision_at_least: (n_decided > 0).then(|| lower_bound(right, n_decided, RISK) as f32),
            labels,
            tickets: tickets.collect(),
        }
    }

    /// The held-out predictions as `rule` decides.
    fn predicted(&self, rule: Rule) -> Vec<Predicted> {
        let decide = |row: &OutOfFold| {
            let (label, confidence) = match row.levels.is_empty() {
                true => (row.label, row.confidence),
                false => {
                    let level = self.choose(rule, &row.levels);
                    (level as u32, row.levels[level])
                }
            };
            Predicted { label, confidence, is_right: label == row.truth, fold: row.fold }
        };
        self.out_of_fold().iter().map(decide).collect()
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

#[cfg(test)]
mod tests {
    use super::random::Random;
    use super::*;

    const DIM: usize = 12;
    const WORDS: [&str; 4] =
        ["vpn tunnel gateway", "printer toner paper", "password locked reset", "invoice payment refund"];

    /// Tickets whose words and vectors point to one of the first labels, both with noise.
    struct Toy {
        texts: Vec<String>,
        vectors: Vec<f32>,
        labels: Vec<u32>,
        ids: Vec<String>,
        names: Vec<f32>,
    }

    impl Toy {
        fn new(rows: usize, labels: usize, noise: f32, seed: u64) -> Toy {
            let mut random = Random::new(seed);
            let mut toy = Toy { texts: vec![], vectors: vec![], labels: vec![], ids: vec![], names: vec![] };
            for label in 0..labels {
                toy.ids.push(format!("label-{label}"));
                toy.names.extend(direction(label, 0.3, &mut random));
            }
            for row in 0..rows {
                let label = row % labels;
                let filler = ["please", "help", "since", "monday", "office", "again", "urgent", "thanks"];
                let mut words = Vec::new();
                for _ in 0..2 {
                    let is_own = random.below(1000) as f32 >= 350.0 * noise;
                    let topic = if is_own { label % 4 } else { random.below(4) };
                    words.extend(WORDS[topic].split(' ').nth(random.below(3)));
                }
                words.extend((0..5).map(|_| filler[random.below(8)]));
                toy.texts.push(words.join(" "));
                toy.vectors.extend(direction(label, noise, &mut random));
                toy.labels.push(label as u32);
            }
            toy
        }

        fn fit(&self, ordinal: bool) -> (FieldModel, Standardiser) {
            let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
            let standardiser = Standardiser::fit(&self.vectors, DIM);
            let tickets: Vec<String> = (0..texts.len()).map(|row| format!("T-{row}")).collect();
            let tickets: Vec<&str> = tickets.iter().map(String::as_str).collect();
            let set = TrainingSet {
                tickets: &tickets,
                texts: &texts,
                vectors: &self.vectors,
                dim: DIM,
                labels: &self.labels,
                label_ids: &self.ids,
                name_vectors: &self.names,
                ordinal,
                seed: 3,
            };
            (fit(&set, &standardiser, &|_| {}).unwrap(), standardiser)
        }

        fn accuracy(&self, model: &FieldModel, standardiser: &Standardiser) -> f64 {
            let right = self.predictions(model, standardiser).into_iter().zip(&self.labels).filter(
                |&(ref prediction, &label)| {
                    let best = (0..).zip(&prediction.probabilities).max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
                    best.0 == label
                },
            );
            right.count() as f64 / self.labels.len() as f64
        }

        fn predictions(&self, model: &FieldModel, standardiser: &Standardiser) -> Vec<Prediction> {
            let predict = |(text, vector): (&String, &[f32])| {
                model.predict(standardiser, &Features { text, vector, neighbours: &[] })
            };
            self.texts.iter().zip(self.vectors.chunks_exact(DIM)).map(predict).collect()
        }
    }

    fn direction(label: usize, noise: f32, random: &mut Random) -> Vec<f32> {
        let value = |j: usize| {
            let spread = (random.below(2001) as f32 / 1000.0 - 1.0) * noise;
            0.5 + spread + if j == label { 1.0 } else { 0.0 }
        };
        standardise::unit((0..DIM).map(value).collect())
    }

    #[test]
    fn learns_what_can_be_told_apart_and_is_sure_of_it() {
        let (model, standardiser) = Toy::new(240, 4, 0.4, 1).fit(false);
        let fresh = Toy::new(120, 4, 0.4, 2);
        assert!(fresh.accuracy(&model, &standardiser) > 0.95);
        let predictions = fresh.predictions(&model, &standardiser);
        assert!(predictions.iter().all(|p| p.calibrated && (p.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5));
        assert_eq!(model.examples_per_label(), [60; 4]);
        assert_eq!(model.out_of_fold().len(), 240);
    }

    #[test]
    fn confidence_means_what_it_says_where_labels_overlap() {
        let (model, standardiser) = Toy::new(600, 4, 1.6, 3).fit(false);
        let fresh = Toy::new(600, 4, 1.6, 4);
        let predictions = fresh.predictions(&model, &standardiser);
        let confidence = |p: &Prediction| p.probabilities.iter().copied().fold(0.0f32, f32::max);
        let mean = predictions.iter().map(confidence).sum::<f32>() / 600.0;
        let accuracy = fresh.accuracy(&model, &standardiser);
        assert!((0.5..0.9).contains(&accuracy), "{accuracy}");
        assert!((f64::from(mean) - accuracy).abs() < 0.06, "mean confidence {mean}, accuracy {accuracy}");
    }

    #[test]
    fn thresholds_rise_with_the_target_and_keep_it() {
        let (model, _) = Toy::new(600, 4, 1.6, 3).fit(false);
        let thresholds: Vec<Option<f32>> =
            [0.5, 0.7, 0.8, 0.9].iter().map(|&target| model.thresholds(target, Rule::Likeliest)[0]).collect();
        assert!(thresholds.windows(2).all(|pair| pair[1].is_none() || pair[0] <= pair[1]), "{thresholds:?}");
        assert!(thresholds[0].is_some());
        assert_eq!(model.thresholds(1.0, Rule::Likeliest)[0], None);
        assert_eq!(
            FieldModel::from_names(&["a".into()], &[1.0; DIM], &Standardiser::fit(&[], DIM))
                .thresholds(0.5, Rule::Likeliest),
            [None]
        );
    }

    #[test]
    fn names_help_while_examples_are_few() {
        let few = Toy::new(8, 8, 0.9, 5);
        let nameless = Toy { names: vec![0.1; 8 * DIM], ..Toy::new(8, 8, 0.9, 5) };
        let fresh = Toy::new(400, 8, 0.9, 6);
        let (with, standardiser) = few.fit(false);
        let (without, _) = nameless.fit(false);
        let (with, without) = (fresh.accuracy(&with, &standardiser), fresh.accuracy(&without, &standardiser));
        assert!(with > without + 0.1, "with names {with}, without {without}");

        let zero = FieldModel::from_names(&few.ids, &few.names, &standardiser);
        assert!(fresh.accuracy(&zero, &standardiser) > 0.4);
        assert!(fresh.predictions(&zero, &standardiser).iter().all(|p| !p.calibrated && !p.far_from_training));
    }

    #[test]
    fn two_fits_are_equal_on_any_number_of_threads() {
        let toy = Toy::new(120, 4, 0.8, 7);
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (a, b) = (toy.fit(false).0, alone.install(|| toy.fit(false).0));
        assert_eq!(postcard::to_stdvec(&a).unwrap(), postcard::to_stdvec(&b).unwrap());
    }

    #[test]
    fn a_ticket_unlike_all_examples_is_far_from_training() {
        let toy = Toy::new(240, 4, 0.4, 8);
        let (model, standardiser) = toy.fit(false);
        let mut strange: Vec<f32> = vec![0.0; DIM];
        strange[11] = -1.0;
        let odd = model.predict(
            &standardiser,
            &Features { text: "zebra quagga okapi", vector: &strange, neighbours: &[(0, -0.5); 5] },
        );
        let usual = model.predict(
            &standardiser,
            &Features { text: "vpn tunnel gateway", vector: &toy.vectors[..DIM], neighbours: &[(0, 0.9); 5] },
        );
        assert!(odd.far_from_training && odd.novelty > 2.0, "{odd:?}");
        assert!(!usual.far_from_training && usual.novelty < odd.novelty, "{usual:?}");
    }

    #[test]
    fn small_and_lopsided_sets_are_no_error() {
        for (rows, labels) in [(1, 1), (1, 3), (2, 2), (3, 2), (7, 4), (40, 1), (61, 8)] {
            for ordinal in [false, true] {
                let toy = Toy::new(rows, labels, 0.5, 9);
                let (model, standardiser) = toy.fit(ordinal);
                for prediction in toy.predictions(&model, &standardiser) {
                    let sum: f32 = prediction.probabilities.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-4, "{rows} rows, {labels} labels: {prediction:?}");
                }
            }
        }
        let (model, _) = Toy::new(0, 3, 0.5, 9).fit(false);
        assert_eq!(model.examples_per_label(), [0, 0, 0]);
    }

    #[test]
    fn levels_of_a_scale_are_learnt() {
        let (model, standardiser) = Toy::new(240, 4, 0.4, 10).fit(true);
        assert!(Toy::new(120, 4, 0.4, 11).accuracy(&model, &standardiser) > 0.9);
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        let toy = Toy { labels: vec![7; 8], ..Toy::new(8, 4, 0.5, 12) };
        let texts: Vec<&str> = toy.texts.iter().map(String::as_str).collect();
        let set = TrainingSet {
            tickets: &texts,
            texts: &texts,
            vectors: &toy.vectors,
            dim: DIM,
            labels: &toy.labels,
            label_ids: &toy.ids,
            name_vectors: &toy.names,
            ordinal: false,
            seed: 0,
        };
        let standardiser = Standardiser::fit(&toy.vectors, DIM);
        assert!(matches!(fit(&set, &standardiser, &|_| {}), Err(Error::Bug(_))));
        let no_labels = TrainingSet { label_ids: &[], name_vectors: &[], ..set };
        assert!(matches!(fit(&no_labels, &standardiser, &|_| {}), Err(Error::Invalid { .. })));
    }

    #[test]
    fn a_loaded_model_predicts_as_the_saved_one() {
        let toy = Toy::new(120, 4, 0.8, 13);
        let (nominal, standardiser) = toy.fit(false);
        let names = FieldModel::from_names(&toy.ids, &toy.names, &standardiser);
        let fields = [("category", nominal), ("priority", toy.fit(true).0), ("team", names)];
        let model = DepartmentModel {
            encoder: "sha256:0123456789ab".to_owned(),
            text_version: 1,
            standardiser,
            fields: fields.map(|(name, field)| (name.to_owned(), field)).into(),
        };
        let bytes = model.save().unwrap();
        let loaded = DepartmentModel::load(&bytes).unwrap();
        for (name, field) in &model.fields {
            let again = &loaded.fields[name];
            assert_eq!(
                toy.predictions(field, &model.standardiser),
                toy.predictions(again, &loaded.standardiser),
                "{name}"
            );
            assert_eq!(field.thresholds(0.8, Rule::Likeliest), again.thresholds(0.8, Rule::Likeliest));
        }

        for (bytes, reason) in [
            (&bytes[..20], "at least"),
            (&bytes[..bytes.len() - 1], "checksum"),
            (b"PK\x03\x04 something else altogether, long enough to hold a header", "no saved model"),
        ] {
            let error = DepartmentModel::load(bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        for position in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let mut damaged = bytes.clone();
            damaged[position] ^= 0x40;
            assert!(DepartmentModel::load(&damaged).is_err(), "byte {position}");
        }
    }
}
