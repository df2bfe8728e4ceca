//! Here are the examples of a department, predict each without having learnt from it, and audit the labels.

use std::collections::HashMap;
use std::path::Path;

use super::{Audit, FOLDS, FieldRows, Request, Row, Subject, audit};
use crate::error::{Error, Result};
use crate::evaluate::FieldResult;
use crate::evaluate::run::{HoldOut, TestTickets, held_out_of_store};
use crate::pipeline::Pipeline;
use crate::taxonomy::{Field, Taxonomy};
use crate::ticket::LabelRef;
use crate::train::{Example, TrainProgress};

/// Audits the fields of `taxonomy` on `examples`. Nothing that serves changes; `scratch` is a folder for the indexes of
/// the parts. With too few tickets for parts, the findings that need no predictions remain.
///
/// # Errors
/// When fitting or embedding fails.
pub fn of_store(
    request: &Request<'_>,
    pipeline: &Pipeline,
    taxonomy: &Taxonomy,
    examples: &[Example],
    scratch: &Path,
    progress: &(dyn Fn(TrainProgress<'_>) + Sync),
) -> Result<Audit> {
    let results = match held_out_of_store(
        pipeline,
        taxonomy,
        examples,
        HoldOut::Folds(FOLDS),
        &TestTickets::default(),
        scratch,
        progress,
    ) {
        Ok(results) => results,
        // A part without tickets: there are too few of them.
        Err(Error::Invalid { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let subjects: Vec<Subject<'_>> = examples
        .iter()
        .map(|Example { ticket, derived, .. }| Subject {
            ticket: &ticket.id,
            text: &derived.text,
            vector: derived.rows.get(..derived.dim).unwrap_or_default(),
            created_at: ticket.created_at,
        })
        .collect();
    let fields = taxonomy.fields.iter().map(|field| {
        let result = results.iter().find(|result| result.field == field.id);
        field_rows(field, examples, result)
    });
    Ok(audit(request, &subjects, fields.collect()))
}

fn field_rows(field: &Field, examples: &[Example], result: Option<&FieldResult>) -> FieldRows {
    let labels: Vec<LabelRef> = field.active().map(|label| label.reference()).collect();
    let mut predicted: HashMap<&str, &[f32]> = HashMap::new();
    // Results list the same labels in the same order; should that ever change, no prediction is better than a wrong one.
    for row in result.filter(|result| result.labels == labels).into_iter().flat_map(|result| &result.rows) {
        predicted.insert(&row.ticket, &row.probabilities);
    }
    let mut rows = FieldRows {
        field: field.id.clone(),
        ordinal: field.ordinal,
        calibrated: result.is_some_and(|result| result.calibrated),
        rows: Vec::new(),
        without_value: 0,
        with_other_value: 0,
        labels,
    };
    for (subject, example) in examples.iter().enumerate() {
        let Some(value) = example.ticket.labels.get(&field.id) else {
            rows.without_value += 1;
            continue;
        };
        let label = field.resolve(value).and_then(|label| rows.labels.iter().position(|known| known.id == label.id));
        let Some(label) = label else {
            rows.with_other_value += 1;
            continue;
        };
        let probabilities = predicted.get(example.ticket.id.as_str()).map(|probabilities| probabilities.to_vec());
        rows.rows.push(Row { subject, label, probabilities });
    }
    rows
}
