//! Sixteen lanes in one register of AVX-512, and products of words by VNNI.

use std::arch::x86_64::*;

use super::avx2;
use super::lanes::{LANES, Lanes};
use super::operand::{Line, Tile, Words};

/// One register.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// SAFETY of every block below: the processor has the instructions, as the trait's documentation says, and references to
// arrays of the register's size can be read and written whole.
impl Lanes for Avx512 {
    const HEIGHTS: &'static [usize] = &[12, 8, 4];

    #[inline(always)]
    fn splat(value: f32) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(values: &[f32; LANES]) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_loadu_ps(values.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, values: &mut [f32; LANES]) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(values.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn from_integers(values: &[i32; LANES]) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(values.as_ptr().cast())) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, term: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_fmadd_ps(self.0, factor.0, term.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn times_power_of_two(self, shifted: Self) -> Self {
        // SAFETY: as above.
        Avx512(unsafe {
            let power = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted.0));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(self.0), power))
        })
    }

    #[inline(always)]
    fn store_u8(self, values: &mut [u8; LANES]) {
        // SAFETY: as above; the 128 bits stored are the array.
        unsafe {
            let integers = _mm512_max_epi32(_mm512_cvtps_epi32(self.0), _mm512_setzero_si512());
            _mm_storeu_si128(values.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(integers));
        }
    }

    #[inline(always)]
    fn store_i16(self, values: &mut [i16; LANES]) {
        // SAFETY: as above; the 256 bits stored are the array.
        unsafe { _mm256_storeu_si256(values.as_mut_ptr().cast(), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(self.0))) }
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        // SAFETY: as above.
        unsafe { avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))) }
    }

    #[inline(always)]
    fn highest(self) -> f32 {
        // SAFETY: as above.
        unsafe { avx2::highest(_mm256_max_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0))) }
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
        // SAFETY: what the caller promises is what the function asks for.
        unsafe {
            match (words, height) {
                (Words::Quads, 12) => products::<true, 12>(left, stride, panel, steps, tile),
                (Words::Quads, 8) => products::<true, 8>(left, stride, panel, steps, tile),
                (Words::Quads, _) => products::<true, 4>(left, stride, panel, steps, tile),
                (Words::Pairs, 12) => products::<false, 12>(left, stride, panel, steps, tile),
                (Words::Pairs, 8) => products::<false, 8>(left, stride, panel, steps, tile),
                (Words::Pairs, _) => products::<false, 4>(left, stride, panel, steps, tile),
            }
        }
    }
}

/// Twelve rows by two registers of columns keep 24 of the 32 registers for sums.
///
/// # Safety
/// As [`Lanes::products`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn products<const QUADS: bool, const HEIGHT: usize>(
    left: *const i32,
    stride: usize,
    panel: *const Line,
    steps: usize,
    tile: &mut Tile,
) {
    let mut sums = [[_mm512_setzero_si512(); 2]; HEIGHT];
    for step in 0..steps {
        // SAFETY: `step` is below `steps`, so both lines and one word of every row lie in what the caller promised.
        let (columns, row) = unsafe {
            let line = panel.add(2 * step);
            ([_mm512_load_si512(line.cast()), _mm512_load_si512(line.add(1).cast())], left.add(step))
        };
        for (height, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let word = _mm512_set1_epi32(unsafe { row.add(height * stride).read_unaligned() });
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = match QUADS {
                    true => _mm512_dpbusd_epi32(*sum, word, columns),
                    false => _mm512_dpwssd_epi32(*sum, word, columns),
                };
            }
        }
    }
    for (row, sums) in tile.0.iter_mut().zip(sums) {
        for (half, sum) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
            // SAFETY: a half row has the size of a register.
            unsafe { _mm512_storeu_si512(half.as_mut_ptr().cast(), sum) };
        }
    }
}
