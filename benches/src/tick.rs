//! A small struct emitted to one inline handler, which reads a field of it, beside a bare map behind a lock.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nervebus::{Bus, Event, Publisher};
use serde::Serialize;

use crate::inline::{InlineBus, Order, Sum, topics};
use crate::peers::hand_written::HandWritten;
use crate::rounds::Member;

/// What an event carries: 16 bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tick {
    instrument: u32,
    cents: u64,
}

impl Order for Tick {
    #[inline]
    fn of(cents: u64) -> Self {
        Self { instrument: 7, cents }
    }

    #[inline]
    fn cents(&self) -> u64 {
        self.cents
    }
}

fn open_bus(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Bus {
    let bus = Bus::builder().build().expect("the settings are valid");
    for name in topics {
        for _ in 0..handlers {
            let sum = Arc::clone(sum);
            let add = move |event: &Event<'_>| sum.add(event.payload_as::<Tick>().map_or(0, Order::cents));
            bus.on(name).inline().handle(add).expect("the table has room");
        }
    }
    bus
}

/// `publisher.emit(tick)`, with a publisher for each topic.
#[derive(Debug)]
pub struct Ticks(Vec<Publisher>);

impl InlineBus for Ticks {
    const NAME: &'static str = "nervebus/publisher";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let bus = open_bus(topics, handlers, sum);
        Self(topics.iter().map(|name| bus.publisher(name).expect("the name is valid")).collect())
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.0[topic].emit(Tick::of(value)).expect("the bus is open");
    }
}

/// `bus.emit(name, tick)`.
#[derive(Debug)]
pub struct TicksByName {
    bus: Bus,
    names: Vec<String>,
}

impl InlineBus for TicksByName {
    const NAME: &'static str = "nervebus/emit";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self { bus: open_bus(topics, handlers, sum), names: topics.to_vec() }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.bus.emit(&self.names[topic], Tick::of(value)).expect("the bus is open");
    }
}

/// The bare map: `HandWritten<Tick>` looks a `&str` up under the lock and calls what it finds.
impl InlineBus for HandWritten<Tick> {
    const NAME: &'static str = "rwlock_hashmap/emit";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self::new(topics, handlers, sum)
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.emit_by_name(topic, &Tick::of(value));
    }
}

/// `B` with one handler on each of `TOPICS` topics, emitted to one after the other, as a member that is measured in rounds.
///
/// # Panics
/// When there are more than 100 topics.
#[must_use]
pub fn in_rounds<B: InlineBus, const TOPICS: usize>() -> Member {
    Member { name: B::NAME, run: |events| Ok(run::<B>(TOPICS, events)) }
}

fn run<B: InlineBus>(count: usize, events: u64) -> Duration {
    let (sum, topics) = (Arc::new(Sum::default()), topics());
    let mut bus = B::open(&topics[..count], 1, &sum);
    let warm_up = events / 16;
    emit_all(&mut bus, count, warm_up);
    let start = Instant::now();
    emit_all(&mut bus, count, events);
    let elapsed = start.elapsed();
    assert_eq!(sum.get(), (warm_up + events) * 3, "{} lost events", B::NAME);
    elapsed
}

#[inline]
fn emit_all<B: InlineBus>(bus: &mut B, topics: usize, events: u64) {
    let mut topic = 0;
    for _ in 0..events {
        bus.emit(topic, black_box(3));
        topic += 1;
        if topic == topics {
            topic = 0;
        }
    }
}
