//! Shutting down while handlers have not returned.

use std::sync::Arc;
use std::thread;

use nervebus::ManualClock;

use super::until::{GUARD, until};
use super::{SECOND, bus_on, never};

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
