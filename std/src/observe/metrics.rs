//! The figures of a bus as metrics: names, labels, values.

mod collect;

use serde::Serialize;

use crate::delivery::histogram::Durations;
use crate::observe::stats::Stats;

/// How many handlers, and how many topics, have samples of their own, unless somebody says otherwise.
pub(crate) const MAX_SERIES: usize = 1_000;

/// All metrics of a bus at one moment: what exporters get. `bus.stats().metrics()` makes them.
///
/// Labels have bounded values: names of lanes, handlers, patterns and breakers, which are the program's, reasons and classes,
/// which are ours, and topics of dead letters. Of handlers and topics there can be many; past a limit (1,000, or what
/// [`PrometheusText::max_series`](crate::PrometheusText::max_series) says) all further ones are one, `_other`. No label
/// has anything of an event's payload.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("user.login").name("greet").inline().handle(|_| ())?;
/// bus.emit("user.login", json!({}))?;
/// let metrics = bus.stats().metrics();
/// assert_eq!(metrics.get("nervebus_events_emitted_total", &[]), Some(1.0));
/// assert_eq!(metrics.get("nervebus_handler_calls_total", &[("handler", "greet"), ("outcome", "handled")]), Some(1.0));
/// assert_eq!(metrics.get("nervebus_handler_calls_total", &[("handler", "nobody")]), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Metrics(Vec<Metric>);

/// One metric, with all its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metric {
    /// Its name: `nervebus_`, then what is counted, in base units (seconds, bytes); `_total` at the end of what only grows.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// A sentence that says so.
    pub help: &'static str,
    /// Its values, each with other labels.
    pub samples: Vec<Sample>,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// A number that only grows, from 0 on when the bus was built.
    Counter,
    /// A number that comes and goes.
    Gauge,
    /// Durations in buckets.
    Histogram,
}

/// A value of a metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Sample {
    /// Names and values of its labels, in an order that is the same for all samples of a metric.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: MetricValue,
}

/// The value of a sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetricValue {
    /// That of a counter or gauge. Counts of 2^53 and more lose their last digits.
    Number(f64),
    /// That of a histogram.
    Durations(Box<Durations>),
}

impl Metrics {
    /// In the order in which they are exported.
    pub fn iter(&self) -> impl Iterator<Item = &Metric> {
        self.0.iter()
    }

    /// The sum of a metric's samples that have these labels, and perhaps others; of a histogram, how many durations there
    /// are. `None` if there is no such sample.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metric = self.0.iter().find(|metric| metric.name == name)?;
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.iter().any(|(own, text)| own == label && text == value)
        };
        let wanted = |sample: &&Sample| labels.iter().all(|label| has(sample, label));
        metric.samples.iter().filter(wanted).map(|sample| sample.value.as_number()).reduce(|sum, value| sum + value)
    }
}

impl MetricValue {
    fn as_number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Durations(durations) => durations.count() as f64,
        }
    }
}

impl Stats {
    /// The figures as metrics, for exporters and for tests.
    ///
    /// # Cost
    ///
    /// Linear in lanes, subscriptions and topics with dead letters; allocates.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics_of(MAX_SERIES)
    }

    /// With so many handlers and topics of their own at most.
    pub(crate) fn metrics_of(&self, max_series: usize) -> Metrics {
        Metrics(collect::all(self, max_series.max(1)))
    }
}
