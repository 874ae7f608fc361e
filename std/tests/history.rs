//! History: what late subscribers are given first.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use held::held;
use nervebus::{BuildError, Bus, Event, Lane, Retry, SubscribeError, json};
use until::{GUARD, until};

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

fn emit(bus: &Bus, topic: &str, ids: std::ops::Range<u64>) {
    for id in ids {
        bus.emit(topic, json!({"id": id})).unwrap();
    }
}

/// Subscribes with history, and says what comes.
fn listen(bus: &Bus, pattern: &str) -> Receiver<u64> {
    let (sender, events) = mpsc::channel();
    let handler = move |event: &Event<'_>| sender.send(event["id"].as_u64().unwrap()).unwrap();
    bus.on(pattern).with_history().handle(handler).unwrap();
    events
}

fn take(events: &Receiver<u64>, count: usize) -> Vec<u64> {
    (0..count).map(|_| events.recv_timeout(GUARD).expect("an event")).collect()
}

#[test]
fn a_late_subscriber_gets_the_last_events_first_and_then_the_live_ones() {
    let bus = Bus::builder().history("price.*", 3).build().unwrap();
    emit(&bus, "price.changed", 0..5);
    emit(&bus, "other", 90..95);
    let events = listen(&bus, "price.*");
    emit(&bus, "price.changed", 5..8);
    assert_eq!(take(&events, 6), [2, 3, 4, 5, 6, 7]);
    let later = listen(&bus, "price.changed");
    assert_eq!(take(&later, 3), [5, 6, 7]);
    drained(&bus);
    assert!(events.try_recv().is_err() && later.try_recv().is_err());
}

#[test]
fn a_part_of_a_pattern_gets_its_part() {
    let bus = Bus::builder().history("*", 10).history("shop.order.*", 2).build().unwrap();
    for (topic, id) in [("shop.order.placed", 1), ("shop.order.paid", 2), ("shop.open", 3), ("shop.order.paid", 4)] {
        bus.emit(topic, json!({"id": id})).unwrap();
    }
    assert_eq!(take(&listen(&bus, "shop.order.paid"), 2), [2, 4]);
    assert_eq!(take(&listen(&bus, "shop.open"), 1), [3]);
    drained(&bus);
}

#[test]
fn while_many_emit_nothing_is_doubled_and_nothing_is_missing() {
    const THREADS: u64 = 3;
    const EACH: u64 = 500;
    let bus = Bus::builder().history("tick", 100_000).build().unwrap();
    let ready = Arc::new(Barrier::new(THREADS as usize + 1));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bus, ready) = (&bus, Arc::clone(&ready));
            scope.spawn(move || {
                ready.wait();
                emit(bus, "tick", thread * EACH..(thread + 1) * EACH);
            });
        }
        ready.wait();
        let listeners: Vec<_> = (0..20).map(|_| listen(&bus, "tick")).collect();
        let mut first: Option<Vec<u64>> = None;
        for events in listeners {
            let seen = take(&events, (THREADS * EACH) as usize);
            let mut sorted = seen.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..THREADS * EACH), "each once");
            assert_eq!(*first.get_or_insert_with(|| seen.clone()), seen, "in the same order for all");
        }
    });
    drained(&bus);
}

#[test]
fn history_comes_before_live_events_also_when_the_lane_is_busy() {
    let bus = Bus::builder().history("tick", 10).build().unwrap();
    let (hold, begun, go) = held();
    bus.on("busy").handle(hold).unwrap();
    emit(&bus, "tick", 0..5);
    bus.emit("busy", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let events = listen(&bus, "tick");
    emit(&bus, "tick", 5..10);
    drop(go);
    assert_eq!(take(&events, 10), Vec::from_iter(0..10));
    drained(&bus);
}

#[test]
fn a_failure_is_tried_again_and_becomes_a_dead_letter() {
    let bus = Bus::builder().history("tick", 10).build().unwrap();
    emit(&bus, "tick", 0..1);
    let retry = Retry::exponential(Duration::from_millis(1)).attempts(3);
    bus.on("tick").retry(retry).with_history().handle(|_| Err::<(), _>("never")).unwrap();
    until(|| bus.dead_letters().len() == 1);
    assert_eq!(bus.dead_letters().list()[0].attempts, 3);
    drained(&bus);
}

#[test]
fn who_is_unsubscribed_gets_nothing_more() {
    let bus = Bus::builder().history("tick", 10).build().unwrap();
    let (sender, events) = mpsc::channel();
    let on = bus.on("tick").with_history();
    let id = on.handle(move |event| sender.send(event["id"].as_u64().unwrap()).unwrap()).unwrap();
    emit(&bus, "tick", 0..2);
    assert_eq!(take(&events, 2), [0, 1]);
    assert!(bus.unsubscribe(id));
    emit(&bus, "tick", 2..4);
    drained(&bus);
    assert!(events.try_recv().is_err());
}

#[test]
fn what_no_history_has_is_refused() {
    let bus = Bus::builder().history("price.*", 3).lane(Lane::new("io")).build().unwrap();
    let refused = |pattern: &str| bus.on(pattern).with_history().handle(|_| ()).unwrap_err();
    for pattern in ["*", "prices", "*.changed", "price"] {
        assert!(
            matches!(refused(pattern), SubscribeError::InvalidSetting { setting: "with_history", .. }),
            "{pattern}"
        );
    }
    bus.on("price.*.x").lane("io").with_history().handle(|_| ()).unwrap();
    let inline = bus.on("price.x").inline().with_history().handle(|_| ()).unwrap_err();
    assert!(matches!(inline, SubscribeError::NotInline { setting: "with_history" }));
    assert!(matches!(Bus::builder().history("a..b", 1).build().unwrap_err(), BuildError::Pattern { .. }));
    assert!(matches!(Bus::builder().history("a", 0).build().unwrap_err(), BuildError::OutOfRange { .. }));
}
