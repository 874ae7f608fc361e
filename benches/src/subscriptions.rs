//! One topic beside many subscriptions on other topics.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use criterion::Criterion;
use nervebus::{Bus, Event, SubscriptionId};

use crate::inline::{Order, Sum};
use crate::{Payload, group};

/// The topic that is emitted to.
const TOPIC: &str = "shop.mine.placed";

/// A bus with one handler on one topic, and others on a topic of their own each. All are inline.
#[derive(Debug)]
pub struct Crowd {
    bus: Bus,
    others: usize,
    sum: Arc<Sum>,
}

impl Crowd {
    /// A bus with that many others.
    #[must_use]
    pub fn open(others: usize) -> Self {
        let crowd = Self { bus: bus(), others, sum: Arc::new(Sum::default()) };
        crowd.subscribe_others();
        subscribe(&crowd.bus, TOPIC, &crowd.sum);
        crowd
    }

    fn subscribe_others(&self) -> Vec<SubscriptionId> {
        let name = |number| format!("shop.order_{number:07}.placed");
        (0..self.others).map(|number| subscribe(&self.bus, &name(number), &self.sum)).collect()
    }
}

fn bus() -> Bus {
    Bus::builder().max_topics(1 << 21).max_subscriptions(1 << 21).build().expect("the settings are valid")
}

fn subscribe(bus: &Bus, topic: &str, sum: &Arc<Sum>) -> SubscriptionId {
    let sum = Arc::clone(sum);
    let add = move |event: &Event<'_>| sum.add(event.payload_as::<Payload>().map_or(0, Order::cents));
    bus.on(topic).inline().handle(add).expect("the table has room")
}

/// Measures emitting, and subscribing and unsubscribing a second handler, on the topic.
///
/// # Panics
/// When a handler missed an event or saw one of another topic.
pub fn measure_crowd(criterion: &mut Criterion, crowd: &Crowd) {
    let Crowd { bus, others, sum } = crowd;
    let mut group = group(criterion, &format!("subscriptions/{others}"));
    let (before, mut emitted) = (sum.get(), 0);
    group.bench_function("nervebus/emit", |bencher| {
        bencher.iter(|| {
            bus.emit(black_box(TOPIC), Payload::of(1)).expect("the bus is open");
            emitted += 1;
        });
    });
    let mut publisher = bus.publisher(TOPIC).expect("the name is valid");
    group.bench_function("nervebus/publisher", |bencher| {
        bencher.iter(|| {
            publisher.emit(Payload::of(1)).expect("the bus is open");
            emitted += 1;
        });
    });
    assert_eq!(sum.get() - before, emitted, "events were lost, or went to others");
    group.bench_function("nervebus/subscribe_unsubscribe", |bencher| {
        bencher.iter(|| assert!(bus.unsubscribe(subscribe(bus, TOPIC, sum))));
    });
    group.finish();
}

/// Measures subscribing and unsubscribing one handler on a topic that has `handlers` others.
///
/// # Panics
/// When the topic does not have them in the end.
pub fn measure_topic(criterion: &mut Criterion, handlers: usize) {
    let mut group = group(criterion, &format!("subscribe_to_topic/{handlers}"));
    group.bench_function("nervebus/subscribe_unsubscribe", |bencher| {
        let (bus, sum) = (bus(), Arc::new(Sum::default()));
        for _ in 0..handlers {
            subscribe(&bus, TOPIC, &sum);
        }
        bencher.iter(|| assert!(bus.unsubscribe(subscribe(&bus, TOPIC, &sum))));
        let handled = bus.emit(TOPIC, Payload::of(1)).expect("the bus is open").inline().handled;
        assert_eq!(handled, handlers, "a subscription is missing or has stayed");
    });
    group.finish();
}

/// Prints the time and the resident memory that `others` subscriptions on topics of their own take and give back. With
/// `--test`, for 1,000 of them.
///
/// # Panics
/// When one of them cannot be ended.
pub fn print_memory(others: usize) {
    let others = if env::args().any(|flag| flag == "--test") { 1_000 } else { others };
    let crowd = Crowd { bus: bus(), others, sum: Arc::new(Sum::default()) };
    let (start, mut last) = (resident(), Instant::now());
    let mut row = |what: &str| {
        let (bytes, time) = (resident().saturating_sub(start), last.elapsed());
        println!("| {what} | {} | {:.2} |", bytes / others, micros(time) / others as f64);
        last = Instant::now();
    };
    println!("\n| {others} subscriptions on as many topics | resident bytes each | µs each |\n|---|---|---|");
    for round in ["first", "second"] {
        let ids = crowd.subscribe_others();
        row(&format!("subscribed, {round} time"));
        ids.into_iter().for_each(|id| assert!(crowd.bus.unsubscribe(id)));
        row(&format!("unsubscribed, {round} time"));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Bytes of this process in memory, as Linux tells; 0 elsewhere.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).map_or(0, |kib| kib << 10)
}
