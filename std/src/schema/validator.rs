//! Schemas that are ready to hold payloads against.

use std::fmt;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError};
use serde_json::Value;

use super::change::shortened;
use crate::error::SchemaMismatch;
use crate::payload::personal::REDACTED;

/// The most characters of a rule, and of a value, that an error shows.
const RULE: usize = 200;
const VALUE: usize = 60;

/// The schema of one version, compiled.
pub(super) struct Validator {
    schema: Value,
    compiled: jsonschema::Validator,
}

/// Which rule a schema breaks, and where.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) path: String,
    pub(super) rule: String,
}

impl Validator {
    /// Compiles a schema. It may refer to itself and to the drafts of JSON Schema, and to nothing else. Patterns run in linear
    /// time; those that cannot (with look-around and back references) are refused.
    pub(super) fn new(schema: &Value) -> Result<Self, Flaw> {
        // Whoever builds this with a `jsonschema` that can fetch what a reference names gets no fetching either.
        let options = jsonschema::options().offline().with_pattern_options(PatternOptions::regex());
        let compiled = options.build(schema).map_err(|error| Flaw {
            path: error.instance_path().as_str().into(),
            rule: shortened(&flaw(&error), RULE),
        })?;
        Ok(Self { schema: schema.clone(), compiled })
    }

    /// Holds a payload against the schema. `shown` is the payload as records see it, asked for when it does not fit.
    pub(super) fn check<'v>(
        &self,
        topic: &str,
        version: u32,
        payload: &Value,
        shown: impl FnOnce() -> &'v Value,
    ) -> Result<(), Box<SchemaMismatch>> {
        // The quick way first: most fit.
        if self.compiled.is_valid(payload) {
            return Ok(());
        }
        let Err(error) = self.compiled.validate(payload) else { return Ok(()) };
        let (path, at) = visible(shown(), error.instance_path().as_str());
        // Beside what is hidden, the rule is all that is said.
        let scalar = at.filter(|at| !at.is_object() && !at.is_array() && **at != REDACTED);
        let value = scalar.map(|at| shortened(&at.to_string(), VALUE));
        let rule = self.rule(&error, at.is_some_and(Value::is_object));
        Err(Box::new(SchemaMismatch { topic: topic.into(), version, assumed: false, path, rule, value }))
    }

    /// The keyword and what it asks for.
    fn rule(&self, error: &ValidationError<'_>, is_visible: bool) -> String {
        let keyword = error.kind().keyword();
        let text = match error.kind() {
            ValidationErrorKind::Required { property } => format!("required: {property} is missing"),
            ValidationErrorKind::FalseSchema => format!("{}: nothing may stand here", error.schema_path().as_str()),
            // The names are the payload's.
            ValidationErrorKind::AdditionalProperties { unexpected }
            | ValidationErrorKind::UnevaluatedProperties { unexpected }
                if is_visible =>
            {
                format!("{keyword}: {unexpected:?} are not allowed")
            }
            _ => match self.schema.pointer(error.schema_path().as_str()) {
                Some(says) => format!("{keyword}: {says}"),
                None => keyword.to_owned(),
            },
        };
        shortened(&text, RULE)
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Validator").field(&self.schema).finish()
    }
}

/// What is wrong with a schema. Of a pattern that is refused, the validator says no more than that.
fn flaw(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Format { format } if format == "regex" => {
            format!("{error}; it may have neither look-around nor back references")
        }
        _ => error.to_string(),
    }
}

/// The path as far as it leads in what is shown of a payload, and what stands there; `None` where not all of it is shown.
fn visible<'v>(shown: &'v Value, path: &str) -> (String, Option<&'v Value>) {
    if let Some(at) = shown.pointer(path) {
        return (shortened(path, RULE), Some(at));
    }
    let ends = path.match_indices('/').map(|(at, _)| at).rev();
    let parent = ends.map(|end| &path[..end]).find(|parent| shown.pointer(parent).is_some());
    (shortened(parent.unwrap_or_default(), RULE), None)
}
