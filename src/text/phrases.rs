//! The phrases that mail programs and their users write around a message, in German and English: here is a line, say
//! what it looks like on its own. Whether it is removed, `reply` decides from the lines around it.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// Nothing on it.
    Empty,
    /// Begins with ">".
    Quoted,
    /// A separator that a mail program puts above an earlier message.
    Marker {
        /// True for "Forwarded message", false for "Original message".
        forwarded: bool,
    },
    /// A header field of an earlier message, such as "Von: …".
    Header(HeaderField),
    /// A row of header fields run together in one line.
    FlatHeader,
    /// Nothing but underscores, dashes or equals signs.
    Rule,
    /// The signature mark of RFC 3676 §4.3; its blank is lost with the other blanks at line ends.
    SignatureMark,
    /// "Mit freundlichen Grüßen" and the like, perhaps with a name.
    Closing,
    /// "Vielen Dank" and the like: a closing when only a name follows.
    Thanks,
    /// "Von meinem iPhone gesendet" and the like.
    Mobile,
    /// The first words of a legal notice.
    Disclaimer,
    /// A warning of the mail gateway.
    Banner,
    /// "Hallo zusammen," and the like.
    Greeting,
    /// Everything else.
    Text,
}

/// Header field of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderField {
    From,
    Sent,
    To,
    Subject,
    Other,
}

/// Longest line that a phrase is looked for in, in bytes; a longer one is text.
const MAX_PHRASE_BYTES: usize = 400;

/// Longest line that a phone or mail app adds, in words: "Sent from my phone the mail never arrives, …" is a message.
const MAX_MOBILE_WORDS: usize = 12;

/// Says what `line` looks like.
pub(super) fn kind_of(line: &str) -> LineKind {
    if line.is_empty() {
        return LineKind::Empty;
    }
    if line.starts_with('>') {
        return LineKind::Quoted;
    }
    if BANNER.is_match(head(line, MAX_PHRASE_BYTES)) {
        return LineKind::Banner;
    }
    if DISCLAIMER.is_match(head(line, MAX_PHRASE_BYTES)) {
        return LineKind::Disclaimer;
    }
    if line.len() > MAX_PHRASE_BYTES {
        return LineKind::Text;
    }
    if line.chars().all(|c| matches!(c, '-' | '–' | '—' | '_' | '=' | '*')) {
        return if matches!(line, "--" | "—" | "- -") { LineKind::SignatureMark } else { rule(line) };
    }
    if MARKER.is_match(line) {
        return LineKind::Marker { forwarded: FORWARDED.is_match(line) };
    }
    if let Some(field) = header_field(line) {
        return if is_flat_header(line) { LineKind::FlatHeader } else { LineKind::Header(field) };
    }
    if MOBILE.is_match(line) && line.split_whitespace().count() <= MAX_MOBILE_WORDS {
        return LineKind::Mobile;
    }
    if closing_rest(line).is_some_and(is_name) {
        return LineKind::Closing;
    }
    if THANKS.is_match(line) {
        return LineKind::Thanks;
    }
    if line.len() < 80 && GREETING.is_match(line) {
        return LineKind::Greeting;
    }
    LineKind::Text
}

/// How many bytes of `line` are a gateway's warning: its sentences up to the first that warns of nothing. A sentence
/// that is wrapped goes on in `next_line`.
pub(super) fn banner_bytes(line: &str, next_line: &str) -> usize {
    let mut end = 0;
    let rest = |end: usize| line.get(end..).unwrap_or_default();
    while let Some(tag) = BANNER_TAG.find(rest(end)) {
        end += tag.end();
    }
    let Some(warned) = BANNER.find(head(rest(end), MAX_PHRASE_BYTES)).map(|found| end + found.end()) else {
        return end;
    };
    for sentence in rest(end).split_inclusive(['.', '!', ':']) {
        let is_wrapped = !sentence.ends_with(['.', '!', ':']);
        let words = warning_words(sentence) + if is_wrapped { warning_words(next_line) } else { 0 };
        if end >= warned && words < WORDS_OF_WARNING {
            break;
        }
        end += sentence.len();
    }
    end
}

/// How many of a warning's words, such as "links" and "sender", `sentence` holds.
pub(super) fn warning_words(sentence: &str) -> usize {
    WARNING.find_iter(head(sentence, MAX_PHRASE_BYTES)).count()
}

/// Words of a warning that tell a further sentence of it from a customer's sentence about a link.
pub(super) const WORDS_OF_WARNING: usize = 2;

/// True when a paragraph speaks of recipients, disclosure or deletion, as legal notices do.
pub(super) fn is_legal(paragraph: &str) -> bool {
    LEGAL.is_match(head(paragraph, 4 * MAX_PHRASE_BYTES))
}

/// True for a legal notice or footer that needs no second sign.
pub(super) fn is_plain_footer(line: &str) -> bool {
    FOOTER.is_match(head(line, MAX_PHRASE_BYTES))
}

/// True when `text`, perhaps several lines joined, is the line above a quote: "Am … schrieb …:".
pub(super) fn is_attribution(text: &str) -> bool {
    if text.len() > MAX_PHRASE_BYTES || !text.ends_with(':') || !ATTRIBUTION.is_match(text) {
        return false;
    }
    let dated = DATE.is_match(text);
    let timed = TIME.is_match(text);
    // Without an address only names may stand there: "Am 3.4.2024 um 10:15 schrieb das System folgenden Fehler:" is
    // what a customer writes.
    text.contains('@') && (dated || timed) || dated && timed && text.split_whitespace().all(is_attribution_word)
}

/// True when `line` may begin an attribution that goes on in the next line.
pub(super) fn may_begin_attribution(line: &str) -> bool {
    line.starts_with("Am ") || line.starts_with("On ") || line.contains(" schrieb ") || line.contains(" wrote")
}

/// True for a note of the kind that is put above a forwarded mail: "zur Info", "please handle".
pub(super) fn is_forwarding_note(text: &str) -> bool {
    FORWARDING_NOTE.is_match(text)
}

/// True for a line under a closing that belongs to the message: a postscript, details of the fault, a sentence.
pub(super) fn is_message_after_closing(line: &str) -> bool {
    if POSTSCRIPT.is_match(line) {
        return true;
    }
    let sentence = line.ends_with(['.', '?', '!', ':']) && line.split_whitespace().count() >= 6;
    (sentence || line.chars().count() > 100) && !CONTACT.is_match(line)
}

/// True for a name, a department, a telephone number or an address under a closing.
pub(super) fn is_signature_line(line: &str) -> bool {
    is_name_line(line) || CONTACT.is_match(line)
}

/// True for a line of up to four words that may be a name or a department.
pub(super) fn is_name_line(line: &str) -> bool {
    line.split_whitespace().count() <= 4 && !line.ends_with(['.', '?', ':']) && !line.chars().any(char::is_numeric)
}

/// What follows the closing phrase that `line` begins with.
fn closing_rest(line: &str) -> Option<&str> {
    let found = CLOSING.find(line)?;
    line.get(found.end()..)
}

/// True for nothing, or a name and where the greeting comes from: ", Anna Muster", " aus Augsburg".
fn is_name(rest: &str) -> bool {
    rest.split_whitespace().count() <= 6
        && !rest.contains(['?', ':', ';'])
        && rest.split_whitespace().all(|word| {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric());
            word.is_empty()
                || word.chars().next().is_some_and(char::is_uppercase)
                || matches!(
                    word,
                    "aus" | "von" | "vom" | "van" | "nach" | "und" | "and" | "from" | "dem" | "der" | "the" | "i.A"
                )
                || matches!(
                    word,
                    "ihr" | "ihre" | "euer" | "dein" | "im" | "in" | "voraus" | "advance" | "den" | "i.V" | "zu" | "u"
                )
        })
}

fn is_attribution_word(word: &str) -> bool {
    let letters: String = word.chars().filter(|c| c.is_alphabetic()).collect();
    letters.chars().count() < 3
        || letters.chars().next().is_some_and(char::is_uppercase)
        || matches!(
            letters.as_str(),
            "schrieb" | "geschrieben" | "wrote" | "hat" | "uhr" | "von" | "van" | "und" | "and" | "via"
        )
}

fn rule(line: &str) -> LineKind {
    if line.chars().count() >= 5 { LineKind::Rule } else { LineKind::Text }
}

fn header_field(line: &str) -> Option<HeaderField> {
    let found = HEADER.captures(line)?;
    let name = found.get(1)?.as_str().to_lowercase();
    Some(match name.as_str() {
        "von" | "from" => HeaderField::From,
        "gesendet" | "sent" | "datum" | "date" | "verschickt" => HeaderField::Sent,
        "an" | "to" => HeaderField::To,
        "betreff" | "subject" => HeaderField::Subject,
        _ => HeaderField::Other,
    })
}

fn is_flat_header(line: &str) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| line.contains(name));
    (line.starts_with("Von:") || line.starts_with("From:"))
        && has(&[" Gesendet:", " Sent:", " Datum:", " Date:"])
        && has(&[" An:", " To:"])
        && has(&[" Betreff:", " Subject:"])
}

fn head(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}

/// "ü" and "ß" are written as "ue", "u" and "ss" too.
const GREETINGS: &str = "gr(?:ü|ue|u)(?:ß|ss|sz)e?n?";

static MARKER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^(?:
          [-_=*\s]{2,}\s*(?:urspr(?:ü|ue|u)ngliche\s(?:nachricht|e-?mail)|original[-\s]?(?:nachricht|e-?mail)|original\smessage|originalnachricht|weitergeleitete\s(?:nachricht|e-?mail)|forwarded\smessage|forwarded\sby\b.*|weitergeleitet\svon\b.*)\s*:?\s*[-_=*\s]*
        | (?:anfang\sder\sweitergeleiteten\s(?:nachricht|e-?mail)|begin\sforwarded\smessage)\s*:
        )$",
    )
});
static FORWARDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)weitergeleitet|forwarded"));
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^\*?(von|from|gesendet|sent|datum|date|verschickt|an|to|cc|bcc|kopie|betreff|subject|priorit(?:ä|ae)t|wichtigkeit|importance|priority|antwort an|reply-to|anlagen?|attachments?|organisation|organization)\s?:\*?(?:\s|$)",
    )
});
static ATTRIBUTION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?:(?:am|on)\s.+\b(?:schrieb|wrote|geschrieben|schreibt|writes)\b.*|.+\b(?:schrieb\s(?:am|um)|wrote\son|hat\sam)\b.+):$",
    )
});
static DATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b\d{1,2}[./-]\s?\d{1,2}[./-]\s?\d{2,4}\b|\b\d{4}-\d{2}-\d{2}\b|\b(?:19|20)\d{2}\b"));
static TIME: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{1,2}[:.]\d{2}\b"));
static CLOSING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r"(?ix)^(?:(?:vielen|besten|herzlichen|danke|many\sthanks|thanks|thank\syou)\b[^.:?]{{0,45}}?(?:\s(?:und|and|&)|[,.!–-])\s*)?(?:
          mit\s(?:freundlich\w*|besten|herzlich\w*|lieben|vielen|kollegialen|sonnigen|sch(?:ö|oe)nen)(?:\s(?:und|&)\s\w+)?\s{GREETINGS}
        | (?:viele|liebe|beste|freundliche|herzliche|sch(?:ö|oe)ne|sonnige|lg|vg)\s{GREETINGS}
        | {GREETINGS} | gru(?:ß|ss|sz) | (?:lieben|sch(?:ö|oe)nen|besten|freundlichen|viele)\sgru(?:ß|ss)
        | m\.?\s?f\.?\s?g\.? | vg | lg | hochachtungsvoll
        | (?:(?:with\s)?(?:best|kind|kindest|warm|warmest|many)\s)?regards | (?:yours\s)?(?:sincerely|faithfully|truly)(?:\syours)?
        | best\swishes | all\sthe\sbest | cheers | br | kr
        )(?:\W|$)"
    ))
});
static THANKS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?:(?:vielen|besten|herzlichen|lieben) dank|danke|dankesch(?:ö|oe)n|(?:many )?thanks|thank you)(?: (?:sehr|vielmals|im voraus|schon mal|f(?:ü|ue)r (?:ihre|die|eure|deine) (?:hilfe|unterst(?:ü|ue)tzung|m(?:ü|ue)he)|in advance|very much|for your help))?\s*[.,!]?$",
    )
});
static MOBILE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^[-_*\s]*(?:
          von\s(?:meinem|meiner)\s.{2,40}\s(?:gesendet|gesandt|verschickt)
        | von\smeinem\s(?:iphone|ipad|mobilger(?:ä|ae)t|handy)
        | (?:diese\s(?:nachricht|e-?mail|mail)\swurde\s)?(?:gesendet|verschickt|gesandt)\s(?:von|mit|(?:ü|ue)ber)\s(?:meine[mr]|outlook|mail|der|dem|yahoo|proton|gmx|web\.de|samsung|android|ios|k-9|thunderbird|windows|telekom|freenet)\b.*
        | (?:diese\snachricht|diese\se-?mail)\swurde\svon\smeinem\s.{2,60}\sgesendet
        | sent\s(?:from|with|via|using)\s(?:my|outlook|mail|yahoo|proton|samsung|gmail|android|ios|a\smobile|the\s.{2,20}\sapp|thunderbird|windows)\b.*
        | (?:get|download|laden\ssie|holen\ssie\ssich)\soutlook\s(?:for|f(?:ü|ue)r)\s.*
        | outlook\s(?:for|f(?:ü|ue)r)\s(?:ios|android|mac)(?:\s(?:beziehen|herunterladen))?.*
        )[.!\s]*$",
    )
});
static DISCLAIMER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^[\W_]*(?:
          (?:wichtiger\s(?:rechtlicher\s)?hinweis\W{1,4})?(?:diese|die\sin\sdieser)\s(?:e-?mail|mail|nachricht)\b.*\b(?:enth(?:ä|ae)lt|enth(?:ä|ae)lten|enthalten|ist|sind|k(?:ö|oe)nn)\b.*\b(?:vertraulich|rechtlich|gesch(?:ü|ue)tzt|ausschlie(?:ß|ss)lich)
        | der\sinhalt\sdieser\s(?:e-?mail|nachricht)\b.*\b(?:ist|sind)\b
        | (?:sollten\ssie|wenn\ssie|falls\ssie)\s(?:diese\se-?mail|diese\snachricht|nicht\sder|irrt(?:ü|ue)mlich|diese\sirrt)
        | (?:vertraulichkeits|datenschutz|haftungs)(?:hinweis|ausschluss|erkl(?:ä|ae)rung)\b
        | (?:bitte\s)?(?:denken|pr(?:ü|ue)fen)\ssie\s.{0,40}\b(?:umwelt|drucken|ausdruck)
        | (?:informationen\s(?:zum|zur)\s(?:datenschutz|verarbeitung)|datenschutzinformation)
        | (?:confidentiality|privacy|legal)\s(?:notice|note|disclaimer|statement)\b | disclaimer\s*:
        | this\s(?:e-?mail|email|message|communication|transmission)\b.*\b(?:confidential|privileged|intended|proprietary)
        | the\s(?:information|contents?)\s(?:contained\s)?(?:in|of)\sthis\s(?:e-?mail|email|message|communication)\b
        | if\syou\s(?:are\snot\sthe|have\sreceived\sthis|received\sthis)\b
        | (?:please\s)?(?:consider|think\sof|think\sabout)\s(?:the\s)?environment\sbefore
        | (?:virenfrei|virus-free)\b | diese\se-?mail\swurde\svon\s.{2,40}\sauf\sviren\sgepr
        )",
    )
});
static LEGAL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)empf(?:ä|ae)nger|adressat|unbefugt|irrt(?:ü|ue)mlich|vernichte|l(?:ö|oe)schen sie|weitergabe|nicht gestattet|intended|recipient|addressee|disclos|dissemination|unauthori[sz]ed|delete (?:it|this|the)|privileged|received this|notify the sender|liab",
    )
});
static FOOTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)umwelt|environment before|virenfrei|virus-free|auf viren gepr|^\W*informationen zu[mr] (?:datenschutz|verarbeitung)|^\W*datenschutzinformation",
    )
});
static BANNER_TAG: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^[\[(*]{1,3}\s?(?:external|extern|ext|externe e-?mail|external (?:e-?mail|sender)|externer absender)\s?[\])*]{1,3}[\s:–-]*",
    )
});
static BANNER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^(?:
          [\[(*]{1,3}\s?(?:external|extern|ext|externe\se-?mail|external\s(?:e-?mail|sender)|externer\sabsender)\s?[\])*]{1,3}
        | (?:[\W_]*(?:caution|warning|attention|achtung|vorsicht|warnung|sicherheitshinweis|hinweis|notice|external(?:\s(?:e-?mail|sender))?|extern(?:e\se-?mail|er\sabsender)?)[\W_]{1,6})?
          (?:this|the|diese|die|eine)?\s?(?:e-?mail|email|message|mail|nachricht)\b.{0,40}\b
          (?:(?:originated|originates|comes|came|was\ssent|is|sent)\s(?:from\s)?.{0,20}\b(?:outside|external)
           | (?:stammt|kommt|kam|wurde|ist)\s.{0,40}\b(?:au(?:ß|ss)erhalb|extern\w*))
        | [\W_]*(?:caution|warning|achtung|vorsicht|warnung)\W{1,4}(?:external|externe[rs]?)\s(?:e-?mail|email|mail|sender|absender)
        | (?:sie\serhalten|you\s(?:don't|do\snot))\s(?:nicht\s(?:h(?:ä|ae)ufig|oft)|often\sget|usually\sreceive)\s?(?:e-?mails?|email)\s(?:von|from)
        )",
    )
});
static WARNING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:click|klicken|links?|attachments?|anh(?:ä|ae)nge\w*|anlagen|sender|absenders?|outside|au(?:ß|ss)erhalb|extern\w*|trust|vertrauen\w*|recogni[sz]e|phishing|learn why|warum dies wichtig)\b",
    )
});
static GREETING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?:hallo|hi|hey|hello|dear|liebe[rs]?|guten (?:tag|morgen|abend)|good (?:morning|afternoon|evening)|moin|servus|gr(?:ü|ue)(?:ß|ss) gott|sehr geehrte[rs]?)\b[^.?]{0,60}[,!]?$",
    )
});
static FORWARDING_NOTE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:fyi|z\.?\s?k\.?|zur (?:info|kenntnis|weiteren|bearbeitung|kl(?:ä|ae)rung)|zu deiner|siehe unten|s\. ?u\.|siehe anbei|siehe (?:weitergeleitete|folgende|nachstehende)|bitte (?:k(?:ü|ue)mmern|um (?:erledigung|bearbeitung|kl(?:ä|ae)rung|pr(?:ü|ue)fung)|bearbeiten|pr(?:ü|ue)fen|erledigen|(?:ü|ue)bernehmen)|k(?:ö|oe)nnt ihr (?:euch|das)|see below|please (?:handle|see below|take care|advise|have a look|check)|can you (?:handle|take|have a look)|for your information|weitergeleitet|forwarding)\b",
    )
});
static POSTSCRIPT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^(?:ps|p\.s\.|nachtrag|edit|update|erg(?:ä|ae)nzung)\b|\b(?:fehler\w*|error|ger(?:ä|ae)t\w*|seriennummer|inventar\w*|screenshot\w*|anbei|fehlermeldung|hostname|device|asset|serial)\b|0x[0-9a-f]{4}",
    )
});
static CONTACT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:tel|telefon|phone|fon|fax|mobil\w*|mobile|e-?mail|www|https?|gmbh|ag|kg|e\.v|ltd|inc|hrb|ust|amtsgericht|registergericht|gesch(?:ä|ae)ftsf(?:ü|ue)hr\w*|vorstand|aufsichtsrat|sitz|handelsregister|registered|directors?|str|stra(?:ß|ss)e)\b|@",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        use LineKind::{
            Banner, Closing, Disclaimer, Greeting, Header, Mobile, Quoted, Rule, SignatureMark, Text, Thanks,
        };
        let original = LineKind::Marker { forwarded: false };
        let forward = LineKind::Marker { forwarded: true };
        let cases = [
            ("> alt", Quoted),
            ("--", SignatureMark),
            ("________________________________", Rule),
            ("-----Ursprüngliche Nachricht-----", original),
            ("-----Urspruengliche Nachricht-----", original),
            ("-----Original Message-----", original),
            ("---------- Forwarded message ---------", forward),
            ("-------- Weitergeleitete Nachricht --------", forward),
            ("Anfang der weitergeleiteten Nachricht:", forward),
            ("Begin forwarded message:", forward),
            ("Von: Max Muster <max@example.org>", Header(HeaderField::From)),
            ("*Sent:* Monday", Header(HeaderField::Sent)),
            ("An: helpdesk", Header(HeaderField::To)),
            ("Betreff:", Header(HeaderField::Subject)),
            ("Angebot: siehe Anlage", Text),
            ("Von: A Gesendet: Montag An: B Betreff: C", LineKind::FlatHeader),
            ("Mit freundlichen Grüßen", Closing),
            ("Mit freundlichen Gruessen", Closing),
            ("mit freundlichem Gruß", Closing),
            ("Mit freundlichen Grüssen, Anna Muster", Closing),
            ("Viele Grüße aus Augsburg", Closing),
            ("Vielen Dank und viele Grüße", Closing),
            ("Danke und Gruß", Closing),
            ("Gruss Peter", Closing),
            ("MfG", Closing),
            ("LG Anna", Closing),
            ("Best regards,", Closing),
            ("Kind regards", Closing),
            ("Thanks and best regards, Tom", Closing),
            ("Grüße werden in Outlook nicht angezeigt", Text),
            ("Regards the printer as offline", Text),
            ("Vielen Dank!", Thanks),
            ("Thanks in advance,", Thanks),
            ("Danke für die Info zum Drucker, der geht aber nicht.", Text),
            ("Von meinem iPhone gesendet", Mobile),
            ("Gesendet von Outlook für iOS", Mobile),
            ("Gesendet von Mail für Windows", Mobile),
            ("Sent from my iPhone", Mobile),
            ("Get Outlook for iOS", Mobile),
            ("Get Outlook for Android<https://aka.ms/AAb9ysg>", Mobile),
            (
                "Sent from my laptop the mail never arrives, what can I do about it when I am on the road and need it?",
                Text,
            ),
            ("Diese E-Mail enthält vertrauliche und/oder rechtlich geschützte Informationen.", Disclaimer),
            ("This e-mail may contain confidential and/or privileged information.", Disclaimer),
            ("CONFIDENTIALITY NOTICE: The contents", Disclaimer),
            ("Diese E-Mail stammt von außerhalb der Organisation.", Banner),
            ("[EXTERNAL]", Banner),
            ("CAUTION: This email originated from outside of the organization.", Banner),
            ("ACHTUNG: Diese E-Mail kommt von einem externen Absender.", Banner),
            ("Achtung: der Drucker druckt doppelt", Text),
            ("Externe Mails kommen nicht an", Text),
            ("Hallo zusammen,", Greeting),
            ("Sehr geehrte Damen und Herren,", Greeting),
            ("Hallo Welt wird nicht gedruckt. Warum?", Text),
        ];
        for (line, expected) in cases {
            assert_eq!(kind_of(line), expected, "{line}");
        }
    }

    #[test]
    fn an_attribution_needs_a_date_and_a_person() {
        for line in [
            "Am 12.03.2024 um 10:15 schrieb Max Muster:",
            "Am 12.03.24 um 10:15 schrieb Max Muster via Helpdesk:",
            "Am Di., 12. März 2024 um 10:15 Uhr schrieb Max Muster <max@example.org>:",
            "On Tue, Mar 12, 2024 at 10:15 AM Max Muster <max@example.org> wrote:",
            "On 3/12/24 10:15, Max Muster wrote:",
            "Max Muster <max@example.org> schrieb am Di., 12. März 2024, 10:15:",
            "Am 12.03.2024 um 10:15 hat Max Muster <max@example.org> geschrieben:",
        ] {
            assert!(is_attribution(line), "{line}");
        }
        for line in [
            "Am 12.03.2024 um 10:15 schrieb das System folgende Fehlermeldung:",
            "Am Montag schrieb mir der Drucker:",
            "On 3/12/24 at 10:15 the server wrote this to the log:",
            "Am 12.03.2024 um 10:15 schrieb Max Muster",
            "Folgendes steht da:",
        ] {
            assert!(!is_attribution(line), "{line}");
        }
    }

    #[test]
    fn a_banner_ends_where_the_message_begins() {
        let banner = "CAUTION: This email originated from outside of the organization. Do not click links or open \
                      attachments unless you recognize the sender.";
        assert_eq!(banner_bytes(banner, ""), banner.len());
        assert_eq!(banner_bytes(&format!("{banner} My printer is on fire."), ""), banner.len());
        assert_eq!(banner_bytes("[EXTERNAL] My printer is on fire.", ""), "[EXTERNAL] ".len());
    }
}
