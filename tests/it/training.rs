//! Who may become the heads that serve, when, and how one gets back: gate, schedule, versions, rollback.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use triage::train;

use crate::harness::{App, Folder, Service, root, triage};

/// What the bodies of [`tickets`] say.
#[derive(Clone, Copy)]
enum Bodies {
    /// Which label it is.
    Telling,
    /// Things that have nothing to do with the label.
    Idle,
    /// The same everywhere.
    Alike,
}

/// Thirty resolved tickets of each of two labels.
fn tickets(bodies: Bodies) -> Vec<Value> {
    const TELLING: [(&str, [&str; 3]); 2] = [
        ("vpn", ["Der VPN Tunnel bricht ab", "VPN connection drops", "Kein Tunnel zum Gateway"]),
        ("printer", ["Der Drucker zieht kein Papier", "Printer jams again", "Toner im Drucker ist leer"]),
    ];
    const IDLE: [&str; 10] =
        ["Montag", "please", "Büro", "urgent", "Kollege", "thanks", "gestern", "again", "Etage", "morning"];
    let mut tickets = Vec::new();
    for n in 0..30 {
        for (label, texts) in TELLING {
            let body = match bodies {
                Bodies::Telling => format!("{}, {}", texts[n % 3], IDLE[n % 10]),
                Bodies::Idle => format!("Bitte um Hilfe {}", IDLE[n % 10]),
                Bodies::Alike => "Bitte um Hilfe".to_owned(),
            };
            let body = format!("{body}, Platz {n}");
            tickets.push(json!({"id": format!("{label}-{n}"), "body": body, "labels": {"category": label}}));
        }
    }
    tickets
}

fn lines(tickets: &[Value]) -> String {
    tickets.iter().map(|ticket| format!("{ticket}\n")).collect()
}

#[test]
fn a_version_that_loses_is_kept_but_does_not_serve_unless_that_is_asked_for() {
    let folder = Folder::new();
    let data = folder.path("data");
    let run = |arguments: &[&str]| triage(&[&["--data-dir", &data], arguments].concat());
    let import = |bodies| {
        let file = folder.write("tickets.jsonl", &lines(&tickets(bodies)));
        let imported = run(&["import", "tickets", &file, "--department", "it"]);
        assert_eq!(imported.code, 0, "{}", imported.stderr);
    };
    import(Bodies::Telling);
    let first = run(&["train"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    assert!(first.stdout.contains("Version 1 of department it serves now"), "{}", first.stdout);
    assert!(first.stdout.contains("These are the first heads of the department."), "{}", first.stdout);
    let again = run(&["train", "--json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    let comparison = &again["it"]["verdict"]["fields"]["category"];
    assert_eq!((&again["it"]["verdict"]["champion"], &comparison["n"]), (&json!(1), &json!(60)), "{again}");
    assert_eq!(comparison["difference"], 0.0, "the same tickets give the same heads");
    assert_eq!(comparison["labels"]["vpn"]["n"], 30);

    // The same tickets, and nothing in them tells the labels apart any more.
    import(Bodies::Idle);
    let held_back = run(&["train"]);
    assert_eq!(held_back.code, 3, "{}", held_back.stderr);
    assert!(held_back.stdout.contains("Version 3 of department it is held back"), "{}", held_back.stdout);
    assert!(held_back.stdout.contains("Field category would fall from 100.0 %"), "{}", held_back.stdout);
    let list = run(&["models", "list"]).stdout;
    let of_versions: Vec<&str> = list.lines().collect();
    assert!(of_versions[1].starts_with("it/2 (serves)"), "{list}");
    assert!(of_versions[1].ends_with("category 100.0 %; promoted over version 1"), "{list}");
    assert!(of_versions[2].starts_with("it/3 of") && of_versions[2].ends_with("held back for version 2"), "{list}");
    let shown = run(&["models", "show", "3"]);
    assert!(shown.stdout.contains("Field category would fall from 100.0 %"), "{}{}", shown.stdout, shown.stderr);
    let shown: Value = serde_json::from_str(&run(&["models", "show", "3", "--json"]).stdout).unwrap();
    assert_eq!((&shown["version"], &shown["metrics"]["verdict"]["promoted"]), (&json!(3), &json!(false)));
    let missing = run(&["models", "show", "9"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("there is no model version \"it/9\""), "{}", missing.stderr);

    let anyway = run(&["train", "--promote-anyway", "--json"]);
    assert_eq!(anyway.code, 0, "{}", anyway.stderr);
    let anyway: Value = serde_json::from_str(&anyway.stdout).unwrap();
    assert_eq!((&anyway["it"]["version"], &anyway["it"]["verdict"]["promoted"]), (&json!(4), &json!(true)));
    assert!(anyway.to_string().contains("It serves all the same, because that was asked for."), "{anyway}");

    // A bound that allows everything lets the next one through as well.
    let config = folder.write("wide.toml", "[train]\nmax_loss = 1.0\nmax_label_loss = 1.0\n");
    assert_eq!(run(&["models", "rollback", "--department", "it"]).code, 0);
    assert_eq!(run(&["--config", &config, "train"]).code, 0);
    let pruned = run(&["models", "prune", "--keep", "1", "--json"]);
    // 5 serves, and rollbacks lead to 2 and 1.
    assert_eq!(serde_json::from_str::<Value>(&pruned.stdout).unwrap(), json!({"it": [3, 4]}), "{}", pruned.stderr);
    assert_eq!(run(&["models", "prune", "--keep", "0"]).code, 2);
}

#[test]
fn a_version_of_another_encoder_is_refused_and_does_not_hold_new_heads_back() {
    let folder = Folder::new();
    let data = folder.path("data");
    let run = |arguments: &[&str]| triage(&[&["--data-dir", &data], arguments].concat());
    let file = folder.write("tickets.jsonl", &lines(&tickets(Bodies::Telling)));
    assert_eq!(run(&["import", "tickets", &file, "--department", "it"]).code, 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = triage::store::Store::open(data.as_ref()).await.unwrap();
        let foreign = triage::store::NewModel {
            blob: vec![0; 100],
            encoder: "sha256:000000000000".to_owned(),
            text_version: 1,
            data_seq: 0,
            metrics: json!({}),
            activate: true,
        };
        store.put_model("it", foreign.clone()).await.unwrap();
    });
    let trained = run(&["train"]);
    assert_eq!(trained.code, 0, "{}", trained.stderr);
    assert!(trained.stdout.contains("Version 1 was made with another encoder"), "{}", trained.stdout);
    for command in
        [&["models", "promote", "1", "--department", "it"][..], &["models", "rollback", "--department", "it"]]
    {
        let refused = run(command);
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        assert!(refused.stderr.contains("sha256:000000000000"), "{}", refused.stderr);
        assert!(refused.stderr.contains("run `triage train --department it`"), "{}", refused.stderr);
    }
    assert!(run(&["models", "list"]).stdout.contains("it/2 (serves)"));
}

/// Fills a department with demo tickets, and articles where there is a file of them.
async fn fill_with_demo(app: &App, department: &str) -> Value {
    let folder = root().join("training-data/demo").join(department);
    let taxonomy: Value = serde_json::from_str(&fs::read_to_string(folder.join("taxonomy.json")).unwrap()).unwrap();
    put_taxonomy(app, department, &taxonomy).await;
    for pool in ["tickets", "articles"] {
        let lines = fs::read_to_string(folder.join(format!("{pool}.jsonl"))).unwrap();
        let path = format!("/v1/{pool}?department={department}");
        assert_eq!(app.send("POST", &path, "application/x-ndjson", lines).await.status, 200);
    }
    taxonomy
}

async fn put_taxonomy(app: &App, department: &str, taxonomy: &Value) {
    let path = format!("/v1/departments/{department}/taxonomy");
    let put = app.send("PUT", &path, "application/json", taxonomy.to_string()).await;
    assert_eq!(put.status, 200, "{}", put.body);
}

async fn train_here(app: &App, department: &str) -> train::Trained {
    train::train(&app.state.store, &app.state.pipeline, department, &[], &|_| ()).await.unwrap()
}

/// Waits until no training is under way; what the models are then.
async fn when_trained(app: &App) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let models = app.get("/v1/models?department=it").await.json();
        if models["training"] == false {
            return models;
        }
        assert!(Instant::now() < deadline, "the training does not end");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_restores_every_byte_of_an_answer() {
    let app = App::start().await;
    let taxonomy = fill_with_demo(&app, "facilities").await;
    assert_eq!(train_here(&app, "facilities").await.version, Some(1));
    let ask = || async {
        let ticket = json!({"id": "T-1", "subject": "Heizung kalt", "body": "Im Büro im zweiten Stock bleibt die Heizung seit gestern kalt."});
        let request = json!({"department": "facilities", "ticket": ticket, "options": {"record": false, "top_n": 20}});
        let answer = app.post("/v1/triage", &request).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut body = answer.json();
        let parts = body.as_object_mut().unwrap();
        assert!(parts.remove("decision_id").is_some() && parts.remove("timing_ms").is_some());
        body.to_string()
    };
    let before = ask().await;
    assert!(before.contains("\"model\":\"facilities/1 "), "{before}");

    let mut changed = taxonomy.clone();
    let labels = changed["fields"][0]["labels"].as_array_mut().unwrap();
    labels[0]["active"] = json!(false);
    put_taxonomy(&app, "facilities", &changed).await;
    let second = train_here(&app, "facilities").await;
    assert_eq!(second.version, Some(2));
    if second.is_held_back() {
        let promoted = app.post("/v1/models/2/promote?department=facilities", &json!({})).await;
        assert_eq!(promoted.status, 200, "{}", promoted.body);
    }
    put_taxonomy(&app, "facilities", &taxonomy).await;
    let between = ask().await;
    assert!(between.contains("\"model\":\"facilities/2 ") && between != before, "{between}");

    let rolled_back = app.post("/v1/models/2/rollback?department=facilities", &json!({})).await;
    assert_eq!((rolled_back.status, rolled_back.json()["version"].clone()), (200, json!(1)), "{}", rolled_back.body);
    assert_eq!(ask().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_decision_becomes_no_example_until_an_outcome_confirms_it() {
    let app = App::start().await;
    let upserted = app.post("/v1/tickets", &json!({"department": "it", "tickets": tickets(Bodies::Telling)})).await;
    assert_eq!(upserted.status, 200, "{}", upserted.body);
    let taxonomy = json!({"fields": [{"id": "category", "automation": "apply", "precision_target": 0.5, "labels": [{"id": "vpn"}, {"id": "printer"}]}]});
    put_taxonomy(&app, "it", &taxonomy).await;
    let examples = |trained: train::Trained| trained.fields["category"].examples;
    assert_eq!(examples(train_here(&app, "it").await), 60);

    // The frontend sets what was decided, and sends the ticket once more when its text has grown.
    let triage = |body: &str, labels: Value| {
        let ticket = json!({"id": "N-1", "body": body, "labels": labels});
        let request = json!({"department": "it", "ticket": ticket});
        let app = &app;
        async move { app.post("/v1/triage", &request).await.json() }
    };
    let answer = triage("Der VPN Tunnel bricht ab, Platz 77", json!({})).await;
    let category = &answer["fields"]["category"];
    assert_eq!((&category["outcome"], &category["value"]["id"]), (&json!("apply"), &json!("vpn")), "{answer}");
    triage("Der VPN Tunnel bricht ab, Platz 77", json!({"category": "vpn"})).await;
    triage("Der VPN Tunnel bricht ab, Platz 77. Dringend!", json!({"category": "vpn"})).await;
    triage_is_followed(&app).await;
    assert_eq!(examples(train_here(&app, "it").await), 60);
    let kept = app.state.store.ticket("it", "N-1").await.unwrap().unwrap();
    assert!(!kept.is_resolved() && kept.labels.is_empty(), "{kept:?}");

    // Closing a ticket without a word on the field confirms nothing.
    let closed = app.post("/v1/tickets/N-1/outcome", &json!({"department": "it", "resolution": "MTU"})).await;
    assert_eq!(closed.status, 202, "{}", closed.body);
    assert_eq!(examples(train_here(&app, "it").await), 60);
    let outcome = json!({"department": "it", "labels": {"category": "vpn"}});
    assert_eq!(app.post("/v1/tickets/N-1/outcome", &outcome).await.status, 202);
    assert_eq!(examples(train_here(&app, "it").await), 61);
}

/// Waits until everything that was recorded is in the index.
async fn triage_is_followed(app: &App) {
    let seq = app.state.store.last_seq().await.unwrap();
    assert!(app.state.follower.wait_for(seq, Instant::now() + Duration::from_secs(60)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interface_holds_back_promotes_anyway_and_shows_why() {
    let app = App::start().await;
    let upload = |bodies| json!({"department": "it", "tickets": tickets(bodies)});
    assert_eq!(app.post("/v1/tickets", &upload(Bodies::Telling)).await.status, 200);
    let train = |promote_anyway: bool| {
        let request = json!({"department": "it", "promote_anyway": promote_anyway});
        let app = &app;
        async move {
            let started = app.post("/v1/models/train", &request).await;
            assert_eq!(started.status, 202, "{}", started.body);
            when_trained(app).await
        }
    };
    let first = train(false).await;
    assert_eq!((&first["models"][0]["active"], &first["models"][0]["version"]), (&json!(true), &json!(1)), "{first}");
    assert_eq!(app.post("/v1/tickets", &upload(Bodies::Idle)).await.status, 200);
    let second = train(false).await;
    assert_eq!((&second["models"][0]["active"], &second["models"][1]["active"]), (&json!(true), &json!(false)));
    assert_eq!(second["models"][1]["metrics"]["verdict"]["promoted"], false, "{second}");
    let shown = app.get("/v1/models/2?department=it").await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    let shown = shown.json();
    assert_eq!((&shown["usable"], &shown["model"]["version"]), (&json!(true), &json!(2)), "{shown}");
    let verdict = &shown["fitting"]["verdict"];
    assert_eq!((&verdict["champion"], verdict["fields"]["category"]["n"].as_u64()), (&json!(1), Some(60)), "{shown}");
    assert!(verdict["reasons"][0].as_str().unwrap().starts_with("Field category would fall"), "{shown}");
    let third = train(true).await;
    assert_eq!(third["models"][2]["active"], true, "{third}");
    // Texts that are all alike cannot be held out, and what cannot be checked replaces nothing.
    assert_eq!(app.post("/v1/tickets", &upload(Bodies::Alike)).await.status, 200);
    let unchecked = train(false).await;
    let reason = unchecked["models"][3]["metrics"]["verdict"]["reasons"][0].as_str().unwrap();
    assert!(reason.ends_with("none of its examples could be held out to check it on."), "{reason}");
    assert_eq!(unchecked["models"][2]["active"], true, "{unchecked}");
    assert_eq!(app.get("/v1/models/9?department=it").await.status, 404);
    assert_eq!(app.get("/v1/models/1?department=hr").await.status, 404);

    let foreign = triage::store::NewModel {
        blob: vec![0; 100],
        encoder: "sha256:000000000000".to_owned(),
        text_version: 1,
        data_seq: 0,
        metrics: json!({}),
        activate: false,
    };
    assert_eq!(app.state.store.put_model("it", foreign).await.unwrap(), 5);
    let refused = app.post("/v1/models/5/promote?department=it", &json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    assert!(
        refused.body.contains("version 5 cannot serve") && refused.body.contains("triage train"),
        "{}",
        refused.body
    );
    assert_eq!(app.get("/v1/models/5?department=it").await.json()["usable"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_the_champion_never_saw_is_put_to_it_and_a_lost_field_holds_back() {
    let app = App::start().await;
    let upload = |tickets: &[Value]| {
        let request = json!({"department": "it", "tickets": tickets});
        let app = &app;
        async move { assert_eq!(app.post("/v1/tickets", &request).await.status, 200) }
    };
    let mut all = tickets(Bodies::Telling);
    for (n, ticket) in all.iter_mut().enumerate() {
        ticket["labels"]["queue"] = json!(if n % 2 == 0 { "first" } else { "second" });
    }
    upload(&all[..40]).await;
    assert_eq!(train_here(&app, "it").await.fields.len(), 2);
    upload(&all[40..]).await;
    let grown = train_here(&app, "it").await;
    // Forty it remembers, and twenty it is asked about.
    assert_eq!(grown.verdict.fields["category"].n, 60, "{:?}", grown.verdict);
    assert!(grown.verdict.fields["category"].accuracy_champion > 0.95, "{:?}", grown.verdict);
    // A copy of a ticket that it has learnt from would be no question to it.
    let copies: Vec<Value> = (0..5)
        .map(|n| json!({"id": format!("copy-{n}"), "body": format!("DER VPN-Tunnel bricht ab! Montag, Platz {n}{n}{n}"), "labels": {"category": "vpn"}}))
        .collect();
    upload(&copies).await;
    assert_eq!(train_here(&app, "it").await.verdict.fields["category"].n, 60);

    // All tickets now have the same queue, so that it cannot be told apart any more.
    all.iter_mut().for_each(|ticket| ticket["labels"]["queue"] = json!("first"));
    upload(&all).await;
    let lost = train_here(&app, "it").await;
    assert!(lost.is_held_back(), "{:?}", lost.verdict);
    assert!(lost.verdict.reasons.join(" ").contains("decides on field queue, and the new heads cannot: all resolved"));
    let mut taxonomy = app.get("/v1/departments/it/taxonomy").await.json();
    taxonomy["fields"].as_array_mut().unwrap().retain(|field| field["id"] != "queue");
    put_taxonomy(&app, "it", &taxonomy).await;
    let deleted = train_here(&app, "it").await;
    assert!(deleted.verdict.promoted, "{:?}", deleted.verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_overlapping_loads_the_one_that_read_last_stays() {
    let app = App::start().await;
    app.fill().await;
    let pipeline = &app.state.pipeline;
    let taxonomy = |label: &str| {
        let json = json!({"fields": [{"id": "category", "labels": [{"id": label}, {"id": "other"}]}]});
        serde_json::from_value::<triage::taxonomy::Taxonomy>(json).unwrap()
    };
    let early = pipeline.begin_load();
    let late = pipeline.begin_load();
    assert!(pipeline.load("it", late, taxonomy("new"), None).unwrap());
    assert!(!pipeline.load("it", early, taxonomy("old"), None).unwrap());
    let request = json!({"department": "it", "ticket": {"id": "N", "body": "Der VPN Tunnel bricht ab"}, "options": {"record": false}});
    let answer = app.post("/v1/triage", &request).await.body;
    assert!(answer.contains("\"new\"") && !answer.contains("\"old\""), "{answer}");
}

#[test]
fn the_service_trains_by_the_clock_and_only_when_enough_has_changed() {
    let folder = Folder::new();
    let data = folder.path("data");
    let file = folder.write("tickets.jsonl", &lines(&tickets(Bodies::Telling)));
    assert_eq!(triage(&["--data-dir", &data, "import", "tickets", &file, "--department", "it"]).code, 0);
    let settings = [("TRIAGE__TRAIN__EVERY_HOURS", "0.0001"), ("TRIAGE__TRAIN__MIN_CHANGES", "2")];
    let service = Service::start_with(&data, &settings);
    let wait_for_version = |version: usize| {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let models = service.get("/v1/models").1;
            if models["models"].as_array().unwrap().len() >= version && models["training"] == false {
                return models;
            }
            assert!(Instant::now() < deadline, "version {version} does not come");
            std::thread::yield_now();
        }
    };
    wait_for_version(1);
    let outcome = |id: &str| {
        let outcome = json!({"department": "it", "labels": {"category": "vpn"}, "resolution": "MTU"});
        assert_eq!(service.post(&format!("/v1/tickets/{id}/outcome"), &outcome).0, 202);
    };
    outcome("vpn-1");
    // Many looks at one change, which is too little: the next version has seen both.
    outcome("vpn-2");
    let models = wait_for_version(2);
    assert_eq!(models["models"][1]["metrics"]["verdict"]["champion"], 1, "{models}");
    let (code, log) = service.stop();
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("new heads serve").count(), 2, "{log}");
}
