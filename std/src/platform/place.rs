//! A thread's place in everything that is spread out over threads.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};

/// Over how many cache lines a counter is spread. All but the last belong to one thread each, as long as it lives; the
/// last is for threads that came too late to get one of their own.
pub(crate) const STRIPES: usize = 16;

/// The stripes that belong to a thread, a bit for each.
static TAKEN: AtomicU32 = AtomicU32::new(0);

/// The stripe that belongs to nobody.
const SHARED: Place = Place { stripe: STRIPES - 1, alone: false };

thread_local! {
    /// What has no destructor costs nothing to reach, and is there as long as the thread is.
    static PLACE: Cell<Option<Place>> = const { Cell::new(None) };

    static LEASE: Lease = Lease::take();
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
    match PLACE.get() {
        Some(place) => place,
        None => first_place(),
    }
}

#[cold]
fn first_place() -> Place {
    // A thread that emits while it ends has given its place up.
    let place = LEASE.try_with(|lease| lease.0).unwrap_or(SHARED);
    PLACE.set(Some(place));
    place
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
        PLACE.set(Some(SHARED));
        if self.0.alone {
            // Release pairs with the Acquire in `take`.
            TAKEN.fetch_and(!(1 << self.0.stripe), Ordering::Release);
        }
    }
}
