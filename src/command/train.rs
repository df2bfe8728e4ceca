//! `train` and `models`.

use std::sync::Mutex;

use triage::config::{ModelsCommand, Settings, TrainArgs};
use triage::store::Store;
use triage::train::{self, TrainProgress};

use super::{Session, bar, print_json};

pub(super) async fn train(settings: Settings, arguments: TrainArgs) -> anyhow::Result<()> {
    let session = Session::open(settings).await?;
    let departments = match arguments.department {
        Some(named) => vec![session.department(Some(named)).await?],
        None => session.store.departments().await?,
    };
    session.catch_up().await?;
    let mut all = serde_json::Map::new();
    for department in departments {
        let trained = train_one(&session, &department, &arguments.fields).await?;
        if !arguments.json {
            print_trained(&department, &trained);
        }
        all.insert(department, serde_json::to_value(trained)?);
    }
    if arguments.json {
        print_json(&all)?;
    }
    Ok(())
}

/// Fits a department with a progress bar.
pub(super) async fn train_one(
    session: &Session,
    department: &str,
    fields: &[String],
) -> anyhow::Result<train::Trained> {
    let bar = bar("Training", 100);
    let shown = Mutex::new(String::new());
    let progress = |step: TrainProgress<'_>| {
        let mut shown = shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *shown != step.field {
            step.field.clone_into(&mut shown);
            bar.set_message("Training");
        }
        bar.set_position((step.share * 100.0) as u64);
    };
    let trained = train::train(&session.store, &session.pipeline, department, fields, &progress).await?;
    bar.finish_and_clear();
    Ok(trained)
}

pub(super) fn print_trained(department: &str, trained: &train::Trained) {
    match trained.version {
        Some(version) => {
            println!("Version {version} of department {department} serves now ({:.1} s).", trained.duration_s)
        }
        None => println!("No field of department {department} could be fitted."),
    }
    for (field, fit) in &trained.fields {
        println!(
            "  {field}: {} resolved tickets, {} labels; out of fold {:.1} % right, {:.0} % decided at a precision of {:.0} %",
            fit.examples,
            fit.labels,
            fit.accuracy_out_of_fold * 100.0,
            fit.coverage_out_of_fold * 100.0,
            fit.precision_target * 100.0
        );
    }
    for (field, reason) in &trained.skipped {
        println!("  {field}: left out, {reason}");
    }
}

pub(super) async fn models(settings: Settings, command: ModelsCommand) -> anyhow::Result<()> {
    let store = Store::open(&settings.data_dir).await?;
    match command {
        ModelsCommand::List { department, json } => {
            let models = store.models(department.as_deref()).await?;
            if json {
                return print_json(&models);
            }
            if models.is_empty() {
                println!("There are no model versions; `triage train` makes one.");
            }
            for model in models {
                println!(
                    "{}/{}{} of {}, {} kB, {}",
                    model.department,
                    model.version,
                    if model.active { " (serves)" } else { "" },
                    model.created_at.format("%Y-%m-%d %H:%M UTC"),
                    model.bytes / 1024,
                    model.encoder
                );
            }
        }
        ModelsCommand::Promote { version, department } => {
            store.promote(&department, version).await?;
            println!("Version {version} of department {department} serves from the next start on.");
        }
        ModelsCommand::Rollback { department } => {
            let version = store.rollback(&department).await?;
            println!("Version {version} of department {department} serves again from the next start on.");
        }
    }
    Ok(())
}
