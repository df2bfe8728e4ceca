//! Here are weight files and a tensor's name, give me its values in f32, checked against the shape that is expected.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use candle_core::quantized::gguf_file;
use candle_core::safetensors::{Load, SliceSafetensors};
use candle_core::{DType, Device, Tensor};

use super::model::{Document, Weights};
use crate::error::{Error, Result};

/// Opened weight files. Names are those of transformers' BERT ("encoder.layer.0.output.dense.weight").
pub(super) enum Tensors<'a> {
    Gguf { file: &'a Document, content: gguf_file::Content },
    Safetensors { files: Vec<(&'a Document, SliceSafetensors<'a>)>, prefix: String },
}

impl<'a> Tensors<'a> {
    pub(super) fn open(weights: &'a Weights) -> Result<Tensors<'a>> {
        match weights {
            Weights::Gguf(file) => {
                // A damaged file can state an alignment of 0, by which candle divides.
                let content =
                    catch_unwind(AssertUnwindSafe(|| gguf_file::Content::read(&mut Cursor::new(&file.bytes))))
                        .map_err(|_| error(&file.path, "is damaged"))?
                        .map_err(|reason| error(&file.path, format!("is no GGUF file: {}", first_line(&reason))))?;
                Ok(Tensors::Gguf { file, content })
            }
            Weights::Safetensors(documents) => {
                let mut files = Vec::new();
                for file in documents {
                    let tensors = SliceSafetensors::new(&file.bytes).map_err(|reason| {
                        error(&file.path, format!("is no safetensors file: {}", first_line(&reason)))
                    })?;
                    files.push((file, tensors));
                }
                // "", "bert.", "roberta." or "0.auto_model.", by what saved it.
                let prefix = (files.iter().flat_map(|(_, file)| file.tensors()))
                    .find_map(|(name, _)| Some(name.strip_suffix("embeddings.word_embeddings.weight")?.to_owned()));
                let prefix = prefix.unwrap_or_default();
                Ok(Tensors::Safetensors { files, prefix })
            }
        }
    }

    /// The values of `name`, row by row.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        match self {
            Tensors::Gguf { file, content } => {
                let name = gguf_name(name);
                let info = content
                    .tensor_infos
                    .get(&name)
                    .ok_or_else(|| error(&file.path, format!("has no tensor {name}")))?;
                check_shape(&file.path, &name, info.shape.dims(), shape)?;
                let tensor = content.tensor(&mut Cursor::new(&file.bytes), &name, &Device::Cpu);
                flat(&file.path, &name, tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)))
            }
            Tensors::Safetensors { files, prefix } => {
                let name = format!("{prefix}{name}");
                let Some((file, view)) =
                    files.iter().find_map(|(file, tensors)| Some((file, tensors.get(&name).ok()?)))
                else {
                    let path = files.first().map_or(Path::new(""), |(file, _)| &file.path);
                    return Err(error(path, format!("has no tensor {name}")));
                };
                check_shape(&file.path, &name, view.shape(), shape)?;
                flat(&file.path, &name, view.load(&Device::Cpu))
            }
        }
    }
}

fn flat(path: &Path, name: &str, tensor: candle_core::Result<Tensor>) -> Result<Vec<f32>> {
    let values = tensor.and_then(|tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>());
    let values = values.map_err(|reason| error(path, format!("tensor {name}: {}", first_line(&reason))))?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(error(path, format!("tensor {name} holds a value that is not finite"))),
    }
}

/// Checked before a tensor is read, so that a damaged shape cannot ask for memory.
fn check_shape(path: &Path, name: &str, received: &[usize], expected: &[usize]) -> Result<()> {
    if received == expected {
        return Ok(());
    }
    Err(error(path, format!("tensor {name} has shape {received:?}, and config.json says {expected:?}")))
}

/// llama.cpp's name of a BERT tensor.
fn gguf_name(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        ["encoder", "layer", layer, ref part @ .., kind] => {
            let part = match part.join(".").as_str() {
                "attention.self.query" => "attn_q",
                "attention.self.key" => "attn_k",
                "attention.self.value" => "attn_v",
                "attention.output.dense" => "attn_output",
                "attention.output.LayerNorm" => "attn_output_norm",
                "intermediate.dense" => "ffn_up",
                "output.dense" => "ffn_down",
                "output.LayerNorm" => "layer_output_norm",
                other => other,
            }
            .to_owned();
            format!("blk.{layer}.{part}.{kind}")
        }
        ["embeddings", part, kind] => {
            let part = match part {
                "word_embeddings" => "token_embd",
                "position_embeddings" => "position_embd",
                "token_type_embeddings" => "token_types",
                "LayerNorm" => "token_embd_norm",
                other => other,
            };
            format!("{part}.{kind}")
        }
        _ => name.to_owned(),
    }
}

/// candle appends a backtrace when one is enabled.
fn first_line(reason: &candle_core::Error) -> String {
    reason.to_string().lines().next().unwrap_or_default().to_owned()
}

fn error(path: &Path, reason: impl Into<String>) -> Error {
    Error::Model { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn gguf(bytes: &[u8]) -> Weights {
        Weights::Gguf(Document { path: PathBuf::from("model.gguf"), bytes: bytes.to_vec() })
    }

    fn read(weights: &Weights, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        Tensors::open(weights).and_then(|tensors| tensors.values(name, shape)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_damaged_gguf_file_is_an_error_with_its_path() {
        let whole = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/e5-small-de-en/model.gguf")).unwrap();
        let (name, shape) = ("encoder.layer.11.output.LayerNorm.bias", [384]);
        assert_eq!(read(&gguf(&whole), name, &shape).unwrap().len(), 384);
        for length in [0, 3, 4, 100, 5_000, 20_000, whole.len() / 2] {
            let result = read(&gguf(&whole[..length]), "encoder.layer.11.output.dense.weight", &[384, 1536]);
            assert!(
                result.as_ref().is_err_and(|reason| reason.starts_with("model model.gguf: ")),
                "{length}: {result:?}"
            );
        }
        // Whatever a flipped byte of the header does, it is no panic.
        for position in (0..12_000).step_by(211) {
            let mut damaged = whole[..200_000].to_vec();
            damaged[position] ^= 0xff;
            let _ = read(&gguf(&damaged), name, &shape);
        }
    }

    #[test]
    fn a_gguf_file_that_states_an_alignment_of_zero_is_an_error() {
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend([0_u64.to_le_bytes(), 1_u64.to_le_bytes(), 17_u64.to_le_bytes()].concat());
        file.extend(b"general.alignment\x04\0\0\0\0\0\0\0");
        assert_eq!(read(&gguf(&file), "a", &[1]).unwrap_err(), "model model.gguf: is damaged");
    }

    #[test]
    fn a_damaged_safetensors_file_is_an_error_with_its_path() {
        let header = |header: &str| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
        let tensor =
            |shape: &str, end: u64| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
        let cases = [
            (Vec::new(), false),
            (vec![0xff; 64], false),
            (header("{"), false),
            (header(&tensor("[2]", 80)), false),
            (header(&tensor("[9223372036854775807, 4]", 8)), false),
            (header(&tensor("[3]", 8)), false),
            (header(&tensor("[1, 2]", 8)), false),
            (header(&tensor("[2]", 8)), true),
        ];
        for (bytes, good) in cases {
            let weights = Weights::Safetensors(vec![Document { path: PathBuf::from("model.safetensors"), bytes }]);
            match read(&weights, "a", &[2]) {
                Ok(values) => assert!(good && values == [0.0, 0.0]),
                Err(reason) => assert!(!good && reason.starts_with("model model.safetensors: "), "{reason}"),
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let values = [1.0_f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat();
        let weights = Weights::Safetensors(vec![Document { path: PathBuf::from("model.safetensors"), bytes }]);
        assert!(read(&weights, "a", &[2]).unwrap_err().contains("not finite"));
    }
}
