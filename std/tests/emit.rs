//! What an emit promises: who gets the event, in which order, what comes back when it is refused.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::collections::HashSet;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, EmitError, Event, Lane, NameRule, Record, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A handler that passes on what it sees of each event, and the other end.
fn passing_on<T: Send + 'static>(
    look: impl Fn(&Event<'_>) -> T + Send + Sync + 'static,
) -> (impl Fn(&Event<'_>) + Send + Sync + 'static, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    (move |event: &Event<'_>| sender.send(look(event)).unwrap(), receiver)
}

#[test]
fn an_event_reaches_its_subscriber_with_topic_number_and_payload() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|event| (event.topic().to_owned(), event.seq(), event.payload().clone()));
    bus.subscribe("user.login", handler).unwrap();
    let receipt = bus.emit("user.login", json!({"username": "alice", "tries": [1, 2]})).unwrap();
    let expected = ("user.login".to_owned(), receipt.seq(), json!({"username": "alice", "tries": [1, 2]}));
    assert_eq!(seen.recv_timeout(GUARD), Ok(expected));
    assert_eq!((receipt.admitted(), receipt.is_unrouted()), (1, false));
}

#[test]
fn a_field_that_is_not_there_reads_as_null() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|event| (event["a"].clone(), event["b"].clone(), event["b"]["c"].clone()));
    bus.on("t").inline().handle(handler).unwrap();
    bus.emit("t", json!({"a": 1})).unwrap();
    bus.emit("t", json!("no object at all")).unwrap();
    assert_eq!(seen.recv_timeout(GUARD), Ok((json!(1), Value::Null, Value::Null)));
    assert_eq!(seen.recv_timeout(GUARD), Ok((Value::Null, Value::Null, Value::Null)));
}

#[test]
fn events_of_one_emitter_arrive_in_the_order_of_the_emits() {
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(7)).build().unwrap();
    let (handler, seen) = passing_on(|event| event["n"].as_u64().unwrap());
    bus.subscribe("t", handler).unwrap();
    (0..2_000).for_each(|n| assert_eq!(bus.emit("t", json!({"n": n})).unwrap().admitted(), 1));
    assert!(bus.shutdown(GUARD).drained);
    assert!(seen.try_iter().eq(0..2_000));
}

#[test]
fn threads_that_emit_at_once_lose_nothing_and_get_numbers_of_their_own() {
    const EACH: usize = 2_000;
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(64)).build().unwrap();
    let (handler, seen) = passing_on(|event| event.seq());
    bus.subscribe("t", handler).unwrap();
    let emitters: Vec<_> = (0..4)
        .map(|_| {
            let bus = bus.clone();
            thread::spawn(move || (0..EACH).map(|_| bus.emit("t", ()).unwrap().seq()).collect::<Vec<_>>())
        })
        .collect();
    let mut given = HashSet::new();
    for emitter in emitters {
        let numbers = emitter.join().unwrap();
        assert!(numbers.is_sorted(), "later emits have higher numbers");
        given.extend(numbers);
    }
    assert!(bus.shutdown(GUARD).drained);
    let seen: Vec<u64> = seen.try_iter().collect();
    assert_eq!((seen.len(), given.len()), (4 * EACH, 4 * EACH));
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), given);
}

#[test]
fn an_event_without_subscribers_is_unrouted_and_counted() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("somebody.listens", |_| ()).unwrap();
    let receipt = bus.emit("nobody.listens", json!({})).unwrap();
    assert!(receipt.is_unrouted());
    assert_eq!((receipt.admitted(), receipt.inline().total()), (0, 0));
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.unrouted, ledger.routed, ledger.refused), (1, 1, 0, 0));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn inline_handlers_have_run_when_emit_returns() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|_| thread::current().id());
    bus.on("t").inline().handle(handler).unwrap();
    bus.on("t").inline().handle(|_| Err("no")).unwrap();
    let receipt = bus.emit("t", json!({})).unwrap();
    assert_eq!(seen.try_recv(), Ok(thread::current().id()), "on the emitter's own thread");
    assert_eq!((receipt.inline().handled, receipt.inline().failed, receipt.admitted()), (1, 1, 0));
    assert!(!receipt.is_unrouted());
}

#[test]
fn one_event_goes_to_every_lane_that_has_a_subscriber_and_to_no_other() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).lane(Lane::new("idle")).build().unwrap();
    let (sender, seen) = mpsc::channel();
    for lane in ["a", "a", "b"] {
        let sender = sender.clone();
        bus.on("t").lane(lane).handle(move |event| sender.send((lane, event["n"].clone())).unwrap()).unwrap();
    }
    let receipt = bus.emit("t", json!({"n": 5})).unwrap();
    assert_eq!(receipt.admitted(), 2, "lanes, not handlers");
    assert!(bus.shutdown(GUARD).drained);
    let mut seen: Vec<_> = seen.try_iter().collect();
    seen.sort_by_key(|(lane, _)| *lane);
    assert_eq!(seen, [("a", json!(5)), ("a", json!(5)), ("b", json!(5))]);
}

#[test]
fn the_identity_on_the_receipt_is_the_one_the_handler_sees_and_no_other_event_has_it() {
    let buses = [Bus::builder().build().unwrap(), Bus::builder().build().unwrap()];
    let mut identities = HashSet::new();
    for bus in &buses {
        let (handler, seen) = passing_on(|event| event.id().to_string());
        bus.subscribe("t", handler).unwrap();
        for _ in 0..3 {
            let receipt = bus.emit("t", json!({})).unwrap();
            let identity = seen.recv_timeout(GUARD).unwrap();
            assert_eq!(identity, receipt.id().to_string());
            assert!(identity.len() == 32 && identity.chars().all(|c| c.is_ascii_hexdigit()), "{identity}");
            assert!(identities.insert(identity));
        }
    }
    assert_eq!(identities.len(), 6);
}

#[test]
fn a_malformed_topic_is_refused_by_name_and_rule_and_the_payload_comes_back() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|_| ());
    bus.on("*").inline().handle(handler).unwrap();
    let long = "x".repeat(256);
    let cases = [
        ("", r#"topic "": a name needs at least one character"#),
        ("a..b", r#"topic "a..b": segment 2 is empty"#),
        (".a", r#"topic ".a": segment 1 is empty"#),
        ("a.", r#"topic "a.": segment 2 is empty"#),
        ("chat.*", r#"topic "chat.*": '*' at byte 5 is for patterns only"#),
        ("a b", r#"topic "a b": ' ' at byte 1 is whitespace, which is not allowed"#),
        ("a\n", r#"topic "a\n": '\n' at byte 1 is a control character, which is not allowed"#),
    ];
    for (name, text) in cases {
        let error = bus.emit(name, vec![name.to_owned()]).unwrap_err();
        assert!(matches!(error, EmitError::InvalidTopic { .. }));
        assert_eq!(error.to_string(), text);
        assert_eq!(error.into_payload(), [name]);
    }
    let error = bus.try_emit(&long, ()).unwrap_err().to_string();
    assert!(error.contains("256 bytes are more than the 255 allowed"), "{error}");
    let refused = cases.len() as u64 + 1;
    assert_eq!((bus.ledger().emitted, bus.ledger().refused), (refused, refused));
    assert!(bus.ledger().balanced() && seen.try_recv().is_err());
}

#[test]
fn strict_names_are_domain_and_action_in_lower_case() {
    let bus = Bus::builder().names(NameRule::Strict).build().unwrap();
    bus.emit("order.placed", ()).unwrap();
    bus.emit("order.payment_2.failed", ()).unwrap();
    for name in ["order", "Order.placed", "order.2nd", "order.plac-ed", "order._x"] {
        let error = bus.emit(name, 7).unwrap_err();
        assert!(matches!(&error, EmitError::InvalidTopic { rule, payload: 7 } if rule.contains(name)), "{error}");
    }
}

#[test]
fn strict_names_hold_for_a_name_that_somebody_has_subscribed_to() {
    let bus = Bus::builder().names(NameRule::Strict).build().unwrap();
    // Either the subscription is refused, or the emit is.
    let subscribed = bus.subscribe("Order.Placed", |_| ());
    let emitted = bus.emit("Order.Placed", ());
    assert!(subscribed.is_err() || emitted.is_err(), "a name against the rule was emitted on");
}

#[test]
fn a_bus_that_knows_its_limit_of_topics_refuses_new_ones_and_still_serves_the_old() {
    let bus = Bus::builder().max_topics(16).build().unwrap();
    let mut known = 0;
    let refused = loop {
        match bus.emit(&format!("topic.t{known}"), known) {
            Ok(_) => known += 1,
            Err(error) => break error,
        }
        assert!(known <= 16, "the limit is not kept");
    };
    assert_eq!(refused.to_string(), "the bus has its limit of 16 topics");
    assert!(matches!(refused, EmitError::TooManyTopics { limit: 16, payload } if payload == known));
    assert!(bus.emit("topic.t0", 0).is_ok());
    assert!(bus.ledger().balanced());
}

#[test]
fn inline_handlers_that_emit_into_each_other_for_ever_are_stopped_at_the_limit() {
    let bus = Bus::builder().max_depth(5).build().unwrap();
    let (weak, stopped) = (bus.downgrade(), Arc::new(Mutex::new(Vec::new())));
    let errors = Arc::clone(&stopped);
    bus.on("loop")
        .inline()
        .handle(move |event| {
            let deeper = json!({"depth": event["depth"].as_u64().unwrap() + 1});
            if let Err(error) = weak.upgrade().unwrap().emit("loop", deeper) {
                errors.lock().unwrap().push((error.to_string(), error.into_payload()));
            }
        })
        .unwrap();
    bus.emit("loop", json!({"depth": 1})).unwrap();
    let expected = ("inline handlers emit more than 5 levels deep".to_owned(), json!({"depth": 6}));
    assert_eq!(*stopped.lock().unwrap(), [expected]);
    let ledger = bus.ledger();
    assert_eq!((ledger.routed, ledger.refused, ledger.deliveries().handled), (5, 1, 5));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn what_the_emitter_says_of_an_event_reaches_the_handler() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let look = |event: &Event<'_>| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        (event.id().to_string(), text(event.source()), text(event.correlation_id()), event.timestamp())
    };
    let (first, seen_first) = passing_on(look);
    let (second, seen_second) = passing_on(look);
    bus.on("order.placed").inline().handle(first).unwrap();
    bus.on("order.placed").lane("io").handle(second).unwrap();
    let event = bus.event("order.placed", json!({})).source("shop").correlation_id("c-1").event_id("e-1");
    event.timestamp(1.5e9).emit().unwrap();
    let expected = ("e-1".to_owned(), Some("shop".to_owned()), Some("c-1".to_owned()), 1.5e9);
    assert_eq!(seen_first.recv_timeout(GUARD).as_ref(), Ok(&expected));
    assert_eq!(seen_second.recv_timeout(GUARD).as_ref(), Ok(&expected));
}

#[test]
fn a_time_that_is_no_number_is_ignored_and_an_event_without_one_has_the_time_of_its_emit() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|event| event.timestamp());
    bus.subscribe("t", handler).unwrap();
    let since_epoch = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let before = since_epoch();
    for time in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        bus.event("t", ()).timestamp(time).emit().unwrap();
    }
    bus.emit("t", ()).unwrap();
    let after = since_epoch();
    for _ in 0..4 {
        let time = seen.recv_timeout(GUARD).unwrap();
        assert!((before - 1.0..=after + 1.0).contains(&time), "{before} <= {time} <= {after}");
    }
}

#[test]
fn an_identity_is_printed_as_the_text_that_logs_have() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|event| (format!("{:?}", event.id()), event.id().to_string()));
    bus.subscribe("*", handler).unwrap();
    bus.emit("t", ()).unwrap();
    bus.event("t", ()).event_id("e-1").emit().unwrap();
    for _ in 0..2 {
        let (printed, text) = seen.recv_timeout(GUARD).unwrap();
        assert_eq!(printed, format!("EventId({text:?})"));
    }
}

#[test]
fn a_record_is_emitted_with_everything_it_came_with() {
    let bus = Bus::builder().build().unwrap();
    let (handler, seen) = passing_on(|event| {
        let mut record = Record::new(event.topic(), event.payload().clone());
        record.timestamp = Some(event.timestamp());
        record.event_id = Some(event.id().to_string());
        record.source = event.source().map(str::to_owned);
        record.correlation_id = event.correlation_id().map(str::to_owned);
        record
    });
    bus.subscribe("*", handler).unwrap();
    let mut record = Record::new("order.placed", json!({"cents": 1999}));
    record.timestamp = Some(-0.25);
    record.event_id = Some("e-1".into());
    record.source = Some("shop".into());
    record.correlation_id = Some("c-1".into());
    bus.emit_record(record.clone()).unwrap();
    assert_eq!(seen.recv_timeout(GUARD), Ok(record));
    let refused = bus.emit_record(Record::new("no topic", json!([1]))).unwrap_err();
    assert_eq!(refused.into_payload(), json!([1]));
}

#[test]
fn an_error_never_shows_the_payload() {
    let bus = Bus::builder().build().unwrap();
    let error = bus.emit("a b", json!({"password": "hunter2"})).unwrap_err();
    let dynamic: &dyn std::error::Error = &error;
    assert!(!format!("{error:?} {error:#?} {error} {dynamic:?}").contains("hunter2"));
}
