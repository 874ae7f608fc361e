//! Emitting allocates nothing: counted over the whole process, bus threads included.
//!
//! A program of its own (no test harness), so that nothing but the bus runs while it counts.

use std::alloc::System;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nervebus::{
    Breaker, Builder, Bus, Category, Class, Event, Lane, Publisher, RateLimit, Retry, StormGuard, Subscribe,
    TypedEvent, TypedTopic, Validation,
};
use serde::Serialize;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const EVENTS: u64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// As large as a payload may be to travel in place.
#[derive(Serialize)]
struct Order {
    fields: [u64; 8],
}

impl Order {
    fn number(number: u64) -> Self {
        Self { fields: [number; 8] }
    }
}

/// As large as a payload may be to travel in place, and of no more than numbers: each lane gets a copy.
#[derive(Serialize, Clone, Copy)]
struct Plain {
    fields: [u64; 8],
}

impl TypedEvent for Plain {
    const TOPIC: &'static str = "order.placed";

    fn duplicate(&self) -> Option<Self> {
        Some(*self)
    }
}

/// A type that has everything to say.
#[derive(Serialize)]
struct Contract {
    fields: [u64; 8],
}

impl TypedEvent for Contract {
    const TOPIC: &'static str = "order.placed";
    const CATEGORY: Category = Category::Command;
    const CLASS: Class = Class::Critical;
    const TTL: Option<Duration> = Some(HOUR);
    const PII: &'static [&'static str] = &["fields"];

    fn key(&self) -> Option<impl Hash> {
        Some(self.fields[0])
    }
}

fn main() {
    allocates_nothing("inline, by name", true, |bus, _, number| {
        bus.emit("order.placed", Order::number(number)).expect("the bus is open");
    });
    allocates_nothing("inline, by publisher", true, |_, publisher, number| {
        publisher.emit(Order::number(number)).expect("the bus is open");
    });
    allocates_nothing("queued, by name", false, |bus, _, number| {
        bus.emit("order.placed", Order::number(number)).expect("the bus is open");
    });
    allocates_nothing("queued, by publisher", false, |_, publisher, number| {
        publisher.emit(Order::number(number)).expect("the bus is open");
    });
    let guarded = |bus: &Bus, _: &mut Publisher, number| {
        let event = bus.event("order.placed", Order::number(number)).ttl(HOUR).class(Class::Critical).key(number);
        event.emit().expect("the bus is open");
    };
    let guards = || {
        let limit = RateLimit::per_second(10_000_000).burst(10_000_000);
        Bus::builder().rate_limit("*", limit).storm_guard(StormGuard::per_second(1_000_000))
    };
    let breaker = Breaker::new("orders");
    allocates_nothing_on("inline, guarded", guards(), |on| on.inline().breaker(&breaker), guarded);
    let breaker = Breaker::new("orders again");
    let retry = Retry::exponential(HOUR);
    allocates_nothing_on("queued, guarded", guards(), |on| on.timeout(HOUR).retry(retry).breaker(&breaker), guarded);
    let rules = Validation::new().domains(["order", "thread"]).max_payload_bytes(1_000).max_nesting(2);
    let rules = rules.rule("known", |event| match event.payload_as::<Order>() {
        Some(order) if order.fields[7] >= EVENTS => Err("a number too high".into()),
        _ => Ok(()),
    });
    allocates_nothing_on(
        "inline, validated",
        Bus::builder().validate(rules),
        |on| on.inline(),
        |_, publisher, number| {
            publisher.emit(Order::number(number)).expect("it keeps the rules");
        },
    );
    typed("typed, inline", Bus::builder(), &[None], |number| Plain { fields: [number; 8] }, |value| value.fields[7]);
    let contract = |number| Contract { fields: [number; 8] };
    typed("typed, with a contract, inline", Bus::builder(), &[None], contract, |value| value.fields[7]);
    typed("typed, with a contract, queued", one_lane(), &[Some("a")], contract, |value| value.fields[7]);
    let three = || one_lane().lane(Lane::new("b")).lane(Lane::new("c"));
    let lanes = [Some("a"), Some("b"), Some("c")];
    typed("typed, to three lanes", three(), &lanes, |number| Plain { fields: [number; 8] }, |value| value.fields[7]);
    println!("11 passed, 0 failed");
}

fn allocates_nothing(what: &str, inline: bool, emit: impl Fn(&Bus, &mut Publisher, u64)) {
    allocates_nothing_on(what, Bus::builder(), |on| if inline { on.inline() } else { on }, emit);
}

fn allocates_nothing_on(
    what: &str,
    builder: Builder,
    place: impl for<'a> FnOnce(Subscribe<'a>) -> Subscribe<'a>,
    emit: impl Fn(&Bus, &mut Publisher, u64),
) {
    let bus = builder.build().expect("the settings are valid");
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let handler = move |event: &Event<'_>| {
        let order: &Order = event.payload_as().expect("orders are all there is");
        count.fetch_add(u64::from(order.fields[7] < EVENTS), Ordering::Relaxed);
    };
    place(bus.on("order.placed").name("counter")).handle(handler).expect("the pattern is valid");
    let mut publisher = bus.publisher("order.placed").expect("the name is valid");

    // What is new allocates once: the lane's thread, a topic, a handler that is timed.
    bus.on("thread.started").handle(|_| ()).expect("the pattern is valid");
    assert!(bus.emit_and_wait("thread.started", ()).expect("the bus is open").all_handled());
    (0..1_000).for_each(|number| emit(&bus, &mut publisher, number));
    wait_for(&seen, 1_000);
    let region = Region::new(ALLOCATOR);
    (0..EVENTS).for_each(|number| emit(&bus, &mut publisher, number));
    wait_for(&seen, EVENTS + 1_000);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{what}: {change:?}");
    println!("{what}: 0 allocations in {EVENTS} events");
    assert!(bus.shutdown(Duration::from_secs(10)).drained);
}

fn one_lane() -> Builder {
    Bus::builder().lane(Lane::new("a"))
}

/// Emits values of a type to one handler on each of these lanes, or inline.
fn typed<T: TypedEvent>(
    what: &str,
    builder: Builder,
    lanes: &[Option<&str>],
    make: impl Fn(u64) -> T,
    number_of: impl Fn(&T) -> u64 + Copy + Send + Sync + 'static,
) {
    let bus = builder.build().expect("the settings are valid");
    let seen = Arc::new(AtomicU64::new(0));
    let mut topic: TypedTopic<T> = bus.topic().expect("the topic is free");
    // What is new allocates once, the default lane's thread too.
    bus.on("thread.started").handle(|_| ()).expect("the pattern is valid");
    for lane in lanes {
        let count = Arc::clone(&seen);
        let handler = move |value: &T, _: &Event<'_>| {
            count.fetch_add(u64::from(number_of(value) < EVENTS), Ordering::Relaxed);
        };
        let (on, thread) = (topic.on(), bus.on("thread.started"));
        match lane {
            None => on.inline().handle(handler).and(thread.handle(|_| ())),
            Some(lane) => on.lane(*lane).handle(handler).and(thread.lane(*lane).handle(|_| ())),
        }
        .expect("the lane is there");
    }
    assert!(bus.emit_and_wait("thread.started", ()).expect("the bus is open").all_handled());
    let each = lanes.len() as u64;
    (0..1_000).for_each(|number| {
        topic.emit(make(number)).expect("the bus is open");
    });
    wait_for(&seen, 1_000 * each);
    let region = Region::new(ALLOCATOR);
    (0..EVENTS).for_each(|number| {
        topic.emit(make(number)).expect("the bus is open");
    });
    wait_for(&seen, (EVENTS + 1_000) * each);
    let change = region.change();
    assert_eq!((change.allocations, change.reallocations), (0, 0), "{what}: {change:?}");
    println!("{what}: 0 allocations in {EVENTS} events");
    assert!(bus.shutdown(Duration::from_secs(10)).drained);
}

/// Waits without allocating, as long as events keep arriving.
fn wait_for(seen: &AtomicU64, expected: u64) {
    while seen.load(Ordering::Relaxed) < expected {
        std::thread::yield_now();
    }
}
