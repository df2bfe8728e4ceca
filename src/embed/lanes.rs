//! Here are pieces of work, give me their results in order, one piece per core at a time.
//!
//! A matrix product spreads over the rayon pool it runs in. When there is a batch for every core, that costs more than
//! it gains (measured on two cores: a fifth of the tokens per CPU-second), and candle has no other switch for it than an
//! environment variable. So each core has a pool of one thread, inside which a product stays where it is.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::{ThreadPool, ThreadPoolBuilder};

/// One single-threaded pool per core, shared by all callers.
pub(super) struct Lanes {
    pools: Vec<ThreadPool>,
    /// Where the next call starts, so that calls with a single piece do not all wait for the first pool.
    turn: AtomicUsize,
}

impl Lanes {
    pub(super) fn new() -> Result<Lanes, rayon::ThreadPoolBuildError> {
        let pool = |lane| ThreadPoolBuilder::new().num_threads(1).thread_name(move |_| format!("embed-{lane}")).build();
        let pools = (0..rayon::current_num_threads()).map(pool).collect::<Result<_, _>>()?;
        Ok(Lanes { pools, turn: AtomicUsize::new(0) })
    }

    pub(super) fn len(&self) -> usize {
        self.pools.len()
    }

    /// What `run` makes of each piece, in the order of `pieces`, or the error of the first one that failed.
    pub(super) fn map<P: Sync, R: Send, E: Send>(
        &self,
        pieces: &[P],
        run: impl Fn(&P) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let results = Mutex::new(Vec::with_capacity(pieces.len()));
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = pieces.get(position) else { break };
                let result = run(piece);
                // Nothing panics while it holds the lock, so a poisoned one still holds whole results.
                results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((position, result));
            }
        };
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.pools.len();
        let lanes = self.pools.iter().cycle().skip(first).take(pieces.len().min(self.pools.len()));
        match pieces.len() {
            0 => {}
            1 => lanes.for_each(|lane| lane.install(work)),
            _ => std::thread::scope(|scope| lanes.for_each(|lane| drop(scope.spawn(|| lane.install(work))))),
        }
        let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        results.sort_unstable_by_key(|&(position, _)| position);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_pieces() {
        let lanes = Lanes::new().unwrap();
        for n in [0_usize, 1, 2, 3, 200] {
            let pieces: Vec<usize> = (0..n).collect();
            let doubled: Result<Vec<usize>, ()> = lanes.map(&pieces, |piece| Ok(piece * 2));
            assert_eq!(doubled.unwrap(), pieces.iter().map(|piece| piece * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_in_order_is_the_answer() {
        let lanes = Lanes::new().unwrap();
        let pieces: Vec<usize> = (0..50).collect();
        let result = lanes.map(&pieces, |&piece| if piece % 20 == 7 { Err(piece) } else { Ok(()) });
        assert_eq!(result, Err(7));
    }

    #[test]
    fn many_callers_share_the_lanes() {
        let lanes = Lanes::new().unwrap();
        std::thread::scope(|scope| {
            for caller in 0..8_usize {
                let lanes = &lanes;
                scope.spawn(move || {
                    let sums: Result<Vec<usize>, ()> = lanes.map(&[1, 2, 3], |piece| Ok(piece + caller));
                    assert_eq!(sums.unwrap(), [1 + caller, 2 + caller, 3 + caller]);
                });
            }
        });
    }
}
