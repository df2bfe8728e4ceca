//! Reads what a request carries: JSON bodies with limits and pointers, query strings, deadlines.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use crate::exchange::without_values;
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
    let media_type = media_type(headers);
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
    }
    let bytes = bytes(headers, body, max_bytes, limits).await?;
    parse(&bytes, limits)
}

/// Reads a body of at most `max_bytes`.
pub(super) async fn bytes(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
    limits: &Limits,
) -> Result<axum::body::Bytes, Problem> {
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {max_bytes} bytes"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large());
    }
    let read = axum::body::to_bytes(body, max_bytes);
    match tokio::time::timeout(Duration::from_millis(limits.body_read_ms), read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            let is_limit = source.is_some_and(|source| source.to_string().contains("length limit"));
            if is_limit { Err(too_large()) } else { Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")) }
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} ms", limits.body_read_ms),
        )),
    }
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
            let message = without_values(&inner.to_string());
            let detail = message.split(" at line ").next().unwrap_or_default().to_owned();
            Problem::invalid(pointer, shortened(detail))
        } else {
            malformed(format!("the body is not JSON at line {} column {}", inner.line(), inner.column()))
        }
    })?;
    deserializer.end().map_err(|_| malformed("there is something after the JSON document".to_owned()))?;
    Ok(value)
}

/// Names of unknown fields are the caller's and may be of any length.
fn shortened(detail: String) -> String {
    const MOST_CHARS: usize = 300;
    if detail.chars().count() <= MOST_CHARS {
        detail
    } else {
        detail.chars().take(MOST_CHARS).collect::<String>() + "…"
    }
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
            let message = without_values(&error.body_text());
            let detail = message.rsplit("query string: ").next().unwrap_or_default().to_owned();
            let name = detail.split(['`', ':']).nth(usize::from(detail.contains('`'))).unwrap_or_default();
            Problem::invalid(name.to_owned(), shortened(detail.clone()))
        };
        query.map(|axum::extract::Query(query)| Query(query)).map_err(fault)
    }
}

/// When the caller stops waiting: `X-Request-Deadline-Ms` or `Request-Timeout` (seconds), at most the service's own.
pub(super) fn deadline(headers: &HeaderMap, limits: &Limits) -> Result<Instant, Problem> {
    let most = Duration::from_millis(limits.deadline_ms);
    for (name, unit_ms) in [("x-request-deadline-ms", 1.0), ("request-timeout", 1000.0)] {
        let Some(value) = headers.get(name) else { continue };
        let number = value.to_str().ok().and_then(|value| value.trim().parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        let number = number.ok_or_else(|| Problem::invalid(name, "must be a positive number"))?;
        let asked = Duration::from_secs_f64((number * unit_ms / 1000.0).min(most.as_secs_f64()));
        return Ok(Instant::now() + asked);
    }
    Ok(Instant::now() + most)
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
        let problem = fault(r#"[{"id":"1","labels":{"a/b":["geheim"]}}]"#);
        assert_eq!(problem["errors"][0]["pointer"], "/0/labels/a~1b");
        assert!(!problem.to_string().contains("geheim"), "{problem}");
        assert_eq!(fault("[] []")["status"], 400);
        assert_eq!(fault(&"[".repeat(100))["status"], 400);
    }

    #[test]
    fn deadlines_are_capped_and_checked() {
        let limits = Limits::default();
        let with = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            deadline(&headers, &limits).map(|deadline| deadline.saturating_duration_since(Instant::now()))
        };
        assert!(with("x-request-deadline-ms", "250").is_ok_and(|left| left <= Duration::from_millis(250)));
        assert!(with("request-timeout", "9e9").is_ok_and(|left| left <= Duration::from_secs(30)));
        assert!(with("request-timeout", "-1").is_err() && with("request-timeout", "soon").is_err());
    }
}
