//! A snapshot of a bus at work.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::delivery::class::Class;
use crate::delivery::count;
use crate::delivery::dead_letters::DeadLetters;
use crate::delivery::dead_letters::log::DeadLetterLogStats;
use crate::delivery::engine::Engine;
use crate::delivery::lane::Queue;
use crate::delivery::ledger::Ledger;
use crate::delivery::subscription::Subscription;
use crate::records::audit::{AuditAccount, AuditStats};

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
    /// The dead letters.
    pub dead_letters: DeadLetterStats,
    /// The audit log, if there is one.
    pub audit: Option<AuditStats>,
    /// What the guards against emitters did.
    pub guards: GuardStats,
    /// The books, read at the same time; serialized with `balanced`.
    pub ledger: Ledger,
    /// Since the bus was built.
    pub uptime: Duration,
}

/// What the guards against emitters did, in [`Stats`]. Emits that they refused are among the ledger's `refused`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GuardStats {
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
    /// The median of the calls that were timed, at most 1/8 too high; `None` if none was.
    pub p50: Option<Duration>,
    /// The duration that 99 of 100 timed calls did not exceed.
    pub p99: Option<Duration>,
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
        lanes: engine.queues.iter().map(|queue| lane(queue)).collect(),
        subscriptions: subscriptions.iter().map(|subscription| row(engine, subscription)).collect(),
        dead_letters: dead_letters(DeadLetters { store: &engine.dead_letters, directory: &engine.directory }),
        audit: audit.zip(engine.tap.as_ref()).map(|((path, account), queue)| account.stats(path, queue)),
        guards: guards(engine),
        ledger: engine.ledger(),
        uptime: engine.clock.since(engine.started),
    }
}

fn lane(queue: &Queue) -> LaneStats {
    LaneStats {
        name: queue.name.to_string(),
        capacity: queue.ring.capacity(),
        len: queue.ring.len(),
        free_slots: queue.ring.free_slots(),
        handled: count::read(&queue.outcomes.handled),
        failed: count::read(&queue.outcomes.failed),
        dropped: count::read(&queue.dropped_events),
        shed: queue.shedder.as_ref().map(|shedder| ShedStats {
            shedding: shedder.is_shedding(),
            low: shedder.shed(Class::Low),
            normal: shedder.shed(Class::Normal),
            high: shedder.shed(Class::High),
        }),
        pinned: queue.pinning.outcome(),
    }
}

fn guards(engine: &Engine) -> GuardStats {
    let of = &engine.guards;
    GuardStats {
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
        p50: percentile(0.50),
        p99: percentile(0.99),
    }
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
