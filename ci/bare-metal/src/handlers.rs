//! The bus, and what its handlers do.

use nervebus_core::Handler;
use nervebus_core::bus::{Event, StaticBus, TopicId};

use crate::contexts::{Count, Place, at};

pub const TOPICS: [&str; 4] = ["sensor.read", "sensor.lost", "alarm.raised", "audit.noted"];
pub const READ: TopicId = TopicId::of(&TOPICS, "sensor.read").unwrap();
pub const LOST: TopicId = TopicId::of(&TOPICS, "sensor.lost").unwrap();
pub const RAISED: TopicId = TopicId::of(&TOPICS, "alarm.raised").unwrap();
pub const NOTED: TopicId = TopicId::of(&TOPICS, "audit.noted").unwrap();

/// Events in the queue of the bus.
pub const QUEUE: usize = 8;

pub static BUS: StaticBus<u32, Duty, 4, 6, QUEUE, 32> = StaticBus::new(TOPICS);

/// One type for all handlers: there is no allocator to box them with.
#[derive(Clone, Copy, Debug)]
pub enum Duty {
    /// Subscribes to both sensor topics.
    Count,
    /// Subscribes to alarms; fails every eighth.
    Refuse,
    /// Subscribes to alarms; emits a note for every fourth.
    Relay,
    /// Subscribes to everything, but comes and goes with the main loop.
    Visit,
    /// Subscribes to notes, but comes and goes with the interrupt.
    Note,
}

static CALLS: [Count; 5] = [const { Count::new() }; 5];
/// Notes that were queued, and those that were not.
pub static RELAYED: Count = Count::new();
pub static RELAY_REFUSED: Count = Count::new();
pub static FAILURES: Count = Count::new();

impl Duty {
    /// How often handlers of this kind were called.
    pub fn calls(self) -> u32 {
        CALLS[self as usize].get()
    }

    /// How often any handler was called.
    pub fn all_calls() -> u32 {
        CALLS.iter().map(Count::get).sum()
    }

    fn perform(self, event: &Event<u32>) -> Result<(), ()> {
        CALLS[self as usize].add(1);
        match self {
            Self::Refuse if event.payload.is_multiple_of(8) => {
                FAILURES.add(1);
                return Err(());
            }
            Self::Relay if event.payload.is_multiple_of(4) => match BUS.emit(NOTED, event.payload) {
                Ok(()) => RELAYED.add(1),
                Err(_refused) => RELAY_REFUSED.add(1),
            },
            _ => {}
        }
        Ok(())
    }
}

impl Handler<Event<u32>> for Duty {
    type Error = ();

    fn handle(&self, event: &Event<u32>) -> Result<(), ()> {
        at(Place::Handler, || self.perform(event))
    }
}
