//! Waiting for an event's handlers: every outcome is reported, and nobody waits for ever.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;

use std::sync::Mutex;
use std::sync::mpsc::{self};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Bus, EmitError, Lane, Overflow, Report, json};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Name and error of each outcome.
fn told(report: &Report) -> Vec<(String, Option<String>)> {
    let outcomes = report.outcomes.iter();
    outcomes
        .map(|outcome| {
            let error = outcome.result.as_ref().err().map(ToString::to_string);
            (outcome.handler.to_string(), error)
        })
        .collect()
}

/// Waits until this many events lie in the default lane's ring.
fn until_waiting(bus: &Bus, events: usize) {
    let since = Instant::now();
    while bus.stats().lanes[0].len < events {
        assert!(since.elapsed() < GUARD, "the events do not come");
        thread::yield_now();
    }
}

#[test]
fn every_handler_is_reported_with_its_name_and_result_in_the_order_of_the_calls() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").name("late").handle(|_| Err("queued and failed")).unwrap();
    bus.on("t").name("early").priority(200).handle(|_| ()).unwrap();
    bus.on("t").name("inline, low").inline().priority(1).handle(|_| ()).unwrap();
    let id = bus.on("t").name("inline, high").inline().handle(|_| Err("inline and failed")).unwrap();
    let report = bus.emit_and_wait("t", json!({})).unwrap();
    let expected = [
        ("inline, high", Some("inline and failed")),
        ("inline, low", None),
        ("early", None),
        ("late", Some("queued and failed")),
    ];
    let expected = expected.map(|(name, error)| (name.to_owned(), error.map(str::to_owned)));
    assert_eq!(told(&report), expected);
    assert_eq!(report.outcomes[0].subscription, id);
    assert_eq!((report.not_delivered, report.unfinished, report.failures().count()), (0, 0, 2));
    assert!(!report.all_handled());
    assert_eq!((report.receipt.inline().handled, report.receipt.inline().failed, report.receipt.admitted()), (1, 1, 1));
    assert_eq!(report.to_string(), "2 handled, 2 failed, 0 not delivered, 0 unfinished");
}

#[test]
fn handlers_of_several_lanes_are_all_waited_for() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").lane("a").name("slow").handle(handler).unwrap();
    bus.on("t").lane("b").name("quick").handle(|_| ()).unwrap();
    let waiting = {
        let bus = bus.clone();
        thread::spawn(move || bus.emit_and_wait("t", json!({})).unwrap())
    };
    begun.recv_timeout(GUARD).unwrap();
    assert!(!waiting.is_finished(), "one handler is still at it");
    go.send(()).unwrap();
    let mut told = told(&waiting.join().unwrap());
    told.sort();
    assert_eq!(told, [("quick".to_owned(), None), ("slow".to_owned(), None)]);
}

#[test]
fn a_panic_is_an_outcome_like_an_error() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").name("bad").handle(|_| -> Result<(), String> { panic!("lost my head") }).unwrap();
    let report = bus.emit_and_wait("t", json!({})).unwrap();
    assert_eq!(told(&report), [("bad".to_owned(), Some("panicked: lost my head".to_owned()))]);
    assert_eq!(report.failures().next().unwrap().result.as_ref().unwrap_err().kind(), "panic");
}

#[test]
fn an_event_without_subscribers_has_nothing_to_wait_for() {
    let bus = Bus::builder().build().unwrap();
    let report = bus.emit_and_wait("t", json!({})).unwrap();
    assert!(report.receipt.is_unrouted() && report.outcomes.is_empty() && report.all_handled());
}

#[test]
fn a_handler_that_outlives_the_wait_limit_is_unfinished_and_runs_on() {
    let bus = Bus::builder().wait_limit(Duration::from_millis(1)).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").handle(handler).unwrap();
    bus.on("t").inline().name("quick").handle(|_| ()).unwrap();
    let report = bus.emit_and_wait("t", json!({})).unwrap();
    assert_eq!((report.unfinished, report.not_delivered, report.all_handled()), (1, 0, false));
    assert_eq!(told(&report), [("quick".to_owned(), None)]);
    begun.recv_timeout(GUARD).unwrap();
    go.send(()).unwrap();
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced());
    assert_eq!(end.handled, 2, "the late one is counted when it ends");
}

#[test]
fn a_handler_that_would_wait_for_its_own_lane_is_refused_and_gets_its_payload_back() {
    let bus = Bus::builder().lane(Lane::new("other")).build().unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("inner", |_| ()).unwrap();
    bus.on("elsewhere").lane("other").name("other").handle(|_| ()).unwrap();
    bus.subscribe("outer", move |_| {
        let bus = weak.upgrade().unwrap();
        let own = bus.emit_and_wait("inner", 7).map_err(|error| (error.to_string(), error.into_payload()));
        sender.send((own.map(|report| told(&report)), told(&bus.emit_and_wait("elsewhere", 8).unwrap()))).unwrap();
    })
    .unwrap();
    bus.emit("outer", json!({})).unwrap();
    let (own, other) = results.recv_timeout(GUARD).unwrap();
    assert_eq!(own, Err((r#"a handler of lane "default" cannot wait for handlers of that lane"#.to_owned(), 7)));
    assert_eq!(other, [("other".to_owned(), None)], "another lane can be waited for");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn an_inline_handler_can_wait_for_a_lane() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.on("inner").name("queued").handle(|_| ()).unwrap();
    bus.on("outer")
        .inline()
        .handle(move |_| {
            let report = weak.upgrade().unwrap().emit_and_wait("inner", json!({})).unwrap();
            sender.send(told(&report)).unwrap();
        })
        .unwrap();
    assert!(bus.emit_and_wait("outer", json!({})).unwrap().all_handled());
    assert_eq!(results.try_recv(), Ok(vec![("queued".to_owned(), None)]));
}

#[test]
fn what_the_lane_drops_is_not_delivered_and_not_waited_for() {
    for (overflow, older) in [(Overflow::DropNewest, false), (Overflow::DropOldest, true)] {
        let lane = Lane::new("narrow").capacity(1).overflow(overflow);
        let bus = Bus::builder().default_lane(lane).build().unwrap();
        let (handler, begun, go) = held();
        bus.subscribe("t", handler).unwrap();
        bus.emit("t", "in the worker's hands").unwrap();
        begun.recv_timeout(GUARD).unwrap();
        // The ring has room for one: of the two that come, one is dropped, and that one's emitter goes on at once.
        let report = if older {
            let first = bus.clone();
            let waiting = thread::spawn(move || first.emit_and_wait("t", "first").unwrap());
            until_waiting(&bus, 1);
            bus.emit("t", "second").unwrap();
            waiting.join().unwrap()
        } else {
            bus.emit("t", "first").unwrap();
            bus.emit_and_wait("t", "second").unwrap()
        };
        assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (0, 1, 0), "{overflow:?}");
        assert!(!report.all_handled());
        drop(go);
        assert!(bus.shutdown(GUARD).ledger.balanced());
    }
}

#[test]
fn a_full_lane_that_rejects_refuses_and_hands_the_payload_back() {
    let lane = Lane::new("narrow").capacity(1).overflow(Overflow::Reject);
    let bus = Bus::builder().default_lane(lane).build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", handler).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2).unwrap();
    let error = bus.emit_and_wait("t", 3).unwrap_err();
    assert!(matches!(error, EmitError::Full { lane, payload: 3 } if lane == "narrow"));
    drop(go);
}

#[test]
fn a_handler_unsubscribed_before_its_turn_is_not_delivered() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.on("first").handle(handler).unwrap();
    let id = bus.on("second").handle(|_| -> Result<(), String> { panic!("not any more") }).unwrap();
    bus.emit("first", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let waiting = {
        let bus = bus.clone();
        thread::spawn(move || bus.emit_and_wait("second", ()).unwrap())
    };
    until_waiting(&bus, 1);
    assert!(bus.unsubscribe(id));
    go.send(()).unwrap();
    let report = waiting.join().unwrap();
    assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (0, 1, 0));
}

#[test]
fn a_shutdown_that_leaves_the_event_tells_who_waits_for_it() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", handler).unwrap();
    bus.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let waiting = {
        let bus = bus.clone();
        thread::spawn(move || bus.emit_and_wait("t", ()).unwrap())
    };
    until_waiting(&bus, 1);
    let end = bus.shutdown(Duration::ZERO);
    assert_eq!(end.left, 1);
    let report = waiting.join().unwrap();
    assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (0, 1, 0));
    drop(go);
}

#[test]
fn an_event_with_more_to_say_can_be_waited_for_too() {
    let bus = Bus::builder().build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.subscribe("t", move |event| sender.send(event.source().map(str::to_owned)).unwrap()).unwrap();
    assert!(bus.event("t", ()).source("shop").emit_and_wait().unwrap().all_handled());
    assert_eq!(seen.try_recv(), Ok(Some("shop".to_owned())), "the handler has run");
}

#[test]
fn two_emitters_that_wait_get_their_own_outcomes() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("gate", handler).unwrap();
    bus.subscribe("t", |event| if event["fail"] == true { Err("asked to") } else { Ok(()) }).unwrap();
    bus.emit("gate", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let waiting = [true, false].map(|fail| {
        let bus = bus.clone();
        thread::spawn(move || bus.emit_and_wait("t", json!({"fail": fail})).unwrap().all_handled())
    });
    until_waiting(&bus, 2);
    go.send(()).unwrap();
    assert_eq!(waiting.map(|thread| thread.join().unwrap()), [false, true]);
}

#[test]
fn the_wait_limit_holds_for_a_lane_that_is_full_too() {
    let lane = Lane::new("small").capacity(1);
    let bus = Bus::builder().lane(lane).wait_limit(Duration::from_millis(20)).build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let (entered, inside) = mpsc::channel();
    bus.on("topic.slow")
        .lane("small")
        .handle(move |_| {
            let _ = entered.send(());
            let _ = released.lock().unwrap().recv_timeout(GUARD);
        })
        .unwrap();
    bus.emit("topic.slow", 1).unwrap();
    inside.recv_timeout(GUARD).unwrap();
    bus.emit("topic.slow", 2).unwrap();
    let error = bus.emit_and_wait("topic.slow", 3).unwrap_err();
    assert!(error.is_full() && error.into_payload() == 3);
    drop(release);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}
