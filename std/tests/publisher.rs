//! Publishers: everything that an emit by name promises, for a topic that was looked up once.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, EmitError, Lane, NameRule, Overflow, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Subscribes to numbers.
fn numbers(bus: &Bus, pattern: &str) -> Receiver<u64> {
    let (sender, receiver) = mpsc::channel();
    bus.subscribe(pattern, move |event| sender.send(*event.payload_as().unwrap()).unwrap()).unwrap();
    receiver
}

#[test]
fn a_publisher_emits_what_an_emit_by_name_would() {
    let bus = Bus::builder().build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.on("market.*")
        .inline()
        .handle(move |event| sender.send((event.topic().to_owned(), event.seq(), event["price"].clone())).unwrap())
        .unwrap();
    let mut ticks = bus.publisher("market.tick").unwrap();
    assert_eq!(ticks.topic(), "market.tick");
    let receipt = ticks.emit(json!({"price": 7})).unwrap();
    assert_eq!(receipt.inline().handled, 1);
    assert_eq!(seen.try_recv(), Ok(("market.tick".to_owned(), receipt.seq(), json!(7))));
    assert!(bus.emit("market.tick", json!({})).unwrap().seq() > receipt.seq(), "one sequence for both");
}

#[test]
fn a_publisher_sees_every_change_of_the_subscriptions() {
    let bus = Bus::builder().build().unwrap();
    let mut publisher = bus.publisher("t").unwrap();
    assert!(publisher.emit(()).unwrap().is_unrouted());
    let exact = bus.on("t").inline().handle(|_| ()).unwrap();
    assert_eq!(publisher.emit(()).unwrap().inline().handled, 1);
    let all = bus.on("*").inline().handle(|_| ()).unwrap();
    assert_eq!(publisher.emit(()).unwrap().inline().handled, 2);
    assert!(bus.unsubscribe(exact) && bus.unsubscribe(all));
    assert!(publisher.emit(()).unwrap().is_unrouted());
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.routed, ledger.unrouted), (4, 2, 2));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn a_subscriber_that_came_before_the_publisher_is_reached() {
    let bus = Bus::builder().build().unwrap();
    let seen = numbers(&bus, "a.*");
    bus.publisher("a.b").unwrap().emit(5_u64).unwrap();
    assert_eq!(seen.recv_timeout(GUARD), Ok(5));
}

#[test]
fn a_malformed_topic_or_one_beyond_the_limit_has_no_publisher() {
    let bus = Bus::builder().names(NameRule::Strict).max_topics(16).build().unwrap();
    let error = bus.publisher("Order.placed").unwrap_err();
    assert!(matches!(&error, EmitError::InvalidTopic { rule, .. } if rule.contains("Order.placed")), "{error}");
    assert!(matches!(bus.publisher("order.*").unwrap_err(), EmitError::InvalidTopic { .. }));
    let error = (0..17).find_map(|n| bus.publisher(&format!("topic.t{n}")).err()).unwrap();
    assert!(matches!(error, EmitError::TooManyTopics { limit: 16, .. }), "{error}");
    assert_eq!(bus.ledger().emitted, 0, "nothing was emitted");
}

#[test]
fn a_publisher_hands_back_what_a_full_lane_refuses() {
    let lane = Lane::new("narrow").capacity(1).overflow(Overflow::Reject);
    let bus = Bus::builder().default_lane(lane).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    bus.subscribe("t", move |_| {
        begin.send(()).unwrap();
        let _ = gone.lock().unwrap().recv();
    })
    .unwrap();
    let mut publisher = bus.publisher("t").unwrap();
    publisher.emit("in the worker's hands").unwrap();
    begun.recv_timeout(GUARD).unwrap();
    publisher.emit("in the ring").unwrap();
    let error = publisher.emit("too much").unwrap_err();
    assert!(error.is_full());
    assert_eq!(error.into_payload(), "too much");
    drop(go);
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced());
    assert_eq!((end.handled, end.ledger.refused), (2, 1));
}

#[test]
fn a_publisher_of_a_bus_that_is_shut_down_is_refused() {
    let bus = Bus::builder().build().unwrap();
    let seen = numbers(&bus, "t");
    let mut publisher = bus.publisher("t").unwrap();
    publisher.emit(1_u64).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    let error = publisher.emit(2_u64).unwrap_err();
    assert!(error.is_closed());
    assert_eq!(error.into_payload(), 2);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [1]);
    assert!(bus.ledger().balanced());
}

#[test]
fn clones_of_a_publisher_emit_from_many_threads_and_each_keeps_its_order() {
    const EACH: u64 = 2_000;
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(32)).build().unwrap();
    let next = Arc::new(Mutex::new([0_u64; 4]));
    let expected = Arc::clone(&next);
    bus.subscribe("t", move |event| {
        let (emitter, number) = *event.payload_as::<(usize, u64)>().unwrap();
        let mut expected = expected.lock().unwrap();
        assert_eq!(number, expected[emitter]);
        expected[emitter] += 1;
    })
    .unwrap();
    let publisher = bus.publisher("t").unwrap();
    let emitters: Vec<_> = (0..4_usize)
        .map(|emitter| {
            let mut publisher = publisher.clone();
            thread::spawn(move || (0..EACH).for_each(|n| assert!(publisher.emit((emitter, n)).is_ok())))
        })
        .collect();
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
    assert_eq!((*next.lock().unwrap(), end.failed), ([EACH; 4], 0));
}

#[test]
fn a_publisher_keeps_its_bus_alive() {
    let bus = Bus::builder().build().unwrap();
    let seen = numbers(&bus, "t");
    let mut publisher = bus.publisher("t").unwrap();
    drop(bus);
    publisher.emit(1_u64).unwrap();
    assert_eq!(seen.recv_timeout(GUARD), Ok(1));
    drop(publisher);
    assert!(seen.recv_timeout(GUARD).is_err(), "with the last handle the bus and its handlers go");
}
