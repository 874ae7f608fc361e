//! Waiting for the handlers of one event: the waiter and what it reports.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use nervebus_core::SubscriptionId;

use crate::delivery::failure::HandlerError;
use crate::delivery::waking::WakerSlot;
use crate::platform::clock::Clock;
use crate::receipt::Receipt;

/// What became of one handler's call.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which subscription.
    pub subscription: SubscriptionId,
    /// The name of its handler.
    pub handler: Arc<str>,
    /// Whether it succeeded, or what it failed with. With a retry policy this is the first attempt; others may follow.
    pub result: Result<(), Arc<HandlerError>>,
}

/// What became of an event whose emitter waited for it; see [`Bus::emit_and_wait`](crate::Bus::emit_and_wait).
#[derive(Debug, Clone)]
#[must_use = "a report says which handlers failed"]
pub struct Report {
    /// What `emit` would have returned.
    pub receipt: Receipt,
    /// One outcome for each handler that was called: inline ones first, then lane by lane, by priority within each.
    pub outcomes: Vec<Outcome>,
    /// Handlers that were not called: dropped with a full lane, unsubscribed meanwhile, or left over by a shutdown.
    pub not_delivered: usize,
    /// Handlers that had not answered when the wait limit passed. They may still run.
    pub unfinished: usize,
}

impl Report {
    /// Whether every handler was called and succeeded.
    pub fn all_handled(&self) -> bool {
        self.not_delivered == 0 && self.unfinished == 0 && self.outcomes.iter().all(|outcome| outcome.result.is_ok())
    }

    /// The outcomes that are failures.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.result.is_err())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures().count();
        write!(f, "{} handled, {failed} failed", self.outcomes.len() - failed)?;
        write!(f, ", {} not delivered, {} unfinished", self.not_delivered, self.unfinished)
    }
}

/// Where the outcomes of one event come together.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    state: Mutex<State>,
    changed: Condvar,
    /// The task that waits, if it is no thread.
    task: WakerSlot,
}

#[derive(Debug, Default)]
struct State {
    outcomes: Vec<Outcome>,
    /// Deliveries that have neither an outcome nor been given up.
    open: usize,
    not_delivered: usize,
}

impl Waiter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the outcomes of an inline dispatch.
    pub(crate) fn add(&self, outcomes: Vec<Outcome>, not_delivered: usize) {
        let mut state = self.lock();
        state.outcomes.extend(outcomes);
        state.not_delivered += not_delivered;
    }

    /// A right to report on `expected` deliveries of one lane.
    pub(crate) fn ticket(self: &Arc<Self>, expected: usize) -> Ticket {
        self.lock().open += expected;
        Ticket { waiter: Arc::clone(self), expected }
    }

    /// Waits until every ticket has reported or the deadline has passed.
    pub(crate) fn wait(&self, clock: &Clock, deadline: u64, receipt: Receipt) -> Report {
        let wait = clock.wait(Some(deadline));
        let mut state = self.lock();
        while state.open > 0 && !wait.is_over() {
            state = wait.sleep(&self.changed, state, Duration::MAX);
        }
        state.report(receipt)
    }

    /// What has come together, if that is all or `is_over`; else has the task woken when it is.
    pub(crate) fn poll(&self, waker: &Waker, is_over: bool, receipt: Receipt) -> Poll<Report> {
        // The waker first: the ticket that reports after the look below finds it.
        self.task.set(waker);
        let mut state = self.lock();
        if state.open > 0 && !is_over { Poll::Pending } else { Poll::Ready(state.report(receipt)) }
    }

    /// Says that `expected` deliveries have an outcome, or will have none.
    fn close(&self, expected: usize, outcomes: Vec<Outcome>) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(expected);
        state.not_delivered += expected.saturating_sub(outcomes.len());
        state.outcomes.extend(outcomes);
        let is_all = state.open == 0;
        drop(state);
        self.changed.notify_all();
        if is_all {
            self.task.wake();
        }
    }
}

impl State {
    fn report(&mut self, receipt: Receipt) -> Report {
        let (not_delivered, unfinished) = (self.not_delivered, self.open);
        Report { receipt, outcomes: std::mem::take(&mut self.outcomes), not_delivered, unfinished }
    }
}

/// Travels with the event. Dropped without a report, it says that its deliveries will not happen.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiter: Arc<Waiter>,
    expected: usize,
}

impl Ticket {
    /// Reports on some of the deliveries; the others are still to come.
    pub(crate) fn note(&mut self, outcomes: Vec<Outcome>) {
        let noted = outcomes.len().min(self.expected);
        self.expected -= noted;
        let mut state = self.waiter.lock();
        state.open = state.open.saturating_sub(noted);
        state.outcomes.extend(outcomes);
        drop(state);
        self.waiter.changed.notify_all();
    }

    pub(crate) fn report(mut self, outcomes: Vec<Outcome>) {
        self.waiter.close(std::mem::take(&mut self.expected), outcomes);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.expected > 0 {
            self.waiter.close(self.expected, Vec::new());
        }
    }
}
