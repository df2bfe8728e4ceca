//! Integration tests, one binary; files are named by behaviour.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod layers;

mod decisions;
mod harness;

mod api;
mod audit;
mod commands;
mod evaluation;
mod overload;
mod rubbish;
mod service;
mod training;
