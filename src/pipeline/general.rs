//! What a department falls back on while it has too little text of its own: the mean query vector of each language
//! and the spread of each dimension, measured once per start on the sentences below, so that any encoder that is
//! dropped in gets its own.

use std::collections::HashMap;

use crate::classify::Standardiser;
use crate::embed::{Encoder, Prompt};
use crate::error::Result;
use crate::pipeline::TICKET_TOKENS;
use crate::ticket::Language;

/// Measured on general helpdesk sentences with one encoder.
pub(super) struct General {
    /// Mean query vector by language, not scaled; `Und` holds the mean of both.
    pub(super) query_means: HashMap<Language, Vec<f32>>,
    /// Mean and deviation over all sentences.
    pub(super) standardiser: Standardiser,
}

impl General {
    pub(super) fn measure(encoder: &Encoder) -> Result<General> {
        let german = encoder.embed(&GERMAN, Prompt::Query, TICKET_TOKENS)?;
        let english = encoder.embed(&ENGLISH, Prompt::Query, TICKET_TOKENS)?;
        let all: Vec<f32> = german.rows().chain(english.rows()).flatten().copied().collect();
        let query_means = HashMap::from([
            (Language::De, mean(german.rows(), encoder.dim())),
            (Language::En, mean(english.rows(), encoder.dim())),
            (Language::Und, mean(german.rows().chain(english.rows()), encoder.dim())),
        ]);
        Ok(General { query_means, standardiser: Standardiser::fit(&all, encoder.dim()) })
    }
}

fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, dim: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dim];
    let mut n = 0.0f32;
    for row in rows {
        n += 1.0;
        sum.iter_mut().zip(row).for_each(|(total, value)| *total += value);
    }
    sum.iter().map(|total| total / n.max(1.0)).collect()
}

const GERMAN: [&str; 24] = [
    "Ich kann mich seit heute Morgen nicht mehr anmelden, das Passwort wird abgelehnt.",
    "Der Drucker im zweiten Stock zieht kein Papier ein und zeigt einen Fehler an.",
    "Wie viele Urlaubstage habe ich in diesem Jahr noch, und bis wann muss ich sie nehmen?",
    "Bitte richten Sie für die neue Kollegin ein Konto und ein Postfach ein.",
    "Die Rechnung vom letzten Monat ist doppelt gebucht worden.",
    "Im Besprechungsraum ist die Heizung ausgefallen, es ist sehr kalt.",
    "Beim Öffnen der Datei stürzt das Programm jedes Mal ab.",
    "Ich brauche Zugriff auf das Laufwerk der Abteilung Einkauf.",
    "Meine Gehaltsabrechnung für März fehlt noch im Portal.",
    "Das WLAN bricht im Homeoffice ständig ab, am Kabel geht es.",
    "Können Sie mir sagen, wo ich die Reisekosten einreiche?",
    "Der Bildschirm bleibt nach dem Update schwarz.",
    "Unser Lieferant hat die Bankverbindung geändert, was ist zu tun?",
    "Der Aufzug steht zwischen zwei Etagen, bitte dringend Techniker schicken.",
    "Ich habe eine verdächtige Mail bekommen und auf den Link geklickt.",
    "Die Bestellung wurde freigegeben, aber nicht an den Händler gesendet.",
    "Wer ist für die Schlüsselausgabe im Gebäude zuständig?",
    "Seit der Umstellung fehlen in der Liste die Einträge vom Vorjahr.",
    "Ich möchte meine Arbeitszeit ab Juli reduzieren.",
    "Der Server antwortet langsam und meldet zwischendurch eine Zeitüberschreitung.",
    "Bitte stornieren Sie den Auftrag, er wurde versehentlich angelegt.",
    "Das Kartenlesegerät am Eingang erkennt meinen Ausweis nicht.",
    "Wie ändere ich die Sprache der Oberfläche auf Deutsch?",
    "Vielen Dank, das Problem ist gelöst, Sie können die Anfrage schließen.",
];

const ENGLISH: [&str; 24] = [
    "I have not been able to sign in since this morning, my password is rejected.",
    "The printer on the second floor does not pull paper and shows an error.",
    "How many days of leave do I have left this year, and by when must I take them?",
    "Please set up an account and a mailbox for our new colleague.",
    "Last month's invoice was booked twice.",
    "The heating in the meeting room has failed and it is very cold.",
    "The application crashes every time I open the file.",
    "I need access to the shared drive of the purchasing department.",
    "My payslip for March is still missing from the portal.",
    "Wi-Fi keeps dropping when I work from home, the cable is fine.",
    "Could you tell me where to hand in my travel expenses?",
    "The screen stays black after the update.",
    "Our supplier has changed their bank details, what do we need to do?",
    "The lift is stuck between two floors, please send a technician urgently.",
    "I received a suspicious mail and clicked the link.",
    "The order was approved but never sent to the vendor.",
    "Who is responsible for handing out keys in this building?",
    "Since the migration the entries of last year are missing from the list.",
    "I would like to reduce my working hours from July.",
    "The server is slow and times out every now and then.",
    "Please cancel the order, it was created by mistake.",
    "The card reader at the entrance does not recognise my badge.",
    "How do I change the language of the interface to English?",
    "Thank you, the problem is solved and you can close the request.",
];
