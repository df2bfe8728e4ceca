//! Writes a tiny model folder with fixed random weights, for tests.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

/// What is written; change a part before [`TinyModel::write`] to get a folder that differs in it.
pub(super) struct TinyModel {
    /// Files by name; a `Value::String` is written as it is.
    pub(super) files: HashMap<String, Value>,
    /// By transformers' names, without a prefix.
    pub(super) tensors: HashMap<String, Tensor>,
    pub(super) prefix: &'static str,
    pub(super) dtype: DType,
}

pub(super) const HIDDEN: usize = 8;
pub(super) const POSITIONS: usize = 16;
const INNER: usize = 16;
const WORDS: [&str; 12] =
    ["<s>", "<pad>", "</s>", "<unk>", "the", "printer", "is", "on", "fire", "der", "drucker", "brennt"];

impl TinyModel {
    /// A BERT of two layers with mean pooling and a maximum of 10 tokens.
    pub(super) fn bert() -> TinyModel {
        TinyModel::sized(HIDDEN, 2, INNER, 2, 1.0)
    }

    /// The same with other sizes, its weights between `-highest` and `highest`.
    pub(super) fn sized(hidden: usize, heads: usize, inner: usize, layers: usize, highest: f32) -> TinyModel {
        let mut seed = 1_u64;
        let mut tensors = HashMap::new();
        let mut put = |name: String, shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| highest * random(&mut seed)).collect();
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
        };
        put("embeddings.word_embeddings.weight".into(), &[WORDS.len(), hidden]);
        put("embeddings.position_embeddings.weight".into(), &[POSITIONS, hidden]);
        put("embeddings.token_type_embeddings.weight".into(), &[2, hidden]);
        let mut pair = |name: String, shape: &[usize]| {
            put(format!("{name}.weight"), shape);
            put(format!("{name}.bias"), &shape[..1]);
        };
        pair("embeddings.LayerNorm".into(), &[hidden]);
        for layer in 0..layers {
            let part = |part: &str| format!("encoder.layer.{layer}.{part}");
            for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
            {
                pair(part(name), &[hidden, hidden]);
            }
            pair(part("attention.output.LayerNorm"), &[hidden]);
            pair(part("intermediate.dense"), &[inner, hidden]);
            pair(part("output.dense"), &[hidden, inner]);
            pair(part("output.LayerNorm"), &[hidden]);
        }
        let vocabulary: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
            "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"},
            "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
            "decoder": null, "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}
        });
        let config = json!({
            "architectures": ["BertModel"], "model_type": "bert", "vocab_size": WORDS.len(), "hidden_size": hidden,
            "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner, "hidden_act": "gelu",
            "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 1
        });
        let modules = json!([
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
        ]);
        let files = [
            ("config.json", config),
            ("modules.json", modules),
            ("1_Pooling/config.json", json!({"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": true})),
            ("sentence_bert_config.json", json!({"max_seq_length": 10, "do_lower_case": false})),
            ("tokenizer.json", tokenizer),
        ];
        let files = files.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        TinyModel { files, tensors, prefix: "", dtype: DType::F32 }
    }

    /// The same network as an XLM-RoBERTa: the padding token's id is 1, so two more rows come before the positions.
    pub(super) fn xlm_roberta() -> TinyModel {
        let mut model = TinyModel::bert();
        let name = "embeddings.position_embeddings.weight";
        let unused = Tensor::full(7_f32, (2, HIDDEN), &Device::Cpu).unwrap();
        let table = Tensor::cat(&[&unused, &model.tensors[name]], 0).unwrap();
        model.tensors.insert(name.to_owned(), table);
        model.set("config.json", "model_type", json!("xlm-roberta"));
        model.set("config.json", "architectures", json!(["XLMRobertaModel"]));
        model.set("config.json", "max_position_embeddings", json!(POSITIONS + 2));
        model
    }

    /// Sets `key` of the JSON file `name`, which is made when it is missing.
    pub(super) fn set(&mut self, name: &str, key: &str, value: Value) {
        self.files.entry(name.to_owned()).or_insert_with(|| json!({}))[key] = value;
    }

    pub(super) fn write(&self, folder: &Path) {
        for (name, value) in &self.files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            std::fs::write(path, text).unwrap();
        }
        let tensors: HashMap<String, Tensor> = (self.tensors.iter())
            .map(|(name, tensor)| (format!("{}{name}", self.prefix), tensor.to_dtype(self.dtype).unwrap()))
            .collect();
        candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    }
}

/// Uniform in -1..1, by a linear congruential generator (Knuth's MMIX constants).
fn random(seed: &mut u64) -> f32 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}
