//! Sixteen f32 side by side: what the arithmetic of a kernel is written in, once for all instruction sets.

use super::operand::{Line, Tile, Words};

/// Values that are computed at the same time.
pub(super) const LANES: usize = 16;

/// Sixteen f32 and the operations on them, by one instruction set. Every operation rounds as IEEE 754 says and is done
/// lane by lane, so that all implementations give the same bits.
///
/// # Safety of the implementations
/// Their operations are instructions that not every processor has. They are safe to call because the only callers are
/// the entry points of [`super::Kernel`], which runs those of an instruction set only where it was detected.
pub(super) trait Lanes: Copy {
    /// Heights of a tile that [`Lanes::products`] can do, highest first; the last one divides the others.
    const HEIGHTS: &'static [usize];

    fn splat(value: f32) -> Self;
    fn load(values: &[f32; LANES]) -> Self;
    fn store(self, values: &mut [f32; LANES]);
    /// The nearest f32 of every integer.
    fn from_integers(values: &[i32; LANES]) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once.
    fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The higher of both; `other` where one is not a number.
    fn max(self, other: Self) -> Self;
    /// The lower of both; `other` where one is not a number.
    fn min(self, other: Self) -> Self;
    /// `self` times 2^n for results in the range of normal numbers, where `shifted` is n + 1.5 * 2^23.
    fn times_power_of_two(self, shifted: Self) -> Self;
    /// The nearest integers, the even one of two as near, held within 0..=255.
    fn store_u8(self, values: &mut [u8; LANES]);
    /// The nearest integers, the even one of two as near, held within the range of i16.
    fn store_i16(self, values: &mut [i16; LANES]);

    /// The first `height` rows of `tile` become the products of as many rows of a left operand, `stride` words apart,
    /// with a panel of a right operand: value (r, c) of the tile is the sum over `steps` words of
    /// row r of the left operand with column c of the panel.
    ///
    /// # Safety
    /// `height` is one of [`Lanes::HEIGHTS`]; `left` can be read for `height - 1` strides and `steps` words,
    /// `panel` for 2 * `steps` lines; the processor has this instruction set.
    unsafe fn products(
        words: Words,
        height: usize,
        left: *const i32,
        stride: usize,
        panel: *const Line,
        steps: usize,
        tile: &mut Tile,
    );

    /// The sum of all lanes, joined by halves: lanes 0..8 and 8..16, then 0..4 and 4..8, and so on.
    fn sum(self) -> f32;
    /// The highest lane, joined likewise; not a number where all are none.
    fn highest(self) -> f32;

    /// All lanes one after another.
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut values = [0.0; LANES];
        self.store(&mut values);
        values
    }
}

/// `values`, of which there are at most [`LANES`], filled up with zeros.
#[inline(always)]
pub(super) fn load_part<L: Lanes>(values: &[f32]) -> L {
    match values.first_chunk::<LANES>() {
        Some(values) => L::load(values),
        None => {
            let mut padded = [0.0; LANES];
            padded[..values.len()].copy_from_slice(values);
            L::load(&padded)
        }
    }
}

/// Stores as many lanes as `values` has room for.
#[inline(always)]
pub(super) fn store_part<L: Lanes>(lanes: L, values: &mut [f32]) {
    match values.first_chunk_mut::<LANES>() {
        Some(values) => lanes.store(values),
        None => values.copy_from_slice(&lanes.to_array()[..values.len()]),
    }
}

/// The first `n` lanes, and zeros.
#[inline(always)]
pub(super) fn first_lanes<L: Lanes>(lanes: L, n: usize) -> L {
    load_part(&lanes.to_array()[..n])
}
