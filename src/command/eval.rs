//! `eval`: held-out tickets, and questions with known answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Deserialize;
use triage::config::{EvalArgs, EvalCommand, EvalFieldsArgs, EvalRetrievalArgs, PoolName, Settings, Split};
use triage::evaluate::run::{HoldOut, held_out_file, held_out_of_store};
use triage::evaluate::search::{Relevance, rankings};
use triage::evaluate::{self, Gate, Report, RetrievalReport};
use triage::exchange;
use triage::retrieve::{Mode, Pool};
use triage::ticket::Ticket;
use triage::train;

use super::{Session, audit, bar, write_file};

/// Exit code when a bound of the gate is broken.
const GATE_FAILED: u8 = 3;

#[derive(Deserialize)]
struct AnswerRow {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

pub(super) async fn eval(settings: Settings, arguments: EvalArgs) -> anyhow::Result<ExitCode> {
    match arguments.retrieval {
        Some(EvalCommand::Retrieval(arguments)) => retrieval(settings, arguments).await,
        None => fields(settings, arguments.fields).await,
    }
}

async fn fields(settings: Settings, arguments: EvalFieldsArgs) -> anyhow::Result<ExitCode> {
    if arguments.audit {
        return audit::audit(settings, arguments).await;
    }
    if arguments.test.is_none() && arguments.split.is_none() && arguments.folds.is_none() {
        bail!("say what is held out: --test FILE, --split random|temporal|given or --folds K");
    }
    let test = arguments.test.as_deref().map(exchange::read_jsonl::<Ticket>).transpose()?;
    let answers: Vec<AnswerRow> =
        arguments.answers.as_deref().map(exchange::read_lines).transpose()?.unwrap_or_default();
    let session = Session::open(settings).await?;
    let department = session.department(arguments.department).await?;
    session.catch_up().await?;
    let (mut taxonomy, _) = session.store.taxonomy(&department).await?.context("the department has no taxonomy")?;
    if let Some(unknown) = arguments.fields.iter().find(|field| taxonomy.field(field).is_none()) {
        bail!("department {department} has no field {unknown:?}");
    }
    let encoder = session.pipeline.encoder();
    let (protocol, model, results) = match test {
        Some(test) => {
            let mut tickets = test.records;
            let mut right: BTreeMap<String, BTreeMap<String, String>> =
                answers.into_iter().map(|row| (row.id, row.labels)).collect();
            for ticket in &mut tickets {
                ticket.labels.extend(right.remove(&ticket.id).unwrap_or_default());
            }
            let bar = bar("Testing", tickets.len() as u64);
            let results =
                held_out_file(&session.pipeline, &department, &taxonomy, &tickets, &|n| bar.set_position(n as u64))?;
            bar.finish_and_clear();
            let version = session.store.active_model(&department).await?.map_or(0, |(version, _)| version);
            let protocol = format!(
                "{} tickets of a file that the heads in service have not learnt from; thresholds come from out-of-fold \
                 scores of the training tickets",
                tickets.len()
            );
            (protocol, format!("{department}/{version} {}@{}", encoder.name(), encoder.fingerprint()), results)
        }
        None => {
            taxonomy.fields.retain(|field| arguments.fields.is_empty() || arguments.fields.contains(&field.id));
            let hold_out = match (arguments.split, arguments.folds) {
                (_, Some(k)) => HoldOut::Folds(k),
                (Some(Split::Temporal), _) => HoldOut::Temporal,
                (Some(Split::Given), _) => HoldOut::Given,
                (Some(Split::Random) | None, None) => HoldOut::Random,
            };
            let examples = train::examples(&session.store, encoder, &department).await?;
            let scratch = session.settings.data_dir.join("index").join("held-out");
            let bar = bar("Training", 100);
            let results = held_out_of_store(&session.pipeline, &taxonomy, &examples, hold_out, &scratch, &|step| {
                bar.set_position((step.share * 100.0) as u64);
            });
            bar.finish_and_clear();
            // The scratch index is derived and of no further use, whether the measurement went well or not.
            let _ = std::fs::remove_dir_all(&scratch);
            let what = match hold_out {
                HoldOut::Random => "a fifth drawn at random by text".to_owned(),
                HoldOut::Temporal => "the newest fifth".to_owned(),
                HoldOut::Given => "those marked \"test\"".to_owned(),
                HoldOut::Folds(k) => format!("each in turn, in {k} parts drawn by text"),
            };
            let protocol = format!("of {} resolved tickets {what} held out, heads fitted on the rest", examples.len());
            (
                protocol,
                format!("{department}, fitted for this report, {}@{}", encoder.name(), encoder.fingerprint()),
                results?,
            )
        }
    };
    let fields = results
        .iter()
        .filter(|result| !result.rows.is_empty())
        .filter(|result| arguments.fields.is_empty() || arguments.fields.contains(&result.field))
        .map(|result| (result.field.clone(), evaluate::field_metrics(result)))
        .collect();
    let report = Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: chrono::Utc::now(),
        model,
        department,
        protocol,
        seed: evaluate::run::SEED,
        fields,
    };
    print_fields(&report);
    if let Some(path) = &arguments.html {
        write_file(path, &report.to_html())?;
    }
    write_json(arguments.json.as_ref(), &report)?;
    gate(arguments.gate, |gate| gate.check_fields(&report))
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
    write_json(arguments.json.as_ref(), &report)?;
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

fn print_fields(report: &Report) {
    println!("{}", report.protocol);
    for (field, metrics) in &report.fields {
        let percent =
            |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.1} %", figure * 100.0));
        println!(
            "{field}: n {}, accuracy {}, macro-F1 {}, ECE {}",
            metrics.n,
            percent(metrics.accuracy),
            percent(metrics.macro_f1),
            metrics.ece.map_or_else(|| "-".to_owned(), |ece| format!("{ece:.3}")),
        );
        for (target, coverage) in &metrics.coverage_at {
            println!(
                "  promised precision {target}: {} decided, of these {} right",
                percent(coverage.coverage),
                percent(coverage.precision)
            );
        }
    }
}

fn write_json(path: Option<&PathBuf>, report: &impl serde::Serialize) -> anyhow::Result<()> {
    let Some(path) = path else { return Ok(()) };
    write_file(path, &serde_json::to_string_pretty(report).context("cannot write JSON")?)
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
