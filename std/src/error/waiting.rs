//! Why a wait ended without what was waited for.

use std::fmt;

use super::{EmitError, SubscribeError};

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

/// Why a request has no answer; see [`Bus::request`](crate::Bus::request).
#[non_exhaustive]
pub enum RequestError<Q> {
    /// Nobody was subscribed to answer it. It was not emitted.
    NoResponder {
        /// What was to be asked.
        payload: Q,
    },
    /// It was refused, and nobody has seen it.
    Emit(EmitError<Q>),
    /// So many jobs wait for their moment that the wait could not be ended at its own. It was not emitted.
    TooManyTimers {
        /// What was to be asked.
        payload: Q,
    },
    /// No answer came in time. One that comes late is dropped.
    TimedOut,
    /// All who could have answered have failed.
    Failed {
        /// What the last one said.
        error: String,
    },
    /// The answer is of another type than the one asked for.
    WrongType {
        /// The type asked for.
        expected: &'static str,
        /// The type of the answer.
        found: &'static str,
    },
    /// Nobody got to answer: the lane dropped the request, or who could have answered was unsubscribed before its turn.
    Unanswered,
    /// The bus has shut down, or a future was polled after its end.
    Closed,
}

impl<Q> fmt::Display for RequestError<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponder { .. } => f.write_str("nobody is subscribed to answer"),
            Self::Emit(error) => error.fmt(f),
            Self::TooManyTimers { .. } => f.write_str("too many jobs wait for their moment"),
            Self::TimedOut => f.write_str("no answer came in time"),
            Self::Failed { error } => write!(f, "who was to answer failed: {error}"),
            Self::WrongType { expected, found } => write!(f, "the answer is of type {found}, not {expected}"),
            Self::Unanswered => f.write_str("nobody got to answer"),
            Self::Closed => f.write_str("the bus has shut down"),
        }
    }
}

impl<Q> fmt::Debug for RequestError<Q> {
    /// What was wrong; never the payload, which may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestError({self})")
    }
}

impl<Q> std::error::Error for RequestError<Q> {}
