//! Sending dead letters back by hand: to whom, how often, and what becomes of them.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use nervebus::{Breaker, Bus, Event, Reason, Retry, RetryError, SubscriptionId, Why, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

fn numbers(bus: &Bus) -> Vec<u64> {
    bus.dead_letters().list().iter().map(|letter| letter.event.as_event()["n"].as_u64().unwrap()).collect()
}

fn books(bus: &Bus) -> (usize, u64, u64, u64) {
    let letters = bus.dead_letters();
    let sum = letters.len() as u64 + letters.overwritten() + letters.removed() + letters.retried();
    assert_eq!(letters.total(), sum, "every letter is accounted for");
    (letters.len(), letters.total(), letters.overwritten(), letters.removed())
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

/// Looks until nothing is under way on the bus.
fn quiet(bus: &Bus) {
    let since = Instant::now();
    let busy = |bus: &Bus| bus.ledger().lanes.iter().any(|lane| lane.pending_events + lane.retrying > 0);
    while busy(bus) {
        assert!(since.elapsed() < GUARD, "it never ends");
        std::thread::yield_now();
    }
    assert!(bus.ledger().balanced());
}

/// Whether the handler of `job` succeeds; it is on a lane.
fn switched(bus: &Bus) -> Arc<AtomicU64> {
    let works_from = Arc::new(AtomicU64::new(u64::MAX));
    let from = Arc::clone(&works_from);
    let work = move |event: &Event<'_>| {
        if u64::from(event.attempt()) >= from.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(event.attempt().to_string())
        }
    };
    bus.on("job").name("worker").handle(work).unwrap();
    works_from
}

#[test]
fn a_letter_that_is_retried_goes_to_the_handler_that_failed_and_is_gone_when_that_succeeds() {
    let bus = Bus::builder().build().unwrap();
    let works_from = switched(&bus);
    let others = Arc::new(AtomicU64::new(0));
    let other = Arc::clone(&others);
    bus.on("job")
        .handle(move |_| {
            other.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    (0..3).for_each(|n| assert!(bus.emit("job", json!({"n": n})).is_ok()));
    quiet(&bus);
    works_from.store(2, Ordering::Relaxed);
    bus.dead_letters().retry(2).unwrap();
    quiet(&bus);
    assert_eq!(numbers(&bus), [0, 2]);
    assert_eq!((books(&bus), bus.dead_letters().retried()), ((2, 3, 0, 0), 1));
    assert_eq!(bus.dead_letters().retry(2), Err(RetryError::NotFound { id: 2 }));
    let report = bus.shutdown(GUARD);
    let deliveries = report.ledger.deliveries();
    assert_eq!((deliveries.routed, deliveries.handled, deliveries.failed), (3 + 3 + 1, 3 + 1, 3));
    assert!(report.drained && report.ledger.balanced());
    assert_eq!((report.handled, others.load(Ordering::Relaxed)), (4, 3), "the other handler is not called again");
}

#[test]
fn a_letter_that_fails_again_is_the_same_letter_with_one_more_retry() {
    let bus = Bus::builder().build().unwrap();
    switched(&bus);
    bus.emit("job", ()).unwrap();
    quiet(&bus);
    let first = bus.dead_letters().get(1).unwrap();
    assert!(first.history.is_empty(), "its error says it all");
    for retries in 1..=3 {
        bus.dead_letters().retry(1).unwrap();
        quiet(&bus);
        let letter = bus.dead_letters().get(1).unwrap();
        assert_eq!(
            (letter.retries, letter.attempts, &*letter.error),
            (retries, retries + 1, &*(retries + 1).to_string())
        );
        let history: Vec<_> = letter.history.iter().map(|attempt| (attempt.number, &*attempt.error)).collect();
        let said = ["1", "2", "3", "4"];
        assert_eq!(history, (1..=retries + 1).zip(said).collect::<Vec<_>>());
        assert!(letter.failed_at >= first.failed_at && letter.event.as_event().attempt() == 1);
    }
    assert_eq!(books(&bus), (1, 1, 0, 0));
    assert_eq!(bus.dead_letters().dry_run(9, 3).skipped, [(1, Why::TooManyRetries { retries: 3 })]);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn many_letters_are_retried_oldest_first_up_to_a_limit() {
    let (bus, odd, _) = two_topics(6);
    bus.unsubscribe(odd);
    let plan = bus.dead_letters().retry_all(2, 1);
    assert_eq!(plan.letters, [2, 4]);
    assert_eq!(plan.skipped.len(), 2, "those without a handler that come before");
    let retries = || bus.dead_letters().list().iter().map(|letter| letter.retries).collect::<Vec<_>>();
    assert_eq!(retries(), [0, 1, 0, 1, 0, 0], "called here, for the handler is on the emitter's thread");
    let plan = bus.dead_letters().retry_all(usize::MAX, 1);
    assert_eq!(plan.letters, [6]);
    assert!(plan.skipped.contains(&(2, Why::TooManyRetries { retries: 1 })));
    bus.on("order.*").name("shop").inline().handle(|_| ()).unwrap();
    assert_eq!(bus.dead_letters().retry_all(usize::MAX, 1).letters, [1, 3, 5]);
    assert_eq!((numbers(&bus), bus.dead_letters().retried()), (vec![2, 4, 6], 3));
    let ledger = bus.ledger();
    let deliveries = ledger.deliveries();
    assert!(ledger.balanced());
    assert_eq!((deliveries.routed, deliveries.handled, deliveries.failed), (6 + 3 + 3, 3, 6 + 3));
}

#[test]
fn a_letter_without_a_handler_stays_as_it_was() {
    let (bus, odd, _) = two_topics(2);
    bus.unsubscribe(odd);
    let gone = RetryError::NoHandler { id: 1, handler: "shop".into() };
    (0..2).for_each(|_| assert_eq!(bus.dead_letters().retry(1), Err(gone.clone())));
    assert_eq!(bus.dead_letters().get(1).unwrap().retries, 0);
    assert_eq!(books(&bus), (2, 2, 0, 0));
}

/// A handler that says when it is called, and then waits to be told how to end.
fn held(bus: &Bus) -> (mpsc::Receiver<u32>, mpsc::Sender<bool>, SubscriptionId) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let hold = move |event: &Event<'_>| {
        let _ = begin.send(event.attempt());
        if gone.lock().unwrap().recv() == Ok(true) { Ok(()) } else { Err("no") }
    };
    let id = bus.on("job").handle(hold).unwrap();
    (begun, go, id)
}

#[test]
fn one_of_many_threads_sends_a_letter_back() {
    let bus = Bus::builder().build().unwrap();
    let (begun, go, _) = held(&bus);
    go.send(false).unwrap();
    bus.emit("job", ()).unwrap();
    quiet(&bus);
    let begin = Barrier::new(4);
    let results = std::thread::scope(|scope| {
        let send = || {
            begin.wait();
            bus.dead_letters().retry(1)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter_map(Result::err).all(|error| error == RetryError::Busy { id: 1 }));
    go.send(true).unwrap();
    quiet(&bus);
    assert_eq!(begun.try_iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((books(&bus), bus.dead_letters().retried()), ((0, 1, 0, 0), 1));
}

#[test]
fn a_letter_that_is_removed_while_its_handler_has_it_is_counted_once() {
    let bus = Bus::builder().build().unwrap();
    let (begun, go, _) = held(&bus);
    go.send(false).unwrap();
    bus.emit("job", ()).unwrap();
    quiet(&bus);
    for (answer, id) in [(true, 1), (false, 2)] {
        bus.dead_letters().retry(id).unwrap();
        while begun.recv_timeout(GUARD).unwrap() != 2 {}
        assert!(bus.dead_letters().remove(id).is_some());
        go.send(answer).unwrap();
        quiet(&bus);
        assert!(bus.dead_letters().is_empty());
        go.send(false).unwrap();
        bus.emit("job", ()).unwrap();
        quiet(&bus);
    }
    assert_eq!((books(&bus), bus.dead_letters().retried()), ((1, 3, 0, 2), 0));
}

#[test]
fn a_letter_whose_call_is_not_made_stays_as_it_was() {
    let bus = Bus::builder().build().unwrap();
    let breaker = Breaker::new("db").failures(1);
    bus.on("job").name("guarded").breaker(&breaker).inline().handle(|_| Err("down")).unwrap();
    bus.emit("job", ()).unwrap();
    bus.dead_letters().retry(1).unwrap();
    let letter = bus.dead_letters().get(1).unwrap();
    assert_eq!((letter.retries, letter.attempts, &*letter.error, breaker.refused()), (0, 1, "down", 1));
    assert_eq!(bus.dead_letters().dry_run(9, 1).letters, [1], "and can be retried later");
    assert!(bus.ledger().balanced());

    // Unsubscribed while it waits behind another event.
    let (begun, go, id) = held(&bus);
    go.send(false).unwrap();
    bus.emit("job", ()).unwrap();
    quiet(&bus);
    let held = bus.dead_letters().list().iter().find(|letter| letter.subscription == Some(id)).unwrap().id;
    bus.emit("job", ()).unwrap();
    (0..2).for_each(|_| assert_eq!(begun.recv_timeout(GUARD), Ok(1)));
    bus.dead_letters().retry(held).unwrap();
    bus.unsubscribe(id);
    go.send(true).unwrap();
    quiet(&bus);
    assert_eq!(bus.ledger().deliveries().cancelled, 1);
    assert_eq!(bus.dead_letters().get(held).unwrap().retries, 0);
}

#[test]
fn a_bus_that_is_shut_down_sends_no_letter_and_loses_none() {
    let bus = Bus::builder().build().unwrap();
    let (begun, go, _) = held(&bus);
    go.send(false).unwrap();
    bus.emit("job", json!({"n": 1})).unwrap();
    quiet(&bus);
    bus.emit("job", json!({"n": 2})).unwrap();
    (0..2).for_each(|_| assert_eq!(begun.recv_timeout(GUARD), Ok(1)));
    // Behind an event whose handler does not return.
    bus.dead_letters().retry(1).unwrap();
    let report = bus.shutdown(Duration::from_millis(1));
    assert_eq!((report.drained, report.left), (false, 1));
    let letter = bus.dead_letters().get(1).unwrap();
    assert_eq!((letter.retries, letter.reason), (0, Reason::HandlerError));
    assert_eq!(bus.dead_letters().retry(1), Err(RetryError::Closed { id: 1 }));
    assert_eq!(bus.dead_letters().retry_all(9, 9).skipped, [(1, Why::Closed)]);
    go.send(true).unwrap();
    quiet(&bus);
    assert_eq!(bus.ledger().deliveries().dropped, 1);
}

#[test]
fn a_letter_is_tried_once_whatever_the_policy_of_its_handler_says() {
    let (bus, hour) = (Bus::builder().build().unwrap(), Duration::from_secs(60 * 60));
    let retry = Retry::exponential(hour).attempts(100).only_if(|error| error.to_string() != "1");
    bus.on("job").retry(retry).handle(|event| Err(event.attempt().to_string())).unwrap();
    bus.emit("job", ()).unwrap();
    quiet(&bus);
    bus.dead_letters().retry(1).unwrap();
    quiet(&bus);
    let letter = bus.dead_letters().get(1).unwrap();
    assert_eq!((letter.retries, letter.attempts, &*letter.error), (1, 2, "2"));
}
