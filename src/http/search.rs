//! `/v1/search` and `/v1/tickets/{id}/similar`: looking things up.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;
use crate::http::App;
use crate::http::body::{self, Path, Query};
use crate::http::problem::Problem;
use crate::pipeline::{SearchFilter, SearchHit, SearchRequest};
use crate::retrieve::Pool;
use crate::ticket::SimilarTicket;

/// A question to one pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchBody {
    /// Department to search.
    #[schema(example = "it")]
    department: String,
    /// What is asked, in German or English.
    #[schema(min_length = 1, max_length = 16_000, example = "Fehler 809")]
    query: String,
    /// Where to look.
    pool: SearchPool,
    /// Most hits.
    #[serde(default = "default_k")]
    #[schema(minimum = 1, maximum = 100, default = 5)]
    k: usize,
    /// What a hit must fulfil.
    #[serde(default)]
    filter: SearchFilter,
}

/// A pool to search.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SearchPool {
    /// Resolved tickets.
    Tickets,
    /// Knowledge articles.
    Articles,
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SearchAnswer {
    /// Best first.
    hits: Vec<SearchHit>,
}

/// What is like the ticket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SimilarAnswer {
    /// Best first.
    similar: Vec<SimilarTicket>,
}

/// Which tickets are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SimilarQuery {
    /// Department of the ticket
    department: String,
    /// Most tickets
    #[serde(default = "default_k")]
    #[param(minimum = 1, maximum = 100, default = 5)]
    k: usize,
}

fn default_k() -> usize {
    5
}

/// Search resolved tickets or articles
#[utoipa::path(
    post, path = "/v1/search", tag = "search",
    request_body(content = SearchBody, examples(
        ("articles" = (summary = "Articles about an error code", value = json!({
            "department": "it", "query": "Fehler 809", "pool": "articles", "k": 3,
        }))),
        ("tickets" = (summary = "Resolved tickets with a label", value = json!({
            "department": "it", "query": "printer takes no paper", "pool": "tickets",
            "filter": {"labels": {"category": "hw-printer"}},
        }))),
    )),
    responses((status = 200, description = "What was found", body = SearchAnswer)),
)]
pub(super) async fn search(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SearchAnswer>, Problem> {
    let deadline = body::deadline(&headers, &app.limits)?;
    let request: SearchBody = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    check_k("/k", request.k, app.limits.max_hits)?;
    if request.query.trim().is_empty() {
        return Err(Problem::invalid("/query", "must not be empty"));
    }
    let n_chars = request.query.chars().count();
    if n_chars > app.limits.max_query_chars {
        let most = app.limits.max_query_chars;
        return Err(Problem::invalid(
            "/query",
            format!("is {n_chars} characters long, and at most {most} are allowed"),
        ));
    }
    known(&app, &request.department)?;
    let pool = match request.pool {
        SearchPool::Tickets => Pool::Tickets,
        SearchPool::Articles => Pool::Articles,
    };
    let asked = SearchRequest { query: request.query, pool, k: request.k, filter: request.filter };
    let hits = app.worker.search(&request.department, asked, deadline).await?;
    Ok(Json(SearchAnswer { hits }))
}

/// Find resolved tickets like a stored one
#[utoipa::path(
    get, path = "/v1/tickets/{id}/similar", tag = "search",
    params(("id" = String, Path, description = "Ticket"), SimilarQuery),
    responses((status = 200, description = "What is like it", body = SimilarAnswer)),
)]
pub(super) async fn similar(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Query(query): Query<SimilarQuery>,
    headers: HeaderMap,
) -> Result<Json<SimilarAnswer>, Problem> {
    let deadline = body::deadline(&headers, &app.limits)?;
    check_k("k", query.k, app.limits.max_hits)?;
    known(&app, &query.department)?;
    let similar = app.worker.similar(&query.department, &id, query.k, deadline).await?;
    Ok(Json(SimilarAnswer { similar }))
}

fn check_k(pointer: &str, k: usize, limit: usize) -> Result<(), Problem> {
    if (1..=limit).contains(&k) {
        return Ok(());
    }
    Err(Problem::invalid(pointer, format!("is {k}, and 1 to {limit} is allowed")))
}

fn known(app: &App, department: &str) -> Result<(), Problem> {
    if app.pipeline.has_department(department) {
        return Ok(());
    }
    Err(Error::NotFound { what: "department", id: department.to_owned() }.into())
}
