//! Sixteen lanes in two registers of AVX2, and products of pairs of 16-bit integers.

use std::arch::x86_64::*;

use super::lanes::{LANES, Lanes};
use super::operand::{Line, Tile, Words};

/// Two registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

const HALF: usize = LANES / 2;

impl Avx2 {
    #[inline(always)]
    fn each(self, other: Self, run: impl Fn(__m256, __m256) -> __m256) -> Self {
        Avx2(run(self.0, other.0), run(self.1, other.1))
    }
}

// SAFETY of every block below: the processor has the instructions, as the trait's documentation says, and the arrays
// behind the references are sixteen values long, two registers of eight.
impl Lanes for Avx2 {
    const HEIGHTS: &'static [usize] = &[6, 4, 2];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        let register = unsafe { _mm256_set1_ps(value) };
        Avx2(register, register)
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        // SAFETY: as above.
        unsafe { Avx2(_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(HALF))) }
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), self.0);
            _mm256_storeu_ps(values.as_mut_ptr().add(HALF), self.1);
        }
    }

    #[inline(always)]
    fn from_integers(values: &[i32; LANES]) -> Self {
        // SAFETY: as above.
        unsafe {
            let half = |start: usize| _mm256_cvtepi32_ps(_mm256_loadu_si256(values.as_ptr().add(start).cast()));
            Avx2(half(0), half(HALF))
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        self.each(other, |a, b| unsafe { _mm256_add_ps(a, b) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        self.each(other, |a, b| unsafe { _mm256_sub_ps(a, b) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        self.each(other, |a, b| unsafe { _mm256_mul_ps(a, b) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as above.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, factor.0, term.0), _mm256_fmadd_ps(self.1, factor.1, term.1)) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        self.each(other, |a, b| unsafe { _mm256_max_ps(a, b) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        self.each(other, |a, b| unsafe { _mm256_min_ps(a, b) })
    }

    #[inline(always)]
    fn times_power_of_two(self, shifted: Self) -> Self {
        // SAFETY: as above.
        self.each(shifted, |a, shifted| unsafe {
            let power = _mm256_slli_epi32::<23>(_mm256_castps_si256(shifted));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), power))
        })
    }

    #[inline(always)]
    fn store_u8(self, values: &mut [u8; LANES]) {
        // SAFETY: as above; the 128 bits stored are the array.
        unsafe {
            let shorts = self.shorts();
            let bytes = _mm_packus_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256::<1>(shorts));
            _mm_storeu_si128(values.as_mut_ptr().cast(), bytes);
        }
    }

    #[inline(always)]
    fn store_i16(self, values: &mut [i16; LANES]) {
        // SAFETY: as above; the 256 bits stored are the array.
        unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), self.shorts()) }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: as above.
        unsafe { sum(_mm256_add_ps(self.0, self.1)) }
    }

    #[inline(always)]
    fn highest(self) -> f32 {
        // SAFETY: as above.
        unsafe { highest(_mm256_max_ps(self.0, self.1)) }
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
        debug_assert_eq!(words, Words::Pairs, "AVX2 multiplies bytes that were widened to 16 bits");
        // SAFETY: what the caller promises is what the function asks for.
        unsafe {
            match height {
                6 => products::<6>(left, stride, panel, steps, tile),
                4 => products::<4>(left, stride, panel, steps, tile),
                _ => products::<2>(left, stride, panel, steps, tile),
            }
        }
    }
}

impl Avx2 {
    /// The nearest integers in the range of i16, in order.
    ///
    /// # Safety
    /// The processor has AVX2.
    #[inline(always)]
    unsafe fn shorts(self) -> __m256i {
        // SAFETY: as the caller promises.
        unsafe {
            // The instruction packs within each half of a register; the permutation puts the quarters in order.
            let packed = _mm256_packs_epi32(_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
        }
    }
}

/// The sum of eight values, joined by halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum(values: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The highest of eight values, joined likewise.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn highest(values: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps::<1>(values));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
}

/// Six rows by two registers of columns keep 12 of the 16 registers for sums; a panel is two such halves.
///
/// # Safety
/// As [`Lanes::products`].
#[target_feature(enable = "avx2")]
unsafe fn products<const HEIGHT: usize>(
    left: *const i32,
    stride: usize,
    panel: *const Line,
    steps: usize,
    tile: &mut Tile,
) {
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_si256(); 2]; HEIGHT];
        for step in 0..steps {
            // SAFETY: `step` is below `steps`, so both lines and one word of every row lie in what the caller promised;
            // a line is two registers.
            let (columns, row) = unsafe {
                let line: *const __m256i = panel.add(2 * step + half).cast();
                ([_mm256_load_si256(line), _mm256_load_si256(line.add(1))], left.add(step))
            };
            for (height, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let word = _mm256_set1_epi32(unsafe { row.add(height * stride).read_unaligned() });
                for (sum, columns) in sums.iter_mut().zip(columns) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(word, columns));
                }
            }
        }
        for (row, sums) in tile.0.iter_mut().zip(sums) {
            for (quarter, sum) in row[half * LANES..].as_chunks_mut::<HALF>().0.iter_mut().zip(sums) {
                // SAFETY: a quarter of a row has the size of a register.
                unsafe { _mm256_storeu_si256(quarter.as_mut_ptr().cast(), sum) };
            }
        }
    }
}
