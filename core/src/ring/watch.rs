//! What can be said of a ring from outside: how full it is, what went through it, and whether to sleep beside it.

use super::{Ring, Storage};
use crate::sync::Ordering;

impl<T, S: Storage<T>> Ring<T, S> {
    /// How many values are inside, counting those being put in, not those being taken out. Holes that a
    /// [batch](Self::push_batch) left count as values until a consumer has stepped over them; without them it is exact
    /// when nobody puts in or takes out.
    pub fn len(&self) -> usize {
        let head = self.shape().unmarked(self.head.0.load(Ordering::Relaxed));
        let tail = self.shape().unmarked(self.tail.0.load(Ordering::Relaxed));
        self.shape().distance(head, tail)
    }

    /// How far the consumers are behind the producers, in values: [`len`](Self::len), as those call it who watch a queue.
    pub fn lag(&self) -> usize {
        self.len()
    }

    /// How many slots producers have claimed since the beginning: one for each push that succeeded, and one for each hole
    /// that a [batch](Self::push_batch) left. It goes at least through an eighth of the machine word's range, and then
    /// starts at 0 again.
    pub fn pushed(&self) -> usize {
        // Acquire pairs with the AcqRel of the claim in `try_push`: what was done before a push that is counted is seen.
        self.shape().count(self.shape().unmarked(self.tail.0.load(Ordering::Acquire)))
    }

    /// How many of them consumers are done with or at work on, displacing pushes included.
    pub fn popped(&self) -> usize {
        // Acquire pairs with the AcqRel of the claim in `pop`, in the same way.
        self.shape().count(self.shape().unmarked(self.head.0.load(Ordering::Acquire)))
    }

    /// Whether a push would find its slot free right now: a look at the slot alone, which a push would touch anyway,
    /// and so far cheaper than [`free_slots`](Self::free_slots). Also `true` when the ring is closed.
    #[inline]
    pub fn would_accept(&self) -> bool {
        let tail = self.tail.0.load(Ordering::Relaxed);
        let stamp = self.slot(tail).stamp.load(Ordering::Relaxed);
        // A stamp of a later lap means that the tail we read is old, and that somebody has just found room.
        self.shape().is_marked(tail) || !self.shape().is_a_lap_behind(stamp, tail)
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity less [`len`](Self::len): how many pushes would succeed now if the ring is open, and nobody is in the
    /// middle of a push or a pop.
    pub fn free_slots(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Whether a consumer that is about to sleep must look again: something was claimed, or the ring was closed.
    ///
    /// Called after arming a [`Doorbell`](crate::wait::Doorbell), it cannot miss a push: it is a read-modify-write of
    /// the tail, as is every claim. If the claim comes first in the tail's order, this call sees it. If this call comes
    /// first, the claim acquires it, and with it the armed bell, so that the producer's look at the bell sees it armed.
    ///
    /// # Cost
    ///
    /// One atomic read-modify-write; call it before sleeping, not in a loop.
    pub fn has_arrivals(&self) -> bool {
        // AcqRel pairs with the claim in `try_push` and with `close`.
        let tail = self.tail.0.fetch_or(0, Ordering::AcqRel);
        // Relaxed: an old head only makes the caller look again.
        tail != self.head.0.load(Ordering::Relaxed)
    }

    /// Whether a producer that is about to sleep must look again: a slot was freed, or the ring was closed.
    ///
    /// The mirror image of [`has_arrivals`](Self::has_arrivals), over the head. It may be true a moment before the slot
    /// is usable, while a consumer is still moving its value out: push again, and yield when it is still full. A consumer
    /// that wakes a producer after each pop makes the two take turns; to wake it when half of the ring is free costs less.
    pub fn has_room(&self) -> bool {
        // AcqRel pairs with the claim in `pop`.
        let head = self.shape().unmarked(self.head.0.fetch_or(0, Ordering::AcqRel));
        // Relaxed: an old tail only makes the caller look again; whoever closes the ring must wake those who sleep.
        let tail = self.tail.0.load(Ordering::Relaxed);
        self.shape().is_marked(tail) || self.shape().distance(head, tail) < self.capacity()
    }
}
