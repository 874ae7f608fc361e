//! Limits on rates: how many events of a topic and of a source pass, and what the others are told.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nervebus::{Builder, Bus, EmitError, Lane, Limited, ManualClock, RateLimit, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const MILLIS_100: Duration = Duration::from_millis(100);

/// Ten a second, two of them at once.
fn limit() -> RateLimit {
    RateLimit::per_second(10).burst(2)
}

fn bus(clock: &ManualClock, builder: Builder) -> Bus {
    builder.clock(clock).build().unwrap()
}

fn passes(bus: &Bus, topic: &str) -> bool {
    bus.emit(topic, ()).is_ok()
}

#[test]
fn an_event_over_the_limit_of_its_topic_comes_back_with_the_time_until_the_next() {
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder().rate_limit("chat.message", limit()));
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let count = move |_: &nervebus::Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    bus.on("chat.message").inline().handle(count).unwrap();
    assert!(passes(&bus, "chat.message") && passes(&bus, "chat.message"));
    clock.advance(Duration::from_millis(40));
    let refused = bus.emit("chat.message", json!({"text": "third"})).unwrap_err();
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(60)));
    assert_eq!(refused.to_string(), r#"topic "chat.message" is over its rate limit; the next event may pass in 60ms"#);
    let EmitError::RateLimited { limited, payload, .. } = refused else { panic!("{refused}") };
    assert_eq!((*limited, payload), (Limited::Topic("chat.message".into()), json!({"text": "third"})));
    clock.advance(Duration::from_millis(60) - Duration::from_nanos(1));
    assert!(!passes(&bus, "chat.message"));
    clock.advance(Duration::from_nanos(1));
    assert!(passes(&bus, "chat.message") && !passes(&bus, "chat.message"));
    let ledger = bus.ledger();
    assert_eq!((ledger.routed, ledger.refused, seen.load(Ordering::Relaxed)), (3, 3, 3));
    assert!(ledger.balanced(), "{ledger}");
    assert_eq!(bus.stats().guards.limited_by_topic, 3);
}

#[test]
fn each_topic_of_a_pattern_has_a_bucket_of_its_own_and_the_first_pattern_counts() {
    let clock = ManualClock::new();
    let builder = Bus::builder()
        .rate_limit("chat.loud", RateLimit::per_second(100).burst(5))
        .rate_limit("chat.*", limit())
        .rate_limit("*", RateLimit::per_second(10).burst(1));
    let bus = bus(&clock, builder);
    // Known before the first emit, by name and by pattern.
    bus.subscribe("chat.a", |_| ()).unwrap();
    bus.subscribe("chat.*", |_| ()).unwrap();
    let passed = |topic: &str| (0..20).take_while(|_| passes(&bus, topic)).count();
    let all = ["chat.loud", "chat.a", "chat.b", "other", "chat.c.d"].map(passed);
    assert_eq!(all, [5, 2, 2, 1, 2]);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn every_form_of_emit_is_held_against_the_limit_with_and_without_subscribers() {
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder().lane(Lane::new("io")).rate_limit("*", RateLimit::per_second(10).burst(1)));
    bus.on("inline").inline().handle(|_| ()).unwrap();
    bus.on("lane").lane("io").handle(|_| ()).unwrap();
    for topic in ["inline", "lane", "nobody"] {
        let mut publisher = bus.publisher(topic).unwrap();
        publisher.emit(()).unwrap();
        let after = [
            publisher.emit(()).unwrap_err().retry_after(),
            publisher.try_emit(()).unwrap_err().retry_after(),
            bus.emit(topic, ()).unwrap_err().retry_after(),
            bus.try_emit(topic, ()).unwrap_err().retry_after(),
            bus.event(topic, ()).emit().unwrap_err().retry_after(),
            bus.emit_and_wait(topic, ()).unwrap_err().retry_after(),
        ];
        assert_eq!(after, [Some(MILLIS_100); 6], "{topic}");
    }
    let ledger = bus.shutdown(GUARD).ledger;
    assert_eq!((ledger.routed, ledger.unrouted, ledger.refused), (2, 1, 18));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn each_source_has_a_limit_and_events_that_name_none_have_not() {
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder().source_rate_limit(limit()));
    bus.on("t").inline().handle(|_| ()).unwrap();
    let from = |source: &str| bus.event("t", source.to_owned()).source(source).emit();
    assert!(from("till-1").is_ok() && from("till-1").is_ok());
    let refused = from("till-1").unwrap_err();
    assert_eq!(refused.to_string(), r#"source "till-1" is over its rate limit; the next event may pass in 100ms"#);
    assert!(
        matches!(&refused, EmitError::RateLimited { limited, .. } if **limited == Limited::Source("till-1".into()))
    );
    assert_eq!(refused.into_payload(), "till-1");
    assert!(from("till-2").is_ok(), "another source has another bucket");
    (0..20).for_each(|_| assert!(bus.emit("t", ()).is_ok() && bus.event("t", ()).event_id("e").emit().is_ok()));
    clock.advance(MILLIS_100);
    assert!(from("till-1").is_ok() && from("till-1").is_err());
    let (ledger, guards) = (bus.ledger(), bus.stats().guards);
    assert_eq!((ledger.refused, guards.limited_by_source, guards.limited_by_topic), (2, 2, 0));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn a_source_over_its_limit_takes_nothing_from_the_limit_of_the_topic() {
    let clock = ManualClock::new();
    let one = || RateLimit::per_second(10).burst(1);
    let bus = bus(&clock, Bus::builder().source_rate_limit(one()).rate_limit("t", limit()));
    let from = |source: &str| bus.event("t", ()).source(source).emit().is_ok();
    assert!(from("greedy") && !from("greedy") && !from("greedy"));
    assert!(from("modest"), "one of the topic's two is left");
    assert!(!passes(&bus, "t"));
    assert!(bus.ledger().balanced());
}

#[test]
fn the_records_of_the_bus_pass_every_limit() {
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder().rate_limit("system.*", RateLimit::per_second(1).burst(1)));
    let (tell, told) = mpsc::channel();
    bus.on("system.*").inline().handle(move |event| tell.send(event.topic().to_owned()).unwrap()).unwrap();
    bus.on("t").inline().handle(|_| Err("no")).unwrap();
    (0..10).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
    assert_eq!(told.try_iter().filter(|topic| topic == "system.handler_error").count(), 10);
    assert!(passes(&bus, "system.mine") && !passes(&bus, "system.mine"), "a user's event of such a name does not");
    assert!(bus.ledger().balanced());
}

#[test]
fn threads_that_emit_at_once_get_exactly_the_burst() {
    const THREADS: usize = 8;
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder().rate_limit("t", RateLimit::per_second(1).burst(100)));
    bus.subscribe("t", |_| ()).unwrap();
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                (0..500).filter(|_| passes(&bus, "t")).count()
            })
        })
        .collect();
    let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(passed, 100);
    let report = bus.shutdown(GUARD);
    assert_eq!((report.handled, report.ledger.refused), (100, (THREADS * 500 - 100) as u64));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn a_limit_outside_its_ranges_or_for_no_pattern_is_refused_by_name_value_and_range() {
    let refusal = |builder: Builder| builder.build().unwrap_err().to_string();
    let topics = |limit| refusal(Bus::builder().rate_limit("ok", RateLimit::per_second(1)).rate_limit("a.*", limit));
    let sources = |limit| refusal(Bus::builder().source_rate_limit(limit));
    let range = "outside its range 1..=10000000";
    assert_eq!(topics(RateLimit::per_second(0)), format!(r#"rate_limit "a.*".per_second is 0, {range}"#));
    assert_eq!(topics(limit().burst(0)), format!(r#"rate_limit "a.*".burst is 0, {range}"#));
    assert_eq!(
        sources(RateLimit::per_second(10_000_001)),
        format!("source_rate_limit.per_second is 10000001, {range}")
    );
    assert_eq!(sources(limit().burst(u32::MAX)), format!("source_rate_limit.burst is 4294967295, {range}"));
    let malformed = refusal(Bus::builder().rate_limit("a..b", limit()));
    assert!(malformed.starts_with(r#"rate_limit: pattern "a..b": "#), "{malformed}");
    let ends = [RateLimit::per_second(1).burst(10_000_000), RateLimit::per_second(10_000_000).burst(1)];
    ends.into_iter().for_each(|limit| {
        assert!(Bus::builder().rate_limit("*", limit.clone()).source_rate_limit(limit).build().is_ok());
    });
}
