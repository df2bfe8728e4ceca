//! Here are the texts of a pool's documents; keep them on disk as an inverted index, and give me the normed BM25 of
//! every document for a query.
//!
//! One tantivy index per pool, so that the statistics are the pool's own. The folder is derived: one of another
//! version, or a damaged one, is made anew. Nothing is stored in it but the terms and the id.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::directory::error::{LockError, OpenReadError};
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::{IndexReader, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, TantivyError, Term};

use crate::error::{Error, Result};
use crate::ticket::Language;

use super::Entry;
use super::bm25::{Fields, Snapshot};
use super::ids::Ids;
use super::terms::{grams, identifiers, words};

/// Changes whenever the schema or the terms of a text change.
const FORMAT: &str = "tantivy-0.27/1";

/// Number of a document that was deleted.
pub(super) const GONE: u32 = u32::MAX;

/// Memory of the writer before it writes a segment, in bytes; tantivy asks for at least 15 million.
const WRITER_BYTES: usize = 20_000_000;

/// Segments of about one size that are merged into one. Small, because every query term is looked up in each.
const SEGMENTS_TO_MERGE: usize = 4;

/// The inverted index of one pool.
pub(super) struct Lexical {
    folder: PathBuf,
    stamp: String,
    index: tantivy::Index,
    reader: IndexReader,
    writer: Option<IndexWriter>,
    id: Field,
    fields: Fields,
    searcher: Searcher,
    /// Number of every document by segment, in the order of the searcher's segments.
    numbers: Vec<Arc<Vec<u32>>>,
    by_segment: HashMap<SegmentId, Arc<Vec<u32>>>,
    /// By document number: it is in the index, or will be with the next commit.
    present: Vec<bool>,
    changed: bool,
    committed_seq: u64,
}

impl Lexical {
    /// Opens the index in `folder`, or makes it anew when it is missing, damaged, or of another `version`.
    ///
    /// # Errors
    /// When the folder cannot be read or written; nothing is deleted then.
    pub(super) fn open(folder: &Path, version: &str, ids: &mut Ids) -> Result<Lexical> {
        let stamp = format!("{FORMAT} {version}");
        match existing(folder, &stamp) {
            Ok(Some(index)) => match Lexical::with_index(folder, &stamp, index, ids) {
                Err(error) if is_damage(&error) => {}
                opened => return opened.map_err(|error| failure(folder, &error)),
            },
            Err(error) if !is_damage(&error) => return Err(failure(folder, &error)),
            Ok(None) | Err(_) => {}
        }
        let io = |source| Error::File { path: folder.to_owned(), source };
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(io)?;
        }
        fs::create_dir_all(folder).map_err(io)?;
        let index = tantivy::Index::create_in_dir(folder, schema().0);
        index.and_then(|index| Lexical::with_index(folder, &stamp, index, ids)).map_err(|error| failure(folder, &error))
    }

    fn with_index(folder: &Path, stamp: &str, index: tantivy::Index, ids: &mut Ids) -> tantivy::Result<Lexical> {
        let (_, id, fields) = schema();
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        let committed_seq = index.load_metas()?.payload.and_then(|payload| parse(&payload, stamp)).unwrap_or(0);
        let searcher = reader.searcher();
        let mut lexical = Lexical {
            folder: folder.to_owned(),
            stamp: stamp.to_owned(),
            index,
            reader,
            writer: None,
            id,
            fields,
            searcher,
            numbers: Vec::new(),
            by_segment: HashMap::new(),
            present: Vec::new(),
            changed: false,
            committed_seq,
        };
        lexical.read_segments(ids)?;
        for number in lexical.numbers.clone().iter().flat_map(|numbers| numbers.iter()).copied() {
            if number != GONE {
                lexical.set_present(number, true);
            }
        }
        Ok(lexical)
    }

    /// Highest sequence number that is on disk, or that [`Lexical::commit`] was told while nothing had changed.
    pub(super) fn committed_seq(&self) -> u64 {
        self.committed_seq
    }

    /// True when the document is in the index or will be with the next commit.
    pub(super) fn contains(&self, number: u32) -> bool {
        self.present.get(number as usize).copied().unwrap_or(false)
    }

    /// Numbers of the documents that are in the index or will be with the next commit.
    pub(super) fn documents(&self) -> impl Iterator<Item = u32> {
        self.present.iter().zip(0..).filter_map(|(present, number)| present.then_some(number))
    }

    /// Puts a document in, in the place of an earlier one, unless what is on disk is as new. Seen by searches after
    /// the next commit.
    pub(super) fn upsert(&mut self, number: u32, entry: &Entry) -> Result<()> {
        let known = self.contains(number);
        if known && entry.seq <= self.committed_seq {
            return Ok(());
        }
        let document = self.document(entry);
        let term = Term::from_field_text(self.id, &entry.id);
        let writer = self.writer()?;
        if known {
            writer.delete_term(term);
        }
        let added = writer.add_document(document);
        self.finish(added)?;
        self.set_present(number, true);
        self.changed = true;
        Ok(())
    }

    /// Takes a document out with the next commit.
    pub(super) fn remove(&mut self, number: u32, id: &str) -> Result<()> {
        if !self.contains(number) {
            return Ok(());
        }
        let term = Term::from_field_text(self.id, id);
        self.writer()?.delete_term(term);
        self.set_present(number, false);
        self.changed = true;
        Ok(())
    }

    /// Writes what changed to disk and shows it to searches. Costs nothing when nothing changed.
    pub(super) fn commit(&mut self, seq: u64, ids: &mut Ids) -> Result<()> {
        if self.changed {
            let payload = format!("{seq} {}", self.stamp);
            let committed = self.writer()?.prepare_commit().and_then(|mut prepared| {
                prepared.set_payload(&payload);
                prepared.commit()
            });
            self.finish(committed)?;
            self.changed = false;
            let shown = self.reader.reload().and_then(|()| {
                self.searcher = self.reader.searcher();
                self.read_segments(ids)
            });
            self.finish(shown)?;
        }
        self.committed_seq = seq;
        Ok(())
    }

    /// Adds the normed BM25 of every committed document to `scores`, by number; see [`super::bm25`].
    pub(super) fn score(
        &self,
        text: &str,
        language: Language,
        identifiers: &[String],
        scores: &mut [f32],
    ) -> Result<()> {
        let snapshot = Snapshot { searcher: &self.searcher, fields: self.fields, numbers: &self.numbers };
        snapshot.score(text, language, identifiers, scores).map_err(|error| failure(&self.folder, &error))
    }

    /// Bytes held on the heap by what this module keeps beside tantivy.
    pub(super) fn memory_bytes(&self) -> usize {
        self.present.capacity() + self.numbers.iter().map(|numbers| numbers.capacity() * 4).sum::<usize>()
    }

    fn document(&self, entry: &Entry) -> TantivyDocument {
        let text = match entry.text.starts_with(&entry.title) {
            true => entry.text.clone(),
            false => format!("{}\n{}", entry.title, entry.text),
        };
        // The terms are made here and only split at blanks by tantivy: queries make theirs with the same functions.
        let (mut stems, mut gram_text, mut identifier_text) = (String::new(), String::new(), String::new());
        let append = |target: &mut String, term: &str| {
            target.push_str(term);
            target.push(' ');
        };
        for word in words(&text, entry.language) {
            append(&mut stems, &word.stem);
            grams(&word.surface).iter().for_each(|gram| append(&mut gram_text, gram));
        }
        for identifier in identifiers(&text) {
            append(&mut identifier_text, &identifier.whole);
            identifier.parts.iter().for_each(|part| append(&mut identifier_text, part));
        }
        let mut document = TantivyDocument::new();
        document.add_text(self.id, &entry.id);
        document.add_text(self.fields.words, stems);
        document.add_text(self.fields.grams, gram_text);
        document.add_text(self.fields.identifiers, identifier_text);
        document
    }

    fn writer(&mut self) -> Result<&mut IndexWriter> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => new_writer(&self.index).map_err(|error| failure(&self.folder, &error))?,
        };
        Ok(self.writer.insert(writer))
    }

    /// A writer that failed once is dead; the next change opens another.
    fn finish<T>(&mut self, outcome: tantivy::Result<T>) -> Result<T> {
        outcome.map_err(|error| {
            self.writer = None;
            failure(&self.folder, &error)
        })
    }

    fn set_present(&mut self, number: u32, present: bool) {
        let at = number as usize;
        if self.present.len() <= at {
            self.present.resize(at + 1, false);
        }
        self.present[at] = present;
    }

    /// Brings `numbers` up to the searcher. Segments never change but for their deletions, so those seen before are
    /// not read again.
    fn read_segments(&mut self, ids: &mut Ids) -> tantivy::Result<()> {
        let mut before = std::mem::take(&mut self.by_segment);
        self.numbers.clear();
        for segment in self.searcher.segment_readers() {
            let mut numbers = match before.remove(&segment.segment_id()) {
                Some(numbers) => numbers,
                None => Arc::new(numbers_of(segment, ids)?),
            };
            if let Some(alive) = segment.alive_bitset() {
                for (number, document) in Arc::make_mut(&mut numbers).iter_mut().zip(0..) {
                    if alive.is_deleted(document) {
                        *number = GONE;
                    }
                }
            }
            self.by_segment.insert(segment.segment_id(), Arc::clone(&numbers));
            self.numbers.push(numbers);
        }
        Ok(())
    }
}

/// Number of every document of a segment.
fn numbers_of(segment: &tantivy::SegmentReader, ids: &mut Ids) -> tantivy::Result<Vec<u32>> {
    let Some(column) = segment.fast_fields().str("id")? else {
        return Ok(vec![GONE; segment.max_doc() as usize]);
    };
    let mut by_ordinal = Vec::with_capacity(column.num_terms());
    let mut terms = column.dictionary().stream()?;
    while terms.advance() {
        by_ordinal.push(std::str::from_utf8(terms.key()).map_or(GONE, |id| ids.intern(id)));
    }
    let number = |document| {
        let ordinal = column.term_ords(document).next().unwrap_or(u64::MAX);
        by_ordinal.get(ordinal as usize).copied().unwrap_or(GONE)
    };
    Ok((0..segment.max_doc()).map(number).collect())
}

/// The index in `folder` when it is whole and carries `stamp`.
fn existing(folder: &Path, stamp: &str) -> tantivy::Result<Option<tantivy::Index>> {
    if !folder.join("meta.json").exists() {
        return Ok(None);
    }
    let index = tantivy::Index::open_in_dir(folder)?;
    let current = index.load_metas()?.payload.is_some_and(|payload| parse(&payload, stamp).is_some());
    if !current || index.schema() != schema().0 || !index.validate_checksum()?.is_empty() {
        return Ok(None);
    }
    Ok(Some(index))
}

/// Sequence number of a commit's payload, when it was written under `stamp`.
fn parse(payload: &str, stamp: &str) -> Option<u64> {
    let (seq, written) = payload.split_once(' ')?;
    (written == stamp).then(|| seq.parse().ok()).flatten()
}

fn schema() -> (Schema, Field, Fields) {
    let mut schema = Schema::builder();
    let field = |tokenizer: &str, record: IndexRecordOption, lengths: bool| {
        let indexing = TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(record);
        TextOptions::default().set_indexing_options(indexing.set_fieldnorms(lengths))
    };
    let id = schema.add_text_field("id", field("raw", IndexRecordOption::Basic, false).set_fast("raw"));
    let fields = Fields {
        words: schema.add_text_field("words", field("whitespace", IndexRecordOption::WithFreqs, true)),
        grams: schema.add_text_field("grams", field("whitespace", IndexRecordOption::WithFreqs, true)),
        identifiers: schema.add_text_field("identifiers", field("whitespace", IndexRecordOption::Basic, false)),
    };
    (schema.build(), id, fields)
}

fn new_writer(index: &tantivy::Index) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(WRITER_BYTES)
        .build();
    let writer = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(SEGMENTS_TO_MERGE);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}

/// True when the files are wrong, false when they cannot be reached: only the first is a reason to make them anew.
fn is_damage(error: &TantivyError) -> bool {
    let damaged = |kind| matches!(kind, ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::NotFound);
    match error {
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::SchemaError(_)
        | TantivyError::FieldNotFound(_)
        | TantivyError::InvalidArgument(_)
        | TantivyError::InternalError(_)
        | TantivyError::DeserializeError(_)
        | TantivyError::OpenReadError(OpenReadError::FileDoesNotExist(_) | OpenReadError::IncompatibleIndex(_)) => true,
        TantivyError::OpenReadError(OpenReadError::IoError { io_error, .. }) => damaged(io_error.kind()),
        TantivyError::IoError(io_error) => damaged(io_error.kind()),
        _ => false,
    }
}

fn failure(folder: &Path, error: &TantivyError) -> Error {
    let reason = match error {
        TantivyError::LockFailure(LockError::LockBusy, _) => "another process writes to it".to_owned(),
        other => other.to_string(),
    };
    Error::Index { path: folder.to_owned(), reason }
}
