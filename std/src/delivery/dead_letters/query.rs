//! Queries: which dead letters somebody wants to see.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nervebus_core::{Pattern, Reason, SubscriptionId, Topic};

use crate::delivery::dead_letters::DeadLetter;
use crate::platform::clock::Clock;

/// Which dead letters are wanted; see [`DeadLetters::find`](crate::DeadLetters::find).
///
/// A new query wants all of them, oldest first. Each setting narrows it, and a letter must pass all that are made; one
/// that is made twice counts as it was made last.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Query, Reason};
/// use std::time::{Duration, SystemTime};
///
/// let bus = Bus::builder().build()?;
/// let query = Query::new().topic("order.*").reason(Reason::HandlerError).newest_first().limit(20);
/// assert!(bus.dead_letters().find(&query)?.is_empty());
///
/// let refused = bus.dead_letters().find(&Query::new().topic("order.")).unwrap_err();
/// assert!(refused.to_string().starts_with(r#"pattern "order.": "#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a query does nothing until letters are looked for with it"]
pub struct Query {
    topic: Option<String>,
    reason: Option<Reason>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    subscription: Option<SubscriptionId>,
    handler: Option<String>,
    limit: Option<usize>,
    newest_first: bool,
}

impl Query {
    /// A query that wants all letters, oldest first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only events of this topic, or of the topics that this pattern matches. It is checked when letters are looked for.
    pub fn topic(mut self, pattern: impl Into<String>) -> Self {
        self.topic = Some(pattern.into());
        self
    }

    /// Only letters with this reason.
    pub fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Only letters that came here at this moment or later, by the wall clock.
    pub fn since(mut self, moment: SystemTime) -> Self {
        self.since = Some(moment);
        self
    }

    /// Only letters that came here before this moment, by the wall clock.
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.until = Some(moment);
        self
    }

    /// Only letters of this subscription. Letters of earlier runs have none.
    pub fn subscription(mut self, id: SubscriptionId) -> Self {
        self.subscription = Some(id);
        self
    }

    /// Only letters of the handler with this name.
    pub fn handler(mut self, name: impl Into<String>) -> Self {
        self.handler = Some(name.into());
        self
    }

    /// At most so many letters: the first ones in the order that is asked for. Default: no limit.
    pub fn limit(mut self, letters: usize) -> Self {
        self.limit = Some(letters);
        self
    }

    /// Oldest first, which is the default.
    pub fn oldest_first(mut self) -> Self {
        self.newest_first = false;
        self
    }

    /// Newest first.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    pub(crate) fn check(&self) -> Result<Filter<'_>, QueryError> {
        let topic = self.topic.as_deref().map(Pattern::new).transpose();
        Ok(Filter {
            topic: topic.map_err(|error| QueryError::InvalidPattern { rule: error.to_string() })?,
            reason: self.reason,
            since: self.since.map(seconds),
            until: self.until.map(seconds),
            subscription: self.subscription,
            handler: self.handler.as_deref(),
            limit: self.limit.unwrap_or(usize::MAX),
            newest_first: self.newest_first,
        })
    }
}

/// Why letters could not be looked for. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueryError {
    /// The query's topic is neither a topic nor a pattern.
    InvalidPattern {
        /// Which rule it breaks, and where.
        rule: String,
    },
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPattern { rule } => f.write_str(rule),
        }
    }
}

impl std::error::Error for QueryError {}

/// A query that was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter<'a> {
    topic: Option<Pattern<'a>>,
    reason: Option<Reason>,
    /// Seconds since the Unix epoch, as is the next one.
    since: Option<f64>,
    until: Option<f64>,
    subscription: Option<SubscriptionId>,
    handler: Option<&'a str>,
    pub(crate) limit: usize,
    pub(crate) newest_first: bool,
}

impl Filter<'_> {
    /// What every letter passes.
    pub(crate) const ALL: Self = Self {
        topic: None,
        reason: None,
        since: None,
        until: None,
        subscription: None,
        handler: None,
        limit: usize::MAX,
        newest_first: false,
    };

    /// What letters of at least this age pass.
    pub(crate) fn older_than(age: Duration, clock: &Clock) -> Self {
        let until = clock.wall_seconds() - age.as_secs_f64();
        // What is just as old is meant as well.
        Self { until: Some(until.next_up()), ..Self::ALL }
    }

    pub(crate) fn passes(&self, letter: &DeadLetter) -> bool {
        self.reason.is_none_or(|reason| letter.reason == reason)
            && self.since.is_none_or(|since| letter.failed_at >= since)
            && self.until.is_none_or(|until| letter.failed_at < until)
            && self.subscription.is_none_or(|id| letter.subscription == Some(id))
            && self.handler.is_none_or(|name| &*letter.handler == name)
            && self.topic.is_none_or(|pattern| {
                Topic::new(letter.event.as_event().topic()).is_ok_and(|topic| pattern.matches(topic))
            })
    }
}

/// Seconds since the Unix epoch, rounded as letters' times are, so that a moment before a failure stays before it.
fn seconds(moment: SystemTime) -> f64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as f64 / 1e9,
        Err(before) => -(before.duration().as_nanos() as f64 / 1e9),
    }
}
