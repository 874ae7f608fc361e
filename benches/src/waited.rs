//! Emitting and waiting for the handler, which runs on another thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use nervebus::{Bus, Event};

use crate::bus::{Waiting, lane_that_waits};
use crate::inline::{Order, Sum};
use crate::peers::Threads;
use crate::percentiles::Member;
use crate::{Payload, payload};

const TOPIC: &str = "shop.order.placed";

/// Events before those that count.
const WARM_UP: u64 = 100;

/// A member of this name.
#[must_use]
pub const fn member(name: &'static str, run: fn(u64) -> Vec<u64>) -> Member {
    Member { name, run }
}

/// `bus.emit_and_wait` to a handler on a lane that waits like `W`, each `REST` nanoseconds after the one before.
///
/// # Panics
/// When the handler missed an event.
#[must_use]
pub fn on_a_lane<W: Waiting, const REST: u64>(events: u64) -> Vec<u64> {
    let bus = Bus::builder().lane(lane_that_waits::<W>("work")).build().expect("the settings are valid");
    let sum = Arc::new(Sum::default());
    let total = Arc::clone(&sum);
    let add = move |event: &Event<'_>| total.add(event.payload_as::<Payload>().map_or(0, Order::cents));
    bus.on(TOPIC).lane("work").handle(add).expect("the lane exists");
    let each = time_each::<REST>(events, || {
        let report = bus.emit_and_wait(TOPIC, payload(1)).expect("the bus is open");
        assert!(report.all_handled(), "{report}");
    });
    assert_eq!(sum.get(), events + WARM_UP, "the handler missed an event");
    bus.shutdown(Duration::from_secs(20));
    each
}

/// A channel there and a channel back: what one would write without a bus.
#[derive(Debug)]
pub struct ChannelPair;

impl ChannelPair {
    /// The member's name in the output.
    pub const NAME: &'static str = "crossbeam_channel/there_and_back";
}

/// [`ChannelPair`], with a thread that answers every payload.
///
/// # Panics
/// When the thread missed an event.
#[must_use]
pub fn peer<const REST: u64>(events: u64) -> Vec<u64> {
    let ((there, received), (answer, back)) = (bounded::<Payload>(1), bounded::<u64>(1));
    let mut consumer = Threads::default();
    consumer.spawn(move || received.iter().for_each(|payload| answer.send(payload.cents()).expect("one waits for it")));
    let mut sum = 0;
    let each = time_each::<REST>(events, || {
        there.send(payload(1)).expect("the consumer lives as long as a producer");
        sum += back.recv().expect("the consumer answers");
    });
    assert_eq!(sum, events + WARM_UP, "the handler missed an event");
    drop(there);
    each
}

fn time_each<const REST: u64>(events: u64, mut call: impl FnMut()) -> Vec<u64> {
    let mut timed = || {
        let rested = Instant::now() + Duration::from_nanos(REST);
        while REST > 0 && Instant::now() < rested {}
        let start = Instant::now();
        call();
        start.elapsed().as_nanos() as u64
    };
    (0..WARM_UP + events).map(|_| timed()).skip(WARM_UP as usize).collect()
}
