//! `retriage`: a backlog from a file, decisions into another.

use triage::config::{RetriageArgs, Settings};
use triage::exchange;
use triage::jobs::retriage as job;
use triage::ticket::Ticket;

use super::{Session, bar, print_json};

pub(super) async fn retriage(settings: Settings, arguments: RetriageArgs) -> anyhow::Result<()> {
    let tickets = exchange::read_jsonl::<Ticket>(&arguments.input)?.records;
    let session = Session::open(settings).await?;
    let department = session.department(arguments.department).await?;
    session.catch_up().await?;
    let bar = bar("Triaging", tickets.len() as u64);
    let changes = job::retriage(&session.pipeline, &department, &tickets, &arguments.output, |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    if arguments.json {
        return print_json(&changes);
    }
    if changes.resumed > 0 {
        println!("{} decisions were there already.", changes.resumed);
    }
    println!("{} decisions were written to {}.", changes.written, arguments.output.display());
    for (field, counts) in &changes.fields {
        let changed: usize = counts.changed.values().sum();
        println!(
            "{field}: {} unchanged, {changed} changed, {} filled, {} abstained",
            counts.unchanged, counts.filled, counts.abstained
        );
        let mut changed: Vec<_> = counts.changed.iter().collect();
        changed.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        for (change, n) in changed {
            println!("  {n:>5}  {change}");
        }
    }
    Ok(())
}
