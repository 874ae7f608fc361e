//! What can be wrong with a saga.

use std::error::Error;
use std::fmt;

use serde_json::Value;

use crate::aggregate::error::AggregateError;
use crate::error::SubscribeError;

/// Why a saga does not start, or one was not begun.
#[derive(Debug)]
#[non_exhaustive]
pub enum SagaError {
    /// A step, or that there is none, breaks a rule.
    Step {
        /// The step's name.
        step: String,
        /// Which rule.
        rule: &'static str,
    },
    /// The sagas of the topic cannot be read from the log, or somebody has started it.
    State(AggregateError),
    /// The saga could not be subscribed.
    Subscribe(SubscribeError),
    /// There is one of this id.
    Begun {
        /// The id.
        id: String,
        /// What it was to begin with.
        data: Option<Value>,
    },
    /// The transition was refused, or it is not known whether the log has it.
    NotStored {
        /// What was wrong.
        error: String,
        /// What it was to begin with, where nobody has seen it.
        data: Option<Value>,
    },
}

impl fmt::Display for SagaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step, rule } => write!(f, "step {step:?}: {rule}"),
            Self::State(error) => error.fmt(f),
            Self::Subscribe(error) => error.fmt(f),
            Self::Begun { id, .. } => write!(f, "saga {id:?} has begun already"),
            Self::NotStored { error, .. } => error.fmt(f),
        }
    }
}

impl Error for SagaError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::State(error) => Some(error),
            Self::Subscribe(error) => Some(error),
            _ => None,
        }
    }
}
