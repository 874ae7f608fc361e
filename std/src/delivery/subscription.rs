//! One subscription at work: the handler, its account and its timings.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use nervebus_core::breaker::Permit;
use nervebus_core::{Handler, LaneId, Priority, SubscriptionId};

use crate::delivery::breaker::Breaker;
use crate::delivery::count::{self, Striped};
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::handler::{Starter, Thunk};
use crate::delivery::histogram::Histogram;
use crate::delivery::parking::Parking;
use crate::delivery::retry::Retrying;
use crate::delivery::timing::Sampling;
use crate::event::Event;
use crate::platform::clock;
use crate::platform::place::place;
use crate::schema::Schemas;

/// A handler with what the bus knows of it.
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Arc<str>,
    pub(crate) pattern: Box<str>,
    pub(crate) lane: LaneId,
    pub(crate) priority: Priority,
    pub(crate) sampling: Sampling,
    pub(crate) active: AtomicBool,
    pub(crate) calls: Calls,
    pub(crate) aside: Aside,
    pub(crate) timings: OnceLock<Box<Histogram>>,
    /// What the handler was given beyond lane and priority; nothing for most.
    pub(crate) policies: Option<Box<Policies>>,
    pub(crate) handler: Thunk,
}

/// How a handler's calls are guarded. What is absent costs nothing; all of it absent, one look.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    /// How long a call may take, in nanoseconds.
    pub(crate) timeout: Option<u64>,
    /// What becomes of a failure, and how much is left of the budget for that.
    pub(crate) retry: Option<Retrying>,
    /// Whether a call may be made.
    pub(crate) breaker: Option<Breaker>,
    /// Whether it needs events for longer than a call, whose payloads must be [shared](Event::is_shared) for that.
    pub(crate) owns: bool,
    /// Whether it is a future's, which ends at its timeout by itself.
    pub(crate) awaits: bool,
    /// Whether it answers requests.
    pub(crate) answers: bool,
    /// What begins a call, when its lane keeps several in flight.
    pub(crate) starter: Option<Starter>,
    /// The keys that are held up because an event of theirs was not handled.
    pub(crate) parking: Option<Arc<Parking>>,
    /// What its events are held against.
    pub(crate) schemas: Option<Arc<dyn Schemas>>,
}

impl Policies {
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        let Self { timeout, retry, breaker, owns, awaits, answers, starter, parking, schemas } = self;
        let unguarded = timeout.is_none() && retry.is_none() && breaker.is_none() && parking.is_none();
        unguarded && starter.is_none() && schemas.is_none() && !owns && !awaits && !answers
    }

    /// Whether the handler needs the event for longer than it can have it now.
    #[cold]
    fn lacks(&self, event: &Event<'_>) -> bool {
        self.owns && !event.is_shared()
    }

    /// Whether an event of this key must wait, because an earlier one has not been handled. Not inlined: the way of handlers
    /// that keep no order is shorter so.
    #[cold]
    #[inline(never)]
    fn holds(&self, key: u64) -> bool {
        self.parking.as_ref().is_some_and(|parking| parking.holds(key))
    }

    /// As a subscription keeps them.
    pub(crate) fn kept(self) -> Option<Box<Self>> {
        if self.is_empty() { None } else { Some(Box::new(self)) }
    }
}

/// Why a call is not counted as handled.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The subscription ended before the call began.
    Cancelled,
    /// The handler failed.
    Failed(Arc<HandlerError>),
    /// The handler was not called: it needs the event for longer, and the payload lies in place still.
    Unshared,
}

impl<'a> Handler<Event<'a>> for Subscription {
    type Error = Failure;

    #[inline]
    fn handle(&self, event: &Event<'a>) -> Result<(), Failure> {
        self.take(event, true)
    }
}

impl Subscription {
    /// Calls the handler with an event whose turn it is, whatever else of its key is held up; in all else as `handle`.
    pub(crate) fn handle_again(&self, event: &Event<'_>) -> Result<(), Failure> {
        self.take(event, false)
    }

    #[inline(always)]
    fn take(&self, event: &Event<'_>, first: bool) -> Result<(), Failure> {
        // Relaxed: a call that begins while another thread unsubscribes is concurrent with it; one on the same thread
        // sees its own store.
        if !self.active.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        let result = match &self.policies {
            None => self.call(event),
            Some(policies) => {
                if first && policies.parking.is_some() && policies.holds(event.head.key) {
                    return Err(Failure::Failed(Arc::new(HandlerError::Parked)));
                }
                if policies.lacks(event) {
                    return Err(Failure::Unshared);
                }
                let permit = self.admit(event).map_err(|refusal| Failure::Failed(Arc::new(refusal)))?;
                let result = self.call(event);
                self.conclude(permit, result.is_ok());
                result
            }
        };
        match result {
            Ok(()) => {
                self.calls.add(Calls::HANDLED);
                Ok(())
            }
            Err(error) => {
                self.calls.add(Calls::FAILED);
                Err(Failure::Failed(Arc::new(error)))
            }
        }
    }

    /// Calls the handler, and counts nothing.
    #[inline]
    pub(crate) fn call(&self, event: &Event<'_>) -> Result<(), HandlerError> {
        if self.sampling.applies_to(event.seq()) { self.call_timed(event) } else { (self.handler)(event) }
    }

    /// Whether an event of this key must wait, because an earlier one has not been handled.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.holds(key))
    }

    /// What it holds up, if it keeps the order of keys.
    pub(crate) fn parking(&self) -> Option<&Arc<Parking>> {
        self.policies.as_ref()?.parking.as_ref()
    }

    /// Counts how a call ended.
    pub(crate) fn count(&self, result: &Result<(), HandlerError>) {
        self.calls.add(match result {
            Ok(()) => Calls::HANDLED,
            Err(HandlerError::Timeout { .. }) => Calls::TIMED_OUT,
            Err(_) => Calls::FAILED,
        });
    }

    /// Counts a call that took too long, on the thread that has taken it over.
    pub(crate) fn count_timed_out(&self) {
        self.calls.add(Calls::TIMED_OUT);
    }

    /// Counts an event that came too late for it.
    pub(crate) fn count_expired(&self) {
        count::add(&self.aside.expired, 1);
    }

    /// Whether it has not ended.
    pub(crate) fn is_active(&self) -> bool {
        // Relaxed: as in `handle`.
        self.active.load(Ordering::Relaxed)
    }

    /// How long a call may take, in nanoseconds.
    pub(crate) fn timeout(&self) -> Option<u64> {
        self.policies.as_ref()?.timeout
    }

    /// Asks the handler's breaker, if it has one, and notes the call for the retry budget; the error is why it is not
    /// called.
    #[inline(never)]
    pub(crate) fn admit(&self, event: &Event<'_>) -> Result<Option<Permit>, HandlerError> {
        let Some(policies) = &self.policies else { return Ok(None) };
        if let Some(schemas) = &policies.schemas {
            schemas.at_consume(event).map_err(HandlerError::SchemaMismatch)?;
        }
        let permit = policies.breaker.as_ref().map(Breaker::admit).transpose()?.flatten();
        if let Some(retrying) = &policies.retry {
            if event.attempt() == 1 {
                retrying.budget.deposit();
            } else {
                count::add(&retrying.retries, 1);
            }
        }
        Ok(permit)
    }

    /// Says how a call went that was admitted.
    pub(crate) fn conclude(&self, permit: Option<Permit>, success: bool) {
        if let Some(breaker) = self.breaker() {
            breaker.record(permit, success);
        }
    }

    /// Its retry policy, if it has one.
    pub(crate) fn retrying(&self) -> Option<&Retrying> {
        self.policies.as_ref()?.retry.as_ref()
    }

    /// Its breaker, if it has one.
    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.policies.as_ref()?.breaker.as_ref()
    }

    /// Whether the handler needs events for longer than a call.
    pub(crate) fn owns(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.owns)
    }

    /// Whether its calls are futures, which end at their timeout by themselves.
    pub(crate) fn awaits(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.awaits)
    }

    /// What begins a call of an async handler whose lane keeps several in flight.
    pub(crate) fn starter(&self) -> Option<&Starter> {
        self.policies.as_ref()?.starter.as_ref()
    }

    /// Now, if the call that begins is to be timed.
    pub(crate) fn begin_timing(&self, seq: u64) -> Option<Instant> {
        self.sampling.applies_to(seq).then(clock::instant)
    }

    /// Notes how long a call has taken that is timed.
    pub(crate) fn end_timing(&self, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.timings.get_or_init(|| Box::new(Histogram::new())).record(begun.elapsed());
        }
    }

    /// Whether the handler answers requests.
    pub(crate) fn answers(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.answers)
    }

    #[cold]
    fn call_timed(&self, event: &Event<'_>) -> Result<(), HandlerError> {
        let started = clock::instant();
        let result = (self.handler)(event);
        self.end_timing(Some(started));
        result
    }
}

/// How the calls of one handler ended.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Whether one thread makes them all: the one worker of a lane.
    alone: bool,
    /// Those of that thread.
    here: [AtomicU64; 3],
    /// Those of many threads; there once the first of them has been.
    everywhere: OnceLock<Box<Striped<3>>>,
}

impl Calls {
    const HANDLED: usize = 0;
    const FAILED: usize = 1;
    const TIMED_OUT: usize = 2;

    /// Counts calls that are made by one thread alone, or by many.
    pub(crate) fn by(alone: bool) -> Self {
        Self { alone, ..Self::default() }
    }

    #[inline]
    fn add(&self, which: usize) {
        if !self.alone {
            self.everywhere.get_or_init(Box::default).add(place(), which, 1);
        } else if let Some(counter) = self.here.get(which) {
            count::add_alone(counter, 1);
        }
    }

    fn sum(&self, which: usize) -> u64 {
        let here = self.here.get(which).map_or(0, count::read);
        here + self.everywhere.get().map_or(0, |spread| spread.sum(which))
    }

    /// Calls that succeeded.
    pub(crate) fn handled(&self) -> u64 {
        self.sum(Self::HANDLED)
    }

    /// Calls that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.sum(Self::FAILED)
    }

    /// Calls that took too long.
    pub(crate) fn timed_out(&self) -> u64 {
        self.sum(Self::TIMED_OUT)
    }
}

/// What its calls do not show of a handler's deliveries: those that were tried again have no outcome yet, and some have one
/// without a call. None of it is on the way of a delivery that succeeds.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// Calls that failed, and whose delivery is tried again.
    retried: AtomicU64,
    /// Calls that did not end in time, and whose delivery is tried again.
    retried_late: AtomicU64,
    /// Deliveries that failed without a call.
    uncalled: AtomicU64,
    pub(crate) expired: AtomicU64,
    /// Deliveries that a shutdown left among those that are made again.
    pub(crate) dropped: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Aside {
    /// A delivery is made again: before it can be seen anywhere else.
    pub(crate) fn begin(&self) {
        count::add(&self.begun, 1);
    }

    /// It has an outcome, and that was counted.
    pub(crate) fn end(&self) {
        count::add(&self.ended, 1);
    }

    /// A call has failed that will be made again.
    pub(crate) fn retry(&self, late: bool) {
        count::add(if late { &self.retried_late } else { &self.retried }, 1);
    }

    /// A delivery has failed without a call.
    pub(crate) fn fail(&self) {
        count::add(&self.uncalled, 1);
    }
}

/// How the deliveries of one handler have ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) handled: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) dropped: u64,
    pub(crate) expired: u64,
    pub(crate) pending: u64,
}

impl Subscription {
    /// How its deliveries have ended.
    pub(crate) fn ends(&self) -> Ends {
        let Self { calls, aside, .. } = self;
        // What has ended first, so that a delivery that ends meanwhile counts as pending; and calls last, so that none of
        // those that are taken off is missing.
        let ended = count::read(&aside.ended);
        let [retried, retried_late] = [&aside.retried, &aside.retried_late].map(count::read);
        Ends {
            handled: calls.handled(),
            failed: calls.failed().saturating_sub(retried) + count::read(&aside.uncalled),
            timed_out: calls.timed_out().saturating_sub(retried_late),
            dropped: count::read(&aside.dropped),
            expired: count::read(&aside.expired),
            pending: count::read(&aside.begun).saturating_sub(ended),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Subscription {
    /// The last reference may go on a worker's or an emitter's thread, which what the handler owns must not unwind.
    fn drop(&mut self) {
        drop_quietly(std::mem::replace(&mut self.handler, Box::new(|_| Ok(()))));
        drop_quietly(self.policies.take());
    }
}
