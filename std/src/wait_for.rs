//! Waiting for an event.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use nervebus_core::SubscriptionId;

use crate::bus::Bus;
use crate::context;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::handler::{Thunk, guarded, keep};
use crate::delivery::timer::{ScheduleError, TimerKey};
use crate::error::WaitError;
use crate::event::{Event, OwnedEvent};
use crate::platform::signal::Seat;
use crate::platform::slot::Slot;
use crate::platform::task::block_on;

/// The first event of a pattern that satisfies a predicate, as a future; see
/// [`Bus::wait_for_async`](crate::Bus::wait_for_async).
#[must_use = "dropping it unsubscribes"]
pub struct WaitFor {
    /// What is waited for, or why it is not; nothing when that was said.
    state: Option<Result<Waiting, WaitError>>,
}

/// A wait that has begun.
struct Waiting {
    engine: Arc<Engine>,
    id: SubscriptionId,
    found: Arc<Found>,
    deadline: u64,
    timer: Option<TimerKey>,
    _seat: Option<Seat>,
}

/// Where the event comes in.
#[derive(Default)]
struct Found(Slot<Result<OwnedEvent, WaitError>>);

impl Found {
    fn end(&self, result: Result<OwnedEvent, WaitError>) {
        let _ = self.0.fill(result).map_err(drop_quietly);
    }
}

/// Ends the wait when the bus has shut down.
impl Wake for Found {
    fn wake(self: Arc<Self>) {
        // The user's waker must not unwind whoever shuts down.
        let _ = guarded(|| {
            self.end(Err(WaitError::Closed));
            Ok(())
        });
    }
}

impl WaitFor {
    pub(crate) fn begin<F>(bus: &Bus, pattern: &str, predicate: F, timeout: Duration) -> Self
    where
        F: Fn(&Event<'_>) -> bool + Send + Sync + 'static,
    {
        Self { state: Some(Waiting::begin(bus, pattern, predicate, timeout)) }
    }

    /// Waits for it on this thread.
    ///
    /// # Errors
    ///
    /// As [`Bus::wait_for`](crate::Bus::wait_for).
    pub fn wait(mut self) -> Result<OwnedEvent, WaitError> {
        let Some(waiting) = self.state.take() else { return Err(WaitError::Closed) };
        let waiting = waiting?;
        if context::is_worker() {
            return Err(WaitError::WouldDeadlock);
        }
        let clock = &waiting.engine.clock;
        let found = block_on(clock, Some(waiting.deadline), |context| waiting.found.0.poll(context));
        found.unwrap_or(Err(WaitError::TimedOut))
    }
}

impl Waiting {
    fn begin<F>(bus: &Bus, pattern: &str, predicate: F, timeout: Duration) -> Result<Self, WaitError>
    where
        F: Fn(&Event<'_>) -> bool + Send + Sync + 'static,
    {
        let engine = Arc::clone(bus.engine());
        let found = Arc::new(Found::default());
        let deadline = engine.clock.after(timeout);
        let handler = watch(Arc::clone(&found), predicate);
        let id = bus.on(pattern).inline().add_owning(handler).map_err(WaitError::Subscribe)?;
        let seat = engine.ended.enter(Arc::clone(&found).into());
        if seat.is_none() {
            found.end(Err(WaitError::Closed));
        }
        Ok(Self { engine, id, found, deadline, timer: None, _seat: seat })
    }

    /// Has the timer end the wait: a task cannot look at the clock while it sleeps.
    fn arm(&mut self) {
        let found = Arc::clone(&self.found);
        let job = move |_: &Arc<Engine>| found.end(Err(WaitError::TimedOut));
        match self.engine.timer.schedule(self.deadline, Box::new(job)) {
            Ok(key) => self.timer = Some(key),
            Err(ScheduleError::Closed(_)) => self.found.end(Err(WaitError::Closed)),
            Err(ScheduleError::Full(_)) => self.found.end(Err(WaitError::TooManyTimers)),
        }
    }
}

/// The handler behind a wait. The event is kept only when it is the one.
fn watch<F>(found: Arc<Found>, predicate: F) -> Thunk
where
    F: Fn(&Event<'_>) -> bool + Send + Sync + 'static,
{
    Box::new(move |event| {
        guarded(|| {
            if !found.0.is_filled() && predicate(event) {
                found.end(Ok(keep(event)?));
            }
            Ok(())
        })
    })
}

impl Future for WaitFor {
    type Output = Result<OwnedEvent, WaitError>;

    /// # Panics
    ///
    /// Never; polled after its end, it says that it is closed.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiting = match &mut self.state {
            Some(Ok(waiting)) => waiting,
            _ => return Poll::Ready(Err(self.state.take().and_then(Result::err).unwrap_or(WaitError::Closed))),
        };
        if waiting.timer.is_none() {
            waiting.arm();
        }
        let polled = waiting.found.0.poll(context);
        if polled.is_ready() {
            self.state = None;
        }
        polled
    }
}

impl fmt::Debug for WaitFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.state.as_ref().and_then(|state| state.as_ref().ok()).map(|waiting| waiting.id);
        f.debug_struct("WaitFor").field("id", &id).finish_non_exhaustive()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.engine.unsubscribe(self.id);
        if let Some(key) = self.timer.take() {
            drop(self.engine.timer.cancel(key));
        }
    }
}
