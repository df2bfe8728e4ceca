//! The contract of the four public functions, hostile texts, and the properties that hold for any text.

mod mails;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::ticket::Message;

fn ticket(subject: &str, body: &str, content_type: ContentType) -> Ticket {
    Ticket { id: "1".into(), subject: subject.into(), body: body.into(), content_type, ..Ticket::default() }
}

fn plain(subject: &str, body: &str) -> Canonical {
    canonical(&ticket(subject, body, ContentType::Plain))
}

#[test]
fn subject_and_body_make_the_text() {
    let read = plain("AW: [#4711] VPN Fehler 809", "Seit heute früh.");
    assert_eq!(read.subject, "VPN Fehler 809");
    assert_eq!(read.text, "VPN Fehler 809\nSeit heute früh.");
    assert_eq!(read.identifiers, ["Fehler 809"]);
    assert_eq!(plain("VPN geht nicht", "VPN geht nicht seit heute").text, "VPN geht nicht seit heute");
    assert_eq!(plain("", "nur Text hier").text, "nur Text hier");
    assert_eq!(plain("nur Betreff", " \n ").text, "nur Betreff");
}

#[test]
fn blanks_alone_are_an_empty_text() {
    for blank in ["", " ", "\n\n", "\t\u{200B}\0", "\u{FEFF}"] {
        let read = plain(blank, blank);
        assert_eq!((read.text.as_str(), read.subject.as_str(), read.body.as_str()), ("", "", ""));
        assert_eq!((read.language, read.kind, read.truncated), (Language::Und, MessageKind::Message, false));
    }
    for content_type in [ContentType::Html, ContentType::Markdown] {
        assert_eq!(canonical(&ticket("", " ", content_type)).text, "");
    }
    assert_eq!(canonical_query("").text, "");
    assert_eq!(canonical_resolution("", ContentType::Html), "");
}

#[test]
fn a_conversation_stands_in_for_a_missing_body() {
    let message = |role, body: &str| Message { role, internal: false, body: body.into(), at: None };
    let mut conversation = ticket("VPN", " ", ContentType::Plain);
    conversation.messages = vec![
        message(Role::System, "Ticket angelegt"),
        message(Role::Agent, "Bitte Gerät nennen"),
        message(Role::Customer, "Das VPN bricht ab"),
    ];
    assert_eq!(canonical(&conversation).body, "Das VPN bricht ab");
    conversation.messages.pop();
    assert_eq!(canonical(&conversation).body, "Bitte Gerät nennen");
    conversation.messages.pop();
    assert_eq!(canonical(&conversation).body, "");
}

#[test]
fn the_hint_decides_only_what_the_text_does_not() {
    let mut short = ticket("VPN", "0x80070005", ContentType::Plain);
    short.language = Some("de-AT".into());
    assert_eq!(canonical(&short).language, Language::De);
    short.body = "The printer does not print any more.".into();
    assert_eq!(canonical(&short).language, Language::En);
}

#[test]
fn twins_of_unicode_are_read_alike() {
    let composed = plain("Störung", "Grüße aus Köln, das Büro hat kein Netz");
    let decomposed = plain("Sto\u{308}rung", "Gru\u{308}ße aus Ko\u{308}ln,\u{A0}das Bu\u{308}ro hat kein\tNetz");
    assert_eq!(composed, decomposed);
}

#[test]
fn automatic_mails_are_told() {
    assert_eq!(plain("Automatische Antwort: VPN", "Ich bin nicht da.").kind, MessageKind::AutoReply);
    assert_eq!(plain("AW: VPN", "Geht wieder, danke schön.").kind, MessageKind::Message);
    assert_eq!(plain("Undelivered Mail Returned to Sender", "x").kind, MessageKind::Bounce);
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let long = plain("VPN", &"wort ".repeat(10_000));
    assert!(long.truncated && long.body.chars().count() <= MAX_KEPT_CHARS);
    let short = plain("VPN", &"wort ".repeat(100));
    assert!(!short.truncated);
    assert!(plain(&"b".repeat(1_001), "x").truncated);
    assert!(canonical_query(&"a ".repeat(20_000)).truncated);
}

#[test]
fn articles_become_one_block_a_line() {
    let article = |body: &str, content_type| {
        canonical_article(&Article {
            id: "kb-1".into(),
            title: " VPN \n Fehler 809 ".into(),
            body: body.into(),
            content_type,
            ..Article::default()
        })
    };
    let plain = article("Erster Absatz.\n\n\nZweiter  Absatz.\n", ContentType::Plain);
    assert_eq!((plain.title.as_str(), plain.body.as_str()), ("VPN Fehler 809", "Erster Absatz.\nZweiter Absatz."));
    let html = article(
        "<h1>Lösung</h1><p>MTU auf <code>1350</code> setzen.</p><blockquote type=cite>Hinweis</blockquote><ul><li>a</li></ul>",
        ContentType::Html,
    );
    assert_eq!(html.body, "Lösung\nMTU auf 1350 setzen.\nHinweis\n- a");
    let markdown = article("# Lösung\n\nMTU auf\n`1350` **setzen**.\n\n> Hinweis", ContentType::Markdown);
    assert_eq!(markdown.body, "Lösung\nMTU auf 1350 setzen.\nHinweis");
    assert_eq!(markdown.language, Language::De);
}

#[test]
fn a_resolution_loses_its_signature() {
    let text = "MTU auf 1350 gesetzt, VPN läuft wieder.\n\nMit freundlichen Grüßen\nIhr IT-Service";
    assert_eq!(canonical_resolution(text, ContentType::Plain), "MTU auf 1350 gesetzt, VPN läuft wieder.");
}

#[test]
fn markdown_tickets_lose_marks_and_quotes() {
    let body = "**VPN** geht _nicht_ mehr, siehe [Wiki](https://example.org).\n\n> alter Text\n> noch einer";
    let read = canonical(&ticket("VPN", body, ContentType::Markdown));
    assert_eq!(read.body, "VPN geht nicht mehr, siehe Wiki.");
}

/// A slow machine is no error; a text that costs the square of its length is.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn hostile_texts_are_read_in_bounded_time() {
    let mb = 1_000_000;
    let header = "Von: a@b\nGesendet: 1.1.2024\nAn: c\nBetreff: d\n\n";
    let hostile = [
        "a".repeat(5 * mb),
        "\n".repeat(5 * mb),
        "> ".repeat(mb),
        "> x\n".repeat(mb),
        "> x\n\n".repeat(mb),
        header.repeat(10_000),
        "FYI\n-----Original Message-----\n".repeat(10_000),
        "LG\n".repeat(mb),
        "LG\n\nx\n".repeat(100_000),
        "Von meinem iPhone gesendet\n".repeat(50_000),
        "Diese E-Mail enthält vertrauliche Adressat\n\n".repeat(50_000),
        "[EXTERNAL] ".repeat(mb / 4),
        "Am 1.1.2024 um 10:10 schrieb A:\n".repeat(50_000),
        "-- \n".repeat(mb),
        format!("a{}", "\u{301}".repeat(mb)),
        "👩‍👩‍👧‍👦".repeat(100_000),
        "ไทย".repeat(300_000),
        "¯\u{8f}ўб".repeat(100_000),
        "((((*^2 foo:/bar/^2 ".repeat(50_000),
    ];
    for text in &hostile {
        let start = Instant::now();
        let read = plain("Betreff", text);
        assert!(read.body.chars().count() <= MAX_KEPT_CHARS);
        assert!(
            start.elapsed() < PATIENCE,
            "{:?} for {:?}",
            start.elapsed(),
            text.chars().take(20).collect::<String>()
        );
    }
    let hostile_html = [
        "<div>".repeat(mb),
        format!("{}x{}", "<div>".repeat(20_000), "</div>".repeat(20_000)),
        "<blockquote type=cite><p>x".repeat(200_000),
        "<b".repeat(mb),
        "<!--".repeat(mb),
        format!("<style>{}</style>x", "a{}".repeat(mb)),
        "&".repeat(5 * mb),
        "&#x41;".repeat(mb),
        "<td>x".repeat(mb),
        "<li>".repeat(mb),
        "<a b='".repeat(mb),
        "<script>".repeat(mb),
    ];
    for html in &hostile_html {
        let start = Instant::now();
        let read = canonical(&ticket("Betreff", html, ContentType::Html));
        assert!(read.body.chars().count() <= MAX_KEPT_CHARS);
        assert!(
            start.elapsed() < PATIENCE,
            "{:?} for {:?}",
            start.elapsed(),
            html.chars().take(20).collect::<String>()
        );
    }
    for unit in ["[a](", "**", "`", "> ", "| ", "- \n"] {
        let start = Instant::now();
        canonical(&ticket("Betreff", &unit.repeat(mb), ContentType::Markdown));
        assert!(start.elapsed() < PATIENCE, "{:?} for {unit:?}", start.elapsed());
    }
}

/// Pieces that mails are made of, so that random sequences meet the rules of `reply` often.
fn mail_piece() -> impl Strategy<Value = String> {
    let pieces = [
        "Der Drucker druckt nicht mehr und zeigt Fehler 809 an.",
        "FYI",
        "",
        "",
        "Hallo zusammen,",
        "Mit freundlichen Grüßen",
        "Anna Muster",
        "Vielen Dank!",
        "--",
        "> alter Text",
        "> > noch älter",
        ">",
        "Von: A <a@example.org>",
        "Gesendet: Montag, 11. März 2024 08:00",
        "An: B",
        "Betreff: C",
        "Von: A Gesendet: B An: C Betreff: D",
        "________________________________",
        "-----Ursprüngliche Nachricht-----",
        "---------- Forwarded message ---------",
        "Am 12.03.2024 um 10:15 schrieb Max Muster:",
        "On Tue, Mar 12, 2024 Max <m@example.org> wrote:",
        "> Am 12.03.2024 um 10:15 schrieb Max Muster:",
        "Von meinem iPhone gesendet",
        "Diese E-Mail enthält vertrauliche Informationen. Wenn Sie nicht der richtige Adressat sind, löschen Sie sie.",
        "[EXTERN] Achtung",
        "CAUTION: This email originated from outside of the organization. Do not click links or trust the sender.",
        "Links und Anhänge vom Absender",
        "PS: Seriennummer 4711 steht auf dem Gerät.",
        "Tel. 0821 0000",
    ];
    prop_oneof![8 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,12}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_text_stays_as_it_is(subject in "(Re: |WG: |\\[#12\\] |\\PC){0,6}", pieces in prop::collection::vec(mail_piece(), 0..14)) {
        let once = plain(&subject, &pieces.join("\n"));
        let twice = plain(&once.subject, &once.body);
        prop_assert_eq!(&once.body, &twice.body);
        prop_assert_eq!(&once.subject, &twice.subject);
        prop_assert_eq!(&once.text, &twice.text);
    }

    #[test]
    fn what_says_something_is_never_emptied(pieces in prop::collection::vec(mail_piece(), 1..10)) {
        let body = pieces.join("\n");
        let read = plain("", &body);
        prop_assert_eq!(characters::says_something(&characters::one_line(&body)), characters::says_something(&read.body));
    }

    #[test]
    fn any_text_of_any_type_is_read(subject in any::<String>(), body in "(<[a-z]{1,10}( [a-z]{2,5}='?)?>|</[a-z]{1,4}>|&[#a-z]{0,4};?|[*`_\\[\\]()>-]|\\PC|\\s){0,60}") {
        for content_type in [ContentType::Plain, ContentType::Html, ContentType::Markdown] {
            let once = canonical(&ticket(&subject, &body, content_type));
            let twice = plain(&once.subject, &once.body);
            prop_assert_eq!(&once.body, &twice.body);
            canonical_resolution(&body, content_type);
            canonical_article(&Article { body: body.clone(), content_type, ..Article::default() });
        }
        canonical_query(&body);
    }
}
