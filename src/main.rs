//! The `triage` command: parse, do, print the error chain, choose the exit code.

mod command;

use std::process::ExitCode;

use clap::Parser;
use triage::config::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match command::run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("triage: {error:#}");
            ExitCode::from(1)
        }
    }
}
