//! A slot that a producer has claimed and not filled yet.

use core::mem;

use super::PushError;
use super::shape::{FULL, HOLE};
use super::slot::Slot;
use crate::sync::Ordering;

/// A slot that is one thread's alone. Dropped without a value, it is a hole that consumers step over.
pub(super) struct Claimed<'a, T> {
    /// Its stamp said 'waiting for this lap' when this thread moved the tail past it, which only one thread does.
    pub(super) slot: &'a Slot<T>,
    /// That stamp.
    pub(super) free: usize,
}

impl<T> Claimed<'_, T> {
    /// Makes the value in its place and passes the slot on to consumers.
    #[inline(always)]
    pub(super) fn fill(self, make: impl FnOnce() -> T) {
        // SAFETY: the slot is this thread's alone (see the field), and no consumer touches it until the store below says
        // FULL.
        unsafe { self.slot.write_with(make) };
        self.publish(FULL);
        mem::forget(self);
    }

    #[inline(always)]
    fn publish(&self, flag: usize) {
        // Release pairs with the Acquire load in `pop`: it sees the value written above.
        self.slot.stamp.store(self.free | flag, Ordering::Release);
    }
}

impl<T> Drop for Claimed<'_, T> {
    #[cold]
    fn drop(&mut self) {
        self.publish(HOLE);
    }
}

/// Why no slot was claimed.
pub(super) enum Refusal {
    Full,
    Closed,
}

impl Refusal {
    /// The error that hands back what was to be pushed.
    #[inline(always)]
    pub(super) fn with<V>(self, what: V) -> PushError<V> {
        match self {
            Self::Full => PushError::Full(what),
            Self::Closed => PushError::Closed(what),
        }
    }
}
