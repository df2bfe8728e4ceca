//! `import` and `export`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Serialize;
use triage::config::{ExportArgs, FileFormat, ImportArgs, RecordKind, Settings};
use triage::exchange::{self, Record, Records};
use triage::store::{Store, Upserted};
use triage::ticket::{Article, Ticket, check_id};

use super::{Session, print_json};

/// Records stored in one transaction.
const BATCH: usize = 1000;

#[derive(Default, Serialize)]
struct Imported {
    records: usize,
    departments: BTreeMap<String, usize>,
    added_labels: Vec<(String, String, String)>,
    ignored: BTreeMap<String, usize>,
    change_seq: u64,
}

pub(super) async fn import(settings: Settings, arguments: ImportArgs) -> anyhow::Result<()> {
    let mapping = arguments.map.as_deref().map(read_mapping).transpose()?.unwrap_or_default();
    if let Some(department) = &arguments.department {
        check_id("--department", department)?;
    }
    // Every file is read and checked before the first record is stored.
    let imported = match arguments.kind {
        RecordKind::Tickets => {
            let read: Records<Ticket> = read_all(&arguments, &mapping)?;
            let session = Session::open(settings).await?;
            let by_department = divide(read.records, &arguments, |ticket| ticket.department.clone())?;
            let mut imported = Imported { ignored: read.ignored, ..Imported::default() };
            for (department, tickets) in by_department {
                for batch in tickets.chunks(BATCH) {
                    let upserted = session.store.upsert_tickets(&department, batch, arguments.closed).await?;
                    imported.add(&department, upserted);
                }
            }
            session.catch_up().await?;
            imported
        }
        RecordKind::Articles => {
            let read: Records<Article> = read_all(&arguments, &mapping)?;
            let session = Session::open(settings).await?;
            let by_department = divide(read.records, &arguments, |article| article.department.clone())?;
            let mut imported = Imported { ignored: read.ignored, ..Imported::default() };
            for (department, articles) in by_department {
                for batch in articles.chunks(BATCH) {
                    let upserted = session.store.upsert_articles(&department, batch).await?;
                    imported.add(&department, upserted);
                }
            }
            session.catch_up().await?;
            imported
        }
        RecordKind::Decisions => bail!("decisions are made here and cannot be imported"),
    };
    if arguments.json {
        return print_json(&imported);
    }
    for (department, n) in &imported.departments {
        println!("{n} records are in department {department}.");
    }
    let mut added: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (department, field, _) in &imported.added_labels {
        *added.entry((department, field)).or_default() += 1;
    }
    for ((department, field), n) in added {
        println!("{n} new labels of field {field} were added to the taxonomy of {department}.");
    }
    for (key, n) in &imported.ignored {
        println!("{key:?} is not part of the format and was left out of {n} records.");
    }
    Ok(())
}

impl Imported {
    fn add(&mut self, department: &str, upserted: Upserted) {
        self.records += upserted.n;
        *self.departments.entry(department.to_owned()).or_default() += upserted.n;
        let labels = upserted.added_labels.into_iter().map(|(field, label)| (department.to_owned(), field, label));
        self.added_labels.extend(labels);
        self.change_seq = self.change_seq.max(upserted.change_seq);
    }
}

fn read_all<T: Record>(arguments: &ImportArgs, mapping: &BTreeMap<String, String>) -> anyhow::Result<Records<T>> {
    let mut all = Records { records: Vec::new(), ignored: BTreeMap::new() };
    for path in &arguments.files {
        let is_csv = match arguments.format {
            Some(format) => format == FileFormat::Csv,
            None => path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv")),
        };
        let read = if is_csv { exchange::read_csv::<T>(path, mapping)? } else { exchange::read_jsonl::<T>(path)? };
        all.records.extend(read.records);
        for (key, n) in read.ignored {
            *all.ignored.entry(key).or_default() += n;
        }
    }
    Ok(all)
}

fn read_mapping(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let file = config::Config::builder()
        .add_source(config::File::from(path))
        .build()
        .with_context(|| format!("cannot read the mapping {}", path.display()))?;
    let table = file.try_deserialize::<BTreeMap<String, config::Value>>().context("the mapping is not a table")?;
    let mut mapping = BTreeMap::new();
    for (field, value) in table {
        match value.clone().into_table() {
            // `labels.category = "Kategorie"` without quotes is a nested table in TOML; both are meant the same.
            Ok(nested) => {
                for (inner, column) in nested {
                    mapping.insert(format!("{field}.{inner}"), column.into_string()?);
                }
            }
            Err(_) => {
                mapping.insert(field, value.into_string()?);
            }
        }
    }
    Ok(mapping)
}

fn divide<T>(
    records: Vec<T>,
    arguments: &ImportArgs,
    own: impl Fn(&T) -> Option<String>,
) -> anyhow::Result<BTreeMap<String, Vec<T>>> {
    let mut by_department: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (n, record) in records.into_iter().enumerate() {
        let Some(department) = arguments.department.clone().or_else(|| own(&record)) else {
            bail!("record {} names no department; give one with --department", n + 1);
        };
        by_department.entry(department).or_default().push(record);
    }
    Ok(by_department)
}

pub(super) async fn export(settings: Settings, arguments: ExportArgs) -> anyhow::Result<()> {
    const PAGE: usize = 1000;
    let store = Store::open(&settings.data_dir).await?;
    let departments = match arguments.department {
        Some(department) => vec![department],
        None => store.departments().await?,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for department in departments {
        match arguments.kind {
            RecordKind::Tickets => {
                let mut after: Option<String> = None;
                loop {
                    let page = store.tickets(&department, after.as_deref(), PAGE).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.id.clone());
                    for mut ticket in page {
                        ticket.department = Some(department.clone());
                        write_line(&mut out, &ticket)?;
                    }
                }
            }
            RecordKind::Articles => {
                let mut after: Option<String> = None;
                loop {
                    let page = store.articles(&department, after.as_deref(), PAGE).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.id.clone());
                    for mut article in page {
                        article.department = Some(department.clone());
                        write_line(&mut out, &article)?;
                    }
                }
            }
            RecordKind::Decisions => {
                let mut after = None;
                loop {
                    let page = store.decisions(&department, after, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.decision_id);
                    for decision in &page {
                        write_line(&mut out, decision)?;
                    }
                }
            }
        }
    }
    out.flush().context("cannot write to standard output")
}

fn write_line(out: &mut impl Write, record: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, record).context("cannot write to standard output")?;
    out.write_all(b"\n").context("cannot write to standard output")
}
