//! Here are token ids of some texts, give me one pooled row per text.
//!
//! BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>) without padding: the tokens of all texts lie one after
//! another as the rows of one matrix. A layer is two passes over these rows: the first makes queries, keys and values,
//! the second mixes them within each text and does all the rest. Within a pass every row stands for itself, so the rows
//! can be shared out to any number of threads without a change in what comes out.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::kernel::Kernel;
use super::kernel::attention::{Heads, Scratch};
use super::kernel::operand::{Linear, Precision, Quantised, ROW_MULTIPLE, grow};
use super::kernel::rows::Finish;
use super::model::{Activation, Config, Model, ModelType, Pooling};
use super::weights::Tensors;
use crate::error::Result;

/// The network, its weights packed for one kernel.
pub(super) struct Bert {
    kernel: Kernel,
    hidden: usize,
    heads: Heads,
    activation: Activation,
    epsilon: f32,
    positions: Positions,
    /// [vocabulary, hidden]; 16 bits keep eleven digits of what a GGUF file gives in four to eight.
    words: Vec<f16>,
    /// [positions, hidden], with the row of token type 0 added: a single text has no other type.
    places: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Query (already divided by the square root of the head's width), key and value side by side.
    qkv: Linear,
    out: Linear,
    attention_norm: Norm,
    feed_forward: Vec<FeedForward>,
    output_norm: Norm,
}

/// Some of the inner values of the feed-forward network: all products of the default model then have 384 inputs, their
/// operands stay in the second-level cache, and the inner values get a scale for every such part.
struct FeedForward {
    up: Linear,
    down: Linear,
}

/// Inner values of one [`FeedForward`].
const INNER_VALUES: usize = 384;

struct Norm {
    gain: Vec<f32>,
    bias: Vec<f32>,
}

/// How positions are numbered.
enum Positions {
    FromZero,
    /// RoBERTa's: from the padding token's id + 1, and a padding token itself does not count.
    AfterPadding(u32),
}

/// Rows that are carried together through a product: a multiple of every tile's height, few enough that they stay in
/// the first-level cache while the weights pass by.
const BLOCK_ROWS: usize = 96;

/// The buffers of one call. They grow to what the largest call so far needed and are then used again.
#[derive(Default)]
pub(super) struct Workspace {
    /// Rows of every text.
    texts: Vec<Range<usize>>,
    /// [tokens, hidden]
    states: Vec<f32>,
    /// [tokens, 3 hidden]
    qkv: Vec<f32>,
    parts: Vec<Part>,
}

/// The buffers of the rows that one thread takes.
#[derive(Default)]
struct Part {
    /// [rows of the part, hidden]
    context: Vec<f32>,
    /// [rows of a block, hidden]
    output: Vec<f32>,
    /// [rows of a block, inner values]
    inner: Vec<f32>,
    input: Quantised,
    inner_input: Quantised,
    attention: Scratch,
}

impl Bert {
    pub(super) fn load(model: &Model, kernel: Kernel, precision: Precision) -> Result<Bert> {
        let config = &model.config;
        let hidden = config.hidden_size;
        let tensors = Tensors::open(&model.weights)?;
        let positions = config.max_position_embeddings;
        let mut places = tensors.values("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let types = tensors.values("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        for place in places.chunks_exact_mut(hidden) {
            add(place, &types[..hidden]);
        }
        let layers = (0..config.num_hidden_layers).into_par_iter();
        let layers = || layers.map(|layer| Layer::load(&tensors, config, layer, kernel, precision)).collect();
        let words = || -> Result<Vec<f16>> {
            let values = tensors.values("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?;
            let mut words = vec![f16::ZERO; values.len()];
            words.convert_from_f32_slice(&values);
            Ok(words)
        };
        let (words, layers): (Result<Vec<f16>>, Result<Vec<Layer>>) = rayon::join(words, layers);
        Ok(Bert {
            kernel,
            hidden,
            heads: Heads { n: config.num_attention_heads, width: hidden / config.num_attention_heads },
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps as f32,
            positions: match config.model_type {
                ModelType::Bert => Positions::FromZero,
                ModelType::XlmRoberta => Positions::AfterPadding(config.pad_token_id),
            },
            words: words?,
            places,
            norm: Norm::load(&tensors, "embeddings.LayerNorm", hidden)?,
            layers: layers?,
        })
    }

    /// Width of a hidden state, and of a pooled row.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Bytes of all weights and tables.
    pub(super) fn bytes(&self) -> usize {
        let linears = self.layers.iter().flat_map(|layer| {
            let feed_forward = layer.feed_forward.iter().flat_map(|part| [&part.up, &part.down]);
            [&layer.qkv, &layer.out].into_iter().chain(feed_forward)
        });
        size_of_val(&self.words[..]) + size_of_val(&self.places[..]) + linears.map(Linear::bytes).sum::<usize>()
    }

    /// Pooled rows [n texts, hidden] into `pooled`, not scaled; a text without tokens gives a row of zeros. The rows
    /// are shared out to `threads` threads of the current pool. Ids and positions must lie inside the tables (`Tokens`
    /// sees to it).
    pub(super) fn forward(
        &self,
        texts: &[&[u32]],
        pooling: Pooling,
        threads: usize,
        workspace: &mut Workspace,
        pooled: &mut [f32],
    ) {
        let hidden = self.hidden;
        let Workspace { texts: ranges, states, qkv, parts } = workspace;
        ranges.clear();
        let mut tokens = 0;
        for ids in texts {
            ranges.push(tokens..tokens + ids.len());
            tokens += ids.len();
        }
        if tokens > 0 {
            grow(states, tokens * hidden);
            grow(qkv, tokens * 3 * hidden);
            let (states, qkv) = (&mut states[..tokens * hidden], &mut qkv[..tokens * 3 * hidden]);
            self.embed(texts, ranges, states);
            let rows = tokens.div_ceil(threads.max(1)).next_multiple_of(ROW_MULTIPLE);
            if parts.len() < tokens.div_ceil(rows) {
                parts.resize_with(tokens.div_ceil(rows), Part::default);
            }
            for layer in &self.layers {
                if tokens <= rows {
                    self.first_pass(layer, states, &mut parts[0], qkv);
                    self.second_pass(layer, 0, states, qkv, ranges, &mut parts[0]);
                    continue;
                }
                (states.par_chunks(rows * hidden).zip(qkv.par_chunks_mut(rows * 3 * hidden)))
                    .zip(parts.par_iter_mut())
                    .for_each(|((states, qkv), part)| self.first_pass(layer, states, part, qkv));
                (states.par_chunks_mut(rows * hidden).zip(parts.par_iter_mut()))
                    .enumerate()
                    .for_each(|(i, (states, part))| self.second_pass(layer, i * rows, states, qkv, ranges, part));
            }
        }
        for (range, pooled) in ranges.iter().zip(pooled.chunks_exact_mut(hidden)) {
            pool(&states[range.start * hidden..range.end * hidden], pooling, pooled);
        }
    }

    /// Word plus position, normed: [tokens, hidden].
    fn embed(&self, texts: &[&[u32]], ranges: &[Range<usize>], states: &mut [f32]) {
        let hidden = self.hidden;
        for (ids, range) in texts.iter().zip(ranges) {
            let rows = states[range.start * hidden..].chunks_exact_mut(hidden);
            let mut place = self.positions.counter();
            for (&id, row) in ids.iter().zip(rows) {
                self.words[id as usize * hidden..][..hidden].convert_to_f32_slice(row);
                let place = &self.places[place(id) * hidden..][..hidden];
                self.kernel.add_and_norm(row, place, &self.norm.gain, &self.norm.bias, self.epsilon);
            }
        }
    }

    /// Queries, keys and values [rows, 3 hidden] of states [rows, hidden].
    fn first_pass(&self, layer: &Layer, states: &[f32], part: &mut Part, qkv: &mut [f32]) {
        let blocks = states.chunks(BLOCK_ROWS * self.hidden).zip(qkv.chunks_mut(BLOCK_ROWS * 3 * self.hidden));
        for (states, qkv) in blocks {
            self.kernel.quantise(states, &layer.qkv, &mut part.input);
            self.kernel.project(&part.input, &layer.qkv, Finish::Bias, qkv);
        }
    }

    /// Attention, the feed-forward network, and what is added and normed, on states that begin at row `first`; `qkv` and
    /// `texts` are those of all rows.
    fn second_pass(
        &self,
        layer: &Layer,
        first: usize,
        states: &mut [f32],
        qkv: &[f32],
        texts: &[Range<usize>],
        part: &mut Part,
    ) {
        let hidden = self.hidden;
        let rows = first..first + states.len() / hidden;
        grow(&mut part.context, states.len());
        for text in texts.iter().filter(|text| text.start < rows.end && text.end > rows.start) {
            let own = text.start.max(rows.start)..text.end.min(rows.end);
            let context = &mut part.context[(own.start - first) * hidden..(own.end - first) * hidden];
            let qkv = &qkv[text.start * 3 * hidden..text.end * 3 * hidden];
            let queries = own.start - text.start..own.end - text.start;
            self.kernel.attend(qkv, self.heads, queries, &mut part.attention, context);
        }

        let Part { context, output, inner, input, inner_input, .. } = part;
        grow(output, BLOCK_ROWS * hidden);
        grow(inner, BLOCK_ROWS * INNER_VALUES);
        let blocks = states.chunks_mut(BLOCK_ROWS * hidden).zip(context.chunks(BLOCK_ROWS * hidden));
        for (states, context) in blocks {
            let rows = states.len() / hidden;
            let output = &mut output[..states.len()];
            self.kernel.quantise(&context[..states.len()], &layer.out, input);
            self.kernel.project(input, &layer.out, Finish::Bias, output);
            let Norm { gain, bias } = &layer.attention_norm;
            self.kernel.add_and_norm(states, output, gain, bias, self.epsilon);

            for (i, FeedForward { up, down }) in layer.feed_forward.iter().enumerate() {
                if i == 0 {
                    self.kernel.quantise(states, up, input);
                }
                let inner = &mut inner[..rows * up.outputs()];
                self.kernel.project(input, up, Finish::Activate(self.activation), inner);
                self.kernel.quantise(inner, down, inner_input);
                let finish = if i == 0 { Finish::Bias } else { Finish::Accumulate };
                self.kernel.project(inner_input, down, finish, output);
            }
            let Norm { gain, bias } = &layer.output_norm;
            self.kernel.add_and_norm(states, output, gain, bias, self.epsilon);
        }
    }
}

/// States of one text [tokens, hidden] as one row.
fn pool(states: &[f32], pooling: Pooling, pooled: &mut [f32]) {
    let mut rows = states.chunks_exact(pooled.len());
    match rows.next() {
        Some(first) => pooled.copy_from_slice(first),
        None => pooled.fill(0.0),
    }
    match pooling {
        Pooling::FirstToken => {}
        Pooling::Mean => {
            rows.for_each(|row| add(pooled, row));
            let n = (states.len() / pooled.len()).max(1) as f32;
            pooled.iter_mut().for_each(|value| *value /= n);
        }
        Pooling::Max => {
            rows.for_each(|row| pooled.iter_mut().zip(row).for_each(|(value, other)| *value = value.max(*other)));
        }
    }
}

impl Positions {
    /// Gives the position of every id of a text, asked for one after another.
    fn counter(&self) -> impl FnMut(u32) -> usize {
        let (padding, mut next) = match *self {
            Positions::FromZero => (None, 0),
            Positions::AfterPadding(padding) => (Some(padding), padding as usize + 1),
        };
        move |id| {
            if padding == Some(id) {
                return id as usize;
            }
            next += 1;
            next - 1
        }
    }
}

impl Layer {
    fn load(
        tensors: &Tensors<'_>,
        config: &Config,
        layer: usize,
        kernel: Kernel,
        precision: Precision,
    ) -> Result<Layer> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let values = |part: &str, shape: &[usize]| tensors.values(&name(part), shape);
        let pack = |weight: &[f32], width: usize, columns: Range<usize>, bias: &[f32]| {
            Linear::pack(weight, width, columns, bias, precision, kernel)
        };

        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            weight.extend(values(&format!("attention.self.{part}.weight"), &[hidden, hidden])?);
            bias.extend(values(&format!("attention.self.{part}.bias"), &[hidden])?);
        }
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        weight[..hidden * hidden].iter_mut().chain(&mut bias[..hidden]).for_each(|value| *value *= scale);
        let qkv = pack(&weight, hidden, 0..hidden, &bias);
        let weight = values("attention.output.dense.weight", &[hidden, hidden])?;
        let out = pack(&weight, hidden, 0..hidden, &values("attention.output.dense.bias", &[hidden])?);

        let up = values("intermediate.dense.weight", &[inner, hidden])?;
        let up_bias = values("intermediate.dense.bias", &[inner])?;
        let down = values("output.dense.weight", &[hidden, inner])?;
        let down_bias = values("output.dense.bias", &[hidden])?;
        let feed_forward = (0..inner).step_by(INNER_VALUES).map(|start| {
            let part = start..inner.min(start + INNER_VALUES);
            let rows = &up[part.start * hidden..part.end * hidden];
            FeedForward {
                up: pack(rows, hidden, 0..hidden, &up_bias[part.clone()]),
                down: pack(&down, inner, part, &down_bias),
            }
        });
        let mut feed_forward: Vec<FeedForward> = feed_forward.collect();
        Linear::share_format(&mut feed_forward.iter_mut().map(|part| &mut part.up).collect::<Vec<_>>());
        Ok(Layer {
            qkv,
            out,
            attention_norm: Norm::load(tensors, &name("attention.output.LayerNorm"), hidden)?,
            feed_forward,
            output_norm: Norm::load(tensors, &name("output.LayerNorm"), hidden)?,
        })
    }
}

impl Norm {
    fn load(tensors: &Tensors<'_>, name: &str, hidden: usize) -> Result<Norm> {
        Ok(Norm {
            gain: tensors.values(&format!("{name}.weight"), &[hidden])?,
            bias: tensors.values(&format!("{name}.bias"), &[hidden])?,
        })
    }
}

fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_call_no_larger_than_one_before_allocates_nothing() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/e5-small-de-en");
        let model = Model::read(Path::new(folder), Precision::Int8).unwrap();
        let bert = Bert::load(&model, Kernel::detect(), Precision::Int8).unwrap();
        let (long, short): (Vec<u32>, Vec<u32>) = ((0..150).collect(), (0..7).collect());
        let mut workspace = Workspace::default();
        let mut pooled = vec![0.0; 2 * bert.hidden()];
        bert.forward(&[&long, &short], Pooling::Mean, 1, &mut workspace, &mut pooled);
        for texts in [vec![&short[..], &long[..]], vec![&short[..]]] {
            let counted = allocation_counter::measure(|| {
                bert.forward(&texts, Pooling::Mean, 1, &mut workspace, &mut pooled[..texts.len() * 384]);
            });
            assert_eq!(counted.count_total, 0);
        }
    }

    #[test]
    fn padding_tokens_in_a_text_do_not_count_as_positions_of_roberta() {
        let positions = |positions: Positions, ids: &[u32]| -> Vec<usize> {
            ids.iter().copied().map(positions.counter()).collect()
        };
        assert_eq!(positions(Positions::FromZero, &[0, 1, 5]), [0, 1, 2]);
        assert_eq!(positions(Positions::AfterPadding(1), &[0, 5, 1, 1, 6, 2]), [2, 3, 1, 1, 4, 5]);
    }
}
