//! One event to the handlers of one lane, inline or queued: the step where user code runs.

use std::sync::Arc;

use nervebus_core::{Entry, dispatch};

use crate::context::Handling;
use crate::delivery::failure::HandlerError;
use crate::delivery::report::Outcome;
use crate::delivery::subscription::{Failure, Subscription};
use crate::event::Event;

/// What became of one event on one lane.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) handled: usize,
    /// Handlers that were unsubscribed before their turn came.
    pub(crate) cancelled: usize,
    pub(crate) failures: Vec<(Arc<Subscription>, Arc<HandlerError>)>,
    /// One for each handler that was called, if the emitter waits for them.
    pub(crate) outcomes: Vec<Outcome>,
}

/// A subscription's place in a route.
pub(crate) type RouteEntry = Entry<Arc<Subscription>>;

/// Calls the handlers in order. Allocates only for failures, and for outcomes when they are wanted.
pub(crate) fn deliver<'r>(
    entries: impl IntoIterator<Item = &'r RouteEntry>,
    event: &Event<'_>,
    want_outcomes: bool,
) -> Delivered {
    let _scope = Handling::enter(event.bus, event.seq(), event.envelope.correlation.as_ref());
    let mut delivered = Delivered::default();
    if want_outcomes {
        entries.into_iter().for_each(|entry| delivered.call_and_note(entry, event));
        return delivered;
    }
    let tally = dispatch(entries, event, |entry, failure| delivered.fail(entry, failure));
    delivered.handled = tally.handled;
    delivered
}

impl Delivered {
    fn fail(&mut self, entry: &RouteEntry, failure: Failure) {
        match failure {
            Failure::Cancelled => self.cancelled += 1,
            Failure::Failed(error) => self.failures.push((Arc::clone(&entry.handler), error)),
        }
    }

    fn call_and_note(&mut self, entry: &RouteEntry, event: &Event<'_>) {
        let (failed, cancelled) = (self.failures.len(), self.cancelled);
        let tally = dispatch([entry], event, |entry, failure| self.fail(entry, failure));
        self.handled += tally.handled;
        if self.cancelled > cancelled {
            return;
        }
        let result = self.failures.get(failed).map_or(Ok(()), |(_, error)| Err(Arc::clone(error)));
        let subscription = &entry.handler;
        self.outcomes.push(Outcome { subscription: subscription.id, handler: Arc::clone(&subscription.name), result });
    }
}
