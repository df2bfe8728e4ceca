//! Long work: here is a store and a pipeline, keep the second abreast of the first.
//!
//! [`catch_up`] takes in everything the store has changed since a sequence number. The command line calls it once; the
//! service runs it in a [`Follower`]. Start-up, imports, outcomes posted here and those of another writer all take
//! this one path.

pub mod retriage;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::classify::DepartmentModel;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::store::Store;
use crate::text::TEXT_VERSION;

/// Changes taken in at a time: enough to fill batches of the encoder, few enough for an outcome to be seen soon.
const PAGE: usize = 256;

/// The follower looks for changes at least this often, in case a notice was lost.
const IDLE: Duration = Duration::from_secs(2);

/// Loads every department's closed set and active heads into the pipeline.
///
/// # Errors
/// When the store cannot be read. Heads that cannot be used any more (another encoder or text version) are left out
/// with a warning: label names and neighbours decide until the next training.
pub async fn load_departments(store: &Store, pipeline: &Pipeline) -> Result<()> {
    for department in store.departments().await? {
        load_department(store, pipeline, &department).await?;
    }
    Ok(())
}

/// Loads one department's closed set and active heads into the pipeline. Loads may overlap: what was stored last stays.
///
/// # Errors
/// [`Error::NotFound`] for an unknown department; when the store cannot be read.
pub async fn load_department(store: &Store, pipeline: &Pipeline, department: &str) -> Result<()> {
    let turn = pipeline.begin_load();
    let (taxonomy, _) = store
        .taxonomy(department)
        .await?
        .ok_or_else(|| Error::NotFound { what: "department", id: department.to_owned() })?;
    let model = match store.active_model(department).await? {
        None => None,
        Some((version, blob)) => {
            let usable = DepartmentModel::load(&blob).and_then(|model| {
                pipeline.check_usable(department, version, &model.encoder, model.text_version).map(|()| model)
            });
            match usable {
                Ok(model) => Some((version, model)),
                Err(error) => {
                    tracing::warn!(
                        department,
                        version,
                        %error,
                        "the trained heads cannot be used, deciding by names and neighbours"
                    );
                    None
                }
            }
        }
    };
    pipeline.load(department, turn, taxonomy, model)?;
    Ok(())
}

/// Takes in all changes after `from`, and tells `progress` the sequence number reached after each page. Returns the
/// last one. From 0 on, what the indexes hold beside it is dropped.
///
/// # Errors
/// When the store cannot be read or written, or embedding fails.
pub async fn catch_up(store: &Store, pipeline: &Pipeline, from: u64, progress: impl Fn(u64)) -> Result<u64> {
    let mut seq = from;
    loop {
        let changes = store.changes_since(seq, PAGE, pipeline.encoder().fingerprint(), TEXT_VERSION).await?;
        let Some(last) = changes.last().map(|change| change.seq) else { break };
        for department in changes.iter().map(|change| change.department.as_str()) {
            if !pipeline.has_department(department) {
                load_department(store, pipeline, department).await?;
            }
        }
        let derived = pipeline.index(changes)?;
        if !derived.is_empty() {
            store.put_derived(derived).await?;
        }
        seq = last;
        progress(seq);
    }
    if from == 0 {
        pipeline.drop_unknown()?;
    }
    Ok(seq)
}

/// Tails the store's change sequence into the pipeline on a thread of its own; clones share it.
#[derive(Clone)]
pub struct Follower {
    store: Store,
    pipeline: Arc<Pipeline>,
    /// Holds one notice at most: more would say no more.
    wake: mpsc::SyncSender<()>,
    applied: watch::Receiver<u64>,
    /// Sequence number to reach before the service is ready.
    ready_at: u64,
}

impl Follower {
    /// Loads all departments and starts the thread. Returns at once; [`Follower::is_ready`] says when everything that
    /// was in the store at the start has been taken in. The thread ends with the last handle.
    ///
    /// # Errors
    /// When the store cannot be read or the operating system gives no thread.
    pub async fn start(store: Store, pipeline: Arc<Pipeline>) -> Result<Follower> {
        load_departments(&store, &pipeline).await?;
        let ready_at = store.last_seq().await?;
        let (sender, applied) = watch::channel(0);
        let (wake, notices) = mpsc::sync_channel(1);
        let runtime = tokio::runtime::Handle::current();
        let (of_thread, its_pipeline) = (store.clone(), Arc::clone(&pipeline));
        std::thread::Builder::new()
            .name("follower".to_owned())
            .spawn(move || {
                loop {
                    runtime.block_on(follow_once(&of_thread, &its_pipeline, &sender));
                    if notices.recv_timeout(IDLE) == Err(mpsc::RecvTimeoutError::Disconnected) {
                        return;
                    }
                }
            })
            .map_err(|_| Error::Bug("the operating system gives no thread for the follower"))?;
        Ok(Follower { store, pipeline, wake, applied, ready_at })
    }

    /// Says that something was written.
    pub fn notify(&self) {
        // A full channel holds a notice already.
        let _ = self.wake.try_send(());
    }

    /// Waits until the change with this sequence number is taken in. False when the deadline passes first; the write
    /// is durable all the same.
    pub async fn wait_for(&self, seq: u64, deadline: Instant) -> bool {
        self.notify();
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|reached| *reached >= seq);
        matches!(tokio::time::timeout_at(deadline.into(), reached).await, Ok(Ok(_)))
    }

    /// True once everything that was in the store at the start has been taken in.
    pub fn is_ready(&self) -> bool {
        *self.applied.borrow() >= self.ready_at
    }

    /// Loads a department's closed set and active heads anew, after one of them changed.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown department; when the store cannot be read.
    pub async fn reload(&self, department: &str) -> Result<()> {
        load_department(&self.store, &self.pipeline, department).await
    }
}

async fn follow_once(store: &Store, pipeline: &Pipeline, applied: &watch::Sender<u64>) {
    let seq = *applied.borrow();
    let caught_up = catch_up(store, pipeline, seq, |reached| {
        applied.send_replace(reached);
    });
    if let Err(error) = caught_up.await {
        // The next round tries again; until then the index lags and says so by its sequence number.
        tracing::error!(%error, "the index could not follow the store");
    }
}
