//! Here are tickets with recorded labels, give me groups of near copies that were filed differently.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::near::{Pair, Space};
use super::{FieldRows, Subject, rounded};
use crate::evaluate::run::letters;
use crate::ticket::LabelRef;

/// Near copies with different labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// How alike they are.
    pub kind: ConflictKind,
    /// Least cosine among the pairs that tie the group together, -1 to 1; 1 for equal texts.
    pub similarity: f64,
    /// The label that more than half of them carry; none when there is no such.
    pub majority: Option<LabelRef>,
    /// Tickets without the most frequent label.
    pub against_majority: usize,
    /// The tickets, by label in the order of the field, then by id.
    pub tickets: Vec<Filed>,
}

/// How alike the texts of a conflict are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Equal after dropping digits, case, blanks and punctuation.
    SameText,
    /// Vectors so close that the texts say the same.
    NearText,
}

/// A ticket and the label it was filed under.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Filed {
    /// Id of the ticket.
    pub ticket: String,
    /// Its recorded label.
    pub label: LabelRef,
}

/// Tickets gathered by their letters.
pub(super) struct Texts {
    /// Subjects of each text, in order; the first stands for all.
    subjects: Vec<Vec<usize>>,
    /// Text of each subject.
    of_subject: Vec<usize>,
}

impl Texts {
    pub(super) fn new(subjects: &[Subject<'_>]) -> Texts {
        let mut texts = Texts { subjects: Vec::new(), of_subject: Vec::new() };
        let mut known: HashMap<String, usize> = HashMap::new();
        for (s, subject) in subjects.iter().enumerate() {
            let key = letters(subject.text);
            let next = texts.subjects.len();
            // A text without letters says nothing about being a copy.
            let text = if key.is_empty() { next } else { *known.entry(key).or_insert(next) };
            if text == next {
                texts.subjects.push(Vec::new());
            }
            texts.subjects[text].push(s);
            texts.of_subject.push(text);
        }
        texts
    }

    /// Number of different texts.
    pub(super) fn len(&self) -> usize {
        self.subjects.len()
    }
}

/// What the tickets of one text were filed under in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filing {
    /// None has a value.
    None,
    /// All that have a value have this one.
    Label(usize),
    /// There are several.
    Mixed,
}

/// Conflicts by field, and the number of texts that each was compared with.
pub(super) fn find(
    subjects: &[Subject<'_>],
    texts: &Texts,
    space: &Space,
    fields: &[FieldRows],
) -> (Vec<Vec<Conflict>>, usize) {
    let filings: Vec<Vec<Filing>> = fields.iter().map(|field| filings(texts, field)).collect();
    let first: Vec<usize> = texts.subjects.iter().filter_map(|subjects| subjects.first().copied()).collect();
    let (pairs, compared) = space.pairs(&first, fields.len(), |field, a, b| {
        let filings = &filings[field];
        match (filings[a], filings[b]) {
            (Filing::None, _) | (_, Filing::None) => false,
            (Filing::Label(a), Filing::Label(b)) => a != b,
            _ => true,
        }
    });
    let conflicts = fields
        .iter()
        .zip(&filings)
        .zip(&pairs)
        .map(|((field, filings), pairs)| of_field(subjects, texts, field, filings, pairs))
        .collect();
    (conflicts, compared)
}

fn filings(texts: &Texts, field: &FieldRows) -> Vec<Filing> {
    let mut filings = vec![Filing::None; texts.len()];
    for row in &field.rows {
        let filing = &mut filings[texts.of_subject[row.subject]];
        *filing = match *filing {
            Filing::None => Filing::Label(row.label),
            Filing::Label(label) if label == row.label => Filing::Label(label),
            _ => Filing::Mixed,
        };
    }
    filings
}

fn of_field(
    subjects: &[Subject<'_>],
    texts: &Texts,
    field: &FieldRows,
    filings: &[Filing],
    pairs: &[Pair],
) -> Vec<Conflict> {
    let mut groups = Groups::new(texts.len());
    for pair in pairs {
        groups.join(pair.a, pair.b);
    }
    // Only texts that contradict another or themselves: what is merely alike would chain groups together.
    let mut is_in_conflict: Vec<bool> = filings.iter().map(|filing| *filing == Filing::Mixed).collect();
    let mut least: BTreeMap<usize, f32> = BTreeMap::new();
    for pair in pairs {
        is_in_conflict[pair.a] = true;
        is_in_conflict[pair.b] = true;
        let least = least.entry(groups.root(pair.a)).or_insert(1.0);
        *least = least.min(pair.cosine);
    }
    let mut members: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for row in &field.rows {
        let text = texts.of_subject[row.subject];
        if is_in_conflict[text] {
            members.entry(groups.root(text)).or_default().push((row.label, row.subject));
        }
    }
    let mut conflicts: Vec<Conflict> = members
        .into_iter()
        .map(|(root, mut members)| {
            members.sort_by_key(|&(label, subject)| (label, subjects[subject].ticket));
            let (most, n_most) = most_frequent(&members);
            let tickets = members.iter().filter_map(|&(label, subject)| {
                Some(Filed { ticket: subjects[subject].ticket.to_owned(), label: field.labels.get(label)?.clone() })
            });
            Conflict {
                kind: if least.contains_key(&root) { ConflictKind::NearText } else { ConflictKind::SameText },
                similarity: rounded(least.get(&root).copied().unwrap_or(1.0)),
                majority: field.labels.get(most).filter(|_| 2 * n_most > members.len()).cloned(),
                against_majority: members.len() - n_most,
                tickets: tickets.collect(),
            }
        })
        .collect();
    conflicts.sort_by(|a, b| {
        let first = |conflict: &Conflict| conflict.tickets.first().map(|filed| filed.ticket.clone());
        let is_near = |conflict: &Conflict| conflict.kind == ConflictKind::NearText;
        (is_near(a).cmp(&is_near(b)))
            .then(b.similarity.total_cmp(&a.similarity))
            .then(b.tickets.len().cmp(&a.tickets.len()))
            .then(first(a).cmp(&first(b)))
    });
    conflicts
}

/// The most frequent label, the first of equals, and how often it is there; `members` are sorted by label.
fn most_frequent(members: &[(usize, usize)]) -> (usize, usize) {
    members.chunk_by(|a, b| a.0 == b.0).fold((0, 0), |most, same| match same.first() {
        Some(&(label, _)) if same.len() > most.1 => (label, same.len()),
        _ => most,
    })
}

/// Disjoint sets with the smallest member as the root of each.
struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    fn new(n: usize) -> Groups {
        Groups { parent: (0..n).collect() }
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.parent[member] != member {
            self.parent[member] = self.parent[self.parent[member]];
            member = self.parent[member];
        }
        member
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
