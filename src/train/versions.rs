//! Here is a stored version, give me what its training said, and whether it can serve here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FieldTraining, Verdict};
use crate::classify::DepartmentModel;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::store::{ModelInfo, Store};

/// What is kept beside a version: how its fields were fitted, and what the gate said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Fitting {
    /// What was fitted, by field.
    pub fields: BTreeMap<String, FieldTraining>,
    /// Fields that were left out, with the reason.
    #[serde(default)]
    pub skipped: BTreeMap<String, String>,
    /// What the gate said; absent for versions from before there was one.
    #[serde(default)]
    pub verdict: Option<Verdict>,
}

impl Fitting {
    /// Reads the metrics of a version. Versions from before the gate have the fields alone; what is neither gives an
    /// empty one.
    pub fn of(version: &ModelInfo) -> Fitting {
        let metrics = &version.metrics;
        Fitting::deserialize(metrics).unwrap_or_else(|_| Fitting {
            fields: BTreeMap::deserialize(metrics).unwrap_or_default(),
            ..Fitting::default()
        })
    }

    /// Both in a few words: "category 84.0 %, priority 61.3 %; promoted over version 1".
    pub fn summary(&self) -> String {
        let fields: Vec<String> = self
            .fields
            .iter()
            .map(|(field, fit)| format!("{field} {:.1} %", fit.accuracy_out_of_fold * 100.0))
            .collect();
        let verdict = match &self.verdict {
            None => "no verdict".to_owned(),
            Some(Verdict { promoted: true, champion: None, .. }) => "promoted".to_owned(),
            Some(Verdict { promoted: true, champion: Some(champion), .. }) => {
                format!("promoted over version {champion}")
            }
            Some(Verdict { promoted: false, champion: None, .. }) => "held back".to_owned(),
            Some(Verdict { promoted: false, champion: Some(champion), .. }) => {
                format!("held back for version {champion}")
            }
        };
        let fields = if fields.is_empty() { "no field".to_owned() } else { fields.join(", ") };
        format!("{fields}; {verdict}")
    }
}

/// The stored version of a department.
///
/// # Errors
/// [`Error::NotFound`] when there is none; when the store cannot be read.
pub async fn version(store: &Store, department: &str, version: u32) -> Result<ModelInfo> {
    let versions = store.models(Some(department)).await?;
    let found = versions.into_iter().find(|info| info.version == version);
    found.ok_or_else(|| Error::NotFound { what: "model version", id: format!("{department}/{version}") })
}

/// Checks that a stored version can serve with the encoder and the text version in use.
///
/// # Errors
/// [`Error::NotFound`] when there is no such version; [`Error::Model`] with what to do when it cannot.
pub async fn check_usable(store: &Store, pipeline: &Pipeline, department: &str, number: u32) -> Result<()> {
    let info = version(store, department, number).await?;
    pipeline.check_usable(department, number, &info.encoder, info.text_version)?;
    let blob = store.model(department, number).await?.unwrap_or_default();
    DepartmentModel::load(&blob).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(metrics: serde_json::Value) -> ModelInfo {
        ModelInfo {
            department: "it".to_owned(),
            version: 2,
            created_at: chrono::DateTime::UNIX_EPOCH,
            encoder: "sha256:ab12".to_owned(),
            text_version: 1,
            data_seq: 9,
            metrics,
            active: false,
            bytes: 3,
        }
    }

    #[test]
    fn versions_from_before_the_gate_are_read_too() {
        let category = json!({"examples": 90, "labels": 12, "accuracy_out_of_fold": 0.84, "coverage_out_of_fold": 0.5, "precision_target": 0.8});
        let before = Fitting::of(&with(json!({"category": category})));
        assert_eq!(before.summary(), "category 84.0 %; no verdict");
        let verdict =
            json!({"promoted": false, "champion": 1, "fields": {}, "reasons": ["Field category would fall."]});
        let now =
            Fitting::of(&with(json!({"fields": {"category": category.clone()}, "skipped": {}, "verdict": verdict})));
        assert_eq!(now.summary(), "category 84.0 %; held back for version 1");
        assert_eq!(Fitting::of(&with(json!({"accuracy": 0.5}))).summary(), "no field; no verdict");
        assert_eq!(Fitting::of(&with(json!(null))), Fitting::default());
    }
}
