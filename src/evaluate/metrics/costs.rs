//! Here is what a mistake and a handover cost, give me what the decisions on the held-out tickets cost.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Judged, judge};
use crate::error::{Error, Result};
use crate::evaluate::FieldResult;
use crate::evaluate::interval::{mean, round};
use crate::ticket::pointer_token;

/// What outcomes cost, by field id:
/// `{"category": {"wrong": 1.0, "handover": 0.2, "pairs": [{"right": "a", "given": "b", "cost": 5.0}]}}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Costs(pub BTreeMap<String, FieldCosts>);

/// What outcomes cost in one field, in any unit that is the same for all of them. A right decision costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldCosts {
    /// A wrong decision, unless `pairs` says otherwise; 0 or more.
    pub wrong: f64,
    /// A ticket that is left to a person; 0 or more.
    pub handover: f64,
    /// Mistakes with a cost of their own.
    #[serde(default)]
    pub pairs: Vec<PairCost>,
}

/// One mistake with a cost of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairCost {
    /// Id or name of the right label.
    pub right: String,
    /// Id or name of the label that was given.
    pub given: String,
    /// What that costs; 0 or more.
    pub cost: f64,
}

/// Mean cost per held-out ticket, in the unit of the costs that were given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CostMetrics {
    /// With what is decided at the field's own precision target.
    pub at_target: Option<f64>,
    /// When every ticket is decided.
    pub all_decided: Option<f64>,
    /// When none is: all go to a person.
    pub none_decided: Option<f64>,
    /// The confidence from which deciding costs least on these very tickets. It was chosen on them, so other tickets
    /// cost somewhat more.
    pub best: ThresholdCost,
}

/// What one threshold for all labels would cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThresholdCost {
    /// Confidence from which tickets are decided, 0 to 1; absent when deciding none costs least.
    pub threshold: Option<f64>,
    /// Share of tickets that is decided then.
    pub coverage: Option<f64>,
    /// Mean cost per ticket then.
    pub mean_cost: Option<f64>,
}

impl Costs {
    /// Reads a file of costs.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, else as [`Costs::parse`].
    pub fn load(path: &Path) -> Result<Costs> {
        let json = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Costs::parse(&json)
    }

    /// Reads costs from JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not of that shape, and for a cost that is negative or no number.
    pub fn parse(json: &str) -> Result<Costs> {
        let costs: Costs = serde_json::from_str(json).map_err(|error| Error::invalid("", format!("costs: {error}")))?;
        for (field, of_field) in &costs.0 {
            let start = format!("/{}", pointer_token(field));
            let pairs = of_field.pairs.iter().enumerate().map(|(p, pair)| (format!("pairs/{p}/cost"), pair.cost));
            let fixed = [("wrong".to_owned(), of_field.wrong), ("handover".to_owned(), of_field.handover)];
            for (name, cost) in fixed.into_iter().chain(pairs) {
                if !cost.is_finite() || cost < 0.0 {
                    return Err(Error::invalid(format!("{start}/{name}"), format!("is {cost}, and must be 0 or more")));
                }
            }
        }
        Ok(costs)
    }

    /// What the decisions on a field cost; none when no costs were given for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a pair that names no label of the field, or a label as a mistake for itself.
    pub fn of(&self, result: &FieldResult) -> Result<Option<CostMetrics>> {
        let Some(costs) = self.0.get(&result.field) else { return Ok(None) };
        let mut pairs = BTreeMap::new();
        for (p, pair) in costs.pairs.iter().enumerate() {
            let pointer = format!("/{}/pairs/{p}", pointer_token(&result.field));
            let find = |name: &str, value: &str| {
                let by_id = result.labels.iter().position(|label| label.id == value);
                let found = by_id.or_else(|| result.labels.iter().position(|label| label.name == value));
                found.ok_or_else(|| {
                    Error::invalid(format!("{pointer}/{name}"), format!("{value:?} is no label of {:?}", result.field))
                })
            };
            let (right, given) = (find("right", &pair.right)?, find("given", &pair.given)?);
            if right == given {
                return Err(Error::invalid(pointer, "names the same label twice; a right decision costs nothing"));
            }
            pairs.insert((right, given), pair.cost);
        }
        Ok(Some(cost_metrics(result, costs, &pairs)))
    }
}

fn cost_metrics(result: &FieldResult, costs: &FieldCosts, pairs: &BTreeMap<(usize, usize), f64>) -> CostMetrics {
    let judged = judge(result);
    let n = judged.len();
    let decided = |row: &Judged<'_>| match row.truth.zip(row.predicted) {
        _ if row.correct => 0.0,
        Some(mistake) => pairs.get(&mistake).copied().unwrap_or(costs.wrong),
        None => costs.wrong,
    };
    let at_target = judged.iter().map(|row| if row.row.decided { decided(row) } else { costs.handover }).sum();
    let mut sum = costs.handover * n as f64;
    let (mut least, mut n_decided, mut threshold) = (sum, 0, None);
    for (rank, row) in judged.iter().enumerate() {
        sum += decided(row) - costs.handover;
        // A threshold does not part equal confidences. Of two that cost the same, the one that decides more; sums that
        // differ by rounding alone are the same.
        let is_last_of_equals = judged.get(rank + 1).is_none_or(|next| next.confidence < row.confidence);
        if is_last_of_equals && sum <= least + 1e-9 * n as f64 {
            (least, n_decided, threshold) = (sum, rank + 1, Some(row.confidence));
        }
    }
    CostMetrics {
        at_target: mean(at_target, n),
        all_decided: mean(judged.iter().map(decided).sum(), n),
        none_decided: mean(costs.handover * n as f64, n),
        best: ThresholdCost {
            // Rounded down: whoever uses it decides no fewer tickets.
            threshold: threshold.map(|confidence| round((confidence * 1e6).floor() / 1e6)),
            coverage: mean(n_decided as f64, n),
            mean_cost: mean(least.max(0.0), n),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Scored;
    use crate::ticket::LabelRef;

    /// Right at 0.9, 0.8 and 0.6, wrong at 0.7 (a for b) and 0.55 (b for a); decided from 0.8 on.
    fn result() -> FieldResult {
        let rows = [(0, [0.9, 0.1]), (0, [0.8, 0.2]), (1, [0.7, 0.3]), (1, [0.4, 0.6]), (0, [0.45, 0.55])];
        let rows = rows.iter().enumerate().map(|(i, (truth, probabilities))| Scored {
            ticket: format!("T{i}"),
            truth: *truth,
            probabilities: probabilities.to_vec(),
            decided: probabilities.iter().any(|p| *p >= 0.8),
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

    fn costs(json: &str) -> CostMetrics {
        Costs::parse(json).unwrap().of(&result()).unwrap().unwrap()
    }

    #[test]
    fn costs_by_hand() {
        let metrics = costs(r#"{"category": {"wrong": 1.0, "handover": 0.2}}"#);
        assert_eq!(metrics.at_target, Some(0.12)); // three handovers of five
        assert_eq!(metrics.all_decided, Some(0.4)); // two mistakes of five
        assert_eq!(metrics.none_decided, Some(0.2));
        // From 0.8 on: 3 * 0.2 / 5; from 0.6 on: (1 + 0.2) / 5 = 0.24.
        assert_eq!(metrics.best.mean_cost, Some(0.12));
        assert_eq!(metrics.best.coverage, Some(0.4));
        assert!((metrics.best.threshold.unwrap() - 0.8).abs() < 2e-6);
    }

    #[test]
    fn a_pair_has_its_own_cost_and_cheap_mistakes_are_decided() {
        let metrics = costs(
            r#"{"category": {"wrong": 1.0, "handover": 0.2,
                "pairs": [{"right": "b", "given": "Label a", "cost": 6.0}]}}"#,
        );
        assert_eq!(metrics.all_decided, Some(1.4));
        let cheap = costs(r#"{"category": {"wrong": 0.1, "handover": 0.2}}"#);
        assert_eq!(cheap.best.coverage, Some(1.0));
        let free = costs(r#"{"category": {"wrong": 1.0, "handover": 0}}"#);
        assert_eq!((free.best.coverage, free.best.mean_cost), (Some(0.4), Some(0.0)));
    }

    #[test]
    fn when_every_decision_costs_more_none_is_best() {
        let mut wrong = result();
        for row in &mut wrong.rows {
            row.truth = 9;
        }
        let costs = Costs::parse(r#"{"category": {"wrong": 1.0, "handover": 0.2}}"#).unwrap();
        let metrics = costs.of(&wrong).unwrap().unwrap();
        assert_eq!((metrics.best.threshold, metrics.best.coverage), (None, Some(0.0)));
        let none = FieldResult { rows: Vec::new(), ..result() };
        assert_eq!(costs.of(&none).unwrap().unwrap(), CostMetrics::default());
        assert_eq!(Costs::default().of(&none).unwrap(), None);
    }

    #[test]
    fn wrong_costs_are_refused_with_their_place() {
        let parsed = |json: &str| Costs::parse(json).and_then(|costs| costs.of(&result()).map(|_| ()));
        for (json, reason) in [
            (r#"{"category": {"wrong": -1, "handover": 0}}"#, "/category/wrong: is -1"),
            (r#"{"category": {"wrong": 1}}"#, "missing field `handover`"),
            (r#"{"category": {"wrong": 1, "handover": 0, "right": 2}}"#, "unknown field `right`"),
            (
                r#"{"category": {"wrong": 1, "handover": 0, "pairs": [{"right": "c", "given": "a", "cost": 1}]}}"#,
                "/category/pairs/0/right: \"c\" is no label",
            ),
            (
                r#"{"category": {"wrong": 1, "handover": 0, "pairs": [{"right": "a", "given": "a", "cost": 1}]}}"#,
                "the same label twice",
            ),
        ] {
            let error = parsed(json).unwrap_err().to_string();
            assert!(error.contains(reason), "{json}: {error}");
        }
        assert!(matches!(Costs::load(Path::new("no/such/costs.json")), Err(Error::File { .. })));
    }
}
