use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::watchdog::AGAIN;
use crate::platform::manual_clock::ManualClock;
use crate::{Builder, Bus, Event, WorkerPool};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < GUARD, "{what}");
        thread::yield_now();
    }
}

/// A bus whose worker is stuck in its first event, with another waiting, and whose system starts no more threads for a
/// number of times.
fn stuck(clock: &ManualClock, refusals: u64) -> (Bus, mpsc::Sender<()>) {
    stuck_in(Bus::builder(), clock, refusals)
}

fn stuck_in(builder: Builder, clock: &ManualClock, refusals: u64) -> (Bus, mpsc::Sender<()>) {
    let bus = builder.self_check(Duration::ZERO).clock(clock).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        let _ = begin.send(());
        if event.seq() == 1 {
            let _ = gone.lock().unwrap().recv();
        }
    };
    bus.on("t").timeout(SECOND).handle(handler).unwrap();
    bus.on("t").priority(1).handle(|_| ()).unwrap();
    bus.engine().queues[0].watch.refuse.store(refusals, Ordering::Relaxed);
    bus.emit("t", 1).unwrap();
    bus.emit("t", 2).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (bus, go)
}

#[test]
fn a_worker_that_cannot_be_started_is_tried_again_until_it_can() {
    let clock = ManualClock::new();
    let (bus, go) = stuck(&clock, 3);
    let (sender, records) = mpsc::channel();
    let copy = move |event: &Event<'_>| sender.send((event.topic().to_owned(), event["error"].to_string())).unwrap();
    bus.on("system.lane_unhealthy").inline().handle(copy.clone()).unwrap();
    bus.on("system.lane_recovered").inline().handle(copy).unwrap();
    clock.advance(SECOND);
    for tries in 1..=3 {
        until("nobody tries", || bus.stats().lanes[0].not_started == tries && bus.engine().timer.pending() > 0);
        until("the lane does not say so", || !bus.stats().lanes[0].healthy);
        assert_eq!(bus.stats().lanes[0].handled, 0, "nobody serves the lane");
        clock.advance(AGAIN);
    }
    until("the lane does not recover", || bus.stats().pending == 0);
    let said: Vec<_> = records.try_iter().collect();
    assert_eq!(said.len(), 2, "once an episode: {said:?}");
    assert_eq!(said[0], ("system.lane_unhealthy".into(), r#""cannot start a worker: no more threads""#.into()));
    assert_eq!(said[1].0, "system.lane_recovered");
    drop(go);
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!((report.handled, report.timed_out), (5, 1), "2 of the 5 by the handlers of records");
}

#[test]
fn a_stuck_handler_that_returns_serves_the_lane_that_got_no_worker() {
    let clock = ManualClock::new();
    let (bus, go) = stuck(&clock, u64::MAX);
    clock.advance(SECOND);
    until("nobody tries", || bus.stats().lanes[0].not_started == 1 && bus.engine().timer.pending() > 0);
    drop(go);
    until("the lane does not recover", || bus.stats().pending == 0);
    let lane = &bus.stats().lanes[0];
    assert_eq!((lane.healthy, lane.stuck, lane.late, lane.not_started), (true, 0, 1, 1));
    clock.advance(AGAIN);
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!((report.handled, report.timed_out, bus.stats().lanes[0].not_started), (3, 1, 1));
}

#[test]
fn a_pool_that_gets_no_thread_in_place_of_a_stuck_one_asks_again_for_all_its_lanes() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let (bus, go) = stuck_in(Bus::builder().worker_pool(&pool), &clock, 2);
    let other = Bus::builder().worker_pool(&pool).build().unwrap();
    other.on("t").handle(|_| ()).unwrap();
    other.emit("t", 1).unwrap();
    clock.advance(SECOND);
    for tries in 1..=2 {
        until("nobody tries", || bus.stats().lanes[0].not_started == tries && bus.engine().timer.pending() > 0);
        assert_eq!((bus.stats().lanes[0].handled, other.stats().lanes[0].handled), (0, 0));
        clock.advance(AGAIN);
    }
    until("the pool does not go on", || bus.stats().pending == 0 && other.stats().pending == 0);
    drop(go);
    until("the stuck one does not come back", || bus.stats().lanes[0].late == 1);
    for bus in [&bus, &other] {
        let report = bus.shutdown(GUARD);
        assert!(report.drained && report.ledger.balanced(), "{report}");
    }
}

#[test]
fn nothing_is_planned_while_no_call_has_a_timeout_and_one_look_a_lane_while_calls_have() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).self_check(Duration::ZERO).build().unwrap();
    bus.on("free").handle(|_| ()).unwrap();
    assert!(bus.emit_and_wait("free", 1).unwrap().all_handled());
    assert_eq!(bus.engine().timer.pending(), 0);
    let (weak, hour) = (Arc::downgrade(bus.engine()), Duration::from_secs(60 * 60));
    let most = Arc::new(Mutex::new(0));
    let noted = Arc::clone(&most);
    bus.on("t").timeout(hour).handle(|_| ()).unwrap();
    bus.on("t")
        .timeout(SECOND)
        .handle(move |_| {
            let pending = weak.upgrade().unwrap().timer.pending();
            let mut most = noted.lock().unwrap();
            *most = pending.max(*most);
        })
        .unwrap();
    for _ in 0..100 {
        assert!(bus.emit_and_wait("t", 1).unwrap().all_handled());
        clock.advance(SECOND);
    }
    assert_eq!(*most.lock().unwrap(), 1);
    clock.advance(hour);
    until("somebody still looks", || bus.engine().timer.pending() == 0);
}
