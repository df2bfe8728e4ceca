//! `eval`: held-out tickets, and questions with known answers.

mod fields;
mod print;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use triage::config::{EvalArgs, EvalCommand, EvalRetrievalArgs, PoolName, Settings};
use triage::evaluate::search::{Relevance, rankings};
use triage::evaluate::{self, Gate, RetrievalReport};
use triage::exchange;
use triage::retrieve::{Mode, Pool};
use triage::ticket::Ticket;

use super::{Session, bar, write_file};

/// Exit code when a bound of the gate is broken.
const GATE_FAILED: u8 = 3;

pub(super) async fn eval(settings: Settings, arguments: EvalArgs) -> anyhow::Result<ExitCode> {
    match arguments.retrieval {
        Some(EvalCommand::Retrieval(arguments)) => retrieval(settings, arguments).await,
        None => fields::fields(settings, arguments.fields).await,
    }
}

async fn retrieval(settings: Settings, arguments: EvalRetrievalArgs) -> anyhow::Result<ExitCode> {
    let questions = exchange::read_jsonl::<Ticket>(&arguments.queries)?;
    let relevance: Vec<Relevance> = exchange::read_lines(&arguments.relevance)?;
    let session = Session::open(settings).await?;
    let department = session.department(arguments.department).await?;
    session.catch_up().await?;
    let pool = match arguments.pool {
        PoolName::Tickets => Pool::Tickets,
        PoolName::Articles => Pool::Articles,
    };
    let bar = bar("Asking", questions.records.len() as u64);
    let by_mode = rankings(&session.pipeline, &department, pool, &questions.records, &relevance, &|n| {
        bar.set_position(n as u64)
    })?;
    bar.finish_and_clear();
    let metrics = |wanted: Mode| {
        let rankings = by_mode.iter().find(|(mode, _)| *mode == wanted).map(|(_, rankings)| rankings.as_slice());
        evaluate::retrieval_metrics(rankings.unwrap_or_default())
    };
    let report =
        RetrievalReport { hybrid: metrics(Mode::Hybrid), dense: metrics(Mode::Dense), lexical: metrics(Mode::Lexical) };
    print_rankings(&report);
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        write_file(path, &format!("{json}\n"))?;
    }
    gate(arguments.gate, |gate| gate.check_retrieval(&report))
}

fn print_rankings(report: &RetrievalReport) {
    println!("             n   hit@1  recall@1  recall@5  recall@10  MRR@10  nDCG@10");
    for (mode, metrics) in [("hybrid", &report.hybrid), ("dense", &report.dense), ("lexical", &report.lexical)] {
        let figure = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
        println!(
            "{mode:8} {:>5} {:>7} {:>9} {:>9} {:>10} {:>7} {:>8}",
            metrics.n,
            figure(metrics.hit_at_1),
            figure(metrics.recall_at_1),
            figure(metrics.recall_at_5),
            figure(metrics.recall_at_10),
            figure(metrics.mrr),
            figure(metrics.ndcg_at_10)
        );
    }
}

/// Checks the bounds of a gate file, if one was given, and says which are broken.
fn gate(
    path: Option<PathBuf>,
    check: impl FnOnce(&Gate) -> triage::error::Result<Vec<String>>,
) -> anyhow::Result<ExitCode> {
    let Some(path) = path else { return Ok(ExitCode::SUCCESS) };
    let failures = check(&Gate::load(&path)?)?;
    if failures.is_empty() {
        println!("The gate {} is kept.", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    for failure in failures {
        eprintln!("triage: {failure}");
    }
    Ok(ExitCode::from(GATE_FAILED))
}
