//! Here are the heads that serve and new ones, give me what both say of tickets that neither had learnt from.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};

use super::challenge::{Contest, HeldOut};
use super::{Example, vector};
use crate::classify::{DepartmentModel, FieldModel, OutOfFold, wording};
use crate::error::Result;
use crate::pipeline::{Pipeline, Reading};
use crate::store::Store;
use crate::taxonomy::{Field, Taxonomy};

/// Tickets that the champion is asked about at most: 3,000 tell a difference of 1.5 points from none, and each costs a
/// search among all.
const MOST_ASKED: usize = 3000;

/// The version that serves when a challenger comes.
pub(super) enum Serving {
    /// There is none.
    Nothing,
    /// It was made with another encoder, text version or format, and decides nothing any more.
    Unusable(u32),
    /// It decides.
    Champion(Box<Champion>),
}

/// Heads that serve.
pub(super) struct Champion {
    pub(super) version: u32,
    pub(super) model: DepartmentModel,
    /// Last change they have seen.
    data_seq: u64,
    created_at: DateTime<Utc>,
}

impl Serving {
    /// Reads the active version of a department.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn read(store: &Store, pipeline: &Pipeline, department: &str) -> Result<Serving> {
        let Some((version, blob)) = store.active_model(department).await? else { return Ok(Serving::Nothing) };
        let infos = store.models(Some(department)).await?;
        let info = infos.into_iter().find(|info| info.version == version);
        let model = DepartmentModel::load(&blob).ok().filter(|model| pipeline.can_use(model));
        Ok(match (model, info) {
            (Some(model), Some(info)) => {
                let (data_seq, created_at) = (info.data_seq, info.created_at);
                Serving::Champion(Box::new(Champion { version, model, data_seq, created_at }))
            }
            _ => Serving::Unusable(version),
        })
    }

    /// Version that is active.
    pub(super) fn version(&self) -> Option<u32> {
        match self {
            Serving::Nothing => None,
            Serving::Unusable(version) => Some(*version),
            Serving::Champion(champion) => Some(champion.version),
        }
    }
}

/// A challenger with what it was fitted on.
pub(super) struct Challenger<'a> {
    pub(super) taxonomy: &'a Taxonomy,
    pub(super) model: &'a DepartmentModel,
    /// Whether a field was fitted anew; heads that were only kept are not compared with themselves.
    pub(super) is_new: &'a (dyn Fn(&str) -> bool + Sync),
    /// Why fields were left out.
    pub(super) skipped: &'a BTreeMap<String, String>,
    pub(super) examples: &'a [Example],
}

impl Champion {
    /// What both say of held-out tickets, by field that the champion has.
    ///
    /// # Errors
    /// When the department is not loaded.
    pub(super) fn against(
        &self,
        pipeline: &Pipeline,
        department: &str,
        challenger: &Challenger<'_>,
    ) -> Result<BTreeMap<String, Contest>> {
        let known = Known::new(challenger.examples, self);
        let mut contests = BTreeMap::new();
        let mut compared = Vec::new();
        for field in &challenger.taxonomy.fields {
            let Some(former) = self.model.fields.get(&field.id) else { continue };
            match challenger.model.fields.get(&field.id) {
                Some(new) if new.out_of_fold().is_empty() && !former.out_of_fold().is_empty() => {
                    // All texts are alike, say. Nobody knows how good such heads are, so they replace none that is known.
                    let reason = "none of its examples could be held out to check it on".to_owned();
                    contests.insert(field.id.clone(), Contest::Lost(reason));
                }
                Some(new) if (challenger.is_new)(&field.id) => {
                    compared.push((field, former, new, self.slice(field, former, new, &known)));
                }
                Some(_) => {}
                // A field that follows from others, or that nothing may be given for, has no need of a head.
                None if field.matrix.is_some() || field.active().next().is_none() => {}
                None => {
                    let reason = challenger.skipped.get(&field.id).map_or("it was not fitted", String::as_str);
                    contests.insert(field.id.clone(), Contest::Lost(reason.to_owned()));
                }
            }
        }
        let mut to_ask: Vec<&str> = compared.iter().flat_map(|(.., slice)| slice.to_ask.iter().copied()).collect();
        to_ask.sort_unstable();
        to_ask.dedup();
        let step = to_ask.len().div_ceil(MOST_ASKED).max(1);
        let asked: Vec<&Example> =
            to_ask.iter().step_by(step).filter_map(|id| known.examples.get(id).copied()).collect();
        let said = self.ask(pipeline, department, &asked, &known)?;
        for (field, former, new, slice) in compared {
            let mut rows = Vec::new();
            for row in new.out_of_fold() {
                let Some(truth) = id_at(new, row.truth).and_then(|id| field.resolve(id)) else { continue };
                let ticket = row.ticket.as_str();
                let of_former = match slice.remembered.get(ticket) {
                    Some(label) => Some(label.clone()),
                    None => said.get(ticket).and_then(|by_field| {
                        likeliest(field, former.label_ids(), by_field.get(&field.id).map(Vec::as_slice)?)
                    }),
                };
                let of_new = likeliest_of_row(field, new, row);
                // Who says only what may not be given any more would say something else now.
                let (Some(champion), Some(challenger)) = (of_former, of_new) else { continue };
                rows.push(HeldOut { truth: truth.id.clone(), champion, challenger });
            }
            contests.insert(field.id.clone(), Contest::Both(rows));
        }
        Ok(contests)
    }

    /// Which of the challenger's held-out tickets the champion can be compared on.
    fn slice<'a>(&self, field: &Field, former: &FieldModel, new: &'a FieldModel, known: &Known<'_>) -> Slice<'a> {
        let rows = former.out_of_fold();
        let of_former: HashMap<&str, _> = rows.iter().map(|row| (row.ticket.as_str(), row)).collect();
        // Of very many examples only a part was held out in turn; who is not among them may still have been learnt from.
        let n_learnt = former.examples_per_label().iter().map(|n| *n as usize).sum::<usize>();
        let all_were_held_out = n_learnt <= rows.len();
        let mut slice = Slice { remembered: HashMap::new(), to_ask: Vec::new() };
        for row in new.out_of_fold() {
            let ticket = row.ticket.as_str();
            if let Some(row) = of_former.get(ticket) {
                slice.remembered.extend(likeliest_of_row(field, former, row).map(|label| (ticket, label)));
                continue;
            }
            let Some(example) = known.examples.get(ticket) else { continue };
            let was_open = example.ticket.resolved_at.is_some_and(|at| at > self.created_at);
            let is_unseen = example.seq > self.data_seq && (all_were_held_out || was_open);
            // The challenger's rows were predicted without their near-copies, so the champion must not have one either.
            if is_unseen && !known.has_learnt_copy(ticket) {
                slice.to_ask.push(ticket);
            }
        }
        slice
    }

    /// The champion's probabilities by ticket and field.
    fn ask<'a>(
        &self,
        pipeline: &Pipeline,
        department: &str,
        examples: &[&'a Example],
        known: &Known<'_>,
    ) -> Result<HashMap<&'a str, BTreeMap<String, Vec<f32>>>> {
        if examples.is_empty() {
            return Ok(HashMap::new());
        }
        let dim = pipeline.encoder().dim();
        let readings: Vec<Reading<'_>> = examples
            .iter()
            .map(|example| Reading {
                id: &example.ticket.id,
                text: &example.derived.text,
                language: example.derived.language,
                vector: vector(example, dim),
                stated: None,
            })
            .collect();
        let may_vote = |asked: &str, neighbour: &str| !known.are_copies(asked, neighbour);
        let said = pipeline.predict_with(department, &self.model, &readings, &may_vote)?;
        Ok(examples.iter().map(|example| example.ticket.id.as_str()).zip(said).collect())
    }
}

/// The resolved tickets of now, and which of them are near-copies of each other.
struct Known<'a> {
    examples: HashMap<&'a str, &'a Example>,
    /// Wording by ticket; tickets without letters are not there, because nothing says that they are copies.
    wordings: HashMap<&'a str, String>,
    /// Wordings that the champion has learnt from.
    learnt: HashSet<String>,
}

impl<'a> Known<'a> {
    fn new(examples: &'a [Example], champion: &'a Champion) -> Known<'a> {
        let id = |example: &'a Example| example.ticket.id.as_str();
        let wordings: HashMap<&str, String> = examples
            .iter()
            .map(|example| (id(example), wording(&example.derived.text)))
            .filter(|(_, wording)| !wording.is_empty())
            .collect();
        let seen = examples.iter().filter(|example| example.seq <= champion.data_seq).map(id);
        let held_out = champion.model.fields.values().flat_map(FieldModel::out_of_fold);
        let learnt = seen.chain(held_out.map(|row| row.ticket.as_str()));
        let learnt = learnt.filter_map(|ticket| wordings.get(ticket).cloned()).collect();
        Known { examples: examples.iter().map(|example| (id(example), example)).collect(), wordings, learnt }
    }

    fn has_learnt_copy(&self, ticket: &str) -> bool {
        self.wordings.get(ticket).is_some_and(|wording| self.learnt.contains(wording))
    }

    fn are_copies(&self, a: &str, b: &str) -> bool {
        self.wordings.get(a).is_some_and(|wording| self.wordings.get(b) == Some(wording))
    }
}

/// Where the champion's word on the challenger's held-out tickets comes from.
struct Slice<'a> {
    /// Label by ticket, from the time the champion was fitted.
    remembered: HashMap<&'a str, String>,
    /// Tickets it has never seen.
    to_ask: Vec<&'a str>,
}

fn id_at(head: &FieldModel, label: u32) -> Option<&str> {
    head.label_ids().get(label as usize).map(String::as_str)
}

/// The likeliest label of a held-out row by today's closed set; none when that may not be given any more.
fn likeliest_of_row(field: &Field, head: &FieldModel, row: &OutOfFold) -> Option<String> {
    if row.levels.is_empty() {
        return id_at(head, row.label).and_then(|id| field.resolve(id)).map(|label| label.id.clone());
    }
    likeliest(field, head.label_ids(), &row.levels)
}

/// The likeliest label by today's closed set: the shares of merged labels go to their heirs, labels that may not be given
/// any more are passed over. The first of equals.
fn likeliest(field: &Field, label_ids: &[String], probabilities: &[f32]) -> Option<String> {
    let mut shares: Vec<(&str, f32)> = Vec::new();
    for (id, probability) in label_ids.iter().zip(probabilities) {
        let Some(label) = field.resolve(id) else { continue };
        match shares.iter_mut().find(|(known, _)| *known == label.id) {
            Some((_, share)) => *share += probability,
            None => shares.push((&label.id, *probability)),
        }
    }
    let best = shares.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(best.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taxonomy::Label;

    #[test]
    fn shares_of_merged_labels_go_to_the_heir() {
        let mut field = Field { labels: ["vpn", "wifi", "old"].map(Label::new).into(), ..Field::new("category") };
        let ids = ["vpn", "wifi", "old"].map(str::to_owned);
        assert_eq!(likeliest(&field, &ids, &[0.3, 0.3, 0.4]).as_deref(), Some("old"));
        field.labels[2].active = false;
        assert_eq!(likeliest(&field, &ids, &[0.3, 0.3, 0.4]).as_deref(), Some("vpn"));
        field.labels[2].active = true;
        field.labels[2].merged_into = Some("wifi".to_owned());
        assert_eq!(likeliest(&field, &ids, &[0.5, 0.3, 0.2]).as_deref(), Some("vpn"));
        assert_eq!(likeliest(&field, &ids, &[0.4, 0.3, 0.3]).as_deref(), Some("wifi"));
        assert_eq!(likeliest(&field, &[], &[]), None);
    }
}
