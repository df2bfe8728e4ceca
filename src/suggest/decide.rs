//! Here are a field's probabilities and its policy, give me the decision with its reason and its evidence.

use crate::suggest::overlap::{Grams, sentences, slice};
use crate::taxonomy::{Automation, Field};
use crate::ticket::{Alternative, Decision, Evidence, FieldDecision, LabelRef, Reason};

/// What a decision on one field is made from.
pub struct Assessment<'a> {
    /// The field, as the taxonomy has it now.
    pub field: &'a Field,
    /// Label ids in the order of `probabilities`; they may be older than the taxonomy.
    pub label_ids: &'a [String],
    /// One per label, summing to 1.
    pub probabilities: &'a [f32],
    /// Confidence from which each label meets the field's precision target; none where none could be derived.
    pub thresholds: &'a [Option<f32>],
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
    let Some(best) = ranked.first() else {
        return abstain(Reason::NoExamples);
    };
    if assessment.field.automation == Automation::Off {
        return abstain(Reason::FieldOff);
    }
    let runner_up = ranked.get(1).map_or(0.0, |label| label.probability);
    let reason = if text.split_whitespace().filter(|word| word.chars().any(char::is_alphanumeric)).count() < LEAST_WORDS
    {
        Some(Reason::TooShort)
    } else if !assessment.calibrated {
        None
    } else if assessment.far_from_training {
        Some(Reason::FarFromTraining)
    } else if !assessment.language_seen {
        Some(Reason::LanguageUnseen)
    } else if best.threshold.is_some_and(|threshold| best.probability >= threshold) {
        None
    } else if best.probability - runner_up < TIE {
        Some(Reason::LowMargin)
    } else {
        Some(Reason::LowConfidence)
    };
    // What was never calibrated may be shown beside the field, and no more.
    let outcome = match reason {
        Some(_) => Decision::Abstain,
        None if assessment.calibrated => assessment.field.automation.decision(),
        None => Decision::Suggest,
    };
    let value = (outcome != Decision::Abstain).then(|| best.label.clone());
    let (evidence, against) = evidence(text, &best.label.id, assessment.neighbours);
    let shown = |probability: f32| assessment.calibrated.then_some(probability);
    FieldDecision {
        outcome,
        reason,
        confidence: shown(best.probability),
        threshold: if assessment.calibrated { best.threshold } else { None },
        based_on: best.examples as usize,
        alternatives: ranked
            .iter()
            .skip(usize::from(value.is_some()))
            .take(top_n)
            .map(|label| Alternative {
                id: label.label.id.clone(),
                name: label.label.name.clone(),
                confidence: shown(label.probability),
            })
            .collect(),
        value,
        evidence,
        against,
    }
}

/// An abstention that says nothing about any label.
pub fn abstain(reason: Reason) -> FieldDecision {
    FieldDecision {
        outcome: Decision::Abstain,
        reason: Some(reason),
        value: None,
        confidence: None,
        threshold: None,
        based_on: 0,
        alternatives: Vec::new(),
        evidence: Vec::new(),
        against: Vec::new(),
    }
}

struct Ranked {
    label: LabelRef,
    probability: f32,
    threshold: Option<f32>,
    examples: u32,
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
        match ranked.iter_mut().find(|known| known.label.id == label.id) {
            Some(known) => {
                known.probability += probability;
                known.examples += examples;
                known.threshold = known.threshold.zip(threshold).map(|(a, b)| a.max(b));
            }
            None => ranked.push(Ranked { label: label.reference(), probability, threshold, examples }),
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
            thresholds: &[Some(0.8); 3],
            examples: &[7, 8, 9],
            calibrated: true,
            far_from_training: false,
            language_seen: true,
            neighbours: &[],
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
