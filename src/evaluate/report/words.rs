//! Here is a language, give me every phrase of the page and the way its numbers are written.
//!
//! Phrases are HTML. `{name}` is a place that [`fill`] puts a value into; values are escaped by whoever puts them in.

use chrono::{DateTime, Utc};

use crate::evaluate::interval::Interval;

/// Language of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageLanguage {
    /// German, with a decimal comma.
    De,
    /// English.
    #[default]
    En,
}

impl PageLanguage {
    pub(in crate::evaluate) fn words(self) -> &'static Words {
        match self {
            PageLanguage::De => &DE,
            PageLanguage::En => &EN,
        }
    }
}

/// Declares each phrase once, English before German; a phrase that lacks a language does not compile.
macro_rules! phrases {
    ($($name:ident: $en:literal, $de:literal;)*) => {
        /// The phrases of one language.
        pub(in crate::evaluate) struct Words {
            $(pub(in crate::evaluate) $name: &'static str,)*
        }
        const EN: Words = Words { $($name: $en,)* };
        const DE: Words = Words { $($name: $de,)* };
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $de),)*];
    };
}

phrases! {
    // How numbers and dates are written.
    code: "en", "de";
    decimal_sign: ".", ",";
    points: "{n}\u{a0}points", "{n}\u{a0}Punkte";
    range: "{low} to {high}", "{low} bis {high}";
    date: "%Y-%m-%d %H:%M UTC", "%d.%m.%Y %H:%M UTC";

    // The page around the fields.
    title: "How well triage decides: {department}", "Wie gut Triage entscheidet: {department}";
    title_all: "How well triage decides: all departments", "Wie gut Triage entscheidet: alle Abteilungen";
    lead: "Triage was shown tickets whose right values are known and that it had not learnt from, and its answers were \
        compared with those values. The confidence says how sure triage is of an answer. A figure in brackets is the \
        range in which the true value lies with 95&nbsp;% certainty. The report measures the software: it names no \
        ticket, no requester and no agent, and says nothing about a person's work.",
        "Triage bekam Tickets vorgelegt, deren richtige Werte bekannt sind und aus denen es nicht gelernt hatte; seine \
        Antworten wurden mit diesen Werten verglichen. Die Konfidenz sagt, wie sicher sich Triage einer Antwort ist. \
        Angaben in Klammern nennen den Bereich, in dem der wahre Wert mit 95&nbsp;% Sicherheit liegt. Der Bericht misst \
        die Software: Er nennt kein Ticket, keine anfragende und keine bearbeitende Person und sagt nichts über die \
        Arbeit einer Person.";
    model: "Model", "Modell";
    measured: "Measured", "Gemessen";
    held_out: "Held out", "Zurückgehalten";
    seed: "Seed", "Startwert";
    protocol_file: "{n} tickets of a file that the heads in service have not learnt from; thresholds come from \
        out-of-fold scores of the training tickets",
        "{n} Tickets einer Datei, aus denen die Modelle im Einsatz nicht gelernt haben; die Schwellen stammen aus \
        kreuzvalidierten Werten der Trainingstickets";
    protocol_random: "of {n} resolved tickets a fifth drawn at random by text held out, heads fitted on the rest",
        "von {n} gelösten Tickets ein zufällig nach Text gezogenes Fünftel; gelernt wurde aus dem Rest";
    protocol_temporal: "of {n} resolved tickets the newest fifth held out, heads fitted on the rest",
        "von {n} gelösten Tickets das neueste Fünftel; gelernt wurde aus dem Rest";
    protocol_given: "of {n} resolved tickets those marked \"test\" held out, heads fitted on the rest",
        "von {n} gelösten Tickets die mit „test“ gekennzeichneten; gelernt wurde aus dem Rest";
    protocol_folds: "of {n} resolved tickets each in turn, in {parts} parts drawn by text held out, heads fitted on \
        the rest",
        "von {n} gelösten Tickets reihum jedes, in {parts} nach Text gezogenen Teilen; gelernt wurde jeweils aus dem Rest";
    no_field: "No field was measured.", "Kein Feld wurde gemessen.";
    no_department: "No department was measured.", "Keine Abteilung wurde gemessen.";
    left_out: "Left out, because too few of their resolved tickets could be held out or learnt from: {departments}.",
        "Ausgelassen, weil sich zu wenige ihrer gelösten Tickets zurückhalten oder lernen ließen: {departments}.";
    at_a_glance: "At a glance", "Auf einen Blick";
    department: "Department", "Abteilung";
    field: "Field", "Feld";
    tickets: "Tickets", "Tickets";
    right_at_first_guess: "Right at first guess", "Auf Anhieb richtig";
    decided_alone: "Decided alone", "Selbst entschieden";
    decided_at_target: "Decided at the own target", "Beim eigenen Ziel entschieden";
    right_among_those: "Right among those", "Davon richtig";
    confidence_off: "Confidence is off by", "Konfidenz weicht ab um";
    no_ticket: "No held-out ticket has a value for this field.",
        "Kein zurückgehaltenes Ticket hat in diesem Feld einen Wert.";
    not_calibrated: "<strong>Not calibrated.</strong> There were no examples to fit the confidences to, so they only \
        rank: a confidence of 90&nbsp;% does not mean that 90 of 100 are right.",
        "<strong>Nicht kalibriert.</strong> Es gab keine Beispiele, an denen sich die Konfidenz ausrichten ließ; sie \
        ordnet nur: Eine Konfidenz von 90&nbsp;% heißt nicht, dass 90 von 100 richtig sind.";
    field_counts: "{n} held-out tickets with {values} different values.",
        "{n} zurückgehaltene Tickets mit {values} verschiedenen Werten.";

    // The cards.
    card_accuracy: "Right at the first guess", "Auf Anhieb richtig";
    card_accuracy_why: "Of 100 tickets, about {of_100} get the right value. Always giving the most frequent value \
        would be right for {majority}.",
        "Von 100 Tickets bekommen etwa {of_100} den richtigen Wert. Immer den häufigsten Wert zu vergeben, wäre bei \
        {majority} richtig.";
    rule_target: "Confident enough for {target} precision.", "Sicher genug für {target} Präzision.";
    rule_own: "Confident enough for the field's own precision target.",
        "Sicher genug für das eigene Präzisionsziel des Feldes.";
    none_decided: "No ticket reached its threshold; all stay with a person.",
        "Kein Ticket erreichte seine Schwelle; alle bleiben bei einem Menschen.";
    some_decided: "Of these {n} tickets, {precision} were right{range}.",
        "Von diesen {n} Tickets waren {precision} richtig{range}.";
    card_decided: "Decided without a person", "Ohne Menschen entschieden";
    card_top3: "Right value among three", "Richtiger Wert unter dreien";
    card_top3_why: "How often an agent finds the right value among the first three suggestions.",
        "Wie oft der richtige Wert unter den ersten drei Vorschlägen steht.";
    card_ece_why: "Average distance between the confidence that is shown and the share that is really right (ECE). 0 \
        is perfect; with this many tickets chance alone gives {by_chance}, even where every confidence is exact.",
        "Mittlerer Abstand zwischen der angezeigten Konfidenz und dem Anteil, der wirklich richtig ist (ECE). 0 ist \
        perfekt; bei so vielen Tickets ergibt allein der Zufall {by_chance}, auch wenn jede Konfidenz genau stimmt.";
    card_macro_f1: "Every value counted alike", "Jeder Wert zählt gleich";
    card_macro_f1_why: "Macro-F1, 0 to 1: rare values count as much as frequent ones. Far below the accuracy, it shows \
        that rare values suffer.",
        "Macro-F1, 0 bis 1: Seltene Werte zählen so viel wie häufige. Liegt es weit unter der Genauigkeit, leiden \
        seltene Werte.";
    card_kappa: "Agreement on the scale", "Übereinstimmung auf der Skala";
    card_kappa_why: "Quadratic kappa: 1 is perfect, 0 is chance. {within_one} are at most one step off.",
        "Quadratisches Kappa: 1 ist perfekt, 0 ist Zufall. {within_one} liegen höchstens eine Stufe daneben.";
    card_log_loss: "Quality of all probabilities", "Güte aller Wahrscheinlichkeiten";
    card_log_loss_why: "Log-loss, lower is better; being sure and wrong costs most. Brier score {brier}.",
        "Log-Loss, kleiner ist besser; sicher und falsch zu sein, kostet am meisten. Brier-Wert {brier}.";

    // Precision targets.
    targets: "What can be left to the machine", "Was der Maschine überlassen werden kann";
    targets_why: "The thresholds were set on training data, to keep a promise: that at least the asked share of \
        decisions is right. Here is what they do with tickets never seen before.",
        "Die Schwellen wurden auf Trainingsdaten gesetzt, um eine Zusage zu halten: dass mindestens der verlangte Anteil \
        der Entscheidungen richtig ist. So wirken sie auf nie gesehene Tickets.";
    precision_target: "Precision target", "Präzisionsziel";
    own_target: "the field's own", "das eigene des Feldes";
    decided: "Decided", "Entschieden";
    promise: "Promise", "Zusage";
    promise_kept: "✓ kept", "✓ eingehalten";
    promise_close: "≈ missed, within chance", "≈ verfehlt, im Rahmen des Zufalls";
    promise_missed: "✗ missed", "✗ verfehlt";

    // Languages.
    by_language: "By language", "Nach Sprache";
    language: "Language", "Sprache";
    german: "German", "Deutsch";
    english: "English", "Englisch";
    other_language: "other, mixed or too short to tell", "andere, gemischt oder zu kurz";

    // Confusions.
    confusions: "What is taken for what", "Was womit verwechselt wird";
    confusion: "<b>{truth}</b> was taken for <b>{given}</b> {n}\u{a0}times ({share} of its {total} tickets)",
        "<b>{truth}</b> wurde {n}-mal für <b>{given}</b> gehalten ({share} der {total} Tickets)";
    no_confusion: "No value was taken for another.", "Kein Wert wurde mit einem anderen verwechselt.";
    frequent_confusions: "The most frequent confusions:", "Die häufigsten Verwechslungen:";
    confusion_table: "Confusion table with all values", "Verwechslungstabelle mit allen Werten";
    confusion_caption: "Row: the right value. Column: the value that was given.",
        "Zeile: der richtige Wert. Spalte: der vergebene Wert.";
    confusion_map: "Map of confusions", "Karte der Verwechslungen";
    confusion_map_caption: "Row: the right value. Column: the value that was given. \
        <span class=\"swatch r5\"></span>&nbsp;right, <span class=\"swatch w5\"></span>&nbsp;wrong; the stronger the \
        colour, the larger the share of the row.",
        "Zeile: der richtige Wert. Spalte: der vergebene Wert. <span class=\"swatch r5\"></span>&nbsp;richtig, \
        <span class=\"swatch w5\"></span>&nbsp;falsch; je kräftiger die Farbe, desto größer der Anteil an der Zeile.";
    confusion_map_gathered: " The {single} most frequent values stand alone, the other {others} are gathered.",
        " Die {single} häufigsten Werte stehen einzeln, die übrigen {others} sind zusammengefasst.";
    confusion_map_description: "Matrix of {n} by {n}; {accuracy} of all tickets are right.",
        "Matrix von {n} mal {n}; {accuracy} aller Tickets sind richtig.";
    all_others: "all others ({n})", "alle übrigen ({n})";

    // Values.
    values: "Value by value", "Wert für Wert";
    value: "Value", "Wert";
    times_given: "Times given", "Vergeben";
    precision: "Precision", "Präzision";
    recall: "Recall", "Trefferquote";
    decided_precision: "Right among decided", "Richtig von entschiedenen";
    one_unseen: "1 more value of the field occurs neither as right nor as given value.",
        "1 weiterer Wert des Feldes kommt weder als richtiger noch als vergebener Wert vor.";
    more_unseen: "{n} more values of the field occur neither as right nor as given value.",
        "{n} weitere Werte des Feldes kommen weder als richtige noch als vergebene Werte vor.";

    // Charts.
    as_table: "The same as a table", "Dasselbe als Tabelle";
    reliability: "Can the confidence be believed?", "Kann man der Konfidenz glauben?";
    reliability_caption: "Each dot is a group of equally many tickets, its whisker the 95&nbsp;% range. On the dashed \
        line, a stated 80&nbsp;% is right in 80 of 100 cases; below it the model is too sure, above it too modest. The \
        bars show how many tickets have which confidence.",
        "Jeder Punkt ist eine Gruppe von gleich vielen Tickets, der Strich daran der 95-%-Bereich. Auf der gestrichelten \
        Linie sind angegebene 80&nbsp;% in 80 von 100 Fällen richtig; darunter ist das Modell zu sicher, darüber zu \
        bescheiden. Die Balken zeigen, wie viele Tickets welche Konfidenz haben.";
    reliability_description: "{groups} groups of tickets by stated confidence; on average confidence and the share that \
        was right differ by {ece}.",
        "{groups} Gruppen von Tickets nach angegebener Konfidenz; im Mittel weichen Konfidenz und richtiger Anteil um \
        {ece} voneinander ab.";
    reliability_dot: "{n} tickets: confidence {confidence}, right {accuracy}",
        "{n} Tickets: Konfidenz {confidence}, richtig {accuracy}";
    histogram_bar: "{n} tickets with confidence {low} to {high}", "{n} Tickets mit Konfidenz {low} bis {high}";
    as_stated: "as right as stated", "so richtig wie angegeben";
    axis_confidence: "confidence that was stated", "angegebene Konfidenz";
    axis_right: "share that was right", "richtiger Anteil";
    axis_tickets: "tickets", "Tickets";
    confidence: "Confidence", "Konfidenz";
    right: "Right", "Richtig";
    range_of_right: "Range of right", "Bereich des richtigen Anteils";
    automation: "How much can be automated?", "Wie viel lässt sich automatisieren?";
    automation_caption: "The curve decides the most confident tickets first: the further right, the more is automated \
        and the more mistakes there are. The filled dot is what the field's own precision target does, hollow dots those \
        of other targets. They may lie off the curve, because each value has its own threshold.",
        "Die Kurve entscheidet die sichersten Tickets zuerst: Je weiter rechts, desto mehr läuft automatisch und desto \
        mehr Fehler gibt es. Der gefüllte Punkt zeigt das eigene Präzisionsziel des Feldes, hohle Punkte zeigen andere \
        Ziele. Sie können neben der Kurve liegen, weil jeder Wert seine eigene Schwelle hat.";
    automation_description: "When all tickets are decided, {accuracy} are right. At the field's own target {coverage} \
        are decided, of which {precision} are right.",
        "Werden alle Tickets entschieden, sind {accuracy} richtig. Beim eigenen Ziel des Feldes werden {coverage} \
        entschieden, davon sind {precision} richtig.";
    automation_dot: "{name}: decides {coverage}, of which {precision} are right",
        "{name}: entscheidet {coverage}, davon sind {precision} richtig";
    own_target_dot: "own target", "eigenes Ziel";
    promise_line: "95\u{a0}% right", "95\u{a0}% richtig";
    axis_decided: "share of tickets decided without a person", "Anteil der ohne Menschen entschiedenen Tickets";
    axis_right_of_decided: "share of those that was right", "davon richtiger Anteil";
    lowest_confidence: "Lowest confidence", "Niedrigste Konfidenz";

    // Members.
    members: "What each part is worth alone", "Was jeder Teil für sich leistet";
    members_why: "Three parts look at each ticket and are weighed against one another. Alone, each would do this:",
        "Drei Teile betrachten jedes Ticket und werden gegeneinander abgewogen. Allein leistete jeder so viel:";
    member: "Part", "Teil";
    member_words: "wording", "Wortlaut";
    member_vectors: "meaning", "Bedeutung";
    member_neighbours: "similar resolved tickets", "ähnliche gelöste Tickets";
    together: "all together", "alle zusammen";

    // Unknown tickets.
    unknown: "Tickets that belong to no value", "Tickets, die zu keinem Wert gehören";
    unknown_why: "{unknown} tickets that belong to none of the values were put among {known} that do. The service flags \
        {flagged_unknown} of the unknown ones as unlike anything it learnt from, and leaves them to a person; of the \
        known ones it flags {flagged_known}.",
        "{unknown} Tickets, die zu keinem der Werte gehören, wurden unter {known} gemischt, die einen haben. Der Dienst \
        meldet {flagged_unknown} der unbekannten als anders als alles Gelernte und überlässt sie einem Menschen; von den \
        bekannten meldet er {flagged_known}.";
    unknown_none: "The field has no trained model, so nothing measures how strange a ticket is.",
        "Für das Feld gibt es kein trainiertes Modell; deshalb misst nichts, wie fremd ein Ticket ist.";
    measure: "Measure", "Maß";
    figure: "Figure", "Wert";
    meaning: "Meaning", "Bedeutung";
    auroc: "AUROC", "AUROC";
    auroc_why: "chance that an unknown ticket looks stranger than a known one; 0.5 is guessing, 1 is perfect",
        "Wahrscheinlichkeit, dass ein unbekanntes Ticket fremder aussieht als ein bekanntes; 0,5 ist geraten, 1 perfekt";
    aupr: "AUPR", "AUPR";
    aupr_why: "average precision in finding unknown tickets; guessing gives their share, {share}",
        "mittlere Präzision beim Finden unbekannter Tickets; Raten ergibt ihren Anteil, {share}";
    fpr: "False alarms at 95&nbsp;% found", "Fehlalarme bei 95&nbsp;% gefundenen";
    fpr_why: "share of known tickets that would be flagged too, if 95&nbsp;% of the unknown ones had to be found",
        "Anteil der bekannten Tickets, die mitgemeldet würden, wenn 95&nbsp;% der unbekannten gefunden werden sollen";

    // Costs.
    costs: "What decisions cost", "Was Entscheidungen kosten";
    costs_why: "Mean cost per ticket, in the unit of the costs that were given. A right decision costs nothing.",
        "Mittlere Kosten je Ticket, in der Einheit der vorgegebenen Kosten. Eine richtige Entscheidung kostet nichts.";
    way: "Way of working", "Arbeitsweise";
    mean_cost: "Cost per ticket", "Kosten je Ticket";
    cost_at_target: "decide at the field's own target", "beim eigenen Ziel des Feldes entscheiden";
    cost_all: "decide every ticket", "jedes Ticket entscheiden";
    cost_none: "decide none, hand all over", "keines entscheiden, alle übergeben";
    cost_best: "cheapest: decide from a confidence of {threshold} on",
        "am günstigsten: ab einer Konfidenz von {threshold} entscheiden";
    cost_best_none: "cheapest: decide none", "am günstigsten: keines entscheiden";
    cost_seen: "The confidence with the least cost was chosen on these very tickets, so other tickets cost somewhat more.",
        "Die günstigste Konfidenz wurde auf eben diesen Tickets gewählt; andere Tickets kosten etwas mehr.";

    // Two versions.
    comparison: "Version {active} beside version {other}", "Version {active} neben Version {other}";
    comparison_why: "Both versions saw the same {n} tickets and the same resolved tickets as neighbours. Only version \
        {active} got {only_active} right, only version {other} {only_other}; were both equally good, a split as uneven \
        would come about with a probability of {p} (McNemar's test).",
        "Beide Versionen sahen dieselben {n} Tickets und dieselben gelösten Tickets als Nachbarn. Nur mit Version \
        {active} waren {only_active} richtig, nur mit Version {other} {only_other}; wären beide gleich gut, käme eine so \
        ungleiche Verteilung mit einer Wahrscheinlichkeit von {p} zustande (McNemar-Test).";
    version: "Version {n}", "Version {n}";
    difference: "Difference", "Unterschied";
    verdict: "Verdict", "Urteil";
    better: "better", "besser";
    worse: "worse", "schlechter";
    within_chance: "within chance", "im Rahmen des Zufalls";
    more: "more", "mehr";
    less: "less", "weniger";
    accuracy: "Accuracy", "Genauigkeit";
    macro_f1: "Macro-F1", "Macro-F1";
    ece: "Confidence error (ECE)", "Konfidenzfehler (ECE)";
    gained: "Values that version {active} does better (F1):", "Werte, die Version {active} besser trifft (F1):";
    lost: "Values that version {active} does worse (F1):", "Werte, die Version {active} schlechter trifft (F1):";
    label_change: "<b>{name}</b>: {other} → {active} ({n} tickets)", "<b>{name}</b>: {other} → {active} ({n} Tickets)";
    no_label_change: "No value changed.", "Kein Wert hat sich verändert.";

    // Glossary.
    glossary: "What the measures mean", "Was die Maße bedeuten";
    glossary_accuracy: "Share of tickets whose value decided on is the right one. Range: Wilson's interval.",
        "Anteil der Tickets, deren gewählter Wert der richtige ist. Bereich: Wilson-Intervall.";
    glossary_precision: "Precision and recall of a value", "Präzision und Trefferquote eines Wertes";
    glossary_precision_why: "Precision: of the tickets that were given the value, the share that should have it. Recall: \
        of the tickets that should have it, the share that was given it.",
        "Präzision: von den Tickets, die den Wert bekamen, der Anteil, der ihn haben soll. Trefferquote (Recall): von den \
        Tickets, die ihn haben sollen, der Anteil, der ihn bekam.";
    glossary_f1: "F1, macro-F1", "F1, Macro-F1";
    glossary_f1_why: "F1 is the harmonic mean of precision and recall. Macro-F1 is its plain average over all values \
        that occur, so a rare value counts as much as a frequent one. Range: bootstrap, 500 resamples.",
        "F1 ist das harmonische Mittel aus Präzision und Trefferquote. Macro-F1 ist sein einfacher Durchschnitt über alle \
        vorkommenden Werte; ein seltener Wert zählt so viel wie ein häufiger. Bereich: Bootstrap, 500 Ziehungen.";
    glossary_ece_why: "Tickets are put into up to 15 groups of equal size by confidence; the average distance between a \
        group's confidence and its share of right answers, weighted by size. 0 is perfect. Small groups miss their \
        confidence by chance, so the figure is shown beside what chance alone would give.",
        "Die Tickets werden nach Konfidenz in bis zu 15 gleich große Gruppen geteilt; gemessen wird der mittlere, nach \
        Größe gewichtete Abstand zwischen der Konfidenz einer Gruppe und ihrem Anteil richtiger Antworten. 0 ist perfekt. \
        Kleine Gruppen verfehlen ihre Konfidenz schon durch Zufall; deshalb steht daneben, was allein der Zufall ergäbe.";
    glossary_log_loss: "Log-loss, Brier score", "Log-Loss, Brier-Wert";
    glossary_log_loss_why: "Two measures of all probabilities together, lower is better. They reward being right and \
        punish being sure and wrong.",
        "Zwei Maße für alle Wahrscheinlichkeiten zusammen, kleiner ist besser. Sie belohnen, richtig zu liegen, und \
        bestrafen, sicher und falsch zu sein.";
    glossary_threshold: "Threshold and precision target", "Schwelle und Präzisionsziel";
    glossary_threshold_why: "A value is decided without a person only when its confidence reaches the threshold that was \
        set for that value on training data, so that the asked share of decisions is right.",
        "Ein Wert wird nur dann ohne Menschen entschieden, wenn seine Konfidenz die Schwelle erreicht, die für ihn auf \
        Trainingsdaten gesetzt wurde, damit der verlangte Anteil der Entscheidungen richtig ist.";
    glossary_kappa: "Quadratic kappa", "Quadratisches Kappa";
    glossary_kappa_why: "Agreement on a scale beyond chance: 1 is perfect, 0 is chance. Being two steps off counts four \
        times as much as being one step off.",
        "Übereinstimmung auf einer Skala über den Zufall hinaus: 1 ist perfekt, 0 ist Zufall. Zwei Stufen daneben zählt \
        viermal so viel wie eine Stufe daneben.";
}

/// Puts values into the places of a phrase; a place without a value stays as it is, and values are not read again.
pub(in crate::evaluate) fn fill(phrase: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(phrase.len() + 32);
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let place = after.split_once('}');
        let found = place
            .and_then(|(name, tail)| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value, tail)));
        match found {
            Some((value, tail)) => {
                filled.push_str(value);
                rest = tail;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

const NONE: &str = "–";

impl Words {
    /// A number with so many decimals.
    pub(in crate::evaluate) fn number(&self, value: f64, decimals: usize) -> String {
        format!("{value:.decimals$}").replace('.', self.decimal_sign)
    }

    /// "84.2 %", or a dash.
    pub(in crate::evaluate) fn percent(&self, share: Option<f64>) -> String {
        share.map_or_else(|| NONE.to_owned(), |share| format!("{}\u{a0}%", self.number(share * 100.0, 1)))
    }

    /// "95 %" or "97.5 %": as many decimals as it takes, one at most.
    pub(in crate::evaluate) fn short_percent(&self, share: f64) -> String {
        let percent = (share * 1000.0).round() / 10.0;
        format!("{}\u{a0}%", percent.to_string().replace('.', self.decimal_sign))
    }

    /// "1.2 points" for a difference of shares, or a dash.
    pub(super) fn points(&self, difference: Option<f64>) -> String {
        let points = |difference: f64| fill(self.points, &[("n", &self.number(difference * 100.0, 1))]);
        difference.map_or_else(|| NONE.to_owned(), points)
    }

    /// "0.848", or a dash.
    pub(super) fn decimal(&self, value: Option<f64>) -> String {
        value.map_or_else(|| NONE.to_owned(), |value| self.number(value, 3))
    }

    /// "78.1 to 84.0 %", or nothing.
    pub(in crate::evaluate) fn share_range(&self, interval: Option<Interval>) -> String {
        let Some(Interval { low, high }) = interval else { return String::new() };
        fill(self.range, &[("low", &self.number(low * 100.0, 1)), ("high", &self.percent(Some(high)))])
    }

    /// "0.781 to 0.840", or nothing.
    pub(super) fn decimal_range(&self, interval: Option<Interval>) -> String {
        let Some(Interval { low, high }) = interval else { return String::new() };
        fill(self.range, &[("low", &self.number(low, 3)), ("high", &self.number(high, 3))])
    }

    pub(super) fn date(&self, date: DateTime<Utc>) -> String {
        date.format(self.date).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(phrase: &str) -> Vec<&str> {
        let mut places: Vec<&str> = phrase.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    #[test]
    fn both_languages_have_the_same_places_and_elements() {
        for (name, en, de) in ALL {
            assert!(!en.is_empty() && !de.is_empty(), "{name}");
            assert_eq!(places(en), places(de), "{name}");
            for element in ["<b>", "<strong>", "<span", "&nbsp;"] {
                let is_spelt_otherwise = element == "&nbsp;";
                assert!(is_spelt_otherwise || en.matches(element).count() == de.matches(element).count(), "{name}");
            }
        }
    }

    #[test]
    fn values_are_put_in_once_and_not_read_again() {
        assert_eq!(fill("{a} and {b}, {c}", &[("a", "{b}"), ("b", "1")]), "{b} and 1, {c}");
        assert_eq!(fill("{ {a", &[("a", "1")]), "{ {a");
    }

    #[test]
    fn numbers_are_written_as_the_language_does() {
        let (de, en) = (PageLanguage::De.words(), PageLanguage::En.words());
        assert_eq!((de.decimal(Some(0.842)), en.decimal(Some(0.842))), ("0,842".to_owned(), "0.842".to_owned()));
        assert_eq!(de.percent(Some(0.632)), "63,2\u{a0}%");
        assert_eq!(
            (de.short_percent(0.975), de.short_percent(0.9)),
            ("97,5\u{a0}%".to_owned(), "90\u{a0}%".to_owned())
        );
        assert_eq!(de.points(Some(0.0123)), "1,2\u{a0}Punkte");
        assert_eq!(de.share_range(Some(Interval { low: 0.5, high: 0.61 })), "50,0 bis 61,0\u{a0}%");
        assert_eq!((en.percent(None), en.decimal(None), en.share_range(None)), ("–".into(), "–".into(), String::new()));
        let date = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        assert_eq!((de.date(date), en.date(date)), ("01.01.2026 00:00 UTC".into(), "2026-01-01 00:00 UTC".into()));
    }
}
