//! The command line: what can be asked for, and with which arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::embed::Precision;
use crate::evaluate::PageLanguage;
use crate::taxonomy::PRECISION_TARGETS;

/// Reads support tickets and says what they are about, how urgent they are, what solved them before, and how sure it is.
///
/// Everything runs on this machine: no GPU, no outbound call. Start with `triage demo`.
#[derive(Debug, Parser)]
#[command(name = "triage", version)]
pub struct Cli {
    /// Folder that holds everything the service knows [default: triage-data]
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file; `triage.toml` in the working directory is read when it is there
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Encoder folder in the sentence-transformers layout [default: models/e5-small-de-en]
    #[arg(long, global = true, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fill a fresh data directory with the demo helpdesk, train, triage waiting tickets, then serve
    Demo(DemoArgs),
    /// Answer HTTP requests
    Serve(ServeArgs),
    /// Read tickets or articles from files into the store
    Import(ImportArgs),
    /// Write tickets, articles or decisions to standard output as JSON Lines
    Export(ExportArgs),
    /// Fit the heads of a department on its resolved tickets; they serve if they are no worse than those that serve now
    Train(TrainArgs),
    /// Show, promote, roll back or prune model versions
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Measure on held-out tickets, or `eval retrieval` on questions with known answers
    Eval(Box<EvalArgs>),
    /// Triage one text and show the answer
    Ask(AskArgs),
    /// Show what text hygiene keeps and removes
    Text(TextArgs),
    /// Triage a backlog from a file; run again, it goes on where it stopped
    Retriage(RetriageArgs),
    /// Check or rebuild the derived indexes
    #[command(subcommand)]
    Index(IndexCommand),
    /// Show or load the fields and labels of a department
    #[command(subcommand)]
    Taxonomy(TaxonomyCommand),
    /// Say what a precision target would bring: how many tickets it decides, how many of them rightly, and which
    Simulate(SimulateArgs),
    /// Measure what this machine can do
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Write the OpenAPI description of the HTTP interface to standard output
    Openapi,
    /// Write a completion script for a shell to standard output
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Department [default: the only one]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Field [default: all that were trained]
    #[arg(long, value_name = "NAME")]
    pub field: Option<String>,
    /// Precision to promise, 0.5 to 0.999; may be given several times [default: a range]
    #[arg(long, value_name = "SHARE", value_parser = target)]
    pub target: Vec<f32>,
    /// List at most this many of the tickets that would be decided, wrong ones first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub tickets: usize,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

fn target(text: &str) -> Result<f32, String> {
    let target: f32 = text.parse().map_err(|_| "is not a number".to_owned())?;
    if PRECISION_TARGETS.contains(&target) { Ok(target) } else { Err("must lie between 0.5 and 0.999".to_owned()) }
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address to serve on; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<SocketAddr>,
    /// Stop after the table instead of serving
    #[arg(long)]
    pub no_serve: bool,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address to serve on, a loopback one; port 0 picks a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<SocketAddr>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordKind {
    /// Tickets, resolved ones with their labels.
    Tickets,
    /// Knowledge articles.
    Articles,
    /// Decisions; export only.
    Decisions,
}

/// How an import file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated, the first row names the columns.
    Csv,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// `tickets` or `articles`
    pub kind: RecordKind,
    /// Files to read
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Department they belong to [default: the one each record names]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// How the files are written [default: by their ending]
    #[arg(long)]
    pub format: Option<FileFormat>,
    /// TOML file that says which column is which field: `subject = "Betreff"`, `"labels.category" = "Kategorie"`
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,
    /// Refuse label values that the taxonomy lacks instead of adding them
    #[arg(long)]
    pub closed: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// `tickets`, `articles` or `decisions`
    pub kind: RecordKind,
    /// Department [default: all]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Department [default: all]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Field to fit; the others keep their heads [default: all]
    #[arg(long = "field", value_name = "NAME")]
    pub fields: Vec<String>,
    /// Let the new heads serve even if they are worse than those that serve now; without it, exit code 3 says that some
    /// were held back
    #[arg(long)]
    pub promote_anyway: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// List the versions, newest last
    List {
        /// Department [default: all]
        #[arg(long, value_name = "ID")]
        department: Option<String>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one version: how it was fitted, and what the gate said
    Show {
        /// Version to show
        version: u32,
        /// Department [default: the only one]
        #[arg(long, value_name = "ID")]
        department: Option<String>,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a version serve
    Promote {
        /// Version to serve
        version: u32,
        /// Department
        #[arg(long, value_name = "ID")]
        department: String,
    },
    /// Go back to the version that served before
    Rollback {
        /// Department
        #[arg(long, value_name = "ID")]
        department: String,
    },
    /// Delete old versions; the one that serves and those that the next two rollbacks need stay
    Prune {
        /// Newest versions to keep of each department
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: u32,
        /// Department [default: all]
        #[arg(long, value_name = "ID")]
        department: Option<String>,
        /// Print the deleted versions as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EvalArgs {
    /// Questions with known answers
    #[command(subcommand)]
    pub retrieval: Option<EvalCommand>,
    /// Tickets with their right labels
    #[command(flatten)]
    pub fields: EvalFieldsArgs,
}

/// Subcommands of `eval`.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Measure ranking on questions with known answers
    Retrieval(EvalRetrievalArgs),
}

/// How the store's tickets are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Split {
    /// A fifth is held out, drawn at random with a fixed seed.
    Random,
    /// The newest fifth is held out.
    Temporal,
    /// What says `"split": "test"` is held out.
    Given,
}

/// Language of a report for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportLanguage {
    /// German.
    De,
    /// English.
    En,
}

impl From<ReportLanguage> for PageLanguage {
    fn from(language: ReportLanguage) -> PageLanguage {
        match language {
            ReportLanguage::De => PageLanguage::De,
            ReportLanguage::En => PageLanguage::En,
        }
    }
}

/// Arguments of `eval` without a subcommand.
#[derive(Debug, Args)]
pub struct EvalFieldsArgs {
    /// Department [default: the only one]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Measure every department, in one report; tickets of --test go to the department they name
    #[arg(long, conflicts_with_all = ["department", "compare"])]
    pub all: bool,
    /// Field to measure [default: all]
    #[arg(long = "field", value_name = "NAME")]
    pub fields: Vec<String>,
    /// Held-out tickets with their labels; the heads that serve now are measured
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split", "folds"])]
    pub test: Option<PathBuf>,
    /// JSON Lines with `id` and `labels` for the tickets of --test
    #[arg(long, value_name = "FILE", requires = "test", conflicts_with_all = ["split", "folds"])]
    pub answers: Option<PathBuf>,
    /// Hold out some of the store's tickets and fit on the rest
    #[arg(long, conflicts_with = "folds")]
    pub split: Option<Split>,
    /// Hold out each of the store's tickets in turn, in K parts
    #[arg(long, value_name = "K")]
    pub folds: Option<usize>,
    /// Seed of --split random
    #[arg(long, value_name = "N", default_value_t = crate::evaluate::run::SEED, requires = "split")]
    pub seed: u64,
    /// Tickets that belong to no label, to measure how well they are told apart
    #[arg(long, value_name = "FILE")]
    pub unknown: Option<PathBuf>,
    /// JSON file that says what a wrong decision and a handover cost, by field
    #[arg(long, value_name = "FILE")]
    pub costs: Option<PathBuf>,
    /// Model version to set beside the one that serves, on the tickets of --test
    #[arg(long, value_name = "VERSION", requires = "test", conflicts_with_all = ["split", "folds"])]
    pub compare: Option<u32>,
    /// Write the figures as JSON
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Write one self-contained HTML page with plots
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Language of the HTML page
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub language: ReportLanguage,
    /// Bounds that the figures must keep; exit code 3 when one is broken
    #[arg(long, value_name = "FILE")]
    pub gate: Option<PathBuf>,
    /// Look for faults in the recorded labels instead: contradictions, labels that overlap, dead labels, suspect tickets
    #[arg(long, conflicts_with_all = ["test", "answers", "split", "folds", "gate"])]
    pub audit: bool,
    /// Write the findings of --audit as CSV, one row per finding
    #[arg(long, value_name = "OUT", requires = "audit", conflicts_with_all = ["test", "split", "folds"])]
    pub csv: Option<PathBuf>,
    /// Suspect tickets of each field that --audit lists at most
    #[arg(long, value_name = "N", default_value_t = crate::evaluate::audit::DEFAULT_TOP)]
    pub top: usize,
}

/// Arguments of `eval retrieval`.
#[derive(Debug, Args)]
pub struct EvalRetrievalArgs {
    /// Department [default: the only one]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Questions, written as tickets
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// JSON Lines with `query_id` and `relevant_ids`
    #[arg(long, value_name = "FILE")]
    pub relevance: PathBuf,
    /// Pool to rank
    #[arg(long)]
    pub pool: PoolName,
    /// Write the figures as JSON
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
    /// Bounds that the figures must keep; exit code 3 when one is broken
    #[arg(long, value_name = "FILE")]
    pub gate: Option<PathBuf>,
}

/// A pool, as the command line spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PoolName {
    /// Resolved tickets.
    Tickets,
    /// Knowledge articles.
    Articles,
}

/// Arguments of `ask`.
#[derive(Debug, Args)]
pub struct AskArgs {
    /// Text of the ticket; `-` reads standard input
    pub text: String,
    /// Department [default: the only one, or every one in turn]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Print the whole answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `text`.
#[derive(Debug, Args)]
pub struct TextArgs {
    /// File to read; `-` reads standard input
    pub file: PathBuf,
    /// How it is written: text/plain, text/html or text/markdown [default: by the ending]
    #[arg(long, value_name = "T")]
    pub content_type: Option<String>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `retriage`.
#[derive(Debug, Args)]
pub struct RetriageArgs {
    /// Tickets, one JSON object per line
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,
    /// Decisions, one JSON object per line, in the order of the input
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// Department [default: the only one]
    #[arg(long, value_name = "ID")]
    pub department: Option<String>,
    /// Print the counts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `index`.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Compare the indexes with the store
    Verify {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete the indexes and make them anew from the store
    Rebuild,
}

/// Subcommands of `taxonomy`.
#[derive(Debug, Subcommand)]
pub enum TaxonomyCommand {
    /// Print the fields and labels as JSON
    Show {
        /// Department [default: the only one]
        #[arg(long, value_name = "ID")]
        department: Option<String>,
    },
    /// Replace the fields and labels by those of a JSON file
    Load {
        /// File to read
        file: PathBuf,
        /// Department
        #[arg(long, value_name = "ID")]
        department: String,
    },
}

/// Subcommands of `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Measure the encoder: tokens per second, latency of one text, memory; takes about ten seconds
    Embed(BenchEmbedArgs),
}

/// Arguments of `bench embed`.
#[derive(Debug, Args)]
pub struct BenchEmbedArgs {
    /// Threads to compute on [default: as configured, else one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// `int8` or `exact` [default: as configured, else int8]
    #[arg(long, value_name = "P")]
    pub precision: Option<Precision>,
    /// Measure on the bodies of these tickets, one JSON object per line, instead of the built-in texts
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Write the vectors of the texts, as little-endian 32-bit floats row by row
    #[arg(long, value_name = "FILE")]
    pub vectors: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Subcommands of `config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is right
    Check,
    /// Print the values in force as TOML
    Show,
}
