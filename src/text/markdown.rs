//! Here is Markdown, give me its text in lines. Marks go, words and code stay. It builds no tree: what it does not
//! recognise stays as it was written.

use std::sync::LazyLock;

use regex::Regex;

use super::{entities, pattern};

/// What a block quote is in the text at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockQuotes {
    /// Part of an article: the mark goes.
    Text,
    /// Possibly an earlier mail: the mark stays for the mail rules.
    Mail,
}

/// Lines of text of `markdown`. With [`BlockQuotes::Text`], lines of one paragraph are joined into one.
pub(super) fn read(markdown: &str, quotes: BlockQuotes) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut fence: Option<&str> = None;
    let mut in_paragraph = false;
    for raw in markdown.replace("\r\n", "\n").split(['\n', '\r']) {
        let line = raw.trim();
        if let Some(mark) = fence {
            if line.starts_with(mark) && line.trim_matches(['`', '~']).is_empty() {
                fence = None;
            } else {
                blocks.push(line.to_owned());
            }
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| line.starts_with(mark)) {
            fence = Some(mark);
            in_paragraph = false;
            continue;
        }
        let (quote, line) = quote_mark(line, quotes);
        let kind = kind_of(line, in_paragraph);
        let text = match kind {
            Kind::Empty => String::new(),
            Kind::Mark => {
                in_paragraph = false;
                continue;
            }
            Kind::Heading => inline(line.trim_matches('#').trim()),
            Kind::Item => format!("- {}", inline(line.get(1..).unwrap_or_default().trim())),
            Kind::Row => inline(line.trim_matches('|')),
            Kind::Text => inline(line),
        };
        let continues = in_paragraph && kind == Kind::Text && quotes == BlockQuotes::Text;
        in_paragraph = matches!(kind, Kind::Text | Kind::Item);
        match blocks.last_mut() {
            Some(paragraph) if continues => {
                paragraph.push(' ');
                paragraph.push_str(&text);
            }
            _ => blocks.push(format!("{quote}{text}")),
        }
    }
    blocks
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Empty,
    /// Says nothing itself: a rule, an underline, the second row of a table, the target of a link.
    Mark,
    Heading,
    Item,
    Row,
    Text,
}

fn kind_of(line: &str, in_paragraph: bool) -> Kind {
    let is_only = |marks: &[char]| line.chars().all(|c| marks.contains(&c) || c == ' ');
    let is_rule = line.len() >= 3 && (is_only(&['-']) || is_only(&['*']) || is_only(&['_']));
    let is_underline = in_paragraph && is_only(&['=']);
    let is_table_rule = line.contains('|') && is_only(&['|', '-', ':']);
    if line.is_empty() {
        Kind::Empty
    } else if is_rule || is_underline || is_table_rule || LINK_TARGET.is_match(line) {
        Kind::Mark
    } else if line.trim_start_matches('#').starts_with(' ') && line.starts_with('#') {
        Kind::Heading
    } else if ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark)) {
        Kind::Item
    } else if line.starts_with('|') {
        Kind::Row
    } else if NUMBERED.is_match(line) {
        // A numbered item begins a line of its own; its number is part of the text.
        Kind::Heading
    } else {
        Kind::Text
    }
}

fn quote_mark(line: &str, quotes: BlockQuotes) -> (&'static str, &str) {
    let inner = line.trim_start_matches(['>', ' ']);
    match quotes {
        BlockQuotes::Text if line.starts_with('>') => ("", inner),
        BlockQuotes::Mail if line.starts_with('>') => ("> ", inner),
        _ => ("", line),
    }
}

/// Text of a line without marks; what stands in back ticks is taken as it is.
fn inline(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, code_on)) = rest.split_once('`') {
        let ticks = 1 + code_on.len() - code_on.trim_start_matches('`').len();
        let close = "`".repeat(ticks);
        let code_on = code_on.trim_start_matches('`');
        match code_on.split_once(close.as_str()) {
            Some((code, after)) => {
                text.push_str(&prose(before));
                text.push_str(code);
                rest = after;
            }
            // A lone back tick: none of the rest is code.
            None => {
                text.push_str(&prose(before));
                text.push_str(&close);
                text.push_str(&prose(code_on));
                return text;
            }
        }
    }
    text.push_str(&prose(rest));
    text
}

fn prose(text: &str) -> String {
    if !text.contains(['*', '_', '[', '<', '\\', '~', '&']) {
        return text.to_owned();
    }
    let mut text = LINK.replace_all(text, "$1").into_owned();
    // Once more for a picture inside a link.
    if text.contains("](") {
        text = LINK.replace_all(&text, "$1").into_owned();
    }
    text = REFERENCE.replace_all(&text, "$1").into_owned();
    text = AUTOLINK.replace_all(&text, "$1").into_owned();
    text = TAG.replace_all(&text, " ").into_owned();
    text = STRONG.replace_all(&text, "$1$2$3").into_owned();
    text = EMPHASIS.replace_all(&text, "$1$2$3$4").into_owned();
    text = ESCAPE.replace_all(&text, "$1").into_owned();
    entities::decode(&text)
}

// Every repetition stops at the next mark of its kind, so that a line of nothing but openings is read in linear time.
static LINK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"!?\[([^\[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+"[^"]*")?\s?\)"#));
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"!?\[([^\[\]]+)\]\[[^\[\]]*\]"));
static LINK_TARGET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\[[^\[\]]+\]:\s*\S+(?:\s.*)?$"));
static AUTOLINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"<((?:https?|ftp|mailto):[^<>\s]+)>"));
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)</?(?:br|b|i|u|em|strong|p|div|span|kbd|code|pre|sub|sup|details|summary|table|tr|td|th|ul|ol|li|img|a|hr|h[1-6]|center|small|del|ins|mark)(?:\s[^<>]*)?/?>|<!--[^<>]*-->",
    )
});
static STRONG: LazyLock<Regex> = LazyLock::new(|| pattern(r"\*\*([^*]+)\*\*|\b__([^_]+)__\b|~~([^~]+)~~"));
static EMPHASIS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"(^|[\s("'])(?:\*([^*\s](?:[^*]*[^*\s])?)\*|_([^_\s](?:[^_]*[^_\s])?)_)($|[\s).,;:!?"'])"#)
});
static ESCAPE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\([\\`*_{}\[\]()#+\-.!|<>~])"));
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{1,4}[.)]\s"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_article_becomes_one_block_a_line() {
        let markdown = "# VPN *neu* einrichten #\n\nÖffnen Sie den **Client** und\nwählen Sie `Profil_A`.\n\n\
                        1. Starten\n2. Anmelden\n* Punkt mit [Link](https://example.org/a_(b) \"t\")\n  und Rest\n\n\
                        ---\n> Hinweis: __wichtig__\n\n```sh\n# kein Titel\nnet use * /delete\n```\n\
                        | A | B |\n|---|:-:|\n| 1 | 2 |\n\n[x]: https://example.org\n![Bild](a.png) Ende<br>neu";
        let expected = [
            "VPN neu einrichten",
            "Öffnen Sie den Client und wählen Sie Profil_A.",
            "1. Starten",
            "2. Anmelden",
            "- Punkt mit Link und Rest",
            "Hinweis: wichtig",
            "# kein Titel",
            "net use * /delete",
            " A | B ",
            " 1 | 2 ",
            "Bild Ende neu",
        ];
        let blocks: Vec<String> =
            read(markdown, BlockQuotes::Text).into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(blocks, expected);
    }

    #[test]
    fn words_with_marks_in_them_stay() {
        for line in
            ["snake_case_name und 2 * 3 * 4", "a*b*c", "<max@example.org> schrieb", "`x", "C:\\Temp", "[x] fertig"]
        {
            assert_eq!(read(line, BlockQuotes::Mail).concat(), line);
        }
        assert_eq!(read(r"1\. kein \*Punkt\*", BlockQuotes::Mail).concat(), "1. kein *Punkt*");
        assert_eq!(read("Titel\n=====", BlockQuotes::Text).concat(), "Titel");
        assert_eq!(read("``a`b`` und *c*, _d_.", BlockQuotes::Text).concat(), "a`b und c, d.");
        assert_eq!(read("[![alt](i.png)](https://x.org)", BlockQuotes::Text).concat(), "alt");
    }

    #[test]
    fn a_mail_keeps_its_lines_and_quote_marks() {
        assert_eq!(read("neu\nZeile\n> > alt", BlockQuotes::Mail), ["neu", "Zeile", "> alt"]);
    }

    #[test]
    fn hostile_lines_are_read_in_bounded_time() {
        for unit in ["[", "[a](", "![", "**a", "_a ", "`", "``` ", "<b ", "\\", "[a](b(c", "> "] {
            read(&unit.repeat(30_000), BlockQuotes::Text);
        }
    }
}
