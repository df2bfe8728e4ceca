//! Here is a text, give me the names in it that mean one thing only: error codes, host names, versions, product codes,
//! ticket numbers. Not for words, and not for what looks like a code and is not: dates, times, telephone numbers,
//! amounts, addresses of people.

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// Most identifiers of one text.
const MAX_IDENTIFIERS: usize = 32;
/// Longest identifier, in characters.
const MAX_CHARS: usize = 64;

/// Identifiers of `text` as written, in order of first appearance, each once. One pass over the text.
pub(super) fn find(text: &str) -> Vec<String> {
    let mut found = Found::default();
    for line in text.lines() {
        for phrase in NUMBERED.find_iter(line) {
            let after = line.get(phrase.end()..).unwrap_or_default();
            // "Error 10:15" is a time and "Fehler 12.3." a date.
            let goes_on = after.starts_with([':', '.', ',', '/', '-'])
                && after.get(1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            if !goes_on {
                found.note(phrase.start(), phrase.as_str());
            }
        }
        for version in VERSION.captures_iter(line).filter_map(|found| found.get(1)) {
            if !is_date(version.as_str()) {
                found.note(version.start(), version.as_str());
            }
        }
        let mut tokens = line.split(is_separator).peekable();
        while let Some(token) = tokens.next() {
            let start = token.as_ptr().addr() - line.as_ptr().addr();
            let next = tokens.peek().copied().unwrap_or_default();
            for (offset, identifier) in in_token(token, next) {
                found.note(start + offset, identifier);
            }
        }
        if found.end_line() {
            break;
        }
    }
    found.all
}

#[derive(Default)]
struct Found {
    all: Vec<String>,
    seen: HashSet<String>,
    /// Start and text of what the current line holds.
    line: Vec<(usize, String)>,
}

impl Found {
    fn note(&mut self, start: usize, identifier: &str) {
        // A line may be the whole text: what is too much is not even collected.
        if identifier.chars().count() <= MAX_CHARS
            && self.seen.len() < 4 * MAX_IDENTIFIERS
            && self.seen.insert(identifier.to_owned())
        {
            self.line.push((start, identifier.to_owned()));
        }
    }

    /// Returns whether there are enough.
    fn end_line(&mut self) -> bool {
        self.line.sort_by_key(|(start, _)| *start);
        self.all.extend(self.line.drain(..).map(|(_, identifier)| identifier));
        self.all.truncate(MAX_IDENTIFIERS);
        self.all.len() == MAX_IDENTIFIERS
    }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, ',' | ';' | '|' | '=' | '(' | ')' | '[' | ']' | '{' | '}' | '"' | '<' | '>' | ':')
        || matches!(c, '„' | '“' | '”' | '‚' | '‘' | '’' | '«' | '»' | '`' | '\'' | '*')
}

/// Identifiers in what stands between two blanks, with their offsets.
fn in_token<'a>(token: &'a str, next: &str) -> Vec<(usize, &'a str)> {
    let trimmed = token.trim_end_matches(['.', '!', '?', '…', '-', '_', '/', '\\']);
    if !(3..=1_000).contains(&trimmed.len()) || trimmed.contains('@') {
        return Vec::new();
    }
    let (offset, name) = host_of_path(trimmed).unwrap_or((0, trimmed));
    if is_identifier(name, next) {
        return vec![(offset, name)];
    }
    if offset > 0 || !name.contains('/') {
        return Vec::new();
    }
    let parts = name.split('/').scan(0, |start, part| {
        let offset = *start;
        *start += part.len() + 1;
        Some((offset, part))
    });
    parts.filter(|(_, part)| part.len() >= 3 && is_identifier(part, next)).take(MAX_IDENTIFIERS).collect()
}

/// The host in "//host/path" (what follows the colon of a URL) and in "\\server\share".
fn host_of_path(token: &str) -> Option<(usize, &str)> {
    let (path, end) = match token.strip_prefix("//") {
        Some(path) => (path, '/'),
        None => (token.strip_prefix("\\\\")?, '\\'),
    };
    path.split(end).next().map(|host| (2, host))
}

fn is_identifier(token: &str, next: &str) -> bool {
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = token.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !token.is_ascii() {
        return false;
    }
    if token.starts_with(|c: char| c.is_ascii_digit()) && !has_letter {
        return is_version(token);
    }
    if CODE.is_match(token) {
        return digits >= 2 && !is_account_or_place(token, next) || token.contains('_') || is_issue_key(token);
    }
    HEX.is_match(token)
        || PREFIXED_VERSION.is_match(token)
        || PRODUCT.is_match(token) && digits > 0
        || TICKET.is_match(token)
        || WINDOWS_RELEASE.is_match(token)
        || FILE.is_match(token)
        || is_machine(token, digits)
        || is_domain(token)
}

/// "10.2.1" and "192.168.4.20", but no date, amount or telephone number.
fn is_version(token: &str) -> bool {
    let parts: Vec<&str> = token.split('.').collect();
    let well_formed = parts.iter().all(|part| {
        (1..=5).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0') || parts.len() > 3)
    });
    if !well_formed
        || !(3..=5).contains(&parts.len())
        || parts.first().is_some_and(|part| part.len() > 1 && part.starts_with('0'))
    {
        return false;
    }
    let is_address = parts.len() == 4 && parts.iter().all(|part| part.parse::<u16>().is_ok_and(|n| n <= 255));
    let is_amount = parts.iter().skip(1).all(|part| part.len() == 3);
    is_address || !is_amount && !is_date(token)
}

/// "12.03.2024", "3.4.24" and "3.4." are dates in German text.
fn is_date(token: &str) -> bool {
    let parts: Vec<&str> = token.trim_end_matches('.').split('.').collect();
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<u16>().ok()).unwrap_or(0);
    let year = parts.get(2).map_or(0, |part| part.len());
    parts.len() == 3 && (1..=31).contains(&number(0)) && (1..=12).contains(&number(1)) && (year == 2 || year == 4)
}

/// "HELP-8": a project key of capitals and a number.
fn is_issue_key(token: &str) -> bool {
    token.split_once('-').is_some_and(|(key, number)| {
        key.len() >= 3
            && key.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// An IBAN, or a postcode with its country.
fn is_account_or_place(token: &str, next: &str) -> bool {
    let head: String = token.chars().take_while(char::is_ascii_alphabetic).collect();
    let tail = token.get(head.len()..).unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_iban = head.len() == 2
        && is_number(tail)
        && (tail.len() >= 13 || tail.len() == 2 && next.len() == 4 && is_number(next));
    let is_postcode = matches!(head.as_str(), "D" | "DE" | "A" | "AT" | "CH" | "L")
        && tail.strip_prefix('-').is_some_and(|code| is_number(code) && matches!(code.len(), 4 | 5));
    is_iban || is_postcode
}

/// "srv-db-02", "print01", "Office365": letters with digits behind them.
fn is_machine(token: &str, digits: usize) -> bool {
    let hyphens = token.bytes().filter(|byte| *byte == b'-').count();
    MACHINE.is_match(token) && (digits >= 2 || digits == 1 && hyphens >= 2)
}

/// "print01.example.local", but not two sentences without a blank between them.
fn is_domain(token: &str) -> bool {
    if !DOMAIN.is_match(token) {
        return false;
    }
    let labels: Vec<&str> = token.split('.').collect();
    let top = labels.last().map(|label| label.to_ascii_lowercase()).unwrap_or_default();
    let is_known = TOP_LABELS.contains(&top.as_str());
    let first_names_machine =
        labels.first().is_some_and(|label| label.contains('-') || label.bytes().any(|byte| byte.is_ascii_digit()));
    labels.iter().all(|label| label.len() >= 2) && (is_known || first_names_machine && labels.len() >= 3)
}

const TOP_LABELS: &[&str] = &[
    "at",
    "biz",
    "ch",
    "cloud",
    "com",
    "corp",
    "de",
    "dev",
    "edu",
    "eu",
    "gov",
    "info",
    "int",
    "internal",
    "intern",
    "intra",
    "intranet",
    "io",
    "lan",
    "local",
    "localdomain",
    "net",
    "org",
    "uk",
];

/// A word that says what the number after it is.
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:fehler(?:code|nummer|meldung|-code)?|error(?:code|[ -]code)?|https?|smtp|event(?:[ -]?id)?|ereignis(?:[ -]?id)?|exit[ -]?code|returncode|code)[ :#]{1,3}\d{2,6}\b",
    )
});
static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(?:version|release|build|firmware|ver\.?)[ :]{1,2}(\d{1,6}(?:\.\d{1,6}){1,4}|\d{2}H[12])\b")
});
static HEX: LazyLock<Regex> = LazyLock::new(|| pattern(r"^0[xX][0-9A-Fa-f]{2,16}$"));
static CODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^#?[A-Z][A-Z0-9]*(?:[-_][A-Z0-9]+){0,12}$"));
static PREFIXED_VERSION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[vV]\d{1,6}(?:\.\d{1,6}){1,4}$"));
static PRODUCT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Z][A-Z0-9]*(?:/[A-Z0-9]+){1,3}$"));
static TICKET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z]{0,16}#\d{3,20}$"));
static WINDOWS_RELEASE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d{2}H[12]$"));
static FILE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^[a-z0-9][a-z0-9_.+-]*\.(?:exe|dll|sys|msi|drv|ocx)$"));
static MACHINE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^[A-Za-z]{2}[A-Za-z0-9]*(?:[-_][A-Za-z0-9]+){0,8}$|^[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+){1,8}$")
});
static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:[a-z0-9][a-z0-9-]*(?:\.[a-z0-9][a-z0-9-]*){1,8}|[A-Z0-9][A-Z0-9-]*(?:\.[A-Z0-9][A-Z0-9-]*){1,8})$")
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_one_thing_is_found() {
        let cases: &[(&str, &[&str])] = &[
            ("Installation bricht mit 0x80070005 ab.", &["0x80070005"]),
            ("Meldung: ERR-4711, danach ORA-00942!", &["ERR-4711", "ORA-00942"]),
            ("nach KB5034441 (22H2) startet nichts", &["KB5034441", "22H2"]),
            ("HTTP 503 und Fehler 809 beim Aufbau", &["HTTP 503", "Fehler 809"]),
            ("Error code: 1603. Event ID 4625", &["Error code: 1603", "Event ID 4625"]),
            ("srv-db-02 und print01.example.local sind weg", &["srv-db-02", "print01.example.local"]),
            ("Client 10.2.1, Server v2.3; Version 7.4", &["10.2.1", "v2.3", "7.4"]),
            ("S/4HANA und R/3", &["S/4HANA", "R/3"]),
            (
                "HELP-8 wie in INC0012345, Ticket#2021031510000017 und #4711",
                &["HELP-8", "INC0012345", "Ticket#2021031510000017", "#4711"],
            ),
            ("net::ERR_CERT_DATE_INVALID", &["ERR_CERT_DATE_INVALID"]),
            ("siehe https://wiki.example.com/a/b?c=d", &["wiki.example.com"]),
            (r"auf \\filer02\daten liegt", &["filer02"]),
            ("Notebook DESKTOP-AB12CD3, IP 192.168.100.200", &["DESKTOP-AB12CD3", "192.168.100.200"]),
            ("\"msvcp140.dll\" fehlt, outlook.exe stürzt ab", &["msvcp140.dll", "outlook.exe"]),
            ("Office365, SU01 und srv01/srv02", &["Office365", "SU01", "srv01", "srv02"]),
            ("0x80070005 0x80070005", &["0x80070005"]),
        ];
        for (text, expected) in cases {
            assert_eq!(find(text), *expected, "{text}");
        }
    }

    #[test]
    fn words_dates_times_and_numbers_of_people_are_not() {
        for text in [
            "Der Drucker druckt nicht mehr.",
            "Am 12.03.2024 um 10:15 Uhr, am 3.4.24 und am 3.4. wieder",
            "Error 10:15 Uhr, Fehler 12.3. gemeldet",
            "2024-03-12T10:15:00, 12/03/2024",
            "Tel. +49 821 123456, 0821/123456-78, 0821.123.456",
            "Bitte 1.234.567 Euro oder 10,50 zahlen, 24/7",
            "max.muster@example.org, anna_2@example.org",
            "Das geht nicht.Bitte helfen, d.h. z.B. u.a. usw.",
            "TCP/IP, und/oder, I/O, B2B, MP3, A4, CO2, E-Mail, USB-Stick, IT-Abteilung",
            "IBAN DE89 3704 0044 0532 0130 00, DE89370400440532013000",
            "D-86150 Augsburg, A-1010 Wien",
            "Punkt-3, Step-1, 2-fach, 24-Zoll, 4-stellig",
            "HTTP und SMTP, VPN-CLIENT",
            "Größe10 Straße12",
        ] {
            assert_eq!(find(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn there_are_never_too_many_and_never_too_long() {
        let many = (1_000..2_000).map(|n| format!("ERR-{n}")).collect::<Vec<_>>().join(" ");
        assert_eq!(find(&many).len(), MAX_IDENTIFIERS);
        assert_eq!(find(&many.replace(' ', "\n")).len(), MAX_IDENTIFIERS);
        assert_eq!(find(&format!("E{}", "1".repeat(100_000))), Vec::<String>::new());
        for unit in ["A-", "1.", "a.", "A/", "fehler ", "//", "\\\\", "#1", "0x", "\u{2003}", "ß"] {
            assert!(find(&unit.repeat(50_000)).len() <= MAX_IDENTIFIERS, "{unit}");
        }
    }
}
