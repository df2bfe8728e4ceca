//! A department's model as bytes: a mark, a format version, a checksum, and the parts in postcard's encoding.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::DepartmentModel;
use crate::error::{Error, Result};

/// First bytes of a saved model.
const MARK: &[u8; 8] = b"TRIAGE\0M";
/// Changes whenever bytes of an older program would be read wrongly: another layout, another hash of n-grams.
const FORMAT_VERSION: u32 = 2;
/// Mark, version, SHA-256.
const HEADER_BYTES: usize = 8 + 4 + 32;

impl DepartmentModel {
    /// The model as bytes for [`DepartmentModel::load`].
    ///
    /// # Errors
    /// [`Error::Bug`] when a part cannot be encoded.
    pub fn save(&self) -> Result<Vec<u8>> {
        let body = postcard::to_stdvec(self).map_err(|_| Error::Bug("a model cannot be encoded"))?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(&body));
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads what [`DepartmentModel::save`] wrote. It predicts exactly as the saved model did.
    ///
    /// # Errors
    /// [`Error::Model`] when the bytes are something else, damaged, or of another format version.
    pub fn load(bytes: &[u8]) -> Result<DepartmentModel> {
        let refuse = |reason: String| Error::Model { path: PathBuf::from("of a department"), reason };
        let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(refuse(format!("expected at least {HEADER_BYTES} bytes, got {}", bytes.len())));
        };
        let (mark, header) = header.split_at(MARK.len());
        if mark != MARK {
            return Err(refuse("these bytes are no saved model".to_owned()));
        }
        let (version, checksum) = header.split_at(4);
        if version != FORMAT_VERSION.to_le_bytes() {
            let version = version.iter().rev().fold(0u32, |version, &byte| version << 8 | u32::from(byte));
            return Err(refuse(format!("expected format {FORMAT_VERSION}, got {version}; train the department again")));
        }
        if checksum != Sha256::digest(body).as_slice() {
            return Err(refuse("the checksum does not fit: the bytes are damaged or cut".to_owned()));
        }
        // Only bytes that this program has written come this far, by accident at least. Postcard bounds what it reserves
        // by what is left to read, and the parts are checked against each other before any of them is used.
        let model: DepartmentModel =
            postcard::from_bytes(body).map_err(|source| refuse(format!("cannot be decoded: {source}")))?;
        let dim = model.standardiser.dim();
        if !model.standardiser.is_consistent() || !model.fields.values().all(|field| field.is_consistent(dim)) {
            return Err(refuse("its parts do not fit together".to_owned()));
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FieldModel, Standardiser};
    use super::*;

    fn small() -> DepartmentModel {
        let standardiser = Standardiser::fit(&[], 2);
        let field = FieldModel::from_names(&["a".to_owned(), "b".to_owned()], &[1.0, 0.0, 0.0, 1.0], &standardiser);
        let fields = [("category".to_owned(), field)].into();
        DepartmentModel { encoder: "sha256:0123456789ab".to_owned(), text_version: 1, standardiser, fields }
    }

    /// A file with a right checksum over any body.
    fn signed(body: &[u8]) -> Vec<u8> {
        [MARK, &FORMAT_VERSION.to_le_bytes()[..], Sha256::digest(body).as_slice(), body].concat()
    }

    #[test]
    fn a_newer_format_is_refused_by_number() {
        let mut bytes = small().save().unwrap();
        bytes[8] = 9;
        let error = DepartmentModel::load(&bytes).unwrap_err().to_string();
        assert!(error.contains("expected format 2, got 9"), "{error}");
    }

    #[test]
    fn signed_nonsense_is_refused_without_reserving_much() {
        let body = small().save().unwrap().split_off(HEADER_BYTES);
        assert!(DepartmentModel::load(&signed(&body)).is_ok());
        for position in 0..body.len() {
            for value in [0x00, 0x7f, 0xff] {
                let mut changed = body.clone();
                changed[position] = value;
                // Some changes only alter a number; none may panic, and the parts that pass must fit together.
                if let Ok(model) = DepartmentModel::load(&signed(&changed)) {
                    assert!(model.fields.values().all(|field| field.is_consistent(2)));
                }
            }
        }
        assert!(DepartmentModel::load(&signed(&[0xff; 64])).is_err());
    }

    #[test]
    fn parts_for_another_dimension_are_refused() {
        let model = DepartmentModel { standardiser: Standardiser::fit(&[], 3), ..small() };
        let error = DepartmentModel::load(&model.save().unwrap()).unwrap_err().to_string();
        assert!(error.contains("fit together"), "{error}");
    }
}
