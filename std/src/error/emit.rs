//! Why an event was refused.

use std::fmt;
use std::time::Duration;

use super::{SchemaMismatch, ValidationReport};
use crate::headers::attributes::AttributeError;

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
