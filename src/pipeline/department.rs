//! One department: its closed set, its index, its heads, and the texts an answer quotes.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::classify::{DepartmentModel, FieldModel, Standardiser};
use crate::embed::{Encoder, Prompt};
use crate::error::{Error, Result};
use crate::pipeline::assess::Policy;
use crate::pipeline::general::General;
use crate::pipeline::{DepartmentStatistics, LoadTurn, TICKET_TOKENS};
use crate::retrieve::{Entry, Index, PassageVector, Pool};
use crate::store::{Change, Changed, Derived, Kind};
use crate::taxonomy::{Field, Taxonomy};
use crate::text::{self, TEXT_VERSION};
use crate::ticket::{Article, Language, Ticket};

pub(super) struct Department {
    pub(super) index: Index,
    pub(super) tickets: HashMap<String, TicketDocument>,
    pub(super) articles: HashMap<String, ArticleDocument>,
    pub(super) version: u32,
    pub(super) taxonomy: Taxonomy,
    /// Trained heads by field; empty before the first training.
    trained: BTreeMap<String, FieldModel>,
    /// Heads made of label names, for fields that were never trained.
    pub(super) untrained: BTreeMap<String, FieldModel>,
    /// What follows from closed set and heads, by field; deriving it sorts all out-of-fold scores.
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) standardiser: Standardiser,
    pub(super) general_standardiser: Standardiser,
    pub(super) tally: Tally,
    applied_seq: u64,
    /// Turn of the load whose closed set and heads are in force.
    pub(super) loaded: LoadTurn,
}

/// What an answer shows of a ticket.
pub(super) struct TicketDocument {
    pub(super) title: String,
    pub(super) text: String,
    pub(super) language: Language,
    pub(super) resolved: bool,
    pub(super) resolved_at: Option<DateTime<Utc>>,
    pub(super) resolution: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

/// What an answer shows of an article.
pub(super) struct ArticleDocument {
    pub(super) title: String,
    pub(super) body: String,
    pub(super) language: Language,
    pub(super) url: Option<String>,
}

/// How many resolved tickets stand behind each label and each language, by field.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) labels: HashMap<(String, String), u32>,
    pub(super) languages: HashMap<(String, Language), u32>,
}

impl Department {
    pub(super) fn open(index_dir: &Path, id: &str, encoder: &Encoder, general: &General) -> Result<Department> {
        // Ids may hold characters that a file system dislikes, so the folder is named by the id's hash.
        let folder = index_dir.join(folder_name(id));
        let version = format!("{} text {TEXT_VERSION}", encoder.fingerprint());
        let mut index = Index::open(&folder, encoder.dim(), &version)?;
        index.set_general_means(general.query_means.clone())?;
        Ok(Department {
            index,
            tickets: HashMap::new(),
            articles: HashMap::new(),
            version: 0,
            taxonomy: Taxonomy::default(),
            trained: BTreeMap::new(),
            untrained: BTreeMap::new(),
            policies: BTreeMap::new(),
            standardiser: general.standardiser.clone(),
            general_standardiser: general.standardiser.clone(),
            tally: Tally::default(),
            applied_seq: 0,
            loaded: LoadTurn(0),
        })
    }

    pub(super) fn set_taxonomy(&mut self, taxonomy: Taxonomy, untrained: BTreeMap<String, FieldModel>) {
        self.taxonomy = taxonomy;
        self.untrained = untrained;
        self.derive_policies();
    }

    pub(super) fn set_model(&mut self, model: Option<(u32, DepartmentModel)>) {
        match model {
            Some((version, model)) => {
                self.version = version;
                self.standardiser = model.standardiser;
                self.trained = model.fields;
            }
            None => {
                self.version = 0;
                self.standardiser = self.general_standardiser.clone();
                self.trained = BTreeMap::new();
            }
        }
        self.derive_policies();
    }

    fn derive_policies(&mut self) {
        let of_field = |field: &Field| Some((field.id.clone(), Policy::new(field, self.head(&field.id)?)));
        self.policies = self.taxonomy.fields.iter().filter_map(of_field).collect();
    }

    pub(super) fn statistics(&self, id: &str) -> DepartmentStatistics {
        let text_bytes: usize =
            self.tickets.values().map(|ticket| ticket.text.len() + ticket.title.len()).sum::<usize>()
                + self.articles.values().map(|article| article.body.len() + article.title.len()).sum::<usize>();
        DepartmentStatistics {
            department: id.to_owned(),
            tickets: self.tickets.len(),
            articles: self.articles.len(),
            index_bytes: self.index.memory_bytes() + text_bytes,
            applied_seq: self.applied_seq,
        }
    }

    /// Takes in changes in order; every ticket and article comes with its derived row.
    pub(super) fn take_in(&mut self, changes: Vec<Change>) -> Result<()> {
        let mut entries = Vec::with_capacity(changes.len());
        let mut last_seq = self.applied_seq;
        for change in changes {
            last_seq = last_seq.max(change.seq);
            match change.object {
                Changed::Ticket { ticket, derived: Some(derived), .. } => {
                    entries.push(ticket_entry(&ticket, &derived, change.seq));
                    self.put_ticket(*ticket, derived);
                }
                Changed::Article { article, derived: Some(derived), .. } => {
                    entries.push(article_entry(&derived, change.id.clone(), change.seq));
                    self.put_article(*article, derived);
                }
                Changed::Ticket { .. } | Changed::Article { .. } => {
                    return Err(Error::Bug("a change reached the index without its derived row"));
                }
                Changed::Deleted { kind } => {
                    // What was queued before the deletion must not come back after it.
                    self.index.upsert(std::mem::take(&mut entries))?;
                    self.remove(kind, &change.id)?;
                }
            }
        }
        self.index.upsert(entries)?;
        self.index.commit(last_seq)?;
        self.applied_seq = last_seq;
        Ok(())
    }

    pub(super) fn drop_unknown(&mut self) -> Result<()> {
        let n = self.index.remove_unknown()?;
        if n > 0 {
            self.index.commit(self.applied_seq)?;
        }
        Ok(())
    }

    /// The head that decides on a field, trained or made of label names.
    pub(super) fn head(&self, field: &str) -> Option<&FieldModel> {
        self.trained.get(field).or_else(|| self.untrained.get(field))
    }

    /// A field of the closed set.
    pub(super) fn field(&self, field: &str) -> Option<&Field> {
        self.taxonomy.field(field)
    }

    /// True when a ticket has these labels, each given by id or name.
    pub(super) fn has_labels(&self, ticket: &TicketDocument, wanted: &BTreeMap<String, String>) -> bool {
        wanted.iter().all(|(field_id, value)| {
            let Some(field) = self.taxonomy.field(field_id) else { return false };
            let label = ticket.labels.get(field_id).and_then(|label| field.resolve(label));
            label.is_some() && label.map(|label| &label.id) == field.resolve(value).map(|label| &label.id)
        })
    }

    fn put_ticket(&mut self, ticket: Ticket, derived: Derived) {
        let resolved = ticket.is_resolved();
        let document = TicketDocument {
            title: if derived.title.is_empty() { first_words(&derived.text) } else { derived.title },
            text: derived.text,
            language: derived.language,
            resolved,
            resolved_at: ticket.resolved_at,
            resolution: ticket
                .resolution
                .map(|resolution| text::canonical_resolution(&resolution, ticket.content_type))
                .filter(|resolution| !resolution.is_empty()),
            labels: ticket.labels,
        };
        self.tally.add(&document, 1);
        if let Some(former) = self.tickets.insert(ticket.id, document) {
            self.tally.add(&former, -1);
        }
    }

    fn put_article(&mut self, article: Article, derived: Derived) {
        let document =
            ArticleDocument { title: derived.title, body: derived.text, language: derived.language, url: article.url };
        self.articles.insert(article.id, document);
    }

    fn remove(&mut self, kind: Kind, id: &str) -> Result<()> {
        match kind {
            Kind::Ticket => {
                if let Some(former) = self.tickets.remove(id) {
                    self.tally.add(&former, -1);
                }
                self.index.remove(Pool::Tickets, id)
            }
            Kind::Article => {
                self.articles.remove(id);
                self.index.remove(Pool::Articles, id)
            }
        }
    }
}

impl Tally {
    fn add(&mut self, ticket: &TicketDocument, n: i32) {
        if !ticket.resolved {
            return;
        }
        for (field, label) in &ticket.labels {
            let of_label = self.labels.entry((field.clone(), label.clone())).or_default();
            *of_label = of_label.saturating_add_signed(n);
            let of_language = self.languages.entry((field.clone(), ticket.language)).or_default();
            *of_language = of_language.saturating_add_signed(n);
        }
    }
}

/// Heads made of label names and descriptions, one per field that has labels.
pub(super) fn untrained_heads(
    encoder: &Encoder,
    general: &General,
    taxonomy: &Taxonomy,
) -> Result<BTreeMap<String, FieldModel>> {
    let mut heads = BTreeMap::new();
    for field in &taxonomy.fields {
        let (label_ids, names) = label_names(encoder, field)?;
        if !label_ids.is_empty() {
            heads.insert(field.id.clone(), FieldModel::from_names(&label_ids, &names, &general.standardiser));
        }
    }
    Ok(heads)
}

/// Ids of the labels that may be given, and the vectors of their names, [labels, dim] in the same order.
pub(crate) fn label_names(encoder: &Encoder, field: &Field) -> Result<(Vec<String>, Vec<f32>)> {
    let (ids, texts): (Vec<String>, Vec<String>) = field.active().map(|label| (label.id.clone(), label.text())).unzip();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let names = encoder.embed(&texts, Prompt::Query, TICKET_TOKENS)?;
    Ok((ids, names.rows().flatten().copied().collect()))
}

fn ticket_entry(ticket: &Ticket, derived: &Derived, seq: u64) -> Entry {
    let mut rows = derived.rows.chunks(derived.dim.max(1)).map(<[f32]>::to_vec);
    Entry {
        pool: Pool::Tickets,
        id: ticket.id.clone(),
        seq,
        language: derived.language,
        resolved: ticket.is_resolved(),
        title: derived.title.clone(),
        text: derived.text.clone(),
        whole: rows.next().unwrap_or_default(),
        title_vector: if derived.has_title { rows.next() } else { None },
        passages: Vec::new(),
    }
}

fn article_entry(derived: &Derived, id: String, seq: u64) -> Entry {
    let mut rows = derived.rows.chunks(derived.dim.max(1)).map(<[f32]>::to_vec);
    let whole = rows.next().unwrap_or_default();
    let title_vector = if derived.has_title { rows.next() } else { None };
    let passages = derived.passages.iter().zip(rows).map(|(range, vector)| PassageVector { range: *range, vector });
    Entry {
        pool: Pool::Articles,
        id,
        seq,
        language: derived.language,
        resolved: true,
        title: derived.title.clone(),
        text: derived.text.clone(),
        whole,
        title_vector,
        passages: passages.collect(),
    }
}

/// Enough of a text to recognise it by, cut at a word.
fn first_words(text: &str) -> String {
    const MOST_CHARS: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= MOST_CHARS {
        return line.to_owned();
    }
    let cut: String = line.chars().take(MOST_CHARS).collect();
    let end = cut.rfind(' ').unwrap_or(cut.len());
    format!("{} …", &cut[..end])
}

fn folder_name(department: &str) -> String {
    use sha2::{Digest, Sha256};
    let readable: String =
        department.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(40).collect();
    let hash = Sha256::digest(department.as_bytes());
    format!("{readable}-{:02x}{:02x}{:02x}{:02x}", hash[0], hash[1], hash[2], hash[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_are_safe_and_distinct() {
        assert!(folder_name("it").starts_with("it-"));
        assert_ne!(folder_name("a/b"), folder_name("a_b"));
        assert!(folder_name("../../etc").starts_with("______etc-"));
    }

    #[test]
    fn first_words_end_at_a_word() {
        assert_eq!(first_words("kurz\nzweite Zeile"), "kurz");
        let long = "Wort ".repeat(40);
        let cut = first_words(&long);
        assert!(cut.ends_with("Wort …") && cut.chars().count() <= 82, "{cut}");
    }
}
