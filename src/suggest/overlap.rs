//! Here are two texts, tell me how much wording they share; and here is a text, give me its sentences.
//!
//! Character 4-grams of whole words do the work of a stemmer and a compound splitter in German, and catch cognates
//! between German and English.

use std::collections::HashSet;

/// Set of hashed character 4-grams of a text's words, each word padded with one blank on both sides.
pub struct Grams(HashSet<u32>);

/// 4-grams of about four words.
const FRAGMENT_GRAMS: usize = 20;

impl Grams {
    /// Reads a text. Words of fewer than three letters and digits carry no meaning and are left out.
    pub fn of(text: &str) -> Grams {
        let mut grams = HashSet::new();
        let mut padded: Vec<char> = Vec::new();
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            if word.chars().count() < 3 {
                continue;
            }
            padded.clear();
            padded.push(' ');
            padded.extend(word.chars().flat_map(char::to_lowercase).flat_map(fold));
            padded.push(' ');
            grams.extend(padded.windows(4).map(hash));
        }
        Grams(grams)
    }

    /// Shared 4-grams divided by the root of the other text's number of them: long texts gain, but slowly, and a
    /// fragment of a few words does not win by being short. At least 0.
    pub fn shared_with(&self, other: &Grams) -> f32 {
        let shared = other.0.iter().filter(|gram| self.0.contains(gram)).count();
        shared as f32 / ((other.0.len() + FRAGMENT_GRAMS) as f32).sqrt()
    }

    /// Share of the other text's 4-grams that this one has too, 0 to 1.
    pub fn share_of(&self, other: &Grams) -> f32 {
        if other.0.is_empty() {
            return 0.0;
        }
        other.0.iter().filter(|gram| self.0.contains(gram)).count() as f32 / other.0.len() as f32
    }
}

/// Sentences of a text as character ranges, in order, without the blanks around them. Line ends end a sentence.
pub fn sentences(text: &str) -> Vec<(usize, usize)> {
    let chars: Vec<char> = text.chars().collect();
    let mut ranges = Vec::new();
    let mut start = 0;
    for i in 0..chars.len() {
        if ends_sentence(&chars, start, i) {
            push_trimmed(&chars, start, i + 1, &mut ranges);
            start = i + 1;
        }
    }
    push_trimmed(&chars, start, chars.len(), &mut ranges);
    ranges
}

/// The characters of `text` from `range.0` up to and without `range.1`.
pub fn slice(text: &str, range: (usize, usize)) -> String {
    text.chars().skip(range.0).take(range.1.saturating_sub(range.0)).collect()
}

/// Abbreviations whose full stop does not end a sentence, lower case, without the stop.
const ABBREVIATIONS: [&str; 22] = [
    "z.b", "bzw", "ca", "nr", "str", "tel", "inkl", "ggf", "evtl", "usw", "d.h", "u.a", "max", "min", "dr", "e.g",
    "i.e", "vs", "no", "mr", "ms", "approx",
];

fn ends_sentence(chars: &[char], start: usize, i: usize) -> bool {
    match chars[i] {
        '\n' => true,
        '!' | '?' => chars.get(i + 1).is_none_or(|next| next.is_whitespace()),
        '.' => {
            let Some(next) = chars.get(i + 1) else { return true };
            if !next.is_whitespace() {
                return false;
            }
            let word_start = chars[start..i].iter().rposition(|c| c.is_whitespace()).map_or(start, |p| start + p + 1);
            let word: String = chars[word_start..i].iter().flat_map(|c| c.to_lowercase()).collect();
            // "2. Schritt", "z. B." and single letters go on.
            let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
            let is_initial = word.chars().count() == 1;
            !is_number && !is_initial && !ABBREVIATIONS.contains(&word.trim_start_matches('('))
        }
        _ => false,
    }
}

fn push_trimmed(chars: &[char], start: usize, end: usize, ranges: &mut Vec<(usize, usize)>) {
    let Some(first) = chars[start..end].iter().position(|c| !c.is_whitespace()) else { return };
    let Some(last) = chars[start..end].iter().rposition(|c| !c.is_whitespace()) else { return };
    ranges.push((start + first, start + last + 1));
}

/// Umlauts and their spellings ae, oe, ue, ss meet.
fn fold(c: char) -> impl Iterator<Item = char> {
    let pair: [Option<char>; 2] = match c {
        'ä' => [Some('a'), Some('e')],
        'ö' => [Some('o'), Some('e')],
        'ü' => [Some('u'), Some('e')],
        'ß' => [Some('s'), Some('s')],
        other => [Some(other), None],
    };
    pair.into_iter().flatten()
}

/// FNV-1a over the four characters (Fowler, Noll, Vo; offset and prime of the 32-bit form).
fn hash(gram: &[char]) -> u32 {
    gram.iter().fold(0x811c_9dc5, |hash, c| (hash ^ *c as u32).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_stops_and_lines_but_not_at_abbreviations_and_numbers() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<String> = sentences(text).into_iter().map(|range| slice(text, range)).collect();
            assert_eq!(found, expected, "{text:?}");
        };
        check(
            "Das geht, z.B. mit Outlook 16.0. Danach ca. 5 Minuten warten!",
            &["Das geht, z.B. mit Outlook 16.0.", "Danach ca. 5 Minuten warten!"],
        );
        check("1. Open the menu\n2. Click Save", &["1. Open the menu", "2. Click Save"]);
        check("  \n ", &[]);
        check("ä. ö? Über srv.example.com läuft es.", &["ä. ö?", "Über srv.example.com läuft es."]);
    }

    #[test]
    fn umlauts_meet_their_spellings_and_compounds_their_parts() {
        let share = |a: &str, b: &str| Grams::of(a).share_of(&Grams::of(b));
        assert_eq!(share("Büro Schlüssel", "Buero Schluessel"), 1.0);
        assert!(share("Druckerwarteschlange", "Drucker") > 0.7);
        assert!(share("printer", "Drucker") < 0.2);
        assert_eq!(share("anything", ""), 0.0);
    }
}
