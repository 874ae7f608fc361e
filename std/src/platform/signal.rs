//! A signal that is given once: everybody who waits for it is woken, and whoever comes later finds it given.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// A signal that is given once.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    given: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    wakers: BTreeMap<u64, Waker>,
    /// How many ever waited.
    numbers: u64,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the signal has been given.
    pub(crate) fn is_given(&self) -> bool {
        // Acquire pairs with the Release in `give`.
        self.given.load(Ordering::Acquire)
    }

    /// Has a waker called when the signal is given, for as long as the seat is kept; `None` when it has been given.
    ///
    /// The waker must not panic.
    pub(crate) fn enter(self: &Arc<Self>, waker: Waker) -> Option<Seat> {
        let mut waiting = self.lock();
        if self.is_given() {
            return None;
        }
        waiting.numbers += 1;
        let number = waiting.numbers;
        waiting.wakers.insert(number, waker);
        Some(Seat { signal: Arc::clone(self), number })
    }

    /// Gives the signal, and says whether anybody waited for it. Harmless when repeated.
    pub(crate) fn give(&self) -> bool {
        let mut waiting = self.lock();
        // Release pairs with the Acquire in `is_given`. Whoever has entered under the lock is among the wakers.
        self.given.store(true, Ordering::Release);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        let some = !wakers.is_empty();
        wakers.into_values().for_each(Waker::wake);
        some
    }
}

/// A place among those who wait for a signal.
#[derive(Debug)]
#[must_use = "who has left is not woken"]
pub(crate) struct Seat {
    signal: Arc<Signal>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        // The waker is dropped after the lock.
        let _waker = self.signal.lock().wakers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_is_woken_once_who_left_is_not_and_who_comes_late_is_told() {
        let (signal, stays, leaves) = (Arc::new(Signal::default()), Arc::<Count>::default(), Arc::<Count>::default());
        let _seat = signal.enter(Arc::clone(&stays).into()).unwrap();
        drop(signal.enter(Arc::clone(&leaves).into()).unwrap());
        assert!(!signal.is_given());
        assert!(signal.give());
        assert!(signal.is_given() && !signal.give());
        assert!(signal.enter(Waker::noop().clone()).is_none());
        assert_eq!((stays.0.load(Ordering::Relaxed), leaves.0.load(Ordering::Relaxed)), (1, 0));
        assert_eq!(Arc::strong_count(&leaves), 1, "nothing of it is kept");
    }
}
