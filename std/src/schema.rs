//! What the payloads of events look like: JSON Schemas, what changes of them break, and the contract they make.
//!
//! Contracts are read and compared without any feature. The feature `schema` brings what makes schemas from types, and what
//! holds payloads against them.

mod asyncapi;
pub(crate) mod change;
mod compare;
pub(crate) mod compatibility;
pub(crate) mod contract;
#[cfg(feature = "schema")]
mod files;
#[cfg(feature = "schema")]
pub(crate) mod gate;
#[cfg(feature = "schema")]
pub(crate) mod registry;
#[cfg(feature = "schema")]
pub(crate) mod upcast;
#[cfg(feature = "schema")]
mod validator;

use std::fmt;

use serde_json::Value;

use crate::error::SchemaMismatch;
use crate::event::Event;
use crate::payload::Content;

/// What a bus asks of the schemas that it was given, which it has with the feature `schema` only.
pub(crate) trait Schemas: fmt::Debug + Send + Sync {
    /// Whether what was given can work.
    #[cfg(feature = "schema")]
    fn complete(&self) -> Result<(), registry::SchemaError>;

    /// Whether events are looked at when they are emitted.
    fn look_at_emit(&self) -> bool;

    /// Whether events are looked at before each handler.
    fn look_at_consume(&self) -> bool;

    /// What becomes of an event that is emitted with this version, if it says one.
    fn at_emit(&self, topic: &str, version: Option<u32>, payload: &dyn Content) -> Verdict;

    /// Whether a handler may have an event.
    fn at_consume(&self, event: &Event<'_>) -> Result<(), Box<SchemaMismatch>>;

    /// The payload of an event in the shape of another version; `None` where no upcaster begins with its version.
    fn upcast(&self, event: &Event<'_>, to: u32, payload: &Value) -> Option<Result<Value, String>>;
}

/// What becomes of an event when it is emitted.
#[derive(Debug)]
#[cfg_attr(not(feature = "schema"), expect(dead_code, reason = "nobody says it without schemas"))]
pub(crate) enum Verdict {
    Fits,
    Refused(Box<SchemaMismatch>),
    /// It goes on, and a record says that it should not.
    Told(Box<SchemaMismatch>),
}

/// The version of an event that says none.
#[cfg(feature = "schema")]
pub(crate) const FIRST: u32 = 1;
