//! Here are labels and their tickets, give me the labels that are not, or no longer, of use.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{FieldRows, Scored, Subject};
use crate::ticket::LabelRef;

/// A label is stale when its last ticket is older than this before the newest of the department.
const STALE_DAYS: i64 = 365;

/// With this many tickets or more a label that is never recognised is no matter of too few examples.
const FEW_TICKETS: usize = 20;

/// A label that is not, or no longer, of use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLabel {
    /// The label.
    pub label: LabelRef,
    /// What is the matter with it.
    pub reason: DeadReason,
    /// Its resolved tickets.
    pub tickets: usize,
    /// When the last of them was opened, if all have a date.
    pub last_ticket: Option<DateTime<Utc>>,
}

/// What is the matter with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// It has no resolved ticket.
    Unused,
    /// Its last ticket is more than a year older than the department's newest.
    Stale,
    /// It has fewer than 20 tickets, and not one of them is recognised when it is held out.
    NeverRecognised,
}

/// Dead labels by reason, then in the order of the field. A label is listed once, for the first reason that applies.
pub(super) fn find(
    scored: &[Scored<'_>],
    subjects: &[Subject<'_>],
    field: &FieldRows,
    newest_ticket: Option<DateTime<Utc>>,
) -> Vec<DeadLabel> {
    #[derive(Clone, Default)]
    struct Seen {
        tickets: usize,
        undated: usize,
        last: Option<DateTime<Utc>>,
        scored: usize,
        recognised: usize,
    }
    let mut seen = vec![Seen::default(); field.labels.len()];
    for row in &field.rows {
        let created_at = subjects[row.subject].created_at;
        let seen = &mut seen[row.label];
        seen.tickets += 1;
        seen.undated += usize::from(created_at.is_none());
        seen.last = seen.last.max(created_at);
    }
    for row in scored {
        let seen = &mut seen[row.label];
        seen.scored += 1;
        seen.recognised += usize::from(row.best() == row.label);
    }
    let mut dead: Vec<DeadLabel> = field
        .labels
        .iter()
        .zip(seen)
        .filter_map(|(label, seen)| {
            let last_ticket = seen.last.filter(|_| seen.undated == 0);
            let is_stale = last_ticket
                .zip(newest_ticket)
                .is_some_and(|(last, newest)| newest.signed_duration_since(last) > TimeDelta::days(STALE_DAYS));
            let reason = if seen.tickets == 0 {
                DeadReason::Unused
            } else if is_stale {
                DeadReason::Stale
            } else if seen.tickets < FEW_TICKETS && seen.scored > 0 && seen.recognised == 0 {
                DeadReason::NeverRecognised
            } else {
                return None;
            };
            Some(DeadLabel { label: label.clone(), reason, tickets: seen.tickets, last_ticket })
        })
        .collect();
    dead.sort_by_key(|dead| dead.reason);
    dead
}
