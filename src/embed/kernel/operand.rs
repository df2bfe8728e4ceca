//! The operands of a product: weights packed once at load, activations quantised row by row.
//!
//! Both consist of words of 32 bits, which hold four bytes or two shorts. One step of a product takes one word of every
//! row of the left operand against [`COLUMNS`] words of the right one, so one tile serves all formats.

use super::Kernel;
use super::lanes::LANES;

/// Columns of a panel: the words of one step of the right operand, two lines.
pub(super) const COLUMNS: usize = 2 * LANES;

/// The most rows of a tile.
pub(super) const MAX_HEIGHT: usize = 12;

/// Rows of a left operand are stored up to a multiple of this, so that the lowest tile may read whole.
pub(in crate::embed) const ROW_MULTIPLE: usize = 4;

/// Sixteen words that begin at a cache line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i32; LANES]);

/// Sums of up to [`MAX_HEIGHT`] rows and one panel.
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[i32; COLUMNS]; MAX_HEIGHT]);

impl Tile {
    pub(super) const ZERO: Tile = Tile([[0; COLUMNS]; MAX_HEIGHT]);
}

/// What a word holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// Four bytes, unsigned in the left operand and signed in the right one.
    Quads,
    /// Two signed 16-bit integers.
    Pairs,
}

impl Words {
    /// Values per word.
    pub(super) fn values(self) -> usize {
        match self {
            Words::Quads => 4,
            Words::Pairs => 2,
        }
    }
}

/// What activations and weights become before they are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Eight bits: weights -127..=127 with a scale per output, activations 0..=255 with a scale and a zero point per
    /// token. The fastest.
    Int8,
    /// Sixteen bits, both symmetric, as many of them as the sums allow.
    Exact,
}

impl Precision {
    /// Its name in configuration, logs and metrics: "int8" or "exact".
    pub fn name(self) -> &'static str {
        match self {
            Precision::Int8 => "int8",
            Precision::Exact => "exact",
        }
    }

    /// Highest magnitude of an integer weight. Twelve bits leave the activations about as many in a sum of a few hundred
    /// products.
    fn weight_limit(self) -> f32 {
        match self {
            Precision::Int8 => 127.0,
            Precision::Exact => 4095.0,
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Precision, String> {
        let known = [Precision::Int8, Precision::Exact].into_iter().find(|precision| precision.name() == name);
        known.ok_or_else(|| format!("{name:?} is no precision; expected int8 or exact"))
    }
}

/// A weight [outputs, inputs] as a right operand, and the bias.
pub(in crate::embed) struct Linear {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) words: Words,
    /// Per panel of [`COLUMNS`] outputs, per step: two lines.
    pub(super) lines: Vec<Line>,
    /// Per output, filled up to whole panels: what an integer weight stands for.
    pub(super) scale: Vec<f32>,
    /// Per output, filled up likewise: the sum of its integer weights, which the zero point of the activations adds.
    pub(super) sums: Vec<f32>,
    /// Per output, filled up likewise.
    pub(super) bias: Vec<f32>,
    /// How activations are to be quantised.
    pub(super) format: Format,
}

/// How a row of activations is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// From its lowest to its highest value, zero included, to 0..=255; kept in words of this kind.
    Asymmetric(Words),
    /// Its highest magnitude to this limit; kept in pairs.
    Symmetric(i16),
}

impl Format {
    pub(super) fn words(self) -> Words {
        match self {
            Format::Asymmetric(words) => words,
            Format::Symmetric(_) => Words::Pairs,
        }
    }
}

/// Rows of activations as a left operand.
#[derive(Default)]
pub(in crate::embed) struct Quantised {
    pub(super) rows: usize,
    /// Values of a row as stored: a multiple of [`LANES`].
    pub(super) width: usize,
    /// Used by [`Words::Quads`].
    pub(super) bytes: Vec<u8>,
    /// Used by [`Words::Pairs`].
    pub(super) shorts: Vec<i16>,
    /// Per row: what an integer stands for.
    pub(super) scale: Vec<f32>,
    /// Per row: the integer that stands for zero.
    pub(super) zero: Vec<f32>,
}

impl Quantised {
    /// Makes room for `rows` rows of `values` values in `words`. Allocates only when it never had as much room.
    pub(super) fn reserve(&mut self, rows: usize, values: usize, words: Words) {
        self.rows = rows;
        self.width = values.next_multiple_of(LANES);
        let stored = rows.next_multiple_of(ROW_MULTIPLE) * self.width;
        match words {
            Words::Quads => grow(&mut self.bytes, stored),
            Words::Pairs => grow(&mut self.shorts, stored),
        }
        grow(&mut self.scale, rows);
        grow(&mut self.zero, rows);
    }

    /// First word of a row, the words from one row to the next, and the words that there are from it on.
    pub(super) fn words_from(&self, words: Words, row: usize) -> (*const i32, usize, usize) {
        let start = row * self.width;
        match words {
            Words::Quads => (self.bytes[start..].as_ptr().cast(), self.width / 4, (self.bytes.len() - start) / 4),
            Words::Pairs => (self.shorts[start..].as_ptr().cast(), self.width / 2, (self.shorts.len() - start) / 2),
        }
    }
}

/// Makes `values` at least `length` long; a buffer that is kept is never made shorter.
pub(in crate::embed) fn grow<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    if values.len() < length {
        values.resize(length, T::default());
    }
}

impl Linear {
    /// Packs a weight [outputs, inputs], row by row, of which `columns` are the inputs that are taken.
    pub(in crate::embed) fn pack(
        weight: &[f32],
        width: usize,
        columns: std::ops::Range<usize>,
        bias: &[f32],
        precision: Precision,
        kernel: Kernel,
    ) -> Linear {
        let words = kernel.words(precision);
        let (inputs, outputs) = (columns.len(), weight.len() / width);
        let steps = inputs.div_ceil(words.values());
        let panels = outputs.div_ceil(COLUMNS);
        let padded = panels * COLUMNS;
        let mut lines = vec![Line([0; LANES]); panels * steps * 2];
        let mut scale = vec![0.0; padded];
        let mut sums = vec![0.0; padded];
        let mut highest_sum = 1_i64;
        let mut integers = vec![0_i32; inputs];
        for (output, row) in weight.chunks_exact(width).enumerate() {
            let row = &row[columns.clone()];
            let limit = precision.weight_limit();
            scale[output] = match precision {
                Precision::Int8 => best_scale(row, limit),
                Precision::Exact => highest_magnitude(row) / limit,
            };
            round_row(row, scale[output], limit, &mut integers);
            sums[output] = integers.iter().sum::<i32>() as f32;
            highest_sum = highest_sum.max(integers.iter().map(|&value| i64::from(value.abs())).sum());

            let (panel, column) = (output / COLUMNS, output % COLUMNS);
            let lines = &mut lines[panel * steps * 2..][..steps * 2];
            for (step, values) in integers.chunks(words.values()).enumerate() {
                lines[2 * step + column / LANES].0[column % LANES] = word(words, values);
            }
        }
        let format = match precision {
            Precision::Int8 => Format::Asymmetric(words),
            // No sum may leave the range of i32, whatever the activations are.
            Precision::Exact => Format::Symmetric((i64::from(i32::MAX) / highest_sum).min(i64::from(i16::MAX)) as i16),
        };
        let mut bias = bias.to_vec();
        bias.resize(padded, 0.0);
        Linear { inputs, outputs, words, lines, scale, sums, bias, format }
    }

    /// Makes one quantisation of their common input right for all: the strictest, so that no sum overflows.
    pub(in crate::embed) fn share_format(linears: &mut [&mut Linear]) {
        let limit = |format| match format {
            Format::Asymmetric(_) => i16::MAX,
            Format::Symmetric(limit) => limit,
        };
        let strictest = linears.iter().map(|linear| linear.format).min_by_key(|&format| limit(format));
        for linear in linears {
            linear.format = strictest.unwrap_or(linear.format);
        }
    }

    /// Columns of what comes out.
    pub(in crate::embed) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes that the operand takes.
    pub(in crate::embed) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..]) + size_of::<f32>() * (self.scale.len() + self.sums.len() + self.bias.len())
    }
}

/// `values` (fewer at the end of a row) as one word.
fn word(words: Words, values: &[i32]) -> i32 {
    match words {
        Words::Quads => {
            i32::from_ne_bytes(std::array::from_fn(|i| values.get(i).map_or(0, |&value| value as i8 as u8)))
        }
        Words::Pairs => {
            let [a, b] = std::array::from_fn(|i| values.get(i).map_or(0, |&value| value as i16)).map(i16::to_ne_bytes);
            i32::from_ne_bytes([a[0], a[1], b[0], b[1]])
        }
    }
}

fn highest_magnitude(row: &[f32]) -> f32 {
    row.iter().fold(1e-30_f32, |highest, value| if value.abs() > highest { value.abs() } else { highest })
}

/// The scale of a row with the least squared error among twelve that clip more and more of the highest weights.
fn best_scale(row: &[f32], limit: f32) -> f32 {
    let highest = highest_magnitude(row);
    let scale = |clip: usize| highest * (1.0 - 0.04 * clip as f32) / limit;
    let error = |scale: f32| -> f32 {
        let inverse = 1.0 / scale;
        let square = |value: f32| {
            let difference = nearest((value * inverse).clamp(-limit, limit)) * scale - value;
            difference * difference
        };
        let (chunks, rest) = row.as_chunks::<LANES>();
        let mut lanes = [0.0_f32; LANES];
        for chunk in chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane += square(value);
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|&value| square(value)).sum::<f32>()
    };
    let errors = (0..12).map(|clip| (scale(clip), error(scale(clip))));
    errors.reduce(|best, next| if next.1 < best.1 { next } else { best }).map_or(scale(0), |best| best.0)
}

/// Writes the integers of a row of weights.
fn round_row(row: &[f32], scale: f32, limit: f32, integers: &mut [i32]) {
    let inverse = 1.0 / scale;
    for (integer, value) in integers.iter_mut().zip(row) {
        *integer = nearest((value * inverse).clamp(-limit, limit)) as i32;
    }
}

/// The nearest integer, of values far below 2^22 in magnitude: adding 1.5 * 2^23 leaves no bits for a fraction. Unlike
/// `f32::round` it needs no call on any processor.
fn nearest(value: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    value + ROUND - ROUND
}
