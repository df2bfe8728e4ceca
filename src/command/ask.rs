//! `ask` and `text`: one text, seen by the whole pipeline or by its first stage.

use std::io::Read;

use anyhow::{Context, bail};
use serde::Serialize;
use triage::config::{AskArgs, Settings, TextArgs};
use triage::pipeline::{Options, Request};
use triage::text::{self, MessageKind};
use triage::ticket::{AnswerStatus, ContentType, Language, Removal, Ticket, Triage};

use super::{Session, print_json};

pub(super) async fn ask(settings: Settings, arguments: AskArgs) -> anyhow::Result<()> {
    let body = if arguments.text == "-" { read_stdin()? } else { arguments.text };
    let ticket = Ticket { id: "asked-on-the-command-line".to_owned(), body, ..Ticket::default() };
    ticket.check()?;
    let session = Session::open(settings).await?;
    let departments = match arguments.department {
        Some(named) => vec![session.department(Some(named)).await?],
        None => session.store.departments().await?,
    };
    if departments.is_empty() {
        bail!("the store is empty; `triage import` or `triage demo` fills it");
    }
    session.catch_up().await?;
    let options = Options { record: false, ..Options::default() };
    let mut answers = Vec::new();
    for department in &departments {
        let request = Request { department, ticket: &ticket, options: &options };
        answers.extend(session.pipeline.triage(&[request]).into_iter().collect::<Result<Vec<Triage>, _>>()?);
    }
    if arguments.json {
        return if answers.len() == 1 { print_json(&answers[0]) } else { print_json(&answers) };
    }
    for (department, triage) in departments.iter().zip(&answers) {
        print_triage(department, triage);
    }
    Ok(())
}

fn print_triage(department: &str, triage: &Triage) {
    println!("{department}");
    for (field, decision) in &triage.fields {
        let best = decision.value.as_ref().map(|label| label.name.clone());
        let outcome = serde_name(&decision.outcome);
        let confidence =
            decision.confidence.map_or_else(String::new, |confidence| format!(" {:.0} %", confidence * 100.0));
        let reason = decision.reason.as_ref().map_or_else(String::new, |reason| format!(" ({})", serde_name(reason)));
        println!("  {field}: {outcome} {}{confidence}{reason}", best.unwrap_or_default());
        for alternative in decision.alternatives.iter().take(2) {
            let confidence = alternative.confidence.map_or_else(String::new, |c| format!(" {:.0} %", c * 100.0));
            println!("    or {}{confidence}", alternative.name);
        }
    }
    for ticket in triage.similar.iter().take(3) {
        println!("  like {} {:.2}  {}", ticket.id, ticket.score, ticket.title);
    }
    for article in triage.articles.iter().take(3) {
        println!("  read {} {:.2}  {}", article.id, article.score, article.title);
    }
    match (&triage.answer.status, &triage.answer.text) {
        (AnswerStatus::Suggested, Some(text)) => println!("  answer: {text}"),
        _ => println!("  answer: nothing is close enough"),
    }
}

/// The name a value has in JSON.
pub(super) fn serde_name(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[derive(Serialize)]
struct TextAnswer<'a> {
    text: &'a str,
    language: Language,
    kind: &'static str,
    removed: &'a [Removal],
    redactions: [(); 0],
    identifiers: &'a [String],
    truncated: bool,
}

pub(super) fn text(arguments: TextArgs) -> anyhow::Result<()> {
    let from_stdin = arguments.file.as_os_str() == "-";
    let body = if from_stdin {
        read_stdin()?
    } else {
        let bytes =
            std::fs::read(&arguments.file).with_context(|| format!("cannot read {}", arguments.file.display()))?;
        String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", arguments.file.display()))?
    };
    let ending = arguments.file.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    let content_type = match (arguments.content_type.as_deref(), ending.as_deref()) {
        (Some("text/plain"), _) => ContentType::Plain,
        (Some("text/html"), _) | (None, Some("html" | "htm")) => ContentType::Html,
        (Some("text/markdown"), _) | (None, Some("md")) => ContentType::Markdown,
        (None, _) => ContentType::Plain,
        (Some(other), _) => bail!("{other:?} is not text/plain, text/html or text/markdown"),
    };
    let ticket = Ticket { id: "file".to_owned(), body, content_type, ..Ticket::default() };
    let canonical = text::canonical(&ticket);
    if !arguments.json {
        println!("{}", canonical.text);
        for removal in &canonical.removed {
            eprintln!("removed: {} of {} characters", serde_name(&removal.kind), removal.chars);
        }
        return Ok(());
    }
    print_json(&TextAnswer {
        text: &canonical.text,
        language: canonical.language,
        kind: match canonical.kind {
            MessageKind::Message => "message",
            MessageKind::AutoReply => "auto_reply",
            MessageKind::Bounce => "bounce",
        },
        removed: &canonical.removed,
        redactions: [],
        identifiers: &canonical.identifiers,
        truncated: canonical.truncated,
    })
}

fn read_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
    String::from_utf8(bytes).context("standard input is not UTF-8")
}
