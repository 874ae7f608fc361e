//! Waking the tasks of executors, whose code is not ours: a panic of theirs goes no further, and no lock is held.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::delivery::failure::drop_quietly;

/// Wakes a task. Never with a lock held: an executor may run the task on the spot.
pub(crate) fn wake(waker: Waker) {
    // To wake it by value drops it as well, and that may drop the task.
    drop_quietly(Waking(Some(waker)));
}

/// Wakes when it is dropped, so that one guard keeps in what either may panic with.
struct Waking(Option<Waker>);

impl Drop for Waking {
    fn drop(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}

/// Where the waker of one task lies until it is needed.
#[derive(Debug, Default)]
pub(crate) struct WakerSlot(Mutex<Option<Waker>>);

impl WakerSlot {
    /// Puts in whom to wake, in place of whoever was in.
    pub(crate) fn set(&self, waker: &Waker) {
        let new = waker.clone();
        let old = lock(&self.0).replace(new);
        // Only now: it may be the last that holds its task, and the task's futures take locks when they go.
        drop(old);
    }

    /// Wakes whoever is in, once.
    pub(crate) fn wake(&self) {
        let waker = lock(&self.0).take();
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

/// One value that one thread makes and one task waits for.
#[derive(Debug)]
pub(crate) struct Promise<T> {
    value: Mutex<Option<T>>,
    waiting: WakerSlot,
}

impl<T> Promise<T> {
    pub(crate) fn new() -> Self {
        Self { value: Mutex::new(None), waiting: WakerSlot::default() }
    }

    /// Keeps the promise.
    pub(crate) fn keep(&self, value: T) {
        *lock(&self.value) = Some(value);
        self.waiting.wake();
    }

    /// Takes the value, or has the task woken when it is there.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<T> {
        // The waker first: whoever keeps the promise after the look below finds it.
        self.waiting.set(waker);
        lock(&self.value).take().map_or(Poll::Pending, Poll::Ready)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
