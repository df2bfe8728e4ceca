//! Trainings inside the service, asked for or by the clock: one at a time, on a thread of its own, while it answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::http::App;
use crate::train::{self, Order, Schedule, Trained};

/// How long a training waits for the index to read what was uploaded before it.
const CATCH_UP: Duration = Duration::from_secs(3600);

/// Pauses between two looks at what is due: short against any interval that makes sense, long against the look itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// A training under way; when it ends, however it ends, another may begin.
pub(super) struct Training(Arc<App>);

impl Training {
    /// The right to train; none while another has it.
    pub(super) fn begin(app: &Arc<App>) -> Option<Training> {
        if app.is_training.swap(true, Ordering::AcqRel) { None } else { Some(Training(Arc::clone(app))) }
    }

    /// Trains a department on a thread of its own. The receiver ends when the training does.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(super) fn run(self, department: String, order: Order) -> Result<oneshot::Receiver<()>> {
        let runtime = tokio::runtime::Handle::current();
        let (done, ended) = oneshot::channel();
        let mut attempts = self.0.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.insert(department.clone(), Utc::now());
        drop(attempts);
        // A closure that is dropped without a run ends the training too.
        let spawned = std::thread::Builder::new().name("trainer".to_owned()).spawn(move || {
            // Dropped in this order: whoever waits for the end finds that another may begin.
            let (_done, training) = (done, self);
            log(&department, runtime.block_on(train_on_all(&training.0, &department, &order)));
        });
        spawned.map_err(|_| Error::Bug("the operating system gives no thread for a training"))?;
        Ok(ended)
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        self.0.is_training.store(false, Ordering::Release);
    }
}

fn log(department: &str, result: Result<Trained>) {
    match result {
        Ok(trained) if trained.is_held_back() => tracing::warn!(
            department,
            version = trained.version,
            duration_s = trained.duration_s,
            reasons = trained.verdict.reasons.join(" "),
            "new heads are held back"
        ),
        Ok(trained) => tracing::info!(
            department,
            version = trained.version,
            duration_s = trained.duration_s,
            reasons = trained.verdict.reasons.join(" "),
            "{}",
            if trained.version.is_some() { "new heads serve" } else { "no field could be fitted" }
        ),
        Err(error) => tracing::error!(department, %error, "training failed"),
    }
}

/// Trains once everything that is in the store now has been read: what is not read yet would be left out unnoticed.
async fn train_on_all(app: &App, department: &str, order: &Order) -> Result<Trained> {
    let seq = app.store.last_seq().await?;
    if !app.follower.wait_for(seq, Instant::now() + CATCH_UP).await {
        return Err(Error::Timeout { limit_ms: CATCH_UP.as_millis() as u64 });
    }
    train::train_to(&app.store, &app.pipeline, department, order, &|_| ()).await
}

/// Trains departments by the clock, one after the other, until the service is gone. Must be called inside the run time.
pub fn follow_schedule(app: &Arc<App>, schedule: Schedule) {
    let app = Arc::downgrade(app);
    let pause = (schedule.every / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    tokio::spawn(async move {
        loop {
            if look(&app, &schedule).await.is_none() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
}

/// Trains what is due now; none once the service is gone.
async fn look(app: &Weak<App>, schedule: &Schedule) -> Option<()> {
    let app = app.upgrade()?;
    if !app.follower.is_ready() {
        return Some(());
    }
    let departments = app.store.departments().await.unwrap_or_else(|error| {
        tracing::error!(%error, "no department can be looked at for its next training");
        Vec::new()
    });
    for department in departments {
        match is_due(&app, &department, schedule).await {
            Ok(true) => {
                // One that was asked for is under way, and the next look will do.
                let Some(training) = Training::begin(&app) else { break };
                let order = Order { gate: app.gate, ..Order::default() };
                match training.run(department, order) {
                    // The sender is dropped at the end, so there is nothing to receive but the end.
                    Ok(ended) => drop(ended.await),
                    Err(error) => tracing::error!(%error, "a training did not start"),
                }
            }
            Ok(false) => {}
            Err(error) => tracing::error!(department, %error, "it is not known whether a training is due"),
        }
    }
    Some(())
}

async fn is_due(app: &App, department: &str, schedule: &Schedule) -> Result<bool> {
    let newest = app.store.models(Some(department)).await?.pop();
    let data_seq = newest.as_ref().map_or(0, |newest| newest.data_seq);
    let attempted = app.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(department).copied();
    let last_attempt = attempted.or(newest.map(|newest| newest.created_at));
    // Counting costs more than looking at the clock.
    if !train::is_due(Utc::now(), last_attempt, u64::MAX, schedule) {
        return Ok(false);
    }
    let changes = app.store.labelled_since(department, data_seq).await?;
    Ok(train::is_due(Utc::now(), last_attempt, changes, schedule))
}
