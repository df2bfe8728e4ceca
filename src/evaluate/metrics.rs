//! Here is what the model said about a field and what was right, give me its figures.
//!
//! Conventions are those of scikit-learn where it has the measure; a figure that has no value (no ticket, a division by
//! zero) is absent, never 0 or NaN.

mod calibration;
mod costs;
mod judged;
mod labels;
mod unknown;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::calibration::ReliabilityBin;
pub(super) use self::calibration::calibration_error;
use self::calibration::{after_equals, calibration_error_by_chance, histogram, reliability_bins};
pub use self::costs::{CostMetrics, Costs, FieldCosts, PairCost, ThresholdCost};
pub(super) use self::judged::{Judged, judge};
pub(super) use self::labels::Counts;
pub use self::labels::{Confusion, LabelMetrics};
use self::labels::{confusion, label_metrics, quadratic_kappa};
pub use self::unknown::UnknownMetrics;
use super::interval::{Interval, bootstrap, mean, round, wilson};
use super::{FieldResult, Scored};
use crate::classify::MEMBER_NAMES;
use crate::ticket::Language;

/// Points of the accuracy/automation curve.
const CURVE_POINTS: usize = 50;
/// Start of the bootstrap's random numbers: a report of the same decisions is the same report.
const BOOTSTRAP_SEED: u64 = 20_260_101;

/// The figures of one field. Shares lie between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldMetrics {
    /// Held-out tickets.
    pub n: usize,
    /// False when the confidences were never fitted to outcomes; they then only rank.
    pub calibrated: bool,
    /// True when the labels are steps of one scale.
    pub ordinal: bool,
    /// Share whose label decided on is right; that is the most likely one, unless the field has another rule.
    pub accuracy: Option<f64>,
    /// Accuracy of always giving the label that is most frequent among these tickets: the figure to beat.
    pub majority_accuracy: Option<f64>,
    /// Share whose right label is among the three most likely.
    pub top3: Option<f64>,
    /// Mean F1 over the labels that occur among right or given ones; an undefined precision or recall counts as 0.
    pub macro_f1: Option<f64>,
    /// Mean of -ln p(right label), p floored at the precision of `f32`.
    pub log_loss: Option<f64>,
    /// Mean over tickets of the squared error summed over labels, 0 to 2 (Brier 1950); not halved for two labels.
    pub brier: Option<f64>,
    /// Expected calibration error of the label decided on: mean of |accuracy - mean confidence| over the bins of
    /// `reliability`, weighted by tickets.
    pub ece: Option<f64>,
    /// What `ece` would be on average if every confidence were exact: the part of it that is chance.
    pub ece_by_chance: Option<f64>,
    /// Area under the risk-coverage curve (Geifman and El-Yaniv 2017): mean error rate of the k most confident, over all
    /// k; lower is better.
    pub aurc: Option<f64>,
    /// Cohen's kappa with squared distances in label order; only for an ordinal field.
    pub quadratic_kappa: Option<f64>,
    /// Share that is at most one step off; only for an ordinal field.
    pub within_one_step: Option<f64>,
    /// 95 % intervals by name: "accuracy" and "top3" (Wilson), "macro_f1" (bootstrap).
    pub intervals: BTreeMap<String, Interval>,
    /// What is decided at the field's own precision target.
    pub at_target: CoverageAt,
    /// What is decided at other precision targets, by target: "0.95".
    pub coverage_at: BTreeMap<String, CoverageAt>,
    /// Up to 15 bins of equal mass by confidence, lowest first; equal confidences share a bin.
    pub reliability: Vec<ReliabilityBin>,
    /// Tickets by confidence, in 20 steps of 0.05.
    pub confidence_histogram: Vec<usize>,
    /// Accuracy when only the most confident share is decided, smallest share first, about 50 points.
    pub curve: Vec<CurvePoint>,
    /// By label id; every label of the field.
    pub labels: BTreeMap<String, LabelMetrics>,
    /// Which label was taken for which.
    pub confusion: Confusion,
    /// By language of the ticket; all three are always there.
    pub by_language: BTreeMap<Language, LanguageMetrics>,
    /// What each member of the head would be worth alone, by [`MEMBER_NAMES`]; empty without trained heads.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, MemberMetrics>,
    /// How well tickets that belong to no label are told apart; only when there were such tickets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<UnknownMetrics>,
    /// What right, wrong and absent decisions cost; only when costs were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<CostMetrics>,
}

/// What the thresholds of a precision target decide. The thresholds were set on training data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CoverageAt {
    /// Share of all tickets that is decided.
    pub coverage: Option<f64>,
    /// Share of the decided ones that is right; absent when none is decided.
    pub precision: Option<f64>,
    /// Tickets decided.
    pub n: usize,
    /// 95 % Wilson interval of `precision`.
    pub precision_interval: Option<Interval>,
}

/// One point of the accuracy/automation curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Share of tickets decided, the most confident first.
    pub coverage: f64,
    /// Share of those that is right.
    pub accuracy: f64,
    /// Lowest confidence among them.
    pub confidence: f64,
}

/// One member of a head, deciding alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberMetrics {
    /// Tickets that it looked at.
    pub n: usize,
    /// Share whose best label is right.
    pub accuracy: Option<f64>,
    /// Mean F1, as for the field.
    pub macro_f1: Option<f64>,
}

/// The figures of the tickets in one language.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LanguageMetrics {
    /// Tickets.
    pub n: usize,
    /// Share whose label decided on is right.
    pub accuracy: Option<f64>,
    /// Expected calibration error as for the field; noisy, and too high, below some hundreds of tickets.
    pub ece: Option<f64>,
}

/// Computes the figures of a field. Any input is fine: probabilities that are not finite count as 0.
pub fn field_metrics(result: &FieldResult) -> FieldMetrics {
    let n_labels = result.labels.len();
    let judged = judge(result);
    let n = judged.len();
    let confidences: Vec<f64> = judged.iter().map(|row| row.confidence).collect();
    let right: Vec<bool> = judged.iter().map(|row| row.correct).collect();
    let pairs: Vec<(Option<usize>, Option<usize>)> = judged.iter().map(|row| (row.truth, row.predicted)).collect();
    let counts = Counts::of(n_labels, pairs.iter().copied());

    let share = |test: &dyn Fn(&Judged<'_>) -> bool| mean(judged.iter().filter(|row| test(row)).count() as f64, n);
    let total = |value: &dyn Fn(&Judged<'_>) -> f64| mean(judged.iter().map(value).sum(), n);
    let accuracy = share(&|row| row.correct);
    let top3 = share(&|row| row.among_three);
    let macro_f1_interval = bootstrap(n, BOOTSTRAP_SEED, |picks| {
        Counts::of(n_labels, picks.iter().filter_map(|&i| pairs.get(i).copied())).macro_f1()
    });
    let intervals = [
        ("accuracy", accuracy.and_then(|share| wilson(share, n))),
        ("top3", top3.and_then(|share| wilson(share, n))),
        ("macro_f1", macro_f1_interval),
    ];
    let confusion = confusion(result, &pairs);
    let targets: BTreeMap<String, CoverageAt> = result
        .rows
        .iter()
        .flat_map(|row| row.decided_at.keys())
        .map(|target| (target.clone(), CoverageAt::default()))
        .collect();

    FieldMetrics {
        n,
        calibrated: result.calibrated,
        ordinal: result.ordinal,
        accuracy,
        majority_accuracy: mean(counts.truth.iter().copied().max().unwrap_or(0) as f64, n),
        top3,
        macro_f1: counts.macro_f1().map(round),
        log_loss: total(&|row| row.log_loss),
        brier: total(&|row| row.brier),
        ece: calibration_error(&confidences, &right),
        ece_by_chance: calibration_error_by_chance(&confidences),
        aurc: risk_coverage_area(&judged),
        quadratic_kappa: if result.ordinal { quadratic_kappa(&confusion) } else { None },
        within_one_step: if result.ordinal {
            share(&|row| row.truth.zip(row.predicted).is_some_and(|(truth, said)| truth.abs_diff(said) <= 1))
        } else {
            None
        },
        intervals: intervals.into_iter().filter_map(|(name, interval)| Some((name.to_owned(), interval?))).collect(),
        at_target: coverage(&judged, |row| row.decided),
        coverage_at: targets
            .into_keys()
            .map(|target| {
                let decided = coverage(&judged, |row| row.decided_at.get(&target).copied().unwrap_or(false));
                (target, decided)
            })
            .collect(),
        reliability: reliability_bins(&confidences, &right),
        confidence_histogram: histogram(&confidences),
        curve: automation_curve(&judged, &confidences),
        labels: label_metrics(result, &judged, &counts),
        by_language: [Language::De, Language::En, Language::Und]
            .into_iter()
            .map(|language| (language, language_metrics(&judged, language)))
            .collect(),
        members: members(&judged, n_labels),
        unknown: unknown::unknown_metrics(result),
        costs: None,
        confusion,
    }
}

fn risk_coverage_area(judged: &[Judged<'_>]) -> Option<f64> {
    let mut wrong = 0.0;
    let mut sum = 0.0;
    for (rank, row) in judged.iter().enumerate() {
        wrong += f64::from(u8::from(!row.correct));
        sum += wrong / (rank + 1) as f64;
    }
    mean(sum, judged.len())
}

fn automation_curve(judged: &[Judged<'_>], confidences: &[f64]) -> Vec<CurvePoint> {
    let n = judged.len();
    let mut points = Vec::new();
    let mut decided = 0;
    let mut right = 0;
    for point in 1..=CURVE_POINTS {
        let end = after_equals(confidences, (point * n).div_ceil(CURVE_POINTS));
        let Some(rows) = judged.get(decided..end) else { continue };
        let Some(last) = rows.last() else { continue };
        right += rows.iter().filter(|row| row.correct).count();
        decided = end;
        points.push(CurvePoint {
            coverage: round(decided as f64 / n as f64),
            accuracy: round(right as f64 / decided as f64),
            confidence: round(last.confidence),
        });
    }
    points
}

fn coverage(judged: &[Judged<'_>], is_decided: impl Fn(&Scored) -> bool) -> CoverageAt {
    let decided: Vec<&Judged<'_>> = judged.iter().filter(|row| is_decided(row.row)).collect();
    let n = decided.len();
    let precision = mean(decided.iter().filter(|row| row.correct).count() as f64, n);
    CoverageAt {
        coverage: mean(n as f64, judged.len()),
        precision,
        n,
        precision_interval: precision.and_then(|share| wilson(share, n)),
    }
}

fn language_metrics(judged: &[Judged<'_>], language: Language) -> LanguageMetrics {
    // Still sorted by confidence, as the bins need it.
    let rows = judged.iter().filter(|row| row.row.language == language);
    let (confidences, right): (Vec<f64>, Vec<bool>) = rows.map(|row| (row.confidence, row.correct)).unzip();
    LanguageMetrics {
        n: right.len(),
        accuracy: mean(right.iter().filter(|right| **right).count() as f64, right.len()),
        ece: calibration_error(&confidences, &right),
    }
}

fn members(judged: &[Judged<'_>], n_labels: usize) -> BTreeMap<String, MemberMetrics> {
    let alone = |(member, name): (usize, &&str)| {
        let pairs: Vec<(Option<usize>, Option<usize>)> = judged
            .iter()
            .filter_map(|row| Some((row.truth, row.row.by_member.get(member)?.filter(|label| *label < n_labels))))
            .collect();
        let n_right = pairs.iter().filter(|(truth, said)| said.is_some() && truth == said).count();
        let metrics = MemberMetrics {
            n: pairs.len(),
            accuracy: mean(n_right as f64, pairs.len()),
            macro_f1: Counts::of(n_labels, pairs.iter().copied()).macro_f1().map(round),
        };
        (metrics.n > 0).then(|| ((*name).to_owned(), metrics))
    };
    MEMBER_NAMES.iter().enumerate().filter_map(alone).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ticket::LabelRef;

    fn field(rows: Vec<Scored>, n_labels: usize, ordinal: bool) -> FieldResult {
        let labels = (0..n_labels).map(|i| LabelRef { id: format!("l{i}"), name: format!("Label {i}") }).collect();
        FieldResult { field: "category".to_owned(), labels, ordinal, calibrated: true, rows, unknown: Vec::new() }
    }

    fn row(index: usize, truth: usize, probabilities: &[f32], decided: bool) -> Scored {
        Scored {
            ticket: format!("T{index:05}"),
            language: if index.is_multiple_of(3) { Language::De } else { Language::En },
            truth,
            probabilities: probabilities.to_vec(),
            decided,
            decided_at: BTreeMap::from([("0.95".to_owned(), decided)]),
            ..Scored::default()
        }
    }

    /// Label 3 is only given, label 4 only right, label 5 neither.
    fn table() -> FieldResult {
        let table: [(usize, [f32; 6]); 13] = [
            (0, [0.70, 0.10, 0.10, 0.10, 0.0, 0.0]),
            (1, [0.40, 0.35, 0.15, 0.10, 0.0, 0.0]),
            (1, [0.05, 0.80, 0.10, 0.05, 0.0, 0.0]),
            (2, [0.10, 0.20, 0.65, 0.05, 0.0, 0.0]),
            (2, [0.10, 0.45, 0.40, 0.05, 0.0, 0.0]),
            (0, [0.25, 0.25, 0.30, 0.20, 0.0, 0.0]),
            (2, [0.01, 0.01, 0.97, 0.01, 0.0, 0.0]),
            (2, [0.05, 0.15, 0.20, 0.60, 0.0, 0.0]),
            (0, [0.55, 0.15, 0.15, 0.15, 0.0, 0.0]),
            (1, [0.10, 0.60, 0.20, 0.10, 0.0, 0.0]),
            (1, [0.02, 0.90, 0.05, 0.03, 0.0, 0.0]),
            (2, [0.33, 0.30, 0.27, 0.10, 0.0, 0.0]),
            (4, [0.40, 0.30, 0.18, 0.10, 0.02, 0.0]),
        ];
        let rows = table.iter().enumerate().map(|(i, (truth, p))| row(i, *truth, p, p.iter().any(|p| *p >= 0.6)));
        field(rows.collect(), 6, true)
    }

    fn close(value: Option<f64>, expected: f64) {
        let value = value.expect("a figure");
        assert!((value - expected).abs() < 2e-6, "{value} is not {expected}");
    }

    #[test]
    fn figures_agree_with_scikit_learn() {
        let metrics = field_metrics(&table());
        assert_eq!(metrics.n, 13);
        close(metrics.accuracy, 0.538_462); // accuracy_score
        close(metrics.macro_f1, 0.35); // f1_score(average="macro", zero_division=0)
        close(metrics.top3, 0.923_077); // top_k_accuracy_score(k=3)
        close(metrics.log_loss, 0.956_791); // log_loss(labels=range(6))
        close(metrics.brier, 0.447_662); // brier_score_loss(labels=range(6), scale_by_half=False)
        close(metrics.quadratic_kappa, 0.068_966); // cohen_kappa_score(weights="quadratic", labels=range(6))
        close(metrics.within_one_step, 0.769_231); // numpy: mean(abs(truth - predicted) <= 1)
        close(metrics.aurc, 0.169_122); // numpy: mean(cumsum(wrong) / arange(1, 14)), most confident first
        close(metrics.majority_accuracy, 5.0 / 13.0);
    }

    #[test]
    fn labels_and_confusions_are_counted() {
        let metrics = field_metrics(&table());
        let first = &metrics.labels["l0"];
        assert_eq!((first.n, first.predicted, first.name.as_str()), (3, 5, "Label 0"));
        close(first.precision, 0.4);
        close(first.recall, 0.666_667);
        close(first.f1, 0.5);
        assert_eq!((metrics.labels["l3"].recall, metrics.labels["l3"].f1), (None, Some(0.0)));
        assert_eq!((metrics.labels["l4"].precision, metrics.labels["l4"].recall), (None, Some(0.0)));
        assert_eq!(metrics.labels["l5"].f1, None);
        let expected =
            vec![(0, 0, 2), (0, 2, 1), (1, 0, 1), (1, 1, 3), (2, 0, 1), (2, 1, 1), (2, 2, 2), (2, 3, 1), (4, 0, 1)];
        assert_eq!(metrics.confusion.cells, expected);
    }

    #[test]
    fn decisions_are_counted_by_label() {
        let metrics = field_metrics(&table());
        let of = |label: &str| (metrics.labels[label].decided, metrics.labels[label].decided_precision);
        assert_eq!(
            (of("l0"), of("l1"), of("l2"), of("l3")),
            ((1, Some(1.0)), (3, Some(1.0)), (2, Some(1.0)), (1, Some(0.0)))
        );
        assert_eq!(of("l5"), (0, None));
        assert_eq!(metrics.labels.values().map(|label| label.decided).sum::<usize>(), metrics.at_target.n);
    }

    #[test]
    fn the_label_decided_on_counts_even_where_another_is_likelier() {
        let mut rows: Vec<Scored> = (0..4).map(|i| row(i, 1, &[0.6, 0.4], true)).collect();
        rows[0].predicted = Some(1);
        rows[1].predicted = Some(1);
        rows[2].predicted = Some(7);
        let metrics = field_metrics(&field(rows, 2, true));
        close(metrics.accuracy, 0.5);
        close(metrics.at_target.precision, 0.5);
        assert_eq!((metrics.labels["l1"].predicted, metrics.labels["l1"].decided), (2, 2));
        // Its confidence is its own probability, not the likelier one's.
        assert_eq!(metrics.reliability.iter().map(|bin| bin.confidence).collect::<Vec<_>>(), [0.4, 0.6]);
    }

    #[test]
    fn members_are_measured_alone() {
        let mut rows: Vec<Scored> = (0..4).map(|i| row(i, i % 2, &[0.6, 0.4], false)).collect();
        for (i, row) in rows.iter_mut().enumerate() {
            row.by_member = vec![Some(i % 2), Some(0), None];
        }
        let metrics = field_metrics(&field(rows, 2, false));
        let of = |member: &str| (metrics.members[member].accuracy, metrics.members[member].macro_f1);
        assert_eq!(of("words"), (Some(1.0), Some(1.0)));
        // One label: F1 = 2 * 2 / (2 + 4), the other 0.
        assert_eq!(of("vectors"), (Some(0.5), Some(0.333_333)));
        assert_eq!(of("neighbours"), (Some(0.0), Some(0.0)));
        assert!(field_metrics(&table()).members.is_empty(), "heads made of names have none");
    }

    #[test]
    fn coverage_counts_what_the_thresholds_decide() {
        let metrics = field_metrics(&table());
        let at = &metrics.coverage_at["0.95"];
        // Seven rows reach 0.6; all are right but the one that says label 3.
        assert_eq!(at.n, 7);
        close(at.coverage, 7.0 / 13.0);
        close(at.precision, 6.0 / 7.0);
        assert_eq!(*at, metrics.at_target);
    }

    #[test]
    fn calibration_error_by_hand() {
        // 30 rows, two a bin: confidences .90 (right, right), .80 (right, wrong), .60 (wrong, wrong), ten times over in
        // distinct steps so that no bin holds equals of another.
        let mut rows = Vec::new();
        for step in 0..5 {
            let shift = step as f32 * 0.001;
            for (confidence, truths) in [(0.9, [0, 0]), (0.8, [0, 1]), (0.6, [1, 1])] {
                for truth in truths {
                    rows.push(row(rows.len(), truth, &[confidence + shift, 0.1 - shift], false));
                }
            }
        }
        let metrics = field_metrics(&field(rows, 2, false));
        assert_eq!(metrics.reliability.len(), 15);
        assert!(metrics.reliability.iter().all(|bin| bin.n == 2));
        assert!(metrics.reliability.is_sorted_by(|a, b| a.confidence < b.confidence));
        // Mean shift .002: (|1 - .902| + |.5 - .802| + |0 - .602|) / 3
        close(metrics.ece, (0.098 + 0.302 + 0.602) / 3.0);
        assert_eq!(metrics.quadratic_kappa, None, "only for ordinal fields");
    }

    #[test]
    fn equal_confidences_share_a_bin_whatever_their_order() {
        let rows = (0..40).map(|i| row(i, usize::from(i % 4 == 0), &[0.75, 0.25], false)).collect();
        let metrics = field_metrics(&field(rows, 2, false));
        assert_eq!(metrics.reliability.len(), 1);
        close(metrics.ece, 0.0);
        assert_eq!(metrics.curve.len(), 1);
    }

    #[test]
    fn perfect_decisions_have_perfect_figures() {
        let rows = (0..60).map(|i| row(i, i % 3, &[0, 1, 2].map(|l| f32::from(u8::from(l == i % 3))), true)).collect();
        let metrics = field_metrics(&field(rows, 3, true));
        for value in [metrics.accuracy, metrics.macro_f1, metrics.top3, metrics.quadratic_kappa] {
            close(value, 1.0);
        }
        for value in [metrics.log_loss, metrics.brier, metrics.ece, metrics.aurc] {
            close(value, 0.0);
        }
        assert_eq!(metrics.intervals["macro_f1"], Interval { low: 1.0, high: 1.0 });
        assert!(metrics.intervals["accuracy"].low < 0.95);
    }

    #[test]
    fn no_ticket_gives_no_figure_and_valid_json() {
        let metrics = field_metrics(&field(Vec::new(), 3, true));
        assert_eq!((metrics.n, metrics.accuracy, metrics.macro_f1, metrics.ece), (0, None, None, None));
        assert!(metrics.curve.is_empty() && metrics.reliability.is_empty() && metrics.coverage_at.is_empty());
        let json = serde_json::to_string(&metrics).unwrap();
        assert!(json.contains("\"accuracy\":null"), "{json}");
        assert_eq!(serde_json::from_str::<FieldMetrics>(&json).unwrap(), metrics);
    }

    #[test]
    fn odd_rows_count_as_wrong_and_break_nothing() {
        let rows = vec![
            row(0, 9, &[0.9, 0.1], false),
            row(1, 0, &[], false),
            row(2, 1, &[f32::NAN, f32::INFINITY], false),
            row(3, 0, &[0.6, 0.3, 0.1], false),
        ];
        let metrics = field_metrics(&field(rows, 2, true));
        close(metrics.accuracy, 0.25);
        assert!(!serde_json::to_string(&metrics).unwrap().contains("NaN"));
        assert_eq!(field_metrics(&field(vec![row(0, 0, &[1.0], true)], 0, true)).accuracy, Some(0.0));
    }

    #[test]
    fn languages_are_told_apart() {
        let metrics = field_metrics(&table());
        let json = serde_json::to_value(&metrics).unwrap();
        assert_eq!(json["by_language"]["de"]["n"], 5);
        assert_eq!(json["by_language"]["en"]["n"], 8);
        assert_eq!(json["by_language"]["und"]["accuracy"], serde_json::Value::Null);
    }

    proptest! {
        #[test]
        fn figures_are_bounded_and_do_not_depend_on_the_order_of_rows(
            table in prop::collection::vec((0usize..5, prop::collection::vec(0f32..1.0, 4)), 0..60)
        ) {
            let mut rows: Vec<Scored> = table.iter().enumerate().map(|(i, (truth, p))| {
                let sum: f32 = p.iter().sum::<f32>().max(1e-6);
                row(i, *truth, &p.iter().map(|p| p / sum).collect::<Vec<_>>(), i % 2 == 0)
            }).collect();
            let metrics = field_metrics(&field(rows.clone(), 4, true));
            rows.reverse();
            prop_assert_eq!(&metrics, &field_metrics(&field(rows, 4, true)));
            prop_assert!(metrics.accuracy <= metrics.top3);
            prop_assert!(metrics.accuracy <= metrics.within_one_step);
            for share in [metrics.accuracy, metrics.macro_f1, metrics.ece, metrics.aurc].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&share));
            }
            prop_assert_eq!(metrics.reliability.iter().map(|bin| bin.n).sum::<usize>(), table.len());
            prop_assert_eq!(metrics.confidence_histogram.iter().sum::<usize>(), table.len());
            if let Some(last) = metrics.curve.last() {
                prop_assert_eq!(Some(last.accuracy), metrics.accuracy);
                prop_assert_eq!(last.coverage, 1.0);
            }
        }
    }
}
