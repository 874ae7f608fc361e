//! The storm guard: what is told of a topic with far too many events, and what is refused.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, EmitError, ManualClock, RateLimit, Storm, StormGuard, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

struct Rig {
    clock: ManualClock,
    bus: Bus,
    /// Topic and payload of each record of storms.
    told: Receiver<(String, Value)>,
}

impl Rig {
    fn new(guard: impl Into<Option<StormGuard>>) -> Self {
        let clock = ManualClock::new();
        let mut builder = Bus::builder().clock(&clock);
        if let Some(guard) = guard.into() {
            builder = builder.storm_guard(guard);
        }
        let bus = builder.build().unwrap();
        let (tell, told) = mpsc::channel();
        for topic in ["system.event_storm", "system.event_storm_ended"] {
            let tell = tell.clone();
            let tell = move |event: &nervebus::Event<'_>| {
                tell.send((event.topic().to_owned(), event.payload().clone())).unwrap();
            };
            bus.on(topic).inline().handle(tell).unwrap();
        }
        bus.on("t").inline().handle(|_| ()).unwrap();
        Self { clock, bus, told }
    }

    /// Emits so many events on `t`, and says how many passed.
    fn emit(&self, events: usize) -> usize {
        (0..events).filter(|_| self.bus.emit("t", ()).is_ok()).count()
    }

    fn told(&self) -> (String, Value) {
        self.told.recv_timeout(GUARD).unwrap()
    }
}

#[test]
fn a_bus_without_a_guard_tells_of_no_storm() {
    let rig = Rig::new(None);
    assert_eq!(rig.emit(10_000), 10_000);
    assert!(rig.told.try_recv().is_err());
    assert!(rig.bus.ledger().balanced());
}

#[test]
fn a_storm_is_told_once_when_it_begins_and_its_events_pass() {
    let rig = Rig::new(StormGuard::per_second(100));
    assert_eq!(rig.emit(100), 100);
    assert!(rig.told.try_recv().is_err(), "a hundred are as many as there may be");
    assert_eq!(rig.emit(1), 1);
    let expected = json!({
        "event_type": "t", "rate": 101.0, "threshold": 100, "window_seconds": 1.0, "refused": false,
    });
    assert_eq!(rig.told(), ("system.event_storm".to_owned(), expected));
    assert_eq!(rig.emit(500), 500);
    assert!(rig.told.try_recv().is_err(), "once an episode");
    assert_eq!(rig.bus.stats().guards.storms, 1);
    let ledger = rig.bus.ledger();
    assert_eq!((ledger.routed, ledger.refused), (601, 0));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn the_timer_tells_of_the_end_on_a_topic_that_has_fallen_silent_in_every_episode() {
    let rig = Rig::new(StormGuard::per_second(100));
    for _ in 0..3 {
        rig.emit(150);
        assert_eq!(rig.told().0, "system.event_storm");
        rig.clock.advance(SECOND * 3);
        let expected = json!({"event_type": "t", "lasted_seconds": 1.0, "events": 50});
        assert_eq!(rig.told(), ("system.event_storm_ended".to_owned(), expected));
        rig.clock.advance(SECOND * 3);
    }
    assert!(rig.told.try_recv().is_err());
    assert!(rig.bus.ledger().balanced());
}

#[test]
fn a_guard_that_refuses_lets_nothing_pass_until_the_storm_has_ended() {
    let rig = Rig::new(StormGuard::per_second(100).answer(Storm::Refuse));
    assert_eq!(rig.emit(150), 100);
    let refused = rig.bus.emit("t", json!({"n": 1})).unwrap_err();
    assert_eq!(refused.to_string(), r#"topic "t" has a storm of events, more than 100 a second"#);
    assert!(matches!(&refused, EmitError::Storm { topic, per_second: 100, .. } if &**topic == "t"));
    assert_eq!(refused.into_payload(), json!({"n": 1}));
    assert_eq!(rig.told().1["refused"], true);
    rig.clock.advance(SECOND);
    assert_eq!(rig.emit(10), 0, "the storm is over when a whole window was calm");
    rig.clock.advance(SECOND * 2);
    assert_eq!(rig.emit(10), 10);
    // By the timer or by the event, whoever came first.
    assert_eq!(rig.told().0, "system.event_storm_ended");
    assert!(rig.told.try_recv().is_err());
    let (ledger, guards) = (rig.bus.ledger(), rig.bus.stats().guards);
    assert_eq!((ledger.routed, ledger.refused, guards.refused_in_storms), (110, 61, 61));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn each_topic_is_watched_by_itself_with_and_without_subscribers() {
    let rig = Rig::new(StormGuard::per_second(100).answer(Storm::Refuse));
    for topic in 0..10 {
        (0..60).for_each(|_| assert!(rig.bus.emit(&format!("topic.t{topic}"), ()).is_ok()));
    }
    assert!(rig.told.try_recv().is_err(), "six hundred events, but sixty of each topic");
    let mut nobody = rig.bus.publisher("topic.t7").unwrap();
    assert_eq!((0..60).filter(|_| nobody.emit(()).is_ok()).count(), 40);
    assert_eq!(rig.told().1["event_type"], "topic.t7");
    assert_eq!(rig.emit(60), 60);
    assert!(rig.bus.ledger().balanced());
}

#[test]
fn what_a_rate_limit_refuses_makes_no_storm() {
    let clock = ManualClock::new();
    let builder = Bus::builder().rate_limit("t", RateLimit::per_second(50)).storm_guard(StormGuard::per_second(100));
    let bus = builder.clock(&clock).build().unwrap();
    (0..1_000).for_each(|_| drop(bus.emit("t", ())));
    assert_eq!((bus.stats().guards.storms, bus.stats().guards.limited_by_topic), (0, 950));
    assert!(bus.ledger().balanced());
}

#[test]
fn a_loop_of_events_through_the_record_of_its_own_storm_is_cut() {
    let rig = Rig::new(StormGuard::per_second(1).answer(Storm::Refuse));
    let weak = rig.bus.downgrade();
    let again = move |_: &nervebus::Event<'_>| drop(weak.upgrade().unwrap().emit("t", ()));
    rig.bus.on("system.event_storm").inline().handle(again).unwrap();
    assert_eq!(rig.emit(5), 1);
    assert_eq!(rig.bus.stats().guards.storms, 1);
    assert!(rig.bus.ledger().balanced());
}

#[test]
fn of_threads_that_storm_at_once_one_tells_of_the_beginning() {
    const THREADS: usize = 8;
    let rig = Rig::new(StormGuard::per_second(100).answer(Storm::Refuse));
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (bus, start) = (rig.bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                (0..500).filter(|_| bus.emit("t", ()).is_ok()).count()
            })
        })
        .collect();
    let passed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    // Who was counted before the storm began and judged after is refused as well.
    assert!((100 - THREADS..=100).contains(&passed), "{passed}");
    assert_eq!(rig.told().0, "system.event_storm");
    rig.clock.advance(SECOND * 3);
    assert_eq!(rig.told().0, "system.event_storm_ended");
    assert!(rig.told.try_recv().is_err());
    let report = rig.bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn a_guard_outside_its_ranges_is_refused_by_name_value_and_range() {
    let refusal = |guard| Bus::builder().storm_guard(guard).build().unwrap_err().to_string();
    let rate = "outside its range 1..=1000000";
    assert_eq!(refusal(StormGuard::per_second(0)), format!("storm_guard.per_second is 0, {rate}"));
    assert_eq!(refusal(StormGuard::per_second(1_000_001)), format!("storm_guard.per_second is 1000001, {rate}"));
    let window = |window| refusal(StormGuard::per_second(100).window(window));
    let range = "outside its range 100000..=60000000";
    assert_eq!(window(Duration::from_micros(99_999)), format!("storm_guard.window in microseconds is 99999, {range}"));
    assert_eq!(window(Duration::from_secs(61)), format!("storm_guard.window in microseconds is 61000000, {range}"));
    for (rate, window) in [(1, Duration::from_millis(100)), (1_000_000, Duration::from_secs(60))] {
        assert!(Bus::builder().storm_guard(StormGuard::per_second(rate).window(window)).build().is_ok());
    }
}
