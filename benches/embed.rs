//! The encoder: how near its vectors are to those of 32-bit arithmetic, how its speed grows with batch and length, what
//! one text costs on an idle and on a busy machine, and how far all that is from what the processor can do.
//!
//!     cargo bench --bench embed [-- accuracy|growth|latency|floor]
//!
//! The oracle of the vectors is candle's `BertModel` on the same weights. Texts are the demo tickets and articles, read
//! as the service reads them. Speed is the best of several rounds, latency the median.

#![allow(unsafe_code, reason = "the peak of the processor is measured with its own instructions")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::BertModel;
use triage::embed::{Encoder, Kernel, Options, Precision, Prompt};
use triage::exchange::read_jsonl;
use triage::telemetry::cpu_seconds;
use triage::ticket::{Article, Ticket};

const DEPARTMENTS: [&str; 4] = ["it", "hr", "facilities", "finance"];
const ROUNDS: usize = 5;
const CALLS: usize = 60;
const LENGTHS: [usize; 4] = [16, 90, 256, 512];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // Test runners ask for a list of tests; there is none.
    if arguments.iter().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let texts = texts();
    println!("{}, {} threads, kernel {}", processor(), Options::default().threads, Kernel::detect().name());
    if wanted("accuracy") {
        accuracy(&texts);
    }
    if wanted("growth") {
        growth(&texts);
    }
    if wanted("latency") {
        latency(&texts);
    }
    if wanted("floor") {
        floor(&texts);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    root().join("models/e5-small-de-en")
}

fn encoder(options: Options) -> Encoder {
    Encoder::load(&model(), options).expect("the default encoder loads")
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(": ")?.1.to_owned())).unwrap_or_default()
    };
    format!("{} family {} model {}", field("model name"), field("cpu family"), field("model\t"))
}

/// The demo tickets and articles of all departments, German and English.
fn texts() -> Vec<String> {
    let mut texts = Vec::new();
    for department in DEPARTMENTS {
        let folder = root().join("training-data/demo").join(department);
        let tickets = read_jsonl::<Ticket>(&folder.join("tickets.jsonl")).expect("the demo tickets are there").records;
        texts.extend(tickets.iter().map(|ticket| triage::text::canonical(ticket).text));
        let articles = read_jsonl::<Article>(&folder.join("articles.jsonl")).expect("the articles are there").records;
        texts.extend(articles.into_iter().map(|article| article.body));
    }
    texts
}

/// Cosine of every text's vector, cut to 3 to 512 tokens, to that of the oracle.
fn accuracy(texts: &[String]) {
    let encoders = [Precision::Int8, Precision::Exact]
        .map(|precision| (precision.name(), encoder(Options { precision, ..Options::default() })));
    let oracle = Oracle::load(&model());
    // Every text is followed by the next ones, so that all lengths occur.
    let n = texts.len();
    let long: Vec<String> =
        (0..n).map(|i| (i..i + 40).map(|j| texts[j % n].as_str()).collect::<Vec<_>>().join(" ")).collect();
    let length = |i: usize| 3 + i * 509 / (n - 1);
    let expected: Vec<Vec<f32>> =
        (0..n).map(|i| oracle.embed(&encoders[0].1.token_ids(&long[i], Prompt::Query, length(i)))).collect();
    println!("\n{n} texts of 3 to 512 tokens, cosine to 32-bit arithmetic:");
    for (name, encoder) in &encoders {
        let rows: Vec<Vec<f32>> = (0..n)
            .map(|i| encoder.embed(&[&long[i]], Prompt::Query, length(i)).expect("embedding works").row(0).to_vec())
            .collect();
        let mut cosines: Vec<f64> = rows.iter().zip(&expected).map(|(row, expected)| cosine(row, expected)).collect();
        cosines.sort_by(f64::total_cmp);
        let same = (0..n).filter(|&i| nearest(&rows, i) == nearest(&expected, i)).count();
        println!(
            "  {name:5}  mean {:.6}  1st percentile {:.6}  min {:.6}  nearest neighbour the same for {:.1} %",
            cosines.iter().sum::<f64>() / n as f64,
            cosines[n / 100],
            cosines[0],
            100.0 * same as f64 / n as f64
        );
        let together: Vec<&str> = long.iter().map(String::as_str).collect();
        let together = encoder.embed(&together, Prompt::Query, 64).expect("embedding works");
        let differs = long
            .iter()
            .zip(together.rows())
            .filter(|(text, row)| encoder.embed(&[text], Prompt::Query, 64).expect("embedding works").row(0) != *row);
        println!("         alone and in one batch: {} of {n} vectors differ in a bit", differs.count());
    }
}

/// Index of the row most like row `i`, itself left out.
fn nearest(rows: &[Vec<f32>], i: usize) -> usize {
    let others = (0..rows.len()).filter(|&j| j != i);
    others.max_by(|&a, &b| cosine(&rows[i], &rows[a]).total_cmp(&cosine(&rows[i], &rows[b]))).unwrap_or(i)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// candle's BERT in f32.
struct Oracle(BertModel);

impl Oracle {
    fn load(folder: &Path) -> Oracle {
        let config = std::fs::read_to_string(folder.join("config.json")).expect("the model has a configuration");
        let config = serde_json::from_str(&config).expect("candle reads the configuration");
        let mut file = std::fs::File::open(folder.join("model.gguf")).expect("the model has weights");
        let content = gguf_file::Content::read(&mut file).expect("the weights are GGUF");
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for name in content.tensor_infos.keys() {
            let tensor =
                content.tensor(&mut file, name, &Device::Cpu).and_then(|tensor| tensor.dequantize(&Device::Cpu));
            tensors.insert(transformers_name(name), tensor.expect("a tensor can be read"));
        }
        let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Oracle(BertModel::load(builder, &config).expect("candle knows the network"))
    }

    /// Mean of the hidden states, not scaled.
    fn embed(&self, ids: &[u32]) -> Vec<f32> {
        let run = || -> candle_core::Result<Vec<f32>> {
            let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
            self.0.forward(&ids, &ids.zeros_like()?, None)?.mean(1)?.squeeze(0)?.to_vec1()
        };
        run().expect("candle runs the network")
    }
}

/// transformers' name of a tensor that has llama.cpp's.
fn transformers_name(name: &str) -> String {
    const PARTS: [(&str, &str); 13] = [
        ("token_embd_norm", "embeddings.LayerNorm"),
        ("token_embd", "embeddings.word_embeddings"),
        ("position_embd", "embeddings.position_embeddings"),
        ("token_types", "embeddings.token_type_embeddings"),
        ("blk", "encoder.layer"),
        ("attn_output_norm", "attention.output.LayerNorm"),
        ("attn_output", "attention.output.dense"),
        ("attn_q", "attention.self.query"),
        ("attn_k", "attention.self.key"),
        ("attn_v", "attention.self.value"),
        ("ffn_up", "intermediate.dense"),
        ("ffn_down", "output.dense"),
        ("layer_output_norm", "output.LayerNorm"),
    ];
    let part = |part: &str| {
        PARTS.iter().find(|(short, _)| *short == part).map_or(part.to_owned(), |(_, long)| (*long).to_owned())
    };
    name.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Tokens per second against batch size and against length, on one thread and on all.
fn growth(texts: &[String]) {
    let one = encoder(Options { threads: 1, ..Options::default() });
    let all = encoder(Options::default());
    let exact = encoder(Options { threads: 1, precision: Precision::Exact, ..Options::default() });
    let avx2 = encoder(Options { threads: 1, kernel: Some(Kernel::Avx2), ..Options::default() });
    let long = texts.join(" ");
    let copies = |n: usize| vec![long.as_str(); n];

    println!("\ntokens/s, texts of 90 tokens, by texts of a call:");
    println!("| texts | one thread | all threads |");
    for n in [1, 2, 4, 8, 16, 32, 64, 128] {
        println!("| {n} | {:.0} | {:.0} |", speed(&one, &copies(n), 90).0, speed(&all, &copies(n), 90).0);
    }
    println!("\ntokens/s, calls of about 4,096 tokens, by length of a text:");
    println!("| tokens | one thread | all threads |");
    for length in [8, 16, 32, 64, 128, 256, 512] {
        let texts = copies(4096 / length);
        println!("| {length} | {:.0} | {:.0} |", speed(&one, &texts, length).0, speed(&all, &texts, length).0);
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    println!("\nall texts, cut at 256 tokens:");
    for (name, encoder) in [
        ("int8, one thread", &one),
        ("int8, all threads", &all),
        ("exact, one thread", &exact),
        ("int8, AVX2, one thread", &avx2),
    ] {
        let (wall, cpu) = speed(encoder, &texts, 256);
        println!("  {name:24} {wall:6.0} tokens/s, {cpu:6.0} tokens per CPU-second");
    }
    // One long text among short ones: what it costs is its own tokens.
    let short = copies(32);
    let (alone, _) = seconds(&one, &[(&short, 16)]);
    let (long_alone, _) = seconds(&one, &[(&copies(1), 512)]);
    let (mixed, _) = seconds(&one, &[(&short, 16), (&copies(1), 512)]);
    println!(
        "32 texts of 16 tokens {:.1} ms, one of 512 {:.1} ms, one after the other {:.1} ms",
        alone * 1e3,
        long_alone * 1e3,
        mixed * 1e3
    );
}

/// Tokens per second and per CPU-second of calls with `texts`, each cut at `max_tokens`.
fn speed(encoder: &Encoder, texts: &[&str], max_tokens: usize) -> (f64, f64) {
    let tokens: usize = texts.iter().map(|text| encoder.token_ids(text, Prompt::Query, max_tokens).len()).sum();
    let (wall, cpu) = seconds(encoder, &[(texts, max_tokens)]);
    (tokens as f64 / wall, tokens as f64 / cpu)
}

/// Seconds of wall and of CPU time that the calls take together, in the best of some rounds.
fn seconds(encoder: &Encoder, calls: &[(&[&str], usize)]) -> (f64, f64) {
    let mut best = (f64::MAX, f64::MAX);
    for _ in 0..=ROUNDS {
        let (started, cpu) = (Instant::now(), cpu_seconds().unwrap_or_default());
        let mut repeats = 0;
        // Long enough for the CPU time, which is told in hundredths.
        while repeats == 0 || started.elapsed() < Duration::from_millis(400) {
            for (texts, max_tokens) in calls {
                encoder.embed(texts, Prompt::Query, *max_tokens).expect("embedding works");
            }
            repeats += 1;
        }
        let repeats = f64::from(repeats);
        let wall = started.elapsed().as_secs_f64() / repeats;
        if wall < best.0 {
            best = (wall, (cpu_seconds().unwrap_or_default() - cpu) / repeats);
        }
    }
    best
}

/// One text on an idle machine, beside work on another core, and among other callers.
fn latency(texts: &[String]) {
    let long = texts.join(" ");
    let threads = Options::default().threads;
    let all = encoder(Options::default());
    let one = encoder(Options { threads: 1, ..Options::default() });
    println!("\none text, ms (p50 / p99):");
    println!(
        "| tokens | idle, all threads | idle, one thread | one core busy, all threads | one core busy, one thread |"
    );
    for tokens in LENGTHS {
        let idle = [&all, &one].map(|encoder| latency_ms(encoder, &long, tokens));
        let busy = while_busy(1, || [&all, &one].map(|encoder| latency_ms(encoder, &long, tokens)));
        let cells: Vec<String> = idle.iter().chain(&busy).map(|(p50, p99)| format!("{p50:.1} / {p99:.1}")).collect();
        println!("| {tokens} | {} |", cells.join(" | "));
    }
    println!("\n{threads} callers at a time, each with one text of 90 tokens, texts/s of all:");
    for (name, encoder) in [("each text on all threads", &all), ("each on its caller's", &one)] {
        println!("  {name:26} {:.0}", callers(encoder, &long, threads));
    }
}

fn latency_ms(encoder: &Encoder, text: &str, tokens: usize) -> (f64, f64) {
    let mut times: Vec<f64> = (0..CALLS)
        .map(|_| {
            let started = Instant::now();
            encoder.embed(&[text], Prompt::Query, tokens).expect("embedding works");
            started.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[CALLS / 2], times[CALLS * 99 / 100])
}

/// Runs while `n` other threads compute without a pause.
fn while_busy<T>(n: usize, run: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = run();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn callers(encoder: &Encoder, text: &str, n: usize) -> f64 {
    let (calls, started) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|| {
                while started.elapsed() < Duration::from_secs(3) {
                    encoder.embed(&[text], Prompt::Query, 90).expect("embedding works");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    calls.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// What the products of weights alone would take at the processor's peak, and what a token takes.
fn floor(texts: &[String]) {
    // 12 layers of width 384: queries, keys, values and output 4 * 384², feed-forward 2 * 384 * 1536.
    const PRODUCTS_PER_TOKEN: f64 = 12.0 * (4.0 * 384.0 * 384.0 + 2.0 * 384.0 * 1536.0);
    let one = encoder(Options { threads: 1, ..Options::default() });
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (_, per_cpu_second) = speed(&one, &texts, 256);
    println!(
        "\n{:.1} µs of CPU per token, {:.1} million products of weights each",
        1e6 / per_cpu_second,
        PRODUCTS_PER_TOKEN / 1e6
    );
    if let Some(peak) = peak() {
        println!(
            "the processor's peak is {:.0} thousand million 8-bit products/s: floor {:.1} µs per token, {:.0} % of what it takes",
            peak / 1e9,
            PRODUCTS_PER_TOKEN / peak * 1e6,
            100.0 * PRODUCTS_PER_TOKEN / peak * per_cpu_second
        );
    }
}

/// 8-bit products per second of one core that does nothing but VNNI; none where the processor has not got it.
fn peak() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if Kernel::Avx512Vnni.is_supported() {
        const STEPS: usize = 20_000_000;
        let best = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            // SAFETY: the processor has the instructions, as was asked above.
            std::hint::black_box(unsafe { vnni(STEPS) });
            started.elapsed().as_secs_f64()
        });
        // 16 registers of 64 products per step.
        return Some((STEPS * 16 * 64) as f64 / best.fold(f64::MAX, f64::min));
    }
    None
}

/// `steps` times 16 independent VNNI instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni(steps: usize) -> i32 {
    use std::arch::x86_64::*;
    let word = _mm512_set1_epi32(std::hint::black_box(0x0101_0101));
    let mut sums = [_mm512_setzero_si512(); 16];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, word, word);
        }
        // SAFETY: it holds no instruction; it keeps the compiler from doing many steps at once.
        unsafe { std::arch::asm!("", options(nomem, nostack)) };
    }
    sums.iter().fold(0, |total, &sum| total ^ _mm512_reduce_add_epi32(sum))
}
