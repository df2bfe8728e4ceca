//! Here is any text, give me its lines in one character form. It knows nothing of mail, markup or language.
//!
//! One form means: Unicode NFC, no control, zero-width or direction characters, one blank between words, none at the
//! ends of a line. Umlauts and case stay.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Most combining marks kept on one letter: the Stream-Safe Text limit of UAX #15.
const MAX_MARKS: usize = 30;

/// Splits `text` at every line end and brings each line into the one form. Empty lines are kept, as empty strings.
pub(super) fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut marks = 0;
    let mut blank_pending = false;
    for character in text.replace("\r\n", "\n").chars().filter_map(visible).nfc() {
        let Some(line) = lines.last_mut() else { break };
        match character {
            '\n' => {
                lines.push(String::new());
                blank_pending = false;
            }
            _ if character.is_whitespace() => blank_pending = !line.is_empty(),
            _ => {
                marks = if is_combining_mark(character) { marks + 1 } else { 0 };
                if marks > MAX_MARKS {
                    continue;
                }
                if blank_pending {
                    line.push(' ');
                    blank_pending = false;
                }
                line.push(character);
            }
        }
    }
    lines
}

/// Brings `text` into the one form, line ends as blanks.
pub(super) fn one_line(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    for line in lines(text).iter().filter(|line| !line.is_empty()) {
        if !whole.is_empty() {
            whole.push(' ');
        }
        whole.push_str(line);
    }
    whole
}

/// Joins lines, with no empty line at the ends and at most one in a row.
pub(super) fn join<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut gap = false;
    for line in lines {
        if line.is_empty() {
            gap = !text.is_empty();
            continue;
        }
        if !text.is_empty() {
            text.push_str(if gap { "\n\n" } else { "\n" });
        }
        text.push_str(line);
        gap = false;
    }
    text
}

/// The first `max_chars` characters of `text`, and whether that is not all of it.
pub(super) fn cut(text: &str, max_chars: usize) -> (&str, bool) {
    // A character takes at least one byte, so that a short text needs no walk.
    if text.len() <= max_chars {
        return (text, false);
    }
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => (text.get(..end).unwrap_or(text), true),
        None => (text, false),
    }
}

/// True when `text` holds a letter or a digit of any script.
pub(super) fn says_something(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

/// The character as it is read: every line end as `\n`, every other control or invisible character gone.
fn visible(character: char) -> Option<char> {
    match character {
        '\n' | '\r' | '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\t' => Some(' '),
        // Soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width and direction marks, joiners and
        // invisible operators, byte order mark, object replacement, and the tag block that can hide a message.
        '\u{AD}'
        | '\u{34F}'
        | '\u{61C}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{180E}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{FFF9}'..='\u{FFFC}'
        | '\u{E0000}'..='\u{E0FFF}' => None,
        // Private use: the bullets and smileys of symbol fonts, which mean nothing without the font.
        '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{10FFFF}' => Some(' '),
        _ if character.is_control() => None,
        _ => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &[&str]) {
        assert_eq!(lines(input), expected, "{input:?}");
    }

    #[test]
    fn every_line_end_splits_and_blanks_collapse() {
        check("a\r\nb\rc\nd\u{2028}e\u{85}f", &["a", "b", "c", "d", "e", "f"]);
        check("  a \t\u{A0} b  \n\n c", &["a b", "", "c"]);
        check("", &[""]);
    }

    #[test]
    fn invisible_characters_are_dropped_and_umlauts_stay() {
        check("Pass\u{AD}wort\u{200B} zurück\0setzen\u{202E}\u{FEFF}", &["Passwort zurücksetzen"]);
        check("Gru\u{308}ße", &["Grüße"]);
        check("u\u{200D}\u{308}", &["ü"]);
        check("\u{E0041}\u{E0042}ok \u{F0B7} Punkt", &["ok Punkt"]);
    }

    #[test]
    fn a_pile_of_marks_is_bounded() {
        let piled = format!("a{}b", "\u{301}".repeat(100_000));
        assert!(lines(&piled).concat().chars().count() < 40);
    }

    #[test]
    fn cut_counts_characters() {
        assert_eq!(cut("äöü", 2), ("äö", true));
        assert_eq!(cut("äöü", 3), ("äöü", false));
        assert_eq!(cut("", 0), ("", false));
    }

    #[test]
    fn join_keeps_one_empty_line_at_most() {
        assert_eq!(join(["", "a", "", "", "b", "c", ""].into_iter()), "a\n\nb\nc");
    }
}
