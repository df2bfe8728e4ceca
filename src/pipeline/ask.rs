//! Here are tickets or questions, give me answers.

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;

use crate::classify::{DepartmentModel, Simulation};
use crate::embed::{Embeddings, Prompt};
use crate::error::{Error, Result};
use crate::pipeline::assess::{FieldAssessment, Reading};
use crate::pipeline::department::Department;
use crate::pipeline::take_in::has_title;
use crate::pipeline::{Pipeline, Request, SearchHit, SearchRequest, TICKET_TOKENS, read};
use crate::retrieve::{self, Hit, Mode, Pool, Query};
use crate::suggest::answer::{Candidate, answer};
use crate::suggest::duplicates::duplicates;
use crate::suggest::overlap::slice;
use crate::taxonomy::Rule;
use crate::text::{self, Canonical};
use crate::ticket::{
    Answer, AnswerStatus, ArticleHit, Excerpt, Language, PassageExcerpt, SimilarTicket, SourceKind, Stage, TextReport,
    Timing, Triage,
};

/// Tickets looked at beside the ones asked for, so that duplicates among open tickets are seen too.
const EXTRA_TICKETS: usize = 15;

/// Longest excerpt of a ticket in a search, in characters.
const EXCERPT_CHARS: usize = 300;

/// A canonical ticket with its vectors; none when embedding failed.
struct Read<'a> {
    canonical: &'a Canonical,
    vectors: Option<(&'a [f32], Option<&'a [f32]>)>,
}

impl Pipeline {
    /// Triages tickets; one answer per request, in order. All texts are embedded in one batch.
    pub fn triage(&self, requests: &[Request<'_>]) -> Vec<Result<Triage>> {
        let started = Instant::now();
        let canonical: Vec<Canonical> = requests.par_iter().map(|request| text::canonical(request.ticket)).collect();
        let text_ms = shared_ms(started, requests.len());
        let started = Instant::now();
        let (rows, title_rows) = match self.embed_tickets(&canonical) {
            Ok((rows, title_rows)) => (Some(rows), title_rows),
            Err(error) => {
                tracing::error!(%error, tickets = requests.len(), "embedding failed, answering without vectors");
                (None, Vec::new())
            }
        };
        let embed_ms = shared_ms(started, requests.len());
        (0..requests.len())
            .into_par_iter()
            .map(|n| {
                let vectors = rows.as_ref().map(|rows| {
                    let title = title_rows.get(n).copied().flatten().map(|row| rows.row(row));
                    (rows.row(n), title)
                });
                let timing = Timing { text: text_ms, embed: embed_ms, ..Timing::default() };
                self.triage_one(&requests[n], &Read { canonical: &canonical[n], vectors }, timing)
            })
            .collect()
    }

    /// Decisions with all probabilities, for evaluation: the very heads and policy that serve.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department.
    pub fn assess(&self, department: &str, readings: &[Reading<'_>]) -> Result<Vec<BTreeMap<String, FieldAssessment>>> {
        let department = self.department(department)?;
        let department = read(&department);
        Ok(readings.par_iter().map(|reading| department.assess(reading, usize::MAX)).collect())
    }

    /// Probabilities by field and label of heads that need not be the ones that serve, with the neighbours of now as far
    /// as `may_vote` (reading, neighbour) lets them; the fields are those of `model` that the closed set has.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department.
    pub fn predict_with(
        &self,
        department: &str,
        model: &DepartmentModel,
        readings: &[Reading<'_>],
        may_vote: &(dyn Fn(&str, &str) -> bool + Sync),
    ) -> Result<Vec<BTreeMap<String, Vec<f32>>>> {
        let department = self.department(department)?;
        let department = read(&department);
        Ok(readings.par_iter().map(|reading| department.predict_with(model, reading, may_vote)).collect())
    }

    /// By label of the head, the confidence from which it meets a precision target; nothing for a field without a head.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department.
    pub fn thresholds(&self, department: &str, field: &str, precision_target: f32) -> Result<Vec<Option<f32>>> {
        let department = self.department(department)?;
        let department = read(&department);
        let rule = department.field(field).map_or(Rule::Likeliest, |field| field.rule);
        Ok(department.head(field).map(|head| head.thresholds(precision_target, rule)).unwrap_or_default())
    }

    /// What a precision target would bring for a field; at most `max_tickets` tickets are listed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department or field; [`Error::Invalid`] when nothing was trained yet.
    pub fn simulate(
        &self,
        department: &str,
        field: &str,
        precision_target: f32,
        max_tickets: usize,
    ) -> Result<Simulation> {
        let department = self.department(department)?;
        let department = read(&department);
        let known = department.field(field).ok_or_else(|| Error::NotFound { what: "field", id: field.to_owned() })?;
        match department.head(field).filter(|head| head.is_trained() && known.matrix.is_none()) {
            Some(head) => Ok(head.simulate(precision_target, known.rule, max_tickets)),
            None => Err(Error::invalid("/field", format!("{field:?} has no trained head yet; run `triage train`"))),
        }
    }

    /// Searches one pool, best first.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department; when embedding or the index fails.
    pub fn search(&self, department: &str, request: &SearchRequest) -> Result<Vec<SearchHit>> {
        let canonical = text::canonical_query(&request.query);
        let vectors = self.encoder.embed(&[&canonical.text], Prompt::Query, TICKET_TOKENS)?;
        let department = self.department(department)?;
        let department = read(&department);
        let filter = &request.filter;
        let keep = |id: &str| match request.pool {
            Pool::Tickets => department.tickets.get(id).is_some_and(|ticket| {
                filter.language.is_none_or(|language| language == ticket.language)
                    && department.has_labels(ticket, &filter.labels)
            }),
            Pool::Articles => department.articles.get(id).is_some_and(|article| {
                filter.language.is_none_or(|language| language == article.language) && filter.labels.is_empty()
            }),
        };
        let query =
            Query { vector: vectors.row(0), k: request.k, keep: Some(&keep), ..query(&canonical, request.pool) };
        let hits = department.index.search(&query)?;
        Ok(hits.iter().filter_map(|hit| search_hit(&department, request.pool, hit, &canonical)).collect())
    }

    /// The `k` ranked ids of one pool for a ticket or question that was read already; for evaluation.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department; when the index fails.
    pub fn rank(&self, department: &str, query: &Query<'_>) -> Result<Vec<Hit>> {
        let department = self.department(department)?;
        let department = read(&department);
        department.index.search(query)
    }

    /// Resolved tickets like a stored one, best first, the ticket itself left out.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department or ticket; when embedding or the index fails.
    pub fn similar(&self, department: &str, ticket: &str, k: usize) -> Result<Vec<SimilarTicket>> {
        let department = self.department(department)?;
        let (title, text, language) = {
            let department = read(&department);
            let document = department
                .tickets
                .get(ticket)
                .ok_or_else(|| Error::NotFound { what: "ticket", id: ticket.to_owned() })?;
            (document.title.clone(), document.text.clone(), document.language)
        };
        let vectors = self.encoder.embed(&[&text, &title], Prompt::Query, TICKET_TOKENS)?;
        let canonical = Canonical { language, ..text::canonical_query(&text) };
        let department = read(&department);
        let query = Query {
            vector: vectors.row(0),
            title_vector: Some(vectors.row(1)),
            k,
            exclude: Some(ticket),
            ..query(&canonical, Pool::Tickets)
        };
        let hits = department.index.search(&query)?;
        Ok(hits.iter().filter_map(|hit| similar_ticket(&department, hit, &canonical)).collect())
    }

    /// Row of each text, then for each ticket the row of its subject where it has one of its own.
    fn embed_tickets(&self, canonical: &[Canonical]) -> Result<(Embeddings, Vec<Option<usize>>)> {
        let mut texts: Vec<&str> = canonical.iter().map(|canonical| canonical.text.as_str()).collect();
        let mut title_rows = vec![None; canonical.len()];
        for (n, canonical) in canonical.iter().enumerate().filter(|(_, canonical)| has_title(canonical)) {
            title_rows[n] = Some(texts.len());
            texts.push(&canonical.subject);
        }
        Ok((self.encoder.embed(&texts, Prompt::Query, TICKET_TOKENS)?, title_rows))
    }

    fn triage_one(&self, request: &Request<'_>, ticket: &Read<'_>, mut timing: Timing) -> Result<Triage> {
        let canonical = ticket.canonical;
        let mut degraded = Vec::new();
        if ticket.vectors.is_none() {
            degraded.extend([Stage::Embed, Stage::Classify]);
        }
        let department = self.department(request.department)?;
        let department = read(&department);

        let started = Instant::now();
        let found = find(&department, request, ticket);
        let (near_tickets, near_articles) = found.unwrap_or_else(|error| {
            tracing::error!(%error, department = request.department, "retrieval failed, answering without hits");
            degraded.push(Stage::Retrieve);
            (Vec::new(), Vec::new())
        });
        timing.retrieve = ms(started);

        let started = Instant::now();
        let fields = match ticket.vectors {
            Some((vector, _)) => {
                let reading = Reading {
                    id: &request.ticket.id,
                    text: &canonical.text,
                    language: canonical.language,
                    vector,
                    stated: Some(&request.ticket.labels),
                };
                let assessed = department.assess(&reading, request.options.top_n);
                assessed.into_iter().map(|(field, assessment)| (field, assessment.decision)).collect()
            }
            None => BTreeMap::new(),
        };
        timing.classify = ms(started);

        let started = Instant::now();
        let similar: Vec<SimilarTicket> = near_tickets
            .iter()
            .filter(|hit| department.tickets.get(&hit.id).is_some_and(|document| document.resolved))
            .take(request.options.similar)
            .filter_map(|hit| similar_ticket(&department, hit, canonical))
            .collect();
        let articles: Vec<ArticleHit> =
            near_articles.iter().filter_map(|hit| article_hit(&department, hit, canonical)).collect();
        let answer = if request.options.answer {
            answer(&canonical.text, &candidates(&department, &similar, &near_articles))
        } else {
            Answer { status: AnswerStatus::NothingClose, text: None, sentences: Vec::new() }
        };
        let duplicates = duplicates(near_tickets.iter().map(|hit| (hit.id.as_str(), hit.dense)));
        timing.suggest = ms(started);

        Ok(Triage {
            decision_id: uuid::Uuid::now_v7(),
            ticket: request.ticket.id.clone(),
            model: format!(
                "{}/{} {}@{}",
                request.department,
                department.version,
                self.encoder.name(),
                self.encoder.fingerprint()
            ),
            language: canonical.language,
            degraded,
            text: TextReport {
                kept_chars: canonical.text.chars().count(),
                removed: canonical.removed.clone(),
                truncated: canonical.truncated,
            },
            fields,
            similar,
            articles,
            answer,
            duplicates,
            timing_ms: timing,
        })
    }
}

/// Near tickets, open ones among them, and near articles.
fn find(department: &Department, request: &Request<'_>, ticket: &Read<'_>) -> Result<(Vec<Hit>, Vec<Hit>)> {
    let options = request.options;
    let (vector, title_vector) = ticket.vectors.unwrap_or((&[], None));
    let mode = if ticket.vectors.is_some() { Mode::Hybrid } else { Mode::Lexical };
    let tickets = Query {
        vector,
        title_vector,
        mode,
        k: options.similar + EXTRA_TICKETS,
        exclude: Some(&request.ticket.id),
        only_resolved: false,
        ..query(ticket.canonical, Pool::Tickets)
    };
    let mut near_tickets = department.index.search(&tickets)?;
    let n_resolved = near_tickets
        .iter()
        .filter(|hit| department.tickets.get(&hit.id).is_some_and(|document| document.resolved))
        .count();
    if n_resolved < options.similar && near_tickets.len() == tickets.k {
        // Open tickets crowd the resolved ones out: ask for those alone, and keep the near open ones for duplicates.
        near_tickets.retain(|hit| department.tickets.get(&hit.id).is_some_and(|document| !document.resolved));
        let resolved = Query { only_resolved: true, k: options.similar, ..tickets };
        near_tickets.extend(department.index.search(&resolved)?);
    }
    if options.articles == 0 {
        return Ok((near_tickets, Vec::new()));
    }
    let articles = Query { vector, mode, k: options.articles, ..query(ticket.canonical, Pool::Articles) };
    Ok((near_tickets, department.index.search(&articles)?))
}

/// A query for what `canonical` says; the vector is still to be set.
fn query(canonical: &Canonical, pool: Pool) -> Query<'_> {
    Query {
        pool,
        text: &canonical.text,
        language: canonical.language,
        identifiers: &canonical.identifiers,
        vector: &[],
        title_vector: None,
        query_mean: None,
        k: 0,
        exclude: None,
        only_resolved: true,
        mode: Mode::Hybrid,
        keep: None,
    }
}

/// What the answer may be taken from: resolutions of similar tickets and passages of articles.
fn candidates<'a>(
    department: &'a Department,
    similar: &'a [SimilarTicket],
    near_articles: &'a [Hit],
) -> Vec<Candidate<'a>> {
    let resolutions = similar.iter().filter_map(|ticket| {
        let text = department.tickets.get(&ticket.id)?.resolution.as_deref()?;
        let range = (0, text.chars().count());
        Some(Candidate { kind: SourceKind::Ticket, id: &ticket.id, text, range, score: ticket.score })
    });
    let passages = near_articles.iter().filter_map(|hit| {
        let text = department.articles.get(&hit.id)?.body.as_str();
        let range = hit.passage.unwrap_or_else(|| (0, text.chars().count()));
        Some(Candidate { kind: SourceKind::Article, id: &hit.id, text, range, score: hit.score })
    });
    resolutions.chain(passages).collect()
}

fn similar_ticket(department: &Department, hit: &Hit, asked: &Canonical) -> Option<SimilarTicket> {
    let document = department.tickets.get(&hit.id)?;
    let resolution = document.resolution.as_ref().map(|text| excerpt(text.clone(), asked, document.language));
    Some(SimilarTicket {
        id: hit.id.clone(),
        title: document.title.clone(),
        score: hit.score,
        resolved_at: document.resolved_at,
        resolution,
    })
}

fn article_hit(department: &Department, hit: &Hit, asked: &Canonical) -> Option<ArticleHit> {
    let document = department.articles.get(&hit.id)?;
    let range = hit.passage.unwrap_or_else(|| (0, document.body.chars().count()));
    let Excerpt { text, highlights } = excerpt(slice(&document.body, range), asked, document.language);
    Some(ArticleHit {
        id: hit.id.clone(),
        title: document.title.clone(),
        score: hit.score,
        url: document.url.clone(),
        passage: PassageExcerpt { text, range, highlights },
    })
}

fn search_hit(department: &Department, pool: Pool, hit: &Hit, asked: &Canonical) -> Option<SearchHit> {
    match pool {
        Pool::Tickets => {
            let document = department.tickets.get(&hit.id)?;
            let shown = slice(&document.text, (0, EXCERPT_CHARS));
            Some(SearchHit {
                id: hit.id.clone(),
                title: document.title.clone(),
                score: hit.score,
                language: document.language,
                url: None,
                excerpt: excerpt(shown, asked, document.language),
                range: None,
            })
        }
        Pool::Articles => {
            let language = department.articles.get(&hit.id)?.language;
            let ArticleHit { id, title, score, url, passage } = article_hit(department, hit, asked)?;
            let excerpt = Excerpt { text: passage.text, highlights: passage.highlights };
            Some(SearchHit { id, title, score, language, url, excerpt, range: Some(passage.range) })
        }
    }
}

fn excerpt(text: String, asked: &Canonical, language: Language) -> Excerpt {
    let highlights = retrieve::highlights(&asked.text, &text, language);
    Excerpt { text, highlights }
}

fn ms(since: Instant) -> f32 {
    since.elapsed().as_secs_f32() * 1000.0
}

/// Milliseconds since `since`, shared out equally over `n`.
fn shared_ms(since: Instant, n: usize) -> f32 {
    ms(since) / n.max(1) as f32
}
