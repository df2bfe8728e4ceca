//! How number arrays stand in a saved model: as plain little-endian bytes, not value by value.
//!
//! For `#[serde(with = "compact::f32s")]` and its siblings. [`round`] makes weights equal to what `f16s` will read back.

use half::f16;

/// Rounds weights to 16 bits, so that a model predicts the same before it was saved and after.
pub(super) fn round(weights: &mut [f32]) {
    weights.iter_mut().for_each(|weight| *weight = f16::from_f32(*weight).to_f32());
}

macro_rules! as_bytes {
    ($(#[$doc:meta])* $name:ident, $value:ty, $size:literal, $to:expr, $from:expr) => {
        $(#[$doc])*
        pub(super) mod $name {
            use std::fmt;

            use serde::de::{Error, Visitor};
            use serde::{Deserializer, Serializer};

            pub(in super::super) fn serialize<S: Serializer>(values: &[$value], to: S) -> Result<S::Ok, S::Error> {
                let bytes: Vec<u8> = values.iter().flat_map(|&value| $to(value)).collect();
                to.serialize_bytes(&bytes)
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<$value>, D::Error> {
                struct Bytes;
                impl Visitor<'_> for Bytes {
                    type Value = Vec<$value>;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(formatter, "bytes, {} to a value", $size)
                    }

                    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                        let (values, rest) = bytes.as_chunks::<$size>();
                        if !rest.is_empty() {
                            return Err(E::invalid_length(bytes.len(), &self));
                        }
                        Ok(values.iter().map(|&bytes| $from(bytes)).collect())
                    }
                }
                from.deserialize_bytes(Bytes)
            }
        }
    };
}

as_bytes!(
    /// 32-bit floats, exact.
    f32s, f32, 4, f32::to_le_bytes, f32::from_le_bytes
);
as_bytes!(
    /// 32-bit floats that are kept in 16 bits.
    f16s, f32, 2, |value| half::f16::from_f32(value).to_le_bytes(), |bytes| half::f16::from_le_bytes(bytes).to_f32()
);
as_bytes!(
    /// 64-bit hashes.
    u64s, u64, 8, u64::to_le_bytes, u64::from_le_bytes
);
