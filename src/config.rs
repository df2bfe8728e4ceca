//! Here are the command line, the environment and `triage.toml`, give me built values, all checked once.
//!
//! Precedence: flags, then environment (`TRIAGE__SECTION__KEY`), then `triage.toml`, then the default. Unknown keys
//! are errors.

mod cli;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

pub use self::cli::*;
use crate::embed::{self, Kernel, Precision};

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
    /// Whether log lines are JSON.
    pub log_json: bool,
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
struct LogSection {
    json: Option<bool>,
}

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
            log_json: file.log.json.unwrap_or(false),
        })
    }

    /// The values as a `triage.toml` would say them.
    pub fn to_toml(&self) -> String {
        let embed::Options { kernel, precision, threads } = self.embed;
        let kernel = kernel.unwrap_or_else(Kernel::detect).name();
        format!(
            "data_dir = {:?}\n\n[server]\nbind = \"{}\"\n\n[embed]\nmodel = {:?}\nkernel = {kernel:?}\nprecision = \
             {:?}\nthreads = {threads}\n\n[log]\njson = {}\n",
            self.data_dir,
            self.bind,
            self.model,
            precision.name(),
            self.log_json
        )
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
}
