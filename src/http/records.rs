//! `/v1/tickets` and `/v1/articles`: what the service learns from and looks things up in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;
use crate::exchange::Record;
use crate::http::App;
use crate::http::body::{self, JSON_LINES, Query};
use crate::http::problem::Problem;
use crate::store::Kind;
use crate::ticket::{Article, Outcome, Ticket, check_id};

/// How long an answer waits for the index to follow; the write is durable before.
const FOLLOW: Duration = Duration::from_secs(5);

/// Lines stored in one transaction.
const BATCH: usize = 500;

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
/// all. JSON Lines (`application/x-ndjson`, one ticket per line) names it in the query and is kept in batches of 500
/// lines, all of which are checked first: a bad line is named and nothing is kept.
#[utoipa::path(
    post, path = "/v1/tickets", tag = "records", params(MaybeDepartment),
    request_body(content = TicketsRequest, content_type = "application/json", example = json!({
        "department": "it",
        "tickets": [{
            "id": "HELP-881", "subject": "VPN Fehler 809", "body": "Der Tunnel bricht ab.", "status": "resolved",
            "labels": {"category": "net-vpn", "priority": "2-normal"}, "resolution": "MTU auf 1350 gesetzt.",
        }],
    })),
    responses((status = 200, description = "They are synced", body = UpsertAnswer)),
)]
pub(super) async fn upsert_tickets(
    State(app): State<Arc<App>>,
    Query(query): Query<MaybeDepartment>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UpsertAnswer>, Problem> {
    if body::media_type(&headers) == JSON_LINES {
        let department = named(query)?;
        let tickets: Vec<Ticket> = lines(&app, &headers, body).await?;
        let mut last = 0;
        for batch in tickets.chunks(BATCH) {
            let (department, batch) = (department.clone(), batch.to_vec());
            let upserted =
                detached(&app, |store| async move { store.upsert_tickets(&department, &batch, false).await }).await?;
            last = upserted.change_seq;
        }
        return Ok(follow(&app, tickets.len(), last).await);
    }
    let request: TicketsRequest = body::json(&headers, body, app.limits.max_batch_bytes, &app.limits).await?;
    check_id("/department", &request.department)?;
    check_all(&request.tickets, "/tickets")?;
    let upserted =
        detached(&app, |store| async move { store.upsert_tickets(&request.department, &request.tickets, false).await })
            .await?;
    Ok(follow(&app, upserted.n, upserted.change_seq).await)
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
    if body::media_type(&headers) == JSON_LINES {
        let department = named(query)?;
        let articles: Vec<Article> = lines(&app, &headers, body).await?;
        let mut last = 0;
        for batch in articles.chunks(BATCH) {
            let (department, batch) = (department.clone(), batch.to_vec());
            let upserted =
                detached(&app, |store| async move { store.upsert_articles(&department, &batch).await }).await?;
            last = upserted.change_seq;
        }
        return Ok(follow(&app, articles.len(), last).await);
    }
    let request: ArticlesRequest = body::json(&headers, body, app.limits.max_batch_bytes, &app.limits).await?;
    check_id("/department", &request.department)?;
    check_all(&request.articles, "/articles")?;
    let upserted =
        detached(&app, |store| async move { store.upsert_articles(&request.department, &request.articles).await })
            .await?;
    Ok(follow(&app, upserted.n, upserted.change_seq).await)
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
    let change_seq =
        detached(&app, |store| async move { store.record_outcome(&request.department, &id, &outcome).await }).await?;
    app.follower.wait_for(change_seq, Instant::now() + FOLLOW).await;
    Ok((StatusCode::ACCEPTED, Json(Recorded { change_seq })).into_response())
}

async fn delete(app: &Arc<App>, kind: Kind, department: String, id: String) -> Result<Json<Recorded>, Problem> {
    let change_seq = detached(app, |store| async move { store.delete(kind, &department, &id).await }).await?;
    app.follower.wait_for(change_seq, Instant::now() + FOLLOW).await;
    Ok(Json(Recorded { change_seq }))
}

/// Runs a write that a caller who hangs up does not undo.
async fn detached<T, F>(app: &Arc<App>, write: impl FnOnce(crate::store::Store) -> F) -> crate::error::Result<T>
where
    T: Send + 'static,
    F: Future<Output = crate::error::Result<T>> + Send + 'static,
{
    let task = tokio::spawn(write(app.store.clone()));
    task.await.unwrap_or(Err(Error::Bug("a write panicked")))
}

async fn follow(app: &App, upserted: usize, change_seq: u64) -> Json<UpsertAnswer> {
    app.follower.wait_for(change_seq, Instant::now() + FOLLOW).await;
    Json(UpsertAnswer { upserted, change_seq })
}

fn named(query: MaybeDepartment) -> Result<String, Problem> {
    let missing = || Problem::invalid("department", "JSON Lines name their department in the query");
    let department = query.department.ok_or_else(missing)?;
    check_id("department", &department)?;
    Ok(department)
}

/// Reads JSON Lines; every line is checked before the first one is kept.
async fn lines<T: Record>(app: &App, headers: &HeaderMap, body: Body) -> Result<Vec<T>, Problem> {
    let bytes = body::bytes(headers, body, app.limits.max_upload_bytes, &app.limits).await?;
    let mut records = Vec::new();
    for (n, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = body::parse::<T>(line, &app.limits);
        let record = record.and_then(|record| record.check().map(|()| record).map_err(Problem::from));
        records.push(record.map_err(|problem| problem.at_line(n + 1))?);
    }
    if records.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the body holds no line"));
    }
    Ok(records)
}

fn check_all<T: Record>(records: &[T], prefix: &str) -> Result<(), Problem> {
    for (n, record) in records.iter().enumerate() {
        record.check().map_err(|error| Problem::from(error).below(&format!("{prefix}/{n}")))?;
    }
    Ok(())
}
