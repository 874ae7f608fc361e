//! Handlers that own their events: the payload is shared and not copied, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nervebus::{AuditLog, Bus, Event, Lane, OwnedEvent};
use serde::{Serialize, Serializer};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A payload that cannot be copied, and counts how often it is made into JSON and dropped.
struct Single<const SIZE: usize> {
    number: u64,
    _bulk: [u8; SIZE],
    drops: Arc<AtomicUsize>,
}

impl<const SIZE: usize> Serialize for Single<SIZE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.number)
    }
}

impl<const SIZE: usize> Drop for Single<SIZE> {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Emits one payload of this size to a handler that keeps it, and looks at it after the bus has gone.
fn kept<const SIZE: usize>(inline: bool) {
    let drops = Arc::<AtomicUsize>::default();
    let bus = Bus::builder().build().unwrap();
    let (sender, events) = mpsc::channel();
    let on = bus.on("t.*");
    let on = if inline { on.inline() } else { on };
    on.handle_owned(move |event| sender.send(event).unwrap()).unwrap();
    let payload = Single::<SIZE> { number: 7, _bulk: [0; SIZE], drops: Arc::clone(&drops) };
    let receipt = bus.event("t.one", payload).source("a test").correlation_id("1").emit().unwrap();
    let event: OwnedEvent = events.recv_timeout(GUARD).unwrap();
    assert!(bus.shutdown(GUARD).ledger.balanced());
    drop(bus);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    assert_eq!(event.payload_as::<Single<SIZE>>().map(|payload| payload.number), Some(7), "the value itself");
    assert_eq!((event.topic(), event.seq(), event.payload().as_u64()), ("t.one", receipt.seq(), Some(7)));
    assert_eq!((event.source(), event.correlation_id(), event.causation()), (Some("a test"), Some("1"), None));
    assert_eq!((event.id().to_string(), event["field"].is_null()), (receipt.id().to_string(), true));
    drop(event);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn an_owned_event_outlives_call_and_bus_with_the_very_value_that_was_emitted() {
    kept::<1>(true);
    kept::<1>(false);
    kept::<1_000>(true);
    kept::<1_000>(false);
}

#[test]
fn owning_and_looking_handlers_run_by_priority_each_once_and_failures_are_counted() {
    let log = std::env::temp_dir().join(format!("nervebus-owned-{}.jsonl", std::process::id()));
    for audited in [false, true] {
        let builder = Bus::builder().lane(Lane::new("other"));
        let builder = if audited { builder.audit(AuditLog::at(&log)) } else { builder };
        let bus = builder.build().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        for inline in [true, false] {
            let on = |priority: i32| {
                let on = bus.on("t").priority(priority).name(format!("{priority}"));
                if inline { on.inline() } else { on.lane("other") }
            };
            let note = |priority: i32| {
                let calls = Arc::clone(&calls);
                move |number: u64| {
                    calls.lock().unwrap().push((inline, priority, number));
                    if priority == 4 || priority == 3 { Err("no") } else { Ok(()) }
                }
            };
            for priority in [5, 3, 1] {
                let note = note(priority);
                on(priority).handle(move |event: &Event<'_>| note(*event.payload_as().unwrap())).unwrap();
            }
            for priority in [4, 2] {
                let note = note(priority);
                on(priority).handle_owned(move |event| note(*event.payload_as().unwrap())).unwrap();
            }
        }
        bus.emit("t", 1_u64).unwrap();
        let report = bus.emit_and_wait("t", 2_u64).unwrap();
        let told: Vec<_> = report.outcomes.iter().map(|outcome| (&*outcome.handler, outcome.result.is_ok())).collect();
        let each = [("5", true), ("4", false), ("3", false), ("2", true), ("1", true)];
        assert_eq!(told, [each, each].concat());
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
        assert_eq!((end.handled, end.failed), (12, 8));
        for inline in [true, false] {
            let calls: Vec<_> = calls.lock().unwrap().iter().filter(|call| call.0 == inline).copied().collect();
            let expected: Vec<_> =
                [1, 2].into_iter().flat_map(|number| [5, 4, 3, 2, 1].map(|by| (inline, by, number))).collect();
            assert_eq!(calls, expected);
        }
    }
    std::fs::remove_file(log).unwrap();
}

#[test]
fn a_panic_of_an_owning_handler_is_a_failure_like_any() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").inline().handle_owned(|_| -> Result<(), String> { panic!("lost my head") }).unwrap();
    let receipt = bus.emit("t", 1).unwrap();
    assert_eq!((receipt.inline().handled, receipt.inline().failed), (0, 1));
    let letter = &bus.dead_letters().list()[0];
    assert_eq!((&*letter.error, letter.event.payload_as()), ("panicked: lost my head", Some(&1)));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}
