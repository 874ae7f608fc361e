//! The same emit with one policy switched on at a time: what each costs an event that it lets through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{
    Breaker, Builder, Bus, Class, DedupWindow, Emission, Event, Lane, RateLimit, Retry, Shed, StormGuard, Subscribe,
};

use crate::inline::{Order, Sum};
use crate::rounds::Member;
use crate::tick::Tick;

const TOPIC: &str = "shop.order.placed";
/// The most that may be asked for, and more than a round emits: nothing is refused.
const PLENTY: u32 = 1_000_000;
const LONG: Duration = Duration::from_secs(3_600);
const CAPACITY: usize = 4_096;

/// One policy: where it is switched on. What is not said stays as it is by default.
pub trait Policy {
    /// The member's name in the output.
    const NAME: &'static str;

    /// Switches it on for the bus.
    fn bus(builder: Builder) -> Builder {
        builder
    }

    /// Switches it on for the lane.
    fn lane(lane: Lane) -> Lane {
        lane
    }

    /// Switches it on for the handler.
    fn handler(on: Subscribe<'_>) -> Subscribe<'_> {
        on
    }

    /// Emits one event.
    fn emit(bus: &Bus, number: u64) {
        let _ = number;
        sent(bus.emit(TOPIC, Tick::of(3)).is_ok());
    }
}

#[inline]
fn sent(is_sent: bool) {
    assert!(is_sent, "the bus is open, and waits while it is full");
}

fn emit_with(bus: &Bus, say: impl FnOnce(Emission<'_, Tick>) -> Emission<'_, Tick>) {
    sent(say(bus.event(TOPIC, Tick::of(3))).emit().is_ok());
}

/// Defines one policy a line: its type, its name, and what of [`Policy`] it replaces.
macro_rules! policies {
    ($($(#[$doc:meta])* $type:ident $name:literal { $($body:tt)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $type;

        impl Policy for $type {
            const NAME: &'static str = $name;
            $($body)*
        }
    )*};
}

policies! {
    /// Nothing: what the others are compared with.
    None "none" {}
    /// A rate limit of the topic.
    TopicRate "rate_limit" {
        fn bus(builder: Builder) -> Builder {
            builder.rate_limit(TOPIC, RateLimit::per_second(PLENTY).burst(PLENTY))
        }
    }
    /// A rate limit of the source, which is said.
    SourceRate "source_rate_limit" {
        fn bus(builder: Builder) -> Builder {
            builder.source_rate_limit(RateLimit::per_second(PLENTY).burst(PLENTY))
        }

        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.source("shop"));
        }
    }
    /// A source, and nobody who looks at it: what the one above is compared with.
    Source "source" {
        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.source("shop"));
        }
    }
    /// The storm detector.
    Storm "storm_guard" {
        fn bus(builder: Builder) -> Builder {
            builder.storm_guard(StormGuard::per_second(PLENTY))
        }
    }
    /// Deduplication by the event's own id: nothing is said, so nothing is looked up.
    DedupUnsaid "dedup" {
        fn bus(builder: Builder) -> Builder {
            builder.dedup(DedupWindow::new(CAPACITY, LONG))
        }
    }
    /// Deduplication by a key that is said and never comes twice.
    Dedup "dedup_by_key" {
        fn bus(builder: Builder) -> Builder {
            builder.dedup(DedupWindow::new(CAPACITY, LONG))
        }

        fn emit(bus: &Bus, number: u64) {
            emit_with(bus, |event| event.idempotency_key(number.to_string()));
        }
    }
    /// Such a key, and nobody who looks at it.
    Key "idempotency_key" {
        fn emit(bus: &Bus, number: u64) {
            emit_with(bus, |event| event.idempotency_key(number.to_string()));
        }
    }
    /// A time to live.
    Ttl "ttl" {
        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.ttl(LONG));
        }
    }
    /// A deadline that handlers' emits inherit.
    Deadline "deadline" {
        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.deadline(LONG));
        }
    }
    /// A class.
    Classed "class" {
        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.class(Class::High));
        }
    }
    /// A partition key.
    Keyed "key" {
        fn emit(bus: &Bus, number: u64) {
            emit_with(bus, |event| event.key(number));
        }
    }
    /// A lane that sheds events when it is nearly full, which it is not.
    Shedding "shed" {
        fn lane(lane: Lane) -> Lane {
            lane.shed(Shed::new())
        }

        fn emit(bus: &Bus, _: u64) {
            emit_with(bus, |event| event.class(Class::Critical));
        }
    }
    /// A handler with a timeout.
    Timeout "timeout" {
        fn handler(on: Subscribe<'_>) -> Subscribe<'_> {
            on.timeout(LONG)
        }
    }
    /// A handler that would be tried again.
    Retried "retry" {
        fn handler(on: Subscribe<'_>) -> Subscribe<'_> {
            on.retry(Retry::exponential(Duration::from_millis(1)))
        }
    }
    /// A handler behind a circuit breaker.
    Broken "breaker" {
        fn handler(on: Subscribe<'_>) -> Subscribe<'_> {
            on.breaker(&Breaker::new("shop"))
        }
    }
    /// All three of them.
    Guarded "timeout_retry_breaker" {
        fn handler(on: Subscribe<'_>) -> Subscribe<'_> {
            Broken::handler(Retried::handler(Timeout::handler(on)))
        }
    }
}

/// An inline handler behind the policy, as a member that is measured in rounds.
#[must_use]
pub fn inline<P: Policy>() -> Member {
    Member { name: P::NAME, run: |events| Ok(run_inline::<P>(events)) }
}

/// A handler on a lane behind the policy; the time is that from the first emit to the last event handled.
#[must_use]
pub fn queued<P: Policy>() -> Member {
    Member { name: P::NAME, run: |events| Ok(run_queued::<P>(events)) }
}

fn open<P: Policy>() -> Bus {
    let lane = P::lane(Lane::new("default").capacity(CAPACITY));
    P::bus(Bus::builder().default_lane(lane)).build().expect("the settings are valid")
}

fn run_inline<P: Policy>(events: u64) -> Duration {
    let (bus, sum) = (open::<P>(), Arc::new(Sum::default()));
    let seen = Arc::clone(&sum);
    let add = move |event: &Event<'_>| seen.add(event.payload_as::<Tick>().map_or(0, Order::cents));
    P::handler(bus.on(TOPIC).inline()).handle(add).expect("the table has room");
    let warm_up = events / 16;
    (0..warm_up).for_each(|number| P::emit(&bus, number));
    let start = Instant::now();
    (warm_up..warm_up + events).for_each(|number| P::emit(&bus, number));
    let elapsed = start.elapsed();
    assert_eq!(sum.get(), (warm_up + events) * 3, "{} lost events", P::NAME);
    elapsed
}

fn run_queued<P: Policy>(events: u64) -> Duration {
    let (bus, handled) = (open::<P>(), Arc::new(AtomicU64::new(0)));
    let seen = Arc::clone(&handled);
    let add = move |_: &Event<'_>| seen.store(seen.load(Ordering::Relaxed) + 1, Ordering::Release);
    P::handler(bus.on(TOPIC)).handle(add).expect("the table has room");
    let drained = |count: u64| {
        while handled.load(Ordering::Acquire) < count {
            thread::yield_now();
        }
    };
    let warm_up = events / 16;
    (0..warm_up).for_each(|number| P::emit(&bus, number));
    drained(warm_up);
    let start = Instant::now();
    (warm_up..warm_up + events).for_each(|number| P::emit(&bus, number));
    drained(warm_up + events);
    start.elapsed()
}
