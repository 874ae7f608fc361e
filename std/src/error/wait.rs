//! What can go wrong while somebody waits for an event.

use std::fmt;

use super::SubscribeError;

/// Why [`EventStream::recv_timeout`](crate::EventStream::recv_timeout) has no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// None came in time.
    TimedOut,
    /// The bus has shut down, and all events have been read.
    Closed,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no event came in time",
            Self::Closed => "the bus has shut down",
        })
    }
}

impl std::error::Error for RecvError {}

/// Why a wait for an event ended without one; see [`Bus::wait_for`](crate::Bus::wait_for).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// No such event came in time.
    TimedOut,
    /// The bus has shut down, or a future was polled after its end.
    Closed,
    /// The subscription was refused.
    Subscribe(SubscribeError),
    /// The worker of a lane may not wait: what it waits for may be waiting for its lane.
    WouldDeadlock,
    /// So many jobs wait for their moment that this wait could not be ended at its own.
    TooManyTimers,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no such event came in time"),
            Self::Closed => f.write_str("the bus has shut down"),
            Self::Subscribe(error) => error.fmt(f),
            Self::WouldDeadlock => f.write_str("the worker of a lane cannot wait for an event"),
            Self::TooManyTimers => f.write_str("too many jobs wait for their moment"),
        }
    }
}

impl std::error::Error for WaitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Subscribe(error) => Some(error),
            _ => None,
        }
    }
}
