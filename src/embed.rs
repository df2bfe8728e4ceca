//! Here are texts, give me unit vectors [n, dim].
//!
//! Reads a model folder in the sentence-transformers layout (BERT or XLM-RoBERTa body) and runs it on the CPU. The data
//! flow is the order of the files: text -> token ids ([`tokens`]) -> hidden states and one pooled row per text
//! ([`encoder`]) -> unit rows in the order of the input. It is not for preparing customer text (that is `text`), for
//! comparing vectors, or for training.

mod encoder;
mod model;
mod tokens;
mod weights;

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::encoder::Bert;
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

/// Tokens of one forward pass when there is more than one thread to feed: below it a product is too small to be fast.
const MIN_BATCH_TOKENS: usize = 256;
/// Tokens of one forward pass at most, unless a single text is longer. Measured on two cores with 126-token texts: 512
/// to 2,048 are equally fast, and the buffers grow with it.
const MAX_BATCH_TOKENS: usize = 1024;

impl Encoder {
    /// Loads the model in `folder`: `config.json`, `tokenizer.json`, `model.gguf` or `model.safetensors`, and what else
    /// of the sentence-transformers layout is there.
    ///
    /// # Errors
    /// [`Error::Model`] with the file and the reason when something is missing, damaged, or of a kind that this
    /// encoder does not run.
    pub fn load(folder: &Path) -> Result<Encoder> {
        let model = Model::read(folder)?;
        let (tokens, bert) = rayon::join(|| Tokens::load(&model), || Bert::load(&model));
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
        })
    }

    /// The folder's name, such as "e5-small-de-en".
    pub fn name(&self) -> &str {
        &self.name
    }

    /// "sha256:" and 12 hex digits over every file that changes vectors: weights, tokenizer, configuration.
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

    /// Embeds `texts`; a text longer than `max_tokens` (special tokens included, at most [`Encoder::max_tokens`]) is
    /// cut at its end. Rows come in the order of `texts` and do not depend on what else is in the call, but for
    /// rounding (below 1e-5).
    ///
    /// # Errors
    /// [`Error::Model`] when a text yields no finite vector other than zero, naming its position in `texts`.
    pub fn embed(&self, texts: &[&str], prompt: Prompt, max_tokens: usize) -> Result<Embeddings> {
        let ids = texts
            .par_iter()
            .with_min_len(16)
            .map(|text| self.tokens.encode(self.prompts.of(prompt), text, max_tokens))
            .collect::<Result<Vec<_>, String>>()
            .map_err(|reason| self.error(reason))?;

        let batches = batches(&ids, rayon::current_num_threads());
        let rows_of = |batch: &Vec<usize>| {
            let ids: Vec<&[u32]> = batch.iter().map(|&text| ids[text].as_slice()).collect();
            self.bert.forward(&ids, self.pooling).map_err(|source| self.error(source.to_string()))
        };
        // One batch stays on the caller's thread: handing it to the pool costs more than it gains.
        let rows = if batches.len() == 1 {
            batches.iter().map(rows_of).collect::<Result<Vec<_>>>()?
        } else {
            batches.par_iter().map(rows_of).collect::<Result<Vec<_>>>()?
        };

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

    /// The token ids that [`Encoder::embed`] feeds to the model for `text`, special tokens included. Empty when the
    /// tokenizer refuses the text.
    pub fn token_ids(&self, text: &str, prompt: Prompt, max_tokens: usize) -> Vec<u32> {
        self.tokens.encode(self.prompts.of(prompt), text, max_tokens).unwrap_or_default()
    }

    fn error(&self, reason: String) -> Error {
        Error::Model { path: self.folder.clone(), reason }
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

/// Groups the texts, longest first, so that the batches are even and the last ones small: texts of one batch together
/// have at most about [`MAX_BATCH_TOKENS`] tokens, and fewer when otherwise threads would have nothing to do.
fn batches(ids: &[Vec<u32>], threads: usize) -> Vec<Vec<usize>> {
    let total: usize = ids.iter().map(Vec::len).sum();
    let budget = total.div_ceil(threads.max(1)).clamp(MIN_BATCH_TOKENS, MAX_BATCH_TOKENS);
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
