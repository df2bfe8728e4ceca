//! Here is a subject line, give me what it is about, and what its prefixes say about the mail.

use std::sync::LazyLock;

use regex::Regex;

use super::reply::Hint;
use super::{characters, pattern};

/// Takes "Re:", "WG:" and the like, ticket numbers of helpdesks and warnings of gateways off `subject`, which is in the
/// one character form. What holds nothing else stays as it is.
pub(super) fn strip(subject: &str) -> (String, Hint) {
    let hint = hint_of(subject);
    let mut stripped = subject.to_owned();
    // Each round takes at least one thing off; a number inside a prefix may uncover one more.
    loop {
        let without_tokens = TOKEN.replace_all(&stripped, " ");
        let rest = PREFIXES.find(&without_tokens).map_or(0, |found| found.end());
        let next = without_tokens.get(rest..).unwrap_or_default();
        let next = characters::one_line(next.trim_start_matches(|c: char| c == ' ' || "-–:|".contains(c)));
        if next == stripped {
            break;
        }
        stripped = next;
    }
    if characters::says_something(&stripped) { (stripped, hint) } else { (subject.to_owned(), hint) }
}

fn hint_of(subject: &str) -> Hint {
    let without_tokens = TOKEN.replace_all(subject, " ");
    let Some(prefixes) = PREFIXES.find(&without_tokens) else {
        return Hint::None;
    };
    let first: String = prefixes.as_str().trim().chars().take_while(|c| c.is_alphabetic()).collect();
    if matches!(first.to_lowercase().as_str(), "wg" | "fwd" | "fw") { Hint::Forward } else { Hint::Reply }
}

static PREFIXES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^\s*(?:(?:re|aw|wg|fwd?|antw|antwort)\s?(?:\[\d{1,3}\]|\(\d{1,3}\))?\s?:\s*)+"));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)\[(?:[a-z][\w.\s-]{0,40})?\#\s?\d{2,25}[^\[\]]{0,20}\] | \[(?-i:[A-Z]{2,10}-?\d{1,20})\]
        | \b(?:ticket|case|vorgang)\#\s?:?\s?\d{4,25}\b:?
        | \[\s?(?:external|extern|ext|externe\se-?mail|external\ssender|external\se-?mail)\s?\]",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_numbers_go() {
        let cases = [
            ("Re: VPN geht nicht", "VPN geht nicht", Hint::Reply),
            ("AW: WG: Re[2]: VPN", "VPN", Hint::Reply),
            ("WG: VPN", "VPN", Hint::Forward),
            ("Fwd: FW: VPN", "VPN", Hint::Forward),
            ("Antw: VPN", "VPN", Hint::Reply),
            ("[Ticket#2021031510000017] AW: VPN", "VPN", Hint::Reply),
            ("AW: [#1234] Drucker", "Drucker", Hint::Reply),
            ("[example.com #1234] Drucker", "Drucker", Hint::None),
            ("[HELP-881] Drucker", "Drucker", Hint::None),
            ("[INC0012345] - Drucker", "Drucker", Hint::None),
            ("Ticket#2021031510000017: Drucker", "Drucker", Hint::None),
            ("[EXTERN] Rechnung", "Rechnung", Hint::None),
            ("Re: R[#12]e: x", "R e: x", Hint::Reply),
            ("Re:", "Re:", Hint::Reply),
            ("[#1234]", "[#1234]", Hint::None),
            ("", "", Hint::None),
            ("Reset: Passwort", "Reset: Passwort", Hint::None),
            ("Fehler [0x80070005] in [Modul 3]", "Fehler [0x80070005] in [Modul 3]", Hint::None),
        ];
        for (subject, expected, hint) in cases {
            assert_eq!(strip(subject), (expected.to_owned(), hint), "{subject}");
        }
    }
}
