//! The identity of the event that caused another.

use std::sync::mpsc::{self, Receiver};

use nervebus::{Bus, Event, Lane, OwnedEvent, Retry};

use super::GUARD;

type Ids = (String, Option<String>);

fn ids_of(event: &Event<'_>) -> Ids {
    (event.id().to_string(), event.causation_id().map(|id| id.to_string()))
}

/// Subscribes to the identities of a topic's events and of what caused them.
fn ids(bus: &Bus, topic: &str) -> Receiver<Ids> {
    let (sender, receiver) = mpsc::channel();
    bus.on(topic).inline().handle(move |event| sender.send(ids_of(event)).unwrap()).unwrap();
    receiver
}

fn next(ids: &Receiver<Ids>) -> Ids {
    ids.recv_timeout(GUARD).unwrap()
}

/// Has every event of `from` make its handler, of every kind there is, emit one of `to`; how many kinds that are.
fn relay(bus: &Bus, from: &str, to: &Bus, topic: &'static str) -> usize {
    let emit = |to: &Bus| {
        let to = to.downgrade();
        move || {
            to.upgrade().unwrap().emit(topic, ()).unwrap();
        }
    };
    let inline = emit(to);
    bus.on(from).inline().handle(move |_| inline()).unwrap();
    let lane = emit(to);
    bus.on(from).lane("io").handle(move |_| lane()).unwrap();
    let future = emit(to);
    let starts = move |_| {
        let future = future.clone();
        async move {
            tokio::task::yield_now().await;
            future();
        }
    };
    bus.on(from).lane("io").handle_async(starts).unwrap();
    let again = emit(to);
    let second = move |event: &Event<'_>| {
        if event.attempt() == 1 {
            return Err("the first attempt fails");
        }
        again();
        Ok(())
    };
    bus.on(from).lane("io").retry(Retry::exponential(GUARD / 10_000).attempts(2)).handle(second).unwrap();
    let again = emit(to);
    let second = move |event: OwnedEvent| {
        let again = again.clone();
        async move {
            if event.as_event().attempt() == 1 {
                return Err("the first attempt fails");
            }
            tokio::task::yield_now().await;
            again();
            Ok(())
        }
    };
    bus.on(from).lane("io").retry(Retry::exponential(GUARD / 10_000).attempts(2)).handle_async(second).unwrap();
    5
}

fn bus() -> Bus {
    Bus::builder().lane(Lane::new("io").concurrency(16)).build().unwrap()
}

#[test]
fn what_a_handler_emits_names_its_event_whatever_identity_that_has() {
    let bus = bus();
    let (outer, inner) = (ids(&bus, "outer"), ids(&bus, "inner"));
    let kinds = relay(&bus, "outer", &bus, "inner");
    for given in [None, Some("order-7")] {
        match given {
            None => bus.emit("outer", ()).unwrap(),
            Some(id) => bus.event("outer", ()).event_id(id).emit().unwrap(),
        };
        let (cause, none) = next(&outer);
        assert_eq!((none, given.unwrap_or(&cause)), (None, &*cause));
        for _ in 0..kinds {
            assert_eq!(next(&inner).1.as_deref(), Some(&*cause), "for {given:?}");
        }
    }
}

#[test]
fn it_is_known_on_another_bus() {
    let (first, second) = (bus(), bus());
    let (outer, inner) = (ids(&first, "outer"), ids(&second, "inner"));
    let kinds = relay(&first, "outer", &second, "inner");
    // The numbers of the two differ.
    second.emit("inner", ()).unwrap();
    assert_eq!(next(&inner).1, None);
    for given in [None, Some("order-7")] {
        match given {
            None => first.emit("outer", ()).unwrap(),
            Some(id) => first.event("outer", ()).event_id(id).emit().unwrap(),
        };
        let cause = next(&outer).0;
        for _ in 0..kinds {
            assert_eq!(next(&inner).1.as_deref(), Some(&*cause), "for {given:?}");
        }
    }
}

#[test]
fn it_is_that_of_the_innermost_handler_and_the_outer_ones_come_back() {
    let bus = bus();
    let weak = bus.downgrade();
    let emits = move |_: &Event<'_>| {
        let bus = weak.upgrade().unwrap();
        bus.emit("middle", ()).unwrap();
        bus.emit("last", ()).unwrap();
    };
    bus.on("first").inline().handle(emits).unwrap();
    let weak = bus.downgrade();
    let emits = move |_: &Event<'_>| assert!(weak.upgrade().unwrap().emit("inner", ()).is_ok());
    bus.on("middle").inline().handle(emits).unwrap();
    let (middle, inner, last) = (ids(&bus, "middle"), ids(&bus, "inner"), ids(&bus, "last"));
    bus.event("first", ()).event_id("first").emit().unwrap();
    assert_eq!(next(&inner).1, Some(next(&middle).0), "and not the first");
    assert_eq!(next(&last).1.as_deref(), Some("first"));
    bus.emit("last", ()).unwrap();
    assert_eq!(next(&last).1, None);
}

#[test]
fn what_the_emitter_says_counts() {
    let bus = bus();
    let weak = bus.downgrade();
    let emit =
        move |_: &Event<'_>| assert!(weak.upgrade().unwrap().event("inner", ()).causation_id("mine").emit().is_ok());
    bus.on("outer").inline().handle(emit).unwrap();
    let inner = ids(&bus, "inner");
    bus.emit("outer", ()).unwrap();
    bus.event("outer", ()).event_id("given").emit().unwrap();
    for _ in 0..2 {
        assert_eq!(next(&inner).1.as_deref(), Some("mine"));
    }
}

#[test]
fn the_record_of_a_failure_names_the_event_that_was_not_handled() {
    let bus = bus();
    bus.on("outer").lane("io").handle(|_| Err("no")).unwrap();
    let failures = ids(&bus, "system.handler_error");
    bus.event("outer", ()).event_id("given").emit().unwrap();
    assert_eq!(next(&failures).1.as_deref(), Some("given"));
}
