//! Here is a file in the exchange format, give me checked records, or the line and field that is wrong.
//!
//! JSON Lines hold the objects of [`crate::ticket`]; CSV holds one record per row, its columns named by the fields or
//! by a mapping. A file is read whole and checked whole before anything of it is used. Missing is missing: `null` and
//! empty cells are left out. Keys that the format does not know are counted and left out, so that an export of
//! another system can be read as it is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::ticket::{Article, Ticket};

/// What a file held.
#[derive(Debug, Clone, PartialEq)]
pub struct Records<T> {
    /// Checked records, in the order of the file.
    pub records: Vec<T>,
    /// Keys or columns that the format does not know, with the number of records that had them.
    pub ignored: BTreeMap<String, usize>,
}

/// A kind of record that a file can hold.
pub trait Record: DeserializeOwned {
    /// Keys the record knows.
    const KEYS: &'static [&'static str];

    /// Checks what serde cannot.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the JSON pointer of the field.
    fn check(&self) -> Result<()>;
}

impl Record for Ticket {
    const KEYS: &'static [&'static str] = &[
        "id",
        "subject",
        "body",
        "content_type",
        "department",
        "language",
        "channel",
        "requester",
        "status",
        "created_at",
        "resolved_at",
        "labels",
        "resolution",
        "messages",
        "split",
    ];

    fn check(&self) -> Result<()> {
        Ticket::check(self)
    }
}

impl Record for Article {
    const KEYS: &'static [&'static str] =
        &["id", "title", "body", "content_type", "department", "language", "url", "updated_at"];

    fn check(&self) -> Result<()> {
        Article::check(self)
    }
}

/// Reads JSON Lines. Empty lines are skipped.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, [`Error::Line`] for the first line that is wrong.
pub fn read_jsonl<T: Record>(path: &Path) -> Result<Records<T>> {
    let text = read_text(path)?;
    let mut read = Records { records: Vec::new(), ignored: BTreeMap::new() };
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record = serde_json::from_str(line)
            .map_err(|error| describe_json(&error))
            .and_then(|object| parse(object, &mut read.ignored));
        read.records.push(record.map_err(|reason| Error::Line { path: path.to_owned(), line: n + 1, reason })?);
    }
    Ok(read)
}

/// Reads JSON Lines of any shape, strictly. Empty lines are skipped.
///
/// # Errors
/// As [`read_jsonl`].
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read_text(path)?;
    let mut rows = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = serde_json::from_str(line).map_err(|error| Error::Line {
            path: path.to_owned(),
            line: n + 1,
            reason: describe_json(&error),
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// Reads CSV with a header row. `mapping` says which column holds which field; without an entry a column is the field
/// of its own name. Labels are the columns `labels.FIELD`.
///
/// # Errors
/// As [`read_jsonl`].
pub fn read_csv<T: Record>(path: &Path, mapping: &BTreeMap<String, String>) -> Result<Records<T>> {
    let at = |line: usize, reason: String| Error::Line { path: path.to_owned(), line, reason };
    let text = read_text(path)?;
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter(&text)).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| at(1, error.to_string()))?.clone();
    if let Some((field, column)) = mapping.iter().find(|(_, column)| !header.iter().any(|name| name == *column)) {
        return Err(at(1, format!("has no column {column:?}, which the mapping names for {field}")));
    }
    let fields: Vec<String> = header
        .iter()
        .map(|column| {
            let mapped = mapping.iter().find(|(_, name)| *name == column).map(|(field, _)| field.clone());
            mapped.unwrap_or_else(|| column.to_owned())
        })
        .collect();
    let mut read = Records { records: Vec::new(), ignored: BTreeMap::new() };
    for row in reader.records() {
        let row = row.map_err(|error| {
            at(error.position().map_or(1, |position| position.line() as usize), describe_csv(&error))
        })?;
        let line = row.position().map_or(1, |position| position.line() as usize);
        let mut object = Map::new();
        for (field, cell) in fields.iter().zip(&row).filter(|(_, cell)| !cell.trim().is_empty()) {
            let value = Value::String(cell.to_owned());
            match field.split_once('.') {
                Some((outer, inner)) => {
                    let nested = object.entry(outer).or_insert_with(|| Value::Object(Map::new()));
                    if let Value::Object(nested) = nested {
                        nested.insert(inner.to_owned(), value);
                    }
                }
                None => {
                    object.insert(field.clone(), value);
                }
            }
        }
        read.records.push(parse(object, &mut read.ignored).map_err(|reason| at(line, reason))?);
    }
    Ok(read)
}

/// Writes rows as CSV below a header row, in UTF-8 with commas. A cell that a spreadsheet would run as a formula gets an
/// apostrophe in front, as spreadsheets themselves write such text; numbers stay as they are.
///
/// # Errors
/// [`Error::Bug`] only: every row has as many cells as the header.
pub fn to_csv<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Result<String> {
    const FAILED: Error = Error::Bug("rows that are not CSV");
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|_| FAILED)?;
    for row in rows {
        writer.write_record(row.map(harmless_cell)).map_err(|_| FAILED)?;
    }
    let bytes = writer.into_inner().map_err(|_| FAILED)?;
    String::from_utf8(bytes).map_err(|_| FAILED)
}

fn harmless_cell(cell: String) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    if is_formula { format!("'{cell}") } else { cell }
}

/// Turns one object into a checked record; what the record does not know is counted in `ignored`.
fn parse<T: Record>(mut object: Map<String, Value>, ignored: &mut BTreeMap<String, usize>) -> Result<T, String> {
    object.retain(|key, value| {
        let known = T::KEYS.contains(&key.as_str());
        if !known {
            *ignored.entry(key.clone()).or_default() += 1;
        }
        known && !value.is_null()
    });
    let record: T = serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
        let path = error.path().to_string();
        format!("{path}: {}", without_values(&error.inner().to_string()))
    })?;
    record.check().map_err(|error| error.to_string())?;
    Ok(record)
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Error::Line { path: path.to_owned(), line: line + 1, reason: "is not UTF-8".to_owned() }
    })?;
    // Spreadsheets put a byte order mark in front.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Spreadsheets with German settings write semicolons.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    if header.matches(';').count() > header.matches(',').count() { b';' } else { b',' }
}

/// What serde_json says, without the position in the line's text (the caller names the line).
fn describe_json(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends in the middle of an object".to_owned(),
        serde_json::error::Category::Data => without_values(&error.to_string()),
        _ => "is not JSON".to_owned(),
    };
    format!("{what} (column {})", error.column())
}

fn describe_csv(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} cells, and the header has {expected_len}")
        }
        _ => "cannot be read as CSV".to_owned(),
    }
}

/// A serde message without the value it quotes: values may be ticket text, which errors never carry. The name of an
/// unknown field is shown, at most 64 characters of it; where in the text the value stood is left out too.
pub fn without_values(message: &str) -> String {
    let message = without_position(message);
    if let Some(rest) = message.strip_prefix(UNKNOWN_FIELD) {
        let (name, known) = split_name(rest);
        return format!("{UNKNOWN_FIELD}{}`{known}", shown_name(name));
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        return format!("unknown value{}", split_name(rest).1);
    }
    for kind in ["invalid type: ", "invalid value: "] {
        let Some((value, expected)) = message.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        else {
            continue;
        };
        // "string", "integer" and so on stand before the value, which serde puts in quotes or backticks.
        let what = value.split(['"', '`']).next().unwrap_or_default().trim_end();
        return format!("{kind}{what}, expected {expected}");
    }
    let is_known = ["missing field `", "duplicate field `"].iter().any(|known| message.starts_with(known));
    if is_known || !message.contains(['"', '`']) { message.to_owned() } else { "cannot be read".to_owned() }
}

/// The field that serde does not know or misses, in a message of [`without_values`].
pub fn field_named_in(message: &str) -> Option<&str> {
    let rest = message.strip_prefix(UNKNOWN_FIELD).or_else(|| message.strip_prefix("missing field `"))?;
    Some(rest.split('`').next().unwrap_or_default())
}

const UNKNOWN_FIELD: &str = "unknown field `";

/// Longest name of an unknown field that is shown.
const MAX_SHOWN_CHARS: usize = 64;

/// `message` without the " at line 1 column 7" that serde_json puts behind it.
fn without_position(message: &str) -> &str {
    let is_position = |end: &str| {
        end.split_once(" column ")
            .is_some_and(|(line, column)| line.parse::<usize>().is_ok() && column.parse::<usize>().is_ok())
    };
    match message.rsplit_once(" at line ") {
        Some((before, end)) if is_position(end) => before,
        _ => message,
    }
}

/// Splits "NAME`, expected …" behind the name, which may hold anything; what is expected is ours.
fn split_name(rest: &str) -> (&str, &str) {
    let end = rest.rfind("`, expected ").or_else(|| rest.rfind("`, there are no "));
    end.map_or(("", ""), |end| (&rest[..end], &rest[end + 1..]))
}

/// A name that a caller made up, fit for a message.
fn shown_name(name: &str) -> String {
    let harmless = |c: char| if c.is_control() || c == '`' { '?' } else { c };
    let mut shown: String = name.chars().take(MAX_SHOWN_CHARS).map(harmless).collect();
    if name.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn lines_become_tickets_and_unknown_keys_are_counted() {
        let (_folder, path) = file(
            "\u{feff}{\"id\":\"1\",\"subject\":\"VPN\",\"created_at\":null,\"color\":\"red\"}\n\n{\"id\":\"2\",\"body\":\"x\"}\n",
        );
        let read: Records<Ticket> = read_jsonl(&path).unwrap();
        assert_eq!(read.records.len(), 2);
        assert_eq!(read.records[0].subject, "VPN");
        assert_eq!(read.ignored, BTreeMap::from([("color".to_owned(), 1)]));
    }

    #[test]
    fn a_bad_line_is_named_with_its_field_and_without_its_text() {
        let check = |text: &str, expected: &str| {
            let (_folder, path) = file(text);
            let error = read_jsonl::<Ticket>(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
            assert!(!error.contains("geheim"), "{error:?}");
        };
        check("{\"id\":\"1\",\"body\":\"x\"}\n{\"id\":\"2\",\"body\":[\"geheim\"]}", "line 2: body: invalid type");
        check("{\"id\":\"1\",\"body\":\"x\",\"labels\":\"geheim\"}", "line 1: labels: invalid type");
        check("{\"id\":\"1\",\"body\":\"geheim", "line 1: ends in the middle");
        check("{\"id\":\"1\",\"body\":\" \"}", "line 1: /body: one of subject, body or messages");
        check("{\"id\":\"\",\"body\":\"x\"}", "line 1: /id: must not be empty");
        check("{\"id\":\"1\",\"body\":\"x\",\"created_at\":\"geheim\"}", "line 1: created_at: ");
        check("nonsense", "line 1: is not JSON");
    }

    #[test]
    fn csv_is_read_by_column_name_or_mapping() {
        let (_folder, path) = file("Nummer;Betreff;labels.category\n1;\"Drucker; defekt\";hw\n2;VPN;\n");
        let mapping =
            BTreeMap::from([("id".to_owned(), "Nummer".to_owned()), ("subject".to_owned(), "Betreff".to_owned())]);
        let read: Records<Ticket> = read_csv(&path, &mapping).unwrap();
        assert_eq!(read.records[0].subject, "Drucker; defekt");
        assert_eq!(read.records[0].labels["category"], "hw");
        assert!(read.records[1].labels.is_empty());

        let (_folder, path) = file("id,subject\n1,a\n2\n");
        let error = read_csv::<Ticket>(&path, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("line 3: has 1 cells, and the header has 2"), "{error}");
        let missing = BTreeMap::from([("body".to_owned(), "Text".to_owned())]);
        assert!(read_csv::<Ticket>(&path, &missing).unwrap_err().to_string().contains("\"Text\""));
    }

    #[test]
    fn rows_come_out_as_csv_that_runs_nothing() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let csv = to_csv(
            ["ticket", "label", "similarity"],
            [row(["1", "Druck, \"Papier\"", "-0.5"]), row(["-2x", "=HYPERLINK(1)", ""])],
        );
        assert_eq!(csv.unwrap(), "ticket,label,similarity\n1,\"Druck, \"\"Papier\"\"\",-0.5\n'-2x,'=HYPERLINK(1),\n");
    }

    #[test]
    fn values_are_taken_out_of_messages() {
        let check = |message: &str, expected: &str| assert_eq!(without_values(message), expected);
        check(
            "invalid type: string \"my \\\"secret\\\" `text`, expected nothing\", expected a map at line 3 column 7",
            "invalid type: string, expected a map",
        );
        check("invalid type: integer `5`, expected a string", "invalid type: integer, expected a string");
        check("invalid value: string \"x\", expected a date", "invalid value: string, expected a date");
        check("invalid type: null, expected a string", "invalid type: null, expected a string");
        check(
            "unknown variant `secret`, expected `x``, expected one of `open`, `resolved`",
            "unknown value, expected one of `open`, `resolved`",
        );
        check("unknown field `subjekt`, expected `id`", "unknown field `subjekt`, expected `id`");
        check("unknown field `a`\n`, there are no fields", "unknown field `a??`, there are no fields");
        check("missing field `id` at line 1 column 2", "missing field `id`");
        check("something else about \"secret\"", "cannot be read");
        let long = without_values(&format!("unknown field `{}`, expected `id`", "ä".repeat(500)));
        assert!(long.chars().count() < 110 && long.ends_with("…`, expected `id`"), "{long}");
    }
}
