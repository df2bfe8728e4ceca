//! Here is a part of a mail that one person wrote, say which of its lines are a signature or a legal notice.

use std::collections::BTreeMap;

use super::{LineKind, Mail, RemovalKind, phrases, words};

/// Non-empty lines of a signature, the closing included.
const MAX_SIGNATURE_LINES: usize = 15;
/// Characters of a signature.
const MAX_SIGNATURE_CHARS: usize = 1_200;
/// Lines that may stand under a closing and still be its signature, empty ones included.
const MAX_BLOCK_LINES: usize = 2 * MAX_SIGNATURE_LINES;

impl Mail {
    /// Takes signatures and legal notices out. With `guarded`, not when fewer than two words would be left.
    pub(super) fn take_hygiene(&mut self, lines: &[usize], guarded: bool) -> bool {
        let marks = self.hygiene(lines);
        if marks.is_empty() {
            return false;
        }
        let left: usize = lines
            .iter()
            .filter(|&&index| self.is_message(index) && !marks.contains_key(&index))
            .map(|&index| words(self.text(index)))
            .sum();
        if guarded && left < 2 {
            return false;
        }
        for (index, kind) in marks {
            self.remove(&[index], kind);
        }
        true
    }

    /// True for a line that may say what the mail is about.
    pub(super) fn is_message(&self, index: usize) -> bool {
        !matches!(self.kind(index), LineKind::Greeting | LineKind::Rule | LineKind::Empty)
    }

    /// Which of `lines` are a signature or a legal notice, and which of the two.
    pub(super) fn hygiene(&self, lines: &[usize]) -> BTreeMap<usize, RemovalKind> {
        let mut marks = self.disclaimers(lines);
        let others: Vec<usize> = lines.iter().copied().filter(|index| !marks.contains_key(index)).collect();
        marks.extend(self.signatures(&others).into_iter().map(|index| (index, RemovalKind::Signature)));
        marks
    }

    /// Paragraphs from the line on that begins a legal notice.
    fn disclaimers(&self, lines: &[usize]) -> BTreeMap<usize, RemovalKind> {
        let mut marks = BTreeMap::new();
        let mut follows = false;
        for paragraph in lines.split(|&index| self.kind(index) == LineKind::Empty) {
            let Some(start) = paragraph.iter().position(|&index| self.kind(index) == LineKind::Disclaimer) else {
                follows = false;
                continue;
            };
            let notice = paragraph.get(start..).unwrap_or_default();
            let text = notice.iter().take(8).map(|&index| self.text(index)).collect::<Vec<_>>().join(" ");
            if !(follows && start == 0 || phrases::is_legal(&text) || phrases::is_plain_footer(&text)) {
                continue;
            }
            marks.extend(notice.iter().map(|&index| (index, RemovalKind::Disclaimer)));
            follows = true;
        }
        marks
    }

    /// Signature lines, in order.
    fn signatures(&self, lines: &[usize]) -> Vec<usize> {
        let mut marked = Vec::new();
        let mut position = 0;
        while let Some(&index) = lines.get(position) {
            let block = lines.get(position..).unwrap_or_default();
            let taken = match self.kind(index) {
                LineKind::Mobile => 1,
                LineKind::SignatureMark if self.fits_signature(block) => block.len(),
                LineKind::Closing => self.closing_lines(block),
                LineKind::Thanks if self.is_thanks_and_name(block) => block.len(),
                _ => 0,
            };
            marked.extend(block.iter().take(taken));
            position += taken.max(1);
        }
        marked
    }

    /// How many lines of `block` the closing that it begins with takes: all of a short block; else, when a line under
    /// it speaks of the matter again, the closing with the names and numbers right under it.
    fn closing_lines(&self, block: &[usize]) -> usize {
        let speaks = |&index: &usize| {
            self.kind(index) != LineKind::Mobile && phrases::is_message_after_closing(self.text(index))
        };
        if block.len() <= MAX_BLOCK_LINES && self.fits_signature(block) && !block.iter().skip(1).any(speaks) {
            return block.len();
        }
        let mut taken = 1;
        for (offset, &index) in block.iter().enumerate().take(MAX_BLOCK_LINES).skip(1) {
            match self.kind(index) {
                LineKind::Empty => continue,
                LineKind::Text if !speaks(&index) && phrases::is_signature_line(self.text(index)) => taken = offset + 1,
                _ => break,
            }
        }
        taken
    }

    fn is_thanks_and_name(&self, block: &[usize]) -> bool {
        let mut rest = block.iter().skip(1).filter(|&&index| self.kind(index) != LineKind::Empty);
        let names = rest.by_ref().take(2).all(|&index| {
            matches!(self.kind(index), LineKind::Text | LineKind::Mobile) && phrases::is_name_line(self.text(index))
        });
        names && rest.next().is_none()
    }

    fn fits_signature(&self, block: &[usize]) -> bool {
        let mut filled = 0;
        let mut chars = 0;
        for &index in block {
            filled += usize::from(self.kind(index) != LineKind::Empty);
            chars += self.text(index).chars().count();
            if filled > MAX_SIGNATURE_LINES || chars > MAX_SIGNATURE_CHARS {
                return false;
            }
        }
        true
    }
}
