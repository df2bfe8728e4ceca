//! Here are the vectors of a pool's documents; give me the similarity of a query with every document.
//!
//! Exact: every row is compared. A document has one whole row, perhaps a title row and, in articles, passage rows.
//! Not for text, and not for choosing the best: see `fuse`.

use std::collections::HashMap;

use crate::ticket::Language;

use super::standardised::Metric;
use super::table::{Prepared, QueryVector, Table};
use super::{Entry, Pool};

/// Ticket against ticket: share of the title, the rest is the whole text. Measured on duplicate reports.
const TICKET_TITLE_SHARE: f32 = 0.25;
/// Query against article: shares of the whole article, its best passage and its title. Measured on bilingual help
/// pages: +5 points hit@1 over the whole article alone.
const ARTICLE_SHARES: [f32; 3] = [0.4, 0.4, 0.2];

/// What rounding may add to a cosine of 1.
const ROUNDING: f32 = 1e-4;

/// Rows and documents of one pool.
#[derive(Debug)]
pub(super) struct Dense {
    pool: Pool,
    whole: Table,
    titles: Table,
    passages: Table,
    documents: Vec<Option<Document>>,
    len: usize,
    general: HashMap<Language, Vec<f32>>,
}

/// Where the rows of a document are.
#[derive(Debug)]
struct Document {
    resolved: bool,
    whole: u32,
    title: Option<u32>,
    passages: Vec<Passage>,
}

#[derive(Debug, Clone, Copy)]
struct Passage {
    row: u32,
    range: (usize, usize),
}

/// A query as the rows of a pool see it.
#[derive(Debug)]
pub(super) struct DenseQuery {
    pub(super) whole: QueryVector,
    pub(super) title: Option<QueryVector>,
}

/// Similarities of one query with the documents of a pool.
#[derive(Debug)]
pub(super) struct Similarities<'a> {
    dense: &'a Dense,
    /// By document number, without the titles of tickets; meaningless where there is no document.
    scores: Vec<f32>,
    best_passages: Vec<Option<u32>>,
    ticket_titles: Option<Prepared<'a>>,
}

impl Similarities<'_> {
    /// What [`Similarities::score`] is at most.
    pub(super) fn at_most(&self, number: u32) -> f32 {
        let known = self.scores.get(number as usize).copied().unwrap_or(0.0);
        match &self.ticket_titles {
            Some(_) => known + TICKET_TITLE_SHARE * (1.0 - known).max(0.0) + ROUNDING,
            None => known,
        }
    }

    /// Similarity of a document. Titles of tickets are compared here and not for every ticket: they are half of the
    /// memory that a search would read, and few tickets can still come first whatever their title.
    pub(super) fn score(&self, number: u32) -> f32 {
        let known = self.scores.get(number as usize).copied().unwrap_or(0.0);
        let title = self.dense.document(number).and_then(|document| document.title);
        match (&self.ticket_titles, title) {
            (Some(titles), Some(row)) => known + TICKET_TITLE_SHARE * (titles.cosine(row) - known),
            _ => known,
        }
    }

    /// Range of the passage that fitted best, in characters of the document's text.
    pub(super) fn best_passage(&self, number: u32) -> Option<(usize, usize)> {
        let row = (*self.best_passages.get(number as usize)?)?;
        let document = self.dense.document(number)?;
        document.passages.iter().find(|passage| passage.row == row).map(|passage| passage.range)
    }
}

impl Dense {
    pub(super) fn new(pool: Pool, dim: usize) -> Dense {
        Dense {
            pool,
            whole: Table::new(dim),
            titles: Table::new(dim),
            passages: Table::new(dim),
            documents: Vec::new(),
            len: 0,
            general: HashMap::new(),
        }
    }

    /// Documents that are there.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.document(number).is_some()
    }

    /// True when the document is there and resolved.
    pub(super) fn is_resolved(&self, number: u32) -> bool {
        self.document(number).is_some_and(|document| document.resolved)
    }

    /// Numbers of the documents that are there, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.documents.iter().zip(0..).filter_map(|(document, number)| document.as_ref().map(|_| number))
    }

    /// True when no whole row is more like the document's own than that itself, up to rounding.
    pub(super) fn finds_itself(&self, number: u32) -> bool {
        let Some(document) = self.document(number) else {
            return false;
        };
        let mean = self.whole.centre_of(self.whole.language(document.whole), &self.general);
        let query = QueryVector::new(self.whole.row(document.whole), Some(mean));
        let (mut own, mut highest) = (f32::MIN, f32::MIN);
        self.whole.prepare(&query, &self.general).cosines(|owner, _, cosine| {
            highest = highest.max(cosine);
            if owner == number {
                own = cosine;
            }
        });
        own >= highest - 1e-4
    }

    /// Puts a document in, in the place of an earlier one with that number. Vectors are checked by the caller.
    pub(super) fn insert(&mut self, number: u32, entry: &Entry) {
        self.remove(number);
        let whole = self.whole.push(number, entry.language, &entry.whole);
        let title = entry.title_vector.as_ref().map(|vector| self.titles.push(number, entry.language, vector));
        let passages = entry
            .passages
            .iter()
            .map(|passage| Passage {
                row: self.passages.push(number, entry.language, &passage.vector),
                range: passage.range,
            })
            .collect();
        let at = number as usize;
        if self.documents.len() <= at {
            self.documents.resize_with(at + 1, || None);
        }
        self.documents[at] = Some(Document { resolved: entry.resolved, whole, title, passages });
        self.len += 1;
    }

    /// Takes a document out; true when it was there.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let Some(document) = self.documents.get_mut(number as usize).and_then(Option::take) else {
            return false;
        };
        self.len -= 1;
        if let Some(moved) = self.whole.swap_remove(document.whole).and_then(|owner| self.document_mut(owner)) {
            moved.whole = document.whole;
        }
        if let Some(row) = document.title
            && let Some(moved) = self.titles.swap_remove(row).and_then(|owner| self.document_mut(owner))
        {
            moved.title = Some(row);
        }
        // From the highest row down: a row that is still to be taken out is never the one that moves.
        let mut rows: Vec<u32> = document.passages.iter().map(|passage| passage.row).collect();
        rows.sort_unstable_by(|left, right| right.cmp(left));
        for row in rows {
            let last = self.passages.len() as u32 - 1;
            let Some(moved) = self.passages.swap_remove(row).and_then(|owner| self.document_mut(owner)) else {
                continue;
            };
            if let Some(passage) = moved.passages.iter_mut().find(|passage| passage.row == last) {
                passage.row = row;
            }
        }
        true
    }

    /// Sets the means that stand in for a language of which there are too few rows.
    pub(super) fn set_general_means(&mut self, general: HashMap<Language, Vec<f32>>) {
        self.general = general;
        for table in [&mut self.whole, &mut self.titles, &mut self.passages] {
            table.general_means_changed();
        }
    }

    /// Mean of the whole rows of `language` when there are at least `min_rows`.
    pub(super) fn mean(&self, language: Language, min_rows: u64) -> Option<Vec<f32>> {
        self.whole.mean(language, min_rows)
    }

    /// A query against texts of its own side: centred by the same means as the rows of its language.
    pub(super) fn same_side_query(
        &self,
        language: Language,
        vector: &[f32],
        title: Option<&[f32]>,
        mean: Option<&[f32]>,
    ) -> DenseQuery {
        let mean = mean.unwrap_or_else(|| self.whole.centre_of(language, &self.general));
        let titles = if self.titles.len() > 0 { &self.titles } else { &self.whole };
        let title_mean = titles.centre_of(language, &self.general);
        DenseQuery {
            whole: QueryVector::new(vector, Some(mean)),
            title: title.map(|title| QueryVector::new(title, Some(title_mean))),
        }
    }

    /// Similarity of every document with `query`: tickets .75 whole + .25 title, articles .4 whole + .4 best passage
    /// + .2 title. A document without title or passages is compared by its whole row there.
    pub(super) fn similarities<'a>(&'a self, query: &'a DenseQuery) -> Similarities<'a> {
        let mut whole = vec![0.0f32; self.documents.len()];
        let query_whole = &query.whole;
        self.whole.prepare(query_whole, &self.general).cosines(|owner, _, cosine| whole[owner as usize] = cosine);
        if self.pool == Pool::Tickets {
            let ticket_titles = query.title.as_ref().map(|title| self.titles.prepare(title, &self.general));
            return Similarities { dense: self, scores: whole, best_passages: Vec::new(), ticket_titles };
        }
        let mut titles = whole.clone();
        self.titles.prepare(query_whole, &self.general).cosines(|owner, _, cosine| titles[owner as usize] = cosine);
        let mut best: Vec<Option<(f32, u32)>> = vec![None; self.documents.len()];
        self.passages.prepare(query_whole, &self.general).cosines(|owner, row, cosine| {
            let best = &mut best[owner as usize];
            if best.is_none_or(|(highest, _)| cosine > highest) {
                *best = Some((cosine, row));
            }
        });
        let [whole_share, passage_share, title_share] = ARTICLE_SHARES;
        let scores = whole.iter().zip(&titles).zip(&best).map(|((whole, title), best)| {
            let passage = best.map_or(*whole, |(cosine, _)| cosine);
            whole_share * whole + passage_share * passage + title_share * title
        });
        Similarities {
            dense: self,
            scores: scores.collect(),
            best_passages: best.into_iter().map(|best| best.map(|(_, row)| row)).collect(),
            ticket_titles: None,
        }
    }

    /// Calls `each` with number and cosine of every resolved document in the space `(row - mean) / deviation`.
    /// `vector`, `mean` and `deviation` have the index's dimension.
    pub(super) fn standardised(&self, vector: &[f32], mean: &[f32], deviation: &[f32], mut each: impl FnMut(u32, f32)) {
        let Some(metric) = Metric::new(vector, mean, deviation) else {
            return;
        };
        let rows = || self.whole.rows();
        let inverse_norms = self.whole.standardised.inverse_norms(mean, deviation, rows().map(|(_, row)| row));
        for ((owner, row), inverse_norm) in rows().zip(inverse_norms.iter()) {
            if self.is_resolved(owner) {
                each(owner, metric.cosine(row, *inverse_norm));
            }
        }
    }

    /// Bytes held on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        let passages: usize =
            self.documents.iter().flatten().map(|document| document.passages.capacity() * size_of::<Passage>()).sum();
        self.whole.memory_bytes()
            + self.titles.memory_bytes()
            + self.passages.memory_bytes()
            + self.documents.capacity() * size_of::<Option<Document>>()
            + passages
    }

    fn document(&self, number: u32) -> Option<&Document> {
        self.documents.get(number as usize).and_then(Option::as_ref)
    }

    fn document_mut(&mut self, number: u32) -> Option<&mut Document> {
        self.documents.get_mut(number as usize).and_then(Option::as_mut)
    }
}
