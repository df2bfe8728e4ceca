//! Here is HTML of a mail or a page, give me its text in lines, and say which lines stand in a quote container.
//!
//! One streaming pass with bounded memory; nesting costs no recursion. It renders nothing and keeps no markup.

use std::cell::RefCell;
use std::rc::Rc;

use lol_html::html_content::{Element, TextChunk};
use lol_html::{HtmlRewriter, MemorySettings, Settings, doc_text, element, end_tag};

use super::characters::says_something;
use super::entities;

/// A line of text as written, and whether it was found in a quote container of a mail client.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct HtmlLine {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// Most memory of the parser, in bytes: enough for tens of thousands of open tags.
const MAX_PARSER_BYTES: usize = 16 << 20;

/// Reads the text out of `html`. Never fails: what the parser refuses is read by a plain tag stripper.
pub(super) fn read(html: &str) -> Vec<HtmlLine> {
    match parse(html) {
        Some(lines) if lines.iter().any(|line| says_something(&line.text)) => lines,
        // Also when nothing came out: an unclosed script or hidden block must not swallow the whole mail.
        parsed => {
            let stripped = strip(html);
            match parsed {
                Some(lines) if !stripped.iter().any(|line| says_something(&line.text)) => lines,
                _ => stripped,
            }
        }
    }
}

fn parse(html: &str) -> Option<Vec<HtmlLine>> {
    let page = Rc::new(RefCell::new(Page::default()));
    let on_element = Rc::clone(&page);
    let on_text = Rc::clone(&page);
    let settings = Settings::new()
        .append_element_content_handler(element!("*", move |element| open(&on_element, element)))
        .append_document_content_handler(doc_text!(move |chunk: &mut TextChunk<'_>| {
            on_text.borrow_mut().text(chunk);
            Ok(())
        }))
        // Ambiguous markup is read one way or the other: this text is never rendered.
        .with_strict(false)
        .with_memory_settings(MemorySettings::new().with_max_allowed_memory_usage(MAX_PARSER_BYTES));
    let mut rewriter = HtmlRewriter::new(settings, |_: &[u8]| {});
    rewriter.write(html.as_bytes()).ok()?;
    rewriter.end().ok()?;
    Some(page.take().finish())
}

fn open(page: &Rc<RefCell<Page>>, element: &mut Element<'_, '_>) -> lol_html::HandlerResult {
    let tag = element.tag_name();
    let effect = effect_of(&tag, |name| element.get_attribute(name));
    if !page.borrow_mut().open(effect) {
        return Ok(());
    }
    let closes = !matches!(effect, Effect::None | Effect::Cell | Effect::LineBreak | Effect::QuoteRest);
    if closes && element.can_have_content() {
        let page = Rc::clone(page);
        element.on_end_tag(end_tag!(move |_| {
            page.borrow_mut().close(effect);
            Ok(())
        }))?;
    } else if closes {
        page.borrow_mut().close(effect);
    }
    Ok(())
}

/// What an element does to the text around and in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Inline: nothing.
    None,
    /// Its content is not text for a reader.
    Hide,
    /// Its content is an earlier message.
    Quote,
    /// It, and all that follows, is an earlier message.
    QuoteRest,
    /// Starts and ends on a line of its own.
    Block,
    /// Like a block, with an empty line around it.
    Paragraph,
    /// Like a block, with line ends inside kept.
    Preformatted,
    /// One line, with a dash before it.
    Item,
    /// Parted from the cell before it.
    Cell,
    /// A line end.
    LineBreak,
}

fn effect_of(tag: &str, attribute: impl Fn(&str) -> Option<String>) -> Effect {
    let effect = match tag {
        "script" | "style" | "head" | "title" | "template" | "noscript" | "iframe" | "object" | "svg" | "math"
        | "noframes" | "noembed" => return Effect::Hide,
        "br" | "hr" => Effect::LineBreak,
        "td" | "th" => Effect::Cell,
        "li" => Effect::Item,
        "pre" | "textarea" => Effect::Preformatted,
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "dl" | "table" | "blockquote" => {
            Effect::Paragraph
        }
        "div" | "tr" | "dt" | "dd" | "header" | "footer" | "section" | "article" | "aside" | "main" | "nav"
        | "form" | "fieldset" | "address" | "figure" | "figcaption" | "center" | "details" | "summary" | "option"
        | "body" | "html" | "caption" | "thead" | "tbody" | "tfoot" => Effect::Block,
        _ => Effect::None,
    };
    if attribute("hidden").is_some() || attribute("style").is_some_and(|style| hides(&style)) {
        return Effect::Hide;
    }
    let classes = attribute("class").unwrap_or_default();
    match attribute("id").as_deref() {
        // Outlook on the web marks where its own text ends, with an empty element or the header of the old mail.
        Some("divRplyFwdMsg" | "appendonsend") => return Effect::QuoteRest,
        _ if tag == "blockquote" && attribute("type").is_some_and(|kind| kind.eq_ignore_ascii_case("cite")) => {
            return Effect::Quote;
        }
        _ if classes.split_ascii_whitespace().any(is_quote_class) => return Effect::Quote,
        _ => {}
    }
    // Word and Outlook write every line as a paragraph without margins.
    if effect == Effect::Paragraph && tag == "p" && classes.starts_with("Mso") { Effect::Block } else { effect }
}

fn is_quote_class(class: &str) -> bool {
    matches!(class, "gmail_quote" | "gmail_quote_container" | "yahoo_quoted" | "moz-cite-prefix" | "protonmail_quote")
}

fn hides(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    style.contains("display:none") || style.contains("visibility:hidden") || style.contains("mso-hide:all")
}

/// The page so far. Depths count open elements of a kind, so that unclosed ones end with their parent.
#[derive(Default)]
struct Page {
    lines: Vec<HtmlLine>,
    current: String,
    /// Whether the current line began in a quote.
    current_quoted: bool,
    /// Raw text of the text node being read: an entity may be split over chunks.
    node: String,
    hidden: usize,
    quotes: usize,
    quote_rest: bool,
    preformatted: usize,
}

impl Page {
    fn text(&mut self, chunk: &TextChunk<'_>) {
        if self.hidden > 0 {
            return;
        }
        self.node.push_str(chunk.as_str());
        if !chunk.last_in_text_node() {
            return;
        }
        let node = std::mem::take(&mut self.node);
        let decoded = if chunk.text_type().allows_html_entities() { entities::decode(&node) } else { node };
        self.push(&decoded);
    }

    fn push(&mut self, text: &str) {
        if self.is_quoted() != self.current_quoted {
            self.break_line();
            self.current_quoted = self.is_quoted();
        }
        if self.preformatted == 0 {
            self.current.extend(text.chars().map(|c| if c.is_ascii_whitespace() { ' ' } else { c }));
            return;
        }
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.end_line();
            }
            self.current.push_str(line);
        }
    }

    /// Returns whether the element has an effect: inside a hidden one only another hidden one has.
    fn open(&mut self, effect: Effect) -> bool {
        if self.hidden > 0 && effect != Effect::Hide {
            return false;
        }
        match effect {
            Effect::None => {}
            Effect::Hide => self.hidden += 1,
            Effect::Quote => {
                self.break_line();
                self.quotes += 1;
            }
            Effect::QuoteRest => {
                self.break_line();
                self.quote_rest = true;
            }
            Effect::Block => self.break_line(),
            Effect::Paragraph => self.break_paragraph(),
            Effect::Preformatted => {
                self.break_line();
                self.preformatted += 1;
            }
            Effect::Item => {
                self.break_line();
                self.push("- ");
            }
            Effect::Cell if !self.current.trim().is_empty() => self.push(" | "),
            Effect::Cell => {}
            Effect::LineBreak => self.end_line(),
        }
        true
    }

    fn close(&mut self, effect: Effect) {
        match effect {
            Effect::Hide => self.hidden = self.hidden.saturating_sub(1),
            Effect::Quote => {
                self.break_line();
                self.quotes = self.quotes.saturating_sub(1);
            }
            Effect::Block | Effect::Item => self.break_line(),
            Effect::Paragraph => self.break_paragraph(),
            Effect::Preformatted => {
                self.break_line();
                self.preformatted = self.preformatted.saturating_sub(1);
            }
            Effect::None | Effect::QuoteRest | Effect::Cell | Effect::LineBreak => {}
        }
    }

    fn is_quoted(&self) -> bool {
        self.quotes > 0 || self.quote_rest
    }

    /// Ends the line, unless nothing stands on it. A no-break space alone is how Outlook writes an empty line.
    fn break_line(&mut self) {
        if self.current.trim().is_empty() && !self.current.contains('\u{A0}') {
            self.current.clear();
        } else {
            self.end_line();
        }
    }

    fn break_paragraph(&mut self) {
        self.break_line();
        if self.lines.last().is_some_and(|line| !line.text.is_empty()) {
            self.lines.push(HtmlLine { text: String::new(), quoted: self.is_quoted() });
        }
    }

    fn end_line(&mut self) {
        self.lines.push(HtmlLine { text: std::mem::take(&mut self.current), quoted: self.current_quoted });
        self.current_quoted = self.is_quoted();
    }

    fn finish(mut self) -> Vec<HtmlLine> {
        if !self.node.is_empty() {
            let rest = entities::decode(&std::mem::take(&mut self.node));
            self.push(&rest);
        }
        self.break_line();
        self.lines
    }
}

/// Drops whatever looks like a tag, a comment, a script or a style sheet. Linear, and total on any input: an end that
/// was looked for in vain is never looked for again.
fn strip(html: &str) -> Vec<HtmlLine> {
    let mut text = String::new();
    let mut rest = html;
    let mut ends = Ends { comment: true, script: true, style: true };
    while let Some(start) = rest.find('<') {
        let (before, tag_on) = rest.split_at(start);
        text.push_str(before);
        let after = tag_on.get(1..).unwrap_or_default();
        if !after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            text.push('<');
            rest = after;
            continue;
        }
        let Some(end) = ends.of_tag(tag_on) else {
            text.push_str(tag_on);
            rest = "";
            break;
        };
        let (_, content) = tag_on.split_at(end);
        let name = after.trim_start_matches('/');
        let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
        let name = name.to_ascii_lowercase();
        if effect_of(&name, |_| None) != Effect::None {
            text.push('\n');
        }
        rest = if after.starts_with('/') { content } else { ends.skip_raw_text(&name, content) };
    }
    text.push_str(rest);
    entities::decode(&text).lines().map(|line| HtmlLine { text: line.to_owned(), quoted: false }).collect()
}

/// Which ends may still follow.
struct Ends {
    comment: bool,
    script: bool,
    style: bool,
}

impl Ends {
    /// Where the tag or comment that `text` begins with ends; absent when no tag ends in all of the rest.
    fn of_tag(&mut self, text: &str) -> Option<usize> {
        if self.comment && text.starts_with("<!--") {
            match text.find("-->") {
                Some(at) => return Some(at + 3),
                None => self.comment = false,
            }
        }
        text.find('>').map(|at| at + 1)
    }

    /// What follows the content of a script or style element; all of `content` for any other.
    fn skip_raw_text<'a>(&mut self, name: &str, content: &'a str) -> &'a str {
        let (may_end, close) = match name {
            "script" => (&mut self.script, "</script"),
            "style" => (&mut self.style, "</style"),
            _ => return content,
        };
        if !*may_end {
            return content;
        }
        let end = content
            .match_indices("</")
            .find(|(at, _)| content.get(*at..*at + close.len()).is_some_and(|end| end.eq_ignore_ascii_case(close)));
        *may_end = end.is_some();
        end.and_then(|(at, _)| content.get(at..)).unwrap_or(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(html: &str) -> String {
        let lines: Vec<String> = read(html).into_iter().map(|line| line.text.trim().to_owned()).collect();
        super::super::characters::join(lines.iter().map(String::as_str))
    }

    fn quoted_of(html: &str) -> String {
        let said = read(html).into_iter().filter(|line| line.quoted && says_something(&line.text));
        said.map(|line| line.text).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn blocks_become_lines() {
        let cases = [
            ("<p>Eins</p><p>Zwei</p>", "Eins\n\nZwei"),
            ("<p class=MsoNormal>Eins</p><p class=MsoNormal>Zwei</p>", "Eins\nZwei"),
            ("Eins<br>Zwei<br/>Drei", "Eins\nZwei\nDrei"),
            ("<div>Ein <b>fett</b>er\n Text</div><div>Ende</div>", "Ein fetter  Text\nEnde"),
            ("<ul><li>rot<li>blau</ul>Ende", "- rot\n- blau\n\nEnde"),
            ("<table><tr><td>Name</td><td>Wert</td></tr><tr><th>A<td>1</table>", "Name | Wert\nA | 1"),
            ("<pre>a\nb</pre>c", "a\nb\nc"),
            ("a &lt; b &amp;amp; c&nbsp;d &auml;&#228;&#xe4; &unknown; R&D", "a < b &amp; c\u{a0}d äää &unknown; R&D"),
        ];
        for (html, expected) in cases {
            assert_eq!(text_of(html), expected, "{html}");
        }
    }

    #[test]
    fn what_nobody_reads_is_dropped() {
        let html = "<html><head><title>T</title><style>p{color:red}</style></head><body><!-- x --><script>let a='<p>';\
                    </script><noscript>n</noscript><template>t</template><div style='display: none'>hidden <p>x</p></div>\
                    <span hidden>h</span><img alt=logo style='display:none'>Text</body></html>";
        assert_eq!(text_of(html), "Text");
    }

    #[test]
    fn quote_containers_are_marked() {
        let cases = [
            ("<div>neu</div><blockquote type=CITE><p>alt</p></blockquote><div>auch neu</div>", "alt"),
            ("<div dir=ltr>neu</div><div class='gmail_quote x'><div>alt</div></div>", "alt"),
            ("neu<div class=yahoo_quoted>alt</div>", "alt"),
            ("neu<div class=moz-cite-prefix>Am ...</div><blockquote type=cite>alt</blockquote>", "Am .../alt"),
            ("neu<div class=protonmail_quote>alt</div>", "alt"),
            ("<p>neu</p><div id=appendonsend></div><hr><div>alt</div>", "alt"),
            ("<p>neu</p><div id=divRplyFwdMsg><b>Von:</b> X</div><div>alt</div>", "Von: X/alt"),
            ("<blockquote>kein Zitat</blockquote>", ""),
        ];
        for (html, expected) in cases {
            assert_eq!(quoted_of(html), expected, "{html}");
        }
    }

    #[test]
    fn an_unclosed_container_ends_with_its_parent() {
        let html = "<div><div class=gmail_quote>alt</div></div><div>neu</div>";
        assert_eq!(quoted_of(html), "alt");
        let html = "<section><div class=gmail_quote>alt</section><div>neu</div>";
        assert_eq!(quoted_of(html), "alt");
        assert_eq!(text_of("<section><p hidden>alt</section>neu"), "neu");
    }

    #[test]
    fn hostile_markup_is_read_in_bounded_time() {
        let nested = format!("{}tief{}", "<div>".repeat(20_000), "</div>".repeat(20_000));
        assert_eq!(text_of(&nested), "tief");
        let unclosed = format!("oben{}unten", "<b><i><blockquote type=cite>".repeat(40_000));
        assert!(text_of(&unclosed).starts_with("oben"));
        assert_eq!(text_of("Text <!-- nie zu Ende"), "Text");
        assert!(text_of(&"<!-- ".repeat(100_000)).len() < 600_000);
        assert!(text_of(&format!("{}>", "<script>".repeat(60_000))).len() < 600_000);
        assert_eq!(text_of(&format!("<style>{}</style>ok", "a{b:c}".repeat(100_000))), "ok");
        assert!(text_of("<script>ein Text ohne Ende").contains("ein Text"));
        assert!(text_of("<div style=display:none>alles versteckt").contains("alles versteckt"));
        assert!(text_of("<select><xmp><script>x</script></select> ok").contains("ok"));
        for html in ["<", "<>", "</", "<a", "&", "&#", "&#x110000;", "&#xD800;", "<![CDATA[x]]>", "a < b", "\0<\0>"] {
            text_of(html);
        }
    }

    #[test]
    fn the_stripper_reads_what_the_parser_refuses() {
        let lines =
            strip("<div>a<br>b &amp; <i>c</i></div><script>x<y</script><style>z</style><!-- q > --> d 1 < 2 <e");
        let text = lines.iter().map(|line| line.text.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>();
        assert_eq!(text, ["a", "b & c", "d 1 < 2 <e"]);
    }
}
