//! Ctrl-C, as a value that the run looks at and that wakes it up.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

type Waker = Box<dyn Fn() + Send>;

/// A request to stop, shared between a signal handler and a run.
///
/// Clones are the same request. It stays raised once raised.
#[derive(Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    raised: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Rung under the lock of `waker`.
    bell: Condvar,
}

impl Interrupt {
    /// Asks the run to stop and wakes it when it waits for input; true the first time, false ever after.
    ///
    /// # Cost
    /// One atomic swap, and the first time a lock that nobody holds for long. Call it from a thread, not from a raw
    /// signal handler.
    pub fn raise(&self) -> bool {
        // Pairs with the load in `is_raised`. SeqCst, because a wake-up that finds the queue full is dropped: the run,
        // which makes room first and looks at the flag second, must then see the flag.
        let first = !self.shared.raised.swap(true, Ordering::SeqCst);
        if first {
            let waker = self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.bell.notify_all();
            if let Some(wake) = &*waker {
                wake();
            }
        }
        first
    }

    /// Whether the run has been asked to stop.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        // Pairs with the swap in `raise`, SeqCst for the reason given there.
        self.shared.raised.load(Ordering::SeqCst)
    }

    /// Waits until `moment`, or less long when the run is asked to stop.
    pub(super) fn wait_until(&self, moment: Instant) {
        let mut waker = self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner);
        // `raise` sets the flag before it takes the lock: seen unset here, the bell is still to be rung.
        while !self.is_raised() {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waker = self.shared.bell.wait_timeout(waker, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sets what `raise` calls after it has set the flag; it must not block.
    pub(super) fn wake_with(&self, waker: impl Fn() + Send + 'static) {
        *self.shared.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(waker));
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("raised", &self.is_raised()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[test]
    fn only_the_first_raise_wakes_and_says_so() {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let interrupt = Interrupt::default();
        interrupt.wake_with(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        assert!(!interrupt.is_raised());
        assert_eq!([interrupt.raise(), interrupt.clone().raise()], [true, false]);
        assert!(interrupt.is_raised());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_wait_ends_with_its_moment_or_with_the_interrupt() {
        let interrupt = Interrupt::default();
        interrupt.wait_until(Instant::now());
        assert!(!interrupt.is_raised());
        let other = interrupt.clone();
        // Were the interrupt not to end it, this wait would never end.
        let waiting = std::thread::spawn(move || other.wait_until(Instant::now() + Duration::from_secs(86_400)));
        assert!(interrupt.raise());
        assert!(waiting.join().is_ok());
    }
}
