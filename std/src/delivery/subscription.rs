//! One subscription at work: the handler, its account and its timings.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nervebus_core::{Handler, LaneId, Priority, SubscriptionId};

use crate::delivery::count::{self, Striped};
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::handler::Thunk;
use crate::delivery::histogram::Histogram;
use crate::delivery::timing::Sampling;
use crate::event::Event;
use crate::platform::clock;
use crate::platform::place::place;

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
    /// Whether it needs events for longer than a call, whose payloads must be [shared](Event::is_shared) for that.
    pub(crate) owns: bool,
    /// Whether it answers requests.
    pub(crate) answers: bool,
}

impl Policies {
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        let Self { timeout, owns, answers } = self;
        timeout.is_none() && !owns && !answers
    }

    /// Whether the handler needs the event for longer than it can have it now.
    #[cold]
    fn lacks(&self, event: &Event<'_>) -> bool {
        self.owns && !event.is_shared()
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
        // Relaxed: a call that begins while another thread unsubscribes is concurrent with it; one on the same thread
        // sees its own store.
        if !self.active.load(Ordering::Relaxed) {
            return Err(Failure::Cancelled);
        }
        if let Some(policies) = &self.policies
            && policies.lacks(event)
        {
            return Err(Failure::Unshared);
        }
        let result = if self.sampling.applies_to(event.seq()) { self.call_timed(event) } else { (self.handler)(event) };
        match result {
            Ok(()) => {
                self.calls.add(self.lane, Calls::HANDLED);
                Ok(())
            }
            Err(error) => {
                self.calls.add(self.lane, Calls::FAILED);
                Err(Failure::Failed(Arc::new(error)))
            }
        }
    }
}

impl Subscription {
    /// Whether the handler answers requests.
    pub(crate) fn answers(&self) -> bool {
        self.policies.as_ref().is_some_and(|policies| policies.answers)
    }

    #[cold]
    fn call_timed(&self, event: &Event<'_>) -> Result<(), HandlerError> {
        let started = clock::instant();
        let result = (self.handler)(event);
        self.timings.get_or_init(|| Box::new(Histogram::new())).record(started.elapsed());
        result
    }
}

/// How the calls of one handler ended.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Those on a lane, whose one worker counts alone.
    here: [AtomicU64; 2],
    /// Those on emitters' threads; there once the first of them has been.
    everywhere: OnceLock<Box<Striped<2>>>,
}

impl Calls {
    const HANDLED: usize = 0;
    const FAILED: usize = 1;

    #[inline]
    fn add(&self, lane: LaneId, which: usize) {
        if lane.is_inline() {
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
    }
}
