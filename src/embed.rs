//! Here are texts, give me unit vectors [n, dim].
//!
//! Reads a model folder in the sentence-transformers layout (BERT or XLM-RoBERTa body) and runs it on the CPU. The data
//! flow is the order of the files: text -> token ids ([`tokens`]) -> hidden states and one pooled row per text
//! ([`encoder`], on the arithmetic of [`kernel`]) -> unit rows in the order of the input. It is not for preparing
//! customer text (that is `text`), for comparing vectors, or for training.

mod encoder;
mod kernel;
mod model;
#[cfg(test)]
mod tiny;
mod tokens;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use self::encoder::{Bert, Workspace};
pub use self::kernel::Kernel;
pub use self::kernel::operand::Precision;
use self::model::{Model, Pooling, Prompts};
use self::tokens::Tokens;
use crate::error::{Error, Result};

/// A loaded model: texts in, unit vectors out. May be shared by any number of threads.
pub struct Encoder {
    folder: PathBuf,
    name: String,
    fingerprint: String,
    dim: usize,
    pooling: Pooling,
    prompts: Prompts,
    tokens: Tokens,
    bert: Bert,
    kernel: Kernel,
    precision: Precision,
    /// One thread per core, of its own: a training that fills the shared pool must not keep a ticket waiting. None
    /// where one thread is asked for, the caller's.
    pool: Option<ThreadPool>,
    /// Calls under way.
    calls: AtomicUsize,
    /// Buffers that no call uses at the moment.
    workspaces: Mutex<Vec<Workspace>>,
}

/// How an encoder computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Instructions to use; the fastest that the processor has, if none are named. The vectors are the same.
    pub kernel: Option<Kernel>,
    /// How weights and activations are rounded.
    pub precision: Precision,
    /// Threads to compute on, at least one.
    pub threads: usize,
}

impl Default for Options {
    /// The fastest kernel, eight bits, every core.
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options { kernel: None, precision: Precision::Int8, threads }
    }
}

/// What a text is to the model, which many models want to be told by a prefix from their own configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// A question, a ticket, or either side of a symmetric comparison: "query: " for the E5 models.
    Query,
    /// A document that is searched for: "passage: " for the E5 models.
    Passage,
    /// The text as it is.
    Plain,
}

/// Vectors [n, dim] in the order of the input, each of length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    dim: usize,
    values: Vec<f32>,
}

/// Tokens of one forward pass at most, unless a single text is longer. Measured with texts of 90 tokens: from 360 on
/// more are no faster, and few enough leave no core idle at the end of a call.
const MAX_BATCH_TOKENS: usize = 512;
/// Tokens per thread up to which a call is one batch whose rows are shared out, so that even one text uses all threads;
/// above it every thread takes batches of its own and need not wait for the others after every pass.
const SHARED_TOKENS: usize = 256;
/// Tokens per thread below which another thread costs more than it gains.
const MIN_SHARED_TOKENS: usize = 8;
/// Texts below which their tokens are made on the caller's thread.
const MIN_SHARED_TEXTS: usize = 16;

impl Encoder {
    /// Loads the model in `folder`: `config.json`, `tokenizer.json`, `model.gguf` or `model.safetensors`, and what else
    /// of the sentence-transformers layout is there.
    ///
    /// # Errors
    /// [`Error::Model`] with the file and the reason when something is missing, damaged, or of a kind that this
    /// encoder does not run, or when the processor lacks the instructions of the kernel that is asked for.
    pub fn load(folder: &Path, options: Options) -> Result<Encoder> {
        let kernel = options.kernel.unwrap_or_else(Kernel::detect);
        if !kernel.is_supported() {
            let known: Vec<&str> =
                Kernel::ALL.iter().filter(|kernel| kernel.is_supported()).map(|k| k.name()).collect();
            let reason = format!("this processor cannot run the kernel {}, only {}", kernel.name(), known.join(", "));
            return Err(Error::Model { path: folder.to_owned(), reason });
        }
        let pool = match options.threads {
            0 | 1 => None,
            threads => Some(
                ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .thread_name(|i| format!("embed-{i}"))
                    .build()
                    .map_err(|_| Error::Bug("the operating system gives no threads for the encoder"))?,
            ),
        };
        let precision = options.precision;
        let model = Model::read(folder, precision)?;
        let (tokens, bert) = rayon::join(|| Tokens::load(&model), || Bert::load(&model, kernel, precision));
        let dim = model.truncate_dim.unwrap_or(model.config.hidden_size);
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Encoder {
            name: name.unwrap_or_else(|| folder.display().to_string()),
            folder: folder.to_owned(),
            fingerprint: model.fingerprint,
            dim,
            pooling: model.pooling,
            prompts: model.prompts,
            tokens: tokens?,
            bert: bert?,
            kernel,
            precision,
            pool,
            calls: AtomicUsize::new(0),
            workspaces: Mutex::default(),
        })
    }

    /// The folder's name, such as "e5-small-de-en".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// "sha256:" and 12 hex digits over everything that changes vectors: weights, tokenizer, configuration, precision.
    /// The kernel is not part of it, because all give the same vectors.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Length of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The most tokens of one text that the model reads, special tokens included.
    pub fn max_tokens(&self) -> usize {
        self.tokens.max_tokens()
    }

    /// The instructions that compute.
    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// How weights and activations are rounded.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Threads that a call may use.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// Bytes that weights and tables take in memory, without the tokenizer.
    pub fn bytes(&self) -> usize {
        self.bert.bytes()
    }

    /// Embeds `texts`; a text longer than `max_tokens` (special tokens included, at most [`Encoder::max_tokens`]) is
    /// cut at its end. Rows come in the order of `texts` and do not depend, to the last bit, on what else is in the call,
    /// on the number of threads or on the kernel.
    ///
    /// # Errors
    /// [`Error::Model`] when a text yields no finite vector other than zero, naming its position in `texts`.
    pub fn embed(&self, texts: &[&str], prompt: Prompt, max_tokens: usize) -> Result<Embeddings> {
        let encode = |text: &&str| self.tokens.encode(self.prompts.of(prompt), text, max_tokens);
        let ids: Result<Vec<Vec<u32>>, String> = match &self.pool {
            Some(pool) if texts.len() > MIN_SHARED_TEXTS => {
                pool.install(|| texts.par_iter().with_min_len(MIN_SHARED_TEXTS).map(encode).collect())
            }
            _ => texts.iter().map(encode).collect(),
        };
        let ids = ids.map_err(|reason| self.error(reason))?;

        let call = Call::begin(&self.calls);
        let tokens: usize = ids.iter().map(Vec::len).sum();
        let batches = batches(&ids, self.threads());
        let rows: Vec<Vec<f32>> = match &self.pool {
            Some(pool) if batches.len() > 1 => {
                pool.install(|| batches.par_iter().map(|batch| self.forward(&ids, batch, 1)).collect())
            }
            // Among other calls, sharing out one text would only cost: all cores have something to do.
            Some(pool) if call.is_alone && tokens >= 2 * MIN_SHARED_TOKENS => {
                let threads = self.threads().min(tokens / MIN_SHARED_TOKENS);
                pool.install(|| batches.iter().map(|batch| self.forward(&ids, batch, threads)).collect())
            }
            _ => batches.iter().map(|batch| self.forward(&ids, batch, 1)).collect(),
        };
        drop(call);

        let mut values = vec![0.0; texts.len() * self.dim];
        let hidden = self.bert.hidden();
        for (&text, row) in batches.iter().flatten().zip(rows.iter().flat_map(|rows| rows.chunks_exact(hidden))) {
            let target = &mut values[text * self.dim..][..self.dim];
            target.copy_from_slice(&row[..self.dim]);
            if !scale_to_unit(target) {
                return Err(
                    self.error(format!("text {text} of the batch has no direction: its vector is zero or not finite"))
                );
            }
        }
        Ok(Embeddings { dim: self.dim, values })
    }

    /// Pooled rows of the texts of a batch, whose token rows are shared out to `threads` threads.
    fn forward(&self, ids: &[Vec<u32>], batch: &[usize], threads: usize) -> Vec<f32> {
        let free = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = free().pop().unwrap_or_default();
        let ids: Vec<&[u32]> = batch.iter().map(|&text| ids[text].as_slice()).collect();
        let mut pooled = vec![0.0; batch.len() * self.bert.hidden()];
        self.bert.forward(&ids, self.pooling, threads, &mut workspace, &mut pooled);
        free().push(workspace);
        pooled
    }

    /// The token ids that [`Encoder::embed`] feeds to the model for `text`, special tokens included. Empty when the
    /// tokenizer refuses the text.
    pub fn token_ids(&self, text: &str, prompt: Prompt, max_tokens: usize) -> Vec<u32> {
        self.tokens.encode(self.prompts.of(prompt), text, max_tokens).unwrap_or_default()
    }

    fn error(&self, reason: String) -> Error {
        Error::Model { path: self.folder.clone(), reason }
    }
}

/// A call that computes, counted as long as it does.
struct Call<'a> {
    calls: &'a AtomicUsize,
    /// Whether no other was under way when it began.
    is_alone: bool,
}

impl Call<'_> {
    fn begin(calls: &AtomicUsize) -> Call<'_> {
        Call { calls, is_alone: calls.fetch_add(1, Ordering::Relaxed) == 0 }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Embeddings {
    /// Length of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row `i`, of length 1.
    ///
    /// # Panics
    /// When there are not that many rows.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.dim..][..self.dim]
    }

    /// The rows, in the order of the input.
    pub fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.values.chunks_exact(self.dim)
    }

    /// All rows one after another, [n, dim].
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }
}

/// Groups the texts, longest first, into batches of about as many tokens, at most [`MAX_BATCH_TOKENS`] but for a longer
/// text: one batch where all of it is to be shared out ([`SHARED_TOKENS`]), else as many for every thread.
fn batches(ids: &[Vec<u32>], threads: usize) -> Vec<Vec<usize>> {
    let total: usize = ids.iter().map(Vec::len).sum();
    let budget = match total.div_ceil(threads) {
        per_thread if per_thread <= SHARED_TOKENS => MAX_BATCH_TOKENS.max(total),
        _ => total.div_ceil(total.div_ceil(MAX_BATCH_TOKENS).next_multiple_of(threads)),
    };
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&text| std::cmp::Reverse(ids[text].len()));

    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = budget;
    for text in order {
        match batches.last_mut() {
            Some(batch) if tokens + ids[text].len() <= budget => batch.push(text),
            _ => {
                batches.push(vec![text]);
                tokens = 0;
            }
        }
        tokens += ids[text].len();
    }
    batches
}

/// Scales `row` to length 1; false when it has no direction.
fn scale_to_unit(row: &mut [f32]) -> bool {
    let norm = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm < 1e-12 {
        return false;
    }
    for value in row {
        *value = (f64::from(*value) / norm) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use candle_core::{DType, Device, Tensor};
    use candle_nn::VarBuilder;
    use candle_transformers::models::bert::BertModel;
    use serde_json::{Value, json};

    use super::tiny::TinyModel;
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/e5-small-de-en");
    static ENCODER: LazyLock<Encoder> = LazyLock::new(|| Encoder::load(Path::new(FOLDER), Options::default()).unwrap());

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn is_unit(row: &[f32]) -> bool {
        (cosine(row, row) - 1.0).abs() < 1e-5
    }

    /// (prefixed text, first token ids, number of them, vector) as the model's own reference computed them.
    fn reference() -> Vec<(String, Vec<u32>, usize, Vec<f32>)> {
        let json = std::fs::read(Path::new(FOLDER).join("reference.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let items = json["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                let text = item["input"].as_str().unwrap().to_owned();
                let ids = serde_json::from_value(item["ids"].clone()).unwrap();
                let n = serde_json::from_value(item["count"].clone()).unwrap();
                (text, ids, n, serde_json::from_value(item["vector"].clone()).unwrap())
            })
            .collect()
    }

    fn tiny(model: &TinyModel) -> Result<Encoder> {
        let folder = tempfile::tempdir().unwrap();
        model.write(folder.path());
        Encoder::load(folder.path(), Options { precision: Precision::Exact, ..Options::default() })
    }

    #[test]
    fn ids_and_vectors_equal_the_reference_alone_and_in_one_batch() {
        let reference = reference();
        assert_eq!(reference.len(), 24);
        let texts: Vec<&str> = reference.iter().map(|(text, ..)| text.as_str()).collect();
        let exact = Options { precision: Precision::Exact, ..Options::default() };
        let exact = Encoder::load(Path::new(FOLDER), exact).unwrap();
        assert_ne!(exact.fingerprint(), ENCODER.fingerprint());
        for (encoder, least) in [(&*ENCODER, 0.999), (&exact, 0.99999)] {
            let together = encoder.embed(&texts, Prompt::Plain, 512).unwrap();
            assert_eq!((together.len(), together.dim()), (24, 384));
            for ((text, ids, n, vector), row) in reference.iter().zip(together.rows()) {
                let received = encoder.token_ids(text, Prompt::Plain, 512);
                assert_eq!((received.len(), &received[..ids.len()]), (*n, &ids[..]), "{text:.40}");
                assert!(cosine(row, vector) >= least, "{text:.40}: {}", cosine(row, vector));
                assert!(is_unit(row), "{text:.40}");
                let alone = encoder.embed(&[text], Prompt::Plain, 512).unwrap();
                assert_eq!(alone.row(0), row, "{text:.40}");
            }
        }
    }

    #[test]
    fn kernels_and_threads_change_no_bit_of_a_vector() {
        let texts = [
            "VPN geht nicht",
            "",
            "the printer is on fire, and so is the one beside it: what shall we do? ".repeat(8).leak(),
        ];
        for precision in [Precision::Int8, Precision::Exact] {
            let mut first: Option<Embeddings> = None;
            for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported()) {
                for threads in [1, 3] {
                    let options = Options { kernel: Some(kernel), precision, threads };
                    let encoder = Encoder::load(Path::new(FOLDER), options).unwrap();
                    assert_eq!(
                        (encoder.kernel(), encoder.precision(), encoder.threads()),
                        (kernel, precision, threads)
                    );
                    let rows = encoder.embed(&texts, Prompt::Query, 40).unwrap();
                    assert_eq!(first.get_or_insert_with(|| rows.clone()), &rows, "{options:?}");
                    for (i, text) in texts.iter().enumerate() {
                        assert_eq!(
                            encoder.embed(&[text], Prompt::Query, 40).unwrap().row(0),
                            rows.row(i),
                            "{options:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_text_alone_and_in_any_batch_has_the_same_vector() {
        let texts = ["VPN geht nicht", "", "the printer is on fire", "Passwort zurücksetzen bitte", "a b c d e f g"];
        let alone: Vec<Embeddings> =
            texts.iter().map(|text| ENCODER.embed(&[text], Prompt::Query, 512).unwrap()).collect();
        for order in [vec![4, 3, 2, 1, 0], vec![1, 1, 3], vec![2, 0, 4, 2, 0, 4, 1, 3, 2, 2, 2, 0, 0, 4, 4]] {
            let picked: Vec<&str> = order.iter().map(|&i: &usize| texts[i]).collect();
            let rows = ENCODER.embed(&picked, Prompt::Query, 512).unwrap();
            for (&i, row) in order.iter().zip(rows.rows()) {
                assert_eq!(alone[i].row(0), row, "{:?}", texts[i]);
            }
        }
    }

    #[test]
    fn prompts_of_the_model_stand_before_the_text() {
        for (prompt, prefix) in [(Prompt::Query, "query: "), (Prompt::Passage, "passage: "), (Prompt::Plain, "")] {
            let prefixed = ENCODER.token_ids(&format!("{prefix}Drucker"), Prompt::Plain, 512);
            assert_eq!(ENCODER.token_ids("Drucker", prompt, 512), prefixed, "{prompt:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_keeps_its_end_token() {
        let text = "Der Drucker druckt nicht. ".repeat(100);
        let whole = ENCODER.token_ids(&text, Prompt::Query, 512);
        for max_tokens in [0, 1, 3, 4, 16, 511, 512, 513, usize::MAX] {
            let ids = ENCODER.token_ids(&text, Prompt::Query, max_tokens);
            assert_eq!(ids.len(), max_tokens.clamp(3, 512));
            assert_eq!((&ids[..ids.len() - 1], ids.last()), (&whole[..ids.len() - 1], Some(&2)));
        }
    }

    #[test]
    fn hostile_texts_give_unit_rows_in_order_and_without_delay() {
        let texts = [
            String::new(),
            "\0".to_owned(),
            "a\0b\u{1}\u{7f}\u{85}".to_owned(),
            "\u{feff}\u{200b}\u{200d}\u{2028}\u{202e}\u{e0001}\u{10ffff}\u{fffd}".to_owned(),
            "👩‍👩‍👧‍👦🏳️‍🌈❤️".repeat(50),
            "¯\u{8f}ব".to_owned(),
            "e\u{301}".repeat(2_000),
            "e".to_owned() + &"\u{301}".repeat(20_000),
            "</s><s><pad><mask><unk> [CLS] [SEP]".to_owned(),
            " \t\r\n\u{a0}\u{3000}".repeat(1_000),
            "a".repeat(1_000_000),
            "ß".repeat(1_000_000),
            "\u{fdfa}".repeat(100_000),
        ];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let start = std::time::Instant::now();
        for text in &texts {
            assert!(ENCODER.token_ids(text, Prompt::Query, 512).len() <= 512);
        }
        assert!(start.elapsed().as_secs() < 5, "the tokenizer read all of a huge text");
        let rows = ENCODER.embed(&texts, Prompt::Query, 32).unwrap();
        assert_eq!(rows.len(), texts.len());
        assert!(rows.rows().all(is_unit));
    }

    #[test]
    fn nothing_gives_nothing() {
        let none = ENCODER.embed(&[], Prompt::Query, 512).unwrap();
        assert!(none.is_empty());
        assert_eq!((none.len(), none.dim(), none.rows().len()), (0, 384, 0));
    }

    #[test]
    fn threads_share_one_encoder() {
        let texts = ["Netzwerk", "network", "Netzlaufwerk fehlt seit dem Update"];
        let expected = ENCODER.embed(&texts, Prompt::Query, 64).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let rows = ENCODER.embed(&texts, Prompt::Query, 64).unwrap();
                    assert_eq!(rows, expected);
                });
            }
        });
    }

    #[test]
    fn batches_hold_every_text_once_within_their_budget() {
        let ids: Vec<Vec<u32>> = [3, 600, 40, 512, 0, 7, 100, 100, 90, 3].iter().map(|&n| vec![0; n]).collect();
        for threads in [1, 2, 64] {
            let batches = batches(&ids, threads);
            let mut texts: Vec<usize> = batches.iter().flatten().copied().collect();
            texts.sort_unstable();
            assert_eq!(texts, (0..ids.len()).collect::<Vec<_>>());
            for batch in &batches {
                let tokens: usize = batch.iter().map(|&text| ids[text].len()).sum();
                assert!(tokens <= MAX_BATCH_TOKENS.max(threads * SHARED_TOKENS) || batch.len() == 1);
            }
        }
        assert!(super::batches(&[], 2).is_empty());
    }

    #[test]
    fn tiny_models_of_both_kinds_give_unit_rows_that_depend_on_the_words() {
        let texts = ["the printer is on fire", "der drucker brennt", "", "unheard of"];
        for model in [TinyModel::bert(), TinyModel::xlm_roberta()] {
            let encoder = tiny(&model).unwrap();
            assert_eq!((encoder.dim(), encoder.max_tokens()), (8, 10));
            // No padding to 9 and no cut to 4, although the tokenizer's file asks for both.
            assert_eq!(encoder.token_ids(texts[0], Prompt::Query, 64), [0, 4, 5, 6, 7, 8, 2]);
            let rows = encoder.embed(&texts, Prompt::Query, 64).unwrap();
            assert!(rows.rows().all(is_unit));
            assert!(largest_difference(rows.row(0), rows.row(1)) > 0.01);
        }
    }

    /// Mean of the hidden states by candle's BERT, of length 1.
    fn oracle(model: &TinyModel, ids: &[u32]) -> Vec<f32> {
        let weights = VarBuilder::from_tensors(model.tensors.clone(), DType::F32, &Device::Cpu);
        let mut config = model.files["config.json"].clone();
        (config["hidden_dropout_prob"], config["initializer_range"]) = (json!(0.0), json!(0.02));
        let config = serde_json::from_value(config).unwrap();
        let ids = Tensor::new(ids, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let states =
            BertModel::load(weights, &config).unwrap().forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
        let mut row = states.mean(1).unwrap().squeeze(0).unwrap().to_vec1().unwrap();
        assert!(scale_to_unit(&mut row));
        row
    }

    #[test]
    fn models_of_any_width_head_count_and_depth_agree_with_candle() {
        for (hidden, heads, inner, layers) in [
            (384, 12, 1536, 2),
            (384, 6, 1536, 1),
            (512, 8, 2048, 1),
            (768, 12, 3072, 1),
            (20, 4, 33, 3),
            (33, 3, 400, 2),
        ] {
            // Gains are as random as the rest, so they must not be small, or the hidden states say nothing.
            let mut model = TinyModel::sized(hidden, heads, inner, layers, (3.0 / hidden as f32).sqrt());
            for (name, tensor) in &mut model.tensors {
                if name.ends_with("LayerNorm.weight") {
                    *tensor = (tensor.ones_like().unwrap() + &*tensor).unwrap();
                }
            }
            let folder = tempfile::tempdir().unwrap();
            model.write(folder.path());
            for (precision, least) in [(Precision::Exact, 0.99999), (Precision::Int8, 0.999)] {
                let encoder = Encoder::load(folder.path(), Options { precision, ..Options::default() }).unwrap();
                for text in ["fire", "the printer is on fire", "der drucker brennt der drucker brennt der drucker"] {
                    let expected = oracle(&model, &encoder.token_ids(text, Prompt::Plain, 64));
                    let received = encoder.embed(&[text], Prompt::Plain, 64).unwrap();
                    let cosine = cosine(received.row(0), &expected);
                    assert!(cosine >= least, "{hidden} {heads} {inner} {layers} {precision:?}: {cosine}");
                }
            }
        }
    }

    #[test]
    fn xlm_roberta_counts_positions_from_behind_the_padding_id() {
        // Its table is BERT's behind two rows that no text may reach.
        let (bert, roberta) = (tiny(&TinyModel::bert()).unwrap(), tiny(&TinyModel::xlm_roberta()).unwrap());
        let texts = ["the printer is on fire", "der drucker brennt", "fire fire fire fire fire fire fire fire fire"];
        let (bert, roberta) =
            (bert.embed(&texts, Prompt::Plain, 64).unwrap(), roberta.embed(&texts, Prompt::Plain, 64).unwrap());
        assert!(largest_difference(bert.as_slice(), roberta.as_slice()) < 1e-6);
    }

    #[test]
    fn weights_load_by_any_prefix_and_type() {
        let text = ["der drucker brennt"];
        let expected = tiny(&TinyModel::bert()).unwrap().embed(&text, Prompt::Plain, 64).unwrap();
        for (prefix, dtype) in [("bert.", DType::F32), ("roberta.", DType::F16), ("0.auto_model.", DType::BF16)] {
            let mut model = TinyModel::bert();
            (model.prefix, model.dtype) = (prefix, dtype);
            let received = tiny(&model).unwrap().embed(&text, Prompt::Plain, 64).unwrap();
            assert!(cosine(received.row(0), expected.row(0)) > 0.999, "{prefix}");
        }
    }

    #[test]
    fn every_activation_and_pooling_matters() {
        let text = ["the printer is on fire"];
        let row = |change: &dyn Fn(&mut TinyModel)| {
            let mut model = TinyModel::bert();
            change(&mut model);
            tiny(&model).unwrap().embed(&text, Prompt::Plain, 64).unwrap().row(0).to_vec()
        };
        let plain = row(&|_| {});
        let with =
            |file: &'static str, key: &'static str, value: &str| row(&|model| model.set(file, key, json!(value)));
        assert!(largest_difference(&plain, &with("config.json", "hidden_act", "relu")) > 1e-3);
        let tanh = largest_difference(&plain, &with("config.json", "hidden_act", "gelu_new"));
        assert!(tanh > 1e-6 && tanh < 1e-2, "{tanh}");
        assert!(largest_difference(&plain, &with("1_Pooling/config.json", "pooling_mode", "cls")) > 1e-3);
        assert!(largest_difference(&plain, &with("1_Pooling/config.json", "pooling_mode", "max")) > 1e-3);
        assert!(
            largest_difference(&plain, &with("1_Pooling/config.json", "pooling_mode", "mean_sqrt_len_tokens")) < 1e-6
        );
    }

    #[test]
    fn lower_case_and_cut_vectors_follow_the_configuration() {
        let mut model = TinyModel::bert();
        assert_eq!(tiny(&model).unwrap().token_ids("DER Drucker", Prompt::Plain, 64), [0, 3, 3, 2]);
        let whole = tiny(&model).unwrap().embed(&["der"], Prompt::Plain, 64).unwrap();
        model.set("sentence_bert_config.json", "do_lower_case", json!(true));
        model.set("config_sentence_transformers.json", "truncate_dim", json!(5));
        let encoder = tiny(&model).unwrap();
        assert_eq!(encoder.token_ids("DER Drucker", Prompt::Plain, 64), [0, 9, 10, 2]);
        let cut = encoder.embed(&["der"], Prompt::Plain, 64).unwrap();
        assert_eq!((encoder.dim(), cut.dim()), (5, 5));
        assert!(is_unit(cut.row(0)));
        assert!((cut.row(0)[1] / cut.row(0)[0] - whole.row(0)[1] / whole.row(0)[0]).abs() < 1e-4);
    }

    #[test]
    fn a_vector_without_direction_is_an_error_that_names_the_position() {
        // A gain and a bias of zero in the last normalisation make every hidden state zero.
        let mut model = TinyModel::bert();
        let zeros = Tensor::zeros(8, DType::F32, &Device::Cpu).unwrap();
        for kind in ["weight", "bias"] {
            model.tensors.insert(format!("encoder.layer.1.output.LayerNorm.{kind}"), zeros.clone());
        }
        let error = tiny(&model).unwrap().embed(&["secret", "secret"], Prompt::Plain, 64).unwrap_err().to_string();
        assert!(error.contains("text 0 of the batch") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn weights_that_overflow_are_an_error_and_not_a_vector() {
        let mut model = TinyModel::bert();
        let huge = Tensor::full(f32::MAX, 8, &Device::Cpu).unwrap();
        model.tensors.insert("encoder.layer.1.output.LayerNorm.weight".to_owned(), huge);
        let encoder = tiny(&model).unwrap();
        assert!(matches!(encoder.embed(&["der drucker"], Prompt::Plain, 64), Err(Error::Model { .. })));
    }

    #[test]
    fn the_fingerprint_changes_with_everything_that_changes_vectors() {
        let fingerprint = |change: &dyn Fn(&mut TinyModel)| {
            let mut model = TinyModel::bert();
            change(&mut model);
            tiny(&model).unwrap().fingerprint().to_owned()
        };
        let plain = fingerprint(&|_| {});
        assert_eq!((plain.len(), plain.starts_with("sha256:")), (19, true));
        assert_eq!(plain, fingerprint(&|_| {}));
        assert_eq!(plain, fingerprint(&|model| model.set("README.md", "a", json!(1))));
        type Change<'a> = (&'a str, &'a dyn Fn(&mut TinyModel));
        let changes: [Change<'_>; 4] = [
            ("weights", &|model| model.dtype = DType::BF16),
            ("pooling", &|model| model.set("1_Pooling/config.json", "pooling_mode", json!("cls"))),
            ("prompts", &|model| model.set("config_sentence_transformers.json", "prompts", json!({"query": "q: "}))),
            ("length", &|model| model.set("sentence_bert_config.json", "max_seq_length", json!(9))),
        ];
        for (what, change) in changes {
            assert_ne!(plain, fingerprint(change), "{what}");
        }
    }

    #[test]
    fn a_damaged_folder_is_refused_with_file_and_reason() {
        let mut no_json = TinyModel::bert();
        no_json.files.insert("config.json".to_owned(), json!("{\"model_type\": "));
        let mut no_tokenizer = TinyModel::bert();
        no_tokenizer.files.insert("tokenizer.json".to_owned(), json!("{}"));
        let mut missing = TinyModel::bert();
        missing.files.remove("tokenizer.json");
        let mut small = TinyModel::bert();
        small.tensors.remove("encoder.layer.1.output.dense.bias");
        let mut wide = TinyModel::bert();
        wide.set("config.json", "hidden_size", json!(16));
        let mut words = TinyModel::bert();
        words.set("config.json", "vocab_size", json!(11));
        let cases = [
            (no_json, "config.json", "EOF"),
            (no_tokenizer, "tokenizer.json", "is no tokenizer"),
            (missing, "", "tokenizer.json is missing"),
            (small, "model.safetensors", "has no tensor encoder.layer.1.output.dense.bias"),
            (wide, "model.safetensors", "has shape [16, 8]"),
            (words, "tokenizer.json", "has 12 tokens, but the model only 11"),
        ];
        for (model, file, reason) in cases {
            match tiny(&model).err() {
                Some(Error::Model { path, reason: received }) => {
                    assert!(path.ends_with(file) && received.contains(reason), "{path:?}: {received}");
                }
                other => panic!("expected {reason:?}, received {other:?}"),
            }
        }
        assert!(matches!(Encoder::load(Path::new("/no/such/folder"), Options::default()), Err(Error::Model { .. })));
    }
}
