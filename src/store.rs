//! The record of truth: here are tickets, articles, outcomes, decisions and models, keep them; give me what changed
//! since. One SQLite file, `triage.db`, in the data directory, which any `sqlite3` can read.
//!
//! A write that was answered with `Ok` is committed and synced. It never searches, and indexes are derived from it.
//!
//! ```text
//! async callers ──► queue ──► one writer thread ──► group commit, synchronous=FULL ──► triage.db
//!       └─────────► a few read-only connections on blocking threads, each read one snapshot ◄┘
//! ```
//!
//! A call that is dropped before it answers has its write done all the same, once that is queued.

mod changes;
mod decisions;
mod departments;
mod migrate;
mod models;
mod open;
mod quotes;
mod records;
mod sqlite;
mod writer;

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rusqlite::params;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};
use crate::taxonomy::Taxonomy;
use crate::ticket::{Article, Language, Outcome, Ticket, Triage};
use departments::Unknown;
use sqlite::Database;

/// The store of one data directory; a clone is another handle to the same. The directory stays locked until the last
/// handle is dropped, which waits for the writes that are queued.
#[derive(Clone)]
pub struct Store {
    database: Arc<Database>,
}

/// What an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A ticket.
    Ticket,
    /// A knowledge article.
    Article,
}

/// What an upsert did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upserted {
    /// Records that were handed in, changed or not.
    pub n: usize,
    /// Highest change number among them: whoever has read up to it has read all of them. 0 for none.
    pub change_seq: u64,
    /// Labels that the taxonomy lacked and now has, as (field, label), in order of appearance.
    pub added_labels: Vec<(String, String)>,
}

/// One object that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Number of the object's last change.
    pub seq: u64,
    /// Department it belongs to.
    pub department: String,
    /// Its id.
    pub id: String,
    /// What it is now.
    pub object: Changed,
}

/// An object after its last change.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A ticket that is there.
    Ticket {
        /// The ticket.
        ticket: Box<Ticket>,
        /// SHA-256 over what its canonical text is made of, 64 hex digits.
        text_hash: String,
        /// What was derived from it, if that is still valid.
        derived: Option<Derived>,
    },
    /// An article that is there.
    Article {
        /// The article.
        article: Box<Article>,
        /// SHA-256 over what its canonical text is made of, 64 hex digits.
        text_hash: String,
        /// What was derived from it, if that is still valid.
        derived: Option<Derived>,
    },
    /// An object that was deleted.
    Deleted {
        /// What it was.
        kind: Kind,
    },
}

/// What the pipeline makes of one object, so that a restart need not embed it again. Valid for one encoder, one text
/// version and one text hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Fingerprint of the encoder.
    pub encoder: String,
    /// Version of the canonical form.
    pub text_version: u32,
    /// The [`Changed`] object's hash when this was made.
    pub text_hash: String,
    /// Language of the text.
    pub language: Language,
    /// Canonical title.
    pub title: String,
    /// Canonical text.
    pub text: String,
    /// Passages, in characters of `text`, the end excluded.
    pub passages: Vec<(usize, usize)>,
    /// Vectors `[k, dim]`: the whole, the title if `has_title`, then the passages. Kept as 16-bit floats, so each number
    /// comes back within 1/2048 of itself.
    pub rows: Vec<f32>,
    /// Numbers per vector.
    pub dim: usize,
    /// Whether the second vector is the title's.
    pub has_title: bool,
}

/// A decision as it was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DecisionRecord {
    /// UUIDv7 of the decision.
    pub decision_id: uuid::Uuid,
    /// Id of the ticket.
    pub ticket: String,
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// Model version that decided.
    pub model: String,
    /// The answer as it was given, less what was quoted from objects that are deleted by now.
    #[schema(value_type = Object)]
    pub triage: serde_json::Value,
}

/// A model to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewModel {
    /// The model itself.
    pub blob: Vec<u8>,
    /// Fingerprint of the encoder it was trained on.
    pub encoder: String,
    /// Version of the canonical form it was trained on.
    pub text_version: u32,
    /// Number of the last change that it has seen.
    pub data_seq: u64,
    /// How good it is.
    pub metrics: serde_json::Value,
    /// Whether it becomes the active version in the same transaction.
    pub activate: bool,
}

/// A stored model version, without the model.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelInfo {
    /// Department it decides for.
    pub department: String,
    /// Counts up from 1 in each department.
    pub version: u32,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
    /// Fingerprint of the encoder it was trained on.
    pub encoder: String,
    /// Version of the canonical form it was trained on.
    pub text_version: u32,
    /// Number of the last change that it has seen.
    pub data_seq: u64,
    /// How good it is.
    #[schema(value_type = Object)]
    pub metrics: serde_json::Value,
    /// Whether it decides now.
    pub active: bool,
    /// Size of the model.
    pub bytes: u64,
}

impl Kind {
    /// "ticket" or "article".
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ticket => "ticket",
            Kind::Article => "article",
        }
    }
}

impl Store {
    /// Opens the store of a data directory; a missing directory or store is created, an older one brought up to date.
    ///
    /// # Errors
    /// [`Error::Store`] when another process has the directory, the file is another program's, damaged, or of a newer
    /// version of Triage; [`Error::File`] when the directory cannot be used.
    pub async fn open(data_dir: &Path) -> Result<Store> {
        let data_dir = data_dir.to_owned();
        let database = blocking(move || Database::open(&data_dir)).await?;
        Ok(Store { database: Arc::new(database) })
    }

    /// Writes, commits and syncs a row, for the readiness probe.
    ///
    /// # Errors
    /// [`Error::Store`] when nothing can be written.
    pub async fn check_writable(&self) -> Result<()> {
        self.database
            .write(|connection| {
                let mut statement = connection
                    .prepare_cached("INSERT OR REPLACE INTO write_checks (only_row, checked_at) VALUES (1, ?1)")?;
                statement.execute(params![sqlite::timestamp(&Utc::now())])?;
                Ok(())
            })
            .await
    }

    /// Ids of all departments, sorted.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read; the same holds for every read below.
    pub async fn departments(&self) -> Result<Vec<String>> {
        self.database.read(departments::list).await
    }

    /// The department's taxonomy and its revision; None for an unknown department.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn taxonomy(&self, department: &str) -> Result<Option<(Taxonomy, u64)>> {
        let department = department.to_owned();
        self.database.read(move |connection| departments::taxonomy(connection, &department)).await
    }

    /// Replaces the department's taxonomy and returns its revision, which counts up from 1; the same taxonomy again
    /// keeps its revision. Creates the department when it is missing. Stored labels stay as they are.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a taxonomy that breaks its rules; [`Error::Store`] when nothing can be written, as for
    /// every write below.
    pub async fn put_taxonomy(&self, department: &str, taxonomy: &Taxonomy) -> Result<u64> {
        let (department, taxonomy) = (department.to_owned(), taxonomy.clone());
        self.database.write(move |connection| departments::put_taxonomy(connection, &department, &taxonomy)).await
    }

    /// Stores tickets, each replacing the one with its id, all of them or none. A label given by name is stored by id;
    /// one that the taxonomy lacks is added to it, or refused when `closed`. A record that is there already, equal byte
    /// for byte, is no change. A `department` inside a record gives way to `department`. Creates the department when it
    /// is missing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a ticket that breaks its rules, or at `/labels/FIELD` for a label outside the closed set.
    pub async fn upsert_tickets(&self, department: &str, tickets: &[Ticket], closed: bool) -> Result<Upserted> {
        let (department, tickets) = (department.to_owned(), tickets.to_vec());
        let unknown = if closed { Unknown::Refuse } else { Unknown::Add };
        self.database.write(move |connection| records::upsert_tickets(connection, &department, tickets, unknown)).await
    }

    /// Stores articles, as [`Store::upsert_tickets`] does tickets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an article that breaks its rules.
    pub async fn upsert_articles(&self, department: &str, articles: &[Article]) -> Result<Upserted> {
        let (department, articles) = (department.to_owned(), articles.to_vec());
        self.database.write(move |connection| records::upsert_articles(connection, &department, articles)).await
    }

    /// Deletes an object with all that was derived from it, reported or decided about it, and its words in decisions
    /// about others; returns the number of this change. What stays is its id, so that indexes can follow. The bytes
    /// are overwritten, in the file and its log, within a second or as soon as no reader needs them.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such object.
    pub async fn delete(&self, kind: Kind, department: &str, id: &str) -> Result<u64> {
        let (department, id) = (department.to_owned(), id.to_owned());
        self.database.erase(move |connection| records::delete(connection, kind, &department, &id)).await
    }

    /// The ticket with this id.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn ticket(&self, department: &str, id: &str) -> Result<Option<Ticket>> {
        let (department, id) = (department.to_owned(), id.to_owned());
        self.database.read(move |connection| records::ticket(connection, &department, &id)).await
    }

    /// The article with this id.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn article(&self, department: &str, id: &str) -> Result<Option<Article>> {
        let (department, id) = (department.to_owned(), id.to_owned());
        self.database.read(move |connection| records::article(connection, &department, &id)).await
    }

    /// At most `limit` tickets whose id comes after `after`, in byte order of their ids.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn tickets(&self, department: &str, after: Option<&str>, limit: usize) -> Result<Vec<Ticket>> {
        let (department, after) = (department.to_owned(), after.unwrap_or_default().to_owned());
        self.database.read(move |connection| records::page(connection, Kind::Ticket, &department, &after, limit)).await
    }

    /// At most `limit` articles whose id comes after `after`, in byte order of their ids.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn articles(&self, department: &str, after: Option<&str>, limit: usize) -> Result<Vec<Article>> {
        let (department, after) = (department.to_owned(), after.unwrap_or_default().to_owned());
        self.database.read(move |connection| records::page(connection, Kind::Article, &department, &after, limit)).await
    }

    /// How many tickets or articles a department has.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn count(&self, kind: Kind, department: &str) -> Result<u64> {
        let department = department.to_owned();
        self.database.read(move |connection| records::count(connection, kind, &department)).await
    }

    /// How many resolved tickets with labels of a department have changed after change `after`.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn labelled_since(&self, department: &str, after: u64) -> Result<u64> {
        let department = department.to_owned();
        self.database.read(move |connection| records::labelled_since(connection, &department, after)).await
    }

    /// Merges an outcome into its ticket and resolves it; returns the number of this change. The ticket is resolved at
    /// `closed_at`, else when it was before, else now. Fields and a resolution that the outcome does not name stay.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such ticket; [`Error::Invalid`] at `/labels/FIELD` for a label outside the
    /// closed set, and nothing is stored.
    pub async fn record_outcome(&self, department: &str, ticket_id: &str, outcome: &Outcome) -> Result<u64> {
        let (department, ticket_id, outcome) = (department.to_owned(), ticket_id.to_owned(), outcome.clone());
        self.database
            .write(move |connection| decisions::record_outcome(connection, &department, &ticket_id, &outcome))
            .await
    }

    /// Stores decisions, all of them or none, and with each its ticket: as open and without labels when it is not there
    /// yet; in place of a stored open one, whose labels stay, when its text is another; not at all when it is stored as
    /// resolved. A decision whose id is there already is left as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a ticket that breaks its rules.
    pub async fn record_decisions(&self, department: &str, decisions: &[(Ticket, Triage)]) -> Result<()> {
        let (department, decisions) = (department.to_owned(), decisions.to_vec());
        self.database.write(move |connection| decisions::record(connection, &department, decisions)).await
    }

    /// At most `limit` decisions whose id comes after `after`, by id, which for UUIDv7 is by time.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn decisions(
        &self,
        department: &str,
        after: Option<uuid::Uuid>,
        limit: usize,
    ) -> Result<Vec<DecisionRecord>> {
        let department = department.to_owned();
        self.database.read(move |connection| decisions::page(connection, &department, after, limit)).await
    }

    /// Number of the last change; 0 before the first. The sequence runs over tickets, articles and deletions of all
    /// departments, and never repeats a number.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn last_seq(&self) -> Result<u64> {
        self.database.read(changes::last_seq).await
    }

    /// At most `limit` objects that changed after `after`, each with its last change only, by ascending number, from one
    /// snapshot. Derived rows come along when they are of this encoder and text version and the text is still the same.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn changes_since(
        &self,
        after: u64,
        limit: usize,
        encoder: &str,
        text_version: u32,
    ) -> Result<Vec<Change>> {
        let encoder = encoder.to_owned();
        self.database.read(move |connection| changes::since(connection, after, limit, &encoder, text_version)).await
    }

    /// Keeps derived rows as (kind, department, id, row). Not a change. A row whose object is gone or reads differently
    /// by now is left out.
    ///
    /// # Errors
    /// [`Error::Bug`] when the vectors of a row are not as many as its title and passages ask for.
    pub async fn put_derived(&self, rows: Vec<(Kind, String, String, Derived)>) -> Result<()> {
        self.database
            .write(move |connection| {
                rows.iter().try_for_each(|(kind, department, id, derived)| {
                    changes::put_derived(connection, *kind, department, id, derived)
                })
            })
            .await
    }

    /// Stores a model and returns its version, which counts up from 1 in each department.
    ///
    /// # Errors
    /// [`Error::Store`] when nothing can be written.
    pub async fn put_model(&self, department: &str, model: NewModel) -> Result<u32> {
        let department = department.to_owned();
        self.database.write(move |connection| models::put(connection, &department, &model)).await
    }

    /// The stored versions of one department or of all, by department and version.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn models(&self, department: Option<&str>) -> Result<Vec<ModelInfo>> {
        let department = department.map(str::to_owned);
        self.database.read(move |connection| models::list(connection, department.as_deref())).await
    }

    /// The model of one version.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn model(&self, department: &str, version: u32) -> Result<Option<Vec<u8>>> {
        let department = department.to_owned();
        self.database.read(move |connection| models::blob(connection, &department, version)).await
    }

    /// The version that decides now, and its model.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn active_model(&self, department: &str) -> Result<Option<(u32, Vec<u8>)>> {
        let department = department.to_owned();
        self.database.read(move |connection| models::active(connection, &department)).await
    }

    /// Makes a version the active one. The one before is remembered for [`Store::rollback`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such version.
    pub async fn promote(&self, department: &str, version: u32) -> Result<()> {
        let department = department.to_owned();
        self.database.write(move |connection| models::promote(connection, &department, version)).await
    }

    /// The last `limit` versions that became active, the active one first: what [`Store::rollback`] would return to, one
    /// after the other.
    ///
    /// # Errors
    /// [`Error::Store`] when the file cannot be read.
    pub async fn activations(&self, department: &str, limit: usize) -> Result<Vec<u32>> {
        let department = department.to_owned();
        self.database.read(move |connection| models::activations(connection, &department, limit)).await
    }

    /// Deletes all but the `keep` newest versions, and returns what was deleted, ascending. The active version and those
    /// that the next two rollbacks return to stay in any case.
    ///
    /// # Errors
    /// [`Error::Store`] when nothing can be written.
    pub async fn prune_models(&self, department: &str, keep: u32) -> Result<Vec<u32>> {
        let department = department.to_owned();
        self.database.erase(move |connection| models::prune(connection, &department, keep)).await
    }

    /// Returns to the version that was active before, and to the one before that when called again.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there was none, and nothing changes.
    pub async fn rollback(&self, department: &str) -> Result<u32> {
        let department = department.to_owned();
        self.database.write(move |connection| models::rollback(connection, &department)).await
    }
}

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Bug("blocking work panicked"))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use half::f16;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::taxonomy::{Automation, Field, Label};
    use crate::ticket::{
        Answer, AnswerStatus, ArticleHit, CitedSentence, ContentType, Excerpt, Message, PassageExcerpt, Requester,
        Role, SimilarTicket, Source, SourceKind, Status, TextReport, Timing,
    };

    const ENCODER: &str = "sha256:ab12cd34ef56";

    async fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        (folder, store)
    }

    fn ticket(id: &str) -> Ticket {
        Ticket {
            id: id.to_owned(),
            subject: "VPN".to_owned(),
            body: format!("Fehler 809 in {id}"),
            ..Ticket::default()
        }
    }

    fn labelled(id: &str, field: &str, label: &str) -> Ticket {
        Ticket { labels: labels(&[(field, label)]), ..ticket(id) }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(field, label)| ((*field).to_owned(), (*label).to_owned())).collect()
    }

    fn article(id: &str) -> Article {
        Article { id: id.to_owned(), title: "VPN".to_owned(), body: format!("# {id}"), ..Article::default() }
    }

    /// Every optional part filled in.
    fn full_ticket() -> Ticket {
        let time = "2026-01-02T08:00:00.123456789Z".parse().unwrap();
        Ticket {
            content_type: ContentType::Html,
            department: Some("it".to_owned()),
            language: Some("de-AT".to_owned()),
            channel: Some("email".to_owned()),
            requester: Some(Requester { id: Some("u81".to_owned()), organization: None }),
            status: Some(Status::Resolved),
            created_at: Some(time),
            resolved_at: Some(time),
            labels: labels(&[("category", "Network::VPN"), ("a/b~c", "x")]),
            resolution: Some("MTU auf 1350 gesetzt \u{0}\u{1F600}".to_owned()),
            messages: vec![Message { role: Role::Agent, internal: true, body: "MTU?".to_owned(), at: Some(time) }],
            ..ticket("HELP/881 ü")
        }
    }

    fn vpn_taxonomy() -> Taxonomy {
        let vpn = Label { name: "Network::VPN".to_owned(), ..Label::new("net-vpn") };
        let field = Field {
            automation: Automation::Apply,
            labels: vec![vpn, Label::new("net-wifi")],
            ..Field::new("category")
        };
        Taxonomy { name: "IT".to_owned(), fields: vec![field] }
    }

    fn triage(number: u128, ticket: &str) -> Triage {
        let excerpt = Excerpt { text: "SECRETRESOLUTION".to_owned(), highlights: vec![(0, 6)] };
        let passage = PassageExcerpt { text: "KNOWNPASSAGE".to_owned(), range: (0, 12), highlights: Vec::new() };
        let sentence = |text: &str, kind, id: &str| CitedSentence {
            text: text.to_owned(),
            source: Source { kind, id: id.to_owned(), range: (0, 4) },
        };
        Triage {
            decision_id: Uuid::from_u128(number),
            ticket: ticket.to_owned(),
            model: "it/7 e5-small-de-en@sha256:ab12".to_owned(),
            language: Language::De,
            degraded: Vec::new(),
            text: TextReport::default(),
            fields: BTreeMap::new(),
            similar: vec![SimilarTicket {
                id: "T-1".to_owned(),
                title: "SECRETTITLE".to_owned(),
                score: 0.5,
                resolved_at: None,
                resolution: Some(excerpt),
            }],
            articles: vec![ArticleHit {
                id: "kb-1".to_owned(),
                title: "VPN".to_owned(),
                score: 0.25,
                url: None,
                passage,
            }],
            answer: Answer {
                status: AnswerStatus::Suggested,
                text: Some("SECRETANSWER. Neu starten.".to_owned()),
                sentences: vec![
                    sentence("SECRETANSWER.", SourceKind::Ticket, "T-1"),
                    sentence("Neu starten.", SourceKind::Article, "kb-1"),
                ],
            },
            duplicates: Vec::new(),
            timing_ms: Timing::default(),
        }
    }

    fn derived(text_hash: &str) -> Derived {
        Derived {
            encoder: ENCODER.to_owned(),
            text_version: 1,
            text_hash: text_hash.to_owned(),
            language: Language::De,
            title: "VPN".to_owned(),
            text: "VPN\nFehler 809".to_owned(),
            passages: vec![(0, 3), (4, 14)],
            rows: vec![0.5, -0.25, 1.0, 0.0, 0.125, 0.75, -1.0, 0.0625],
            dim: 2,
            has_title: true,
        }
    }

    async fn changes(store: &Store, after: u64) -> Vec<Change> {
        store.changes_since(after, 1000, ENCODER, 1).await.unwrap()
    }

    /// Hash and derived row of the only ticket.
    async fn only_ticket(store: &Store, encoder: &str, text_version: u32) -> (String, Option<Derived>) {
        let mut all = store.changes_since(0, 10, encoder, text_version).await.unwrap();
        match all.pop().unwrap().object {
            Changed::Ticket { text_hash, derived, .. } => (text_hash, derived),
            other => panic!("not a ticket: {other:?}"),
        }
    }

    fn invalid_pointer<T: std::fmt::Debug>(result: Result<T>) -> String {
        match result {
            Err(Error::Invalid { pointer, .. }) => pointer,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn store_reason<T>(result: Result<T>) -> String {
        match result {
            Err(Error::Store { reason, .. }) => reason,
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("no error"),
        }
    }

    #[tokio::test]
    async fn records_come_back_as_they_came_and_survive_a_restart() {
        let (folder, store) = open().await;
        let tickets = [full_ticket(), ticket("a"), ticket("B")];
        let articles = [Article { url: Some("https://kb".to_owned()), ..article("kb-2") }, article("kb-1")];
        let upserted = store.upsert_tickets("it", &tickets, false).await.unwrap();
        assert_eq!((upserted.n, upserted.change_seq), (3, 3));
        assert_eq!(store.upsert_articles("it", &articles).await.unwrap().change_seq, 5);
        drop(store);

        let store = Store::open(folder.path()).await.unwrap();
        let [full, a, b] = tickets;
        assert_eq!(store.ticket("it", &full.id).await.unwrap(), Some(full.clone()));
        assert_eq!(store.tickets("it", None, 2).await.unwrap(), [b.clone(), full]);
        assert_eq!(store.tickets("it", Some("HELP/881 ü"), 2).await.unwrap(), [a]);
        assert_eq!(store.articles("it", None, 10).await.unwrap(), [articles[1].clone(), articles[0].clone()]);
        assert_eq!(store.article("it", "kb-1").await.unwrap(), Some(articles[1].clone()));
        assert_eq!(store.count(Kind::Ticket, "it").await.unwrap(), 3);
        assert_eq!(store.count(Kind::Article, "it").await.unwrap(), 2);
        assert_eq!(store.departments().await.unwrap(), ["it"]);
        assert_eq!(store.last_seq().await.unwrap(), 5);
        store.check_writable().await.unwrap();
    }

    #[tokio::test]
    async fn a_department_is_a_wall() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[labelled("1", "category", "VPN")], false).await.unwrap();
        let elsewhere = Ticket { department: Some("it".to_owned()), ..labelled("1", "category", "Urlaub") };
        store.upsert_tickets("hr", &[elsewhere], false).await.unwrap();
        assert_eq!(store.ticket("hr", "1").await.unwrap().unwrap().department.as_deref(), Some("hr"));
        assert_eq!(store.ticket("it", "1").await.unwrap(), Some(labelled("1", "category", "VPN")));
        assert!(store.taxonomy("it").await.unwrap().unwrap().0.field("category").unwrap().find("Urlaub").is_none());
        store.delete(Kind::Ticket, "hr", "1").await.unwrap();
        assert_eq!(store.count(Kind::Ticket, "it").await.unwrap(), 1);
        assert_eq!(store.ticket("finance", "1").await.unwrap(), None);
        assert_eq!(store.taxonomy("finance").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_taxonomy_counts_its_versions() {
        let (_folder, store) = open().await;
        let mut taxonomy = vpn_taxonomy();
        assert_eq!(store.put_taxonomy("it", &taxonomy).await.unwrap(), 1);
        assert_eq!(store.put_taxonomy("it", &taxonomy).await.unwrap(), 1);
        taxonomy.fields[0].automation = Automation::Off;
        assert_eq!(store.put_taxonomy("it", &taxonomy).await.unwrap(), 2);
        assert_eq!(store.taxonomy("it").await.unwrap(), Some((taxonomy.clone(), 2)));
        taxonomy.fields[0].precision_target = 2.0;
        assert_eq!(invalid_pointer(store.put_taxonomy("it", &taxonomy).await), "/fields/0/precision_target");
        assert_eq!(invalid_pointer(store.put_taxonomy("", &vpn_taxonomy()).await), "/department");
    }

    #[tokio::test]
    async fn a_label_the_taxonomy_lacks_is_added() {
        let (_folder, store) = open().await;
        let tickets =
            [labelled("1", "category", "VPN"), labelled("2", "priority", "3 normal"), labelled("3", "category", "VPN")];
        let upserted = store.upsert_tickets("it", &tickets, false).await.unwrap();
        let added = [("category", "VPN"), ("priority", "3 normal")].map(|(f, l)| (f.to_owned(), l.to_owned()));
        assert_eq!(upserted.added_labels, added);
        let (taxonomy, revision) = store.taxonomy("it").await.unwrap().unwrap();
        assert_eq!(revision, 2);
        assert!(taxonomy.field("priority").unwrap().ordinal);
        assert_eq!(taxonomy.field("category").unwrap().labels, [Label::new("VPN")]);
    }

    #[tokio::test]
    async fn a_closed_set_refuses_other_labels_and_stores_nothing_of_the_batch() {
        let (_folder, store) = open().await;
        store.put_taxonomy("it", &vpn_taxonomy()).await.unwrap();
        for (field, label, pointer) in
            [("category", "Drucker", "/labels/category"), ("a/b~c", "net-vpn", "/labels/a~1b~0c")]
        {
            let batch = [labelled("1", "category", "net-vpn"), labelled("2", field, label)];
            assert_eq!(invalid_pointer(store.upsert_tickets("it", &batch, true).await), pointer);
        }
        let batch = [labelled("1", "category", "Drucker"), Ticket { id: "2".to_owned(), ..Ticket::default() }];
        assert_eq!(invalid_pointer(store.upsert_tickets("it", &batch, false).await), "/body");
        assert_eq!(store.count(Kind::Ticket, "it").await.unwrap(), 0);
        assert_eq!(store.taxonomy("it").await.unwrap(), Some((vpn_taxonomy(), 1)));
        assert_eq!(store.last_seq().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_label_given_by_name_is_stored_by_id() {
        let (_folder, store) = open().await;
        store.put_taxonomy("it", &vpn_taxonomy()).await.unwrap();
        let upserted = store.upsert_tickets("it", &[labelled("1", "category", "Network::VPN")], true).await.unwrap();
        assert_eq!(upserted.added_labels, []);
        assert_eq!(store.ticket("it", "1").await.unwrap(), Some(labelled("1", "category", "net-vpn")));
    }

    #[tokio::test]
    async fn an_equal_record_is_no_change() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[ticket("1"), ticket("2")], false).await.unwrap();
        store.upsert_articles("it", &[article("1")]).await.unwrap();
        let again = store.upsert_tickets("it", &[ticket("1"), ticket("2")], false).await.unwrap();
        assert_eq!((again.n, again.change_seq), (2, 2));
        assert_eq!(store.upsert_articles("it", &[article("1")]).await.unwrap().change_seq, 3);
        assert_eq!(store.last_seq().await.unwrap(), 3);
        let changed = Ticket { channel: Some("phone".to_owned()), ..ticket("1") };
        assert_eq!(store.upsert_tickets("it", &[changed], false).await.unwrap().change_seq, 4);
    }

    #[tokio::test]
    async fn changes_are_merged_by_number_and_numbers_never_come_back() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[ticket("1"), ticket("2")], false).await.unwrap();
        store.upsert_articles("hr", &[article("kb")]).await.unwrap();
        assert_eq!(store.delete(Kind::Ticket, "it", "1").await.unwrap(), 4);
        assert_eq!(store.delete(Kind::Article, "hr", "kb").await.unwrap(), 5);
        store.upsert_articles("hr", &[article("kb")]).await.unwrap();

        let seen: Vec<(u64, String, String, &str)> = changes(&store, 0)
            .await
            .into_iter()
            .map(|change| {
                let object = match change.object {
                    Changed::Ticket { .. } => "ticket",
                    Changed::Article { .. } => "article",
                    Changed::Deleted { kind: Kind::Ticket } => "ticket gone",
                    Changed::Deleted { kind: Kind::Article } => "article gone",
                };
                (change.seq, change.department, change.id, object)
            })
            .collect();
        let expected = [(2, "it", "2", "ticket"), (4, "it", "1", "ticket gone"), (6, "hr", "kb", "article")]
            .map(|(seq, department, id, object)| (seq, department.to_owned(), id.to_owned(), object));
        assert_eq!(seen, expected);
        let page = store.changes_since(2, 1, ENCODER, 1).await.unwrap();
        assert_eq!(page.iter().map(|change| change.seq).collect::<Vec<_>>(), [4]);
        assert_eq!(changes(&store, 6).await, []);
        assert_eq!(changes(&store, u64::MAX).await, []);
    }

    #[tokio::test]
    async fn a_deleted_object_is_gone() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[ticket("1")], false).await.unwrap();
        store.delete(Kind::Ticket, "it", "1").await.unwrap();
        assert_eq!(store.ticket("it", "1").await.unwrap(), None);
        for kind in [Kind::Ticket, Kind::Article] {
            assert!(matches!(store.delete(kind, "it", "1").await, Err(Error::NotFound { .. })));
        }
        assert_eq!(store.last_seq().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn derived_rows_hold_for_one_encoder_one_text_version_and_one_text() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[ticket("1")], false).await.unwrap();
        let (hash, none) = only_ticket(&store, ENCODER, 1).await;
        assert_eq!(none, None);
        let row = derived(&hash);
        let put = |row: Derived| store.put_derived(vec![(Kind::Ticket, "it".to_owned(), "1".to_owned(), row)]);
        put(derived("another text")).await.unwrap();
        assert_eq!(only_ticket(&store, ENCODER, 1).await.1, None);
        put(row.clone()).await.unwrap();
        assert_eq!(only_ticket(&store, ENCODER, 1).await.1, Some(row.clone()));
        assert_eq!(only_ticket(&store, "sha256:other", 1).await.1, None);
        assert_eq!(only_ticket(&store, ENCODER, 2).await.1, None);
        assert_eq!(store.last_seq().await.unwrap(), 1);

        // Labels, status and resolution are no text.
        let resolved = Ticket { resolution: Some("MTU".to_owned()), ..labelled("1", "category", "VPN") };
        store.upsert_tickets("it", &[resolved], false).await.unwrap();
        assert_eq!(only_ticket(&store, ENCODER, 1).await, (hash, Some(row.clone())));
        let reworded = Ticket { subject: "WLAN".to_owned(), ..ticket("1") };
        store.upsert_tickets("it", &[reworded], false).await.unwrap();
        assert_eq!(only_ticket(&store, ENCODER, 1).await.1, None);
        put(row).await.unwrap();
        assert_eq!(only_ticket(&store, ENCODER, 1).await.1, None);
        let count = "SELECT count(*) FROM derived";
        let n_kept = store.database.read(|connection| Ok(connection.query_row(count, [], |row| row.get::<_, i64>(0))?));
        assert_eq!(n_kept.await.unwrap(), 0, "the old wording is kept");
        let gone = vec![(Kind::Article, "it".to_owned(), "nowhere".to_owned(), derived("x"))];
        store.put_derived(gone).await.unwrap();
    }

    #[tokio::test]
    async fn derived_rows_of_another_length_are_refused() {
        let (_folder, store) = open().await;
        for row in [Derived { has_title: false, ..derived("x") }, Derived { dim: 0, ..derived("x") }] {
            let rows = vec![(Kind::Ticket, "it".to_owned(), "1".to_owned(), row)];
            assert!(matches!(store.put_derived(rows).await, Err(Error::Bug(_))));
        }
    }

    #[tokio::test]
    async fn an_outcome_is_merged_into_its_ticket() {
        let (_folder, store) = open().await;
        store.put_taxonomy("it", &vpn_taxonomy()).await.unwrap();
        let open_ticket = Ticket { status: Some(Status::Open), ..labelled("1", "category", "net-wifi") };
        store.upsert_tickets("it", std::slice::from_ref(&open_ticket), false).await.unwrap();
        let closed_at = "2026-01-02T09:10:00Z".parse().unwrap();
        let outcome = Outcome {
            labels: labels(&[("category", "Network::VPN")]),
            closed_at: Some(closed_at),
            ..Outcome::default()
        };
        assert_eq!(store.record_outcome("it", "1", &outcome).await.unwrap(), 2);
        let merged = Ticket {
            labels: labels(&[("category", "net-vpn")]),
            status: Some(Status::Resolved),
            resolved_at: Some(closed_at),
            ..open_ticket
        };
        assert_eq!(store.ticket("it", "1").await.unwrap(), Some(merged.clone()));

        let correction = Outcome { resolution: Some("MTU".to_owned()), ..Outcome::default() };
        assert_eq!(store.record_outcome("it", "1", &correction).await.unwrap(), 3);
        let corrected = Ticket { resolution: Some("MTU".to_owned()), ..merged };
        assert_eq!(store.ticket("it", "1").await.unwrap(), Some(corrected.clone()));
        assert_eq!(store.record_outcome("it", "1", &correction).await.unwrap(), 3);

        let outside = Outcome { labels: labels(&[("category", "net-vpn"), ("a/b", "x")]), ..Outcome::default() };
        assert_eq!(invalid_pointer(store.record_outcome("it", "1", &outside).await), "/labels/a~1b");
        assert_eq!(store.ticket("it", "1").await.unwrap(), Some(corrected));
        let nowhere = store.record_outcome("hr", "1", &Outcome::default()).await;
        assert!(matches!(nowhere, Err(Error::NotFound { what: "ticket", .. })));
        assert_eq!(store.departments().await.unwrap(), ["it"]);
    }

    #[tokio::test]
    async fn an_open_ticket_without_a_closing_time_is_resolved_now() {
        let (_folder, store) = open().await;
        let open_ticket = Ticket { status: Some(Status::Open), resolved_at: Some(DateTime::UNIX_EPOCH), ..ticket("1") };
        store.upsert_tickets("it", &[open_ticket], false).await.unwrap();
        let before = Utc::now() - chrono::TimeDelta::milliseconds(1);
        store.record_outcome("it", "1", &Outcome::default()).await.unwrap();
        assert!(store.ticket("it", "1").await.unwrap().unwrap().resolved_at.unwrap() >= before);
    }

    #[tokio::test]
    async fn decisions_bring_their_tickets_but_never_overrule_a_resolved_one() {
        let (_folder, store) = open().await;
        store.put_taxonomy("it", &vpn_taxonomy()).await.unwrap();
        let resolved = Ticket { resolution: Some("MTU".to_owned()), ..labelled("old", "category", "net-vpn") };
        store.upsert_tickets("it", std::slice::from_ref(&resolved), false).await.unwrap();
        let arrived = Ticket { labels: labels(&[("category", "Network::VPN"), ("queue", "raw")]), ..ticket("new") };
        let batch =
            [(arrived, triage(1, "new")), (Ticket { body: "anders".to_owned(), ..ticket("old") }, triage(2, "old"))];
        store.record_decisions("it", &batch).await.unwrap();
        let stored = Ticket { status: Some(Status::Open), ..ticket("new") };
        assert_eq!(store.ticket("it", "new").await.unwrap(), Some(stored));
        assert_eq!(store.ticket("it", "old").await.unwrap(), Some(resolved));
        let seq = store.last_seq().await.unwrap();

        let same_text = Ticket { channel: Some("phone".to_owned()), ..ticket("new") };
        store.record_decisions("it", &[(same_text, triage(3, "new"))]).await.unwrap();
        assert_eq!(store.last_seq().await.unwrap(), seq);
        let reworded = Ticket { body: "Fehler 691".to_owned(), ..ticket("new") };
        store.record_decisions("it", &[(reworded, triage(4, "new"))]).await.unwrap();
        assert_eq!(store.ticket("it", "new").await.unwrap().unwrap().body, "Fehler 691");
        assert_eq!(store.last_seq().await.unwrap(), seq + 1);

        // The same decision again, and a batch with a bad ticket.
        store.record_decisions("it", &batch[..1]).await.unwrap();
        let bad = [(ticket("x"), triage(5, "x")), (Ticket::default(), triage(6, ""))];
        assert_eq!(invalid_pointer(store.record_decisions("it", &bad).await), "/id");
        let all = store.decisions("it", None, 10).await.unwrap();
        let seen: Vec<(u128, &str)> =
            all.iter().map(|record| (record.decision_id.as_u128(), record.ticket.as_str())).collect();
        assert_eq!(seen, [(1, "new"), (2, "old"), (3, "new"), (4, "new")]);
        assert_eq!(all[0].triage, serde_json::to_value(triage(1, "new")).unwrap());
        assert_eq!(all[0].model, "it/7 e5-small-de-en@sha256:ab12");
        let page = store.decisions("it", Some(Uuid::from_u128(2)), 1).await.unwrap();
        assert_eq!(page.iter().map(|record| record.decision_id.as_u128()).collect::<Vec<_>>(), [3]);
    }

    #[tokio::test]
    async fn the_time_of_a_decision_is_that_of_its_id() {
        let (_folder, store) = open().await;
        let time = uuid::Timestamp::from_unix(uuid::NoContext, 1_767_340_800, 123_000_000);
        let decision = Triage { decision_id: Uuid::new_v7(time), ..triage(0, "1") };
        store.record_decisions("it", &[(ticket("1"), decision)]).await.unwrap();
        let at = store.decisions("it", None, 1).await.unwrap()[0].at;
        assert_eq!(at, "2026-01-02T08:00:00.123Z".parse::<DateTime<Utc>>().unwrap());
    }

    #[tokio::test]
    async fn deleting_an_object_takes_its_words_out_of_the_files() {
        let (folder, store) = open().await;
        let secret = Ticket {
            subject: "SECRETTITLE".to_owned(),
            body: "SECRETBODY ".repeat(2000),
            resolution: Some("SECRETRESOLUTION SECRETANSWER.".to_owned()),
            status: Some(Status::Open),
            ..ticket("T-1")
        };
        store.upsert_tickets("it", &[secret], false).await.unwrap();
        let (hash, _) = only_ticket(&store, ENCODER, 1).await;
        let row = Derived { title: "SECRETTITLE".to_owned(), text: "SECRETBODY".to_owned(), ..derived(&hash) };
        store.put_derived(vec![(Kind::Ticket, "it".to_owned(), "T-1".to_owned(), row)]).await.unwrap();
        let outcome = Outcome { resolution: Some("SECRETOUTCOME".to_owned()), ..Outcome::default() };
        store.record_outcome("it", "T-1", &outcome).await.unwrap();
        let decisions = [(ticket("T-1"), triage(1, "T-1")), (ticket("T-2"), triage(2, "T-2"))];
        store.record_decisions("it", &decisions).await.unwrap();

        store.delete(Kind::Ticket, "it", "T-1").await.unwrap();
        drop(store);
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"SECRET"), "left in {}", path.display());
        }
        let store = Store::open(folder.path()).await.unwrap();
        let left = store.decisions("it", None, 10).await.unwrap();
        assert_eq!(left.iter().map(|record| record.ticket.as_str()).collect::<Vec<_>>(), ["T-2"]);
        assert_eq!(left[0].triage["similar"], json!([]));
        assert_eq!(left[0].triage["answer"]["text"], "Neu starten.");

        store.upsert_articles("it", &[article("kb-1")]).await.unwrap();
        store.delete(Kind::Article, "it", "kb-1").await.unwrap();
        let left = store.decisions("it", None, 10).await.unwrap();
        assert_eq!(left[0].triage["articles"], json!([]));
        assert_eq!(left[0].triage["answer"], json!({"status": "nothing_close", "sentences": []}));
        let sources: i64 = store
            .database
            .read(|connection| Ok(connection.query_row("SELECT count(*) FROM decision_sources", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert_eq!(sources, 0);
    }

    #[tokio::test]
    async fn models_are_promoted_and_rolled_back() {
        let (_folder, store) = open().await;
        let model = |byte: u8, activate| NewModel {
            blob: vec![byte; 3],
            encoder: ENCODER.to_owned(),
            text_version: 1,
            data_seq: 9,
            metrics: json!({"accuracy": 0.5}),
            activate,
        };
        assert_eq!(store.active_model("it").await.unwrap(), None);
        assert!(matches!(store.rollback("it").await, Err(Error::NotFound { .. })));
        assert_eq!(store.put_model("it", model(1, true)).await.unwrap(), 1);
        assert_eq!(store.put_model("it", model(2, false)).await.unwrap(), 2);
        assert_eq!(store.put_model("it", model(3, true)).await.unwrap(), 3);
        assert_eq!(store.put_model("hr", model(4, false)).await.unwrap(), 1);
        assert_eq!(store.active_model("it").await.unwrap(), Some((3, vec![3; 3])));
        assert_eq!(store.active_model("hr").await.unwrap(), None);
        store.promote("it", 2).await.unwrap();
        store.promote("it", 2).await.unwrap();
        assert!(matches!(store.promote("it", 9).await, Err(Error::NotFound { .. })));
        let active: Vec<(String, u32, bool, u64)> = store
            .models(None)
            .await
            .unwrap()
            .into_iter()
            .map(|info| (info.department, info.version, info.active, info.bytes))
            .collect();
        let expected = [("hr", 1, false), ("it", 1, false), ("it", 2, true), ("it", 3, false)]
            .map(|(department, version, active)| (department.to_owned(), version, active, 3));
        assert_eq!(active, expected);
        assert_eq!(store.rollback("it").await.unwrap(), 3);
        assert_eq!(store.rollback("it").await.unwrap(), 1);
        assert!(matches!(store.rollback("it").await, Err(Error::NotFound { .. })));
        assert_eq!(store.active_model("it").await.unwrap(), Some((1, vec![1; 3])));
        assert_eq!(store.model("it", 2).await.unwrap(), Some(vec![2; 3]));
        assert_eq!(store.model("it", 7).await.unwrap(), None);
        let info = store.models(Some("hr")).await.unwrap().remove(0);
        assert_eq!((info.data_seq, info.metrics), (9, json!({"accuracy": 0.5})));
    }

    #[tokio::test]
    async fn pruning_leaves_what_serves_and_two_rollbacks() {
        let (_folder, store) = open().await;
        let model = |activate| NewModel {
            blob: vec![7; 3],
            encoder: ENCODER.to_owned(),
            text_version: 1,
            data_seq: 9,
            metrics: json!({}),
            activate,
        };
        for version in 1..=7 {
            assert_eq!(store.put_model("it", model(version != 3)).await.unwrap(), version);
        }
        store.put_model("hr", model(true)).await.unwrap();
        // 4 serves; before it 7, 6, 5, 4, 2, 1.
        store.promote("it", 4).await.unwrap();
        assert_eq!(store.activations("it", 3).await.unwrap(), [4, 7, 6]);
        assert_eq!(store.prune_models("it", 1).await.unwrap(), [1, 2, 3, 5]);
        assert_eq!(store.prune_models("it", 1).await.unwrap(), Vec::<u32>::new());
        assert_eq!(store.activations("it", 9).await.unwrap(), [4, 7, 6, 4]);
        assert_eq!(store.rollback("it").await.unwrap(), 7);
        assert_eq!(store.rollback("it").await.unwrap(), 6);
        assert_eq!(store.prune_models("it", 9).await.unwrap(), Vec::<u32>::new());
        assert_eq!(store.prune_models("it", 1).await.unwrap(), Vec::<u32>::new());
        assert_eq!(store.models(Some("hr")).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn pruning_between_two_turns_of_one_version_makes_them_one() {
        let (_folder, store) = open().await;
        let model = NewModel {
            blob: vec![7; 3],
            encoder: ENCODER.to_owned(),
            text_version: 1,
            data_seq: 9,
            metrics: json!({}),
            activate: true,
        };
        for _ in 1..=2 {
            store.put_model("it", model.clone()).await.unwrap();
        }
        store.promote("it", 1).await.unwrap();
        for _ in 3..=5 {
            store.put_model("it", model.clone()).await.unwrap();
        }
        store.promote("it", 1).await.unwrap();
        store.promote("it", 5).await.unwrap();
        assert_eq!(store.activations("it", 9).await.unwrap(), [5, 1, 5, 4, 3, 1, 2, 1]);
        assert_eq!(store.prune_models("it", 3).await.unwrap(), [2]);
        assert_eq!(store.activations("it", 9).await.unwrap(), [5, 1, 5, 4, 3, 1]);
    }

    #[tokio::test]
    async fn resolved_tickets_with_labels_are_counted_from_a_change_on() {
        let (_folder, store) = open().await;
        let open_ticket = Ticket { status: Some(Status::Open), ..labelled("open", "category", "VPN") };
        let tickets = [labelled("1", "category", "VPN"), ticket("bare"), open_ticket, labelled("2", "category", "VPN")];
        store.upsert_tickets("it", &tickets, false).await.unwrap();
        store.upsert_tickets("hr", &tickets[..1], false).await.unwrap();
        assert_eq!(store.labelled_since("it", 0).await.unwrap(), 2);
        assert_eq!(store.labelled_since("it", 1).await.unwrap(), 1);
        let seq = store.record_outcome("it", "open", &Outcome::default()).await.unwrap();
        assert_eq!(store.labelled_since("it", seq - 1).await.unwrap(), 1);
        assert_eq!(store.labelled_since("it", seq).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_directory_has_one_owner_at_a_time() {
        let (folder, store) = open().await;
        assert!(store_reason(Store::open(folder.path()).await).contains("another triage process"));
        let other_handle = store.clone();
        drop(store);
        assert!(Store::open(folder.path()).await.is_err());
        drop(other_handle);
        Store::open(folder.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_not_this_versions_store_is_refused_and_left_alone() {
        let foreign = |sql: &'static str| {
            move |path: &Path| rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap()
        };
        type Prepare = Box<dyn Fn(&Path)>;
        let cases: [(Prepare, &str); 4] = [
            (Box::new(|path| std::fs::write(path, "no database at all").unwrap()), "not a SQLite file"),
            (Box::new(|path| std::fs::write(path, "SQL").unwrap()), "not a SQLite file"),
            (Box::new(foreign("CREATE TABLE notes (note TEXT)")), "another program"),
            (Box::new(foreign("PRAGMA application_id = 7; CREATE TABLE notes (note TEXT)")), "another program"),
        ];
        for (prepare, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("triage.db");
            prepare(&path);
            let before = std::fs::read(&path).unwrap();
            let reason = store_reason(Store::open(folder.path()).await);
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let (folder, store) = open().await;
        drop(store);
        let connection = rusqlite::Connection::open(folder.path().join("triage.db")).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let reason = store_reason(Store::open(folder.path()).await);
        assert!(reason.contains("schema 99") && reason.contains("install the version"), "{reason}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_missing_directory_is_created_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("deep/data");
        let store = Store::open(&data_dir).await.unwrap();
        store.check_writable().await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data_dir), 0o700);
        for file in std::fs::read_dir(&data_dir).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn concurrent_writers_all_get_through_and_a_refused_one_harms_nobody() {
        let (_folder, store) = open().await;
        store.put_taxonomy("it", &vpn_taxonomy()).await.unwrap();
        let writers: Vec<_> = (0..20)
            .map(|writer| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut seqs = Vec::new();
                    for n in 0..10 {
                        let good = labelled(&format!("{writer}-{n}"), "category", "net-vpn");
                        seqs.push(store.upsert_tickets("it", &[good], true).await.unwrap().change_seq);
                        let bad = labelled(&format!("bad-{writer}-{n}"), "category", "nonsense");
                        assert_eq!(invalid_pointer(store.upsert_tickets("it", &[bad], true).await), "/labels/category");
                    }
                    assert!(seqs.is_sorted_by(|earlier, later| earlier < later));
                    seqs
                })
            })
            .collect();
        let mut seqs = Vec::new();
        for writer in writers {
            seqs.extend(writer.await.unwrap());
        }
        seqs.sort_unstable();
        assert_eq!(seqs, (1..=200).collect::<Vec<u64>>());
        assert_eq!(store.count(Kind::Ticket, "it").await.unwrap(), 200);
    }

    #[tokio::test]
    async fn a_panic_undoes_its_own_write_and_nothing_else() {
        let (_folder, store) = open().await;
        let panicking = store.database.write::<(), _>(|connection| {
            departments::ensure(connection, "half")?;
            panic!("on purpose")
        });
        let (panicked, upserted) =
            tokio::join!(panicking, async { store.upsert_tickets("it", &[ticket("1")], false).await });
        assert!(matches!(panicked, Err(Error::Bug(_))));
        assert_eq!(upserted.unwrap().n, 1);
        let read = store.database.read::<(), _>(|_| panic!("on purpose")).await;
        assert!(matches!(read, Err(Error::Bug(_))));
        assert_eq!(store.departments().await.unwrap(), ["it"]);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_until_there_is_room() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[ticket("1")], false).await.unwrap();
        let limit_pages = |extra: i64| {
            store.database.write(move |connection| {
                let n_pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
                Ok(connection.pragma_update_and_check(None, "max_page_count", n_pages + extra, |_| Ok(()))?)
            })
        };
        limit_pages(1).await.unwrap();
        let big = Ticket { body: "x".repeat(1 << 20), ..ticket("2") };
        let reason = store_reason(store.upsert_tickets("it", std::slice::from_ref(&big), false).await);
        assert!(reason.contains("disk is full"), "{reason}");
        assert_eq!(store.tickets("it", None, 10).await.unwrap(), [ticket("1")]);
        store.delete(Kind::Ticket, "it", "1").await.unwrap();
        limit_pages(1000).await.unwrap();
        store.upsert_tickets("it", &[big], false).await.unwrap();
    }

    #[tokio::test]
    async fn an_administrator_sees_labels_as_rows() {
        let (_folder, store) = open().await;
        store.upsert_tickets("it", &[full_ticket()], false).await.unwrap();
        let rows: Vec<String> = store
            .database
            .read(|connection| {
                let mut statement = connection.prepare(
                    "SELECT concat_ws('|', l.department, t.status, t.created_at, l.field, l.label)
                     FROM ticket_labels AS l JOIN tickets AS t ON t.id = l.ticket ORDER BY l.field",
                )?;
                let rows = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
            .unwrap();
        let expected =
            ["a/b~c|x", "category|Network::VPN"].map(|pair| format!("it|resolved|2026-01-02T08:00:00.123Z|{pair}"));
        assert_eq!(rows, expected);
    }

    #[tokio::test]
    async fn a_page_of_changes_is_read_along_its_indexes() {
        let (_folder, store) = open().await;
        let plan: Vec<String> = store
            .database
            .read(|connection| {
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", changes::SINCE))?;
                let plan = statement.query_map(params![0, 1, "", 1], |row| row.get(3))?.collect::<Result<_, _>>()?;
                Ok(plan)
            })
            .await
            .unwrap();
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")), "{plan:#?}");
    }

    fn any_ticket() -> impl Strategy<Value = Ticket> {
        let time = proptest::option::of((0i64..4_000_000_000, 0u32..1_000_000_000))
            .prop_map(|time| time.and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos)));
        let id = "[A-Za-z0-9/~ü-]{1,12}";
        let message = (any::<bool>(), any::<String>(), time.clone()).prop_map(|(internal, body, at)| Message {
            role: Role::Customer,
            internal,
            body,
            at,
        });
        (
            (id, any::<String>(), any::<String>(), proptest::option::of(any::<String>())),
            (time.clone(), time, proptest::option::of(prop_oneof![Just(Status::Open), Just(Status::Resolved)])),
            proptest::collection::btree_map(id, id, 0..4),
            proptest::collection::vec(message, 0..3),
        )
            .prop_map(
                |((id, subject, body, resolution), (created_at, resolved_at, status), labels, messages)| Ticket {
                    id,
                    subject: format!("s{subject}"),
                    body,
                    resolution,
                    created_at,
                    resolved_at,
                    status,
                    labels,
                    messages,
                    ..Ticket::default()
                },
            )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_imported_is_exported_again(tickets in proptest::collection::vec(any_ticket(), 1..20)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (_folder, store) = open().await;
                store.upsert_tickets("it", &tickets, false).await.unwrap();
                let last_wins: BTreeMap<&str, &Ticket> = tickets.iter().map(|ticket| (ticket.id.as_str(), ticket)).collect();
                let mut exported = Vec::new();
                loop {
                    let after = exported.last().map(|ticket: &Ticket| ticket.id.clone());
                    let page = store.tickets("it", after.as_deref(), 3).await.unwrap();
                    if page.is_empty() { break }
                    exported.extend(page);
                }
                prop_assert_eq!(exported.iter().collect::<Vec<_>>(), last_wins.into_values().collect::<Vec<_>>());
                Ok(())
            })?;
        }

        #[test]
        fn vectors_come_back_as_halves(rows in proptest::collection::vec(-1.0f32..1.0, 4)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let expected: Vec<f32> = rows.iter().map(|number| f16::from_f32(*number).to_f32()).collect();
            let stored = runtime.block_on(async {
                let (_folder, store) = open().await;
                store.upsert_tickets("it", &[ticket("1")], false).await.unwrap();
                let (hash, _) = only_ticket(&store, ENCODER, 1).await;
                let row = Derived { rows, dim: 1, ..derived(&hash) };
                store.put_derived(vec![(Kind::Ticket, "it".to_owned(), "1".to_owned(), row)]).await.unwrap();
                only_ticket(&store, ENCODER, 1).await.1.unwrap().rows
            });
            prop_assert_eq!(stored, expected);
        }
    }
}
