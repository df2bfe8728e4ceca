//! Here is a ticket that was read and embedded, give me the decision on each field of its department.

use std::collections::BTreeMap;

use crate::classify::{DepartmentModel, Features, FieldModel, NEIGHBOURS, Standardiser, make_room};
use crate::pipeline::department::Department;
use crate::suggest::decide::{Assessment, Neighbour, abstain, decide, read_matrix};
use crate::taxonomy::Field;
use crate::ticket::{FieldDecision, Language, Reason};

/// A ticket that was read and embedded.
pub struct Reading<'a> {
    /// Its id, so that it never is its own neighbour.
    pub id: &'a str,
    /// Canonical text.
    pub text: &'a str,
    /// Language of the text.
    pub language: Language,
    /// Vector of the text, length 1.
    pub vector: &'a [f32],
    /// Values that the ticket came with, by field. They decide nothing; the evidence is held against them.
    pub stated: Option<&'a BTreeMap<String, String>>,
}

/// The decision on one field and the probabilities behind it.
pub struct FieldAssessment {
    /// The decision under the field's policy.
    pub decision: FieldDecision,
    /// Label ids in the order of `probabilities`.
    pub label_ids: Vec<String>,
    /// One per label, summing to 1; empty when the field has no head.
    pub probabilities: Vec<f32>,
    /// The label that the field's rule chose, an index into `label_ids`; none when the field has no head.
    pub chosen: Option<usize>,
    /// Whether the probabilities were checked on held-out data.
    pub calibrated: bool,
    /// Whether nothing like this ticket was seen in training.
    pub far_from_training: bool,
    /// How unlike the training data the ticket is: mean of standard scores, 0 on average.
    pub novelty: f32,
    /// What each of [`crate::classify::MEMBER_NAMES`] would say alone, as indices into `label_ids`; empty without trained heads.
    pub by_member: Vec<u32>,
}

impl FieldAssessment {
    fn without_head(decision: FieldDecision) -> FieldAssessment {
        FieldAssessment {
            decision,
            label_ids: Vec::new(),
            probabilities: Vec::new(),
            chosen: None,
            calibrated: false,
            far_from_training: false,
            novelty: 0.0,
            by_member: Vec::new(),
        }
    }
}

/// How the labels of a field are decided on.
pub(super) struct Policy {
    /// Labels of the head, then active ones that are younger than it.
    labels: Vec<String>,
    /// Labels of the head.
    n_known: usize,
    /// Confidence from which each label of the head meets the field's two targets.
    thresholds: Vec<Option<f32>>,
    apply_thresholds: Vec<Option<f32>>,
    /// Labels of the head that were split since: position, and the positions of the heirs.
    splits: Vec<(usize, Vec<usize>)>,
}

impl Policy {
    pub(super) fn new(field: &Field, head: &FieldModel) -> Policy {
        let mut labels = head.label_ids().to_vec();
        let n_known = labels.len();
        let younger = field.active().filter(|label| !head.label_ids().contains(&label.id));
        labels.extend(younger.map(|label| label.id.clone()));
        let position = |id: &String| labels.iter().position(|label| label == id);
        let heirs_of = |(old, id): (usize, &String)| {
            let heirs: Vec<usize> = field.find(id)?.split_into.iter().filter_map(position).collect();
            (!heirs.is_empty()).then_some((old, heirs))
        };
        Policy {
            splits: head.label_ids().iter().enumerate().filter_map(heirs_of).collect(),
            thresholds: head.thresholds(field.precision_target, field.rule),
            apply_thresholds: head.thresholds(field.apply_target(), field.rule),
            n_known,
            labels,
        }
    }
}

impl Department {
    /// Decides on every field of the taxonomy.
    pub(super) fn assess(&self, reading: &Reading<'_>, top_n: usize) -> BTreeMap<String, FieldAssessment> {
        let nearest = self.nearest(&self.standardiser, reading, &|_| true);
        let learnt = self.taxonomy.fields.iter().filter(|field| field.matrix.is_none());
        let mut assessed: BTreeMap<String, FieldAssessment> =
            learnt.map(|field| (field.id.clone(), self.assess_field(field, reading, &nearest, top_n))).collect();
        if assessed.len() < self.taxonomy.fields.len() {
            let decisions = assessed.iter().map(|(field, found)| (field.clone(), found.decision.clone())).collect();
            for field in self.taxonomy.fields.iter().filter(|field| field.matrix.is_some()) {
                let decision = read_matrix(field, &decisions);
                assessed.insert(field.id.clone(), FieldAssessment::without_head(decision));
            }
        }
        assessed
    }

    fn assess_field(
        &self,
        field: &Field,
        reading: &Reading<'_>,
        nearest: &[(String, f32)],
        top_n: usize,
    ) -> FieldAssessment {
        let (Some(head), Some(policy)) = (self.head(&field.id), self.policies.get(&field.id)) else {
            return FieldAssessment::without_head(abstain(Reason::NoExamples));
        };
        let label_ids = &policy.labels;
        let (neighbours, votes) = self.neighbours(field, label_ids, nearest);
        let known_votes: Vec<(u32, f32)> =
            votes.iter().copied().filter(|&(label, _)| (label as usize) < policy.n_known).collect();
        let features = Features { text: reading.text, vector: reading.vector, neighbours: &known_votes };
        // Names were centred in the general space, trained heads fitted in the department's own.
        let standardiser = if head.is_trained() { &self.standardiser } else { &self.general_standardiser };
        let mut prediction = head.predict(standardiser, &features);
        let chosen = head.choose(field.rule, &prediction.probabilities);
        make_room(&mut prediction.probabilities, &votes, label_ids.len());
        for (old, heirs) in &policy.splits {
            self.share_out(field, &features, &votes, (*old, heirs), label_ids, &mut prediction.probabilities);
        }
        // A younger label that is likelier than what the head decides on takes its place.
        let younger = (policy.n_known..label_ids.len())
            .max_by(|&a, &b| prediction.probabilities[a].total_cmp(&prediction.probabilities[b]))
            .filter(|&label| prediction.probabilities[label] > prediction.probabilities[chosen]);
        let chosen = younger.unwrap_or(chosen);

        let examples: Vec<u32> = label_ids
            .iter()
            .map(|label| self.tally.labels.get(&(field.id.clone(), label.clone())).copied().unwrap_or(0))
            .collect();
        let assessment = Assessment {
            field,
            label_ids,
            probabilities: &prediction.probabilities,
            chosen,
            thresholds: &policy.thresholds,
            apply_thresholds: &policy.apply_thresholds,
            n_calibrated: policy.n_known,
            examples: &examples,
            calibrated: prediction.calibrated,
            far_from_training: prediction.far_from_training,
            language_seen: reading.language == Language::Und
                || self.tally.languages.get(&(field.id.clone(), reading.language)).is_some_and(|n| *n > 0),
            neighbours: &neighbours,
            stated: reading.stated.and_then(|stated| stated.get(&field.id)).map(String::as_str),
        };
        FieldAssessment {
            decision: decide(reading.text, &assessment, top_n),
            label_ids: label_ids.clone(),
            chosen: Some(chosen),
            probabilities: prediction.probabilities,
            calibrated: prediction.calibrated,
            far_from_training: prediction.far_from_training,
            novelty: prediction.novelty,
            by_member: prediction.by_member,
        }
    }

    /// Gives the probability of a label that was split to its heirs, by their names and the neighbours that have them.
    fn share_out(
        &self,
        field: &Field,
        features: &Features<'_>,
        votes: &[(u32, f32)],
        (old, heirs): (usize, &[usize]),
        label_ids: &[String],
        probabilities: &mut [f32],
    ) {
        let mass = std::mem::take(&mut probabilities[old]);
        let mut shares = vec![1.0 / heirs.len() as f32; heirs.len()];
        if let Some(names) = self.untrained.get(&field.id) {
            let position = |id: &String| names.label_ids().iter().position(|known| known == id);
            let of_heir: Vec<Option<usize>> = heirs.iter().map(|&heir| position(&label_ids[heir])).collect();
            let votes: Vec<(u32, f32)> = votes
                .iter()
                .filter(|(label, _)| heirs.contains(&(*label as usize)))
                .filter_map(|&(label, cosine)| Some((position(&label_ids[label as usize])? as u32, cosine)))
                .collect();
            let likely = names.predict(&self.general_standardiser, &Features { neighbours: &votes, ..*features });
            let of_heir: Vec<f32> = of_heir.iter().map(|at| at.map_or(0.0, |at| likely.probabilities[at])).collect();
            let total: f32 = of_heir.iter().sum();
            if total > 0.0 {
                shares = of_heir.iter().map(|share| share / total).collect();
            }
        }
        for (&heir, share) in heirs.iter().zip(shares) {
            probabilities[heir] += mass * share;
        }
    }

    /// The nearest resolved tickets that have a label of the field now, and their votes for the labels of a head.
    fn neighbours<'a>(
        &'a self,
        field: &'a Field,
        label_ids: &[String],
        nearest: &[(String, f32)],
    ) -> (Vec<Neighbour<'a>>, Vec<(u32, f32)>) {
        let mut neighbours: Vec<Neighbour<'_>> = Vec::with_capacity(NEIGHBOURS);
        let mut votes: Vec<(u32, f32)> = Vec::with_capacity(NEIGHBOURS);
        for (id, similarity) in nearest {
            if neighbours.len() == NEIGHBOURS {
                break;
            }
            let Some((ticket, document)) = self.tickets.get_key_value(id) else { continue };
            let Some(label) = document.labels.get(&field.id).and_then(|value| field.resolve(value)) else { continue };
            neighbours.push(Neighbour { ticket, label: &label.id, score: *similarity, text: &document.text });
            if let Some(index) = label_ids.iter().position(|known| *known == label.id) {
                votes.push((index as u32, *similarity));
            }
        }
        (neighbours, votes)
    }

    /// Probabilities by field and label of heads that need not be the ones in force, with the neighbours of now as far as
    /// `may_vote` (reading, neighbour) lets them.
    pub(super) fn predict_with(
        &self,
        model: &DepartmentModel,
        reading: &Reading<'_>,
        may_vote: &dyn Fn(&str, &str) -> bool,
    ) -> BTreeMap<String, Vec<f32>> {
        let nearest = self.nearest(&model.standardiser, reading, &|id| may_vote(reading.id, id));
        let of_field = |field: &Field| {
            let head = model.fields.get(&field.id)?;
            let (_, votes) = self.neighbours(field, head.label_ids(), &nearest);
            let features = Features { text: reading.text, vector: reading.vector, neighbours: &votes };
            Some((field.id.clone(), head.predict(&model.standardiser, &features).probabilities))
        };
        self.taxonomy.fields.iter().filter_map(of_field).collect()
    }

    /// Resolved tickets nearest to a reading, itself left out.
    fn nearest(
        &self,
        standardiser: &Standardiser,
        reading: &Reading<'_>,
        keep: &dyn Fn(&str) -> bool,
    ) -> Vec<(String, f32)> {
        self.index.nearest_standardised(
            reading.vector,
            standardiser.mean(),
            standardiser.deviation(),
            // Some neighbours have no value in some field.
            3 * NEIGHBOURS,
            &|id: &str| id != reading.id && keep(id),
        )
    }
}
