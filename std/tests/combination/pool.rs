//! A pool's lanes with all that lanes have: the order of keys, full lanes, futures.

use std::future::pending;
use std::task::{Context, Poll, Waker};
use std::thread;

use nervebus::{Bus, Event, Lane, ManualClock, Overflow, OwnedEvent, Reason, WorkerPool};

use super::held::held;
use super::until::until;
use super::{Done, GUARD, SECOND, end, retry, run, wide};

#[test]
fn the_order_of_keys_is_kept_through_failures_whichever_thread_has_the_turn() {
    const KEYS: u64 = 40;
    const EVENTS: u64 = 2_000;
    let clock = ManualClock::new();
    let pool = WorkerPool::new(3).unwrap();
    let lanes = || Lane::new("orders").workers(3).capacity(256);
    let buses: Vec<(Bus, Done)> = (0..3)
        .map(|_| {
            let bus = Bus::builder().clock(&clock).worker_pool(&pool).lane(lanes()).build().unwrap();
            let done = Done::default();
            let note = done.clone();
            let handler = move |event: &Event<'_>| {
                let number = *event.payload_as::<u64>().unwrap();
                // Each fifth fails twice; nothing of its key overtakes it.
                if number.is_multiple_of(5) && event.attempt() < 3 {
                    return Err("not yet");
                }
                note.note(number % KEYS, number);
                Ok(())
            };
            bus.on("t")
                .lane("orders")
                .timeout(SECOND * 3_600)
                .key_order(wide())
                .retry(retry(3))
                .handle(handler)
                .unwrap();
            (bus, done)
        })
        .collect();
    for number in 0..EVENTS {
        for (bus, _) in &buses {
            bus.event("t", number).key(number % KEYS).emit().unwrap();
        }
    }
    for (bus, done) in &buses {
        run(bus, &clock);
        for key in 0..KEYS {
            assert!(done.of(key).into_iter().eq((key..EVENTS).step_by(KEYS as usize)), "{:?}", done.of(key));
        }
        assert_eq!(end(bus).handled, EVENTS);
    }
}

#[test]
fn a_call_that_outlives_its_timeout_holds_up_its_key_on_the_next_thread() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    let (slow, begun, go) = held();
    let done = Done::default();
    let note = done.clone();
    let handler = move |event: &Event<'_>| {
        let number = *event.payload_as::<u64>().unwrap();
        if number == 0 && event.attempt() == 1 {
            slow(event);
        }
        note.note(number % 2, number);
    };
    bus.on("t").timeout(SECOND).keep_order_per_key().handle(handler).unwrap();
    (0..6_u64).for_each(|number| assert!(bus.event("t", number).key(number % 2).emit().is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    until(|| bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0));
    assert_eq!((done.of(0), done.of(1)), (vec![], vec![1, 3, 5]));
    let reasons: Vec<_> = bus.dead_letters().list().iter().map(|letter| letter.reason).collect();
    assert_eq!(reasons, [Reason::HandlerTimeout, Reason::Parked, Reason::Parked]);
    drop(go);
    until(|| bus.stats().lanes[0].late == 1);
    let first = bus.dead_letters().list()[0].id;
    bus.dead_letters().retry(first).unwrap();
    until(|| bus.dead_letters().is_empty());
    // The first of them twice: what its late call did was done.
    assert_eq!(done.of(0), [0, 0, 2, 4]);
    end(&bus);
}

#[test]
fn a_full_lane_of_a_pool_drops_its_oldest_or_refuses_and_counts_both() {
    let pool = WorkerPool::new(1).unwrap();
    for (overflow, dropped, refused) in [(Overflow::DropOldest, 6, 0), (Overflow::Reject, 0, 6)] {
        let lane = Lane::new("small").capacity(4).overflow(overflow);
        let bus = Bus::builder().worker_pool(&pool).lane(lane).build().unwrap();
        let (handler, begun, go) = held();
        bus.on("t").lane("small").keep_order_per_key().handle(handler).unwrap();
        bus.event("t", ()).key("k").emit().unwrap();
        begun.recv_timeout(GUARD).unwrap();
        let taken = (0..10).filter(|_| bus.event("t", ()).key("k").emit().is_ok()).count();
        assert_eq!(taken, 10 - refused);
        drop(go);
        let report = end(&bus);
        let all = report.ledger.deliveries();
        assert_eq!((all.handled, all.dropped, report.ledger.refused), (5, dropped, refused as u64));
    }
}

#[test]
fn who_awaits_room_in_a_lane_of_a_pool_gets_it() {
    const TASKS: u64 = 3;
    const EVENTS: u64 = 500;
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().worker_pool(&pool).lane(Lane::new("small").capacity(2)).build().unwrap();
    let done = Done::default();
    let note = done.clone();
    let handler = move |event: &Event<'_>| {
        let number = *event.payload_as::<u64>().unwrap();
        note.note(number % TASKS, number);
    };
    bus.on("t").lane("small").handle(handler).unwrap();
    thread::scope(|scope| {
        for task in 0..TASKS {
            let bus = &bus;
            scope.spawn(move || {
                for number in 0..EVENTS {
                    let mut emit = Box::pin(bus.emit_async("t", number * TASKS + task));
                    until(|| match emit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Ready(emitted) => emitted.is_ok(),
                        Poll::Pending => false,
                    });
                }
            });
        }
    });
    assert_eq!(end(&bus).handled, TASKS * EVENTS);
    (0..TASKS).for_each(|task| assert!(done.of(task).is_sorted()));
}

#[test]
fn a_future_that_outlives_its_timeout_gives_its_thread_back() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    let other = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    let wait = |event: OwnedEvent| async move {
        if event.as_event().attempt() < 3 {
            pending::<()>().await;
        }
    };
    bus.on("t").timeout(SECOND).retry(retry(3)).keep_order_per_key().handle_async(wait).unwrap();
    other.on("t").handle(|_| ()).unwrap();
    for number in 0..4 {
        bus.event("t", number).key("k").emit().unwrap();
        other.emit("t", number).unwrap();
    }
    run(&bus, &clock);
    run(&other, &clock);
    assert_eq!((end(&bus).handled, end(&other).handled), (4, 4));
}

#[test]
fn a_shutdown_drops_the_future_that_a_lane_of_a_pool_waits_for() {
    let clock = ManualClock::new();
    let pool = WorkerPool::new(1).unwrap();
    let bus = Bus::builder().clock(&clock).worker_pool(&pool).build().unwrap();
    bus.on("t").handle_async(|_| pending::<()>()).unwrap();
    (0..3).for_each(|number| assert!(bus.emit("t", number).is_ok()));
    let shutdown = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(SECOND)
    });
    until(|| {
        clock.advance(SECOND);
        shutdown.is_finished()
    });
    assert!(!shutdown.join().unwrap().drained);
    until(|| bus.ledger().deliveries().pending == 0);
    assert!(bus.ledger().balanced(), "{}", bus.ledger());
    let other = Bus::builder().worker_pool(&pool).build().unwrap();
    other.on("t").handle(|_| ()).unwrap();
    assert!(other.emit_and_wait("t", ()).unwrap().all_handled(), "the thread is free");
    end(&other);
}
