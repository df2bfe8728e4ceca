//! `/v1/tickets` and `/v1/articles`: what the service learns from and looks things up in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;
use crate::exchange::Record;
use crate::http::body::{self, JSON_LINES, Path, Query};
use crate::http::lines::Lines;
use crate::http::problem::Problem;
use crate::http::{App, detached};
use crate::store::{Kind, Upserted};
use crate::ticket::{Article, Outcome, Ticket, check_id};

/// How long the answer to one outcome or deletion waits for the index to follow; the write is durable before. An upload,
/// which brings more to read, waits until the caller's deadline.
const FOLLOW: Duration = Duration::from_secs(5);

/// Tickets to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TicketsRequest {
    /// Department they belong to; made when it is new.
    #[schema(example = "it")]
    department: String,
    /// The tickets, resolved ones with their labels.
    tickets: Vec<Ticket>,
}

/// Articles to keep.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ArticlesRequest {
    /// Department they belong to; made when it is new.
    #[schema(example = "it")]
    department: String,
    /// The articles.
    articles: Vec<Article>,
}

/// What was kept.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpsertAnswer {
    /// Records that are in the store now as they were sent.
    upserted: usize,
    /// Number of the last change; the store has synced it.
    change_seq: u64,
}

/// Final values of a ticket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeRequest {
    /// Department of the ticket.
    #[schema(example = "it")]
    department: String,
    /// Final values by field, each a label's id or name; fields that are not named keep their value.
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
    /// What solved the ticket.
    #[serde(default)]
    resolution: Option<String>,
    /// When it was closed; now, if not given.
    #[serde(default)]
    closed_at: Option<DateTime<Utc>>,
}

/// What was recorded.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Recorded {
    /// Number of the change; the store has synced it.
    change_seq: u64,
}

/// Department of the object.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfDepartment {
    /// Department
    department: String,
}

/// Department of an upload of JSON Lines; JSON bodies name it themselves.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybeDepartment {
    /// Department, for JSON Lines only
    department: Option<String>,
}

/// Keep tickets
///
/// Each takes the place of an earlier one with its id. JSON names the department in the body and is kept whole or not at
/// all. JSON Lines (`application/x-ndjson`, one ticket per line, 256 MiB at most) names it in the query and is kept in
/// batches of up to 500 lines while it arrives: a bad line is named, nothing of its batch or after it is kept, and the
/// same upload can be sent again once the line is right.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "records", params(MaybeDepartment),
    request_body(content = TicketsRequest, content_type = "application/json", example = json!({
        "department": "it",
        "tickets": [{
            "id": "HELP-881", "subject": "VPN Fehler 809", "body": "Der Tunnel bricht ab.", "status": "resolved",
            "labels": {"category": "net-vpn", "priority": "2-normal"}, "resolution": "MTU auf 1350 gesetzt.",
        }],
    })),
    responses((status = 200, description = "They are synced, and searched from the next call on unless the deadline passed first", body = UpsertAnswer)),
)]
pub(super) async fn upsert_tickets(
    State(app): State<Arc<App>>,
    Query(query): Query<MaybeDepartment>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UpsertAnswer>, Problem> {
    let patience = body::patience(&headers, &app.limits)?;
    if body::media_type(&headers) == JSON_LINES {
        return upload(&app, query, &headers, body, patience, keep_tickets).await;
    }
    let request: TicketsRequest = body::json(&headers, body, app.limits.max_batch_bytes, &app.limits).await?;
    check_id("/department", &request.department)?;
    check_all(&request.tickets, "/tickets")?;
    let upserted = keep_tickets(Arc::clone(&app), request.department, request.tickets).await?;
    Ok(follow(&app, patience, upserted.n, upserted.change_seq).await)
}

/// Keep knowledge articles
///
/// As for tickets.
#[utoipa::path(
    post, path = "/v1/articles", tag = "records", params(MaybeDepartment),
    request_body(content = ArticlesRequest, content_type = "application/json", example = json!({
        "department": "it",
        "articles": [{"id": "kb-90", "title": "VPN error 809", "body": "Set the MTU of the adapter to 1350.", "language": "en"}],
    })),
    responses((status = 200, description = "They are synced", body = UpsertAnswer)),
)]
pub(super) async fn upsert_articles(
    State(app): State<Arc<App>>,
    Query(query): Query<MaybeDepartment>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UpsertAnswer>, Problem> {
    let patience = body::patience(&headers, &app.limits)?;
    if body::media_type(&headers) == JSON_LINES {
        return upload(&app, query, &headers, body, patience, keep_articles).await;
    }
    let request: ArticlesRequest = body::json(&headers, body, app.limits.max_batch_bytes, &app.limits).await?;
    check_id("/department", &request.department)?;
    check_all(&request.articles, "/articles")?;
    let upserted = keep_articles(Arc::clone(&app), request.department, request.articles).await?;
    Ok(follow(&app, patience, upserted.n, upserted.change_seq).await)
}

/// Delete a ticket
///
/// Its decisions, outcomes and everything derived from it go with it.
#[utoipa::path(
    delete, path = "/v1/tickets/{id}", tag = "records", params(("id" = String, Path, description = "Ticket"), OfDepartment),
    responses((status = 200, description = "It is gone", body = Recorded)),
)]
pub(super) async fn delete_ticket(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<OfDepartment>,
) -> Result<Json<Recorded>, Problem> {
    delete(&app, Kind::Ticket, query.department, id).await
}

/// Delete a knowledge article
#[utoipa::path(
    delete, path = "/v1/articles/{id}", tag = "records", params(("id" = String, Path, description = "Article"), OfDepartment),
    responses((status = 200, description = "It is gone", body = Recorded)),
)]
pub(super) async fn delete_article(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<OfDepartment>,
) -> Result<Json<Recorded>, Problem> {
    delete(&app, Kind::Article, query.department, id).await
}

/// Record what became of a ticket
///
/// Final field values when a ticket closes, or an agent's correction. The neighbours' vote of the next call knows it,
/// the heads know it after the next training.
#[utoipa::path(
    post, path = "/v1/tickets/{id}/outcome", tag = "records", params(("id" = String, Path, description = "Ticket")),
    request_body(content = OutcomeRequest, example = json!({
        "department": "it", "labels": {"category": "net-vpn"}, "resolution": "MTU auf 1350 gesetzt.",
    })),
    responses((status = 202, description = "It is synced", body = Recorded)),
)]
pub(super) async fn record_outcome(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request: OutcomeRequest = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    if request.labels.is_empty() && request.resolution.is_none() {
        return Err(Problem::invalid("", "give labels or a resolution"));
    }
    if !app.pipeline.has_department(&request.department) {
        return Err(Error::NotFound { what: "department", id: request.department }.into());
    }
    let outcome = Outcome { labels: request.labels, resolution: request.resolution, closed_at: request.closed_at };
    let store = app.store.clone();
    let recorded = async move { Ok(store.record_outcome(&request.department, &id, &outcome).await?) };
    let change_seq = detached(recorded).await?;
    app.follower.wait_for(change_seq, Instant::now() + FOLLOW).await;
    Ok((StatusCode::ACCEPTED, Json(Recorded { change_seq })).into_response())
}

async fn delete(app: &Arc<App>, kind: Kind, department: String, id: String) -> Result<Json<Recorded>, Problem> {
    check_id("department", &department)?;
    check_id("path", &id)?;
    let store = app.store.clone();
    let change_seq = detached(async move { Ok(store.delete(kind, &department, &id).await?) }).await?;
    app.follower.wait_for(change_seq, Instant::now() + FOLLOW).await;
    Ok(Json(Recorded { change_seq }))
}

async fn keep_tickets(app: Arc<App>, department: String, tickets: Vec<Ticket>) -> Result<Upserted, Problem> {
    detached(async move {
        let upserted = {
            let _reading = app.closed_sets.read().await;
            app.store.upsert_tickets(&department, &tickets, false).await?
        };
        if !upserted.added_labels.is_empty() {
            let _writing = app.closed_sets.write().await;
            app.follower.reload(&department).await?;
        }
        Ok(upserted)
    })
    .await
}

async fn keep_articles(app: Arc<App>, department: String, articles: Vec<Article>) -> Result<Upserted, Problem> {
    detached(async move { Ok(app.store.upsert_articles(&department, &articles).await?) }).await
}

/// Keeps an upload of JSON Lines, one batch after the other.
async fn upload<T: Record, F>(
    app: &Arc<App>,
    query: MaybeDepartment,
    headers: &HeaderMap,
    body: Body,
    patience: Duration,
    keep: impl Fn(Arc<App>, String, Vec<T>) -> F,
) -> Result<Json<UpsertAnswer>, Problem>
where
    F: Future<Output = Result<Upserted, Problem>>,
{
    let missing = || Problem::invalid("department", "JSON Lines name their department in the query");
    let department = query.department.ok_or_else(missing)?;
    check_id("department", &department)?;
    let mut lines = Lines::new(headers, body, &app.limits)?;
    let (mut n, mut last) = (0, 0);
    loop {
        let batch = lines.next_batch::<T>().await.map_err(|problem| problem.after_keeping(n))?;
        if batch.is_empty() {
            break;
        }
        let kept = keep(Arc::clone(app), department.clone(), batch).await;
        let upserted = kept.map_err(|problem| problem.after_keeping(n))?;
        n += upserted.n;
        last = last.max(upserted.change_seq);
        app.follower.notify();
    }
    if n == 0 {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body holds no line"));
    }
    Ok(follow(app, patience, n, last).await)
}

/// Answers an upload when the index has followed, or when the caller's patience ends; the write is durable before. The
/// time counts from the last write on: an upload may take as long as it likes to arrive.
async fn follow(app: &App, patience: Duration, upserted: usize, change_seq: u64) -> Json<UpsertAnswer> {
    app.follower.wait_for(change_seq, Instant::now() + patience).await;
    Json(UpsertAnswer { upserted, change_seq })
}

fn check_all<T: Record>(records: &[T], prefix: &str) -> Result<(), Problem> {
    for (n, record) in records.iter().enumerate() {
        record.check().map_err(|error| Problem::from(error).below(&format!("{prefix}/{n}")))?;
    }
    Ok(())
}
