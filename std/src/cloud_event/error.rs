//! Why something is no CloudEvents event.

use std::fmt;

use crate::headers::attributes::AttributeError;
use crate::records::line::{LineError, Shown};

/// What is said of a document that has both `data` and `data_base64`.
pub(super) const TWO_FORMS: &str = r#"in "data" or in "data_base64", and is in both"#;

/// Why a document or a message is no [`CloudEvent`](crate::CloudEvent), or why one cannot be what is asked for.
///
/// Its text is one short line; what comes from the input is shown in quotes, escaped and cut after 64 characters. Data is
/// never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloudEventError {
    /// It is not even a JSON object.
    Document(LineError),
    /// An attribute is not there that must be.
    Missing {
        /// Which one.
        field: &'static str,
    },
    /// An attribute breaks a rule.
    Invalid {
        /// Which one.
        field: String,
        /// What it is.
        value: String,
        /// What it may be.
        rule: &'static str,
    },
    /// An attribute, or the data, is there twice.
    Repeated {
        /// Which one.
        field: String,
    },
    /// The data is not what is said of it, or is there in two forms.
    Data {
        /// What it must be.
        rule: &'static str,
    },
    /// The media type says that the events are in a format other than JSON, or are many.
    Format {
        /// The media type.
        content_type: String,
    },
    /// An event of a batch is not one.
    InBatch {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong with it.
        error: Box<CloudEventError>,
    },
    /// The event says more in its extensions than an event of a bus can have.
    Attribute(AttributeError),
}

impl CloudEventError {
    pub(super) fn invalid(field: &str, value: impl Into<String>, rule: &'static str) -> Self {
        Self::Invalid { field: field.to_owned(), value: value.into(), rule }
    }
}

impl fmt::Display for CloudEventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(error) => {
                // A line of a log has the same errors, and says what it is.
                let text = error.to_string();
                let rest = text.strip_prefix("the line").map(|rest| format!("the document{rest}"));
                f.write_str(&rest.unwrap_or(text))
            }
            Self::Missing { field } => write!(f, "field {field:?} is missing"),
            Self::Invalid { field, value, rule } => {
                write!(f, r#"field "{}" must be {rule}, but is "{}""#, Shown(field), Shown(value))
            }
            Self::Repeated { field } => write!(f, r#"field "{}" is there twice"#, Shown(field)),
            Self::Data { rule } => write!(f, "the data must be {rule}"),
            Self::Format { content_type } => {
                write!(f, r#"the media type "{}" is not that of one event in JSON"#, Shown(content_type))
            }
            Self::InBatch { index, error } => write!(f, "event {index} of the batch: {error}"),
            Self::Attribute(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CloudEventError {}

impl From<LineError> for CloudEventError {
    fn from(error: LineError) -> Self {
        match error {
            LineError::TwoPayloads => Self::Data { rule: TWO_FORMS },
            error => Self::Document(error),
        }
    }
}

impl From<AttributeError> for CloudEventError {
    fn from(error: AttributeError) -> Self {
        Self::Attribute(error)
    }
}
