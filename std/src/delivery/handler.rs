//! What a handler may return, and how the bus calls it.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::event::Event;

/// What a handler may return: nothing, or a `Result` whose error can be boxed (`String`, `&str`, any error type).
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

/// A handler as the bus keeps it.
pub(crate) type Thunk = Box<dyn Fn(&Event<'_>) -> Result<(), HandlerError> + Send + Sync>;

/// Wraps a user's closure: results become one type, and a panic becomes an error.
pub(crate) fn thunk<F, R>(handler: F) -> Thunk
where
    F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
    R: HandlerResult,
{
    Box::new(move |event| {
        // Unwind safety: what a panic leaves half-done is the handler's own state, which the bus never looks at.
        match catch_unwind(AssertUnwindSafe(|| handler(event).into_result())) {
            Ok(result) => result.map_err(HandlerError::Error),
            Err(payload) => {
                let error = HandlerError::from_panic(&*payload);
                drop_quietly(payload);
                Err(error)
            }
        }
    })
}
