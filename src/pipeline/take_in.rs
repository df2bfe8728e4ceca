//! Here is what changed in the store, take it into the indexes; and tell me what was computed, to be kept.

use std::collections::BTreeMap;

use crate::embed::Prompt;
use crate::error::{Error, Result};
use crate::pipeline::{ARTICLE_TOKENS, Pipeline, TICKET_TOKENS, read, write};
use crate::retrieve;
use crate::store::{Change, Changed, Derived, Kind};
use crate::suggest::overlap::slice;
use crate::text::{self, TEXT_VERSION};
use crate::ticket::{Article, Ticket};

/// A derived row to be kept in the store: kind, department, id, row.
pub(super) type DerivedRow = (Kind, String, String, Derived);

impl Pipeline {
    /// Takes changes into the indexes, in order. What has no valid derived row is read and embedded, all of it in one
    /// batch; these rows are returned, for the store to keep.
    ///
    /// # Errors
    /// When embedding fails or an index cannot be written. Changes may then be taken in in part; taking them in again
    /// is harmless.
    pub fn index(&self, mut changes: Vec<Change>) -> Result<Vec<DerivedRow>> {
        let derived = self.derive_missing(&mut changes)?;
        let mut by_department: BTreeMap<String, Vec<Change>> = BTreeMap::new();
        for change in changes {
            by_department.entry(change.department.clone()).or_default().push(change);
        }
        for (id, changes) in by_department {
            let department = self.department_or_new(&id)?;
            write(&department).take_in(changes)?;
        }
        Ok(derived)
    }

    /// Drops from the indexes what the store no longer has; to be called after everything was taken in.
    ///
    /// # Errors
    /// When an index cannot be written.
    pub fn drop_unknown(&self) -> Result<()> {
        let departments: Vec<_> = self.known().values().cloned().collect();
        for department in departments {
            write(&department).drop_unknown()?;
        }
        Ok(())
    }

    /// Faults of a department's indexes, in whole sentences: what has vectors and no words, or words and no vectors,
    /// and what does not find itself.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department; when the index cannot be read.
    pub fn verify(&self, department: &str) -> Result<Vec<String>> {
        const SAMPLE: usize = 200;
        let department = self.department(department)?;
        let department = read(&department);
        let mut faults = Vec::new();
        for pool in [retrieve::Pool::Tickets, retrieve::Pool::Articles] {
            let found = department.index.verify(pool, SAMPLE)?;
            faults.extend(found.without_words.iter().map(|id| format!("{id:?} has vectors and no words")));
            faults.extend(found.without_vectors.iter().map(|id| format!("{id:?} has words and no vectors")));
            faults.extend(found.not_first.iter().map(|id| format!("{id:?} does not find itself")));
        }
        Ok(faults)
    }

    fn derive_missing(&self, changes: &mut [Change]) -> Result<Vec<DerivedRow>> {
        let mut kept = Vec::new();
        let mut tickets: Vec<&mut Change> = Vec::new();
        let mut articles: Vec<&mut Change> = Vec::new();
        for change in changes {
            match &change.object {
                Changed::Ticket { derived: None, .. } => tickets.push(change),
                Changed::Article { derived: None, .. } => articles.push(change),
                _ => {}
            }
        }
        let raw_tickets: Vec<(&Ticket, &str)> = tickets
            .iter()
            .filter_map(|change| match &change.object {
                Changed::Ticket { ticket, text_hash, .. } => Some((ticket.as_ref(), text_hash.as_str())),
                _ => None,
            })
            .collect();
        let raw_articles: Vec<(&Article, &str)> = articles
            .iter()
            .filter_map(|change| match &change.object {
                Changed::Article { article, text_hash, .. } => Some((article.as_ref(), text_hash.as_str())),
                _ => None,
            })
            .collect();
        let ticket_rows = self.derive_tickets(&raw_tickets)?;
        let article_rows = self.derive_articles(&raw_articles)?;
        for (change, row) in tickets.into_iter().zip(ticket_rows).chain(articles.into_iter().zip(article_rows)) {
            let (kind, slot) = match &mut change.object {
                Changed::Ticket { derived, .. } => (Kind::Ticket, derived),
                Changed::Article { derived, .. } => (Kind::Article, derived),
                Changed::Deleted { .. } => continue,
            };
            kept.push((kind, change.department.clone(), change.id.clone(), row.clone()));
            *slot = Some(row);
        }
        Ok(kept)
    }

    /// Reads and embeds tickets; each comes with the hash of its text. Input order.
    ///
    /// # Errors
    /// When embedding fails.
    pub fn derive_tickets(&self, tickets: &[(&Ticket, &str)]) -> Result<Vec<Derived>> {
        let canonical: Vec<text::Canonical> = tickets.iter().map(|(ticket, _)| text::canonical(ticket)).collect();
        let mut texts: Vec<&str> = canonical.iter().map(|canonical| canonical.text.as_str()).collect();
        texts.extend(canonical.iter().filter(|canonical| has_title(canonical)).map(|c| c.subject.as_str()));
        let rows = self.encoder.embed(&texts, Prompt::Query, TICKET_TOKENS)?;
        let mut next_title = canonical.len();
        let mut derived = Vec::with_capacity(canonical.len());
        for (n, (canonical, (_, text_hash))) in canonical.iter().zip(tickets).enumerate() {
            let mut own_rows = rows.row(n).to_vec();
            if has_title(canonical) {
                own_rows.extend_from_slice(rows.row(next_title));
                next_title += 1;
            }
            derived.push(Derived {
                encoder: self.encoder.fingerprint().to_owned(),
                text_version: TEXT_VERSION,
                text_hash: (*text_hash).to_owned(),
                language: canonical.language,
                title: canonical.subject.clone(),
                text: canonical.text.clone(),
                passages: Vec::new(),
                rows: own_rows,
                dim: self.encoder.dim(),
                has_title: has_title(canonical),
            });
        }
        Ok(derived)
    }

    /// Reads, cuts into passages and embeds articles; each comes with the hash of its text. Input order.
    ///
    /// # Errors
    /// When embedding fails.
    pub fn derive_articles(&self, articles: &[(&Article, &str)]) -> Result<Vec<Derived>> {
        let mut derived = Vec::with_capacity(articles.len());
        let mut texts: Vec<String> = Vec::new();
        for (article, text_hash) in articles {
            let canonical = text::canonical_article(article);
            let passages = retrieve::passages(&canonical.title, &canonical.body);
            let has_title = !canonical.title.is_empty();
            texts.push(joined(&canonical.title, &canonical.body));
            if has_title {
                texts.push(canonical.title.clone());
            }
            texts.extend(passages.iter().map(|range| joined(&canonical.title, &slice(&canonical.body, *range))));
            derived.push(Derived {
                encoder: self.encoder.fingerprint().to_owned(),
                text_version: TEXT_VERSION,
                text_hash: (*text_hash).to_owned(),
                language: canonical.language,
                title: canonical.title,
                text: canonical.body,
                passages,
                rows: Vec::new(),
                dim: self.encoder.dim(),
                has_title,
            });
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rows = self.encoder.embed(&texts, Prompt::Passage, ARTICLE_TOKENS)?;
        let mut rows = rows.rows();
        for article in &mut derived {
            let n = 1 + usize::from(article.has_title) + article.passages.len();
            article.rows = rows.by_ref().take(n).flatten().copied().collect();
            if article.rows.len() != n * article.dim {
                return Err(Error::Bug("an article has fewer vectors than texts"));
            }
        }
        Ok(derived)
    }
}

/// A subject that is not the whole text gets a vector of its own.
pub(super) fn has_title(canonical: &text::Canonical) -> bool {
    !canonical.subject.is_empty() && canonical.subject != canonical.text
}

fn joined(title: &str, body: &str) -> String {
    if title.is_empty() { body.to_owned() } else { format!("{title}\n{body}") }
}
