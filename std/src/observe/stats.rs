//! A snapshot of a bus at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::delivery::breaker::Breaker;
use crate::delivery::class::Class;
use crate::delivery::count;
use crate::delivery::dead_letters::DeadLetters;
use crate::delivery::dead_letters::log::DeadLetterLogStats;
use crate::delivery::engine::Engine;
use crate::delivery::histogram::Durations;
use crate::delivery::lane::Queue;
use crate::delivery::ledger::Ledger;
use crate::delivery::parking::{HeldUp, Parking};
use crate::delivery::subscription::Subscription;
use crate::records::audit::account::{AuditAccount, AuditStats};
use crate::redact::screen::Screen;

/// A snapshot of a bus; see [`Bus::stats`](crate::Bus::stats). Serializes to JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Subscriptions.
    pub active_subscriptions: usize,
    /// Topics that were subscribed to by name or emitted on.
    pub topics: usize,
    /// Calls of `emit` in all its forms.
    pub emitted: u64,
    /// Events waiting in lanes or in workers' hands; the audit log's are not among them.
    pub pending: u64,
    /// The lanes that have a ring.
    pub lanes: Vec<LaneStats>,
    /// The subscriptions, in the order in which they were made.
    pub subscriptions: Vec<SubscriptionStats>,
    /// The breakers that today's subscriptions have, each once, in the order of the first of these.
    pub breakers: Vec<BreakerStats>,
    /// The dead letters.
    pub dead_letters: DeadLetterStats,
    /// The audit log, if there is one.
    pub audit: Option<AuditStats>,
    /// The durable log, if there is one.
    #[cfg(feature = "durable")]
    pub durable: Option<crate::records::durable::DurableStats>,
    /// What the guards against emitters did.
    pub guards: GuardStats,
    /// How many values of which class were [redacted](crate::Builder::redact), in logs and in texts of errors.
    pub redacted: BTreeMap<String, u64>,
    /// The books, read at the same time; serialized with `balanced`.
    pub ledger: Ledger,
    /// Since the bus was built.
    pub uptime: Duration,
}

/// What the guards against emitters did, in [`Stats`]. Emits that they refused are among the ledger's `refused`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuardStats {
    /// Emits whose events broke a rule of the bus's [`Validation`](crate::Validation).
    pub invalid: u64,
    /// Events that kept them, and had a [warning](crate::Validation::warn).
    pub warned: u64,
    /// Emits that a [topic's limit](crate::Builder::rate_limit) refused.
    pub limited_by_topic: u64,
    /// Emits that a [source's limit](crate::Builder::source_rate_limit) refused.
    pub limited_by_source: u64,
    /// Storms that have begun.
    pub storms: u64,
    /// Emits that were refused because of a storm.
    pub refused_in_storms: u64,
    /// The window for duplicates, if there is one.
    pub dedup: Option<DedupStats>,
}

/// The [window for duplicates](crate::DedupWindow) in [`GuardStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DedupStats {
    /// Keys held; some of them may be over.
    pub len: usize,
    /// Keys that can be held.
    pub capacity: usize,
    /// Events that were recognised as duplicates.
    pub duplicates: u64,
    /// Keys that were forgotten before their time, because newer ones needed the room: should be 0.
    pub evicted_early: u64,
}

/// What a lane that [sheds load](crate::Lane::shed) let go, in [`LaneStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShedStats {
    /// Whether it sheds now.
    pub shedding: bool,
    /// Events of class `low` that went.
    pub low: u64,
    /// Events of class `normal` that went.
    pub normal: u64,
    /// Events of class `high` that went.
    pub high: u64,
}

/// A lane in [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneStats {
    /// Its name.
    pub name: String,
    /// How many workers it has, each with a ring of its own.
    pub workers: usize,
    /// Events it can hold.
    pub capacity: usize,
    /// Events waiting in the ring.
    pub len: usize,
    /// Events that would fit in.
    pub free_slots: usize,
    /// Deliveries that succeeded.
    pub handled: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Events dropped.
    pub dropped: u64,
    /// Those of them that were shed, by class; `None` if the lane does not shed.
    pub shed: Option<ShedStats>,
    /// Calls that did not end in time.
    pub timed_out: u64,
    /// Deliveries whose event was past its time to live or deadline.
    pub expired: u64,
    /// Calls that ended after their time was up; what they returned was discarded.
    pub late: u64,
    /// Calls that did not end in time, and have not ended since.
    pub stuck: usize,
    /// Whether somebody serves it. `false` while more calls are [`stuck`](Self::stuck) than the builder's `max_abandoned`,
    /// or while the system would not start another worker.
    pub healthy: bool,
    /// Workers that the system would not start.
    pub not_started: u64,
    /// Deliveries that wait to be tried again, or are being.
    pub retrying: u64,
    /// Whether its workers are on the cores that were asked for; `None` if none were, or before the first worker has
    /// begun; `Some(false)` once the system has refused one of them.
    pub pinned: Option<bool>,
}

/// A subscription in [`Stats`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Its identity.
    pub id: u64,
    /// The name of its handler.
    pub name: String,
    /// Its pattern.
    pub pattern: String,
    /// The name of its lane; `inline` for the emitter's thread.
    pub lane: String,
    /// Its priority.
    pub priority: i32,
    /// Calls that succeeded.
    pub handled: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that did not end in time.
    pub timed_out: u64,
    /// What its retry policy has done, if it has one.
    pub retry: Option<RetryStats>,
    /// What it holds up, if it [keeps the order of keys](crate::Subscribe::keep_order_per_key).
    pub parking: Option<ParkingStats>,
    /// The name of its breaker, if it has one.
    pub breaker: Option<String>,
    /// The median of the calls that were timed, at most 1/8 too high; `None` if none was.
    pub p50: Option<Duration>,
    /// The duration that 99 of 100 timed calls did not exceed.
    pub p99: Option<Duration>,
    /// How long the timed calls took, in buckets.
    pub durations: Durations,
}

/// What a subscription's retry policy has done, in [`SubscriptionStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetryStats {
    /// Calls that were not the first with their event.
    pub retries: u64,
    /// Failures that were not tried again because the budget was spent.
    pub over_budget: u64,
    /// Failures that were not tried again because as many waited as may.
    pub no_room: u64,
}

/// What a subscription that keeps the order of keys holds up, in [`SubscriptionStats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParkingStats {
    /// Keys that are held up.
    pub keys: usize,
    /// Their events that wait for a retry or are being retried, or wait behind one that does.
    pub waiting: usize,
    /// Their dead letters, the first of each key included.
    pub letters: usize,
    /// Events that became dead letters behind others, in the subscription's whole life.
    pub parked: u64,
    /// Failures whose key was not held up, because [as many](crate::KeyOrder::keys) were as may be: the order of these keys
    /// was not kept.
    pub over_limit: u64,
}

impl ParkingStats {
    fn of(parking: &Parking) -> Self {
        let HeldUp { keys, under_way, letters, parked, over_limit } = parking.held_up();
        Self { keys, waiting: under_way, letters, parked, over_limit }
    }
}

/// A breaker in [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BreakerStats {
    /// Its name.
    pub name: String,
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// How often it has opened.
    pub opened: u64,
    /// Calls that it has refused.
    pub refused: u64,
}

/// The dead letters in [`Stats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeadLetterStats {
    /// Letters kept.
    pub len: usize,
    /// Letters that can be kept.
    pub capacity: usize,
    /// Letters there ever were: those kept, overwritten, removed and retried.
    pub total: u64,
    /// Letters that made way for newer ones.
    pub overwritten: u64,
    /// Letters that were taken out by hand.
    pub removed: u64,
    /// Letters that were handed back to their handler, and handled.
    pub retried: u64,
    /// Letters kept, by reason.
    pub by_reason: BTreeMap<&'static str, usize>,
    /// Letters kept, by topic.
    pub by_topic: BTreeMap<String, usize>,
    /// The file they are kept in, if there is one.
    pub log: Option<DeadLetterLogStats>,
}

/// Takes the snapshot.
pub(crate) fn stats(engine: &Engine, audit: Option<(&Path, &AuditAccount)>) -> Stats {
    let subscriptions = engine.directory.subscriptions();
    Stats {
        active_subscriptions: subscriptions.len(),
        topics: engine.directory.topics(),
        emitted: engine.emitted(),
        pending: engine.queues.iter().map(|queue| queue.pending_events()).sum(),
        lanes: engine.queues.by_lane().map(lane).collect(),
        subscriptions: subscriptions.iter().map(|subscription| row(engine, subscription)).collect(),
        breakers: breakers(&subscriptions),
        dead_letters: dead_letters(DeadLetters {
            store: &engine.dead_letters,
            directory: &engine.directory,
            sender: engine,
        }),
        audit: audit.zip(engine.tap.as_ref()).map(|((path, account), queue)| account.stats(path, queue)),
        #[cfg(feature = "durable")]
        durable: None,
        guards: guards(engine),
        redacted: redacted(engine),
        ledger: engine.ledger(),
        uptime: engine.clock.since(engine.started),
    }
}

/// The sum over a lane's rings.
fn lane(queues: &[Arc<Queue>]) -> LaneStats {
    let size = |of: fn(&Queue) -> usize| queues.iter().map(|queue| of(queue)).sum();
    let sum = |of: fn(&Queue) -> u64| queues.iter().map(|queue| of(queue)).sum();
    LaneStats {
        name: queues.first().map_or_else(String::new, |queue| queue.name.to_string()),
        workers: queues.len(),
        capacity: size(|queue| queue.ring.capacity()),
        len: size(|queue| queue.ring.len()),
        free_slots: size(|queue| queue.ring.free_slots()),
        handled: sum(|queue| count::read(&queue.outcomes.handled)),
        failed: sum(|queue| count::read(&queue.outcomes.failed)),
        dropped: sum(|queue| count::read(&queue.dropped_events)),
        shed: shed(queues),
        timed_out: sum(|queue| count::read(&queue.outcomes.timed_out)),
        expired: sum(|queue| count::read(&queue.outcomes.expired)),
        late: sum(|queue| count::read(&queue.watch.late)),
        stuck: size(|queue| queue.watch.stuck().len()),
        healthy: queues.iter().all(|queue| !queue.watch.is_unserved()),
        not_started: sum(|queue| count::read(&queue.watch.not_started)),
        retrying: sum(|queue| queue.again.underway.now()),
        pinned: queues.iter().filter_map(|queue| queue.pinning.outcome()).reduce(|all, one| all && one),
    }
}

/// What a lane's rings have shed, if they shed.
fn shed(queues: &[Arc<Queue>]) -> Option<ShedStats> {
    let shedders: Vec<_> = queues.iter().filter_map(|queue| queue.shedder.as_deref()).collect();
    let sum = |class: Class| shedders.iter().map(|shedder| shedder.shed(class)).sum();
    (!shedders.is_empty()).then(|| ShedStats {
        shedding: shedders.iter().any(|shedder| shedder.is_shedding()),
        low: sum(Class::Low),
        normal: sum(Class::Normal),
        high: sum(Class::High),
    })
}

fn redacted(engine: &Engine) -> BTreeMap<String, u64> {
    let mut counts = engine.screen.counts();
    counts += engine.audit_screen.as_ref().map(Screen::counts).unwrap_or_default();
    counts.iter().map(|(class, count)| (class.to_string(), count)).collect()
}

fn guards(engine: &Engine) -> GuardStats {
    let of = &engine.guards;
    GuardStats {
        invalid: count::read(&of.invalid),
        warned: count::read(&of.warned),
        limited_by_topic: count::read(&of.limited_by_topic),
        limited_by_source: count::read(&of.limited_by_source),
        storms: count::read(&of.storms),
        refused_in_storms: count::read(&of.stormed),
        dedup: of.window.as_ref().map(|window| DedupStats {
            len: window.len(),
            capacity: window.capacity(),
            duplicates: window.duplicates(),
            evicted_early: window.evicted_early(),
        }),
    }
}

fn row(engine: &Engine, subscription: &Subscription) -> SubscriptionStats {
    let percentile = |share| subscription.timings.get().and_then(|timings| timings.percentile(share));
    SubscriptionStats {
        id: subscription.id.get(),
        name: subscription.name.to_string(),
        pattern: subscription.pattern.to_string(),
        lane: engine.lane_name(subscription.lane).to_owned(),
        priority: subscription.priority.get(),
        handled: subscription.calls.handled(),
        failed: subscription.calls.failed(),
        timed_out: subscription.calls.timed_out(),
        retry: subscription.retrying().map(|retrying| RetryStats {
            retries: count::read(&retrying.retries),
            over_budget: count::read(&retrying.over_budget),
            no_room: count::read(&retrying.no_room),
        }),
        parking: subscription.parking().map(|parking| ParkingStats::of(parking)),
        breaker: subscription.breaker().map(|breaker| breaker.name().to_owned()),
        p50: percentile(0.50),
        p99: percentile(0.99),
        durations: subscription.timings.get().map(|timings| timings.durations()).unwrap_or_default(),
    }
}

fn breakers(subscriptions: &[Arc<Subscription>]) -> Vec<BreakerStats> {
    let mut seen: Vec<&Breaker> = Vec::new();
    for breaker in subscriptions.iter().filter_map(|subscription| subscription.breaker()) {
        if !seen.iter().any(|other| other.is(breaker)) {
            seen.push(breaker);
        }
    }
    let row = |breaker: &Breaker| BreakerStats {
        name: breaker.name().to_owned(),
        state: breaker.state().to_string(),
        opened: breaker.opened(),
        refused: breaker.refused(),
    };
    seen.into_iter().map(row).collect()
}

fn dead_letters(letters: DeadLetters<'_>) -> DeadLetterStats {
    let (len, account) = letters.store.books();
    DeadLetterStats {
        len,
        capacity: letters.capacity(),
        total: account.total,
        overwritten: account.overwritten,
        removed: account.removed,
        retried: account.retried,
        by_reason: letters.by_reason(),
        by_topic: letters.by_topic(),
        log: letters.log(),
    }
}
