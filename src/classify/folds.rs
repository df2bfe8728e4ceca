//! Here are texts and labels, give me parts of equal mix such that near-copies of a text lie in the same part.

use std::collections::HashMap;

use super::TrainingSet;
use super::random::Random;

/// Folds.
const FOLDS: usize = 5;
/// Below this many rows a fold more or less is a good part of a label's examples, and folds cost nothing: twice as many
/// make the scores of what was left out less pessimistic.
const ROWS_FOR_USUAL_FOLDS: usize = 500;
/// Above this many rows one fold of about so many is left out, once: more rows make the few numbers that are learnt from
/// them no better, and every further fold costs a fit.
const ROWS_FOR_ONE_FOLD: usize = 25_000;
const ROWS_OF_ONE_FOLD: usize = 10_000;
/// Parts in which the stack's own rows are left out.
const STACK_FOLDS: usize = 5;

/// Which rows the members and the stack do not see.
pub(super) struct Folds {
    /// By row: the fold that the members are fitted without.
    pub of_members: Vec<u32>,
    /// By row: the part that the stack is learnt without.
    pub of_stack: Vec<u32>,
    /// Folds that are left out in turn, counted from 0; the rows of any others are never scored.
    pub left_out: usize,
    /// Parts of the stack.
    pub stack_parts: usize,
}

impl Folds {
    /// Draws them for a set.
    pub(super) fn draw(set: &TrainingSet<'_>) -> Folds {
        let n = set.texts.len();
        if n > ROWS_FOR_ONE_FOLD {
            let n_folds = n.div_ceil(ROWS_OF_ONE_FOLD) as u32;
            let fine = folds(set.texts, set.labels, n_folds as usize * STACK_FOLDS, set.seed);
            return Folds {
                of_members: fine.iter().map(|fold| fold % n_folds).collect(),
                of_stack: fine.iter().map(|fold| fold / n_folds).collect(),
                left_out: 1,
                stack_parts: STACK_FOLDS,
            };
        }
        let n_folds = if n < ROWS_FOR_USUAL_FOLDS { 2 * FOLDS } else { FOLDS };
        let of_members = folds(set.texts, set.labels, n_folds, set.seed);
        Folds { of_stack: of_members.clone(), of_members, left_out: n_folds, stack_parts: n_folds }
    }
}

/// Splits rows into folds; returns the fold of each row, below `n_folds`.
///
/// Each label is spread evenly, and texts that are equal but for digits, case and punctuation stay together: otherwise
/// the next ticket of a monitoring system is predicted from its twin, and every threshold promises too much.
fn folds(texts: &[&str], labels: &[u32], n_folds: usize, seed: u64) -> Vec<u32> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: HashMap<String, usize> = HashMap::new();
    for (row, text) in texts.iter().enumerate() {
        let key = wording(text);
        // A text without letters says nothing about being a copy.
        if key.is_empty() {
            groups.push(vec![row]);
            continue;
        }
        let group = *group_of.entry(key).or_insert(groups.len());
        match groups.get_mut(group) {
            Some(rows) => rows.push(row),
            None => groups.push(vec![row]),
        }
    }

    Random::new(seed).shuffle(&mut groups);
    // Large groups first, while there is still room to even out what they upset; the sort is stable.
    groups.sort_by_key(|rows| (labels[rows[0]], std::cmp::Reverse(rows.len())));
    let mut fold_of = vec![0; texts.len()];
    let mut rows_of_fold = vec![0usize; n_folds];
    for of_label in groups.chunk_by(|a, b| labels[a[0]] == labels[b[0]]) {
        let mut of_label_in_fold = vec![0usize; n_folds];
        for group in of_label {
            let emptiest = (0..n_folds).min_by_key(|&fold| (of_label_in_fold[fold], rows_of_fold[fold])).unwrap_or(0);
            of_label_in_fold[emptiest] += group.len();
            rows_of_fold[emptiest] += group.len();
            group.iter().for_each(|&row| fold_of[row] = emptiest as u32);
        }
    }
    fold_of
}

/// A text without digits, case and punctuation: near-copies have the same. Empty for a text without letters.
pub(crate) fn wording(text: &str) -> String {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).fold(String::new(), |mut wording, word| {
        wording.push_str(&word.to_lowercase());
        wording.push(' ');
        wording
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_stay_together_and_labels_are_spread() {
        let texts: Vec<String> = (0..200)
            .map(|i| format!("Disk {} of HOST-{} full!", ["alpha", "beta", "gamma"][i % 3].repeat(i / 20 + 1), i))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let labels: Vec<u32> = (0..200).map(|i| (i % 2) as u32).collect();
        let fold_of = folds(&texts, &labels, 5, 7);
        for a in 0..texts.len() {
            for b in 0..a {
                if a % 3 == b % 3 && a / 20 == b / 20 {
                    assert_eq!(fold_of[a], fold_of[b], "{} and {}", texts[a], texts[b]);
                }
            }
        }
        for fold in 0..5 {
            let size = fold_of.iter().filter(|&&f| f == fold).count();
            assert!((25..=55).contains(&size), "fold {fold} has {size} rows");
        }
    }

    #[test]
    fn every_fold_gets_its_share_of_each_label() {
        let texts: Vec<String> = (0..100).map(|i| format!("{}{}", "a".repeat(i + 1), i)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let labels: Vec<u32> = (0..100).map(|i| u32::from(i < 10)).collect();
        let fold_of = folds(&texts, &labels, 5, 1);
        for fold in 0..5 {
            assert_eq!((0..10).filter(|&i| fold_of[i] == fold).count(), 2);
            assert_eq!(fold_of.iter().filter(|&&f| f == fold).count(), 20);
        }
        assert_eq!(fold_of, folds(&texts, &labels, 5, 1));
        assert_ne!(fold_of, folds(&texts, &labels, 5, 2));
    }

    #[test]
    fn texts_without_letters_are_no_twins() {
        let fold_of = folds(&["1", "2", "", "!", "4"], &[0; 5], 5, 3);
        let mut sorted = fold_of.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
    }
}
