//! Here are texts, give me sparse rows of words and characters, weighed by how rare they are.
//!
//! TF-IDF as scikit-learn 1.x computes it (`TfidfVectorizer` with `sublinear_tf`, `smooth_idf`, `min_df=2`): one block of
//! words and pairs of words, one of character 3- to 5-grams inside words (`char_wb`), each scaled to length 1. An
//! n-gram is known by a 64-bit hash alone: no string of a ticket is kept, and among a million different n-grams two
//! share a hash with a chance of one in forty million.

mod grams;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::grams::{Grams, grams};
use super::compact;

/// Features of one block at most; the ones in the most documents are kept.
const MAX_FEATURES: usize = 150_000;
/// Documents that must hold a feature.
const MIN_DOCUMENTS: u32 = 2;
/// Texts counted together, which bounds the memory for n-grams that turn out rare.
const CHUNK: usize = 2_000;
/// Independent counting tables, so that all cores count. A power of two.
const TABLES: usize = 32;

/// The features of a trained member and how rare each is. Columns are numbered: words first, then characters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Vocabulary {
    words: Block,
    characters: Block,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Block {
    lookup: Lookup,
    /// Inverse document frequency by position in the look-up.
    #[serde(with = "compact::f32s")]
    idf: Vec<f32>,
}

impl Vocabulary {
    /// Number of columns.
    pub(super) fn len(&self) -> usize {
        self.words.idf.len() + self.characters.idf.len()
    }

    /// The row of `text`: (column, value) by rising column, each block of length 1 or empty.
    pub(super) fn row(&self, text: &str) -> Vec<(u32, f32)> {
        let mut grams = grams(text);
        let mut row = Vec::new();
        self.words.append(&mut grams.words, 0, &mut row);
        self.characters.append(&mut grams.characters, self.words.idf.len() as u32, &mut row);
        row
    }

    /// Whether the parts fit together, which a file from elsewhere need not hold.
    pub(super) fn is_consistent(&self) -> bool {
        let sound = |block: &Block| {
            block.lookup.hashes.len() == block.idf.len()
                && block.idf.len() <= MAX_FEATURES
                && block.lookup.hashes.is_sorted()
                && block.idf.iter().all(|idf| idf.is_finite())
        };
        sound(&self.words) && sound(&self.characters)
    }
}

impl Block {
    fn append(&self, hashes: &mut [u64], first_column: u32, row: &mut Vec<(u32, f32)>) {
        hashes.sort_unstable();
        let start = row.len();
        for run in hashes.chunk_by(|a, b| a == b) {
            if let Some(position) = self.lookup.position(run[0]) {
                row.push((first_column + position as u32, sublinear(run.len()) * self.idf[position]));
            }
        }
        let length = row[start..].iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
        row[start..].iter_mut().for_each(|(_, value)| *value /= length);
    }
}

/// Sorted hashes with an entry for their top bits: the hashes are even, so a bucket holds about one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "SortedHashes", into = "SortedHashes")]
struct Lookup {
    hashes: Vec<u64>,
    /// Where a bucket starts in `hashes`; one more than there are buckets.
    starts: Vec<u32>,
    shift: u32,
}

#[derive(Serialize, Deserialize)]
struct SortedHashes(#[serde(with = "compact::u64s")] Vec<u64>);

impl Lookup {
    fn new(hashes: Vec<u64>) -> Lookup {
        let bits = hashes.len().next_power_of_two().trailing_zeros().max(1);
        let shift = 64 - bits;
        let mut starts = vec![0; (1 << bits) + 1];
        for hash in &hashes {
            starts[(hash >> shift) as usize + 1] += 1;
        }
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        Lookup { hashes, starts, shift }
    }

    fn position(&self, hash: u64) -> Option<usize> {
        let bucket = (hash >> self.shift) as usize;
        let (start, end) = (self.starts[bucket] as usize, self.starts[bucket + 1] as usize);
        (start..end).find(|&i| self.hashes[i] == hash)
    }
}

impl From<SortedHashes> for Lookup {
    fn from(SortedHashes(hashes): SortedHashes) -> Self {
        Lookup::new(hashes)
    }
}

impl From<Lookup> for SortedHashes {
    fn from(lookup: Lookup) -> Self {
        SortedHashes(lookup.hashes)
    }
}

/// Sparse rows: row `i` holds `columns[starts[i]..starts[i + 1]]` (rising) and the values beside them.
#[derive(Debug, Clone, Copy)]
pub(super) struct SparseRows<'a> {
    /// One more than there are rows.
    pub starts: &'a [usize],
    /// Below `width`.
    pub columns: &'a [u32],
    /// As long as `columns`.
    pub values: &'a [f32],
    /// Number of columns.
    pub width: usize,
}

impl<'a> SparseRows<'a> {
    /// Columns and values of row `i`.
    pub(super) fn row(&self, i: usize) -> (&'a [u32], &'a [f32]) {
        let range = self.starts[i]..self.starts[i + 1];
        (&self.columns[range.clone()], &self.values[range])
    }
}

/// The n-grams of all training texts, counted once; [`Corpus::weigh`] then weighs them for any part of the texts.
pub(super) struct Corpus {
    starts: Vec<usize>,
    columns: Vec<u32>,
    /// How often the feature stands in the text, at most 255.
    counts: Vec<u8>,
    /// Hash by column, words first; within a block the ones in the most texts first, which keeps the weights that are
    /// read the most close together.
    hashes: Vec<u64>,
    words: usize,
}

/// Values for the rows of a [`Corpus`] as weighed on some of them.
pub(super) struct Weighed {
    values: Vec<f32>,
    /// By column of the corpus; 0 for a feature that too few of these texts hold.
    idf: Vec<f32>,
}

impl Corpus {
    /// Reads all texts, in two passes.
    pub(super) fn read(texts: &[&str]) -> Corpus {
        let word_hashes = frequent(texts, |grams| &mut grams.words);
        let character_hashes = frequent(texts, |grams| &mut grams.characters);
        let words = word_hashes.len();
        let word_columns = Columns::new(&word_hashes, 0);
        let character_columns = Columns::new(&character_hashes, words as u32);
        let rows: Vec<Vec<(u32, u8)>> = texts
            .par_iter()
            .map(|text| {
                let mut grams = grams(text);
                let mut row = Vec::new();
                word_columns.append(&mut grams.words, &mut row);
                character_columns.append(&mut grams.characters, &mut row);
                row.sort_unstable();
                row
            })
            .collect();

        let total = rows.iter().map(Vec::len).sum();
        let mut corpus = Corpus {
            starts: Vec::with_capacity(texts.len() + 1),
            columns: Vec::with_capacity(total),
            counts: Vec::with_capacity(total),
            hashes: [word_hashes, character_hashes].concat(),
            words,
        };
        corpus.starts.push(0);
        for row in rows {
            corpus.columns.extend(row.iter().map(|&(column, _)| column));
            corpus.counts.extend(row.iter().map(|&(_, count)| count));
            corpus.starts.push(corpus.columns.len());
        }
        corpus
    }

    /// Weighs every row with the document frequencies of the rows in `training`.
    pub(super) fn weigh(&self, training: &[u32]) -> Weighed {
        let mut documents = vec![0u32; self.hashes.len()];
        for &row in training {
            for &column in &self.columns[self.starts[row as usize]..self.starts[row as usize + 1]] {
                documents[column as usize] += 1;
            }
        }
        let n = 1.0 + training.len() as f32;
        let idf_of = |&documents: &u32| match documents {
            0..MIN_DOCUMENTS => 0.0,
            _ => (n / (1.0 + documents as f32)).ln() + 1.0,
        };
        let idf: Vec<f32> = documents.iter().map(idf_of).collect();
        let term_weights: Vec<f32> = (0..=u8::MAX as usize).map(sublinear).collect();

        let weigh = |(column, count): (&u32, &u8)| term_weights[*count as usize] * idf[*column as usize];
        let mut values: Vec<f32> = self.columns.iter().zip(&self.counts).map(weigh).collect();
        for bounds in self.starts.windows(2) {
            let columns = &self.columns[bounds[0]..bounds[1]];
            let characters = columns.partition_point(|&column| (column as usize) < self.words);
            let (words, characters) = values[bounds[0]..bounds[1]].split_at_mut(characters);
            for block in [words, characters] {
                let length = block.iter().map(|value| value * value).sum::<f32>().sqrt();
                if length > 0.0 {
                    block.iter_mut().for_each(|value| *value /= length);
                }
            }
        }
        Weighed { values, idf }
    }

    /// All rows with the values of `weighed`.
    pub(super) fn rows<'a>(&'a self, weighed: &'a Weighed) -> SparseRows<'a> {
        let Corpus { starts, columns, hashes, .. } = self;
        SparseRows { starts, columns, values: &weighed.values, width: hashes.len() }
    }

    /// The vocabulary of `weighed`, and for each of its columns the column of the corpus.
    pub(super) fn vocabulary(&self, weighed: &Weighed) -> (Vocabulary, Vec<u32>) {
        let mut order: Vec<u32> = (0..self.hashes.len() as u32).filter(|&c| weighed.idf[c as usize] > 0.0).collect();
        order.sort_unstable_by_key(|&column| (column as usize >= self.words, self.hashes[column as usize]));
        let (words, characters) = order.split_at(order.partition_point(|&column| (column as usize) < self.words));
        let block = |columns: &[u32]| Block {
            lookup: Lookup::new(columns.iter().map(|&column| self.hashes[column as usize]).collect()),
            idf: columns.iter().map(|&column| weighed.idf[column as usize]).collect(),
        };
        (Vocabulary { words: block(words), characters: block(characters) }, order)
    }
}

/// Columns of one block while a corpus is read.
struct Columns {
    lookup: Lookup,
    column: Vec<u32>,
}

impl Columns {
    fn new(hashes: &[u64], first: u32) -> Columns {
        let mut pairs: Vec<(u64, u32)> = hashes.iter().copied().zip(first..).collect();
        pairs.sort_unstable();
        let (hashes, column) = pairs.into_iter().unzip();
        Columns { lookup: Lookup::new(hashes), column }
    }

    fn append(&self, hashes: &mut [u64], row: &mut Vec<(u32, u8)>) {
        hashes.sort_unstable();
        for run in hashes.chunk_by(|a, b| a == b) {
            if let Some(position) = self.lookup.position(run[0]) {
                row.push((self.column[position], run.len().min(u8::MAX as usize) as u8));
            }
        }
    }
}

/// The hashes that enough texts hold, the ones in the most texts first.
fn frequent(texts: &[&str], block: impl Fn(&mut Grams) -> &mut Vec<u64> + Sync) -> Vec<u64> {
    let mut tables: Vec<HashMap<u64, u32, BuildHasherDefault<AsItIs>>> = vec![HashMap::default(); TABLES];
    for chunk in texts.chunks(CHUNK) {
        // One list per table from each run of texts: [runs][tables].
        let lists: Vec<[Vec<u64>; TABLES]> = chunk
            .par_chunks(CHUNK / 16)
            .map(|texts| {
                let mut lists = [const { Vec::new() }; TABLES];
                for text in texts {
                    let mut grams = grams(text);
                    let hashes = block(&mut grams);
                    hashes.sort_unstable();
                    hashes.dedup();
                    // Not the top or bottom bits: the tables themselves work with those.
                    hashes.iter().for_each(|&hash| lists[(hash >> 32) as usize % TABLES].push(hash));
                }
                lists
            })
            .collect();
        tables.par_iter_mut().enumerate().for_each(|(t, table)| {
            for hash in lists.iter().flat_map(|lists| &lists[t]) {
                *table.entry(*hash).or_insert(0) += 1;
            }
        });
    }
    let mut counted: Vec<(u32, u64)> = tables
        .into_iter()
        .flatten()
        .filter(|&(_, documents)| documents >= MIN_DOCUMENTS)
        .map(|(hash, documents)| (u32::MAX - documents, hash))
        .collect();
    counted.sort_unstable();
    counted.truncate(MAX_FEATURES);
    counted.into_iter().map(|(_, hash)| hash).collect()
}

/// The keys are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// 1 + ln(count): a word said ten times is not ten times as telling.
fn sublinear(count: usize) -> f32 {
    1.0 + (count.max(1) as f32).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 4] = [
        "VPN login fails, VPN error",
        "Printer error after login",
        "vpn login fails again; printer ok",
        "Neue Maus für den Printer",
    ];

    /// The value of a word or pair of words in a row, 0 when it is not there.
    fn word(vocabulary: &Vocabulary, row: &[(u32, f32)], text: &str) -> f32 {
        let hash = *grams(text).words.last().expect("a word");
        let position = vocabulary.words.lookup.position(hash);
        row.iter().find(|&&(column, _)| Some(column as usize) == position).map_or(0.0, |&(_, value)| value)
    }

    fn check(vocabulary: &Vocabulary, row: &[(u32, f32)], words: [f32; 7], characters: &[(f32, usize)]) {
        let names = ["error", "fails", "login", "login fails", "printer", "vpn", "vpn login"];
        for (name, expected) in names.into_iter().zip(words) {
            // The last n-gram of a pair of words is the pair itself, that of a word the word.
            let found = word(vocabulary, row, name);
            assert!((found - expected).abs() < 2e-6, "{name}: expected {expected}, got {found}");
        }
        let mut found: Vec<f32> =
            row.iter().filter(|(column, _)| *column as usize >= 7).map(|&(_, value)| value).collect();
        found.sort_by(f32::total_cmp);
        let expected: Vec<f32> = characters.iter().flat_map(|&(value, n)| vec![value; n]).collect();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn values_equal_those_of_scikit_learn() {
        // TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2), and with analyzer="char_wb" and (3, 5).
        let corpus = Corpus::read(&DOCUMENTS);
        let weighed = corpus.weigh(&[0, 1, 2, 3]);
        let (vocabulary, _) = corpus.vocabulary(&weighed);
        assert_eq!((vocabulary.words.idf.len(), vocabulary.characters.idf.len()), (7, 57));
        let row = |text| vocabulary.row(text);
        check(
            &vocabulary,
            &row(DOCUMENTS[0]),
            [0.36461, 0.36461, 0.295183, 0.36461, 0.0, 0.617338, 0.36461],
            &[(0.11928, 12), (0.14734, 21), (0.24946, 6)],
        );
        check(
            &vocabulary,
            &row(DOCUMENTS[1]),
            [0.657829, 0.0, 0.53257, 0.0, 0.53257, 0.0, 0.0],
            &[(0.1362, 27), (0.16823, 12), (0.2306, 3)],
        );
        check(
            &vocabulary,
            &row("VPN vpn login unknown"),
            [0.0, 0.0, 0.380706, 0.0, 0.0, 0.796198, 0.470247],
            &[(0.16171, 12), (0.33819, 6)],
        );
        assert!(vocabulary.row("").is_empty() && vocabulary.row("zzz 99").is_empty());
    }

    #[test]
    fn rows_of_the_corpus_equal_rows_of_the_vocabulary() {
        let corpus = Corpus::read(&DOCUMENTS);
        for training in [&[0, 1, 2, 3][..], &[0, 2, 3]] {
            let weighed = corpus.weigh(training);
            let (vocabulary, columns) = corpus.vocabulary(&weighed);
            let rows = corpus.rows(&weighed);
            for (i, text) in DOCUMENTS.iter().enumerate() {
                let row = rows.row(i);
                let mut expected: Vec<(u32, f32)> = row.0.iter().copied().zip(row.1.iter().copied()).collect();
                expected.retain(|&(_, value)| value != 0.0);
                let mut found: Vec<(u32, f32)> =
                    vocabulary.row(text).iter().map(|&(column, value)| (columns[column as usize], value)).collect();
                found.sort_by_key(|&(column, _)| column);
                assert_eq!(found.len(), expected.len());
                for (a, b) in found.iter().zip(&expected) {
                    assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-6, "{text}: {a:?} and {b:?}");
                }
            }
        }
    }

    #[test]
    fn document_frequencies_come_from_the_training_rows_alone() {
        let corpus = Corpus::read(&DOCUMENTS);
        let (vocabulary, _) = corpus.vocabulary(&corpus.weigh(&[0, 1]));
        // "fails" stands in rows 0 and 2, so that row 0 alone is too few.
        assert_eq!(word(&vocabulary, &vocabulary.row("fails error"), "fails"), 0.0);
        assert_eq!(word(&vocabulary, &vocabulary.row("fails error"), "error"), 1.0);
    }
}
