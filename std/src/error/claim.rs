//! Why a type could not claim its topic.

use std::fmt;

/// Why [`Bus::topic`](crate::Bus::topic) was refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimError {
    /// The type's topic breaks the bus's rule for names.
    InvalidTopic {
        /// Which rule it breaks, and where.
        rule: String,
    },
    /// The topic is new, and the bus has as many topics as it may have.
    TooManyTopics {
        /// How many that is.
        limit: usize,
    },
    /// The topic carries another type.
    Claimed {
        /// Which topic.
        topic: String,
        /// The type that it carries.
        by: &'static str,
        /// Its version.
        by_version: u32,
        /// The type that was asked for.
        asked: &'static str,
        /// Its version.
        asked_version: u32,
    },
    /// The type is a [command](crate::Category::Command), and several handlers of its topic are subscribed by name.
    Handlers {
        /// Which topic.
        topic: String,
        /// The names of the handlers.
        handlers: Vec<String>,
    },
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidTopic { rule } => f.write_str(rule),
            Self::TooManyTopics { limit } => write!(f, "the bus has its limit of {limit} topics"),
            Self::Claimed { topic, by, by_version, asked, asked_version } => write!(
                f,
                "topic {topic:?} carries {by} (version {by_version}) on this bus, not {asked} (version {asked_version}): \
                 give one of them another topic, or read these events as JSON with `Bus::on`"
            ),
            Self::Handlers { topic, handlers } => {
                write!(f, "the command {topic:?} may have one handler, and has {handlers:?}: unsubscribe all but one")
            }
        }
    }
}

impl std::error::Error for ClaimError {}
