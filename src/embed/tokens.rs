//! Here is a text, give me its token ids, cut to what the model reads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokenizers::Tokenizer;

use super::model::Model;
use crate::error::{Error, Result};

/// The tokenizer, with everything that bounds its work.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    lower_case: bool,
    max_tokens: usize,
    /// Rows of the embedding table: no id may reach it.
    vocabulary: usize,
    /// Special tokens that end every text, kept when it is cut.
    suffix: Vec<u32>,
    /// Special tokens around every text, `suffix` included.
    n_special: usize,
}

/// Characters of a text that are read for each token that may come out. SentencePiece's longest piece has 16 characters
/// (`max_sentencepiece_length`, the default of its trainer), so that text cut here still fills all tokens; a longer
/// text would only cost time, and a tokenizer reads all of it before it cuts.
const MAX_CHARS_PER_TOKEN: usize = 16;

impl Tokens {
    pub(super) fn load(model: &Model) -> Result<Tokens> {
        let error = |reason: String| Error::Model { path: model.tokenizer.path.clone(), reason };
        let bytes = &model.tokenizer.bytes;
        let mut tokenizer =
            guarded(|| Tokenizer::from_bytes(bytes)).map_err(|reason| error(format!("is no tokenizer: {reason}")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|reason| error(reason.to_string()))?;

        let vocabulary = model.config.vocab_size;
        let pieces = tokenizer.get_vocab_size(true);
        if pieces > vocabulary {
            return Err(error(format!("has {pieces} tokens, but the model only {vocabulary}")));
        }
        let ids = |special| guarded(|| tokenizer.encode_fast("a", special)).map(|encoding| encoding.get_ids().to_vec());
        let plain = ids(false).map_err(&error)?;
        let framed = ids(true).map_err(&error)?;
        let n_special = framed.len().saturating_sub(plain.len());
        let prefix = (0..=n_special).find(|&start| framed[start..].starts_with(&plain)).unwrap_or(0);
        let suffix = framed[(prefix + plain.len()).min(framed.len())..].to_vec();
        if n_special >= model.max_tokens {
            return Err(error(format!(
                "puts {n_special} special tokens around a text of at most {}",
                model.max_tokens
            )));
        }
        Ok(Tokens {
            tokenizer,
            lower_case: model.lower_case,
            max_tokens: model.max_tokens,
            vocabulary,
            suffix,
            n_special,
        })
    }

    pub(super) fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Ids of `prompt` and `text`, special tokens included, at most `max_tokens` of them (at least the special ones
    /// and one more, at most what the model reads). The error is the reason, without the text.
    pub(super) fn encode(&self, prompt: &str, text: &str, max_tokens: usize) -> Result<Vec<u32>, String> {
        let max_tokens = max_tokens.clamp(self.n_special + 1, self.max_tokens);
        let max_chars = max_tokens * MAX_CHARS_PER_TOKEN;
        let end = text.char_indices().nth(max_chars).map_or(text.len(), |(end, _)| end);
        let mut input = [prompt, &text[..end]].concat();
        if self.lower_case {
            input = input.to_lowercase();
        }
        let encoding = guarded(|| self.tokenizer.encode_fast(input, true))
            // The reason may quote the text.
            .map_err(|_| "the tokenizer refuses a text".to_owned())?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.len() > max_tokens {
            ids.truncate(max_tokens - self.suffix.len());
            ids.extend_from_slice(&self.suffix);
        }
        match ids.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(format!("token {id} of tokenizer.json is not among the model's {}", self.vocabulary)),
            None => Ok(ids),
        }
    }
}

/// Runs the tokenizer and turns a panic into an error: its normaliser has panicked on odd Unicode before
/// (huggingface/tokenizers#626, #692), and one ticket must not end a thread.
fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(reason)) => Err(reason.to_string()),
        Err(_) => Err("it panicked".to_owned()),
    }
}
