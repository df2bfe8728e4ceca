//! Here is a text and its vector, give me the k best resolved tickets or articles.
//!
//! An [`Index`] is one department: tickets and articles are two pools, each with its own rows, means and word
//! statistics, and ranked apart. Dense rows live in memory and are scanned exactly; words live on disk. Both are
//! derived from the store and can be made anew from it at any time. Not for embedding, not for deciding what a hit
//! means, and not shared between departments: nothing of one changes a score of another.
//!
//! ```text
//! Entry ─ upsert ─▶ dense    rows of whole texts, titles, passages   ─ cosine, each side and language centred ─┐
//!                └▶ lexical  stemmed words, 4-grams, identifiers     ─ BM25 / the query's ideal score ─────────┴▶ fuse ─▶ Hit
//! ```

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::ticket::Language;

mod bm25;
mod dense;
mod fuse;
mod highlight;
mod ids;
mod lexical;
mod passages;
mod standardised;
mod table;
mod terms;

pub use highlight::highlights;
pub use passages::passages;

use dense::{Dense, DenseQuery};
use fuse::{Best, Fusion};
use ids::Ids;
use lexical::Lexical;
use table::{MIN_ROWS_FOR_MEAN, QueryVector};

/// What is ranked on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Tickets.
    Tickets,
    /// Knowledge articles.
    Articles,
}

/// A document to index.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is ranked.
    pub pool: Pool,
    /// Id, unique in the pool.
    pub id: String,
    /// Place of the change that brought it in the store's sequence of changes.
    pub seq: u64,
    /// Language of the text.
    pub language: Language,
    /// True for a ticket that was solved; the caller's choice for articles.
    pub resolved: bool,
    /// Subject or headline.
    pub title: String,
    /// Canonical text; may begin with the title.
    pub text: String,
    /// Vector of the whole text, `[dim]`.
    pub whole: Vec<f32>,
    /// Vector of the title, `[dim]`; the whole vector stands in when there is none.
    pub title_vector: Option<Vec<f32>>,
    /// Passages of an article, in order; the whole vector stands in when there are none.
    pub passages: Vec<PassageVector>,
}

/// A passage of an article.
#[derive(Debug, Clone, PartialEq)]
pub struct PassageVector {
    /// Where it stands, in characters of [`Entry::text`], the end excluded.
    pub range: (usize, usize),
    /// Its vector, `[dim]`.
    pub vector: Vec<f32>,
}

/// What to look for.
#[derive(Clone)]
pub struct Query<'a> {
    /// Where to look.
    pub pool: Pool,
    /// Canonical text.
    pub text: &'a str,
    /// Its language.
    pub language: Language,
    /// Error codes, host names, versions of the text, as written.
    pub identifiers: &'a [String],
    /// Vector of the text, `[dim]`; not read in [`Mode::Lexical`].
    pub vector: &'a [f32],
    /// Vector of the title, `[dim]`, compared with the titles of tickets; without it tickets are compared as a whole.
    pub title_vector: Option<&'a [f32]>,
    /// Mean of texts like the query in its language, `[dim]`; without it the department's tickets in that language
    /// give it, or, where there are fewer than 30, the general means.
    pub query_mean: Option<&'a [f32]>,
    /// Hits wanted at most.
    pub k: usize,
    /// Id that must not come back: the query's own.
    pub exclude: Option<&'a str>,
    /// True to see resolved documents only.
    pub only_resolved: bool,
    /// What the score is made of.
    pub mode: Mode,
    /// Further condition on the id. Asked only for documents that would be among the hits.
    pub keep: Option<&'a dyn Fn(&str) -> bool>,
}

/// What the score of a hit is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Cosine + weight x BM25.
    #[default]
    Hybrid,
    /// Cosine alone.
    Dense,
    /// BM25 alone; documents that share no term are no hits.
    Lexical,
}

/// A document that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its id.
    pub id: String,
    /// What it is ranked by; comparable within one answer only.
    pub score: f32,
    /// Cosine of the centred vectors, mixed over whole, passage and title, -1 to 1; 0 in [`Mode::Lexical`].
    pub dense: f32,
    /// BM25 divided by the query's ideal score, 0 to about 2; above 1 with matching identifiers. 0 in [`Mode::Dense`].
    pub lexical: f32,
    /// Range of an article's best passage, in characters of its text.
    pub passage: Option<(usize, usize)>,
}

/// What [`Index::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Ids that have vectors but no words, or words that are not committed.
    pub without_words: Vec<String>,
    /// Ids that have words but no vectors; they are never found, but count in the word statistics.
    pub without_vectors: Vec<String>,
    /// Documents that were searched for by their own vectors.
    pub sampled: usize,
    /// Ids of those that did not come first.
    pub not_first: Vec<String>,
}

/// The search index of one department.
pub struct Index {
    dim: usize,
    committed_seq: u64,
    general_means: HashMap<Language, Vec<f32>>,
    tickets: Part,
    articles: Part,
}

/// One pool.
struct Part {
    ids: Ids,
    dense: Dense,
    lexical: Lexical,
}

impl Index {
    /// Opens the index of a department: empty vectors of `dim` values, and the words that are on disk in `folder`.
    /// What is on disk under another `version` (anything that names the canonical text form), or damaged, or missing,
    /// is made anew.
    ///
    /// # Errors
    /// [`Error::Index`] or [`Error::File`] when the folder cannot be read or written.
    pub fn open(folder: &Path, dim: usize, version: &str) -> Result<Index> {
        if dim == 0 {
            return Err(Error::Bug("an index of vectors without dimensions"));
        }
        let part = |pool: Pool, name: &str| -> Result<Part> {
            let mut ids = Ids::default();
            let lexical = Lexical::open(&folder.join(name), version, &mut ids)?;
            Ok(Part { ids, dense: Dense::new(pool, dim), lexical })
        };
        let (tickets, articles) = (part(Pool::Tickets, "tickets")?, part(Pool::Articles, "articles")?);
        let committed_seq = tickets.lexical.committed_seq().max(articles.lexical.committed_seq());
        Ok(Index { dim, committed_seq, general_means: HashMap::new(), tickets, articles })
    }

    /// Puts documents in, in the place of earlier ones with the same id. Vectors are seen by the next search, words
    /// after the next [`Index::commit`]; words that are on disk with the same or a later sequence number are kept.
    ///
    /// # Errors
    /// [`Error::Bug`] when a vector has another dimension, no direction or a value that is not finite; nothing was
    /// put in then. [`Error::Index`] when the words cannot be written: open the index anew.
    pub fn upsert(&mut self, entries: Vec<Entry>) -> Result<()> {
        for entry in &entries {
            let passages = entry.passages.iter().map(|passage| &passage.vector);
            for vector in [&entry.whole].into_iter().chain(&entry.title_vector).chain(passages) {
                self.check(vector)?;
            }
        }
        for entry in &entries {
            let part = self.part_mut(entry.pool);
            let number = part.ids.intern(&entry.id);
            part.dense.insert(number, entry);
            part.lexical.upsert(number, entry)?;
        }
        Ok(())
    }

    /// Takes a document out; no search sees it from now on. Nothing happens when it is not there.
    ///
    /// # Errors
    /// [`Error::Index`] when the words cannot be written: open the index anew.
    pub fn remove(&mut self, pool: Pool, id: &str) -> Result<()> {
        let part = self.part_mut(pool);
        let Some(number) = part.ids.number(id) else {
            return Ok(());
        };
        part.dense.remove(number);
        part.lexical.remove(number, id)
    }

    /// Takes out words without vectors: call it after everything that the store holds was put in, to drop what was
    /// deleted there while the index was closed. Returns how many documents that were.
    ///
    /// # Errors
    /// As [`Index::remove`].
    pub fn remove_unknown(&mut self) -> Result<usize> {
        let mut removed = 0;
        for part in [&mut self.tickets, &mut self.articles] {
            let unknown: Vec<u32> = part.lexical.documents().filter(|number| !part.dense.contains(*number)).collect();
            removed += unknown.len();
            for number in unknown {
                part.lexical.remove(number, part.ids.name(number))?;
            }
        }
        Ok(removed)
    }

    /// Writes the words to disk and shows them to searches. `seq` is the last change that was put in or taken out.
    /// Costs nothing when nothing changed.
    ///
    /// # Errors
    /// [`Error::Index`] when the words cannot be written: open the index anew.
    pub fn commit(&mut self, seq: u64) -> Result<()> {
        for part in [&mut self.tickets, &mut self.articles] {
            part.lexical.commit(seq, &mut part.ids)?;
        }
        self.committed_seq = seq;
        Ok(())
    }

    /// The `seq` of the last [`Index::commit`] that is known; after opening, of the last that wrote something. 0 for
    /// a new folder.
    pub fn committed_seq(&self) -> u64 {
        self.committed_seq
    }

    /// Documents of a pool.
    pub fn len(&self, pool: Pool) -> usize {
        self.part(pool).dense.len()
    }

    /// True when a pool has no documents.
    pub fn is_empty(&self, pool: Pool) -> bool {
        self.len(pool) == 0
    }

    /// Sets the means, `[dim]` by language, of texts like tickets and searches in general. They stand in for the
    /// department's own means where it has fewer than 30 texts of a language.
    ///
    /// # Errors
    /// [`Error::Bug`] when a mean has another dimension, no direction or a value that is not finite.
    pub fn set_general_means(&mut self, means: HashMap<Language, Vec<f32>>) -> Result<()> {
        for mean in means.values() {
            self.check(mean)?;
        }
        self.tickets.dense.set_general_means(means.clone());
        self.articles.dense.set_general_means(means.clone());
        self.general_means = means;
        Ok(())
    }

    /// The best hits, best first, ties by id.
    ///
    /// # Errors
    /// [`Error::Bug`] when a vector of the query has another dimension, no direction or a value that is not finite;
    /// [`Error::Index`] when the words cannot be read.
    pub fn search(&self, query: &Query<'_>) -> Result<Vec<Hit>> {
        let part = self.part(query.pool);
        if query.k == 0 || part.dense.len() == 0 {
            return Ok(Vec::new());
        }
        let dense_query = match query.mode {
            Mode::Lexical => None,
            Mode::Hybrid | Mode::Dense => Some(self.dense_query(query)?),
        };
        let similarities = dense_query.as_ref().map(|dense_query| part.dense.similarities(dense_query));
        let mut lexical = vec![0.0f32; part.ids.len()];
        if query.mode != Mode::Dense {
            part.lexical.score(query.text, query.language, query.identifiers, &mut lexical)?;
        }
        let lexical_of = |number: u32| lexical.get(number as usize).copied().unwrap_or(0.0);
        let dense_of = |number: u32| similarities.as_ref().map_or(0.0, |found| found.score(number));
        let dense_at_most = |number: u32| similarities.as_ref().map_or(0.0, |found| found.at_most(number));

        let fusion = Fusion::new(query.mode, dense_query.as_ref().is_none_or(|query| query.whole.is_centred()));
        let excluded = query.exclude.and_then(|id| part.ids.number(id));
        let mut best = Best::new(query.k, &part.ids);
        for number in part.dense.numbers() {
            if Some(number) == excluded || (query.only_resolved && !part.dense.is_resolved(number)) {
                continue;
            }
            let lexical = lexical_of(number);
            let at_most = fusion.score(dense_at_most(number), lexical);
            if !at_most.is_some_and(|score| best.may_admit(score)) {
                continue;
            }
            if let Some(score) = fusion.score(dense_of(number), lexical) {
                best.offer(number, score, |id| query.keep.is_none_or(|keep| keep(id)));
            }
        }
        let hit = |(number, score): (u32, f32)| Hit {
            id: part.ids.name(number).to_owned(),
            score,
            dense: dense_of(number),
            lexical: lexical_of(number),
            passage: similarities.as_ref().and_then(|found| found.best_passage(number)),
        };
        Ok(best.into_ranked().into_iter().map(hit).collect())
    }

    /// The k nearest resolved tickets by cosine in the space `(x - mean) / deviation`, nearest first, ties by id.
    /// `vector`, `mean` and `deviation` are `[dim]`; nothing is found when one of them is not, or is not finite.
    pub fn nearest_standardised(
        &self,
        vector: &[f32],
        mean: &[f32],
        deviation: &[f32],
        k: usize,
        keep: &dyn Fn(&str) -> bool,
    ) -> Vec<(String, f32)> {
        let usable = |values: &[f32]| values.len() == self.dim && values.iter().all(|value| value.is_finite());
        if k == 0 || !(usable(vector) && usable(mean) && usable(deviation)) {
            return Vec::new();
        }
        let part = &self.tickets;
        let mut best = Best::new(k, &part.ids);
        part.dense.standardised(vector, mean, deviation, |number, cosine| best.offer(number, cosine, keep));
        best.into_ranked().into_iter().map(|(number, cosine)| (part.ids.name(number).to_owned(), cosine)).collect()
    }

    /// Checks that vectors and words of a pool belong to the same documents, and that `sample` documents, spread
    /// evenly, each come first when searched for by their own vectors.
    ///
    /// # Errors
    /// As [`Index::search`].
    pub fn verify(&self, pool: Pool, sample: usize) -> Result<Verification> {
        let part = self.part(pool);
        let name = |number: u32| part.ids.name(number).to_owned();
        let mut found = Verification {
            without_words: part.dense.numbers().filter(|number| !part.lexical.contains(*number)).map(name).collect(),
            without_vectors: part
                .lexical
                .documents()
                .filter(|number| !part.dense.contains(*number))
                .map(name)
                .collect(),
            ..Verification::default()
        };
        let step = part.dense.len().div_ceil(sample.max(1)).max(1);
        for number in part.dense.numbers().step_by(step).take(sample) {
            found.sampled += 1;
            if !part.dense.finds_itself(number) {
                found.not_first.push(name(number));
            }
        }
        Ok(found)
    }

    /// Bytes held on the heap, about, without tantivy's own; its files are mapped.
    pub fn memory_bytes(&self) -> usize {
        let part = |part: &Part| part.ids.memory_bytes() + part.dense.memory_bytes() + part.lexical.memory_bytes();
        part(&self.tickets) + part(&self.articles)
    }

    /// The query as the pool's rows see it. Tickets are on the query's own side, so one mean serves both; articles
    /// are not, and against them a query of which no mean is known is compared raw: taking the mean off one side only
    /// was measured to lose up to 16 points MRR@10 across languages.
    fn dense_query(&self, query: &Query<'_>) -> Result<DenseQuery> {
        for vector in [Some(query.vector), query.title_vector, query.query_mean].into_iter().flatten() {
            self.check(vector)?;
        }
        let tickets = &self.tickets.dense;
        Ok(match query.pool {
            Pool::Tickets => {
                tickets.same_side_query(query.language, query.vector, query.title_vector, query.query_mean)
            }
            Pool::Articles => {
                let own = || tickets.mean(query.language, MIN_ROWS_FOR_MEAN);
                let general = || self.general_means.get(&query.language).cloned();
                let mean = query.query_mean.map(<[f32]>::to_vec).or_else(own).or_else(general);
                DenseQuery { whole: QueryVector::new(query.vector, mean.as_deref()), title: None }
            }
        })
    }

    fn check(&self, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dim {
            return Err(Error::Bug("a vector has another dimension than the index"));
        }
        let squared: f32 = vector.iter().map(|value| value * value).sum();
        // A sum is finite only when every value is.
        if !squared.is_finite() || squared <= 0.0 {
            return Err(Error::Bug("a vector has no direction or a value that is not finite"));
        }
        Ok(())
    }

    fn part(&self, pool: Pool) -> &Part {
        match pool {
            Pool::Tickets => &self.tickets,
            Pool::Articles => &self.articles,
        }
    }

    fn part_mut(&mut self, pool: Pool) -> &mut Part {
        match pool {
            Pool::Tickets => &mut self.tickets,
            Pool::Articles => &mut self.articles,
        }
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Index")
            .field("dim", &self.dim)
            .field("tickets", &self.len(Pool::Tickets))
            .field("articles", &self.len(Pool::Articles))
            .field("committed_seq", &self.committed_seq)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const DIM: usize = 16;

    /// A pseudo-random unit vector (SplitMix64, sums of uniform values).
    fn noise(seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut uniform = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        let vector: Vec<f32> = (0..DIM).map(|_| uniform() + uniform() + uniform()).collect();
        table::unit(&vector)
    }

    fn mixed(parts: &[(f32, &[f32])]) -> Vec<f32> {
        let mut sum = vec![0.0; DIM];
        for (weight, part) in parts {
            sum.iter_mut().zip(*part).for_each(|(sum, value)| *sum += weight * value);
        }
        table::unit(&sum)
    }

    fn entry(pool: Pool, id: &str, language: Language, text: &str, whole: Vec<f32>) -> Entry {
        Entry {
            pool,
            id: id.to_owned(),
            seq: 1,
            language,
            resolved: true,
            title: String::new(),
            text: text.to_owned(),
            whole,
            title_vector: None,
            passages: Vec::new(),
        }
    }

    fn query<'a>(pool: Pool, text: &'a str, vector: &'a [f32]) -> Query<'a> {
        Query {
            pool,
            text,
            language: Language::De,
            identifiers: &[],
            vector,
            title_vector: None,
            query_mean: None,
            k: 10,
            exclude: None,
            only_resolved: false,
            mode: Mode::Hybrid,
            keep: None,
        }
    }

    fn ids(index: &Index, query: &Query<'_>) -> Vec<String> {
        index.search(query).unwrap().into_iter().map(|hit| hit.id).collect()
    }

    fn opened(folder: &TempDir) -> Index {
        Index::open(folder.path(), DIM, "v1").unwrap()
    }

    fn lexical_ids(index: &Index, text: &str, language: Language, identifiers: &[String]) -> Vec<String> {
        let lexical = Query { language, identifiers, mode: Mode::Lexical, ..query(Pool::Tickets, text, &[]) };
        ids(index, &lexical)
    }

    #[test]
    fn pools_do_not_see_each_other() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        index
            .upsert(vec![
                entry(Pool::Tickets, "a", Language::De, "Drucker druckt nicht", noise(1)),
                entry(Pool::Articles, "a", Language::De, "VPN einrichten", noise(2)),
                entry(Pool::Articles, "b", Language::De, "Drucker einrichten", noise(3)),
            ])
            .unwrap();
        index.commit(1).unwrap();
        assert_eq!((index.len(Pool::Tickets), index.len(Pool::Articles)), (1, 2));
        let vector = noise(1);
        assert_eq!(ids(&index, &query(Pool::Tickets, "Drucker", &vector)), ["a"]);
        let articles = Query { mode: Mode::Lexical, ..query(Pool::Articles, "Drucker", &vector) };
        assert_eq!(ids(&index, &articles), ["b"]);
        index.remove(Pool::Articles, "a").unwrap();
        assert_eq!((index.len(Pool::Tickets), index.len(Pool::Articles)), (1, 1));
    }

    #[test]
    fn the_own_ticket_open_tickets_and_filtered_ones_stay_out() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let mut entries: Vec<Entry> =
            (0..5).map(|n| entry(Pool::Tickets, &format!("t{n}"), Language::De, "Drucker", noise(n))).collect();
        entries[1].resolved = false;
        index.upsert(entries).unwrap();
        index.commit(1).unwrap();
        let vector = noise(0);
        let keep = |id: &str| id != "t2";
        let query = Query {
            exclude: Some("t0"),
            only_resolved: true,
            keep: Some(&keep),
            ..query(Pool::Tickets, "Drucker", &vector)
        };
        let mut found = ids(&index, &query);
        found.sort();
        assert_eq!(found, ["t3", "t4"]);
    }

    #[test]
    fn equal_scores_come_in_the_order_of_ids() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let same = |id: &str| entry(Pool::Tickets, id, Language::De, "gleich", noise(7));
        index.upsert(vec![same("c"), same("a"), same("d"), same("b")]).unwrap();
        index.commit(1).unwrap();
        let vector = noise(7);
        let query = Query { k: 3, ..query(Pool::Tickets, "gleich", &vector) };
        assert_eq!(ids(&index, &query), ["a", "b", "c"]);
    }

    /// Every vector is a topic plus a large offset of its side and language, as multilingual encoders yield them. Raw
    /// cosines prefer any page in the query's language to the right page in the other.
    #[test]
    fn centring_brings_the_right_page_of_the_other_language_first() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let (topic_weight, offset_weight) = (0.4, 1.0);
        let (german, english, question) = (noise(900), noise(901), noise(902));
        let topic = |n: u64| noise(1000 + n);
        let make = |n: u64, offset: &[f32]| mixed(&[(topic_weight, &topic(n)), (offset_weight, offset)]);
        let mut entries = Vec::new();
        for n in 0..40 {
            entries.push(entry(Pool::Articles, &format!("en{n}"), Language::En, "", make(n, &english)));
            entries.push(entry(Pool::Articles, &format!("de{n}"), Language::De, "", make(100 + n, &german)));
            let asked = mixed(&[(topic_weight, &topic(200 + n)), (offset_weight, &german), (0.3, &question)]);
            entries.push(entry(Pool::Tickets, &format!("t{n}"), Language::De, "", asked));
        }
        index.upsert(entries).unwrap();
        index.commit(1).unwrap();
        let (mut raw_right, mut right) = (0, 0);
        for n in 0..40 {
            let vector = mixed(&[(topic_weight, &topic(n)), (offset_weight, &german), (0.3, &question)]);
            let query = Query { mode: Mode::Dense, k: 1, ..query(Pool::Articles, "", &vector) };
            right += usize::from(ids(&index, &query) == [format!("en{n}")]);
            let raw_query = DenseQuery { whole: QueryVector::new(&vector, None), title: None };
            let raw = index.articles.dense.similarities(&raw_query);
            let best = index.articles.dense.numbers().max_by(|a, b| raw.score(*a).total_cmp(&raw.score(*b)));
            raw_right += usize::from(index.articles.ids.name(best.unwrap()) == format!("en{n}"));
        }
        assert!(raw_right <= 10, "raw already finds {raw_right} of 40");
        assert!(right >= 36, "centred finds {right} of 40");
    }

    #[test]
    fn a_given_query_mean_wins_over_the_own_one() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let entries = (0..40).map(|n| entry(Pool::Articles, &format!("a{n}"), Language::De, "", noise(n))).collect();
        index.upsert(entries).unwrap();
        let vector = noise(500);
        let plain = query(Pool::Articles, "", &vector);
        let mean = noise(501);
        let centred = Query { query_mean: Some(&mean), ..plain.clone() };
        assert_ne!(index.search(&plain).unwrap(), index.search(&centred).unwrap());
        index.set_general_means(HashMap::from([(Language::De, mean.clone())])).unwrap();
        assert_eq!(index.search(&plain).unwrap()[0].id, index.search(&centred).unwrap()[0].id);
    }

    #[test]
    fn one_or_two_rows_keep_usable_scores() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        for n in 0..2 {
            index.upsert(vec![entry(Pool::Tickets, &format!("t{n}"), Language::De, "", noise(n))]).unwrap();
            let vector = noise(0);
            let hits = index.search(&query(Pool::Tickets, "", &vector)).unwrap();
            assert_eq!(hits[0].id, "t0");
            assert!((hits[0].score - 1.0).abs() < 1e-4, "{hits:?}");
        }
        // Forty copies of one text: every row is its mean, and the raw cosine takes over.
        let copies = (2..42).map(|n| entry(Pool::Tickets, &format!("t{n}"), Language::En, "", noise(0))).collect();
        index.upsert(copies).unwrap();
        let vector = noise(0);
        let hits = index.search(&Query { language: Language::En, ..query(Pool::Tickets, "", &vector) }).unwrap();
        assert!(hits.iter().all(|hit| (hit.score - 1.0).abs() < 1e-4), "{hits:?}");
    }

    #[test]
    fn titles_and_passages_count_with_their_share() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let mut ticket = entry(Pool::Tickets, "t", Language::De, "", noise(1));
        ticket.title_vector = Some(noise(2));
        let mut article = entry(Pool::Articles, "a", Language::De, "", noise(1));
        article.title_vector = Some(noise(2));
        let passage = |n: u64, start: usize| PassageVector { range: (start, start + 5), vector: noise(n) };
        article.passages = vec![passage(3, 0), passage(4, 6)];
        index.upsert(vec![ticket, article]).unwrap();
        let similar = |left: u64, right: u64| table::dot(&noise(left), &noise(right));

        let query_vector = noise(4);
        let hit = index.search(&query(Pool::Articles, "", &query_vector)).unwrap().remove(0);
        let expected = 0.4 * similar(4, 1) + 0.4 + 0.2 * similar(4, 2);
        assert!((hit.dense - expected).abs() < 1e-5, "{hit:?} {expected}");
        assert_eq!(hit.passage, Some((6, 11)));

        // One ticket is its own mean by a thirtieth only, so the centred cosine of equal vectors is 1.
        let (whole, title) = (noise(1), noise(2));
        let both = Query { title_vector: Some(&title), ..query(Pool::Tickets, "", &whole) };
        assert!((index.search(&both).unwrap()[0].dense - 1.0).abs() < 1e-5);
        let other = noise(9);
        let wrong_title = Query { title_vector: Some(&other), ..both.clone() };
        assert!(index.search(&wrong_title).unwrap()[0].dense < 0.9);
        let without = Query { title_vector: None, ..both };
        assert!((index.search(&without).unwrap()[0].dense - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_short_answer_is_the_head_of_a_long_one() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let entries = (0..300u64).map(|n| Entry {
            title_vector: (n % 3 > 0).then(|| noise(n + 1000)),
            ..entry(Pool::Tickets, &format!("t{n}"), Language::De, "", noise(n))
        });
        index.upsert(entries.collect()).unwrap();
        for n in 0..20 {
            let (whole, title) = (mixed(&[(1.0, &noise(n)), (0.5, &noise(n + 1))]), noise(n * 7 + 1000));
            let all = Query { k: 300, title_vector: Some(&title), ..query(Pool::Tickets, "", &whole) };
            let head = Query { k: 5, ..all.clone() };
            assert_eq!(index.search(&head).unwrap(), index.search(&all).unwrap()[..5]);
        }
    }

    #[test]
    fn hybrid_is_cosine_plus_a_share_of_the_words() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let entries = (0..60u64)
            .map(|n| entry(Pool::Tickets, &format!("t{n:02}"), Language::De, &format!("Wort{n} Gerät"), noise(n)))
            .collect();
        index.upsert(entries).unwrap();
        index.commit(1).unwrap();
        let vector = noise(3);
        let hybrid = query(Pool::Tickets, "Wort41 Gerät", &vector);
        for hit in index.search(&hybrid).unwrap() {
            assert!((hit.score - (hit.dense + 0.3 * hit.lexical)).abs() < 1e-6, "{hit:?}");
        }
        assert_eq!(ids(&index, &Query { mode: Mode::Dense, ..hybrid.clone() })[0], "t03");
        assert_eq!(ids(&index, &Query { mode: Mode::Lexical, ..hybrid.clone() })[0], "t41");
        let best_words = index.search(&Query { mode: Mode::Lexical, ..hybrid }).unwrap().remove(0);
        assert!(
            (0.8..1.3).contains(&best_words.score),
            "a document that holds every word scores about 1: {best_words:?}"
        );
    }

    #[test]
    fn identifiers_match_whole_and_in_parts() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let texts = [
            ("other", "Der Rechner startet nicht mehr"),
            ("part", "Der Rechner srv-web-07 startet nicht mehr"),
            ("whole", "Der Rechner SRV-DB-02 startet nicht mehr, seit gestern, und niemand weiß warum"),
            ("plain", "Alles db oder was"),
        ];
        let entries = texts.iter().map(|(id, text)| entry(Pool::Tickets, id, Language::De, text, noise(1))).collect();
        index.upsert(entries).unwrap();
        index.commit(1).unwrap();
        let identifiers = ["srv-db-02".to_owned()];
        let found = lexical_ids(&index, "Rechner srv-db-02", Language::De, &identifiers);
        assert_eq!(found[..2], ["whole", "part"]);
        let vector = noise(1);
        let plain = Query { mode: Mode::Lexical, ..query(Pool::Tickets, "Rechner", &vector) };
        let raised = Query { identifiers: &identifiers, ..plain.clone() };
        let of = |query: &Query<'_>| index.search(query).unwrap().into_iter().find(|hit| hit.id == "whole").unwrap();
        assert!(of(&raised).lexical > of(&plain).lexical + 0.3);
    }

    #[test]
    fn words_meet_across_spellings_inflections_and_unknown_languages() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        index
            .upsert(vec![
                entry(Pool::Tickets, "de", Language::De, "Die Prüfungen der Geräte", noise(1)),
                entry(Pool::Tickets, "en", Language::En, "printers are failing", noise(2)),
                entry(Pool::Tickets, "und", Language::Und, "Monitore flackern", noise(3)),
            ])
            .unwrap();
        index.commit(1).unwrap();
        let first = |text: &str, language: Language| lexical_ids(&index, text, language, &[]).into_iter().next();
        for (text, language, expected) in [
            ("pruefung", Language::De, Some("de")),
            ("Prüfung", Language::Und, Some("de")),
            ("printer failed", Language::En, Some("en")),
            ("printing", Language::Und, Some("en")),
            ("monitore", Language::De, Some("und")),
            ("Geraet", Language::En, Some("de")),
            ("zzz", Language::De, None),
            ("*:* AND (", Language::De, None),
        ] {
            assert_eq!(first(text, language).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_removed_document_is_gone_at_once_and_stays_gone() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let entries: Vec<Entry> =
            (0..6).map(|n| entry(Pool::Tickets, &format!("t{n}"), Language::De, "Drucker", noise(n))).collect();
        index.upsert(entries.clone()).unwrap();
        index.commit(6).unwrap();
        index.remove(Pool::Tickets, "t2").unwrap();
        index.remove(Pool::Tickets, "never there").unwrap();
        let vector = noise(2);
        let all = query(Pool::Tickets, "Drucker", &vector);
        assert!(!ids(&index, &all).contains(&"t2".to_owned()));
        index.commit(7).unwrap();
        assert_eq!(ids(&index, &all).len(), 5);
        assert_eq!(index.verify(Pool::Tickets, 10).unwrap(), Verification { sampled: 5, ..Verification::default() });
        // The id may come back.
        index.upsert(vec![Entry { seq: 8, ..entries[2].clone() }]).unwrap();
        index.commit(8).unwrap();
        assert_eq!(ids(&index, &all)[0], "t2");
        assert_eq!(index.search(&all).unwrap().len(), 6);
    }

    #[test]
    fn an_updated_document_has_one_set_of_words() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        index.upsert(vec![entry(Pool::Tickets, "t", Language::De, "Drucker", noise(1))]).unwrap();
        index.commit(1).unwrap();
        index.upsert(vec![Entry { seq: 2, ..entry(Pool::Tickets, "t", Language::De, "Tastatur", noise(2)) }]).unwrap();
        index.commit(2).unwrap();
        assert_eq!(lexical_ids(&index, "Drucker", Language::De, &[]), Vec::<String>::new());
        assert_eq!(lexical_ids(&index, "Tastatur", Language::De, &[]), ["t"]);
        assert_eq!(index.len(Pool::Tickets), 1);
    }

    #[test]
    fn words_survive_a_restart_and_are_not_written_again() {
        let folder = TempDir::new().unwrap();
        let written = |text: &str, seq: u64| Entry { seq, ..entry(Pool::Tickets, "t", Language::De, text, noise(1)) };
        let mut index = opened(&folder);
        index.upsert(vec![written("Drucker", 5)]).unwrap();
        index.commit(5).unwrap();
        drop(index);

        let mut index = opened(&folder);
        assert_eq!(index.committed_seq(), 5);
        // The same sequence number with another text would show if it were written again.
        index.upsert(vec![written("Tastatur", 5)]).unwrap();
        index.commit(5).unwrap();
        assert_eq!(lexical_ids(&index, "Drucker", Language::De, &[]), ["t"]);
        index.upsert(vec![written("Tastatur", 6)]).unwrap();
        index.commit(6).unwrap();
        assert_eq!(lexical_ids(&index, "Drucker", Language::De, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_document_that_never_reached_the_disk_is_written_whatever_its_number() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let make = |id: &str| entry(Pool::Tickets, id, Language::De, "Drucker", noise(1));
        index.upsert(vec![make("kept")]).unwrap();
        index.commit(9).unwrap();
        drop(index);
        let mut index = opened(&folder);
        index.upsert(vec![make("late")]).unwrap();
        index.commit(9).unwrap();
        assert_eq!(index.verify(Pool::Tickets, 0).unwrap().without_vectors, ["kept"]);
        assert_eq!(lexical_ids(&index, "Drucker", Language::De, &[]), ["late"]);
        assert_eq!(index.remove_unknown().unwrap(), 1);
        index.commit(10).unwrap();
        assert_eq!(index.verify(Pool::Tickets, 0).unwrap(), Verification::default());
    }

    #[test]
    fn another_version_or_a_damaged_folder_is_made_anew() {
        let fill = |folder: &TempDir| {
            let mut index = opened(folder);
            index.upsert(vec![entry(Pool::Tickets, "t", Language::De, "Drucker", noise(1))]).unwrap();
            index.commit(3).unwrap();
        };
        let spoil = |folder: &TempDir, name_end: &str, bytes: Option<&[u8]>| {
            for file in fs::read_dir(folder.path().join("tickets")).unwrap() {
                let path = file.unwrap().path();
                if path.to_string_lossy().ends_with(name_end) {
                    match bytes {
                        Some(bytes) => fs::write(&path, bytes).unwrap(),
                        None => fs::remove_file(&path).unwrap(),
                    }
                }
            }
        };
        let folder = TempDir::new().unwrap();
        fill(&folder);
        assert_eq!(Index::open(folder.path(), DIM, "v2").unwrap().committed_seq(), 0);
        type Damage = (&'static str, Option<&'static [u8]>);
        let damages: [Damage; 6] = [
            ("meta.json", Some(b"{")),
            ("meta.json", None),
            (".idx", Some(b"")),
            (".idx", None),
            (".term", Some(b"garbage that is long enough to have a footer, or so it may seem to a reader")),
            (".fast", Some(b"x")),
        ];
        for (name_end, bytes) in damages {
            let folder = TempDir::new().unwrap();
            fill(&folder);
            spoil(&folder, name_end, bytes);
            let mut index = opened(&folder);
            assert_eq!(index.committed_seq(), 0, "{name_end}");
            index.upsert(vec![entry(Pool::Tickets, "t", Language::De, "Drucker", noise(1))]).unwrap();
            index.commit(3).unwrap();
            assert_eq!(lexical_ids(&index, "Drucker", Language::De, &[]), ["t"], "{name_end}");
        }
    }

    #[test]
    fn a_second_writer_is_refused_and_nothing_is_deleted() {
        let folder = TempDir::new().unwrap();
        let mut first = opened(&folder);
        first.upsert(vec![entry(Pool::Tickets, "t", Language::De, "Drucker", noise(1))]).unwrap();
        first.commit(1).unwrap();
        let mut second = opened(&folder);
        let refused = second.upsert(vec![entry(Pool::Tickets, "u", Language::De, "Maus", noise(2))]);
        assert!(refused.is_err_and(|error| error.to_string().contains("another process writes")));
        assert_eq!(lexical_ids(&first, "Drucker", Language::De, &[]), ["t"]);
    }

    #[test]
    fn unusable_vectors_are_refused_before_anything_is_put_in() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let good = entry(Pool::Tickets, "good", Language::De, "", noise(1));
        let with = |whole: Vec<f32>| Entry { id: "bad".to_owned(), whole, ..good.clone() };
        let mut not_finite = noise(2);
        not_finite[3] = f32::NAN;
        let mut infinite = noise(2);
        infinite[3] = f32::INFINITY;
        for bad in [vec![1.0; DIM - 1], Vec::new(), vec![0.0; DIM], not_finite.clone(), infinite] {
            assert!(index.upsert(vec![good.clone(), with(bad.clone())]).is_err());
            assert_eq!(index.len(Pool::Tickets), 0);
            assert!(index.set_general_means(HashMap::from([(Language::De, bad)])).is_err());
        }
        index.upsert(vec![good]).unwrap();
        assert!(index.search(&query(Pool::Tickets, "", &not_finite)).is_err());
        assert!(index.nearest_standardised(&not_finite, &[0.0; DIM], &[1.0; DIM], 3, &|_| true).is_empty());
    }

    #[test]
    fn nearest_in_standardised_space_is_exact_and_follows_changes() {
        let folder = TempDir::new().unwrap();
        let mut index = opened(&folder);
        let mean: Vec<f32> = (0..DIM).map(|n| 0.01 * n as f32).collect();
        let deviation: Vec<f32> = (0..DIM).map(|n| if n == 5 { 0.0 } else { 0.1 + 0.02 * n as f32 }).collect();
        let mut present: Vec<u64> = Vec::new();
        let vector = noise(77);
        let point = |vector: &[f32]| -> Vec<f32> {
            vector.iter().zip(&mean).zip(&deviation).map(|((v, m), d)| (v - m) / d.max(1e-6)).collect()
        };
        let check = |index: &Index, present: &[u64]| {
            let wanted = table::unit(&point(&vector));
            let mut expected: Vec<(String, f32)> = present
                .iter()
                .filter(|n| **n % 5 != 0)
                .map(|n| (format!("t{n}"), table::dot(&wanted, &table::unit(&point(&noise(*n))))))
                .collect();
            expected.sort_by(|left, right| right.1.total_cmp(&left.1));
            let found = index.nearest_standardised(&vector, &mean, &deviation, 7, &|id| id != "t3");
            expected.retain(|(id, _)| id != "t3");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found.1 - expected.1).abs() < 1e-3, "{found:?} {expected:?}");
            }
            assert_eq!(found.len(), 7.min(expected.len()));
        };
        for round in 0..3 {
            for n in round * 20..(round + 1) * 20 {
                let resolved = n % 5 != 0;
                index
                    .upsert(vec![Entry {
                        resolved,
                        ..entry(Pool::Tickets, &format!("t{n}"), Language::De, "", noise(n))
                    }])
                    .unwrap();
                present.push(n);
            }
            check(&index, &present);
            index.remove(Pool::Tickets, &format!("t{}", round * 20 + 7)).unwrap();
            present.retain(|n| *n != round * 20 + 7);
            check(&index, &present);
        }
    }

    #[derive(Debug, Clone)]
    enum Change {
        Put(u8, u8),
        Remove(u8),
        Commit,
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let change = prop_oneof![
            6 => (0u8..12, any::<u8>()).prop_map(|(id, content)| Change::Put(id, content)),
            2 => (0u8..12).prop_map(Change::Remove),
            1 => Just(Change::Commit),
        ];
        prop::collection::vec(change, 1..40)
    }

    fn content(pool: Pool, id: u8, seed: u8, seq: u64) -> Entry {
        let words = ["drucker", "vpn", "maus", "server srv-db-02", "printer", "störung"];
        let text: Vec<&str> = (0..3).map(|n| words[(usize::from(seed) + n * 5) % words.len()]).collect();
        let language = [Language::De, Language::En, Language::Und][usize::from(seed) % 3];
        Entry {
            seq,
            resolved: !seed.is_multiple_of(4),
            title_vector: seed.is_multiple_of(2).then(|| noise(u64::from(seed) + 1000)),
            passages: (0..seed % 4)
                .map(|n| PassageVector {
                    range: (usize::from(n), usize::from(n) + 1),
                    vector: noise(u64::from(seed ^ n)),
                })
                .collect(),
            ..entry(pool, &format!("d{id}"), language, &text.join(" "), noise(u64::from(seed)))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Whatever came and went, the answer is that of an index which was given only what is left, in order.
        #[test]
        fn the_answer_depends_on_what_is_there_only(changes in changes(), pool in prop::bool::ANY, seed in any::<u8>(), k in 0usize..15) {
            let pool = if pool { Pool::Tickets } else { Pool::Articles };
            let folder = TempDir::new().unwrap();
            let mut index = opened(&folder);
            let mut model = std::collections::BTreeMap::new();
            for (change, seq) in changes.iter().zip(1u64..) {
                match change {
                    Change::Put(id, seed) => {
                        index.upsert(vec![content(pool, *id, *seed, seq)]).unwrap();
                        model.insert(*id, *seed);
                    }
                    Change::Remove(id) => {
                        index.remove(pool, &format!("d{id}")).unwrap();
                        model.remove(id);
                    }
                    Change::Commit => index.commit(seq).unwrap(),
                }
            }
            index.commit(1000).unwrap();
            let fresh_folder = TempDir::new().unwrap();
            let mut fresh = opened(&fresh_folder);
            fresh.upsert(model.iter().map(|(id, seed)| content(pool, *id, *seed, 1)).collect()).unwrap();
            fresh.commit(1).unwrap();

            prop_assert_eq!(index.len(pool), model.len());
            let asked = content(pool, 0, seed, 0);
            for mode in [Mode::Dense, Mode::Hybrid, Mode::Lexical] {
                let query = Query {
                    language: asked.language, k, mode, title_vector: asked.title_vector.as_deref(),
                    ..query(pool, &asked.text, &asked.whole)
                };
                let hits = index.search(&query).unwrap();
                prop_assert!(hits.len() <= k);
                prop_assert!(hits.iter().all(|hit| hit.score.is_finite() && hit.dense.abs() < 1.001 && hit.lexical >= 0.0));
                prop_assert!(hits.windows(2).all(|pair| pair[0].score > pair[1].score
                    || (pair[0].score == pair[1].score && pair[0].id < pair[1].id)));
                if mode == Mode::Dense {
                    prop_assert_eq!(&hits, &fresh.search(&query).unwrap());
                }
                // Deleted documents stay in the word statistics until their segment is merged, so only who is found
                // by words is compared, not how high.
                let names = |hits: &[Hit]| hits.iter().map(|hit| hit.id.clone()).collect::<std::collections::BTreeSet<_>>();
                if mode == Mode::Lexical && k > 12 {
                    prop_assert_eq!(names(&hits), names(&fresh.search(&query).unwrap()));
                }
            }
            let report = index.verify(pool, 20).unwrap();
            prop_assert_eq!(report, Verification { sampled: model.len(), ..Verification::default() });
        }
    }
}
