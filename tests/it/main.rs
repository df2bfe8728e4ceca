//! Integration tests, one binary; files are named by behaviour.

mod layers;

mod harness;

mod api;
mod commands;
mod rubbish;
mod service;
