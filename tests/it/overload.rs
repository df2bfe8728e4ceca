//! Too much work, too little time, callers who hang up: refused at once or dropped, and the service goes on.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::harness::App;

/// A call of 32 tickets that fill what the encoder reads.
fn heavy() -> Value {
    let body = "Der VPN Tunnel bricht seit heute Morgen immer wieder ab, Fehler 809. ".repeat(20);
    let tickets: Vec<Value> = (0..32).map(|n| json!({"id": format!("H-{n}"), "body": body})).collect();
    json!({"department": "it", "tickets": tickets, "options": {"record": false, "similar": 1, "articles": 0}})
}

fn light() -> Value {
    json!({"department": "it", "ticket": {"id": "L", "body": "Drucker ohne Papier"}, "options": {"record": false}})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_in_time_is_refused_at_once_and_the_rest_is_answered() {
    let app = Arc::new(App::start().await);
    app.fill().await;
    let calls: Vec<_> = (0..24)
        .map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { app.post("/v1/triage", &heavy()).await })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        let answer = call.await.unwrap();
        if answer.status == 503 {
            let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds));
            assert_eq!(answer.json()["code"], "unavailable");
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 503, 504].contains(status)), "{statuses:?}");
    assert_eq!(app.post("/v1/triage", &light()).await.status, 200);
    assert!(app.get("/metrics").await.body.contains("triage_refused_total"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_is_said_so() {
    let app = App::start().await;
    app.fill().await;
    let request = axum::http::Request::post("/v1/triage")
        .header("content-type", "application/json")
        .header("x-request-deadline-ms", "1")
        .body(axum::body::Body::from(heavy().to_string()))
        .unwrap();
    let answer = app.call(request).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, json!("deadline")), "{}", answer.body);
    assert_eq!(app.post("/v1/triage", &light()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_whose_caller_has_gone_is_never_computed() {
    let app = Arc::new(App::start().await);
    app.fill().await;
    let call = |body: Value| {
        let app = Arc::clone(&app);
        tokio::spawn(async move { app.post("/v1/triage", &body).await.status })
    };
    // The first call keeps the worker busy; the second waits behind it.
    let busy = call(heavy());
    while !app.get("/metrics").await.body.contains("triage_batch_tickets_count 1") {
        tokio::task::yield_now().await;
    }
    let gone = call(light());
    while app.state.worker.queued_tokens() == 0 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!(busy.await.unwrap(), 200);
    assert_eq!(app.post("/v1/triage", &light()).await.status, 200);
    let metrics = app.get("/metrics").await.body;
    assert!(metrics.lines().any(|line| line == "triage_dropped_total 1"), "{metrics}");
}
