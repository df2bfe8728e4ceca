//! `eval` on tickets with known labels.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use triage::classify::DepartmentModel;
use triage::config::{EvalFieldsArgs, Settings, Split};
use triage::error::Error;
use triage::evaluate::run::{HoldOut, SEED, TestTickets, held_out_file, held_out_of_store};
use triage::evaluate::{
    Comparison, Costs, DepartmentReports, FieldResult, PageLanguage, Protocol, Report, compare, field_metrics,
};
use triage::exchange;
use triage::jobs;
use triage::taxonomy::Taxonomy;
use triage::ticket::Ticket;
use triage::train;

use super::print::print_report;
use super::{Session, bar, gate, write_file};

#[derive(Deserialize)]
struct AnswerRow {
    id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// What is measured and how, read from the command line and its files.
struct Plan {
    fields: Vec<String>,
    held_out: HeldOut,
    /// Tickets that belong to no label.
    unknown: Vec<Ticket>,
    costs: Costs,
    /// Version to set beside the active one.
    other_version: Option<u32>,
    created_at: DateTime<Utc>,
}

enum HeldOut {
    File(Vec<Ticket>),
    Store(HoldOut),
}

/// What was measured in one department, or why nothing could be.
enum Measured {
    Report(Box<Report>),
    LeftOut(String),
}

pub(super) async fn fields(settings: Settings, arguments: EvalFieldsArgs) -> anyhow::Result<ExitCode> {
    if arguments.audit {
        return super::super::audit::audit(settings, arguments).await;
    }
    let plan = Plan::read(&arguments)?;
    let session = Session::open(settings).await?;
    let language: PageLanguage = arguments.language.into();
    if !arguments.all {
        let department = session.department(arguments.department).await?;
        session.catch_up().await?;
        let report = match plan.measure(&session, &department).await? {
            Measured::Report(report) => *report,
            Measured::LeftOut(reason) => bail!("department {department}: {reason}"),
        };
        plan.check_costs(std::slice::from_ref(&report))?;
        print_report(&report);
        if let Some(path) = &arguments.html {
            write_file(path, &report.to_html(language))?;
        }
        if let Some(path) = &arguments.json {
            write_file(path, &report.to_json()?)?;
        }
        return gate(arguments.gate, |gate| gate.check_fields(&report));
    }

    session.catch_up().await?;
    let mut reports = DepartmentReports::default();
    for department in session.store.departments().await? {
        let measured = plan.of_department(&department)?.measure(&session, &department).await;
        match measured.with_context(|| format!("department {department}"))? {
            Measured::Report(report) => {
                println!("Department {department}");
                print_report(&report);
                reports.departments.insert(department, *report);
            }
            Measured::LeftOut(reason) => {
                eprintln!("triage: department {department} is left out: {reason}");
                reports.left_out.insert(department, reason);
            }
        }
    }
    if reports.departments.is_empty() {
        bail!("no department could be measured");
    }
    let measured: Vec<Report> = reports.departments.values().cloned().collect();
    plan.check_costs(&measured)?;
    if let Some(path) = &arguments.html {
        write_file(path, &reports.to_html(language))?;
    }
    if let Some(path) = &arguments.json {
        write_file(path, &reports.to_json()?)?;
    }
    gate(arguments.gate, |gate| gate.check_departments(&reports))
}

impl Plan {
    fn read(arguments: &EvalFieldsArgs) -> anyhow::Result<Plan> {
        let held_out = match (&arguments.test, arguments.split, arguments.folds) {
            (Some(file), _, _) => {
                let mut tickets = exchange::read_jsonl::<Ticket>(file)?.records;
                let answers: Vec<AnswerRow> =
                    arguments.answers.as_deref().map(exchange::read_lines).transpose()?.unwrap_or_default();
                let mut right: BTreeMap<String, BTreeMap<String, String>> =
                    answers.into_iter().map(|row| (row.id, row.labels)).collect();
                for ticket in &mut tickets {
                    ticket.labels.extend(right.remove(&ticket.id).unwrap_or_default());
                }
                HeldOut::File(tickets)
            }
            (None, _, Some(parts)) => HeldOut::Store(HoldOut::Folds(parts)),
            (None, Some(Split::Random), None) => HeldOut::Store(HoldOut::Random { seed: arguments.seed }),
            (None, Some(Split::Temporal), None) => HeldOut::Store(HoldOut::Temporal),
            (None, Some(Split::Given), None) => HeldOut::Store(HoldOut::Given),
            (None, None, None) => {
                bail!("say what is held out: --test FILE, --split random|temporal|given or --folds K")
            }
        };
        let unknown = arguments.unknown.as_deref().map(exchange::read_jsonl::<Ticket>).transpose()?;
        Ok(Plan {
            fields: arguments.fields.clone(),
            held_out,
            unknown: unknown.map(|unknown| unknown.records).unwrap_or_default(),
            costs: arguments.costs.as_deref().map(Costs::load).transpose()?.unwrap_or_default(),
            other_version: arguments.compare,
            created_at: created_at()?,
        })
    }

    /// The plan with the tickets of one department. Unknown tickets that name no department are unknown to all.
    fn of_department(&self, department: &str) -> anyhow::Result<Plan> {
        let is_of = |ticket: &&Ticket| ticket.department.as_deref() == Some(department);
        let held_out = match &self.held_out {
            HeldOut::File(tickets) => {
                if let Some(without) = tickets.iter().find(|ticket| ticket.department.is_none()) {
                    bail!("ticket {:?} of --test names no department, and --all needs it", without.id);
                }
                HeldOut::File(tickets.iter().filter(is_of).cloned().collect())
            }
            HeldOut::Store(hold_out) => HeldOut::Store(*hold_out),
        };
        let unknown = self.unknown.iter().filter(|ticket| ticket.department.is_none() || is_of(ticket));
        Ok(Plan {
            fields: self.fields.clone(),
            held_out,
            unknown: unknown.cloned().collect(),
            costs: self.costs.clone(),
            other_version: self.other_version,
            created_at: self.created_at,
        })
    }

    async fn measure(&self, session: &Session, department: &str) -> anyhow::Result<Measured> {
        let (mut taxonomy, _) = session.store.taxonomy(department).await?.context("the department has no taxonomy")?;
        if let Some(unknown) = self.fields.iter().find(|field| taxonomy.field(field).is_none()) {
            return Ok(Measured::LeftOut(format!("there is no field {unknown:?}")));
        }
        let encoder = session.pipeline.encoder();
        let unknown = read_tickets(session, "Unknown", self.unknown.clone())?;
        let (protocol, version, results, comparison) = match &self.held_out {
            HeldOut::File(tickets) if tickets.is_empty() => {
                return Ok(Measured::LeftOut("the file holds no ticket of it".to_owned()));
            }
            HeldOut::File(tickets) => {
                let protocol = Protocol::File { tickets: tickets.len() };
                let tickets = read_tickets(session, "Testing", tickets.clone())?;
                let results = held_out_file(&session.pipeline, department, &taxonomy, &tickets, &unknown)?;
                let version = session.store.active_model(department).await?.map_or(0, |(version, _)| version);
                let comparison = match self.other_version {
                    Some(other) => {
                        let of_other = score_with(session, department, &taxonomy, &tickets, other).await?;
                        Some(self.comparison((version, &results), (other, &of_other)))
                    }
                    None => None,
                };
                (protocol, version.to_string(), results, comparison)
            }
            HeldOut::Store(hold_out) => {
                taxonomy.fields.retain(|field| self.is_asked(&field.id));
                let examples = train::examples(&session.store, encoder, department).await?;
                let scratch = session.settings.data_dir.join("index").join("held-out");
                let bar = bar("Training", 100);
                let progress = |step: train::TrainProgress<'_>| bar.set_position((step.share * 100.0) as u64);
                let results = held_out_of_store(
                    &session.pipeline,
                    &taxonomy,
                    &examples,
                    *hold_out,
                    &unknown,
                    &scratch,
                    &progress,
                );
                bar.finish_and_clear();
                // The scratch index is derived and of no further use, whether the measurement went well or not.
                let _ = std::fs::remove_dir_all(&scratch);
                let results = match results {
                    Err(Error::Invalid { pointer, reason }) if pointer.is_empty() => {
                        return Ok(Measured::LeftOut(reason));
                    }
                    Err(Error::Invalid { pointer, reason }) => {
                        return Ok(Measured::LeftOut(format!("{pointer} {reason}")));
                    }
                    results => results?,
                };
                (protocol(*hold_out, examples.len()), "held-out".to_owned(), results, None)
            }
        };
        let mut fields = BTreeMap::new();
        for result in results.iter().filter(|result| !result.rows.is_empty() && self.is_asked(&result.field)) {
            let mut metrics = field_metrics(result);
            metrics.costs = self.costs.of(result).context("--costs")?;
            fields.insert(result.field.clone(), metrics);
        }
        Ok(Measured::Report(Box::new(Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: self.created_at,
            model: format!("{department}/{version} {}@{}", encoder.name(), encoder.fingerprint()),
            department: department.to_owned(),
            protocol,
            seed: match self.held_out {
                HeldOut::Store(HoldOut::Random { seed }) => seed,
                _ => SEED,
            },
            fields,
            comparison,
        })))
    }

    fn is_asked(&self, field: &str) -> bool {
        self.fields.is_empty() || self.fields.iter().any(|asked| asked == field)
    }

    fn comparison(&self, active: (u32, &[FieldResult]), other: (u32, &[FieldResult])) -> Comparison {
        let pairs = active.1.iter().filter_map(|of_active| {
            let of_other = other.1.iter().find(|of_other| of_other.field == of_active.field)?;
            Some((of_active, of_other))
        });
        let fields = pairs
            .filter(|(of_active, _)| !of_active.rows.is_empty() && self.is_asked(&of_active.field))
            .map(|(of_active, of_other)| (of_active.field.clone(), compare(of_active, of_other)));
        Comparison { active_version: active.0, other_version: other.0, fields: fields.collect() }
    }

    /// Costs of a field that nothing was measured of are a slip of the pen.
    fn check_costs(&self, reports: &[Report]) -> anyhow::Result<()> {
        match self.costs.0.keys().find(|field| !reports.iter().any(|report| report.fields.contains_key(*field))) {
            Some(field) => bail!("--costs names field {field:?}, which was not evaluated"),
            None => Ok(()),
        }
    }
}

fn protocol(hold_out: HoldOut, tickets: usize) -> Protocol {
    match hold_out {
        HoldOut::Random { .. } => Protocol::Random { tickets },
        HoldOut::Temporal => Protocol::Temporal { tickets },
        HoldOut::Given => Protocol::Given { tickets },
        HoldOut::Folds(parts) => Protocol::Folds { tickets, parts },
    }
}

fn read_tickets(session: &Session, what: &'static str, tickets: Vec<Ticket>) -> anyhow::Result<TestTickets> {
    let bar = bar(what, tickets.len() as u64);
    let read = TestTickets::read(&session.pipeline, tickets, &|n| bar.set_position(n as u64))?;
    bar.finish_and_clear();
    Ok(read)
}

/// Scores tickets with another version's heads among the neighbours of now; afterwards the active heads serve again.
async fn score_with(
    session: &Session,
    department: &str,
    taxonomy: &Taxonomy,
    tickets: &TestTickets,
    version: u32,
) -> anyhow::Result<Vec<FieldResult>> {
    let blob = session.store.model(department, version).await?;
    let blob = blob.ok_or_else(|| Error::NotFound { what: "model version", id: format!("{department}/{version}") })?;
    let model = DepartmentModel::load(&blob)?;
    session.pipeline.set_model(department, Some((version, model)))?;
    let results = held_out_file(&session.pipeline, department, taxonomy, tickets, &TestTickets::default());
    jobs::load_department(&session.store, &session.pipeline, department).await?;
    Ok(results?)
}

/// Now, or the moment of SOURCE_DATE_EPOCH: then the same data give the same report to the last byte.
fn created_at() -> anyhow::Result<DateTime<Utc>> {
    let Some(epoch) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(Utc::now()) };
    let seconds = epoch.to_str().and_then(|epoch| epoch.trim().parse().ok());
    seconds
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .with_context(|| format!("SOURCE_DATE_EPOCH is {epoch:?}, and must be seconds since 1970"))
}
