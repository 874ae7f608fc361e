//! Taking letters for a retry by hand.

use std::sync::{Arc, Barrier};

use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::dead_letters::plan::{RetryError, Why};
use crate::{Bus, json};

/// A bus with letters 1 to so many, of one handler.
fn failing(capacity: usize, letters: u64) -> Bus {
    let bus = Bus::builder().dead_letters(capacity).build().unwrap();
    bus.on("t").name("picky").inline().handle(|_| Err("no")).unwrap();
    (0..letters).for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
    bus
}

fn books(bus: &Bus) -> (usize, u64, u64, u64) {
    let stats = bus.stats().dead_letters;
    assert_eq!(stats.total, stats.len as u64 + stats.overwritten + stats.removed + stats.retried);
    (stats.len, stats.overwritten, stats.removed, stats.retried)
}

#[test]
fn one_of_many_threads_gets_a_letter() {
    let bus = failing(5, 1);
    let (store, begin) = (&bus.engine().dead_letters, Barrier::new(4));
    let got = std::thread::scope(|scope| {
        let take = || {
            begin.wait();
            store.take_for_retry(1, 1)
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(got.iter().filter(|got| got.is_ok()).count(), 1);
    assert!(got.into_iter().filter_map(Result::err).all(|error| error == RetryError::Busy { id: 1 }));
    assert_eq!(bus.dead_letters().dry_run(9, 9).skipped, [(1, Why::Busy)]);
    assert!(bus.dead_letters().get(1).is_some(), "it can still be seen");
}

#[test]
fn a_letter_that_is_put_back_can_be_taken_again_until_it_was_sent_back_too_often() {
    let bus = failing(5, 1);
    let store = &bus.engine().dead_letters;
    for retries in 1..=2 {
        let letter = store.take_for_retry(1, 2).unwrap();
        store.put_back(Arc::new(DeadLetter { retries, error: format!("no {retries}"), ..(*letter).clone() }));
    }
    let kept = bus.dead_letters().get(1).unwrap();
    assert_eq!((kept.retries, &*kept.error), (2, "no 2"));
    assert_eq!(store.take_for_retry(1, 2).unwrap_err(), RetryError::TooManyRetries { id: 1, retries: 2 });
    assert_eq!(bus.dead_letters().dry_run(9, 2).skipped, [(1, Why::TooManyRetries { retries: 2 })]);
    let unsent = store.take_for_retry(1, 3).unwrap();
    store.put_back(unsent);
    assert_eq!(bus.dead_letters().get(1).unwrap().retries, 2);
    assert_eq!(books(&bus), (1, 0, 0, 0));
}

#[test]
fn a_letter_that_was_handled_is_ticked_off_once() {
    let bus = failing(5, 3);
    let store = &bus.engine().dead_letters;
    store.take_for_retry(2, 1).unwrap();
    store.tick_off(2);
    store.tick_off(2);
    assert_eq!(books(&bus), (2, 0, 0, 1));
    assert_eq!(store.take_for_retry(2, 1).unwrap_err(), RetryError::NotFound { id: 2 });
    assert_eq!(bus.dead_letters().retried(), 1);
}

#[test]
fn a_letter_that_is_removed_or_overwritten_while_it_is_out_does_not_come_back() {
    let bus = failing(2, 2);
    let store = &bus.engine().dead_letters;
    let (first, second) = (store.take_for_retry(1, 1).unwrap(), store.take_for_retry(2, 1).unwrap());
    bus.emit("t", ()).unwrap();
    bus.dead_letters().remove(2).unwrap();
    store.put_back(first);
    store.tick_off(second.id);
    assert_eq!(books(&bus), (1, 1, 1, 0));
    assert_eq!(bus.dead_letters().list()[0].id, 3);
}

#[test]
fn what_is_refused_is_named() {
    let text = |error: RetryError| error.to_string();
    assert_eq!(text(RetryError::NotFound { id: 7 }), "there is no dead letter 7");
    assert_eq!(text(RetryError::TooManyRetries { id: 7, retries: 3 }), "dead letter 7 was sent back 3 times");
    assert_eq!(text(RetryError::Busy { id: 7 }), "dead letter 7 is being sent back already");
    assert_eq!(text(RetryError::Closed { id: 7 }), "the bus is shutting down");
    let error = RetryError::NoHandler { id: 7, handler: "x".into() };
    assert_eq!(text(error), r#"dead letter 7 has no handler to go back to: there is no "x" with its pattern"#);
}
