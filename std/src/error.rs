//! What can go wrong when a bus is built, subscribed to or emitted on.

mod claim;
mod emit;
mod mismatch;
mod validation;
mod waiting;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use self::claim::ClaimError;
pub use self::emit::{EmitError, Limited};
pub use self::mismatch::SchemaMismatch;
pub use self::validation::{ValidationIssue, ValidationReport};
pub use self::waiting::{RecvError, RequestError, WaitError};

/// Why a bus could not be built. Nothing was started.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// A number is outside its range.
    OutOfRange {
        /// Which setting, for example `lane "io".capacity`.
        field: String,
        /// What was asked for.
        value: u64,
        /// The smallest value allowed.
        min: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// A wait is outside its range.
    WaitOutOfRange {
        /// Which setting.
        field: String,
        /// What was asked for.
        value: Duration,
        /// The longest wait allowed; the shortest is more than zero.
        max: Duration,
    },
    /// A setting is for topics of a pattern that breaks the grammar.
    Pattern {
        /// Which setting, for example `rate_limit`.
        field: String,
        /// Which rule the pattern breaks, and where.
        rule: String,
    },
    /// A setting is no such thing as it should be.
    InvalidSetting {
        /// Which setting, for example `validation.domains`.
        setting: String,
        /// What it is, and what it should be.
        rule: String,
    },
    /// The schemas are not complete: an upcaster is missing between two others.
    Schemas {
        /// Which one.
        rule: String,
    },
    /// A lane's name is empty, too long, or has characters that a thread's name cannot have.
    LaneName {
        /// The name.
        name: String,
    },
    /// A worker's thread name is empty, too long, or not printable ASCII.
    ThreadName {
        /// The lane.
        lane: String,
        /// The name asked for.
        name: String,
    },
    /// A lane has a name that the bus uses itself: `inline` or `audit`.
    ReservedLane {
        /// The name.
        name: String,
    },
    /// Two lanes have the same name.
    DuplicateLane {
        /// The name.
        name: String,
    },
    /// The audit log cannot be opened for appending.
    Audit {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The log of dead letters cannot be read, appended to, or is no such log.
    DeadLetterLog {
        /// The file asked for.
        path: PathBuf,
        /// What was wrong.
        error: io::Error,
    },
    /// The durable log cannot be opened, or has a setting that contradicts itself.
    #[cfg(feature = "durable")]
    Durable {
        /// The folder asked for.
        path: PathBuf,
        /// What was wrong.
        error: io::Error,
    },
    /// The system would not start a worker thread.
    Thread {
        /// The lane the thread was for.
        lane: String,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { field, value, min, max } => {
                write!(f, "{field} is {value}, outside its range {min}..={max}")
            }
            Self::WaitOutOfRange { field, value, max } => {
                write!(f, "{field} is {value:?}, outside its range: more than zero, at most {max:?}")
            }
            Self::Pattern { field, rule } => write!(f, "{field}: {rule}"),
            Self::InvalidSetting { setting, rule } => write!(f, "{setting}: {rule}"),
            Self::LaneName { name } => {
                write!(f, "lane name {name:?} is not 1 to 32 letters, digits, '-', '_' or '.'")
            }
            Self::ThreadName { lane, name } => {
                write!(f, "lane {lane:?}.thread_name is {name:?}, not 1 to 64 bytes of printable ASCII")
            }
            Self::ReservedLane { name } => write!(f, "lane name {name:?} is one that the bus uses itself"),
            Self::DuplicateLane { name } => write!(f, "lane {name:?} is defined twice"),
            Self::Schemas { rule } => f.write_str(rule),
            Self::Audit { path, error } => write!(f, "cannot append to the audit log {path:?}: {error}"),
            Self::DeadLetterLog { path, error } => write!(f, "cannot keep dead letters in {path:?}: {error}"),
            #[cfg(feature = "durable")]
            Self::Durable { path, error } => write!(f, "cannot keep a durable log in {path:?}: {error}"),
            Self::Thread { lane, error } => write!(f, "cannot start the worker of lane {lane:?}: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Audit { error, .. } | Self::DeadLetterLog { error, .. } | Self::Thread { error, .. } => Some(error),
            #[cfg(feature = "durable")]
            Self::Durable { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a subscription was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The pattern breaks the grammar.
    InvalidPattern {
        /// Which rule it breaks, and where.
        rule: String,
    },
    /// There is no lane of this name.
    UnknownLane {
        /// The name asked for.
        lane: String,
        /// The lanes there are.
        known: Vec<String>,
    },
    /// A number is outside its range.
    OutOfRange {
        /// Which setting, for example `retry.attempts`.
        field: String,
        /// What was asked for.
        value: u64,
        /// The smallest value allowed.
        min: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// A wait is outside its range.
    WaitOutOfRange {
        /// Which setting.
        field: String,
        /// What was asked for.
        value: Duration,
        /// The longest wait allowed; the shortest is more than zero.
        max: Duration,
    },
    /// A handler on the emitter's own thread cannot have this setting, which needs a lane.
    NotInline {
        /// Which setting.
        setting: &'static str,
    },
    /// The bus has as many subscriptions as it may have.
    TooManySubscriptions {
        /// How many that is.
        limit: usize,
    },
    /// The pattern names a new topic, and the bus has as many topics as it may have.
    TooManyTopics {
        /// How many that is.
        limit: usize,
    },
    /// A setting of the subscription is outside its range, or does not go with the others.
    InvalidSetting {
        /// Which one, for example `timeout`.
        setting: &'static str,
        /// Which rule it breaks.
        rule: String,
    },
    /// The topic carries a [command](crate::Category::Command), which has its one handler already.
    CommandHandled {
        /// Which topic.
        topic: String,
        /// The name of the handler that it has.
        handler: String,
    },
    /// An async handler cannot be inline: it would hold up the emitter's thread while it waits.
    AsyncInline,
    /// The bus is shutting down.
    Closed,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPattern { rule } => f.write_str(rule),
            Self::UnknownLane { lane, known } => write!(f, "there is no lane {lane:?}; there are {known:?}"),
            Self::OutOfRange { field, value, min, max } => {
                write!(f, "{field} is {value}, outside its range {min}..={max}")
            }
            Self::WaitOutOfRange { field, value, max } => {
                write!(f, "{field} is {value:?}, outside its range: more than zero, at most {max:?}")
            }
            Self::NotInline { setting } => {
                write!(f, "a handler on the emitter's own thread cannot have `{setting}`: give it a lane")
            }
            Self::TooManySubscriptions { limit } => write!(f, "the bus has its limit of {limit} subscriptions"),
            Self::TooManyTopics { limit } => write!(f, "the bus has its limit of {limit} topics"),
            Self::InvalidSetting { setting, rule } => write!(f, "{setting}: {rule}"),
            Self::CommandHandled { topic, handler } => {
                write!(f, "the command {topic:?} has its one handler, {handler:?}: unsubscribe that first")
            }
            Self::AsyncInline => f.write_str("an async handler cannot be inline; it needs a lane"),
            Self::Closed => f.write_str("the bus is shutting down"),
        }
    }
}

impl std::error::Error for SubscribeError {}
