//! Several departments in one report: each with a section of its own, and all in one table before them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words::{PageLanguage, fill};
use super::{Report, anchor, as_json, count, escape, page, table};
use crate::error::Result;

/// The reports of several departments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DepartmentReports {
    /// By department id.
    pub departments: BTreeMap<String, Report>,
    /// Departments that could not be measured, with the reason in English.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
}

impl DepartmentReports {
    /// The reports as indented JSON with a line break at its end.
    ///
    /// # Errors
    /// [`crate::error::Error::Bug`] only: every figure is finite or absent.
    pub fn to_json(&self) -> Result<String> {
        as_json(self)
    }

    /// The reports as one HTML page, in light or dark as the reader's system asks.
    pub fn to_html(&self, language: PageLanguage) -> String {
        let words = language.words();
        let sections: String = self
            .departments
            .iter()
            .enumerate()
            .map(|(index, (id, report))| {
                format!(
                    "<section class=\"department\" id=\"{0}\">\n<h2>{1} <span class=\"name\">{2}</span></h2>\n{3}{4}</section>\n",
                    department_anchor(index),
                    words.department,
                    escape(id),
                    report.provenance(language),
                    report.sections(words, &format!("{}-", department_anchor(index))),
                )
            })
            .collect();
        let left_out: Vec<String> = self.left_out.keys().map(|id| escape(id)).collect();
        let left_out = if left_out.is_empty() {
            String::new()
        } else {
            let sentence = fill(words.left_out, &[("departments", &left_out.join(", "))]);
            format!("<p class=\"note\">{sentence}</p>\n")
        };
        page(words, words.title_all, "", &format!("{}{left_out}{sections}", self.overview(language)))
    }

    fn overview(&self, language: PageLanguage) -> String {
        let words = language.words();
        let mut rows = String::new();
        for (index, (id, report)) in self.departments.iter().enumerate() {
            let prefix = format!("{}-", department_anchor(index));
            for (f, (field, metrics)) in report.fields.iter().enumerate() {
                rows.push_str(&format!(
                    "<tr><th scope=\"row\"><a href=\"#{}\">{}</a></th><td class=\"text\"><a href=\"#{}\">{}</a></td>\
                     <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    department_anchor(index),
                    escape(id),
                    anchor(&prefix, f),
                    escape(field),
                    count(metrics.n),
                    words.percent(metrics.accuracy),
                    words.points(metrics.ece),
                    words.percent(metrics.at_target.coverage),
                    words.percent(metrics.at_target.precision),
                ));
            }
        }
        if rows.is_empty() {
            return format!("<p>{}</p>\n", words.no_department);
        }
        let columns = [
            words.department,
            words.field,
            words.tickets,
            words.right_at_first_guess,
            words.confidence_off,
            words.decided_at_target,
            words.right_among_those,
        ];
        format!(
            "<section aria-labelledby=\"overview\">\n<h2 id=\"overview\">{}</h2>\n{}</section>\n",
            words.at_a_glance,
            table(&columns, Some(1), &rows)
        )
    }
}

fn department_anchor(index: usize) -> String {
    format!("department-{}", index + 1)
}
