//! Here are subject and body of a mail, say whether a person wrote it for the helpdesk or a mail system answered.

use std::sync::LazyLock;

use regex::Regex;

use super::{MessageKind, pattern};

/// Characters of the body that are looked at: the tell-tale words stand on top.
const MAX_BODY_CHARS: usize = 1_200;

/// Tells a message from an automatic answer and a delivery report, by their usual German and English words. The subject
/// alone decides when it is the mail system's own; in a body two signs must come together, since customers write about
/// absence notes and undelivered mail too.
pub(super) fn kind_of(subject: &str, body: &str) -> MessageKind {
    let (body, _) = super::characters::cut(body, MAX_BODY_CHARS);
    if BOUNCE_SUBJECT.is_match(subject) || signs(body, &BOUNCE_BODY) >= 2 {
        MessageKind::Bounce
    } else if AUTO_SUBJECT.is_match(subject) || signs(body, &AUTO_BODY) >= 2 {
        MessageKind::AutoReply
    } else {
        MessageKind::Message
    }
}

fn signs(body: &str, patterns: &[LazyLock<Regex>]) -> usize {
    patterns.iter().filter(|pattern| pattern.is_match(body)).count()
}

static BOUNCE_SUBJECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^(?:
          undelivered\smail\sreturned\sto\ssender | undeliverable\s*: | unzustellbar\s*(?::|$) | undeliverable$
        | mail\sdelivery\s(?:failed|failure|subsystem)\s*(?::|\(|$) | delivery\sstatus\snotification\b
        | returned\smail\s*: | failure\snotice$ | delivery\s(?:has\s)?failed\s*(?::|$) | delivery\sfailure\s*(?::|\(|$)
        | nicht\szugestellt\s*: | (?:e-?mail|nachricht)\sunzustellbar\s*(?::|$)
        | unzustellbare\snachricht\s*(?::|$) | (?:zustellung|mailzustellung)\sfehlgeschlagen\s*(?::|$)
        )",
    )
});
static BOUNCE_BODY: [LazyLock<Regex>; 3] = [
    LazyLock::new(|| {
        pattern(
            r"(?i)this is the mail system at host|(?:konnte|konnten) (?:nicht|leider nicht) (?:an .{1,60} )?zugestellt werden|could not be delivered|couldn't be delivered|wasn't delivered|delivery to the following recipients? failed",
        )
    }),
    LazyLock::new(|| {
        pattern(r"(?i)mailer-daemon|postmaster@|diagnostic(?:-| )code|remote (?:server|mta)|reporting-mta")
    }),
    LazyLock::new(|| pattern(r"\b5\d\d[ -]#?5\.\d{1,3}\.\d{1,3}\b|\bStatus: 5\.\d")),
];
static AUTO_SUBJECT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix)^(?:\[?auto(?:matic|-)?[\s-]?(?:reply|response|antwort)\]?\s*(?::|$) | auto\s*: | automatische\s(?:antwort|r(?:ü|ue)ckantwort)\s*(?::|$)
        | (?:abwesenheits(?:notiz|benachrichtigung|meldung|agent)|abwesend|abwesenheit)\s*(?::|$)
        | out\sof\s(?:the\s)?office(?:\s(?:auto-?)?(?:reply|message|notification))?\s*(?::|-|$)
        )",
    )
});
static AUTO_BODY: [LazyLock<Regex>; 3] = [
    LazyLock::new(|| {
        pattern(
            r"(?i)\bich bin (?:derzeit|zurzeit|zur zeit|momentan|aktuell|heute|vom .{1,40}|bis .{1,40}|ab .{1,40}|im urlaub|wieder ab)\b.*(?:nicht im (?:b(?:ü|ue)ro|haus)|abwesend|nicht erreichbar|im urlaub|au(?:ß|ss)er haus)|\bi am (?:currently |presently )?(?:out of (?:the )?office|on (?:annual |parental )?leave|on vacation|away from)|\bi will be out of (?:the )?office",
        )
    }),
    LazyLock::new(|| {
        pattern(
            r"(?i)(?:e-?mails?|nachrichten?)\b.{0,40}\b(?:nicht|wird nicht|werden nicht) (?:automatisch )?(?:weitergeleitet|gelesen)|in dringenden f(?:ä|ae)llen|wenden sie sich (?:bitte )?(?:an|in dieser zeit)|nach meiner r(?:ü|ue)ckkehr|limited access to (?:my )?e-?mail|for urgent (?:matters|issues|requests)|(?:will|shall) (?:reply|respond|get back) .{0,40}\b(?:return|back)\b|upon my return",
        )
    }),
    LazyLock::new(|| {
        pattern(
            r"(?i)automatisch (?:erstellt|generiert|versendet)e? (?:antwort|nachricht|e-?mail)|automat(?:ic|ed) (?:reply|response)",
        )
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_systems_are_told_from_customers() {
        use MessageKind::{AutoReply, Bounce, Message};
        let cases = [
            ("Automatische Antwort: VPN geht nicht", "", AutoReply),
            ("Automatic reply: VPN is down", "", AutoReply),
            ("Out of office: back on Monday", "", AutoReply),
            ("Abwesenheitsnotiz", "Ich bin im Urlaub.", AutoReply),
            ("Abwesenheitsnotiz einrichten", "Wie richte ich eine Abwesenheitsnotiz ein?", Message),
            ("Out of office reply does not work", "My absence note is not sent.", Message),
            (
                "VPN",
                "Ich bin bis 14.06. nicht im Büro. In dringenden Fällen wenden Sie sich bitte an die Zentrale.",
                AutoReply,
            ),
            ("VPN", "I am currently out of the office and will respond upon my return.", AutoReply),
            ("VPN", "Ich bin zurzeit im Homeoffice und komme nicht ins VPN.", Message),
            ("Undelivered Mail Returned to Sender", "", Bounce),
            ("Unzustellbar: Rechnung 4711", "", Bounce),
            ("Undeliverable: invoice", "", Bounce),
            ("Mail delivery failed: returning message to sender", "", Bounce),
            ("Delivery Status Notification (Failure)", "", Bounce),
            ("Unzustellbare Mails an Kunden", "Meine Mails kommen zurück, was kann ich tun?", Message),
            ("Rechnung", "This is the mail system at host mx.example.org.\n<a@b>: 550 5.1.1 User unknown", Bounce),
            ("Mail kommt zurück", "Die Nachricht konnte nicht zugestellt werden, steht da. Was tun?", Message),
            ("", "", Message),
        ];
        for (subject, body, expected) in cases {
            assert_eq!(kind_of(subject, body), expected, "{subject} / {body}");
        }
    }
}
