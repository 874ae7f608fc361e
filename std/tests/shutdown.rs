//! Shutting down: everything inside out, nothing more in, and a true account of what was left.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Bus, EmitError, Lane, Reason, Record, ShutdownReport, json};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A bus whose default lane is busy with its first event on `t`, with so many more waiting.
fn stuck(waiting: usize) -> (Bus, Sender<()>) {
    let bus = Bus::builder().lane(Lane::new("free")).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").name("stuck").handle(handler).unwrap();
    bus.emit("t", 0).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (1..=waiting).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    (bus, go)
}

fn balanced(report: &ShutdownReport) {
    assert!(report.ledger.balanced(), "{report}\n{}", report.ledger);
}

#[test]
fn everything_that_waits_is_delivered() {
    let (bus, go) = stuck(100);
    let (sender, seen) = mpsc::channel();
    bus.on("u").lane("free").handle(move |event| sender.send(*event.payload_as::<u32>().unwrap()).unwrap()).unwrap();
    (0..100).for_each(|n: u32| assert!(bus.emit("u", n).is_ok()));
    drop(go);
    let report = bus.shutdown(GUARD);
    assert!(report.drained, "{report}");
    balanced(&report);
    assert_eq!((report.handled, report.failed, report.left), (201, 0, 0));
    let lanes: Vec<_> =
        report.lanes.iter().map(|lane| (&*lane.name, lane.handled, lane.left, lane.abandoned)).collect();
    assert_eq!(lanes, [("default", 101, 0, false), ("free", 100, 0, false)]);
    assert!(seen.try_iter().eq(0..100));
    assert_eq!(report.to_string(), "drained: 201 handled, 0 failed, 0 left");
}

#[test]
fn a_bus_that_is_shut_down_refuses_everything_and_hands_it_back() {
    let bus = Bus::builder().build().unwrap();
    bus.on("*").inline().handle(|_| -> Result<(), String> { panic!("it was refused") }).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    let refused: [EmitError<&str>; 5] = [
        bus.emit("t", "payload").unwrap_err(),
        bus.try_emit("t", "payload").unwrap_err(),
        bus.emit_and_wait("t", "payload").unwrap_err(),
        bus.event("t", "payload").source("s").emit().unwrap_err(),
        bus.emit("not a topic", "payload").unwrap_err(),
    ];
    for error in refused {
        assert!(error.is_closed() && !error.is_full());
        assert_eq!(error.to_string(), "the bus is shutting down");
        assert!(matches!(error, EmitError::Closed { payload: "payload" }));
    }
    assert_eq!(bus.emit_record(Record::new("t", json!(1))).unwrap_err().into_payload(), json!(1));
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused), (6, 6));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn a_second_shutdown_reports_the_same() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("t", |_| Err("no")).unwrap();
    bus.emit("t", ()).unwrap();
    let first = bus.shutdown(GUARD);
    assert!(first.drained && first.failed == 1);
    assert_eq!(bus.shutdown(GUARD), first);
    assert_eq!(bus.shutdown(Duration::ZERO), first);
}

#[test]
fn two_threads_that_shut_down_at_once_both_see_it_drained() {
    for _ in 0..20 {
        let bus = Bus::builder().build().unwrap();
        bus.subscribe("t", |_| ()).unwrap();
        (0..50).for_each(|n| assert!(bus.emit("t", n).is_ok()));
        let start = Arc::new(Barrier::new(2));
        let threads = [(), ()].map(|()| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                bus.shutdown(GUARD)
            })
        });
        for report in threads.map(|thread| thread.join().unwrap()) {
            assert!(report.drained && report.handled == 50, "{report}");
        }
    }
}

#[test]
fn an_idle_bus_needs_no_time_at_all() {
    let bus = Bus::builder().lane(Lane::new("idle")).build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    let report = bus.shutdown(Duration::ZERO);
    assert!(report.lanes.iter().all(|lane| !lane.abandoned), "no worker is busy: {report}");
    assert!(report.drained && report.handled == 1, "{report}");
}

#[test]
fn the_longest_deadline_there_is_means_until_it_is_done() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    bus.emit("t", ()).unwrap();
    let report = bus.shutdown(Duration::MAX);
    assert!(report.drained && report.handled == 1);
}

#[test]
fn from_inside_a_handler_it_closes_the_bus_and_what_waits_is_still_delivered() {
    for inline in [false, true] {
        let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
        let (handler, begun, go) = held();
        bus.on("held").handle(handler).unwrap();
        let (weak, (sender, reports)) = (bus.downgrade(), mpsc::channel());
        let subscribe = if inline { bus.on("stop").inline() } else { bus.on("stop").lane("io") };
        subscribe
            .handle(move |_| {
                let bus = weak.upgrade().unwrap();
                sender.send((bus.shutdown(GUARD * 100), bus.emit("held", ()).is_err())).unwrap();
            })
            .unwrap();
        (0..10).for_each(|n| assert!(bus.emit("held", n).is_ok()));
        begun.recv_timeout(GUARD).unwrap();
        bus.emit("stop", ()).unwrap();
        let (report, refused) = reports.recv_timeout(GUARD).unwrap();
        assert!(!report.drained && refused, "it is closed, and nobody has waited: {report}");
        balanced(&report);
        drop(go);
        let report = bus.shutdown(GUARD);
        assert!(report.drained, "inline: {inline}, {report}");
        assert_eq!((report.handled, report.left), (11, 0));
        balanced(&report);
    }
}

#[test]
fn from_a_handler_of_another_bus_it_drains_like_from_anywhere() {
    for inline in [true, false] {
        let (bus, go) = stuck(3);
        drop(go);
        let outer = Bus::builder().build().unwrap();
        let (sender, reports) = mpsc::channel();
        let inner = bus.clone();
        let subscribe = if inline { outer.on("stop").inline() } else { outer.on("stop") };
        subscribe.handle(move |_| sender.send(inner.shutdown(GUARD)).unwrap()).unwrap();
        outer.emit("stop", ()).unwrap();
        let report = reports.recv_timeout(GUARD * 2).unwrap();
        assert!(report.drained, "this thread is no handler of that bus, inline: {inline}: {report}");
        assert_eq!(report.handled, 4);
    }
}

#[test]
fn what_a_stuck_handler_leaves_becomes_dead_letters_and_the_other_lanes_drain() {
    let (bus, go) = stuck(3);
    let second = bus.on("t").name("second").handle(|_| ()).unwrap();
    bus.emit("t", 4_usize).unwrap();
    bus.on("u").lane("free").handle(|_| ()).unwrap();
    assert!(bus.emit_and_wait("u", ()).unwrap().all_handled());

    let report = bus.shutdown(Duration::from_millis(5));
    assert!(!report.drained);
    assert_eq!(report.left, 4);
    let lanes: Vec<_> = report.lanes.iter().map(|lane| (&*lane.name, lane.left, lane.abandoned)).collect();
    assert_eq!(lanes, [("default", 4, true), ("free", 0, false)]);
    let text = r#"not drained: 1 handled, 0 failed, 4 left; lane "default": 4 left, its worker still busy"#;
    assert_eq!(report.to_string(), text);
    balanced(&report);
    let account = &report.ledger.lanes[1];
    assert_eq!((account.deliveries.dropped, account.dropped_events), (5, 4), "the last one was for two handlers");
    assert_eq!((account.deliveries.pending, account.pending_events), (1, 1), "and one is in the worker's hands");

    let letters = bus.dead_letters().list();
    let left: Vec<_> = letters.iter().map(|letter| *letter.event.as_event().payload_as::<usize>().unwrap()).collect();
    assert_eq!(left[..3], [1, 2, 3]);
    assert!(letters.iter().all(|letter| letter.reason == Reason::Shutdown && letter.attempts == 0));
    assert!(letters.iter().all(|letter| letter.subscription.is_none() && &*letter.handler == "default"));
    assert!(letters[0].error.contains("shut down"), "{}", letters[0].error);
    assert_eq!(bus.dead_letters().by_reason()["shutdown"], 4);

    drop(go);
    let end = bus.shutdown(GUARD);
    assert_eq!((end.handled, end.left, end.lanes[0].abandoned), (2, 4, false), "the late call is counted");
    assert!(!end.drained, "what was left stays left");
    assert_eq!(end.ledger.deliveries().pending, 0);
    balanced(&end);
    assert!(bus.unsubscribe(second));
}

#[test]
fn records_of_failures_that_a_stuck_handler_leaves_are_accounted_for_too() {
    let bus = Bus::builder().default_lane(Lane::new("narrow").capacity(1)).build().unwrap();
    let ((first, first_begun, go_first), (watcher, watcher_begun, go_watcher)) = (held(), held());
    bus.on("t")
        .handle(move |event| {
            first(event);
            Err("one")
        })
        .unwrap();
    bus.on("t").handle(|_| Err("two")).unwrap();
    bus.on("system.*").handle(watcher).unwrap();
    bus.emit("t", ()).unwrap();
    first_begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", ()).unwrap();
    // Two records find the ring full, and come after the event in there. Two more come after them; the worker gets stuck
    // with the first.
    go_first.send(()).unwrap();
    first_begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", ()).unwrap();
    go_first.send(()).unwrap();
    watcher_begun.recv_timeout(GUARD).unwrap();
    let report = bus.shutdown(Duration::ZERO);
    let account = &report.ledger.lanes[1];
    assert_eq!(
        (report.left, account.pending_events),
        (4, 1),
        "one event and three records are left: {}",
        report.ledger
    );
    balanced(&report);
    let letters = bus.dead_letters().list();
    let left = letters.iter().filter(|letter| letter.reason == Reason::Shutdown);
    assert_eq!(left.count(), 4);
    drop((go_first, go_watcher));
}

#[test]
fn failures_while_draining_leave_their_records() {
    let bus = Bus::builder().lane(Lane::new("watch")).build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", move |event| {
        handler(event);
        Err("no")
    })
    .unwrap();
    let (sender, records) = mpsc::channel();
    bus.on("system.*").lane("watch").handle(move |event| sender.send(event["error"].clone()).unwrap()).unwrap();
    (0..10).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    let stopping = {
        let bus = bus.clone();
        thread::spawn(move || bus.shutdown(GUARD))
    };
    let since = Instant::now();
    while bus.subscribe("t", |_| ()).is_ok() {
        assert!(since.elapsed() < GUARD, "it does not close");
        thread::yield_now();
    }
    drop(go);
    let report = stopping.join().unwrap();
    assert!(report.drained, "{report}");
    assert_eq!((report.ledger.system, report.ledger.system_lost), (10, 0));
    assert_eq!(records.try_iter().filter(|error| error == "no").count(), 10);
    balanced(&report);
}

#[test]
fn a_handler_that_emits_while_draining_is_refused_and_goes_on() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    let (weak, (sender, refused)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("t", move |event| {
        handler(event);
        let closed = weak.upgrade().unwrap().emit("inner", 7).unwrap_err();
        sender.send((closed.is_closed(), closed.into_payload())).unwrap();
    })
    .unwrap();
    bus.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let stopping = {
        let bus = bus.clone();
        thread::spawn(move || bus.shutdown(GUARD))
    };
    let since = Instant::now();
    while bus.emit("other", ()).is_ok() {
        assert!(since.elapsed() < GUARD, "it does not close");
        thread::yield_now();
    }
    drop(go);
    let report = stopping.join().unwrap();
    assert!(report.drained && report.handled == 1, "{report}");
    assert_eq!(refused.try_recv(), Ok((true, 7)));
    balanced(&report);
}

#[test]
fn an_emitter_that_waits_for_room_is_refused_when_the_deadline_has_passed() {
    let bus = Bus::builder().default_lane(Lane::new("narrow").capacity(1)).build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", handler).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2).unwrap();
    let waiting = {
        let bus = bus.clone();
        thread::spawn(move || bus.emit("t", 3).unwrap_err())
    };
    let since = Instant::now();
    while bus.ledger().emitting == 0 {
        assert!(since.elapsed() < GUARD, "the emitter does not wait");
        thread::yield_now();
    }
    let report = bus.shutdown(Duration::from_millis(5));
    assert!(!report.drained && report.left == 1, "{report}");
    balanced(&report);
    let error = waiting.join().unwrap();
    assert!(matches!(error, EmitError::Closed { payload: 3 }), "{error}");
    drop(go);
    let end = bus.shutdown(GUARD);
    assert_eq!((end.ledger.emitted, end.ledger.routed, end.ledger.refused, end.ledger.emitting), (3, 2, 1, 0));
    balanced(&end);
}

#[test]
fn emitters_that_race_with_it_are_all_accounted_for() {
    for round in 0..10 {
        let bus = Bus::builder().default_lane(Lane::new("default").capacity(16)).build().unwrap();
        let (sender, seen) = mpsc::channel();
        bus.subscribe("t", move |event| sender.send(event.seq()).unwrap()).unwrap();
        let emitters: Vec<_> = (0..4)
            .map(|emitter: u64| {
                let bus = bus.clone();
                thread::spawn(move || {
                    let mut admitted = Vec::new();
                    loop {
                        match bus.emit("t", emitter) {
                            Ok(receipt) => admitted.push(receipt.seq()),
                            Err(error) => {
                                assert!(error.is_closed(), "{error}");
                                assert_eq!(error.into_payload(), emitter);
                                return admitted;
                            }
                        }
                    }
                })
            })
            .collect();
        (0..round * 20).for_each(|_| assert!(seen.recv_timeout(GUARD).is_ok()));
        let report = bus.shutdown(GUARD);
        assert!(report.drained, "{report}");
        let admitted: usize = emitters.into_iter().map(|emitter| emitter.join().unwrap().len()).sum();
        let ledger = bus.ledger();
        assert!(ledger.balanced(), "{ledger}");
        assert_eq!((ledger.routed, ledger.refused), (admitted as u64, 4));
        assert_eq!(ledger.emitted, report.handled + ledger.refused);
        assert_eq!(seen.try_iter().count() + round * 20, admitted, "what was admitted was handled");
    }
}

#[test]
fn a_report_is_json_for_whoever_wants_it() {
    let bus = Bus::builder().build().unwrap();
    let json = serde_json::to_value(bus.shutdown(GUARD)).unwrap();
    assert_eq!(json["drained"], true);
    assert_eq!(json["lanes"][0]["name"], "default");
    assert_eq!(json["ledger"]["emitted"], 0);
}
