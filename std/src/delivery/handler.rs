//! What a handler may return, and how the bus calls it.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::event::{Event, OwnedEvent};

/// What a handler may return: nothing, or a `Result` whose error can be boxed (`String`, `&str`, any error type).
///
/// What an emit in a handler returns is not one of these; `.map(drop)` makes it one.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "a handler of this returns `{Self}`",
    note = "a handler returns nothing, or a `Result<(), E>` of a text or an error; `.map(drop)` makes one of others"
)]
pub trait HandlerResult {
    /// The error that the bus records.
    ///
    /// # Errors
    ///
    /// What the handler said.
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> HandlerResult for Result<(), E> {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)
    }
}

/// A handler as the bus keeps it. One that owns its events is kept like this as well, and keeps the event that it is
/// shown; its subscription says so ([`Policies::owns`](crate::delivery::subscription::Policies::owns)).
pub(crate) type Thunk = Box<dyn Fn(&Event<'_>) -> Result<(), HandlerError> + Send + Sync>;

/// The future of one call of an async handler, on a lane that keeps several in flight.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), HandlerError>> + Send>>;

/// What makes those futures, and how long each may take, in nanoseconds.
pub(crate) struct Starter {
    pub(crate) timeout: Option<u64>,
    make: Box<dyn Fn(OwnedEvent) -> HandlerFuture + Send + Sync>,
}

impl Starter {
    /// Of a user's closure, which is called by the future, in its first poll.
    pub(crate) fn new<F, Fut>(timeout: Option<u64>, handler: Arc<F>) -> Self
    where
        F: Fn(OwnedEvent) -> Result<Fut, HandlerError> + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: HandlerResult,
    {
        let make = move |event| -> HandlerFuture {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let mut future = pin!(Some(handler(event)?));
                let result = poll_fn(|context| match future.as_mut().as_pin_mut() {
                    Some(future) => future.poll(context),
                    None => Poll::Pending,
                });
                let result = result.await.into_result().map_err(HandlerError::Error);
                // What panics while it is dropped has done its work, or has failed already.
                let _ = guarded(|| {
                    future.set(None);
                    Ok(())
                });
                result
            })
        };
        Self { timeout, make: Box::new(make) }
    }

    /// The future for an event, not polled yet.
    pub(crate) fn start(&self, event: &Event<'_>) -> Result<HandlerFuture, HandlerError> {
        Ok((self.make)(keep(event)?))
    }
}

impl fmt::Debug for Starter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Starter").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// Wraps a user's closure: results become one type, and a panic becomes an error.
pub(crate) fn thunk<F, R>(handler: F) -> Thunk
where
    F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
    R: HandlerResult,
{
    Box::new(move |event| guarded(|| handler(event).into_result().map_err(HandlerError::Error)))
}

/// Wraps a user's closure that owns its events. It may find that the event is none that it can take.
pub(crate) fn owned_thunk<F, R>(handler: F) -> Thunk
where
    F: Fn(OwnedEvent) -> Result<R, HandlerError> + Send + Sync + 'static,
    R: HandlerResult,
{
    Box::new(move |event| {
        let event = keep(event)?;
        guarded(|| handler(event)?.into_result().map_err(HandlerError::Error))
    })
}

/// The event, for longer than the call.
pub(crate) fn keep(event: &Event<'_>) -> Result<OwnedEvent, HandlerError> {
    // Whoever delivers shares the payload first; should one not, the failure says so and the event is a dead letter.
    event.keep().ok_or_else(|| HandlerError::Error("the event could not be kept for its handler".into()))
}

/// Calls user code: a panic becomes an error, and goes no further.
#[inline]
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, HandlerError>) -> Result<T, HandlerError> {
    // Unwind safety: what a panic leaves half-done is the handler's own state, which the bus never looks at.
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(payload) => {
            let error = HandlerError::from_panic(&*payload);
            drop_quietly(payload);
            Err(error)
        }
    }
}
