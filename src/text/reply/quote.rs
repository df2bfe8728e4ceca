//! Here are the lines of a mail, say where an earlier mail begins in it and how long its header is.

use super::{LineKind, Mail, phrases};
use crate::text::phrases::HeaderField;

/// Lines of the header of an earlier mail, folded ones and recipients included.
const MAX_HEADER_LINES: usize = 14;

/// An earlier mail inside this one: where its header begins and ends, in the view.
pub(super) struct Quote {
    pub(super) start: usize,
    pub(super) header_end: usize,
    pub(super) forwarded: bool,
    /// How the earlier mail's text is told from the new one.
    pub(super) style: QuoteStyle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QuoteStyle {
    /// Everything that follows.
    Rest,
    /// Everything that follows, but its header cannot be told from its text.
    RestWithHeader,
    /// Only the lines that begin with ">".
    Prefixed,
}

impl Mail {
    /// The first earlier mail at or after `from`.
    pub(super) fn find_quote(&self, view: &[usize], from: usize) -> Option<Quote> {
        (from..view.len()).find_map(|position| self.quote_at(view, position))
    }

    fn quote_at(&self, view: &[usize], position: usize) -> Option<Quote> {
        let index = *view.get(position)?;
        let quote = |header_end, forwarded, style| Some(Quote { start: position, header_end, forwarded, style });
        match self.kind(index) {
            LineKind::Marker { forwarded } => {
                let after = self.skip_empty(view, position + 1);
                let header_end = self.header_block(view, after).map_or(position + 1, |block| block.end);
                quote(header_end, forwarded, QuoteStyle::Rest)
            }
            LineKind::Rule => {
                let after = self.skip_empty(view, position + 1);
                let block = self.header_block(view, after).filter(HeaderBlock::is_mail)?;
                quote(block.end, false, QuoteStyle::Rest)
            }
            LineKind::Header(HeaderField::From) => {
                let block = self.header_block(view, position).filter(HeaderBlock::is_mail)?;
                quote(block.end, false, QuoteStyle::Rest)
            }
            LineKind::FlatHeader => quote(position + 1, false, QuoteStyle::RestWithHeader),
            LineKind::Quoted => {
                let counts = self.prefixed_run(view, position) > 1 || self.is_reply_mark(view, position);
                if counts { quote(position, false, QuoteStyle::Prefixed) } else { None }
            }
            _ => {
                let lines = self.attribution_lines(view, position)?;
                let after = self.skip_empty(view, position + lines);
                let is_prefixed = self.prefixed_run(view, after) > 0;
                quote(position + lines, false, if is_prefixed { QuoteStyle::Prefixed } else { QuoteStyle::Rest })
            }
        }
    }

    /// How many lines the attribution at `position` takes; mail programs wrap it over up to three.
    pub(super) fn attribution_lines(&self, view: &[usize], position: usize) -> Option<usize> {
        let first = self.text(*view.get(position)?);
        if !phrases::may_begin_attribution(first) {
            return None;
        }
        let mut whole = String::new();
        for (lines, &index) in view.iter().skip(position).take(3).enumerate() {
            let line = self.text(index);
            if line.is_empty() || whole.len() + line.len() > 400 {
                return None;
            }
            if lines > 0 {
                whole.push(' ');
            }
            whole.push_str(line);
            if phrases::is_attribution(&whole) {
                return Some(lines + 1);
            }
        }
        None
    }

    /// How many lines in a row begin with ">", from `position` on.
    pub(super) fn prefixed_run(&self, view: &[usize], position: usize) -> usize {
        view.iter().skip(position).take_while(|&&index| self.kind(index) == LineKind::Quoted).count()
    }

    /// True for a lone quoted line that cannot be a "greater than": it is quoted twice, or the subject is a reply's.
    pub(super) fn is_reply_mark(&self, view: &[usize], position: usize) -> bool {
        view.get(position).is_some_and(|&index| {
            let text = self.text(index);
            text.starts_with(">>") || text.starts_with("> >")
        })
    }

    pub(super) fn skip_empty(&self, view: &[usize], position: usize) -> usize {
        let empty = view.iter().skip(position).take_while(|&&index| self.kind(index) == LineKind::Empty).count();
        position + empty
    }

    /// The header fields that stand in a row from `position` on.
    fn header_block(&self, view: &[usize], position: usize) -> Option<HeaderBlock> {
        let mut block = HeaderBlock { end: position, fields: Vec::new(), has_address: false };
        for (offset, &index) in view.iter().skip(position).take(MAX_HEADER_LINES).enumerate() {
            let text = self.text(index);
            match self.kind(index) {
                LineKind::Header(field) => block.fields.push(field),
                // One empty line may stand between fields, none after the last.
                LineKind::Empty => continue,
                // A folded field: more recipients.
                LineKind::Text if offset > 0 && text.contains('@') && (text.contains(';') || text.contains('<')) => {}
                _ => break,
            }
            block.has_address |= text.contains('@');
            block.end = position + offset + 1;
        }
        (!block.fields.is_empty()).then_some(block)
    }
}

struct HeaderBlock {
    /// Position after the last field.
    end: usize,
    fields: Vec<HeaderField>,
    has_address: bool,
}

impl HeaderBlock {
    /// True when the fields are those of a mail: a travel request has "Von" and "An" too.
    fn is_mail(&self) -> bool {
        let has = |field| self.fields.contains(&field);
        has(HeaderField::From)
            && has(HeaderField::Sent)
            && (has(HeaderField::To) || has(HeaderField::Subject))
            && (has(HeaderField::Subject) || self.has_address)
    }
}
