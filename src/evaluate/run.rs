//! Here are held-out tickets, run the pipeline over them and give me what it said beside what is right.
//!
//! Heads, policy and ranking are the very ones that serve; only what they have learnt from differs.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::evaluate::{FieldResult, Scored, Stranger};
use crate::pipeline::{FieldAssessment, Pipeline, Reading};
use crate::store::{Change, Changed, Derived};
use crate::taxonomy::{Field, Taxonomy};
use crate::ticket::{Decision, LabelRef, Ticket};
use crate::train::{Example, Fit, TrainProgress};

/// Precision targets at which coverage is reported.
pub const PRECISION_TARGETS: [(&str, f32); 3] = [("0.90", 0.90), ("0.95", 0.95), ("0.99", 0.99)];

/// Share of tickets that a random or temporal split holds out.
pub const HELD_OUT_SHARE: f64 = 0.2;

/// Seed of random splits and folds.
pub const SEED: u64 = 20_261_125;

/// Tickets read, embedded or assessed at a time.
const PAGE: usize = 256;

/// Which tickets of the store are held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOut {
    /// A fifth, drawn at random; texts that differ in digits, case and punctuation alone stay together.
    Random {
        /// What the draw depends on.
        seed: u64,
    },
    /// The newest fifth by `created_at`.
    Temporal,
    /// Those that say `"split": "test"`.
    Given,
    /// Each in turn, in this many parts.
    Folds(usize),
}

/// Tickets of a file, read and embedded once, however often they are scored.
#[derive(Default)]
pub struct TestTickets {
    tickets: Vec<Ticket>,
    derived: Vec<Derived>,
}

impl TestTickets {
    /// Reads and embeds tickets; `progress` is told how many are done.
    ///
    /// # Errors
    /// When embedding fails.
    pub fn read(pipeline: &Pipeline, tickets: Vec<Ticket>, progress: &dyn Fn(usize)) -> Result<TestTickets> {
        let mut derived = Vec::with_capacity(tickets.len());
        for page in tickets.chunks(PAGE) {
            let raw: Vec<(&Ticket, &str)> = page.iter().map(|ticket| (ticket, "")).collect();
            derived.extend(pipeline.derive_tickets(&raw)?);
            progress(derived.len());
        }
        Ok(TestTickets { tickets, derived })
    }

    fn pairs(&self) -> Vec<(&Ticket, &Derived)> {
        self.tickets.iter().zip(&self.derived).collect()
    }
}

/// Scores tickets from elsewhere with the heads that serve now. Tickets without a value in a field, or with one that
/// the field lacks, do not count for it; those of `unknown` belong to no label of any field.
///
/// # Errors
/// [`Error::NotFound`] for an unknown department.
pub fn held_out_file(
    pipeline: &Pipeline,
    department: &str,
    taxonomy: &Taxonomy,
    tickets: &TestTickets,
    unknown: &TestTickets,
) -> Result<Vec<FieldResult>> {
    let mut results = Results::new(taxonomy);
    results.score(pipeline, department, &tickets.pairs())?;
    results.look_at_unknown(pipeline, department, &unknown.pairs())?;
    Ok(results.finish())
}

/// Holds tickets out of those in the store, fits heads on the rest, and scores what was held out. Nothing that serves
/// changes; `scratch` is a folder for the index of the rest. Each ticket of `unknown`, which belongs to no label, is
/// looked at by the heads of one round.
///
/// # Errors
/// When there is nothing to hold out or nothing left to learn from; when fitting or embedding fails.
pub fn held_out_of_store(
    pipeline: &Pipeline,
    taxonomy: &Taxonomy,
    examples: &[Example],
    hold_out: HoldOut,
    unknown: &TestTickets,
    scratch: &Path,
    progress: &(dyn Fn(TrainProgress<'_>) + Sync),
) -> Result<Vec<FieldResult>> {
    const DEPARTMENT: &str = "held-out";
    let mut results = Results::new(taxonomy);
    let rounds = rounds(examples, hold_out)?;
    let n_rounds = rounds.len();
    for (round, held_out) in rounds.into_iter().enumerate() {
        let (test, rest): (Vec<&Example>, Vec<&Example>) =
            examples.iter().zip(&held_out).fold((Vec::new(), Vec::new()), |(mut test, mut rest), (example, held)| {
                if *held {
                    test.push(example)
                } else {
                    rest.push(example)
                }
                (test, rest)
            });
        if test.is_empty() || rest.is_empty() {
            return Err(Error::invalid("", "the split leaves nothing to learn from or nothing to test on"));
        }
        let fit = Fit { encoder: pipeline.encoder(), taxonomy, fields: &[], former: None };
        let fitted = fit.run(&rest, progress)?;
        let apart = Pipeline::new(Arc::clone(pipeline.encoder()), &scratch.join(round.to_string()));
        apart.set_taxonomy(DEPARTMENT, taxonomy.clone())?;
        apart.index(rest.iter().map(|example| change(example, DEPARTMENT)).collect())?;
        apart.set_model(DEPARTMENT, Some((1, fitted.model)))?;
        let test: Vec<(&Ticket, &Derived)> = test.iter().map(|example| (&example.ticket, &example.derived)).collect();
        results.score(&apart, DEPARTMENT, &test)?;
        let unknown: Vec<(&Ticket, &Derived)> = unknown.pairs().into_iter().skip(round).step_by(n_rounds).collect();
        results.look_at_unknown(&apart, DEPARTMENT, &unknown)?;
    }
    Ok(results.finish())
}

/// For each round, whether each example is held out.
fn rounds(examples: &[Example], hold_out: HoldOut) -> Result<Vec<Vec<bool>>> {
    match hold_out {
        HoldOut::Random { seed } => {
            let is_drawn = |example: &Example| fraction(&example.derived.text, seed) < HELD_OUT_SHARE;
            Ok(vec![examples.iter().map(is_drawn).collect()])
        }
        HoldOut::Folds(n) if (2..=20).contains(&n) => {
            let fold = |example: &Example| ((fraction(&example.derived.text, SEED) * n as f64) as usize).min(n - 1);
            Ok((0..n).map(|round| examples.iter().map(|example| fold(example) == round).collect()).collect())
        }
        HoldOut::Folds(n) => Err(Error::invalid("/folds", format!("is {n}, and 2 to 20 are allowed"))),
        HoldOut::Given => {
            Ok(vec![examples.iter().map(|example| example.ticket.split.as_deref() == Some("test")).collect()])
        }
        HoldOut::Temporal => {
            let mut times: Vec<_> = examples.iter().filter_map(|example| example.ticket.created_at).collect();
            if times.len() < examples.len() {
                let n = examples.len() - times.len();
                return Err(Error::invalid(
                    "/created_at",
                    format!("is missing on {n} tickets, a temporal split needs it"),
                ));
            }
            times.sort_unstable();
            let cut = times.get((times.len() as f64 * (1.0 - HELD_OUT_SHARE)) as usize).copied();
            Ok(vec![examples.iter().map(|example| example.ticket.created_at >= cut).collect()])
        }
    }
}

/// A number in [0, 1) drawn from a text by its SHA-256, the same on every machine; texts that differ in digits, case
/// and punctuation alone draw the same.
fn fraction(text: &str, seed: u64) -> f64 {
    let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(letters(text)).finalize();
    let drawn = hash.iter().take(6).fold(0u64, |drawn, byte| drawn << 8 | u64::from(*byte));
    drawn as f64 / (1u64 << 48) as f64
}

/// The letters of a text in lower case: equal for texts that differ in digits, case, blanks and punctuation alone.
pub(super) fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

fn change(example: &Example, department: &str) -> Change {
    Change {
        seq: example.seq,
        department: department.to_owned(),
        id: example.ticket.id.clone(),
        object: Changed::Ticket {
            ticket: Box::new(example.ticket.clone()),
            text_hash: example.derived.text_hash.clone(),
            derived: Some(example.derived.clone()),
        },
    }
}

/// Rows scored so far, by field.
struct Results<'a> {
    fields: Vec<(&'a Field, FieldResult)>,
    positions: HashMap<(usize, String), usize>,
}

impl<'a> Results<'a> {
    fn new(taxonomy: &'a Taxonomy) -> Results<'a> {
        let mut positions = HashMap::new();
        let mut fields = Vec::new();
        for (f, field) in taxonomy.fields.iter().enumerate() {
            let labels: Vec<LabelRef> = field.active().map(|label| label.reference()).collect();
            for (position, label) in labels.iter().enumerate() {
                positions.insert((f, label.id.clone()), position);
            }
            let result = FieldResult {
                field: field.id.clone(),
                labels,
                ordinal: field.ordinal,
                calibrated: true,
                rows: Vec::new(),
                unknown: Vec::new(),
            };
            fields.push((field, result));
        }
        Results { fields, positions }
    }

    fn score(&mut self, pipeline: &Pipeline, department: &str, held_out: &[(&Ticket, &Derived)]) -> Result<()> {
        let mut thresholds = Thresholds { pipeline, department, known: HashMap::new() };
        for page in held_out.chunks(PAGE) {
            let assessed = pipeline.assess(department, &readings(page))?;
            for ((ticket, derived), assessments) in page.iter().zip(&assessed) {
                for (f, (field, result)) in self.fields.iter_mut().enumerate() {
                    let position = |value: &str| {
                        field.resolve(value).and_then(|label| self.positions.get(&(f, label.id.clone())).copied())
                    };
                    let Some(truth) = ticket.labels.get(&field.id).and_then(|value| position(value)) else { continue };
                    let Some(assessment) = assessments.get(&field.id) else { continue };
                    let positions: Vec<Option<usize>> = assessment.label_ids.iter().map(|id| position(id)).collect();
                    let mut probabilities = vec![0.0; result.labels.len()];
                    for (position, probability) in positions.iter().zip(&assessment.probabilities) {
                        if let Some(position) = position {
                            probabilities[*position] += probability;
                        }
                    }
                    let of_member = |label: &u32| positions.get(*label as usize).copied().flatten();
                    result.calibrated &= assessment.calibrated;
                    result.rows.push(Scored {
                        ticket: ticket.id.clone(),
                        language: derived.language,
                        truth,
                        probabilities,
                        predicted: assessment.chosen.and_then(|chosen| positions.get(chosen).copied().flatten()),
                        by_member: assessment.by_member.iter().map(of_member).collect(),
                        novelty: novelty(assessment),
                        far_from_training: assessment.far_from_training,
                        decided: assessment.decision.outcome != Decision::Abstain,
                        decided_at: thresholds.decided_at(&field.id, assessment)?,
                    });
                }
            }
        }
        Ok(())
    }

    /// Looks at tickets that belong to no label of any field.
    fn look_at_unknown(
        &mut self,
        pipeline: &Pipeline,
        department: &str,
        tickets: &[(&Ticket, &Derived)],
    ) -> Result<()> {
        for page in tickets.chunks(PAGE) {
            for assessments in pipeline.assess(department, &readings(page))? {
                for (field, result) in &mut self.fields {
                    let Some(assessment) = assessments.get(&field.id) else { continue };
                    let far_from_training = assessment.far_from_training;
                    result.unknown.push(Stranger { novelty: novelty(assessment), far_from_training });
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<FieldResult> {
        self.fields.into_iter().map(|(_, result)| result).collect()
    }
}

fn readings<'a>(tickets: &[(&'a Ticket, &'a Derived)]) -> Vec<Reading<'a>> {
    let reading = |(ticket, derived): &(&'a Ticket, &'a Derived)| Reading {
        id: &ticket.id,
        text: &derived.text,
        language: derived.language,
        vector: &derived.rows[..derived.dim.min(derived.rows.len())],
        stated: None,
    };
    tickets.iter().map(reading).collect()
}

/// Heads made of label names have no notion of it.
fn novelty(assessment: &FieldAssessment) -> Option<f32> {
    (!assessment.by_member.is_empty()).then_some(assessment.novelty)
}

/// Thresholds of the heads by field and target, looked up once.
struct Thresholds<'a> {
    pipeline: &'a Pipeline,
    department: &'a str,
    known: HashMap<(String, &'static str), Vec<Option<f32>>>,
}

impl Thresholds<'_> {
    /// Whether the label decided on is sure enough at each precision target.
    fn decided_at(&mut self, field: &str, assessment: &FieldAssessment) -> Result<BTreeMap<String, bool>> {
        let Some(chosen) = assessment.chosen.filter(|_| assessment.calibrated) else { return Ok(BTreeMap::new()) };
        let confidence = assessment.probabilities.get(chosen).copied().unwrap_or(0.0);
        let mut decided = BTreeMap::new();
        for (name, target) in PRECISION_TARGETS {
            let thresholds = match self.known.entry((field.to_owned(), name)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.pipeline.thresholds(self.department, field, target)?),
            };
            let threshold = thresholds.get(chosen).copied().flatten();
            decided.insert(name.to_owned(), threshold.is_some_and(|threshold| confidence >= threshold));
        }
        Ok(decided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_draw_the_same_side() {
        assert_eq!(fraction("Drucker 12 geht nicht!", 1), fraction("drucker 7 geht nicht", 1));
        assert_ne!(fraction("Drucker geht nicht", 1), fraction("Drucker geht wieder", 1));
        let drawn: Vec<f64> = (0..1000).map(|n| fraction(&"x".repeat(n), SEED)).collect();
        let share = drawn.iter().filter(|f| **f < HELD_OUT_SHARE).count();
        assert!((150..250).contains(&share), "{share}");
    }
}
