//! Sixteen lanes in an array, for every processor; the other kernels are tested against it.

use super::lanes::{LANES, Lanes};
use super::operand::{COLUMNS, Line, Tile, Words};

/// An array.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; LANES]);

impl Portable {
    #[inline(always)]
    fn join_halves(mut self, join: impl Fn(f32, f32) -> f32) -> f32 {
        for width in [8, 4, 2, 1] {
            for lane in 0..width {
                self.0[lane] = join(self.0[lane], self.0[lane + width]);
            }
        }
        self.0[0]
    }

    #[inline(always)]
    fn each(self, other: Self, run: impl Fn(f32, f32) -> f32) -> Self {
        Portable(std::array::from_fn(|lane| run(self.0[lane], other.0[lane])))
    }
}

impl Lanes for Portable {
    const HEIGHTS: &'static [usize] = &[4];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Portable([value; LANES])
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        Portable(*values)
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        *values = self.0;
    }

    #[inline(always)]
    fn from_integers(values: &[i32; LANES]) -> Self {
        Portable(values.map(|value| value as f32))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.each(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.each(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.each(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        Portable(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], term.0[lane])))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.each(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.each(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn times_power_of_two(self, shifted: Self) -> Self {
        self.each(shifted, |a, shifted| f32::from_bits(a.to_bits().wrapping_add(shifted.to_bits() << 23)))
    }

    #[inline(always)]
    fn store_u8(self, values: &mut [u8; LANES]) {
        *values = self.0.map(|value| value.round_ties_even() as u8);
    }

    #[inline(always)]
    fn store_i16(self, values: &mut [i16; LANES]) {
        *values = self.0.map(|value| value.round_ties_even() as i16);
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        self.join_halves(|a, b| a + b)
    }

    #[inline(always)]
    fn highest(self) -> f32 {
        self.join_halves(|a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn products(
        words: Words,
        height: usize,
        left: *const i32,
        stride: usize,
        panel: *const Line,
        steps: usize,
        tile: &mut Tile,
    ) {
        debug_assert_eq!(words, Words::Pairs, "the portable kernel multiplies bytes that were widened to 16 bits");
        for (row, sums) in tile.0.iter_mut().take(height).enumerate() {
            *sums = [0; COLUMNS];
            for step in 0..steps {
                // SAFETY: the caller promises `steps` words per row, and two lines per step.
                let (word, pairs) = unsafe {
                    let word = left.add(row * stride + step).cast::<[i16; 2]>();
                    (word.read_unaligned(), &*panel.add(2 * step).cast::<[[i16; 2]; COLUMNS]>())
                };
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    let product = i32::from(word[0]) * i32::from(pair[0]) + i32::from(word[1]) * i32::from(pair[1]);
                    // Only the sums of rows that fill up a tile may leave the range, and nobody reads those.
                    *sum = sum.wrapping_add(product);
                }
            }
        }
    }
}
