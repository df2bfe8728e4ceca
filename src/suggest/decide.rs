//! Here are a field's probabilities and its policy, give me the decision with its reason and its evidence.

use crate::suggest::overlap::{Grams, sentences, slice};
use std::collections::BTreeMap;

use crate::taxonomy::{Automation, Field, Predict};
use crate::ticket::{Alternative, Decision, Evidence, FieldDecision, LabelRef, Reason, Stated, StatedEvidence};

/// What a decision on one field is made from.
pub struct Assessment<'a> {
    /// The field, as the taxonomy has it now.
    pub field: &'a Field,
    /// Label ids in the order of `probabilities`; they may be older than the taxonomy.
    pub label_ids: &'a [String],
    /// One per label, summing to 1.
    pub probabilities: &'a [f32],
    /// The label that the field's rule decides on, an index into `label_ids`.
    pub chosen: usize,
    /// Confidence from which each label meets the field's precision target; none where none could be derived.
    pub thresholds: &'a [Option<f32>],
    /// The same for the target of values that are set without asking.
    pub apply_thresholds: &'a [Option<f32>],
    /// Labels that were there when the probabilities were calibrated, the first of `label_ids`; younger ones only rank.
    pub n_calibrated: usize,
    /// Resolved tickets behind each label.
    pub examples: &'a [u32],
    /// False when the probabilities were never checked on held-out data: they rank, but are not shown.
    pub calibrated: bool,
    /// Nothing like this ticket was seen in training.
    pub far_from_training: bool,
    /// Some resolved ticket with a value in this field is in the ticket's language.
    pub language_seen: bool,
    /// Nearest resolved tickets with a value in this field, nearest first.
    pub neighbours: &'a [Neighbour<'a>],
    /// The value that the ticket came with, by id or name.
    pub stated: Option<&'a str>,
}

/// A near resolved ticket and the label it got.
pub struct Neighbour<'a> {
    /// Its id.
    pub ticket: &'a str,
    /// Its label, an id of the taxonomy.
    pub label: &'a str,
    /// Cosine of the standardised vectors.
    pub score: f32,
    /// Its canonical text.
    pub text: &'a str,
}

/// A text with fewer words than this says too little to decide on.
const LEAST_WORDS: usize = 2;

/// Two labels closer than this are a tie rather than a weak win.
const TIE: f32 = 0.15;

/// Neighbours shown for the best label, and for other labels.
const EVIDENCE: usize = 3;
const AGAINST: usize = 2;

/// Longest quote of a neighbour, in characters.
const QUOTE_CHARS: usize = 160;

/// Decides on one field of a ticket whose canonical text is `text`; `top_n` alternatives are listed.
pub fn decide(text: &str, assessment: &Assessment<'_>, top_n: usize) -> FieldDecision {
    let ranked = rank(assessment);
    let chosen = assessment.label_ids.get(assessment.chosen).and_then(|id| assessment.field.resolve(id));
    let best = ranked.iter().find(|label| chosen.is_some_and(|chosen| chosen.id == label.label.id)).or(ranked.first());
    let Some(best) = best else {
        return abstain(Reason::NoExamples);
    };
    if assessment.field.automation == Automation::Off {
        return abstain(Reason::FieldOff);
    }
    let calibrated = assessment.calibrated && best.calibrated;
    let is_sure = best.threshold.is_some_and(|threshold| best.probability >= threshold);
    let others = ranked.iter().filter(|label| label.label.id != best.label.id);
    let runner_up = others.clone().map(|label| label.probability).fold(0.0, f32::max);
    let reason = if text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count() < LEAST_WORDS
    {
        Some(Reason::TooShort)
    } else if best.predict == Predict::Never {
        Some(Reason::NeverGiven)
    } else if !calibrated || best.predict == Predict::Always {
        None
    } else if assessment.far_from_training {
        Some(Reason::FarFromTraining)
    } else if !assessment.language_seen {
        Some(Reason::LanguageUnseen)
    } else if is_sure {
        None
    } else if best.probability - runner_up < TIE {
        Some(Reason::LowMargin)
    } else {
        Some(Reason::LowConfidence)
    };
    let may_apply =
        best.predict == Predict::Always || best.apply_threshold.is_some_and(|threshold| best.probability >= threshold);
    let outcome = match (reason, assessment.field.automation.decision()) {
        (Some(_), _) => Decision::Abstain,
        // What was never calibrated may be shown beside the field, and no more.
        (None, _) if !calibrated => Decision::Suggest,
        (None, Decision::Apply) if !may_apply => Decision::Preselect,
        (None, level) => level,
    };
    let value = (outcome != Decision::Abstain).then(|| best.label.clone());
    let (evidence, against) = evidence(text, &best.label.id, assessment.neighbours);
    let listed = ranked.iter().filter(|label| value.as_ref().is_none_or(|value| *value != label.label));
    FieldDecision {
        outcome,
        reason,
        confidence: calibrated.then_some(best.probability),
        threshold: best.threshold.filter(|_| calibrated),
        apply_threshold: best
            .apply_threshold
            .filter(|_| calibrated && assessment.field.automation == Automation::Apply),
        based_on: best.examples as usize,
        alternatives: listed
            .take(top_n)
            .map(|label| Alternative {
                id: label.label.id.clone(),
                name: label.label.name.clone(),
                confidence: (assessment.calibrated && label.calibrated).then_some(label.probability),
            })
            .collect(),
        value,
        evidence,
        against,
        stated: assessment.stated.and_then(|stated| compare(stated, assessment, &ranked)),
        derived_from: BTreeMap::new(),
    }
}

/// Reads a field's matrix at the values decided for its two other fields. The decision is as bold as the more careful of
/// the two, and bears no confidence: that of a pair was never calibrated.
pub fn read_matrix(field: &Field, decisions: &BTreeMap<String, FieldDecision>) -> FieldDecision {
    let Some(matrix) = &field.matrix else { return abstain(Reason::NoExamples) };
    if field.automation == Automation::Off {
        return abstain(Reason::FieldOff);
    }
    let (Some(row), Some(column)) = (decisions.get(&matrix.rows), decisions.get(&matrix.columns)) else {
        return abstain(Reason::NoExamples);
    };
    let (Some(row_value), Some(column_value)) = (&row.value, &column.value) else {
        return abstain(row.reason.or(column.reason).unwrap_or(Reason::LowConfidence));
    };
    let Some(label) = matrix.cell(&row_value.id, &column_value.id).and_then(|label| field.resolve(label)) else {
        return abstain(Reason::NoExamples);
    };
    let caution = |decision: Decision| match decision {
        Decision::Apply => 0,
        Decision::Preselect => 1,
        Decision::Suggest => 2,
        Decision::Abstain => 3,
    };
    let outcomes = [field.automation.decision(), row.outcome, column.outcome];
    FieldDecision {
        outcome: outcomes.into_iter().max_by_key(|outcome| caution(*outcome)).unwrap_or(Decision::Abstain),
        value: Some(label.reference()),
        reason: None,
        based_on: row.based_on.min(column.based_on),
        derived_from: [(matrix.rows.clone(), row_value.clone()), (matrix.columns.clone(), column_value.clone())].into(),
        ..abstain(Reason::NoExamples)
    }
}

/// The level that a ticket came with against the probabilities of the levels below and above it; none where these were not
/// calibrated or the field has no order.
fn compare(stated: &str, assessment: &Assessment<'_>, ranked: &[Ranked]) -> Option<Stated> {
    let field = assessment.field;
    let position = |id: &str| field.labels.iter().position(|label| label.id == id);
    let value = field.resolve(stated)?.reference();
    if !field.ordinal || !assessment.calibrated || ranked.iter().any(|label| !label.calibrated) {
        return None;
    }
    let at = position(&value.id)?;
    let mass = |is_counted: &dyn Fn(usize) -> bool| {
        let counted = ranked.iter().filter(|label| position(&label.label.id).is_some_and(is_counted));
        counted.map(|label| label.probability).sum::<f32>().min(1.0)
    };
    let (lower, higher) = (mass(&|level| level < at), mass(&|level| level > at));
    let evidence = if lower >= field.precision_target {
        StatedEvidence::SaysLower
    } else if higher >= field.precision_target {
        StatedEvidence::SaysHigher
    } else {
        StatedEvidence::NotContradicted
    };
    Some(Stated { value, evidence, lower, higher })
}

/// An abstention that says nothing about any label.
pub fn abstain(reason: Reason) -> FieldDecision {
    FieldDecision {
        outcome: Decision::Abstain,
        reason: Some(reason),
        value: None,
        confidence: None,
        threshold: None,
        apply_threshold: None,
        based_on: 0,
        alternatives: Vec::new(),
        evidence: Vec::new(),
        against: Vec::new(),
        stated: None,
        derived_from: BTreeMap::new(),
    }
}

struct Ranked {
    label: LabelRef,
    probability: f32,
    threshold: Option<f32>,
    apply_threshold: Option<f32>,
    examples: u32,
    calibrated: bool,
    predict: Predict,
}

/// Labels that may be given now, most probable first. A merged label's share goes to its heir; the share of labels
/// that are no longer given is spread over the rest, which is the probability given that one of the rest is right.
fn rank(assessment: &Assessment<'_>) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = Vec::new();
    for (index, id) in assessment.label_ids.iter().enumerate() {
        let Some(label) = assessment.field.resolve(id) else { continue };
        let probability = assessment.probabilities.get(index).copied().unwrap_or(0.0);
        let examples = assessment.examples.get(index).copied().unwrap_or(0);
        let threshold = assessment.thresholds.get(index).copied().flatten();
        let apply_threshold = assessment.apply_thresholds.get(index).copied().flatten();
        let calibrated = index < assessment.n_calibrated;
        match ranked.iter_mut().find(|known| known.label.id == label.id) {
            Some(known) => {
                known.probability += probability;
                known.examples += examples;
                // Of labels that were merged, the younger one brings no threshold, and counts for no number.
                if calibrated && known.calibrated {
                    known.threshold = known.threshold.zip(threshold).map(|(a, b)| a.max(b));
                    known.apply_threshold = known.apply_threshold.zip(apply_threshold).map(|(a, b)| a.max(b));
                }
            }
            None => ranked.push(Ranked {
                label: label.reference(),
                probability,
                threshold,
                apply_threshold,
                examples,
                calibrated,
                predict: label.predict,
            }),
        }
    }
    let total: f32 = ranked.iter().map(|label| label.probability).sum();
    let something_was_dropped = total < 1.0 - 1e-3;
    if something_was_dropped && total > 0.0 {
        for label in &mut ranked {
            label.probability = (label.probability / total).clamp(0.0, 1.0);
        }
    }
    ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.label.id.cmp(&b.label.id)));
    ranked
}

fn evidence(text: &str, best: &str, neighbours: &[Neighbour<'_>]) -> (Vec<Evidence>, Vec<Evidence>) {
    let asked = Grams::of(text);
    let show = |neighbour: &Neighbour<'_>, with_quote: bool| Evidence {
        ticket: neighbour.ticket.to_owned(),
        label: neighbour.label.to_owned(),
        score: neighbour.score,
        quote: if with_quote { quote(&asked, neighbour.text) } else { None },
    };
    let agree = neighbours.iter().filter(|neighbour| neighbour.label == best).take(EVIDENCE);
    let differ = neighbours.iter().filter(|neighbour| neighbour.label != best).take(AGAINST);
    (agree.map(|neighbour| show(neighbour, true)).collect(), differ.map(|neighbour| show(neighbour, false)).collect())
}

/// The sentence of `text` that shares most wording with the ticket; none when nothing is shared.
fn quote(asked: &Grams, text: &str) -> Option<String> {
    sentences(text)
        .into_iter()
        .take(64)
        .map(|range| slice(text, (range.0, range.1.min(range.0 + QUOTE_CHARS))))
        .map(|sentence| (asked.shared_with(&Grams::of(&sentence)), sentence))
        .filter(|(shared, _)| *shared > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, sentence)| sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::taxonomy::Label;

    fn field(automation: Automation) -> Field {
        Field {
            automation,
            labels: vec![Label::new("vpn"), Label::new("mail"), Label::new("old")],
            ..Field::new("category")
        }
    }

    fn assessment<'a>(field: &'a Field, label_ids: &'a [String], probabilities: &'a [f32]) -> Assessment<'a> {
        Assessment {
            field,
            label_ids,
            probabilities,
            chosen: (0..probabilities.len())
                .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
                .unwrap_or(0),
            thresholds: &[Some(0.8); 3],
            apply_thresholds: &[Some(0.85); 3],
            n_calibrated: label_ids.len(),
            examples: &[7, 8, 9],
            calibrated: true,
            far_from_training: false,
            language_seen: true,
            neighbours: &[],
            stated: None,
        }
    }

    fn decide_with(field: &Field, probabilities: &[f32], change: impl FnOnce(&mut Assessment<'_>)) -> FieldDecision {
        let label_ids = ["vpn", "mail", "old"].map(str::to_owned);
        let mut assessment = assessment(field, &label_ids, probabilities);
        change(&mut assessment);
        decide("VPN geht nicht", &assessment, 2)
    }

    #[test]
    fn a_sure_label_gets_the_fields_level() {
        for (automation, expected) in [
            (Automation::Suggest, Decision::Suggest),
            (Automation::Preselect, Decision::Preselect),
            (Automation::Apply, Decision::Apply),
        ] {
            let decision = decide_with(&field(automation), &[0.9, 0.07, 0.03], |_| ());
            assert_eq!(decision.outcome, expected);
            assert_eq!(decision.value.map(|label| label.id), Some("vpn".to_owned()));
            assert_eq!((decision.confidence, decision.threshold, decision.based_on), (Some(0.9), Some(0.8), 7));
            assert_eq!(decision.alternatives[0].id, "mail");
        }
    }

    #[test]
    fn every_reason_to_abstain_is_named() {
        let apply = field(Automation::Apply);
        let reason = |probabilities: &[f32], change: fn(&mut Assessment<'_>)| {
            let decision = decide_with(&apply, probabilities, change);
            assert_eq!((decision.outcome, decision.value), (Decision::Abstain, None));
            decision.reason
        };
        assert_eq!(reason(&[0.7, 0.2, 0.1], |_| ()), Some(Reason::LowConfidence));
        assert_eq!(reason(&[0.5, 0.45, 0.05], |_| ()), Some(Reason::LowMargin));
        assert_eq!(reason(&[0.9, 0.1, 0.0], |a| a.far_from_training = true), Some(Reason::FarFromTraining));
        assert_eq!(reason(&[0.9, 0.1, 0.0], |a| a.language_seen = false), Some(Reason::LanguageUnseen));
        assert_eq!(reason(&[0.9, 0.1, 0.0], |a| a.thresholds = &[None; 3]), Some(Reason::LowConfidence));
        assert_eq!(reason(&[], |a| a.label_ids = &[]), Some(Reason::NoExamples));
        assert_eq!(decide_with(&field(Automation::Off), &[0.9, 0.1, 0.0], |_| ()).reason, Some(Reason::FieldOff));
    }

    #[test]
    fn one_word_is_too_short_to_decide_on() {
        let field = field(Automation::Apply);
        let label_ids = ["vpn".to_owned()];
        let assessment = assessment(&field, &label_ids, &[1.0]);
        assert_eq!(decide("Hilfe !!", &assessment, 3).reason, Some(Reason::TooShort));
    }

    #[test]
    fn what_was_never_calibrated_is_suggested_without_a_number() {
        let decision = decide_with(&field(Automation::Apply), &[0.9, 0.07, 0.03], |a| a.calibrated = false);
        assert_eq!((decision.outcome, decision.confidence, decision.threshold), (Decision::Suggest, None, None));
        assert!(decision.alternatives.iter().all(|alternative| alternative.confidence.is_none()));
    }

    #[test]
    fn inactive_and_merged_labels_never_leave() {
        let mut field = field(Automation::Apply);
        field.labels[2].merged_into = Some("mail".to_owned());
        let decision = decide_with(&field, &[0.1, 0.2, 0.7], |_| ());
        assert_eq!(decision.value.map(|label| label.id), Some("mail".to_owned()));
        assert_eq!(decision.based_on, 17);
        field.labels[0].active = false;
        let decision = decide_with(&field, &[0.98, 0.01, 0.01], |_| ());
        assert_eq!(decision.value.map(|label| label.id), Some("mail".to_owned()));
        assert!(decision.alternatives.is_empty());
    }

    #[test]
    fn what_falls_between_the_two_targets_is_preselected() {
        let outcome = |automation, probability: f32| {
            decide_with(&field(automation), &[probability, 1.0 - probability, 0.0], |_| ()).outcome
        };
        assert_eq!(outcome(Automation::Apply, 0.86), Decision::Apply);
        assert_eq!(outcome(Automation::Apply, 0.83), Decision::Preselect);
        assert_eq!(outcome(Automation::Preselect, 0.86), Decision::Preselect);
        assert_eq!(outcome(Automation::Apply, 0.79), Decision::Abstain);
        let decision = decide_with(&field(Automation::Apply), &[0.9, 0.1, 0.0], |a| a.apply_thresholds = &[None; 3]);
        assert_eq!((decision.outcome, decision.apply_threshold), (Decision::Preselect, None));
    }

    #[test]
    fn some_labels_are_never_given_and_some_always() {
        let mut field = field(Automation::Apply);
        field.labels[0].predict = Predict::Never;
        field.labels[1].predict = Predict::Always;
        let decision = decide_with(&field, &[0.95, 0.05, 0.0], |_| ());
        assert_eq!((decision.outcome, decision.reason), (Decision::Abstain, Some(Reason::NeverGiven)));
        assert_eq!(decision.alternatives[0].id, "vpn");
        let decision = decide_with(&field, &[0.3, 0.4, 0.3], |_| ());
        assert_eq!(
            (decision.outcome, decision.value.map(|label| label.id)),
            (Decision::Apply, Some("mail".to_owned()))
        );
    }

    #[test]
    fn the_rule_may_choose_another_than_the_likeliest() {
        let decision = decide_with(&field(Automation::Apply), &[0.5, 0.1, 0.4], |a| {
            a.chosen = 2;
            a.thresholds = &[Some(0.3); 3];
        });
        assert_eq!(decision.value.map(|label| label.id), Some("old".to_owned()));
        assert_eq!((decision.confidence, decision.based_on), (Some(0.4), 9));
        assert_eq!(decision.alternatives[0].id, "vpn");
    }

    #[test]
    fn a_label_younger_than_the_head_is_suggested_without_a_number() {
        let decision = decide_with(&field(Automation::Apply), &[0.2, 0.1, 0.7], |a| a.n_calibrated = 2);
        assert_eq!((decision.outcome, decision.confidence, decision.threshold), (Decision::Suggest, None, None));
        assert_eq!(decision.alternatives[0].confidence, Some(0.2));
    }

    #[test]
    fn a_stated_level_is_held_against_the_evidence() {
        let field = Field { ordinal: true, ..field(Automation::Suggest) };
        let stated = |probabilities: &[f32], value: &'static str| {
            decide_with(&field, probabilities, |a| a.stated = Some(value)).stated
        };
        let found = stated(&[0.9, 0.05, 0.05], "old").unwrap();
        assert_eq!((found.evidence, found.value.id.as_str()), (StatedEvidence::SaysLower, "old"));
        assert!((found.lower - 0.95).abs() < 1e-6 && found.higher == 0.0);
        assert_eq!(stated(&[0.05, 0.05, 0.9], "vpn").map(|s| s.evidence), Some(StatedEvidence::SaysHigher));
        assert_eq!(stated(&[0.5, 0.3, 0.2], "old").map(|s| s.evidence), Some(StatedEvidence::SaysLower));
        assert_eq!(stated(&[0.4, 0.3, 0.3], "old").map(|s| s.evidence), Some(StatedEvidence::NotContradicted));
        assert_eq!(stated(&[0.4, 0.3, 0.3], "unheard of"), None);
    }

    #[test]
    fn a_matrix_is_read_at_the_two_decided_values() {
        use crate::taxonomy::Matrix;
        let cells = [("vpn".to_owned(), [("mail".to_owned(), "old".to_owned())].into())].into();
        let matrix = Matrix { rows: "impact".to_owned(), columns: "urgency".to_owned(), cells };
        let priority = Field { matrix: Some(matrix), ..field(Automation::Apply) };
        let decided = |outcome, id: &str| FieldDecision {
            outcome,
            reason: None,
            value: Some(LabelRef { id: id.to_owned(), name: id.to_owned() }),
            based_on: 3,
            ..abstain(Reason::LowMargin)
        };
        let mut decisions: BTreeMap<String, FieldDecision> = [
            ("impact".to_owned(), decided(Decision::Apply, "vpn")),
            ("urgency".to_owned(), decided(Decision::Preselect, "mail")),
        ]
        .into();
        let decision = read_matrix(&priority, &decisions);
        assert_eq!((decision.outcome, decision.confidence, decision.based_on), (Decision::Preselect, None, 3));
        assert_eq!(decision.value.map(|label| label.id), Some("old".to_owned()));
        assert_eq!(decision.derived_from["impact"].id, "vpn");
        decisions.insert("urgency".to_owned(), abstain(Reason::LowMargin));
        let decision = read_matrix(&priority, &decisions);
        assert_eq!((decision.outcome, decision.reason), (Decision::Abstain, Some(Reason::LowMargin)));
    }

    #[test]
    fn neighbours_speak_for_and_against() {
        let neighbours = [
            Neighbour { ticket: "T-1", label: "vpn", score: 0.9, text: "Hallo. VPN geht bei mir auch nicht." },
            Neighbour { ticket: "T-2", label: "mail", score: 0.8, text: "Outlook" },
        ];
        let field = field(Automation::Apply);
        let label_ids = ["vpn".to_owned(), "mail".to_owned()];
        let assessment = Assessment { neighbours: &neighbours, ..assessment(&field, &label_ids, &[0.9, 0.1]) };
        let decision = decide("VPN geht nicht", &assessment, 2);
        assert_eq!(decision.evidence.len(), 1);
        assert_eq!(decision.evidence[0].quote.as_deref(), Some("VPN geht bei mir auch nicht."));
        assert_eq!(decision.against[0].ticket, "T-2");
    }
}
