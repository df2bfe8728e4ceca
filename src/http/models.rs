//! `/v1/models`: the encoder and the heads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::Error;
use crate::http::body::{self, Path, Query};
use crate::http::problem::Problem;
use crate::http::{App, detached};
use crate::store::ModelInfo;
use crate::train::{self, Trained};

/// How long a training waits for the index to read what was uploaded before it.
const CATCH_UP: Duration = Duration::from_secs(3600);

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
}

/// What was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    /// Always "started"; `GET /v1/models` shows the new version when it serves.
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
/// They serve as soon as they are fitted. One training runs at a time.
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
    if app.is_training.swap(true, Ordering::AcqRel) {
        return Err(Problem::new(StatusCode::CONFLICT, "a training is under way; try again when it is done"));
    }
    let training = Training(app);
    let runtime = tokio::runtime::Handle::current();
    // A closure that is dropped without a run ends the training too.
    let spawned = std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
        let app = &training.0;
        match runtime.block_on(train_on_all(app, &request)) {
            Ok(trained) => tracing::info!(
                department = request.department,
                version = trained.version,
                duration_s = trained.duration_s,
                "new heads serve"
            ),
            Err(error) => tracing::error!(department = request.department, %error, "training failed"),
        }
    });
    if spawned.is_err() {
        return Err(Error::Bug("the operating system gives no thread for a training").into());
    }
    Ok((StatusCode::ACCEPTED, Json(Started { status: "started" })).into_response())
}

/// Trains once everything that is in the store now has been read: what is not read yet would be left out unnoticed.
async fn train_on_all(app: &App, request: &TrainRequest) -> crate::error::Result<Trained> {
    let seq = app.store.last_seq().await?;
    if !app.follower.wait_for(seq, Instant::now() + CATCH_UP).await {
        return Err(Error::Timeout { limit_ms: CATCH_UP.as_millis() as u64 });
    }
    train::train(&app.store, &app.pipeline, &request.department, &request.fields, &|_| ()).await
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
        let version = app.store.rollback(&query.department).await?;
        app.follower.reload(&query.department).await?;
        Ok(Json(Serving { department: query.department, version }))
    })
    .await
}

/// A training under way; when it ends, however it ends, another may begin.
struct Training(Arc<App>);

impl Drop for Training {
    fn drop(&mut self) {
        self.0.is_training.store(false, Ordering::Release);
    }
}
