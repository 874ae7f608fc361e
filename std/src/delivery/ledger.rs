//! The ledger: every event and every delivery, and what became of it.

use std::fmt;
use std::sync::Arc;

use nervebus_core::SubscriptionId;
use serde::Serialize;

use crate::delivery::count;
use crate::delivery::engine::{Engine, Exit, InlineAccount};
use crate::delivery::lane::Queue;
use crate::delivery::subscription::{Ends, Subscription};

/// The deliveries of one lane: events times handlers.
///
/// `routed = handled + failed + timed_out + dropped + expired + cancelled + pending`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// Taken on.
    pub routed: u64,
    /// The handler succeeded.
    pub handled: u64,
    /// The handler returned an error or panicked, or its breaker refused the call, and it is not tried again; or an earlier
    /// event of its key was not handled, and it is parked behind that. Each is a dead letter.
    pub failed: u64,
    /// The handler did not return in time; each is a dead letter. What it returned later is not counted here again.
    pub timed_out: u64,
    /// Given up by the lane's overflow policy, by a refusal after others had taken the event, or by a shutdown.
    pub dropped: u64,
    /// Past its time to live or deadline when its turn came; one dead letter for all handlers of a lane.
    pub expired: u64,
    /// The handler was unsubscribed between the emit and its turn.
    pub cancelled: u64,
    /// Waiting in the ring, for a retry or in the worker's hands: what is left of `routed`. Negative only if the books are wrong.
    pub pending: i64,
}

impl Account {
    fn settle(mut self) -> Self {
        let ended = self.handled + self.failed + self.timed_out + self.dropped + self.expired + self.cancelled;
        self.pending = self.routed.cast_signed().wrapping_sub(ended.cast_signed());
        self
    }
}

/// The account of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneAccount {
    /// The lane's name; `inline` for handlers on emitters' threads, `audit` for the audit log, `durable` for the durable
    /// log.
    pub name: String,
    /// Its deliveries.
    pub deliveries: Account,
    /// Events waiting in its ring or in its worker's hands, counted by the ring's positions and not by `deliveries`.
    pub pending_events: u64,
    /// Events dropped.
    pub dropped_events: u64,
    /// Deliveries that wait to be tried again, or are being: retries, and dead letters that were sent back. They are
    /// among the pending deliveries, and none of them is in `pending_events`.
    pub retrying: u64,
}

impl LaneAccount {
    /// Whether nothing waits and nothing is in hand.
    fn is_quiet(&self) -> bool {
        self.pending_events == 0 && self.retrying == 0
    }
}

/// The account of one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionAccount {
    /// Which one.
    pub id: u64,
    /// The name of its handler.
    pub handler: String,
    /// Its pattern.
    pub pattern: String,
    /// Calls that succeeded.
    pub handled: u64,
    /// Calls that failed, retries among them.
    pub failed: u64,
    /// Calls that did not end in time.
    pub timed_out: u64,
    /// What became of its deliveries, which may be called several times, or not at all.
    pub deliveries: SubscriptionDeliveries,
}

/// What became of the deliveries of one subscription, as far as they are known one by one.
///
/// Who emits counts deliveries by the lane, and not by the handler; so there is no `routed` here to hold these against.
/// Deliveries that wait in a lane's ring, or were dropped from it or before it, are in the account of the lane only. But a
/// lane's handlers together have handled, failed and timed out on just as often as the lane has, as long as none of them
/// was unsubscribed: these are counted by other hands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionDeliveries {
    /// The handler succeeded.
    pub handled: u64,
    /// It failed for good, or was not called because its breaker refused or an earlier event of the key was not handled.
    pub failed: u64,
    /// It did not return in time, and was not tried again.
    pub timed_out: u64,
    /// Waiting for a retry or behind one when a shutdown's deadline passed.
    pub dropped: u64,
    /// Past its time to live or deadline when its turn came.
    pub expired: u64,
    /// Waiting to be tried again or behind one that does, or being tried again.
    pub pending: u64,
}

impl SubscriptionAccount {
    /// The subscription's identity.
    pub fn subscription(&self) -> SubscriptionId {
        SubscriptionId::new(self.id)
    }
}

/// The books of a bus; see [`Bus::ledger`](crate::Bus::ledger).
///
/// Two sets of books are kept by different hands. Emitters count what they take on, before they do it; workers count
/// what has ended, after it has. Rings count what is inside by their own positions. [`balanced`](Self::balanced) holds
/// one against the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Calls of `emit` in all its forms: `emitted = routed + unrouted + refused + duplicates + emitting`.
    pub emitted: u64,
    /// Emits that somebody was subscribed to, or that the durable log has taken.
    pub routed: u64,
    /// Emits that had nowhere to go.
    pub unrouted: u64,
    /// Emits that failed.
    pub refused: u64,
    /// Emits of events that were seen before, within the [window for duplicates](crate::Builder::dedup): delivered to
    /// nobody.
    pub duplicates: u64,
    /// Emits under way at this moment.
    pub emitting: u64,
    /// Events that the bus emitted itself, such as `system.handler_error`; not in `emitted`, but their deliveries are
    /// in the lanes' accounts.
    pub system: u64,
    /// Events of the bus's own that found no room.
    pub system_lost: u64,
    /// The lanes: `inline` first, `audit` and `durable` last if there are such logs.
    pub lanes: Vec<LaneAccount>,
    /// Today's subscriptions. Calls of handlers that were unsubscribed are in their lane's account only.
    pub subscriptions: Vec<SubscriptionAccount>,
    /// Whether the books stood still while they were read: only then do they show one moment.
    #[serde(skip)]
    settled: bool,
    /// Events of the bus's own that are being emitted: their inline deliveries may have no outcome yet.
    #[serde(skip)]
    own_under_way: u64,
    /// What [`balanced`](Self::balanced) said when the books were read.
    balanced: bool,
}

/// What does not add up in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Imbalance {
    /// More emits have ended than began, or some have not ended though none is under way.
    Emits {
        /// Emits begun.
        emitted: u64,
        /// Emits ended.
        ended: u64,
    },
    /// A lane's deliveries and its ring disagree.
    Lane {
        /// Which lane.
        lane: String,
        /// Deliveries that have no outcome.
        pending: i64,
        /// Events in the ring or in the worker's hands.
        pending_events: u64,
    },
}

impl fmt::Display for Imbalance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emits { emitted, ended } => write!(f, "{emitted} events were emitted, but {ended} emits ended"),
            Self::Lane { lane, pending, pending_events } => {
                write!(f, "lane {lane:?} has {pending} deliveries without outcome and {pending_events} events pending")
            }
        }
    }
}

impl Ledger {
    /// Whether everything adds up. At a quiet moment (no emit under way, nothing pending) this is exact; while events
    /// are moving, it only fails for what can never be right.
    pub fn balanced(&self) -> bool {
        self.imbalance().is_none()
    }

    /// The first thing that does not add up.
    pub fn imbalance(&self) -> Option<Imbalance> {
        let ended = self.routed + self.unrouted + self.refused + self.duplicates;
        if self.emitted != ended + self.emitting {
            return Some(Imbalance::Emits { emitted: self.emitted, ended });
        }
        let quiet = self.settled
            && self.emitting == 0
            && self.own_under_way == 0
            && self.lanes.iter().all(LaneAccount::is_quiet);
        let wrong = |lane: &&LaneAccount| lane.deliveries.pending < 0 || (quiet && lane.deliveries.pending != 0);
        self.lanes.iter().find(wrong).map(|lane| Imbalance::Lane {
            lane: lane.name.clone(),
            pending: lane.deliveries.pending,
            pending_events: lane.pending_events,
        })
    }

    /// The sum of all handlers' deliveries; those of the audit log and the durable log are not among them.
    pub fn deliveries(&self) -> Account {
        let handlers = self.lanes.iter().filter(|lane| lane.name != AUDIT && lane.name != DURABLE);
        handlers.fold(Account::default(), |mut sum, LaneAccount { deliveries: lane, .. }| {
            sum.routed += lane.routed;
            sum.handled += lane.handled;
            sum.failed += lane.failed;
            sum.timed_out += lane.timed_out;
            sum.dropped += lane.dropped;
            sum.expired += lane.expired;
            sum.cancelled += lane.cancelled;
            sum.pending += lane.pending;
            sum
        })
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { emitted, routed, unrouted, refused, duplicates, emitting, system, system_lost, .. } = self;
        write!(f, "emitted {emitted} = routed {routed} + unrouted {unrouted} + refused {refused}")?;
        if *duplicates > 0 {
            write!(f, " + duplicates {duplicates}")?;
        }
        writeln!(f, " + under way {emitting}; {system} of the bus's own")?;
        if *system_lost > 0 {
            writeln!(f, "{system_lost} of the bus's own were lost")?;
        }
        for LaneAccount { name, deliveries: of, .. } in &self.lanes {
            write!(f, "{name}: routed {} = handled {} + failed {}", of.routed, of.handled, of.failed)?;
            write!(f, " + dropped {} + cancelled {}", of.dropped, of.cancelled)?;
            if of.timed_out + of.expired > 0 {
                write!(f, " + timed out {} + expired {}", of.timed_out, of.expired)?;
            }
            writeln!(f, " + pending {}", of.pending)?;
        }
        match self.imbalance() {
            None => write!(f, "balanced"),
            Some(imbalance) => write!(f, "NOT BALANCED: {imbalance}"),
        }
    }
}

/// The name of the audit log's lane.
pub(crate) const AUDIT: &str = "audit";

/// The name of the durable log's lane.
pub(crate) const DURABLE: &str = "durable";

impl Engine {
    /// Reads the books. Ends are read before beginnings, so that no reading shows more ends than beginnings; and until
    /// two readings agree, so that a quiet bus is seen as quiet.
    pub(crate) fn ledger(&self) -> Ledger {
        const READINGS: usize = 4;
        let mut last = self.read_books();
        for _ in 0..READINGS {
            let mut again = self.read_books();
            again.settled = again == last;
            let settled = again.settled;
            last = again;
            if settled {
                break;
            }
        }
        last.balanced = last.balanced();
        last
    }

    /// Calls of `emit` in all its forms so far.
    pub(crate) fn emitted(&self) -> u64 {
        // The bus's own and what was taken back first: each of them is among the comers that are read after it.
        let others = self.gate.left(Exit::System as usize) + self.gate.left(Exit::Retracted as usize);
        (self.gate.entered() + self.gate.turned_away()).saturating_sub(others)
    }

    fn read_books(&self) -> Ledger {
        let subscriptions = self.directory.subscriptions();
        let lanes = std::iter::once(self.inline_account())
            .chain(self.queues.by_lane().chain(self.taps().map(std::slice::from_ref)).map(lane_account))
            .collect();
        let [routed, unrouted, duplicates, left] =
            [Exit::Routed, Exit::Unrouted, Exit::Duplicate, Exit::Refused].map(|exit| self.gate.left(exit as usize));
        let turned_away = self.gate.turned_away();
        let emitted = self.emitted();
        let refused = left + turned_away;
        // What has ended first.
        let (system, system_lost) = (count::read(&self.system), count::read(&self.system_lost));
        let own_under_way = count::read(&self.system_begun).saturating_sub(system + system_lost);
        Ledger {
            emitted,
            routed,
            unrouted,
            refused,
            duplicates,
            emitting: emitted.saturating_sub(routed + unrouted + refused + duplicates),
            system,
            system_lost,
            lanes,
            settled: false,
            own_under_way,
            balanced: false,
            subscriptions: subscriptions.iter().map(|subscription| subscription_account(subscription)).collect(),
        }
    }

    fn inline_account(&self) -> LaneAccount {
        let of = &self.inline;
        // What has ended first: no reading shows more ends than beginnings.
        let ended = [InlineAccount::HANDLED, InlineAccount::FAILED, InlineAccount::CANCELLED, InlineAccount::EXPIRED];
        let [handled, failed, cancelled, expired] = ended.map(|which| of.sum(which));
        let routed = of.sum(InlineAccount::ROUTED);
        let deliveries = Account { handled, failed, cancelled, expired, routed, ..Account::default() }.settle();
        // Inline deliveries are pending exactly while their emit is under way.
        let retrying = self.inline_again.now();
        LaneAccount { name: "inline".into(), deliveries, pending_events: 0, dropped_events: 0, retrying }
    }
}

fn subscription_account(subscription: &Subscription) -> SubscriptionAccount {
    let Ends { handled, failed, timed_out, dropped, expired, pending } = subscription.ends();
    SubscriptionAccount {
        id: subscription.id.get(),
        handler: subscription.name.to_string(),
        pattern: subscription.pattern.to_string(),
        handled: subscription.calls.handled(),
        failed: subscription.calls.failed(),
        timed_out: subscription.calls.timed_out(),
        deliveries: SubscriptionDeliveries { handled, failed, timed_out, dropped, expired, pending },
    }
}

/// The account of a lane: the sum over its rings.
fn lane_account(queues: &[Arc<Queue>]) -> LaneAccount {
    let sum = |of: fn(&Queue) -> u64| -> u64 { queues.iter().map(|queue| of(queue)).sum() };
    let [handled, failed, dropped, cancelled] = [
        sum(|queue| count::read(&queue.outcomes.handled)),
        sum(|queue| count::read(&queue.outcomes.failed)),
        sum(|queue| count::read(&queue.outcomes.dropped)),
        sum(|queue| count::read(&queue.outcomes.cancelled)),
    ];
    let timed_out = sum(|queue| count::read(&queue.outcomes.timed_out));
    let expired = sum(|queue| count::read(&queue.outcomes.expired));
    let dropped_events = sum(|queue| count::read(&queue.dropped_events));
    let pending_events = sum(Queue::pending_events);
    // What was taken back is read last but one: it must not be newer than what it is taken from.
    let retracted = sum(|queue| count::read(&queue.retracted));
    let routed = sum(|queue| queue.routed.sum(0)).saturating_sub(retracted);
    let deliveries = Account { routed, handled, failed, timed_out, dropped, expired, cancelled, pending: 0 }.settle();
    let name = queues.first().map_or_else(String::new, |queue| queue.name.to_string());
    let retrying = sum(|queue| queue.again.underway.now());
    LaneAccount { name, deliveries, pending_events, dropped_events, retrying }
}
