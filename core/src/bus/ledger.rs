//! What became of the events of a bus.

use crate::sync::{AtomicUsize, Ordering, const_fn};

/// The counters of a bus; each is written by whoever does what it counts.
pub(super) struct Books {
    pub(super) emitted: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) displaced: AtomicUsize,
    pub(super) unrouted: AtomicUsize,
    pub(super) delivered: AtomicUsize,
    pub(super) handled: AtomicUsize,
    pub(super) failed: AtomicUsize,
}

impl Books {
    const_fn! {
        pub(super) const fn new() -> Self {
            Self {
                emitted: AtomicUsize::new(0),
                refused: AtomicUsize::new(0),
                displaced: AtomicUsize::new(0),
                unrouted: AtomicUsize::new(0),
                delivered: AtomicUsize::new(0),
                handled: AtomicUsize::new(0),
                failed: AtomicUsize::new(0),
            }
        }
    }

    pub(super) fn read(&self, pending: usize) -> Ledger {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Ledger {
            emitted: read(&self.emitted),
            refused: read(&self.refused),
            delivered: read(&self.delivered),
            unrouted: read(&self.unrouted),
            displaced: read(&self.displaced),
            pending,
            handled: read(&self.handled),
            failed: read(&self.failed),
        }
    }
}

/// What became of every event of a [`StaticBus`](super::StaticBus).
///
/// `emitted = refused + delivered + unrouted + displaced + pending`, whenever nobody is emitting or polling. During a
/// delivery, which is when a handler looks, the event at hand is in no column but the first.
///
/// Counts wrap at the machine's word: on a 32-bit target after 2^32 events, which a thousand events a second reach in 49
/// days. Differences between two readings and [`balanced`](Self::balanced) stay right across one wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Events that somebody tried to emit.
    pub emitted: usize,
    /// Events given back: the queue was full or closed, or the topic unknown.
    pub refused: usize,
    /// Events for which at least one handler was called.
    pub delivered: usize,
    /// Events that nobody asked for when their turn came.
    pub unrouted: usize,
    /// Events that `emit_overwrite` displaced before their turn came.
    pub displaced: usize,
    /// Events in the queue, counted by the queue's positions and not by what has come and gone.
    pub pending: usize,
    /// Calls of handlers that returned `Ok`.
    pub handled: usize,
    /// Calls of handlers that returned an error or panicked.
    pub failed: usize,
}

impl Ledger {
    /// Whether every event is accounted for. Means something only when nobody was emitting or polling while the ledger
    /// was read.
    ///
    /// One way to unbalance the books is left: a payload that panics when it is dropped as a dead letter, overwritten
    /// because an `emit_overwrite` displaced another, takes the new event along.
    #[must_use]
    pub const fn balanced(&self) -> bool {
        let ended = self.refused.wrapping_add(self.delivered).wrapping_add(self.unrouted).wrapping_add(self.displaced);
        self.emitted == ended.wrapping_add(self.pending)
    }
}
