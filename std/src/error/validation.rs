//! What is wrong with an event that was checked.

use std::fmt;

use serde::Serialize;

/// The most characters of a text that a report shows.
const SHOWN: usize = 256;

/// What checking an event has found; see [`Validation`](crate::Validation).
///
/// Its text has a line for each finding, errors first; it is `valid` when there is none. No payload is in it, and control
/// characters are escaped, so that no event can forge a line of a log. What the rules of a user's own have said passes the
/// bus's [redactor](crate::Builder::redact), as all texts of errors do.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Validation, json};
///
/// let bus = Bus::builder().validate(Validation::new().require("order.*", "customer.id")).build()?;
/// let report = bus.validate("Order.placed", &json!({"customer": {}}));
/// assert!(!report.is_valid());
/// assert_eq!(
///     report.to_string(),
///     "error: name: topic \"Order.placed\": segment 1 starts with 'O' at byte 0, but must start with a to z"
/// );
/// let report = bus.validate("order.placed", &json!({"customer": {}}));
/// assert_eq!(report.to_string(), "error: required_field: customer.id: it is missing or null");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ValidationReport {
    /// What the event is refused for.
    pub errors: Vec<ValidationIssue>,
    /// What somebody may want to know of, and does not stop it.
    pub warnings: Vec<ValidationIssue>,
}

/// One finding of a [`ValidationReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ValidationIssue {
    /// The rule that is broken: `name`, `domain`, `source`, `payload`, `payload_size`, `payload_nesting`, `required_field`,
    /// or the name that a rule of a user's own has.
    pub rule: String,
    /// The field of the payload that it is about, if it is about one.
    pub field: Option<String>,
    /// What was found in place of what is allowed: a domain or a number, never what stands in a payload.
    pub value: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl ValidationReport {
    /// Whether nothing stops the event; there may be warnings.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// Whether nothing was found at all.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty() && self.warnings.is_empty()
    }

    /// The errors in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let errors: Vec<_> = self.errors.iter().map(ToString::to_string).collect();
        errors.join("; ")
    }

    /// All findings, to be changed.
    pub(crate) fn issues_mut(&mut self) -> impl Iterator<Item = &mut ValidationIssue> {
        self.errors.iter_mut().chain(&mut self.warnings)
    }
}

impl fmt::Display for ValidationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("valid");
        }
        let errors = self.errors.iter().map(|issue| ("error", issue));
        let warnings = self.warnings.iter().map(|issue| ("warning", issue));
        for (index, (kind, issue)) in errors.chain(warnings).enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{kind}: {issue}")?;
        }
        Ok(())
    }
}

impl ValidationIssue {
    pub(crate) fn new(rule: &str, message: &str) -> Self {
        Self { rule: shown(rule), field: None, value: None, message: shown(message) }
    }

    pub(crate) fn field(self, path: &str) -> Self {
        Self { field: Some(shown(path)), ..self }
    }

    pub(crate) fn value(self, value: &str) -> Self {
        Self { value: Some(shown(value)), ..self }
    }
}

impl fmt::Display for ValidationIssue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, field, value, message } = self;
        write!(f, "{rule}: ")?;
        if let Some(field) = field {
            write!(f, "{field}: ")?;
        }
        f.write_str(message)?;
        value.as_ref().map_or(Ok(()), |value| write!(f, " (found {value:?})"))
    }
}

/// A text on one line and in bounded space.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN {
            out.push_str("...");
            break;
        }
        if character.is_control() {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}
