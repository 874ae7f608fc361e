//! Calls of a user's code that end where they panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls it; what it panicked with, if it did, as a text.
///
/// Unwind safety: what a panic leaves half-done is the user's own state, which the bus never looks at, and JSON that is not
/// there yet.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let text = text_of(&*payload);
        // It may itself panic when dropped; leaking what that panics with ends the chain.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
        text
    })
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
