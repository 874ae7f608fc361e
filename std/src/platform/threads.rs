//! Threads: starting, parking and waking them.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use nervebus_core::wait::Wait;

use super::clock::Clock;

/// Starts a named thread.
///
/// # Errors
///
/// What the system says when it has no room for one more.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name).spawn(body)
}

/// Gives the processor to another thread that wants it.
pub(crate) fn yield_now() {
    thread::yield_now();
}

/// Sleeps by parking. The thread that does so is named before others can wake it.
///
/// Another may take its place, which names itself before it looks for work. Whoever wakes the former one meanwhile has
/// done what it wakes for before the other has named itself, by the lock, and so the other sees it; the former bears a
/// wake-up for nothing.
#[derive(Debug, Default)]
pub(crate) struct Park {
    /// A lock and not a cell that is written once: it is taken only when there is somebody to wake, which costs far more.
    sleeper: Mutex<Option<Sleeper>>,
}

/// Who is to be woken.
#[derive(Debug)]
enum Sleeper {
    Thread(Thread),
    /// What finds a thread for it.
    Other(Waker),
}

impl Park {
    /// Names the thread that sleeps; the last one named counts.
    pub(crate) fn is_done_by(&self, thread: &Thread) {
        *self.lock() = Some(Sleeper::Thread(thread.clone()));
    }

    /// Names what is woken instead of a thread.
    pub(crate) fn is_done_by_whom(&self, waker: Waker) {
        *self.lock() = Some(Sleeper::Other(waker));
    }

    /// Says that nobody needs to be woken any more.
    pub(crate) fn is_done_by_nobody(&self) {
        let before = self.lock().take();
        // Outside the lock: what it knows may go with it.
        drop(before);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Sleeper>> {
        self.sleeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names this thread as the one that sleeps.
    pub(crate) fn is_this_thread(&self) {
        self.is_done_by(&thread::current());
    }

    /// Whether the thread that sleeps has been named.
    pub(crate) fn is_named(&self) -> bool {
        self.lock().is_some()
    }
}

impl Wait for Park {
    fn wait(&self) {
        thread::park();
    }

    fn wake(&self) {
        match &*self.lock() {
            Some(Sleeper::Thread(thread)) => thread.unpark(),
            Some(Sleeper::Other(waker)) => waker.wake_by_ref(),
            None => {}
        }
    }
}

/// A door that opens once: threads wait at it until it does.
#[derive(Debug, Default)]
pub(crate) struct Latch {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Latch {
    /// Opens the latch for good.
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Whether the latch is open.
    pub(crate) fn is_open(&self) -> bool {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the latch opens or the deadline has passed; says which.
    pub(crate) fn wait_until(&self, clock: &Clock, deadline: u64) -> bool {
        let wait = clock.wait(Some(deadline));
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open && !wait.is_over() {
            open = wait.sleep(&self.opened, open, Duration::MAX);
        }
        *open
    }
}

/// Looks again and again until `done` or the deadline, with short rests; for shutting down, not for the hot path.
pub(crate) fn poll_until(clock: &Clock, deadline: u64, mut done: impl FnMut() -> bool) -> bool {
    const REST: Duration = Duration::from_micros(200);
    let wait = clock.wait(Some(deadline));
    loop {
        if done() {
            return true;
        }
        if wait.is_over() {
            return false;
        }
        wait.park(REST);
    }
}
