//! After each single fault on one lane, another lane has handled as many events as if there had been none.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use nervebus::{Bus, Event, Lane, ManualClock, Retry};

use super::{ASKED, GUARD, HOUR, SECOND, adds_up, bounded, held, hush, is_quiet, until};

const EVENTS: u64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Error,
    ErrorAndRetries,
    Panic,
    NeverReturns,
    ReturnsLate,
    NeverReturnsWhenRetried,
    ShutsDown,
}

/// What the other lane and the lane with the fault have handled, failed and lost by timeouts.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    other: u64,
    hurt: [u64; 3],
    refused: u64,
}

/// Subscribes the handler with the fault. It says when it begins, and the slow ones wait for a word.
fn subscribe(bus: &Bus, fault: Fault) -> (Receiver<()>, Sender<()>) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let (weak, gone) = (bus.downgrade(), Arc::new(Mutex::new(gone)));
    let bad = move |event: &Event<'_>| {
        let done = match fault {
            Fault::None => Ok(()),
            Fault::NeverReturnsWhenRetried if event.attempt() == 1 => Err("no"),
            Fault::Error | Fault::ErrorAndRetries => Err("no"),
            Fault::Panic => panic!("{ASKED}"),
            Fault::NeverReturns | Fault::ReturnsLate | Fault::NeverReturnsWhenRetried => {
                let _ = begin.send(());
                let _ = gone.lock().unwrap().recv();
                return Ok(());
            }
            Fault::ShutsDown => {
                weak.upgrade().unwrap().shutdown(HOUR);
                Ok(())
            }
        };
        let _ = begin.send(());
        done
    };
    let is_slow = matches!(fault, Fault::NeverReturns | Fault::ReturnsLate | Fault::NeverReturnsWhenRetried);
    let subscribe = bus.on("bad").lane("hurt").timeout(is_slow.then_some(SECOND));
    let retry = match fault {
        Fault::ErrorAndRetries => Some(3),
        Fault::NeverReturnsWhenRetried => Some(2),
        _ => None,
    };
    let subscribe = match retry {
        Some(attempts) => subscribe.retry(Retry::exponential(SECOND).attempts(attempts).budget(100)),
        None => subscribe,
    };
    subscribe.handle(bad).unwrap();
    (begun, go)
}

/// The other lane has work waiting when the fault comes, gets more afterwards, and more again when its time is over.
fn run(fault: Fault) -> Outcome {
    hush();
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).lane(Lane::new("hurt")).lane(Lane::new("other")).build().unwrap();
    let (other, other_begun, other_go) = held();
    bus.on("first").lane("other").handle(other).unwrap();
    bus.on("good").lane("other").handle(|_| ()).unwrap();
    let (begun, go) = subscribe(&bus, fault);

    bus.emit("first", ()).unwrap();
    other_begun.recv_timeout(GUARD).unwrap();
    let good = || (0..EVENTS).for_each(|_| drop(bus.emit("good", ())));
    good();
    bus.emit("bad", ()).unwrap();
    if fault != Fault::Panic {
        begun.recv_timeout(GUARD).unwrap();
    }
    good();
    drop(other_go);
    let lane = |name: &str| bus.ledger().lanes.into_iter().find(|lane| lane.name == name).unwrap();
    until("the other lane waits", || lane("other").pending_events == 0);
    if fault == Fault::NeverReturnsWhenRetried {
        until("the first attempt does not end", || (lane("hurt").pending_events, lane("hurt").retrying) == (0, 1));
    }
    clock.advance(SECOND);
    if fault == Fault::NeverReturnsWhenRetried {
        begun.recv_timeout(GUARD).unwrap();
    }
    if fault == Fault::ReturnsLate {
        until("it is not given up", || lane("hurt").deliveries.timed_out == 1);
        go.send(()).unwrap();
        until("it does not return", || bus.stats().lanes.iter().any(|lane| lane.late == 1));
    }
    good();
    until("something is left", || {
        // Retries come one after the other.
        clock.advance(SECOND);
        is_quiet(&bus)
    });
    let report = bus.shutdown(GUARD);
    drop(go);
    adds_up(&report);
    assert!(report.drained && report.left == 0, "{fault:?}: {report}");
    let (hurt, other) = (lane("hurt").deliveries, lane("other").deliveries);
    assert_eq!((other.failed, other.timed_out, other.dropped, other.cancelled, other.pending), (0, 0, 0, 0, 0));
    let hurt = [hurt.handled, hurt.failed, hurt.timed_out];
    Outcome { other: other.handled, hurt, refused: report.ledger.refused }
}

#[test]
fn after_each_single_fault_another_lane_has_handled_as_many_events_as_without_it() {
    bounded(|| {
        let all = 1 + 3 * EVENTS;
        let outcome = |hurt| Outcome { other: all, hurt, refused: 0 };
        assert_eq!(run(Fault::None), outcome([1, 0, 0]));
        assert_eq!(run(Fault::Error), outcome([0, 1, 0]));
        assert_eq!(run(Fault::ErrorAndRetries), outcome([0, 1, 0]));
        assert_eq!(run(Fault::Panic), outcome([0, 1, 0]));
        assert_eq!(run(Fault::NeverReturns), outcome([0, 0, 1]));
        assert_eq!(run(Fault::ReturnsLate), outcome([0, 0, 1]));
    });
}

#[test]
fn a_handler_that_shuts_its_bus_down_keeps_nothing_from_another_lane_that_was_emitted_before() {
    bounded(|| {
        let expected = Outcome { other: 1 + EVENTS, hurt: [1, 0, 0], refused: 2 * EVENTS };
        assert_eq!(run(Fault::ShutsDown), expected);
    });
}

#[test]
fn a_retry_that_never_returns_times_out_like_a_first_call() {
    bounded(|| {
        let expected = Outcome { other: 1 + 3 * EVENTS, hurt: [0, 0, 1], refused: 0 };
        assert_eq!(run(Fault::NeverReturnsWhenRetried), expected);
    });
}
