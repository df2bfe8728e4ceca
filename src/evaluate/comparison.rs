//! Here is what two model versions said about the same tickets, give me by how much they differ and whether that is more
//! than chance.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::FieldResult;
use super::interval::{Interval, bootstrap_of, round};
use super::metrics::{Counts, Judged, calibration_error, judge};

/// Resamples of the paired bootstrap.
const RESAMPLES: usize = 2000;
/// Start of its random numbers.
const SEED: u64 = 20_260_401;

/// The active version of a department beside another one, on the same tickets with the same neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The version that serves; 0 when none does and label names alone decide.
    pub active_version: u32,
    /// The version it is compared with.
    pub other_version: u32,
    /// By field id.
    pub fields: BTreeMap<String, FieldComparison>,
}

/// Both versions on one field. Differences are the active version minus the other one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldComparison {
    /// Tickets that both versions scored.
    pub n: usize,
    /// The version that serves.
    pub active: VersionMetrics,
    /// The version it is compared with.
    pub other: VersionMetrics,
    /// By figure: "accuracy", "macro_f1", "ece", "coverage", "precision"; one that a version lacks is left out.
    pub differences: BTreeMap<String, Difference>,
    /// Tickets that only one of them got right.
    pub mcnemar: McNemar,
    /// By label id; labels that occur.
    pub labels: BTreeMap<String, LabelComparison>,
    /// Ids of labels whose F1 is higher with the active version, the largest difference first.
    pub gained: Vec<String>,
    /// Ids of labels whose F1 is lower with it, the largest difference first.
    pub lost: Vec<String>,
}

/// The figures of one version. Shares lie between 0 and 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VersionMetrics {
    /// Share that is right.
    pub accuracy: Option<f64>,
    /// Mean F1 over labels.
    pub macro_f1: Option<f64>,
    /// Expected calibration error.
    pub ece: Option<f64>,
    /// Share that is decided at the field's own precision target.
    pub coverage: Option<f64>,
    /// Share of those that is right.
    pub precision: Option<f64>,
}

/// A difference with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Active minus other.
    pub value: f64,
    /// 95 % interval by paired bootstrap (2,000 resamples of tickets).
    pub interval: Option<Interval>,
}

/// McNemar's test on what only one of two versions got right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// Tickets that only the active version got right.
    pub only_active_right: usize,
    /// Tickets that only the other version got right.
    pub only_other_right: usize,
    /// Chance of a split at least as uneven if both were equally good, 0 to 1 (exact, two-sided).
    pub p: f64,
}

/// One label with both versions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelComparison {
    /// Present name.
    pub name: String,
    /// Tickets of which it is the right label.
    pub n: usize,
    /// F1 with the active version.
    pub f1_active: Option<f64>,
    /// F1 with the other version.
    pub f1_other: Option<f64>,
}

/// Compares two versions on a field. Tickets are paired by id; what only one version scored is left out.
pub fn compare(active: &FieldResult, other: &FieldResult) -> FieldComparison {
    let (active_side, other_side) = sides(active, other);
    let n = active_side.rows.len();
    let differences: [(&str, Statistic); 5] = [
        ("accuracy", |side, picks| Some(side.share(picks, |row| row.correct))),
        ("macro_f1", |side, picks| side.macro_f1(picks)),
        ("ece", |side, picks| side.calibration_error(picks)),
        ("coverage", |side, picks| Some(side.share(picks, |row| row.row.decided))),
        ("precision", |side, picks| side.precision(picks)),
    ];
    let all: Vec<usize> = (0..n).collect();
    let difference = |statistic: Statistic| {
        let of = |picks: &[usize]| Some(statistic(&active_side, picks)? - statistic(&other_side, picks)?);
        let value = round(of(&all)?);
        Some(Difference { value, interval: bootstrap_of(RESAMPLES, n, SEED, of) })
    };
    let labels = labels(active, &active_side, &other_side);
    let changes: Vec<(&String, f64)> =
        labels.iter().map(|(id, label)| (id, label.f1_active.unwrap_or(0.0) - label.f1_other.unwrap_or(0.0))).collect();
    let ranked = |sign: f64| {
        let mut ranked: Vec<(&String, f64)> = changes.iter().copied().filter(|(_, by)| sign * by > 0.0).collect();
        ranked.sort_by(|a, b| (sign * b.1).total_cmp(&(sign * a.1)).then_with(|| a.0.cmp(b.0)));
        ranked.into_iter().map(|(id, _)| id.clone()).collect()
    };
    FieldComparison {
        n,
        active: active_side.metrics(&all),
        other: other_side.metrics(&all),
        differences: if n == 0 {
            BTreeMap::new()
        } else {
            differences.into_iter().filter_map(|(name, of)| Some((name.to_owned(), difference(of)?))).collect()
        },
        mcnemar: mcnemar(&active_side.rows, &other_side.rows),
        gained: ranked(1.0),
        lost: ranked(-1.0),
        labels,
    }
}

/// A figure of the picked tickets, by index into the rows of a side.
type Statistic = fn(&Side<'_>, &[usize]) -> Option<f64>;

/// One version; the rows of both sides are the same tickets in the same order.
struct Side<'a> {
    n_labels: usize,
    rows: Vec<Judged<'a>>,
    /// Indices of `rows`, the most confident first.
    by_confidence: Vec<usize>,
}

fn sides<'a>(active: &'a FieldResult, other: &'a FieldResult) -> (Side<'a>, Side<'a>) {
    let of_other = judge(other);
    let by_ticket: HashMap<&str, Judged<'_>> = of_other.iter().map(|row| (row.row.ticket.as_str(), *row)).collect();
    let paired = judge(active).into_iter().filter_map(|row| Some((row, *by_ticket.get(row.row.ticket.as_str())?)));
    let (rows, others): (Vec<Judged<'_>>, Vec<Judged<'_>>) = paired.unzip();
    (Side::new(active.labels.len(), rows), Side::new(other.labels.len(), others))
}

impl<'a> Side<'a> {
    fn new(n_labels: usize, rows: Vec<Judged<'a>>) -> Side<'a> {
        let mut by_confidence: Vec<usize> = (0..rows.len()).collect();
        by_confidence.sort_by(|a, b| rows[*b].confidence.total_cmp(&rows[*a].confidence));
        Side { n_labels, rows, by_confidence }
    }

    fn share(&self, picks: &[usize], test: impl Fn(&Judged<'_>) -> bool) -> f64 {
        picks.iter().filter(|pick| test(&self.rows[**pick])).count() as f64 / picks.len() as f64
    }

    /// None when nothing is decided.
    fn precision(&self, picks: &[usize]) -> Option<f64> {
        let decided: Vec<usize> = picks.iter().copied().filter(|pick| self.rows[*pick].row.decided).collect();
        (!decided.is_empty()).then(|| self.share(&decided, |row| row.correct))
    }

    fn counts(&self, picks: &[usize]) -> Counts {
        Counts::of(self.n_labels, picks.iter().map(|pick| (self.rows[*pick].truth, self.rows[*pick].predicted)))
    }

    fn macro_f1(&self, picks: &[usize]) -> Option<f64> {
        self.counts(picks).macro_f1()
    }

    fn calibration_error(&self, picks: &[usize]) -> Option<f64> {
        let mut times = vec![0; self.rows.len()];
        for pick in picks {
            times[*pick] += 1;
        }
        // Walking the sorted rows spares sorting every resample.
        let sorted = self.by_confidence.iter().flat_map(|row| std::iter::repeat_n(&self.rows[*row], times[*row]));
        let (confidences, right): (Vec<f64>, Vec<bool>) = sorted.map(|row| (row.confidence, row.correct)).unzip();
        calibration_error(&confidences, &right)
    }

    fn metrics(&self, all: &[usize]) -> VersionMetrics {
        let share = |test: fn(&Judged<'_>) -> bool| (!all.is_empty()).then(|| round(self.share(all, test)));
        VersionMetrics {
            accuracy: share(|row| row.correct),
            macro_f1: self.macro_f1(all).map(round),
            ece: self.calibration_error(all),
            coverage: share(|row| row.row.decided),
            precision: self.precision(all).map(round),
        }
    }
}

fn labels(result: &FieldResult, active: &Side<'_>, other: &Side<'_>) -> BTreeMap<String, LabelComparison> {
    let all: Vec<usize> = (0..active.rows.len()).collect();
    let (of_active, of_other) = (active.counts(&all), other.counts(&all));
    let of_label = |(index, label): (usize, &crate::ticket::LabelRef)| {
        let f1 = |counts: &Counts| counts.f1(index).map(round);
        let comparison = LabelComparison {
            name: label.name.clone(),
            n: active.rows.iter().filter(|row| row.truth == Some(index)).count(),
            f1_active: f1(&of_active),
            f1_other: f1(&of_other),
        };
        let occurs = comparison.f1_active.is_some() || comparison.f1_other.is_some();
        occurs.then(|| (label.id.clone(), comparison))
    };
    // Both versions were asked under the taxonomy of now, so their labels are the same.
    let n_labels = active.n_labels.min(other.n_labels);
    result.labels.iter().take(n_labels).enumerate().filter_map(of_label).collect()
}

/// The exact test (McNemar 1947, with the binomial distribution in place of chi-squared).
fn mcnemar(active: &[Judged<'_>], other: &[Judged<'_>]) -> McNemar {
    let only = |a: &[Judged<'_>], b: &[Judged<'_>]| a.iter().zip(b).filter(|(a, b)| a.correct && !b.correct).count();
    let (only_active_right, only_other_right) = (only(active, other), only(other, active));
    McNemar { only_active_right, only_other_right, p: two_sided_binomial(only_active_right, only_other_right) }
}

/// Chance that `a + b` fair coins fall at least as unevenly.
fn two_sided_binomial(a: usize, b: usize) -> f64 {
    let n = (a + b) as f64;
    let mut ln_term = -n * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=a.min(b) {
        tail += ln_term.exp();
        ln_term += (n - k as f64).ln() - (k as f64 + 1.0).ln();
    }
    // Nine digits: the test of a large file may be far below the six of a share.
    let p: f64 = (2.0 * tail).min(1.0);
    (p * 1e9).round() / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Scored;
    use crate::ticket::LabelRef;

    fn result(rows: &[(usize, f32, bool)]) -> FieldResult {
        let rows = rows.iter().enumerate().map(|(i, (truth, first, decided))| Scored {
            ticket: format!("T{i:03}"),
            truth: *truth,
            probabilities: vec![*first, 1.0 - first],
            decided: *decided,
            ..Scored::default()
        });
        FieldResult {
            field: "category".to_owned(),
            labels: ["a", "b"].map(|id| LabelRef { id: id.to_owned(), name: format!("Label {id}") }).to_vec(),
            ordinal: false,
            calibrated: true,
            rows: rows.collect(),
            unknown: Vec::new(),
        }
    }

    #[test]
    fn exact_test_agrees_with_scipy() {
        // scipy.stats.binomtest(min(a, b), a + b).pvalue
        for (a, b, p) in
            [(0, 0, 1.0), (3, 3, 1.0), (1, 9, 0.021_484_375), (10, 2, 0.038_574_218_75), (40, 20, 0.013_489)]
        {
            let found = two_sided_binomial(a, b);
            assert!((found - p).abs() < 1e-6, "{a}, {b}: {found}");
        }
        assert!(two_sided_binomial(100_000, 99_000) < 0.05);
    }

    #[test]
    fn a_version_does_not_differ_from_itself() {
        let rows: Vec<(usize, f32, bool)> = (0..60).map(|i| (i % 2, 0.1 + (i % 9) as f32 / 10.0, i % 3 == 0)).collect();
        let comparison = compare(&result(&rows), &result(&rows));
        assert_eq!(comparison.active, comparison.other);
        for difference in comparison.differences.values() {
            assert_eq!(*difference, Difference { value: 0.0, interval: Some(Interval { low: 0.0, high: 0.0 }) });
        }
        assert_eq!(comparison.mcnemar, McNemar { only_active_right: 0, only_other_right: 0, p: 1.0 });
        assert!(comparison.gained.is_empty() && comparison.lost.is_empty());
    }

    #[test]
    fn a_better_version_is_told_from_chance() {
        // The other version calls every tenth ticket of label b wrong in addition, and decides nothing.
        let active: Vec<(usize, f32, bool)> =
            (0..200).map(|i| (i % 2, if i % 2 == 0 { 0.9 } else { 0.1 }, true)).collect();
        let mut other = active.clone();
        for (i, row) in other.iter_mut().enumerate() {
            row.2 = false;
            if i % 10 == 1 {
                row.1 = 0.8;
            }
        }
        let comparison = compare(&result(&active), &result(&other));
        assert_eq!((comparison.active.accuracy, comparison.other.accuracy), (Some(1.0), Some(0.9)));
        assert_eq!((comparison.active.precision, comparison.other.precision), (Some(1.0), None));
        let accuracy = comparison.differences["accuracy"];
        let interval = accuracy.interval.unwrap();
        assert_eq!(accuracy.value, 0.1);
        // 0.1 +- 1.96 * sqrt(0.1 * 0.9 / 200)
        assert!((interval.low - 0.058).abs() < 0.01 && (interval.high - 0.142).abs() < 0.01, "{interval:?}");
        assert_eq!(comparison.differences["coverage"].value, 1.0);
        assert_eq!((comparison.mcnemar.only_active_right, comparison.mcnemar.only_other_right), (20, 0));
        assert!(comparison.mcnemar.p < 1e-5);
        assert_eq!(comparison.gained, ["b", "a"]);
        assert_eq!(compare(&result(&other), &result(&active)).lost, ["b", "a"]);
    }

    #[test]
    fn only_shared_tickets_count_and_none_at_all_is_fine() {
        let rows = [(0, 0.9, true), (1, 0.2, true)];
        let comparison = compare(&result(&rows), &result(&rows[..1]));
        assert_eq!(comparison.n, 1);
        let none = compare(&result(&rows), &result(&[]));
        assert_eq!((none.n, none.active.accuracy, none.differences.len()), (0, None, 0));
        assert!(serde_json::to_string(&none).unwrap().contains("\"accuracy\":null"));
    }
}
