//! Retries: how often a handler is called again, when, and what becomes of what it never handles. On virtual time.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/until.rs"]
mod until;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Event, HandlerError, Ledger, ManualClock, Reason, Retry, RetryStats, SubscribeError, json};

use until::until;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);
const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn bus(clock: &ManualClock) -> Bus {
    Bus::builder().clock(clock).build().unwrap()
}

/// A policy whose budget is never spent here.
fn retry(first: Duration) -> Retry {
    Retry::exponential(first).max_delay(DAY).budget(100).reserve(10_000)
}

/// How many deliveries wait for a retry; the lanes have nothing else to do.
fn waiting(bus: &Bus) -> u64 {
    let mut waiting = 0;
    until(|| {
        let ledger = bus.ledger();
        waiting = ledger.lanes.iter().map(|lane| lane.retrying).sum();
        ledger.lanes.iter().all(|lane| lane.pending_events == 0)
    });
    waiting
}

/// Moves the clock until nothing is left to do.
fn run(bus: &Bus, clock: &ManualClock, step: Duration) {
    until(|| {
        clock.advance(step);
        bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0 && lane.retrying == 0)
    });
}

fn end(bus: &Bus) -> Ledger {
    let report = bus.shutdown(SECOND);
    assert!(report.drained && report.ledger.balanced(), "{report}; {}", report.ledger);
    assert_eq!(report.ledger.deliveries().pending, 0);
    report.ledger
}

fn retries(bus: &Bus) -> RetryStats {
    bus.stats().subscriptions.iter().find_map(|row| row.retry).unwrap()
}

#[test]
fn a_poison_event_is_tried_exactly_as_often_as_allowed_and_then_parked() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let (seen, others) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let (log, other) = (Arc::clone(&seen), Arc::clone(&others));
    bus.on("job")
        .name("picky")
        .retry(retry(SECOND).attempts(4))
        .handle(move |event| {
            log.lock().unwrap().push((event.attempt(), event["n"].as_u64()));
            Err(format!("attempt {}", event.attempt()))
        })
        .unwrap();
    bus.on("job")
        .handle(move |_| {
            other.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let records = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&records);
    bus.on("system.handler_error").handle(move |event| record.lock().unwrap().push(event.payload().clone())).unwrap();

    bus.emit("job", json!({"n": 7})).unwrap();
    run(&bus, &clock, SECOND);
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4].map(|attempt| (attempt, Some(7))));
    assert_eq!(others.load(Ordering::Relaxed), 1, "the other handler has nothing to do with it");
    let letters = bus.dead_letters().list();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason, letters[0].attempts, letters[0].retries), (Reason::HandlerError, 4, 0));
    assert_eq!(letters[0].error, "attempt 4");
    let history: Vec<_> = letters[0].history.iter().map(|attempt| (attempt.number, &*attempt.error)).collect();
    assert_eq!(history, [(1, "attempt 1"), (2, "attempt 2"), (3, "attempt 3"), (4, "attempt 4")]);
    assert!(letters[0].history.windows(2).all(|pair| pair[0].at <= pair[1].at));
    until(|| !records.lock().unwrap().is_empty());
    let ledger = end(&bus);
    let records = records.lock().unwrap();
    assert_eq!(records.len(), 1, "one for the failure, not one for each attempt");
    assert_eq!((&records[0]["attempts"], &records[0]["error"]), (&json!(4), &json!("attempt 4")));
    let deliveries = ledger.deliveries();
    assert_eq!((deliveries.routed, deliveries.handled, deliveries.failed), (3, 2, 1));
    let picky = ledger.subscriptions.iter().find(|row| row.handler == "picky").unwrap();
    assert_eq!((picky.handled, picky.failed), (0, 4), "calls, not deliveries");
    assert_eq!(retries(&bus).retries, 3);
}

#[test]
fn a_handler_that_recovers_handles_the_event_once() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let flaky = |event: &Event<'_>| match event.attempt() {
        1 => Err("busy"),
        2 => panic!("still busy"),
        _ => Ok(()),
    };
    bus.on("job").retry(retry(SECOND)).handle(flaky).unwrap();
    bus.emit("job", ()).unwrap();
    run(&bus, &clock, SECOND);
    assert!(bus.dead_letters().is_empty());
    let ledger = end(&bus);
    assert_eq!((ledger.deliveries().handled, ledger.deliveries().failed), (1, 0));
    assert_eq!((ledger.subscriptions[0].handled, ledger.subscriptions[0].failed), (1, 2));
}

#[test]
fn no_retry_comes_before_its_moment_and_none_after_its_ceiling() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (log, time) = (Arc::clone(&calls), clock.clone());
    let note = move |_: &Event<'_>| {
        log.lock().unwrap().push(time.now());
        Err("no")
    };
    // So long that the odds of waiting for less than a millisecond are one in 86 million.
    bus.on("job").retry(retry(DAY).attempts(2)).handle(note).unwrap();
    (0..20).for_each(|_| assert!(bus.emit("job", ()).is_ok()));
    assert_eq!(waiting(&bus), 20);
    assert_eq!(calls.lock().unwrap().len(), 20, "the clock stands, so none is called again");
    let ledger = bus.ledger();
    assert!(ledger.balanced());
    assert_eq!(ledger.deliveries().pending, 20, "what waits has no outcome yet");
    assert!(bus.dead_letters().is_empty());
    clock.advance(DAY);
    until(|| waiting(&bus) == 0);
    assert_eq!(calls.lock().unwrap().len(), 40);
    assert_eq!(end(&bus).deliveries().failed, 20);
}

#[test]
fn what_is_not_worth_another_try_is_a_dead_letter_at_once() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let policy = retry(SECOND).only_if(|error| matches!(error, HandlerError::Error(_)));
    let bad = |event: &Event<'_>| {
        assert!(event["panic"] != true, "as asked for");
        Err("no")
    };
    bus.on("job").retry(policy.attempts(2)).handle(bad).unwrap();
    bus.emit("job", json!({"panic": true})).unwrap();
    assert_eq!(waiting(&bus), 0);
    let letter = bus.dead_letters().list().remove(0);
    assert_eq!((letter.attempts, letter.history.len(), &*letter.error), (1, 1, "panicked: as asked for"));
    bus.emit("job", ()).unwrap();
    assert_eq!(waiting(&bus), 1);
    run(&bus, &clock, SECOND);
    assert_eq!(bus.dead_letters().list()[1].attempts, 2);
    end(&bus);
}

#[test]
fn a_hundred_thousand_failures_make_no_more_retries_than_the_budget_has() {
    const EVENTS: u64 = 100_000;
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let fail = move |_: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
        Err("down")
    };
    bus.on("job").retry(Retry::exponential(Duration::from_millis(20)).attempts(10)).handle(fail).unwrap();
    for _ in 0..EVENTS {
        bus.emit("job", ()).unwrap();
        clock.advance(Duration::from_millis(1));
    }
    run(&bus, &clock, SECOND);
    let retried = calls.load(Ordering::Relaxed) - EVENTS;
    let allowed = EVENTS / 10 + 10;
    assert!(retried <= allowed && retried >= EVENTS / 20, "{retried} of {allowed}");
    let stats = retries(&bus);
    assert_eq!((stats.retries, stats.no_room), (retried, 0));
    assert!(stats.over_budget > 0);
    assert_eq!(bus.dead_letters().total(), EVENTS, "each ends once");
    assert_eq!(end(&bus).deliveries().failed, EVENTS);
}

#[test]
fn a_storm_of_retries_that_are_due_at_once_delivers_each_once() {
    const EVENTS: u64 = 5_000;
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let seen = Arc::new(Mutex::new(HashMap::new()));
    let log = Arc::clone(&seen);
    let second_time = move |event: &Event<'_>| {
        *log.lock().unwrap().entry(event.seq()).or_insert(0) += event.attempt();
        if event.attempt() == 1 { Err("not yet") } else { Ok(()) }
    };
    bus.on("job").retry(retry(DAY)).handle(second_time).unwrap();
    (0..EVENTS).for_each(|_| assert!(bus.emit("job", ()).is_ok()));
    assert_eq!(waiting(&bus), EVENTS);
    clock.advance(DAY);
    // New events come through meanwhile.
    bus.emit("job", ()).unwrap();
    until(|| waiting(&bus) == 1);
    clock.advance(DAY);
    until(|| waiting(&bus) == 0);
    let seen = seen.lock().unwrap();
    assert!(seen.len() as u64 == EVENTS + 1 && seen.values().all(|attempts| *attempts == 1 + 2));
    assert_eq!(end(&bus).deliveries().handled, EVENTS + 1);
}

#[test]
fn a_retry_whose_handler_is_unsubscribed_is_cancelled_at_once() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let owned = Arc::new(());
    let held = Arc::clone(&owned);
    let id = bus
        .on("job")
        .retry(retry(DAY))
        .handle(move |_| {
            let _ = &held;
            Err("no")
        })
        .unwrap();
    bus.on("job").retry(retry(DAY).attempts(2)).handle(|_| Err("no")).unwrap();
    (0..3).for_each(|_| assert!(bus.emit("job", ()).is_ok()));
    assert_eq!(waiting(&bus), 6);
    assert!(bus.unsubscribe(id));
    until(|| waiting(&bus) == 3);
    until(|| Arc::strong_count(&owned) == 1);
    assert!(bus.dead_letters().is_empty(), "the other handler's still wait");
    run(&bus, &clock, DAY);
    let deliveries = end(&bus).deliveries();
    assert_eq!((deliveries.cancelled, deliveries.failed), (3, 3));
}

#[test]
fn a_shutdown_does_not_wait_for_retries_that_are_due_after_it() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    bus.on("job").name("picky").retry(retry(DAY)).handle(|event| Err(format!("no {}", event["n"]))).unwrap();
    (0..2).for_each(|n| assert!(bus.emit("job", json!({"n": n})).is_ok()));
    assert_eq!(waiting(&bus), 2);
    // It returns although the clock stands.
    let report = bus.shutdown(Duration::from_micros(1));
    assert_eq!((report.drained, report.left, report.failed), (false, 2, 0));
    assert!(report.ledger.balanced() && !report.lanes[0].abandoned);
    let deliveries = report.ledger.deliveries();
    assert_eq!((deliveries.routed, deliveries.dropped, deliveries.pending), (2, 2, 0));
    let letters = bus.dead_letters().list();
    let told = |n: usize| (letters[n].reason, letters[n].attempts, &*letters[n].handler, &*letters[n].history[0].error);
    assert_eq!(told(0), (Reason::Shutdown, 1, "picky", "no 0"));
    assert_eq!(told(1), (Reason::Shutdown, 1, "picky", "no 1"));
    assert_eq!(letters[0].error, "the bus shut down before attempt 2");
}

#[test]
fn a_shutdown_waits_for_retries_that_are_due_before_its_deadline() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let second_time = |event: &Event<'_>| if event.attempt() == 1 { Err("not yet") } else { Ok(()) };
    bus.on("job").retry(retry(SECOND)).handle(second_time).unwrap();
    bus.emit("job", ()).unwrap();
    assert_eq!(waiting(&bus), 1);
    let report = thread::scope(|scope| {
        let shutdown = scope.spawn(|| bus.shutdown(10 * SECOND));
        until(|| clock.waiting() > 0);
        clock.advance(SECOND);
        shutdown.join().unwrap()
    });
    assert_eq!((report.drained, report.handled, report.left), (true, 1, 0));
    assert!(report.ledger.balanced() && bus.dead_letters().is_empty());
}

#[test]
fn an_event_that_first_fails_while_the_bus_shuts_down_is_not_lost() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    let wait = move |_: &Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
        Err("too late")
    };
    bus.on("job").retry(retry(DAY)).handle(wait).unwrap();
    bus.emit("job", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let report = thread::scope(|scope| {
        let shutdown = scope.spawn(|| bus.shutdown(Duration::from_micros(1)));
        until(|| clock.waiting() > 0);
        go.send(()).unwrap();
        shutdown.join().unwrap()
    });
    assert!(report.ledger.balanced(), "{}", report.ledger);
    assert_eq!((report.drained, report.failed, report.left), (true, 1, 0));
    let letter = bus.dead_letters().list().remove(0);
    assert_eq!((letter.reason, &*letter.error, letter.history.len()), (Reason::Shutdown, "too late", 1));
}

#[test]
fn an_emitter_that_waits_is_told_of_the_first_attempt() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let second_time = |event: &Event<'_>| if event.attempt() == 1 { Err("not yet") } else { Ok(()) };
    bus.on("job").retry(retry(DAY)).handle(second_time).unwrap();
    let report = bus.emit_and_wait("job", ()).unwrap();
    let error = report.outcomes[0].result.as_ref().unwrap_err();
    assert_eq!((&*error.to_string(), report.unfinished, report.not_delivered), ("not yet", 0, 0));
    assert_eq!(waiting(&bus), 1);
    run(&bus, &clock, DAY);
    assert_eq!(end(&bus).deliveries().handled, 1);
}

#[test]
fn what_a_retry_emits_is_caused_by_its_event() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let weak = bus.downgrade();
    let relay = move |event: &Event<'_>| {
        if event.attempt() == 1 {
            return Err("not yet");
        }
        let bus = weak.upgrade().ok_or("no bus")?;
        bus.emit("done", ()).map(drop).map_err(|_| "not emitted")
    };
    bus.on("job").retry(retry(SECOND)).handle(relay).unwrap();
    let (sender, done) = mpsc::channel();
    bus.on("done")
        .handle(move |event| {
            sender.send((event.causation(), event.correlation_id().map(str::to_owned), event.attempt())).unwrap();
        })
        .unwrap();
    let receipt = bus.event("job", ()).correlation_id("req-1").emit().unwrap();
    run(&bus, &clock, SECOND);
    assert_eq!(done.recv_timeout(GUARD).unwrap(), (Some(receipt.seq()), Some("req-1".into()), 1));
    end(&bus);
}

/// A handler that fails at first and never returns from a later attempt before the test ends; it says when that begins.
fn fails_then_hangs() -> (impl Fn(&Event<'_>) -> Result<(), &'static str>, mpsc::Receiver<u32>, mpsc::Sender<()>) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        if event.attempt() == 1 {
            return Err("no");
        }
        let left = event.deadline();
        begin.send(event.attempt()).unwrap();
        let _ = gone.lock().unwrap().recv();
        // Read long after the time is up.
        assert!(left == Some(SECOND) && event.is_abandoned() && event["n"] == 7);
        Ok(())
    };
    (handler, begun, go)
}

#[test]
fn a_retry_that_never_returns_is_a_failed_try_and_the_lane_goes_on() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let (handler, begun, go) = fails_then_hangs();
    bus.on("job").name("slow").timeout(SECOND).retry(retry(SECOND).attempts(2)).handle(handler).unwrap();
    bus.on("other").handle(|_| ()).unwrap();
    bus.emit("job", json!({"n": 7})).unwrap();
    assert_eq!(waiting(&bus), 1);
    clock.advance(SECOND);
    assert_eq!(begun.recv_timeout(GUARD), Ok(2));
    bus.emit("other", ()).unwrap();
    clock.advance(SECOND - NANO);
    (0..20_000).for_each(|_| thread::yield_now());
    assert_eq!((bus.ledger().deliveries().handled, bus.dead_letters().len()), (0, 0), "its time is not up");
    clock.advance(NANO);
    until(|| waiting(&bus) == 0);
    assert!(bus.emit_and_wait("other", ()).unwrap().all_handled());

    let letter = bus.dead_letters().list().remove(0);
    assert_eq!((letter.reason, letter.attempts, letter.retries), (Reason::HandlerTimeout, 2, 0));
    let history: Vec<_> = letter.history.iter().map(|attempt| (attempt.number, &*attempt.error)).collect();
    assert_eq!(history, [(1, "no"), (2, "did not return within 1s")]);
    let of = bus.ledger().deliveries();
    assert_eq!((of.routed, of.handled, of.failed, of.timed_out, of.pending), (3, 2, 0, 1, 0));
    let slow = &bus.ledger().subscriptions[0];
    assert_eq!((slow.handled, slow.failed, slow.timed_out), (0, 1, 1), "calls, not deliveries");
    let lane = &bus.stats().lanes[0];
    assert_eq!((lane.stuck, lane.late, lane.healthy), (1, 0, true));

    drop(go);
    until(|| bus.stats().lanes[0].late == 1);
    assert_eq!((bus.ledger().deliveries(), bus.dead_letters().len()), (of, 1), "its result is discarded");
    let report = bus.shutdown(SECOND);
    assert!(report.drained && report.ledger.balanced(), "{report}; {}", report.ledger);
    assert_eq!((report.handled, report.failed, report.timed_out, report.left), (2, 0, 1, 0));
}

#[test]
fn a_retry_that_never_returns_is_tried_again_while_attempts_are_left() {
    let clock = ManualClock::new();
    let bus = bus(&clock);
    let (hang, begun, go) = fails_then_hangs();
    let handler = move |event: &Event<'_>| if event.attempt() == 3 { Ok(()) } else { hang(event) };
    bus.on("job").timeout(100 * SECOND).retry(retry(SECOND).attempts(3)).handle(handler).unwrap();
    bus.emit("job", json!({"n": 7})).unwrap();
    assert_eq!(waiting(&bus), 1);
    clock.advance(SECOND);
    assert_eq!(begun.recv_timeout(GUARD), Ok(2));
    clock.advance(100 * SECOND);
    run(&bus, &clock, SECOND);
    drop(go);
    let ledger = end(&bus);
    let of = ledger.deliveries();
    assert_eq!((of.routed, of.handled, of.timed_out), (1, 1, 0), "a try is no outcome");
    assert_eq!((ledger.subscriptions[0].handled, ledger.subscriptions[0].timed_out), (1, 1));
    assert!(bus.dead_letters().is_empty());
}

#[test]
fn a_letter_whose_handler_never_returns_from_it_is_back_with_one_more_attempt() {
    let clock = ManualClock::new();
    // Without a thread to spare nobody takes the lane over, and the letter is put back all the same.
    for spare in [0, 8] {
        let bus = Bus::builder().clock(&clock).max_abandoned(spare).build().unwrap();
        let (handler, begun, go) = fails_then_hangs();
        bus.on("job").timeout(SECOND).handle(handler).unwrap();
        bus.emit("job", json!({"n": 7})).unwrap();
        until(|| bus.dead_letters().len() == 1);
        bus.dead_letters().retry(1).unwrap();
        assert_eq!(begun.recv_timeout(GUARD), Ok(2));
        clock.advance(SECOND);
        until(|| waiting(&bus) == 0);
        let letter = bus.dead_letters().get(1).unwrap();
        assert_eq!((letter.reason, letter.attempts, letter.retries), (Reason::HandlerTimeout, 2, 1));
        let history: Vec<_> = letter.history.iter().map(|attempt| (attempt.number, &*attempt.error)).collect();
        assert_eq!(history, [(1, "no"), (2, "did not return within 1s")]);
        until(|| bus.stats().lanes[0].healthy == (spare > 0));
        let report = bus.shutdown(SECOND);
        assert!(report.drained && report.ledger.balanced(), "{report}; {}", report.ledger);
        assert_eq!((report.failed, report.timed_out, report.lanes[0].stuck.len()), (1, 1, 1));
        assert_eq!((bus.dead_letters().len(), bus.dead_letters().total()), (1, 1), "the same letter");
        drop(go);
        until(|| bus.stats().lanes[0].late == 1);
    }
}

#[test]
fn settings_that_cannot_be_are_named() {
    let bus = Bus::builder().build().unwrap();
    let refused = bus.on("job").retry(retry(SECOND)).inline().handle(|_| ()).unwrap_err();
    assert_eq!(refused, SubscribeError::NotInline { setting: "retry" });
    assert_eq!(refused.to_string(), "a handler on the emitter's own thread cannot have `retry`: give it a lane");
    let refused = bus.on("job").retry(retry(SECOND).attempts(101)).handle(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "retry.attempts is 101, outside its range 1..=100");
    let refused = bus.on("job").retry(retry(Duration::ZERO)).handle(|_| ()).unwrap_err();
    assert_eq!(
        refused,
        SubscribeError::WaitOutOfRange { field: "retry.first".into(), value: Duration::ZERO, max: DAY }
    );
    assert_eq!(bus.stats().active_subscriptions, 0);
}
