//! Why an event is refused, before it is an error that has the payload in it.

use std::time::Duration;

use crate::delivery::directory::TooManyTopics;
use crate::delivery::engine::Exit;
use crate::delivery::lane::{Patience, Queue};
use crate::error::{EmitError, Limited, SchemaMismatch, ValidationReport};
use crate::headers::attributes::AttributeError;

/// Why an event is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    InvalidTopic(String),
    InvalidAttribute(Box<AttributeError>),
    Invalid(Box<ValidationReport>),
    TooManyTopics(usize),
    Full(String),
    /// Full, and tried again later.
    NotYet,
    AuditFailing,
    TooDeep(u32),
    LoopDetected(u32),
    RateLimited(Box<Limited>, Duration),
    Storm(Box<str>, u32),
    WouldDeadlock(String),
    NoHandler(Box<str>),
    SchemaMismatch(Box<SchemaMismatch>),
    Expired,
    Closed,
}

impl From<TooManyTopics> for Refused {
    fn from(error: TooManyTopics) -> Self {
        Self::TooManyTopics(error.limit)
    }
}

impl Refused {
    /// What a full lane says to this patience.
    #[cold]
    pub(super) fn full(queue: &Queue, patience: Patience) -> Self {
        match queue.puts_off(patience) {
            true => Self::NotYet,
            false if queue.is_failing_log() => Self::AuditFailing,
            false => Self::Full(queue.name.to_string()),
        }
    }

    /// How an emit that ends with this leaves the gate.
    #[cold]
    pub(super) fn exit(&self) -> Exit {
        if matches!(self, Self::NotYet) { Exit::Retracted } else { Exit::Refused }
    }

    #[cold]
    pub(crate) fn with<P>(self, payload: P) -> EmitError<P> {
        match self {
            Self::InvalidTopic(rule) => EmitError::InvalidTopic { rule, payload },
            Self::InvalidAttribute(error) => EmitError::InvalidAttribute { error, payload },
            Self::Invalid(report) => EmitError::Invalid { report, payload },
            Self::TooManyTopics(limit) => EmitError::TooManyTopics { limit, payload },
            Self::Full(lane) => EmitError::Full { lane, payload },
            // An empty name, which no lane has, tells it apart; nobody but `EmitAsync` sees it.
            Self::NotYet => EmitError::Full { lane: String::new(), payload },
            Self::AuditFailing => EmitError::AuditFailing { payload },
            Self::TooDeep(limit) => EmitError::TooDeep { limit, payload },
            Self::LoopDetected(limit) => EmitError::LoopDetected { limit, payload },
            Self::RateLimited(limited, retry_after) => EmitError::RateLimited { limited, retry_after, payload },
            Self::Storm(topic, per_second) => EmitError::Storm { topic, per_second, payload },
            Self::WouldDeadlock(lane) => EmitError::WouldDeadlock { lane, payload },
            Self::NoHandler(topic) => EmitError::NoHandler { topic, payload },
            Self::SchemaMismatch(mismatch) => EmitError::SchemaMismatch { mismatch, payload },
            Self::Expired => EmitError::Expired { payload },
            Self::Closed => EmitError::Closed { payload },
        }
    }
}
