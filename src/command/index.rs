//! `index` and `taxonomy`.

use std::process::ExitCode;

use anyhow::Context;
use triage::config::{IndexCommand, Settings, TaxonomyCommand};
use triage::store::{Kind, Store};
use triage::taxonomy::Taxonomy;

use super::{Session, print_json};

pub(super) async fn index(settings: Settings, command: IndexCommand) -> anyhow::Result<ExitCode> {
    match command {
        IndexCommand::Verify { json } => verify(settings, json).await,
        IndexCommand::Rebuild => {
            let session = Session::open(settings).await?;
            let folder = session.settings.data_dir.join("index");
            if folder.exists() {
                std::fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {}", folder.display()))?;
            }
            session.catch_up().await?;
            println!("The indexes were made anew from the store.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn verify(settings: Settings, json: bool) -> anyhow::Result<ExitCode> {
    let session = Session::open(settings).await?;
    session.catch_up().await?;
    let mut faults: Vec<String> = Vec::new();
    let statistics = session.pipeline.statistics();
    for department in session.store.departments().await? {
        let indexed = statistics.iter().find(|statistics| statistics.department == department);
        for (kind, what, n_indexed) in [
            (Kind::Ticket, "tickets", indexed.map_or(0, |statistics| statistics.tickets)),
            (Kind::Article, "articles", indexed.map_or(0, |statistics| statistics.articles)),
        ] {
            let n_stored = session.store.count(kind, &department).await?;
            if n_stored != n_indexed as u64 {
                faults.push(format!("{department}: {n_stored} {what} are stored and {n_indexed} indexed"));
            }
        }
        let found = session.pipeline.verify(&department)?;
        faults.extend(found.into_iter().map(|fault| format!("{department}: {fault}")));
    }
    if json {
        print_json(&serde_json::json!({ "faults": faults, "departments": statistics }))?;
    } else {
        for statistics in &statistics {
            println!(
                "{}: {} tickets, {} articles, {} kB in memory, change {}",
                statistics.department,
                statistics.tickets,
                statistics.articles,
                statistics.index_bytes / 1024,
                statistics.applied_seq
            );
        }
        for fault in &faults {
            println!("FAULT {fault}");
        }
        if faults.is_empty() {
            println!("The indexes agree with the store.");
        } else {
            println!("`triage index rebuild` makes them anew.");
        }
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) async fn taxonomy(settings: Settings, command: TaxonomyCommand) -> anyhow::Result<()> {
    match command {
        TaxonomyCommand::Show { department } => {
            let store = Store::open(&settings.data_dir).await?;
            let department = match department {
                Some(department) => department,
                None => store.departments().await?.into_iter().next().context("the store is empty")?,
            };
            let found = store.taxonomy(&department).await?;
            let (taxonomy, _) = found.with_context(|| format!("there is no department {department:?}"))?;
            print_json(&taxonomy)
        }
        TaxonomyCommand::Load { file, department } => {
            triage::ticket::check_id("--department", &department)?;
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let taxonomy: Taxonomy =
                serde_json::from_str(&text).with_context(|| format!("{} is not a taxonomy", file.display()))?;
            taxonomy.check()?;
            let store = Store::open(&settings.data_dir).await?;
            let revision = store.put_taxonomy(&department, &taxonomy).await?;
            println!("Revision {revision} of the taxonomy of {department} is in force.");
            Ok(())
        }
    }
}
