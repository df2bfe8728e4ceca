//! Here is an audit, give me one row per finding for a spreadsheet; of a conflict one row per ticket.

use super::{Advice, Audit, Conflict, ConflictKind, DeadReason, FieldAudit};

/// Columns of [`csv_rows`].
pub const CSV_COLUMNS: [&str; 8] =
    ["field", "kind", "ticket", "label", "suggested_label", "probability", "similarity", "related"];

/// Other tickets of a conflict that a row names.
const MAX_RELATED: usize = 10;

/// The findings as cells by [`CSV_COLUMNS`]; what a finding lacks is empty.
///
/// | kind | label, suggested label | probability | similarity | related |
/// |---|---|---|---|---|
/// | `same_text`, `near_text` | recorded; what most of the group have | | of the group | others of the group with another label |
/// | `overlapping_merge`, `overlapping_sharpen` | the rarer; the more frequent | share that is confused | | tickets to look at |
/// | `unused`, `stale`, `never_recognised` | the label | | | |
/// | `suspect` | recorded; likelier | of the likelier | of the nearest ticket | nearest tickets |
pub fn csv_rows(audit: &Audit) -> Vec<[String; 8]> {
    audit.fields.iter().flat_map(field_rows).collect()
}

fn field_rows(field: &FieldAudit) -> Vec<[String; 8]> {
    let row = |kind: &str, cells: [String; 6]| {
        let [ticket, label, suggested, probability, similarity, related] = cells;
        [field.field.clone(), kind.to_owned(), ticket, label, suggested, probability, similarity, related]
    };
    let mut rows = Vec::new();
    for conflict in &field.conflicts {
        rows.extend(conflict_cells(conflict).map(|cells| row(conflict_kind(conflict.kind), cells)));
    }
    for overlap in &field.overlapping {
        let examples: Vec<&str> = overlap.examples.iter().map(|example| example.ticket.as_str()).collect();
        let (label, other) = (overlap.label.name.clone(), overlap.other.name.clone());
        let cells = [String::new(), other, label, overlap.share.to_string(), String::new(), examples.join(" ")];
        rows.push(row(advice_kind(overlap.advice), cells));
    }
    for dead in &field.dead {
        let mut cells = [const { String::new() }; 6];
        cells[1].clone_from(&dead.label.name);
        rows.push(row(dead_kind(dead.reason), cells));
    }
    for suspect in &field.suspects {
        let neighbours: Vec<&str> = suspect.neighbours.iter().map(|neighbour| neighbour.ticket.as_str()).collect();
        let nearest = suspect.neighbours.first().map_or_else(String::new, |nearest| nearest.similarity.to_string());
        let cells = [
            suspect.ticket.clone(),
            suspect.label.name.clone(),
            suspect.likelier.name.clone(),
            suspect.likelier_probability.to_string(),
            nearest,
            neighbours.join(" "),
        ];
        rows.push(row("suspect", cells));
    }
    rows
}

fn conflict_cells(conflict: &Conflict) -> impl Iterator<Item = [String; 6]> {
    conflict.tickets.iter().map(|filed| {
        let suggested = conflict.majority.as_ref().filter(|majority| **majority != filed.label);
        let others = conflict.tickets.iter().filter(|other| other.label != filed.label);
        let related: Vec<&str> = others.take(MAX_RELATED).map(|other| other.ticket.as_str()).collect();
        [
            filed.ticket.clone(),
            filed.label.name.clone(),
            suggested.map_or_else(String::new, |label| label.name.clone()),
            String::new(),
            conflict.similarity.to_string(),
            related.join(" "),
        ]
    })
}

fn conflict_kind(kind: ConflictKind) -> &'static str {
    match kind {
        ConflictKind::SameText => "same_text",
        ConflictKind::NearText => "near_text",
    }
}

fn advice_kind(advice: Advice) -> &'static str {
    match advice {
        Advice::Merge => "overlapping_merge",
        Advice::Sharpen => "overlapping_sharpen",
    }
}

fn dead_kind(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Unused => "unused",
        DeadReason::Stale => "stale",
        DeadReason::NeverRecognised => "never_recognised",
    }
}
