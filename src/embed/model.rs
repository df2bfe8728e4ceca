//! Here is a model folder in the sentence-transformers layout, give me what it says, checked: architecture, pooling,
//! prompts, length, tokenizer and weights as bytes, and the fingerprint of all that.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::kernel::operand::Precision;
use crate::error::{Error, Result};

/// A model folder as read.
pub(super) struct Model {
    pub(super) config: Config,
    pub(super) pooling: Pooling,
    pub(super) prompts: Prompts,
    /// The most tokens of a text, special tokens included.
    pub(super) max_tokens: usize,
    pub(super) lower_case: bool,
    /// Leading components to keep of a vector, for models trained to be cut (Matryoshka).
    pub(super) truncate_dim: Option<usize>,
    pub(super) tokenizer: Document,
    pub(super) weights: Weights,
    pub(super) fingerprint: String,
}

/// A file and what it holds.
pub(super) struct Document {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// The weights by format; safetensors may come in several files.
pub(super) enum Weights {
    Gguf(Document),
    Safetensors(Vec<Document>),
}

/// `config.json` of a BERT-like model; names and defaults are those of Hugging Face transformers.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: ModelType,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: Activation,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "two")]
    pub(super) type_vocab_size: usize,
    #[serde(default = "tiny")]
    pub(super) layer_norm_eps: f64,
    #[serde(default)]
    pub(super) pad_token_id: u32,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

/// The bodies that the forward pass knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ModelType {
    /// Positions count from 0.
    Bert,
    /// Positions count from the padding token's id + 1.
    #[serde(alias = "roberta", alias = "camembert")]
    XlmRoberta,
}

/// The feed-forward activation, by the names that transformers gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Activation {
    /// x Φ(x) with the exact error function.
    #[serde(rename = "gelu", alias = "gelu_python")]
    Gelu,
    /// The approximation by tanh.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluTanh,
    #[serde(rename = "relu")]
    Relu,
}

/// How hidden states become one vector. The mean divided by the square root of the length differs from the mean in
/// length alone, which the unit row does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    FirstToken,
    Max,
}

/// The prefixes of the model's own configuration, by use.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Prompts {
    query: String,
    passage: String,
}

/// Part of the fingerprint: raised when the forward pass comes to compute vectors that differ by more than rounding.
const ARITHMETIC_VERSION: u8 = 2;

impl Model {
    pub(super) fn read(path: &Path, precision: Precision) -> Result<Model> {
        let arithmetic = [ARITHMETIC_VERSION, precision as u8];
        let mut folder = Folder { path: path.to_owned(), hash: Sha256::new_with_prefix(arithmetic) };
        let modules = Modules::read(&mut folder)?;
        let pooling = pooling(&mut folder, &modules.pooling)?;
        let prompts: PromptConfig = folder.json("config_sentence_transformers.json")?.unwrap_or_default();

        let body = |name: &str| modules.transformer.join(name).to_string_lossy().into_owned();
        let config: Config = folder.json(&body("config.json"))?.ok_or_else(|| folder.missing("config.json"))?;
        config.check().map_err(|reason| folder.error(&body("config.json"), reason))?;
        let sentence: SentenceConfig = folder.json(&body("sentence_bert_config.json"))?.unwrap_or_default();
        let tokenizer_config: TokenizerConfig = folder.json(&body("tokenizer_config.json"))?.unwrap_or_default();
        let tokenizer = folder.read(&body("tokenizer.json"))?.ok_or_else(|| folder.missing("tokenizer.json"))?;
        let weights = weights(&mut folder, &body)?;

        let truncate_dim = prompts.truncate_dim;
        if truncate_dim.is_some_and(|dim| dim == 0 || dim > config.hidden_size) {
            let reason = format!("truncate_dim must be in 1..={}", config.hidden_size);
            return Err(folder.error("config_sentence_transformers.json", reason));
        }
        let max_tokens = (sentence.max_seq_length.or(tokenizer_config.model_max_length))
            .map_or(usize::MAX, |tokens| tokens as usize)
            .min(config.n_positions());
        Ok(Model {
            pooling,
            prompts: prompts.into(),
            max_tokens,
            lower_case: sentence.do_lower_case,
            truncate_dim,
            tokenizer,
            weights,
            fingerprint: folder.fingerprint(),
            config,
        })
    }
}

impl Config {
    /// How many positions a text can have: RoBERTa never uses those up to the padding token's id.
    pub(super) fn n_positions(&self) -> usize {
        match self.model_type {
            ModelType::Bert => self.max_position_embeddings,
            ModelType::XlmRoberta => self.max_position_embeddings.saturating_sub(self.pad_token_id as usize + 1),
        }
    }

    fn check(&self) -> Result<(), String> {
        let sizes =
            [self.vocab_size, self.hidden_size, self.num_attention_heads, self.intermediate_size, self.type_vocab_size];
        if sizes.contains(&0) || self.n_positions() == 0 {
            return Err("a size is 0".to_owned());
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(format!(
                "hidden_size {} is no multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        match self.position_embedding_type.as_deref() {
            None | Some("absolute") => Ok(()),
            Some(other) => Err(format!("position_embedding_type {other:?} is not supported, only \"absolute\"")),
        }
    }
}

impl Prompts {
    /// What goes before a text; empty when the model wants nothing there.
    pub(super) fn of(&self, prompt: super::Prompt) -> &str {
        match prompt {
            super::Prompt::Query => &self.query,
            super::Prompt::Passage => &self.passage,
            super::Prompt::Plain => "",
        }
    }
}

/// `modules.json`: the folders of the two modules that say something. `Normalize` says nothing: rows are always scaled.
struct Modules {
    transformer: PathBuf,
    pooling: PathBuf,
}

impl Modules {
    /// Without the file it is a bare transformers folder, and sentence-transformers then takes the mean.
    fn read(folder: &mut Folder) -> Result<Modules> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            path: PathBuf,
        }
        const FILE: &str = "modules.json";
        let mut modules = Modules { transformer: PathBuf::new(), pooling: PathBuf::from("1_Pooling") };
        for (position, entry) in folder.json::<Vec<Entry>>(FILE)?.unwrap_or_default().into_iter().enumerate() {
            // Only the last component is stable: `sentence_transformers.models.Pooling` became
            // `sentence_transformers.sentence_transformer.modules.pooling.Pooling`.
            match (entry.kind.rsplit('.').next().unwrap_or_default(), position) {
                ("Transformer", 0) => modules.transformer = entry.path,
                ("Pooling", 1) => modules.pooling = entry.path,
                ("Normalize", 2..) => {}
                _ => {
                    let reason = format!(
                        "module {position} is {:?}, and only Transformer, Pooling and Normalize, in that order, can be run",
                        entry.kind
                    );
                    return Err(folder.error(FILE, reason));
                }
            }
        }
        Ok(modules)
    }
}

/// The pooling module's `config.json`: one boolean per mode before sentence-transformers 6, one name or a list since.
fn pooling(folder: &mut Folder, module: &Path) -> Result<Pooling> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        One(String),
        Many(Vec<String>),
    }
    #[derive(Deserialize)]
    struct PoolingConfig {
        pooling_mode: Option<Names>,
        #[serde(default = "yes")]
        include_prompt: bool,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
    }
    let file = module.join("config.json").to_string_lossy().into_owned();
    let Some(config) = folder.json::<PoolingConfig>(&file)? else {
        return Ok(Pooling::Mean);
    };
    let modes = match config.pooling_mode {
        Some(Names::One(name)) => vec![name],
        Some(Names::Many(names)) => names,
        None => (config.rest.into_iter())
            .filter(|(_, on)| on.as_bool() == Some(true))
            .filter_map(|(name, _)| Some(name.strip_prefix("pooling_mode_")?.to_owned()))
            .collect(),
    };
    if !config.include_prompt {
        return Err(folder.error(&file, "include_prompt false is not supported".to_owned()));
    }
    match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["mean" | "mean_tokens" | "mean_sqrt_len_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::FirstToken),
        ["max" | "max_tokens"] => Ok(Pooling::Max),
        _ => Err(folder.error(
            &file,
            format!("pooling {modes:?} is not supported, only one of mean, cls, max, mean_sqrt_len_tokens"),
        )),
    }
}

/// `config_sentence_transformers.json`.
#[derive(Default, Deserialize)]
struct PromptConfig {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
    truncate_dim: Option<usize>,
}

impl From<PromptConfig> for Prompts {
    /// As `encode_query` and `encode_document` of sentence-transformers choose: by name, else the default one.
    fn from(config: PromptConfig) -> Prompts {
        let named = |name: &str| config.prompts.get(name).cloned();
        let default = || config.default_prompt_name.as_deref().and_then(named).unwrap_or_default();
        Prompts {
            query: named("query").unwrap_or_else(default),
            passage: ["document", "passage", "corpus"].into_iter().find_map(named).unwrap_or_else(default),
        }
    }
}

/// `sentence_bert_config.json`.
#[derive(Default, Deserialize)]
struct SentenceConfig {
    // As a float, like `model_max_length`.
    max_seq_length: Option<f64>,
    #[serde(default)]
    do_lower_case: bool,
}

/// `tokenizer_config.json`, of which only the length matters: the rest is in `tokenizer.json`.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    // transformers writes 1e30 for "no limit".
    model_max_length: Option<f64>,
}

fn weights(folder: &mut Folder, body: &dyn Fn(&str) -> String) -> Result<Weights> {
    #[derive(Deserialize)]
    struct Shards {
        weight_map: BTreeMap<String, String>,
    }
    if let Some(file) = folder.read(&body("model.gguf"))? {
        return Ok(Weights::Gguf(file));
    }
    if let Some(file) = folder.read(&body("model.safetensors"))? {
        return Ok(Weights::Safetensors(vec![file]));
    }
    const INDEX: &str = "model.safetensors.index.json";
    let Some(shards) = folder.json::<Shards>(&body(INDEX))? else {
        return Err(folder.missing("model.gguf or model.safetensors"));
    };
    let names: std::collections::BTreeSet<String> = shards.weight_map.into_values().collect();
    let mut files = Vec::new();
    for name in names {
        if name.contains(['/', '\\']) {
            return Err(folder.error(&body(INDEX), format!("{name:?} is not a file beside it")));
        }
        files.push(folder.read(&body(&name))?.ok_or_else(|| folder.missing(&name))?);
    }
    Ok(Weights::Safetensors(files))
}

/// Reads files once and hashes what it read.
struct Folder {
    path: PathBuf,
    hash: Sha256,
}

impl Folder {
    /// The file `name`, or `None` when there is none.
    fn read(&mut self, name: &str) -> Result<Option<Document>> {
        let path = self.path.join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(source) => return Err(Error::Model { path, reason: source.to_string() }),
        };
        for part in [name.as_bytes(), &bytes] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
        Ok(Some(Document { path, bytes }))
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(file) = self.read(name)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&file.bytes) {
            Ok(value) => Ok(Some(value)),
            Err(reason) => Err(Error::Model { path: file.path, reason: reason.to_string() }),
        }
    }

    fn missing(&self, what: &str) -> Error {
        let reason = format!("{what} is missing; expected a folder in the sentence-transformers layout");
        Error::Model { path: self.path.clone(), reason }
    }

    fn error(&self, name: &str, reason: String) -> Error {
        Error::Model { path: self.path.join(name), reason }
    }

    fn fingerprint(self) -> String {
        let digest = self.hash.finalize();
        let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }
}

fn two() -> usize {
    2
}

fn tiny() -> f64 {
    1e-12
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tiny::{POSITIONS, TinyModel};
    use super::*;

    fn read(model: &TinyModel) -> Result<Model, String> {
        let folder = tempfile::tempdir().unwrap();
        model.write(folder.path());
        Model::read(folder.path(), Precision::Int8).map_err(|error| error.to_string())
    }

    #[test]
    fn pooling_is_read_in_both_forms() {
        let cases = [
            (json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}), Some(Pooling::Mean)),
            (json!({"pooling_mode_cls_token": true, "word_embedding_dimension": 8}), Some(Pooling::FirstToken)),
            (json!({"pooling_mode_max_tokens": true}), Some(Pooling::Max)),
            (json!({"pooling_mode_mean_sqrt_len_tokens": true, "include_prompt": true}), Some(Pooling::Mean)),
            (json!({"pooling_mode": "mean", "embedding_dimension": 8}), Some(Pooling::Mean)),
            (json!({"pooling_mode": "cls"}), Some(Pooling::FirstToken)),
            (json!({"pooling_mode": ["max"]}), Some(Pooling::Max)),
            (json!({"pooling_mode": "lasttoken"}), None),
            (json!({"pooling_mode": ["mean", "max"]}), None),
            (json!({"pooling_mode_lasttoken": true}), None),
            (json!({"pooling_mode_weightedmean_tokens": true}), None),
            (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}), None),
            (json!({"pooling_mode": "mean", "include_prompt": false}), None),
            (json!({}), None),
        ];
        for (config, expected) in cases {
            let mut model = TinyModel::bert();
            model.files.insert("1_Pooling/config.json".to_owned(), config.clone());
            let received = read(&model);
            assert_eq!(received.as_ref().ok().map(|model| model.pooling), expected, "{config}");
            if let Err(reason) = received {
                assert!(reason.contains("1_Pooling") && reason.contains("not supported"), "{reason}");
            }
        }
    }

    #[test]
    fn modules_are_known_by_the_last_part_of_their_type() {
        let new = "sentence_transformers.sentence_transformer.modules";
        let module = |kind: String, path: &str| json!({"idx": 0, "name": "0", "path": path, "type": kind});
        let mut model = TinyModel::bert();
        model.files.insert(
            "modules.json".to_owned(),
            json!([
                module(format!("{new}.transformer.Transformer"), ""),
                module(format!("{new}.pooling.Pooling"), "1_Pooling")
            ]),
        );
        assert!(read(&model).is_ok());

        let modules = model.files.get_mut("modules.json").unwrap().as_array_mut().unwrap();
        modules.push(module("sentence_transformers.models.Dense".into(), "2_Dense"));
        let reason = read(&model).err().unwrap();
        assert!(reason.contains("modules.json") && reason.contains("Dense"), "{reason}");
    }

    #[test]
    fn a_bare_transformers_folder_takes_the_mean() {
        let mut model = TinyModel::bert();
        model.files.retain(|name, _| name == "config.json" || name == "tokenizer.json");
        let read = read(&model).unwrap();
        assert_eq!((read.pooling, read.max_tokens, read.prompts), (Pooling::Mean, POSITIONS, Prompts::default()));
    }

    #[test]
    fn length_is_taken_from_the_first_file_that_says_it_and_bounded_by_the_positions() {
        let cases = [
            (json!(10), json!(12), 10),
            (json!(null), json!(12), 12),
            (json!(null), json!(1e30), POSITIONS),
            (json!(null), json!(null), POSITIONS),
            (json!(4000), json!(12), POSITIONS),
        ];
        for (sentence, tokenizer, expected) in cases {
            for mut model in [TinyModel::bert(), TinyModel::xlm_roberta()] {
                model.set("sentence_bert_config.json", "max_seq_length", sentence.clone());
                model.set("tokenizer_config.json", "model_max_length", tokenizer.clone());
                assert_eq!(read(&model).unwrap().max_tokens, expected, "{sentence} {tokenizer}");
            }
        }
    }

    #[test]
    fn prompts_fall_back_to_the_default_one() {
        let cases = [
            (json!({"prompts": {"query": "q: ", "passage": "p: "}}), "q: ", "p: "),
            (json!({"prompts": {"query": "q: ", "document": "d: ", "passage": "p: "}}), "q: ", "d: "),
            (json!({"prompts": {"query": "q: "}, "default_prompt_name": "query"}), "q: ", "q: "),
            (json!({"prompts": {"query": "q: "}, "default_prompt_name": null}), "q: ", ""),
            (json!({"prompts": {}, "default_prompt_name": "gone"}), "", ""),
            (json!({}), "", ""),
        ];
        for (config, query, passage) in cases {
            let mut model = TinyModel::bert();
            model.files.insert("config_sentence_transformers.json".to_owned(), config.clone());
            let expected = Prompts { query: query.to_owned(), passage: passage.to_owned() };
            assert_eq!(read(&model).unwrap().prompts, expected, "{config}");
        }
    }

    #[test]
    fn a_configuration_that_cannot_be_run_is_refused() {
        let cases: [(&str, Value); 8] = [
            ("model_type", json!("modernbert")),
            ("hidden_act", json!("silu")),
            ("position_embedding_type", json!("relative_key")),
            ("num_attention_heads", json!(3)),
            ("num_attention_heads", json!(0)),
            ("hidden_size", json!(-8)),
            ("max_position_embeddings", json!(0)),
            ("vocab_size", json!(null)),
        ];
        for (key, value) in cases {
            let mut model = TinyModel::bert();
            model.set("config.json", key, value.clone());
            let reason = read(&model).err().unwrap_or_default();
            assert!(reason.contains("config.json"), "{key} {value}: {reason}");
        }
    }

    #[test]
    fn names_of_activations_are_mapped() {
        for (name, expected) in [
            ("gelu", Activation::Gelu),
            ("gelu_new", Activation::GeluTanh),
            ("gelu_pytorch_tanh", Activation::GeluTanh),
            ("gelu_fast", Activation::GeluTanh),
            ("relu", Activation::Relu),
        ] {
            let mut model = TinyModel::bert();
            model.set("config.json", "hidden_act", json!(name));
            assert_eq!(read(&model).unwrap().config.hidden_act, expected, "{name}");
        }
    }
}
