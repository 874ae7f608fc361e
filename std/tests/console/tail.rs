//! Live events: those of the pattern, what did not fit counted, and readers that come and go.

use nervebus::console::Console;
use nervebus::{Bus, Event, json};
use serde::Serialize;

use crate::client::{GUARD, Served, Tail};
use crate::until::until;

fn readers(bus: &Bus) -> usize {
    bus.stats().subscriptions.iter().filter(|subscription| subscription.name == "nervebus.console").count()
}

#[test]
fn a_reader_gets_the_events_of_its_pattern_in_order() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    bus.emit("order.placed", json!({"n": 0})).unwrap();
    let (mut orders, mut all) = (served.tail("?pattern=order.*"), served.tail(""));
    for n in 1..=3 {
        bus.emit("order.placed", json!({"n": n, "text": "a\nb\u{2028}c"})).unwrap();
        bus.emit("mail.sent", json!({"n": n})).unwrap();
    }
    for n in 1..=3 {
        let event = orders.event();
        assert_eq!((&event["event_type"], &event["payload"]["n"]), (&json!("order.placed"), &json!(n)));
        assert_eq!(event["payload"]["text"], "a\nb\u{2028}c");
        assert_eq!((all.event()["payload"]["n"].clone(), all.event()["payload"]["n"].clone()), (json!(n), json!(n)));
    }
}

#[test]
fn what_comes_too_fast_is_counted_and_told_of() {
    const EVENTS: u64 = 10_000;
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    let mut tail = served.tail("?pattern=burst.*");
    for n in 1..=EVENTS {
        bus.emit("burst.event", n).unwrap();
    }
    bus.emit("burst.over", ()).unwrap();
    let (mut seen, mut dropped) = (0, 0);
    loop {
        match tail.next().unwrap() {
            (name, data) if name == "dropped" => dropped += data["events"].as_u64().unwrap(),
            (_, event) if event["event_type"] == "burst.over" => break,
            _ => seen += 1,
        }
    }
    bus.shutdown(GUARD);
    while let Some((name, data)) = tail.next() {
        dropped += if name == "dropped" { data["events"].as_u64().unwrap() } else { 0 };
    }
    assert_eq!(seen + dropped, EVENTS);
    assert!(dropped > 0 && seen >= 255, "{seen} seen, {dropped} dropped");
}

#[test]
fn a_reader_that_does_not_read_makes_no_emitter_wait() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    let _tail = served.tail("");
    let text = "x".repeat(10_000);
    for _ in 0..5_000 {
        bus.emit("big.event", json!({"text": &text})).unwrap();
    }
    assert_eq!(served.get("/health").status, 200);
    assert!(bus.ledger().balanced());
}

#[test]
fn there_are_no_more_readers_than_allowed_and_one_that_goes_makes_room() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus).max_tails(2));
    let (one, _two) = (served.tail(""), served.tail("?pattern=a.*"));
    let Err(refused) = Tail::open(served.address, "/events") else { panic!("a third one") };
    assert_eq!((refused.status, readers(&bus)), (503, 2));
    assert!(refused.error().starts_with("as many read live events as may"), "{refused:?}");
    assert_eq!(served.get("/stats").status, 200, "others are answered");
    drop(one);
    until(|| readers(&bus) == 1);
    until(|| Tail::open(served.address, "/events").is_ok());
}

#[test]
fn a_refused_reader_takes_no_place() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus).max_tails(1));
    for _ in 0..3 {
        assert_eq!(served.get("/events?pattern=a.").status, 400);
    }
    served.tail("");
}

#[test]
fn a_bus_that_shuts_down_ends_its_readers_and_lets_nobody_new_in() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    let mut tail = served.tail("?pattern=order.*");
    bus.emit("order.placed", json!({})).unwrap();
    bus.shutdown(GUARD);
    assert_eq!(tail.event()["event_type"], "order.placed");
    assert_eq!(tail.next(), Some(("end".into(), json!({}))));
    assert_eq!(tail.next(), None);
    assert_eq!(served.get("/events").status, 503);
}

#[test]
fn a_server_that_stops_ends_its_readers_and_the_bus_goes_on() {
    let bus = Bus::builder().build().unwrap();
    let mut served = Served::of(Console::of(&bus));
    let mut tail = served.tail("");
    assert!(served.stop(), "nothing is left");
    assert_eq!(tail.next(), Some(("end".into(), json!({}))));
    until(|| readers(&bus) == 0);
    assert!(bus.emit("order.placed", json!({})).is_ok());
}

#[derive(Event, Serialize)]
#[event(topic = "person.seen")]
struct PersonSeen {
    id: u64,
    #[event(pii)]
    name: String,
}

#[test]
fn personal_data_is_not_shown_and_a_huge_payload_is_left_out() {
    let bus = Bus::builder().build().unwrap();
    let mut people = bus.topic::<PersonSeen>().unwrap();
    let served = Served::of(Console::of(&bus));
    let mut tail = served.tail("");
    people.emit(PersonSeen { id: 7, name: "Alice Liddell".into() }).unwrap();
    assert_eq!(tail.event()["payload"], json!({"id": 7, "name": "[REDACTED_PII]"}));
    bus.emit("big.event", json!({"text": "x".repeat(70_000)})).unwrap();
    let event = tail.event();
    assert_eq!((&event["event_type"], &event["seq"]), (&json!("big.event"), &json!(2)));
    assert!(event["payload"]["left_out"].as_str().unwrap().contains("70"), "{event}");
}
