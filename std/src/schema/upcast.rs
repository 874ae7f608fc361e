//! Payloads of earlier versions, made into those of later ones.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// Makes the payload of one version into that of the next.
type Step = Arc<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// A payload that could not be brought to the version that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpcastError {
    /// There is no way from the one version to the other.
    NoWay {
        /// The topic.
        topic: String,
        /// The version that there is.
        from: u32,
        /// The version that was asked for.
        to: u32,
    },
    /// An upcaster refused the payload.
    Refused {
        /// The topic.
        topic: String,
        /// The version that the upcaster begins with.
        from: u32,
        /// What it said.
        error: String,
    },
}

impl fmt::Display for UpcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWay { topic, from, to } => {
                write!(f, "{topic:?} has no upcasters that lead from version {from} to version {to}")
            }
            Self::Refused { topic, from, error } => {
                write!(f, "the upcaster of {topic:?} from version {from} refused the payload: {error}")
            }
        }
    }
}

impl Error for UpcastError {}

/// All upcasters, by topic and the version that they begin with.
#[derive(Default, Clone)]
pub(super) struct Upcasters(BTreeMap<String, BTreeMap<u32, Step>>);

impl Upcasters {
    /// Adds one; `false` if there is one already.
    pub(super) fn add(&mut self, topic: &str, from: u32, step: Step) -> bool {
        let steps = self.0.entry(topic.into()).or_default();
        if steps.contains_key(&from) {
            return false;
        }
        steps.insert(from, step);
        true
    }

    /// The topics that have any.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The first version from which there is none on the way from a topic's first upcaster to its latest version, or to
    /// what its last upcaster makes.
    pub(super) fn gap(&self, topic: &str, latest: u32) -> Option<u32> {
        let steps = self.0.get(topic)?;
        let (first, last) = (*steps.keys().next()?, *steps.keys().next_back()?);
        (first..latest.max(last)).find(|version| !steps.contains_key(version))
    }

    /// Brings a payload from one version to another.
    pub(super) fn apply(&self, topic: &str, from: u32, to: u32, value: Value) -> Result<Value, UpcastError> {
        let no_way = || UpcastError::NoWay { topic: topic.into(), from, to };
        if from > to {
            return Err(no_way());
        }
        let steps = self.0.get(topic);
        // The whole way first: a payload is not changed half-way.
        let way = (from..to).map(|version| Some((version, steps?.get(&version)?))).collect::<Option<Vec<_>>>();
        way.ok_or_else(no_way)?.into_iter().try_fold(value, |value, (from, step)| {
            step(value).map_err(|error| UpcastError::Refused { topic: topic.into(), from, error })
        })
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = self.0.iter().map(|(topic, steps)| (topic, steps.keys().collect::<Vec<_>>()));
        f.debug_map().entries(ways).finish()
    }
}
