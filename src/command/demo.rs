//! `demo`: the main job on the demo helpdesk, from a fresh folder to a served answer.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use comfy_table::{ContentArrangement, Table, presets};
use triage::config::{DemoArgs, Settings};
use triage::pipeline::{Options, Request};
use triage::taxonomy::Taxonomy;
use triage::ticket::{Article, Decision, FieldDecision, Ticket, Triage};
use triage::train::Order;

use super::ask::serde_name;
use super::train::{print_trained, train_one};
use super::{Session, serve};

/// One department of the demo helpdesk, as it lies in `training-data/demo`.
struct DemoDepartment {
    id: &'static str,
    taxonomy: &'static str,
    tickets: &'static str,
    articles: &'static str,
    waiting: &'static str,
}

macro_rules! demo_department {
    ($id:literal) => {
        DemoDepartment {
            id: $id,
            taxonomy: include_str!(concat!("../../training-data/demo/", $id, "/taxonomy.json")),
            tickets: include_str!(concat!("../../training-data/demo/", $id, "/tickets.jsonl")),
            articles: include_str!(concat!("../../training-data/demo/", $id, "/articles.jsonl")),
            waiting: include_str!(concat!("../../training-data/demo/", $id, "/waiting.jsonl")),
        }
    };
}

const HELPDESK: [DemoDepartment; 4] =
    [demo_department!("it"), demo_department!("hr"), demo_department!("facilities"), demo_department!("finance")];

/// The request that the demo proposes.
const EXAMPLE: &str =
    r#"{"department":"it","ticket":{"id":"T-1","subject":"VPN","body":"Seit heute kommt Fehler 809 beim Verbinden."}}"#;

/// Columns of the table where the output is not a terminal.
const WIDTH_ELSEWHERE: u16 = 160;

/// Waiting tickets shown of each department.
const SHOWN: usize = 4;

pub(super) async fn demo(settings: Settings, arguments: DemoArgs) -> anyhow::Result<()> {
    let session = Session::open(settings).await?;
    let known = session.store.departments().await?;
    if let Some(foreign) = known.iter().find(|id| HELPDESK.iter().all(|demo| demo.id != id.as_str())) {
        bail!(
            "{} holds department {foreign:?}, which is not of the demo; give a fresh folder with --data-dir",
            session.settings.data_dir.display()
        );
    }
    for department in &HELPDESK {
        fill(&session, department).await?;
    }
    session.catch_up().await?;
    for department in &HELPDESK {
        // A second run finds the heads of the first one.
        if session.store.active_model(department.id).await?.is_none() {
            let trained = train_one(&session, department.id, &Order::default()).await?;
            print_trained(department.id, &trained);
        }
    }
    show_waiting(&session)?;
    if arguments.no_serve {
        return Ok(());
    }
    let (listener, address) = serve::listen(session.settings.bind)?;
    println!();
    println!("Serving. Ask it something from another terminal, or stop it with Ctrl-C:");
    println!("  curl -s http://{address}/v1/triage -H 'Content-Type: application/json' \\");
    println!("    -d '{EXAMPLE}'");
    println!(
        "  Interface: http://{address}/docs   Health: http://{address}/readyz   Metrics: http://{address}/metrics"
    );
    serve::serve(session, listener, address).await
}

async fn fill(session: &Session, department: &DemoDepartment) -> anyhow::Result<()> {
    let broken = || format!("the demo data of {} is broken", department.id);
    if session.store.taxonomy(department.id).await?.is_none() {
        let taxonomy: Taxonomy = serde_json::from_str(department.taxonomy).with_context(broken)?;
        session.store.put_taxonomy(department.id, &taxonomy).await?;
    }
    let tickets: Vec<Ticket> = lines(department.tickets).with_context(broken)?;
    let articles: Vec<Article> = lines(department.articles).with_context(broken)?;
    session.store.upsert_tickets(department.id, &tickets, true).await?;
    session.store.upsert_articles(department.id, &articles).await?;
    Ok(())
}

fn show_waiting(session: &Session) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if !std::io::stdout().is_terminal() {
        table.set_width(WIDTH_ELSEWHERE);
    }
    table.set_header(["Ticket", "Subject", "Category", "Priority", "Solved before", "Read"]);
    let options = Options { record: false, ..Options::default() };
    for department in &HELPDESK {
        let waiting: Vec<Ticket> = lines(department.waiting)?;
        let shown = &waiting[..waiting.len().min(SHOWN)];
        let requests: Vec<Request<'_>> =
            shown.iter().map(|ticket| Request { department: department.id, ticket, options: &options }).collect();
        for (ticket, triage) in shown.iter().zip(session.pipeline.triage(&requests)) {
            table.add_row(row(ticket, &triage?));
        }
    }
    println!("\nWaiting tickets, and what the service says of them:\n{table}");
    Ok(())
}

fn row(ticket: &Ticket, triage: &Triage) -> [String; 6] {
    let decision = |field: &str| triage.fields.get(field).map_or_else(String::new, describe);
    let similar = triage.similar.first().map_or_else(String::new, |hit| format!("{} {}", hit.id, hit.title));
    let article = triage.articles.first().map_or_else(String::new, |hit| format!("{} {}", hit.id, hit.title));
    [ticket.id.clone(), ticket.subject.clone(), decision("category"), decision("priority"), similar, article]
}

fn describe(decision: &FieldDecision) -> String {
    let confidence = decision.confidence.map_or_else(String::new, |confidence| format!(" {:.0} %", confidence * 100.0));
    match (&decision.value, &decision.reason, decision.alternatives.first()) {
        (Some(label), _, _) => format!("{}{confidence} ({})", label.name, serde_name(&decision.outcome)),
        (None, Some(reason), Some(best)) if decision.outcome == Decision::Abstain => {
            format!("perhaps {}{confidence} ({})", best.name, serde_name(reason))
        }
        (None, reason, _) => reason.as_ref().map_or_else(String::new, serde_name),
    }
}

fn lines<T: serde::de::DeserializeOwned>(text: &str) -> anyhow::Result<Vec<T>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).context("a line is not a record"))
        .collect()
}
