//! What can be wrong with an outbox.

use std::error::Error;
use std::fmt;
use std::io;

use crate::error::BuildError;

/// Why an event was not recorded, or an outbox does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum OutboxError {
    /// No transaction is open on the connection: the event would be recorded whatever becomes of the data.
    NoTransaction,
    /// The topic's name breaks a rule.
    InvalidTopic {
        /// Which rule it breaks, and where.
        rule: String,
    },
    /// The payload has no JSON.
    NoJson {
        /// What its `Serialize` said.
        error: String,
    },
    /// The payload's type has [personal data](crate::TypedEvent::PII). It is emitted as JSON, of which nobody would know that.
    PersonalData {
        /// The topic.
        topic: String,
    },
    /// What SQLite says.
    Sqlite(rusqlite::Error),
    /// A setting is out of its range.
    OutOfRange(BuildError),
    /// The system has no room for one more thread.
    Thread(io::Error),
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTransaction => f.write_str("no transaction is open on the connection"),
            Self::InvalidTopic { rule } => f.write_str(rule),
            Self::NoJson { error } => write!(f, "the payload has no JSON: {error}"),
            Self::PersonalData { topic } => {
                write!(f, "the payload for topic {topic:?} has personal data, which JSON in a table does not tell")
            }
            Self::Sqlite(error) => error.fmt(f),
            Self::OutOfRange(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "the outbox's thread was not started: {error}"),
        }
    }
}

impl Error for OutboxError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Sqlite(error) => Some(error),
            Self::OutOfRange(error) => Some(error),
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}
