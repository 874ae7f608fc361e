//! Handlers that do not return in time: their event is saved, their lane goes on, and every delivery has one outcome.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nervebus::{Builder, Bus, EmitError, Event, Lane, ManualClock, Overflow, Reason, SubscribeError, json};

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
fn stuck_handlers_on_one_lane_hold_up_neither_its_other_handlers_nor_other_lanes() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).lane(Lane::new("healthy")).max_abandoned(4).build().unwrap();
    let ends = Arc::default();
    let (handler, begun) = never(&ends);
    bus.on("stuck").timeout(SECOND).handle(handler).unwrap();
    bus.on("fine").handle(|_| ()).unwrap();
    bus.on("other").lane("healthy").handle(|_| ()).unwrap();
    for round in 1..=4 {
        bus.emit("stuck", round).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        assert!(bus.emit_and_wait("other", round).unwrap().all_handled(), "another lane does not even notice");
        clock.advance(SECOND);
        assert!(bus.emit_and_wait("fine", round).unwrap().all_handled());
        assert_eq!((bus.stats().lanes[0].stuck, bus.stats().lanes[0].healthy), (round, true));
    }
    let of = bus.ledger().deliveries();
    assert_eq!((of.timed_out, of.handled), (4, 8));
    ends.lock().unwrap().clear();
    end(&bus);
    assert_eq!(bus.stats().lanes[1].timed_out, 0);
}

#[test]
fn beyond_the_limit_the_lane_says_so_refuses_at_once_and_recovers_when_a_handler_returns() {
    let clock = ManualClock::new();
    let narrow = Lane::new("narrow").capacity(2).overflow(Overflow::Block);
    let bus = bus_on(&clock).default_lane(narrow).max_abandoned(1).build().unwrap();
    let ends = Arc::default();
    let (handler, begun) = never(&ends);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    bus.on("stuck").name("never").timeout(SECOND).handle(handler).unwrap();
    let last = bus.on("stuck").priority(1).handle(move |event| note.lock().unwrap().push(event.seq())).unwrap();
    bus.on("fine").handle(|_| ()).unwrap();
    let (sender, records) = mpsc::channel();
    let copy = move |event: &Event<'_>| sender.send((event.topic().to_owned(), event.payload().clone())).unwrap();
    bus.on("system.*").inline().handle(copy).unwrap();
    for n in [1, 2] {
        bus.emit("stuck", n).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        if n == 2 {
            // One emitter waits when the lane loses its worker.
            bus.emit("fine", 0).unwrap();
            bus.emit("fine", 0).unwrap();
            let (emitter, entered) = (bus.clone(), bus.ledger().emitting);
            let waiting = thread::spawn(move || emitter.emit("fine", 7));
            until(|| bus.ledger().emitting > entered);
            clock.advance(SECOND);
            let error = waiting.join().unwrap().unwrap_err();
            assert!(matches!(error, EmitError::Full { payload: 7, .. }), "{error}");
        } else {
            clock.advance(SECOND);
            until(|| is_quiet(&bus));
        }
    }
    until(|| !bus.stats().lanes[0].healthy);
    assert_eq!(bus.stats().lanes[0].stuck, 2);
    assert!(bus.emit("fine", 1).unwrap_err().is_full(), "nobody waits for a lane that nobody serves");
    assert_eq!(*seen.lock().unwrap(), [1], "the second event's other handler waits for a worker");
    let said: Vec<_> = records.try_iter().collect();
    let topics: Vec<_> = said.iter().map(|(topic, _)| &**topic).collect();
    assert_eq!(topics, ["system.handler_timeout", "system.handler_timeout", "system.lane_unhealthy"]);
    assert_eq!((&said[2].1["lane"], &said[2].1["stuck"]), (&json!("narrow"), &json!(["never", "never"])));
    assert_eq!(bus.dead_letters().by_reason()["handler_timeout"], 2, "which needs no worker");

    ends.lock().unwrap().remove(0);
    until(|| bus.stats().lanes[0].healthy && is_quiet(&bus));
    assert_eq!(records.recv_timeout(GUARD).unwrap().0, "system.lane_recovered");
    assert_eq!(seen.lock().unwrap().len(), 2, "and the second event's other handler has had its turn");
    assert!(bus.emit_and_wait("fine", 2).unwrap().all_handled());
    assert_eq!((bus.stats().lanes[0].stuck, bus.stats().lanes[0].late), (1, 1));
    ends.lock().unwrap().clear();
    assert!(bus.unsubscribe(last));
    end(&bus);
    assert!(records.try_iter().next().is_none(), "each was said once");
}

#[test]
fn with_no_thread_to_spare_the_lane_waits_for_its_own() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).max_abandoned(0).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").timeout(SECOND).handle(handler).unwrap();
    (1..=3).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    for n in 1..=3 {
        assert_eq!(begun.recv_timeout(GUARD), Ok(n));
        clock.advance(SECOND);
        until(|| !bus.stats().lanes[0].healthy);
        go.send(()).unwrap();
        until(|| bus.stats().lanes[0].healthy);
    }
    end(&bus);
    let of = bus.ledger().deliveries();
    assert_eq!((of.timed_out, of.handled, bus.stats().lanes[0].late), (3, 0, 3));
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
fn a_default_applies_to_lanes_but_not_inline_and_can_be_turned_off() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).handler_timeout(Some(SECOND)).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let look = move |event: &Event<'_>| sender.send(event.deadline()).unwrap();
    bus.on("t").handle(look.clone()).unwrap();
    bus.on("t").timeout(SECOND * 5).handle(look.clone()).unwrap();
    bus.on("t").timeout(None).handle(look.clone()).unwrap();
    bus.on("t").inline().handle(look.clone()).unwrap();
    bus.on("t").inline().timeout(None).handle(look).unwrap();
    assert!(bus.emit_and_wait("t", 1).unwrap().all_handled());
    assert!(seen.try_iter().eq([None, None, Some(SECOND), Some(SECOND * 5), None]));
    end(&bus);
}

#[test]
fn what_cannot_be_a_timeout_is_refused_with_its_rule() {
    let bus = Bus::builder().build().unwrap();
    let day = Duration::from_secs(60 * 60 * 24);
    let ms = Duration::from_millis(1);
    for good in [ms, day] {
        assert!(bus.on("t").timeout(good).handle(|_| ()).is_ok());
        assert!(Bus::builder().handler_timeout(Some(good)).build().is_ok());
    }
    for bad in [Duration::ZERO, ms - NANO, day + NANO, Duration::MAX] {
        let error = bus.on("t").timeout(bad).handle(|_| ()).unwrap_err();
        assert!(matches!(error, SubscribeError::InvalidSetting { setting: "timeout", .. }), "{error}");
        assert!(error.to_string().contains("outside its range 1ms to 86400s"), "{error}");
        let error = Bus::builder().handler_timeout(Some(bad)).build().unwrap_err();
        assert!(error.to_string().starts_with("handler_timeout in nanoseconds is "), "{error}");
    }
    let error = bus.on("t").inline().timeout(SECOND).handle(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "timeout: an inline handler runs on the emitter's thread, and cannot have one");
    let error = Bus::builder().max_abandoned(1025).build().unwrap_err();
    assert_eq!(error.to_string(), "max_abandoned is 1025, outside its range 0..=1024");
    assert!(Bus::builder().max_abandoned(1024).build().is_ok());
}

#[test]
fn a_shutdown_names_the_handlers_that_have_not_returned_and_needs_them_for_nothing() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).build().unwrap();
    let ends = Arc::default();
    let (handler, begun) = never(&ends);
    bus.on("t").name("never").timeout(SECOND).handle(handler).unwrap();
    bus.on("t").name("last").handle(|_| ()).unwrap();
    bus.emit("t", 1).unwrap();
    bus.emit("t", 2).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let closing = bus.clone();
    let stopping = thread::spawn(move || closing.shutdown(SECOND * 3600));
    until(|| bus.emit("nobody", ()).is_err());
    clock.advance(SECOND);
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    let report = stopping.join().unwrap();
    assert!(report.drained && report.ledger.balanced(), "{report}\n{}", report.ledger);
    assert_eq!((report.handled, report.timed_out, report.left), (2, 2, 0));
    assert_eq!(report.lanes[0].stuck, ["never", "never"]);
    let text = r#"drained: 2 handled, 0 failed, 0 left, 2 timed out, 0 expired; lane "default": handlers ["never", "never"] have not returned"#;
    assert_eq!(report.to_string(), text);
    ends.lock().unwrap().clear();
    until(|| bus.stats().lanes[0].late == 2);
    assert!(bus.shutdown(GUARD).lanes[0].stuck.is_empty());
}

#[test]
fn a_shutdown_with_a_lane_without_a_worker_ends_at_its_deadline_and_accounts_for_everything() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).max_abandoned(0).build().unwrap();
    let ends = Arc::default();
    let (handler, begun) = never(&ends);
    bus.on("t").name("never").timeout(SECOND).handle(handler).unwrap();
    bus.on("t").name("last").handle(|_| ()).unwrap();
    (1..=3).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    until(|| !bus.stats().lanes[0].healthy);
    let closing = bus.clone();
    let stopping = thread::spawn(move || closing.shutdown(SECOND));
    until(|| clock.waiting() > 0);
    assert!(!stopping.is_finished());
    clock.advance(SECOND);
    let report = stopping.join().unwrap();
    assert!(!report.drained && report.ledger.balanced(), "{report}\n{}", report.ledger);
    let of = report.ledger.deliveries();
    assert_eq!((report.left, of.timed_out, of.dropped, of.pending), (3, 1, 5, 0), "{}", report.ledger);
    assert_eq!((report.lanes[0].stuck.len(), report.lanes[0].abandoned), (1, false));
    assert_eq!(bus.dead_letters().by_reason()["shutdown"], 3);
    ends.lock().unwrap().clear();
    until(|| bus.stats().lanes[0].late == 1);
    assert_eq!(bus.ledger().deliveries(), of, "which changes nothing");
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

/// Each call is told to return just when its time is up: whoever is first, the delivery has one outcome.
#[test]
fn timeouts_that_race_with_returns_leave_each_delivery_one_outcome() {
    const ROUNDS: u64 = 10_000;
    let clock = ManualClock::new();
    let bus = bus_on(&clock).max_abandoned(64).dead_letters(ROUNDS as usize).build().unwrap();
    let (handler, begun, go) = held();
    let ms = Duration::from_millis(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    bus.on("t").timeout(ms).handle(handler).unwrap();
    bus.on("t")
        .priority(1)
        .handle(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let (mover, moves) = mpsc::channel::<()>();
    let moved = clock.clone();
    let time = thread::spawn(move || moves.iter().for_each(|()| moved.advance(ms)));
    for round in 0..ROUNDS {
        bus.emit("t", round).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        mover.send(()).unwrap();
        // The further on, the longer the clock has to get ahead of the return.
        (0..round % 64).for_each(|_| std::hint::spin_loop());
        go.send(()).unwrap();
        until(|| is_quiet(&bus));
    }
    drop((mover, go));
    time.join().unwrap();
    end(&bus);
    let of = bus.ledger().deliveries();
    assert_eq!((of.routed, calls.load(Ordering::Relaxed) as u64), (2 * ROUNDS, ROUNDS));
    assert_eq!(of.handled - ROUNDS + of.timed_out, ROUNDS, "{}", bus.ledger());
    assert_eq!(bus.dead_letters().len() as u64, of.timed_out);
    until(|| bus.stats().lanes[0].late == of.timed_out);
}
