//! Handlers that fail: the others go on, and the failure leaves a record and a dead letter.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/held.rs"]
mod held;

use std::error::Error;
use std::fmt;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nervebus::{Bus, Event, HandlerError, Lane, Reason, Value, json};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// What a record of a failure looks like to its subscriber.
#[derive(Debug)]
struct Seen {
    seq: u64,
    topic: String,
    payload: Value,
    causation: Option<u64>,
    correlation: Option<String>,
}

fn seen(event: &Event<'_>) -> Seen {
    Seen {
        seq: event.seq(),
        topic: event.topic().to_owned(),
        payload: event.payload().clone(),
        causation: event.causation(),
        correlation: event.correlation_id().map(str::to_owned),
    }
}

/// Subscribes to everything that the bus says of itself.
fn records(bus: &Bus) -> Receiver<Seen> {
    let (sender, receiver) = mpsc::channel();
    bus.on("system.*").handle(move |event| sender.send(seen(event)).unwrap()).unwrap();
    receiver
}

#[test]
fn an_error_or_a_panic_of_one_handler_never_stops_the_others() {
    let bus = Bus::builder().build().unwrap();
    let (sender, ran) = mpsc::channel();
    for (priority, inline) in [(30, true), (10, true), (30, false), (10, false)] {
        let sender = sender.clone();
        let subscribe = bus.on("t").priority(priority);
        let subscribe = if inline { subscribe.inline() } else { subscribe };
        subscribe.handle(move |_| sender.send((inline, priority)).unwrap()).unwrap();
    }
    bus.on("t").inline().priority(25).handle(|_| Err("inline error")).unwrap();
    bus.on("t").inline().priority(20).handle(|_| -> Result<(), String> { panic!("inline panic") }).unwrap();
    bus.on("t").priority(25).handle(|_| Err("queued error")).unwrap();
    bus.on("t").priority(20).handle(|_| -> Result<(), String> { panic!("queued panic") }).unwrap();
    for _ in 0..2 {
        bus.emit("t", json!({})).unwrap();
    }
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
    let (inline, queued): (Vec<_>, Vec<_>) = ran.try_iter().partition(|(inline, _)| *inline);
    assert_eq!(inline, [(true, 30), (true, 10), (true, 30), (true, 10)]);
    assert_eq!(queued, [(false, 30), (false, 10), (false, 30), (false, 10)]);
    assert_eq!((end.handled, end.failed), (8, 8));
}

#[test]
fn a_failure_is_told_to_subscribers_of_system_with_all_they_need_to_find_it() {
    let bus = Bus::builder().lane(Lane::new("mail")).build().unwrap();
    let records = records(&bus);
    let id = bus.on("user.*").name("welcome mail").lane("mail").handle(|_| Err("no such mailbox")).unwrap();
    let receipt = bus.emit("user.signup", json!({"email": "a@b"})).unwrap();
    let record = records.recv_timeout(GUARD).unwrap();
    assert_eq!(record.topic, "system.handler_error");
    let expected = json!({
        "event_type": "user.signup",
        "event_id": receipt.id().to_string(),
        "seq": receipt.seq(),
        "handler": "welcome mail",
        "subscription": id.get(),
        "lane": "mail",
        "error_type": "error",
        "attempts": 1,
            "error": "no such mailbox",
    });
    assert_eq!(record.payload, expected);
    assert!(record.seq > receipt.seq());
    assert_eq!(bus.ledger().system, 1);
    assert_eq!(bus.ledger().emitted, 1, "what the bus says itself is counted apart");
}

#[test]
fn the_record_of_an_inline_panic_names_the_inline_lane_and_the_given_identity() {
    let bus = Bus::builder().build().unwrap();
    let records = records(&bus);
    bus.on("t").inline().handle(|_| -> Result<(), String> { panic!("lost my head") }).unwrap();
    let receipt = bus.event("t", json!({})).event_id("e-1").correlation_id("c-1").emit().unwrap();
    let record = records.recv_timeout(GUARD).unwrap();
    let fields = ["event_id", "lane", "error_type", "error", "handler"].map(|field| record.payload[field].clone());
    assert_eq!(fields, ["e-1", "inline", "panic", "panicked: lost my head", "t"].map(Value::from));
    assert_eq!(record.causation, Some(receipt.seq()), "it was caused by the event that failed");
    assert_eq!(record.correlation.as_deref(), Some("c-1"), "and belongs to the same request");
}

#[test]
fn a_failure_leaves_a_dead_letter_with_event_handler_and_error() {
    let bus = Bus::builder().build().unwrap();
    let id = bus.on("order.placed").name("stock").handle(|_| Err("sold out")).unwrap();
    let report = bus.event("order.placed", json!({"sku": 7})).source("shop").emit_and_wait().unwrap();
    let letters = bus.dead_letters().list();
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.id, letter.reason, letter.attempts), (1, Reason::HandlerError, 1));
    assert_eq!((letter.subscription, &*letter.handler, &*letter.error), (Some(id), "stock", "sold out"));
    let event = letter.event.as_event();
    assert_eq!((event.topic(), event.seq(), event.source()), ("order.placed", report.receipt.seq(), Some("shop")));
    assert_eq!(event["sku"], 7);
    assert!(letter.failed_at >= event.timestamp());
}

#[test]
fn every_failing_handler_of_an_event_has_a_record_and_a_letter_of_its_own() {
    let bus = Bus::builder().build().unwrap();
    let records = records(&bus);
    bus.on("t").name("first").handle(|_| Err("1")).unwrap();
    bus.on("t").name("good").handle(|_| ()).unwrap();
    bus.on("t").name("second").handle(|_| Err("2")).unwrap();
    assert_eq!(bus.emit_and_wait("t", json!({})).unwrap().failures().count(), 2);
    assert!(bus.shutdown(GUARD).drained);
    let recorded: Vec<_> = records.try_iter().map(|record| record.payload["handler"].clone()).collect();
    assert_eq!(recorded, ["first", "second"]);
    let letters: Vec<_> = bus.dead_letters().list().iter().map(|letter| letter.error.clone()).collect();
    assert_eq!(letters, ["1", "2"]);
}

#[derive(Debug)]
struct Broken(std::io::Error);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl Error for Broken {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn a_handler_may_fail_with_text_a_boxed_error_or_an_error_of_its_own() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").handle(|_| Err("a literal")).unwrap();
    bus.on("t").handle(|event| Err(format!("text of {}", event.topic()))).unwrap();
    bus.on("t").handle(|_| Err::<(), Box<dyn Error + Send + Sync>>("7x".parse::<u8>().unwrap_err().into())).unwrap();
    bus.on("t").handle(|_| Err(Broken(std::io::Error::other("a wire")))).unwrap();
    let question_mark = |event: &Event<'_>| -> Result<(), Box<dyn Error + Send + Sync>> {
        event["n"].as_str().ok_or("no text")?.parse::<u8>()?;
        Ok(())
    };
    bus.on("t").handle(question_mark).unwrap();
    let report = bus.emit_and_wait("t", json!({"n": "5"})).unwrap();
    let errors: Vec<String> = report.failures().map(|o| o.result.as_ref().unwrap_err().to_string()).collect();
    assert_eq!(errors, ["a literal", "text of t", "invalid digit found in string", "broken"]);
    let last = report.failures().last().unwrap().result.as_ref().unwrap_err();
    assert_eq!(last.kind(), "error");
    let HandlerError::Error(inner) = &**last else { panic!("{last:?}") };
    assert!(inner.downcast_ref::<Broken>().is_some(), "the error itself can be had back");
    assert_eq!(last.source().and_then(Error::source).map(ToString::to_string).as_deref(), Some("a wire"));
}

#[test]
fn a_panic_is_told_by_its_message_of_whatever_type() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").handle(|_| -> Result<(), String> { panic!("a literal") }).unwrap();
    bus.on("t").handle(|event| -> Result<(), String> { panic!("text of {}", event.topic()) }).unwrap();
    bus.on("t").handle(|_| -> Result<(), String> { panic_any(17) }).unwrap();
    bus.on("t").handle(|_| -> Result<(), String> { panic_any(String::from("owned text")) }).unwrap();
    let report = bus.emit_and_wait("t", json!({})).unwrap();
    let errors: Vec<String> = report.failures().map(|o| o.result.as_ref().unwrap_err().to_string()).collect();
    let expected = ["panicked: a literal", "panicked: text of t", "panicked: no message", "panicked: owned text"];
    assert_eq!(errors, expected);
    assert!(report.failures().all(|outcome| outcome.result.as_ref().unwrap_err().kind() == "panic"));
}

#[test]
fn a_failing_handler_of_the_records_makes_no_further_record() {
    let bus = Bus::builder().build().unwrap();
    let records = records(&bus);
    bus.on("system.*").name("bad watcher").handle(|_| Err("I fail too")).unwrap();
    bus.on("*").name("bad at all").inline().handle(|_| -> Result<(), String> { panic!("always") }).unwrap();
    bus.emit("t", json!({})).unwrap();
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
    let recorded: Vec<_> = records.try_iter().map(|record| record.payload["handler"].clone()).collect();
    assert_eq!(recorded, ["bad at all"], "one record, of the event that was emitted");
    assert_eq!(end.ledger.system, 1);
    let mut letters: Vec<_> = bus.dead_letters().list().iter().map(|letter| letter.handler.to_string()).collect();
    letters.sort();
    assert_eq!(letters, ["bad at all", "bad at all", "bad watcher"], "but each failure is a dead letter");
}

#[test]
fn a_record_finds_its_way_although_the_lane_is_full() {
    let bus = Bus::builder().default_lane(Lane::new("narrow").capacity(1)).build().unwrap();
    let records = records(&bus);
    let (handler, begun, go) = held();
    bus.on("t")
        .name("fails")
        .handle(move |event| {
            handler(event);
            Err("after a while")
        })
        .unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2).unwrap();
    assert_eq!(bus.stats().lanes[0].free_slots, 0, "no room for a record");
    drop(go);
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
    assert_eq!(records.try_iter().count(), 2);
    assert_eq!((end.ledger.system, end.ledger.system_lost), (2, 0));
}

#[test]
fn a_record_reaches_its_subscribers_although_the_bus_has_its_limit_of_topics() {
    let bus = Bus::builder().max_topics(16).build().unwrap();
    let records = records(&bus);
    bus.on("topic.t0").inline().handle(|_| Err("no")).unwrap();
    let _ = (1..20).map(|n| bus.emit(&format!("topic.t{n}"), ())).collect::<Vec<_>>();
    bus.emit("topic.t0", ()).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    assert_eq!(records.try_iter().count(), 1, "system_lost: {}", bus.ledger().system_lost);
}

#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("I have no text")
    }
}

impl Error for Unprintable {}

#[test]
fn an_error_whose_text_panics_is_a_failure_and_not_the_end_of_its_lane() {
    let bus = Bus::builder().wait_limit(GUARD).build().unwrap();
    bus.on("bad").handle(|_| Err(Unprintable)).unwrap();
    bus.on("good").handle(|_| ()).unwrap();
    bus.emit("bad", ()).unwrap();
    assert!(bus.emit_and_wait("good", ()).unwrap().all_handled(), "the lane's worker is gone");
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    assert_eq!((end.handled, end.failed, bus.dead_letters().total()), (1, 1, 1));
}

#[test]
fn an_inline_error_whose_text_panics_does_not_reach_the_emitter() {
    let bus = Arc::new(Bus::builder().build().unwrap());
    bus.on("bad").inline().handle(|_| Err(Unprintable)).unwrap();
    let emitter = Arc::clone(&bus);
    let receipt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || emitter.emit("bad", ()).unwrap()));
    assert_eq!(receipt.map(|receipt| receipt.inline().failed).ok(), Some(1), "the panic went through emit");
    assert!(bus.ledger().emitting == 0 && bus.ledger().balanced(), "{}", bus.ledger());
}

#[test]
fn many_records_that_stepped_aside_from_a_full_ring_are_all_delivered() {
    const FAILURES: usize = 400;
    let bus = Bus::builder().lane(Lane::new("records").capacity(1)).build().unwrap();
    let (sender, receiver) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(Some(released));
    bus.on("system.handler_error")
        .lane("records")
        .handle(move |event| {
            // The first one holds the lane until all others have come.
            if let Some(released) = released.lock().unwrap().take() {
                let _ = released.recv_timeout(GUARD);
            }
            sender.send(event["seq"].as_u64().unwrap()).unwrap();
        })
        .unwrap();
    bus.on("topic.bad").inline().handle(|_| Err("no")).unwrap();
    for _ in 0..FAILURES {
        bus.emit("topic.bad", ()).unwrap();
    }
    release.send(()).unwrap();
    // Without a further event: the lane's worker must not sleep while some wait.
    let seen: Vec<u64> = (0..FAILURES).map(|_| receiver.recv_timeout(GUARD).unwrap()).collect();
    assert!(seen.is_sorted(), "in the order of the failures");
    assert!(bus.shutdown(GUARD).drained && bus.ledger().balanced());
}

#[test]
fn a_record_that_stepped_aside_comes_after_those_in_the_ring_and_waits_for_no_more() {
    const SLOTS: usize = 4;
    let bus = Bus::builder().lane(Lane::new("narrow").capacity(SLOTS)).build().unwrap();
    let ((begin, begun), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let (sender, seen) = mpsc::channel();
    let (weak, released, record) = (bus.downgrade(), Mutex::new(Some(released)), sender.clone());
    let ticks = Arc::new(AtomicUsize::new(0));
    let ticking = Arc::clone(&ticks);
    bus.on("tick")
        .lane("narrow")
        .handle(move |_| {
            if let Some(released) = released.lock().unwrap().take() {
                begin.send(()).unwrap();
                let _ = released.recv_timeout(GUARD);
            }
            let _ = sender.send("tick");
            // So that the ring is never empty before the end.
            if ticking.fetch_add(1, Ordering::Relaxed) < 10 * SLOTS {
                let _ = weak.upgrade().unwrap().try_emit("tick", ());
            }
        })
        .unwrap();
    let note = move |_: &Event<'_>| record.send("record").map_err(|_| "nobody listens");
    bus.on("system.handler_error").lane("narrow").handle(note).unwrap();
    bus.on("topic.bad").inline().handle(|_| Err("no")).unwrap();
    bus.emit("tick", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (0..SLOTS).for_each(|_| assert!(bus.emit("tick", ()).is_ok()));
    (0..2).for_each(|_| assert!(bus.emit("topic.bad", ()).is_ok()));
    release.send(()).unwrap();
    let first: Vec<_> = (0..SLOTS + 4).map(|_| seen.recv_timeout(GUARD).unwrap()).collect();
    let (before, records) = first.split_at(SLOTS + 1);
    assert!(before.iter().all(|topic| *topic == "tick"), "{first:?}");
    assert_eq!(records, ["record", "record", "tick"]);
    assert!(bus.shutdown(GUARD).drained && bus.ledger().balanced());
}
