//! The whole story on the real binary: demo data, heads, gate, serve, request, outcome, kill, restart, backlog.

use std::fs;
use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::harness::{Folder, Service, root, triage};

const DEPARTMENTS: [&str; 4] = ["it", "hr", "facilities", "finance"];

#[test]
fn the_demo_helpdesk_is_served_survives_a_kill_and_keeps_its_gate() {
    let folder = Folder::new();
    let data = folder.path("data");
    let demo = triage(&["--data-dir", &data, "demo", "--no-serve"]);
    assert_eq!(demo.code, 0, "{}", demo.stderr);
    assert!(demo.stdout.contains("IT-2001") && demo.stdout.contains("Version 1 of department finance serves now"));

    for department in DEPARTMENTS {
        keeps_its_gates(&folder, &data, department);
    }

    let service = Service::start(&data);
    service.wait_until_ready();
    let ticket = json!({"id": "NEW-1", "subject": "VPN", "body": "Seit heute Morgen kommt Fehler 809, wenn ich das VPN verbinde."});
    let request = json!({"department": "it", "ticket": ticket});
    let (status, answer) = service.post("/v1/triage", &request);
    assert_eq!(status, 200, "{answer}");
    let best = |answer: &Value| {
        let category = &answer["fields"]["category"];
        category["value"]["id"].as_str().or(category["alternatives"][0]["id"].as_str()).map(str::to_owned)
    };
    assert_eq!(best(&answer).as_deref(), Some("net-vpn"), "{answer}");
    assert_eq!(answer["language"], "de");
    assert_eq!(answer["degraded"], json!([]));

    // An outcome changes the neighbours' vote of the next call.
    let outcome = json!({"department": "it", "labels": {"category": "net-vpn", "priority": "3-high"}, "resolution": "MTU auf 1350 gesetzt."});
    let (status, recorded) = service.post("/v1/tickets/NEW-1/outcome", &outcome);
    assert_eq!(status, 202, "{recorded}");
    let again = json!({"department": "it", "ticket": {"id": "NEW-2", "subject": "VPN", "body": "Fehler 809 beim Verbinden mit dem VPN seit heute Morgen."}});
    let (_, answer) = service.post("/v1/triage", &again);
    assert_eq!(answer["fields"]["category"]["evidence"][0]["ticket"], "NEW-1", "{answer}");
    assert_eq!(answer["similar"][0]["id"], "NEW-1", "{answer}");
    assert_eq!(answer["similar"][0]["resolution"]["text"], "MTU auf 1350 gesetzt.");

    // What was acknowledged is there after a kill.
    service.kill();
    let service = Service::start(&data);
    service.wait_until_ready();
    let (status, similar) = service.get("/v1/tickets/NEW-2/similar?department=it&k=1");
    assert_eq!(status, 200, "{similar}");
    assert!(similar.to_string().contains("NEW-1"), "{similar}");
    let (code, log) = service.stop();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("Fehler 809") && !log.contains("MTU auf"), "ticket text stands in the log: {log}");

    // The index is derived: without its folder everything is found as before.
    fs::remove_dir_all(folder.path("data/index")).unwrap();
    let verified = triage(&["--data-dir", &data, "index", "verify"]);
    assert_eq!(verified.code, 0, "{}{}", verified.stdout, verified.stderr);

    let backlog = root().join("training-data/demo/it/waiting.jsonl");
    let output = folder.path("decisions.jsonl");
    let retriaged = triage(&[
        "--data-dir",
        &data,
        "retriage",
        "--department",
        "it",
        "--input",
        backlog.to_str().unwrap(),
        "--output",
        &output,
    ]);
    assert_eq!(retriaged.code, 0, "{}", retriaged.stderr);
    let n_waiting = fs::read_to_string(backlog).unwrap().lines().count();
    assert_eq!(fs::read_to_string(output).unwrap().lines().count(), n_waiting);
}

fn keeps_its_gates(folder: &Folder, data: &str, department: &str) {
    let answers = root().join("eval/demo").join(department).join("answers.jsonl");
    let gate = root().join("eval/demo").join(department).join("gate.json");
    let waiting = root().join("training-data/demo").join(department).join("waiting.jsonl");
    let [answers, gate, waiting] = [answers, gate, waiting].map(|path| path.to_str().unwrap().to_owned());
    let html = folder.path(&format!("{department}.html"));
    let fields = triage(&[
        "--data-dir",
        data,
        "eval",
        "--department",
        department,
        "--test",
        &waiting,
        "--answers",
        &answers,
        "--gate",
        &gate,
        "--html",
        &html,
    ]);
    assert_eq!(fields.code, 0, "{department}: {}{}", fields.stdout, fields.stderr);
    assert!(fs::read_to_string(html).unwrap().contains("<svg"));
    for pool in ["articles", "tickets"] {
        let gate = root().join("eval/demo").join(department).join(format!("gate-{pool}.json"));
        let ranked = triage(&[
            "--data-dir",
            data,
            "eval",
            "retrieval",
            "--department",
            department,
            "--queries",
            &waiting,
            "--relevance",
            &answers,
            "--pool",
            pool,
            "--gate",
            gate.to_str().unwrap(),
        ]);
        assert_eq!(ranked.code, 0, "{department} {pool}: {}{}", ranked.stdout, ranked.stderr);
    }
}

#[test]
fn a_refusal_reaches_a_caller_who_is_still_sending() {
    let folder = Folder::new();
    let service = Service::start(&folder.path("data"));
    let address = service.address.strip_prefix("http://").unwrap();
    let length = 5 << 20;
    for (path, media_type, status) in [
        ("/v1/triage", "application/json", 413),
        ("/v1/triage", "text/plain", 415),
        ("/v1/nothing", "application/json", 404),
        ("/v1/tickets", "application/x-ndjson", 422),
    ] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        // Nothing is read until everything is sent, as simple clients do.
        stream.write_all(&vec![b'a'; length]).unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("alive"), "the connection was not kept: {answer}");
    }

    // Whoever waits to be asked is refused without being asked.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /v1/triage HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(service.stop().0, 0);
}
