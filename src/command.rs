//! One function per command of the command line.

mod ask;
mod audit;
mod bench;
mod demo;
mod eval;
mod index;
mod records;
mod retriage;
mod serve;
mod simulate;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use triage::config::{BenchCommand, Cli, Command, ConfigCommand, Settings};
use triage::embed::Encoder;
use triage::jobs;
use triage::pipeline::Pipeline;
use triage::store::Store;
use triage::telemetry;

/// Does what the command line asks.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&cli)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the run time")?;
    telemetry::init_logging(settings.log_json);
    let done = runtime.block_on(dispatch(cli.command, settings));
    // Threads that still embed must not keep a finished command alive.
    runtime.shutdown_background();
    done
}

async fn dispatch(command: Command, settings: Settings) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(arguments) => demo::demo(settings, arguments).await?,
        Command::Serve(_) => {
            let (listener, address) = serve::listen(settings.bind)?;
            serve::serve(Session::open(settings).await?, listener, address).await?;
        }
        Command::Import(arguments) => records::import(settings, arguments).await?,
        Command::Export(arguments) => records::export(settings, arguments).await?,
        Command::Train(arguments) => return train::train(settings, arguments).await,
        Command::Models(arguments) => train::models(settings, arguments).await?,
        Command::Eval(arguments) => return eval::eval(settings, *arguments).await,
        Command::Simulate(arguments) => simulate::simulate(settings, arguments).await?,
        Command::Ask(arguments) => ask::ask(settings, arguments).await?,
        Command::Text(arguments) => ask::text(arguments)?,
        Command::Retriage(arguments) => retriage::retriage(settings, arguments).await?,
        Command::Index(arguments) => return index::index(settings, arguments).await,
        Command::Taxonomy(arguments) => index::taxonomy(settings, arguments).await?,
        Command::Bench(BenchCommand::Embed(arguments)) => bench::embed(&settings, &arguments)?,
        Command::Config(ConfigCommand::Check) => println!("The configuration is right."),
        Command::Config(ConfigCommand::Show) => print!("{}", settings.to_toml()),
        Command::Openapi => println!("{}", triage::http::openapi().to_pretty_json().context("cannot write OpenAPI")?),
        Command::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "triage", &mut std::io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An open store and a loaded encoder.
struct Session {
    settings: Settings,
    store: Store,
    pipeline: Arc<Pipeline>,
}

impl Session {
    async fn open(settings: Settings) -> anyhow::Result<Session> {
        let store = Store::open(&settings.data_dir).await?;
        let encoder = Arc::new(Encoder::load(&settings.model, settings.embed)?);
        let pipeline = Arc::new(Pipeline::new(encoder, &settings.data_dir.join("index")));
        Ok(Session { settings, store, pipeline })
    }

    /// Takes everything in the store into the pipeline, with a bar for what has to be embedded.
    async fn catch_up(&self) -> anyhow::Result<()> {
        jobs::load_departments(&self.store, &self.pipeline).await?;
        let last_seq = self.store.last_seq().await?;
        let bar = bar("Indexing", last_seq);
        jobs::catch_up(&self.store, &self.pipeline, 0, |seq| bar.set_position(seq)).await?;
        bar.finish_and_clear();
        Ok(())
    }

    /// The department that was named, or the only one there is.
    async fn department(&self, named: Option<String>) -> anyhow::Result<String> {
        department(&self.store, named).await
    }
}

/// The department that was named, or the only one there is.
async fn department(store: &Store, named: Option<String>) -> anyhow::Result<String> {
    let mut known = store.departments().await?;
    match named {
        Some(named) if known.contains(&named) => Ok(named),
        Some(named) => bail!("there is no department {named:?}; known are: {}", listed(&known)),
        None if known.len() == 1 => Ok(known.remove(0)),
        None if known.is_empty() => bail!("the store is empty; `triage import` or `triage demo` fills it"),
        None => bail!("name one with --department: {}", listed(&known)),
    }
}

fn listed(departments: &[String]) -> String {
    if departments.is_empty() { "none".to_owned() } else { departments.join(", ") }
}

/// A progress bar on standard error, seen only on a terminal.
fn bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:12} {bar:40} {pos}/{len} {elapsed}/{duration}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what)
}

/// Writes a file, making its folder first.
fn write_file(path: &PathBuf, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints a value as one JSON document.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value).context("cannot write JSON")?);
    Ok(())
}
