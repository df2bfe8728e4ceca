//! `/v1/departments`: the closed set of each.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::http::body::{self, Path};
use crate::http::problem::Problem;
use crate::http::{App, detached};
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
    check_id("path", &id)?;
    let taxonomy: Taxonomy = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    taxonomy.check()?;
    let wanted: Vec<HeaderValue> = headers.get_all(IF_MATCH).iter().cloned().collect();
    detached(async move {
        let _writing = app.closed_sets.write().await;
        if !wanted.is_empty() {
            let revision = app.store.taxonomy(&id).await?.map(|(_, revision)| revision);
            if !wanted.iter().any(|wanted| names(wanted, revision)) {
                let now = revision.map_or("none".to_owned(), |revision| revision.to_string());
                let detail = format!("the revision of the taxonomy is {now}; read it again and repeat the change");
                return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail));
            }
        }
        let revision = app.store.put_taxonomy(&id, &taxonomy).await?;
        app.follower.reload(&id).await?;
        Ok(([(ETAG, etag(revision))], Json(taxonomy)).into_response())
    })
    .await
}

/// True when a value of `If-Match` names the revision; `*` names any that is there (RFC 9110 §13.1.1).
fn names(wanted: &HeaderValue, revision: Option<u64>) -> bool {
    let Some(revision) = revision else { return false };
    let etag = etag(revision);
    wanted.to_str().is_ok_and(|tags| tags.trim() == "*" || tags.split(',').any(|tag| tag.trim() == etag))
}

fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_may_build_on_one_of_several_revisions_or_on_any() {
        let check = |wanted: &'static str, revision, expected| {
            assert_eq!(names(&HeaderValue::from_static(wanted), revision), expected, "{wanted} {revision:?}");
        };
        check("\"3\"", Some(3), true);
        check("\"1\", \"3\"", Some(3), true);
        check("*", Some(3), true);
        check("\"3\"", Some(33), false);
        check("3", Some(3), false);
        check("W/\"3\"", Some(3), false);
        check("*", None, false);
        check("\"0\"", None, false);
    }
}
