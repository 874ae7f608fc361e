//! How emitters wait for room in a full lane.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::platform::clock::Waiting;
use crate::platform::threads;

/// How often an emitter looks again before it goes to sleep: a worker frees a slot in well under a microsecond.
const SPINS: usize = 64;

/// How long an emitter sleeps at most before it looks again. Workers wake it when half the ring is free, not for each
/// slot; behind a handler that is slow, this is what it waits for a single one.
const REST: Duration = Duration::from_millis(1);

/// A place to sleep for emitters that found a lane full.
///
/// The sleepers' side of the protocol in [`Doorbell`](nervebus_core::wait::Doorbell), for many sleepers: count
/// yourself in, look once more by a read-modify-write of the ring's head, sleep. A worker that pops looks at the count.
#[derive(Debug, Default)]
pub(crate) struct Room {
    waiting: AtomicUsize,
    bed: Mutex<()>,
    freed: Condvar,
}

impl Room {
    /// Waits until there is room or `wait` is over; says which. May return early.
    ///
    /// `glance` is a cheap look that may be wrong; `has_room` is the one that cannot miss a pop.
    pub(crate) fn wait(&self, glance: impl Fn() -> bool, has_room: impl Fn() -> bool, wait: &Waiting<'_>) -> bool {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if glance() {
                return true;
            }
        }
        threads::yield_now();
        let bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: `has_room` is the read-modify-write that orders this count against the worker's look at it.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let free = has_room();
        let in_time = free || !wait.is_over();
        if in_time && !free {
            drop(wait.sleep(&self.freed, bed, REST));
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        in_time
    }

    /// Whether anybody sleeps here. One relaxed load: the pop before it orders it.
    #[inline]
    pub(crate) fn has_sleepers(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Wakes all who sleep.
    #[cold]
    pub(crate) fn wake(&self) {
        // Taking the lock makes sure that whoever has counted itself in is asleep by now, or has seen the room.
        drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
        self.freed.notify_all();
    }
}
