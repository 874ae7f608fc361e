//! Counters that many threads add to without sharing a cache line, most of them without a locked instruction.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::platform::place::{Place, STRIPES};

/// `N` counts that belong together, spread out: those of one thread lie on one cache line.
#[derive(Debug)]
pub(crate) struct Striped<const N: usize> {
    stripes: [Stripe<N>; STRIPES],
}

#[derive(Debug)]
#[repr(align(64))]
struct Stripe<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Striped<N> {
    fn default() -> Self {
        Self { stripes: [const { Stripe([const { AtomicU64::new(0) }; N]) }; STRIPES] }
    }
}

impl<const N: usize> Striped<N> {
    /// Adds to the count `which` at this thread's place.
    #[inline]
    pub(crate) fn add(&self, place: Place, which: usize, count: u64) {
        let Some(counter) = self.stripes[place.stripe % STRIPES].0.get(which) else { return };
        if place.alone {
            add_alone(counter, count);
        } else {
            add(counter, count);
        }
    }

    /// The sum of the count `which` over all stripes; exact when nobody adds.
    pub(crate) fn sum(&self, which: usize) -> u64 {
        self.stripes.iter().filter_map(|stripe| stripe.0.get(which)).map(read).sum()
    }
}

/// How the deliveries of a lane ended. All but the last are written without a locked instruction, by whoever is the lane's
/// worker or acts for it: one thread at a time, and each learns from the one before that it is its turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Outcomes {
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    /// Events, not deliveries, that the worker is done with.
    pub(crate) finished: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) expired: AtomicU64,
    /// Written by whoever drops.
    pub(crate) dropped: AtomicU64,
}

/// Adds to a counter that several threads add to.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count != 0 {
        // Release pairs with the Acquire in `read`: whoever sees this count sees what was counted before it.
        counter.fetch_add(count, Ordering::Release);
    }
}

/// Adds to a counter that no other thread adds to.
#[inline]
pub(crate) fn add_alone(counter: &AtomicU64, count: u64) {
    if count != 0 {
        // Relaxed: this thread's own store, or one that the way by which it got the counter has made visible.
        let now = counter.load(Ordering::Relaxed);
        // Release pairs with the Acquire in `read`.
        counter.store(now.wrapping_add(count), Ordering::Release);
    }
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    // Acquire pairs with the Release in `add` and `add_alone`.
    counter.load(Ordering::Acquire)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;
    use crate::platform::place::place;

    #[test]
    fn more_threads_than_stripes_lose_no_count() {
        const THREADS: usize = STRIPES * 3;
        const EACH: u64 = 5_000;
        let (counter, start) = (Arc::new(Striped::<1>::default()), Arc::new(Barrier::new(THREADS)));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (counter, start) = (Arc::clone(&counter), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    (0..EACH).for_each(|_| counter.add(place(), 0, 1));
                    let alone = place().alone;
                    // A place of one's own is given back at the end: nobody ends before all have one.
                    start.wait();
                    alone
                })
            })
            .collect();
        let alone = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|alone| *alone).count();
        assert!(alone < STRIPES);
        assert_eq!(counter.sum(0), THREADS as u64 * EACH);
    }
}
