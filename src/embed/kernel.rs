//! The arithmetic of the forward pass: products of integers, quantising, normalising, attention.
//!
//! The algorithms ([`rows`], [`attention`], [`functions`]) are written once over sixteen lanes of f32 and a tile of
//! integer products ([`lanes`]); an instruction set ([`avx512`], [`avx2`], [`portable`]) supplies those. Sums of
//! integers are exact and every other operation is one of IEEE 754 in a fixed order, so all kernels give the same bits:
//! a vector does not tell on which machine it was made.
//!
//! This module and its files hold all unsafe code of the crate.

#![allow(
    unsafe_code,
    reason = "instructions of a processor and reads of packed operands; holds for the files below too"
)]

pub(super) mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod functions;
mod lanes;
pub(super) mod operand;
mod portable;
pub(super) mod rows;

use std::ops::Range;

use self::attention::{Heads, Scratch};
use self::operand::{Linear, Precision, Quantised, Words};
use self::rows::Finish;

/// Which instructions compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// AVX-512 with VNNI: Intel since Cascade Lake (2019), AMD since Zen 4 (2022).
    Avx512Vnni,
    /// AVX2 with FMA: Intel since Haswell (2013), AMD since Excavator (2015).
    Avx2,
    /// What every processor has.
    Portable,
}

impl Kernel {
    /// All kernels, the fastest first.
    pub const ALL: [Kernel; 3] = [Kernel::Avx512Vnni, Kernel::Avx2, Kernel::Portable];

    /// The fastest that this processor can run.
    pub fn detect() -> Kernel {
        Kernel::ALL.into_iter().find(|kernel| kernel.is_supported()).unwrap_or(Kernel::Portable)
    }

    /// Whether this processor can run it.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let (avx512, avx2) = {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            (avx512 && avx2, avx2)
        };
        #[cfg(not(target_arch = "x86_64"))]
        let (avx512, avx2) = (false, false);
        match self {
            Kernel::Avx512Vnni => avx512,
            Kernel::Avx2 => avx2,
            Kernel::Portable => true,
        }
    }

    /// Its name in configuration, logs and metrics: "avx512vnni", "avx2" or "portable".
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Avx512Vnni => "avx512vnni",
            Kernel::Avx2 => "avx2",
            Kernel::Portable => "portable",
        }
    }

    /// The words of weights in that precision: only VNNI multiplies bytes.
    fn words(self, precision: Precision) -> Words {
        match (self, precision) {
            (Kernel::Avx512Vnni, Precision::Int8) => Words::Quads,
            _ => Words::Pairs,
        }
    }
}

impl std::str::FromStr for Kernel {
    type Err = String;

    fn from_str(name: &str) -> Result<Kernel, String> {
        let known = Kernel::ALL.into_iter().find(|kernel| kernel.name() == name);
        known.ok_or_else(|| format!("{name:?} is no kernel; expected avx512vnni, avx2 or portable"))
    }
}

/// Compiles the algorithms for every instruction set, and gives [`Kernel`] a method per entry point that runs the one
/// of its own.
macro_rules! entry_points {
    ($($(#[$doc:meta])* fn $name:ident = $module:ident::$algorithm:ident, ($($argument:ident: $type:ty),* $(,)?);)*) => {
        #[cfg(target_arch = "x86_64")]
        mod for_avx512 {
            use super::*;
            $(#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")]
            pub(super) fn $name($($argument: $type),*) { $module::$algorithm::<super::avx512::Avx512>($($argument),*) })*
        }
        #[cfg(target_arch = "x86_64")]
        mod for_avx2 {
            use super::*;
            $(#[target_feature(enable = "avx2,fma")]
            pub(super) fn $name($($argument: $type),*) { $module::$algorithm::<super::avx2::Avx2>($($argument),*) })*
        }
        impl Kernel {
            $($(#[$doc])*
            pub(super) fn $name(self, $($argument: $type),*) {
                match self {
                    // SAFETY: an encoder takes only a kernel that is supported (`Kernel::is_supported`), which asks for
                    // every feature that the function is compiled for.
                    #[cfg(target_arch = "x86_64")]
                    Kernel::Avx512Vnni => unsafe { for_avx512::$name($($argument),*) },
                    // SAFETY: as above.
                    #[cfg(target_arch = "x86_64")]
                    Kernel::Avx2 => unsafe { for_avx2::$name($($argument),*) },
                    _ => $module::$algorithm::<portable::Portable>($($argument),*),
                }
            })*
        }
    };
}

entry_points! {
    /// Quantises rows [n, inputs] as `linear` wants its input.
    fn quantise = rows::quantise_for, (rows: &[f32], linear: &Linear, into: &mut Quantised);
    /// `input` [n, inputs] times the weight: `output` [n, outputs].
    fn project = rows::project, (input: &Quantised, linear: &Linear, finish: Finish, output: &mut [f32]);
    /// Adds `other` to rows [n, width of `gain`] and normalises them.
    fn add_and_norm = rows::add_and_norm, (rows: &mut [f32], other: &[f32], gain: &[f32], bias: &[f32], epsilon: f32);
    /// Attention of some rows of a text to all of it: `context` [rows, hidden].
    fn attend = attention::attend, (text: &[f32], heads: Heads, rows: Range<usize>, scratch: &mut Scratch, context: &mut [f32]);
}

#[cfg(test)]
mod tests;
