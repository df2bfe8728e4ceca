//! Logging, and every metric of the service with its unit.

use std::any::Any;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Histogram, seconds: time to answer a request, by method, route and status.
pub const REQUEST_SECONDS: &str = "http_server_request_duration_seconds";
/// Gauge, tokens: estimated work that waits for the worker.
pub const QUEUED_TOKENS: &str = "triage_queued_tokens";
/// Counter, calls: work refused because the queue is full.
pub const REFUSED_TOTAL: &str = "triage_refused_total";
/// Counter, calls: work dropped because its caller had gone or its deadline had passed.
pub const DROPPED_TOTAL: &str = "triage_dropped_total";
/// Histogram, tickets: size of a micro-batch.
pub const BATCH_TICKETS: &str = "triage_batch_tickets";
/// Counter, decisions: by outcome.
pub const DECISIONS_TOTAL: &str = "triage_decisions_total";
/// Gauge, change sequence number: how far the index has followed the store.
pub const APPLIED_SEQ: &str = "triage_index_applied_seq";
/// Gauge, always 1: the encoder, by model, fingerprint, kernel, precision and threads.
pub const ENCODER_INFO: &str = "triage_encoder_info";
/// Gauge, bytes: weights and tables of the encoder.
pub const ENCODER_BYTES: &str = "triage_encoder_bytes";
/// Gauge, records: tickets and articles in the index, by department and pool.
pub const INDEXED: &str = "triage_indexed_records";

/// All metrics, as `/metrics` describes them.
const TABLE: [(Kind, &str, &str); 10] = [
    (Kind::Histogram, REQUEST_SECONDS, "Time to answer a request, in seconds."),
    (Kind::Gauge, QUEUED_TOKENS, "Estimated tokens that wait for the worker."),
    (Kind::Counter, REFUSED_TOTAL, "Calls refused because the queue is full."),
    (Kind::Counter, DROPPED_TOTAL, "Calls dropped because the caller had gone or the deadline had passed."),
    (Kind::Histogram, BATCH_TICKETS, "Tickets of a micro-batch."),
    (Kind::Counter, DECISIONS_TOTAL, "Decisions by outcome."),
    (Kind::Gauge, APPLIED_SEQ, "Change of the store that the index has taken in last."),
    (Kind::Gauge, ENCODER_INFO, "The encoder that serves, and how it computes."),
    (Kind::Gauge, ENCODER_BYTES, "Memory of the encoder's weights and tables, in bytes."),
    (Kind::Gauge, INDEXED, "Tickets and articles in the index."),
];

/// Upper bounds of the request histogram, in seconds: from a probe to the deadline.
const REQUEST_BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Upper bounds of the batch histogram, in tickets.
const BATCH_BOUNDS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Handle to what was measured so far.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

/// Logs to standard error; `RUST_LOG` says how much, by default what an operator must know. Panics are logged with
/// their place. A second call changes nothing.
pub fn init_logging(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,triage=info"));
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(is_terminal).with_writer(std::io::stderr);
    let _ = if json { subscriber.json().try_init() } else { subscriber.try_init() };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        tracing::error!(place, thread, message = fixed_message(panic.payload()), "a panic");
    }));
}

/// What a panic said, when that is a fixed text. A formatted message may quote ticket text, as that of a string cut
/// within a character does, so it is left out.
pub fn fixed_message(panic: &(dyn Any + Send)) -> &'static str {
    panic.downcast_ref::<&'static str>().copied().unwrap_or("its message is left out, it may quote a ticket")
}

/// CPU time of this process so far, all threads, in seconds with two decimals; none where the system does not tell.
pub fn cpu_seconds() -> Option<f64> {
    // utime and stime are fields 14 and 15 (proc(5)), in ticks of which Linux has 100 a second.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / 100.0)
}

/// Starts measuring; one recorder serves the whole process.
///
/// # Errors
/// [`Error::Bug`] when another recorder is installed.
pub fn install_metrics() -> Result<Metrics> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), &REQUEST_BOUNDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Full(BATCH_TICKETS.to_owned()), &BATCH_BOUNDS))
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|_| Error::Bug("another metrics recorder is installed"))?;
    for (kind, name, description) in TABLE {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, description),
            Kind::Gauge => metrics::describe_gauge!(name, description),
            Kind::Histogram => metrics::describe_histogram!(name, description),
        }
    }
    Ok(Metrics(handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_quotes_text_is_not_repeated() {
        let text = "Gehälter".to_owned();
        let panic = std::panic::catch_unwind(|| text[..4].len()).unwrap_err();
        assert!(!fixed_message(&*panic).contains("Geh"));
        let panic = std::panic::catch_unwind(|| panic!("a rule is broken")).unwrap_err();
        assert_eq!(fixed_message(&*panic), "a rule is broken");
    }
}
