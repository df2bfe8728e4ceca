//! `simulate`: what a precision target would bring.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use triage::classify::Simulation;
use triage::config::{Settings, SimulateArgs};
use triage::jobs;

use super::{Session, print_json};

/// Targets shown when none is named.
const TARGETS: [f32; 7] = [0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99];

pub(super) async fn simulate(settings: Settings, arguments: SimulateArgs) -> anyhow::Result<()> {
    let session = Session::open(settings).await?;
    let department = session.department(arguments.department).await?;
    jobs::load_department(&session.store, &session.pipeline, &department).await?;
    let (taxonomy, _) = session.store.taxonomy(&department).await?.context("the department has no taxonomy")?;
    if let Some(unknown) = arguments.field.as_ref().filter(|field| taxonomy.field(field).is_none()) {
        bail!("department {department} has no field {unknown:?}");
    }
    let targets = if arguments.target.is_empty() { TARGETS.to_vec() } else { arguments.target };
    let mut simulations: BTreeMap<String, Vec<Simulation>> = BTreeMap::new();
    for field in taxonomy.fields.iter().filter(|field| arguments.field.as_ref().is_none_or(|named| *named == field.id))
    {
        let of_target = |&target: &f32| session.pipeline.simulate(&department, &field.id, target, arguments.tickets);
        match targets.iter().map(of_target).collect::<Result<Vec<_>, _>>() {
            Ok(found) => {
                simulations.insert(field.id.clone(), found);
            }
            Err(error) if arguments.field.is_some() => return Err(error.into()),
            // Among all fields, those without heads have nothing to simulate.
            Err(_) => {}
        }
    }
    if simulations.is_empty() {
        bail!("nothing was trained yet in department {department}; run `triage train --department {department}`");
    }
    if arguments.json {
        return print_json(&simulations);
    }
    for (field, simulations) in &simulations {
        print(field, simulations);
    }
    Ok(())
}

fn print(field: &str, simulations: &[Simulation]) {
    let percent = |share: Option<f32>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let n = simulations.first().map_or(0, |simulation| simulation.n);
    println!("{field}: {n} resolved tickets, each judged by heads and thresholds that had not seen it");
    println!("  target    decided    tickets    right    at least");
    for simulation in simulations {
        let decided: usize = simulation.labels.iter().map(|label| label.decided).sum();
        println!(
            "  {:>6}  {:>9}  {decided:>9}  {:>7}  {:>10}",
            percent(Some(simulation.precision_target)),
            percent(Some(simulation.automation_rate)),
            percent(simulation.precision),
            percent(simulation.precision_at_least)
        );
    }
    for simulation in simulations.iter().filter(|simulation| !simulation.tickets.is_empty()) {
        println!("  decided at {}:", percent(Some(simulation.precision_target)));
        for ticket in &simulation.tickets {
            let verdict = if ticket.label == ticket.recorded {
                "right".to_owned()
            } else {
                format!("wrong, it has {}", ticket.recorded)
            };
            println!("    {} as {} ({}), {verdict}", ticket.ticket, ticket.label, percent(Some(ticket.confidence)));
        }
    }
}
