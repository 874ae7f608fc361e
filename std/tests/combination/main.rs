//! Features together: shared threads, many in flight, the order of keys, timeouts, retries and shutdowns.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "../support/everything.rs"]
mod everything;
mod fields;
mod flight;
#[path = "../support/folder.rs"]
mod folder;
#[path = "../support/gate.rs"]
mod gate;
#[path = "../support/held.rs"]
mod held;
mod journey;
mod parking;
mod pool;
mod refusals;
mod threads;
#[path = "../support/until.rs"]
mod until;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, KeyOrder, ManualClock, Retry, ShutdownReport};

use until::{GUARD, until};

const SECOND: Duration = Duration::from_secs(1);

/// Ends the bus with nothing left, and holds its books against each other.
fn end(bus: &Bus) -> ShutdownReport {
    let report = bus.shutdown(GUARD);
    assert!(report.drained, "{report}\n{}", report.ledger);
    balanced(&report);
    report
}

/// Shuts the bus down on a thread of its own, whose end is waited for in real time.
fn shutdown_in_time(bus: &Bus, deadline: Duration) -> ShutdownReport {
    let ((done, ended), bus) = (mpsc::channel(), bus.clone());
    thread::spawn(move || drop(done.send(bus.shutdown(deadline))));
    ended.recv_timeout(GUARD).unwrap()
}

fn balanced(report: &ShutdownReport) {
    assert!(report.ledger.balanced(), "{report}\n{}", report.ledger);
    assert_eq!(report.ledger.deliveries().pending, 0, "{}", report.ledger);
}

/// Moves the clock on, whenever nothing has come about for a while, until nothing is under way, retries included.
fn run(bus: &Bus, clock: &ManualClock) {
    const WHILE: u32 = 200;
    let (mut before, mut same) = (None, 0);
    until(|| {
        let ledger = bus.ledger();
        let now = (ledger.deliveries(), ledger.lanes.iter().map(|lane| (lane.pending_events, lane.retrying)).collect());
        let busy: &Vec<_> = &now.1;
        let over = busy.iter().all(|busy| *busy == (0, 0));
        same = if before.as_ref() == Some(&now) { same + 1 } else { 0 };
        before = Some(now);
        if same == WHILE {
            (before, same) = (None, 0);
            clock.advance(SECOND);
        }
        over
    });
}

/// A policy whose budget is never spent here.
fn retry(attempts: u32) -> Retry {
    Retry::exponential(SECOND).max_delay(SECOND).attempts(attempts).budget(100).reserve(10_000)
}

/// So much room that no key and no event goes without.
fn wide() -> KeyOrder {
    KeyOrder::new().keys(4_096).waiting(4_096)
}

/// What was handled, key by key.
#[derive(Debug, Clone, Default)]
struct Done(Arc<Mutex<HashMap<u64, Vec<u64>>>>);

impl Done {
    fn note(&self, key: u64, number: u64) {
        self.0.lock().unwrap().entry(key).or_default().push(number);
    }

    fn of(&self, key: u64) -> Vec<u64> {
        self.0.lock().unwrap().get(&key).cloned().unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }
}
