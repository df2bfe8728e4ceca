//! Probes, limits and metrics, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::http::problem::Problem;
use crate::http::{App, Limits};
use crate::telemetry;

/// A probe's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// "alive" or "ready".
    status: &'static str,
}

/// Show what one request may ask for
#[utoipa::path(get, path = "/v1/limits", tag = "operation", responses((status = 200, description = "All limits", body = Limits)))]
pub(super) async fn limits(State(app): State<Arc<App>>) -> Json<Limits> {
    Json(app.limits.clone())
}

/// Say whether the process answers
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "It does", body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "alive" })
}

/// Say whether calls can be answered: encoder loaded, store writable, index caught up
#[utoipa::path(get, path = "/readyz", tag = "operation", responses((status = 200, description = "They can", body = Health)))]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Health>, Problem> {
    if !app.follower.is_ready() {
        return Err(Error::Unavailable { state: "starting: the index is catching up with the store" }.into());
    }
    if let Err(error) = app.store.check_writable().await {
        tracing::error!(%error, "the store cannot be written");
        return Err(Error::Unavailable { state: "unable to write its store" }.into());
    }
    Ok(Json(Health { status: "ready" }))
}

/// Show the metrics in the Prometheus text format
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "All metrics", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    for department in app.pipeline.statistics() {
        let of = department.department;
        metrics::gauge!(telemetry::INDEXED, "department" => of.clone(), "pool" => "tickets")
            .set(department.tickets as f64);
        metrics::gauge!(telemetry::INDEXED, "department" => of.clone(), "pool" => "articles")
            .set(department.articles as f64);
        metrics::gauge!(telemetry::APPLIED_SEQ, "department" => of).set(department.applied_seq as f64);
    }
    let encoder = app.pipeline.encoder();
    metrics::gauge!(
        telemetry::ENCODER_INFO,
        "model" => encoder.name().to_owned(),
        "fingerprint" => encoder.fingerprint().to_owned(),
        "kernel" => encoder.kernel().name(),
        "precision" => encoder.precision().name(),
        "threads" => encoder.threads().to_string(),
    )
    .set(1.0);
    metrics::gauge!(telemetry::ENCODER_BYTES).set(encoder.bytes() as f64);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render()).into_response()
}
