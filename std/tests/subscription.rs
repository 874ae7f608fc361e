//! Subscriptions: which events they get, in which order, from when and until when.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Event, Lane, Priority, SubscribeError, SubscriptionId, WeakBus};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A handler that writes its name down.
fn noting(log: &Arc<Mutex<Vec<String>>>, name: &str) -> impl Fn(&Event<'_>) + Send + Sync + 'static + use<> {
    let (log, name) = (Arc::clone(log), name.to_owned());
    move |_: &Event<'_>| log.lock().unwrap().push(name.clone())
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

#[test]
fn a_pattern_gets_the_topics_it_matches_whether_they_were_there_before_it_or_come_later() {
    let topics = ["chat", "chat.sent", "chat.message.sent", "chatter.sent", "disk.error", "disk.read.error", "error"];
    let cases: [(&str, &[&str]); 7] = [
        ("chat", &["chat"]),
        ("chat.*", &["chat.sent", "chat.message.sent"]),
        ("*.error", &["disk.error"]),
        ("*.*.error", &["disk.read.error"]),
        ("*.sent", &["chat.sent", "chatter.sent"]),
        ("chat.*.sent", &["chat.message.sent"]),
        ("*", &topics),
    ];
    for topics_first in [true, false] {
        let bus = Bus::builder().build().unwrap();
        if topics_first {
            topics.iter().for_each(|topic| assert!(bus.emit(topic, ()).unwrap().is_unrouted()));
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        for (pattern, _) in cases {
            let log = Arc::clone(&log);
            let note = move |event: &Event<'_>| log.lock().unwrap().push((pattern, event.topic().to_owned()));
            bus.on(pattern).inline().handle(note).unwrap();
        }
        topics.iter().for_each(|topic| assert!(!bus.emit(topic, ()).unwrap().is_unrouted()));
        let log = log.lock().unwrap();
        for (pattern, expected) in cases {
            let seen = log.iter().filter(|(by, _)| *by == pattern).map(|(_, topic)| &**topic);
            assert_eq!(seen.collect::<Vec<_>>(), expected, "{pattern}, topics first: {topics_first}");
        }
    }
}

#[test]
fn handlers_run_by_priority_and_equals_in_the_order_of_their_subscriptions() {
    for inline in [true, false] {
        let bus = Bus::builder().build().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let entries = [
            ("a.b", 100, "third"),
            ("*", i32::MIN, "last"),
            ("a.*", 100, "fourth"),
            ("a.b", 200, "second"),
            ("*", 100, "fifth"),
            ("*.b", i32::MAX, "first"),
            ("a.b", 100, "sixth"),
            ("*", -1, "seventh"),
        ];
        for (pattern, priority, name) in entries {
            let subscribe = bus.on(pattern).priority(priority);
            let subscribe = if inline { subscribe.inline() } else { subscribe };
            subscribe.handle(noting(&log, name)).unwrap();
        }
        bus.emit("a.b", ()).unwrap();
        drained(&bus);
        let expected = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "last"];
        assert_eq!(*log.lock().unwrap(), expected, "inline: {inline}");
    }
}

#[test]
fn a_handler_without_a_priority_has_the_default_one() {
    let bus = Bus::builder().build().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    bus.on("t").priority(99).handle(noting(&log, "99")).unwrap();
    bus.subscribe("t", noting(&log, "default")).unwrap();
    bus.on("t").priority(Priority::new(101)).handle(noting(&log, "101")).unwrap();
    bus.emit("t", ()).unwrap();
    drained(&bus);
    assert_eq!(*log.lock().unwrap(), ["101", "default", "99"]);
}

#[test]
fn inline_handlers_run_before_the_lanes_whatever_their_priority() {
    let bus = Bus::builder().build().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    bus.on("t").priority(1_000).handle(noting(&log, "queued")).unwrap();
    bus.on("t").priority(-1_000).inline().handle(noting(&log, "inline")).unwrap();
    bus.emit("t", ()).unwrap();
    drained(&bus);
    assert_eq!(*log.lock().unwrap(), ["inline", "queued"]);
}

#[test]
fn an_unsubscribed_handler_gets_nothing_more_and_what_it_was_to_get_is_cancelled() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").priority(200).handle(handler).unwrap();
    let id = bus.subscribe("t", |_| -> Result<(), String> { panic!("unsubscribed") }).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2).unwrap();
    bus.emit("t", 3).unwrap();
    // Event 1 is with the other handler right now, events 2 and 3 are queued.
    assert!(bus.unsubscribe(id));
    bus.emit("t", 4).unwrap();
    drop(go);
    drained(&bus);
    let deliveries = bus.ledger().deliveries();
    assert_eq!((deliveries.routed, deliveries.handled, deliveries.failed, deliveries.cancelled), (7, 4, 0, 3));
}

#[test]
fn only_a_subscription_that_is_there_can_be_ended_and_only_once() {
    let (bus, other) = (Bus::builder().build().unwrap(), Bus::builder().build().unwrap());
    let id = bus.subscribe("t", |_| ()).unwrap();
    assert!(!bus.unsubscribe(SubscriptionId::new(id.get() + 1)));
    assert!(!other.unsubscribe(id));
    assert!(bus.unsubscribe(id));
    assert!(!bus.unsubscribe(id));
    assert!(bus.emit("t", ()).unwrap().is_unrouted());
    let again = bus.subscribe("t", |_| ()).unwrap();
    assert_ne!(id, again, "an identity is never used twice");
}

#[test]
fn unsubscribing_a_pattern_ends_it_for_known_and_for_new_topics() {
    for pattern in ["*", "a.*", "*.b", "a.b"] {
        let bus = Bus::builder().build().unwrap();
        let id = bus.on(pattern).inline().handle(|_| -> Result<(), String> { panic!("unsubscribed") }).unwrap();
        assert_eq!(bus.emit("a.b", ()).unwrap().inline().failed, 1);
        assert!(bus.unsubscribe(id));
        assert!(bus.emit("a.b", ()).unwrap().is_unrouted(), "{pattern}");
        assert!(bus.emit("a.c", ()).unwrap().is_unrouted() && bus.emit("c.b", ()).unwrap().is_unrouted());
        assert_eq!(bus.ledger().unrouted, 3, "nobody is subscribed, not even in vain");
        assert_eq!(bus.stats().active_subscriptions, 0);
    }
}

#[test]
fn a_handler_that_unsubscribes_itself_is_called_once() {
    for inline in [true, false] {
        let bus = Bus::builder().build().unwrap();
        let (weak, own, log) = (bus.downgrade(), Arc::new(OnceLock::new()), Arc::new(Mutex::new(Vec::new())));
        let (id, note) = (Arc::clone(&own), noting(&log, "called"));
        let handler = move |event: &Event<'_>| {
            note(event);
            assert!(weak.upgrade().unwrap().unsubscribe(*id.wait()));
        };
        let subscribe = bus.on("t");
        let subscribe = if inline { subscribe.inline() } else { subscribe };
        own.set(subscribe.handle(handler).unwrap()).unwrap();
        (0..3).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
        drained(&bus);
        assert_eq!(*log.lock().unwrap(), ["called"]);
    }
}

#[test]
fn a_handler_that_unsubscribes_the_next_one_keeps_the_event_from_it() {
    for inline in [true, false] {
        let bus = Bus::builder().build().unwrap();
        let lane = |name| if inline { bus.on(name).inline() } else { bus.on(name) };
        let (weak, next) = (bus.downgrade(), Arc::new(OnceLock::new()));
        let id = Arc::clone(&next);
        lane("t").priority(200).handle(move |_| assert!(weak.upgrade().unwrap().unsubscribe(*id.wait()))).unwrap();
        next.set(lane("t").handle(|_| -> Result<(), String> { panic!("unsubscribed") }).unwrap()).unwrap();
        bus.emit("t", ()).unwrap();
        drained(&bus);
        let deliveries = bus.ledger().deliveries();
        assert_eq!((deliveries.handled, deliveries.failed, deliveries.cancelled), (1, 0, 1), "inline: {inline}");
    }
}

#[test]
fn a_handler_subscribed_inside_a_handler_gets_the_next_event_and_not_this_one() {
    for inline in [true, false] {
        let bus = Bus::builder().build().unwrap();
        let (weak, log) = (bus.downgrade(), Arc::new(Mutex::new(Vec::new())));
        let seen = Arc::clone(&log);
        let handler = move |event: &Event<'_>| {
            if *event.payload_as::<u32>().unwrap() > 1 {
                return;
            }
            for pattern in ["t", "*"] {
                let seen = Arc::clone(&seen);
                let note =
                    move |event: &Event<'_>| seen.lock().unwrap().push((pattern, *event.payload_as::<u32>().unwrap()));
                let bus = weak.upgrade().unwrap();
                let subscribe = if inline { bus.on(pattern).inline() } else { bus.on(pattern) };
                subscribe.priority(1).handle(note).unwrap();
            }
        };
        let subscribe = if inline { bus.on("t").inline() } else { bus.on("t") };
        subscribe.handle(handler).unwrap();
        assert!(bus.emit_and_wait("t", 1_u32).unwrap().all_handled());
        assert!(bus.emit_and_wait("t", 2_u32).unwrap().all_handled());
        assert_eq!(*log.lock().unwrap(), [("t", 2), ("*", 2)], "inline: {inline}");
    }
}

#[test]
fn who_subscribes_after_an_emit_does_not_get_the_event_that_is_still_queued() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").handle(handler).unwrap();
    let leaver = bus.on("t").handle(|_| ()).unwrap();
    bus.emit("t", 1_u32).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2_u32).unwrap();
    // One goes and two come while an event is queued: the numbers must not make up for each other.
    assert!(bus.unsubscribe(leaver));
    let (sender, seen) = mpsc::channel();
    for pattern in ["t", "*"] {
        let sender = sender.clone();
        let note = move |event: &Event<'_>| sender.send((pattern, *event.payload_as::<u32>().unwrap())).unwrap();
        bus.on(pattern).priority(500).handle(note).unwrap();
    }
    bus.emit("t", 3_u32).unwrap();
    drop(go);
    drained(&bus);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [("t", 3), ("*", 3)]);
    let deliveries = bus.ledger().deliveries();
    assert_eq!((deliveries.handled, deliveries.cancelled), (5, 2));
}

#[test]
fn a_malformed_pattern_is_refused_by_its_rule() {
    let bus = Bus::builder().build().unwrap();
    let cases = [
        ("cha*", r#"pattern "cha*": the '*' at byte 3 must be the whole of segment 1"#),
        ("a.**", r#"pattern "a.**": the '*' at byte 2 must be the whole of segment 2"#),
        ("", r#"pattern "": a name needs at least one character"#),
        ("a..b", r#"pattern "a..b": segment 2 is empty"#),
        ("a b", r#"pattern "a b": ' ' at byte 1 is whitespace, which is not allowed"#),
    ];
    for (pattern, text) in cases {
        let error = bus.subscribe(pattern, |_| ()).unwrap_err();
        assert!(matches!(&error, SubscribeError::InvalidPattern { rule } if rule == text), "{error}");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!((bus.stats().active_subscriptions, bus.stats().topics), (0, 0));
}

#[test]
fn an_unknown_lane_is_refused_by_name_with_the_lanes_there_are() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let error = bus.on("t").lane("oi").handle(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), r#"there is no lane "oi"; there are ["default", "io"]"#);
    let known = vec!["default".to_owned(), "io".to_owned()];
    assert_eq!(error, SubscribeError::UnknownLane { lane: "oi".into(), known });
    assert!(bus.on("t").lane("default").handle(|_| ()).is_ok(), "the default lane has a name too");
}

#[test]
fn there_are_no_more_subscriptions_than_the_limit_and_an_ended_one_makes_room() {
    let bus = Bus::builder().max_subscriptions(2).build().unwrap();
    let first = bus.subscribe("a", |_| ()).unwrap();
    bus.subscribe("*", |_| ()).unwrap();
    let error = bus.subscribe("b", |_| ()).unwrap_err();
    assert_eq!(error, SubscribeError::TooManySubscriptions { limit: 2 });
    assert_eq!(error.to_string(), "the bus has its limit of 2 subscriptions");
    assert!(bus.unsubscribe(first));
    assert!(bus.subscribe("b", |_| ()).is_ok());
}

#[test]
fn an_exact_pattern_counts_as_a_topic_and_a_refused_one_changes_nothing() {
    let bus = Bus::builder().max_topics(16).build().unwrap();
    let error = (0..17).find_map(|n| bus.subscribe(&format!("t{n}"), |_| ()).err()).unwrap();
    assert_eq!(error, SubscribeError::TooManyTopics { limit: 16 });
    let stats = bus.stats();
    assert_eq!((stats.topics, stats.active_subscriptions), (16, stats.subscriptions.len()));
    assert!(bus.subscribe("t.*", |_| ()).is_ok(), "a pattern names no topic");
}

#[test]
fn a_bus_that_is_shut_down_takes_no_subscription() {
    let bus = Bus::builder().build().unwrap();
    drained(&bus);
    assert_eq!(bus.subscribe("t", |_| ()).unwrap_err(), SubscribeError::Closed);
    assert_eq!(bus.subscribe("*", |_| ()).unwrap_err().to_string(), "the bus is shutting down");
}

/// Says goodbye on the bus when its handler is gone.
struct Farewell(WeakBus, Sender<bool>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let said = self.0.upgrade().is_some_and(|bus| bus.emit("handler.gone", ()).is_ok());
        let _ = self.1.send(said);
    }
}

#[test]
fn what_a_handler_owns_may_use_the_bus_when_it_is_dropped_by_unsubscribing() {
    let bus = Bus::builder().build().unwrap();
    let (sender, said) = mpsc::channel();
    let farewell = Farewell(bus.downgrade(), sender);
    let id = bus.on("t").inline().handle(move |_| assert!(farewell.0.upgrade().is_some())).unwrap();
    let elsewhere = bus.clone();
    let unsubscribing = thread::spawn(move || elsewhere.unsubscribe(id));
    let said = said.recv_timeout(GUARD);
    if said.is_err() {
        // The bus is locked up; dropping it would lock up this thread as well.
        std::mem::forget(bus);
    }
    assert_eq!(said, Ok(true), "the bus was locked while the handler was dropped");
    assert!(unsubscribing.join().unwrap());
}

#[test]
fn a_handler_is_dropped_soon_after_it_was_unsubscribed_although_its_lane_is_idle() {
    let bus = Bus::builder().build().unwrap();
    let (sender, receiver) = mpsc::channel();
    let id = bus.subscribe("order.placed", move |event| sender.send(event.seq()).unwrap()).unwrap();
    assert!(bus.emit_and_wait("order.placed", ()).unwrap().all_handled());
    assert!(bus.unsubscribe(id));
    assert_eq!(receiver.recv_timeout(GUARD), Ok(1));
    // The sender goes with the handler, which only its lane's worker could still keep.
    assert_eq!(receiver.recv_timeout(GUARD), Err(mpsc::RecvTimeoutError::Disconnected));
}
