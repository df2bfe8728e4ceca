//! The one place that turns errors into responses: RFC 9457 problem documents.
//!
//! A handler returns a [`Problem`]; [`finish`] gives it the request's id and path, writes it, logs its cause once, and
//! turns what the framework says by itself (no route, no method, refused path) into the same shape.

use std::any::Any;
use std::time::Instant;

use axum::Json;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::Instrument;
use utoipa::ToSchema;

use crate::error::Error;
use crate::http::leftover::Leftover;
use crate::telemetry;

/// Media type of a problem document (RFC 9457 §3).
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id taken over from a caller.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// What went wrong, on its way to the caller and to the log.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    document: Box<Document>,
    retry_after_s: Option<u64>,
    /// For the log, never for the caller.
    cause: Option<String>,
}

/// What the caller sees, as RFC 9457 has it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    #[schema(example = "urn:problem:triage:invalid")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// This case in words: what was wrong and what to do.
    detail: String,
    /// Path of the request.
    instance: String,
    /// The kind for programs.
    #[schema(example = "invalid")]
    code: &'static str,
    /// Id of the request, as in the log.
    request_id: String,
    /// Faults in the request, each at its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
}

/// A fault in the request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Fault {
    /// JSON pointer into the body (RFC 6901), or the name of a query parameter.
    pointer: String,
    /// What was expected and what came.
    detail: String,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let (code, title) = kind(status);
        let detail = shortened(detail.into());
        let document = Document {
            kind: format!("urn:problem:triage:{code}"),
            title,
            status,
            detail,
            instance: String::new(),
            code,
            request_id: String::new(),
            errors: Vec::new(),
        };
        Problem { document: Box::new(document), retry_after_s: None, cause: None }
    }

    /// What the caller sees.
    #[cfg(test)]
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// A rule of the request is broken at `pointer`.
    pub(super) fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let (pointer, detail) = (pointer.into(), detail.into());
        let place = if pointer.is_empty() { "the request" } else { &pointer };
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{place}: {detail}"));
        problem.document.errors.push(Fault { pointer, detail });
        problem
    }

    /// The same, with every pointer below `prefix`.
    pub(super) fn below(mut self, prefix: &str) -> Problem {
        for fault in &mut self.document.errors {
            fault.pointer.insert_str(0, prefix);
            self.document.detail = format!("{}: {}", fault.pointer, fault.detail);
        }
        self
    }

    /// The same, for a line of an upload.
    pub(super) fn at_line(mut self, line: usize) -> Problem {
        self.document.detail = format!("line {line}: {}", self.document.detail);
        self
    }

    /// The same, for an upload of which the first records were kept.
    pub(super) fn after_keeping(mut self, n: usize) -> Problem {
        let kept = match n {
            0 => "nothing was kept".to_owned(),
            n => format!("the first {n} records were kept, nothing after them"),
        };
        self.document.detail = format!("{}; {kept}", self.document.detail);
        self
    }
}

/// Ids and names in it are the caller's and may be of any length.
fn shortened(detail: String) -> String {
    const MAX_CHARS: usize = 1000;
    match detail.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &detail[..end]),
        None => detail,
    }
}

/// Code and title of a status.
fn kind(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 => ("malformed", "The request cannot be read"),
        404 => ("not_found", "There is no such thing"),
        405 => ("method_not_allowed", "The method does not fit the route"),
        408 => ("too_slow", "The request took too long to arrive"),
        409 => ("conflict", "The request conflicts with what is under way"),
        412 => ("changed_meanwhile", "What the request builds on has changed"),
        413 => ("too_large", "The request is too large"),
        415 => ("media_type", "The media type does not fit"),
        422 => ("invalid", "The request breaks a rule"),
        429 => ("over_quota", "The caller sends too much"),
        503 => ("unavailable", "The service is not ready or full"),
        504 => ("deadline", "The deadline passed"),
        status if status < 500 => ("refused", "The request was refused"),
        _ => ("internal", "The service failed"),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let detail = error.to_string();
        match error {
            Error::Invalid { pointer, reason } => Problem::invalid(pointer, reason),
            Error::NotFound { .. } => Problem::new(StatusCode::NOT_FOUND, detail),
            Error::TooLarge { .. } => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            Error::Overloaded { retry_after_s } => {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                Problem { retry_after_s: Some(retry_after_s), ..problem }
            }
            Error::Unavailable { .. } => {
                let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
                Problem { retry_after_s: Some(1), ..problem }
            }
            Error::Timeout { .. } => Problem::new(StatusCode::GATEWAY_TIMEOUT, detail),
            Error::Model { .. }
            | Error::Index { .. }
            | Error::Store { .. }
            | Error::File { .. }
            | Error::Line { .. }
            | Error::Bug(_) => {
                let told = "The cause is in the service's log under the request's id.";
                let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, told);
                Problem { cause: Some(detail), ..problem }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.document.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) async fn no_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no such route; /docs shows those there are")
}

/// What a panic becomes.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let cause = format!("a panic: {}", telemetry::fixed_message(&*panic));
    let problem = Problem::from(Error::Bug("a handler panicked"));
    Problem { cause: Some(cause), ..problem }.into_response()
}

/// The outermost layer: request id, refused encodings, problem documents, the request metric.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers());
    let method = known_method(request.method());
    let instance = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let (request, leftover) = Leftover::of(request);
    let mut response = if request.headers().contains_key(CONTENT_ENCODING) {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body without Content-Encoding").into_response()
    } else {
        next.run(request).instrument(tracing::info_span!("request", request_id)).await
    };
    let status = response.status();
    if let Some(problem) = problem_of(&mut response) {
        leftover.discard().await;
        response = write(problem, &response, instance, &request_id);
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let labels = [("method", method.to_owned()), ("route", route), ("status", status.as_u16().to_string())];
    metrics::histogram!(telemetry::REQUEST_SECONDS, &labels).record(started.elapsed().as_secs_f64());
    response
}

/// The problem that a handler returned, or one for an error that the framework answered by itself.
fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "the route has other methods, see the Allow header",
        StatusCode::NOT_FOUND => "there is no such thing",
        _ => "the request cannot be read",
    };
    Some(Problem::new(status, detail))
}

fn write(mut problem: Problem, response: &Response, instance: String, request_id: &str) -> Response {
    problem.document.instance = instance;
    request_id.clone_into(&mut problem.document.request_id);
    if let Some(cause) = &problem.cause {
        tracing::error!(request_id, cause, "a request failed");
    }
    let mut written = (problem.document.status, Json(&*problem.document)).into_response();
    if let Some(allow) = response.headers().get("allow") {
        written.headers_mut().insert("allow", allow.clone());
    }
    written.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if let Some(seconds) = problem.retry_after_s {
        written.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    written
}

/// The method as a label of a metric; callers may make up any number of methods.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The caller's id when it is short and printable, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(given)
            if !given.is_empty()
                && given.len() <= MAX_REQUEST_ID_BYTES
                && given.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            given.to_owned()
        }
        _ => uuid::Uuid::now_v7().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status_and_code() {
        let check = |error: Error, status: u16, code: &str| {
            let problem = Problem::from(error);
            assert_eq!((problem.document.status.as_u16(), problem.document.code), (status, code), "{problem:?}");
        };
        check(Error::invalid("/id", "must not be empty"), 422, "invalid");
        check(Error::NotFound { what: "ticket", id: "7".to_owned() }, 404, "not_found");
        check(Error::TooLarge { what: "tickets", got: 33, limit: 32 }, 413, "too_large");
        check(Error::Overloaded { retry_after_s: 2 }, 503, "unavailable");
        check(Error::Timeout { limit_ms: 5 }, 504, "deadline");
        check(Error::Unavailable { state: "starting" }, 503, "unavailable");
        check(Error::Bug("impossible"), 500, "internal");
        check(Error::Model { path: "x".into(), reason: "broken".to_owned() }, 500, "internal");
        check(Error::Index { path: "x".into(), reason: "broken".to_owned() }, 500, "internal");
        check(Error::File { path: "x".into(), source: std::io::ErrorKind::NotFound.into() }, 500, "internal");
        check(Error::Line { path: "x".into(), line: 7, reason: "broken".to_owned() }, 500, "internal");
        check(Error::Store { path: "x".into(), reason: "secret place".to_owned() }, 500, "internal");
    }

    #[test]
    fn causes_go_to_the_log_and_not_to_the_caller() {
        let problem = Problem::from(Error::Store { path: "/secret".into(), reason: "broken page".to_owned() });
        assert!(problem.cause.as_deref().is_some_and(|cause| cause.contains("broken page")));
        let told = serde_json::to_string(&problem.document).unwrap();
        assert!(!told.contains("secret") && !told.contains("broken"), "{told}");
    }

    #[test]
    fn request_ids_are_taken_over_only_when_harmless() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(value));
            request_id(&headers)
        };
        assert_eq!(with("abc-1"), "abc-1");
        assert_ne!(with("a b"), "a b");
        assert_ne!(with(""), "");
    }
}
