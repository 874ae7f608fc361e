//! Counting without read-modify-write, and saying where the main loop is.

use core::sync::atomic::{AtomicU32, Ordering};

/// A counter that one context at a time writes, so that a load and a store do, on boards without compare-and-swap too.
pub struct Count(AtomicU32);

impl Count {
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub fn add(&self, count: u32) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    pub fn set(&self, value: u32) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where the main loop is when an interrupt stops it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Elsewhere,
    Emit,
    Poll,
    Handler,
    Change,
    Parts,
}

static PLACE: AtomicU32 = AtomicU32::new(Place::Elsewhere as u32);
static HITS: [Count; 6] = [const { Count::new() }; 6];

/// Does something at this place.
pub fn at<R>(place: Place, what: impl FnOnce() -> R) -> R {
    let before = PLACE.load(Ordering::Relaxed);
    PLACE.store(place as u32, Ordering::Relaxed);
    let result = what();
    PLACE.store(before, Ordering::Relaxed);
    result
}

/// Called by the interrupt: notes where it has stopped the main loop, and says whether that is in a handler.
pub fn note_hit() -> bool {
    let place = PLACE.load(Ordering::Relaxed);
    if let Some(hits) = HITS.get(place as usize) {
        hits.add(1);
    }
    place == Place::Handler as u32
}

/// How often an interrupt stopped the main loop at this place.
pub fn hits(place: Place) -> u32 {
    HITS[place as usize].get()
}
