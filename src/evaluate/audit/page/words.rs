//! What the page says, in two languages.

use crate::evaluate::PageLanguage;
use crate::evaluate::audit::{Advice, ConflictKind, DeadReason, Unmeasured};

/// Everything the page says in one language. The texts are HTML already.
pub(super) struct Words {
    /// Value of `lang` (BCP 47).
    pub code: &'static str,
    /// What separates whole numbers from decimals.
    pub decimal_point: &'static str,
    pub title: &'static str,
    pub lead: &'static str,
    pub how_to: &'static str,
    pub confidential: &'static str,
    pub department: &'static str,
    pub resolved_tickets: &'static str,
    pub newest_ticket: &'static str,
    pub encoder: &'static str,
    pub near_copies: &'static str,
    pub held_out: &'static str,
    pub parts: &'static str,
    pub texts_compared: &'static str,
    pub of: &'static str,
    pub sample_note: &'static str,
    pub overview: &'static str,
    pub field: &'static str,
    pub tickets: &'static str,
    pub in_conflict: &'static str,
    pub overlapping: &'static str,
    pub dead: &'static str,
    pub suspects: &'static str,
    pub wrong: &'static str,
    pub wrong_why: &'static str,
    pub weak: &'static str,
    pub agreement: &'static str,
    pub agreement_why: &'static str,
    pub in_conflict_why: &'static str,
    pub changes: &'static str,
    pub to: &'static str,
    pub labels: &'static str,
    pub without_value: &'static str,
    pub other_value: &'static str,
    pub nothing: &'static str,
    pub no_fields: &'static str,
    pub conflicts: &'static str,
    pub conflicts_why: &'static str,
    pub similarity: &'static str,
    pub kind: &'static str,
    pub filed_under: &'static str,
    pub majority: &'static str,
    pub overlapping_why: &'static str,
    pub label: &'static str,
    pub other_label: &'static str,
    pub confused: &'static str,
    pub at_least: &'static str,
    pub advice: &'static str,
    pub examples: &'static str,
    pub dead_why: &'static str,
    pub reason: &'static str,
    pub last_ticket: &'static str,
    pub suspects_why: &'static str,
    pub ticket: &'static str,
    pub recorded: &'static str,
    pub likelier: &'static str,
    pub nearest: &'static str,
    pub more: &'static str,
    pub not_shown: &'static str,
    pub method: &'static str,
    pub method_text: &'static str,
}

impl Words {
    /// The words of a language.
    pub(super) fn of(language: PageLanguage) -> &'static Words {
        match language {
            PageLanguage::De => &GERMAN,
            PageLanguage::En => &ENGLISH,
        }
    }

    fn is_german(&self) -> bool {
        self.code == "de"
    }

    pub(super) fn conflict_kind(&self, kind: ConflictKind) -> &'static str {
        match (kind, self.is_german()) {
            (ConflictKind::SameText, false) => "same text",
            (ConflictKind::SameText, true) => "gleicher Text",
            (ConflictKind::NearText, false) => "nearly the same text",
            (ConflictKind::NearText, true) => "fast gleicher Text",
        }
    }

    pub(super) fn advice(&self, advice: Advice) -> &'static str {
        match (advice, self.is_german()) {
            (Advice::Merge, false) => "Merge: the texts do not tell the two apart",
            (Advice::Merge, true) => "Zusammenlegen: Die Texte unterscheiden die beiden nicht",
            (Advice::Sharpen, false) => "Sharpen both descriptions, then correct the tickets named here",
            (Advice::Sharpen, true) => "Beide Beschreibungen schärfen, dann die genannten Tickets berichtigen",
        }
    }

    pub(super) fn dead_reason(&self, reason: DeadReason) -> &'static str {
        match (reason, self.is_german()) {
            (DeadReason::Unused, false) => "No resolved ticket. Retire it, or leave it if it is new",
            (DeadReason::Unused, true) => "Kein gelöstes Ticket. Stilllegen, oder lassen, wenn er neu ist",
            (DeadReason::Stale, false) => "No ticket for more than a year. Retire it, or merge it into another",
            (DeadReason::Stale, true) => "Seit über einem Jahr kein Ticket. Stilllegen oder zusammenlegen",
            (DeadReason::NeverRecognised, false) => {
                "Few tickets, none of them recognised. Merge it, or file more tickets under it"
            }
            (DeadReason::NeverRecognised, true) => {
                "Wenige Tickets, keines davon erkannt. Zusammenlegen oder mehr Tickets zuordnen"
            }
        }
    }

    pub(super) fn unmeasured(&self, reason: Unmeasured) -> &'static str {
        match (reason, self.is_german()) {
            (Unmeasured::TooFewTickets, false) => {
                "There are too few tickets with a value to predict some from the others. Overlapping labels and suspect \
                 tickets need at least 20."
            }
            (Unmeasured::TooFewTickets, true) => {
                "Zu wenige Tickets haben einen Wert, um einen Teil aus dem Rest vorherzusagen. Für verwechselbare Werte \
                 und verdächtige Tickets braucht es mindestens 20."
            }
            (Unmeasured::NotCalibrated, false) => {
                "In at least one part nothing could be learnt from the rest, as when all tickets have the same value. \
                 Overlapping labels and suspect tickets are therefore not named."
            }
            (Unmeasured::NotCalibrated, true) => {
                "In mindestens einem Teil ließ sich aus dem Rest nichts lernen, etwa weil alle Tickets denselben Wert \
                 haben. Verwechselbare Werte und verdächtige Tickets werden deshalb nicht genannt."
            }
        }
    }
}

static ENGLISH: Words = Words {
    code: "en",
    decimal_point: ".",
    title: "Label audit",
    lead: "The service learns from resolved tickets, so it can be no better than the values that were recorded in them. \
           This page shows where they contradict each other, which values cannot be told apart, which are no longer \
           used, and which tickets are probably filed wrong.",
    how_to: "Work from top to bottom: merge or sharpen values first, then settle the contradictions, then go through the \
             suspect tickets. Each correction reaches the service as an outcome of the ticket, and the heads with the \
             next training. Every finding is a proposal; a person decides.",
    confidential: "The page names tickets by their ids and holds no text of them.",
    department: "Department",
    resolved_tickets: "Resolved tickets",
    newest_ticket: "Newest ticket",
    encoder: "Encoder",
    near_copies: "Near copies",
    held_out: "Predictions",
    parts: "parts, each predicted from the others",
    texts_compared: "different texts, compared from cosine",
    of: "of",
    sample_note: "There are so many texts that each was compared with a sample of them only. Some contradictions may be \
                  missing.",
    overview: "At a glance",
    field: "Field",
    tickets: "Tickets",
    in_conflict: "In contradiction",
    overlapping: "Values that cannot be told apart",
    dead: "Dead values",
    suspects: "Suspect tickets",
    wrong: "Probably wrong values, at most",
    wrong_why: "Estimated from predictions on held-out tickets. Tickets on which the service errs are in it too, so the \
                truth lies lower. The range is that of chance alone, 95&nbsp;%.",
    weak: "The service predicts fewer than 80&nbsp;% of these tickets as recorded. Many of the suspects are then its own \
           errors, and the share of wrong values is far too high. Go through the list from the top, and stop where it no \
           longer convinces.",
    agreement: "Predicted as recorded",
    agreement_why: "Share of held-out tickets whose likeliest value is the recorded one.",
    in_conflict_why: "Tickets whose near copy was filed under another value.",
    changes: "changes would end all contradictions",
    to: "to",
    labels: "Values",
    without_value: "Tickets without a value",
    other_value: "Tickets with an unknown or retired value",
    nothing: "Nothing was found.",
    no_fields: "The department has no field.",
    conflicts: "Near copies with different values",
    conflicts_why: "Tickets whose texts are equal but for digits, case and punctuation, or whose vectors nearly coincide. \
                    One of the values is wrong, or what decides does not stand in the text.",
    similarity: "Similarity",
    kind: "Kind",
    filed_under: "Filed under",
    majority: "Most say",
    overlapping_why: "Pairs of values that held-out tickets are mistaken between. &ldquo;At least&rdquo; is what remains \
                      after chance is allowed for.",
    label: "Value",
    other_label: "Other value",
    confused: "Mistaken",
    at_least: "At least",
    advice: "What to do",
    examples: "Tickets to look at",
    dead_why: "Values that no ticket uses, or not for a year, or that are never recognised.",
    reason: "What is the matter",
    last_ticket: "Last ticket",
    suspects_why: "The recorded value is less likely than it is for other tickets of that value, and another one is as \
                   likely as for its own tickets. The clearest come first.",
    ticket: "Ticket",
    recorded: "Recorded",
    likelier: "Likelier",
    nearest: "Nearest tickets",
    more: "more",
    not_shown: "more are in the JSON and CSV files, up to the number that was asked for.",
    method: "How it was found",
    method_text: "Probabilities come from heads that did not learn from the ticket (cross-validation; near copies always \
                  stay in the same part). Suspects follow confident learning (Northcutt, Jiang and Chuang 2021). Lower \
                  bounds are those of Clopper and Pearson, one-sided, 95&nbsp;%; the range of the share of wrong values \
                  is a bootstrap over tickets. Similarity is the cosine of vectors whose dimensions were brought to mean \
                  0 and deviation 1.",
};

static GERMAN: Words = Words {
    code: "de",
    decimal_point: ",",
    title: "Prüfung der Zuordnungen",
    lead: "Der Dienst lernt aus gelösten Tickets und kann deshalb nicht besser sein als die Werte, die darin stehen. \
           Diese Seite zeigt, wo sie einander widersprechen, welche Werte sich nicht unterscheiden lassen, welche nicht \
           mehr gebraucht werden und welche Tickets vermutlich falsch zugeordnet sind.",
    how_to: "Am besten von oben nach unten: erst Werte zusammenlegen oder schärfen, dann die Widersprüche klären, dann die \
             verdächtigen Tickets durchgehen. Jede Berichtigung erreicht den Dienst als Ergebnis des Tickets, die \
             gelernten Köpfe mit dem nächsten Training. Jeder Befund ist ein Vorschlag; entscheiden muss ein Mensch.",
    confidential: "Die Seite nennt Tickets mit ihrer Kennung und enthält keinen Text daraus.",
    department: "Abteilung",
    resolved_tickets: "Gelöste Tickets",
    newest_ticket: "Neuestes Ticket",
    encoder: "Encoder",
    near_copies: "Beinahe-Kopien",
    held_out: "Vorhersagen",
    parts: "Teile, jeder aus den anderen vorhergesagt",
    texts_compared: "verschiedene Texte, verglichen ab Kosinus",
    of: "von",
    sample_note: "Es sind so viele Texte, dass jeder nur mit einer Stichprobe verglichen wurde. Einige Widersprüche können \
                  fehlen.",
    overview: "Auf einen Blick",
    field: "Feld",
    tickets: "Tickets",
    in_conflict: "Im Widerspruch",
    overlapping: "Nicht unterscheidbare Werte",
    dead: "Tote Werte",
    suspects: "Verdächtige Tickets",
    wrong: "Vermutlich falsche Werte, höchstens",
    wrong_why: "Geschätzt aus Vorhersagen zu zurückgehaltenen Tickets. Auch Tickets, bei denen der Dienst irrt, zählen mit; \
                die Wahrheit liegt also darunter. Der Bereich ist der des Zufalls allein, 95&nbsp;%.",
    weak: "Der Dienst sagt weniger als 80&nbsp;% dieser Tickets so vorher, wie sie zugeordnet sind. Viele der verdächtigen \
           Tickets sind dann seine eigenen Fehler, und der Anteil falscher Werte ist viel zu hoch. Die Liste von oben \
           durchgehen und aufhören, wo sie nicht mehr überzeugt.",
    agreement: "Vorhergesagt wie zugeordnet",
    agreement_why: "Anteil der zurückgehaltenen Tickets, deren wahrscheinlichster Wert der zugeordnete ist.",
    in_conflict_why: "Tickets, deren Beinahe-Kopie einem anderen Wert zugeordnet wurde.",
    changes: "Änderungen würden alle Widersprüche beenden",
    to: "bis",
    labels: "Werte",
    without_value: "Tickets ohne Wert",
    other_value: "Tickets mit unbekanntem oder stillgelegtem Wert",
    nothing: "Nichts gefunden.",
    no_fields: "Die Abteilung hat kein Feld.",
    conflicts: "Beinahe-Kopien mit verschiedenen Werten",
    conflicts_why: "Tickets, deren Texte bis auf Ziffern, Groß- und Kleinschreibung und Satzzeichen gleich sind oder deren \
                    Vektoren fast zusammenfallen. Einer der Werte ist falsch, oder das Entscheidende steht nicht im Text.",
    similarity: "Ähnlichkeit",
    kind: "Art",
    filed_under: "Zugeordnet zu",
    majority: "Mehrheit",
    overlapping_why: "Paare von Werten, zwischen denen zurückgehaltene Tickets verwechselt werden. &bdquo;Mindestens&ldquo; \
                      ist, was nach Abzug des Zufalls bleibt.",
    label: "Wert",
    other_label: "Anderer Wert",
    confused: "Verwechselt",
    at_least: "Mindestens",
    advice: "Was zu tun ist",
    examples: "Tickets zum Ansehen",
    dead_why: "Werte, die kein Ticket hat, seit einem Jahr keines mehr, oder die nie erkannt werden.",
    reason: "Was damit ist",
    last_ticket: "Letztes Ticket",
    suspects_why: "Der zugeordnete Wert ist unwahrscheinlicher als sonst bei seinen Tickets, und ein anderer ist so \
                   wahrscheinlich wie bei den eigenen. Die deutlichsten stehen vorn.",
    ticket: "Ticket",
    recorded: "Zugeordnet",
    likelier: "Wahrscheinlicher",
    nearest: "Nächste Tickets",
    more: "weitere",
    not_shown: "weitere stehen in den JSON- und CSV-Dateien, bis zur verlangten Zahl.",
    method: "Wie gesucht wurde",
    method_text: "Die Wahrscheinlichkeiten stammen aus Köpfen, die vom Ticket nicht gelernt haben (Kreuzvalidierung; \
                  Beinahe-Kopien bleiben immer im selben Teil). Verdächtige Tickets folgen dem &bdquo;confident \
                  learning&ldquo; (Northcutt, Jiang und Chuang 2021). Untere Schranken sind die von Clopper und Pearson, \
                  einseitig, 95&nbsp;%; der Bereich des Anteils falscher Werte ist ein Bootstrap über die Tickets. \
                  Ähnlichkeit ist der Kosinus von Vektoren, deren Dimensionen auf Mittel 0 und Abweichung 1 gebracht sind.",
};
