//! Many tasks and threads at once: nobody waits for ever, and nothing is lost or doubled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;

use nervebus::{Bus, Event, Receipt, WaitStrategy};

use super::{GUARD, block_on, lane, poll};

#[test]
fn ten_thousand_tasks_get_through_a_lane_of_sixteen_slots_each_in_its_order() {
    const TASKS: u64 = if cfg!(miri) { 50 } else { 10_000 };
    let bus = Bus::builder().lane(lane("narrow", 16)).build().unwrap();
    let seen: Arc<Mutex<HashMap<u64, Vec<u64>>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let handler = move |event: &Event<'_>| {
        let (task, number) = *event.payload_as::<(u64, u64)>().unwrap();
        noted.lock().unwrap().entry(task).or_default().push(number);
    };
    bus.on("t").lane("narrow").handle(handler).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let bus = bus.clone();
                tokio::spawn(async move {
                    for number in 0..3_u64 {
                        bus.emit_async("t", (task, number)).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    assert_eq!((end.ledger.emitted, end.ledger.refused, end.handled), (TASKS * 3, 0, TASKS * 3));
    let seen = seen.lock().unwrap();
    assert!(seen.len() as u64 == TASKS && seen.values().all(|numbers| *numbers == [0, 1, 2]));
}

/// Every slot that the worker frees is news for the one who waits; if one look is missing, this hangs.
#[test]
fn no_wake_up_is_lost_between_a_look_and_a_pop() {
    const EVENTS: u64 = if cfg!(miri) { 100 } else { 20_000 };
    for (threads, capacity) in [(1, 1), (1, 2), (3, 1), (3, 4)] {
        let bus = Bus::builder().lane(lane("narrow", capacity).wait(WaitStrategy::Spin)).build().unwrap();
        // Each event takes a little longer than the one before, so that pops fall between any two steps of an emitter.
        let handler = |event: &Event<'_>| (0..event.seq() % 512).for_each(|_| std::hint::spin_loop());
        bus.on("t").lane("narrow").handle(handler).unwrap();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..EVENTS).for_each(|number| assert!(block_on(bus.emit_async("t", number)).is_ok())));
            }
        });
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{end}");
        assert_eq!((end.ledger.emitted, end.ledger.refused, end.handled), (threads * EVENTS, 0, threads * EVENTS));
    }
}

#[test]
fn threads_and_tasks_share_two_lanes_and_lose_nothing() {
    const EVENTS: u64 = if cfg!(miri) { 50 } else { 5_000 };
    let bus = Bus::builder().lane(lane("a", 2)).lane(lane("b", 3)).build().unwrap();
    for (topic, name) in [("a", "a"), ("b", "b"), ("both", "a"), ("both", "b")] {
        bus.on(topic).lane(name).handle(|_| ()).unwrap();
    }
    let emit = |topic: &'static str, number: u64| -> Receipt {
        // Some are given up while they wait, and come again; with two lanes, one that is given up may have come in.
        let mut future = bus.emit_async(topic, number);
        match poll(&mut future, &Arc::default()) {
            Poll::Ready(done) => return done.unwrap(),
            Poll::Pending if number.is_multiple_of(3) && topic != "both" => drop(future),
            Poll::Pending => return block_on(future).unwrap(),
        }
        block_on(bus.emit_async(topic, number)).unwrap()
    };
    thread::scope(|scope| {
        for topic in ["a", "b", "both", "both"] {
            scope.spawn(move || (0..EVENTS).for_each(|number| assert_eq!(emit(topic, number).refused(), 0)));
        }
        scope.spawn(|| (0..EVENTS).for_each(|number| assert_eq!(bus.emit("a", number).unwrap().admitted(), 1)));
    });
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    assert_eq!((end.ledger.emitted, end.ledger.refused), (5 * EVENTS, 0));
    assert_eq!(end.handled, 7 * EVENTS);
}
