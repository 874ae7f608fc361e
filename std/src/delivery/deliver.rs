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
    /// What went wrong, if anything did.
    pub(crate) trouble: Option<Box<Trouble>>,
}

/// Deliveries that did not succeed.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Handlers that were unsubscribed before their turn came.
    pub(crate) cancelled: usize,
    /// Handlers whose turn came too late.
    pub(crate) expired: usize,
    pub(crate) failures: Failures,
}

/// Handlers that failed, and how.
pub(crate) type Failures = Vec<(Arc<Subscription>, Arc<HandlerError>)>;

/// A subscription's place in a route.
pub(crate) type RouteEntry = Entry<Arc<Subscription>>;

/// Calls the handlers in order. Allocates only for failures.
#[inline]
pub(crate) fn deliver<'r>(entries: impl IntoIterator<Item = &'r RouteEntry>, event: &Event<'_>) -> Delivered {
    let _scope = enter(event);
    let mut delivered = Delivered::default();
    delivered.handled = dispatch(entries, event, |entry, failure| delivered.fail(entry, failure)).handled;
    delivered
}

/// Calls the handlers in order, and says of each that was called what it did.
pub(crate) fn deliver_and_note<'r>(
    entries: impl IntoIterator<Item = &'r RouteEntry>,
    event: &Event<'_>,
) -> (Delivered, Vec<Outcome>) {
    let _scope = enter(event);
    let (mut delivered, mut outcomes) = (Delivered::default(), Vec::new());
    for entry in entries {
        let (failed, cancelled) = (delivered.failures().len(), delivered.cancelled());
        delivered.handled += dispatch([entry], event, |entry, failure| delivered.fail(entry, failure)).handled;
        if delivered.cancelled() > cancelled {
            continue;
        }
        let result = delivered.failures().get(failed).map_or(Ok(()), |(_, error)| Err(Arc::clone(error)));
        let subscription = &entry.handler;
        outcomes.push(Outcome { subscription: subscription.id, handler: Arc::clone(&subscription.name), result });
    }
    (delivered, outcomes)
}

/// Calls the handlers in order, as long as it is not too late, and says of each that was called what it did.
#[cold]
pub(crate) fn deliver_until<'r>(
    entries: impl IntoIterator<Item = &'r RouteEntry>,
    event: &Event<'_>,
    is_over: impl Fn() -> bool,
) -> (Delivered, Vec<Outcome>) {
    let mut entries = entries.into_iter().peekable();
    let (mut delivered, outcomes) = deliver_and_note(std::iter::from_fn(|| entries.next_if(|_| !is_over())), event);
    let expired = entries.filter(|entry| entry.handler.is_active()).count();
    if expired > 0 {
        delivered.trouble.get_or_insert_default().expired = expired;
    }
    (delivered, outcomes)
}

#[inline]
pub(crate) fn enter(event: &Event<'_>) -> Handling {
    Handling::enter(event.bus, event.head.seq, event.head.hops, event.head.lineage.as_ref())
}

impl Delivered {
    /// Handlers that were unsubscribed before their turn came.
    pub(crate) fn cancelled(&self) -> usize {
        self.trouble.as_ref().map_or(0, |trouble| trouble.cancelled)
    }

    /// Handlers whose turn came too late.
    pub(crate) fn expired(&self) -> usize {
        self.trouble.as_ref().map_or(0, |trouble| trouble.expired)
    }

    pub(crate) fn failures(&self) -> &[(Arc<Subscription>, Arc<HandlerError>)] {
        self.trouble.as_ref().map_or(&[], |trouble| &trouble.failures)
    }

    #[cold]
    fn fail(&mut self, entry: &RouteEntry, failure: Failure) {
        let trouble = self.trouble.get_or_insert_default();
        match failure {
            Failure::Cancelled => trouble.cancelled += 1,
            Failure::Failed(error) => trouble.failures.push((Arc::clone(&entry.handler), error)),
        }
    }
}
