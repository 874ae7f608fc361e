//! Handlers that use their bus from inside, however deep.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use nervebus::{Bus, EmitError, Event, Lane, ManualClock, SubscribeError};

use super::{GUARD, bounded, end, is_quiet, until};

/// The limit of a bus that says nothing of it.
const DEFAULT: u64 = 16;

/// Emits inside handlers so many levels deep; in the first, the bus's subscriptions are changed.
fn nest(workers: usize, depth: u64, limit: Option<u32>) {
    let lane = Lane::new("default").workers(workers);
    let builder = Bus::builder().clock(&ManualClock::new()).default_lane(lane);
    let builder = if let Some(limit) = limit { builder.max_depth(limit) } else { builder };
    let bus = builder.build().unwrap();
    let limit = limit.map_or(DEFAULT, u64::from);
    let (refuse, refused) = mpsc::channel();
    let (late, gone_calls) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let calls = Arc::clone(&gone_calls);
    let gone = move |_: &Event<'_>| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let gone = bus.on("nest").inline().priority(1).handle(gone).unwrap();
    let (weak, noted) = (bus.downgrade(), Arc::clone(&late));
    let nest = move |event: &Event<'_>| {
        let (bus, level) = (weak.upgrade().unwrap(), *event.payload_as::<u64>().unwrap());
        if level == 1 {
            let noted = Arc::clone(&noted);
            let late = move |event: &Event<'_>| noted.lock().unwrap().push(*event.payload_as::<u64>().unwrap());
            bus.on("nest").inline().priority(200).handle(late).unwrap();
            assert!(bus.unsubscribe(gone));
        }
        assert_eq!(bus.emit("lane", level).unwrap().admitted(), 1);
        if level == depth {
            return;
        }
        match bus.emit("nest", level + 1) {
            Ok(receipt) => assert!(receipt.seq() > event.seq()),
            Err(EmitError::TooDeep { limit, payload }) => refuse.send((limit, payload)).unwrap(),
            Err(other) => panic!("{other}"),
        }
    };
    bus.on("nest").inline().handle(nest).unwrap();
    bus.on("lane").handle(|_| ()).unwrap();
    bus.emit("nest", 1_u64).unwrap();
    let reached = depth.min(limit);
    let expected = (depth > limit).then_some((u32::try_from(limit).unwrap(), limit + 1));
    assert_eq!(refused.try_iter().collect::<Vec<_>>(), Vec::from_iter(expected));
    let told = late.lock().unwrap().clone();
    assert_eq!(told, (2..=reached).collect::<Vec<_>>(), "a change applies from the next event on");
    assert_eq!(gone_calls.load(Ordering::Relaxed), 0);
    let ledger = end(&bus);
    assert_eq!((ledger.routed, ledger.refused), (2 * reached, u64::from(depth > limit)));
    let of = ledger.deliveries();
    assert_eq!((of.handled, of.cancelled), (2 * reached + reached - 1, 1), "{workers} workers, {depth} deep");
}

#[test]
fn emits_inside_handlers_go_as_deep_as_the_limit_and_the_next_is_an_error_with_any_number_of_workers() {
    bounded(|| {
        for workers in 1..=4 {
            [1, 15, 16, 17, 1_000].into_iter().for_each(|depth| nest(workers, depth, None));
            nest(workers, 1_000, Some(1_000));
            nest(workers, 1_000, Some(999));
        }
    });
}

#[test]
fn handlers_on_lanes_nest_a_thousand_deep_without_the_limit_and_without_a_deadlock() {
    const DEPTH: u64 = 1_000;
    bounded(|| {
        for workers in 1..=4 {
            // The narrowest lane there is for each worker: a handler finds it empty, for it has taken its event out.
            let lane = Lane::new("default").workers(workers).capacity(workers);
            let bus = Bus::builder().clock(&ManualClock::new()).default_lane(lane).build().unwrap();
            let weak = bus.downgrade();
            let next = move |event: &Event<'_>| {
                let (bus, level) = (weak.upgrade().unwrap(), *event.payload_as::<u64>().unwrap());
                let own = bus.on("unheard").handle(|_| ()).unwrap();
                assert!(bus.unsubscribe(own) && !bus.unsubscribe(own));
                if level < DEPTH {
                    bus.emit("next", level + 1).unwrap();
                }
            };
            bus.subscribe("next", next).unwrap();
            bus.emit("next", 1_u64).unwrap();
            until("the chain stops", || bus.ledger().deliveries().handled == DEPTH && is_quiet(&bus));
            let ledger = end(&bus);
            assert_eq!((ledger.routed, ledger.refused, ledger.deliveries().failed), (DEPTH, 0, 0));
        }
    });
}

#[test]
fn a_shutdown_at_the_bottom_of_nested_handlers_closes_the_bus_for_all_levels_above() {
    bounded(|| {
        for (workers, depth) in (1..=4).flat_map(|workers| [1, 15, 16].map(|depth| (workers, depth))) {
            let lane = Lane::new("default").workers(workers);
            let bus = Bus::builder().clock(&ManualClock::new()).default_lane(lane).build().unwrap();
            let (weak, (close, closed)) = (bus.downgrade(), mpsc::channel());
            let nest = move |event: &Event<'_>| {
                let (bus, level) = (weak.upgrade().unwrap(), *event.payload_as::<u64>().unwrap());
                if level < depth {
                    bus.emit("nest", level + 1).unwrap();
                } else {
                    assert!(bus.shutdown(GUARD).ledger.balanced());
                }
                let error = bus.emit("nest", level).unwrap_err();
                assert!(error.is_closed() && error.into_payload() == level);
                assert_eq!(bus.subscribe("nest", |_| ()), Err(SubscribeError::Closed));
                close.send(level).unwrap();
            };
            bus.on("nest").inline().handle(nest).unwrap();
            bus.emit("nest", 1_u64).unwrap();
            assert_eq!(closed.try_iter().collect::<Vec<_>>(), (1..=depth).rev().collect::<Vec<_>>());
            let ledger = end(&bus);
            assert_eq!((ledger.routed, ledger.refused, ledger.deliveries().handled), (depth, depth, depth));
        }
    });
}
