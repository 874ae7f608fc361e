//! Several values with one claim.

use super::shape::{FULL, HOLE};
use super::{BatchError, Miss, Obstacle, PopError, Ring, Storage};
use crate::sync::Ordering;

/// How many slots one compare-exchange claims at most. Measured: from 16 on, the claim no longer shows; with 64 the first
/// value waits too long for the last.
const RUN: usize = if cfg!(nervebus_loom) { 2 } else { 16 };

impl<T, S: Storage<T>> Ring<T, S> {
    /// Puts in as many of `values` as there is room for, in order, and returns how many; the rest stays in the iterator.
    ///
    /// Up to 16 values at a time lie side by side in the ring, other producers' values come between such runs.
    ///
    /// An iterator that panics, or that ends before its [`len`](ExactSizeIterator::len), leaves the slots it was given
    /// empty: consumers step over them. What it had given before is in the ring. A pop that finds nothing but such holes
    /// frees their slots although it says [`Empty`](PopError::Empty).
    ///
    /// # Errors
    ///
    /// [`BatchError::Full`] or [`BatchError::Closed`] when not all were taken, with the number of those that were.
    ///
    /// # Cost
    ///
    /// No allocation. For each run one compare-exchange, for each value one load and one store. Non-blocking: it retries
    /// only after another push succeeded. Between claim and publication the iterator runs: it should only hand over.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::ring::{BatchError, StaticRing};
    ///
    /// let ring = StaticRing::<u32, 4>::new();
    /// let mut values = [1, 2, 3, 4, 5].into_iter();
    /// assert_eq!(ring.push_batch(&mut values), Err(BatchError::Full { pushed: 4 }));
    /// assert_eq!(ring.drain(2, |_| ()), Ok(2));
    /// assert_eq!(ring.push_batch(&mut values), Ok(1));
    /// ```
    pub fn push_batch(&self, values: &mut impl ExactSizeIterator<Item = T>) -> Result<usize, BatchError> {
        let mut pushed = 0;
        loop {
            // Asked once for each run: what an iterator says of itself may change.
            let most = values.len().min(RUN);
            if most == 0 {
                break;
            }
            let mut run = match self.claim_free(most) {
                Ok(run) => run,
                Err(Obstacle::Closed) => return Err(BatchError::Closed { pushed }),
                Err(_) => return Err(BatchError::Full { pushed }),
            };
            pushed += run.fill(values);
            if run.left > 0 {
                // The iterator was shorter than it said; dropping the run marks what is left.
                break;
            }
        }
        Ok(pushed)
    }

    /// Takes up to `max` values, oldest first, hands each to `each`, and returns how many there were.
    ///
    /// `each` is for taking values away, not for working on them: up to 15 more slots are claimed while it runs, which
    /// producers see as taken and other consumers do not see. When it panics, the values of those slots are dropped.
    /// What is pushed meanwhile is taken as well, so with a `max` without bound it ends only when producers pause.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), when there was not a single value.
    ///
    /// # Cost
    ///
    /// No allocation. For each run of up to 16 values one compare-exchange, for each value one load and one store.
    /// Non-blocking: it retries only after another pop succeeded.
    pub fn drain(&self, max: usize, mut each: impl FnMut(T)) -> Result<usize, PopError> {
        let mut taken = 0;
        while taken < max {
            match self.claim_full((max - taken).min(RUN)) {
                Ok(mut run) => {
                    taken += run.left;
                    while let Some(value) = run.take() {
                        each(value);
                    }
                }
                Err(miss) if taken == 0 => return Err(miss.into()),
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// How many slots from `position` on, at most `most` and the capacity, have the stamp that `flag` makes of their lap.
    #[inline]
    fn run_of(&self, position: usize, flag: usize, most: usize) -> usize {
        let (mut run, mut next) = (0, position);
        let most = most.min(self.capacity());
        // Acquire pairs with the Release stores of the stamp, as in `try_push` and `pop`.
        while run < most && self.slot(next).stamp.load(Ordering::Acquire) == self.shape().stamp(next) | flag {
            next = self.shape().next(next);
            run += 1;
        }
        run
    }

    /// Claims free slots, at least one and at most `most`.
    #[inline]
    fn claim_free(&self, most: usize) -> Result<FreeRun<'_, T, S>, Obstacle> {
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            let left = self.run_of(tail, 0, most);
            if left == 0 {
                // Relaxed: this value decides nothing but what to do next.
                let stamp = self.slot(tail).stamp.load(Ordering::Relaxed);
                match self.why_not_free(tail, stamp) {
                    Obstacle::Stale(now) => tail = now,
                    obstacle => return Err(obstacle),
                }
                continue;
            }
            let next = self.shape().advanced(tail, left);
            // AcqRel as in `try_push`.
            match self.tail.0.compare_exchange_weak(tail, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(FreeRun { ring: self, tail, left }),
                Err(now) => tail = now,
            }
        }
    }

    /// Claims slots that hold values, at least one and at most `most`.
    #[inline]
    fn claim_full(&self, most: usize) -> Result<FullRun<'_, T, S>, Miss> {
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            let left = self.run_of(head, FULL, most);
            if left == 0 {
                // Relaxed: this value decides nothing but what to do next.
                let stamp = self.slot(head).stamp.load(Ordering::Relaxed);
                head = self.why_not_full(head, stamp)?;
                continue;
            }
            let next = self.shape().advanced(head, left);
            // AcqRel as in `pop`.
            match self.head.0.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(FullRun { ring: self, head, left }),
                Err(now) => head = now,
            }
        }
    }
}

/// Claimed slots that wait for values. Dropped, it marks those that got none.
struct FreeRun<'a, T, S: Storage<T>> {
    ring: &'a Ring<T, S>,
    tail: usize,
    left: usize,
}

impl<T, S: Storage<T>> FreeRun<'_, T, S> {
    /// Puts values in until slots or values run out, and returns how many.
    #[inline]
    fn fill(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let before = self.left;
        while self.left > 0 {
            let Some(value) = values.next() else { break };
            // SAFETY: `claim_free` found the slot's stamp waiting for this lap and moved the tail past it, so it is this
            // thread's alone until `publish` says FULL.
            unsafe { self.ring.slot(self.tail).write(value) };
            self.publish(FULL);
        }
        before - self.left
    }

    /// Passes the next slot on to consumers.
    #[inline(always)]
    fn publish(&mut self, flag: usize) {
        let stamp = self.ring.shape().stamp(self.tail) | flag;
        // Release pairs with the Acquire loads in `pop` and `run_of`: they see the value.
        self.ring.slot(self.tail).stamp.store(stamp, Ordering::Release);
        self.tail = self.ring.shape().next(self.tail);
        self.left -= 1;
    }
}

impl<T, S: Storage<T>> Drop for FreeRun<'_, T, S> {
    #[inline]
    fn drop(&mut self) {
        while self.left > 0 {
            self.publish(HOLE);
        }
    }
}

/// Claimed slots whose values are to be taken. Dropped, it drops the values that were not.
struct FullRun<'a, T, S: Storage<T>> {
    ring: &'a Ring<T, S>,
    head: usize,
    left: usize,
}

impl<T, S: Storage<T>> FullRun<'_, T, S> {
    #[inline]
    fn take(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.ring.slot(self.head);
        // SAFETY: `claim_full` found the slot FULL and moved the head past it, so its value is this thread's alone; each
        // slot of the run is taken from once, for `head` and `left` move on with it.
        let value = unsafe { slot.take() };
        self.ring.release(slot, self.head);
        self.head = self.ring.shape().next(self.head);
        Some(value)
    }
}

impl<T, S: Storage<T>> Drop for FullRun<'_, T, S> {
    #[inline]
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}
