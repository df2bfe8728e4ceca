//! The closed set: which departments there are, which fields each decides on, and which labels a field has.
//! No label that is not here, or not active, ever leaves the service.

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
    /// Share of right decisions that the threshold promises, 0.5 to 0.999.
    #[serde(default = "default_precision_target")]
    #[schema(minimum = 0.5, maximum = 0.999)]
    pub precision_target: f32,
    /// True when the labels are steps of one scale, lowest first (priority, urgency).
    #[serde(default)]
    pub ordinal: bool,
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
}

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
            ordinal: matches!(id, "priority" | "urgency" | "severity" | "impact"),
            labels: Vec::new(),
        }
    }

    /// The active label that `value` stands for: by id, else by name, merged labels followed to their heir.
    pub fn resolve(&self, value: &str) -> Option<&Label> {
        let mut label = self.find(value)?;
        // A chain of merges is at most as long as the list; a cycle ends here too.
        for _ in 0..self.labels.len() {
            match &label.merged_into {
                Some(heir) => label = self.labels.iter().find(|other| other.id == *heir)?,
                None => return label.active.then_some(label),
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
        self.labels.iter().filter(|label| label.active && label.merged_into.is_none())
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
        }
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
            if !(0.5..=0.999).contains(&field.precision_target) {
                return Err(Error::invalid(format!("/fields/{f}/precision_target"), "must lie between 0.5 and 0.999"));
            }
            for (l, label) in field.labels.iter().enumerate() {
                check_id(&format!("/fields/{f}/labels/{l}/id"), &label.id)?;
                if field.labels[..l].iter().any(|earlier| earlier.id == label.id) {
                    let reason = format!("{:?} is there twice", label.id);
                    return Err(Error::invalid(format!("/fields/{f}/labels/{l}/id"), reason));
                }
                if let Some(heir) = &label.merged_into
                    && (heir == &label.id || !field.labels.iter().any(|other| other.id == *heir))
                {
                    let reason = "must name another label of the field";
                    return Err(Error::invalid(format!("/fields/{f}/labels/{l}/merged_into"), reason));
                }
            }
        }
        Ok(())
    }
}
