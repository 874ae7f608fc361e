//! Dead letters: bounded, newest first to stay, nothing forgotten without being counted.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, SystemTime};

use nervebus::{Bus, DeadLetter, Event, Lane, Query, QueryError, Reason, SubscriptionId, Why, json};

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

/// What a kept letter's event was about.
fn numbers_of(letters: &[Arc<DeadLetter>]) -> Vec<u64> {
    letters.iter().map(|letter| letter.event.as_event()["n"].as_u64().unwrap()).collect()
}

fn books(bus: &Bus) -> (usize, u64, u64, u64) {
    let letters = bus.dead_letters();
    let sum = letters.len() as u64 + letters.overwritten() + letters.removed() + letters.retried();
    assert_eq!(letters.total(), sum, "every letter is accounted for");
    (letters.len(), letters.total(), letters.overwritten(), letters.removed())
}

#[test]
fn ten_thousand_poison_events_leave_the_newest_ten() {
    let bus = failing(10, 10_000);
    assert_eq!(books(&bus), (10, 10_000, 9_990, 0));
    assert_eq!(numbers(&bus), (9_991..=10_000).collect::<Vec<_>>());
}

#[test]
fn a_letter_is_had_by_its_number_as_long_as_it_is_kept() {
    let bus = failing(3, 5);
    let letters = bus.dead_letters();
    assert_eq!((3..=5).map(|id| letters.get(id).unwrap().id).collect::<Vec<_>>(), [3, 4, 5]);
    assert!([0, 1, 2, 6, u64::MAX].iter().all(|id| letters.get(*id).is_none()));
    assert_eq!(letters.get(4).unwrap().pattern.as_deref(), Some("t"));
    assert_eq!(letters.get(4).unwrap().retries, 0);
}

/// Two topics with a handler each that fails every event, numbered in turn: `order.placed` has the odd ones.
fn two_topics(events: u64) -> (Bus, SubscriptionId, SubscriptionId) {
    let bus = Bus::builder().build().unwrap();
    let odd = bus.on("order.*").name("shop").inline().handle(|_| Err("no stock")).unwrap();
    let even = bus.on("user.login").name("door").inline().handle(|_| Err("no key")).unwrap();
    for n in 1..=events {
        let topic = if n % 2 == 1 { "order.placed" } else { "user.login" };
        bus.emit(topic, json!({"n": n})).unwrap();
    }
    (bus, odd, even)
}

#[test]
fn a_query_finds_what_passes_all_it_asks_for() {
    let (bus, odd, even) = two_topics(6);
    let find = |query: Query| numbers_of(&bus.dead_letters().find(&query).unwrap());
    assert_eq!(find(Query::new()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(find(Query::new().newest_first()), [6, 5, 4, 3, 2, 1]);
    assert_eq!(find(Query::new().newest_first().oldest_first().limit(2)), [1, 2]);
    assert_eq!(find(Query::new().newest_first().limit(2)), [6, 5]);
    assert_eq!(find(Query::new().limit(0)), [0; 0]);
    for query in [Query::new().topic("order.placed"), Query::new().topic("order.*"), Query::new().topic("*.placed")] {
        assert_eq!(find(query), [1, 3, 5]);
    }
    assert_eq!(find(Query::new().topic("*")), [1, 2, 3, 4, 5, 6]);
    assert_eq!(find(Query::new().topic("order")), [0; 0]);
    assert_eq!(find(Query::new().handler("door")), [2, 4, 6]);
    assert_eq!(find(Query::new().subscription(odd)), [1, 3, 5]);
    assert_eq!(find(Query::new().subscription(even).topic("order.*")), [0; 0], "both must hold");
    assert_eq!(find(Query::new().reason(Reason::HandlerError).handler("shop").limit(1)), [1]);
    assert_eq!(find(Query::new().reason(Reason::Shutdown)), [0; 0]);
}

#[test]
fn a_query_by_time_has_its_beginning_but_not_its_end() {
    let before = SystemTime::now();
    let (bus, ..) = two_topics(2);
    // Further off than seconds in a float are from one another.
    let after = SystemTime::now() + Duration::from_millis(1);
    let find = |query: Query| bus.dead_letters().find(&query).unwrap().len();
    assert_eq!(find(Query::new().since(before).until(after)), 2);
    assert_eq!(find(Query::new().until(before - Duration::from_secs(1))), 0);
    assert_eq!(find(Query::new().since(after + Duration::from_secs(1))), 0);
    assert_eq!(find(Query::new().since(after + Duration::from_secs(1)).until(before)), 0, "nothing is between");
    assert_eq!(find(Query::new().since(SystemTime::UNIX_EPOCH - Duration::from_secs(1))), 2);
    let first = bus.dead_letters().list()[0].failed_at;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(first);
    let (early, late) = (moment - Duration::from_micros(1), moment + Duration::from_micros(1));
    assert!(find(Query::new().since(moment).until(late)) >= 1);
    assert_eq!(find(Query::new().since(early).until(moment)), 0, "which is where the next span begins");
}

#[test]
fn a_query_with_a_bad_pattern_is_refused_and_nothing_is_taken_out() {
    let (bus, ..) = two_topics(3);
    for pattern in ["", "order.", "cha*", "a b", ".."] {
        let refused = bus.dead_letters().find(&Query::new().topic(pattern)).unwrap_err();
        assert!(matches!(&refused, QueryError::InvalidPattern { rule } if rule.starts_with("pattern ")), "{refused}");
        assert_eq!(bus.dead_letters().clear_where(&Query::new().topic(pattern)).unwrap_err(), refused);
    }
    assert_eq!(books(&bus), (3, 3, 0, 0));
}

#[test]
fn a_letter_is_removed_once_and_counted() {
    let bus = failing(5, 4);
    let removed = bus.dead_letters().remove(2).unwrap();
    assert_eq!(removed.event.as_event()["n"], 2);
    assert!(bus.dead_letters().remove(2).is_none());
    assert!(bus.dead_letters().remove(99).is_none());
    assert_eq!(numbers(&bus), [1, 3, 4]);
    assert_eq!(books(&bus), (3, 4, 0, 1));
    bus.emit("t", json!({"n": 5})).unwrap();
    assert_eq!(bus.dead_letters().list().last().unwrap().id, 5, "a number is given once");
}

#[test]
fn what_is_cleared_is_what_was_asked_for() {
    let (bus, ..) = two_topics(8);
    let letters = bus.dead_letters();
    assert_eq!(letters.clear_where(&Query::new().topic("order.*").newest_first().limit(2)).unwrap(), 2);
    assert_eq!(numbers(&bus), [1, 2, 3, 4, 6, 8]);
    assert_eq!(letters.clear_where(&Query::new().topic("order.*").limit(1)).unwrap(), 1);
    assert_eq!(numbers(&bus), [2, 3, 4, 6, 8]);
    assert_eq!(letters.clear_where(&Query::new().reason(Reason::Expired)).unwrap(), 0);
    assert_eq!(letters.clear_where(&Query::new().handler("door")).unwrap(), 4);
    assert_eq!(numbers(&bus), [3]);
    assert_eq!(letters.clear(), 1);
    assert_eq!(letters.clear(), 0);
    assert_eq!(books(&bus), (0, 8, 0, 8));
    assert!(letters.by_topic().is_empty());
}

#[test]
fn letters_are_cleared_by_their_age() {
    let bus = failing(5, 3);
    assert_eq!(bus.dead_letters().clear_older_than(Duration::from_secs(3600)), 0);
    assert_eq!(bus.dead_letters().clear_older_than(Duration::MAX), 0);
    assert_eq!(bus.dead_letters().clear_older_than(Duration::ZERO), 3);
    assert_eq!(books(&bus), (0, 3, 0, 3));
}

#[test]
fn statistics_have_the_books_and_the_letters_by_topic() {
    let (bus, ..) = two_topics(5);
    bus.dead_letters().remove(1).unwrap();
    let stats = bus.stats().dead_letters;
    assert_eq!((stats.len, stats.total, stats.overwritten, stats.removed, stats.retried), (4, 5, 0, 1, 0));
    assert_eq!(stats.by_topic, BTreeMap::from([("order.placed".to_owned(), 2), ("user.login".to_owned(), 2)]));
    assert_eq!(stats.by_reason, BTreeMap::from([("handler_error", 4)]));
    assert!(stats.log.is_none());
}

#[test]
fn payloads_that_panic_when_dropped_are_cleared_all_the_same() {
    struct Bomb;
    impl serde::Serialize for Bomb {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a payload that panics when it is dropped");
        }
    }
    let bus = Bus::builder().dead_letters(2).build().unwrap();
    bus.on("t").inline().handle(|_| Err("no")).unwrap();
    (0..5).for_each(|_| assert!(bus.emit("t", Bomb).is_ok()));
    assert_eq!(books(&bus), (2, 5, 3, 0));
    assert_eq!(bus.dead_letters().clear(), 2);
    assert_eq!(books(&bus), (0, 5, 3, 2));
    (0..2).for_each(|_| assert!(bus.emit("t", Bomb).is_ok()));
}

#[test]
fn the_books_hold_while_many_threads_fail_and_clear() {
    let bus = Bus::builder().dead_letters(16).build().unwrap();
    bus.on("t").inline().handle(|_| Err("no")).unwrap();
    let begin = Barrier::new(5);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                begin.wait();
                (0..500).for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
            });
        }
        scope.spawn(|| {
            begin.wait();
            (1..1_000).for_each(|id| drop(bus.dead_letters().remove(id)));
        });
        scope.spawn(|| {
            begin.wait();
            (0..100).for_each(|_| drop(bus.dead_letters().clear_where(&Query::new().newest_first().limit(3))));
        });
        begin.wait();
        for _ in 0..200 {
            let stats = bus.stats().dead_letters;
            assert_eq!(stats.total, stats.len as u64 + stats.overwritten + stats.removed + stats.retried);
            assert!(stats.len <= 16);
        }
    });
    assert_eq!(books(&bus).1, 1_000);
    assert!(bus.ledger().balanced());
}

#[test]
fn a_dry_run_says_which_letters_have_a_handler_to_go_back_to_and_changes_nothing() {
    let (bus, odd, _) = two_topics(6);
    let plan = bus.dead_letters().dry_run(usize::MAX, 3);
    assert_eq!((&*plan.letters, plan.skipped.len()), (&[1, 2, 3, 4, 5, 6][..], 0));
    assert_eq!(bus.dead_letters().dry_run(2, 3).letters, [1, 2], "oldest first, up to the limit");
    assert_eq!(bus.dead_letters().dry_run(0, 3), Default::default());

    bus.unsubscribe(odd);
    let gone = Why::NoHandler { handler: "shop".into() };
    let plan = bus.dead_letters().dry_run(2, 3);
    assert_eq!(plan.letters, [2, 4], "those that stay do not use the limit up");
    assert_eq!(plan.skipped, [(1, gone.clone()), (3, gone.clone())]);

    bus.on("order.placed").name("shop").inline().handle(|_| ()).unwrap();
    bus.on("order.*").name("shopkeeper").inline().handle(|_| ()).unwrap();
    assert_eq!(bus.dead_letters().dry_run(9, 3).letters, [2, 4, 6], "name and pattern must both be the same");
    bus.on("order.*").name("shop").inline().handle(|_| ()).unwrap();
    assert_eq!(bus.dead_letters().dry_run(9, 3).letters, [1, 2, 3, 4, 5, 6]);

    let plan = bus.dead_letters().dry_run(9, 0);
    assert!(plan.letters.is_empty());
    assert!(plan.skipped.iter().all(|(_, why)| *why == Why::TooManyRetries { retries: 0 }));
    assert_eq!(books(&bus), (6, 6, 0, 0));
}

#[test]
fn an_event_that_a_shutdown_left_cannot_go_back_to_a_handler() {
    let bus = Bus::builder().default_lane(Lane::new("slow")).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    bus.on("t")
        .handle(move |_| {
            let _ = begin.send(());
            let _ = gone.lock().unwrap().recv();
        })
        .unwrap();
    (0..2).for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    assert_eq!(bus.shutdown(Duration::from_millis(1)).left, 1);
    let plan = bus.dead_letters().dry_run(10, 10);
    assert_eq!(plan.letters, [0; 0]);
    assert_eq!(plan.skipped, [(1, Why::NotRetriable { reason: Reason::Shutdown })]);
    assert_eq!(plan.skipped[0].1.to_string(), "it never reached a handler: shutdown");
    drop(go);
}
