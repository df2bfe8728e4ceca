//! Here are token ids of some texts, give me one pooled row per text.
//!
//! BERT (Devlin et al. 2019, <https://arxiv.org/abs/1810.04805>) without padding: the tokens of all texts lie one after
//! another, so every product runs over real tokens only, and attention runs text by text. Products go through candle's
//! matrix multiplication, which chooses its kernel at run time; everything between them is one pass over a slice.

use candle_core::{Device, Storage, Tensor};

use super::model::{Activation, Config, Model, ModelType, Pooling};
use super::weights::Tensors;
use crate::error::{Error, Result};

/// The network, in f32.
pub(super) struct Bert {
    hidden: usize,
    heads: usize,
    activation: Activation,
    epsilon: f32,
    positions: Positions,
    /// [vocabulary, hidden]
    words: Vec<f32>,
    /// [positions, hidden], with the row of token type 0 added: a single text has no other type.
    places: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Query (already divided by the square root of the head's width), key and value side by side: [hidden, 3 hidden].
    qkv: Linear,
    out: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    output_norm: Norm,
}

struct Linear {
    /// [in, out]
    weight: Tensor,
    bias: Vec<f32>,
}

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

impl Bert {
    pub(super) fn load(model: &Model) -> Result<Bert> {
        let config = &model.config;
        let hidden = config.hidden_size;
        let tensors = Tensors::open(&model.weights)?;
        let positions = config.max_position_embeddings;
        let mut places = tensors.values("embeddings.position_embeddings.weight", &[positions, hidden])?;
        let types = tensors.values("embeddings.token_type_embeddings.weight", &[config.type_vocab_size, hidden])?;
        for place in places.chunks_exact_mut(hidden) {
            add(place, &types[..hidden]);
        }
        let layers = (0..config.num_hidden_layers).map(|layer| Layer::load(&tensors, config, layer));
        Ok(Bert {
            hidden,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            epsilon: config.layer_norm_eps as f32,
            positions: match config.model_type {
                ModelType::Bert => Positions::FromZero,
                ModelType::XlmRoberta => Positions::AfterPadding(config.pad_token_id),
            },
            words: tensors.values("embeddings.word_embeddings.weight", &[config.vocab_size, hidden])?,
            places,
            norm: Norm::load(&tensors, "embeddings.LayerNorm", hidden)?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// Width of a hidden state, and of a pooled row.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }

    /// Pooled rows [n texts, hidden], not scaled; a text without tokens gives a row of zeros. Ids and positions must
    /// lie inside the tables (`Tokens` sees to it).
    pub(super) fn forward(&self, texts: &[&[u32]], pooling: Pooling) -> candle_core::Result<Vec<f32>> {
        let lengths: Vec<usize> = texts.iter().map(|ids| ids.len()).collect();
        let mut states = self.embed(texts);
        for layer in &self.layers {
            states = self.layer(layer, states, &lengths)?;
        }
        Ok(self.pool(&states, &lengths, pooling))
    }

    /// Word plus position, normed: [tokens, hidden].
    fn embed(&self, texts: &[&[u32]]) -> Vec<f32> {
        let mut states = Vec::with_capacity(texts.iter().map(|ids| ids.len()).sum::<usize>() * self.hidden);
        for ids in texts {
            for (place, &id) in self.positions.of(ids).into_iter().zip(*ids) {
                let start = states.len();
                states.extend_from_slice(&self.words[id as usize * self.hidden..][..self.hidden]);
                add(&mut states[start..], &self.places[place * self.hidden..][..self.hidden]);
            }
        }
        self.norm.apply(&mut states, self.epsilon);
        states
    }

    /// One layer over the states [tokens, hidden] of all texts.
    fn layer(&self, layer: &Layer, states: Vec<f32>, lengths: &[usize]) -> candle_core::Result<Vec<f32>> {
        let input = matrix(states, self.hidden)?;
        let context = self.attention(layer, &layer.qkv.product(&input)?, lengths)?;

        let product = layer.out.product(&matrix(context, self.hidden)?)?;
        let mut middle = read(&product, |product| layer.out.finish(product, |value| value))?;
        read(&input, |input| add(&mut middle, input))?;
        layer.attention_norm.apply(&mut middle, self.epsilon);

        let input = matrix(middle, self.hidden)?;
        let product = layer.up.product(&input)?;
        let inner = read(&product, |product| match self.activation {
            Activation::Gelu => layer.up.finish(product, gelu),
            Activation::GeluTanh => layer.up.finish(product, gelu_tanh),
            Activation::Relu => layer.up.finish(product, |value| value.max(0.0)),
        })?;
        let product = layer.down.product(&matrix(inner, layer.up.bias.len())?)?;
        let mut output = read(&product, |product| layer.down.finish(product, |value| value))?;
        read(&input, |input| add(&mut output, input))?;
        layer.output_norm.apply(&mut output, self.epsilon);
        Ok(output)
    }

    /// softmax(Q Kᵀ) V per text and head (Vaswani et al. 2017, equation 1), from the product [tokens, 3 hidden] that
    /// still lacks its bias: [tokens, hidden].
    fn attention(&self, layer: &Layer, product: &Tensor, lengths: &[usize]) -> candle_core::Result<Vec<f32>> {
        let (hidden, heads, width) = (self.hidden, self.heads, self.hidden / self.heads);
        let mut context = Vec::with_capacity(lengths.iter().sum::<usize>() * hidden);
        let mut start = 0;
        for &n in lengths {
            // [3, heads, n, width]: contiguous per head, the bias added on the way.
            let mut split = vec![0.0; 3 * n * hidden];
            read(product, |product| {
                let rows = product[start * 3 * hidden..].chunks_exact(3 * hidden).take(n);
                for (token, row) in rows.enumerate() {
                    for (head, (values, bias)) in
                        row.chunks_exact(width).zip(layer.qkv.bias.chunks_exact(width)).enumerate()
                    {
                        let target = &mut split[(head * n + token) * width..][..width];
                        for ((target, value), bias) in target.iter_mut().zip(values).zip(bias) {
                            *target = value + bias;
                        }
                    }
                }
            })?;
            let split = Tensor::from_vec(split, (3, heads, n, width), &Device::Cpu)?;
            let scores = split.get(0)?.matmul(&split.get(1)?.t()?)?;
            let (weights, sums) = read(&scores, |scores| exponentials(scores, n))?;
            let weights = Tensor::from_vec(weights, (heads, n, n), &Device::Cpu)?;
            let mixed = weights.matmul(&split.get(2)?)?;
            read(&mixed, |mixed| {
                for token in 0..n {
                    for head in 0..heads {
                        let scale = 1.0 / sums[head * n + token];
                        context.extend(mixed[(head * n + token) * width..][..width].iter().map(|value| value * scale));
                    }
                }
            })?;
            start += n;
        }
        Ok(context)
    }

    fn pool(&self, states: &[f32], lengths: &[usize], pooling: Pooling) -> Vec<f32> {
        let mut pooled = Vec::with_capacity(lengths.len() * self.hidden);
        let mut rest = states;
        for &n in lengths {
            let (text, after) = rest.split_at(n * self.hidden);
            rest = after;
            let mut rows = text.chunks_exact(self.hidden);
            let mut row = rows.next().map_or_else(|| vec![0.0; self.hidden], <[f32]>::to_vec);
            match pooling {
                Pooling::FirstToken => {}
                Pooling::Mean => {
                    rows.for_each(|other| add(&mut row, other));
                    row.iter_mut().for_each(|value| *value /= n.max(1) as f32);
                }
                Pooling::Max => {
                    rows.for_each(|other| {
                        row.iter_mut().zip(other).for_each(|(value, other)| *value = value.max(*other))
                    });
                }
            }
            pooled.extend(row);
        }
        pooled
    }
}

impl Positions {
    fn of(&self, ids: &[u32]) -> Vec<usize> {
        match *self {
            Positions::FromZero => (0..ids.len()).collect(),
            Positions::AfterPadding(padding) => {
                let mut last = padding as usize;
                let mut place = |&id: &u32| {
                    if id == padding {
                        return padding as usize;
                    }
                    last += 1;
                    last
                };
                ids.iter().map(&mut place).collect()
            }
        }
    }
}

impl Layer {
    fn load(tensors: &Tensors<'_>, config: &Config, layer: usize) -> Result<Layer> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let mut weight = Vec::new();
        let mut bias = Vec::new();
        for part in ["query", "key", "value"] {
            weight.extend(tensors.values(&name(&format!("attention.self.{part}.weight")), &[hidden, hidden])?);
            bias.extend(tensors.values(&name(&format!("attention.self.{part}.bias")), &[hidden])?);
        }
        let scale = 1.0 / ((hidden / config.num_attention_heads) as f32).sqrt();
        weight[..hidden * hidden].iter_mut().chain(&mut bias[..hidden]).for_each(|value| *value *= scale);
        Ok(Layer {
            qkv: Linear::new(weight, bias, hidden)?,
            out: Linear::load(tensors, &name("attention.output.dense"), hidden, hidden)?,
            attention_norm: Norm::load(tensors, &name("attention.output.LayerNorm"), hidden)?,
            up: Linear::load(tensors, &name("intermediate.dense"), hidden, inner)?,
            down: Linear::load(tensors, &name("output.dense"), inner, hidden)?,
            output_norm: Norm::load(tensors, &name("output.LayerNorm"), hidden)?,
        })
    }
}

impl Linear {
    fn load(tensors: &Tensors<'_>, name: &str, input: usize, output: usize) -> Result<Linear> {
        let weight = tensors.values(&format!("{name}.weight"), &[output, input])?;
        Linear::new(weight, tensors.values(&format!("{name}.bias"), &[output])?, input)
    }

    /// From a weight [out, in]; it is turned once here so that no product has to.
    fn new(weight: Vec<f32>, bias: Vec<f32>, input: usize) -> Result<Linear> {
        let weight = matrix(weight, input).and_then(|weight| weight.t()?.contiguous());
        let weight = weight.map_err(|_| Error::Bug("a weight of a checked shape is no matrix"))?;
        Ok(Linear { weight, bias })
    }

    /// `input` [tokens, in] times the weight, [tokens, out], without the bias.
    fn product(&self, input: &Tensor) -> candle_core::Result<Tensor> {
        input.matmul(&self.weight)
    }

    /// Adds the bias to a product and applies `activation`, in one pass.
    fn finish(&self, product: &[f32], activation: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut values = vec![0.0; product.len()];
        for (values, product) in values.chunks_exact_mut(self.bias.len()).zip(product.chunks_exact(self.bias.len())) {
            for ((value, product), bias) in values.iter_mut().zip(product).zip(&self.bias) {
                *value = activation(product + bias);
            }
        }
        values
    }
}

impl Norm {
    fn load(tensors: &Tensors<'_>, name: &str, hidden: usize) -> Result<Norm> {
        Ok(Norm {
            gain: tensors.values(&format!("{name}.weight"), &[hidden])?,
            bias: tensors.values(&format!("{name}.bias"), &[hidden])?,
        })
    }

    /// Layer normalisation of every row (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
    fn apply(&self, rows: &mut [f32], epsilon: f32) {
        let n = self.gain.len() as f32;
        for row in rows.chunks_exact_mut(self.gain.len()) {
            let mean = sum(row, |value| value) / n;
            let variance = sum(row, |value| (value - mean) * (value - mean)) / n;
            let scale = 1.0 / (variance + epsilon).sqrt();
            for ((value, gain), bias) in row.iter_mut().zip(&self.gain).zip(&self.bias) {
                *value = (*value - mean) * scale * gain + bias;
            }
        }
    }
}

/// `values` as a matrix of `columns` columns, without a copy.
fn matrix(values: Vec<f32>, columns: usize) -> candle_core::Result<Tensor> {
    let rows = values.len() / columns;
    Tensor::from_vec(values, (rows, columns), &Device::Cpu)
}

/// Hands the values of a contiguous tensor to `run`, without a copy.
fn read<T>(tensor: &Tensor, run: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(run(&storage.as_slice::<f32>()?[start..end])),
        _ => candle_core::bail!("expected a contiguous tensor on the CPU"),
    }
}

fn add(values: &mut [f32], others: &[f32]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value += other;
    }
}

/// Sums in sixteen lanes, which the compiler can keep in vector registers; a single running sum it may not reorder.
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let chunks = values.chunks_exact(lanes.len());
    let rest: f32 = chunks.remainder().iter().map(|&value| of(value)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += of(value);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// exp(score - highest score of the row) for rows of `n`, and the sum of each row.
fn exponentials(scores: &[f32], n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut weights = vec![0.0; scores.len()];
    let mut sums = Vec::with_capacity(scores.len() / n.max(1));
    for (weights, scores) in weights.chunks_exact_mut(n).zip(scores.chunks_exact(n)) {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let chunks = scores.chunks_exact(lanes.len());
        let rest = chunks
            .remainder()
            .iter()
            .fold(f32::NEG_INFINITY, |highest, &score| if score > highest { score } else { highest });
        for chunk in chunks {
            for (lane, &score) in lanes.iter_mut().zip(chunk) {
                *lane = if score > *lane { score } else { *lane };
            }
        }
        let highest = lanes.iter().fold(rest, |highest, &lane| highest.max(lane));
        for (weight, score) in weights.iter_mut().zip(scores) {
            *weight = exp(score - highest);
        }
        sums.push(sum(weights, |weight| weight));
    }
    (weights, sums)
}

/// e^x for x in -87..=88 (lower ones give about 1e-38), within 3e-7 of it in proportion: 2^n times the polynomial of
/// Cephes' `expf` (<https://netlib.org/cephes/>) for the rest of |x| <= ln 2 / 2. Free of branches and of calls, so that
/// it runs in vector registers.
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // Written so that NaN stays NaN.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let polynomial =
        ((((1.987_569_2e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r + 0.166_666_65) * r
            + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    (polynomial * r * r + r + 1.0) * power
}

/// x Φ(x) (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>) with the error function as Eigen computes it
/// in f32: a quotient of two polynomials on -4..=4, within 5e-7 of it everywhere, and free of branches.
fn gelu(x: f32) -> f32 {
    let y = x * std::f32::consts::FRAC_1_SQRT_2;
    let y = if y > 4.0 { 4.0 } else { y };
    let y = if y < -4.0 { -4.0 } else { y };
    let s = y * y;
    let above = (((((-2.726_142_3e-10 * s + 2.770_681_4e-8) * s - 2.101_024e-6) * s - 5.692_506_4e-5) * s
        - 7.349_906_3e-4)
        * s
        - 2.954_6e-3)
        * s
        - 1.609_603_3e-2;
    let below = (((-1.456_607_2e-5 * s - 2.133_740_6e-4) * s - 1.682_827e-3) * s - 7.373_329e-3) * s - 1.426_473_9e-2;
    0.5 * x * (1.0 + y * above / below)
}

/// The approximation of the GELU by tanh, from the same paper, with tanh(y) = 1 - 2 / (e^2y + 1).
fn gelu_tanh(x: f32) -> f32 {
    let y = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    let y = if y > 15.0 { 15.0 } else { y };
    x * (1.0 - 1.0 / (exp(2.0 * y) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its Taylor series (Abramowitz and Stegun 7.1.5), in f64 within 1e-9 for |x| <= 4.
    fn erf(x: f64) -> f64 {
        let mut term = x;
        let mut total = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            total += term / f64::from(2 * n + 1);
        }
        total * std::f64::consts::FRAC_2_SQRT_PI
    }

    fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=20_000).map(move |i| from + (to - from) * i as f32 / 20_000.0)
    }

    #[test]
    fn gelu_is_exact_to_two_millionths() {
        for x in grid(-5.6, 5.6) {
            let exact = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2));
            assert!((f64::from(gelu(x)) - exact).abs() < 2e-6, "{x}: {} {exact}", gelu(x));
        }
        assert!((gelu(30.0) - 30.0).abs() < 1e-5 && gelu(-30.0).abs() < 1e-5);
        assert!(gelu(f32::NAN).is_nan() && gelu(f32::INFINITY) == f32::INFINITY);
    }

    #[test]
    fn gelu_by_tanh_follows_its_formula() {
        for x in grid(-9.0, 9.0) {
            let y = f64::from(x);
            let exact = 0.5 * y * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (y + 0.044_715 * y.powi(3))).tanh());
            assert!((f64::from(gelu_tanh(x)) - exact).abs() < 2e-6, "{x}");
        }
        assert!(gelu_tanh(1e4) == 1e4 && gelu_tanh(-1e4).abs() < 1e-5 && gelu_tanh(f32::NAN).is_nan());
    }

    #[test]
    fn exp_is_exact_to_a_few_units_in_the_last_place() {
        for x in grid(-87.0, 40.0) {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "{x}");
        }
        assert!(exp(0.0) == 1.0 && exp(-1e30) < 1e-37 && exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn exponentials_are_those_of_a_softmax_for_rows_of_any_length() {
        for n in [1, 2, 15, 16, 17, 33] {
            let scores: Vec<f32> = (0..3 * n).map(|i| ((i * 7919) % 101) as f32 / 5.0 - 10.0).collect();
            let (weights, sums) = exponentials(&scores, n);
            for ((weights, scores), sum) in weights.chunks(n).zip(scores.chunks(n)).zip(&sums) {
                let total: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
                for (weight, &score) in weights.iter().zip(scores) {
                    assert!((f64::from(weight / sum) - f64::from(score).exp() / total).abs() < 1e-6, "{n}");
                }
            }
        }
    }

    #[test]
    fn a_normed_row_has_mean_zero_and_variance_one_before_gain_and_bias() {
        let norm = Norm { gain: vec![2.0; 19], bias: vec![0.5; 19] };
        let mut row: Vec<f32> = (0..19).map(|i| (i * i) as f32 - 50.0).collect();
        norm.apply(&mut row, 1e-12);
        let mean = row.iter().sum::<f32>() / 19.0;
        let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 19.0;
        assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4, "{mean} {variance}");
    }

    #[test]
    fn padding_tokens_in_a_text_do_not_count_as_positions_of_roberta() {
        assert_eq!(Positions::FromZero.of(&[0, 1, 5]), [0, 1, 2]);
        assert_eq!(Positions::AfterPadding(1).of(&[0, 5, 1, 1, 6, 2]), [2, 3, 1, 1, 4, 5]);
    }
}
