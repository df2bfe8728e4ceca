//! softmax(Q Kᵀ) V (Vaswani et al. 2017, equation 1) of one text, head by head, in 16-bit integers.
//!
//! Queries, keys, values and the weights of the softmax are quantised to as many bits as the sums allow, so that both
//! products are sums of integers. Keys and values are packed once per text and head; a tile of queries is then carried
//! through both products, so memory grows with the length of the text, not with its square.

use std::ops::Range;

use super::functions::exp;
use super::lanes::{LANES, Lanes, load_part, store_part};
use super::operand::{COLUMNS, Format, Line, MAX_HEIGHT, Quantised, Tile, Words, grow};
use super::rows::{quantise, tile_height};

/// Highest magnitude of an integer value (of V). The rest of 31 bits is for the weights: with 12 bits here a weight
/// has 9 where 512 tokens are attended to alike, and 15 where few are.
const VALUE_LIMIT: i16 = 4095;

/// Score of what is no key: its weight is zero.
const NO_KEY: f32 = -1e30;

/// What the products of attention are computed in; keeps its room from call to call.
#[derive(Default)]
pub(in crate::embed) struct Scratch {
    queries: Quantised,
    keys: Quantised,
    /// Per panel of [`COLUMNS`] keys, per pair of components: two lines.
    key_lines: Vec<Line>,
    /// Per panel of [`COLUMNS`] components, per pair of keys: two lines.
    value_lines: Vec<Line>,
    /// [tile rows, keys], filled up to whole panels.
    scores: Vec<f32>,
    /// As scores.
    weights: Vec<i16>,
}

/// Sizes of the heads, which lie side by side in a row of queries, then keys, then values.
#[derive(Debug, Clone, Copy)]
pub(in crate::embed) struct Heads {
    pub(in crate::embed) n: usize,
    /// Values of one head.
    pub(in crate::embed) width: usize,
}

impl Heads {
    fn hidden(self) -> usize {
        self.n * self.width
    }

    /// Of queries and keys: no sum over a head's width may leave the range of i32.
    fn format(self) -> Format {
        Format::Symmetric((i32::MAX as usize / self.width).isqrt().min(i16::MAX as usize) as i16)
    }
}

/// Some queries of one head on their way through both products.
#[derive(Clone, Copy)]
struct Queries {
    start: usize,
    /// Rows of the tile.
    height: usize,
    /// Rows of it that are queries.
    n: usize,
}

/// Attention of the queries in `rows` to all of a text, whose rows [tokens, 3 hidden] are `text`: `context` [rows,
/// hidden].
#[inline(always)]
pub(super) fn attend<L: Lanes>(
    text: &[f32],
    heads: Heads,
    rows: Range<usize>,
    scratch: &mut Scratch,
    context: &mut [f32],
) {
    if rows.is_empty() {
        return;
    }
    let hidden = heads.hidden();
    let stride = 3 * hidden;
    let n_keys = text.len() / stride;
    let padded = n_keys.next_multiple_of(COLUMNS);
    grow(&mut scratch.scores, MAX_HEIGHT * padded);
    grow(&mut scratch.weights, MAX_HEIGHT * padded);
    for head in 0..heads.n {
        let first = head * heads.width;
        quantise::<L>(&text[hidden + first..], heads.width, stride, heads.format(), &mut scratch.keys);
        pack_keys(scratch, heads.width);
        let value_scale = pack_values::<L>(&text[2 * hidden + first..], stride, heads.width, scratch);
        let queries = &text[rows.start * stride + first..rows.end * stride];
        quantise::<L>(queries, heads.width, stride, heads.format(), &mut scratch.queries);
        let mut start = 0;
        while start < rows.len() {
            let height = tile_height::<L>(rows.len() - start);
            let queries = Queries { start, height, n: height.min(rows.len() - start) };
            score::<L>(scratch, queries, heads.width);
            let factors = weigh::<L>(scratch, queries, n_keys, value_scale);
            mix::<L>(scratch, queries, n_keys, &factors, heads.width, &mut context[start * hidden + first..], hidden);
            start += height;
        }
    }
}

/// Keys as a right operand: a column is a key.
#[inline(always)]
fn pack_keys(scratch: &mut Scratch, width: usize) {
    let steps = width.div_ceil(2);
    let keys = &mut scratch.keys;
    let panels = keys.rows.div_ceil(COLUMNS);
    grow(&mut scratch.key_lines, panels * steps * 2);
    // What is no key has a scale too.
    grow(&mut keys.scale, panels * COLUMNS);
    for (key, row) in keys.shorts.chunks_exact(keys.width).take(keys.rows).enumerate() {
        let (panel, column) = (key / COLUMNS, key % COLUMNS);
        let lines = &mut scratch.key_lines[panel * steps * 2..][..steps * 2];
        for (lines, pair) in lines.as_chunks_mut::<2>().0.iter_mut().zip(row.as_chunks::<2>().0) {
            lines[column / LANES].0[column % LANES] = pair_word(pair[0], pair[1]);
        }
    }
}

/// Values as a right operand: a column is a component, and one scale serves all of them. Returns that.
#[inline(always)]
fn pack_values<L: Lanes>(rows: &[f32], stride: usize, width: usize, scratch: &mut Scratch) -> f32 {
    let mut highest = L::splat(1e-30);
    for row in rows.chunks(stride) {
        for values in row[..width].chunks(LANES) {
            let values = load_part::<L>(values);
            highest = highest.max(values).max(L::splat(0.0).sub(values));
        }
    }
    let scale = highest.highest() / f32::from(VALUE_LIMIT);
    let inverse = L::splat(1.0 / scale);
    let n = rows.len().div_ceil(stride);
    let steps = n.div_ceil(2);
    grow(&mut scratch.value_lines, width.div_ceil(COLUMNS) * steps * 2);
    for step in 0..steps {
        for column in (0..width).step_by(LANES) {
            let (mut first, mut second) = ([0; LANES], [0; LANES]);
            for (key, shorts) in [(2 * step, &mut first), (2 * step + 1, &mut second)] {
                if key < n {
                    let values = &rows[key * stride..][..width];
                    let values = &values[column..width.min(column + LANES)];
                    load_part::<L>(values).mul(inverse).store_i16(shorts);
                }
            }
            let line = &mut scratch.value_lines[((column / COLUMNS) * steps + step) * 2 + column % COLUMNS / LANES];
            for (lane, word) in line.0.iter_mut().enumerate() {
                *word = pair_word(first[lane], second[lane]);
            }
        }
    }
    scale
}

#[inline(always)]
fn pair_word(first: i16, second: i16) -> i32 {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    i32::from_ne_bytes([a, b, c, d])
}

/// Scores of some queries: their products with all keys.
#[inline(always)]
fn score<L: Lanes>(scratch: &mut Scratch, queries: Queries, width: usize) {
    let steps = width.div_ceil(2);
    let padded = scratch.keys.rows.next_multiple_of(COLUMNS);
    let (left, stride, readable) = scratch.queries.words_from(Words::Pairs, queries.start);
    assert!((queries.height - 1) * stride + steps <= readable, "queries that are too short");
    let mut tile = Tile::ZERO;
    for (panel, lines) in scratch.key_lines.chunks_exact(2 * steps).take(padded / COLUMNS).enumerate() {
        // SAFETY: the height is one of the kernel's; the assertion says that the left operand is long enough, and
        // `lines` holds two lines per step.
        unsafe { L::products(Words::Pairs, queries.height, left, stride, lines.as_ptr(), steps, &mut tile) };
        let key_scales = &scratch.keys.scale[panel * COLUMNS..][..COLUMNS];
        for (row, sums) in tile.0.iter().take(queries.n).enumerate() {
            let scale = L::splat(scratch.queries.scale[queries.start + row]);
            let scores = &mut scratch.scores[row * padded + panel * COLUMNS..][..COLUMNS];
            let halves = scores.as_chunks_mut::<LANES>().0.iter_mut().zip(sums.as_chunks::<LANES>().0);
            for ((scores, sums), key_scale) in halves.zip(key_scales.as_chunks::<LANES>().0) {
                L::from_integers(sums).mul(scale).mul(L::load(key_scale)).store(scores);
            }
        }
    }
}

/// The softmax of the scores as integer weights, and per row what a sum of weighted values is to be multiplied by.
#[inline(always)]
fn weigh<L: Lanes>(scratch: &mut Scratch, queries: Queries, n_keys: usize, value_scale: f32) -> [f32; MAX_HEIGHT] {
    let padded = n_keys.next_multiple_of(COLUMNS);
    // The weights of a row, each rounded up by half at most, may have this sum; a thousandth is left for rounding.
    let budget = (i32::MAX as f32 / f32::from(VALUE_LIMIT) - 0.5 * n_keys as f32) * 0.999;
    // Pass by pass over all rows: within a row every step waits for the one before.
    let length = n_keys.next_multiple_of(LANES);
    let (mut highest, mut totals) = ([0.0; MAX_HEIGHT], [0.0; MAX_HEIGHT]);
    for (scores, highest) in scratch.scores.chunks_exact_mut(padded).zip(&mut highest).take(queries.n) {
        scores[n_keys..length].fill(NO_KEY);
        let mut lanes = L::splat(NO_KEY);
        for scores in scores[..length].as_chunks::<LANES>().0 {
            lanes = lanes.max(L::load(scores));
        }
        *highest = lanes.highest();
    }
    let rows = scratch.scores.chunks_exact_mut(padded).zip(&highest);
    for ((scores, highest), total) in rows.zip(&mut totals).take(queries.n) {
        let mut lanes = L::splat(0.0);
        for scores in scores[..length].as_chunks_mut::<LANES>().0 {
            let value = exp(L::load(scores).sub(L::splat(*highest)));
            lanes = lanes.add(value);
            value.store(scores);
        }
        *total = lanes.sum();
    }
    let mut factors = [0.0; MAX_HEIGHT];
    let rows = scratch.scores.chunks_exact(padded).zip(scratch.weights.chunks_exact_mut(padded)).zip(&totals);
    for (((scores, weights), total), factor) in rows.zip(&mut factors).take(queries.n) {
        let unit = (budget / total).min(f32::from(i16::MAX));
        let scores = scores[..length].as_chunks::<LANES>().0;
        for (weights, scores) in weights.as_chunks_mut::<LANES>().0.iter_mut().zip(scores) {
            L::load(scores).mul(L::splat(unit)).store_i16(weights);
        }
        *factor = value_scale / (unit * total);
    }
    factors
}

/// Values mixed by the weights of some queries, into `context`, of which rows are `hidden` values apart.
#[inline(always)]
fn mix<L: Lanes>(
    scratch: &Scratch,
    queries: Queries,
    n_keys: usize,
    factors: &[f32; MAX_HEIGHT],
    width: usize,
    context: &mut [f32],
    hidden: usize,
) {
    let steps = n_keys.div_ceil(2);
    let stride = n_keys.next_multiple_of(COLUMNS) / 2;
    assert!(queries.height * stride * 2 <= scratch.weights.len(), "weights that are too short");
    let mut tile = Tile::ZERO;
    for (panel, lines) in scratch.value_lines.chunks_exact(2 * steps).take(width.div_ceil(COLUMNS)).enumerate() {
        // SAFETY: the height is one of the kernel's; the assertion says that the left operand is long enough, and
        // `lines` holds two lines per step.
        unsafe {
            let left = scratch.weights.as_ptr().cast();
            L::products(Words::Pairs, queries.height, left, stride, lines.as_ptr(), steps, &mut tile);
        }
        let columns = COLUMNS.min(width - panel * COLUMNS);
        for (row, (sums, factor)) in tile.0.iter().zip(factors).take(queries.n).enumerate() {
            let target = &mut context[row * hidden + panel * COLUMNS..][..columns];
            for (target, sums) in target.chunks_mut(LANES).zip(sums.as_chunks::<LANES>().0) {
                store_part(L::from_integers(sums).mul(L::splat(*factor)), target);
            }
        }
    }
}
