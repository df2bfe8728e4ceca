//! The label audit, as a user runs it: a store with planted faults in, a work list out.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Folder, triage};

const TAXONOMY: &str = r#"{"fields":[{"id":"category","labels":[
    {"id":"vpn","name":"Netz::VPN"},
    {"id":"printer","name":"Hardware::Drucker"},
    {"id":"mail","name":"Kommunikation::E-Mail"},
    {"id":"password","name":"Konten::Passwort"},
    {"id":"login","name":"Konten::Anmeldung"},
    {"id":"fax","name":"Hardware::Fax"},
    {"id":"parking","name":"Gebäude::Parkplatz"}]}]}"#;

const VPN: [&str; 8] = [
    "Der Tunnel ins Firmennetz bricht ständig ab",
    "Der Fernzugang meldet, das Gateway sei nicht erreichbar",
    "The VPN client drops the tunnel every few minutes",
    "Cannot connect to the company network through the VPN gateway",
    "Die VPN-Verbindung wird nicht aufgebaut",
    "VPN says that the certificate of the gateway has expired",
    "Der VPN-Client hängt beim Verbinden mit dem Gateway",
    "The remote access tunnel stays at connecting",
];
const PRINTER: [&str; 8] = [
    "Der Drucker zieht kein Papier mehr ein",
    "Papierstau im großen Drucker auf dem Flur",
    "The printer reports a paper jam in the upper tray",
    "Toner is empty and the printer only prints blank pages",
    "Der Drucker druckt nur noch leere Seiten",
    "Printouts come out of the printer with grey stripes",
    "Der Toner im Drucker schmiert auf dem Papier",
    "The printer does not staple the printed pages",
];
const MAIL: [&str; 8] = [
    "Outlook zeigt keine neuen Nachrichten im Postfach",
    "Mein Postfach ist voll und nimmt keine Mails mehr an",
    "Shared mailbox does not show up in Outlook",
    "Mails to customers come back as undeliverable",
    "Der Kalender in Outlook lädt die Termine nicht",
    "Outlook asks to repair the mailbox at every start",
    "Gesendete Mails bleiben im Postausgang liegen",
    "Attachments of incoming mails cannot be opened in Outlook",
];
const PASSWORD: [&str; 8] = [
    "Ich habe mein Kennwort vergessen und komme nicht ins Konto",
    "Mein Konto ist nach drei falschen Kennwörtern gesperrt",
    "My account is locked after too many wrong passwords",
    "I forgot my password and need it reset for my account",
    "Bitte das Kennwort zu meinem Benutzerkonto zurücksetzen",
    "Password expired while I was on leave, account does not open",
    "Das Benutzerkonto verlangt ein neues Kennwort und lehnt jedes ab",
    "Please unlock my user account and reset the password",
];
const SITUATIONS: [&str; 3] = ["seit heute früh.", "since the last update.", "auch nach einem Neustart, was tun?"];

/// A department with four clear subjects, of which one is filed under two labels by turns, and planted faults.
fn tickets() -> Vec<Value> {
    let mut tickets = Vec::new();
    let mut add = |id: String, body: String, label: &str, created_at: &str| {
        tickets.push(json!({"id": id, "body": body, "labels": {"category": label}, "created_at": created_at}));
    };
    for (label, texts) in [("vpn", VPN), ("printer", PRINTER), ("mail", MAIL), ("password", PASSWORD)] {
        for (s, situation) in SITUATIONS.iter().enumerate() {
            for (t, text) in texts.iter().enumerate() {
                // What is the same thing is filed under one label or the other as it comes.
                let label = if label == "password" && (s + t) % 2 == 0 { "login" } else { label };
                let id = format!("{}-{}", label.to_uppercase(), 100 + s * texts.len() + t);
                add(id, format!("{text}, {situation}"), label, "2026-02-03T08:00:00Z");
            }
        }
    }
    // Near copies that were filed differently.
    add("DUP-1".to_owned(), "Alarm 4711: Laufwerk D: zu 91 % belegt!".to_owned(), "mail", "2026-02-01T08:00:00Z");
    add("DUP-2".to_owned(), "Alarm 4898: Laufwerk D: zu 95 % belegt".to_owned(), "vpn", "2026-02-02T08:00:00Z");
    add("DUP-3".to_owned(), "ALARM 5002 - Laufwerk D zu 99 % belegt".to_owned(), "mail", "2026-02-02T09:00:00Z");
    // Filed wrong.
    let wrong = [
        ("WRONG-1", "Aus dem Drucker kommt zerknittertes Papier, wieder ein Papierstau.", "mail"),
        ("WRONG-2", "The printer stops with a paper jam and the toner is low.", "vpn"),
        ("WRONG-3", "Outlook öffnet das Postfach nicht, die Mails fehlen.", "printer"),
    ];
    for (id, body, label) in wrong {
        add(id.to_owned(), body.to_owned(), label, "2026-02-04T08:00:00Z");
    }
    // Nobody faxes any more.
    for n in 0..3 {
        let body = format!("Das Faxgerät sendet keine Faxe, Leitung {}", ["tot", "besetzt", "gestört"][n]);
        add(format!("FAX-{n}"), body, "fax", "2024-05-01T08:00:00Z");
    }
    tickets
}

fn filled(folder: &Folder) -> (String, Vec<Value>) {
    let data = folder.path("data");
    let tickets = tickets();
    let taxonomy = folder.write("taxonomy.json", TAXONOMY);
    assert_eq!(triage(&["--data-dir", &data, "taxonomy", "load", &taxonomy, "--department", "it"]).code, 0);
    let lines: String = tickets.iter().map(|ticket| format!("{ticket}\n")).collect();
    let file = folder.write("tickets.jsonl", &lines);
    let imported = triage(&["--data-dir", &data, "import", "tickets", &file, "--department", "it"]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    (data, tickets)
}

fn ids(findings: &Value, key: &str) -> BTreeSet<String> {
    findings.as_array().unwrap().iter().map(|finding| finding[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn planted_faults_are_found_and_no_text_is_told() {
    let folder = Folder::new();
    let (data, tickets) = filled(&folder);
    let out = |name: &str| folder.path(name);
    let audit = |suffix: &str, language: &str| {
        let (json, csv, html) =
            (out(&format!("{suffix}.json")), out(&format!("{suffix}.csv")), out(&format!("{suffix}.html")));
        let done = triage(&[
            "--data-dir",
            &data,
            "eval",
            "--audit",
            "--json",
            &json,
            "--csv",
            &csv,
            "--html",
            &html,
            "--language",
            language,
        ]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let read = |path: &str| fs::read_to_string(path).unwrap();
        (read(&json), read(&csv), read(&html), done.stdout + &done.stderr)
    };
    let (json, csv, html, printed) = audit("first", "de");
    let whole: Value = serde_json::from_str(&json).unwrap();
    let field = &whole["fields"][0];
    assert_eq!((&field["field"], &field["unmeasured"]), (&"category".into(), &Value::Null));

    let conflicts = field["conflicts"].as_array().unwrap();
    let alarm = conflicts.iter().find(|conflict| ids(&conflict["tickets"], "ticket").contains("DUP-1"));
    let alarm = alarm.unwrap_or_else(|| panic!("{conflicts:#?}"));
    assert_eq!(ids(&alarm["tickets"], "ticket"), ["DUP-1", "DUP-2", "DUP-3"].map(str::to_owned).into());
    assert_eq!((&alarm["kind"], &alarm["majority"]["id"]), (&"same_text".into(), &"mail".into()));

    let overlapping = field["overlapping"].as_array().unwrap();
    let pair = |overlap: &Value| {
        BTreeSet::from([&overlap["label"]["id"], &overlap["other"]["id"]].map(|id| id.as_str().unwrap().to_owned()))
    };
    assert_eq!(overlapping.len(), 1, "{overlapping:#?}");
    assert_eq!(pair(&overlapping[0]), ["login", "password"].map(str::to_owned).into());
    assert_eq!(overlapping[0]["advice"], "merge", "{overlapping:#?}");

    let dead = field["dead"].as_array().unwrap();
    let reason = |label: &str| dead.iter().find(|dead| dead["label"]["id"] == label).map(|dead| &dead["reason"]);
    assert_eq!((reason("parking"), reason("fax")), (Some(&"unused".into()), Some(&"stale".into())));
    assert_eq!(dead.len(), 2, "{dead:#?}");

    let suspects = field["suspects"].as_array().unwrap();
    let suspect = |id: &str| {
        suspects.iter().find(|suspect| suspect["ticket"] == id).unwrap_or_else(|| panic!("no {id} in {suspects:#?}"))
    };
    for (id, label, likelier) in
        [("WRONG-1", "mail", "printer"), ("WRONG-2", "vpn", "printer"), ("WRONG-3", "printer", "mail")]
    {
        let suspect = suspect(id);
        assert_eq!((&suspect["label"]["id"], &suspect["likelier"]["id"]), (&label.into(), &likelier.into()));
        let neighbours = suspect["neighbours"].as_array().unwrap();
        assert_eq!(neighbours.len(), 3);
        assert!(neighbours.iter().any(|near| near["label"]["id"] == likelier), "{suspect:#}");
    }
    let clear = ["vpn", "printer", "mail"];
    let unfounded: Vec<&Value> = suspects
        .iter()
        .filter(|suspect| clear.contains(&suspect["label"]["id"].as_str().unwrap()))
        .map(|suspect| &suspect["ticket"])
        .filter(|id| !id.as_str().unwrap().starts_with("WRONG") && !id.as_str().unwrap().starts_with("DUP"))
        .collect();
    assert!(unfounded.len() <= 2, "{unfounded:?}");
    assert!(field["summary"]["share_wrong"].as_f64().unwrap() > 0.02);
    assert!(field["summary"]["share_wrong_interval"]["high"].as_f64().unwrap() < 0.6);

    // One row per finding, of a conflict one per ticket.
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("field,kind,ticket,label,suggested_label,probability,similarity,related"));
    assert!(csv.contains("category,same_text,DUP-2,Netz::VPN,Kommunikation::E-Mail,,1,DUP-1 DUP-3\n"), "{csv}");
    assert!(csv.contains("category,unused,,Gebäude::Parkplatz,,,,\n"), "{csv}");
    assert!(csv.contains("category,suspect,WRONG-1,Kommunikation::E-Mail,Hardware::Drucker,0."), "{csv}");
    assert!(html.contains("<html lang=\"de\">") && html.contains("WRONG-1") && html.contains("Gebäude::Parkplatz"));

    for (name, output) in [("JSON", &json), ("CSV", &csv), ("HTML", &html), ("what was printed", &printed)] {
        for ticket in &tickets {
            assert!(!output.contains(ticket["body"].as_str().unwrap()), "{name} holds the text of {}", ticket["id"]);
        }
        for word in ["Papierstau", "undeliverable", "Laufwerk", "gateway", "Kennwort", "Outlook", "Faxger"] {
            assert!(!output.to_lowercase().contains(&word.to_lowercase()), "{name} holds {word}");
        }
    }

    let (again, csv_again, english, _) = audit("second", "en");
    assert_eq!((again, csv_again), (json, csv), "the same data give the same findings");
    assert!(english.contains("<html lang=\"en\">") && english.contains("Suspect tickets"));
}

#[test]
fn an_audit_of_few_tickets_says_what_it_cannot_do_and_wrong_usage_is_refused() {
    let folder = Folder::new();
    let data = folder.path("data");
    let file = folder.write(
        "tickets.jsonl",
        "{\"id\":\"1\",\"body\":\"Kein Papier im Drucker 3\",\"labels\":{\"category\":\"printer\"}}\n\
         {\"id\":\"2\",\"body\":\"Kein Papier im Drucker 4\",\"labels\":{\"category\":\"paper\"}}\n",
    );
    assert_eq!(triage(&["--data-dir", &data, "import", "tickets", &file, "--department", "it"]).code, 0);
    let json = folder.path("audit.json");
    let done = triage(&["--data-dir", &data, "eval", "--audit", "--json", &json]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("too few tickets"), "{}", done.stdout);
    let audit: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let field = &audit["fields"][0];
    assert_eq!((&field["unmeasured"], field["conflicts"].as_array().unwrap().len()), (&"too_few_tickets".into(), 1));

    let unknown = triage(&["--data-dir", &data, "eval", "--audit", "--field", "colour"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("has no field \"colour\""), "{}", unknown.stderr);
    assert_eq!(triage(&["eval", "--audit", "--folds", "3"]).code, 2);
    assert_eq!(triage(&["eval", "--csv", "x.csv", "--folds", "3"]).code, 2);
}
