//! What the threads of a bus share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use nervebus_core::LaneId;
use nervebus_core::SubscriptionId;
use nervebus_core::gate::Gate;

use crate::admission::name::NameRule;
use crate::delivery::again::Underway;
use crate::delivery::count::Striped;
use crate::delivery::dead_letters::DeadLetterStore;
use crate::delivery::directory::Directory;
use crate::delivery::guards::Guards;
use crate::delivery::lane::Queue;
use crate::delivery::lanes::Lanes;
use crate::delivery::log_tap::LogTap;
use crate::delivery::timer::Timer;
use crate::platform::clock::Clock;
use crate::platform::place::{Place, STRIPES};
use crate::platform::random::Dice;
use crate::platform::runtime::Runtime;
use crate::platform::signal::Signal;
use crate::redact::screen::Screen;
use crate::schema::Schemas;

/// The topic of the record of a failed handler.
pub(crate) const HANDLER_ERROR: &str = "system.handler_error";

/// The topic of the record of a handler that did not return in time.
pub(crate) const HANDLER_TIMEOUT: &str = "system.handler_timeout";

/// The topics of the records of a lane that has no worker any more, and of one that has a worker again.
pub(crate) const LANE_UNHEALTHY: &str = "system.lane_unhealthy";
pub(crate) const LANE_RECOVERED: &str = "system.lane_recovered";

/// The topics of the records of an audit log that cannot be written, and of one that can again.
pub(crate) const AUDIT_ERROR: &str = "system.audit_error";
pub(crate) const AUDIT_RESUMED: &str = "system.audit_resumed";

/// The topic of the record of a durable log that cannot be written or synced.
pub(crate) const LOG_ERROR: &str = "system.log_error";

/// The topic of the record of a durable log that dropped what a durable subscription had not handled yet.
pub(crate) const LOG_OVERRUN: &str = "system.log_overrun";

/// The topics of the records of a storm of events, when it begins and when it has ended.
pub(crate) const EVENT_STORM: &str = "system.event_storm";
pub(crate) const EVENT_STORM_ENDED: &str = "system.event_storm_ended";

/// The topic of the records of a lane that begins and ends to shed load.
pub(crate) const LOAD_SHEDDING: &str = "system.load_shedding";

/// The topic of the record of an event that does not fit its schema, and goes on.
pub(crate) const SCHEMA_MISMATCH: &str = "system.schema_mismatch";

/// The topic of the record of books that do not balance.
pub(crate) const LEDGER_IMBALANCE: &str = "system.ledger_imbalance";

/// The topics of the records of a breaker that has opened or closed.
pub(crate) const BREAKER_OPENED: &str = "system.breaker_opened";
pub(crate) const BREAKER_CLOSED: &str = "system.breaker_closed";

/// The topics of the bus's own records: it knows them from the start, and they do not count for the limit of topics.
pub(crate) const RECORDS: &[&str] = &[
    HANDLER_ERROR,
    HANDLER_TIMEOUT,
    LANE_UNHEALTHY,
    LANE_RECOVERED,
    AUDIT_ERROR,
    AUDIT_RESUMED,
    LOG_ERROR,
    LOG_OVERRUN,
    EVENT_STORM,
    EVENT_STORM_ENDED,
    LOAD_SHEDDING,
    SCHEMA_MISMATCH,
    LEDGER_IMBALANCE,
    BREAKER_OPENED,
    BREAKER_CLOSED,
];

/// How an emit ends; the exits of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Exit {
    Routed,
    Unrouted,
    /// The bus's own: counted apart.
    System,
    /// Seen before: delivered to nobody.
    Duplicate,
    /// Taken back before anybody saw the event, to be tried again: counted nowhere.
    Retracted,
    /// Also that of an emit that a panic of the bus's own cut short.
    Refused,
}

impl Exit {
    pub(crate) const COUNT: usize = Self::Refused as usize + 1;
}

/// The account of handlers on emitters' threads.
#[derive(Debug, Default)]
pub(crate) struct InlineAccount(Striped<5>);

impl InlineAccount {
    pub(crate) const ROUTED: usize = 0;
    pub(crate) const HANDLED: usize = 1;
    pub(crate) const FAILED: usize = 2;
    pub(crate) const CANCELLED: usize = 3;
    pub(crate) const EXPIRED: usize = 4;

    #[inline]
    pub(crate) fn add(&self, place: Place, which: usize, count: usize) {
        self.0.add(place, which, count as u64);
    }

    pub(crate) fn sum(&self, which: usize) -> u64 {
        self.0.sum(which)
    }
}

/// What the threads of a bus share.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Tells this bus from all others; the first half of every event id it makes.
    pub(crate) bus: u64,
    pub(crate) gate: Gate<{ Exit::COUNT }, STRIPES>,
    /// Whether emits with nothing to say but topic and payload need nothing but handlers: there is no audit log, no topic
    /// has a guard, and no lane sheds load.
    pub(crate) is_bare: bool,
    pub(crate) directory: Directory,
    /// The lanes with rings; the first is the default one. `LaneId::INLINE` has none.
    pub(crate) queues: Lanes,
    /// A queue that gets every event whatever its topic: the audit log's.
    pub(crate) tap: Option<Arc<Queue>>,
    /// The durable log, as emitters see it.
    pub(crate) log: Option<Arc<LogTap>>,
    pub(crate) inline: InlineAccount,
    /// Dead letters that are being sent back to handlers on their senders' threads.
    pub(crate) inline_again: Underway,
    /// What guards the bus as a whole against its emitters.
    pub(crate) guards: Guards,
    /// What payloads are held against, and brought to later versions by.
    pub(crate) schemas: Option<Arc<dyn Schemas>>,
    pub(crate) dead_letters: DeadLetterStore,
    /// What error texts pass, and what the logs write.
    pub(crate) screen: Screen,
    /// What the audit log passes, if that is another.
    pub(crate) audit_screen: Option<Screen>,
    /// Events that the bus has begun to emit itself.
    pub(crate) system_begun: AtomicU64,
    /// Events that the bus emitted itself.
    pub(crate) system: AtomicU64,
    /// Such events that found no room.
    pub(crate) system_lost: AtomicU64,
    /// What a new topic's name is held to.
    pub(crate) names: NameRule,
    /// How deep inline handlers may emit inside each other.
    pub(crate) max_depth: u32,
    /// How long a chain of events that cause each other may be.
    pub(crate) max_chain: u32,
    /// How long `emit_and_wait` waits at most.
    pub(crate) wait_limit: Duration,
    /// How long a handler's call may take if its subscription does not say, in nanoseconds.
    pub(crate) handler_timeout: Option<u64>,
    /// How many threads each lane may leave to handlers that do not return.
    pub(crate) max_abandoned: usize,
    /// What every wait is measured by.
    pub(crate) clock: Clock,
    /// Jobs that wait for their moment; its thread runs them.
    pub(crate) timer: Arc<Timer<Self>>,
    /// What spreads retries.
    pub(crate) dice: Dice,
    /// What the futures of async handlers may use.
    pub(crate) runtime: Runtime,
    /// Given when a shutdown's deadline has passed: the futures of async handlers are dropped.
    pub(crate) cancelled: Arc<Signal>,
    /// Given when a shutdown is over: no event will ever come.
    pub(crate) ended: Arc<Signal>,
    /// The clock's moment at which the bus was built.
    pub(crate) started: u64,
    /// Whether a handler has shut the bus down, and a thread was started for that.
    pub(crate) draining: AtomicBool,
}

impl Engine {
    /// The first queue of a lane; `None` for the inline lane.
    pub(crate) fn queue(&self, lane: LaneId) -> Option<&Arc<Queue>> {
        self.queues.pick(lane, 0)
    }

    /// The queues that get events beside the lanes: the audit log's, and the durable log's.
    pub(crate) fn taps(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.tap.iter().chain(self.log.as_ref().map(|log| &log.queue))
    }

    /// The name of a lane, for people.
    pub(crate) fn lane_name(&self, lane: LaneId) -> &str {
        self.queue(lane).map_or("inline", |queue| &queue.name)
    }

    /// Ends a subscription; `false` if there is none of this identity.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) -> bool {
        let ended = self.directory.unsubscribe(id);
        if ended.is_some_and(|ended| ended.followed) {
            // Every worker keeps whole routes, those of other lanes' handlers included.
            self.queues.iter().for_each(|queue| queue.forget_ended());
        }
        if ended.is_some() {
            self.forget_retries(id);
        }
        ended.is_some()
    }
}
