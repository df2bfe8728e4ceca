//! Here is a text, give me the terms it is indexed and searched by: stemmed words, character 4-grams, identifiers.
//!
//! Documents and queries go through the same functions. Changing what they yield means a new
//! [`super::lexical`] format version. Not for scoring.

use std::sync::LazyLock;

use tantivy::tokenizer::{
    Language as Stemming, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::ticket::Language;

/// Longest word or identifier that is a term, in bytes; longer ones are data, not words.
const MAX_TERM_BYTES: usize = 64;
/// Identifiers of one document beyond which the rest is left out: a log is not a list of search keys.
const MAX_IDENTIFIERS: usize = 2_000;
/// Length of a character gram.
const GRAM_CHARS: usize = 4;

/// German stop words as people write them without umlauts, and those the list lacks.
const MORE_GERMAN_STOP_WORDS: [&str; 12] =
    ["dass", "fuer", "koennen", "koennte", "ueber", "waehrend", "wuerde", "wuerden", "bitte", "gerne", "schon", "mal"];
/// Words of questions and mails that tantivy's short English list lacks (after the Snowball English list).
const MORE_ENGLISH_STOP_WORDS: [&str; 76] = [
    "i", "me", "my", "we", "us", "our", "you", "your", "he", "him", "his", "she", "her", "its", "them", "what",
    "which", "who", "whom", "when", "where", "why", "how", "am", "were", "been", "being", "have", "has", "had",
    "having", "do", "does", "did", "doing", "would", "should", "could", "can", "cannot", "may", "might", "must",
    "shall", "because", "until", "while", "about", "from", "so", "than", "too", "very", "just", "here", "any", "some",
    "all", "both", "each", "other", "own", "same", "only", "s", "t", "d", "m", "ll", "re", "ve", "don", "isn", "doesn",
    "please", "also",
];

static GERMAN: LazyLock<TextAnalyzer> = LazyLock::new(|| analyzer(Some((Stemming::German, &MORE_GERMAN_STOP_WORDS))));
static ENGLISH: LazyLock<TextAnalyzer> =
    LazyLock::new(|| analyzer(Some((Stemming::English, &MORE_ENGLISH_STOP_WORDS))));
static PLAIN: LazyLock<TextAnalyzer> = LazyLock::new(|| analyzer(None));

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Lower case.
    pub(super) surface: String,
    /// Stemmed in the language of the text; the surface where it has none.
    pub(super) stem: String,
    /// Where it stands, in bytes.
    pub(super) range: (usize, usize),
}

/// Words of `text` in order, stop words of its language and words over [`MAX_TERM_BYTES`] left out.
///
/// German is not folded to ASCII before stemming: the stemmer reads ae, oe, ue and ss as the letters they stand for
/// (Snowball German), and the stop list holds the umlauts.
pub(super) fn words(text: &str, language: Language) -> Vec<Word> {
    let mut analyzer = match language {
        Language::De => GERMAN.clone(),
        Language::En => ENGLISH.clone(),
        Language::Und => PLAIN.clone(),
    };
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while stream.advance() {
        let token = stream.token();
        let range = (token.offset_from, token.offset_to);
        let surface = text.get(range.0..range.1).unwrap_or_default().to_lowercase();
        words.push(Word { surface, stem: token.text.clone(), range });
    }
    words
}

/// What a query word may be called in the index: its stem, its surface (documents of unknown language keep that) and,
/// when its own language is unknown, its stem in either. Distinct.
pub(super) fn query_forms(word: &Word, language: Language) -> Vec<String> {
    let mut forms = vec![word.stem.clone(), word.surface.clone()];
    if language == Language::Und {
        forms.extend(words(&word.surface, Language::De).into_iter().map(|word| word.stem));
        forms.extend(words(&word.surface, Language::En).into_iter().map(|word| word.stem));
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Character 4-grams of `_word_`, the word folded so that ä and ae, ß and ss, é and e meet. A word too short for one
/// gram is a gram itself.
pub(super) fn grams(surface: &str) -> Vec<String> {
    let chars: Vec<char> = format!("_{}_", fold(surface)).chars().collect();
    if chars.len() <= GRAM_CHARS {
        return vec![chars.into_iter().collect()];
    }
    chars.windows(GRAM_CHARS).map(|window| window.iter().collect()).collect()
}

/// An error code, host name, version or path: lower case, whole, and the parts between its separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier {
    pub(super) whole: String,
    /// Parts of at least two characters; empty when the whole is one part.
    pub(super) parts: Vec<String>,
    /// Where it stands, in bytes.
    pub(super) range: (usize, usize),
}

/// Stretches of `text` between blanks that hold a digit or a separator between letters, in order.
pub(super) fn identifiers(text: &str) -> Vec<Identifier> {
    let mut found = Vec::new();
    for chunk in text.split_whitespace() {
        let core = chunk.trim_matches(|c: char| !c.is_alphanumeric());
        let digit = core.chars().any(|c| c.is_ascii_digit());
        if core.len() < 2 || core.len() > MAX_TERM_BYTES || !(digit || core.chars().any(is_separator)) {
            continue;
        }
        // Both are slices of `text`, so the distance of their starts is the offset.
        let start = core.as_ptr() as usize - text.as_ptr() as usize;
        found.push(identifier(core, (start, start + core.len())));
        if found.len() == MAX_IDENTIFIERS {
            break;
        }
    }
    found
}

/// Query identifiers as the index holds them: one that contains blanks is several.
pub(super) fn query_identifiers(written: &[String]) -> Vec<Identifier> {
    let chunks = written.iter().flat_map(|written| written.split_whitespace());
    let cores = chunks.map(|chunk| chunk.trim_matches(|c: char| !c.is_alphanumeric()));
    let mut found: Vec<Identifier> = cores
        .filter(|core| core.len() >= 2 && core.len() <= MAX_TERM_BYTES)
        .map(|core| identifier(core, (0, core.len())))
        .collect();
    found.sort_by(|left, right| left.whole.cmp(&right.whole));
    found.dedup_by(|left, right| left.whole == right.whole);
    found
}

fn identifier(core: &str, range: (usize, usize)) -> Identifier {
    let whole = core.to_lowercase();
    let mut parts: Vec<String> = whole.split(is_separator).filter(|part| part.len() >= 2).map(str::to_owned).collect();
    if !whole.chars().any(is_separator) {
        parts.clear();
    }
    Identifier { whole, parts, range }
}

fn is_separator(c: char) -> bool {
    !c.is_alphanumeric()
}

fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.to_owned();
    }
    let mut folded = String::with_capacity(word.len() + 4);
    for c in word.nfc() {
        match c {
            'ä' => folded.push_str("ae"),
            'ö' => folded.push_str("oe"),
            'ü' => folded.push_str("ue"),
            'ß' => folded.push_str("ss"),
            other => folded.extend(std::iter::once(other).nfd().filter(|c| !is_combining_mark(*c))),
        }
    }
    folded
}

fn analyzer(stemming: Option<(Stemming, &[&str])>) -> TextAnalyzer {
    // The filter keeps what is shorter than its limit.
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(MAX_TERM_BYTES + 1))
        .filter(LowerCaser);
    let Some((language, more)) = stemming else {
        return words.build();
    };
    let more = StopWordFilter::remove(more.iter().map(|word| (*word).to_owned()));
    match StopWordFilter::new(language) {
        Some(list) => words.filter(list).filter(more).filter(Stemmer::new(language)).build(),
        None => words.filter(more).filter(Stemmer::new(language)).build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stems(text: &str, language: Language) -> Vec<String> {
        words(text, language).into_iter().map(|word| word.stem).collect()
    }

    #[test]
    fn umlauts_and_their_transcriptions_have_one_stem_and_one_set_of_grams() {
        for (umlaut, transcribed) in [("Prüfung", "Pruefung"), ("größer", "groesser"), ("Störung", "Stoerung")] {
            assert_eq!(stems(umlaut, Language::De), stems(transcribed, Language::De), "{umlaut}");
            assert_eq!(grams(&umlaut.to_lowercase()), grams(&transcribed.to_lowercase()), "{umlaut}");
        }
    }

    #[test]
    fn stop_words_go_in_both_spellings() {
        assert_eq!(stems("für über während fuer ueber waehrend", Language::De), Vec::<String>::new());
        assert_eq!(stems("how do I print the page", Language::En), ["print", "page"]);
        assert_eq!(stems("how do I", Language::Und), ["how", "do", "i"]);
    }

    #[test]
    fn grams_mark_the_ends_of_a_word() {
        assert_eq!(grams("drucker"), ["_dru", "druc", "ruck", "ucke", "cker", "ker_"]);
        assert_eq!(grams("pc"), ["_pc_"]);
        assert_eq!(grams("x"), ["_x_"]);
        assert_eq!(grams("café"), ["_caf", "cafe", "afe_"]);
    }

    #[test]
    fn identifiers_are_found_whole_and_in_parts() {
        let found = identifiers("Der Server (SRV-DB-02) meldet 0x80070005, siehe C:\\Temp\\log.txt.");
        let wholes: Vec<&str> = found.iter().map(|identifier| identifier.whole.as_str()).collect();
        assert_eq!(wholes, ["srv-db-02", "0x80070005", "c:\\temp\\log.txt"]);
        assert_eq!(found[0].parts, ["srv", "db", "02"]);
        assert_eq!(found[1].parts, Vec::<String>::new());
        assert_eq!(found[2].parts, ["temp", "log", "txt"]);
        assert_eq!(found[0].range, (12, 21));
    }

    #[test]
    fn words_over_the_limit_are_left_out() {
        assert!(words(&"a".repeat(MAX_TERM_BYTES + 1), Language::Und).is_empty());
        assert!(identifiers(&"1".repeat(MAX_TERM_BYTES + 1)).is_empty());
    }

    #[test]
    fn an_unknown_language_may_be_either() {
        let word = words("Meldungen", Language::Und).remove(0);
        assert_eq!(query_forms(&word, Language::Und), ["meldung", "meldungen"]);
    }
}
