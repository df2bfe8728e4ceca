//! Every kernel that this machine has against plain loops over the same integers, and against one another bit by bit.

use super::attention::{Heads, Scratch};
use super::operand::{COLUMNS, Format, Linear, Precision, Quantised, Words};
use super::rows::Finish;
use super::{Kernel, portable::Portable};
use crate::embed::kernel::functions::{exp, gelu, gelu_tanh};
use crate::embed::kernel::lanes::{LANES, Lanes};
use crate::embed::model::Activation;

const PRECISIONS: [Precision; 2] = [Precision::Int8, Precision::Exact];

fn kernels() -> Vec<Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported()).collect()
}

/// Uniform in -1..1, by a linear congruential generator (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.next()).collect()
    }
}

/// The integer weight of an output and an input, as packed.
fn weight(linear: &Linear, output: usize, input: usize) -> i64 {
    let per_word = linear.words.values();
    let steps = linear.inputs.div_ceil(per_word);
    let (panel, column) = (output / COLUMNS, output % COLUMNS);
    let line = (panel * steps + input / per_word) * 2 + column / LANES;
    let bytes = linear.lines[line].0[column % LANES].to_ne_bytes();
    match linear.words {
        Words::Quads => i64::from(bytes[input % 4] as i8),
        Words::Pairs => i64::from(i16::from_ne_bytes([bytes[input % 2 * 2], bytes[input % 2 * 2 + 1]])),
    }
}

/// The integer activation of a row and an input, as stored.
fn activation(input: &Quantised, words: Words, row: usize, i: usize) -> i64 {
    match words {
        Words::Quads => i64::from(input.bytes[row * input.width + i]),
        Words::Pairs => i64::from(input.shorts[row * input.width + i]),
    }
}

/// What a kernel makes of rows and a weight, and the same from its integers by plain loops.
fn project(
    kernel: Kernel,
    precision: Precision,
    rows: &[f32],
    weights: &[f32],
    bias: &[f32],
    finish: Finish,
) -> (Vec<f32>, Vec<f64>) {
    let inputs = weights.len() / bias.len();
    let linear = Linear::pack(weights, inputs, 0..inputs, bias, precision, kernel);
    let mut input = Quantised::default();
    kernel.quantise(rows, &linear, &mut input);
    let n = rows.len() / inputs;
    // Something to accumulate on.
    let mut output: Vec<f32> = (0..n * bias.len()).map(|i| i as f32 / 64.0).collect();
    let before = output.clone();
    kernel.project(&input, &linear, finish, &mut output);
    let mut expected = Vec::new();
    for row in 0..n {
        for (column, &bias) in bias.iter().enumerate() {
            let zero = input.zero[row] as i64;
            let products = (0..inputs)
                .map(|i| (activation(&input, linear.words, row, i) - zero) * weight(&linear, column, i))
                .sum::<i64>();
            let product = products as f64 * f64::from(input.scale[row]) * f64::from(linear.scale[column]);
            let with_bias = product + f64::from(bias);
            expected.push(match finish {
                Finish::Accumulate => product + f64::from(before[expected.len()]),
                Finish::Bias => with_bias,
                Finish::Activate(_) => with_bias.max(0.0),
            });
        }
    }
    (output, expected)
}

fn assert_near(received: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(received.len(), expected.len(), "{what}");
    for (i, (&received, expected)) in received.iter().zip(expected).enumerate() {
        let difference = (f64::from(received) - expected).abs();
        assert!(difference <= tolerance * (1.0 + expected.abs()), "{what}, value {i}: {received} and not {expected}");
    }
}

#[test]
fn a_product_is_that_of_its_integers_for_every_remainder_of_a_tile() {
    let mut random = Random(1);
    for precision in PRECISIONS {
        for (inputs, outputs) in [(1, 1), (3, 5), (4, 32), (7, 33), (16, 31), (33, 64), (64, 100), (130, 65)] {
            for rows in (1..=13).chain([24, 25, 31]) {
                let (values, weights, bias) =
                    (random.values(rows * inputs), random.values(outputs * inputs), random.values(outputs));
                for finish in [Finish::Bias, Finish::Accumulate, Finish::Activate(Activation::Relu)] {
                    let mut first: Option<Vec<f32>> = None;
                    for kernel in kernels() {
                        let what = format!("{kernel:?} {precision:?} {rows}x{inputs}x{outputs} {finish:?}");
                        let (received, expected) = project(kernel, precision, &values, &weights, &bias, finish);
                        assert_near(&received, &expected, 1e-5, &what);
                        assert_eq!(first.get_or_insert_with(|| received.clone()), &received, "{what}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_product_is_near_that_of_the_values_it_was_made_from() {
    let mut random = Random(2);
    let (rows, inputs, outputs) = (13, 384, 96);
    let (values, weights, bias) =
        (random.values(rows * inputs), random.values(outputs * inputs), random.values(outputs));
    for (precision, tolerance) in [(Precision::Int8, 0.15), (Precision::Exact, 0.01)] {
        for kernel in kernels() {
            let (received, _) = project(kernel, precision, &values, &weights, &bias, Finish::Bias);
            for (row, received) in values.chunks(inputs).zip(received.chunks(outputs)) {
                for ((weight, bias), received) in weights.chunks(inputs).zip(&bias).zip(received) {
                    let exact = row.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>() + bias;
                    assert!(
                        (exact - received).abs() < tolerance,
                        "{kernel:?} {precision:?}: {received} and not {exact}"
                    );
                }
            }
        }
    }
}

#[test]
fn extreme_values_neither_overflow_a_sum_nor_break_a_row() {
    let (inputs, outputs) = (512, 33);
    let rows: Vec<(&str, Vec<f32>)> = vec![
        ("zeros", vec![0.0; inputs]),
        ("highest", vec![1e30; inputs]),
        ("lowest", vec![-1e30; inputs]),
        ("tiny", vec![1e-35; inputs]),
        ("both", (0..inputs).map(|i| if i % 2 == 0 { 1e20 } else { -1e20 }).collect()),
        ("one far out", (0..inputs).map(|i| if i == 7 { 1e6 } else { 0.5 }).collect()),
    ];
    let weights: Vec<f32> = (0..inputs * outputs)
        .map(|i| {
            if (i / inputs) % 3 == 0 {
                1.0
            } else if i % 2 == 0 {
                3.0
            } else {
                -3.0
            }
        })
        .collect();
    let bias = vec![0.25; outputs];
    for precision in PRECISIONS {
        for (name, row) in &rows {
            let mut first: Option<Vec<f32>> = None;
            for kernel in kernels() {
                let (received, expected) = project(kernel, precision, row, &weights, &bias, Finish::Bias);
                assert_near(&received, &expected, 1e-5, &format!("{kernel:?} {precision:?} {name}"));
                assert_eq!(first.get_or_insert_with(|| received.clone()), &received, "{kernel:?} {precision:?} {name}");
            }
        }
    }
}

#[test]
fn one_quantisation_serves_several_weights_without_an_overflow() {
    let (inputs, rows) = (384, 1);
    // Far apart in the sum of a row: one weight, and all of them.
    let light: Vec<f32> = (0..inputs).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect();
    let heavy = vec![1.0; inputs];
    for kernel in kernels() {
        for precision in PRECISIONS {
            let pack = |weights: &[f32]| Linear::pack(weights, inputs, 0..inputs, &[0.0], precision, kernel);
            let (mut first, mut second) = (pack(&light), pack(&heavy));
            Linear::share_format(&mut [&mut first, &mut second]);
            let mut input = Quantised::default();
            kernel.quantise(&vec![2.0; rows * inputs], &first, &mut input);
            for (linear, expected) in [(&first, 2.0), (&second, 2.0 * inputs as f64)] {
                let mut output = vec![0.0];
                kernel.project(&input, linear, Finish::Bias, &mut output);
                assert_near(&output, &[expected], 1e-2, &format!("{kernel:?} {precision:?}"));
            }
        }
    }
}

#[test]
fn weights_of_zero_give_the_bias() {
    for kernel in kernels() {
        for precision in PRECISIONS {
            let (received, _) = project(kernel, precision, &[3.0; 20], &[0.0; 30], &[0.5, -1.0, 2.0], Finish::Bias);
            assert_eq!(received, [0.5, -1.0, 2.0, 0.5, -1.0, 2.0], "{kernel:?} {precision:?}");
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    for kernel in kernels() {
        for precision in PRECISIONS {
            let linear = Linear::pack(&[1.0; 96], 32, 0..32, &[0.0; 3], precision, kernel);
            let (mut input, mut output) = (Quantised::default(), vec![0.0; 3]);
            kernel.quantise(&[f32::NAN; 32], &linear, &mut input);
            kernel.project(&input, &linear, Finish::Bias, &mut output);
            assert!(output.iter().all(|value| value.is_nan()), "{kernel:?} {precision:?}: {output:?}");
            let mut row = vec![1.0; 20];
            row[3] = f32::NAN;
            kernel.add_and_norm(&mut row, &[0.0; 20], &[1.0; 20], &[0.0; 20], 1e-12);
            assert!(row.iter().all(|value| value.is_nan()), "{kernel:?}: {row:?}");
        }
    }
}

#[test]
fn columns_of_a_weight_can_be_packed_apart_and_accumulated() {
    let mut random = Random(3);
    let (inputs, outputs, rows) = (48, 37, 5);
    let (values, weights, bias) =
        (random.values(rows * inputs), random.values(outputs * inputs), random.values(outputs));
    for kernel in kernels() {
        let mut output = vec![0.0; rows * outputs];
        for (part, finish) in [(0..32, Finish::Bias), (32..48, Finish::Accumulate)] {
            let linear = Linear::pack(&weights, inputs, part.clone(), &bias, Precision::Exact, kernel);
            let values: Vec<f32> = values.chunks(inputs).flat_map(|row| row[part.clone()].to_vec()).collect();
            let mut input = Quantised::default();
            kernel.quantise(&values, &linear, &mut input);
            kernel.project(&input, &linear, finish, &mut output);
        }
        let (whole, _) = project(kernel, Precision::Exact, &values, &weights, &bias, Finish::Bias);
        let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
        assert_near(&output, &whole, 2e-3, &format!("{kernel:?}"));
    }
}

#[test]
fn a_normed_row_has_mean_zero_and_variance_one_before_gain_and_bias() {
    let mut random = Random(4);
    for width in [1, 8, 15, 16, 17, 19, 384] {
        let (rows, other, gain, bias) =
            (random.values(3 * width), random.values(3 * width), random.values(width), random.values(width));
        let mut first: Option<Vec<f32>> = None;
        for kernel in kernels() {
            let mut received = rows.clone();
            kernel.add_and_norm(&mut received, &other, &gain, &bias, 1e-5);
            let mut expected = Vec::new();
            for (row, other) in rows.chunks(width).zip(other.chunks(width)) {
                let sums: Vec<f64> = row.iter().zip(other).map(|(a, b)| f64::from(a + b)).collect();
                let mean = sums.iter().sum::<f64>() / width as f64;
                let variance = sums.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / width as f64;
                let normed = sums.iter().map(|value| (value - mean) / (variance + 1e-5).sqrt());
                expected.extend(normed.zip(&gain).zip(&bias).map(|((x, &g), &b)| x * f64::from(g) + f64::from(b)));
            }
            assert_near(&received, &expected, 1e-5, &format!("{kernel:?} {width}"));
            assert_eq!(first.get_or_insert_with(|| received.clone()), &received, "{kernel:?} {width}");
        }
    }
}

/// softmax(Q Kᵀ) V by plain loops in 64 bits.
fn attention(text: &[f32], heads: Heads) -> Vec<f64> {
    let hidden = heads.n * heads.width;
    let rows: Vec<&[f32]> = text.chunks(3 * hidden).collect();
    let mut context = vec![0.0; rows.len() * hidden];
    for head in 0..heads.n {
        let part = |row: usize, which: usize| &rows[row][which * hidden + head * heads.width..][..heads.width];
        for query in 0..rows.len() {
            let score = |key: usize| {
                part(query, 0).iter().zip(part(key, 1)).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>()
            };
            let scores: Vec<f64> = (0..rows.len()).map(score).collect();
            let highest = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (key, weight) in weights.iter().enumerate() {
                for (i, &value) in part(key, 2).iter().enumerate() {
                    context[query * hidden + head * heads.width + i] += weight / total * f64::from(value);
                }
            }
        }
    }
    context
}

#[test]
fn attention_is_that_of_its_formula_for_every_length_and_width() {
    let mut random = Random(5);
    for (heads, scale) in [
        (Heads { n: 2, width: 32 }, 1.0),
        (Heads { n: 1, width: 4 }, 4.0),
        (Heads { n: 3, width: 7 }, 2.0),
        (Heads { n: 1, width: 33 }, 1.0),
        (Heads { n: 1, width: 64 }, 1.0),
    ] {
        let hidden = heads.n * heads.width;
        for tokens in [1, 2, 3, 12, 15, 16, 17, 31, 32, 33, 65, 200] {
            let text: Vec<f32> = random.values(tokens * 3 * hidden).iter().map(|value| value * scale).collect();
            let expected = attention(&text, heads);
            let mut first: Option<Vec<f32>> = None;
            for kernel in kernels() {
                let what = format!("{kernel:?} {tokens} tokens, {heads:?}");
                let mut scratch = Scratch::default();
                let mut received = vec![f32::NAN; tokens * hidden];
                kernel.attend(&text, heads, 0..tokens, &mut scratch, &mut received);
                assert_near(&received, &expected, 2e-3 * f64::from(scale), &what);
                assert_eq!(first.get_or_insert_with(|| received.clone()), &received, "{what}");
                // In parts, and with the buffers of another text.
                let middle = tokens / 3;
                let mut parts = vec![f32::NAN; tokens * hidden];
                kernel.attend(&text, heads, middle..tokens, &mut scratch, &mut parts[middle * hidden..]);
                kernel.attend(&text[3 * hidden * (tokens / 2)..], heads, 0..1, &mut scratch, &mut [0.0; 64][..hidden]);
                kernel.attend(&text, heads, 0..middle, &mut scratch, &mut parts[..middle * hidden]);
                assert_eq!(parts, received, "{what}");
            }
        }
    }
}

#[test]
fn attention_survives_extreme_values_and_a_thousand_tokens() {
    let heads = Heads { n: 1, width: 4 };
    for value in [0.0, 1e-20, 1.0, 1e6, 1e15] {
        // Alike everywhere, so the context is the value itself.
        let text: Vec<f32> = (0..1000 * 12).map(|i| if i % 12 < 8 { value } else { 3.0 }).collect();
        for kernel in kernels() {
            let mut context = vec![f32::NAN; 1000 * 4];
            kernel.attend(&text, heads, 0..1000, &mut Scratch::default(), &mut context);
            assert!(context.iter().all(|value| (value - 3.0).abs() < 0.01), "{kernel:?} {value}: {:?}", &context[..4]);
        }
    }
}

#[test]
fn bytes_and_shorts_hold_the_same_integers() {
    let mut random = Random(6);
    let values = random.values(5 * 100);
    let quantised = |format: Format| {
        let mut input = Quantised::default();
        super::rows::quantise::<Portable>(&values, 100, 100, format, &mut input);
        input
    };
    let (bytes, shorts) = (quantised(Format::Asymmetric(Words::Quads)), quantised(Format::Asymmetric(Words::Pairs)));
    assert!(bytes.bytes.iter().map(|&byte| i16::from(byte)).eq(shorts.shorts.iter().copied().take(bytes.bytes.len())));
    assert_eq!((&bytes.scale, &bytes.zero), (&shorts.scale, &shorts.zero));
}

fn grid(from: f32, to: f32) -> impl Iterator<Item = f32> {
    (0..=20_000).map(move |i| from + (to - from) * i as f32 / 20_000.0)
}

fn one(function: impl Fn(Portable) -> Portable, x: f32) -> f32 {
    function(Portable::splat(x)).to_array()[0]
}

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

#[test]
fn gelu_is_exact_to_two_hundred_thousandths() {
    for x in grid(-5.6, 5.6) {
        let exact = 0.5 * f64::from(x) * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2));
        assert!((f64::from(one(gelu, x)) - exact).abs() < 2e-5, "{x}: {} {exact}", one(gelu, x));
    }
    assert!(one(gelu, 1e4) == 1e4 && one(gelu, -1e4) == 0.0 && one(gelu, f32::NAN).is_nan());
}

#[test]
fn gelu_by_tanh_follows_its_formula() {
    for x in grid(-9.0, 9.0) {
        let y = f64::from(x);
        let exact = 0.5 * y * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (y + 0.044_715 * y.powi(3))).tanh());
        assert!((f64::from(one(gelu_tanh, x)) - exact).abs() < 1e-5, "{x}");
    }
    assert!(one(gelu_tanh, 1e4) == 1e4 && one(gelu_tanh, -1e4).abs() < 1e-5 && one(gelu_tanh, f32::NAN).is_nan());
}

#[test]
fn exp_is_exact_to_four_millionths() {
    for x in grid(-86.0, 40.0) {
        let exact = f64::from(x).exp();
        assert!((f64::from(one(exp, x)) / exact - 1.0).abs() < 4e-6, "{x}");
    }
    assert!(one(exp, 0.0) == 1.0 && one(exp, -1e30) < 1e-37 && one(exp, f32::NEG_INFINITY) < 1e-37);
    assert!(one(exp, f32::NAN).is_nan());
}
