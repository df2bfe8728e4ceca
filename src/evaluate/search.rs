//! Here are questions and what is relevant to each, rank one pool for them and give me the lists.

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::Result;
use crate::evaluate::Ranking;
use crate::pipeline::Pipeline;
use crate::retrieve::{Mode, Pool, Query};
use crate::text;
use crate::ticket::{Language, Ticket};

/// Hits asked for per question.
const K: usize = 10;

/// With at least this many questions of a language, their mean vector is measured on the other half of them, as a
/// running service measures it on the questions it has seen.
const LEAST_FOR_MEAN: usize = 60;

/// What is relevant to one question.
#[derive(Debug, Clone, Deserialize)]
pub struct Relevance {
    /// Id of the question.
    #[serde(alias = "id")]
    pub query_id: String,
    /// Ids of articles or tickets, for files about one pool.
    #[serde(default)]
    pub relevant_ids: Vec<String>,
    /// Ids of articles, for files about both pools.
    #[serde(default)]
    pub relevant_articles: Vec<String>,
    /// Ids of tickets, for files about both pools.
    #[serde(default)]
    pub relevant_tickets: Vec<String>,
}

impl Relevance {
    /// What is relevant in one pool.
    pub fn in_pool(&self, pool: Pool) -> Vec<String> {
        let of_pool = match pool {
            Pool::Articles => &self.relevant_articles,
            Pool::Tickets => &self.relevant_tickets,
        };
        self.relevant_ids.iter().chain(of_pool).cloned().collect()
    }
}

/// Ranks one pool for every question that has something relevant in it. A question is never its own answer.
///
/// # Errors
/// [`crate::error::Error::NotFound`] for an unknown department; when embedding or the index fails.
pub fn rankings(
    pipeline: &Pipeline,
    department: &str,
    pool: Pool,
    questions: &[Ticket],
    relevance: &[Relevance],
    progress: &dyn Fn(usize),
) -> Result<Vec<(Mode, Vec<Ranking>)>> {
    let relevant: HashMap<&str, Vec<String>> =
        relevance.iter().map(|row| (row.query_id.as_str(), row.in_pool(pool))).collect();
    let judged: Vec<(&Ticket, &str)> = questions
        .iter()
        .filter(|question| relevant.get(question.id.as_str()).is_some_and(|ids| !ids.is_empty()))
        .map(|question| (question, ""))
        .collect();
    let mut derived = Vec::with_capacity(judged.len());
    for page in judged.chunks(256) {
        derived.extend(pipeline.derive_tickets(page)?);
        progress(derived.len());
    }
    let dim = pipeline.encoder().dim();
    let languages: Vec<Language> = derived.iter().map(|row| row.language).collect();
    let wholes: Vec<&[f32]> = derived.iter().map(|row| &row.rows[..dim]).collect();
    let means = match pool {
        Pool::Articles => other_half_means(&languages, &wholes, dim),
        // Ticket against ticket is one side: the index's own mean serves both.
        Pool::Tickets => vec![None; judged.len()],
    };
    let mut by_mode = Vec::new();
    for mode in [Mode::Hybrid, Mode::Dense, Mode::Lexical] {
        let mut rankings = Vec::with_capacity(judged.len());
        for (n, ((question, _), row)) in judged.iter().zip(&derived).enumerate() {
            let identifiers = text::canonical(question).identifiers;
            let query = Query {
                pool,
                text: &row.text,
                language: row.language,
                identifiers: &identifiers,
                vector: wholes[n],
                title_vector: row.has_title.then(|| &row.rows[dim..2 * dim]),
                query_mean: means[n].as_deref(),
                k: K,
                exclude: Some(&question.id),
                only_resolved: true,
                mode,
                keep: None,
            };
            let ranked = pipeline.rank(department, &query)?.into_iter().map(|hit| hit.id).collect();
            rankings.push(Ranking {
                query: question.id.clone(),
                ranked,
                relevant: relevant[question.id.as_str()].clone(),
            });
        }
        by_mode.push((mode, rankings));
    }
    Ok(by_mode)
}

/// For each question the mean vector of the other half (odd and even positions) of the questions in its language;
/// none where there are too few.
fn other_half_means(languages: &[Language], rows: &[&[f32]], dim: usize) -> Vec<Option<Vec<f32>>> {
    let mut sums: HashMap<(Language, usize), (Vec<f32>, usize)> = HashMap::new();
    for (n, (language, row)) in languages.iter().zip(rows).enumerate() {
        let (sum, count) = sums.entry((*language, n % 2)).or_insert_with(|| (vec![0.0; dim], 0));
        sum.iter_mut().zip(*row).for_each(|(total, value)| *total += value);
        *count += 1;
    }
    let mean = |n: usize, language: Language| {
        let (sum, count) = sums.get(&(language, 1 - n % 2))?;
        (*count >= LEAST_FOR_MEAN / 2).then(|| sum.iter().map(|total| total / *count as f32).collect())
    };
    languages.iter().enumerate().map(|(n, language)| mean(n, *language)).collect()
}
