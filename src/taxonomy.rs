//! The closed set: which departments there are, which fields each decides on, and which labels a field has.
//! No label that is not here, or not active, ever leaves the service.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::ticket::{Decision, LabelRef, check_id};

/// What a department decides on. A department is a wall: its own fields, labels, heads and indexes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Taxonomy {
    /// Name a person reads; the id stands beside it in the store.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Fields, in the order they are shown.
    pub fields: Vec<Field>,
}

/// Something to decide on: category, priority, queue or any other label column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Key in `labels` and `fields`.
    #[schema(min_length = 1, max_length = 200, example = "category")]
    pub id: String,
    /// How far the service may go on its own.
    #[serde(default)]
    pub automation: Automation,
    /// Share of right decisions that the threshold promises for values that are suggested or preselected, 0.5 to 0.999.
    #[serde(default = "default_precision_target")]
    #[schema(minimum = 0.5, maximum = 0.999)]
    pub precision_target: f32,
    /// The same for values that are set without asking, at least `precision_target`; what falls between the two is
    /// preselected. 0.95, or `precision_target` where that is more, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.5, maximum = 0.999)]
    pub apply_precision_target: Option<f32>,
    /// True when the labels are steps of one scale, lowest first (priority, urgency).
    #[serde(default)]
    pub ordinal: bool,
    /// Which label is decided on; anything but the likeliest needs an ordinal field.
    #[serde(default)]
    pub rule: Rule,
    /// Takes the value from two other fields instead of learning it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// The closed set of values.
    #[serde(default)]
    pub labels: Vec<Label>,
}

/// How far the service may go on its own with a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Automation {
    /// Always abstain.
    Off,
    /// Show the value beside the field.
    #[default]
    Suggest,
    /// Fill the value in and let an agent confirm.
    Preselect,
    /// Set the value.
    Apply,
}

/// Which label of a field is decided on, given the probability of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The most probable one: right most often.
    #[default]
    Likeliest,
    /// The one with the least expected squared distance in steps of the scale: seldom far off.
    LeastCost,
    /// Rare levels count as much as frequent ones: the most probable one after a weight per level, learnt for macro-F1.
    Balanced,
}

/// A field that follows from two others, as priority follows from impact and urgency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Field that chooses the row.
    #[schema(example = "impact")]
    pub rows: String,
    /// Field that chooses the column.
    #[schema(example = "urgency")]
    pub columns: String,
    /// Label of this field by label of `rows`, then of `columns`; every pair of active labels has one.
    pub cells: BTreeMap<String, BTreeMap<String, String>>,
}

/// Whether a label may be decided on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Predict {
    /// Where its confidence reaches its threshold.
    #[default]
    WhenSure,
    /// Never; it is still listed among the alternatives.
    Never,
    /// Whenever it is the best label, whatever its confidence.
    Always,
}

/// One value of a field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Stable id; the name may change.
    #[schema(min_length = 1, max_length = 200, example = "net-vpn")]
    pub id: String,
    /// Name as the frontend shows it; the id, if not given.
    #[serde(default)]
    pub name: String,
    /// What is in scope and what is not, in either language.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// False for a label that is no longer given.
    #[serde(default = "yes")]
    pub active: bool,
    /// Label that took this one's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<String>,
    /// Labels that this one was split into; it is no longer given itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split_into: Vec<String>,
    /// Whether it may be decided on.
    #[serde(default)]
    pub predict: Predict,
}

/// What may be promised: below, a coin would do; above, no history is long enough.
pub const PRECISION_TARGETS: std::ops::RangeInclusive<f32> = 0.5..=0.999;

/// Precision from which a value is set without asking, unless a field says otherwise.
const DEFAULT_APPLY_TARGET: f32 = 0.95;

fn default_precision_target() -> f32 {
    0.8
}

fn yes() -> bool {
    true
}

impl Automation {
    /// What a decision above the threshold becomes.
    pub fn decision(self) -> Decision {
        match self {
            Automation::Off => Decision::Abstain,
            Automation::Suggest => Decision::Suggest,
            Automation::Preselect => Decision::Preselect,
            Automation::Apply => Decision::Apply,
        }
    }
}

impl Field {
    /// A field with no labels yet. Fields named `priority`, `urgency`, `severity` or `impact` are ordinal.
    pub fn new(id: &str) -> Field {
        Field {
            id: id.to_owned(),
            automation: Automation::default(),
            precision_target: default_precision_target(),
            apply_precision_target: None,
            ordinal: matches!(id, "priority" | "urgency" | "severity" | "impact"),
            rule: Rule::default(),
            matrix: None,
            labels: Vec::new(),
        }
    }

    /// Share of right values among those that are set without asking.
    pub fn apply_target(&self) -> f32 {
        self.apply_precision_target.unwrap_or(DEFAULT_APPLY_TARGET.max(self.precision_target))
    }

    /// The active label that `value` stands for: by id, else by name, merged labels followed to their heir.
    pub fn resolve(&self, value: &str) -> Option<&Label> {
        let mut label = self.find(value)?;
        // A chain of merges is at most as long as the list; a cycle ends here too.
        for _ in 0..self.labels.len() {
            match &label.merged_into {
                Some(heir) => label = self.labels.iter().find(|other| other.id == *heir)?,
                None => return label.is_given().then_some(label),
            }
        }
        None
    }

    /// The label with this id, else with this name, active or not.
    pub fn find(&self, value: &str) -> Option<&Label> {
        self.labels
            .iter()
            .find(|label| label.id == value)
            .or_else(|| self.labels.iter().find(|label| label.name == value))
    }

    /// Labels that may be given, in order.
    pub fn active(&self) -> impl Iterator<Item = &Label> {
        self.labels.iter().filter(|label| label.is_given())
    }
}

impl Field {
    /// Checks one field, which stands at `pointer` among `fields`.
    fn check(&self, pointer: &str, fields: &[Field]) -> Result<()> {
        let targets = [
            ("precision_target", Some(self.precision_target)),
            ("apply_precision_target", self.apply_precision_target),
        ];
        for (name, target) in targets {
            if target.is_some_and(|target| !PRECISION_TARGETS.contains(&target)) {
                return Err(Error::invalid(format!("{pointer}/{name}"), "must lie between 0.5 and 0.999"));
            }
        }
        if self.apply_precision_target.is_some_and(|target| target < self.precision_target) {
            let reason = "must not be lower than precision_target: what is set without asking is held to more";
            return Err(Error::invalid(format!("{pointer}/apply_precision_target"), reason));
        }
        if self.rule != Rule::Likeliest && !self.ordinal {
            let reason = "needs an ordinal field: only the labels of a scale have a distance";
            return Err(Error::invalid(format!("{pointer}/rule"), reason));
        }
        for (l, label) in self.labels.iter().enumerate() {
            let pointer = format!("{pointer}/labels/{l}");
            check_id(&format!("{pointer}/id"), &label.id)?;
            if self.labels[..l].iter().any(|earlier| earlier.id == label.id) {
                return Err(Error::invalid(format!("{pointer}/id"), format!("{:?} is there twice", label.id)));
            }
            let is_another = |id: &String| *id != label.id && self.labels.iter().any(|other| other.id == *id);
            if label.merged_into.as_ref().is_some_and(|heir| !is_another(heir)) {
                return Err(Error::invalid(format!("{pointer}/merged_into"), "must name another label of the field"));
            }
            if !label.split_into.iter().all(is_another) {
                return Err(Error::invalid(format!("{pointer}/split_into"), "must name other labels of the field"));
            }
            if label.merged_into.is_some() && !label.split_into.is_empty() {
                return Err(Error::invalid(format!("{pointer}/split_into"), "a label is merged or split, not both"));
            }
        }
        match &self.matrix {
            Some(matrix) => matrix.check(&format!("{pointer}/matrix"), self, fields),
            None => Ok(()),
        }
    }
}

impl Matrix {
    /// The label of the field for a label of each of the two other fields.
    pub fn cell(&self, row: &str, column: &str) -> Option<&str> {
        Some(self.cells.get(row)?.get(column)?.as_str())
    }

    fn check(&self, pointer: &str, of: &Field, fields: &[Field]) -> Result<()> {
        let axis = |name: &str, id: &String| {
            let found = fields.iter().find(|field| field.id == *id && field.id != of.id && field.matrix.is_none());
            found.ok_or_else(|| {
                Error::invalid(format!("{pointer}/{name}"), "must name another field that has no matrix")
            })
        };
        let (rows, columns) = (axis("rows", &self.rows)?, axis("columns", &self.columns)?);
        for row in rows.active() {
            for column in columns.active() {
                let label = self.cell(&row.id, &column.id);
                if label.and_then(|label| of.resolve(label)).is_none() {
                    let reason = format!("needs an active label of {:?} for {:?} and {:?}", of.id, row.id, column.id);
                    return Err(Error::invalid(format!("{pointer}/cells"), reason));
                }
            }
        }
        Ok(())
    }
}

impl Label {
    /// An active label whose id is its name.
    pub fn new(value: &str) -> Label {
        Label {
            id: value.to_owned(),
            name: value.to_owned(),
            description: String::new(),
            active: true,
            merged_into: None,
            split_into: Vec::new(),
            predict: Predict::default(),
        }
    }

    /// Whether it may leave the service: active, and neither merged nor split.
    pub fn is_given(&self) -> bool {
        self.active && self.merged_into.is_none() && self.split_into.is_empty()
    }

    /// The id and present name.
    pub fn reference(&self) -> LabelRef {
        LabelRef { id: self.id.clone(), name: self.display_name().to_owned() }
    }

    /// The name, or the id when there is none.
    pub fn display_name(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    /// What the encoder reads of a label: name with separators as blanks, then the description.
    pub fn text(&self) -> String {
        let name = self.display_name().replace(['_', '-', '/'], " ").replace("::", " ");
        if self.description.is_empty() { name } else { format!("{name}: {}", self.description) }
    }
}

impl Taxonomy {
    /// The field with this id.
    pub fn field(&self, id: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.id == id)
    }

    /// Adds a field or label that an imported ticket names and the taxonomy lacks. True when something was added.
    pub fn add(&mut self, field_id: &str, value: &str) -> bool {
        let position = self.fields.iter().position(|field| field.id == field_id);
        let is_new_field = position.is_none();
        let index = position.unwrap_or_else(|| {
            self.fields.push(Field::new(field_id));
            self.fields.len() - 1
        });
        let field = &mut self.fields[index];
        let is_new_label = field.find(value).is_none();
        if is_new_label {
            field.labels.push(Label::new(value));
        }
        is_new_field || is_new_label
    }

    /// Checks ids, uniqueness, targets and merges.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the JSON pointer of the first fault.
    pub fn check(&self) -> Result<()> {
        for (f, field) in self.fields.iter().enumerate() {
            check_id(&format!("/fields/{f}/id"), &field.id)?;
            if self.fields[..f].iter().any(|earlier| earlier.id == field.id) {
                return Err(Error::invalid(format!("/fields/{f}/id"), format!("{:?} is there twice", field.id)));
            }
            field.check(&format!("/fields/{f}"), &self.fields)?;
        }
        Ok(())
    }
}
