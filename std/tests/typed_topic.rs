//! Typed topics: values in, values out, and what everybody else sees of them.
#![cfg(feature = "macros")]

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nervebus::{
    AuditLog, Bus, ClaimError, Class, DeadLetterLog, Event, HandlerError, Lane, ManualClock, NameRule, Overflow,
    Reason, Retry, SubscribeError, TypedEvent, TypedOwned, json,
};
use serde::{Deserialize, Serialize};

#[path = "support/held.rs"]
mod held;
#[path = "support/logs.rs"]
mod logs;

const LONG: Duration = Duration::from_secs(10);

#[derive(Event, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[event(topic = "order.placed", key = id)]
struct Order {
    id: u64,
    #[event(pii)]
    email: String,
}

#[derive(Event, Serialize, Clone, Copy, PartialEq, Debug)]
#[event(topic = "market.tick")]
struct Tick {
    price: u64,
}

fn order(id: u64) -> Order {
    Order { id, email: format!("{id}@example.com") }
}

fn bus() -> Bus {
    Bus::builder().build().unwrap()
}

#[test]
fn a_handler_gets_the_value_and_patterns_see_the_same_event_as_json_and_as_the_type() {
    let bus = bus();
    let mut orders = bus.topic::<Order>().unwrap();
    let (sender, seen) = mpsc::channel();
    let by_pattern = sender.clone();
    orders.subscribe(move |order: &Order, event| sender.send((order.clone(), event.seq())).unwrap()).unwrap();
    bus.on("order.*")
        .handle(move |event| {
            assert_eq!((event["id"].as_u64(), event.topic()), (Some(7), "order.placed"));
            by_pattern.send((event.payload_as::<Order>().unwrap().clone(), event.seq())).unwrap();
        })
        .unwrap();
    orders.emit(order(7)).unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(order(7), 1), (order(7), 1)]);
    assert_eq!((bus.ledger().emitted, bus.ledger().balanced()), (1, true));
}

#[test]
fn every_way_to_emit_reaches_the_handler() {
    let bus = bus();
    let mut ticks = bus.topic::<Tick>().unwrap();
    let (sender, seen) = mpsc::channel();
    ticks.subscribe(move |tick, _| sender.send(tick.price).unwrap()).unwrap();
    ticks.emit(Tick { price: 1 }).unwrap();
    ticks.try_emit(Tick { price: 2 }).unwrap();
    ticks.emit_shared(Tick { price: 3 }).unwrap();
    assert!(ticks.emit_and_wait(Tick { price: 4 }).unwrap().all_handled());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(ticks.emit_async(Tick { price: 5 })).unwrap();
    ticks.clone().emit(Tick { price: 6 }).unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    for refused in [ticks.emit(Tick { price: 7 }), runtime.block_on(ticks.emit_async(Tick { price: 7 }))] {
        let error = refused.unwrap_err();
        assert!(error.is_closed());
        assert_eq!(error.into_payload(), Tick { price: 7 });
    }
}

#[test]
fn a_full_lane_gives_the_value_back() {
    let lane = Lane::new("narrow").capacity(2).overflow(Overflow::Reject);
    let bus = Bus::builder().lane(lane).build().unwrap();
    let mut orders = bus.topic::<Order>().unwrap();
    let (hold, begun, release) = held::held();
    orders.on().lane("narrow").handle(move |_, event| hold(event)).unwrap();
    orders.emit(order(0)).unwrap();
    begun.recv().unwrap();
    let error = (1..=3).find_map(|id| orders.emit(order(id)).err()).unwrap();
    assert!(error.is_full());
    assert_eq!(error.into_payload(), order(3));
    drop(release);
    assert!(bus.shutdown(LONG).ledger.balanced());
}

#[test]
fn a_topic_carries_one_type_and_the_error_names_both() {
    #[derive(Event, Serialize)]
    #[event(topic = "order.placed", version = 2)]
    struct OrderV2;
    let bus = bus();
    let _orders = bus.topic::<Order>().unwrap();
    bus.topic::<Order>().expect("it is the same type");
    let error = bus.topic::<OrderV2>().unwrap_err();
    assert!(matches!(error, ClaimError::Claimed { by_version: 1, asked_version: 2, .. }), "{error:?}");
    let text = error.to_string();
    assert!(["Order (version 1)", "OrderV2 (version 2)", "Bus::on"].iter().all(|part| text.contains(part)), "{text}");
}

#[test]
fn a_name_that_the_bus_does_not_take_and_a_topic_too_many_are_errors() {
    struct Loud;
    impl Serialize for Loud {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl TypedEvent for Loud {
        const TOPIC: &'static str = "LOUD";
    }
    let strict = Bus::builder().names(NameRule::Strict).build().unwrap();
    assert!(matches!(strict.topic::<Loud>(), Err(ClaimError::InvalidTopic { .. })));
    let bus = Bus::builder().max_topics(16).build().unwrap();
    bus.topic::<Loud>().expect("other buses take it");
    for number in 1..16 {
        bus.publisher(&format!("topic{number}")).unwrap();
    }
    assert!(matches!(bus.topic::<Tick>(), Err(ClaimError::TooManyTopics { limit: 16 })));
}

#[test]
fn json_becomes_a_value_where_the_type_allows_it() {
    let bus = bus();
    let orders = bus.topic::<Order>().unwrap();
    let (sender, seen) = mpsc::channel();
    orders.subscribe(move |order, _| sender.send(order.clone()).unwrap()).unwrap();
    assert!(bus.emit_and_wait("order.placed", json!(order(7))).unwrap().all_handled());
    assert_eq!(seen.try_recv(), Ok(order(7)));
}

#[test]
fn any_other_payload_is_a_failure_that_is_not_tried_again() {
    let bus = bus();
    let (orders, ticks) = (bus.topic::<Order>().unwrap(), bus.topic::<Tick>().unwrap());
    orders.on().retry(Retry::exponential(Duration::from_millis(1))).handle(|_, _| -> () { panic!("called") }).unwrap();
    ticks.subscribe(|_, _| -> () { panic!("called") }).unwrap();
    let fails = |topic, report: nervebus::Report| {
        let [outcome] = &report.outcomes[..] else { panic!("one handler has answered: {report}") };
        let Err(error) = &outcome.result else { panic!("{topic}: no failure") };
        assert!(matches!(**error, HandlerError::WrongType { .. }), "{error:?}");
        error.to_string()
    };
    let text = fails("another type", bus.emit_and_wait("order.placed", Tick { price: 7 }).unwrap());
    assert!(text.contains("Order, ") && text.contains("Tick, which is neither"), "{text}");
    let text = fails("bad JSON", bus.emit_and_wait("order.placed", json!({"id": "alice"})).unwrap());
    assert!(text.contains("JSON that does not fit") && !text.contains("alice"), "{text}");
    let text = fails("no `Deserialize`", bus.emit_and_wait("market.tick", json!({"price": 7})).unwrap());
    assert!(text.contains("no `Deserialize`"), "{text}");
    let report = bus.shutdown(LONG);
    assert_eq!((report.failed, report.ledger.balanced()), (3, true));
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn json_of_another_version_is_a_failure_that_is_not_tried_again() {
    #[derive(Event, Serialize, Deserialize)]
    #[event(topic = "order.moved", version = 2)]
    struct Moved {
        to: String,
    }
    let bus = bus();
    let moved = bus.topic::<Moved>().unwrap();
    let (sender, seen) = mpsc::channel();
    let retry = Retry::exponential(Duration::from_millis(1));
    moved.on().retry(retry).handle(move |moved, _| sender.send(moved.to.clone()).unwrap()).unwrap();
    let say = |version: Option<u32>| {
        let emission = bus.event("order.moved", json!({"to": "Rome"}));
        let emission = if let Some(version) = version { emission.schema_version(version) } else { emission };
        emission.emit_and_wait().unwrap()
    };
    assert!(say(Some(2)).all_handled() && say(None).all_handled());
    for found in [1, 3] {
        let report = say(Some(found));
        let [outcome] = &report.outcomes[..] else { panic!("one handler has answered: {report}") };
        let Err(error) = &outcome.result else { panic!("no failure") };
        assert!(matches!(**error, HandlerError::WrongVersion { expected: 2, found: it } if it == found), "{error:?}");
        assert_eq!(error.kind(), "wrong_version");
    }
    let emission = bus.event("order.moved", Moved { to: "Bern".into() }).schema_version(1);
    assert!(emission.emit_and_wait().unwrap().all_handled(), "a value of the type is what it is");
    assert_eq!(bus.shutdown(LONG).failed, 2);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), ["Rome", "Rome", "Bern"]);
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn an_async_handler_gets_the_value_with_its_event() {
    for concurrency in [1, 8] {
        let bus = Bus::builder().lane(Lane::new("tasks").concurrency(concurrency)).build().unwrap();
        let orders = bus.topic::<Order>().unwrap();
        let (sender, seen) = mpsc::channel();
        let retry = Retry::exponential(Duration::from_millis(1));
        let handler = move |order: TypedOwned<Order>| {
            let sender = sender.clone();
            async move {
                tokio::task::yield_now().await;
                sender.send((order.id, order.email.clone(), order.event()["email"].clone())).unwrap();
                if order.id == 9 { Err("no stock") } else { Ok(()) }
            }
        };
        orders.on().lane("tasks").retry(retry).handle_async(handler).unwrap();
        assert!(orders.emit_and_wait(order(7)).unwrap().all_handled());
        assert!(bus.emit_and_wait("order.placed", json!(order(8))).unwrap().all_handled());
        let report = bus.emit_and_wait("order.placed", "no order").unwrap();
        let Err(error) = &report.outcomes[0].result else { panic!("no failure") };
        assert!(matches!(**error, HandlerError::WrongType { .. }), "{error:?}");
        let seen: Vec<_> = seen.try_iter().collect();
        let expected =
            [(7, "7@example.com".into(), json!("[REDACTED_PII]")), (8, "8@example.com".into(), json!("8@example.com"))];
        assert_eq!(seen, expected);
        assert!(!orders.emit_and_wait(order(9)).unwrap().all_handled());
        let letters = bus.dead_letters().list();
        assert_eq!((letters[0].attempts, &*letters[0].error), (1, &*error.to_string()));
        assert_eq!(orders.on().inline().handle_async(|_| async {}), Err(SubscribeError::AsyncInline));
    }
}

#[test]
fn an_owned_value_outlives_its_delivery() {
    let bus = bus();
    let mut orders = bus.topic::<Order>().unwrap();
    let (sender, seen) = mpsc::channel::<TypedOwned<Order>>();
    orders.on().handle_owned(move |order| sender.send(order)).unwrap();
    orders.emit(order(7)).unwrap();
    bus.emit("order.placed", json!(order(8))).unwrap();
    bus.emit("order.placed", 9).unwrap();
    assert_eq!(bus.shutdown(LONG).failed, 1);
    drop((bus, orders));
    let seen: Vec<_> = seen.try_iter().collect();
    let again = seen[1].clone();
    assert_eq!((&*seen[0], &*seen[1], &*again), (&order(7), &order(8), &order(8)));
    assert_eq!((seen[0].event().seq(), again.event().seq()), (1, 2));
    assert!(!format!("{again:?}").contains("example.com"));
}

#[test]
fn an_event_with_more_to_say_is_of_its_type() {
    #[derive(Event, Serialize)]
    #[event(topic = "quote.made", version = 3, priority = "critical", ttl = "1s", key = id)]
    struct Quote {
        id: u64,
        #[event(pii)]
        name: &'static str,
    }
    let folder = logs::Folder::new();
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).audit(AuditLog::at(folder.log())).build().unwrap();
    let quotes = bus.topic::<Quote>().unwrap();
    let quote = |id| Quote { id, name: "alice" };
    let (sender, seen) = mpsc::channel();
    let (hold, begun, release) = held::held();
    quotes
        .subscribe(move |quote, event| {
            sender.send((quote.id, event.schema_version(), event.class(), event.source().map(str::to_owned))).unwrap();
            assert_eq!((event.correlation_id(), event.idempotency_key()), (Some("req-1"), Some("k-1")));
            hold(event);
        })
        .unwrap();
    let say = |id| quotes.event(quote(id)).source("shop").correlation_id("req-1").idempotency_key("k-1");
    say(1).event_id("e-1").timestamp(7.5).emit().unwrap();
    begun.recv().unwrap();
    say(2).emit().unwrap();
    say(3).ttl(Duration::from_secs(60)).class(Class::Low).emit().unwrap();
    clock.advance(Duration::from_secs(2));
    drop(release);
    assert!(say(4).deadline(Duration::ZERO).emit().unwrap_err().is_expired());
    bus.shutdown(LONG);
    let shop = Some("shop".to_owned());
    let expected = [(1, Some(3), Class::Critical, shop.clone()), (3, Some(3), Class::Low, shop)];
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected, "the second has expired, as its type says");
    let text = fs::read_to_string(folder.log()).unwrap();
    assert!(text.contains("[REDACTED_PII]") && !text.contains("alice"), "{text}");
    assert!(text.contains(r#""event_id":"e-1""#) && text.contains(r#""timestamp":7.5"#), "{text}");
}

#[test]
fn a_key_that_is_said_stands_in_for_the_types() {
    let bus = Bus::builder().lane(Lane::new("wide").workers(4)).build().unwrap();
    let orders = bus.topic::<Order>().unwrap();
    let seen = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let log = Arc::clone(&seen);
    orders
        .on()
        .lane("wide")
        .handle(move |order, _| {
            let mut log = log.lock().unwrap();
            if order.id < 1_000 { log.0.push(order.id) } else { log.1.push(order.email.clone()) }
        })
        .unwrap();
    let numbers: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    for (id, number) in (0..).zip(&numbers) {
        orders.event(order(id)).key("one for all").emit().unwrap();
        orders.event(Order { id: 1_000, email: number.clone() }).emit().unwrap();
    }
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(*seen.lock().unwrap(), ((0..1_000).collect(), numbers));
}

#[test]
fn the_type_says_key_class_and_time_to_live() {
    #[derive(Event, Serialize)]
    #[event(topic = "quote.made", priority = "critical", ttl = "1s", key = 0)]
    struct Quote(u64);
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let mut quotes = bus.topic::<Quote>().unwrap();
    let (hold, begun, release) = held::held();
    quotes
        .subscribe(move |_, event| {
            assert_eq!(event.class(), Class::Critical);
            hold(event);
        })
        .unwrap();
    quotes.emit(Quote(1)).unwrap();
    begun.recv().unwrap();
    quotes.emit(Quote(2)).unwrap();
    clock.advance(Duration::from_secs(2));
    drop(release);
    bus.shutdown(LONG);
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.reason).collect::<Vec<_>>(), [Reason::Expired]);
}

#[test]
fn events_of_one_key_stay_in_order_on_a_lane_with_several_workers() {
    let bus = Bus::builder().lane(Lane::new("wide").workers(4)).build().unwrap();
    let mut orders = bus.topic::<Order>().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    orders.on().lane("wide").handle(move |order, _| log.lock().unwrap().push(order.email.clone())).unwrap();
    let numbers: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
    for number in &numbers {
        orders.emit(Order { id: 7, email: number.clone() }).unwrap();
    }
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(*seen.lock().unwrap(), numbers);
}

#[test]
fn personal_data_is_in_no_record_and_comes_only_to_who_asks() {
    let folder = logs::Folder::new();
    let letters = folder.path("letters.jsonl");
    let bus =
        Bus::builder().audit(AuditLog::at(folder.log())).dead_letter_log(DeadLetterLog::at(&letters)).build().unwrap();
    let mut orders = bus.topic::<Order>().unwrap();
    let (sender, seen) = mpsc::channel();
    orders.subscribe(move |order, _| sender.send(order.email.clone()).unwrap()).unwrap();
    bus.on("order.*")
        .handle(|event| {
            assert_eq!(event["email"], "[REDACTED_PII]");
            assert_eq!(event.reveal()["email"], "7@example.com");
            Err::<(), _>("goes to the dead letters")
        })
        .unwrap();
    orders.emit(order(7)).unwrap();
    bus.shutdown(LONG);
    assert_eq!(seen.try_recv().as_deref(), Ok("7@example.com"));
    let letter = Arc::clone(bus.dead_letters().list().last().unwrap());
    assert_eq!(
        (&letter.event["email"], &letter.event.reveal()["email"]),
        (&json!("[REDACTED_PII]"), &json!("7@example.com"))
    );
    assert_eq!(letter.error, "goes to the dead letters", "the handler's assertions hold");
    for file in [folder.log(), letters] {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("[REDACTED_PII]") && !text.contains("example.com"), "{}: {text}", file.display());
    }
}

#[test]
fn personal_data_of_a_type_that_a_bus_carries_is_redacted_however_it_is_emitted() {
    let folder = logs::Folder::new();
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).build().unwrap();
    bus.topic::<Order>().unwrap();
    bus.on("order.*").inline().handle(|event| assert_eq!(event["email"], "[REDACTED_PII]")).unwrap();
    let receipt = bus.event("order.placed", order(7)).correlation_id("req-1").emit().unwrap();
    assert_eq!(receipt.inline().handled, 1);
    bus.shutdown(LONG);
    let text = fs::read_to_string(folder.log()).unwrap();
    assert!(text.contains("[REDACTED_PII]") && !text.contains("example.com"), "{text}");
}

#[test]
fn several_lanes_get_equal_values_whether_these_are_shared_or_copied() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    let (ticks, orders) = (bus.topic::<Tick>().unwrap(), bus.topic::<Order>().unwrap());
    let (sender, seen) = mpsc::channel();
    for lane in ["a", "b"] {
        let (ticked, ordered) = (sender.clone(), sender.clone());
        ticks
            .on()
            .lane(lane)
            .handle(move |tick, _| ticked.send((tick.price, std::ptr::from_ref(tick) as usize)).unwrap())
            .unwrap();
        orders
            .on()
            .lane(lane)
            .handle(move |order, _| ordered.send((order.id, std::ptr::from_ref(order) as usize)).unwrap())
            .unwrap();
    }
    assert!(ticks.emit_and_wait(Tick { price: 7 }).unwrap().all_handled());
    let [(7, here), (7, there)] = seen.try_iter().collect::<Vec<_>>()[..] else { panic!("two lanes") };
    assert_ne!(here, there, "each lane has its own");
    assert!(orders.emit_and_wait(order(8)).unwrap().all_handled());
    let [(8, here), (8, there)] = seen.try_iter().collect::<Vec<_>>()[..] else { panic!("two lanes") };
    assert_eq!(here, there, "they share one");
}

#[test]
fn a_duplicate_that_panics_is_shared_instead() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    #[derive(Serialize)]
    struct Thorny(u64);
    impl TypedEvent for Thorny {
        const TOPIC: &'static str = "thorny.event";

        fn duplicate(&self) -> Option<Self> {
            CALLS.fetch_add(1, Ordering::Relaxed);
            panic!("thorns")
        }
    }
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    let mut topic = bus.topic::<Thorny>().unwrap();
    for lane in ["a", "b"] {
        topic.on().lane(lane).handle(|value, _| if value.0 == 7 { Ok(()) } else { Err("another value") }).unwrap();
    }
    topic.emit(Thorny(7)).unwrap();
    assert!(topic.emit_and_wait(Thorny(7)).unwrap().all_handled());
    assert_eq!(CALLS.load(Ordering::Relaxed), 2);
    assert_eq!(bus.shutdown(LONG).handled, 4);
}
