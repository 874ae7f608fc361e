//! What the threads of a bus share.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use nervebus_core::gate::Gate;
use nervebus_core::{LaneId, Reason, SubscriptionId};

use crate::admission::name::NameRule;
use crate::delivery::count::Striped;
use crate::delivery::dead_letters::{DeadLetterStore, Obituary};

use crate::delivery::directory::Directory;
use crate::delivery::failure::{HandlerError, text_of};
use crate::delivery::lane::Queue;
use crate::delivery::subscription::Subscription;
use crate::delivery::timer::Timer;
use crate::event::OwnedEvent;
use crate::platform::clock::Clock;
use crate::platform::place::{Place, STRIPES};
use crate::platform::runtime::Runtime;
use crate::platform::signal::Signal;

/// The topic of the record of a failed handler.
pub(crate) const HANDLER_ERROR: &str = "system.handler_error";

/// The topic of the record of an audit log that cannot be written.
pub(crate) const AUDIT_ERROR: &str = "system.audit_error";

/// How an emit ends; the exits of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Exit {
    Routed,
    Unrouted,
    /// The bus's own: counted apart.
    System,
    /// Also that of an emit that a panic of the bus's own cut short.
    Refused,
}

impl Exit {
    pub(crate) const COUNT: usize = Self::Refused as usize + 1;
}

/// The account of handlers on emitters' threads.
#[derive(Debug, Default)]
pub(crate) struct InlineAccount(Striped<4>);

impl InlineAccount {
    pub(crate) const ROUTED: usize = 0;
    pub(crate) const HANDLED: usize = 1;
    pub(crate) const FAILED: usize = 2;
    pub(crate) const CANCELLED: usize = 3;

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
    /// Whether emits need nothing but handlers: no audit log.
    pub(crate) is_bare: bool,
    pub(crate) directory: Directory,
    /// The lanes with a ring, by number; the first is the default one. `LaneId::INLINE` has none.
    pub(crate) queues: Box<[Arc<Queue>]>,
    /// A queue that gets every event whatever its topic: the audit log's.
    pub(crate) tap: Option<Arc<Queue>>,
    pub(crate) inline: InlineAccount,
    pub(crate) dead_letters: DeadLetterStore,
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
    /// What every wait is measured by.
    pub(crate) clock: Clock,
    /// Jobs that wait for their moment; its thread runs them.
    pub(crate) timer: Arc<Timer<Self>>,
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
    /// The queue of a lane; `None` for the inline lane.
    #[inline]
    pub(crate) fn queue(&self, lane: LaneId) -> Option<&Arc<Queue>> {
        self.queues.get(usize::from(lane.get()).checked_sub(1)?)
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
        ended.is_some()
    }

    /// Makes dead letters and records of an event's failures.
    #[cold]
    pub(crate) fn bury(
        &self,
        event: OwnedEvent,
        own: bool,
        lane: &str,
        failures: &[(Arc<Subscription>, Arc<HandlerError>)],
    ) {
        for (subscription, error) in failures {
            let text = text_of(error);
            // A record that cannot be handled makes no further record, or one bad handler of records would go on for ever.
            if !own {
                let record = failure_record(&event, lane, subscription, error.kind(), &text);
                self.emit_system(HANDLER_ERROR, record, Some(&event));
            }
            let obituary = Obituary {
                reason: Reason::HandlerError,
                subscription: Some(subscription.id),
                handler: Arc::clone(&subscription.name),
                pattern: Some(Arc::from(&*subscription.pattern)),
                error: text,
                attempts: 1,
            };
            self.dead_letters.push(event.clone(), obituary);
        }
    }
}

/// The payload of a `system.handler_error`.
fn failure_record(
    event: &OwnedEvent,
    lane: &str,
    subscription: &Subscription,
    kind: &str,
    error: &str,
) -> serde_json::Value {
    let event = event.as_event();
    let mut id = String::new();
    let _ = write!(id, "{}", event.id());
    serde_json::json!({
        "event_type": event.topic(),
        "event_id": id,
        "seq": event.seq(),
        "handler": &*subscription.name,
        "subscription": subscription.id.get(),
        "lane": lane,
        "error_type": kind,
        "error": error,
    })
}
