//! Triage reads a support ticket the moment it arrives and says what it is about, how urgent it is, what solved it
//! before, what could be replied, and how sure it is.
//!
//! ```text
//! Ticket ─ text ─▶ Canonical ─ embed ─▶ vectors ─┬─ retrieve ─▶ near tickets, articles ─┐
//!                                                └─ classify ─▶ probabilities ──────────┴─ suggest ─▶ Triage
//! ```
//!
//! `pipeline` is the only module that knows this order. Below it the stages know nothing of each other, above it
//! `worker` and `jobs` bring work to it, and `http`, `train` and `evaluate` are what callers see.

pub mod error;
pub mod exchange;
pub mod taxonomy;
pub mod telemetry;
pub mod ticket;

pub mod text;

pub mod embed;

pub mod classify;
pub mod retrieve;
pub mod store;
pub mod suggest;

pub mod pipeline;

pub mod jobs;
pub mod worker;

pub mod train;

pub mod evaluate;
pub mod http;

pub mod config;
