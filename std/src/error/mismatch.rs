//! A payload that does not fit its schema.

use std::error::Error;
use std::fmt;

/// Where a payload breaks which rule of its topic's JSON Schema: the first such place.
///
/// It says nothing of [personal data](crate::TypedEvent::PII) but that it does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaMismatch {
    /// The event's topic.
    pub topic: String,
    /// The version that its payload was held against.
    pub version: u32,
    /// Whether the event said no version, so that it was taken to be of the first.
    pub assumed: bool,
    /// Where in the payload, as a JSON pointer; empty for the payload itself.
    pub path: String,
    /// Which rule it breaks: the schema's keyword and what that asks for, shortened.
    pub rule: String,
    /// What stands there, shortened; `None` for an object or a list, for personal data, and where nothing stands there.
    pub value: Option<String>,
}

impl fmt::Display for SchemaMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the payload" } else { &self.path };
        let assumed = if self.assumed { " (it says none)" } else { "" };
        let Self { topic, version, rule, .. } = self;
        write!(f, "{topic:?} does not fit its schema, version {version}{assumed}: {path}: {rule}")?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, ", and is {value}"))
    }
}

impl Error for SchemaMismatch {}
