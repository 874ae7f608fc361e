//! Handlers that do not return in time: their event is saved, their lane goes on, and every delivery has one outcome.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "../support/held.rs"]
mod held;
mod lane;
mod limit;
mod shutdown;
#[path = "../support/until.rs"]
mod until;

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nervebus::{Builder, Bus, Event, Lane, ManualClock, Reason, json};

use held::held;
use until::{GUARD, until};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// A handler that never returns before the test ends: each call waits on a channel of its own.
fn never(ends: &Arc<Mutex<Vec<Sender<()>>>>) -> (impl Fn(&Event<'_>) + Send + Sync + 'static, Receiver<u64>) {
    let ((begin, begun), ends) = (mpsc::channel(), Arc::clone(ends));
    let handler = move |event: &Event<'_>| {
        let (end, ended) = mpsc::channel();
        ends.lock().unwrap().push(end);
        let _ = begin.send(event.seq());
        let _ = ended.recv();
    };
    (handler, begun)
}

fn bus_on(clock: &ManualClock) -> Builder {
    Bus::builder().clock(clock)
}

fn is_quiet(bus: &Bus) -> bool {
    bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0)
}

/// Ends the bus, and holds its books against each other.
fn end(bus: &Bus) {
    let report = bus.shutdown(GUARD);
    let ledger = &report.ledger;
    assert!(report.drained && ledger.balanced(), "{report}\n{ledger}");
    let of = ledger.deliveries();
    assert_eq!(of.pending, 0, "{ledger}");
    assert_eq!((report.handled, report.failed, report.timed_out), (of.handled, of.failed, of.timed_out));
    let lanes: u64 = report.lanes.iter().map(|lane| lane.timed_out).sum();
    assert_eq!(lanes, report.timed_out);
}

#[test]
fn a_call_that_takes_too_long_is_given_up_at_its_deadline_and_not_a_nanosecond_before() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let (handler, begun, go) = held();
    let id = bus.on("t").name("slow").timeout(SECOND).handle(handler).unwrap();
    let (sender, records) = mpsc::channel();
    let copy = move |event: &Event<'_>| sender.send(event.payload().clone()).unwrap();
    bus.on("system.handler_timeout").inline().handle(copy).unwrap();
    bus.emit("t", json!({"sku": 7})).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND - NANO);
    (0..20_000).for_each(|_| thread::yield_now());
    assert_eq!((bus.ledger().deliveries().timed_out, bus.dead_letters().len()), (0, 0));
    clock.advance(NANO);
    let record = records.recv_timeout(GUARD).unwrap();
    assert_eq!((&record["handler"], &record["error_type"]), (&json!("slow"), &json!("timeout")));
    assert_eq!(
        (&record["event_type"], &record["subscription"], &record["lane"]),
        (&json!("t"), &json!(id.get()), &json!("default"))
    );
    until(|| is_quiet(&bus));
    let letter = &bus.dead_letters().list()[0];
    assert_eq!((letter.reason, letter.subscription, letter.attempts), (Reason::HandlerTimeout, Some(id), 1));
    assert_eq!(letter.error, "did not return within 1s");
    assert_eq!(letter.event.as_event()["sku"], 7, "the payload is there, though the handler still reads it");
    let of = bus.ledger().deliveries();
    assert_eq!((of.timed_out, of.handled, of.failed, of.pending), (1, 1, 0, 0), "the record's is handled");
    assert_eq!(bus.ledger().subscriptions[0].timed_out, 1);
    let lane = &bus.stats().lanes[0];
    assert_eq!((lane.timed_out, lane.stuck, lane.late, lane.healthy), (1, 1, 0, true));

    drop(go);
    until(|| bus.stats().lanes[0].late == 1);
    assert_eq!(bus.stats().lanes[0].stuck, 0);
    assert_eq!((bus.ledger().deliveries(), bus.dead_letters().len()), (of, 1), "its result is discarded");
    end(&bus);
}

#[test]
fn a_call_that_ends_in_time_is_a_call_like_any_other() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    bus.on("t").timeout(SECOND).handle(|event| if event["fail"] == true { Err("no") } else { Ok(()) }).unwrap();
    assert!(bus.emit_and_wait("t", json!({})).unwrap().all_handled());
    let report = bus.emit_and_wait("t", json!({"fail": true})).unwrap();
    assert_eq!(report.outcomes[0].result.as_ref().unwrap_err().kind(), "error");
    clock.advance(SECOND * 60);
    bus.emit("t", json!({})).unwrap();
    until(|| bus.ledger().deliveries().handled == 2);
    let letter = &bus.dead_letters().list()[0];
    assert_eq!((letter.reason, &*letter.error, letter.attempts), (Reason::HandlerError, "no", 1));
    assert_eq!(bus.ledger().deliveries().timed_out, 0);
    end(&bus);
}

#[test]
fn the_other_handlers_of_the_event_run_exactly_once_in_order_and_the_lane_goes_on_in_order() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let ends = Arc::default();
    let (stuck, begun) = never(&ends);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let seen = Arc::clone(&seen);
        move |event: &Event<'_>| seen.lock().unwrap().push((event.seq(), name))
    };
    bus.on("t").priority(90).handle(note("last")).unwrap();
    bus.on("t").handle(note("before")).unwrap();
    bus.on("t")
        .name("stuck")
        .timeout(SECOND)
        .handle(move |event| {
            if event.seq() == 1 {
                stuck(event)
            }
        })
        .unwrap();
    let gone = bus.on("t").handle(note("gone")).unwrap();
    bus.on("t").handle(note("behind")).unwrap();
    bus.on("t").priority(200).handle(note("first")).unwrap();
    (1..=3).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    bus.unsubscribe(gone);
    let late = bus.on("t").priority(1).handle(note("later")).unwrap();
    clock.advance(SECOND);
    until(|| is_quiet(&bus));
    let expected: Vec<_> =
        (1..=3).flat_map(|seq| ["first", "before", "behind", "last"].map(|name| (seq, name))).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
    let of = bus.ledger().deliveries();
    assert_eq!((of.routed, of.handled, of.timed_out, of.cancelled), (18, 14, 1, 3), "2 of the 14 by `stuck`");
    ends.lock().unwrap().clear();
    assert!(bus.unsubscribe(late));
    end(&bus);
}

#[test]
fn what_failed_before_the_call_got_stuck_is_a_dead_letter_as_well() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").priority(200).name("first").handle(|_| Err("no")).unwrap();
    bus.on("t").name("stuck").timeout(SECOND).handle(handler).unwrap();
    bus.on("t").priority(1).name("last").handle(|_| Err("no more")).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    until(|| is_quiet(&bus));
    let letters = bus.dead_letters().list();
    let said: Vec<_> = letters.iter().map(|letter| (&*letter.handler, letter.reason)).collect();
    let expected = [("first", Reason::HandlerError), ("stuck", Reason::HandlerTimeout), ("last", Reason::HandlerError)];
    assert_eq!(said, expected);
    assert!(letters.iter().all(|letter| letter.event.as_event().payload_as() == Some(&1)));
    let of = bus.ledger().deliveries();
    assert_eq!((of.failed, of.timed_out), (2, 1));
    drop(go);
    end(&bus);
}

#[test]
fn two_handlers_of_one_event_may_both_get_stuck() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let ends = Arc::default();
    let ((first, first_begun), (second, second_begun)) = (never(&ends), never(&ends));
    bus.on("t").name("first").timeout(SECOND).handle(first).unwrap();
    bus.on("t").name("second").timeout(SECOND).handle(second).unwrap();
    bus.on("t").name("third").handle(|_| ()).unwrap();
    bus.emit("t", "payload").unwrap();
    first_begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    second_begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    until(|| is_quiet(&bus));
    let letters = bus.dead_letters().list();
    assert_eq!(letters.iter().map(|letter| &*letter.handler).collect::<Vec<_>>(), ["first", "second"]);
    assert!(letters.iter().all(|letter| letter.event.as_event().payload_as() == Some(&"payload")));
    let of = bus.ledger().deliveries();
    assert_eq!((of.timed_out, of.handled), (2, 1));
    ends.lock().unwrap().clear();
    end(&bus);
}

#[test]
fn whoever_waits_for_an_event_waits_no_longer_than_its_handlers_may_take() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).max_abandoned(0).lane(Lane::new("io")).build().unwrap();
    let ends = Arc::default();
    let ((first, first_begun), (second, second_begun)) = (never(&ends), never(&ends));
    bus.on("t").name("first").timeout(SECOND).handle(first).unwrap();
    bus.on("t").name("second").lane("io").timeout(SECOND * 2).handle(second).unwrap();
    bus.on("t").name("inline").inline().handle(|_| ()).unwrap();
    let emitter = bus.clone();
    let waiting = thread::spawn(move || emitter.emit_and_wait("t", ()).unwrap());
    first_begun.recv_timeout(GUARD).unwrap();
    second_begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    until(|| bus.ledger().deliveries().timed_out == 1);
    assert!(!waiting.is_finished());
    clock.advance(SECOND);
    let report = waiting.join().unwrap();
    let said: Vec<_> = report.outcomes.iter().map(|outcome| (&*outcome.handler, outcome.result.is_ok())).collect();
    assert_eq!(said, [("inline", true), ("first", false), ("second", false)]);
    let error = report.outcomes[2].result.as_ref().unwrap_err();
    assert_eq!((error.kind(), error.to_string()), ("timeout", "did not return within 2s".into()));
    assert_eq!((report.unfinished, report.not_delivered), (0, 0), "{report}");
    assert_eq!(bus.dead_letters().len(), 2, "the dead letters are there when the emitter is told");
    ends.lock().unwrap().clear();
    end(&bus);
}

#[test]
fn a_handler_sees_what_is_left_of_its_time_and_that_nobody_waits_any_more() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let (handler, begun, go) = held();
    let (sender, seen) = mpsc::channel();
    let look = move |event: &Event<'_>| sender.send((event.deadline(), event.is_abandoned())).unwrap();
    let again = look.clone();
    bus.on("t")
        .timeout(SECOND)
        .handle(move |event| {
            look(event);
            handler(event);
            look(event);
        })
        .unwrap();
    bus.on("t").priority(1).handle(again).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND * 2);
    until(|| is_quiet(&bus));
    drop(go);
    let said: Vec<_> = (0..3).map(|_| seen.recv_timeout(GUARD).unwrap()).collect();
    assert_eq!(said, [(Some(SECOND), false), (None, false), (Some(Duration::ZERO), true)]);
    end(&bus);
}

#[test]
fn the_wall_clock_ends_no_call_and_saves_none() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").timeout(SECOND).handle(handler).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    clock.set_wall(UNIX_EPOCH + SECOND * 60 * 60 * 24 * 365 * 80);
    (0..20_000).for_each(|_| thread::yield_now());
    assert_eq!(bus.ledger().deliveries().timed_out, 0);
    clock.set_wall(UNIX_EPOCH);
    clock.advance(SECOND);
    until(|| bus.ledger().deliveries().timed_out == 1);
    drop(go);
    end(&bus);
}
