//! The threads of a pool: how many there are, and who gets one when handlers hold them.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nervebus::{AuditLog, Bus, Event, Lane, ManualClock, Overflow, WorkerPool};

use super::held::held;
use super::until::until;
use super::{GUARD, SECOND, balanced, end, shutdown_in_time};

/// How many threads this process has whose names begin so.
#[cfg(target_os = "linux")]
fn threads(of: &str) -> usize {
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    fs::read_dir("/proc/self/task").unwrap().flatten().map(name).filter(|name| name.starts_with(of)).count()
}

#[test]
fn a_lane_that_may_leave_no_more_threads_costs_the_other_lanes_of_its_pool_none() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let builder = || Bus::builder().clock(&clock).worker_pool(&pool);
    let (stuck, other) = (builder().max_abandoned(0).build().unwrap(), builder().build().unwrap());
    let (handler, begun, go) = held();
    stuck.on("stuck").timeout(SECOND).handle(handler).unwrap();
    stuck.on("fine").handle(|_| ()).unwrap();
    other.on("fine").handle(|_| ()).unwrap();
    stuck.emit("stuck", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    stuck.emit("fine", ()).unwrap();
    clock.advance(SECOND);
    until(|| !stuck.stats().lanes[0].healthy);
    other.emit("fine", ()).unwrap();
    until(|| other.ledger().deliveries().handled == 1);
    assert_eq!(stuck.ledger().deliveries().handled, 0);

    // When the handler returns, its lane is served again.
    drop(go);
    until(|| stuck.ledger().deliveries().handled >= 1);
    assert!(stuck.stats().lanes[0].healthy);
    (0..100).for_each(|_| assert!(other.emit_and_wait("fine", ()).unwrap().all_handled()));
    [stuck, other].iter().for_each(|bus| drop(end(bus)));
}

#[test]
fn a_bus_with_nothing_to_do_shuts_down_though_its_pools_threads_are_held() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let [busy, idle] = [(); 2].map(|()| Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap());
    idle.on("t").handle(|_| ()).unwrap();
    assert!(idle.emit_and_wait("t", ()).unwrap().all_handled());
    let (handler, begun, go) = held();
    busy.on("t").handle(handler).unwrap();
    busy.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    // The clock stands still: a shutdown that waited for a thread would wait for ever.
    let report = shutdown_in_time(&idle, SECOND);
    assert!(report.drained, "{report}");
    balanced(&report);
    drop(go);
    end(&busy);
}

#[test]
fn a_handler_that_drops_the_last_handle_of_another_bus_of_its_pool_costs_that_none_of_its_events() {
    const EVENTS: usize = 50;
    let handled = Arc::new(AtomicUsize::new(0));
    let pool = WorkerPool::new(1).unwrap();
    let [outer, inner] = [(); 2].map(|()| Bus::builder().worker_pool(&pool).build().unwrap());
    let count = Arc::clone(&handled);
    let tally = move |_: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    inner.on("t").handle(tally).unwrap();
    let last = Mutex::new(Some(inner));
    let end_it = move |_: &Event<'_>| {
        let inner = last.lock().unwrap().take().unwrap();
        (0..EVENTS).for_each(|_| assert!(inner.emit("t", ()).is_ok()));
    };
    outer.on("t").handle(end_it).unwrap();
    outer.emit("t", ()).unwrap();
    until(|| handled.load(Ordering::Relaxed) == EVENTS);
    assert_eq!(end(&outer).failed, 0);
}

#[test]
fn a_handler_that_never_returns_is_reported_and_what_is_behind_it_becomes_dead_letters() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(2).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").handle(handler).unwrap();
    (0..5).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    let shutdown = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(SECOND)
    });
    until(|| {
        clock.advance(SECOND);
        shutdown.is_finished()
    });
    let report = shutdown.join().unwrap();
    assert!(!report.drained && report.lanes[0].abandoned && report.ledger.balanced(), "{report}\n{}", report.ledger);
    assert_eq!((report.left, bus.dead_letters().by_reason()["shutdown"]), (4, 4));
    drop(go);
    until(|| bus.ledger().deliveries().handled == 1);
    assert!(bus.ledger().balanced() && bus.ledger().deliveries().pending == 0, "{}", bus.ledger());
}

#[test]
#[cfg(target_os = "linux")]
fn buses_come_and_go_and_leave_no_thread_and_no_engine_behind() {
    let shared = WorkerPool::new(2).unwrap();
    let mut watched = Vec::new();
    for round in 0..50_u64 {
        let pool = if round % 3 == 0 { WorkerPool::new(4).unwrap() } else { shared.clone() };
        let bus = Bus::builder().worker_pool(&pool).lane(Lane::new("mail")).build().unwrap();
        let token = Arc::new(());
        watched.push(Arc::downgrade(&token));
        let keep = move |_: &Event<'_>| drop(Arc::clone(&token));
        bus.on("t").keep_order_per_key().handle(keep.clone()).unwrap();
        bus.on("t").lane("mail").timeout(SECOND).handle(keep).unwrap();
        (0..round % 7).for_each(|number| assert!(bus.event("t", number).key(number).emit().is_ok()));
        if round % 2 == 0 {
            end(&bus);
        }
    }
    until(|| watched.iter().all(|token| token.strong_count() == 0));
    drop(shared);
    // Of the 120 that were started in all; the other tests have a few.
    until(|| threads("nervebus-") < 40);
}

#[test]
fn a_pool_has_as_many_threads_after_its_stuck_ones_came_back_as_before() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(3).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).max_abandoned(1).build().unwrap();
    for _ in 0..4 {
        let (handler, begun, go) = held();
        let id = bus.on("stuck").timeout(SECOND).handle(handler).unwrap();
        // The second is one more than may be left.
        (0..2).for_each(|_| assert!(bus.emit("stuck", ()).is_ok()));
        for _ in 0..2 {
            begun.recv_timeout(GUARD).unwrap();
            clock.advance(SECOND);
        }
        until(|| !bus.stats().lanes[0].healthy);
        drop(go);
        until(|| bus.stats().lanes[0].healthy && bus.stats().lanes[0].stuck == 0);
        assert!(bus.unsubscribe(id));
    }
    // As many turns at once as there are threads, and no more.
    let buses: Vec<_> = (0..5).map(|_| Bus::builder().worker_pool(&pool).build().unwrap()).collect();
    let (handler, begun, go) = held();
    let handler = Arc::new(handler);
    for bus in &buses {
        let handler = Arc::clone(&handler);
        bus.on("t").handle(move |event| handler(event)).unwrap();
        bus.emit("t", ()).unwrap();
    }
    for _ in 0..3 {
        begun.recv_timeout(GUARD).unwrap();
    }
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(begun.try_recv().is_err(), "a fourth thread");
    drop(go);
    buses.iter().for_each(|bus| drop(end(bus)));
    end(&bus);
}

#[test]
fn the_audit_log_has_every_event_of_buses_that_share_a_thread() {
    let folder = std::env::temp_dir().join(format!("nervebus-combination-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pool = WorkerPool::new(1).unwrap();
    let paths: Vec<_> = (0..4).map(|number| folder.join(format!("{number}.jsonl"))).collect();
    let bus = |path| Bus::builder().worker_pool(&pool).audit(AuditLog::at(path)).build().unwrap();
    let buses: Vec<Bus> = paths.iter().map(bus).collect();
    buses.iter().for_each(|bus| assert!(bus.on("t").handle(|_| ()).is_ok()));
    for number in 0..200 {
        buses.iter().for_each(|bus| assert!(bus.emit("t", number).is_ok()));
    }
    for (bus, path) in buses.iter().zip(&paths) {
        assert_eq!(end(bus).handled, 200);
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 200);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn two_lanes_that_emit_to_each_other_share_one_thread() {
    const ROUNDS: u64 = 2_000;
    let pool = WorkerPool::new(1).unwrap();
    let lane = |name: &str| Lane::new(name).capacity(4).overflow(Overflow::Reject);
    let bus = Bus::builder().worker_pool(&pool).lane(lane("ping")).lane(lane("pong")).build().unwrap();
    for (from, to) in [("ping", "pong"), ("pong", "ping")] {
        let weak = bus.downgrade();
        let pass = move |event: &Event<'_>| {
            let left = *event.payload_as::<u64>().unwrap();
            if left > 0 {
                weak.upgrade().unwrap().emit(to, left - 1).unwrap();
            }
        };
        bus.on(from).lane(from).handle(pass).unwrap();
    }
    (0..2).for_each(|_| assert!(bus.emit("ping", ROUNDS).is_ok()));
    until(|| bus.ledger().deliveries().handled == 2 * (ROUNDS + 1));
    assert_eq!(end(&bus).failed, 0);
}
