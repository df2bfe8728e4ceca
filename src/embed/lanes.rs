//! Here are pieces of work, give me their results in order, one piece per core at a time.
//!
//! A matrix product spreads over the rayon pool it runs in. When there is a batch for every core, that costs more than
//! it gains (measured on two cores: a fifth of the tokens per CPU-second), and candle has no other switch for it than an
//! environment variable. So each core has a pool of one thread, inside which a product stays where it is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// One single-threaded pool per core.
pub(super) struct Lanes(Vec<ThreadPool>);

impl Lanes {
    pub(super) fn new() -> Result<Lanes, String> {
        let lane = |lane| ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("embed-{lane}")).build();
        let lanes = (0..rayon::current_num_threads()).map(lane).collect::<Result<_, _>>();
        lanes.map(Lanes).map_err(|reason| format!("no thread to run it: {reason}"))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The results of `run`, in the order of `pieces`, or an error of one of them. A single piece runs on the caller's
    /// thread, where its products may use every core.
    pub(super) fn map<P: Sync, R: Send, E: Send>(
        &self,
        pieces: &[P],
        run: impl Fn(&P) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        if let [piece] = pieces {
            return Ok(vec![run(piece)?]);
        }
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<R, E>>>> = pieces.iter().map(|_| Mutex::new(None)).collect();
        let work = || {
            while let Some((piece, result)) = {
                let i = next.fetch_add(1, Ordering::Relaxed);
                pieces.get(i).zip(results.get(i))
            } {
                let done = run(piece);
                *result.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(done);
            }
        };
        std::thread::scope(|scope| {
            for lane in self.0.iter().take(pieces.len()) {
                scope.spawn(|| lane.install(work));
            }
        });
        results
            .into_iter()
            .filter_map(|result| result.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()))
            .collect()
    }
}
