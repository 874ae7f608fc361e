//! One event to the handlers of one lane, inline or queued: the step where user code runs.

use std::sync::Arc;

use nervebus_core::{Entry, Handler};

use crate::context::Handling;
use crate::context::cause::Known;
use crate::delivery::envelope::Envelope;
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
    /// Whether it stopped before a handler that needs the event for longer, because the payload lay in place. That
    /// handler and those after it have not been called.
    unfinished: bool,
}

/// Handlers that failed, and how.
pub(crate) type Failures = Vec<(Arc<Subscription>, Arc<HandlerError>)>;

/// A subscription's place in a route.
pub(crate) type RouteEntry = Entry<Arc<Subscription>>;

/// Calls the handlers of an event whose number says its identity, in order, until one needs the event for longer than the
/// call and its payload lies in place; see [`Delivered::is_unfinished`]. Allocates only for failures.
///
/// Part of every emit to inline handlers, whatever the payload's type: a call of its own would cost a seventh more.
#[inline(always)]
pub(crate) fn deliver<'r>(entries: impl IntoIterator<Item = &'r RouteEntry>, event: &Event<'_>) -> Delivered {
    let mut delivered = Delivered::default();
    let _scope = enter_unnamed(event);
    delivered.call_each(entries, event, |_, _| ());
    delivered
}

/// Calls the handlers of an event in its envelope, in order. With `noting`, it says of each that was called what it did.
///
/// The payload is moved to the heap when a handler's turn comes that needs it there, and not before.
pub(crate) fn deliver_envelope<'r>(
    entries: impl Iterator<Item = &'r RouteEntry> + Clone,
    envelope: &mut Envelope,
    topic: &str,
    bus: u64,
    noting: bool,
) -> (Delivered, Vec<Outcome>) {
    let (mut delivered, mut outcomes) = (Delivered::default(), Vec::new());
    let event = envelope.event(topic, bus);
    if noting {
        delivered.call(entries.clone(), &event, |entry, error| outcomes.push(outcome(entry, error)));
    } else {
        delivered.call(entries.clone(), &event, |_, _| ());
    }
    if delivered.is_unfinished() {
        envelope.body.share();
        let event = envelope.event(topic, bus);
        delivered.go_on(entries, &event, |entry, error| {
            if noting {
                outcomes.push(outcome(entry, error));
            }
        });
    }
    (delivered, outcomes)
}

/// Calls the handlers in order, as long as it is not too late. With `noting`, it says of each that was called what it did.
/// The payload is where every handler can have it.
#[inline(never)]
pub(crate) fn deliver_until<'r>(
    entries: impl IntoIterator<Item = &'r RouteEntry>,
    event: &Event<'_>,
    is_over: impl Fn() -> bool,
    noting: bool,
) -> (Delivered, Vec<Outcome>) {
    let mut entries = entries.into_iter().peekable();
    let (mut delivered, mut outcomes) = (Delivered::default(), Vec::new());
    let in_time = std::iter::from_fn(|| entries.next_if(|_| !is_over()));
    if noting {
        delivered.call(in_time, event, |entry, error| outcomes.push(outcome(entry, error)));
    } else {
        delivered.call(in_time, event, |_, _| ());
    }
    let late = entries.filter(|entry| entry.handler.is_active());
    let expired = late.inspect(|entry| entry.handler.count_expired()).count();
    if expired > 0 {
        delivered.trouble.get_or_insert_default().expired = expired;
    }
    (delivered, outcomes)
}

fn outcome(entry: &RouteEntry, error: Option<&Arc<HandlerError>>) -> Outcome {
    let subscription = &entry.handler;
    let result = error.map_or(Ok(()), |error| Err(Arc::clone(error)));
    Outcome { subscription: subscription.id, handler: Arc::clone(&subscription.name), result }
}

#[inline]
pub(crate) fn enter(event: &Event<'_>) -> (Handling, Option<Known>) {
    let handling = enter_unnamed(event);
    (handling, Known::by(event.head.given_id()))
}

/// For an event whose number says its identity.
#[inline]
fn enter_unnamed(event: &Event<'_>) -> Handling {
    Handling::enter(event.bus, event.head.seq, event.head.hops, event.head.lineage.as_ref())
}

impl Delivered {
    #[inline(always)]
    fn call<'r>(
        &mut self,
        entries: impl IntoIterator<Item = &'r RouteEntry>,
        event: &Event<'_>,
        note: impl FnMut(&'r RouteEntry, Option<&Arc<HandlerError>>),
    ) {
        if event.head.given_id().is_some() {
            return self.call_named(entries, event, note);
        }
        let _scope = enter_unnamed(event);
        self.call_each(entries, event, note);
    }

    /// Apart from the way of most events, which would pay for what this takes back at its end.
    #[inline(never)]
    fn call_named<'r>(
        &mut self,
        entries: impl IntoIterator<Item = &'r RouteEntry>,
        event: &Event<'_>,
        note: impl FnMut(&'r RouteEntry, Option<&Arc<HandlerError>>),
    ) {
        let _scope = enter(event);
        self.call_each(entries, event, note);
    }

    #[inline(always)]
    fn call_each<'r>(
        &mut self,
        entries: impl IntoIterator<Item = &'r RouteEntry>,
        event: &Event<'_>,
        mut note: impl FnMut(&'r RouteEntry, Option<&Arc<HandlerError>>),
    ) {
        for entry in entries {
            match entry.handler.handle(event) {
                Ok(()) => {
                    self.handled += 1;
                    note(entry, None);
                }
                Err(failure) => {
                    let goes_on = self.fail(entry, failure, &mut note);
                    if !goes_on {
                        return;
                    }
                }
            }
        }
    }

    /// Takes a delivery up again that is [unfinished](Self::is_unfinished), with the payload shared by now.
    #[cold]
    pub(crate) fn go_on<'r>(
        &mut self,
        entries: impl IntoIterator<Item = &'r RouteEntry>,
        event: &Event<'_>,
        note: impl FnMut(&'r RouteEntry, Option<&Arc<HandlerError>>),
    ) {
        let called = self.handled + self.cancelled() + self.failures().len();
        if let Some(trouble) = &mut self.trouble {
            trouble.unfinished = false;
        }
        self.call(entries.into_iter().skip(called), event, note);
        if self.cancelled() == 0 && self.failures().is_empty() {
            self.trouble = None;
        }
    }

    /// Whether a handler needs the payload to be shared before it, and those after it, can be called.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.unfinished)
    }

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

    /// Notes that a handler did not succeed; says whether the next one may be called.
    #[cold]
    fn fail<'r>(
        &mut self,
        entry: &'r RouteEntry,
        failure: Failure,
        note: &mut impl FnMut(&'r RouteEntry, Option<&Arc<HandlerError>>),
    ) -> bool {
        let trouble = self.trouble.get_or_insert_default();
        match failure {
            Failure::Cancelled => trouble.cancelled += 1,
            Failure::Failed(error) => {
                note(entry, Some(&error));
                trouble.failures.push((Arc::clone(&entry.handler), error));
            }
            Failure::Unshared => trouble.unfinished = true,
        }
        !trouble.unfinished
    }
}
