//! Refit and prediction of one field by number of tickets: seconds, the slope between sizes, and the time of one prediction.
//!
//!     cargo bench --bench heads -- [FILE.jsonl] [SIZE]...
//!
//! The tickets of the file (those of the demo's IT department, if none is named) are drawn with replacement, and every
//! copy loses one word in eight at random (fixed seed), so that no two are twins and each has a vector of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use triage::classify::{Features, Random, Standardiser, TrainingSet, fit};
use triage::embed::{Encoder, Options, Prompt};
use triage::exchange::read_jsonl;
use triage::pipeline::TICKET_TOKENS;
use triage::text;
use triage::ticket::Ticket;

const SIZES: [usize; 4] = [1_000, 10_000, 50_000, 200_000];
const FIELD: &str = "category";
/// One word in so many is left out of a copy.
const DROPPED: usize = 8;
const PREDICTIONS: usize = 2_000;

fn main() {
    // `cargo nextest` and `cargo test --benches` ask for a list of tests; there is none.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = SIZES.to_vec();
    }
    let file = arguments.iter().find(|argument| argument.parse::<usize>().is_err());
    let file = file.map_or_else(|| root.join("training-data/demo/it/tickets.jsonl"), PathBuf::from);
    let mut tickets: Vec<Ticket> = read_jsonl(&file).expect("the tickets can be read").records;
    tickets.retain(|ticket| ticket.labels.contains_key(FIELD));
    let encoder = Encoder::load(&root.join("models/e5-small-de-en"), Options::default()).expect("the encoder loads");

    let label_ids: Vec<String> =
        tickets.iter().map(|ticket| ticket.labels[FIELD].clone()).collect::<BTreeSet<_>>().into_iter().collect();
    let names: Vec<String> = label_ids.iter().map(|label| label.replace(['_', '-'], " ")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let name_vectors = embed(&encoder, &names);
    println!("{} labels, {} tickets in {}", label_ids.len(), tickets.len(), file.display());

    let originals: Vec<String> = tickets.iter().map(|ticket| text::canonical(ticket).text).collect();
    let mut former: Option<(usize, f64)> = None;
    for n in sizes {
        let mut random = Random::new(20_261_125);
        let drawn: Vec<usize> = (0..n).map(|_| random.below(tickets.len())).collect();
        let texts: Vec<String> = drawn.iter().map(|&row| without_some_words(&originals[row], &mut random)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let labels: Vec<u32> = drawn
            .iter()
            .map(|&row| {
                label_ids.iter().position(|id| *id == tickets[row].labels[FIELD]).expect("it is a label") as u32
            })
            .collect();
        let vectors = embed(&encoder, &texts);
        let dim = encoder.dim();
        let ids: Vec<String> = (0..n).map(|row| row.to_string()).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();

        let started = Instant::now();
        let standardiser = Standardiser::fit(&vectors, dim);
        let set = TrainingSet {
            tickets: &ids,
            texts: &texts,
            vectors: &vectors,
            dim,
            labels: &labels,
            label_ids: &label_ids,
            name_vectors: &name_vectors,
            ordinal: false,
            seed: 7,
        };
        let model = fit(&set, &standardiser, &|_| ()).expect("the field can be fitted");
        let seconds = started.elapsed().as_secs_f64();
        let slope = former.map_or_else(String::new, |(rows, before)| {
            format!(", grows with n^{:.2}", (seconds / before).ln() / (n as f64 / rows as f64).ln())
        });
        former = Some((n, seconds));

        let started = Instant::now();
        for (text, vector) in texts.iter().zip(vectors.chunks_exact(dim)).cycle().take(PREDICTIONS) {
            let neighbours = [(0, 0.5); 20];
            std::hint::black_box(model.predict(&standardiser, &Features { text, vector, neighbours: &neighbours }));
        }
        let prediction_ms = started.elapsed().as_secs_f64() * 1e3 / PREDICTIONS as f64;
        let held_out = model.out_of_fold();
        let right = held_out.iter().filter(|row| row.is_right()).count() as f64 / held_out.len().max(1) as f64;
        println!(
            "{n:>7} tickets: fitted in {seconds:6.2} s{slope}; one prediction {prediction_ms:.3} ms; {right:.3} right of {} \
             held out",
            held_out.len()
        );
    }
}

fn embed(encoder: &Encoder, texts: &[&str]) -> Vec<f32> {
    let rows = encoder.embed(texts, Prompt::Query, TICKET_TOKENS).expect("texts can be embedded");
    rows.rows().flatten().copied().collect()
}

fn without_some_words(text: &str, random: &mut Random) -> String {
    let words: Vec<&str> = text.split_whitespace().filter(|_| random.below(DROPPED) > 0).collect();
    words.join(" ")
}
