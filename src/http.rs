//! The HTTP interface: here is a request, give me a response.
//!
//! [`router`] is the table of contents. Handlers are thin and stand beside their requests and responses, one file per
//! resource. Errors are `application/problem+json` from one place (`problem`). Nothing of a ticket's text goes to a log.

mod body;
mod departments;
mod health;
mod leftover;
mod lines;
mod models;
mod problem;
mod records;
mod search;
mod training;
mod triage;

use std::collections::HashMap;
use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::RwLock;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

pub use self::training::follow_schedule;
use crate::error::{Error, Result};
use crate::http::problem::Problem;
use crate::jobs::Follower;
use crate::pipeline::Pipeline;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::train::Gate;
use crate::worker::Worker;

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let (router, openapi) = described().split_for_parts();
    router
        .merge(SwaggerUi::new("/docs").url("/openapi.json", complete(openapi)))
        .fallback(problem::no_route)
        .layer(CatchPanicLayer::custom(problem::panicked))
        // Bodies are read with limits of their own, see `body`.
        .layer(DefaultBodyLimit::disable())
        .layer(axum::middleware::from_fn(problem::finish))
        .with_state(app)
}

/// The description of all routes, for `/openapi.json` and `triage openapi`.
pub fn openapi() -> OpenApi {
    complete(described().into_openapi())
}

fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(head())
        // The main job.
        .routes(routes!(triage::triage))
        // What it learns from.
        .routes(routes!(records::upsert_tickets))
        .routes(routes!(records::upsert_articles))
        .routes(routes!(records::delete_ticket))
        .routes(routes!(records::delete_article))
        .routes(routes!(records::record_outcome))
        // Looking things up.
        .routes(routes!(search::similar))
        .routes(routes!(search::search))
        // The closed set and the heads.
        .routes(routes!(departments::list))
        .routes(routes!(departments::show_taxonomy, departments::put_taxonomy))
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .routes(routes!(models::train))
        .routes(routes!(models::simulate))
        .routes(routes!(models::promote))
        .routes(routes!(models::roll_back))
        // For operators.
        .routes(routes!(health::limits))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// What the handlers work on.
pub struct App {
    /// The record of truth.
    pub store: Store,
    /// Departments, heads and indexes.
    pub pipeline: Arc<Pipeline>,
    /// The bridge to the CPU.
    pub worker: Worker,
    /// Keeps the indexes abreast of the store.
    pub follower: Follower,
    metrics: Metrics,
    limits: Limits,
    /// How much new heads may lose against those that serve.
    gate: Gate,
    is_training: AtomicBool,
    /// When each department was last tried to train, by this process.
    attempts: Mutex<HashMap<String, DateTime<Utc>>>,
    /// Read by what adds labels, written by what replaces a closed set or changes the heads: what the pipeline loads
    /// is then what was stored last.
    closed_sets: RwLock<()>,
}

impl App {
    /// Puts the parts together.
    pub fn new(store: Store, pipeline: Arc<Pipeline>, worker: Worker, follower: Follower, metrics: Metrics) -> App {
        App {
            store,
            pipeline,
            worker,
            follower,
            metrics,
            limits: Limits::default(),
            gate: Gate::default(),
            is_training: AtomicBool::new(false),
            attempts: Mutex::default(),
            closed_sets: RwLock::new(()),
        }
    }

    /// The same with another gate for new heads.
    pub fn with_gate(self, gate: Gate) -> App {
        App { gate, ..self }
    }
}

/// Runs a write to its end, even when its caller hangs up.
async fn detached<T: Send + 'static>(
    write: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let task = tokio::spawn(write.in_current_span());
    task.await.unwrap_or_else(|_| Err(Error::Bug("a write panicked").into()))
}

/// What one request may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Limits {
    /// Body of a search, an outcome, a taxonomy or a training request, in bytes.
    pub max_body_bytes: usize,
    /// Body of a triage call or of a JSON upload of tickets or articles, in bytes.
    pub max_batch_bytes: usize,
    /// Body of a JSON Lines upload, in bytes.
    pub max_upload_bytes: usize,
    /// One line of it, in bytes.
    pub max_line_bytes: usize,
    /// Tickets of one triage call.
    pub max_batch_tickets: usize,
    /// Levels of nesting of a JSON body.
    pub max_json_depth: usize,
    /// Characters of a search.
    pub max_query_chars: usize,
    /// Hits of a search, similar tickets, articles.
    pub max_hits: usize,
    /// Characters of a ticket that are read; the rest is cut and said to be.
    pub max_read_chars: usize,
    /// Tokens of a ticket that the encoder reads.
    pub max_read_tokens: usize,
    /// Time to send a JSON body, or until the next part of an upload, in milliseconds.
    pub body_read_ms: u64,
    /// Time to answer, in milliseconds; a request may ask for less.
    pub deadline_ms: u64,
    /// Queued work that is accepted, in milliseconds.
    pub max_queued_ms: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_body_bytes: 1 << 20,
            max_batch_bytes: 4 << 20,
            max_upload_bytes: 256 << 20,
            max_line_bytes: 1 << 20,
            max_batch_tickets: 32,
            max_json_depth: 32,
            max_query_chars: 16_000,
            max_hits: 100,
            max_read_chars: crate::text::MAX_KEPT_CHARS,
            max_read_tokens: crate::pipeline::TICKET_TOKENS,
            body_read_ms: 15_000,
            deadline_ms: 30_000,
            max_queued_ms: crate::worker::MOST_QUEUED.as_millis() as u64,
        }
    }
}

/// Answers requests until `shutdown`, then lets what is under way finish for up to 25 seconds.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    const HEADER_READ: Duration = Duration::from_secs(10);
    const FIRST_REQUEST: Duration = Duration::from_secs(15);
    const DRAIN: Duration = Duration::from_secs(25);
    let failed = |source| Error::File { path: "listener".into(), source };
    let handle = axum_server::Handle::new();
    let of_task = handle.clone();
    tokio::spawn(async move {
        shutdown.await;
        of_task.graceful_shutdown(Some(DRAIN));
    });
    // axum-server installs a timer but leaves both deadlines off.
    let mut server = axum_server::from_tcp(listener).map_err(failed)?.first_request_timeout(FIRST_REQUEST);
    server.http_builder().http1().header_read_timeout(HEADER_READ).max_buf_size(64 << 10);
    server.http_builder().http2().max_concurrent_streams(128).max_header_list_size(64 << 10);
    server.handle(handle).serve(router(app).into_make_service()).await.map_err(failed)
}

fn head() -> OpenApi {
    let info = utoipa::openapi::InfoBuilder::new()
        .title("Triage")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Reads a support ticket and says what it is about, how urgent it is, what solved it before, what could be \
             replied, and how sure it is. Errors are problem documents (RFC 9457).",
        ))
        .license(Some(utoipa::openapi::License::new("Apache-2.0")))
        .build();
    let components =
        utoipa::openapi::ComponentsBuilder::new().schema_from::<problem::Document>().schema_from::<problem::Fault>();
    utoipa::openapi::OpenApiBuilder::new().info(info).components(Some(components.build())).build()
}

/// Every operation may answer with a problem document.
fn complete(mut openapi: OpenApi) -> OpenApi {
    let problem = ResponseBuilder::new()
        .description("The request was not fulfilled")
        .content(problem::MEDIA_TYPE, ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build())
        .build();
    for item in openapi.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), problem.clone().into());
        }
    }
    openapi
}
