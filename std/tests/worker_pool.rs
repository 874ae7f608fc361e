//! Lanes of many buses that a few threads serve.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, BusRegistry, Event, Lane, ManualClock, Retry, WaitStrategy, WorkerPool};

use held::held;
use until::until;

const SECOND: Duration = Duration::from_secs(1);
const GUARD: Duration = Duration::from_secs(20);

/// Ends a bus and holds its account against itself.
fn end(bus: &Bus) {
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
}

#[test]
fn two_threads_serve_a_hundred_buses_each_in_order() {
    const EVENTS: u64 = 50;
    let pool = WorkerPool::new(2).unwrap();
    let threads: Arc<Mutex<HashSet<String>>> = Arc::default();
    let buses: Vec<_> = (0..100).map(|_| Bus::builder().worker_pool(&pool).build().unwrap()).collect();
    let seen: Vec<Arc<Mutex<Vec<u64>>>> = buses.iter().map(|_| Arc::default()).collect();
    for (bus, seen) in buses.iter().zip(&seen) {
        let (seen, threads) = (Arc::clone(seen), Arc::clone(&threads));
        let note = move |event: &Event<'_>| {
            threads.lock().unwrap().insert(thread::current().name().unwrap_or_default().to_owned());
            seen.lock().unwrap().push(*event.payload_as::<u64>().unwrap());
        };
        bus.on("t").handle(note).unwrap();
    }
    for number in 0..EVENTS {
        buses.iter().for_each(|bus| assert!(bus.emit("t", number).is_ok()));
    }
    buses.iter().for_each(end);
    for seen in &seen {
        assert!(seen.lock().unwrap().iter().copied().eq(0..EVENTS));
    }
    let threads = threads.lock().unwrap();
    let of_the_pool = ["nervebus-pool-1", "nervebus-pool-2"];
    assert!(threads.iter().all(|name| of_the_pool.contains(&&**name)), "{threads:?}");
}

#[test]
fn a_lane_has_one_thread_at_a_time_however_many_there_are() {
    const EVENTS: u64 = 20_000;
    let pool = WorkerPool::new(4).unwrap();
    let bus = Bus::builder().worker_pool(&pool).default_lane(Lane::new("default").capacity(16)).build().unwrap();
    let (inside, seen) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(Vec::new())));
    let note = Arc::clone(&seen);
    let handler = move |event: &Event<'_>| {
        let _alone = inside.try_lock().expect("nobody else handles an event of this lane");
        note.lock().unwrap().push(*event.payload_as::<u64>().unwrap());
    };
    bus.on("t").handle(handler).unwrap();
    (0..EVENTS).for_each(|number| assert!(bus.emit("t", number).is_ok()));
    end(&bus);
    assert!(seen.lock().unwrap().iter().copied().eq(0..EVENTS));
}

#[test]
fn a_call_that_outlives_its_timeout_leaves_its_thread_and_not_the_lanes() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let [stuck, other] = [(); 2].map(|()| Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap());
    let (handler, begun, go) = held();
    stuck.on("stuck").timeout(SECOND).handle(handler).unwrap();
    stuck.on("fine").handle(|_| ()).unwrap();
    other.on("fine").handle(|_| ()).unwrap();
    stuck.emit("stuck", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    other.emit("fine", ()).unwrap();
    assert_eq!(other.ledger().deliveries().handled, 0, "the only thread is in the other bus's handler");

    clock.advance(SECOND);
    until(|| other.ledger().deliveries().handled == 1);
    assert!(stuck.emit_and_wait("fine", ()).unwrap().all_handled());
    assert_eq!(stuck.dead_letters().by_reason()["handler_timeout"], 1);
    drop(go);
    until(|| stuck.stats().lanes[0].late == 1);
    for _ in 0..100 {
        assert!(stuck.emit_and_wait("fine", ()).unwrap().all_handled());
    }
    [stuck, other].iter().for_each(end);
}

#[test]
fn retries_wake_a_lane_that_rests() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    let retry = Retry::exponential(SECOND).attempts(2).max_delay(SECOND).budget(100);
    bus.on("t").retry(retry).handle(|event| if event.attempt() == 1 { Err("not yet") } else { Ok(()) }).unwrap();
    bus.emit("t", ()).unwrap();
    until(|| bus.ledger().lanes.iter().any(|lane| lane.retrying == 1));
    clock.advance(SECOND);
    until(|| bus.ledger().deliveries().handled == 1);
    end(&bus);
}

#[test]
fn events_of_one_key_stay_in_order_on_a_lane_with_several_workers() {
    const EVENTS: u64 = 4_000;
    let pool = WorkerPool::new(3).unwrap();
    let lane = Lane::new("default").workers(4).capacity(64);
    let bus = Bus::builder().worker_pool(&pool).default_lane(lane).build().unwrap();
    let seen: Arc<[Mutex<Vec<u64>>; 7]> = Arc::default();
    let note = Arc::clone(&seen);
    let handler = move |event: &Event<'_>| {
        let number = *event.payload_as::<u64>().unwrap();
        note[(number % 7) as usize].lock().unwrap().push(number);
    };
    bus.on("t").handle(handler).unwrap();
    (0..EVENTS).for_each(|number| assert!(bus.event("t", number).key(number % 7).emit().is_ok()));
    end(&bus);
    let kept: Vec<_> = seen.iter().map(|seen| seen.lock().unwrap().clone()).collect();
    assert_eq!(kept.iter().map(Vec::len).sum::<usize>() as u64, EVENTS);
    assert!(kept.iter().all(|seen| seen.is_sorted()));
}

#[test]
fn lanes_that_spin_or_are_pinned_keep_threads_of_their_own() {
    let pool = WorkerPool::new(1).unwrap();
    let spinning = Lane::new("spinning").wait(WaitStrategy::Spin).thread_name("spinner");
    let bus = Bus::builder().worker_pool(&pool).lane(spinning).build().unwrap();
    let name = |_: &Event<'_>| assert_eq!(thread::current().name(), Some("spinner"));
    bus.on("t").lane("spinning").handle(name).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    end(&bus);
}

#[test]
fn a_bus_whose_last_handle_goes_in_a_handler_ends_there_and_the_pool_goes_on() {
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().worker_pool(&pool).build().unwrap();
    let ledger = {
        let mut last = Some(Bus::builder().worker_pool(&pool).build().unwrap());
        let inner = last.clone().unwrap();
        let last = Mutex::new(last.take());
        let weak = inner.downgrade();
        inner.on("end").handle(move |_| drop(last.lock().unwrap().take())).unwrap();
        inner.emit("end", ()).unwrap();
        drop(inner);
        weak
    };
    until(|| ledger.upgrade().is_none());
    bus.on("t").handle(|_| ()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    end(&bus);
}

#[test]
fn a_registrys_buses_share_its_pool_unless_they_name_another() {
    let (shared, own) = (WorkerPool::new(2).unwrap(), WorkerPool::new(1).unwrap());
    let registry = BusRegistry::with_worker_pool(300, &shared).unwrap();
    for number in 0..250 {
        let bus = registry.get_or_create(&format!("tenant-{number}"), Bus::builder).unwrap();
        bus.on("t").handle(|_| ()).unwrap();
        bus.emit("t", ()).unwrap();
    }
    let apart = registry.create("apart", || Bus::builder().worker_pool(&own)).unwrap();
    let (handler, begun, go) = held();
    apart.on("t").handle(handler).unwrap();
    apart.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    // Its thread is not one of the shared ones, of which both are to be had.
    let bus = registry.get("tenant-7").unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    drop(go);
    for (name, report) in registry.shutdown_all(GUARD) {
        assert!(report.drained && report.ledger.balanced(), "{name}: {report}");
        let expected = if name == "tenant-7" { 2 } else { 1 };
        assert_eq!(report.handled, expected, "{name}");
    }
}
