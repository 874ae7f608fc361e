//! A lease: how a watchdog takes a value over from a worker whose call on it does not end.
//!
//! A call that never returns cannot be stopped, but what it works on can be saved: the worker holds the value in a lease,
//! says when each call on it must be over, and a watchdog that finds a call overdue takes the value over. Who was first,
//! the end of the call or the watchdog, is decided by one compare-exchange.

use core::fmt;
use core::ops::Deref;

use crate::sync::{Arc, AtomicU64, Ordering, UnsafeCell};

/// The word while no call is under way.
const IDLE: u64 = 0;
/// The word once a watchdog has taken over; it never changes again.
const REVOKED: u64 = u64::MAX;

/// A lease that holds nothing yet: one end for the worker, and one for its watchdog.
///
/// Times are the caller's: any unit and any origin, as long as both ends mean the same clock.
///
/// # Cost
///
/// One allocation, the only one in the lease's life; it lasts as long as any [`Holder`], [`Watchdog`] or [`Claim`] does.
///
/// # Examples
///
/// ```
/// use nervebus_core::lease::{Revoked, lease};
///
/// let (mut holder, watchdog) = lease();
/// holder.hold("an event")?;
///
/// holder.begin(100); // the first handler: it ends in time
/// assert!(watchdog.revoke(99).is_none());
/// assert_eq!(holder.end(), Ok(()));
///
/// holder.begin(200); // the second one does not
/// assert_eq!(watchdog.due(), Some(200));
/// let claim = watchdog.revoke(200).expect("the call is overdue");
/// assert_eq!(*claim, "an event");
///
/// assert_eq!(holder.end(), Err(Revoked)); // should it ever return, it no longer counts
/// assert_eq!(holder.take(), None);
/// assert_eq!(holder.value(), Some(&"an event"));
/// # Ok::<(), &str>(())
/// ```
///
/// The worker's end is one and cannot be cloned:
///
/// ```compile_fail
/// let (holder, _watchdog) = nervebus_core::lease::lease::<u32>();
/// let second = holder.clone();
/// ```
#[must_use = "a lease without both of its ends does nothing"]
pub fn lease<T>() -> (Holder<T>, Watchdog<T>) {
    let shared = Arc::new(Shared { call: AtomicU64::new(IDLE), value: UnsafeCell::new(None) });
    (Holder { shared: Arc::clone(&shared), call: IDLE }, Watchdog { shared })
}

/// What both ends share.
struct Shared<T> {
    /// [`IDLE`], [`REVOKED`], or the deadline of the call that is under way, one up.
    ///
    /// The deadline is all there is to decide, so it is the whole word: a watchdog that read the deadline of one call can
    /// exchange it only while a call with that very deadline is under way, and such a call is overdue as well. It takes no
    /// number of the call, and no second word that could belong to another call than the first.
    call: AtomicU64,
    /// Written by the holder while the word is [`IDLE`], read by the holder at all times and by claims once it is
    /// [`REVOKED`].
    value: UnsafeCell<Option<T>>,
}

// SAFETY: through a shared lease a `T` is put in on one thread and taken out, or dropped, on another (`T: Send`), and
// read by the holder and by claims at the same time (`T: Sync`). It is written by the one holder alone, under `&mut`,
// while no call is under way; whoever reads beside it got a claim by an exchange that is possible only during a call,
// and after which the holder writes no more.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: as above: a lease that is sent takes its value along.
unsafe impl<T: Send + Sync> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The value that is held.
    ///
    /// # Safety
    ///
    /// Nobody may write the value while the reference lives.
    #[inline(always)]
    unsafe fn value(&self) -> &Option<T> {
        // SAFETY: the caller has promised that nobody writes.
        self.value.with(|value| unsafe { &*value })
    }

    /// The call that is under way, as its deadline.
    #[inline]
    fn due(&self) -> Option<u64> {
        // Relaxed: a hint; `revoke` looks again.
        deadline(self.call.load(Ordering::Relaxed))
    }

    #[inline]
    fn is_revoked(&self) -> bool {
        // Acquire pairs with the exchange in `revoke`: what the watchdog did before it is visible.
        self.call.load(Ordering::Acquire) == REVOKED
    }
}

/// The word for a call with this deadline; the last two moments of all are taken for the one before them.
#[inline(always)]
const fn word(deadline: u64) -> u64 {
    if deadline >= REVOKED - 1 { REVOKED - 1 } else { deadline + 1 }
}

/// The deadline in a word, if it stands for a call.
#[inline(always)]
const fn deadline(word: u64) -> Option<u64> {
    match word {
        IDLE | REVOKED => None,
        word => Some(word - 1),
    }
}

/// The worker's end of a [`lease`]: holds the value, and says when calls on it begin and end.
///
/// Between [`begin`](Self::begin) and [`end`](Self::end) the value can be read only; that is what lets a watchdog read it
/// as well. Once revoked, it can be read only for good. Dropped, the holder ends its call and drops the value, unless a
/// watchdog has it.
///
/// # Cost
///
/// No allocation, wait-free. Putting in, looking and taking out touch no atomic.
pub struct Holder<T> {
    shared: Arc<Shared<T>>,
    /// What the shared word is, as far as the holder knows. Only a call under way can become something else.
    call: u64,
}

impl<T> Holder<T> {
    /// Puts a value in.
    ///
    /// # Errors
    ///
    /// The value, when there is one already; after a revocation there always is.
    #[inline]
    pub fn hold(&mut self, value: T) -> Result<(), T> {
        if self.value().is_some() {
            return Err(value);
        }
        // SAFETY: there is no value, so no call is under way (`begin` needs one and `take` needs an idle lease) and none was
        // revoked: no claim exists, and the one holder is borrowed for this call alone.
        self.shared.value.with_mut(|place| unsafe { *place = Some(value) });
        Ok(())
    }

    /// The value that is held; also after a revocation.
    #[inline]
    pub fn value(&self) -> Option<&T> {
        // SAFETY: only `hold` and `take` write, on this holder, which the reference borrows.
        unsafe { self.shared.value() }.as_ref()
    }

    /// Says that a call on the value begins, which must end before `deadline`.
    ///
    /// A call that is still under way ends here. Does nothing when nothing is held, or after a revocation; the next
    /// [`end`](Self::end) tells of that.
    ///
    /// # Cost
    ///
    /// One store.
    #[inline]
    pub fn begin(&mut self, deadline: u64) {
        if self.end().is_err() || self.value().is_none() {
            return;
        }
        self.call = word(deadline);
        // Release pairs with the exchange in `revoke`: whoever takes over sees the value.
        self.shared.call.store(self.call, Ordering::Release);
    }

    /// Says that the call has ended. Without a call under way it does nothing.
    ///
    /// # Errors
    ///
    /// [`Revoked`] when a watchdog has taken over: then or before. Whatever the call returned no longer counts, and what
    /// the watchdog did before it took over is visible.
    ///
    /// # Cost
    ///
    /// One compare-exchange.
    #[inline]
    pub fn end(&mut self) -> Result<(), Revoked> {
        match self.call {
            IDLE => return Ok(()),
            REVOKED => return Err(Revoked),
            _ => {}
        }
        // Relaxed when it succeeds: whoever finds the lease idle touches nothing.
        // Acquire when it fails pairs with the exchange in `revoke`.
        let ended = self.shared.call.compare_exchange(self.call, IDLE, Ordering::Relaxed, Ordering::Acquire);
        self.call = if ended.is_ok() { IDLE } else { REVOKED };
        ended.map(drop).map_err(|_| Revoked)
    }

    /// Takes the value out; `None` when there is none, while a call is under way, and after a revocation.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        if self.call != IDLE {
            return None;
        }
        // SAFETY: no call is under way and none was revoked, so no claim exists, nor will before the next `begin`, which
        // releases this write; and the one holder is borrowed for this call alone.
        self.shared.value.with_mut(|place| unsafe { (*place).take() })
    }

    /// Whether a watchdog has taken over.
    #[inline]
    pub fn is_revoked(&self) -> bool {
        self.shared.is_revoked()
    }
}

impl<T> Drop for Holder<T> {
    fn drop(&mut self) {
        if self.end().is_ok() {
            drop(self.take());
        }
    }
}

/// The watchdog's end of a [`lease`]: sees which call is under way, and takes over when it is overdue.
///
/// A clone is another watchdog of the same lease.
pub struct Watchdog<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Watchdog<T> {
    /// The deadline of the call that is under way.
    ///
    /// It may be over by the time that this returns.
    ///
    /// # Cost
    ///
    /// One relaxed load, as in [`is_busy`](Self::is_busy).
    #[inline]
    pub fn due(&self) -> Option<u64> {
        self.shared.due()
    }

    /// Whether a call is under way.
    #[inline]
    pub fn is_busy(&self) -> bool {
        self.due().is_some()
    }

    /// Whether a watchdog has taken over: this one or another.
    #[inline]
    pub fn is_revoked(&self) -> bool {
        self.shared.is_revoked()
    }

    /// Takes the lease over if a call is under way whose deadline is at or before `now`.
    ///
    /// Either this takes over or [`Holder::end`] succeeds, never both; and of several watchdogs one takes over. A call is
    /// never judged by the deadline of another. `None` also when the call that was overdue ended at this very moment.
    ///
    /// # Cost
    ///
    /// One load, and one compare-exchange when the call is overdue. Wait-free, no allocation.
    #[inline]
    pub fn revoke(&self, now: u64) -> Option<Claim<T>> {
        // Relaxed: the exchange decides, and acquires.
        let call = self.shared.call.load(Ordering::Relaxed);
        if deadline(call)? > now {
            return None;
        }
        // Acquire pairs with the store in `begin`, after which the value stands. Release pairs with the exchange in `end`
        // that fails, and with `is_revoked`.
        self.shared.call.compare_exchange(call, REVOKED, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        Some(Claim { shared: Arc::clone(&self.shared) })
    }
}

impl<T> Clone for Watchdog<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// A value that a watchdog has taken over: to be read by whoever has a claim, and by the call that does not end.
///
/// Nobody can change it any more. It is dropped when the last claim, watchdog and holder of the lease are gone. A clone
/// is one more claim on the same value.
pub struct Claim<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Deref for Claim<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: a claim comes from `revoke` alone, after which nobody writes: `take` finds that the lease is not idle, and
        // `hold` that there is a value.
        let value = unsafe { self.shared.value() };
        // SAFETY: `begin` starts a call only when there is a value, and `take` leaves it there until the call has ended;
        // this one was revoked instead.
        unsafe { value.as_ref().unwrap_unchecked() }
    }
}

impl<T> Clone for Claim<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// A watchdog has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoked;

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call took too long, and a watchdog has taken its value over")
    }
}

impl core::error::Error for Revoked {}

impl<T> fmt::Debug for Holder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder").field("due", &self.shared.due()).field("revoked", &self.is_revoked()).finish()
    }
}

impl<T> fmt::Debug for Watchdog<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("due", &self.due()).field("revoked", &self.is_revoked()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Claim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&**self).finish()
    }
}
