//! The functions of one variable that the network needs, sixteen at a time, free of branches and of calls.

use super::lanes::Lanes;

/// Adding it rounds to an integer and leaves that in the low bits; 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// e^x for x in -86..=88 (lower ones give less than 1e-37), within 4e-6 of it in proportion: 2^n times the first six terms
/// of the series for the rest, |r| <= ln 2 / 2. ln 2 is subtracted in two parts, as Cephes' `expf` does
/// (<https://netlib.org/cephes/>).
#[inline(always)]
pub(super) fn exp<L: Lanes>(x: L) -> L {
    // In this order what is not a number stays so.
    let x = L::splat(-87.0).max(x);
    let shifted = x.mul_add(L::splat(std::f32::consts::LOG2_E), L::splat(ROUND));
    let n = shifted.sub(L::splat(ROUND));
    let r = n.mul_add(L::splat(-0.693_359_4), x);
    let r = n.mul_add(L::splat(2.121_944_4e-4), r);
    let polynomial = horner(r, [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0]);
    polynomial.times_power_of_two(shifted)
}

/// x Φ(x) (Hendrycks and Gimpel 2016, <https://arxiv.org/abs/1606.08415>) within 2e-5 of it everywhere, a hundredth of
/// a step of 8-bit activations: x / 2 times 1 + erf(x / √2), the error function being x times a polynomial in x² on
/// -4.5..=4.5 (least maximum error of the whole, by reweighted least squares on Chebyshev nodes) and ±1 outside. The
/// polynomial is written in 2 (x / 4.5)² - 1, where its coefficients do not cancel.
#[inline(always)]
pub(super) fn gelu<L: Lanes>(x: L) -> L {
    let bounded = x.min(L::splat(4.5)).max(L::splat(-4.5));
    let z = bounded.mul(bounded).mul_add(L::splat(2.0 / (4.5 * 4.5)), L::splat(-1.0));
    let factor = horner(
        z,
        [
            -0.002_939_65,
            0.009_230_78,
            -0.013_721_39,
            0.020_405_93,
            -0.036_103_45,
            0.057_189_3,
            -0.080_638_76,
            0.109_352_58,
            -0.154_364_69,
            0.313_811_7,
        ],
    );
    let erf = bounded.mul(factor).min(L::splat(1.0)).max(L::splat(-1.0));
    let half = x.mul(L::splat(0.5));
    half.mul_add(erf, half)
}

/// The approximation of the GELU by tanh, from the same paper, with tanh(y) = 1 - 2 / (e^2y + 1).
#[inline(always)]
pub(super) fn gelu_tanh<L: Lanes>(x: L) -> L {
    let cube = x.mul(x).mul(x);
    let y = cube.mul_add(L::splat(0.044_715), x).mul(L::splat(2.0 * 0.797_884_6)).min(L::splat(30.0));
    let below = exp(y).add(L::splat(1.0)).to_array();
    x.sub(x.mul(L::load(&below.map(|below| 1.0 / below))))
}

/// The polynomial whose coefficients are given from the highest power down.
#[inline(always)]
fn horner<L: Lanes, const N: usize>(x: L, coefficients: [f32; N]) -> L {
    let mut value = L::splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        value = value.mul_add(x, L::splat(*coefficient));
    }
    value
}
