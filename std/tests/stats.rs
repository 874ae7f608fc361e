//! Statistics: what a snapshot of a bus says is what happened.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/held.rs"]
mod held;

use std::time::Duration;

use nervebus::{Bus, Event, Lane, SubscriptionStats, Timing, json};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

#[test]
fn a_new_bus_has_nothing_to_report_but_its_shape() {
    let bus = Bus::builder().default_lane(Lane::new("main").capacity(10)).lane(Lane::new("io").capacity(3));
    let bus = bus.dead_letters(5).build().unwrap();
    let stats = bus.stats();
    assert_eq!((stats.active_subscriptions, stats.topics, stats.emitted, stats.pending), (0, 0, 0, 0));
    let lanes: Vec<_> =
        stats.lanes.iter().map(|lane| (&*lane.name, lane.capacity, lane.len, lane.free_slots)).collect();
    assert_eq!(lanes, [("main", 10, 0, 10), ("io", 3, 0, 3)]);
    let letters = stats.dead_letters;
    assert_eq!((letters.len, letters.capacity, letters.total, letters.overwritten), (0, 5, 0, 0));
    assert!(stats.subscriptions.is_empty() && stats.audit.is_none());
}

#[test]
fn each_subscription_is_reported_with_what_its_handler_did() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let odd = |event: &Event<'_>| if event["n"].as_u64().unwrap().is_multiple_of(2) { Ok(()) } else { Err("odd") };
    bus.on("a.*").name("picky").priority(7).lane("io").handle(odd).unwrap();
    let gone = bus.on("*").name("gone").handle(|_| ()).unwrap();
    bus.on("a.b").inline().handle(|_| ()).unwrap();
    (0..5).for_each(|n| assert!(bus.emit_and_wait("a.b", json!({"n": n})).is_ok()));
    assert!(bus.unsubscribe(gone));
    assert!(bus.shutdown(GUARD).drained);
    let stats = bus.stats();
    assert_eq!(stats.active_subscriptions, 2);
    let row = |row: &SubscriptionStats| {
        let text = (row.name.clone(), row.pattern.clone(), row.lane.clone());
        (text, row.priority, row.handled, row.failed)
    };
    let text = |name: &str, pattern: &str, lane: &str| (name.to_owned(), pattern.to_owned(), lane.to_owned());
    assert_eq!(row(&stats.subscriptions[0]), (text("picky", "a.*", "io"), 7, 3, 2));
    assert_eq!(row(&stats.subscriptions[1]), (text("a.b", "a.b", "inline"), 100, 5, 0));
    assert!(stats.subscriptions[0].id < stats.subscriptions[1].id);
}

#[test]
fn lanes_topics_and_emits_are_counted() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("a", |_| Err("no")).unwrap();
    bus.subscribe("b", |_| ()).unwrap();
    for topic in ["a", "b", "b", "c", "not a topic"] {
        let _ = bus.emit(topic, ());
    }
    assert!(bus.shutdown(GUARD).drained);
    let _ = bus.emit("a", ());
    let stats = bus.stats();
    assert_eq!(stats.emitted, 6, "refused ones are emits too");
    assert!(stats.topics >= 3);
    let lane = &stats.lanes[0];
    assert_eq!((lane.handled, lane.failed, lane.dropped, lane.len), (2, 1, 0, 0));
    assert_eq!(stats.pending, 0);
}

#[test]
fn what_waits_and_what_the_worker_has_in_hand_is_pending() {
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(5)).build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", handler).unwrap();
    bus.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", ()).unwrap();
    bus.emit("t", ()).unwrap();
    let stats = bus.stats();
    assert_eq!((stats.pending, stats.lanes[0].len, stats.lanes[0].free_slots), (3, 2, 3));
    drop(go);
    assert!(bus.shutdown(GUARD).drained);
    assert_eq!(bus.stats().pending, 0);
}

#[test]
fn handlers_are_timed_as_the_builder_says() {
    for (timing, timed) in [
        (Timing::Every, true),
        (Timing::Sampled(1), true),
        (Timing::Sampled(7), true),
        (Timing::Off, false),
        (Timing::Sampled(0), false),
        (Timing::Sampled(u32::MAX), false),
    ] {
        let bus = Bus::builder().timing(timing).build().unwrap();
        bus.on("t").inline().handle(|_| ()).unwrap();
        bus.on("t").handle(|_| Err("a failure is timed too")).unwrap();
        bus.on("never.emitted").handle(|_| ()).unwrap();
        (0..20).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
        assert!(bus.shutdown(GUARD).drained);
        let stats = bus.stats();
        for row in &stats.subscriptions[..2] {
            assert_eq!((row.p50.is_some(), row.p99.is_some()), (timed, timed), "{timing:?}");
            assert!(row.p50 <= row.p99);
        }
        assert_eq!(stats.subscriptions[2].p50, None, "nothing was called, nothing was timed");
    }
}

#[test]
fn statistics_are_json_for_whoever_wants_them() {
    let bus = Bus::builder().timing(Timing::Every).build().unwrap();
    bus.on("t").name("bad").inline().handle(|_| Err("no")).unwrap();
    bus.emit("t", ()).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    let json = serde_json::to_value(bus.stats()).unwrap();
    assert_eq!(json["emitted"], 1);
    assert_eq!(json["subscriptions"][0]["name"], "bad");
    assert_eq!(json["subscriptions"][0]["failed"], 1);
    assert!(json["subscriptions"][0]["p50"].is_object());
    assert_eq!(json["lanes"][0]["name"], "default");
    assert_eq!(json["dead_letters"]["by_reason"], json!({"handler_error": 1}));
    assert!(json["audit"].is_null());
    let ledger = serde_json::to_value(bus.ledger()).unwrap();
    assert_eq!(ledger["lanes"][0]["deliveries"]["failed"], 1);
}
