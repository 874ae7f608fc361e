//! The lane of a handler that does not return: who goes on, who is refused, and what is counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nervebus::{EmitError, Event, Lane, ManualClock, Overflow, json};

use super::held::held;
use super::until::{GUARD, until};
use super::{SECOND, bus_on, end, is_quiet, never};

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
