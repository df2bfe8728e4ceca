//! One triage at 10,000 resolved tickets: p50, p99, the share of each stage, what the bare embedding of the same ticket
//! costs, and the memory of the index per ticket.
//!
//!     cargo bench --bench pipeline
//!
//! The index holds the demo tickets over and over, each copy with shuffled sentences and a vector moved a little at
//! random (fixed seed): timing depends on counts and lengths, not on what is found. Everything runs in one process
//! after the other, so that the ratios are of the same minute on the same cores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use triage::embed::{Encoder, Prompt};
use triage::exchange::read_jsonl;
use triage::pipeline::{Options, Pipeline, Request, TICKET_TOKENS};
use triage::store::{Change, Changed, Derived};
use triage::taxonomy::Taxonomy;
use triage::ticket::{Ticket, Timing};
use triage::train::{Example, Fit};

const TICKETS: usize = 10_000;
const CALLS: usize = 200;
const DEPARTMENT: &str = "it";

fn main() {
    // `cargo nextest` and `cargo test --benches` ask for a list of tests; there is none.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("training-data/demo").join(DEPARTMENT);
    let encoder = Arc::new(
        Encoder::load(&root.join("models/e5-small-de-en"), triage::embed::Options::default())
            .expect("the default encoder loads"),
    );
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let pipeline = Pipeline::new(Arc::clone(&encoder), folder.path());
    let taxonomy = std::fs::read_to_string(demo.join("taxonomy.json")).expect("the demo taxonomy is there");
    let taxonomy: Taxonomy = serde_json::from_str(&taxonomy).expect("the demo taxonomy is right");
    pipeline.set_taxonomy(DEPARTMENT, taxonomy.clone()).expect("label names can be embedded");

    let resolved: Vec<Ticket> = read_jsonl(&demo.join("tickets.jsonl")).expect("the demo tickets are there").records;
    let waiting: Vec<Ticket> = read_jsonl(&demo.join("waiting.jsonl")).expect("the demo tickets are there").records;
    let raw: Vec<(&Ticket, &str)> = resolved.iter().map(|ticket| (ticket, "hash")).collect();
    let derived = pipeline.derive_tickets(&raw).expect("the demo tickets can be embedded");
    let mut random = Random(20_261_125);
    let examples: Vec<Example> = (0..TICKETS).map(|n| copy(&resolved, &derived, n, &mut random)).collect();

    let before = resident_bytes();
    let started = Instant::now();
    let changes = examples.iter().map(change).collect();
    pipeline.index(changes).expect("the copies can be indexed");
    println!("{TICKETS} tickets indexed in {:.2} s", started.elapsed().as_secs_f64());
    let memory = resident_bytes().saturating_sub(before);

    let references: Vec<&Example> = examples.iter().take(2_000).collect();
    let fit = Fit { encoder: &encoder, taxonomy: &taxonomy, fields: &[], former: None };
    let fitted = fit.run(&references, &|_| ()).expect("the heads can be fitted");
    pipeline.set_model(DEPARTMENT, Some((1, fitted.model))).expect("the heads fit the encoder");

    let options = Options::default();
    let mut whole_ms = Vec::new();
    let mut bare_ms = Vec::new();
    let mut stages: BTreeMap<&str, f64> = BTreeMap::new();
    for call in 0..CALLS + 20 {
        let ticket = &waiting[call % waiting.len()];
        let text = triage::text::canonical(ticket);
        let started = Instant::now();
        encoder.embed(&[&text.text], Prompt::Query, TICKET_TOKENS).expect("embedding works");
        let bare = ms(started);
        let started = Instant::now();
        let request = Request { department: DEPARTMENT, ticket, options: &options };
        let triage = pipeline.triage(&[request]).remove(0).expect("triage works");
        let whole = ms(started);
        // The first calls fill caches.
        if call < 20 {
            continue;
        }
        whole_ms.push(whole);
        bare_ms.push(bare);
        let Timing { text, embed, retrieve, classify, suggest, .. } = triage.timing_ms;
        for (stage, ms) in
            [("text", text), ("embed", embed), ("retrieve", retrieve), ("classify", classify), ("suggest", suggest)]
        {
            *stages.entry(stage).or_default() += f64::from(ms);
        }
    }
    let total: f64 = stages.values().sum();
    println!("one triage, ms: p50 {:.2}, p99 {:.2}", quantile(&mut whole_ms, 0.5), quantile(&mut whole_ms, 0.99));
    println!(
        "bare embedding of the same text, ms: p50 {:.2}, p99 {:.2}",
        quantile(&mut bare_ms, 0.5),
        quantile(&mut bare_ms, 0.99)
    );
    println!("ratio of the medians: {:.2}", quantile(&mut whole_ms, 0.5) / quantile(&mut bare_ms, 0.5));
    for (stage, ms) in &stages {
        println!("  {stage:9} {:5.1} % ({:.2} ms)", ms / total * 100.0, ms / CALLS as f64);
    }
    let counted: usize = pipeline.statistics().iter().map(|department| department.index_bytes).sum();
    println!("index memory per ticket: {} bytes counted, {} bytes resident", counted / TICKETS, memory / TICKETS);
}

/// The n-th copy of the demo tickets.
fn copy(resolved: &[Ticket], derived: &[Derived], n: usize, random: &mut Random) -> Example {
    let of = n % resolved.len();
    let mut ticket = resolved[of].clone();
    ticket.id = format!("copy-{n}");
    let mut row = derived[of].clone();
    let mut sentences: Vec<&str> = row.text.split_inclusive(['.', '\n']).collect();
    for last in (1..sentences.len()).rev() {
        sentences.swap(last, random.below(last + 1));
    }
    row.text = sentences.concat();
    for vector in row.rows.chunks_mut(row.dim) {
        vector.iter_mut().for_each(|value| *value += (random.below(1001) as f32 / 1000.0 - 0.5) * 0.02);
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|value| *value /= norm);
    }
    Example { ticket, derived: row, seq: n as u64 + 1 }
}

fn change(example: &Example) -> Change {
    Change {
        seq: example.seq,
        department: DEPARTMENT.to_owned(),
        id: example.ticket.id.clone(),
        object: Changed::Ticket {
            ticket: Box::new(example.ticket.clone()),
            text_hash: example.derived.text_hash.clone(),
            derived: Some(example.derived.clone()),
        },
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * q).round() as usize]
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<usize>().ok()).unwrap_or(0) * 1024
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}
