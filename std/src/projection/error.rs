//! What can be wrong with a projection.

use std::error::Error;
use std::fmt;
use std::io;

/// Why a projection does not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProjectionError {
    /// The bus has no durable log.
    NoLog,
    /// The name is empty, or another projection of the bus has it.
    Name {
        /// The name.
        name: String,
    },
    /// A pattern breaks a rule.
    InvalidPattern {
        /// Which one, and where.
        rule: String,
    },
    /// The system has no room for one more thread.
    Thread(io::Error),
}

impl fmt::Display for ProjectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog => f.write_str("the bus has no durable log"),
            Self::Name { name } => write!(f, "the name {name:?} is empty or in use"),
            Self::InvalidPattern { rule } => f.write_str(rule),
            Self::Thread(error) => write!(f, "the projection's thread was not started: {error}"),
        }
    }
}

impl Error for ProjectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            _ => None,
        }
    }
}
