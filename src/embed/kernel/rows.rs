//! What is done row by row: quantising, the product with its bias and activation, adding and normalising.

use super::functions::{gelu, gelu_tanh};
use super::lanes::{LANES, Lanes, first_lanes, load_part, store_part};
use super::operand::{COLUMNS, Format, Linear, Quantised, Tile, Words};
use crate::embed::model::Activation;

/// What becomes of a product.
#[derive(Debug, Clone, Copy)]
pub(in crate::embed) enum Finish {
    /// The bias is added.
    Bias,
    /// The bias is added, then this is applied.
    Activate(Activation),
    /// The product is added to what the output holds; the bias is left out.
    Accumulate,
}

/// Scale of a row of zeros.
const LEAST_SCALE: f32 = 1e-30;

/// The higher of both, and what is not a number stays so: a row that is broken must not come out whole.
#[inline(always)]
fn at_least(least: f32, value: f32) -> f32 {
    if value < least { least } else { value }
}

/// Quantises rows [n, inputs] as `linear` wants its input.
#[inline(always)]
pub(super) fn quantise_for<L: Lanes>(rows: &[f32], linear: &Linear, into: &mut Quantised) {
    quantise::<L>(rows, linear.inputs, linear.inputs, linear.format, into);
}

/// Quantises rows of `width` values, `stride` values apart.
#[inline(always)]
pub(super) fn quantise<L: Lanes>(rows: &[f32], width: usize, stride: usize, format: Format, into: &mut Quantised) {
    into.reserve(rows.len().div_ceil(stride), width, format.words());
    for (position, row) in rows.chunks(stride).enumerate() {
        let row = &row[..width];
        let (scale, zero, lowest, highest) = match format {
            Format::Asymmetric(_) => {
                // How far the values reach below and above zero.
                let (mut below, mut above) = (L::splat(0.0), L::splat(0.0));
                for values in row.chunks(LANES) {
                    let values = load_part::<L>(values);
                    below = below.max(L::splat(0.0).sub(values));
                    above = above.max(values);
                }
                let (below, above) = (below.highest(), above.highest());
                let scale = at_least(LEAST_SCALE, (above + below) / 255.0);
                (scale, (below / scale).round_ties_even(), 0.0, 255.0)
            }
            Format::Symmetric(limit) => {
                let limit = f32::from(limit);
                let mut reach = L::splat(0.0);
                for values in row.chunks(LANES) {
                    let values = load_part::<L>(values);
                    reach = reach.max(L::splat(0.0).sub(values)).max(values);
                }
                (at_least(LEAST_SCALE, reach.highest() / limit), 0.0, -limit, limit)
            }
        };
        (into.scale[position], into.zero[position]) = (scale, zero);
        let (inverse, zero) = (L::splat(1.0 / scale), L::splat(zero));
        // The zero point may be rounded up, and then the highest value too.
        let (lowest, highest) = (L::splat(lowest), L::splat(highest));
        let integers = |values: &[f32]| load_part::<L>(values).mul_add(inverse, zero).max(lowest).min(highest);
        let start = position * into.width;
        match format.words() {
            Words::Quads => {
                let target = into.bytes[start..][..into.width].as_chunks_mut::<LANES>().0;
                for (values, target) in row.chunks(LANES).zip(target) {
                    integers(values).store_u8(target);
                }
            }
            Words::Pairs => {
                let target = into.shorts[start..][..into.width].as_chunks_mut::<LANES>().0;
                for (values, target) in row.chunks(LANES).zip(target) {
                    integers(values).store_i16(target);
                }
            }
        }
    }
}

/// `input` [rows, inputs] times the weight, finished, into `output` [rows, outputs].
#[inline(always)]
pub(super) fn project<L: Lanes>(input: &Quantised, linear: &Linear, finish: Finish, output: &mut [f32]) {
    let (words, outputs) = (linear.words, linear.outputs);
    let steps = linear.inputs.div_ceil(words.values());
    assert!(linear.inputs <= input.width && output.len() >= input.rows * outputs, "operands that do not fit");
    let mut tile = Tile::ZERO;
    for (panel, lines) in linear.lines.chunks_exact(2 * steps).enumerate() {
        let first = panel * COLUMNS;
        let columns = COLUMNS.min(outputs - first);
        let mut start = 0;
        while start < input.rows {
            let height = tile_height::<L>(input.rows - start);
            let (left, stride, readable) = input.words_from(words, start);
            assert!((height - 1) * stride + steps <= readable, "a left operand that is too short");
            // SAFETY: the height is one of the kernel's; the assertion says that the left operand is long enough, and
            // `lines` holds two lines per step.
            unsafe { L::products(words, height, left, stride, lines.as_ptr(), steps, &mut tile) };
            for (row, sums) in tile.0.iter().take(height.min(input.rows - start)).enumerate() {
                let row = start + row;
                let target = &mut output[row * outputs + first..][..columns];
                finish_row::<L>(sums, linear, first, input.scale[row], input.zero[row], finish, target);
            }
            start += height;
        }
    }
}

/// The highest tile that `rows` rows fill, else the lowest.
#[inline(always)]
pub(super) fn tile_height<L: Lanes>(rows: usize) -> usize {
    let heights = L::HEIGHTS;
    heights.iter().copied().find(|&height| height <= rows).unwrap_or(heights[heights.len() - 1])
}

/// From integer sums to values: scale_row · scale_column · (sum - zero · sum of the weights) + bias. The inner
/// difference is exact while it stays below 2^24, as it does for 8 bits and up to 500 inputs.
#[inline(always)]
fn finish_row<L: Lanes>(
    sums: &[i32; COLUMNS],
    linear: &Linear,
    first: usize,
    scale: f32,
    zero: f32,
    finish: Finish,
    target: &mut [f32],
) {
    let (scale, minus_zero) = (L::splat(scale), L::splat(-zero));
    for (half, sums) in sums.as_chunks::<LANES>().0.iter().enumerate() {
        let column = half * LANES;
        if column >= target.len() {
            break;
        }
        let of = |values: &[f32]| L::load(&values[first + column..].as_chunks::<LANES>().0[0]);
        let product = of(&linear.sums).mul_add(minus_zero, L::from_integers(sums)).mul(scale);
        let end = target.len().min(column + LANES);
        let target = &mut target[column..end];
        let term = match finish {
            Finish::Bias | Finish::Activate(_) => of(&linear.bias),
            Finish::Accumulate => load_part::<L>(target),
        };
        let value = product.mul_add(of(&linear.scale), term);
        let value = match finish {
            Finish::Bias | Finish::Accumulate => value,
            Finish::Activate(Activation::Gelu) => gelu(value),
            Finish::Activate(Activation::GeluTanh) => gelu_tanh(value),
            Finish::Activate(Activation::Relu) => value.max(L::splat(0.0)),
        };
        store_part(value, target);
    }
}

/// Adds `other` to `rows`, then normalises every row (Ba et al. 2016, <https://arxiv.org/abs/1607.06450>).
#[inline(always)]
pub(super) fn add_and_norm<L: Lanes>(rows: &mut [f32], other: &[f32], gain: &[f32], bias: &[f32], epsilon: f32) {
    let width = gain.len();
    let n = width as f32;
    for (row, other) in rows.chunks_exact_mut(width).zip(other.chunks_exact(width)) {
        let mut total = L::splat(0.0);
        for (row, other) in row.chunks_mut(LANES).zip(other.chunks(LANES)) {
            let value = load_part::<L>(row).add(load_part(other));
            total = total.add(value);
            store_part(value, row);
        }
        let mean = total.sum() / n;
        let mut squares = L::splat(0.0);
        for values in row.chunks(LANES) {
            let difference = load_part::<L>(values).sub(L::splat(mean));
            let difference = if values.len() == LANES { difference } else { first_lanes(difference, values.len()) };
            squares = difference.mul_add(difference, squares);
        }
        let variance = squares.sum() / n;
        let (mean, scale) = (L::splat(mean), L::splat(1.0 / (variance + epsilon).sqrt()));
        for ((values, gain), bias) in row.chunks_mut(LANES).zip(gain.chunks(LANES)).zip(bias.chunks(LANES)) {
            let normed = load_part::<L>(values).sub(mean).mul(scale);
            store_part(normed.mul_add(load_part(gain), load_part(bias)), values);
        }
    }
}
