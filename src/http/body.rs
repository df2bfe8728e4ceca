//! Reads what a request carries: JSON bodies with limits and pointers, query strings, deadlines.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::FromRequestParts;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::error::Error;
use crate::exchange::{field_named_in, without_values};
use crate::http::Limits;
use crate::http::problem::Problem;
use crate::ticket::pointer_token;

/// Media type of JSON Lines.
pub(super) const JSON_LINES: &str = "application/x-ndjson";

/// Media type of a request, without its parameters, lower case; empty when there is none.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a JSON body of at most `max_bytes`.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
    limits: &Limits,
) -> Result<T, Problem> {
    parse(&json_bytes(headers, body, max_bytes, limits).await?, limits)
}

/// Reads a JSON body of at most `max_bytes` and leaves it as it is.
pub(super) async fn json_bytes(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    let media_type = media_type(headers);
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    check_announced(headers, max_bytes)?;
    let read = axum::body::to_bytes(body, max_bytes);
    match tokio::time::timeout(Duration::from_millis(limits.body_read_ms), read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            let is_limit = source.is_some_and(|source| source.to_string().contains("length limit"));
            Err(if is_limit { too_large(max_bytes) } else { broken_off() })
        }
        Err(_) => Err(too_slow(limits)),
    }
}

/// Refuses a body that says by itself that it is too large, before any of it is read.
pub(super) fn check_announced(headers: &HeaderMap, max_bytes: usize) -> Result<(), Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) { Err(too_large(max_bytes)) } else { Ok(()) }
}

pub(super) fn too_large(max_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max_bytes} bytes"))
}

pub(super) fn too_slow(limits: &Limits) -> Problem {
    let detail = format!("nothing more of the body arrived within {} ms", limits.body_read_ms);
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
}

pub(super) fn broken_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "the body broke off")
}

/// Parses JSON; faults come with their pointer and never with the value that was wrong.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], limits: &Limits) -> Result<T, Problem> {
    let malformed = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| malformed(format!("the body is not UTF-8 at byte {}", error.valid_up_to())))?;
    if depth(text) > limits.max_json_depth {
        return Err(malformed(format!("the body is nested deeper than {} levels", limits.max_json_depth)));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            let detail = without_values(&inner.to_string());
            Problem::invalid(with_field(pointer, &detail), detail)
        } else {
            malformed(format!("the body is not JSON at line {} column {}", inner.line(), inner.column()))
        }
    })?;
    deserializer.end().map_err(|_| malformed("there is something after the JSON document".to_owned()))?;
    Ok(value)
}

/// serde points at the object; the field that it misses or does not know is in what it says.
fn with_field(mut pointer: String, detail: &str) -> String {
    if let Some(field) = field_named_in(detail) {
        let token = format!("/{}", pointer_token(field));
        if !pointer.ends_with(&token) {
            pointer.push_str(&token);
        }
    }
    pointer
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", pointer_token(key)),
            Segment::Enum { variant } => format!("/{}", pointer_token(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// Deepest nesting of arrays and objects, strings left out.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A query string; faults are 422 with the parameter's name.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        let query = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        let fault = |error: axum::extract::rejection::QueryRejection| {
            let text = error.body_text();
            let message = text.split_once("query string: ").map_or(text.as_str(), |(_, message)| message);
            // "k: invalid digit …" names the parameter in front, "missing field `department`" within.
            let (name, message) = match message.split_once(": ") {
                Some((name, message)) if !name.contains([' ', '`', '"']) => (name, message),
                _ => ("", message),
            };
            let detail = without_values(message);
            Problem::invalid(field_named_in(&detail).unwrap_or(name), detail.clone())
        };
        query.map(|axum::extract::Query(query)| Query(query)).map_err(fault)
    }
}

/// The variable parts of a path; what does not fit is 422, what is not UTF-8 is 400.
pub(super) struct Path<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let fault = |error: PathRejection| match error {
            PathRejection::FailedToDeserializePathParams(error) => match error.into_kind() {
                ErrorKind::InvalidUtf8InPathParam { key } => {
                    Problem::new(StatusCode::BAD_REQUEST, format!("{key} in the path is not UTF-8"))
                }
                ErrorKind::ParseError { .. } | ErrorKind::ParseErrorAtKey { .. } => {
                    Problem::invalid("path", "must have a whole number, from 0 on, in that place")
                }
                _ => Problem::from(Error::Bug("a handler reads another path than its route has")),
            },
            _ => Problem::from(Error::Bug("a handler reads a path that its route lacks")),
        };
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Path(path)).map_err(fault)
    }
}

/// When the caller stops waiting, see [`patience`].
pub(super) fn deadline(headers: &HeaderMap, limits: &Limits) -> Result<Instant, Problem> {
    Ok(Instant::now() + patience(headers, limits)?)
}

/// How long the caller waits: `X-Request-Deadline-Ms` or `Request-Timeout` (seconds), at most the service's own deadline.
pub(super) fn patience(headers: &HeaderMap, limits: &Limits) -> Result<Duration, Problem> {
    let most = Duration::from_millis(limits.deadline_ms);
    for (name, unit_ms) in [("x-request-deadline-ms", 1.0), ("request-timeout", 1000.0)] {
        let Some(value) = headers.get(name) else { continue };
        let number = value.to_str().ok().and_then(|value| value.trim().parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        let number = number.ok_or_else(|| Problem::invalid(name, "must be a positive number"))?;
        return Ok(Duration::from_secs_f64((number * unit_ms / 1000.0).min(most.as_secs_f64())));
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Ticket;

    #[test]
    fn nesting_is_counted_outside_of_strings() {
        assert_eq!(depth(r#"{"a":[1,{"b":"[[[\"[["}]}"#), 3);
        assert_eq!(depth("plain"), 0);
    }

    #[test]
    fn faults_carry_their_pointer_and_not_the_value() {
        let fault = |json: &str| {
            let problem = parse::<Vec<Ticket>>(json.as_bytes(), &Limits::default()).err();
            serde_json::to_value(problem.expect("this is wrong").document()).unwrap()
        };
        let problem = fault(r#"[{"id":"1"},{"id":"2","messages":[{"role":"geheim","body":"x"}]}]"#);
        assert_eq!(problem["errors"][0]["pointer"], "/1/messages/0/role");
        assert_eq!(problem["status"], 422);
        assert!(!problem.to_string().contains("geheim"), "{problem}");
        let problem = fault(r#"[{"id":"1"},{"id":"2","sub/jekt":"geheim"}]"#);
        assert_eq!(problem["errors"][0]["pointer"], "/1/sub~1jekt");
        let problem = fault(r#"[{"id":"1","messages":[{"role":"agent"}]}]"#);
        assert_eq!(problem["errors"][0]["pointer"], "/0/messages/0/body");
        let problem = fault(r#"[{"id":"1","labels":{"a/b":["geheim"]}}]"#);
        assert_eq!(problem["errors"][0]["pointer"], "/0/labels/a~1b");
        assert!(!problem.to_string().contains("geheim"), "{problem}");
        assert_eq!(fault("[] []")["status"], 400);
        assert_eq!(fault(&"[".repeat(100))["status"], 400);
    }

    #[tokio::test]
    async fn queries_and_paths_name_what_is_wrong_and_not_its_value() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code, reason = "only the faults are looked at")]
        struct Asked {
            department: String,
            #[serde(default)]
            k: usize,
        }
        let router = axum::Router::new()
            .route("/{version}", axum::routing::get(async |_: Path<u32>, Query(Asked { .. }): Query<Asked>| ()));
        let router = router.layer(axum::middleware::from_fn(crate::http::problem::finish));
        for (uri, status, pointer) in [
            ("/1?department=it", 200, ""),
            ("/1", 422, "department"),
            ("/1?department=it&k=geheim", 422, "k"),
            ("/1?department=it&kk=geheim", 422, "kk"),
            ("/geheim?department=it", 422, "path"),
            ("/%ff?department=it", 400, ""),
        ] {
            let request = axum::extract::Request::get(uri).body(Body::empty()).unwrap();
            let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
            assert_eq!(response.status(), status, "{uri}");
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let mut problem: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if !pointer.is_empty() {
                assert_eq!(problem["errors"][0]["pointer"], pointer, "{uri}");
            }
            problem["instance"] = serde_json::Value::Null;
            assert!(!problem.to_string().contains("geheim"), "{problem}");
        }
    }

    #[test]
    fn deadlines_are_capped_and_checked() {
        let limits = Limits::default();
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            patience(&headers, &limits)
        };
        assert!(with("x-request-deadline-ms", "250").is_ok_and(|patience| patience == Duration::from_millis(250)));
        assert!(with("request-timeout", "9e9").is_ok_and(|patience| patience == Duration::from_secs(30)));
        assert!(with("request-timeout", "-1").is_err() && with("request-timeout", "soon").is_err());
    }
}
