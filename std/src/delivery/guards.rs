//! What guards the bus against its emitters: limits on rates, a guard against storms, a window for duplicates; as they
//! were set, and at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use nervebus_core::{Pattern, Topic};

use crate::admission::dedup::{DedupWindow, Window};
use crate::admission::rate::{Bucket, RateLimit, Sources};
use crate::admission::storm::{Detector, StormGuard};
use crate::admission::validation::{TopicRules, Validation};
use crate::error::BuildError;

/// How many buckets all sources share: 512 KiB, and one in 655 sources shares its bucket with one of a hundred others.
const SOURCE_BUCKETS: usize = 1 << 16;

/// What a user says about guards.
#[derive(Debug, Clone, Default)]
pub(crate) struct GuardSettings {
    pub(crate) rates: Vec<(Box<str>, RateLimit)>,
    pub(crate) sources: Option<RateLimit>,
    pub(crate) storm: Option<StormGuard>,
    pub(crate) dedup: Option<DedupWindow>,
    /// The patterns of topics whose events go to the durable log.
    pub(crate) logged: Vec<Box<str>>,
    pub(crate) validation: Option<Arc<Validation>>,
}

impl GuardSettings {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        self.validation.as_ref().map_or(Ok(()), |validation| validation.check())?;
        for (pattern, limit) in &self.rates {
            Pattern::new(pattern)
                .map_err(|error| BuildError::Pattern { field: "rate_limit".into(), rule: error.to_string() })?;
            limit.check(&format!("rate_limit {pattern:?}"))?;
        }
        self.sources.as_ref().map_or(Ok(()), |limit| limit.check("source_rate_limit"))?;
        self.storm.as_ref().map_or(Ok(()), |guard| guard.check("storm_guard"))?;
        self.dedup.as_ref().map_or(Ok(()), |window| window.check("dedup"))
    }

    /// What each topic is guarded by.
    pub(crate) fn rules(&self) -> GuardRules {
        GuardRules {
            rates: self.rates.clone(),
            storm: self.storm.clone(),
            logged: self.logged.clone(),
            validation: self.validation.clone(),
        }
    }

    /// The guards of the bus as a whole.
    pub(crate) fn guards(&self) -> Guards {
        Guards {
            sources: self.sources.as_ref().map(|limit| Sources::new(limit, SOURCE_BUCKETS)),
            window: self.dedup.as_ref().map(Window::new),
            storm: self.storm.clone(),
            validation: self.validation.clone(),
            ..Guards::default()
        }
    }
}

/// What each topic is guarded by.
#[derive(Debug, Default)]
pub(crate) struct GuardRules {
    /// The rate of each topic that a pattern matches; the first one that does counts.
    rates: Vec<(Box<str>, RateLimit)>,
    storm: Option<StormGuard>,
    logged: Vec<Box<str>>,
    validation: Option<Arc<Validation>>,
}

impl GuardRules {
    /// Whether no topic has a guard.
    pub(crate) fn is_empty(&self) -> bool {
        self.rates.is_empty() && self.storm.is_none() && self.logged.is_empty() && self.validation.is_none()
    }

    /// The guards of a topic of this name.
    pub(crate) fn for_topic(&self, name: &str) -> Option<Box<TopicGuards>> {
        let bucket = self.rate_of(name).map(Bucket::new);
        let storm = self.storm.as_ref().map(Detector::new);
        let logged = self.is_logged(name);
        let rules = self.validation.as_ref().map(|validation| validation.for_topic(name));
        (bucket.is_some() || storm.is_some() || logged || rules.is_some())
            .then(|| Box::new(TopicGuards { bucket, storm, watched: AtomicBool::new(false), logged, rules }))
    }

    /// Whether the events of a topic of this name go to the durable log.
    pub(crate) fn is_logged(&self, name: &str) -> bool {
        let Ok(topic) = Topic::new(name) else { return false };
        let asks = |pattern: &str| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic));
        self.logged.iter().any(|pattern| asks(pattern))
    }

    fn rate_of(&self, name: &str) -> Option<&RateLimit> {
        let topic = Topic::new(name).ok()?;
        let asks = |pattern: &str| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic));
        self.rates.iter().find(|(pattern, _)| asks(pattern)).map(|(_, limit)| limit)
    }
}

/// The guards of one topic.
#[derive(Debug)]
pub(crate) struct TopicGuards {
    pub(crate) bucket: Option<Bucket>,
    pub(crate) storm: Option<Detector>,
    /// Whether the timer will look whether a storm has ended.
    pub(crate) watched: AtomicBool,
    /// Whether its events go to the durable log.
    pub(crate) logged: bool,
    /// What its events must be like.
    pub(crate) rules: Option<TopicRules>,
}

/// The guards of the bus as a whole, and what all of them did.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    pub(crate) sources: Option<Sources>,
    pub(crate) window: Option<Window>,
    /// What the topics' detectors were made by.
    pub(crate) storm: Option<StormGuard>,
    /// What events must be like.
    pub(crate) validation: Option<Arc<Validation>>,
    /// Emits of events that are not like that.
    pub(crate) invalid: AtomicU64,
    /// Events that are, and of which there was something to say.
    pub(crate) warned: AtomicU64,
    /// Emits that a topic's limit refused.
    pub(crate) limited_by_topic: AtomicU64,
    /// Emits that a source's limit refused.
    pub(crate) limited_by_source: AtomicU64,
    /// Emits that were refused because of a storm.
    pub(crate) stormed: AtomicU64,
    /// Storms that have begun.
    pub(crate) storms: AtomicU64,
}
