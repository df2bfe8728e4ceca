//! Embedding: tokens per second and per CPU-second in batches, and latency of one text at three lengths.
//!
//!     cargo bench --bench embed
//!
//! The texts are the demo tickets, read as the service reads them.

use std::path::Path;
use std::time::Instant;

use triage::embed::{Encoder, Prompt};
use triage::exchange::read_jsonl;
use triage::pipeline::TICKET_TOKENS;
use triage::ticket::Ticket;

const DEPARTMENTS: [&str; 4] = ["it", "hr", "facilities", "finance"];
const BATCH: usize = 64;
const ROUNDS: usize = 3;
const CALLS: usize = 60;

fn main() {
    // Test runners ask for a list of tests; there is none.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let started = Instant::now();
    let encoder = Encoder::load(&root.join("models/e5-small-de-en")).expect("the default encoder loads");
    println!("{} loaded in {:.0} ms", encoder.fingerprint(), started.elapsed().as_secs_f64() * 1000.0);

    let mut texts: Vec<String> = Vec::new();
    for department in DEPARTMENTS {
        let path = root.join("training-data/demo").join(department).join("tickets.jsonl");
        let tickets: Vec<Ticket> = read_jsonl(&path).expect("the demo tickets are there").records;
        texts.extend(tickets.iter().map(|ticket| triage::text::canonical(ticket).text));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens: usize = texts.iter().map(|text| encoder.token_ids(text, Prompt::Query, TICKET_TOKENS).len()).sum();
    println!("{} texts, {:.0} tokens each on average", texts.len(), tokens as f64 / texts.len() as f64);

    let mut best: Option<(f64, f64)> = None;
    for _ in 0..ROUNDS {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        for batch in texts.chunks(BATCH) {
            encoder.embed(batch, Prompt::Query, TICKET_TOKENS).expect("embedding works");
        }
        let round = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        best = Some(best.map_or(round, |best| if round.0 < best.0 { round } else { best }));
    }
    let (wall, cpu) = best.expect("there is at least one round");
    println!(
        "batches of {BATCH}: {:.0} tokens/s, {:.0} tokens per CPU-second",
        tokens as f64 / wall,
        tokens as f64 / cpu
    );

    let long = texts.join(" ");
    for wanted in [16, 90, 256] {
        let mut times: Vec<f64> = (0..CALLS)
            .map(|_| {
                let started = Instant::now();
                encoder.embed(&[&long], Prompt::Query, wanted).expect("embedding works");
                started.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        println!("one text of {wanted} tokens: p50 {:.1} ms, p99 {:.1} ms", times[CALLS / 2], times[CALLS * 99 / 100]);
    }
}

/// CPU time of this process so far, in seconds; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    // utime and stime are fields 14 and 15 (proc(5)), in ticks of which Linux has 100 a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}
