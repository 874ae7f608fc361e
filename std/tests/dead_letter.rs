//! Dead letters: bounded, newest first to stay, nothing forgotten without being counted.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::time::Duration;

use nervebus::{Bus, Event, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A bus whose every event on `t` fails, with as many events emitted.
fn failing(capacity: usize, events: u64) -> Bus {
    let bus = Bus::builder().dead_letters(capacity).build().unwrap();
    bus.on("t").inline().handle(|event| Err(format!("error {}", event["n"]))).unwrap();
    (1..=events).for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
    bus
}

fn numbers(bus: &Bus) -> Vec<u64> {
    bus.dead_letters().list().iter().map(|letter| letter.event.as_event()["n"].as_u64().unwrap()).collect()
}

#[test]
fn the_newest_letters_stay_and_those_that_make_way_are_counted() {
    let bus = failing(3, 8);
    let letters = bus.dead_letters();
    assert_eq!((letters.len(), letters.capacity(), letters.total(), letters.overwritten()), (3, 3, 8, 5));
    assert_eq!(numbers(&bus), [6, 7, 8], "oldest first");
    let list = letters.list();
    assert_eq!(list.iter().map(|letter| letter.id).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(list.iter().map(|letter| &*letter.error).collect::<Vec<_>>(), ["error 6", "error 7", "error 8"]);
    assert!(bus.ledger().balanced());
}

#[test]
fn a_queue_that_is_just_full_has_overwritten_nothing() {
    let bus = failing(3, 3);
    assert_eq!((bus.dead_letters().len(), bus.dead_letters().overwritten()), (3, 0));
    assert_eq!(numbers(&bus), [1, 2, 3]);
}

#[test]
fn with_capacity_zero_failures_are_counted_and_none_is_kept() {
    let bus = failing(0, 4);
    let letters = bus.dead_letters();
    assert!(letters.is_empty() && letters.list().is_empty() && letters.by_reason().is_empty());
    assert_eq!((letters.len(), letters.capacity(), letters.total()), (0, 0, 4));
    let end = bus.shutdown(GUARD);
    assert_eq!(end.failed, 4);
    assert!(end.drained && end.ledger.balanced());
}

#[test]
fn listing_takes_nothing_away_and_a_letter_outlives_its_bus() {
    let bus = failing(3, 1);
    let first = bus.dead_letters().list().remove(0);
    assert_eq!(bus.dead_letters().list()[0].id, first.id);
    drop(bus);
    assert_eq!(first.event.as_event().topic(), "t");
    assert_eq!(first.event.as_event()["n"], 1);
    let kept = first.event.clone();
    drop(first);
    assert_eq!(kept.as_event().payload(), &json!({"n": 1}));
}

#[test]
fn a_letter_has_the_typed_payload_of_its_event() {
    #[derive(serde::Serialize, PartialEq, Debug)]
    struct Order {
        cents: u64,
    }
    let bus = Bus::builder().build().unwrap();
    bus.on("t").handle(|_| Err("no")).unwrap();
    assert!(!bus.emit_and_wait("t", Order { cents: 1999 }).unwrap().all_handled());
    let letters = bus.dead_letters().list();
    let event: Event<'_> = letters[0].event.as_event();
    assert_eq!(event.payload_as::<Order>(), Some(&Order { cents: 1999 }));
    assert_eq!(event["cents"], 1999);
}

#[test]
fn letters_are_counted_by_reason() {
    let bus = failing(2, 5);
    assert_eq!(bus.dead_letters().by_reason(), BTreeMap::from([("handler_error", 2)]), "of those that are kept");
    assert_eq!(bus.stats().dead_letters.by_reason, bus.dead_letters().by_reason());
}

#[test]
fn an_event_that_succeeds_is_no_letter() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").handle(|_| ()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    assert!(bus.dead_letters().is_empty());
    assert_eq!(bus.dead_letters().total(), 0);
}
