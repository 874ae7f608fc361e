//! The end that takes values out.

use core::fmt;
use core::marker::PhantomData;

use super::{EMPTY, FULL, Held, Moving, PopError, Spsc, Storage};
use crate::sync::Ordering;

/// The only end that takes values out. Dropping it closes the queue: pushes give their values back, and what is inside is
/// dropped with the queue.
pub struct Consumer<T, Q: Held<T>> {
    queue: Q,
    marker: PhantomData<T>,
}

impl<T, Q: Held<T>> Consumer<T, Q> {
    pub(super) fn new(queue: Q) -> Self {
        Self { queue, marker: PhantomData }
    }

    /// Takes the oldest value.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] when there is none, [`PopError::Closed`] when the producer is gone and every value was taken.
    ///
    /// # Cost
    ///
    /// No allocation; two loads and two stores. Wait-free.
    #[inline]
    pub fn pop(&mut self) -> Result<T, PopError> {
        let queue = self.queue.queue();
        // Relaxed: the consumer's own.
        let head = queue.head.0.load(Ordering::Relaxed);
        if !is_full(queue, head) {
            why_empty(queue, head)?;
        }
        // SAFETY: the slot is full, as `is_full` or `why_empty` found, and this is the consumer.
        let (value, next) = unsafe { take(queue, head) };
        queue.head.0.store(next, Ordering::Relaxed);
        Ok(value)
    }

    /// Takes up to `max` values, oldest first, hands each to `each`, and returns how many there were.
    ///
    /// When `each` panics, the values behind stay in the queue.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), when there was not a single value.
    ///
    /// # Cost
    ///
    /// No allocation; one load and one store for each value. Wait-free for each.
    #[inline]
    pub fn drain(&mut self, max: usize, mut each: impl FnMut(T)) -> Result<usize, PopError> {
        let queue = self.queue.queue();
        let mut head = Moving::of(&queue.head.0);
        let mut taken = 0;
        while taken < max {
            if !is_full(queue, head.position) {
                if taken > 0 {
                    break;
                }
                why_empty(queue, head.position)?;
            }
            // SAFETY: as in `pop`.
            let (value, next) = unsafe { take(queue, head.position) };
            head.position = next;
            taken += 1;
            each(value);
        }
        Ok(taken)
    }

    /// Whether a consumer that is about to sleep must look again: something was announced, or the producer is gone.
    ///
    /// Called after arming a [`Doorbell`](crate::wait::Doorbell), it cannot miss a push that is followed by
    /// [`Producer::announce`](super::Producer::announce).
    ///
    /// # Cost
    ///
    /// One atomic read-modify-write; call it before sleeping, not in a loop.
    pub fn has_arrivals(&self) -> bool {
        let queue = self.queue.queue();
        // AcqRel pairs with the read-modify-write in `announce`.
        queue.announced.0.fetch_add(0, Ordering::AcqRel);
        // Relaxed: if the announcement came first, the line above has acquired what it announces.
        let head = queue.head.0.load(Ordering::Relaxed);
        queue.slot(head).stamp.load(Ordering::Relaxed) == FULL || queue.finished.load(Ordering::Relaxed)
    }

    /// How many values are inside: a figure to watch. One that the producer has just put in may count a moment before a pop
    /// finds it.
    pub fn len(&self) -> usize {
        self.queue.queue().len()
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far this side is behind the producer, in values: [`len`](Self::len), as those call it who watch a queue.
    pub fn lag(&self) -> usize {
        self.len()
    }

    /// Whether the producer is gone; values may be left.
    pub fn is_closed(&self) -> bool {
        self.queue.queue().finished.load(Ordering::Relaxed)
    }
}

/// Whether the slot at `head` holds a value.
#[inline(always)]
fn is_full<T, S: Storage<T>>(queue: &Spsc<T, S>, head: usize) -> bool {
    // Acquire pairs with the Release store of the stamp in `Producer::push`: the value is there.
    queue.slot(head).stamp.load(Ordering::Acquire) == FULL
}

/// Nothing if a value has come to `head` after all; else why there is none.
#[cold]
fn why_empty<T, S: Storage<T>>(queue: &Spsc<T, S>, head: usize) -> Result<(), PopError> {
    // Acquire pairs with the Release store in `Producer::drop`: the next line shows its last push.
    if !queue.finished.load(Ordering::Acquire) {
        return Err(PopError::Empty);
    }
    if is_full(queue, head) { Ok(()) } else { Err(PopError::Closed) }
}

/// Takes the value out of the slot at `head`, passes the slot on, and returns where the next one is, which the caller must
/// note.
///
/// # Safety
///
/// The caller must be the consumer, and [`is_full`] must have said that the slot is.
#[inline(always)]
unsafe fn take<T, S: Storage<T>>(queue: &Spsc<T, S>, head: usize) -> (T, usize) {
    let slot = queue.slot(head);
    // SAFETY: the slot is full, says the caller, so the producer leaves it alone until the store below; the consumer
    // goes on to the next slot, so nobody reads the value again.
    let value = unsafe { slot.take() };
    // Release pairs with the Acquire load in the producer's `is_empty`: the value has left before the next comes.
    slot.stamp.store(EMPTY, Ordering::Release);
    (value, queue.shape().next(head))
}

impl<T, Q: Held<T>> Drop for Consumer<T, Q> {
    fn drop(&mut self) {
        // Relaxed: nothing is passed on by it.
        self.queue.queue().refused.store(true, Ordering::Relaxed);
    }
}

impl<T, Q: Held<T>> fmt::Debug for Consumer<T, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("queue", self.queue.queue()).finish()
    }
}
