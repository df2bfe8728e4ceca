//! Here are bounds from a file and a report, give me what falls short, in sentences.
//!
//! A bound that names nothing in the report is an error, never a pass.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DepartmentReports, Report, RetrievalReport};
use crate::error::{Error, Result};
use crate::ticket::pointer_token;

/// Bounds that a report must keep:
/// `{"fields": {"category": {"accuracy": {"min": 0.8}}}, "retrieval": {"hybrid.recall_at_5": {"min": 0.9}}}`.
///
/// Keys are dotted paths into the report's JSON, such as `coverage_at.0.95.precision` or `by_language.de.accuracy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// By field id, then by path into [`super::FieldMetrics`].
    pub fields: BTreeMap<String, BTreeMap<String, Bound>>,
    /// By path into [`RetrievalReport`].
    pub retrieval: BTreeMap<String, Bound>,
}

/// Least and greatest value that passes, both included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bound {
    /// Least value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Gate {
    /// Reads a gate file.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be read, else as [`Gate::parse`].
    pub fn load(path: &Path) -> Result<Gate> {
        let json = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        Gate::parse(&json)
    }

    /// Reads a gate from JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`] for unknown keys, and for a bound that bounds nothing or lets nothing pass.
    pub fn parse(json: &str) -> Result<Gate> {
        let gate: Gate = serde_json::from_str(json).map_err(|error| Error::invalid("", format!("gate: {error}")))?;
        let of_fields = gate.fields.iter().flat_map(|(field, bounds)| {
            let start = format!("/fields/{}", pointer_token(field));
            bounds.iter().map(move |(path, bound)| (format!("{start}/{}", pointer_token(path)), bound))
        });
        let of_retrieval =
            gate.retrieval.iter().map(|(path, bound)| (format!("/retrieval/{}", pointer_token(path)), bound));
        for (pointer, bound) in of_fields.chain(of_retrieval) {
            match (bound.min, bound.max) {
                (None, None) => return Err(Error::invalid(pointer, "must have min, max or both")),
                (Some(min), Some(max)) if min > max => {
                    return Err(Error::invalid(pointer, format!("lets nothing pass: min {min} is above max {max}")));
                }
                _ => {}
            }
        }
        Ok(gate)
    }

    /// What of `report` breaks a bound of `fields`, one sentence each; empty when the gate is passed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are no such bounds, or one names what the report does not hold as a number.
    pub fn check_fields(&self, report: &Report) -> Result<Vec<String>> {
        if self.fields.values().all(BTreeMap::is_empty) {
            return Err(Error::invalid("/fields", "the gate has no bound for a field"));
        }
        let mut failures = Vec::new();
        for (field, bounds) in &self.fields {
            let pointer = format!("/fields/{}", pointer_token(field));
            let Some(metrics) = report.fields.get(field) else {
                return Err(Error::invalid(pointer, format!("field {field:?} was not evaluated")));
            };
            check(&pointer, field, bounds, &as_json(metrics)?, &mut failures)?;
        }
        Ok(failures)
    }

    /// What breaks a bound of `fields` in any department, one sentence each. A bound holds in every department that has
    /// the field.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`Gate::check_fields`], and for a field that no department has.
    pub fn check_departments(&self, reports: &DepartmentReports) -> Result<Vec<String>> {
        if self.fields.values().all(BTreeMap::is_empty) {
            return Err(Error::invalid("/fields", "the gate has no bound for a field"));
        }
        let mut failures = Vec::new();
        for (field, bounds) in &self.fields {
            let pointer = format!("/fields/{}", pointer_token(field));
            let mut is_measured = false;
            for (department, report) in &reports.departments {
                let Some(metrics) = report.fields.get(field) else { continue };
                is_measured = true;
                let subject = format!("department {department}: {field}");
                check(&pointer, &subject, bounds, &as_json(metrics)?, &mut failures)?;
            }
            if !is_measured {
                return Err(Error::invalid(pointer, format!("field {field:?} was evaluated in no department")));
            }
        }
        Ok(failures)
    }

    /// What of `report` breaks a bound of `retrieval`, one sentence each; empty when the gate is passed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are no such bounds, or one names what the report does not hold as a number.
    pub fn check_retrieval(&self, report: &RetrievalReport) -> Result<Vec<String>> {
        if self.retrieval.is_empty() {
            return Err(Error::invalid("/retrieval", "the gate has no bound for retrieval"));
        }
        let mut failures = Vec::new();
        check("/retrieval", "retrieval", &self.retrieval, &as_json(report)?, &mut failures)?;
        Ok(failures)
    }
}

fn as_json(report: &impl Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|_| Error::Bug("a report that is not JSON"))
}

fn check(
    pointer: &str,
    subject: &str,
    bounds: &BTreeMap<String, Bound>,
    report: &Value,
    failures: &mut Vec<String>,
) -> Result<()> {
    for (path, bound) in bounds {
        let at = || format!("{pointer}/{}", pointer_token(path));
        let asked = asked(bound);
        match find(report, path) {
            Some(Value::Null) => failures.push(format!("{subject} {path} has no value, and {asked} is asked")),
            Some(Value::Number(number)) => {
                let value = number.as_f64().ok_or(Error::Bug("a figure that is not a number"))?;
                let passes = bound.min.is_none_or(|min| value >= min) && bound.max.is_none_or(|max| value <= max);
                if !passes {
                    failures.push(format!("{subject} {path} is {}, and {asked} is asked", figure(value)));
                }
            }
            Some(_) => return Err(Error::invalid(at(), "is not a single figure of the report")),
            None => return Err(Error::invalid(at(), "is not in the report")),
        }
    }
    Ok(())
}

/// Follows a dotted path. Keys may hold dots themselves ("0.95"), so every way to cut the path is tried.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    if let Some(found) = object.get(path) {
        return Some(found);
    }
    path.match_indices('.').find_map(|(dot, _)| {
        let (key, rest) = path.split_at(dot);
        find(object.get(key)?, &rest[1..])
    })
}

fn asked(bound: &Bound) -> String {
    match (bound.min, bound.max) {
        (Some(min), Some(max)) => format!("{} to {}", figure(min), figure(max)),
        (Some(min), None) => format!("at least {}", figure(min)),
        (None, Some(max)) => format!("at most {}", figure(max)),
        (None, None) => "nothing".to_owned(),
    }
}

/// At least two decimals, and never so few that a missed bound looks kept: "0.80", "0.799996".
fn figure(value: f64) -> String {
    let exact = value.to_string();
    match exact.split_once('.') {
        Some((_, decimals)) if decimals.len() >= 2 => exact,
        // A count.
        None if value.abs() > 1.0 => exact,
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::report::tests::sample_report;
    use crate::evaluate::{Ranking, retrieval_metrics};

    fn failures(json: &str) -> Result<Vec<String>> {
        let mut report = sample_report();
        let category = report.fields.get_mut("category").unwrap();
        category.accuracy = Some(0.78);
        category.ece = Some(0.079_996);
        category.macro_f1 = None;
        category.n = 1200;
        Gate::parse(json).unwrap().check_fields(&report)
    }

    #[test]
    fn failures_are_whole_sentences() {
        let cases = [
            (r#"{"accuracy": {"min": 0.80}}"#, "category accuracy is 0.78, and at least 0.80 is asked"),
            (r#"{"ece": {"max": 0.079}}"#, "category ece is 0.079996, and at most 0.079 is asked"),
            (r#"{"accuracy": {"min": 0.1, "max": 0.7}}"#, "category accuracy is 0.78, and 0.10 to 0.70 is asked"),
            (r#"{"macro_f1": {"min": 0.5}}"#, "category macro_f1 has no value, and at least 0.50 is asked"),
            (r#"{"n": {"min": 2000}}"#, "category n is 1200, and at least 2000 is asked"),
        ];
        for (bounds, sentence) in cases {
            let found = failures(&format!(r#"{{"fields": {{"category": {bounds}}}}}"#)).unwrap();
            assert_eq!(found, [sentence]);
        }
    }

    #[test]
    fn bounds_that_are_kept_pass() {
        let gate = r#"{"fields": {"category": {"accuracy": {"min": 0.78}, "ece": {"max": 0.08},
            "coverage_at.0.95.precision": {"min": 0.5}, "by_language.de.n": {"min": 1}, "labels.vpn.f1": {"min": 0.1},
            "intervals.accuracy.low": {"min": 0.2}}}}"#;
        assert_eq!(failures(gate).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn bounds_hold_in_every_department() {
        let mut worse = sample_report();
        worse.fields.get_mut("category").unwrap().n = 5;
        worse.fields.remove("priority");
        let departments = [("hr".to_owned(), worse), ("it".to_owned(), sample_report())];
        let reports = DepartmentReports { departments: departments.into(), ..DepartmentReports::default() };
        let check =
            |bounds: &str| Gate::parse(&format!(r#"{{"fields": {bounds}}}"#)).unwrap().check_departments(&reports);
        assert_eq!(
            check(r#"{"category": {"n": {"min": 10}}, "priority": {"n": {"min": 10}}}"#).unwrap(),
            ["department hr: category n is 5, and at least 10 is asked"]
        );
        assert!(check(r#"{"queue": {"n": {"min": 10}}}"#).unwrap_err().to_string().contains("in no department"));
        assert!(check("{}").is_err());
    }

    #[test]
    fn unknown_paths_are_errors() {
        for (gate, pointer) in [
            (r#"{"fields": {"category": {"acuracy": {"min": 0.1}}}}"#, "/fields/category/acuracy"),
            (
                r#"{"fields": {"category": {"coverage_at.0.97.precision": {"min": 0.1}}}}"#,
                "/fields/category/coverage_at.0.97.precision",
            ),
            (r#"{"fields": {"category": {"labels": {"min": 0.1}}}}"#, "/fields/category/labels"),
            (r#"{"fields": {"queue": {"accuracy": {"min": 0.1}}}}"#, "/fields/queue"),
            (r#"{"fields": {"category": {}}}"#, "/fields"),
            (r#"{"retrieval": {"hybrid.mrr": {"min": 0.1}}}"#, "/fields"),
        ] {
            match failures(gate) {
                Err(Error::Invalid { pointer: found, .. }) => assert_eq!(found, pointer),
                other => panic!("{gate}: {other:?}"),
            }
        }
    }

    #[test]
    fn broken_gates_are_refused() {
        for (gate, reason) in [
            ("{", "EOF"),
            (r#"{"field": {}}"#, "unknown field `field`"),
            (r#"{"retrieval": {"hybrid.mrr": {"minimum": 1}}}"#, "unknown field `minimum`"),
            (r#"{"retrieval": {"hybrid.mrr": {}}}"#, "min, max or both"),
            (r#"{"retrieval": {"hybrid.mrr": {"min": 0.9, "max": 0.1}}}"#, "lets nothing pass"),
        ] {
            let error = Gate::parse(gate).unwrap_err().to_string();
            assert!(error.contains(reason), "{gate}: {error}");
        }
        assert!(matches!(Gate::load(Path::new("no/such/gate.json")), Err(Error::File { .. })));
    }

    #[test]
    fn retrieval_has_its_own_bounds() {
        let rankings = [Ranking {
            query: "q".to_owned(),
            ranked: vec!["a".to_owned()],
            relevant: vec!["a".to_owned(), "b".to_owned()],
        }];
        let metrics = retrieval_metrics(&rankings);
        let report = RetrievalReport { hybrid: metrics.clone(), dense: metrics, lexical: retrieval_metrics(&[]) };
        let gate = r#"{"retrieval": {"hybrid.recall_at_5": {"min": 0.9}, "dense.mrr": {"min": 1.0}, "lexical.mrr": {"min": 0}}}"#;
        let failures = Gate::parse(gate).unwrap().check_retrieval(&report).unwrap();
        assert_eq!(
            failures,
            [
                "retrieval hybrid.recall_at_5 is 0.50, and at least 0.90 is asked",
                "retrieval lexical.mrr has no value, and at least 0.00 is asked"
            ]
        );
        assert!(Gate::default().check_retrieval(&report).is_err());
        assert!(Gate::parse(r#"{"retrieval": {"hybrid.map": {"min": 0}}}"#).unwrap().check_retrieval(&report).is_err());
    }
}
