//! The only bridge between async callers and the CPU: here is work with a deadline, give me the answer or refuse at
//! once.
//!
//! One OS thread takes what is queued, oldest first, and puts triage calls that wait together into one micro-batch of
//! up to [`BATCH_TOKENS`]. It never waits for a batch to fill: batches form by themselves while the one before runs.
//! Work whose caller has gone or whose deadline has passed is dropped before anything is computed.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::pipeline::{Options, Pipeline, Request, SearchHit, SearchRequest, TICKET_TOKENS};
use crate::telemetry;
use crate::ticket::{SimilarTicket, Ticket, Triage};

/// Estimated tokens of one micro-batch. Larger ones are no faster (measured: from 360 tokens per call on), and a short
/// ticket waits for all that is in its batch.
pub const BATCH_TOKENS: usize = 1024;

/// Work is refused when what is queued before it would take longer than this.
pub const MOST_QUEUED: Duration = Duration::from_secs(2);

/// Tokens per second assumed before the first batch was measured.
const FIRST_GUESS_TOKENS_PER_SECOND: f64 = 1000.0;

/// Characters per token of German and English text, measured with the default tokenizer.
const CHARS_PER_TOKEN: usize = 4;

/// Handle to the worker thread; clones share it. The thread ends when the last clone is dropped.
#[derive(Clone)]
pub struct Worker {
    gate: Arc<Gate>,
}

struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    pipeline: Arc<Pipeline>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

struct Queue {
    jobs: VecDeque<Job>,
    tokens: usize,
    tokens_per_second: f64,
    closed: bool,
}

struct Job {
    work: Work,
    tokens: usize,
    queued_at: Instant,
    deadline: Instant,
}

enum Work {
    Triage { department: String, tickets: Vec<Ticket>, options: Options, reply: oneshot::Sender<Result<Vec<Triage>>> },
    Search { department: String, request: SearchRequest, reply: oneshot::Sender<Result<Vec<SearchHit>>> },
    Similar { department: String, ticket: String, k: usize, reply: oneshot::Sender<Result<Vec<SimilarTicket>>> },
}

impl Worker {
    /// Starts the worker thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(pipeline: Arc<Pipeline>) -> Result<Worker> {
        let queue =
            Queue { jobs: VecDeque::new(), tokens: 0, tokens_per_second: FIRST_GUESS_TOKENS_PER_SECOND, closed: false };
        let shared = Arc::new(Shared { pipeline, queue: Mutex::new(queue), wake: Condvar::new() });
        let of_thread = shared.clone();
        std::thread::Builder::new()
            .name("triage-worker".to_owned())
            .spawn(move || of_thread.run())
            .map_err(|_| Error::Bug("the operating system gives no thread for the worker"))?;
        Ok(Worker { gate: Arc::new(Gate { shared }) })
    }

    /// Triages tickets of one department; answers in input order.
    ///
    /// # Errors
    /// [`Error::Overloaded`], [`Error::Timeout`], [`Error::NotFound`] for an unknown department, and what the pipeline
    /// says of the first ticket that fails.
    pub async fn triage(
        &self,
        department: &str,
        tickets: Vec<Ticket>,
        options: Options,
        deadline: Instant,
    ) -> Result<Vec<Triage>> {
        let tokens = tickets.iter().map(estimated_tokens).sum();
        let department = department.to_owned();
        self.call(tokens, deadline, |reply| Work::Triage { department, tickets, options, reply }).await
    }

    /// Searches one pool of a department.
    ///
    /// # Errors
    /// As [`Worker::triage`].
    pub async fn search(&self, department: &str, request: SearchRequest, deadline: Instant) -> Result<Vec<SearchHit>> {
        let tokens = tokens_of(request.query.len());
        let department = department.to_owned();
        self.call(tokens, deadline, |reply| Work::Search { department, request, reply }).await
    }

    /// Resolved tickets like a stored one.
    ///
    /// # Errors
    /// As [`Worker::triage`]; [`Error::NotFound`] for an unknown ticket.
    pub async fn similar(
        &self,
        department: &str,
        ticket: &str,
        k: usize,
        deadline: Instant,
    ) -> Result<Vec<SimilarTicket>> {
        let (department, ticket) = (department.to_owned(), ticket.to_owned());
        self.call(TICKET_TOKENS, deadline, |reply| Work::Similar { department, ticket, k, reply }).await
    }

    /// Estimated tokens that wait.
    pub fn queued_tokens(&self) -> usize {
        self.gate.shared.lock().tokens
    }

    async fn call<T>(
        &self,
        tokens: usize,
        deadline: Instant,
        work: impl FnOnce(oneshot::Sender<Result<T>>) -> Work,
    ) -> Result<T> {
        let queued_at = Instant::now();
        let (reply, answer) = oneshot::channel();
        self.gate.shared.admit(Job { work: work(reply), tokens, queued_at, deadline })?;
        let timeout = || Error::Timeout { limit_ms: deadline.duration_since(queued_at).as_millis() as u64 };
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => answer,
            // The worker drops what is late without an answer.
            Ok(Err(_)) if Instant::now() >= deadline => Err(timeout()),
            Ok(Err(_)) => Err(Error::Unavailable { state: "stopping" }),
            Err(_) => Err(timeout()),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing is computed while the lock is held, so a panic elsewhere leaves the queue whole.
        self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Queues a job, or refuses it at once when it would wait too long.
    fn admit(&self, job: Job) -> Result<()> {
        let mut queue = self.lock();
        let wait_s = queue.tokens as f64 / queue.tokens_per_second;
        if wait_s > MOST_QUEUED.as_secs_f64() {
            metrics::counter!(telemetry::REFUSED_TOTAL).increment(1);
            return Err(Error::Overloaded { retry_after_s: wait_s.ceil().clamp(1.0, 60.0) as u64 });
        }
        // The service is not full, but this caller would have gone before its turn.
        let left = job.deadline.saturating_duration_since(job.queued_at);
        if wait_s > left.as_secs_f64() {
            metrics::counter!(telemetry::REFUSED_TOTAL).increment(1);
            return Err(Error::Timeout { limit_ms: left.as_millis() as u64 });
        }
        queue.tokens += job.tokens;
        metrics::gauge!(telemetry::QUEUED_TOKENS).set(queue.tokens as f64);
        queue.jobs.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    fn run(&self) {
        // The first text compiles patterns and loads language models; no caller should wait for that.
        let body = "Lorem ipsum dolor sit amet.\n-- \nQuisque".to_owned();
        crate::text::canonical(&Ticket { body, ..Ticket::default() });
        while let Some(batch) = self.next_batch() {
            let started = Instant::now();
            let tokens: usize = batch.iter().map(|job| job.tokens).sum();
            // A panic costs the calls of this batch an internal error, not the service its worker.
            if catch_unwind(AssertUnwindSafe(|| self.work(batch))).is_err() {
                tracing::error!("a stage panicked, the calls of its batch are answered with an internal error");
            }
            let mut queue = self.lock();
            let seconds = started.elapsed().as_secs_f64();
            if tokens > 0 && seconds > 0.0 {
                queue.tokens_per_second = 0.8 * queue.tokens_per_second + 0.2 * (tokens as f64 / seconds);
            }
        }
    }

    /// The next jobs to do together; none when the worker is to end.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.lock();
        while queue.jobs.is_empty() {
            if queue.closed {
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let mut batch: Vec<Job> = Vec::new();
        let mut tokens = 0;
        while let Some(job) = queue.jobs.front() {
            let is_triage = matches!(job.work, Work::Triage { .. });
            let fits = batch.is_empty()
                || (is_triage && matches!(batch[0].work, Work::Triage { .. }) && tokens + job.tokens <= BATCH_TOKENS);
            if !fits {
                break;
            }
            tokens += job.tokens;
            batch.extend(queue.jobs.pop_front());
        }
        queue.tokens = queue.tokens.saturating_sub(tokens);
        metrics::gauge!(telemetry::QUEUED_TOKENS).set(queue.tokens as f64);
        Some(batch)
    }

    fn work(&self, batch: Vec<Job>) {
        let mut triages = Vec::new();
        for job in batch {
            if job.is_dead() {
                metrics::counter!(telemetry::DROPPED_TOTAL).increment(1);
                continue;
            }
            match job.work {
                Work::Triage { department, tickets, options, reply } => {
                    triages.push((department, tickets, options, reply, job.queued_at));
                }
                Work::Search { department, request, reply } => {
                    // The caller may have gone meanwhile; then nobody reads the answer.
                    let _ = reply.send(self.pipeline.search(&department, &request));
                }
                Work::Similar { department, ticket, k, reply } => {
                    let _ = reply.send(self.pipeline.similar(&department, &ticket, k));
                }
            }
        }
        let started = Instant::now();
        let requests: Vec<Request<'_>> = triages
            .iter()
            .flat_map(|(department, tickets, options, ..)| {
                tickets.iter().map(move |ticket| Request { department, ticket, options })
            })
            .collect();
        if requests.is_empty() {
            return;
        }
        metrics::histogram!(telemetry::BATCH_TICKETS).record(requests.len() as f64);
        let mut answers = self.pipeline.triage(&requests).into_iter();
        drop(requests);
        for (_, tickets, _, reply, queued_at) in triages {
            let queue_ms = started.duration_since(queued_at).as_secs_f32() * 1000.0;
            let own: Result<Vec<Triage>> = answers.by_ref().take(tickets.len()).collect();
            let own = own.map(|mut own| {
                own.iter_mut().for_each(|triage| triage.timing_ms.queue = queue_ms);
                own
            });
            let _ = reply.send(own);
        }
    }
}

impl Job {
    fn is_dead(&self) -> bool {
        let has_gone = match &self.work {
            Work::Triage { reply, .. } => reply.is_closed(),
            Work::Search { reply, .. } => reply.is_closed(),
            Work::Similar { reply, .. } => reply.is_closed(),
        };
        has_gone || Instant::now() >= self.deadline
    }
}

/// Tokens that reading a ticket will cost: text, and subject once more.
fn estimated_tokens(ticket: &Ticket) -> usize {
    let body = ticket.messages.first().filter(|_| ticket.body.is_empty()).map_or(ticket.body.len(), |m| m.body.len());
    tokens_of(ticket.subject.len() + body) + tokens_of(ticket.subject.len())
}

fn tokens_of(bytes: usize) -> usize {
    (bytes / CHARS_PER_TOKEN + 4).min(TICKET_TOKENS)
}
