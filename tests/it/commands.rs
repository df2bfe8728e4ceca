//! The command line, as a user types it: files in, files out, exit codes, messages.

use std::fs;

use triage::embed::Kernel;

use crate::harness::{Folder, command, triage};

#[test]
fn help_names_every_command_and_exits_zero() {
    let help = triage(&["--help"]);
    assert_eq!(help.code, 0);
    for command in ["demo", "serve", "import", "export", "train", "eval", "ask", "retriage", "models", "index"] {
        assert!(help.stdout.contains(command), "{command} is missing in\n{}", help.stdout);
    }
}

#[test]
fn wrong_usage_exits_two_and_failure_one() {
    assert_eq!(triage(&["import"]).code, 2);
    assert_eq!(triage(&["serve", "--bind", "nonsense"]).code, 2);
    let folder = Folder::new();
    let failed = triage(&["--data-dir", &folder.path("data"), "train", "--department", "none"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("there is no department \"none\""), "{}", failed.stderr);
}

#[test]
fn the_machine_is_measured_on_every_kernel_that_can_be_named() {
    let folder = Folder::new();
    let file = folder
        .write("two.jsonl", "{\"id\":\"1\",\"body\":\"VPN geht nicht\"}\n{\"id\":\"2\",\"body\":\"Kein Papier\"}\n");
    let run = |kernel: &str, vectors: &str| {
        let arguments = ["bench", "embed", "--json", "--threads", "1", "--input", &file, "--vectors", vectors];
        let output = command(&arguments).env("TRIAGE__EMBED__KERNEL", kernel).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let mut first: Option<Vec<u8>> = None;
    for kernel in Kernel::ALL.into_iter().filter(|kernel| kernel.is_supported()) {
        let vectors = folder.path(kernel.name());
        let (code, report, log) = run(kernel.name(), &vectors);
        assert_eq!(code, Some(0), "{log}");
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(
            (&report["kernel"], &report["precision"], &report["threads"]),
            (&kernel.name().into(), &"int8".into(), &1.into())
        );
        assert!(report["tokens_per_second"].as_f64().unwrap() > 0.0 && report["model_bytes"].as_u64().unwrap() > 0);
        let lengths: Vec<&String> = report["latency_ms"].as_object().unwrap().keys().collect();
        assert_eq!(lengths, ["16", "256", "512", "90"]);
        let bytes = fs::read(vectors).unwrap();
        assert_eq!(bytes.len(), 2 * 384 * 4);
        assert_eq!(first.get_or_insert_with(|| bytes.clone()), &bytes, "{kernel:?}");
    }
    let (code, _, log) = run("neon", &folder.path("none"));
    assert_eq!(code, Some(1));
    assert!(log.contains("embed.kernel: \"neon\" is no kernel; expected avx512vnni, avx2 or portable"), "{log}");
}

#[test]
fn the_service_refuses_to_listen_beyond_this_machine() {
    let folder = Folder::new();
    let refused = triage(&["--data-dir", &folder.path("data"), "serve", "--bind", "0.0.0.0:0"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("loopback"), "{}", refused.stderr);
}

#[test]
fn a_bad_file_names_line_and_field_and_imports_nothing() {
    let folder = Folder::new();
    let data = folder.path("data");
    let file = folder.write(
        "tickets.jsonl",
        "{\"id\":\"1\",\"body\":\"VPN geht nicht\"}\n{\"id\":\"2\",\"body\":\"x\",\"labels\":{\"category\":7}}\n",
    );
    let failed = triage(&["--data-dir", &data, "import", "tickets", &file, "--department", "it"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("line 2: labels.category: "), "{}", failed.stderr);
    let exported = triage(&["--data-dir", &data, "export", "tickets"]);
    assert_eq!((exported.code, exported.stdout.as_str()), (0, ""));
}

#[test]
fn what_was_imported_comes_out_again_and_csv_is_understood() {
    let folder = Folder::new();
    let data = folder.path("data");
    let csv = folder.write("tickets.csv", "Nr;Betreff;Text;Kategorie\n7;VPN;\"Fehler 809; seit heute\";Network::VPN\n");
    let map = folder
        .write("map.toml", "id = \"Nr\"\nsubject = \"Betreff\"\nbody = \"Text\"\nlabels.category = \"Kategorie\"\n");
    let imported = triage(&["--data-dir", &data, "import", "tickets", &csv, "--department", "it", "--map", &map]);
    assert_eq!(imported.code, 0, "{}", imported.stderr);
    assert!(imported.stdout.contains("1 new labels of field category"), "{}", imported.stdout);
    let exported = triage(&["--data-dir", &data, "export", "tickets"]);
    let ticket: serde_json::Value = serde_json::from_str(exported.stdout.trim()).unwrap();
    assert_eq!(ticket["body"], "Fehler 809; seit heute");
    assert_eq!(ticket["labels"]["category"], "Network::VPN");

    let other = folder.write("more.jsonl", "{\"id\":\"8\",\"body\":\"x\",\"labels\":{\"category\":\"Unknown\"}}\n");
    let closed = triage(&["--data-dir", &data, "import", "tickets", &other, "--department", "it", "--closed"]);
    assert_eq!(closed.code, 1);
    assert!(closed.stderr.contains("/labels/category"), "{}", closed.stderr);
}

#[test]
fn text_shows_what_hygiene_keeps() {
    let folder = Folder::new();
    let mail = folder.write(
        "mail.txt",
        "Der Drucker im Flur druckt nur noch leere Seiten.\n\nViele Grüße\nJana Muster\nTel. +49 30 23125 001\n\nAm \
         12.03.2026 um 09:14 schrieb Service:\n> Bitte starten Sie ihn neu.\n",
    );
    let shown = triage(&["text", &mail, "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    let answer: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(answer["text"], "Der Drucker im Flur druckt nur noch leere Seiten.");
    assert_eq!(answer["language"], "de");
    let kinds: Vec<&str> = answer["removed"].as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"signature") && kinds.contains(&"quote"), "{kinds:?}");
}

#[test]
fn a_broken_gate_exits_three_and_says_which_bound() {
    let folder = Folder::new();
    let data = folder.path("data");
    let taxonomy = folder.write(
        "taxonomy.json",
        r#"{"fields":[{"id":"category","labels":[{"id":"vpn","name":"VPN tunnel"},{"id":"printer","name":"printer and paper"}]}]}"#,
    );
    assert_eq!(triage(&["--data-dir", &data, "taxonomy", "load", &taxonomy, "--department", "it"]).code, 0);
    let test = folder.write(
        "test.jsonl",
        "{\"id\":\"1\",\"body\":\"The VPN tunnel does not connect\",\"labels\":{\"category\":\"vpn\"}}\n\
         {\"id\":\"2\",\"body\":\"The printer is out of paper\",\"labels\":{\"category\":\"printer\"}}\n",
    );
    let gate = |bound: f64| {
        let file =
            folder.write("gate.json", &format!(r#"{{"fields":{{"category":{{"accuracy":{{"min":{bound}}}}}}}}}"#));
        triage(&["--data-dir", &data, "eval", "--test", &test, "--gate", &file])
    };
    let kept = gate(1.0);
    assert_eq!(kept.code, 0, "label names alone decide these two: {}{}", kept.stdout, kept.stderr);
    let broken = gate(1.01);
    assert_eq!(broken.code, 3, "{}", broken.stderr);
    assert!(broken.stderr.contains("accuracy"), "{}", broken.stderr);
}

#[test]
fn a_backlog_goes_on_where_it_stopped() {
    let folder = Folder::new();
    let data = folder.path("data");
    let resolved = folder.write(
        "resolved.jsonl",
        "{\"id\":\"1\",\"body\":\"VPN bricht ab\",\"labels\":{\"category\":\"vpn\"}}\n{\"id\":\"2\",\"body\":\"Drucker ohne Papier\",\"labels\":{\"category\":\"printer\"}}\n",
    );
    assert_eq!(triage(&["--data-dir", &data, "import", "tickets", &resolved, "--department", "it"]).code, 0);
    let backlog: String =
        (0..5).map(|n| format!("{{\"id\":\"B-{n}\",\"body\":\"Der VPN Tunnel {n} bricht ab\"}}\n")).collect();
    let input = folder.write("backlog.jsonl", &backlog);
    let output = folder.path("decisions.jsonl");
    let run = || triage(&["--data-dir", &data, "retriage", "--input", &input, "--output", &output, "--json"]);
    let first = run();
    assert_eq!(first.code, 0, "{}", first.stderr);
    let whole = fs::read_to_string(&output).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines.len(), 5);

    // A kill in the middle of the third line.
    fs::write(&output, format!("{}\n{}\n{}", lines[0], lines[1], &lines[2][..lines[2].len() / 2])).unwrap();
    let second: serde_json::Value = serde_json::from_str(&run().stdout).unwrap();
    assert_eq!((second["resumed"].as_u64(), second["written"].as_u64()), (Some(2), Some(3)));
    let decided: Vec<String> = fs::read_to_string(&output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["ticket"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(decided, ["B-0", "B-1", "B-2", "B-3", "B-4"]);

    let other = folder.write("other.jsonl", "{\"id\":\"C\",\"body\":\"x\"}\n");
    let refused = triage(&["--data-dir", &data, "retriage", "--input", &other, "--output", &output]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("another ticket"), "{}", refused.stderr);
}
