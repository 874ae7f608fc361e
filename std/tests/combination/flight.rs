//! Lanes that keep many in flight, with handlers that keep the order of keys.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::thread;

use nervebus::{Bus, Event, KeyOrder, Lane, ManualClock, OwnedEvent, Reason};

use super::gate::{Gate, give_way};
use super::held::held;
use super::until::until;
use super::{Done, GUARD, SECOND, balanced, end, retry, run, wide};

fn bus(clock: &ManualClock, most: usize) -> Bus {
    Bus::builder().clock(clock).lane(Lane::new("many").concurrency(most)).build().unwrap()
}

/// What becomes of the first tries of an event: each fifth fails, each seventh panics, each eleventh never ends.
async fn stumble(event: &OwnedEvent) -> Result<u64, &'static str> {
    let (number, attempt) = (*event.payload_as::<u64>().unwrap(), event.as_event().attempt());
    give_way().await;
    if attempt == 1 && number % 11 == 3 {
        pending::<()>().await;
    }
    if attempt < 3 && number % 5 == 1 {
        return Err("not yet");
    }
    assert!(attempt > 1 || number % 7 != 2, "not now");
    give_way().await;
    Ok(number)
}

#[test]
fn the_order_of_keys_is_kept_through_failures_panics_and_timeouts_of_many_in_flight() {
    const KEYS: u64 = 30;
    const EVENTS: u64 = 1_500;
    let clock = ManualClock::new();
    let lane = Lane::new("many").concurrency(8).workers(2).capacity(4_096);
    let bus = Bus::builder().clock(&clock).lane(lane).build().unwrap();
    let (done, plain) = (Done::default(), Done::default());
    let note = done.clone();
    let handler = move |event: OwnedEvent| {
        let note = note.clone();
        async move { stumble(&event).await.map(|number| note.note(number % KEYS, number)) }
    };
    let keeps = || bus.on("t").lane("many").timeout(SECOND).key_order(wide()).retry(retry(50));
    keeps().name("async").handle_async(handler).unwrap();
    let note = plain.clone();
    let handler = move |event: &Event<'_>| {
        let number = *event.payload_as::<u64>().unwrap();
        if number % 13 == 5 && event.attempt() == 1 {
            return Err("not yet");
        }
        note.note(number % KEYS, number);
        Ok(())
    };
    keeps().name("plain").timeout(SECOND * 3_600).priority(200).handle(handler).unwrap();
    for number in 0..EVENTS {
        bus.event("t", number).key(number % KEYS).emit().unwrap();
    }
    run(&bus, &clock);
    for key in 0..KEYS {
        let all: Vec<_> = (key..EVENTS).step_by(KEYS as usize).collect();
        assert_eq!((done.of(key), plain.of(key)), (all.clone(), all));
    }
    assert!(bus.dead_letters().is_empty());
    assert_eq!(end(&bus).handled, 2 * EVENTS);
}

#[test]
fn what_is_parked_goes_back_in_order_while_others_are_in_flight() {
    let (clock, gate, done) = (ManualClock::new(), Gate::default(), Done::default());
    let bus = bus(&clock, 4);
    let (bad, note, wait) = (Arc::new(Mutex::new(true)), done.clone(), gate.clone());
    let fails = Arc::clone(&bad);
    let handler = move |event: OwnedEvent| {
        let (fails, note, wait) = (Arc::clone(&fails), note.clone(), wait.clone());
        async move {
            let number = *event.payload_as::<u64>().unwrap();
            if number >= 100 {
                wait.pass().await;
            }
            give_way().await;
            if number == 1 && *fails.lock().unwrap() {
                return Err("bad");
            }
            note.note(number / 100, number);
            Ok(())
        }
    };
    bus.on("t").lane("many").key_order(KeyOrder::new().waiting(1)).handle_async(handler).unwrap();
    // Three of the four are elsewhere for as long as the gate is shut.
    (1..=3_u64).for_each(|other| assert!(bus.event("t", other * 100).key(other).emit().is_ok()));
    (1..=6_u64).for_each(|number| assert!(bus.event("t", number).key(0).emit().is_ok()));
    until(|| bus.dead_letters().len() == 6);
    assert_eq!(bus.dead_letters().by_reason()["parked"], 5);
    *bad.lock().unwrap() = false;
    bus.dead_letters().retry(1).unwrap();
    until(|| done.of(0) == [1, 2, 3, 4, 5, 6]);
    assert_eq!(done.len(), 6);
    gate.open();
    until(|| bus.dead_letters().is_empty());
    assert_eq!(end(&bus).handled, 9);
}

#[test]
fn a_plain_handler_that_is_stuck_leaves_its_key_held_up_and_what_is_in_flight_goes_on() {
    let (clock, gate, done) = (ManualClock::new(), Gate::default(), Done::default());
    let bus = bus(&clock, 8);
    let (note, wait) = (done.clone(), gate.clone());
    let handler = move |event: OwnedEvent| {
        let (note, wait) = (note.clone(), wait.clone());
        async move {
            wait.pass().await;
            note.note(0, event.seq());
        }
    };
    bus.on("flies").lane("many").handle_async(handler).unwrap();
    let (slow, begun, go) = held();
    let note = done.clone();
    let plain = move |event: &Event<'_>| {
        if event.attempt() == 1 && *event.payload_as::<u64>().unwrap() == 0 {
            slow(event);
        }
        note.note(1, *event.payload_as::<u64>().unwrap());
    };
    bus.on("plain").lane("many").timeout(SECOND).retry(retry(2)).keep_order_per_key().handle(plain).unwrap();
    (0..3_u64).for_each(|number| assert!(bus.event("flies", number).key("f").emit().is_ok()));
    (0..3_u64).for_each(|number| assert!(bus.event("plain", number).key("p").emit().is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    gate.open();
    until(|| done.of(0).len() == 3);
    assert!(done.of(0).is_sorted());
    until(|| bus.ledger().lanes.iter().any(|lane| lane.retrying == 3));
    clock.advance(SECOND);
    until(|| done.of(1) == [0, 1, 2]);
    drop(go);
    until(|| bus.stats().lanes.iter().any(|lane| lane.late == 1));
    // Its late call did what it does, and counts for nothing.
    until(|| done.of(1).len() == 4);
    assert_eq!(end(&bus).handled, 6);
}

#[test]
fn a_shutdown_leaves_what_waits_for_a_key_in_flight_or_behind_a_retry_among_the_dead_letters() {
    let clock = ManualClock::new();
    let bus = bus(&clock, 16);
    let handler = |event: OwnedEvent| async move {
        if *event.payload_as::<u64>().unwrap() == 0 {
            return Err("bad");
        }
        pending::<()>().await;
        Ok(())
    };
    bus.on("t").lane("many").keep_order_per_key().retry(retry(2)).handle_async(handler).unwrap();
    for key in 0..3 {
        // The first fails and is to be tried again; the others of its key wait behind it.
        (0..3_u64).for_each(|number| assert!(bus.event("t", number).key(key).emit().is_ok()));
    }
    // The first never ends; the others of its key wait for it.
    (1..4_u64).for_each(|number| assert!(bus.event("t", number).key(3).emit().is_ok()));
    until(|| bus.ledger().lanes.iter().any(|lane| lane.retrying == 9));
    let shutdown = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(SECOND / 2)
    });
    until(|| {
        clock.advance(SECOND / 10);
        shutdown.is_finished()
    });
    balanced(&shutdown.join().unwrap());
    let letters = bus.dead_letters();
    assert_eq!(letters.len(), 12, "{:?}", letters.by_reason());
    // Those whose retry came before the deadline have failed again.
    let reasons = [Reason::Shutdown, Reason::HandlerError, Reason::Parked];
    assert!(letters.list().iter().all(|letter| reasons.contains(&letter.reason)));
}

#[test]
fn unsubscribing_ends_what_waits_behind_a_retry_and_frees_the_flight() {
    let clock = ManualClock::new();
    let bus = bus(&clock, 2);
    let id = bus
        .on("t")
        .lane("many")
        .keep_order_per_key()
        .retry(retry(3))
        .handle_async(|_| async { Err::<(), _>("bad") })
        .unwrap();
    (0..20_u64).for_each(|number| assert!(bus.event("t", number).key(number % 2).emit().is_ok()));
    until(|| bus.ledger().lanes.iter().any(|lane| lane.retrying == 20));
    assert!(bus.unsubscribe(id));
    until(|| bus.ledger().deliveries().cancelled == 20);
    bus.on("t").lane("many").keep_order_per_key().handle_async(|_| async {}).unwrap();
    (0..20_u64).for_each(|number| assert!(bus.event("t", number).key(number % 2).emit().is_ok()));
    assert_eq!(end(&bus).handled, 20);
}
