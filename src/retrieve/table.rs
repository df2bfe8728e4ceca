//! Here are unit rows, each with an owner and a language; give me the cosine of a query with every row.
//!
//! One table holds one kind of row (whole texts, titles or passages) of one pool. Rows are kept as they came; the
//! mean of their language is taken off on the fly: with `m` the mean, `cos(q, x - m) = (q.x - q.m) / |x - m|`, so
//! a search is one dot product a row and the inverse norms are cached until a row comes or goes. Not for finding out
//! which document a row belongs to: owners are numbers to this module.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::ticket::Language;

use super::standardised::Standardised;

/// Rows of a language from which on its own mean is used alone. Measured on bilingual help pages: a mean of 30 rows
/// already brings most of the gain of the full mean.
pub(super) const MIN_ROWS_FOR_MEAN: u64 = 30;

/// Squared length under which a centred vector counts as zero and the raw vector takes its place.
const MIN_CENTRED_SQUARED: f32 = 1e-6;

/// Sums are kept in fixed point with this many steps to 1: adding and taking away is exact, so a mean depends on
/// the rows that are there and not on the order in which they came. 2^63 / 2^36 leaves room for 134 million rows.
const FIXED_POINT: f32 = (1u64 << 36) as f32;

/// Rows `[n, dim]` of length 1, their owners and languages, and what is derived from them.
#[derive(Debug)]
pub(super) struct Table {
    dim: usize,
    data: Vec<f32>,
    owners: Vec<u32>,
    languages: Vec<Language>,
    sums: [Sum; 3],
    centring: OnceLock<Centring>,
    pub(super) standardised: Standardised,
}

/// Number and sum of the rows of one language, in fixed point.
#[derive(Debug, Clone)]
struct Sum {
    count: u64,
    total: Vec<i64>,
}

/// Means by language and, for each row, 1 / |row - mean|; 0 marks a row that is its mean and is compared raw.
#[derive(Debug)]
struct Centring {
    means: [Vec<f32>; 3],
    inverse_norms: Vec<f32>,
}

/// A query in both forms: raw for rows that cannot be centred, and centred unless nothing is known to centre it by.
#[derive(Debug, Clone)]
pub(super) struct QueryVector {
    raw: Vec<f32>,
    centred: Option<Vec<f32>>,
}

/// A table and a query, with what their cosines share computed once.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    table: &'a Table,
    raw: &'a [f32],
    centred: Option<Centred<'a>>,
}

#[derive(Debug)]
struct Centred<'a> {
    direction: &'a [f32],
    /// Product of the direction and the mean of each language.
    offsets: [f32; 3],
    inverse_norms: &'a [f32],
}

impl QueryVector {
    /// `vector` scaled to length 1, and the same after `mean` is taken off. Without a mean, or where nothing is left
    /// after it is taken off, the query is compared raw.
    pub(super) fn new(vector: &[f32], mean: Option<&[f32]>) -> QueryVector {
        let raw = unit(vector);
        let centred = mean.and_then(|mean| {
            let difference: Vec<f32> = raw.iter().zip(mean).map(|(value, mean)| value - mean).collect();
            (dot(&difference, &difference) > MIN_CENTRED_SQUARED).then(|| unit(&difference))
        });
        QueryVector { raw, centred }
    }

    /// False when cosines with this query are those of raw vectors.
    pub(super) fn is_centred(&self) -> bool {
        self.centred.is_some()
    }
}

impl Table {
    pub(super) fn new(dim: usize) -> Table {
        let sum = Sum { count: 0, total: vec![0; dim] };
        Table {
            dim,
            data: Vec::new(),
            owners: Vec::new(),
            languages: Vec::new(),
            sums: [sum.clone(), sum.clone(), sum],
            centring: OnceLock::new(),
            standardised: Standardised::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Row `row`; empty when there is none.
    pub(super) fn row(&self, row: u32) -> &[f32] {
        let start = row as usize * self.dim;
        self.data.get(start..start + self.dim).unwrap_or(&[])
    }

    /// Owner and values of every row, in the order of the rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = (u32, &[f32])> {
        self.owners.iter().copied().zip(self.data.chunks_exact(self.dim.max(1)))
    }

    pub(super) fn language(&self, row: u32) -> Language {
        self.languages.get(row as usize).copied().unwrap_or_default()
    }

    /// Adds a row, scaled to length 1, and returns its number.
    pub(super) fn push(&mut self, owner: u32, language: Language, vector: &[f32]) -> u32 {
        let number = self.owners.len() as u32;
        let start = self.data.len();
        if self.data.capacity() - start < self.dim {
            // Doubling would leave up to half of a large table empty.
            self.data.reserve_exact((start / 8).max(64 * self.dim));
        }
        self.data.extend(unit(vector));
        self.owners.push(owner);
        self.languages.push(language);
        let row = &self.data[start..];
        self.sums[index(language)].add(row, 1);
        self.standardised.push(row);
        self.centring.take();
        number
    }

    /// Takes row `row` out; the last row takes its place, and its owner is returned when that is another row.
    pub(super) fn swap_remove(&mut self, row: u32) -> Option<u32> {
        let at = row as usize;
        if at >= self.owners.len() {
            return None;
        }
        let (start, last) = (at * self.dim, self.data.len() - self.dim);
        self.sums[index(self.languages[at])].add(&self.data[start..start + self.dim], -1);
        self.data.copy_within(last.., start);
        self.data.truncate(last);
        self.owners.swap_remove(at);
        self.languages.swap_remove(at);
        self.standardised.swap_remove(at);
        self.centring.take();
        self.owners.get(at).copied()
    }

    /// Forgets what was derived from the general means, because those have changed.
    pub(super) fn general_means_changed(&mut self) {
        self.centring.take();
    }

    /// Mean of the rows of `language` ([`Language::Und`]: of all rows) when there are at least `min_rows`.
    pub(super) fn mean(&self, language: Language, min_rows: u64) -> Option<Vec<f32>> {
        let sum = match language {
            Language::Und => self.total(),
            known => self.sums[index(known)].clone(),
        };
        (sum.count >= min_rows.max(1)).then(|| sum.mean_over(sum.count))
    }

    /// The mean that rows of `language` are centred by; see [`Table::centre`].
    pub(super) fn centre_of(&self, language: Language, general: &HashMap<Language, Vec<f32>>) -> &[f32] {
        &self.centring(general).means[index(language)]
    }

    /// Readies the table for cosines with `query`.
    pub(super) fn prepare<'a>(&'a self, query: &'a QueryVector, general: &HashMap<Language, Vec<f32>>) -> Prepared<'a> {
        let centred = query.centred.as_ref().map(|direction| {
            let centring = self.centring(general);
            let offsets = [0, 1, 2].map(|language: usize| dot(direction, &centring.means[language]));
            Centred { direction, offsets, inverse_norms: &centring.inverse_norms }
        });
        Prepared { table: self, raw: &query.raw, centred }
    }

    /// Bytes held on the heap, derived values included.
    pub(super) fn memory_bytes(&self) -> usize {
        let centring = self.centring.get().map_or(0, |centring| centring.inverse_norms.capacity() * 4);
        self.data.capacity() * 4
            + self.owners.capacity() * 4
            + self.languages.capacity()
            + 3 * self.dim * (8 + 4)
            + centring
            + self.standardised.memory_bytes()
    }

    fn centring(&self, general: &HashMap<Language, Vec<f32>>) -> &Centring {
        self.centring.get_or_init(|| self.centre(general))
    }

    /// Means and inverse norms of the rows as they are.
    ///
    /// A language with [`MIN_ROWS_FOR_MEAN`] rows has its own mean. With fewer, the missing rows are filled up with
    /// the language's general mean, or, where none is known, with the mean over all languages, itself filled up with
    /// zeros: one or two rows are hardly moved, and nothing jumps when the thirtieth row comes.
    fn centre(&self, general: &HashMap<Language, Vec<f32>>) -> Centring {
        let zero = vec![0.0; self.dim];
        let all_prior = general.get(&Language::Und).unwrap_or(&zero);
        let all = self.total().filled_up(all_prior);
        let means = [Language::De, Language::En, Language::Und].map(|language| match language {
            Language::Und => all.clone(),
            known => self.sums[index(known)].filled_up(general.get(&known).unwrap_or(&all)),
        });
        let rows = self.data.chunks_exact(self.dim.max(1)).zip(&self.languages);
        let inverse_norms = rows
            .map(|(row, language)| {
                let squared = squared_distance(row, &means[index(*language)]);
                if squared > MIN_CENTRED_SQUARED { 1.0 / squared.sqrt() } else { 0.0 }
            })
            .collect();
        Centring { means, inverse_norms }
    }

    fn total(&self) -> Sum {
        let mut total = self.sums[0].clone();
        for sum in &self.sums[1..] {
            total.count += sum.count;
            total.total.iter_mut().zip(&sum.total).for_each(|(total, value)| *total += value);
        }
        total
    }
}

impl Prepared<'_> {
    /// Cosine with row `row`; 0 when there is none.
    pub(super) fn cosine(&self, row: u32) -> f32 {
        let at = row as usize;
        match self.table.languages.get(at) {
            Some(language) => self.cosine_at(at, self.table.row(row), *language),
            None => 0.0,
        }
    }

    /// Calls `each` with owner, row and cosine of every row, in the order of the rows.
    pub(super) fn cosines(&self, mut each: impl FnMut(u32, u32, f32)) {
        for (at, ((owner, values), language)) in self.table.rows().zip(&self.table.languages).enumerate() {
            each(owner, at as u32, self.cosine_at(at, values, *language));
        }
    }

    fn cosine_at(&self, at: usize, values: &[f32], language: Language) -> f32 {
        let Some(centred) = &self.centred else {
            return dot(self.raw, values);
        };
        match centred.inverse_norms.get(at) {
            None | Some(0.0) => dot(self.raw, values),
            Some(inverse_norm) => (dot(centred.direction, values) - centred.offsets[index(language)]) * inverse_norm,
        }
    }
}

impl Sum {
    fn add(&mut self, row: &[f32], sign: i64) {
        self.count = self.count.saturating_add_signed(sign);
        for (total, value) in self.total.iter_mut().zip(row) {
            *total += sign * (value * FIXED_POINT) as i64;
        }
    }

    fn mean_over(&self, count: u64) -> Vec<f32> {
        let scale = 1.0 / (f64::from(FIXED_POINT) * count.max(1) as f64);
        self.total.iter().map(|total| (*total as f64 * scale) as f32).collect()
    }

    /// The mean, with `prior` in the place of the rows that are missing to [`MIN_ROWS_FOR_MEAN`].
    fn filled_up(&self, prior: &[f32]) -> Vec<f32> {
        let missing = MIN_ROWS_FOR_MEAN.saturating_sub(self.count);
        let prior_share = missing as f32 / (self.count + missing) as f32;
        let mean = self.mean_over(self.count + missing);
        mean.iter().zip(prior).map(|(value, prior)| value + prior_share * prior).collect()
    }
}

/// Dot product. Sixteen independent sums let the compiler use vector instructions, which it may not do for one sum
/// because the order of additions would change.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    lanes(left, right, |left, right| left * right)
}

/// Squared Euclidean distance, as [`dot`].
fn squared_distance(left: &[f32], right: &[f32]) -> f32 {
    lanes(left, right, |left, right| (left - right) * (left - right))
}

fn lanes(left: &[f32], right: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (left_chunks, left_rest) = left.as_chunks::<16>();
    let (right_chunks, right_rest) = right.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..16 {
            sums[lane] += term(left[lane], right[lane]);
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(left, right)| term(*left, *right)).sum();
    let halves: [f32; 8] = std::array::from_fn(|lane| sums[lane] + sums[lane + 8]);
    halves.iter().sum::<f32>() + rest
}

/// `vector` scaled to length 1; a zero vector stays zero.
pub(super) fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = dot(vector, vector).sqrt();
    let scale = if norm > 0.0 { 1.0 / norm } else { 0.0 };
    vector.iter().map(|value| value * scale).collect()
}

fn index(language: Language) -> usize {
    match language {
        Language::De => 0,
        Language::En => 1,
        Language::Und => 2,
    }
}
