//! Why a bus refuses.

use core::fmt;

use crate::pattern::{Pattern, PatternError};
use crate::topic::Quoted;

/// Why an emit was refused; the payload comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitError<E> {
    /// The queue has no room.
    Full(E),
    /// The bus was closed; no emit will succeed again.
    Closed(E),
    /// The topic belongs to another bus: this one has not so many.
    UnknownTopic(E),
}

impl<E> EmitError<E> {
    /// The payload that was refused.
    pub fn into_inner(self) -> E {
        match self {
            Self::Full(payload) | Self::Closed(payload) | Self::UnknownTopic(payload) => payload,
        }
    }

    /// Whether the queue had no room.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the bus was closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<E> fmt::Display for EmitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the bus has no room for another event",
            Self::Closed(_) => "the bus is closed",
            Self::UnknownTopic(_) => "the topic is not one of this bus",
        })
    }
}

impl<E: fmt::Debug> core::error::Error for EmitError<E> {}

/// Why a subscription was refused; the handler comes back.
#[non_exhaustive]
pub enum SubscribeError<'p, H> {
    /// The text is not a pattern.
    BadPattern {
        /// What is wrong with it.
        error: PatternError<'p>,
        /// The handler.
        handler: H,
    },
    /// The pattern matches no topic of this bus, so that the handler would never be called.
    NoTopic {
        /// The pattern.
        pattern: Pattern<'p>,
        /// The handler.
        handler: H,
    },
    /// The bus has as many subscriptions as it holds.
    Full(H),
    /// Another change is being made. Try again when it is done; it may be the one that this call interrupts.
    Busy(H),
}

impl<H> SubscribeError<'_, H> {
    /// The handler that was refused.
    pub fn into_inner(self) -> H {
        match self {
            Self::BadPattern { handler, .. } | Self::NoTopic { handler, .. } => handler,
            Self::Full(handler) | Self::Busy(handler) => handler,
        }
    }

    /// Whether the bus had no room.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether another change was being made.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

impl<H> fmt::Debug for SubscribeError<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPattern { error, .. } => f.debug_tuple("BadPattern").field(error).finish(),
            Self::NoTopic { pattern, .. } => f.debug_tuple("NoTopic").field(pattern).finish(),
            Self::Full(_) => f.write_str("Full"),
            Self::Busy(_) => f.write_str("Busy"),
        }
    }
}

impl<H> fmt::Display for SubscribeError<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPattern { error, .. } => error.fmt(f),
            Self::NoTopic { pattern, .. } => {
                write!(f, "pattern {} matches no topic of this bus", Quoted(pattern.as_str()))
            }
            Self::Full(_) => f.write_str("the bus has no room for another subscription"),
            Self::Busy(_) => f.write_str("another change of the subscriptions is being made"),
        }
    }
}

impl<H> core::error::Error for SubscribeError<'_, H> {}

/// The bus is being polled already: by the caller's caller, by whom this call interrupts, or by another thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyPolling;

impl fmt::Display for AlreadyPolling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bus is being polled already")
    }
}

impl core::error::Error for AlreadyPolling {}
