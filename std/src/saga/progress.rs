//! What the transitions of a saga make of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SagaState, SagaStatus};
use crate::aggregate::Aggregate;
use crate::typed_event::TypedEvent;

/// Whether somebody may have been asked to do a step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    No,
    Perhaps,
}

/// What happens to a saga.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "transition", rename_all = "snake_case")]
pub(crate) enum Transition {
    Begun { data: Value, steps: Vec<String> },
    Done { result: Value },
    Failed { error: String, asked: Asked },
    Undone,
    Resumed,
}

impl Transition {
    /// What a saga was to begin with.
    pub(super) fn into_data(self) -> Option<Value> {
        match self {
            Self::Begun { data, .. } => Some(data),
            _ => None,
        }
    }
}

/// Emitted on the topic of its saga, which nobody claims.
impl TypedEvent for Transition {
    const TOPIC: &'static str = "saga.transition";

    fn from_json(value: &Value) -> Option<Result<Self, Box<dyn std::error::Error + Send + Sync>>> {
        Some(Self::deserialize(value).map_err(Into::into))
    }
}

/// A saga, as far as it is.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(super) data: Value,
    pub(super) results: Map<String, Value>,
    steps: Vec<String>,
    /// How many of them were done, one after the other.
    done: usize,
    /// The step that failed, and what was said.
    failure: Option<(String, String)>,
    /// How many are still to be undone, if one has failed.
    undo: usize,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Do(&'a str),
    Undo(&'a str),
    Nothing,
}

impl Progress {
    pub(super) fn next(&self) -> Next<'_> {
        let step = |index: usize| self.steps.get(index).map(|step| &**step);
        let next = match self.failure {
            None => step(self.done).map(Next::Do),
            Some(_) => self.undo.checked_sub(1).and_then(step).map(Next::Undo),
        };
        next.unwrap_or(Next::Nothing)
    }

    pub(super) fn status(&self) -> SagaStatus {
        let (state, step) = match (self.next(), &self.failure) {
            (Next::Do(step), _) => (SagaState::Running, Some(step)),
            (Next::Undo(step), _) => (SagaState::Undoing, Some(step)),
            (Next::Nothing, None) => (SagaState::Completed, None),
            (Next::Nothing, Some(_)) => (SagaState::Undone, None),
        };
        let (results, failure) = (self.results.clone(), self.failure.clone());
        SagaStatus { state, step: step.map(str::to_owned), results, failure }
    }
}

impl Aggregate for Progress {
    type Event = Transition;

    fn apply(&mut self, event: &Transition) {
        let current = self.steps.get(self.done).cloned().unwrap_or_default();
        match event {
            Transition::Begun { data, steps } => (self.data, self.steps) = (data.clone(), steps.clone()),
            Transition::Done { result } => {
                self.results.insert(current, result.clone());
                self.done += 1;
            }
            Transition::Failed { error, asked } => {
                self.failure = Some((current, error.clone()));
                self.undo = self.done + usize::from(*asked == Asked::Perhaps);
            }
            Transition::Undone => self.undo = self.undo.saturating_sub(1),
            Transition::Resumed => {}
        }
        if self.next() == Next::Nothing {
            // Nobody is asked any more.
            self.data = Value::Null;
        }
    }
}
