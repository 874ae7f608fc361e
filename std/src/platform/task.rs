//! Futures on a thread that waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::clock::Clock;

/// Wakes a thread that is parked, and says that it was woken and not just disturbed.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release pairs with the Acquire in `block_on`: what was done before the wake-up is seen by the next poll.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

/// Polls until it is ready; `None` when the deadline, a moment of the clock, has passed before. It parks the thread
/// between polls, and polls once more when the deadline has passed, so that what was ready in time is seen.
///
/// Costs one allocation.
pub(crate) fn block_on<T>(
    clock: &Clock,
    deadline: Option<u64>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let wait = clock.wait(deadline);
    loop {
        let over = wait.is_over();
        if let Poll::Ready(value) = poll(&mut context) {
            return Some(value);
        }
        if over {
            return None;
        }
        // Acquire pairs with the Release in `wake_by_ref`.
        while !unpark.woken.swap(false, Ordering::Acquire) && !wait.is_over() {
            clock.park_until(deadline);
        }
    }
}
