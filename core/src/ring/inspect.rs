//! Looking at what is inside without taking it.

use super::shape::{FULL, HOLE};
use super::{Miss, PopError, Ring, Storage};
use crate::sync::{Ordering, look_again};

impl<T, S: Storage<T>> Ring<T, S> {
    /// Shows up to `max` values to `look`, oldest first, and leaves them where they are. Returns how many there were.
    ///
    /// Meanwhile nobody can take values out: [`pop`](Self::pop) says [`Empty`](PopError::Empty), a second `inspect` too,
    /// and a [`push_overwrite`](Self::push_overwrite) at a full ring gives its value back. Pushes go on while there is
    /// room. So `look` should be short. When it panics, the ring is as before.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), when there was not a single value, or another thread inspects the ring.
    ///
    /// # Cost
    ///
    /// No allocation; two atomic read-modify-writes and a load for each value. Non-blocking: it retries only after a pop
    /// succeeded.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::ring::StaticRing;
    ///
    /// let ring = StaticRing::<u32, 4>::new();
    /// ring.push_batch(&mut [1, 2, 3].into_iter()).unwrap();
    /// let mut seen = 0;
    /// assert_eq!(ring.inspect(2, |value| seen += value), Ok(2));
    /// assert_eq!((seen, ring.len()), (3, 3));
    /// ```
    pub fn inspect(&self, max: usize, look: impl FnMut(&T)) -> Result<usize, PopError>
    where
        T: Sync,
    {
        Ok(self.look(max, look)?)
    }

    /// [`inspect`](Self::inspect), with the difference between 'empty' and 'held'.
    pub(crate) fn look(&self, max: usize, mut look: impl FnMut(&T)) -> Result<usize, Miss>
    where
        T: Sync,
    {
        let held = self.hold()?;
        let (mut seen, mut position) = (0, held.head);
        for _ in 0..self.capacity() {
            let slot = self.slot(position);
            // Acquire pairs with the Release store of the stamp in `try_push`: the value is there to be looked at.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == self.shape().stamp(position) | FULL && seen < max {
                // SAFETY: the stamp says that a push put a value in. Values leave by way of a compare-exchange of the
                // head from an unmarked position, and `held` keeps the mark in the head until it is dropped.
                unsafe { slot.with(&mut look) };
                seen += 1;
            } else if stamp != self.shape().stamp(position) | HOLE {
                break;
            }
            position = self.shape().next(position);
        }
        Ok(seen)
    }

    /// Marks the head, so that nobody takes anything, if there is something to take.
    fn hold(&self) -> Result<Held<'_, T, S>, Miss> {
        let shape = self.shape();
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            // Relaxed: whoever looks at the value loads its stamp again.
            let stamp = self.slot(head).stamp.load(Ordering::Relaxed);
            if stamp != shape.stamp(head) | FULL {
                head = self.why_not_full(head, stamp)?;
                continue;
            }
            // Relaxed: the mark keeps others away by being there, and passes nothing on; the values come with their
            // stamps. As a read-modify-write it passes on what `has_room` released.
            match self.head.0.compare_exchange_weak(head, head | shape.mark, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(Held { ring: self, head }),
                Err(now) => {
                    look_again();
                    head = now;
                }
            }
        }
    }
}

/// Keeps the head marked.
struct Held<'a, T, S: Storage<T>> {
    ring: &'a Ring<T, S>,
    /// Where the head is, without the mark.
    head: usize,
}

impl<T, S: Storage<T>> Drop for Held<'_, T, S> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of the claim in `pop`: this thread is done looking before a value leaves.
        self.ring.head.0.fetch_sub(self.ring.shape().mark, Ordering::Release);
    }
}
