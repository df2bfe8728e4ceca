//! `/v1/departments`: the closed set of each.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::http::problem::Problem;
use crate::http::{App, body};
use crate::pipeline::DepartmentStatistics;
use crate::taxonomy::Taxonomy;
use crate::ticket::check_id;

/// All departments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Departments {
    /// By id.
    departments: Vec<DepartmentStatistics>,
}

/// List departments and what their indexes hold
#[utoipa::path(
    get, path = "/v1/departments", tag = "departments",
    responses((status = 200, description = "All departments", body = Departments)),
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Json<Departments> {
    Json(Departments { departments: app.pipeline.statistics() })
}

/// Show the fields and labels of a department
#[utoipa::path(
    get, path = "/v1/departments/{id}/taxonomy", tag = "departments", params(("id" = String, Path, description = "Department")),
    responses((status = 200, description = "The closed set; ETag is its revision", body = Taxonomy)),
)]
pub(super) async fn show_taxonomy(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = app.store.taxonomy(&id).await?;
    let (taxonomy, revision) = found.ok_or(Error::NotFound { what: "department", id })?;
    Ok(([(ETAG, etag(revision))], Json(taxonomy)).into_response())
}

/// Replace the fields and labels of a department
///
/// Makes the department when it is new. With `If-Match` only when the revision is still that one. Takes effect at once;
/// changed targets and automation levels need no training.
#[utoipa::path(
    put, path = "/v1/departments/{id}/taxonomy", tag = "departments",
    params(
        ("id" = String, Path, description = "Department"),
        ("If-Match" = Option<String>, Header, description = "ETag that the change builds on"),
    ),
    request_body = Taxonomy,
    responses((status = 200, description = "The closed set now in force; ETag is its revision", body = Taxonomy)),
)]
pub(super) async fn put_taxonomy(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_id("id", &id)?;
    let taxonomy: Taxonomy = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    taxonomy.check()?;
    if let Some(wanted) = headers.get(IF_MATCH) {
        let revision = app.store.taxonomy(&id).await?.map_or(0, |(_, revision)| revision);
        if wanted.as_bytes() != etag(revision).as_bytes() && wanted.as_bytes() != b"*" {
            let detail = format!("the taxonomy has revision {revision} now; read it again and repeat the change");
            return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
        }
    }
    let revision = app.store.put_taxonomy(&id, &taxonomy).await?;
    app.follower.reload(&id).await?;
    Ok(([(ETAG, etag(revision))], Json(taxonomy)).into_response())
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}
