//! Emitting to handlers that run on the emitter's thread, to one of many topics.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{Group, Payload, payload};

/// Topics that have subscribers; the bench emits to one after the other.
pub const TOPICS: usize = 100;

/// A bus that calls its handlers before `emit` returns.
pub trait InlineBus {
    /// The member's name in the output.
    const NAME: &'static str;

    /// A bus with `handlers` handlers on each of `topics`, each of which adds the event's value to `sum`.
    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self;

    /// Emits an event that carries `value` to the topic with this index.
    fn emit(&mut self, topic: usize, value: u64);
}

/// A payload with a field that the handlers add up.
pub trait Order: Send + Sync + 'static {
    /// An order of that many cents.
    fn of(cents: u64) -> Self;

    /// How many cents.
    fn cents(&self) -> u64;
}

impl Order for Payload {
    #[inline]
    fn of(cents: u64) -> Self {
        payload(cents)
    }

    #[inline]
    fn cents(&self) -> u64 {
        self[0]
    }
}

/// The dynamic payload: three fields, one of them text. Building it is part of emitting it.
impl Order for Value {
    #[inline]
    fn of(cents: u64) -> Self {
        json!({"id": 7, "customer": "alice", "cents": cents})
    }

    #[inline]
    fn cents(&self) -> u64 {
        self["cents"].as_u64().unwrap_or(0)
    }
}

/// What the handlers add to. A load and a store, since one thread emits: the cost of the way is not to hide behind
/// a locked addition.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Sum {
    /// Adds `value`. One thread at a time.
    #[inline]
    pub fn add(&self, value: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    }

    /// The sum so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// 100 names of 21 bytes: `shop.order_000.placed` to `shop.order_099.placed`.
#[must_use]
pub fn topics() -> Vec<String> {
    (0..TOPICS).map(|index| format!("shop.order_{index:03}.placed")).collect()
}

/// Measures `B` with `handlers` handlers a topic.
///
/// # Panics
/// When the handlers did not see every event.
pub fn measure<B: InlineBus>(group: &mut Group<'_>, handlers: usize) {
    group.bench_function(B::NAME, |bencher| {
        let sum = Arc::new(Sum::default());
        let mut bus = B::open(&topics(), handlers, &sum);
        let mut emitted = 0u64;
        let mut topic = 0;
        bencher.iter(|| {
            bus.emit(topic, black_box(3));
            emitted += 1;
            topic += 1;
            if topic == TOPICS {
                topic = 0;
            }
        });
        assert_eq!(sum.get(), emitted * 3 * handlers as u64, "{} lost events", B::NAME);
    });
}
