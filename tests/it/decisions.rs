//! What becomes of probabilities: two targets, the rules of a field, and the life of labels without a new training.

use std::path::Path;

use serde_json::{Value, json};
use triage::train;

use crate::harness::{App, root};

/// The demo's IT department in this process, with trained heads.
async fn trained() -> App {
    let app = App::start().await;
    let demo = root().join("training-data/demo/it");
    let taxonomy = read(&demo.join("taxonomy.json"));
    let put = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", taxonomy.to_string()).await;
    assert_eq!(put.status, 200, "{}", put.body);
    let lines = std::fs::read_to_string(demo.join("tickets.jsonl")).unwrap();
    let sent = app.send("POST", "/v1/tickets?department=it", "application/x-ndjson", lines).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    train::train(&app.state.store, &app.state.pipeline, "it", &[], &|_| ()).await.unwrap();
    app
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

async fn taxonomy(app: &App) -> Value {
    app.get("/v1/departments/it/taxonomy").await.json()
}

async fn put_taxonomy(app: &App, taxonomy: &Value) {
    let put = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", taxonomy.to_string()).await;
    assert_eq!(put.status, 200, "{}", put.body);
}

/// The field of a taxonomy with this id.
fn field<'a>(taxonomy: &'a mut Value, id: &str) -> &'a mut Value {
    taxonomy["fields"].as_array_mut().unwrap().iter_mut().find(|field| field["id"] == id).unwrap()
}

fn label<'a>(field: &'a mut Value, id: &str) -> &'a mut Value {
    field["labels"].as_array_mut().unwrap().iter_mut().find(|label| label["id"] == id).unwrap()
}

async fn ask(app: &App, ticket: Value) -> Value {
    let request = json!({"department": "it", "ticket": ticket, "options": {"record": false, "top_n": 20}});
    let answer = app.post("/v1/triage", &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn vpn_ticket() -> Value {
    json!({"id": "NEW-1", "subject": "VPN Tunnel bricht ab",
           "body": "Der VPN-Client Tunnelwart verliert von zu Hause aus nach zehn Minuten die Verbindung zum Gateway."})
}

#[tokio::test]
async fn a_new_label_is_heard_with_its_third_example_and_a_merged_one_never_again() {
    let app = trained().await;
    let mut changed = taxonomy(&app).await;
    let labels = field(&mut changed, "category")["labels"].as_array_mut().unwrap();
    labels.push(
        json!({"id": "fac-brew", "name": "Facilities::Kaffeemaschine", "description": "Espresso coffee machine"}),
    );
    put_taxonomy(&app, &changed).await;
    let fourth = json!({"id": "C-4", "subject": "Kaffeemaschine im dritten Stock",
                        "body": "Die Kaffeemaschine zeigt Entkalken an und mahlt keine Bohnen mehr."});
    let before = ask(&app, fourth.clone()).await;
    assert_ne!(before["fields"]["category"]["value"]["id"], "fac-brew");
    let examples: Vec<Value> = [
        "Die Kaffeemaschine in der Teeküche mahlt keine Bohnen.",
        "Kaffeemaschine verlangt Entkalken und gibt keinen Espresso aus.",
        "The coffee machine on the third floor does not grind beans any more.",
    ]
    .iter()
    .enumerate()
    .map(|(n, body)| json!({"id": format!("C-{n}"), "body": body, "labels": {"category": "fac-brew"}}))
    .collect();
    assert_eq!(app.post("/v1/tickets", &json!({"department": "it", "tickets": examples})).await.status, 200);
    let decision = ask(&app, fourth.clone()).await["fields"]["category"].clone();
    assert_eq!((&decision["outcome"], &decision["value"]["id"]), (&json!("suggest"), &json!("fac-brew")), "{decision}");
    assert_eq!(decision["based_on"], 3);
    assert!(decision.get("confidence").is_none(), "nothing was calibrated for it: {decision}");

    // Renamed, it keeps its id; merged, its heir is named in its place, and it is nowhere in an answer.
    label(field(&mut changed, "category"), "fac-brew")["name"] = json!("Küche::Kaffee");
    put_taxonomy(&app, &changed).await;
    assert_eq!(ask(&app, fourth.clone()).await["fields"]["category"]["value"]["name"], "Küche::Kaffee");
    label(field(&mut changed, "category"), "fac-brew")["merged_into"] = json!("net-wifi");
    put_taxonomy(&app, &changed).await;
    let answer = ask(&app, fourth.clone()).await;
    assert!(!answer["fields"].to_string().contains("fac-brew"), "{}", answer["fields"]);
    let of_category = |side: &str| answer["fields"]["category"][side].as_array().unwrap().clone();
    let heirs: Vec<Value> = [of_category("evidence"), of_category("against")].concat();
    let of_merged: Vec<&Value> =
        heirs.iter().filter(|near| near["ticket"].as_str().unwrap().starts_with("C-")).collect();
    assert!(!of_merged.is_empty() && of_merged.iter().all(|near| near["label"] == "net-wifi"), "{heirs:?}");
    let trained = train::train(&app.state.store, &app.state.pipeline, "it", &[], &|_| ()).await.unwrap();
    assert_eq!(trained.version, Some(2));
    assert!(!ask(&app, fourth).await["fields"].to_string().contains("fac-brew"));
}

#[tokio::test]
async fn a_split_label_goes_to_its_heirs_and_an_inactive_one_to_nobody() {
    let app = trained().await;
    let first = ask(&app, vpn_ticket()).await;
    let likeliest = |answer: &Value| {
        let decision = &answer["fields"]["category"];
        decision["value"]["id"].as_str().or(decision["alternatives"][0]["id"].as_str()).unwrap().to_owned()
    };
    assert_eq!(likeliest(&first), "net-vpn");
    let mut changed = taxonomy(&app).await;
    let category = field(&mut changed, "category");
    category["labels"].as_array_mut().unwrap().extend([
        json!({"id": "vpn-client", "name": "VPN-Client", "description": "Tunnelwart Client, Verbindung bricht ab"}),
        json!({"id": "vpn-rights", "name": "VPN-Berechtigung", "description": "Antrag auf Zugang, Genehmigung, Formular"}),
    ]);
    label(category, "net-vpn")["split_into"] = json!(["vpn-client", "vpn-rights"]);
    put_taxonomy(&app, &changed).await;
    let answer = ask(&app, vpn_ticket()).await;
    assert_eq!(likeliest(&answer), "vpn-client", "{}", answer["fields"]["category"]);
    assert!(!answer["fields"].to_string().contains("net-vpn"));

    let category = field(&mut changed, "category");
    label(category, "net-vpn")["split_into"] = json!([]);
    label(category, "net-vpn")["active"] = json!(false);
    put_taxonomy(&app, &changed).await;
    let answer = ask(&app, vpn_ticket()).await;
    assert!(!answer["fields"].to_string().contains("net-vpn"), "{}", answer["fields"]["category"]);
}

#[tokio::test]
async fn a_changed_target_or_level_takes_effect_with_the_next_call() {
    let app = trained().await;
    let mut changed = taxonomy(&app).await;
    let category = field(&mut changed, "category");
    category["automation"] = json!("apply");
    category["precision_target"] = json!(0.5);
    category["apply_precision_target"] = json!(0.5);
    put_taxonomy(&app, &changed).await;
    let bold = ask(&app, vpn_ticket()).await["fields"]["category"].clone();
    assert_eq!((&bold["outcome"], &bold["value"]["id"]), (&json!("apply"), &json!("net-vpn")), "{bold}");
    assert!(bold["apply_threshold"].as_f64().unwrap() <= bold["confidence"].as_f64().unwrap());
    field(&mut changed, "category")["apply_precision_target"] = json!(0.999);
    put_taxonomy(&app, &changed).await;
    let careful = ask(&app, vpn_ticket()).await["fields"]["category"].clone();
    assert_eq!((&careful["outcome"], &careful["confidence"]), (&json!("preselect"), &bold["confidence"]), "{careful}");
    label(field(&mut changed, "category"), "net-vpn")["predict"] = json!("never");
    put_taxonomy(&app, &changed).await;
    let never = ask(&app, vpn_ticket()).await["fields"]["category"].clone();
    assert_eq!((&never["outcome"], &never["reason"]), (&json!("abstain"), &json!("never_given")));
    assert_eq!(never["alternatives"][0]["id"], "net-vpn");
    label(field(&mut changed, "category"), "net-vpn")["predict"] = json!("always");
    put_taxonomy(&app, &changed).await;
    assert_eq!(ask(&app, vpn_ticket()).await["fields"]["category"]["outcome"], "apply");

    let mut wrong = changed.clone();
    field(&mut wrong, "category")["apply_precision_target"] = json!(0.4);
    let refused = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", wrong.to_string()).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
    assert!(refused.body.contains("/fields/0/apply_precision_target"), "{}", refused.body);
    field(&mut changed, "category")["rule"] = json!("balanced");
    let refused = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", changed.to_string()).await;
    assert_eq!(refused.status, 422, "{}", refused.body);
}

#[tokio::test]
async fn a_higher_target_decides_less_and_names_the_tickets() {
    let app = trained().await;
    let simulate = async |target: f64| {
        let request = json!({"department": "it", "field": "category", "precision_target": target, "max_tickets": 1000});
        let answer = app.post("/v1/models/simulate", &request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let (low, high) = (simulate(0.6).await, simulate(0.95).await);
    let rate = |simulation: &Value| simulation["automation_rate"].as_f64().unwrap();
    assert!(rate(&low) > 0.5 && rate(&low) > rate(&high), "{low}");
    let tickets = low["tickets"].as_array().unwrap();
    let n = low["n"].as_u64().unwrap();
    assert_eq!(tickets.len(), (rate(&low) * n as f64).round() as usize);
    let is_wrong = |ticket: &&Value| ticket["label"] != ticket["recorded"];
    let wrong = tickets.iter().filter(is_wrong).count();
    assert!(tickets.iter().take(wrong).all(|ticket| is_wrong(&ticket)), "wrong ones come first");
    let precision = 1.0 - wrong as f64 / tickets.len() as f64;
    assert!((low["precision"].as_f64().unwrap() - precision).abs() < 1e-4);
    assert!(low["precision_at_least"].as_f64().unwrap() <= precision);

    for (request, status) in [
        (json!({"department": "it", "field": "category", "precision_target": 0.2}), 422),
        (json!({"department": "it", "field": "colour", "precision_target": 0.9}), 404),
        (json!({"department": "moon", "field": "category", "precision_target": 0.9}), 404),
    ] {
        let answer = app.post("/v1/models/simulate", &request).await;
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn priority_may_follow_from_impact_and_urgency_and_is_held_against_what_was_stated() {
    let app = trained().await;
    let mut changed = taxonomy(&app).await;
    let steps = json!([{"id": "low"}, {"id": "high"}]);
    let cells = json!({"low": {"low": "p-low", "high": "p-low"}, "high": {"low": "p-low", "high": "p-high"}});
    changed["fields"].as_array_mut().unwrap().extend([
        json!({"id": "impact", "ordinal": true, "labels": steps}),
        json!({"id": "urgency", "ordinal": true, "labels": steps}),
        json!({"id": "derived", "ordinal": true, "automation": "apply", "labels": [{"id": "p-low"}, {"id": "p-high"}],
               "matrix": {"rows": "impact", "columns": "urgency", "cells": cells}}),
    ]);
    put_taxonomy(&app, &changed).await;
    let answer = ask(&app, vpn_ticket()).await;
    let derived = &answer["fields"]["derived"];
    // Both of its fields have names alone, so each is suggested without a number, and so is what follows from them.
    assert_eq!(derived["outcome"], "suggest", "{derived}");
    let (row, column) = (&derived["derived_from"]["impact"]["id"], &derived["derived_from"]["urgency"]["id"]);
    assert_eq!(
        (row, column),
        (&answer["fields"]["impact"]["value"]["id"], &answer["fields"]["urgency"]["value"]["id"])
    );
    let expected = if (row, column) == (&json!("high"), &json!("high")) { "p-high" } else { "p-low" };
    assert_eq!(derived["value"]["id"], expected);

    // The requester's own level never decides, and stands beside the evidence.
    let mut ticket = vpn_ticket();
    let unstated = answer["fields"]["priority"].clone();
    let levels = field(&mut changed, "priority")["labels"].clone();
    let levels: Vec<&str> = levels.as_array().unwrap().iter().map(|level| level["id"].as_str().unwrap()).collect();
    for level in &levels {
        ticket["labels"] = json!({"priority": level});
        let mut decision = ask(&app, ticket.clone()).await["fields"]["priority"].clone();
        let stated = decision.as_object_mut().unwrap().remove("stated").unwrap();
        assert_eq!(decision, unstated, "the stated level changes nothing else");
        assert_eq!(stated["value"]["id"], *level);
        let (lower, higher) = (stated["lower"].as_f64().unwrap(), stated["higher"].as_f64().unwrap());
        assert!(lower + higher <= 1.0 + 1e-5);
        let target = field(&mut changed, "priority")["precision_target"].as_f64().unwrap_or(0.8);
        let expected = if lower >= target {
            "says_lower"
        } else if higher >= target {
            "says_higher"
        } else {
            "not_contradicted"
        };
        assert_eq!(stated["evidence"], expected, "{stated}");
    }

    let matrix = field(&mut changed, "derived");
    matrix["matrix"]["cells"]["high"].as_object_mut().unwrap().remove("high");
    let refused = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", changed.to_string()).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("\\\"high\\\" and \\\"high\\\""), "{}", refused.body);
}

#[tokio::test]
async fn the_rule_of_a_scale_changes_without_a_training() {
    let app = trained().await;
    let waiting = std::fs::read_to_string(root().join("training-data/demo/it/waiting.jsonl")).unwrap();
    let mut of_rules = Vec::new();
    for rule in ["likeliest", "least_cost", "balanced"] {
        let mut changed = taxonomy(&app).await;
        field(&mut changed, "priority")["rule"] = json!(rule);
        put_taxonomy(&app, &changed).await;
        let mut levels = Vec::new();
        for line in waiting.lines() {
            let mut ticket: Value = serde_json::from_str(line).unwrap();
            ticket.as_object_mut().unwrap().remove("labels");
            let decision = ask(&app, ticket).await["fields"]["priority"].clone();
            assert!(decision["confidence"].is_number(), "{decision}");
            levels.push(decision);
        }
        of_rules.push(levels);
    }
    assert_ne!(of_rules[0], of_rules[2], "a rule that never decides otherwise is none");
}
