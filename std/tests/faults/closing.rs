//! Many emitters that race with a shutdown.

use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nervebus::{Bus, Event, Lane, ManualClock, Reason};

use super::{GUARD, HOUR, adds_up, bounded, held, is_quiet, until};

const EMITTERS: u64 = 64;

/// Emitters that go on until they are refused; each returns how many were taken.
fn emitters(bus: &Bus) -> Vec<JoinHandle<u64>> {
    let start = Arc::new(Barrier::new(EMITTERS as usize));
    let emitter = |number: u64| {
        let (bus, start) = (bus.clone(), Arc::clone(&start));
        thread::spawn(move || {
            start.wait();
            let mut taken = 0;
            loop {
                let Err(error) = bus.emit("t", number) else {
                    taken += 1;
                    continue;
                };
                assert!(error.is_closed() && error.into_payload() == number);
                return taken;
            }
        })
    };
    (0..EMITTERS).map(emitter).collect()
}

fn taken(emitters: Vec<JoinHandle<u64>>) -> u64 {
    emitters.into_iter().map(|emitter| emitter.join().unwrap()).sum()
}

#[test]
fn of_what_64_emitters_emit_during_a_shutdown_each_is_delivered_or_refused() {
    bounded(|| {
        for round in 0..2 {
            let lane = Lane::new("default").capacity(64);
            let bus = Bus::builder().clock(&ManualClock::new()).default_lane(lane).build().unwrap();
            let (saw, seen) = mpsc::channel();
            bus.subscribe("t", move |event: &Event<'_>| saw.send(event.seq()).unwrap()).unwrap();
            let emitters = emitters(&bus);
            (0..round * 500).for_each(|_| assert!(seen.recv_timeout(GUARD).is_ok()));
            let report = bus.shutdown(GUARD);
            let taken = taken(emitters);
            // Who emitted too late for the report is counted in the ledger.
            let again = bus.shutdown(GUARD);
            adds_up(&again);
            assert!(report.drained && again.drained && report.left == 0);
            assert_eq!((report.handled, report.failed), (again.handled, again.failed));
            let ledger = bus.ledger();
            assert_eq!((again.handled, ledger.refused), (taken, EMITTERS));
            assert_eq!(report.handled + bus.dead_letters().total() + ledger.refused, ledger.emitted);
            assert_eq!(seen.try_iter().count() as u64 + round * 500, taken);
            assert!(bus.emit("t", 7_u64).unwrap_err().is_closed());
            assert_eq!(bus.shutdown(GUARD).handled, taken);
        }
    });
}

#[test]
fn of_what_64_emitters_emit_on_a_stuck_lane_each_is_delivered_or_dead_or_refused_at_the_deadline() {
    bounded(|| {
        for _ in 0..2 {
            let (clock, lane) = (ManualClock::new(), Lane::new("default").capacity(1_024));
            let bus = Bus::builder().clock(&clock).default_lane(lane).dead_letters(2_000).build().unwrap();
            let (handler, begun, go) = held();
            bus.subscribe("t", handler).unwrap();
            let emitters = emitters(&bus);
            begun.recv_timeout(GUARD).unwrap();
            let closer = bus.clone();
            let closing = thread::spawn(move || closer.shutdown(HOUR));
            until("the shutdown does not wait", || clock.waiting() == 1);
            clock.advance(HOUR);
            let report = closing.join().unwrap();
            let taken = taken(emitters);
            assert!(!report.drained && report.ledger.balanced(), "{report}");
            let again = bus.shutdown(Duration::ZERO);
            assert_eq!((again.handled, again.left, again.drained), (report.handled, report.left, false));
            adds_up(&again);
            drop(go);
            until("the call in hand does not end", || is_quiet(&bus) && bus.ledger().deliveries().pending == 0);
            let (ledger, dead) = (bus.ledger(), bus.dead_letters().total());
            assert!(ledger.balanced(), "{ledger}");
            assert_eq!((ledger.deliveries().handled, report.left), (1, dead));
            assert!(bus.dead_letters().list().iter().all(|letter| letter.reason == Reason::Shutdown));
            assert_eq!(1 + dead + ledger.refused, ledger.emitted);
            assert!(ledger.routed >= taken);
            assert!(bus.emit("t", 7_u64).unwrap_err().is_closed());
        }
    });
}
