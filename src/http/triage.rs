//! `POST /v1/triage`: one ticket or a few, answered whole.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::Error;
use crate::http::problem::Problem;
use crate::http::{App, body};
use crate::pipeline::Options;
use crate::telemetry;
use crate::ticket::{Decision, Stage, Ticket, Triage};

/// Labels listed per field at most.
const MAX_TOP_N: usize = 20;

/// A ticket, or up to 32.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TriageRequest {
    /// Department that decides.
    #[schema(example = "it")]
    department: String,
    /// The ticket; the answer is its triage.
    #[serde(default)]
    #[schema(nullable = false)]
    ticket: Option<Ticket>,
    /// Several tickets, instead of `ticket`; the answer holds their triages in `results`, in this order.
    #[serde(default)]
    #[schema(nullable = false, max_items = 32)]
    tickets: Option<Vec<Ticket>>,
    /// How much to answer.
    #[serde(default)]
    options: Options,
}

/// Triages of several tickets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TriageResults {
    /// In the order of the request.
    results: Vec<Triage>,
}

/// A triage, or several.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum TriageAnswer {
    /// Answer to `ticket`.
    One(Box<Triage>),
    /// Answer to `tickets`.
    Several(TriageResults),
}

/// Triage one ticket or up to 32
///
/// Says for every field of the department what the value should be, how sure that is and why, and finds resolved
/// tickets, articles, an answer and duplicates. Keeps ticket and decision unless `options.record` is false.
#[utoipa::path(
    post, path = "/v1/triage", tag = "triage",
    request_body(content = TriageRequest, examples(
        ("one" = (summary = "One ticket", value = json!({
            "department": "it",
            "ticket": {"id": "T-1", "subject": "VPN", "body": "Seit heute kommt Fehler 809 beim Verbinden."},
            "options": {"similar": 3, "articles": 2},
        }))),
        ("several" = (summary = "Several tickets, nothing remembered", value = json!({
            "department": "it",
            "tickets": [
                {"id": "T-2", "subject": "Printer", "body": "The printer on floor 2 takes no paper."},
                {"id": "T-3", "body": "<p>Passwort abgelaufen</p>", "content_type": "text/html"},
            ],
            "options": {"record": false},
        }))),
    )),
    params(
        ("X-Request-Deadline-Ms" = Option<f64>, Header, description = "Milliseconds after which the caller stops waiting", minimum = 1),
    ),
    responses((status = 200, description = "The triage of `ticket`, or the results for `tickets`", body = TriageAnswer)),
)]
pub(super) async fn triage(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<TriageAnswer>, Problem> {
    let deadline = body::deadline(&headers, &app.limits)?;
    let bytes = body::json_bytes(&headers, body, app.limits.max_batch_bytes, &app.limits).await?;
    let request: TriageRequest = body::parse(&bytes, &app.limits)?;
    let is_single = request.ticket.is_some();
    if is_single && bytes.len() > app.limits.max_body_bytes {
        return Err(body::too_large(app.limits.max_body_bytes));
    }
    drop(bytes);
    let tickets = match (request.ticket, request.tickets) {
        (Some(ticket), None) => vec![ticket],
        (None, Some(tickets)) => tickets,
        (Some(_), Some(_)) => return Err(Problem::invalid("/tickets", "give either ticket or tickets, not both")),
        (None, None) => return Err(Problem::invalid("", "give a ticket, or several as tickets")),
    };
    if tickets.len() > app.limits.max_batch_tickets {
        let (got, limit) = (tickets.len(), app.limits.max_batch_tickets);
        return Err(Error::TooLarge { what: "number of tickets", got, limit }.into());
    }
    if tickets.is_empty() {
        return Err(Problem::invalid("/tickets", "must hold at least one ticket"));
    }
    for (n, ticket) in tickets.iter().enumerate() {
        let prefix = if is_single { "/ticket".to_owned() } else { format!("/tickets/{n}") };
        ticket.check().map_err(|error| Problem::from(error).below(&prefix))?;
    }
    check_options(&request.options, &app)?;
    if !app.pipeline.has_department(&request.department) {
        return Err(Error::NotFound { what: "department", id: request.department }.into());
    }

    let department = request.department;
    let to_record = if request.options.record { tickets.clone() } else { Vec::new() };
    let mut results = app.worker.triage(&department, tickets, request.options, deadline).await?;
    if !to_record.is_empty() {
        record(&app, &department, to_record, &mut results).await;
    }
    for decision in results.iter().flat_map(|triage| triage.fields.values()) {
        let outcome = match decision.outcome {
            Decision::Apply => "apply",
            Decision::Preselect => "preselect",
            Decision::Suggest => "suggest",
            Decision::Abstain => "abstain",
        };
        metrics::counter!(telemetry::DECISIONS_TOTAL, "outcome" => outcome).increment(1);
    }
    if !is_single {
        return Ok(Json(TriageAnswer::Several(TriageResults { results })));
    }
    let one = results.pop().ok_or(Error::Bug("a ticket without an answer"))?;
    Ok(Json(TriageAnswer::One(Box::new(one))))
}

/// Keeps tickets and decisions. The answer stands when that fails, and says so.
async fn record(app: &App, department: &str, tickets: Vec<Ticket>, results: &mut [Triage]) {
    let decisions: Vec<(Ticket, Triage)> = tickets.into_iter().zip(results.iter().cloned()).collect();
    // A caller who hangs up now does not undo the write.
    let store = app.store.clone();
    let of_task = department.to_owned();
    let kept = tokio::spawn(async move { store.record_decisions(&of_task, &decisions).await }).await;
    match kept {
        Ok(Ok(())) => app.follower.notify(),
        Ok(Err(error)) => {
            tracing::error!(%error, department, "decisions could not be recorded");
            results.iter_mut().for_each(|triage| triage.degraded.push(Stage::Record));
        }
        Err(_) => results.iter_mut().for_each(|triage| triage.degraded.push(Stage::Record)),
    }
}

fn check_options(options: &Options, app: &App) -> Result<(), Problem> {
    let limits = [
        ("/options/top_n", options.top_n, MAX_TOP_N),
        ("/options/similar", options.similar, app.limits.max_hits),
        ("/options/articles", options.articles, app.limits.max_hits),
    ];
    for (pointer, got, limit) in limits {
        if got > limit {
            return Err(Problem::invalid(pointer, format!("is {got}, and at most {limit} is allowed")));
        }
    }
    Ok(())
}
