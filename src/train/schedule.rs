//! Here is when a department was last tried and what has changed since, give me whether it is time to train it again.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// When departments are trained without being asked to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Time between two attempts at a department.
    pub every: Duration,
    /// Resolved tickets with labels that must have changed since its newest version.
    pub min_changes: u64,
}

/// Whether a department is to be trained: enough has changed, and its last attempt, if there was one, is long enough
/// ago. A time that lies ahead says nothing, because the clock was moved.
pub fn is_due(now: DateTime<Utc>, last_attempt: Option<DateTime<Utc>>, changes: u64, schedule: &Schedule) -> bool {
    let is_time = match last_attempt {
        None => true,
        Some(last) => (now - last).to_std().map_or(true, |elapsed| elapsed >= schedule.every),
    };
    is_time && changes >= schedule.min_changes.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_changes_must_both_be_enough() {
        let schedule = Schedule { every: Duration::from_secs(24 * 3600), min_changes: 50 };
        let now: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().unwrap();
        let hours_ago = |hours: i64| Some(now - chrono::Duration::hours(hours));
        for (last_attempt, changes, expected) in [
            (None, 50, true),
            (None, 49, false),
            (hours_ago(24), 50, true),
            (hours_ago(23), 5000, false),
            (hours_ago(240), 49, false),
            (hours_ago(-1), 50, true),
        ] {
            assert_eq!(is_due(now, last_attempt, changes, &schedule), expected, "{last_attempt:?} {changes}");
        }
    }

    #[test]
    fn without_any_change_nothing_is_due() {
        let schedule = Schedule { every: Duration::ZERO, min_changes: 0 };
        assert!(!is_due(Utc::now(), None, 0, &schedule));
        assert!(is_due(Utc::now(), None, 1, &schedule));
    }
}
