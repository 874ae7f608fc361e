//! Counters that many threads add to without sharing a cache line, most of them without a locked instruction.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Over how many cache lines a counter is spread. All but the last belong to one thread each, as long as it lives; the
/// last is for threads that came too late to get one of their own.
pub(crate) const STRIPES: usize = 16;

/// The stripes that belong to a thread, a bit for each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The stripe that belongs to nobody.
const SHARED: Place = Place { stripe: STRIPES - 1, alone: false };

thread_local! {
    static PLACE: Lease = Lease::take();
}

/// A thread's place in all counters that are spread out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stripe: usize,
    /// Whether no other thread adds there, so that adding takes a load and a store.
    pub(crate) alone: bool,
}

/// The place of this thread.
#[inline]
pub(crate) fn place() -> Place {
    // A thread that emits while it ends has given its place up.
    PLACE.try_with(|lease| lease.0).unwrap_or(SHARED)
}

/// A place that is given back when its thread ends.
struct Lease(Place);

impl Lease {
    fn take() -> Self {
        let free = |taken: u32| (0..STRIPES - 1).find(|stripe| taken & (1 << stripe) == 0);
        // Acquire pairs with the Release in `drop`: the thread that had the place before is done counting.
        let taken = TAKEN
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| free(taken).map(|stripe| taken | 1 << stripe));
        let own = taken.ok().and_then(free);
        Self(own.map_or(SHARED, |stripe| Place { stripe, alone: true }))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.alone {
            // Release pairs with the Acquire in `take`.
            TAKEN.fetch_and(!(1 << self.0.stripe), Ordering::Release);
        }
    }
}

/// A count, spread out.
#[derive(Debug, Default)]
pub(crate) struct Striped {
    stripes: [Stripe; STRIPES],
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

impl Striped {
    /// Adds at this thread's place.
    #[inline]
    pub(crate) fn add(&self, place: Place, count: u64) {
        let counter = &self.stripes[place.stripe % STRIPES].0;
        if place.alone {
            add_alone(counter, count);
        } else {
            add(counter, count);
        }
    }

    /// The sum over all stripes; exact when nobody adds.
    pub(crate) fn sum(&self) -> u64 {
        self.stripes.iter().map(|stripe| read(&stripe.0)).sum()
    }
}

/// How the deliveries of a lane ended.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Outcomes {
    /// Written by the lane's worker alone, as are the three that follow.
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    /// Events, not deliveries, that the worker is done with.
    pub(crate) finished: AtomicU64,
    /// Written by whoever drops.
    pub(crate) dropped: AtomicU64,
}

/// Keeps what is written all the time off the cache lines of what is only read.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

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

    #[test]
    fn more_threads_than_stripes_lose_no_count() {
        const THREADS: usize = STRIPES * 3;
        const EACH: u64 = 5_000;
        let (counter, start) = (Arc::new(Striped::default()), Arc::new(Barrier::new(THREADS)));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (counter, start) = (Arc::clone(&counter), Arc::clone(&start));
                thread::spawn(move || {
                    start.wait();
                    (0..EACH).for_each(|_| counter.add(place(), 1));
                    let alone = place().alone;
                    // A place of one's own is given back at the end: nobody ends before all have one.
                    start.wait();
                    alone
                })
            })
            .collect();
        let alone = threads.into_iter().map(|thread| thread.join().unwrap()).filter(|alone| *alone).count();
        assert!(alone < STRIPES);
        assert_eq!(counter.sum(), THREADS as u64 * EACH);
    }
}
