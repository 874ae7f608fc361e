//! A place for one value that somebody waits for, with a thread or as a task.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A place for one value: the first one stays, whoever brings it.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    filled: bool,
    waker: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, filled: false, waker: None }) }
    }
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a value has come, be it taken or not.
    pub(crate) fn is_filled(&self) -> bool {
        self.lock().filled
    }

    /// Puts the value in and wakes who waits for it.
    ///
    /// # Errors
    ///
    /// The value, when another was there before.
    pub(crate) fn fill(&self, value: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.filled {
            return Err(value);
        }
        (state.value, state.filled) = (Some(value), true);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the value out, or has the task woken when it comes. There is one who waits.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.lock();
        if let Some(value) = state.value.take() {
            return Poll::Ready(value);
        }
        let old = state.waker.replace(context.waker().clone());
        drop(state);
        // A waker of the user's may do anything when it is dropped.
        drop(old);
        Poll::Pending
    }
}
