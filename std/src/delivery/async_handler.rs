//! Async handlers: the worker of a lane drives a handler's future to its end.
//!
//! One event after the other, as with handlers that are plain functions: so the order of events, the priorities among
//! plain and async handlers, and the account are the same for both. A future that waits costs its lane, and nobody else.
//! A lane that keeps several events in flight has its worker poll their futures in turn instead (`worker/flight.rs`).

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::delivery::failure::HandlerError;
use crate::delivery::handler::{HandlerResult, Thunk, guarded, keep};
use crate::event::OwnedEvent;
use crate::platform::clock::Clock;
use crate::platform::runtime::Runtime;
use crate::platform::signal::Signal;
use crate::platform::task::block_on;

/// What futures run on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) clock: Clock,
    pub(crate) runtime: Runtime,
    /// Given when a shutdown's deadline has passed.
    pub(crate) cancelled: Arc<Signal>,
}

/// Wraps a closure of the user's that makes a future of an event. A future that has not ended after `timeout`
/// nanoseconds is dropped. The closure may find that the event is none that it can take.
pub(crate) fn async_thunk<F, Fut>(ground: Ground, timeout: Option<u64>, handler: F) -> Thunk
where
    F: Fn(OwnedEvent) -> Result<Fut, HandlerError> + Send + Sync + 'static,
    Fut: Future,
    Fut::Output: HandlerResult,
{
    Box::new(move |event| {
        let (event, expires) = (keep(event)?, event.head.expires);
        ground.runtime.within(|| {
            let future = guarded(|| handler(event))?;
            ground.drive(future, ground.limit(timeout, expires))
        })
    })
}

impl Ground {
    /// How long a future may take that has this timeout, for an event that expires.
    fn limit(&self, timeout: Option<u64>, expires: u64) -> Option<u64> {
        let timeout = timeout?;
        Some(if expires == 0 { timeout } else { timeout.min(expires.saturating_sub(self.clock.now())) })
    }

    /// Drives a future to its end on this thread, and drops it here.
    fn drive<Fut>(&self, future: Fut, timeout: Option<u64>) -> Result<(), HandlerError>
    where
        Fut: Future,
        Fut::Output: HandlerResult,
    {
        let mut future = pin!(Some(future));
        let result = self.wait(future.as_mut(), timeout);
        // What panics while it is dropped has done its work, or has failed already.
        let _ = guarded(|| {
            future.set(None);
            Ok(())
        });
        result
    }

    fn wait<Fut>(&self, mut future: Pin<&mut Option<Fut>>, timeout: Option<u64>) -> Result<(), HandlerError>
    where
        Fut: Future,
        Fut::Output: HandlerResult,
    {
        let deadline = timeout.map(|timeout| self.clock.now().saturating_add(timeout));
        let mut seat = None;
        let ended = block_on(&self.clock, deadline, |context| {
            if seat.is_none() {
                seat = self.cancelled.enter(context.waker().clone());
            }
            match future.as_mut().as_pin_mut() {
                Some(future) if seat.is_some() && !self.cancelled.is_given() => poll(future, context),
                _ => Poll::Ready(Err(HandlerError::Error("the bus shut down before the handler had ended".into()))),
            }
        });
        let after = Duration::from_nanos(timeout.unwrap_or_default());
        ended.unwrap_or(Err(HandlerError::Timeout { after }))
    }
}

/// Polls user code: a panic is its end.
fn poll<Fut>(future: Pin<&mut Fut>, context: &mut Context<'_>) -> Poll<Result<(), HandlerError>>
where
    Fut: Future,
    Fut::Output: HandlerResult,
{
    let polled = guarded(|| {
        Ok(match future.poll(context) {
            Poll::Ready(output) => Poll::Ready(output.into_result().map_err(HandlerError::Error)),
            Poll::Pending => Poll::Pending,
        })
    });
    polled.unwrap_or_else(|panic| Poll::Ready(Err(panic)))
}

#[cfg(test)]
mod tests;
