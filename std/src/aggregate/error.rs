//! What can be wrong with an aggregate, or with a command for it.

use std::error::Error;
use std::fmt;
use std::io;

use crate::durable_emission::DurableError;
use crate::error::ClaimError;

/// Why aggregates cannot be opened, or one of them cannot be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub enum AggregateError {
    /// The topic of the events is another type's, or has no proper name.
    Claim(ClaimError),
    /// The topic is not [durable](crate::DurableLog::topics), or the bus has no durable log.
    NotDurable {
        /// The topic.
        topic: String,
    },
    /// The events have [personal data](crate::TypedEvent::PII), which the log does not hold: it could not be read back.
    PersonalData {
        /// Their topic.
        topic: String,
    },
    /// Somebody has opened them on this bus, and not dropped all clones.
    InUse {
        /// The topic of their events.
        topic: String,
    },
    /// The log has let events go that no snapshot has.
    Truncated {
        /// The first position that is needed.
        needed: u64,
        /// The first position that the log has.
        first: u64,
    },
    /// An event of the aggregate cannot be read, or panicked when it was applied. Others are not concerned.
    Broken {
        /// The aggregate.
        id: String,
        /// Where the event is in the log.
        position: u64,
        /// What was wrong.
        error: String,
    },
    /// The log cannot be read.
    Log(io::Error),
}

impl fmt::Display for AggregateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(error) => error.fmt(f),
            Self::NotDurable { topic } => write!(f, "topic {topic:?} is not durable on this bus"),
            Self::PersonalData { topic } => {
                write!(f, "events of topic {topic:?} have personal data, which the log does not hold")
            }
            Self::InUse { topic } => write!(f, "the aggregates of topic {topic:?} are open already"),
            Self::Truncated { needed, first } => {
                write!(f, "events from position {needed} on are needed, and the log begins with {first}")
            }
            Self::Broken { id, position, error } => {
                write!(f, "aggregate {id:?} cannot be read: the event at position {position}: {error}")
            }
            Self::Log(error) => write!(f, "the durable log cannot be read: {error}"),
        }
    }
}

impl Error for AggregateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Claim(error) => Some(error),
            Self::Log(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a command has stored no event; `T` is the event's type, `E` what the decision says.
#[non_exhaustive]
pub enum CommandError<T, E> {
    /// The decision was against it.
    Refused(E),
    /// The aggregate has another version than was expected.
    Conflict {
        /// The version that was expected.
        expected: u64,
        /// The version that it has.
        found: u64,
        /// The event, where nobody has seen it.
        event: Option<T>,
    },
    /// A command for the same aggregate is at work: on this thread, as when an inline handler of its event wants the next, or
    /// on another for longer than the builder's [`wait_limit`](crate::Builder::wait_limit).
    Busy {
        /// The aggregate.
        id: String,
        /// The event, if there was one already.
        event: Option<T>,
    },
    /// The event was refused, or it is not known whether the log has it. The next command finds out.
    NotStored(DurableError<T>),
    /// The aggregate could not be loaded.
    Load(AggregateError),
    /// The bus is gone.
    Closed {
        /// The event, if there was one already.
        event: Option<T>,
    },
}

impl<T, E> CommandError<T, E> {
    /// Whether somebody else was faster: loaded again, the command may succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// The event that was to be stored, where nobody has seen it.
    pub fn into_event(self) -> Option<T> {
        match self {
            Self::Conflict { event, .. } | Self::Busy { event, .. } | Self::Closed { event } => event,
            Self::NotStored(error) => error.into_payload(),
            Self::Refused(_) | Self::Load(_) => None,
        }
    }
}

impl<T, E: fmt::Display> fmt::Display for CommandError<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => why.fmt(f),
            Self::Conflict { expected, found, .. } => {
                write!(f, "the aggregate was expected at version {expected}, and is at {found}")
            }
            Self::Busy { id, .. } => write!(f, "a command for aggregate {id:?} is at work"),
            Self::NotStored(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Closed { .. } => f.write_str("the bus is gone"),
        }
    }
}

impl<T, E: fmt::Display> fmt::Debug for CommandError<T, E> {
    /// What was wrong; never the event, which may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandError({self})")
    }
}

impl<T, E: fmt::Display> Error for CommandError<T, E> {}
