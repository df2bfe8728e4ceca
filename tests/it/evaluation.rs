//! `triage eval`, as a user types it, and its figures beside those of scikit-learn.

use std::fs;

use serde_json::Value;
use triage::evaluate::{FieldMetrics, FieldResult, Scored, Stranger, compare, field_metrics};
use triage::ticket::LabelRef;

use crate::harness::{Finished, Folder, command, root, triage};

/// Resolved tickets about VPN, printers and accounts, `n` of each; every seventh has the wrong category, starting with
/// `mistake`, so that no figure is perfect.
fn tickets(department: &str, prefix: &str, n: usize, mistake: usize) -> String {
    let nouns = ["Fehler 809", "since Monday", "im Homeoffice", "on the second floor", "nach dem Update", "again"];
    let subjects = [
        ("vpn", "Der VPN Tunnel bricht ab"),
        ("printer", "The printer is out of paper"),
        ("account", "Passwort vergessen und Konto gesperrt"),
    ];
    let mut lines = String::new();
    for i in 0..n {
        for (label, subject) in subjects {
            let label = if i % 7 == mistake { "account" } else { label };
            let priority = if i % 2 == 0 { "2-normal" } else { "3-high" };
            let text = format!("{subject} {}, {} {}", nouns[i % nouns.len()], nouns[(i / 6) % nouns.len()], i);
            lines.push_str(&format!(
                "{}\n",
                serde_json::json!({
                    "id": format!("{prefix}-{label}-{i}-{}", subject.len()), "body": text, "department": department,
                    "labels": {"category": label, "priority": priority}
                })
            ));
        }
    }
    lines
}

/// Tickets about things that no label covers.
fn unknown() -> String {
    let texts = [
        "Die Kantine serviert heute Linsensuppe",
        "Who won the football match on Saturday?",
        "Rasenmäher zu verkaufen",
    ];
    let line = |(i, text): (usize, &&str)| format!("{}\n", serde_json::json!({"id": format!("U-{i}"), "body": text}));
    texts.iter().enumerate().map(line).collect()
}

struct Helpdesk {
    folder: Folder,
    data: String,
}

impl Helpdesk {
    fn new() -> Helpdesk {
        let folder = Folder::new();
        let data = folder.path("data");
        Helpdesk { folder, data }
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        let arguments: Vec<&str> = ["--data-dir", &self.data].into_iter().chain(arguments.iter().copied()).collect();
        triage(&arguments)
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished.stdout
    }

    fn import(&self, name: &str, tickets: &str) {
        let file = self.folder.write(name, tickets);
        self.succeed(&["import", "tickets", &file]);
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder.path(name)).unwrap()).unwrap()
    }
}

#[test]
fn one_report_has_members_unknown_tickets_costs_and_another_version() {
    let desk = Helpdesk::new();
    desk.import("first.jsonl", &tickets("it", "A", 8, 6));
    desk.succeed(&["train"]);
    desk.import("second.jsonl", &tickets("it", "B", 8, 5));
    desk.succeed(&["train"]);
    let test = desk.folder.write("test.jsonl", &tickets("it", "T", 7, 2));
    let unknown = desk.folder.write("unknown.jsonl", &unknown());
    let costs = desk.folder.write(
        "costs.json",
        r#"{"category": {"wrong": 1.0, "handover": 0.2, "pairs": [{"right": "vpn", "given": "printer", "cost": 5}]}}"#,
    );
    let (json, html) = (desk.folder.path("out.json"), desk.folder.path("out.html"));
    let common = ["eval", "--test", &test, "--unknown", &unknown, "--costs", &costs, "--compare", "1"];
    let text = desk.succeed(&[&common[..], &["--json", &json, "--html", &html, "--language", "de"]].concat());
    for wanted in [
        "by chance",
        "each part alone: neighbours",
        "unknown tickets: 3",
        "mean cost per ticket",
        "version 2 beside version 1",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }

    let report = desk.json("out.json");
    assert_eq!(report["protocol"], serde_json::json!({"held_out": "file", "tickets": 21}));
    assert!(report["model"].as_str().unwrap().starts_with("it/2 e5-small-de-en@"), "{}", report["model"]);
    let category = &report["fields"]["category"];
    assert_eq!(category["n"], 21);
    let members: Vec<&String> = category["members"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["neighbours", "vectors", "words"]);
    for member in ["words", "vectors", "neighbours"] {
        assert!(category["members"][member]["accuracy"].as_f64().unwrap() > 0.6, "{category}");
    }
    let unknown_metrics = &category["unknown"];
    assert_eq!((&unknown_metrics["n_known"], &unknown_metrics["n_unknown"]), (&21.into(), &3.into()));
    assert!(unknown_metrics["auroc"].as_f64().unwrap() > 0.8, "{unknown_metrics}");
    let decided: u64 =
        category["labels"].as_object().unwrap().values().map(|label| label["decided"].as_u64().unwrap()).sum();
    assert_eq!(Some(decided), category["at_target"]["n"].as_u64());
    assert_eq!(category["costs"]["none_decided"], 0.2);
    let best = category["costs"]["best"]["mean_cost"].as_f64().unwrap();
    assert!(best <= 0.2 && best <= category["costs"]["all_decided"].as_f64().unwrap());
    assert_eq!(report["fields"]["priority"].get("costs"), None);
    let comparison = &report["comparison"];
    assert_eq!((&comparison["active_version"], &comparison["other_version"]), (&2.into(), &1.into()));
    let compared = &comparison["fields"]["category"];
    assert_eq!(compared["active"]["accuracy"], category["accuracy"]);
    let difference = compared["differences"]["accuracy"]["value"].as_f64().unwrap();
    let by_hand = compared["active"]["accuracy"].as_f64().unwrap() - compared["other"]["accuracy"].as_f64().unwrap();
    assert!((difference - by_hand).abs() < 2e-6, "{compared}");

    let page = fs::read_to_string(&html).unwrap();
    for wanted in
        ["<html lang=\"de\">", "Was Entscheidungen kosten", "Version 2 neben Version 1", "Tickets, die zu keinem Wert"]
    {
        assert!(page.contains(wanted), "{wanted}");
    }
    // The version in service is still the one it was.
    assert!(desk.succeed(&["models", "list"]).contains("it/2 (serves)"));

    let missing = desk.run(&["eval", "--test", &test, "--compare", "9"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("there is no model version \"it/9\""), "{}", missing.stderr);
    let costs = desk.folder.write("costs.json", r#"{"queue": {"wrong": 1.0, "handover": 0.2}}"#);
    let astray = desk.run(&["eval", "--test", &test, "--costs", &costs]);
    assert_eq!(astray.code, 1);
    assert!(astray.stderr.contains("\"queue\", which was not evaluated"), "{}", astray.stderr);
}

#[test]
fn all_departments_stand_in_one_report_and_two_runs_write_the_same_bytes() {
    let desk = Helpdesk::new();
    desk.import("it.jsonl", &tickets("it", "A", 12, 6));
    desk.import("hr.jsonl", &tickets("hr", "A", 9, 6));
    let unlabelled = "{\"id\":\"1\",\"department\":\"legal\",\"status\":\"open\",\"body\":\"Vertrag prüfen\"}\n";
    desk.import("legal.jsonl", unlabelled);
    let gate = desk.folder.write("gate.json", r#"{"fields": {"category": {"n": {"min": 30}}}}"#);
    let unknown = desk.folder.write("unknown.jsonl", &unknown());
    let run = |json: &str, html: &str, threads: &str| {
        let arguments = ["--data-dir", &desk.data, "eval", "--all", "--folds", "2", "--unknown", &unknown];
        let arguments = [&arguments[..], &["--json", json, "--html", html, "--gate", &gate]].concat();
        let mut command = command(&arguments);
        let output = command.env("SOURCE_DATE_EPOCH", "1767225600").env("RAYON_NUM_THREADS", threads).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    let path = |name: &str| desk.folder.path(name);
    let (code, log) = run(&path("first.json"), &path("first.html"), "2");
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("department hr: category n is 27, and at least 30 is asked"), "{log}");
    assert!(!log.contains("department it: category n"), "{log}");
    assert!(log.contains("department legal is left out"), "{log}");
    run(&path("second.json"), &path("second.html"), "1");
    for (first, second) in [("first.json", "second.json"), ("first.html", "second.html")] {
        assert!(fs::read(path(first)).unwrap() == fs::read(path(second)).unwrap(), "{first} and {second} differ");
    }

    let report = desk.json("first.json");
    let departments: Vec<&String> = report["departments"].as_object().unwrap().keys().collect();
    assert_eq!(departments, ["hr", "it"]);
    let it = &report["departments"]["it"];
    assert_eq!((&it["department"], &it["created_at"]), (&"it".into(), &"2026-01-01T00:00:00Z".into()));
    assert_eq!(it["protocol"], serde_json::json!({"held_out": "folds", "tickets": 36, "parts": 2}));
    assert_eq!(it["fields"]["category"]["unknown"]["n_unknown"], 3, "each is looked at once");
    assert!(report["left_out"]["legal"].is_string());
    let page = fs::read_to_string(path("first.html")).unwrap();
    for wanted in ["all departments", "href=\"#department-2\"", "id=\"department-2-field-1\"", "Left out"] {
        assert!(page.contains(wanted), "{wanted}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let desk = Helpdesk::new();
    for arguments in [
        &["eval", "--all", "--department", "it", "--split", "random"][..],
        &["eval", "--compare", "1", "--split", "random"],
        &["eval", "--split", "random", "--language", "fr"],
    ] {
        assert_eq!(desk.run(arguments).code, 2, "{arguments:?}");
    }
    desk.import("it.jsonl", &tickets("it", "A", 1, 6));
    let test = desk.folder.write("test.jsonl", "{\"id\":\"1\",\"body\":\"VPN\",\"labels\":{\"category\":\"vpn\"}}\n");
    let homeless = desk.run(&["eval", "--all", "--test", &test]);
    assert_eq!(homeless.code, 1);
    assert!(homeless.stderr.contains("names no department"), "{}", homeless.stderr);
    let costs = desk.folder.write("costs.json", r#"{"category": {"wrong": -1, "handover": 0}}"#);
    let negative = desk.run(&["eval", "--test", &test, "--costs", &costs]);
    assert_eq!(negative.code, 1);
    assert!(negative.stderr.contains("/category/wrong"), "{}", negative.stderr);
}

fn fixture() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("tests/fixtures/metrics.json")).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn result(n_labels: usize, rows: Vec<Scored>) -> FieldResult {
    let labels = (0..n_labels).map(|i| LabelRef { id: format!("l{i}"), name: format!("Label {i}") }).collect();
    let unknown = Vec::new();
    FieldResult { field: "category".to_owned(), labels, ordinal: true, calibrated: true, rows, unknown }
}

/// Every figure of `expected` stands in `found` and differs by 1e-6 at most.
fn check(name: &str, found: &Value, expected: &Value) {
    for (figure, value) in expected.as_object().unwrap() {
        let found = found[figure].as_f64().unwrap_or_else(|| panic!("{name}: no {figure}"));
        let expected = value.as_f64().unwrap();
        assert!((found - expected).abs() <= 1e-6, "{name}: {figure} is {found}, and scikit-learn says {expected}");
    }
}

#[test]
fn figures_agree_with_scikit_learn() {
    for field in fixture()["fields"].as_array().unwrap() {
        let truths = field["truth"].as_array().unwrap().iter();
        let rows = truths.zip(field["probabilities"].as_array().unwrap()).enumerate();
        let rows = rows.map(|(i, (truth, probabilities))| Scored {
            ticket: format!("T{i:04}"),
            truth: truth.as_u64().unwrap() as usize,
            probabilities: numbers(probabilities),
            ..Scored::default()
        });
        let metrics: FieldMetrics =
            field_metrics(&result(field["n_labels"].as_u64().unwrap() as usize, rows.collect()));
        check(field["name"].as_str().unwrap(), &serde_json::to_value(metrics).unwrap(), &field["expected"]);
    }
}

#[test]
fn telling_unknown_tickets_apart_agrees_with_scikit_learn() {
    for (n, case) in fixture()["unknown"].as_array().unwrap().iter().enumerate() {
        let known = numbers(&case["known"]).into_iter();
        let rows = known.map(|novelty| Scored { novelty: Some(novelty), ..Scored::default() }).collect();
        let strangers = numbers(&case["unknown"]).into_iter();
        let unknown = strangers.map(|novelty| Stranger { novelty: Some(novelty), far_from_training: false }).collect();
        let metrics = field_metrics(&FieldResult { unknown, ..result(1, rows) });
        check(&format!("case {n}"), &serde_json::to_value(metrics.unknown).unwrap(), &case["expected"]);
    }
}

#[test]
fn the_exact_test_of_two_versions_agrees_with_scipy() {
    for case in fixture()["mcnemar"].as_array().unwrap() {
        let of = |name: &str| case[name].as_u64().unwrap() as usize;
        let (only_active, only_other) = (of("only_active_right"), of("only_other_right"));
        let version = |is_right: &dyn Fn(usize) -> bool| {
            let rows = (0..only_active + only_other).map(|i| Scored {
                ticket: format!("T{i:04}"),
                probabilities: if is_right(i) { vec![0.9, 0.1] } else { vec![0.1, 0.9] },
                ..Scored::default()
            });
            result(2, rows.collect())
        };
        let comparison = compare(&version(&|i| i < only_active), &version(&|i| i >= only_active));
        check(&case.to_string(), &serde_json::to_value(comparison.mcnemar).unwrap(), case);
    }
}
