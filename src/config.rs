//! Here are the command line, the environment and `triage.toml`, give me built values, all checked once.
//!
//! Precedence: flags, then environment (`TRIAGE__SECTION__KEY`), then `triage.toml`, then the default. Unknown keys
//! are errors.

mod cli;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

pub use self::cli::*;
use crate::embed::{self, Kernel, Precision};
use crate::train::{Gate, Schedule};

/// Values in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Folder that holds everything the service knows.
    pub data_dir: PathBuf,
    /// Address to serve on.
    pub bind: SocketAddr,
    /// Encoder folder.
    pub model: PathBuf,
    /// How the encoder computes.
    pub embed: embed::Options,
    /// When heads are trained by themselves, and when new ones serve.
    pub train: TrainSettings,
    /// Whether log lines are JSON.
    pub log_json: bool,
}

/// How trained heads are governed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainSettings {
    /// How much new heads may lose against those that serve.
    pub gate: Gate,
    /// When `serve` trains by itself; never, if none.
    pub schedule: Option<Schedule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data_dir: Option<PathBuf>,
    #[serde(default)]
    server: ServerSection,
    #[serde(default)]
    embed: EmbedSection,
    #[serde(default)]
    train: TrainSection,
    #[serde(default)]
    log: LogSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerSection {
    bind: Option<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedSection {
    model: Option<PathBuf>,
    kernel: Option<String>,
    precision: Option<String>,
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainSection {
    every_hours: Option<f64>,
    min_changes: Option<u64>,
    max_loss: Option<f64>,
    max_label_loss: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogSection {
    json: Option<bool>,
}

/// Longest time between trainings: ten years, far below what a duration can hold.
const MAX_EVERY_HOURS: f64 = 87_600.0;
const DEFAULT_MIN_CHANGES: u64 = 50;
const SECONDS_PER_HOUR: f64 = 3600.0;

const DEFAULT_FILE: &str = "triage.toml";
const DEFAULT_DATA_DIR: &str = "triage-data";
const DEFAULT_MODEL: &str = "models/e5-small-de-en";

impl Settings {
    /// Puts flags, environment, file and defaults together.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value does not fit.
    pub fn load(cli: &Cli) -> anyhow::Result<Settings> {
        let mut builder = config::Config::builder();
        match &cli.config {
            Some(path) => builder = builder.add_source(config::File::from(path.as_path()).required(true)),
            None => builder = builder.add_source(config::File::from(Path::new(DEFAULT_FILE)).required(false)),
        }
        builder = builder.add_source(
            config::Environment::with_prefix("TRIAGE").prefix_separator("__").separator("__").try_parsing(true),
        );
        let file: File =
            builder.build().and_then(config::Config::try_deserialize).context("the configuration is not right")?;
        let bind = match &cli.command {
            Command::Serve(serve) => serve.bind,
            Command::Demo(demo) => demo.bind,
            _ => None,
        };
        let bind = bind.or(file.server.bind).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8787)));
        if !bind.ip().is_loopback() {
            bail!(
                "{bind} is not a loopback address: until requests are authenticated the service answers on this machine \
                 only; use 127.0.0.1 and put a reverse proxy in front"
            );
        }
        let default = embed::Options::default();
        let kernel = file.embed.kernel.map(|name| name.parse::<Kernel>()).transpose();
        let precision = file.embed.precision.map(|name| name.parse::<Precision>()).transpose();
        let mut options = embed::Options {
            kernel: kernel.map_err(|reason| anyhow::anyhow!("embed.kernel: {reason}"))?,
            precision: precision
                .map_err(|reason| anyhow::anyhow!("embed.precision: {reason}"))?
                .unwrap_or(default.precision),
            threads: file.embed.threads.map_or(default.threads, NonZeroUsize::get),
        };
        if let Command::Bench(BenchCommand::Embed(bench)) = &cli.command {
            options.precision = bench.precision.unwrap_or(options.precision);
            options.threads = bench.threads.map_or(options.threads, usize::from);
        }
        Ok(Settings {
            data_dir: cli.data_dir.clone().or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            bind,
            model: cli.model.clone().or(file.embed.model).unwrap_or_else(find_default_model),
            embed: options,
            train: file.train.check()?,
            log_json: file.log.json.unwrap_or(false),
        })
    }

    /// The values as a `triage.toml` would say them.
    pub fn to_toml(&self) -> String {
        let embed::Options { kernel, precision, threads } = self.embed;
        let kernel = kernel.unwrap_or_else(Kernel::detect).name();
        let TrainSettings { gate, schedule } = self.train;
        let (every, min_changes) =
            schedule.map_or((Duration::ZERO, DEFAULT_MIN_CHANGES), |schedule| (schedule.every, schedule.min_changes));
        let every_hours = every.as_secs_f64() / SECONDS_PER_HOUR;
        format!(
            "data_dir = {:?}\n\n[server]\nbind = \"{}\"\n\n[embed]\nmodel = {:?}\nkernel = {kernel:?}\nprecision = \
             {:?}\nthreads = {threads}\n\n[train]\nevery_hours = {every_hours:?}\nmin_changes = {min_changes}\nmax_loss = \
             {:?}\nmax_label_loss = {:?}\n\n[log]\njson = {}\n",
            self.data_dir,
            self.bind,
            self.model,
            precision.name(),
            gate.max_loss,
            gate.max_label_loss,
            self.log_json
        )
    }
}

impl TrainSection {
    fn check(self) -> anyhow::Result<TrainSettings> {
        let share = |name: &str, value: Option<f64>, default: f64| {
            let value = value.unwrap_or(default);
            if !(0.0..=1.0).contains(&value) {
                bail!("train.{name} is {value}, and it must be a share between 0 and 1");
            }
            Ok(value)
        };
        let default = Gate::default();
        let gate = Gate {
            max_loss: share("max_loss", self.max_loss, default.max_loss)?,
            max_label_loss: share("max_label_loss", self.max_label_loss, default.max_label_loss)?,
        };
        let hours = self.every_hours.unwrap_or(0.0);
        if !(0.0..=MAX_EVERY_HOURS).contains(&hours) {
            bail!("train.every_hours is {hours}, and 0 (never) to {MAX_EVERY_HOURS} are allowed");
        }
        let min_changes = self.min_changes.unwrap_or(DEFAULT_MIN_CHANGES);
        let every = Duration::from_secs_f64(hours * SECONDS_PER_HOUR);
        let schedule = (!every.is_zero()).then_some(Schedule { every, min_changes });
        Ok(TrainSettings { gate, schedule })
    }
}

/// The default encoder, in the working directory, beside the binary, or in the checkout the binary was built in.
fn find_default_model() -> PathBuf {
    let binary = std::env::current_exe().ok();
    let folders = binary.iter().flat_map(|binary| binary.ancestors().skip(1).take(3));
    std::iter::once(Path::new(""))
        .chain(folders)
        .map(|folder| folder.join(DEFAULT_MODEL))
        .find(|candidate| candidate.join("config.json").is_file())
        .unwrap_or_else(|| DEFAULT_MODEL.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triage.toml");
        let load = |toml: &str, arguments: &[&str]| {
            std::fs::write(&path, toml).unwrap();
            let start = ["triage", "--config", path.to_str().unwrap()];
            Settings::load(&Cli::try_parse_from(start.iter().chain(arguments)).unwrap())
        };
        let settings =
            load("data_dir = \"a\"\n[server]\nbind = \"127.0.0.1:1\"", &["--data-dir", "b", "serve"]).unwrap();
        assert_eq!((settings.data_dir, settings.bind.port()), (PathBuf::from("b"), 1));
        let settings = load("[server]\nbind = \"127.0.0.1:1\"", &["serve", "--bind", "127.0.0.1:2"]).unwrap();
        assert_eq!(settings.bind.port(), 2);
        let error = format!("{:#}", load("dat_dir = \"a\"", &["serve"]).unwrap_err());
        assert!(error.contains("dat_dir"), "{error}");
        let error = format!("{:#}", load("", &["serve", "--bind", "0.0.0.0:80"]).unwrap_err());
        assert!(error.contains("loopback"), "{error}");
    }
    #[test]
    fn training_is_off_until_it_is_given_a_time_and_bounds_are_shares() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("triage.toml");
        let load = |toml: &str| {
            std::fs::write(&path, toml).unwrap();
            Settings::load(&Cli::try_parse_from(["triage", "--config", path.to_str().unwrap(), "serve"]).unwrap())
        };
        let usual = load("").unwrap();
        assert_eq!(usual.train, TrainSettings::default());
        assert_eq!((usual.train.gate.max_loss, usual.train.gate.max_label_loss), (0.01, 0.1));
        let set = load("[train]\nevery_hours = 24\nmin_changes = 7\nmax_loss = 0.02\nmax_label_loss = 0").unwrap();
        let every_day = Schedule { every: Duration::from_secs(24 * 3600), min_changes: 7 };
        assert_eq!(set.train.schedule, Some(every_day));
        assert_eq!((set.train.gate.max_loss, set.train.gate.max_label_loss), (0.02, 0.0));
        let shown = set.to_toml();
        assert!(
            shown.contains("[train]\nevery_hours = 24.0\nmin_changes = 7\nmax_loss = 0.02\nmax_label_loss = 0.0\n")
        );
        assert_eq!(load(&shown).unwrap().train, set.train);
        assert_eq!(load(&usual.to_toml()).unwrap().train, usual.train);
        for (toml, named) in [
            ("every_hours = -1", "train.every_hours"),
            ("every_hours = inf", "train.every_hours"),
            ("max_loss = 1.5", "train.max_loss"),
            ("max_label_loss = nan", "train.max_label_loss"),
            ("min_changes = -1", "min_changes"),
        ] {
            let error = format!("{:#}", load(&format!("[train]\n{toml}")).unwrap_err());
            assert!(error.contains(named), "{toml}: {error}");
        }
    }
}
