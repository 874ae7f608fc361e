//! With retries: what comes after an event that waits for one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};

use nervebus::{Bus, Event, KeyOrder, Lane, ManualClock, Reason, RetryError, json};

use super::until::{GUARD, until};
use super::{HOUR, Picky, SECOND, emit, end, held, letters, parking, retry, run, settled};

/// A bus whose handler of `order.*` is retried within an hour, three times in all.
fn retrying(clock: &ManualClock, picky: &Picky, order: KeyOrder) -> Bus {
    let bus = Bus::builder().clock(clock).build().unwrap();
    bus.on("order.*").name("book").key_order(order).retry(retry(HOUR).attempts(3)).handle(picky.handler()).unwrap();
    bus
}

#[test]
fn what_comes_after_an_event_that_is_retried_waits_for_it() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = retrying(&clock, &picky, KeyOrder::new());
    emit(&bus, "a", 1..=4);
    emit(&bus, "b", [10]);
    settled(&bus, 4);
    assert_eq!((picky.done(), held(&bus)), (vec![10], (1, 4, 0)));
    picky.fail([]);
    run(&bus, &clock);
    assert_eq!((picky.done(), held(&bus)), (vec![10, 1, 2, 3, 4], (0, 0, 0)));
    assert!(bus.dead_letters().is_empty());
    assert_eq!((parking(&bus).parked, end(&bus).deliveries().handled), (0, 5));
}

#[test]
fn one_that_fails_behind_a_retry_is_retried_in_its_turn() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1, 3]));
    let bus = retrying(&clock, &picky, KeyOrder::new());
    emit(&bus, "a", 1..=4);
    settled(&bus, 4);
    picky.fail([3]);
    until(|| {
        clock.advance(SECOND);
        picky.done() == [1, 2]
    });
    settled(&bus, 2);
    emit(&bus, "a", [5]);
    settled(&bus, 3);
    picky.fail([]);
    run(&bus, &clock);
    assert_eq!(picky.done(), [1, 2, 3, 4, 5]);
    end(&bus);
}

#[test]
fn what_may_not_wait_is_parked_and_follows_in_order() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = retrying(&clock, &picky, KeyOrder::new().waiting(2));
    emit(&bus, "a", 1..=6);
    settled(&bus, 3);
    assert_eq!(letters(&bus), [4, 5, 6].map(|n| (n, Reason::Parked)));
    assert_eq!(held(&bus), (1, 3, 3));
    assert_eq!(bus.dead_letters().retry(1), Err(RetryError::Parked { id: 1, first: None }));
    picky.fail([]);
    run(&bus, &clock);
    assert_eq!((picky.done(), bus.dead_letters().len()), (vec![1, 2, 3, 4, 5, 6], 0));
    end(&bus);
}

#[test]
fn what_waited_behind_an_event_that_failed_for_good_is_parked_before_what_came_later() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = retrying(&clock, &picky, KeyOrder::new().waiting(2));
    emit(&bus, "a", 1..=5);
    settled(&bus, 3);
    run(&bus, &clock);
    let reason = |n| if n == 1 { Reason::HandlerError } else { Reason::Parked };
    assert_eq!(letters(&bus), [4, 5, 1, 2, 3].map(|n| (n, reason(n))), "in the order in which they came here");
    assert_eq!(held(&bus), (1, 0, 5));
    assert_eq!(bus.dead_letters().get(3).unwrap().attempts, 3);
    picky.fail([]);
    assert_eq!(bus.dead_letters().retry_all(9, 9).letters, [3]);
    settled(&bus, 0);
    assert_eq!(picky.done(), [1, 2, 3, 4, 5], "and back in the order of the key");
    let deliveries = end(&bus).deliveries();
    assert_eq!((deliveries.routed, deliveries.handled, deliveries.failed), (5 + 5, 5, 5));
}

#[test]
fn an_event_that_expires_while_it_waits_lets_those_behind_it_go_on() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = retrying(&clock, &picky, KeyOrder::new());
    bus.event("order.odd", json!({"n": 1})).key("a").ttl(SECOND).emit().unwrap();
    emit(&bus, "a", [2]);
    bus.event("order.odd", json!({"n": 3})).key("a").ttl(SECOND).emit().unwrap();
    emit(&bus, "a", [4]);
    settled(&bus, 4);
    clock.advance(HOUR);
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![2, 4], (0, 0, 0)));
    assert_eq!(letters(&bus), [(1, Reason::Expired), (3, Reason::Expired)]);
    emit(&bus, "a", [6]);
    settled(&bus, 0);
    assert_eq!(end(&bus).deliveries().expired, 2);
}

#[test]
fn a_call_that_takes_too_long_holds_its_key_up_whenever_it_returns() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).max_abandoned(4).build().unwrap();
    let (picky, (begin, begun), (go, gone)) = (Picky::default(), mpsc::channel(), mpsc::channel::<()>());
    let (gone, handle) = (Mutex::new(gone), picky.handler());
    let stuck = move |event: &Event<'_>| {
        if event["n"] == 1 && event.attempt() == 1 {
            let _ = begin.send(());
            let _ = gone.lock().unwrap().recv();
            return Ok(());
        }
        handle(event)
    };
    bus.on("order.*").keep_order_per_key().timeout(SECOND).retry(retry(HOUR)).handle(stuck).unwrap();
    emit(&bus, "a", 1..=3);
    emit(&bus, "b", [10]);
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    // From here on the clock moves only while nothing is called.
    until(|| picky.done() == [10] && held(&bus) == (1, 3, 0));
    go.send(()).unwrap();
    until(|| bus.stats().lanes[0].late == 1);
    assert_eq!((picky.done(), held(&bus)), (vec![10], (1, 3, 0)), "what it says then comes too late");
    clock.advance(HOUR);
    until(|| held(&bus) == (0, 0, 0));
    assert_eq!(picky.done(), [10, 1, 2, 3]);
    end(&bus);
}

#[test]
fn a_handler_that_is_unsubscribed_cancels_what_waits() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = retrying(&clock, &picky, KeyOrder::new());
    emit(&bus, "a", 1..=3);
    settled(&bus, 3);
    let id = bus.stats().subscriptions[0].id;
    assert!(bus.unsubscribe(nervebus::SubscriptionId::new(id)));
    settled(&bus, 0);
    assert_eq!((picky.done(), bus.dead_letters().len()), (vec![], 0));
    assert_eq!(end(&bus).deliveries().cancelled, 3);
}

#[test]
fn the_events_of_each_key_are_handled_in_order_whatever_fails() {
    const KEYS: u64 = 23;
    const EACH: u64 = 60;
    let clock = ManualClock::new();
    let lane = Lane::new("work").workers(3).capacity(4_096);
    let bus = Bus::builder().clock(&clock).lane(lane).dead_letters(10_000).build().unwrap();
    let done = Arc::new(Mutex::new(BTreeMap::<u64, Vec<u64>>::new()));
    let log = Arc::clone(&done);
    // Some fail once, some until they are sent back, some more than once then.
    let handle = move |event: &Event<'_>| {
        let (key, n) = (event["key"].as_u64().unwrap(), event["n"].as_u64().unwrap());
        let failures = match (key * 31 + n * 17) % 19 {
            0 => 1,
            1 => 3,
            2 => 5,
            _ => 0,
        };
        if event.attempt() <= failures {
            return Err("not yet");
        }
        log.lock().unwrap().entry(key).or_default().push(n);
        Ok(())
    };
    let order = KeyOrder::new().waiting(3);
    bus.on("job").lane("work").key_order(order).retry(retry(SECOND).attempts(3)).handle(handle).unwrap();
    let handled = || done.lock().unwrap().values().map(Vec::len).sum::<usize>() as u64;
    for n in 0..EACH {
        for key in 0..KEYS {
            bus.event("job", json!({"key": key, "n": n})).key(key).emit().unwrap();
        }
        clock.advance(SECOND / 8);
        if n % 7 == 0 {
            bus.dead_letters().retry_all(3, 100);
        }
    }
    until(|| {
        clock.advance(SECOND);
        bus.dead_letters().retry_all(usize::MAX, 100);
        handled() == KEYS * EACH
    });
    run(&bus, &clock);
    let all: Vec<u64> = (0..EACH).collect();
    for (key, numbers) in &*done.lock().unwrap() {
        assert_eq!(*numbers, all, "key {key}");
    }
    assert_eq!((held(&bus), bus.dead_letters().len()), ((0, 0, 0), 0));
    assert_eq!(parking(&bus).over_limit, 0);
    end(&bus);
}
