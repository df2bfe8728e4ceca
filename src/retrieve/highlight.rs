//! Here are a query and a text that was found, give me what to mark in the text.

use std::collections::HashSet;

use crate::ticket::Language;

use super::passages::CharOffsets;
use super::terms::{identifiers, query_forms, words};

/// Stretches that are marked at most.
const MAX_HIGHLIGHTS: usize = 32;

/// Ranges of `text` in characters, the end excluded, whose words have the stem of a query word, or that are one of
/// the query's identifiers. Ascending, neighbours that only blanks part are one, at most 32. `language` is that of
/// `text`; its stop words are never marked.
pub fn highlights(query: &str, text: &str, language: Language) -> Vec<(usize, usize)> {
    let wanted: HashSet<String> = words(query, language).iter().flat_map(|word| query_forms(word, language)).collect();
    let wanted_identifiers: HashSet<String> =
        identifiers(query).into_iter().map(|identifier| identifier.whole).collect();
    let mut ranges: Vec<(usize, usize)> = identifiers(text)
        .into_iter()
        .filter(|identifier| wanted_identifiers.contains(&identifier.whole))
        .map(|identifier| identifier.range)
        .collect();
    for word in words(text, language) {
        if query_forms(&word, language).iter().any(|form| wanted.contains(form)) {
            ranges.push(word.range);
        }
    }
    ranges.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (start, end) in ranges {
        let full = merged.len() == MAX_HIGHLIGHTS;
        match merged.last_mut() {
            Some(last) if start <= last.1 || text.get(last.1..start).is_some_and(|gap| gap.trim().is_empty()) => {
                last.1 = last.1.max(end);
            }
            _ if full => break,
            _ => merged.push((start, end)),
        }
    }
    let mut chars = CharOffsets::new(text);
    merged.into_iter().map(|(start, end)| (chars.at(start), chars.at(end))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(query: &str, text: &str, language: Language) -> Vec<String> {
        let cut = |(start, end): (usize, usize)| text.chars().skip(start).take(end - start).collect();
        highlights(query, text, language).into_iter().map(cut).collect()
    }

    #[test]
    fn words_of_one_stem_are_marked_and_stop_words_are_not() {
        let marks = marked("die Drucker für Prüfungen", "Der Druckers ist für die Pruefung über", Language::De);
        assert_eq!(marks, ["Druckers", "Pruefung"]);
    }

    #[test]
    fn identifiers_are_marked_whole() {
        let marks = marked("Fehler 809 auf srv-db-02", "Meldung: srv-db-02 (Fehler 809) steht", Language::De);
        assert_eq!(marks, ["srv-db-02", "Fehler 809"]);
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(highlights("VPN", "äöü VPN", Language::De), [(4, 7)]);
    }

    proptest! {
        #[test]
        fn highlights_are_in_range_and_in_order(query in ".{0,60}", text in ".{0,400}", same in any::<bool>()) {
            let query = if same { text.clone() } else { query };
            for language in [Language::De, Language::En, Language::Und] {
                let found = highlights(&query, &text, language);
                prop_assert!(found.len() <= MAX_HIGHLIGHTS);
                let mut before = 0;
                for (start, end) in found {
                    prop_assert!(before <= start && start < end && end <= text.chars().count());
                    before = end;
                }
            }
        }
    }
}
