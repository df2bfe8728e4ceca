//! Here is an article, give me the stretches of it that are embedded on their own.
//!
//! Whole lines up to 160 words with the title, a new passage from 80 % on; measured on bilingual help pages. Not for
//! cutting to the encoder's window: the encoder does that.

use unicode_segmentation::UnicodeSegmentation;

/// Words of a passage at most, the title that is put before it included.
const MAX_WORDS: usize = 160;
/// Words that a passage may have beside a title of any length.
const MIN_BUDGET: usize = 80;
/// A passage that is this full is closed, in percent.
const FULL_PERCENT: usize = 80;
/// Passages of one article; the last takes what is left.
const MAX_PASSAGES: usize = 64;

/// Ranges of `body` in characters (Unicode scalar values), the end excluded: ascending, apart only by blanks, and
/// together all of `body` that is not blank. At most 64; none when `body` is blank. `title` goes before each passage
/// when it is embedded and is only counted here.
pub fn passages(title: &str, body: &str) -> Vec<(usize, usize)> {
    let title_words = title.split_whitespace().count();
    let max_words = MAX_WORDS.saturating_sub(title_words).max(MIN_BUDGET);
    let mut passages: Vec<(usize, usize)> = Vec::new();
    let mut words = 0;
    let mut open = false;
    for unit in units(body, max_words) {
        let last = passages.len() >= MAX_PASSAGES;
        if open && words + unit.words > max_words && !last {
            open = false;
        }
        match passages.last_mut() {
            Some(passage) if open || last => passage.1 = unit.end,
            _ => {
                passages.push((unit.start, unit.end));
                words = 0;
            }
        }
        words += unit.words;
        open = words * 100 < max_words * FULL_PERCENT;
    }
    let mut chars = CharOffsets::new(body);
    passages.iter().map(|(start, end)| (chars.at(*start), chars.at(*end))).collect()
}

/// A piece of text that is not cut, in bytes, without blanks around it.
struct Unit {
    start: usize,
    end: usize,
    words: usize,
}

/// Lines that are not blank; a line over `max_words` by its sentences, a sentence over `max_words` by its words.
fn units(body: &str, max_words: usize) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut line_start = 0;
    for line in body.split_inclusive('\n') {
        push_unit(&mut units, line, line_start, max_words, |line| {
            line.split_sentence_bound_indices().map(|(at, _)| at).collect()
        });
        line_start += line.len();
    }
    units
}

/// Adds `text` as one unit, or, when it is too long, in pieces that begin at the places that `cut` names.
fn push_unit(units: &mut Vec<Unit>, text: &str, offset: usize, max_words: usize, cut: fn(&str) -> Vec<usize>) {
    let words = text.split_whitespace().count();
    if words == 0 {
        return;
    }
    if words <= max_words {
        let start = offset + text.len() - text.trim_start().len();
        units.push(Unit { start, end: start + text.trim().len(), words });
        return;
    }
    let mut starts = cut(text);
    if starts.len() < 2 {
        starts = every_nth_word(text, max_words);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    for (start, end) in starts.iter().copied().zip(ends) {
        let piece = text.get(start..end).unwrap_or_default();
        push_unit(units, piece, offset + start, max_words, |_| Vec::new());
    }
}

fn every_nth_word(text: &str, n: usize) -> Vec<usize> {
    let starts = text.split_whitespace().map(|word| word.as_ptr() as usize - text.as_ptr() as usize);
    starts.step_by(n).collect()
}

/// Turns ascending byte offsets into character offsets in one pass.
pub(super) struct CharOffsets<'a> {
    text: &'a str,
    bytes: usize,
    chars: usize,
}

impl<'a> CharOffsets<'a> {
    pub(super) fn new(text: &'a str) -> CharOffsets<'a> {
        CharOffsets { text, bytes: 0, chars: 0 }
    }

    /// Characters before byte `offset`, which is not smaller than the one asked for before.
    pub(super) fn at(&mut self, offset: usize) -> usize {
        self.chars += self.text.get(self.bytes..offset).map_or(0, |between| between.chars().count());
        self.bytes = self.bytes.max(offset);
        self.chars
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(title: &str, body: &str) -> Vec<String> {
        let cut = |(start, end): (usize, usize)| body.chars().skip(start).take(end - start).collect();
        passages(title, body).into_iter().map(cut).collect()
    }

    #[test]
    fn a_short_article_is_one_passage() {
        assert_eq!(texts("Drucker", "  Erste Zeile.\n\nZweite Zeile.\n"), ["Erste Zeile.\n\nZweite Zeile."]);
        assert_eq!(passages("Drucker", " \n\t\n"), []);
    }

    #[test]
    fn lines_stay_whole_and_a_full_passage_is_closed() {
        let line = |words: usize| "wort ".repeat(words).trim_end().to_owned();
        let body = [line(100), line(50), line(10), line(130), line(90), line(90)].join("\n");
        let counts: Vec<usize> = texts("", &body).iter().map(|text| text.split_whitespace().count()).collect();
        assert_eq!(counts, [150, 140, 90, 90]);
    }

    #[test]
    fn a_long_line_is_cut_at_sentences_and_a_long_sentence_at_words() {
        let sentence = format!("Ein {}ende. ", "wort ".repeat(68));
        let counts: Vec<usize> =
            texts("", &sentence.repeat(4)).iter().map(|text| text.split_whitespace().count()).collect();
        assert_eq!(counts, [140, 140]);
        let counts: Vec<usize> =
            texts("", &"wort ".repeat(400)).iter().map(|text| text.split_whitespace().count()).collect();
        assert_eq!(counts, [160, 160, 80]);
    }

    #[test]
    fn the_last_passage_takes_what_is_left() {
        let body = "wort ".repeat(160 * 70);
        let found = passages("", &body);
        assert_eq!(found.len(), MAX_PASSAGES);
        assert_eq!(found.last().map(|range| range.1), Some(body.trim_end().len()));
    }

    proptest! {
        #[test]
        fn passages_cover_the_text_once(body in "([a-zäß]{1,8}|[ \n\t]{1,3}|[.!?] |\u{1f600}){0,1200}", title in ".{0,40}") {
            let chars: Vec<char> = body.chars().collect();
            let mut covered = vec![0; chars.len()];
            let mut before = 0;
            for (start, end) in passages(&title, &body) {
                prop_assert!(before <= start && start < end && end <= chars.len());
                covered[start..end].iter_mut().for_each(|count| *count += 1);
                before = end;
            }
            for (c, count) in chars.iter().zip(covered) {
                prop_assert!(count == 1 || (count == 0 && c.is_whitespace()));
            }
        }
    }
}
