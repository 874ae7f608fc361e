//! Where a lane's own records wait when its ring is full.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::delivery::count;
use crate::delivery::envelope::Envelope;

/// How many of the bus's own events may wait beside a full ring.
const CAPACITY: usize = 4096;

/// A bounded side room of a lane for events that the bus emits itself.
///
/// A worker whose handler fails must leave a record, and must not wait for room in a ring: the ring may be its own, or
/// its worker may wait for this one. So such an event steps aside, and the lane's worker takes it after those that were in
/// the ring by then: see [`Queueing`]. Empty, this costs a worker one load an event.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    occupied: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Events that ever came in here; they are not among the ring's pushes.
    pub(crate) taken_in: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Envelope>,
    closed: bool,
}

impl Spill {
    /// Takes nothing in from now on; what is inside can still be taken out.
    pub(crate) fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }

    /// Takes an event in, or gives it back when there is no room here either. The caller wakes the worker.
    #[cold]
    pub(crate) fn push(&self, envelope: Envelope) -> Result<(), Box<Envelope>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed || waiting.events.len() >= CAPACITY {
            return Err(Box::new(envelope));
        }
        waiting.events.push_back(envelope);
        count::add(&self.taken_in, 1);
        // Release pairs with the Acquire in `pop`; waking the worker orders it as well.
        self.occupied.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether something waits here: then what comes next must wait here as well, or it would overtake.
    pub(crate) fn is_occupied(&self) -> bool {
        // Acquire pairs with the Release in `push`.
        self.occupied.load(Ordering::Acquire)
    }

    /// How many events wait.
    #[inline]
    fn len(&self) -> usize {
        if self.is_occupied() { self.len_locked() } else { 0 }
    }

    #[cold]
    fn len_locked(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).events.len()
    }

    /// The oldest event, if there is one.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Envelope> {
        // Acquire pairs with the Release in `push`.
        if self.occupied.load(Ordering::Acquire) { self.pop_locked() } else { None }
    }

    #[cold]
    fn pop_locked(&self) -> Option<Envelope> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = waiting.events.pop_front();
        // Relaxed: the lock orders it against `push`.
        self.occupied.store(!waiting.events.is_empty(), Ordering::Relaxed);
        oldest
    }
}

/// When a worker takes from a [`Spill`]: what it has seen there comes after all that was in the ring then, and before what
/// a ring that never empties has got since.
#[derive(Debug, Default)]
pub(crate) struct Queueing {
    /// How many events have been seen to wait, and are not taken yet.
    seen: usize,
    /// How many events have come out of the ring since.
    pops: usize,
}

impl Queueing {
    /// Before each look into the ring.
    #[inline]
    pub(crate) fn look(&mut self, spill: &Spill) {
        if self.seen == 0 {
            (self.seen, self.pops) = (spill.len(), 0);
        }
    }

    /// After an event has come out of a ring of so many slots: how many may be taken now.
    #[inline]
    pub(crate) fn popped(&mut self, slots: usize) -> usize {
        self.pops += 1;
        if self.pops >= slots { std::mem::take(&mut self.seen) } else { 0 }
    }

    /// After the ring was found empty: how many may be taken now.
    pub(crate) fn emptied(&mut self) -> usize {
        std::mem::take(&mut self.seen)
    }
}
