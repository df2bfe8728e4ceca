//! Imports only point down: the layer table of ARCHITECTURE.md, held by reading the sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Modules by layer, lowest first. Modules of the same layer never import each other, except where `WITHIN` says so.
const LAYERS: [&[&str]; 8] = [
    &["error"],
    &["ticket", "taxonomy", "telemetry", "exchange"],
    &["text", "embed", "classify", "retrieve", "suggest", "store"],
    &["pipeline"],
    &["worker", "jobs"],
    &["train"],
    &["evaluate", "http"],
    &["config"],
];

/// Words that build on each other.
const WITHIN: [(&str, &str); 2] = [("taxonomy", "ticket"), ("exchange", "ticket")];

/// Crates that only some modules may name.
const CRATES: [(&str, &[&str]); 14] = [
    ("clap", &["config"]),
    ("anyhow", &["config"]),
    ("config", &["config"]),
    ("axum", &["http"]),
    ("axum_server", &["http"]),
    ("tower", &["http"]),
    ("tower_http", &["http"]),
    ("candle_core", &["embed"]),
    ("tokenizers", &["embed"]),
    ("tantivy", &["retrieve"]),
    ("rusqlite", &["store"]),
    ("lol_html", &["text"]),
    ("lingua", &["text"]),
    ("csv", &["exchange"]),
];

/// Modules that know the run time; the rest is synchronous.
const TOKIO: [&str; 6] = ["store", "worker", "jobs", "http", "train", "config"];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// `(module, file, source without comments and tests)` of every file of the library.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let relative = path.strip_prefix(&root).unwrap().to_owned();
            let first = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            // The binary sits on top of everything.
            if path.extension().is_none_or(|ending| ending != "rs")
                || ["lib", "main", "command"].contains(&first.as_str())
            {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let code = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            sources.push((first, relative, code.join("\n")));
        }
    }
    assert!(sources.len() > 20, "only {} files were found", sources.len());
    sources
}

/// Names that follow `prefix`, up to the end of the identifier.
fn names_after<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

#[test]
fn every_module_has_a_layer() {
    let unknown: BTreeSet<String> =
        sources().into_iter().map(|(module, ..)| module).filter(|module| layer(module).is_none()).collect();
    assert!(unknown.is_empty(), "not in the layer table: {unknown:?}");
}

#[test]
fn imports_only_point_down() {
    let mut faults = Vec::new();
    for (module, file, code) in sources() {
        let own = layer(&module).unwrap_or(usize::MAX);
        for other in names_after(&code, "crate::") {
            let Some(others) = layer(other) else { continue };
            let allowed = other == module || others < own || WITHIN.contains(&(module.as_str(), other));
            if !allowed {
                faults.push(format!("{} imports crate::{other}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn crates_stay_in_their_modules() {
    let mut faults = Vec::new();
    for (module, file, code) in sources() {
        for (name, modules) in CRATES {
            let named = code.contains(&format!("use {name}::")) || code.contains(&format!(" {name}::"));
            if named && !modules.contains(&module.as_str()) {
                faults.push(format!("{} names {name}", file.display()));
            }
        }
        if code.contains("tokio::") && !TOKIO.contains(&module.as_str()) {
            faults.push(format!("{} names tokio", file.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn unsafe_code_stays_in_the_kernels() {
    let mut kernels = 0;
    for (_, file, code) in sources() {
        let is_kernel = file.starts_with("embed/kernel") || file == Path::new("embed/kernel.rs");
        let is_unsafe =
            ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"].iter().any(|part| code.contains(part));
        assert!(is_kernel || !is_unsafe, "{} has unsafe code", file.display());
        kernels += usize::from(is_unsafe);
    }
    assert!(kernels > 2, "the kernels were not found");
}
