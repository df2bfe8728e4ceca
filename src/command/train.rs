//! `train` and `models`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;

use triage::config::{ModelsCommand, Settings, TrainArgs};
use triage::store::{ModelInfo, Store};
use triage::train::{self, FieldTraining, Fitting, Order, TrainProgress, Trained};

use super::{Session, bar, print_json};

/// Exit code when the gate held a version back.
const HELD_BACK: u8 = 3;

pub(super) async fn train(settings: Settings, arguments: TrainArgs) -> anyhow::Result<ExitCode> {
    let session = Session::open(settings).await?;
    let departments = match arguments.department {
        Some(named) => vec![session.department(Some(named)).await?],
        None => session.store.departments().await?,
    };
    session.catch_up().await?;
    let order =
        Order { fields: arguments.fields, gate: session.settings.train.gate, promote_anyway: arguments.promote_anyway };
    let mut all = serde_json::Map::new();
    let mut is_any_held_back = false;
    for department in departments {
        let trained = train_one(&session, &department, &order).await?;
        if !arguments.json {
            print_trained(&department, &trained);
        }
        is_any_held_back |= trained.is_held_back();
        all.insert(department, serde_json::to_value(trained)?);
    }
    if arguments.json {
        print_json(&all)?;
    }
    Ok(if is_any_held_back { ExitCode::from(HELD_BACK) } else { ExitCode::SUCCESS })
}

/// Fits a department with a progress bar.
pub(super) async fn train_one(session: &Session, department: &str, order: &Order) -> anyhow::Result<Trained> {
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
    let trained = train::train_to(&session.store, &session.pipeline, department, order, &progress).await?;
    bar.finish_and_clear();
    Ok(trained)
}

pub(super) fn print_trained(department: &str, trained: &Trained) {
    match trained.version {
        Some(version) if trained.verdict.promoted => {
            println!("Version {version} of department {department} serves now ({:.1} s).", trained.duration_s);
        }
        Some(version) => println!(
            "Version {version} of department {department} is held back and does not serve ({:.1} s).",
            trained.duration_s
        ),
        None => println!("No field of department {department} could be fitted."),
    }
    print_fields(&trained.fields, &trained.skipped);
    if trained.version.is_some() {
        trained.verdict.reasons.iter().for_each(|reason| println!("  {reason}"));
    }
    if let Some(version) = trained.version.filter(|_| trained.is_held_back()) {
        println!("  `triage models promote {version} --department {department}` makes it serve nevertheless.");
    }
}

fn print_fields(fields: &BTreeMap<String, FieldTraining>, skipped: &BTreeMap<String, String>) {
    for (field, fit) in fields {
        println!(
            "  {field}: {} resolved tickets, {} labels; out of fold {:.1} % right, {:.0} % decided at a precision of {:.0} %",
            fit.examples,
            fit.labels,
            fit.accuracy_out_of_fold * 100.0,
            fit.coverage_out_of_fold * 100.0,
            fit.precision_target * 100.0
        );
    }
    for (field, reason) in skipped {
        println!("  {field}: left out, {reason}");
    }
}

pub(super) async fn models(settings: Settings, command: ModelsCommand) -> anyhow::Result<()> {
    match command {
        ModelsCommand::List { department, json } => {
            let store = Store::open(&settings.data_dir).await?;
            let models = store.models(department.as_deref()).await?;
            if json {
                return print_json(&models);
            }
            if models.is_empty() {
                println!("There are no model versions; `triage train` makes one.");
            }
            models.iter().for_each(|model| println!("{}", line(model)));
        }
        ModelsCommand::Show { version, department, json } => {
            let store = Store::open(&settings.data_dir).await?;
            let department = super::department(&store, department).await?;
            let model = train::version(&store, &department, version).await?;
            if json {
                return print_json(&model);
            }
            println!("{}", line(&model));
            println!("  fitted with encoder {} and text version {}", model.encoder, model.text_version);
            let fitting = Fitting::of(&model);
            print_fields(&fitting.fields, &fitting.skipped);
            for (field, comparison) in fitting.verdict.iter().flat_map(|verdict| &verdict.fields) {
                println!(
                    "  {field}: {:.1} % right on {} held-out tickets, {:.1} % before; the difference lies between {:.1} and \
                     {:.1} points",
                    comparison.accuracy_challenger * 100.0,
                    comparison.n,
                    comparison.accuracy_champion * 100.0,
                    comparison.difference_low * 100.0,
                    comparison.difference_high * 100.0
                );
            }
            fitting.verdict.iter().flat_map(|verdict| &verdict.reasons).for_each(|reason| println!("  {reason}"));
        }
        ModelsCommand::Promote { version, department } => {
            let session = Session::open(settings).await?;
            let department = session.department(Some(department)).await?;
            train::check_usable(&session.store, &session.pipeline, &department, version).await?;
            session.store.promote(&department, version).await?;
            println!("Version {version} of department {department} serves from the next start on.");
        }
        ModelsCommand::Rollback { department } => {
            let session = Session::open(settings).await?;
            if let Some(former) = session.store.activations(&department, 2).await?.get(1) {
                train::check_usable(&session.store, &session.pipeline, &department, *former).await?;
            }
            let version = session.store.rollback(&department).await?;
            println!("Version {version} of department {department} serves again from the next start on.");
        }
        ModelsCommand::Prune { keep, department, json } => {
            let store = Store::open(&settings.data_dir).await?;
            let departments = match department {
                Some(named) => vec![super::department(&store, Some(named)).await?],
                None => store.departments().await?,
            };
            let mut all = BTreeMap::new();
            for department in departments {
                all.insert(department.clone(), store.prune_models(&department, keep).await?);
            }
            if json {
                return print_json(&all);
            }
            for (department, pruned) in all {
                let pruned: Vec<String> = pruned.iter().map(u32::to_string).collect();
                let what = if pruned.is_empty() { "nothing".to_owned() } else { pruned.join(", ") };
                println!("{department}: {what} deleted");
            }
        }
    }
    Ok(())
}

/// A version in one line.
fn line(model: &ModelInfo) -> String {
    format!(
        "{}/{}{} of {}, {} kB: {}",
        model.department,
        model.version,
        if model.active { " (serves)" } else { "" },
        model.created_at.format("%Y-%m-%d %H:%M UTC"),
        model.bytes / 1024,
        Fitting::of(model).summary()
    )
}
