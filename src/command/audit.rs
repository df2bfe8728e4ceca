//! `eval --audit`: faults in the recorded labels of a department, as a work list.

use std::process::ExitCode;

use anyhow::{Context, bail};
use triage::config::{EvalFieldsArgs, Settings};
use triage::evaluate::audit::{Audit, CSV_COLUMNS, Request, Unmeasured, WEAK_AGREEMENT, csv_rows, of_store};
use triage::exchange;
use triage::train;

use super::{Session, bar, write_file};

pub(super) async fn audit(settings: Settings, arguments: EvalFieldsArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(settings).await?;
    let department = session.department(arguments.department).await?;
    session.catch_up().await?;
    let (mut taxonomy, _) = session.store.taxonomy(&department).await?.context("the department has no taxonomy")?;
    if let Some(unknown) = arguments.fields.iter().find(|field| taxonomy.field(field).is_none()) {
        bail!("department {department} has no field {unknown:?}");
    }
    taxonomy.fields.retain(|field| arguments.fields.is_empty() || arguments.fields.contains(&field.id));
    let encoder = session.pipeline.encoder();
    let examples = train::examples(&session.store, encoder, &department).await?;
    if examples.is_empty() {
        bail!("department {department} has no resolved ticket to look at; `triage import tickets` brings some in");
    }
    let request = Request {
        department: &department,
        encoder: format!("{}@{}", encoder.name(), encoder.fingerprint()),
        top: arguments.top,
    };
    let scratch = session.settings.data_dir.join("index").join("held-out");
    let bar = bar("Training", 100);
    let audit = of_store(&request, &session.pipeline, &taxonomy, &examples, &scratch, &|step| {
        bar.set_position((step.share * 100.0) as u64);
    });
    bar.finish_and_clear();
    // The scratch index is derived and of no further use, whether the audit went well or not.
    let _ = std::fs::remove_dir_all(&scratch);
    let audit = audit?;
    print_audit(&audit);
    if let Some(path) = &arguments.json {
        write_file(path, &audit.to_json()?)?;
    }
    if let Some(path) = &arguments.csv {
        write_file(path, &exchange::to_csv(CSV_COLUMNS, csv_rows(&audit))?)?;
    }
    if let Some(path) = &arguments.html {
        write_file(path, &audit.to_html(arguments.language.into()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_audit(audit: &Audit) {
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    println!("{}: {} resolved tickets", audit.department, audit.tickets);
    for field in &audit.fields {
        let summary = &field.summary;
        println!("{}: {} tickets with one of {} labels", field.field, summary.tickets, summary.labels);
        println!(
            "  {} conflicts among near copies, {} of the tickets ({}) are in one",
            field.conflicts.len(),
            summary.in_conflict,
            percent(summary.share_in_conflict)
        );
        println!("  {} dead labels", field.dead.len());
        match field.unmeasured {
            None => {
                println!("  {} pairs of labels overlap", field.overlapping.len());
                let range = summary.share_wrong_interval.map_or_else(String::new, |interval| {
                    format!(" ({} to {})", percent(Some(interval.low)), percent(Some(interval.high)))
                });
                println!(
                    "  {} suspect tickets; at most about {} of the labels are wrong{range}",
                    summary.suspects,
                    percent(summary.share_wrong)
                );
                if summary.agreement.is_some_and(|agreement| agreement < WEAK_AGREEMENT) {
                    println!(
                        "  only {} are predicted as recorded: many suspects are errors of the service, not of the label",
                        percent(summary.agreement)
                    );
                }
            }
            Some(Unmeasured::TooFewTickets) => println!("  too few tickets to predict held-out ones"),
            Some(Unmeasured::NotCalibrated) => println!("  held-out tickets cannot be predicted in every part"),
        }
    }
    let search = &audit.search;
    if search.compared_with < search.texts {
        println!(
            "near copies were searched among {} of {} texts: some conflicts may be missing",
            search.compared_with, search.texts
        );
    }
}
