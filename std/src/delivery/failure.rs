//! How a handler fails, and how the bus lives through what a user's types do when they are dropped or shown.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::error::SchemaMismatch;

/// How a handler failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandlerError {
    /// It returned an error.
    Error(Box<dyn Error + Send + Sync>),
    /// It panicked, with this message. The panic went no further.
    Panic(String),
    /// It did not end in time. The future of an async handler was dropped then; any other may still run, but what it
    /// returns is discarded.
    Timeout {
        /// How long it had.
        after: Duration,
    },
    /// It was not called, because its [`Breaker`](crate::Breaker) is open.
    BreakerOpen {
        /// The breaker's name.
        breaker: Arc<str>,
        /// When the breaker may be tried again, in seconds since the Unix epoch.
        until: f64,
    },
    /// It was not called, because an earlier event of the same key has not been handled; see
    /// [`Subscribe::keep_order_per_key`](crate::Subscribe::keep_order_per_key).
    Parked,
    /// It was not called, because it is for one type and the event carries something else; see
    /// [`TypedTopic::on`](crate::TypedTopic::on).
    WrongType {
        /// The type that it is for.
        expected: &'static str,
        /// What the event carries, and why that does not do.
        found: String,
    },
    /// It was not called, because it is for one version of a type and the event carries JSON of another; see
    /// [`Event::schema_version`](crate::Event::schema_version).
    WrongVersion {
        /// The version that it is for.
        expected: u32,
        /// The version that the event says it has.
        found: u32,
    },
    /// It was not called, because the event does not fit its schema; see `Builder::schemas` (feature `schema`).
    SchemaMismatch(Box<SchemaMismatch>),
}

impl HandlerError {
    /// `"error"`, `"panic"`, `"timeout"`, `"breaker_open"`, `"parked"`, `"wrong_type"`, `"wrong_version"` or
    /// `"schema_mismatch"`: how records name the kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Panic(_) => "panic",
            Self::Timeout { .. } => "timeout",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Parked => "parked",
            Self::WrongType { .. } => "wrong_type",
            Self::WrongVersion { .. } => "wrong_version",
            Self::SchemaMismatch(_) => "schema_mismatch",
        }
    }

    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Self::Panic(text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into()))
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => error.fmt(f),
            Self::Panic(message) => write!(f, "panicked: {message}"),
            Self::Timeout { after } => write!(f, "did not return within {after:?}"),
            Self::BreakerOpen { breaker, .. } => write!(f, "not called: breaker {breaker:?} is open"),
            Self::Parked => f.write_str("not called: an earlier event of its key has not been handled"),
            Self::SchemaMismatch(mismatch) => write!(f, "not called: {mismatch}"),
            Self::WrongType { expected, found } => {
                write!(f, "not called: it is for {expected}, and the event carries {found}")
            }
            Self::WrongVersion { expected, found } => {
                write!(f, "not called: it is for version {expected}, and the event carries JSON of version {found}")
            }
        }
    }
}

impl Error for HandlerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Error(error) => Some(&**error),
            Self::SchemaMismatch(mismatch) => Some(&**mismatch),
            Self::Panic(_)
            | Self::Timeout { .. }
            | Self::BreakerOpen { .. }
            | Self::Parked
            | Self::WrongType { .. }
            | Self::WrongVersion { .. } => None,
        }
    }
}

/// Drops a value of the user's on a thread of the bus's: if its `Drop` panics, the panic goes no further.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        // What a panicking `Drop` panics with may itself panic when dropped; leaking it ends the chain.
        std::mem::forget(again);
    }
}

/// The text of an error of the user's, whose `Display` may panic.
pub(crate) fn text_of(error: &HandlerError) -> String {
    catch_unwind(AssertUnwindSafe(|| error.to_string())).unwrap_or_else(|payload| {
        drop_quietly(payload);
        "an error whose Display panicked".into()
    })
}
