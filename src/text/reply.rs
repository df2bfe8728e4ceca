//! Here are the lines of a mail, give me those that its sender wrote for this message, and what the others were.
//!
//! Quoted and forwarded mails, signatures, legal notices and gateway warnings are taken out, line by line: every line
//! is told apart on its own first (`phrases`), then the lines around it decide. Passes repeat until nothing changes, so
//! that cleaning a cleaned text changes nothing. When in doubt a line stays, and the last words are never taken.

mod quote;
mod signature;

use crate::ticket::{Removal, RemovalKind};

use super::characters;
use super::html::HtmlLine;
use super::phrases::{self, LineKind};
use quote::QuoteStyle;

/// What the subject says about the mail: a forward is kept where a reply's quote is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// "WG:", "Fwd:".
    Forward,
    /// "AW:", "Re:".
    Reply,
    /// Neither.
    None,
}

/// What is left of a mail.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    /// Kept lines, joined: none empty at the ends, at most one empty in a row.
    pub(super) text: String,
    /// What was taken out, in order of appearance, neighbours of a kind as one.
    pub(super) removed: Vec<Removal>,
}

/// Passes over one mail. Each takes out at least one stretch, and real mails settle after three or four; only a text
/// made to have more layers is left with some.
const MAX_PASSES: usize = 60;
/// Removals reported one by one; with more, all of a kind are added up.
const MAX_REMOVALS: usize = 32;
/// Lines of a note on top of a forwarded mail, with its own signature.
const MAX_NOTE_LINES: usize = 200;

/// Cleans a mail whose lines are in the one character form.
pub(super) fn clean(lines: Vec<HtmlLine>, hint: Hint) -> Cleaned {
    let mut mail = Mail { lines: lines.into_iter().map(Line::new).collect(), hint };
    for _ in 0..MAX_PASSES {
        let before = mail.lines.iter().map(|line| line.removed).collect::<Vec<_>>();
        let (layers, spoke) = (mail.layers(), mail.says_something());
        if !mail.pass() {
            break;
        }
        if spoke && !mail.says_something() {
            for (line, removed) in mail.lines.iter_mut().zip(before) {
                line.removed = removed;
            }
            // Lines that lost a quote mark may be read differently now; else the next pass would end here again.
            if mail.layers() == layers {
                break;
            }
        }
    }
    let text = characters::join(mail.lines.iter().filter(|line| line.removed.is_none()).map(Line::text));
    Cleaned { text, removed: removals(&mail.lines) }
}

struct Mail {
    lines: Vec<Line>,
    hint: Hint,
}

struct Line {
    /// As written; [`Line::text`] leaves out what was cut off its beginning.
    whole: String,
    /// Bytes of quote marks and warnings cut off the beginning of `whole`.
    start: usize,
    /// Characters of the warnings among them.
    banner_chars: usize,
    kind: LineKind,
    quoted: bool,
    removed: Option<RemovalKind>,
}

impl Line {
    fn new(line: HtmlLine) -> Self {
        let kind = phrases::kind_of(&line.text);
        Line { whole: line.text, start: 0, banner_chars: 0, kind, quoted: line.quoted, removed: None }
    }

    fn text(&self) -> &str {
        self.whole.get(self.start..).unwrap_or_default()
    }

    /// Cuts the beginning off, and blanks after it.
    fn cut(&mut self, bytes: usize) {
        let rest = self.text().get(bytes..).unwrap_or_default().trim_start();
        self.start = self.whole.len() - rest.len();
        self.kind = phrases::kind_of(self.text());
    }
}

impl Mail {
    /// Takes out or unwraps one layer. Returns whether anything changed.
    fn pass(&mut self) -> bool {
        let view = self.view();
        self.cut_banners(&view)
            || self.unwrap_containers(&view)
            || self.take_quotes(&view)
            || self.take_hygiene(&view, true)
    }

    /// Indices of the lines still kept, as they will be joined: no empty line at the ends, at most one in a row.
    fn view(&self) -> Vec<usize> {
        let mut view: Vec<usize> = Vec::new();
        let mut gap = None;
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.removed.is_none()) {
            if line.text().is_empty() {
                gap = gap.or(Some(index));
                continue;
            }
            if !view.is_empty() {
                view.extend(gap);
            }
            gap = None;
            view.push(index);
        }
        view
    }

    /// Quote containers and quote marks that have not been taken off: grows less with every layer unwrapped.
    fn layers(&self) -> usize {
        self.lines.iter().map(|line| usize::from(line.quoted) + line.text().len()).sum()
    }

    fn says_something(&self) -> bool {
        self.lines.iter().any(|line| line.removed.is_none() && characters::says_something(line.text()))
    }

    fn kind(&self, index: usize) -> LineKind {
        self.lines.get(index).map_or(LineKind::Empty, |line| line.kind)
    }

    fn text(&self, index: usize) -> &str {
        self.lines.get(index).map_or("", Line::text)
    }

    fn remove(&mut self, indices: &[usize], kind: RemovalKind) {
        for &index in indices {
            if let Some(line) = self.lines.get_mut(index)
                && line.removed.is_none()
            {
                line.removed = Some(kind);
            }
        }
    }

    /// Takes the gateway's warnings out, also where the message goes on in the same line.
    fn cut_banners(&mut self, view: &[usize]) -> bool {
        let mut changed = false;
        // How many words of warning show that a line goes on with the warning above it.
        let mut words_to_go_on = usize::MAX;
        for (position, &index) in view.iter().enumerate() {
            let kind = self.kind(index);
            let may_go_on = kind == LineKind::Text && words_to_go_on < usize::MAX;
            let goes_on = may_go_on && phrases::warning_words(self.text(index)) >= words_to_go_on;
            if kind != LineKind::Banner && !goes_on {
                words_to_go_on = usize::MAX;
                continue;
            }
            let next_line = view.get(position + 1).map_or("", |&next| self.text(next)).to_owned();
            let Some(line) = self.lines.get_mut(index) else { continue };
            let is_wrapped = line.text().ends_with(|c: char| c.is_alphanumeric() || c == ',');
            let bytes = if goes_on { line.text().len() } else { phrases::banner_bytes(line.text(), &next_line) };
            if line.text().get(bytes..).unwrap_or_default().trim().is_empty() {
                line.removed = Some(RemovalKind::Banner);
            } else {
                line.banner_chars += line.text().get(..bytes).unwrap_or_default().chars().count();
                line.cut(bytes.max(1));
            }
            words_to_go_on = match line.removed {
                Some(_) if is_wrapped => 1,
                Some(_) => phrases::WORDS_OF_WARNING,
                None => usize::MAX,
            };
            changed = true;
        }
        changed
    }

    /// Takes the quote containers of an HTML mail out, or takes their content as the message when there is no other.
    fn unwrap_containers(&mut self, view: &[usize]) -> bool {
        let (quoted, new): (Vec<usize>, Vec<usize>) =
            view.iter().partition(|&&index| self.lines.get(index).is_some_and(|line| line.quoted));
        if quoted.is_empty() {
            return false;
        }
        let forwarded = quoted.iter().take(6).any(|&index| self.kind(index) == LineKind::Marker { forwarded: true });
        let hint = if forwarded { Hint::Forward } else { self.hint };
        if self.is_short(&new, hint) {
            self.take_hygiene(&new, false);
            for index in quoted {
                if let Some(line) = self.lines.get_mut(index) {
                    line.quoted = false;
                }
            }
        } else {
            self.remove(&quoted, RemovalKind::Quote);
        }
        true
    }

    /// Takes earlier mails out that plain text marks: the first one found, and with it all that it holds. Below a note
    /// too short to be the message only the header goes, and the search goes on in what was forwarded.
    fn take_quotes(&mut self, view: &[usize]) -> bool {
        let mut position = 0;
        let mut changed = false;
        while let Some(quote) = self.find_quote(view, position) {
            if quote.style == QuoteStyle::Prefixed {
                return changed || self.take_prefixed(view);
            }
            let above = view.get(position..quote.start).unwrap_or_default();
            let hint = if quote.forwarded { Hint::Forward } else { self.hint };
            // Whether a header in one line goes must not hang on a subject that has lost its "Fwd:".
            let hint = if quote.style == QuoteStyle::RestWithHeader { Hint::None } else { hint };
            if !self.is_short(above, hint) {
                let rest = view.get(quote.start..).unwrap_or_default();
                self.remove(rest, RemovalKind::Quote);
                return true;
            }
            if quote.style != QuoteStyle::RestWithHeader {
                self.take_hygiene(above, false);
                self.remove(view.get(quote.start..quote.header_end).unwrap_or_default(), RemovalKind::Quote);
                changed = true;
            }
            position = quote.header_end;
        }
        changed
    }

    /// Takes the lines out that begin with ">" and what introduces them; answers between them stay. When nothing else
    /// is said, they are the message and lose their marks.
    fn take_prefixed(&mut self, view: &[usize]) -> bool {
        let mut quoted: Vec<usize> = Vec::new();
        let mut introductions: Vec<usize> = Vec::new();
        let mut new: Vec<usize> = Vec::new();
        let mut position = 0;
        while let Some(&index) = view.get(position) {
            let is_quoted = self.kind(index) == LineKind::Quoted;
            let lines = if is_quoted { 0 } else { self.attribution_lines(view, position).unwrap_or(0) };
            let run_start = self.skip_empty(view, position + lines);
            let run = self.prefixed_run(view, run_start);
            if run > 0 && (lines > 0 || run > 1 || self.is_reply_mark(view, position)) {
                introductions.extend(view.get(position..position + lines).unwrap_or_default());
                quoted.extend(view.get(run_start..run_start + run).unwrap_or_default());
                position = run_start + run;
                continue;
            }
            new.push(index);
            position += 1;
        }
        if quoted.is_empty() {
            return false;
        }
        // Forwards are seldom written like this.
        let hint = if introductions.is_empty() && self.hint == Hint::Forward { Hint::Forward } else { Hint::Reply };
        self.remove(&introductions, RemovalKind::Quote);
        if !self.is_short(&new, hint) {
            self.remove(&quoted, RemovalKind::Quote);
            return true;
        }
        self.take_hygiene(&new, false);
        for index in quoted {
            if let Some(line) = self.lines.get_mut(index) {
                let text = line.text();
                line.cut(text.len() - text.trim_start_matches(['>', ' ']).len());
            }
        }
        true
    }

    /// True when `lines`, without their own signature and greeting, are too few words to be the message.
    fn is_short(&self, lines: &[usize], hint: Hint) -> bool {
        if lines.len() > MAX_NOTE_LINES {
            return false;
        }
        let marks = self.hygiene(lines);
        let mut said = String::new();
        for &index in lines {
            if self.is_message(index) && !marks.contains_key(&index) {
                said.push_str(self.text(index));
                said.push(' ');
            }
            if said.len() > 2_000 {
                return false;
            }
        }
        let words = words(&said);
        match hint {
            Hint::Reply => words < 3,
            Hint::Forward | Hint::None => {
                let chars = said.trim().chars().count();
                words < 4 || chars < 40 || chars < 90 && phrases::is_forwarding_note(&said)
            }
        }
    }
}

/// Words of at least two letters or digits.
pub(super) fn words(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().nth(1).is_some()).count()
}

fn removals(lines: &[Line]) -> Vec<Removal> {
    let mut removed: Vec<Removal> = Vec::new();
    let mut after_kept = true;
    let mut add = |kind, chars, after_kept: bool| match removed.last_mut() {
        Some(last) if last.kind == kind && !after_kept => last.chars += chars,
        _ => removed.push(Removal { kind, chars }),
    };
    for line in lines {
        if line.banner_chars > 0 {
            add(RemovalKind::Banner, line.banner_chars, after_kept);
            after_kept = true;
        }
        match line.removed {
            Some(kind) => {
                add(kind, line.text().chars().count(), after_kept);
                after_kept = false;
            }
            // An empty line parts nothing: it goes with its neighbours.
            None if line.text().is_empty() => {}
            None => after_kept = true,
        }
    }
    if removed.len() <= MAX_REMOVALS {
        return removed;
    }
    let mut sums: Vec<Removal> = Vec::new();
    for removal in removed {
        match sums.iter_mut().find(|sum| sum.kind == removal.kind) {
            Some(sum) => sum.chars += removal.chars,
            None => sums.push(removal),
        }
    }
    sums
}
