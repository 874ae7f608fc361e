//! The account of each subscription: what became of its deliveries, held against the account of its lane.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/until.rs"]
mod until;

use std::time::Duration;

use nervebus::{
    Account, Breaker, Builder, Bus, Event, Lane, LaneAccount, Ledger, ManualClock, Retry, SubscriptionDeliveries, json,
};

use until::until;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn retry(attempts: u32) -> Retry {
    Retry::exponential(HOUR).max_delay(HOUR).attempts(attempts).budget(100).reserve(10_000)
}

/// A handler that fails as often as the event says.
fn failing(event: &Event<'_>) -> Result<(), &'static str> {
    if u64::from(event.attempt()) <= event["failures"].as_u64().unwrap() { Err("no") } else { Ok(()) }
}

fn emit(bus: &Bus, failures: impl IntoIterator<Item = u64>) {
    failures.into_iter().for_each(|failures| assert!(bus.emit("job", json!({"failures": failures})).is_ok()));
}

/// Waits until nothing is under way but what waits for its moment.
fn settled(bus: &Bus, waiting: u64) {
    until(|| {
        let lanes = bus.ledger().lanes;
        lanes.iter().all(|lane| lane.pending_events == 0)
            && lanes.iter().map(|lane| lane.retrying).sum::<u64>() == waiting
    });
}

fn of(ledger: &Ledger, handler: &str) -> SubscriptionDeliveries {
    ledger.subscriptions.iter().find(|row| row.handler == handler).unwrap().deliveries
}

/// Holds the handlers' accounts against those of the lanes, which others have kept.
fn agree(ledger: &Ledger) {
    assert!(ledger.balanced(), "{ledger}");
    let Account { handled, failed, timed_out, dropped, expired, pending, .. } = ledger.deliveries();
    let sum = |what: fn(&SubscriptionDeliveries) -> u64| -> u64 {
        ledger.subscriptions.iter().map(|row| what(&row.deliveries)).sum()
    };
    assert_eq!((sum(|of| of.handled), sum(|of| of.failed)), (handled, failed), "{ledger}");
    assert_eq!((sum(|of| of.timed_out), sum(|of| of.expired)), (timed_out, expired), "{ledger}");
    assert_eq!((sum(|of| of.dropped), sum(|of| of.pending)), (dropped, pending.cast_unsigned()), "{ledger}");
}

fn on(builder: Builder, clock: &ManualClock) -> Bus {
    builder.clock(clock).build().unwrap()
}

#[test]
fn each_delivery_has_one_outcome_however_often_its_handler_was_called() {
    let clock = ManualClock::new();
    let bus = on(Bus::builder().lane(Lane::new("wide").workers(3)), &clock);
    bus.on("job").name("steady").handle(|_| ()).unwrap();
    bus.on("job").name("retried").retry(retry(3)).handle(failing).unwrap();
    bus.on("job").name("wide").lane("wide").retry(retry(2)).handle(failing).unwrap();
    bus.on("job").name("inline").inline().handle(failing).unwrap();
    emit(&bus, [0, 0, 1, 2, 3]);
    settled(&bus, 6);
    let ledger = bus.ledger();
    agree(&ledger);
    let retried = of(&ledger, "retried");
    assert_eq!((retried.handled, retried.failed, retried.pending), (2, 0, 3));
    until(|| {
        clock.advance(SECOND);
        bus.ledger().lanes.iter().all(|lane: &LaneAccount| lane.retrying == 0)
    });
    bus.dead_letters().retry_all(usize::MAX, 9);
    settled(&bus, 0);
    let ledger = bus.ledger();
    agree(&ledger);
    assert_eq!(of(&ledger, "steady").handled, 5);
    let retried = of(&ledger, "retried");
    assert_eq!((retried.handled, retried.failed, retried.pending), (4 + 1, 1, 0), "one was sent back");
    let calls = ledger.subscriptions.iter().find(|row| row.handler == "retried").unwrap();
    assert_eq!((calls.handled, calls.failed), (5, 1 + 2 + 3), "calls are another count");
}

#[test]
fn what_ends_without_a_call_is_counted_for_its_handler() {
    let clock = ManualClock::new();
    let bus = on(Bus::builder(), &clock);
    let breaker = Breaker::new("db").failures(1).reset_after(HOUR);
    bus.on("job").name("refused").breaker(&breaker).handle(failing).unwrap();
    bus.on("job").name("put off").breaker(&breaker).retry(retry(2)).handle(failing).unwrap();
    bus.on("job").name("inline").breaker(&breaker).inline().handle(failing).unwrap();
    bus.event("job", json!({"failures": 9})).ttl(SECOND).emit().unwrap();
    emit(&bus, [9]);
    settled(&bus, 2);
    agree(&bus.ledger());
    clock.advance(SECOND);
    let report = bus.shutdown(SECOND);
    agree(&report.ledger);
    assert_eq!(of(&report.ledger, "refused").failed, 2);
    assert_eq!(of(&report.ledger, "inline").failed, 2);
    assert_eq!(of(&report.ledger, "put off").dropped, 2);
}

#[test]
fn what_comes_too_late_is_counted_for_each_handler() {
    let clock = ManualClock::new();
    let bus = on(Bus::builder(), &clock);
    let time = clock.clone();
    bus.on("job").name("slow").priority(200).handle(move |_| time.advance(SECOND)).unwrap();
    bus.on("job").name("second").handle(|_| ()).unwrap();
    bus.on("job").name("third").handle(|_| ()).unwrap();
    let time = clock.clone();
    bus.on("here").name("slow here").inline().priority(200).handle(move |_| time.advance(SECOND)).unwrap();
    bus.on("here").name("here").inline().handle(|_| ()).unwrap();
    bus.event("job", ()).ttl(SECOND).emit().unwrap();
    settled(&bus, 0);
    bus.event("here", ()).ttl(HOUR).emit().unwrap();
    bus.event("here", ()).ttl(SECOND).emit().unwrap();
    settled(&bus, 0);
    let ledger = bus.ledger();
    agree(&ledger);
    assert_eq!(["slow", "second", "third"].map(|name| of(&ledger, name).expired), [0, 1, 1]);
    assert_eq!((of(&ledger, "here").handled, of(&ledger, "here").expired), (1, 1));
}

#[test]
fn what_takes_too_long_and_is_tried_again_has_one_outcome() {
    let clock = ManualClock::new();
    let bus = on(Bus::builder().max_abandoned(9), &clock);
    let (begin, begun) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let stuck = move |event: &Event<'_>| {
        let _ = begin.send(event.attempt());
        if event.attempt() == 1 {
            let _ = gone.lock().unwrap().recv();
        }
    };
    bus.on("job").name("stuck").timeout(SECOND).retry(retry(2)).handle(stuck).unwrap();
    bus.emit("job", ()).unwrap();
    assert_eq!(begun.recv_timeout(until::GUARD), Ok(1));
    clock.advance(SECOND);
    settled(&bus, 1);
    let ledger = bus.ledger();
    agree(&ledger);
    assert_eq!((of(&ledger, "stuck").timed_out, of(&ledger, "stuck").pending), (0, 1));
    clock.advance(HOUR);
    settled(&bus, 0);
    drop(go);
    let ledger = bus.ledger();
    agree(&ledger);
    assert_eq!((of(&ledger, "stuck").handled, ledger.subscriptions[0].timed_out), (1, 1));
}
