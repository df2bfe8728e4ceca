//! Here is a text, say whether it is German, English or neither. A hint for word stems and for statistics: nothing that
//! cannot be undone may hang on it.

use std::sync::LazyLock;

use lingua::{LanguageDetector, LanguageDetectorBuilder};

use super::characters;
use crate::ticket::Language;

/// Characters that are looked at.
const MAX_CHARS: usize = 1_000;
/// Fewest words and letters of a text that has a language.
const MIN_WORDS: usize = 2;
const MIN_LETTERS: usize = 10;
/// Function words of one language that decide when there is none of another language.
const MIN_FUNCTION_WORDS: usize = 2;
/// How many times the function words of any other language they must be otherwise: a quoted error message is part of
/// many German tickets.
const MIN_RATIO: usize = 4;
/// Least share of the probability over the eight candidates that the detector's first choice must have. Its scores are
/// far apart for a clear sentence; below this they are near each other or the text is mixed.
const MIN_CONFIDENCE: f64 = 0.6;

/// Detects the language of a text in the one character form.
pub(super) fn detect(text: &str) -> Language {
    let (text, _) = characters::cut(text, MAX_CHARS);
    let words = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    if words < MIN_WORDS || letters < MIN_LETTERS {
        return Language::Und;
    }
    by_function_words(text).unwrap_or_else(|| by_letter_sequences(text))
}

/// Language of a BCP 47 tag as the frontend gives it: "de-AT" is German.
pub(super) fn of_tag(tag: &str) -> Language {
    match tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "de" | "deu" | "ger" => Language::De,
        "en" | "eng" => Language::En,
        _ => Language::Und,
    }
}

/// Decides the clear cases, in a fiftieth of the detector's time, by words that only one of the languages has.
fn by_function_words(text: &str) -> Option<Language> {
    let (mut german, mut english, mut other) = (0_usize, 0_usize, 0_usize);
    let mut lower = String::new();
    for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
        lower.clear();
        lower.extend(word.chars().flat_map(char::to_lowercase));
        // "i" is a word of Polish, Italian and Swedish too; only the English one is a capital.
        if lower == "i" {
            english += usize::from(word == "I");
        } else if GERMAN.binary_search(&lower.as_str()).is_ok() {
            german += 1;
        } else if ENGLISH.binary_search(&lower.as_str()).is_ok() {
            english += 1;
        } else if OTHER.binary_search(&lower.as_str()).is_ok() {
            other += 1;
        }
    }
    if german >= MIN_FUNCTION_WORDS && german >= MIN_RATIO * english.max(other) {
        Some(Language::De)
    } else if english >= MIN_FUNCTION_WORDS && english >= MIN_RATIO * german.max(other) {
        Some(Language::En)
    } else {
        None
    }
}

fn by_letter_sequences(text: &str) -> Language {
    let scores = DETECTOR.compute_language_confidence_values(text);
    match scores.first() {
        Some((lingua::Language::German, confidence)) if *confidence >= MIN_CONFIDENCE => Language::De,
        Some((lingua::Language::English, confidence)) if *confidence >= MIN_CONFIDENCE => Language::En,
        _ => Language::Und,
    }
}

/// Knows the neighbours of German and English, so that they are not taken for one of the two.
static DETECTOR: LazyLock<LanguageDetector> = LazyLock::new(|| {
    use lingua::Language::{Dutch, English, French, German, Italian, Polish, Portuguese, Spanish};
    LanguageDetectorBuilder::from_languages(&[German, English, French, Spanish, Italian, Dutch, Portuguese, Polish])
        .build()
});

/// Sorted. German only: not "die", "in", "an", "war", "man", "was" and others that English, Dutch or French have too.
#[rustfmt::skip]
const GERMAN: &[&str] = &[
    "aber", "alle", "auch", "auf", "aus", "bei", "beim", "bin", "bitte", "das", "dass", "dem", "den", "der", "des",
    "diese", "dieser", "dieses", "durch", "ein", "eine", "einem", "einen", "einer", "fuer", "für", "gibt",
    "habe", "haben", "ich", "ihnen", "ihre", "ist", "jetzt", "kann", "kein", "keine", "keinen", "koennen", "können",
    "mehr", "mein", "meine", "meinem", "meinen", "mich", "mir", "mit", "nach", "nicht", "noch", "nur", "oder", "seit",
    "sich", "sie", "sind", "sondern", "ueber", "und", "uns", "unser", "unsere", "vom", "von", "vor", "warum", "wenn",
    "werden", "wie", "wieder", "wir", "wird", "wurde", "zu", "zum", "zur", "zwischen", "über",
];
#[rustfmt::skip]
const ENGLISH: &[&str] = &[
    "after", "all", "and", "any", "are", "been", "but", "by", "can", "cannot", "could", "does", "doesn", "from", "has",
    "have", "how", "if", "is", "it", "its", "my", "need", "new", "not", "of", "on", "our", "please", "she", "should", "since",
    "that", "the", "their", "there", "they", "this", "to", "until", "we", "were", "when", "which", "while", "why",
    "will", "with", "would", "you", "your",
];
/// Frequent words of the other candidates; "de" is left out, since it ends every German web address.
#[rustfmt::skip]
const OTHER: &[&str] = &[
    "al", "avec", "che", "con", "dans", "del", "della", "deze", "dit", "een", "el", "em", "en", "est",
    "et", "het", "ik", "il", "jak", "je", "jest", "la", "las", "le", "les", "los", "maar", "met", "na", "naar", "ne",
    "nie", "niet", "nous", "não", "o", "ou", "para", "pas", "per", "po", "por", "pour", "qu", "que", "qui", "się",
    "sono", "sur", "te", "uma", "una", "une", "van", "voor", "vous", "w", "wij", "z", "ze",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: Language, sentences: &[&str]) {
        for sentence in sentences {
            assert_eq!(detect(sentence), expected, "{sentence}");
        }
    }

    #[test]
    fn the_word_lists_are_sorted() {
        for list in [GERMAN, ENGLISH, OTHER] {
            assert!(list.is_sorted(), "{:?}", list.windows(2).find(|pair| pair[0] > pair[1]));
        }
        assert!(GERMAN.iter().all(|word| !ENGLISH.contains(word) && !OTHER.contains(word)));
        assert!(ENGLISH.iter().all(|word| !OTHER.contains(word)));
    }

    #[test]
    fn german_is_german() {
        check(
            Language::De,
            &[
                "Der Drucker im dritten Stock druckt nur leere Seiten.",
                "Ich komme nicht mehr in mein Postfach.",
                "Passwort vergessen, bitte zurücksetzen",
                "Bildschirm bleibt schwarz nach dem Einschalten",
                "VPN-Verbindung bricht alle zehn Minuten ab",
                "Bitte richten Sie fuer Frau Mueller ein neues Konto ein.",
                "Koennen Sie mir die Zugaenge fuer das Laufwerk geben?",
                "Ich moechte gerne meinen Urlaubsanspruch pruefen lassen",
                "Outlook stürzt beim Öffnen von Anhängen ab",
                "Wo finde ich die Gehaltsabrechnung für März?",
                "Laptop startet nicht",
                "Heizung im Besprechungsraum ausgefallen",
                "Die Rechnung wurde doppelt abgebucht",
                "Zugriff verweigert beim Speichern auf dem Netzlaufwerk",
                "Neues Headset bestellen",
                "Seit dem Update erscheint die Meldung \"The application was unable to start correctly\" beim Start.",
            ],
        );
    }

    #[test]
    fn english_is_english() {
        check(
            Language::En,
            &[
                "The printer on the third floor prints blank pages only.",
                "I cannot access my mailbox any more.",
                "Forgot my password, please reset",
                "Screen stays black after power on",
                "VPN connection drops every ten minutes",
                "Please create a new account for our trainee.",
                "Could you give me access to the shared drive?",
                "I would like to check my remaining vacation days",
                "Outlook crashes when opening attachments",
                "Where can I find the payslip for March?",
                "Laptop does not start",
                "Heating broken in the meeting room",
                "We were charged twice for the same invoice",
                "Access denied when saving to the network drive",
                "Please order a new headset",
            ],
        );
    }

    #[test]
    fn other_languages_and_scraps_are_undetermined() {
        check(
            Language::Und,
            &[
                "L'imprimante du troisième étage n'imprime que des pages blanches.",
                "Je n'arrive plus à me connecter à ma messagerie.",
                "Drukarka na trzecim piętrze drukuje tylko puste strony.",
                "Nie mogę zalogować się do poczty",
                "La impresora de la tercera planta no imprime",
                "De printer op de derde verdieping print alleen lege pagina's",
                "Non riesco ad accedere alla posta elettronica",
                "A impressora não está funcionando",
                "",
                "VPN",
                "0x80070005",
                "ok danke",
                "12345 67890 !!!",
                "プリンターが動きません、助けてください。",
            ],
        );
    }

    #[test]
    fn a_tag_names_a_language() {
        assert_eq!(of_tag("de-AT"), Language::De);
        assert_eq!(of_tag("EN_us"), Language::En);
        assert_eq!(of_tag("fr"), Language::Und);
        assert_eq!(of_tag(""), Language::Und);
    }
}
