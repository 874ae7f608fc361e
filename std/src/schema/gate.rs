//! The schemas of a bus at work.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::registry::{SchemaError, SchemaRegistry};
use super::{FIRST, Schemas, Verdict};
use crate::error::SchemaMismatch;
use crate::event::Event;
use crate::payload::Content;

/// When events are held against their schemas.
///
/// An event is held against the schema of its topic and its [version](crate::Event::schema_version), which is 1 if it says
/// none. A version that the topic has no schema of does not fit; a topic that has none at all is not looked at, and neither
/// are the bus's own events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SchemaCheck {
    /// When they are emitted: an emit that does not fit fails with
    /// [`EmitError::SchemaMismatch`](crate::EmitError::SchemaMismatch) and has its payload back; nobody has seen the event.
    /// What is replayed is not looked at, since it was emitted before.
    #[default]
    AtEmit,
    /// Before each handler: one whose event does not fit is not called, and the event is a dead letter with the reason
    /// [`ValidationError`](crate::Reason::ValidationError). It is not tried again.
    AtConsume,
    /// One in so many when they are emitted; 0 and 1 are every one. What does not fit goes on, and a `system.schema_mismatch`
    /// event says where it breaks which rule, with `event_type`, `version`, `path` and `rule`.
    Sampled(u32),
}

/// A registry, and when it is asked.
#[derive(Debug)]
pub(crate) struct Gate {
    registry: SchemaRegistry,
    check: SchemaCheck,
    /// Events that might have been looked at.
    seen: AtomicU64,
}

impl Gate {
    pub(crate) fn new(registry: SchemaRegistry, check: SchemaCheck) -> Self {
        Self { registry, check, seen: AtomicU64::new(0) }
    }

    fn check(&self, topic: &str, version: Option<u32>, payload: &dyn Content) -> Result<(), Box<SchemaMismatch>> {
        let Some(versions) = self.registry.validators(topic) else { return Ok(()) };
        let revealed;
        let value = match payload.as_any().downcast_ref::<Value>() {
            Some(value) => value,
            None => {
                revealed = payload.reveal();
                &revealed
            }
        };
        let checked = self.registry.check(versions, topic, version.unwrap_or(FIRST), value, || payload.json());
        checked.map_err(|mut mismatch| {
            mismatch.assumed = version.is_none();
            mismatch
        })
    }

    /// Whether it is this event's turn to be looked at.
    fn is_due(&self, one_in: u32) -> bool {
        // Relaxed: a counter that orders nothing.
        one_in <= 1 || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(one_in.into())
    }
}

impl Schemas for Gate {
    fn complete(&self) -> Result<(), SchemaError> {
        self.registry.complete()
    }

    fn look_at_emit(&self) -> bool {
        self.check != SchemaCheck::AtConsume
    }

    fn look_at_consume(&self) -> bool {
        self.check == SchemaCheck::AtConsume
    }

    fn at_emit(&self, topic: &str, version: Option<u32>, payload: &dyn Content) -> Verdict {
        let refuses = match self.check {
            SchemaCheck::AtEmit => true,
            SchemaCheck::Sampled(one_in) if self.is_due(one_in) => false,
            _ => return Verdict::Fits,
        };
        match self.check(topic, version, payload) {
            Ok(()) => Verdict::Fits,
            Err(mismatch) if refuses => Verdict::Refused(mismatch),
            Err(mismatch) => Verdict::Told(mismatch),
        }
    }

    fn at_consume(&self, event: &Event<'_>) -> Result<(), Box<SchemaMismatch>> {
        if !self.look_at_consume() || event.head.own {
            return Ok(());
        }
        self.check(event.topic(), event.schema_version(), event.content)
    }

    fn upcast(&self, event: &Event<'_>, to: u32, payload: &Value) -> Option<Result<Value, String>> {
        let from = event.schema_version().unwrap_or(FIRST);
        if from >= to || !self.registry.begins(event.topic(), from) {
            return None;
        }
        let upcast = self.registry.upcast_to(event.topic(), from, to, payload.clone());
        Some(upcast.map_err(|error| error.to_string()))
    }
}
