//! What can go wrong when a bus is built, subscribed to or emitted on.

mod claim;
mod mismatch;
mod validation;
mod waiting;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::headers::attributes::AttributeError;

pub use self::claim::ClaimError;
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

/// Whose limit on events per second was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limited {
    /// That of a topic.
    Topic(String),
    /// That of a source.
    Source(String),
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::Source(name) => write!(f, "source {name:?}"),
        }
    }
}

/// Why an event was refused. No handler has seen it; it is counted as refused; the payload comes back.
#[non_exhaustive]
pub enum EmitError<P> {
    /// The topic's name breaks a rule.
    InvalidTopic {
        /// Which rule it breaks, and where.
        rule: String,
        /// What was to be emitted.
        payload: P,
    },
    /// An [attribute](crate::Emission::attribute) of it breaks a rule.
    InvalidAttribute {
        /// Which attribute and which rule.
        error: Box<AttributeError>,
        /// What was to be emitted.
        payload: P,
    },
    /// It breaks a rule of the bus's [`Validation`](crate::Validation).
    Invalid {
        /// Which ones. Boxed, so that results that are no errors stay small.
        report: Box<ValidationReport>,
        /// What was to be emitted.
        payload: P,
    },
    /// A lane is full, and it rejects what it has no room for (or the emitter would not or could not wait).
    Full {
        /// Which lane.
        lane: String,
        /// What was to be emitted.
        payload: P,
    },
    /// The audit log cannot be written, its lane is full, and its policy is to [block](crate::Overflow::Block).
    AuditFailing {
        /// What was to be emitted.
        payload: P,
    },
    /// The topic is new, and the bus has as many topics as it may have.
    TooManyTopics {
        /// How many that is.
        limit: usize,
        /// What was to be emitted.
        payload: P,
    },
    /// Inline handlers have emitted inside each other as deep as they may.
    TooDeep {
        /// How deep that is.
        limit: u32,
        /// What was to be emitted.
        payload: P,
    },
    /// The event would be one too many in a chain of events that cause each other, on whatever threads.
    LoopDetected {
        /// How long a chain may be.
        limit: u32,
        /// What was to be emitted.
        payload: P,
    },
    /// The topic or the source has more events than its limit allows; see
    /// [`Builder::rate_limit`](crate::Builder::rate_limit) and
    /// [`Builder::source_rate_limit`](crate::Builder::source_rate_limit).
    RateLimited {
        /// Whose limit it is. Boxed, as is the topic of a storm, so that results that are no errors stay small.
        limited: Box<Limited>,
        /// When the next event may pass, if nobody else emits one first.
        retry_after: Duration,
        /// What was to be emitted.
        payload: P,
    },
    /// The topic has a storm of events, and the [guard](crate::Builder::storm_guard) refuses them.
    Storm {
        /// Which topic.
        topic: Box<str>,
        /// How many events a second a topic may have.
        per_second: u32,
        /// What was to be emitted.
        payload: P,
    },
    /// A handler wants to wait for its own lane, which cannot go on before the handler returns.
    WouldDeadlock {
        /// Which lane.
        lane: String,
        /// What was to be emitted.
        payload: P,
    },
    /// A [command](crate::Category::Command) has no handler.
    NoHandler {
        /// Its topic.
        topic: Box<str>,
        /// What was to be emitted.
        payload: P,
    },
    /// The payload does not fit its schema; see `Builder::schemas` (feature `schema`).
    SchemaMismatch {
        /// Where it breaks which rule.
        mismatch: Box<SchemaMismatch>,
        /// What was to be emitted.
        payload: P,
    },
    /// The time to live of the event, or the deadline that it was given or has inherited, has passed already.
    Expired {
        /// What was to be emitted.
        payload: P,
    },
    /// The bus is shutting down.
    Closed {
        /// What was to be emitted.
        payload: P,
    },
}

impl<P> EmitError<P> {
    /// What was to be emitted.
    pub fn into_payload(self) -> P {
        match self {
            Self::InvalidTopic { payload, .. }
            | Self::InvalidAttribute { payload, .. }
            | Self::Invalid { payload, .. }
            | Self::Full { payload, .. }
            | Self::AuditFailing { payload }
            | Self::TooManyTopics { payload, .. }
            | Self::TooDeep { payload, .. }
            | Self::LoopDetected { payload, .. }
            | Self::RateLimited { payload, .. }
            | Self::Storm { payload, .. }
            | Self::WouldDeadlock { payload, .. }
            | Self::NoHandler { payload, .. }
            | Self::SchemaMismatch { payload, .. }
            | Self::Expired { payload }
            | Self::Closed { payload } => payload,
        }
    }

    /// The same refusal of the payload in another form.
    #[cold]
    pub(crate) fn map<Q>(self, change: impl FnOnce(P) -> Q) -> EmitError<Q> {
        match self {
            Self::InvalidTopic { rule, payload } => EmitError::InvalidTopic { rule, payload: change(payload) },
            Self::InvalidAttribute { error, payload } => {
                EmitError::InvalidAttribute { error, payload: change(payload) }
            }
            Self::Invalid { report, payload } => EmitError::Invalid { report, payload: change(payload) },
            Self::Full { lane, payload } => EmitError::Full { lane, payload: change(payload) },
            Self::AuditFailing { payload } => EmitError::AuditFailing { payload: change(payload) },
            Self::TooManyTopics { limit, payload } => EmitError::TooManyTopics { limit, payload: change(payload) },
            Self::TooDeep { limit, payload } => EmitError::TooDeep { limit, payload: change(payload) },
            Self::LoopDetected { limit, payload } => EmitError::LoopDetected { limit, payload: change(payload) },
            Self::RateLimited { limited, retry_after, payload } => {
                EmitError::RateLimited { limited, retry_after, payload: change(payload) }
            }
            Self::Storm { topic, per_second, payload } => {
                EmitError::Storm { topic, per_second, payload: change(payload) }
            }
            Self::WouldDeadlock { lane, payload } => EmitError::WouldDeadlock { lane, payload: change(payload) },
            Self::NoHandler { topic, payload } => EmitError::NoHandler { topic, payload: change(payload) },
            Self::SchemaMismatch { mismatch, payload } => {
                EmitError::SchemaMismatch { mismatch, payload: change(payload) }
            }
            Self::Expired { payload } => EmitError::Expired { payload: change(payload) },
            Self::Closed { payload } => EmitError::Closed { payload: change(payload) },
        }
    }

    /// Whether a lane had no room: trying again later may help.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::AuditFailing { .. })
    }

    /// What was found, if the event broke a rule of the bus's [`Validation`](crate::Validation).
    pub fn report(&self) -> Option<&ValidationReport> {
        match self {
            Self::Invalid { report, .. } => Some(report),
            _ => None,
        }
    }

    /// Whether it came too late.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired { .. })
    }

    /// Whether a limit on events per second was reached: when the next one may pass.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the bus takes no more events.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

impl<P> fmt::Display for EmitError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidTopic { rule, .. } => f.write_str(rule),
            Self::InvalidAttribute { error, .. } => error.fmt(f),
            Self::Invalid { report, .. } => write!(f, "the event is not valid: {}", report.in_one_line()),
            Self::Full { lane, .. } => write!(f, "lane {lane:?} is full"),
            Self::AuditFailing { .. } => f.write_str("the audit log cannot be written, and has no more room"),
            Self::TooManyTopics { limit, .. } => write!(f, "the bus has its limit of {limit} topics"),
            Self::TooDeep { limit, .. } => write!(f, "inline handlers emit more than {limit} levels deep"),
            Self::LoopDetected { limit, .. } => {
                write!(f, "a chain of events that cause each other is longer than {limit}")
            }
            Self::RateLimited { limited, retry_after, .. } => {
                write!(f, "{limited} is over its rate limit; the next event may pass in {retry_after:?}")
            }
            Self::Storm { topic, per_second, .. } => {
                write!(f, "topic {topic:?} has a storm of events, more than {per_second} a second")
            }
            Self::WouldDeadlock { lane, .. } => {
                write!(f, "a handler of lane {lane:?} cannot wait for handlers of that lane")
            }
            Self::NoHandler { topic, .. } => write!(f, "the command {topic:?} has no handler"),
            Self::SchemaMismatch { mismatch, .. } => mismatch.fmt(f),
            Self::Expired { .. } => f.write_str("the deadline of the event has passed"),
            Self::Closed { .. } => f.write_str("the bus is shutting down"),
        }
    }
}

impl<P> fmt::Debug for EmitError<P> {
    /// The rule that was broken; never the payload, which may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmitError({self})")
    }
}

impl<P> std::error::Error for EmitError<P> {}
