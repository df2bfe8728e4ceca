//! Here is a department, fit its heads on what was resolved, calibrate them, derive thresholds, and keep the result as
//! a new model version. It serves if it passes the gate: new heads are compared with those that serve on tickets that
//! neither had learnt from (`challenge`).

mod challenge;
mod champion;
mod schedule;
mod versions;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::challenge::{Comparison, Gate, LabelRecall, Verdict};
use self::champion::{Challenger, Serving};
pub use self::schedule::{Schedule, is_due};
pub use self::versions::{Fitting, check_usable, version};

use crate::classify::{self, DepartmentModel, FieldModel, Standardiser, TrainingSet};
use crate::embed::Encoder;
use crate::error::{Error, Result};
use crate::jobs;
use crate::pipeline::{Pipeline, label_names};
use crate::store::{Change, Changed, Derived, NewModel, Store};
use crate::taxonomy::{Field, Taxonomy};
use crate::text::TEXT_VERSION;
use crate::ticket::Ticket;

/// Fewer resolved tickets than this say nothing that label names and neighbours do not say.
const LEAST_EXAMPLES: usize = 8;

/// Objects read from the store at a time.
const PAGE: usize = 1000;

/// Seed of folds and of the order in which rows are visited.
const SEED: u64 = 20_261_125;

/// A resolved ticket to learn from.
#[derive(Clone)]
pub struct Example {
    /// The ticket as it was stored.
    pub ticket: Ticket,
    /// What the pipeline made of it.
    pub derived: Derived,
    /// Its place in the change sequence.
    pub seq: u64,
}

/// How far a training has come.
pub struct TrainProgress<'a> {
    /// Field that is being fitted.
    pub field: &'a str,
    /// Share of that field's work that is done, 0 to 1.
    pub share: f32,
}

/// What to train, and when the result may serve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Order {
    /// Fields to fit; all, when empty. The others keep their heads.
    pub fields: Vec<String>,
    /// How much the new heads may lose against those that serve.
    pub gate: Gate,
    /// Whether the new heads serve whatever the gate says.
    pub promote_anyway: bool,
}

/// A training that is done.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Trained {
    /// Version of the new heads; none when no field could be fitted.
    pub version: Option<u32>,
    /// What was fitted, by field.
    pub fields: BTreeMap<String, FieldTraining>,
    /// Fields that were left out, with the reason.
    pub skipped: BTreeMap<String, String>,
    /// Whether the new heads serve, and why.
    pub verdict: Verdict,
    /// Seconds it took.
    pub duration_s: f32,
}

/// How the fit of one field went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FieldTraining {
    /// Resolved tickets that were learnt from.
    pub examples: usize,
    /// Labels with at least one of them.
    pub labels: usize,
    /// Share of right labels on tickets that were held out in turn.
    pub accuracy_out_of_fold: f32,
    /// Share of those tickets that reach the field's precision target.
    pub coverage_out_of_fold: f32,
    /// The target that share is for.
    pub precision_target: f32,
}

impl Trained {
    /// True when the gate keeps a new version from serving.
    pub fn is_held_back(&self) -> bool {
        self.version.is_some() && !self.verdict.promoted
    }
}

/// Fits the named fields of a department (all, when none is named); the usual gate decides whether the result serves.
///
/// # Errors
/// As [`train_to`].
pub async fn train(
    store: &Store,
    pipeline: &Pipeline,
    department: &str,
    fields: &[String],
    progress: &(dyn Fn(TrainProgress<'_>) + Sync),
) -> Result<Trained> {
    let order = Order { fields: fields.to_vec(), ..Order::default() };
    train_to(store, pipeline, department, &order, progress).await
}

/// Fits heads of a department and keeps them as a new version, which serves if the gate lets it.
///
/// # Errors
/// [`Error::NotFound`] for an unknown department or field; when the store cannot be read or written.
pub async fn train_to(
    store: &Store,
    pipeline: &Pipeline,
    department: &str,
    order: &Order,
    progress: &(dyn Fn(TrainProgress<'_>) + Sync),
) -> Result<Trained> {
    let started = Instant::now();
    let (taxonomy, _) = store
        .taxonomy(department)
        .await?
        .ok_or_else(|| Error::NotFound { what: "department", id: department.to_owned() })?;
    if let Some(unknown) = order.fields.iter().find(|field| taxonomy.field(field).is_none()) {
        return Err(Error::NotFound { what: "field", id: unknown.clone() });
    }
    let data_seq = store.last_seq().await?;
    let mut examples = examples(store, pipeline.encoder(), department).await?;
    // What is learnt from must be told from what is not by its number alone.
    examples.retain(|example| example.seq <= data_seq);
    let references: Vec<&Example> = examples.iter().collect();
    let former = match store.active_model(department).await? {
        // Heads of fields that are not named stay, and with them the space they were fitted in.
        Some((_, blob)) if !order.fields.is_empty() => DepartmentModel::load(&blob).ok(),
        _ => None,
    };
    let former = former.filter(|model| pipeline.can_use(model));
    let fit = Fit { encoder: pipeline.encoder(), taxonomy: &taxonomy, fields: &order.fields, former };
    let Fitted { model, trained, skipped } = fit.run(&references, progress)?;
    let (version, verdict) = if trained.is_empty() {
        let reasons = vec!["No field could be fitted, so there is no new version.".to_owned()];
        (None, Verdict { reasons, ..Verdict::default() })
    } else {
        let challenger = Challenger {
            taxonomy: &taxonomy,
            model: &model,
            is_new: &|field| trained.contains_key(field),
            skipped: &skipped,
            examples: &examples,
        };
        let verdict = verdict(store, pipeline, department, &challenger, order).await?;
        let fitting = Fitting { fields: trained.clone(), skipped: skipped.clone(), verdict: Some(verdict.clone()) };
        let new = NewModel {
            blob: model.save()?,
            encoder: pipeline.encoder().fingerprint().to_owned(),
            text_version: TEXT_VERSION,
            data_seq,
            metrics: serde_json::to_value(&fitting).map_err(|_| Error::Bug("metrics cannot be written as JSON"))?,
            activate: verdict.promoted,
        };
        (Some(store.put_model(department, new).await?), verdict)
    };
    jobs::load_department(store, pipeline, department).await?;
    Ok(Trained { version, fields: trained, skipped, verdict, duration_s: started.elapsed().as_secs_f32() })
}

/// What the gate says of a challenger.
async fn verdict(
    store: &Store,
    pipeline: &Pipeline,
    department: &str,
    challenger: &Challenger<'_>,
    order: &Order,
) -> Result<Verdict> {
    loop {
        let serving = Serving::read(store, pipeline, department).await?;
        let mut verdict = match &serving {
            Serving::Nothing => {
                let reasons = vec!["These are the first heads of the department.".to_owned()];
                Verdict { promoted: true, reasons, ..Verdict::default() }
            }
            Serving::Unusable(version) => {
                let reasons = vec![format!(
                    "Version {version} was made with another encoder, text version or format and decides nothing any \
                     more, so there is nothing to compare with."
                )];
                Verdict { promoted: true, reasons, ..Verdict::default() }
            }
            Serving::Champion(champion) => {
                let contests = champion.against(pipeline, department, challenger)?;
                challenge::judge(&order.gate, champion.version, contests)
            }
        };
        if order.promote_anyway && !verdict.promoted {
            verdict.promoted = true;
            verdict.reasons.push("It serves all the same, because that was asked for.".to_owned());
        }
        // Somebody may have promoted another version meanwhile, and that one is to be compared with then.
        if store.activations(department, 1).await?.first().copied() == serving.version() {
            return Ok(verdict);
        }
    }
}

/// Resolved tickets of a department that were read and embedded, in the order of their ids.
///
/// # Errors
/// When the store cannot be read.
pub async fn examples(store: &Store, encoder: &Encoder, department: &str) -> Result<Vec<Example>> {
    let mut examples = Vec::new();
    let mut seq = 0;
    loop {
        let changes = store.changes_since(seq, PAGE, encoder.fingerprint(), TEXT_VERSION).await?;
        let Some(last) = changes.last() else { break };
        seq = last.seq;
        for Change { seq, department: of, object, .. } in changes {
            if let Changed::Ticket { ticket, derived: Some(derived), .. } = object
                && of == department
                && ticket.is_resolved()
            {
                examples.push(Example { ticket: *ticket, derived, seq });
            }
        }
    }
    examples.sort_by(|a, b| a.ticket.id.cmp(&b.ticket.id));
    Ok(examples)
}

/// A fit of a department's heads, before it is run.
pub struct Fit<'a> {
    /// Encoder that made the examples' vectors; it embeds the label names.
    pub encoder: &'a Encoder,
    /// The closed set.
    pub taxonomy: &'a Taxonomy,
    /// Fields to fit; all, when empty.
    pub fields: &'a [String],
    /// Heads to keep for the other fields.
    pub former: Option<DepartmentModel>,
}

/// What a fit gives.
pub struct Fitted {
    /// The heads.
    pub model: DepartmentModel,
    /// What was fitted, by field.
    pub trained: BTreeMap<String, FieldTraining>,
    /// Fields that were left out, with the reason.
    pub skipped: BTreeMap<String, String>,
}

impl Fit<'_> {
    /// Fits the heads on `examples`.
    ///
    /// # Errors
    /// When the label names cannot be embedded.
    pub fn run(self, examples: &[&Example], progress: &(dyn Fn(TrainProgress<'_>) + Sync)) -> Result<Fitted> {
        let dim = self.encoder.dim();
        let (standardiser, heads) = match self.former {
            Some(former) => (former.standardiser, former.fields),
            None => {
                let labelled = examples.iter().filter(|example| !example.ticket.labels.is_empty());
                let vectors: Vec<f32> = labelled.flat_map(|example| vector(example, dim)).copied().collect();
                (Standardiser::fit(&vectors, dim), BTreeMap::new())
            }
        };
        let mut model = DepartmentModel {
            encoder: self.encoder.fingerprint().to_owned(),
            text_version: TEXT_VERSION,
            standardiser,
            fields: heads,
        };
        let mut trained = BTreeMap::new();
        let mut skipped = BTreeMap::new();
        // A field with a matrix follows from two others, and learns nothing itself.
        for field in self.taxonomy.fields.iter().filter(|field| field.matrix.is_none()) {
            if !self.fields.is_empty() && !self.fields.contains(&field.id) {
                continue;
            }
            match fit_field(self.encoder, field, examples, &model.standardiser, progress)? {
                Ok(head) => {
                    trained.insert(field.id.clone(), summary(field, &head));
                    model.fields.insert(field.id.clone(), head);
                }
                Err(reason) => {
                    model.fields.remove(&field.id);
                    skipped.insert(field.id.clone(), reason);
                }
            }
        }
        Ok(Fitted { model, trained, skipped })
    }
}

/// The fitted head, or the reason why the field cannot be fitted.
fn fit_field(
    encoder: &Encoder,
    field: &Field,
    examples: &[&Example],
    standardiser: &Standardiser,
    progress: &(dyn Fn(TrainProgress<'_>) + Sync),
) -> Result<Result<FieldModel, String>> {
    let dim = encoder.dim();
    let (label_ids, name_vectors) = label_names(encoder, field)?;
    let mut tickets: Vec<&str> = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    let mut vectors: Vec<f32> = Vec::new();
    let mut labels: Vec<u32> = Vec::new();
    for example in examples {
        let Some(value) = example.ticket.labels.get(&field.id) else { continue };
        let Some(label) = field.resolve(value).and_then(|label| label_ids.iter().position(|id| *id == label.id)) else {
            continue;
        };
        tickets.push(&example.ticket.id);
        texts.push(&example.derived.text);
        vectors.extend_from_slice(vector(example, dim));
        labels.push(label as u32);
    }
    if labels.len() < LEAST_EXAMPLES {
        let n = labels.len();
        return Ok(Err(format!("{n} resolved tickets have a value, and at least {LEAST_EXAMPLES} are needed")));
    }
    if labels.iter().all(|label| *label == labels[0]) {
        return Ok(Err("all resolved tickets have the same value".to_owned()));
    }
    let set = TrainingSet {
        tickets: &tickets,
        texts: &texts,
        vectors: &vectors,
        dim,
        labels: &labels,
        label_ids: &label_ids,
        name_vectors: &name_vectors,
        ordinal: field.ordinal,
        seed: SEED,
    };
    // Members report from several threads; the greatest share is the one to show.
    let furthest = Mutex::new(0.0f32);
    let report = |share: f32| {
        let mut furthest = furthest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if share > *furthest {
            *furthest = share;
            progress(TrainProgress { field: &field.id, share });
        }
    };
    classify::fit(&set, standardiser, &report).map(Ok)
}

fn summary(field: &Field, head: &FieldModel) -> FieldTraining {
    let rows = head.out_of_fold();
    let right = rows.iter().filter(|row| row.is_right()).count();
    FieldTraining {
        examples: head.examples_per_label().iter().sum::<u32>() as usize,
        labels: head.examples_per_label().iter().filter(|n| **n > 0).count(),
        accuracy_out_of_fold: right as f32 / rows.len().max(1) as f32,
        coverage_out_of_fold: head.simulate(field.precision_target, field.rule, 0).automation_rate,
        precision_target: field.precision_target,
    }
}

/// Vector of an example's whole text.
fn vector(example: &Example, dim: usize) -> &[f32] {
    &example.derived.rows[..dim.min(example.derived.rows.len())]
}
