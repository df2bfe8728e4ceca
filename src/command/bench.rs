//! `bench`: what this machine can do.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use triage::config::{BenchEmbedArgs, Settings};
use triage::embed::{Encoder, Prompt};
use triage::exchange::read_jsonl;
use triage::pipeline::TICKET_TOKENS;
use triage::telemetry::cpu_seconds;
use triage::ticket::Ticket;

use super::print_json;

/// Texts of one call.
const BATCH_TEXTS: usize = 64;
/// Throughput is measured for at least so long, and over all texts.
const LEAST: Duration = Duration::from_secs(3);
/// A machine so slow that all texts take longer is measured on those it had time for.
const MOST_BUILT_IN: Duration = Duration::from_secs(8);
/// Calls of one text, at most.
const CALLS: usize = 40;
/// Time for the calls of one length, at most.
const MOST_PER_LENGTH: Duration = Duration::from_millis(1500);
/// Tokens of one text.
const LENGTHS: [usize; 4] = [16, 90, 256, 512];

/// What was measured.
#[derive(Serialize)]
struct Report {
    model: String,
    fingerprint: String,
    kernel: &'static str,
    precision: &'static str,
    threads: usize,
    model_bytes: usize,
    load_ms: f64,
    /// Tokens of all texts, special tokens and prompt included.
    tokens: usize,
    texts: usize,
    tokens_per_second: f64,
    /// Absent where the system does not tell the CPU time.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_cpu_second: Option<f64>,
    /// Median of one text, by its tokens; lengths that the model does not read are left out.
    latency_ms: BTreeMap<usize, f64>,
}

pub(super) fn embed(settings: &Settings, arguments: &BenchEmbedArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let encoder = Encoder::load(&settings.model, settings.embed)?;
    let load_ms = ms(started);
    let texts: Vec<String> = match &arguments.input {
        Some(path) => read_jsonl::<Ticket>(path)?.records.into_iter().map(|ticket| ticket.body).collect(),
        None => BUILT_IN.iter().cycle().take(BATCH_TEXTS).map(|&text| text.to_owned()).collect(),
    };
    anyhow::ensure!(!texts.is_empty(), "there is no ticket to measure on");
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    if let Some(path) = &arguments.vectors {
        write_vectors(&encoder, &texts, path)?;
    }
    let most = if arguments.input.is_some() { Duration::MAX } else { MOST_BUILT_IN };
    let (tokens_per_second, tokens_per_cpu_second) = throughput(&encoder, &texts, most)?;
    let report = Report {
        model: encoder.name().to_owned(),
        fingerprint: encoder.fingerprint().to_owned(),
        kernel: encoder.kernel().name(),
        precision: encoder.precision().name(),
        threads: encoder.threads(),
        model_bytes: encoder.bytes(),
        load_ms,
        tokens: texts.iter().map(|text| count(&encoder, text)).sum(),
        texts: texts.len(),
        tokens_per_second,
        tokens_per_cpu_second,
        latency_ms: latencies(&encoder, &texts)?,
    };
    if arguments.json { print_json(&report) } else { report.print() }
}

impl Report {
    fn print(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{} with kernel {}, {}, threads: {}; {:.0} MB of weights and tables, loaded in {:.0} ms",
            self.model,
            self.kernel,
            self.precision,
            self.threads,
            self.model_bytes as f64 / 1e6,
            self.load_ms
        )?;
        writeln!(out, "{:.0} tokens/s in batches of {BATCH_TEXTS} texts", self.tokens_per_second)?;
        if let Some(rate) = self.tokens_per_cpu_second {
            writeln!(out, "{rate:.0} tokens per CPU-second")?;
        }
        for (tokens, ms) in &self.latency_ms {
            writeln!(out, "{ms:.1} ms for one text of {tokens} tokens")?;
        }
        Ok(())
    }
}

/// Tokens per second and per CPU-second over all texts, again and again.
fn throughput(encoder: &Encoder, texts: &[&str], most: Duration) -> anyhow::Result<(f64, Option<f64>)> {
    let embed = |batch: &[&str]| encoder.embed(batch, Prompt::Query, TICKET_TOKENS);
    for batch in texts.chunks(BATCH_TEXTS) {
        embed(batch)?;
        if most < Duration::MAX {
            break;
        }
    }
    let tokens: Vec<usize> =
        texts.chunks(BATCH_TEXTS).map(|batch| batch.iter().map(|text| count(encoder, text)).sum()).collect();
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let mut done = 0;
    'rounds: loop {
        for (batch, tokens) in texts.chunks(BATCH_TEXTS).zip(&tokens) {
            embed(batch)?;
            done += tokens;
            if started.elapsed() > most {
                break 'rounds;
            }
        }
        if started.elapsed() > LEAST {
            break;
        }
    }
    let done = done as f64;
    let cpu = cpu.zip(cpu_seconds()).map(|(before, after)| done / (after - before));
    Ok((done / started.elapsed().as_secs_f64(), cpu))
}

/// Median milliseconds of one text, by its tokens.
fn latencies(encoder: &Encoder, texts: &[&str]) -> anyhow::Result<BTreeMap<usize, f64>> {
    let mut long = texts.join(" ");
    while count_up_to(encoder, &long, usize::MAX) < encoder.max_tokens().min(LENGTHS[LENGTHS.len() - 1]) {
        long = [long.as_str(), " ", long.as_str()].concat();
    }
    let mut medians = BTreeMap::new();
    for tokens in LENGTHS.into_iter().filter(|&tokens| tokens <= encoder.max_tokens()) {
        let begun = Instant::now();
        let mut times = Vec::new();
        while times.len() < CALLS && (times.is_empty() || begun.elapsed() < MOST_PER_LENGTH) {
            let started = Instant::now();
            encoder.embed(&[&long], Prompt::Query, tokens)?;
            times.push(ms(started));
        }
        times.sort_by(f64::total_cmp);
        medians.insert(tokens, times[times.len() / 2]);
    }
    Ok(medians)
}

fn write_vectors(encoder: &Encoder, texts: &[&str], path: &Path) -> anyhow::Result<()> {
    let vectors = encoder.embed(texts, Prompt::Query, TICKET_TOKENS)?;
    let bytes: Vec<u8> = vectors.as_slice().iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn count(encoder: &Encoder, text: &str) -> usize {
    count_up_to(encoder, text, TICKET_TOKENS)
}

fn count_up_to(encoder: &Encoder, text: &str, max_tokens: usize) -> usize {
    encoder.token_ids(text, Prompt::Query, max_tokens).len()
}

fn ms(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1000.0
}

/// Tickets as they come in, from a line to a page.
const BUILT_IN: [&str; 12] = [
    "VPN geht nicht",
    "Printer on the second floor prints blank pages.",
    "Guten Tag, seit heute Morgen kann ich mich nicht mehr am Rechner anmelden. Das Passwort habe ich gestern geändert, \
     am Telefon funktioniert es. Bitte um schnelle Hilfe, um zehn Uhr habe ich einen Termin beim Kunden.",
    "Hello, I moved to another team last week and still have no access to the shared folder of the new department. My \
     manager has approved it. Could you please add me? Thanks a lot.",
    "Outlook stürzt beim Öffnen von Anhängen ab. Fehlermeldung: Modul nicht gefunden. Neustart und Reparatur haben \
     nichts geändert, bei meiner Kollegin tritt der Fehler seit dem letzten Update ebenfalls auf.",
    "The invoice for October shows the wrong cost centre. It should be 4711 instead of 4712. Please send a corrected \
     one before the end of the month, otherwise we cannot pay in time.",
    "Wann wird mir der Resturlaub aus dem letzten Jahr ausgezahlt? Laut Betriebsvereinbarung verfällt er Ende März, ich \
     war aber bis Anfang April in Elternzeit.",
    "The heating in room 2.14 has not been working since Monday, it is about fifteen degrees in here. We have put up an \
     electric heater, but the fuse keeps blowing. Please send somebody today.",
    "Beim Einloggen in das Reisekostenportal erscheint nach der Zwei-Faktor-Abfrage nur eine weisse Seite. Ich habe es \
     mit zwei Browsern versucht, den Cache geleert und das Telefon neu gestartet. Die Abrechnung der Dienstreise nach \
     Hamburg ist bis Freitag fällig, und ohne das Portal kann ich die Belege nicht hochladen. Im Büro nebenan geht es, \
     allerdings mit einem anderen Konto. Vielleicht fehlt mir nach dem Wechsel der Abteilung eine Berechtigung? \
     Personalnummer und Kostenstelle reiche ich gern nach.",
    "My laptop has become very slow since the update last night. Opening a spreadsheet takes more than a minute, the \
     fan runs all the time, and the battery is empty after an hour. I have already restarted it twice, closed all \
     programs that I do not need and removed the docking station. The task manager shows that the virus scanner uses \
     most of the processor. Two colleagues with the same model report the same. We have a presentation on Thursday, so \
     a replacement device until then would help as well.",
    "Bitte richten Sie für die neue Kollegin Frau Beispiel zum ersten Dezember einen Arbeitsplatz ein: Notebook mit \
     deutscher Tastatur, zwei Bildschirme, Headset, Zugang zum Warenwirtschaftssystem mit den gleichen Rechten wie ihr \
     Vorgänger, Postfach mit Stellvertretung für die Teamleitung, Schlüssel für das Büro im dritten Stock und ein \
     Parkausweis. Die Unterlagen mit Unterschrift liegen der Personalabteilung vor. Falls Hardware bestellt werden \
     muss, geben Sie bitte Bescheid, wie lange das dauert, damit wir für die erste Woche ein Leihgerät einplanen \
     können.",
    "Since Tuesday the nightly export from the warehouse system to the accounting server fails with a timeout after \
     thirty minutes. Before that it took about five minutes. Nothing was changed on our side; the network team moved \
     the server to another segment on Monday evening, and I suspect the firewall rule for the database port was not \
     carried over completely: small tables arrive, large ones stop after some megabytes. I have attached the log of the \
     last run. Could somebody please check the rule, and whether packets are dropped or fragmented on the way? Until \
     then we export by hand every morning, which costs two people an hour each, and the figures for the closing at the \
     end of the month must be complete by Friday noon.",
];
