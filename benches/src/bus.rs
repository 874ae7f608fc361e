//! The members that are nervebus itself: what the public API says, and nothing else.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nervebus::{AuditLog, Bus, Event, Lane, Overflow, Publisher, Timing, WaitStrategy};
use serde_json::Value;

use crate::inline::{InlineBus, Order, Sum};
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally, payload};

/// The topic of the members that need only one.
const TOPIC: &str = "shop.order.placed";

/// How long a bus may take to end its work before its bench is void.
const GRACE: Duration = Duration::from_secs(20);

/// An order as nervebus carries it.
pub trait Carried: Order {
    /// Emits it by the topic's name.
    fn emit(self, bus: &Bus, topic: &str);

    /// Reads the cents of the event that carries it.
    fn cents_of(event: &Event<'_>) -> u64;
}

impl Carried for Payload {
    #[inline]
    fn emit(self, bus: &Bus, topic: &str) {
        bus.emit(topic, self).expect("the bus is open and waits while it is full");
    }

    #[inline]
    fn cents_of(event: &Event<'_>) -> u64 {
        event.payload_as::<Self>().map_or(0, Order::cents)
    }
}

impl Carried for Value {
    #[inline]
    fn emit(self, bus: &Bus, topic: &str) {
        bus.emit(topic, self).expect("the bus is open and waits while it is full");
    }

    #[inline]
    fn cents_of(event: &Event<'_>) -> u64 {
        event["cents"].as_u64().unwrap_or(0)
    }
}

/// A bus with that many inline handlers on each topic.
fn inline_bus<P: Carried>(timing: Timing, topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Bus {
    let bus = Bus::builder().timing(timing).build().expect("the settings are valid");
    for name in topics {
        for _ in 0..handlers {
            let sum = Arc::clone(sum);
            let add = move |event: &Event<'_>| sum.add(P::cents_of(event));
            bus.on(name).inline().handle(add).expect("the table has room");
        }
    }
    bus
}

/// `bus.emit(name, payload)` to inline handlers.
#[derive(Debug)]
pub struct ByName<P> {
    bus: Bus,
    names: Vec<String>,
    payload: PhantomData<fn(P)>,
}

impl<P: Carried> ByName<P> {
    fn new(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let bus = inline_bus::<P>(Timing::default(), topics, handlers, sum);
        Self { bus, names: topics.to_vec(), payload: PhantomData }
    }
}

impl InlineBus for ByName<Payload> {
    const NAME: &'static str = "nervebus/emit";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self::new(topics, handlers, sum)
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        Payload::of(value).emit(&self.bus, &self.names[topic]);
    }
}

impl InlineBus for ByName<Value> {
    const NAME: &'static str = "nervebus/emit_json";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self::new(topics, handlers, sum)
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        Value::of(value).emit(&self.bus, &self.names[topic]);
    }
}

/// `publisher.emit(payload)` to inline handlers, with a publisher for each topic.
#[derive(Debug)]
pub struct ByPublisher<const TIMED: bool> {
    publishers: Vec<Publisher>,
    _bus: Bus,
}

impl<const TIMED: bool> InlineBus for ByPublisher<TIMED> {
    const NAME: &'static str = if TIMED { "nervebus/publisher" } else { "nervebus/publisher_untimed" };

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let timing = if TIMED { Timing::default() } else { Timing::Off };
        let bus = inline_bus::<Payload>(timing, topics, handlers, sum);
        let publisher = |name: &String| bus.publisher(name).expect("the name is valid");
        Self { publishers: topics.iter().map(publisher).collect(), _bus: bus }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        self.publishers[topic].emit(Payload::of(value)).expect("the bus is open");
    }
}

/// How the workers of the lanes under test wait for their next event.
pub trait Waiting: Send {
    /// The member's name in the output.
    const NAME: &'static str;

    /// Makes a lane wait so; `None` leaves the member out.
    const LANE: Option<fn(Lane) -> Lane>;
}

/// As lanes do by themselves.
#[derive(Clone, Copy, Debug)]
pub struct ByDefault;

impl Waiting for ByDefault {
    const NAME: &'static str = "nervebus/publisher";
    const LANE: Option<fn(Lane) -> Lane> = Some(|lane| lane);
}

/// Without sleep.
#[derive(Clone, Copy, Debug)]
pub struct Spinning;

impl Waiting for Spinning {
    const NAME: &'static str = "nervebus/spinning";
    const LANE: Option<fn(Lane) -> Lane> = Some(|lane| lane.wait(WaitStrategy::Spin));
}

/// Asleep at once.
#[derive(Clone, Copy, Debug)]
pub struct Parking;

impl Waiting for Parking {
    const NAME: &'static str = "nervebus/parking";
    const LANE: Option<fn(Lane) -> Lane> = Some(|lane| lane.wait(WaitStrategy::Park));
}

/// A lane of this name that waits like `W`; as lanes do by themselves where they cannot be told.
pub(crate) fn lane_that_waits<W: Waiting>(name: &str) -> Lane {
    let lane = Lane::new(name).capacity(CAPACITY).overflow(Overflow::Block);
    W::LANE.map_or_else(|| lane.clone(), |so| so(lane.clone()))
}

/// A bus with a lane of one worker and one subscriber for each tally.
#[derive(Debug)]
struct Lanes(Arc<Bus>);

impl Lanes {
    fn open<W: Waiting>(tallies: &[Arc<Tally>]) -> Self {
        let names: Vec<_> = (0..tallies.len()).map(|index| format!("lane_{index}")).collect();
        let builder = names.iter().fold(Bus::builder(), |builder, name| builder.lane(lane_that_waits::<W>(name)));
        let bus = builder.build().expect("the settings are valid");
        for (name, tally) in names.iter().zip(tallies) {
            subscribe(&bus, name, tally);
        }
        Self(Arc::new(bus))
    }
}

/// One handler that counts, and another one for a tally that notes, so that counting costs no look at which it is.
fn subscribe(bus: &Bus, lane: &str, tally: &Arc<Tally>) {
    let (subscription, tally) = (bus.on(TOPIC).lane(lane), Arc::clone(tally));
    let subscribed = if tally.is_timed() {
        subscription.handle(move |event| event.payload_as::<Payload>().into_iter().for_each(|order| tally.time(order)))
    } else {
        subscription.handle(move |event| event.payload_as::<Payload>().into_iter().for_each(|order| tally.count(order)))
    };
    subscribed.expect("the lane exists");
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.0.shutdown(GRACE);
    }
}

/// `bus.emit(name, payload)` to lanes.
#[derive(Debug)]
pub struct QueuedByName {
    _lanes: Lanes,
}

impl Carrier for QueuedByName {
    const NAME: &'static str = "nervebus/emit";
    type Producer = Arc<Bus>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let lanes = Lanes::open::<ByDefault>(tallies);
        let ends = vec![Arc::clone(&lanes.0); producers];
        (Self { _lanes: lanes }, ends)
    }
}

impl Producer for Arc<Bus> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        payload.emit(self, TOPIC);
    }
}

/// `publisher.emit(payload)` to lanes that wait like `W`.
#[derive(Debug)]
pub struct QueuedByPublisher<W = ByDefault> {
    _lanes: Lanes,
    waiting: PhantomData<W>,
}

impl<W: Waiting> Carrier for QueuedByPublisher<W> {
    const NAME: &'static str = W::NAME;
    type Producer = Publisher;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let lanes = Lanes::open::<W>(tallies);
        let publisher = |_| lanes.0.publisher(TOPIC).expect("the name is valid");
        let ends = (0..producers).map(publisher).collect();
        (Self { _lanes: lanes, waiting: PhantomData }, ends)
    }
}

impl Producer for Publisher {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        Publisher::emit(self, payload).expect("the bus is open and waits while it is full");
    }
}

/// How an audited bus is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audit {
    /// No audit log.
    Off,
    /// Every event becomes a line of a file.
    File,
}

/// One inline handler, and an audit log to a file in a fresh folder, which goes when the bus goes.
#[derive(Debug)]
pub struct Audited {
    bus: Bus,
    sum: Arc<Sum>,
    folder: Option<PathBuf>,
}

impl Audited {
    /// A bus with a new, empty file.
    #[must_use]
    pub fn open(audit: Audit) -> Self {
        let folder = (audit == Audit::File).then(fresh_folder);
        let builder = match &folder {
            Some(folder) => Bus::builder().audit(AuditLog::at(folder.join("events.jsonl"))),
            None => Bus::builder(),
        };
        let bus = builder.build().expect("the settings are valid");
        let sum = Arc::new(Sum::default());
        let total = Arc::clone(&sum);
        let add = move |event: &Event<'_>| total.add(Payload::cents_of(event));
        bus.on(TOPIC).inline().handle(add).expect("the table has room");
        Self { bus, sum, folder }
    }

    /// Emits `events` events and returns the time until the last of them is in the file.
    ///
    /// # Panics
    /// When a line is missing.
    #[must_use]
    pub fn run(&self, events: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..events {
            payload(1).emit(&self.bus, TOPIC);
        }
        while self.folder.is_some() && self.lines() < events {
            // A sample takes some 75 ms: looking every 0.1 ms is exact enough, and leaves the writer its core.
            thread::sleep(Duration::from_micros(100));
        }
        let elapsed = start.elapsed();
        assert_eq!(self.sum.get(), events, "a handler missed an event");
        elapsed
    }

    fn lines(&self) -> u64 {
        let audit = self.bus.stats().audit.expect("the bus has an audit log");
        assert_eq!((audit.dropped, audit.errors), (0, 0), "the audit log lost lines");
        audit.lines
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        self.bus.shutdown(GRACE);
        if let Some(folder) = &self.folder {
            // What cannot be removed is left to the system's own cleaning of its temporary folder.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// An empty folder below the system's temporary folder (`TMPDIR`).
pub(crate) fn fresh_folder() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = env::temp_dir().join(format!("nervebus-audit-{}-{number}", process::id()));
    fs::create_dir_all(&folder).expect("the temporary folder can be written to");
    folder
}
