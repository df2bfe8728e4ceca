//! `/v1/models`: the encoder and the heads.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::classify::Simulation;
use crate::error::Error;
use crate::http::body::{self, Path, Query};
use crate::http::problem::Problem;
use crate::http::training::Training;
use crate::http::{App, detached};
use crate::store::ModelInfo;
use crate::taxonomy::PRECISION_TARGETS;
use crate::train::{self, Fitting, Order};

/// What decides.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Models {
    /// The encoder that all departments share.
    encoder: EncoderInfo,
    /// Versions of heads, oldest first.
    models: Vec<ModelInfo>,
    /// Whether a training is under way.
    training: bool,
}

/// The loaded encoder.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EncoderInfo {
    /// Name of its folder.
    name: String,
    /// Fingerprint of everything that changes vectors.
    fingerprint: String,
    /// Length of a vector.
    dim: usize,
    /// Most tokens it reads.
    max_tokens: usize,
    /// Instructions that compute: avx512vnni, avx2 or portable; the vectors are the same.
    kernel: &'static str,
    /// How weights and activations are rounded: int8 or exact.
    precision: &'static str,
    /// Threads that embed.
    threads: usize,
    /// Memory of weights and tables, in bytes.
    model_bytes: usize,
}

/// What to train.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrainRequest {
    /// Department to train.
    #[schema(example = "it")]
    department: String,
    /// Fields to fit, all if none is named; the others keep their heads.
    #[serde(default)]
    fields: Vec<String>,
    /// Whether the new heads serve even if they are worse than those that serve now.
    #[serde(default)]
    promote_anyway: bool,
}

/// A version of heads.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelVersion {
    /// The version, as the list shows it.
    model: ModelInfo,
    /// How it was fitted, and what the gate said.
    fitting: Fitting,
    /// Whether it can serve with the encoder and the text version in use.
    usable: bool,
}

/// What was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    /// Always "started"; `GET /v1/models` shows the new version with the verdict of the gate.
    status: &'static str,
}

/// The version that serves.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Serving {
    /// Department.
    department: String,
    /// Version.
    version: u32,
}

/// Which departments.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct MaybeDepartment {
    /// Department; all, if not given
    department: Option<String>,
}

/// Which department.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct OfDepartment {
    /// Department
    department: String,
}

/// Show the encoder and the versions of heads
#[utoipa::path(
    get, path = "/v1/models", tag = "models", params(MaybeDepartment),
    responses((status = 200, description = "What decides", body = Models)),
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<MaybeDepartment>,
) -> Result<Json<Models>, Problem> {
    let models = app.store.models(query.department.as_deref()).await?;
    let encoder = app.pipeline.encoder();
    let encoder = EncoderInfo {
        name: encoder.name().to_owned(),
        fingerprint: encoder.fingerprint().to_owned(),
        dim: encoder.dim(),
        max_tokens: encoder.max_tokens(),
        kernel: encoder.kernel().name(),
        precision: encoder.precision().name(),
        threads: encoder.threads(),
        model_bytes: encoder.bytes(),
    };
    Ok(Json(Models { encoder, models, training: app.is_training.load(Ordering::Relaxed) }))
}

/// Fit the heads of a department in the background
///
/// They are compared with the heads that serve on tickets that neither had learnt from, and serve unless they lose more
/// than the gate allows; a version that is held back is kept. One training runs at a time.
#[utoipa::path(
    post, path = "/v1/models/train", tag = "models", request_body = TrainRequest,
    responses((status = 202, description = "It has started", body = Started)),
)]
pub(super) async fn train(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let request: TrainRequest = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    let found = app.store.taxonomy(&request.department).await?;
    let (taxonomy, _) = found.ok_or_else(|| Error::NotFound { what: "department", id: request.department.clone() })?;
    for (n, field) in request.fields.iter().enumerate() {
        if taxonomy.field(field).is_none() {
            return Err(Problem::invalid(format!("/fields/{n}"), "is not a field of the department"));
        }
    }
    let Some(training) = Training::begin(&app) else {
        return Err(Problem::new(StatusCode::CONFLICT, "a training is under way; try again when it is done"));
    };
    let order = Order { fields: request.fields, gate: app.gate, promote_anyway: request.promote_anyway };
    // Nobody waits for its end.
    training.run(request.department, order)?;
    Ok((StatusCode::ACCEPTED, Json(Started { status: "started" })).into_response())
}

/// Show a version
#[utoipa::path(
    get, path = "/v1/models/{version}", tag = "models",
    params(("version" = u32, Path, description = "Version"), OfDepartment),
    responses((status = 200, description = "How it was fitted, and what the gate said", body = ModelVersion)),
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(version): Path<u32>,
    Query(query): Query<OfDepartment>,
) -> Result<Json<ModelVersion>, Problem> {
    let model = train::version(&app.store, &query.department, version).await?;
    let usable = train::check_usable(&app.store, &app.pipeline, &query.department, version).await;
    let fitting = Fitting::of(&model);
    Ok(Json(ModelVersion { usable: usable.is_ok(), fitting, model }))
}

/// What to simulate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SimulateRequest {
    /// Department.
    #[schema(example = "it")]
    department: String,
    /// Field, which must have been trained.
    #[schema(example = "category")]
    field: String,
    /// Precision to promise, 0.5 to 0.999.
    #[schema(minimum = 0.5, maximum = 0.999, example = 0.95)]
    precision_target: f32,
    /// Tickets listed at most, 0 to 1000.
    #[serde(default = "default_max_tickets")]
    #[schema(maximum = 1000, default = 100)]
    max_tickets: usize,
}

fn default_max_tickets() -> usize {
    100
}

/// Most tickets that a simulation lists.
const MOST_TICKETS: usize = 1000;

/// Say what a precision target would bring
///
/// Every resolved ticket is judged by heads and thresholds that had not seen it. Nothing changes; set the target in the
/// taxonomy to make it so.
#[utoipa::path(
    post, path = "/v1/models/simulate", tag = "models", request_body = SimulateRequest,
    responses((status = 200, description = "Automation rate, precision, and the tickets that would be decided", body = Simulation)),
)]
pub(super) async fn simulate(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Simulation>, Problem> {
    let request: SimulateRequest = body::json(&headers, body, app.limits.max_body_bytes, &app.limits).await?;
    if !PRECISION_TARGETS.contains(&request.precision_target) {
        return Err(Problem::invalid("/precision_target".to_owned(), "must lie between 0.5 and 0.999"));
    }
    if request.max_tickets > MOST_TICKETS {
        return Err(Problem::invalid("/max_tickets".to_owned(), "must not be more than 1000"));
    }
    let pipeline = Arc::clone(&app.pipeline);
    let simulated = tokio::task::spawn_blocking(move || {
        pipeline.simulate(&request.department, &request.field, request.precision_target, request.max_tickets)
    });
    Ok(Json(simulated.await.map_err(|_| Error::Bug("a simulation was stopped"))??))
}

/// Make a version serve
#[utoipa::path(
    post, path = "/v1/models/{version}/promote", tag = "models",
    params(("version" = u32, Path, description = "Version"), OfDepartment),
    responses((status = 200, description = "It serves", body = Serving)),
)]
pub(super) async fn promote(
    State(app): State<Arc<App>>,
    Path(version): Path<u32>,
    Query(query): Query<OfDepartment>,
) -> Result<Json<Serving>, Problem> {
    detached(async move {
        let _writing = app.closed_sets.write().await;
        check_usable(&app, &query.department, version).await?;
        app.store.promote(&query.department, version).await?;
        app.follower.reload(&query.department).await?;
        Ok(Json(Serving { department: query.department, version }))
    })
    .await
}

/// Go back from a version to the one that served before it
#[utoipa::path(
    post, path = "/v1/models/{version}/rollback", tag = "models",
    params(("version" = u32, Path, description = "Version that serves now"), OfDepartment),
    responses((status = 200, description = "The former one serves", body = Serving)),
)]
pub(super) async fn roll_back(
    State(app): State<Arc<App>>,
    Path(version): Path<u32>,
    Query(query): Query<OfDepartment>,
) -> Result<Json<Serving>, Problem> {
    detached(async move {
        let _writing = app.closed_sets.write().await;
        let serving = app.store.active_model(&query.department).await?.map(|(version, _)| version);
        if serving != Some(version) {
            let detail = format!("version {version} does not serve now, so there is nothing to go back from");
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        if let Some(former) = app.store.activations(&query.department, 2).await?.get(1) {
            check_usable(&app, &query.department, *former).await?;
        }
        let version = app.store.rollback(&query.department).await?;
        app.follower.reload(&query.department).await?;
        Ok(Json(Serving { department: query.department, version }))
    })
    .await
}

/// A version that cannot serve must not take the place of one that does.
async fn check_usable(app: &App, department: &str, version: u32) -> Result<(), Problem> {
    match train::check_usable(&app.store, &app.pipeline, department, version).await {
        Err(Error::Model { reason, .. }) => {
            Err(Problem::new(StatusCode::CONFLICT, format!("version {version} cannot serve: it {reason}")))
        }
        other => Ok(other?),
    }
}
