//! One fault after the other, each with what exactly becomes of it: what is hurt is counted, and nothing else is hurt.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

mod breaker;
mod closing;
mod emitters;
mod isolation;
mod nesting;
mod overflow;
mod panics;
mod poison;
mod storm;
mod stuck;
mod wall;

#[path = "../support/held.rs"]
mod held;

use std::panic::{self, resume_unwind};
use std::sync::Once;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Bus, Ledger, ShutdownReport};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What panics say that a test asks for.
const ASKED: &str = "as asked for";

/// Runs a test on a thread with stack for deep nesting, and fails when it hangs.
fn bounded(test: impl FnOnce() + Send + 'static) {
    let (end, ended) = mpsc::channel::<()>();
    let body = move || {
        let _end = end;
        test();
    };
    let thread = thread::Builder::new().stack_size(64 << 20).spawn(body).unwrap();
    assert_eq!(ended.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected), "it hangs");
    thread.join().unwrap_or_else(|panic| resume_unwind(panic));
}

/// Keeps panics that a test asks for out of its output, where there would be tens of thousands of them.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_none_or(|text| text != ASKED) {
                loud(info);
            }
        }));
    });
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < GUARD, "{what}");
        thread::yield_now();
    }
}

/// Gives every thread time for what it must not do.
fn idle() {
    (0..5_000).for_each(|_| thread::yield_now());
}

/// Whether no lane has anything to do or to do again.
fn is_quiet(bus: &Bus) -> bool {
    bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0 && lane.retrying == 0)
}

/// Holds a report against its ledger, and both against themselves.
fn adds_up(report: &ShutdownReport) {
    let ledger = &report.ledger;
    assert!(ledger.balanced(), "{report}\n{ledger}");
    assert_eq!(ledger.emitted, ledger.routed + ledger.unrouted + ledger.refused + ledger.duplicates);
    let of = ledger.deliveries();
    assert_eq!((report.handled, report.failed, report.timed_out), (of.handled, of.failed, of.timed_out));
    assert_eq!(report.expired, of.expired);
    let of_lanes = |of: fn(&nervebus::LaneReport) -> u64| report.lanes.iter().map(of).sum::<u64>();
    assert_eq!((report.timed_out, report.left), (of_lanes(|lane| lane.timed_out), of_lanes(|lane| lane.left)));
}

/// Ends a bus that has everything done, and returns its books.
fn end(bus: &Bus) -> Ledger {
    let report = bus.shutdown(GUARD);
    adds_up(&report);
    assert!(report.drained && report.left == 0, "{report}");
    let of = report.ledger.deliveries();
    let ended = of.handled + of.failed + of.timed_out + of.dropped + of.expired + of.cancelled;
    assert_eq!((of.pending, of.routed), (0, ended), "{}", report.ledger);
    report.ledger
}
