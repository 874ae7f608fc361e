//! Without retries: what is parked, and what lets it go.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};

use nervebus::{
    Breaker, Bus, Event, HandlerError, KeyOrder, Lane, ManualClock, Query, Reason, RetryError, SubscribeError, Why,
    json,
};

use super::until::{GUARD, until};
use super::{Picky, SECOND, emit, end, held, keeping, letters, parking, run, settled};

#[test]
fn what_comes_after_a_failed_event_of_its_key_is_parked_and_follows_when_that_is_handled() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder(), &picky);
    let records = Arc::new(Mutex::new(0));
    let record = Arc::clone(&records);
    bus.on("system.handler_error").handle(move |_| *record.lock().unwrap() += 1).unwrap();
    let others = Picky::default();
    bus.on("order.*").name("other").handle(others.handler()).unwrap();
    emit(&bus, "a", [1, 2, 3]);
    emit(&bus, "b", [10, 11]);
    (20..22).for_each(|n| assert!(bus.emit("order.odd", json!({"n": n})).is_ok()));
    settled(&bus, 0);
    assert_eq!(picky.done(), [10, 11, 20, 21], "other keys, and events without a key, go on");
    assert_eq!(letters(&bus), [(1, Reason::HandlerError), (2, Reason::Parked), (3, Reason::Parked)]);
    let parked = bus.dead_letters().get(2).unwrap();
    assert_eq!((parked.attempts, &*parked.handler, parked.history.len()), (0, "book", 0));
    assert_eq!(held(&bus), (1, 0, 3));
    assert_eq!(*records.lock().unwrap(), 1, "what waits has not failed");
    assert_eq!(bus.ledger().deliveries().failed, 3);
    assert_eq!(bus.stats().subscriptions[0].failed, 1, "calls");

    picky.fail([]);
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!(picky.done(), [10, 11, 20, 21, 1, 2, 3]);
    assert_eq!(others.done(), [1, 2, 3, 10, 11, 20, 21], "the other handler has nothing to do with it");
    assert_eq!((bus.dead_letters().len(), bus.dead_letters().retried(), held(&bus)), (0, 3, (0, 0, 0)));
    emit(&bus, "a", [4]);
    settled(&bus, 0);
    assert_eq!(picky.done().last(), Some(&4), "the key is free again");
    assert_eq!((parking(&bus).parked, parking(&bus).over_limit), (2, 0));
    end(&bus);
}

#[test]
fn none_but_the_first_of_a_key_can_be_retried() {
    let picky = Picky::failing([1, 10]);
    let bus = keeping(Bus::builder(), &picky);
    emit(&bus, "a", [1, 2]);
    emit(&bus, "b", [10, 11]);
    settled(&bus, 0);
    let letters = bus.dead_letters();
    assert_eq!(letters.retry(2), Err(RetryError::Parked { id: 2, first: Some(1) }));
    let plan = letters.dry_run(9, 9);
    assert_eq!(plan.letters, [1, 3]);
    assert_eq!(plan.skipped, [(2, Why::Parked { first: Some(1) }), (4, Why::Parked { first: Some(3) })]);
    picky.fail([]);
    assert_eq!(letters.retry_all(9, 9).letters, [1, 3]);
    settled(&bus, 0);
    let done = picky.done();
    assert_eq!(done.len(), 4, "those behind them go by themselves");
    let position = |n| done.iter().position(|done| *done == n);
    assert!(position(1) < position(2) && position(10) < position(11));
}

#[test]
fn one_that_fails_again_keeps_the_rest_behind_it() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder(), &picky);
    emit(&bus, "a", 1..=5);
    settled(&bus, 0);
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!((bus.dead_letters().get(1).unwrap().retries, picky.done()), (1, vec![]));
    picky.fail([3]);
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!(picky.done(), [1, 2]);
    assert_eq!(letters(&bus), [(3, Reason::HandlerError), (4, Reason::Parked), (5, Reason::Parked)]);
    emit(&bus, "a", [6]);
    settled(&bus, 0);
    picky.fail([]);
    bus.dead_letters().retry(3).unwrap();
    settled(&bus, 0);
    assert_eq!(picky.done(), [1, 2, 3, 4, 5, 6], "what came meanwhile is behind all others");
    end(&bus);
}

#[test]
fn a_first_letter_that_is_taken_out_lets_the_next_one_go() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder(), &picky);
    emit(&bus, "a", 1..=4);
    settled(&bus, 0);
    assert!(bus.dead_letters().remove(3).is_some(), "not the first: nothing moves");
    settled(&bus, 0);
    assert!(picky.done().is_empty());
    let poison = Query::new().reason(Reason::HandlerError);
    assert_eq!(bus.dead_letters().clear_where(&poison), Ok(1));
    settled(&bus, 0);
    assert_eq!((picky.done(), bus.dead_letters().len()), (vec![2, 4], 0));

    emit(&bus, "a", [1, 5, 6]);
    settled(&bus, 0);
    assert_eq!(bus.dead_letters().clear(), 3);
    assert_eq!(held(&bus), (0, 0, 0));
    emit(&bus, "a", [7]);
    settled(&bus, 0);
    assert_eq!(picky.done(), [2, 4, 7]);
    end(&bus);
}

#[test]
fn a_first_letter_that_is_overwritten_leaves_the_next_one_first_and_parked() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder().dead_letters(2), &picky);
    emit(&bus, "a", 1..=4);
    settled(&bus, 0);
    assert_eq!(letters(&bus), [(3, Reason::Parked), (4, Reason::Parked)]);
    assert_eq!((picky.done(), held(&bus)), (vec![], (1, 0, 2)), "nobody has given the first one up");
    bus.dead_letters().retry(3).unwrap();
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![3, 4], (0, 0, 0)));

    // One whose every letter is overwritten by those of another key is held up no more.
    picky.fail([10, 20]);
    emit(&bus, "a", [10]);
    emit(&bus, "b", [20, 21]);
    emit(&bus, "a", [11]);
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![3, 4, 11], (1, 0, 2)));
    end(&bus);
}

#[test]
fn no_more_keys_are_held_up_than_may_be_and_those_beyond_are_counted() {
    let picky = Picky::failing([1, 10, 20]);
    let bus = Bus::builder().build().unwrap();
    bus.on("order.*").key_order(KeyOrder::new().keys(2)).handle(picky.handler()).unwrap();
    emit(&bus, "a", [1, 2]);
    emit(&bus, "b", [10, 11]);
    emit(&bus, "c", [20, 21]);
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus), parking(&bus).over_limit), (vec![21], (2, 0, 4), 1));
    picky.fail([]);
    bus.dead_letters().retry_all(9, 9);
    settled(&bus, 0);
    assert_eq!((picky.done().len(), bus.dead_letters().len()), (6, 0));
    end(&bus);
}

#[test]
fn a_key_that_a_breaker_holds_up_stays_in_order() {
    let (clock, picky, breaker) = (ManualClock::new(), Picky::failing([1]), Breaker::new("db").failures(1));
    let breaker = breaker.reset_after(SECOND);
    let bus = Bus::builder().clock(&clock).build().unwrap();
    bus.on("order.*").keep_order_per_key().breaker(&breaker).handle(picky.handler()).unwrap();
    emit(&bus, "a", [1, 2]);
    emit(&bus, "b", [10, 11]);
    settled(&bus, 0);
    let reasons = [(1, Reason::HandlerError), (2, Reason::Parked), (10, Reason::HandlerError), (11, Reason::Parked)];
    assert_eq!((letters(&bus), breaker.refused()), (reasons.to_vec(), 1), "what is parked does not ask it");
    picky.fail([]);
    assert_eq!(bus.dead_letters().retry_all(9, 9).letters, [1, 3]);
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![], (2, 0, 4)), "open still");
    clock.advance(SECOND);
    bus.dead_letters().retry_all(9, 9);
    run(&bus, &clock);
    let done = picky.done();
    let of = |key: [u64; 2]| done.iter().copied().filter(|n| key.contains(n)).collect::<Vec<_>>();
    assert_eq!((of([1, 2]), of([10, 11])), (vec![1, 2], vec![10, 11]));
    end(&bus);
}

#[test]
fn whoever_waits_for_a_parked_event_is_told() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder(), &picky);
    emit(&bus, "a", [1]);
    let report = bus.event("order.even", json!({"n": 2})).key("a").emit_and_wait().unwrap();
    let error = report.outcomes[0].result.as_ref().unwrap_err();
    assert!(matches!(**error, HandlerError::Parked), "{error}");
    assert_eq!((error.kind(), report.all_handled()), ("parked", false));
}

#[test]
fn an_event_that_has_expired_holds_up_nobody() {
    let (clock, picky) = (ManualClock::new(), Picky::failing([1]));
    let bus = keeping(Bus::builder().clock(&clock), &picky);
    emit(&bus, "a", [1]);
    bus.event("order.even", json!({"n": 2})).key("a").ttl(SECOND).emit().unwrap();
    emit(&bus, "a", [3]);
    settled(&bus, 0);
    clock.advance(SECOND);
    picky.fail([]);
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!((picky.done(), letters(&bus), held(&bus)), (vec![1, 3], vec![(2, Reason::Parked)], (0, 0, 0)));
    assert_eq!(bus.ledger().deliveries().expired, 1);
    end(&bus);
}

#[test]
fn a_handler_that_cannot_keep_order_is_refused() {
    let bus = Bus::builder().build().unwrap();
    let on = |order: KeyOrder| bus.on("t").key_order(order);
    let inline = on(KeyOrder::new()).inline().handle(|_| ()).unwrap_err();
    assert_eq!(inline, SubscribeError::NotInline { setting: "keep_order_per_key" });
    for order in [KeyOrder::new().keys(0), KeyOrder::new().keys(65_537), KeyOrder::new().waiting(4_097)] {
        let error = on(order).handle(|_| ()).unwrap_err();
        assert!(matches!(error, SubscribeError::OutOfRange { .. }), "{error}");
    }
    let bus = Bus::builder().dead_letters(0).build().unwrap();
    let error = bus.on("t").keep_order_per_key().handle(|_| ()).unwrap_err();
    assert!(matches!(error, SubscribeError::InvalidSetting { setting: "keep_order_per_key", .. }), "{error}");
}

#[test]
fn events_without_a_key_are_in_no_sequence_however_they_are_emitted() {
    let (picky, (begin, begun), (go, gone)) = (Picky::failing([1, 2]), mpsc::channel(), mpsc::channel::<()>());
    let (gone, handle) = (Mutex::new(gone), picky.handler());
    let bus = Bus::builder().lane(Lane::new("narrow").capacity(2)).build().unwrap();
    let hold = move |event: &Event<'_>| {
        if event["n"] == 0 {
            let _ = begin.send(());
            let _ = gone.lock().unwrap().recv();
        }
        handle(event)
    };
    bus.on("order.*").lane("narrow").keep_order_per_key().handle(hold).unwrap();
    bus.emit("order.odd", json!({"n": 0})).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    while bus.try_emit("order.odd", json!({"n": 3})).is_ok() {}
    // These two wait for room, each in one line.
    let mut waiting = [1, 2].map(|n| Box::pin(bus.emit_async("order.odd", json!({"n": n}))));
    let mut context = Context::from_waker(Waker::noop());
    waiting.iter_mut().for_each(|emit| assert!(emit.as_mut().poll(&mut context).is_pending()));
    go.send(()).unwrap();
    for emit in &mut waiting {
        until(|| emit.as_mut().poll(&mut context).is_ready());
    }
    bus.emit("order.odd", json!({"n": 2})).unwrap();
    settled(&bus, 0);
    assert_eq!((held(&bus), bus.dead_letters().len()), ((0, 0, 0), 3));
    assert_eq!(bus.dead_letters().dry_run(9, 9).letters, [1, 2, 3]);
    end(&bus);
}
