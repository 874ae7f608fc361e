//! Keeping the order of each key where a delivery fails: what comes behind waits, or is parked. On virtual time.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod lasting;
mod letters;
#[path = "../support/until.rs"]
mod until;
mod waiting;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nervebus::{Builder, Bus, Event, Ledger, ManualClock, ParkingStats, Reason, Retry, json};

use until::until;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A handler that fails the numbers it is told to, and notes the others.
#[derive(Debug, Default, Clone)]
struct Picky {
    bad: Arc<Mutex<HashSet<u64>>>,
    done: Arc<Mutex<Vec<u64>>>,
}

impl Picky {
    fn failing(bad: impl IntoIterator<Item = u64>) -> Self {
        let picky = Self::default();
        picky.fail(bad);
        picky
    }

    fn fail(&self, bad: impl IntoIterator<Item = u64>) {
        *self.bad.lock().unwrap() = bad.into_iter().collect();
    }

    fn done(&self) -> Vec<u64> {
        self.done.lock().unwrap().clone()
    }

    fn handler(&self) -> impl Fn(&Event<'_>) -> Result<(), String> + Send + Sync + 'static {
        let Self { bad, done } = self.clone();
        move |event| {
            let n = event["n"].as_u64().unwrap();
            if bad.lock().unwrap().contains(&n) {
                return Err(format!("{n}, attempt {}", event.attempt()));
            }
            done.lock().unwrap().push(n);
            Ok(())
        }
    }
}

/// A bus on which `order.*` has a handler that keeps order.
fn keeping(builder: Builder, picky: &Picky) -> Bus {
    let bus = builder.build().unwrap();
    bus.on("order.*").name("book").keep_order_per_key().handle(picky.handler()).unwrap();
    bus
}

fn emit(bus: &Bus, key: &str, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        // Different topics of a pattern share the sequences of their keys.
        let topic = if n % 2 == 0 { "order.even" } else { "order.odd" };
        bus.event(topic, json!({"n": n})).key(key).emit().unwrap();
    }
}

/// Waits until nothing is under way but what waits for its moment.
fn settled(bus: &Bus, waiting: u64) {
    until(|| {
        let ledger = bus.ledger();
        let retrying: u64 = ledger.lanes.iter().map(|lane| lane.retrying).sum();
        ledger.lanes.iter().all(|lane| lane.pending_events == 0) && retrying == waiting
    });
    let ledger = bus.ledger();
    assert!(ledger.balanced(), "{ledger}");
    assert_eq!(ledger.deliveries().pending, i64::try_from(waiting).unwrap());
}

/// Moves the clock until nothing is under way.
fn run(bus: &Bus, clock: &ManualClock) {
    until(|| {
        clock.advance(SECOND);
        bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0 && lane.retrying == 0)
    });
    settled(bus, 0);
}

fn end(bus: &Bus) -> Ledger {
    let report = bus.shutdown(SECOND);
    assert!(report.drained && report.ledger.balanced(), "{report}; {}", report.ledger);
    let all = report.ledger.deliveries();
    assert_eq!(all.pending, 0);
    if all.cancelled == 0 {
        // Counted by other hands: handler by handler, and lane by lane.
        let of = || report.ledger.subscriptions.iter().map(|row| row.deliveries);
        let failed: u64 = of().map(|row| row.failed + row.timed_out).sum();
        let others: u64 = of().map(|row| row.expired + row.dropped).sum();
        assert_eq!(of().map(|row| row.handled).sum::<u64>(), all.handled);
        assert_eq!((failed, others), (all.failed + all.timed_out, all.expired + all.dropped));
        assert!(of().all(|row| row.pending == 0));
    }
    report.ledger
}

/// The letters, oldest first: the number of the event, and why it is here.
fn letters(bus: &Bus) -> Vec<(u64, Reason)> {
    let letters = bus.dead_letters().list();
    letters.iter().map(|letter| (letter.event.as_event()["n"].as_u64().unwrap(), letter.reason)).collect()
}

fn parking(bus: &Bus) -> ParkingStats {
    bus.stats().subscriptions.iter().find_map(|row| row.parking).unwrap()
}

fn held(bus: &Bus) -> (usize, usize, usize) {
    let parking = parking(bus);
    (parking.keys, parking.waiting, parking.letters)
}

/// A policy whose budget is never spent here.
fn retry(first: Duration) -> Retry {
    Retry::exponential(first).max_delay(24 * HOUR).budget(100).reserve(10_000)
}
