//! The HTTP interface, field by field, on a real encoder, store and index.

use serde_json::{Value, json};

use crate::harness::{App, root};

#[tokio::test(flavor = "multi_thread")]
async fn one_call_answers_everything_in_the_documented_shape() {
    let app = App::start().await;
    let department = root().join("training-data/demo/it");
    let taxonomy: Value =
        serde_json::from_str(&std::fs::read_to_string(department.join("taxonomy.json")).unwrap()).unwrap();
    let put = app.send("PUT", "/v1/departments/it/taxonomy", "application/json", taxonomy.to_string()).await;
    assert_eq!(put.status, 200, "{}", put.body);
    for pool in ["tickets", "articles"] {
        let lines = std::fs::read_to_string(department.join(format!("{pool}.jsonl"))).unwrap();
        let path = format!("/v1/{pool}?department=it");
        let upserted = app.send("POST", &path, "application/x-ndjson", lines).await;
        assert_eq!(upserted.status, 200, "{}", upserted.body);
    }
    triage::train::train(&app.state.store, &app.state.pipeline, "it", &[], &|_| ()).await.unwrap();

    let mail = "Hallo,\n\nseit dem Update bricht das VPN immer wieder ab, Fehler 809.\n\nViele Grüße\nJana Muster\nTel. +49 30 \
                23125 001\n\n-----Ursprüngliche Nachricht-----\nVon: Service\nGesendet: Montag\nAn: Jana\nBetreff: VPN\n\nBitte \
                melden Sie sich.";
    let request = json!({"department": "it", "ticket": {"id": "T-1", "subject": "VPN bricht ab", "body": mail}, "options": {"similar": 2, "articles": 1}});
    let answer = app.post("/v1/triage", &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut answer = answer.json();
    // Figures of the last decimals differ between processors; names, order and shape do not.
    round(&mut answer);
    insta::assert_json_snapshot!(answer, {
        ".decision_id" => "[uuid]",
        ".timing_ms.*" => "[ms]",
    });
}

/// Rounds scores to one decimal.
fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            *value = json!((number.as_f64().unwrap_or(0.0) * 10.0).round() / 10.0);
        }
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_answers_in_order_and_a_question_is_never_its_own_answer() {
    let app = App::start().await;
    app.fill().await;
    let request = json!({"department": "it", "tickets": [
        {"id": "A-3", "body": "Der Drucker zieht kein Papier ein."}, {"id": "A-2", "body": "The VPN tunnel drops every hour."}]});
    let answer = app.post("/v1/triage", &request).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let results = answer.json()["results"].clone();
    for (n, (id, best)) in [("A-3", "printer"), ("A-2", "vpn")].into_iter().enumerate() {
        assert_eq!(results[n]["ticket"], id);
        assert!(!results[n]["similar"].as_array().unwrap().iter().any(|hit| hit["id"] == id), "{results}");
        let category = &results[n]["fields"]["category"];
        assert_eq!(category["value"]["id"], best, "{category}");
        // Nothing was calibrated, so nothing is called a confidence.
        assert_eq!((category["confidence"].clone(), category["outcome"].clone()), (Value::Null, json!("suggest")));
    }
    let too_many: Vec<Value> = (0..33).map(|n| json!({"id": n.to_string(), "body": "x y"})).collect();
    let refused = app.post("/v1/triage", &json!({"department": "it", "tickets": too_many})).await;
    assert_eq!(refused.status, 413, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_finds_the_article_of_the_other_language() {
    let app = App::start().await;
    app.fill().await;
    let search = |query: &str, pool: &str| {
        let request = json!({"department": "it", "query": query, "pool": pool, "k": 2});
        let app = &app;
        async move {
            let answer = app.post("/v1/search", &request).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            answer.json()["hits"].clone()
        }
    };
    assert_eq!(search("Wie repariere ich die VPN-Verbindung?", "articles").await[0]["id"], "kb-1");
    assert_eq!(search("how do I remove a paper jam", "articles").await[0]["id"], "kb-2");
    let hits = search("Fehler 809", "tickets").await;
    assert_eq!(hits[0]["id"], "A-1");
    assert!(!hits[0]["excerpt"]["highlights"].as_array().unwrap().is_empty(), "{hits}");

    let similar = app.get("/v1/tickets/A-1/similar?department=it&k=1").await;
    assert_eq!((similar.status, similar.json()["similar"][0]["id"].clone()), (200, json!("A-2")), "{}", similar.body);
    assert_eq!(app.get("/v1/tickets/none/similar?department=it").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_changes_the_vote_of_the_next_call_and_a_deletion_hides_at_once() {
    let app = App::start().await;
    app.fill().await;
    let ticket = |id: &str| json!({"department": "it", "ticket": {"id": id, "subject": "Beamer", "body": "Der Beamer im Saal zeigt kein Bild."}});
    app.post("/v1/triage", &ticket("N-1")).await;
    let outcome = json!({"department": "it", "labels": {"category": "printer"}, "resolution": "Kabel getauscht."});
    assert_eq!(app.post("/v1/tickets/N-1/outcome", &outcome).await.status, 202);
    let answer = app.post("/v1/triage", &ticket("N-2")).await.json();
    assert_eq!(answer["fields"]["category"]["value"]["id"], "printer", "{answer}");
    assert_eq!(answer["similar"][0]["id"], "N-1");

    let unknown_label = json!({"department": "it", "labels": {"category": "beamer"}});
    let refused = app.post("/v1/tickets/N-1/outcome", &unknown_label).await;
    assert_eq!((refused.status, refused.json()["errors"][0]["pointer"].clone()), (422, json!("/labels/category")));
    assert_eq!(app.post("/v1/tickets/none/outcome", &outcome).await.status, 404);

    assert_eq!(app.send("DELETE", "/v1/tickets/N-1?department=it", "application/json", "").await.status / 100, 2);
    let answer = app.post("/v1/triage", &ticket("N-3")).await.json();
    assert!(!answer.to_string().contains("\"N-1\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_an_upload_brings_is_decided_on_at_once() {
    let app = App::start().await;
    app.fill().await;
    let upload =
        "{\"id\":\"B-1\",\"body\":\"Der Beamer im Saal zeigt kein Bild.\",\"labels\":{\"category\":\"beamer\"}}";
    let upserted = app.send("POST", "/v1/tickets?department=it", "application/x-ndjson", upload).await;
    assert_eq!((upserted.status, upserted.json()["upserted"].clone()), (200, json!(1)), "{}", upserted.body);
    let asked =
        json!({"department": "it", "ticket": {"id": "X", "body": "Der Beamer im Saal zeigt wieder kein Bild."}});
    let answer = app.post("/v1/triage", &asked).await.json();
    assert_eq!(answer["fields"]["category"]["value"]["id"], "beamer", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_departments_may_come_at_any_moment() {
    // The upload and the index that follows the store both bring the department, at the same time.
    let app = App::start().await;
    for n in 0..25 {
        let upload = json!({"department": format!("d{n}"), "tickets": [{"id": "1", "body": "VPN", "labels": {"category": "vpn"}}]});
        let upserted = app.post("/v1/tickets", &upload).await;
        assert_eq!(upserted.status, 200, "{n}: {}", upserted.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_department_is_a_wall() {
    let app = App::start().await;
    app.fill().await;
    let other = json!({"department": "hr", "tickets": [{"id": "H-1", "body": "Wie viele Urlaubstage habe ich noch?", "labels": {"category": "leave"}}]});
    assert_eq!(app.post("/v1/tickets", &other).await.status, 200);
    let asked = |department: &str| json!({"department": department, "ticket": {"id": "X", "body": "Der VPN Tunnel bricht ab, Fehler 809"}});
    let answer = app.post("/v1/triage", &asked("hr")).await.json();
    assert!(!answer.to_string().contains("A-1"), "{answer}");
    let unknown = app.post("/v1/triage", &asked("none")).await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.headers["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_taxonomy_is_read_and_replaced_with_its_revision() {
    let app = App::start().await;
    app.fill().await;
    let read = app.get("/v1/departments/it/taxonomy").await;
    assert_eq!(read.status, 200);
    let etag = read.headers["etag"].to_str().unwrap().to_owned();
    let mut taxonomy = read.json();
    taxonomy["fields"][0]["labels"].as_array_mut().unwrap().push(json!({"id": "beamer", "name": "Beamer"}));
    let put = |etag: String| {
        let request = axum::http::Request::put("/v1/departments/it/taxonomy")
            .header("content-type", "application/json")
            .header("if-match", etag)
            .body(axum::body::Body::from(taxonomy.to_string()))
            .unwrap();
        app.call(request)
    };
    let replaced = put(etag.clone()).await;
    assert_eq!(replaced.status, 200, "{}", replaced.body);
    assert_eq!(put(etag).await.status, 412);
    let outcome = json!({"department": "it", "labels": {"category": "beamer"}});
    assert_eq!(app.post("/v1/tickets/A-1/outcome", &outcome).await.status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_metrics_and_documents_answer() {
    let app = App::start().await;
    app.fill().await;
    for path in ["/livez", "/readyz", "/v1/models", "/v1/limits", "/v1/departments", "/openapi.json"] {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let metrics = app.get("/metrics").await.body;
    assert!(metrics.contains("http_server_request_duration_seconds"), "{metrics}");
    let encoder = app.get("/v1/models").await.json()["encoder"].clone();
    for field in ["name", "fingerprint", "kernel", "precision"] {
        let told = encoder[field].as_str().unwrap();
        assert!(metrics.contains(&format!("{told:?}")), "{field} {told} is missing in\n{metrics}");
    }
    assert_eq!(encoder["precision"], "int8");
    assert!(metrics.contains(&format!("triage_encoder_bytes {}", encoder["model_bytes"])), "{metrics}");
    assert!(app.get("/docs/").await.body.contains("swagger"));
    assert_eq!(app.get("/openapi.json").await.json()["openapi"], "3.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_learns_from_all_that_was_uploaded_before_it() {
    let app = App::start().await;
    app.fill().await;
    let tickets: Vec<Value> = (0..40)
        .map(|n| {
            let (text, label) =
                if n % 2 == 0 { ("VPN Tunnel bricht ab", "vpn") } else { ("Drucker zieht kein Papier ein", "printer") };
            let words = ["heute", "gestern", "wieder", "immer", "morgens", "abends", "nach Update", "im Zug"];
            json!({"id": format!("B-{n}"), "body": format!("{text}, {} {}", words[n % 8], words[(n / 8 + 3) % 8]), "labels": {"category": label}})
        })
        .collect();
    let uploaded = app.post("/v1/tickets", &json!({"department": "it", "tickets": tickets})).await;
    assert_eq!(uploaded.status, 200, "{}", uploaded.body);
    assert_eq!(app.post("/v1/models/train", &json!({"department": "none"})).await.status, 404);
    assert_eq!(app.post("/v1/models/train", &json!({"department": "it", "fields": ["none"]})).await.status, 422);
    let started = app.post("/v1/models/train", &json!({"department": "it"})).await;
    assert_eq!(started.status, 202, "{}", started.body);
    let models = loop {
        let models = app.get("/v1/models?department=it").await.json();
        if models["training"] == json!(false) {
            break models["models"].clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((models[0]["version"].clone(), models[0]["active"].clone()), (json!(1), json!(true)), "{models}");
    assert_eq!(models[0]["metrics"]["fields"]["category"]["examples"], 44, "{models}");
    let asked = json!({"department": "it", "ticket": {"id": "Q", "body": "Der VPN Tunnel bricht nach dem Update ab"}});
    let answer = app.post("/v1/triage", &asked).await.json();
    assert!(answer["model"].as_str().unwrap().starts_with("it/1 "), "{answer}");
    assert_eq!(answer["fields"]["category"]["value"]["id"], "vpn", "{answer}");
    assert!(answer["fields"]["category"]["confidence"].is_f64(), "{answer}");
}

#[test]
fn the_committed_openapi_file_is_current() {
    let path = root().join("openapi.json");
    let current = triage::http::openapi().to_pretty_json().unwrap();
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed.trim(), current.trim(), "write it anew: cargo run -- openapi > openapi.json");
}
