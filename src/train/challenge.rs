//! Here is what the heads that serve and new ones said of the same held-out tickets, give me the verdict whether the new
//! ones may serve. Knows no store and no pipeline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::classify::Random;

/// Tickets from which a comparison decides: below, one ticket more or less is worth over three points.
pub(super) const ENOUGH_TO_COMPARE: usize = 30;

/// Tickets of a label from which its recall decides.
pub(super) const ENOUGH_OF_A_LABEL: usize = 20;

/// Resamples of the bootstrap: the ends of the interval then scatter by about a twentieth of its width.
const RESAMPLES: usize = 2000;

/// Seed of the resamples.
const SEED: u64 = 20_261_125;

/// Room for the rounding of a division, so that a loss of exactly the bound is within it.
const ROUNDING: f64 = 1e-9;

/// How much new heads may lose against those that serve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Most that the share of right labels of a field may fall, 0 to 1.
    pub max_loss: f64,
    /// Most that the recall of a label with at least 20 held-out tickets may fall, 0 to 1.
    pub max_label_loss: f64,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { max_loss: 0.01, max_label_loss: 0.10 }
    }
}

/// A ticket that neither side had learnt from when it said which label is likeliest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldOut {
    /// Id of the label the ticket has now.
    pub(super) truth: String,
    /// What the heads that serve said.
    pub(super) champion: String,
    /// What the new ones said.
    pub(super) challenger: String,
}

/// Two heads of a field on the same held-out tickets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// Tickets in the comparison.
    pub n: usize,
    /// Share of right labels of the heads that served, 0 to 1.
    pub accuracy_champion: f64,
    /// Share of right labels of the new ones.
    pub accuracy_challenger: f64,
    /// The second less the first.
    pub difference: f64,
    /// Lower end of its 95 % interval: paired percentile bootstrap (Efron 1979) with 2,000 resamples.
    pub difference_low: f64,
    /// Upper end.
    pub difference_high: f64,
    /// Labels with at least 20 of the tickets.
    pub labels: BTreeMap<String, LabelRecall>,
}

/// Recall of a label: the share of its tickets that were given it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LabelRecall {
    /// Tickets with this label.
    pub n: usize,
    /// Recall of the heads that served, 0 to 1.
    pub champion: f64,
    /// Recall of the new ones.
    pub challenger: f64,
}

/// Whether new heads serve, and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Whether they do.
    pub promoted: bool,
    /// Version they were compared with; none when there was none that can be used.
    pub champion: Option<u32>,
    /// The comparison by field; fields without a common held-out ticket are not there.
    pub fields: BTreeMap<String, Comparison>,
    /// What decided, in whole sentences.
    pub reasons: Vec<String>,
}

/// What became of a field that the champion decides on or the challenger was fitted for.
pub(super) enum Contest {
    /// Both have it; the tickets may be none.
    Both(Vec<HeldOut>),
    /// The challenger has lost it, or cannot be checked on it, for this reason.
    Lost(String),
}

/// Compares two heads; nothing without tickets.
pub(super) fn compare(rows: &[HeldOut]) -> Option<Comparison> {
    let n = rows.len();
    if n == 0 {
        return None;
    }
    let mut right = (0usize, 0usize);
    let mut gains: Vec<i8> = Vec::with_capacity(n);
    let mut by_label: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for row in rows {
        let champion = row.champion == row.truth;
        let challenger = row.challenger == row.truth;
        right = (right.0 + usize::from(champion), right.1 + usize::from(challenger));
        gains.push(i8::from(challenger) - i8::from(champion));
        let label = by_label.entry(&row.truth).or_default();
        *label = (label.0 + 1, label.1 + usize::from(champion), label.2 + usize::from(challenger));
    }
    let share = |right: usize, n: usize| right as f64 / n as f64;
    let (low, high) = interval(&gains);
    let labels = by_label.into_iter().filter(|(_, (n, ..))| *n >= ENOUGH_OF_A_LABEL);
    Some(Comparison {
        n,
        accuracy_champion: share(right.0, n),
        accuracy_challenger: share(right.1, n),
        difference: share(right.1, n) - share(right.0, n),
        difference_low: low,
        difference_high: high,
        labels: labels
            .map(|(label, (n, champion, challenger))| {
                let recall = LabelRecall { n, champion: share(champion, n), challenger: share(challenger, n) };
                (label.to_owned(), recall)
            })
            .collect(),
    })
}

/// Decides whether new heads may take the place of version `champion`.
pub(super) fn judge(gate: &Gate, champion: u32, contests: BTreeMap<String, Contest>) -> Verdict {
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    let mut fields = BTreeMap::new();
    for (field, contest) in contests {
        let rows = match contest {
            Contest::Both(rows) => rows,
            Contest::Lost(reason) => {
                faults
                    .push(format!("Version {champion} decides on field {field}, and the new heads cannot: {reason}."));
                continue;
            }
        };
        let n = rows.len();
        let Some(comparison) = compare(&rows).filter(|_| n >= ENOUGH_TO_COMPARE) else {
            notes.push(format!(
                "Field {field} has {n} held-out tickets to compare on, which is too little: at least \
                 {ENOUGH_TO_COMPARE} are needed."
            ));
            fields.extend(compare(&rows).map(|comparison| (field, comparison)));
            continue;
        };
        let found = losses(gate, champion, &field, &comparison);
        if found.is_empty() {
            notes.push(format!(
                "Field {field} is {} right on {n} held-out tickets, and {} with version {champion}.",
                percent(comparison.accuracy_challenger),
                percent(comparison.accuracy_champion)
            ));
        }
        faults.extend(found);
        fields.insert(field, comparison);
    }
    let promoted = faults.is_empty();
    // What holds heads back is all that matters then.
    Verdict { promoted, champion: Some(champion), fields, reasons: if promoted { notes } else { faults } }
}

/// What a field loses beyond the bounds, in whole sentences.
fn losses(gate: &Gate, champion: u32, field: &str, comparison: &Comparison) -> Vec<String> {
    let mut losses = Vec::new();
    if -comparison.difference > gate.max_loss + ROUNDING {
        losses.push(format!(
            "Field {field} would fall from {} right with version {champion} to {} on {} held-out tickets, and {} is the \
             most it may lose (95 % interval of the difference: {} to {}).",
            percent(comparison.accuracy_champion),
            percent(comparison.accuracy_challenger),
            comparison.n,
            points(gate.max_loss),
            points(comparison.difference_low),
            points(comparison.difference_high)
        ));
    }
    for (label, recall) in &comparison.labels {
        if recall.champion - recall.challenger > gate.max_label_loss + ROUNDING {
            losses.push(format!(
                "Of {} held-out tickets with label {label} of field {field}, {} would be found after {} with version \
                 {champion}, and {} is the most a label may lose.",
                recall.n,
                percent(recall.challenger),
                percent(recall.champion),
                points(gate.max_label_loss)
            ));
        }
    }
    losses
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn points(difference: f64) -> String {
    format!("{:.1} points", difference * 100.0)
}

/// 95 % interval of the mean of paired differences, each -1, 0 or 1.
fn interval(gains: &[i8]) -> (f64, f64) {
    let mut random = Random::new(SEED);
    let mut sums: Vec<i64> =
        (0..RESAMPLES).map(|_| (0..gains.len()).map(|_| i64::from(gains[random.below(gains.len())])).sum()).collect();
    sums.sort_unstable();
    let quantile = |q: f64| {
        let at = (q * (RESAMPLES - 1) as f64).round() as usize;
        sums.get(at).copied().unwrap_or_default() as f64 / gains.len().max(1) as f64
    };
    (quantile(0.025), quantile(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` tickets of a label, of which the first ones are found by each side.
    fn rows(label: &str, n: usize, champion: usize, challenger: usize) -> Vec<HeldOut> {
        let said = |is_right: bool| if is_right { label } else { "other" }.to_owned();
        (0..n)
            .map(|row| HeldOut {
                truth: label.to_owned(),
                champion: said(row < champion),
                challenger: said(row < challenger),
            })
            .collect()
    }

    fn judged(rows: Vec<HeldOut>) -> Verdict {
        judge(&Gate::default(), 4, [("category".to_owned(), Contest::Both(rows))].into())
    }

    #[test]
    fn a_field_may_lose_as_much_as_the_bound_and_no_more() {
        let of_two_labels = |champion, challenger| {
            let mut all = rows("vpn", 50, champion, challenger);
            all.extend(rows("mail", 50, 45, 45));
            judged(all)
        };
        assert!(of_two_labels(40, 44).promoted);
        let at_the_bound = of_two_labels(40, 39);
        assert!(at_the_bound.promoted, "{:?}", at_the_bound.reasons);
        assert_eq!(
            at_the_bound.reasons,
            ["Field category is 84.0 % right on 100 held-out tickets, and 85.0 % with version 4."]
        );
        let beyond = of_two_labels(40, 38);
        assert!(!beyond.promoted);
        assert_eq!((beyond.champion, beyond.reasons.len()), (Some(4), 1));
        assert!(
            beyond.reasons[0].starts_with(
                "Field category would fall from 85.0 % right with version 4 to 83.0 % on 100 held-out tickets, and 1.0 \
                 points is the most it may lose (95 % interval of the difference: -5.0 points to 0.0 points"
            ),
            "{}",
            beyond.reasons[0]
        );
    }

    #[test]
    fn a_label_with_enough_tickets_may_not_be_given_up_for_the_others() {
        let mut all = rows("rare", 20, 18, 15);
        all.extend(rows("usual", 100, 80, 85));
        let verdict = judged(all);
        assert!(!verdict.promoted);
        assert_eq!(
            verdict.reasons,
            [
                "Of 20 held-out tickets with label rare of field category, 75.0 % would be found after 90.0 % with version \
              4, and 10.0 points is the most a label may lose."
            ]
        );
        let mut all = rows("rare", 19, 18, 15);
        all.extend(rows("usual", 100, 80, 85));
        assert!(judged(all).promoted);
        let mut all = rows("rare", 20, 18, 16);
        all.extend(rows("usual", 100, 80, 85));
        assert!(judged(all).promoted);
    }

    #[test]
    fn too_few_tickets_decide_nothing_and_that_is_said() {
        let verdict = judged(rows("vpn", 29, 29, 0));
        assert!(verdict.promoted);
        assert_eq!(
            verdict.reasons,
            ["Field category has 29 held-out tickets to compare on, which is too little: at least 30 are needed."]
        );
        assert_eq!(verdict.fields["category"].n, 29);
        assert!(!judged(rows("vpn", 30, 30, 0)).promoted);
        let none = judged(Vec::new());
        assert!(none.promoted && none.fields.is_empty());
    }

    #[test]
    fn a_lost_field_holds_back() {
        let contests = [
            ("category".to_owned(), Contest::Both(rows("vpn", 40, 20, 40))),
            ("priority".to_owned(), Contest::Lost("all resolved tickets have the same value".to_owned())),
        ];
        let verdict = judge(&Gate::default(), 1, contests.into());
        assert!(!verdict.promoted);
        assert_eq!(
            verdict.reasons,
            [
                "Version 1 decides on field priority, and the new heads cannot: all resolved tickets have the same value."
            ]
        );
    }

    #[test]
    fn the_interval_is_that_of_paired_differences_and_repeats_itself() {
        // 400 tickets, 60 gained and 20 lost: mean 0.1, deviation sqrt(0.2 - 0.01) = 0.4359, so 0.1 +- 0.0427.
        let mut all = rows("a", 320, 160, 160);
        all.extend(rows("a", 60, 0, 60));
        all.extend(rows("a", 20, 20, 0));
        let comparison = compare(&all).unwrap();
        assert!((comparison.difference - 0.1).abs() < 1e-12);
        assert!((comparison.difference_low - 0.0573).abs() < 0.006, "{comparison:?}");
        assert!((comparison.difference_high - 0.1427).abs() < 0.006, "{comparison:?}");
        assert_eq!(compare(&all), Some(comparison));
        let same = compare(&rows("a", 40, 10, 10)).unwrap();
        assert_eq!((same.difference_low, same.difference_high), (0.0, 0.0));
    }
}
