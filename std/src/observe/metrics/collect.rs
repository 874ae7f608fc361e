//! From statistics to metrics.

use std::collections::{BTreeMap, BTreeSet};

use super::{Metric, MetricKind as Kind, MetricValue, Sample};
use crate::delivery::dead_letters::log::DeadLetterLogStats;
use crate::delivery::histogram::Durations;
use crate::delivery::ledger::LaneAccount;
use crate::observe::stats::{BreakerStats, DeadLetterStats, GuardStats, LaneStats, Stats, SubscriptionStats};
use crate::records::audit::account::AuditStats;

/// What all label sets beyond the limit are counted under.
const OTHER: &str = "_other";

/// The name of a label and its value.
type Label<'a> = (&'static str, &'a str);

/// The metrics, as far as they are collected.
#[derive(Default)]
struct Collected(Vec<Metric>);

impl Collected {
    /// Begins a metric: all samples up to the next one are its own.
    fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.0.push(Metric { name, kind, help, samples: Vec::new() });
    }

    fn sample(&mut self, labels: &[Label<'_>], value: impl Into<MetricValue>) {
        if let Some(metric) = self.0.last_mut() {
            let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
            metric.samples.push(Sample { labels, value: value.into() });
        }
    }

    /// Counters of one sample without labels each: name, help and value.
    fn counters<const N: usize>(&mut self, counters: [(&'static str, &'static str, u64); N]) {
        for (name, help, value) in counters {
            self.single(name, Kind::Counter, help, value);
        }
    }

    /// A metric of one sample without labels.
    fn single(&mut self, name: &'static str, kind: Kind, help: &'static str, value: impl Into<MetricValue>) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }
}

impl From<f64> for MetricValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u64> for MetricValue {
    fn from(number: u64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<i64> for MetricValue {
    fn from(number: i64) -> Self {
        Self::Number(number as f64)
    }
}

impl From<usize> for MetricValue {
    fn from(number: usize) -> Self {
        Self::Number(number as f64)
    }
}

impl From<bool> for MetricValue {
    fn from(is_so: bool) -> Self {
        Self::Number(f64::from(u8::from(is_so)))
    }
}

impl From<Durations> for MetricValue {
    fn from(durations: Durations) -> Self {
        Self::Durations(Box::new(durations))
    }
}

/// All of them; handlers and topics beyond `most` are one.
pub(super) fn all(stats: &Stats, most: usize) -> Vec<Metric> {
    let mut metrics = Collected::default();
    bus(&mut metrics, stats);
    lanes(&mut metrics, stats);
    handlers(&mut metrics, &stats.subscriptions, most);
    breakers(&mut metrics, &stats.breakers);
    dead_letters(&mut metrics, &stats.dead_letters, most);
    guards(&mut metrics, &stats.guards);
    if let Some(audit) = &stats.audit {
        self::audit(&mut metrics, audit);
    }
    #[cfg(feature = "durable")]
    if let Some(durable) = &stats.durable {
        self::durable(&mut metrics, durable);
    }
    // A metric without samples says nothing.
    metrics.0.retain(|metric| !metric.samples.is_empty());
    metrics.0
}

fn handlers(metrics: &mut Collected, subscriptions: &[SubscriptionStats], most: usize) {
    let handlers = Handler::all(subscriptions, most);
    metrics.family("nervebus_handler_calls_total", Kind::Counter, "Calls of handlers, by how they ended.");
    for handler in &handlers {
        let outcomes = [("handled", handler.handled), ("failed", handler.failed), ("timed_out", handler.timed_out)];
        for (outcome, calls) in outcomes {
            metrics.sample(&handler.labels(Some(("outcome", outcome))), calls);
        }
    }
    metrics.family("nervebus_handler_retries_total", Kind::Counter, "Calls that were not the first with their event.");
    for (handler, retries) in handlers.iter().filter_map(|handler| Some((handler, handler.retries?))) {
        metrics.sample(&handler.labels(None), retries);
    }
    let help = "How long the calls have taken that were timed; see the builder's timing.";
    metrics.family("nervebus_handler_duration_seconds", Kind::Histogram, help);
    for handler in handlers.iter().filter(|handler| handler.durations.count() > 0) {
        metrics.sample(&handler.labels(None), handler.durations.clone());
    }
}

fn dead_letters(metrics: &mut Collected, letters: &DeadLetterStats, most: usize) {
    metrics.single("nervebus_dead_letters_capacity", Kind::Gauge, "Dead letters that can be kept.", letters.capacity);
    metrics.family("nervebus_dead_letters", Kind::Gauge, "Dead letters that are kept, by reason.");
    for (reason, count) in &letters.by_reason {
        metrics.sample(&[("reason", reason)], *count);
    }
    metrics.family("nervebus_dead_letters_by_topic", Kind::Gauge, "Dead letters that are kept, by topic.");
    for (topic, count) in with_most(&letters.by_topic, most) {
        metrics.sample(&[("topic", topic)], count);
    }
    metrics.counters([
        ("nervebus_dead_letters_buried_total", "Dead letters there ever were.", letters.total),
        ("nervebus_dead_letters_overwritten_total", "Dead letters that made way for newer ones.", letters.overwritten),
        ("nervebus_dead_letters_removed_total", "Dead letters that were taken out by hand.", letters.removed),
        ("nervebus_dead_letters_retried_total", "Dead letters that were handed back and handled.", letters.retried),
    ]);
    if let Some(log) = &letters.log {
        dead_letter_log(metrics, log);
    }
}

/// The topics with the most letters; the sum of all others last.
fn with_most(by_topic: &BTreeMap<String, usize>, most: usize) -> Vec<(&str, usize)> {
    let mut topics: Vec<(&str, usize)> = by_topic.iter().map(|(topic, count)| (topic.as_str(), *count)).collect();
    if topics.len() > most {
        topics.sort_by_key(|(topic, count)| (std::cmp::Reverse(*count), *topic));
        let rest = topics.split_off(most - 1).into_iter().map(|(_, count)| count).sum();
        topics.push((OTHER, rest));
    }
    topics
}

/// All subscriptions of one handler to one pattern on one lane.
struct Handler<'a> {
    name: &'a str,
    pattern: &'a str,
    lane: &'a str,
    handled: u64,
    failed: u64,
    timed_out: u64,
    retries: Option<u64>,
    durations: Durations,
}

impl<'a> Handler<'a> {
    /// In the order in which they were subscribed; from `most` on, they are one.
    fn all(subscriptions: &'a [SubscriptionStats], most: usize) -> Vec<Self> {
        let mut places: BTreeMap<[&str; 3], usize> = BTreeMap::new();
        let distinct = |of: &'a SubscriptionStats| [of.name.as_str(), of.pattern.as_str(), of.lane.as_str()];
        let total = subscriptions.iter().map(distinct).collect::<BTreeSet<_>>().len();
        let own = if total > most { most - 1 } else { most };
        let mut handlers: Vec<Self> = Vec::new();
        for subscription in subscriptions {
            let [name, pattern, lane] = distinct(subscription);
            let key = if places.len() < own || places.contains_key(&[name, pattern, lane]) {
                [name, pattern, lane]
            } else {
                [OTHER; 3]
            };
            let place = *places.entry(key).or_insert(handlers.len());
            if place == handlers.len() {
                let [name, pattern, lane] = key;
                let durations = Durations::default();
                handlers.push(Self {
                    name,
                    pattern,
                    lane,
                    handled: 0,
                    failed: 0,
                    timed_out: 0,
                    retries: None,
                    durations,
                });
            }
            if let Some(handler) = handlers.get_mut(place) {
                handler.add(subscription);
            }
        }
        handlers
    }

    fn add(&mut self, of: &SubscriptionStats) {
        self.handled += of.handled;
        self.failed += of.failed;
        self.timed_out += of.timed_out;
        if let Some(retry) = of.retry {
            *self.retries.get_or_insert(0) += retry.retries;
        }
        self.durations += &of.durations;
    }

    fn labels<'b>(&'b self, further: Option<Label<'b>>) -> Vec<Label<'b>> {
        let own = [("handler", self.name), ("pattern", self.pattern), ("lane", self.lane)];
        own.into_iter().chain(further).collect()
    }
}

fn bus(metrics: &mut Collected, stats: &Stats) {
    metrics.family("nervebus_build_info", Kind::Gauge, "The version of nervebus; always 1.");
    metrics.sample(&[("version", env!("CARGO_PKG_VERSION"))], true);
    metrics.single("nervebus_uptime_seconds", Kind::Gauge, "Since the bus was built.", stats.uptime.as_secs_f64());
    metrics.single("nervebus_subscriptions", Kind::Gauge, "Subscriptions.", stats.active_subscriptions);
    metrics.single(
        "nervebus_topics",
        Kind::Gauge,
        "Topics that were subscribed to by name or emitted on.",
        stats.topics,
    );
    metrics.single("nervebus_events_emitted_total", Kind::Counter, "Calls of emit in all its forms.", stats.emitted);
    metrics.family("nervebus_emits_ended_total", Kind::Counter, "Emits by how they ended.");
    let ledger = &stats.ledger;
    let outcomes = [
        ("routed", ledger.routed),
        ("unrouted", ledger.unrouted),
        ("refused", ledger.refused),
        ("duplicate", ledger.duplicates),
    ];
    for (outcome, count) in outcomes {
        metrics.sample(&[("outcome", outcome)], count);
    }
    metrics.single("nervebus_events_pending", Kind::Gauge, "Events in lanes or in workers' hands.", stats.pending);
    metrics.single(
        "nervebus_records_emitted_total",
        Kind::Counter,
        "Events that the bus emitted itself.",
        ledger.system,
    );
    metrics.single(
        "nervebus_records_lost_total",
        Kind::Counter,
        "Events of the bus's own that found no room.",
        ledger.system_lost,
    );
    metrics.single("nervebus_ledger_balanced", Kind::Gauge, "Whether the books add up: 1 or 0.", ledger.balanced());
    metrics.family("nervebus_redacted_values_total", Kind::Counter, "Values that were redacted, by class.");
    for (class, count) in &stats.redacted {
        metrics.sample(&[("class", class)], *count);
    }
}

/// A metric: its name, its help, and where its value is.
type Of<T> = (&'static str, &'static str, fn(&T) -> u64);

fn lanes(metrics: &mut Collected, stats: &Stats) {
    let gauges: [Of<LaneStats>; 6] = [
        ("nervebus_lane_capacity_events", "Events that a lane can hold.", |lane| lane.capacity as u64),
        ("nervebus_lane_waiting_events", "Events that wait in a lane.", |lane| lane.len as u64),
        ("nervebus_lane_free_slots", "Events that would fit into a lane.", |lane| lane.free_slots as u64),
        ("nervebus_lane_retrying_deliveries", "Deliveries that wait to be tried again.", |lane| lane.retrying),
        ("nervebus_lane_stuck_calls", "Calls that did not end in time and have not ended since.", |lane| {
            lane.stuck as u64
        }),
        ("nervebus_lane_healthy", "Whether somebody serves the lane: 1 or 0.", |lane| lane.healthy.into()),
    ];
    for (name, help, value) in gauges {
        metrics.family(name, Kind::Gauge, help);
        for lane in &stats.lanes {
            metrics.sample(&[("lane", &lane.name)], value(lane));
        }
    }
    let name = "nervebus_lane_shed_events_total";
    metrics.family(name, Kind::Counter, "Events that a lane has shed, by class.");
    for (lane, shed) in stats.lanes.iter().filter_map(|lane| Some((&lane.name, lane.shed.as_ref()?))) {
        for (class, count) in [("low", shed.low), ("normal", shed.normal), ("high", shed.high)] {
            metrics.sample(&[("lane", lane), ("class", class)], count);
        }
    }
    deliveries(metrics, &stats.ledger.lanes);
}

fn deliveries(metrics: &mut Collected, accounts: &[LaneAccount]) {
    let name = "nervebus_lane_deliveries_taken_on_total";
    metrics.family(name, Kind::Counter, "Deliveries that a lane has taken on: events times handlers.");
    for lane in accounts {
        metrics.sample(&[("lane", &lane.name)], lane.deliveries.routed);
    }
    let name = "nervebus_lane_deliveries_ended_total";
    metrics.family(name, Kind::Counter, "What became of a lane's deliveries.");
    for lane in accounts {
        let of = &lane.deliveries;
        let outcomes = [
            ("handled", of.handled),
            ("failed", of.failed),
            ("timed_out", of.timed_out),
            ("dropped", of.dropped),
            ("expired", of.expired),
            ("cancelled", of.cancelled),
        ];
        for (outcome, count) in outcomes {
            metrics.sample(&[("lane", &lane.name), ("outcome", outcome)], count);
        }
    }
    let name = "nervebus_lane_deliveries_pending";
    metrics.family(name, Kind::Gauge, "Deliveries that have no outcome yet.");
    for lane in accounts {
        metrics.sample(&[("lane", &lane.name)], lane.deliveries.pending);
    }
    let name = "nervebus_lane_dropped_events_total";
    metrics.family(name, Kind::Counter, "Events that a lane has dropped.");
    for lane in accounts {
        metrics.sample(&[("lane", &lane.name)], lane.dropped_events);
    }
}

fn breakers(metrics: &mut Collected, breakers: &[BreakerStats]) {
    if breakers.is_empty() {
        return;
    }
    metrics.family("nervebus_breaker_state", Kind::Gauge, "1 for the state that a breaker is in.");
    for breaker in distinct(breakers) {
        for state in ["closed", "half-open", "open"] {
            let is_it = breaker.state == state;
            metrics.sample(&[("breaker", &breaker.name), ("state", state)], is_it);
        }
    }
    metrics.family("nervebus_breaker_opened_total", Kind::Counter, "How often a breaker has opened.");
    for breaker in distinct(breakers) {
        metrics.sample(&[("breaker", &breaker.name)], breaker.opened);
    }
    metrics.family("nervebus_breaker_refused_calls_total", Kind::Counter, "Calls that a breaker has refused.");
    for breaker in distinct(breakers) {
        metrics.sample(&[("breaker", &breaker.name)], breaker.refused);
    }
}

/// Each name once: two breakers may have the same, and samples may not.
fn distinct(breakers: &[BreakerStats]) -> impl Iterator<Item = &BreakerStats> {
    let mut seen = BTreeSet::new();
    breakers.iter().filter(move |breaker| seen.insert(&breaker.name))
}

fn guards(metrics: &mut Collected, guards: &GuardStats) {
    metrics.family("nervebus_rate_limited_emits_total", Kind::Counter, "Emits that a rate limit refused.");
    metrics.sample(&[("limit", "topic")], guards.limited_by_topic);
    metrics.sample(&[("limit", "source")], guards.limited_by_source);
    metrics.single("nervebus_storms_total", Kind::Counter, "Storms that have begun.", guards.storms);
    let help = "Emits that were refused because of a storm.";
    metrics.single("nervebus_storm_refused_emits_total", Kind::Counter, help, guards.refused_in_storms);
    if let Some(dedup) = &guards.dedup {
        metrics.single("nervebus_dedup_keys", Kind::Gauge, "Keys that the window for duplicates holds.", dedup.len);
        metrics.single("nervebus_dedup_capacity_keys", Kind::Gauge, "Keys that it can hold.", dedup.capacity);
        let help = "Keys that were forgotten before their time.";
        metrics.single("nervebus_dedup_evicted_early_total", Kind::Counter, help, dedup.evicted_early);
    }
}

fn audit(metrics: &mut Collected, audit: &AuditStats) {
    metrics.single("nervebus_audit_waiting_events", Kind::Gauge, "Events that wait to be written.", audit.lag);
    metrics.single("nervebus_audit_file_bytes", Kind::Gauge, "Bytes in the file that is written to.", audit.file_bytes);
    let help = "Whether the last attempt to write, sync or rotate failed: 1 or 0.";
    metrics.single("nervebus_audit_failing", Kind::Gauge, help, audit.failing);
    metrics.counters([
        ("nervebus_audit_lines_total", "Events that were written to the audit log.", audit.lines),
        ("nervebus_audit_bytes_total", "Bytes that were written to the audit log.", audit.bytes),
        ("nervebus_audit_rotations_total", "Files of the audit log that were put aside.", audit.rotations),
        ("nervebus_audit_dropped_events_total", "Events that were lost to the audit log.", audit.dropped),
        ("nervebus_audit_unsynced_lines_total", "Lines in files that failed to sync.", audit.unsynced),
        ("nervebus_audit_errors_total", "Writes, syncs and rotations that failed.", audit.errors),
    ]);
}

fn dead_letter_log(metrics: &mut Collected, log: &DeadLetterLogStats) {
    metrics.single(
        "nervebus_dead_letter_log_errors_total",
        Kind::Counter,
        "Writes of dead letters that failed.",
        log.errors,
    );
    metrics.single(
        "nervebus_dead_letter_log_lost_lines_total",
        Kind::Counter,
        "Lines that were not written.",
        log.lost,
    );
}

#[cfg(feature = "durable")]
fn durable(metrics: &mut Collected, log: &crate::records::durable::DurableStats) {
    metrics.single("nervebus_durable_waiting_events", Kind::Gauge, "Events that wait for the durable log.", log.lag);
    metrics.single("nervebus_durable_held_bytes", Kind::Gauge, "Bytes of all lines that are kept.", log.held_bytes);
    metrics.counters([
        ("nervebus_durable_lines_total", "Events that were written to the durable log.", log.lines),
        ("nervebus_durable_bytes_total", "Bytes that were written to the durable log.", log.bytes),
        ("nervebus_durable_syncs_total", "Syncs that succeeded.", log.syncs),
        ("nervebus_durable_dropped_events_total", "Events that are not in the log for certain.", log.dropped),
        ("nervebus_durable_write_errors_total", "Writes that failed.", log.write_errors),
        ("nervebus_durable_sync_errors_total", "Syncs that failed.", log.sync_errors),
        ("nervebus_durable_retired_lines_total", "Lines that were let go by size and age.", log.retired),
    ]);
    let name = "nervebus_durable_subscription_lag_events";
    metrics.family(name, Kind::Gauge, "Positions between a durable subscription and the end of the log.");
    for subscription in &log.subscriptions {
        metrics.sample(&[("subscription", &subscription.name)], subscription.lag);
    }
}
