//! One subscription at work: the handler, its account and its timings.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use nervebus_core::{Handler, LaneId, Priority, SubscriptionId};

use crate::delivery::count;
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::handler::Thunk;
use crate::delivery::histogram::Histogram;
use crate::delivery::timing::Timing;
use crate::event::Event;
use crate::platform::clock;

/// A handler with what the bus knows of it.
pub(crate) struct Subscription {
    pub(crate) id: SubscriptionId,
    pub(crate) name: Arc<str>,
    pub(crate) pattern: Box<str>,
    pub(crate) lane: LaneId,
    pub(crate) priority: Priority,
    pub(crate) timing: Timing,
    pub(crate) active: AtomicBool,
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) timings: OnceLock<Box<Histogram>>,
    pub(crate) handler: Thunk,
}

/// Why a call is not counted as handled.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The subscription ended before the call began.
    Cancelled,
    /// The handler failed.
    Failed(Arc<HandlerError>),
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
        let started = self.timing.applies_to(event.seq()).then(clock::instant);
        let result = (self.handler)(event);
        if let Some(started) = started {
            self.timings.get_or_init(|| Box::new(Histogram::new())).record(started.elapsed());
        }
        match result {
            Ok(()) => {
                self.count(&self.handled);
                Ok(())
            }
            Err(error) => {
                self.count(&self.failed);
                Err(Failure::Failed(Arc::new(error)))
            }
        }
    }
}

impl Subscription {
    #[inline]
    fn count(&self, counter: &AtomicU64) {
        // A lane has one worker; inline handlers run on every emitter's thread.
        if self.lane.is_inline() {
            count::add(counter, 1);
        } else {
            count::add_alone(counter, 1);
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
    }
}
