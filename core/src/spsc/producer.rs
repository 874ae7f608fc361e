//! The end that puts values in.

use core::fmt;
use core::marker::PhantomData;

use super::{BatchError, EMPTY, FULL, Held, Moving, PushError, Spsc, Storage};
use crate::sync::Ordering;

/// The only end that puts values in. Dropping it closes the queue: the consumer takes what is left and then learns it.
/// Dropping it also announces; a consumer that may sleep is then to be woken.
///
/// Two threads cannot push at once, for a push needs the producer to itself:
///
/// ```
/// let queue = nervebus_core::spsc::StaticSpsc::<u8, 4>::new();
/// let (mut producer, _consumer) = queue.split().unwrap();
/// producer.push(1).unwrap();
/// ```
///
/// A shared producer does not do, and there is no second one:
///
/// ```compile_fail,E0596
/// let queue = nervebus_core::spsc::StaticSpsc::<u8, 4>::new();
/// let (producer, _consumer) = queue.split().unwrap();
/// let shared = &producer;
/// shared.push(1).unwrap();
/// ```
///
/// ```compile_fail,E0599
/// let queue = nervebus_core::spsc::StaticSpsc::<u8, 4>::new();
/// let (mut producer, _consumer) = queue.split().unwrap();
/// let mut second = producer.clone();
/// producer.push(1).unwrap();
/// ```
pub struct Producer<T, Q: Held<T>> {
    queue: Q,
    marker: PhantomData<T>,
}

impl<T, Q: Held<T>> Producer<T, Q> {
    pub(super) fn new(queue: Q) -> Self {
        Self { queue, marker: PhantomData }
    }

    /// Puts a value in, if there is room.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`], or [`PushError::Closed`] when the consumer is gone, with the value.
    ///
    /// # Cost
    ///
    /// No allocation; two loads and two stores. Wait-free.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), PushError<T>> {
        let queue = self.queue.queue();
        // Relaxed: a consumer that goes away while this is being put in leaves it to the queue's drop.
        if queue.refused.load(Ordering::Relaxed) {
            return Err(PushError::Closed(value));
        }
        // Relaxed: the producer's own.
        let tail = queue.tail.0.load(Ordering::Relaxed);
        if !is_empty(queue, tail) {
            return Err(PushError::Full(value));
        }
        // SAFETY: the slot is empty, and this is the producer.
        let next = unsafe { put(queue, tail, value) };
        queue.tail.0.store(next, Ordering::Relaxed);
        Ok(())
    }

    /// Puts in as many of `values` as there is room for, in order, and returns how many; the rest stays in the iterator.
    ///
    /// Each value can be taken as soon as it is in. An iterator that panics leaves what it had given before in the queue.
    ///
    /// # Errors
    ///
    /// [`BatchError::Full`] or [`BatchError::Closed`] when not all were taken, with the number of those that were.
    ///
    /// # Cost
    ///
    /// No allocation; two loads and one store for each value. Wait-free.
    #[inline]
    pub fn push_batch(&mut self, values: &mut impl ExactSizeIterator<Item = T>) -> Result<usize, BatchError> {
        let queue = self.queue.queue();
        let mut tail = Moving::of(&queue.tail.0);
        let mut pushed = 0;
        while values.len() > 0 {
            // Relaxed as in `push`.
            if queue.refused.load(Ordering::Relaxed) {
                return Err(BatchError::Closed { pushed });
            }
            if !is_empty(queue, tail.position) {
                return Err(BatchError::Full { pushed });
            }
            // An iterator may be shorter than it says.
            let Some(value) = values.next() else { break };
            // SAFETY: the slot is empty, and this is the producer.
            tail.position = unsafe { put(queue, tail.position, value) };
            pushed += 1;
        }
        Ok(pushed)
    }

    /// Makes sure that a consumer that is going to sleep has seen what was pushed, or that this side sees that it sleeps.
    ///
    /// To be called after a push or a batch, and before [`Doorbell::ring`](crate::wait::Doorbell::ring), when the
    /// consumer may sleep; its other half is [`Consumer::has_arrivals`](super::Consumer::has_arrivals). Not needed for a
    /// consumer that polls.
    ///
    /// # Cost
    ///
    /// One atomic read-modify-write: the one that a [`Ring`](crate::ring::Ring) pays for every push.
    #[inline]
    pub fn announce(&self) {
        // AcqRel pairs with `has_arrivals`: of the two, the later one sees what came before the earlier. A word of its
        // own, because a plain store between two read-modify-writes would take the order away.
        self.queue.queue().announced.0.fetch_add(1, Ordering::AcqRel);
    }

    /// How many values are inside; the consumer may be taking some.
    pub fn len(&self) -> usize {
        self.queue.queue().len()
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many slots wait for a value: a figure to watch. A slot that the consumer has just left may count a moment before
    /// a push can use it.
    pub fn free_slots(&self) -> usize {
        self.queue.queue().free_slots()
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        self.queue.queue().refused.load(Ordering::Relaxed)
    }
}

/// Whether the slot at `tail` waits for a value.
#[inline(always)]
fn is_empty<T, S: Storage<T>>(queue: &Spsc<T, S>, tail: usize) -> bool {
    // Acquire pairs with the Release store of the stamp in `Consumer::take`: the last value has been moved out.
    queue.slot(tail).stamp.load(Ordering::Acquire) == EMPTY
}

/// Puts a value into the slot at `tail`, passes it on, and returns where the next one goes, which the caller must note.
///
/// # Safety
///
/// The caller must be the producer, and [`is_empty`] must have said that the slot is.
#[inline(always)]
unsafe fn put<T, S: Storage<T>>(queue: &Spsc<T, S>, tail: usize, value: T) -> usize {
    let slot = queue.slot(tail);
    // SAFETY: the slot is empty, says the caller, so the consumer leaves it alone until the store below.
    unsafe { slot.write(value) };
    // Release pairs with the Acquire load in `Consumer::is_full`: it sees the value.
    slot.stamp.store(FULL, Ordering::Release);
    queue.shape().next(tail)
}

impl<T, Q: Held<T>> Drop for Producer<T, Q> {
    fn drop(&mut self) {
        // Release pairs with the Acquire load in `Consumer::why_empty`: who sees it sees every push.
        self.queue.queue().finished.store(true, Ordering::Release);
        self.announce();
    }
}

impl<T, Q: Held<T>> fmt::Debug for Producer<T, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("queue", self.queue.queue()).finish()
    }
}
