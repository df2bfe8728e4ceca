//! The product in two functions: here are tickets, give me their triage ([`Pipeline::triage`]); and here is what
//! changed in the store, take it in ([`Pipeline::index`]).
//!
//! The only module that knows the order of the stages: text, embed, retrieve, classify, suggest. Serving, batch,
//! training and evaluation all come through here, so there is no second path that could differ. Synchronous; it
//! knows no network and no store connection. A department is a wall: everything below the encoder is per department.

mod ask;
mod assess;
mod department;
mod general;
mod take_in;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::assess::{FieldAssessment, Reading};
use self::department::Department;
pub(crate) use self::department::label_names;
use self::general::General;
use crate::classify::DepartmentModel;
use crate::embed::Encoder;
use crate::error::{Error, Result};
use crate::retrieve::Pool;
use crate::taxonomy::Taxonomy;
use crate::text::TEXT_VERSION;
use crate::ticket::{Excerpt, Language, Ticket};

/// Tokens read of a ticket or a search, prompt included. Measured: longer cuts gain nothing on tickets.
pub const TICKET_TOKENS: usize = 256;

/// Tokens read of an article or one of its passages, prompt included.
pub const ARTICLE_TOKENS: usize = 512;

/// One loaded encoder and the departments that share it.
pub struct Pipeline {
    encoder: Arc<Encoder>,
    index_dir: PathBuf,
    departments: RwLock<HashMap<String, Arc<RwLock<Department>>>>,
    /// Held while a department is opened.
    opening: Mutex<()>,
    /// Turns given to loads so far.
    turns: AtomicU64,
    general: OnceLock<General>,
}

/// The place of one load among the loads of a pipeline, see [`Pipeline::begin_load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadTurn(u64);

/// A ticket to triage.
pub struct Request<'a> {
    /// Department that decides.
    pub department: &'a str,
    /// The ticket, raw.
    pub ticket: &'a Ticket,
    /// What to answer.
    pub options: &'a Options,
}

/// How much to answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Labels listed per field beside the decided one, 0 to 20.
    #[schema(maximum = 20, default = 3)]
    pub top_n: usize,
    /// Similar resolved tickets, 0 to 100.
    #[schema(maximum = 100, default = 5)]
    pub similar: usize,
    /// Knowledge articles, 0 to 100.
    #[schema(maximum = 100, default = 3)]
    pub articles: usize,
    /// Whether to put an answer together.
    #[schema(default = true)]
    pub answer: bool,
    /// Whether to keep the ticket and the decision in the store. Without it nothing is remembered.
    #[schema(default = true)]
    pub record: bool,
}

/// A search in one pool of a department.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// What is asked.
    pub query: String,
    /// Where to look.
    pub pool: Pool,
    /// Most hits, 1 to 100.
    pub k: usize,
    /// What a hit must fulfil.
    pub filter: SearchFilter,
}

/// What a hit must fulfil. Absent means anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchFilter {
    /// Language of the hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// Labels of the hit, by field; only tickets have labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A resolved ticket or an article that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchHit {
    /// Its id.
    pub id: String,
    /// Subject or headline.
    pub title: String,
    /// Fused score; only for ranking.
    pub score: f32,
    /// Language of the text.
    pub language: Language,
    /// Where a person reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The part that fits best.
    pub excerpt: Excerpt,
    /// Where the excerpt stands in the article's canonical body; absent for tickets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(usize, usize)>,
}

/// What a department's index holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DepartmentStatistics {
    /// Department id.
    pub department: String,
    /// Tickets, open ones included.
    pub tickets: usize,
    /// Articles.
    pub articles: usize,
    /// Memory of vectors and texts, in bytes.
    pub index_bytes: usize,
    /// Change of the store that was taken in last.
    pub applied_seq: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { top_n: 3, similar: 5, articles: 3, answer: true, record: true }
    }
}

impl Pipeline {
    /// A pipeline without departments. `index_dir` holds what can be made anew from the store.
    pub fn new(encoder: Arc<Encoder>, index_dir: &Path) -> Pipeline {
        Pipeline {
            encoder,
            index_dir: index_dir.to_owned(),
            departments: RwLock::default(),
            opening: Mutex::default(),
            turns: AtomicU64::new(0),
            general: OnceLock::new(),
        }
    }

    /// The encoder that all departments share.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// True when the department is known here.
    pub fn has_department(&self, department: &str) -> bool {
        self.known().contains_key(department)
    }

    /// What every department's index holds, by department.
    pub fn statistics(&self) -> Vec<DepartmentStatistics> {
        let mut statistics: Vec<DepartmentStatistics> =
            self.known().iter().map(|(id, department)| read(department).statistics(id)).collect();
        statistics.sort_by(|a, b| a.department.cmp(&b.department));
        statistics
    }

    /// Sets the closed set of a department, which becomes known by it. Takes effect with the next call.
    ///
    /// # Errors
    /// When the index folder cannot be made or the label names cannot be embedded.
    pub fn set_taxonomy(&self, department: &str, taxonomy: Taxonomy) -> Result<()> {
        let general = self.general()?;
        let heads = department::untrained_heads(&self.encoder, general, &taxonomy)?;
        let entry = self.department_or_new(department)?;
        write(&entry).set_taxonomy(taxonomy, heads);
        Ok(())
    }

    /// Sets or takes away the trained heads of a department.
    ///
    /// # Errors
    /// When the heads were made with another encoder or text version: such features mean something else.
    pub fn set_model(&self, department: &str, model: Option<(u32, DepartmentModel)>) -> Result<()> {
        if let Some((version, model)) = &model {
            self.check_usable(department, *version, &model.encoder, model.text_version)?;
        }
        let entry = self.department_or_new(department)?;
        write(&entry).set_model(model);
        Ok(())
    }

    /// Takes a turn for a load of a department; to be called before its closed set and heads are read from the store.
    pub fn begin_load(&self) -> LoadTurn {
        LoadTurn(self.turns.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Sets closed set and heads of a department together, as they were read after `turn` was taken. Does nothing when
    /// a load with a later turn came first: that one has read all that was stored before its turn, and every writer loads
    /// after its write, so loads may overlap and the newest state stays. True when this one was set.
    ///
    /// # Errors
    /// As [`Pipeline::set_taxonomy`] and [`Pipeline::set_model`]; nothing is set then.
    pub fn load(
        &self,
        department: &str,
        turn: LoadTurn,
        taxonomy: Taxonomy,
        model: Option<(u32, DepartmentModel)>,
    ) -> Result<bool> {
        if let Some((version, model)) = &model {
            self.check_usable(department, *version, &model.encoder, model.text_version)?;
        }
        let heads = department::untrained_heads(&self.encoder, self.general()?, &taxonomy)?;
        let entry = self.department_or_new(department)?;
        let mut department = write(&entry);
        if department.loaded > turn {
            return Ok(false);
        }
        department.loaded = turn;
        department.set_taxonomy(taxonomy, heads);
        department.set_model(model);
        Ok(true)
    }

    /// Checks that heads were fitted with this encoder and text version: other features mean something else.
    ///
    /// # Errors
    /// [`Error::Model`] with what to do.
    pub fn check_usable(&self, department: &str, version: u32, encoder: &str, text_version: u32) -> Result<()> {
        if encoder == self.encoder.fingerprint() && text_version == TEXT_VERSION {
            return Ok(());
        }
        Err(Error::Model {
            path: PathBuf::from(format!("{department}/{version}")),
            reason: format!(
                "was fitted with {encoder} and text version {text_version}, and {} and {TEXT_VERSION} are in use; run \
                 `triage train --department {department}`",
                self.encoder.fingerprint()
            ),
        })
    }

    /// True when heads were fitted with this encoder and text version.
    pub fn can_use(&self, model: &DepartmentModel) -> bool {
        model.encoder == self.encoder.fingerprint() && model.text_version == TEXT_VERSION
    }

    fn known(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<RwLock<Department>>>> {
        self.departments.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn department(&self, department: &str) -> Result<Arc<RwLock<Department>>> {
        let known = self.known().get(department).cloned();
        known.ok_or_else(|| Error::NotFound { what: "department", id: department.to_owned() })
    }

    fn department_or_new(&self, id: &str) -> Result<Arc<RwLock<Department>>> {
        if let Some(department) = self.known().get(id) {
            return Ok(department.clone());
        }
        let general = self.general()?;
        // Two callers may bring a new department at once, and its folder can be opened by one only.
        let _opening = self.opening.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(department) = self.known().get(id) {
            return Ok(department.clone());
        }
        let department = Department::open(&self.index_dir, id, &self.encoder, general)?;
        let mut departments = self.departments.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(departments.entry(id.to_owned()).or_insert_with(|| Arc::new(RwLock::new(department))).clone())
    }

    /// What a department falls back on while it has too little text of its own.
    fn general(&self) -> Result<&General> {
        if let Some(general) = self.general.get() {
            return Ok(general);
        }
        let general = General::measure(&self.encoder)?;
        Ok(self.general.get_or_init(|| general))
    }
}

/// A poisoned lock means that a thread panicked while it held it; the state behind it is replaced whole or grown by
/// whole entries, so it stays usable.
fn read(department: &RwLock<Department>) -> RwLockReadGuard<'_, Department> {
    department.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write(department: &RwLock<Department>) -> std::sync::RwLockWriteGuard<'_, Department> {
    department.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}
