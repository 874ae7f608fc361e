//! Emitting from tasks: the wait for room blocks nobody, loses no wake-up, and leaves no trace when it is given up.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

mod cancel;
mod stress;

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nervebus::{Builder, Bus, EmitAsync, EmitError, Event, Lane, ManualClock, Overflow};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const NANO: Duration = Duration::from_nanos(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A task that only counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn until(&self, times: usize) {
        until(|| self.times() >= times, "it is not woken");
    }
}

fn until(done: impl Fn() -> bool, what: &str) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < GUARD, "{what}");
        thread::yield_now();
    }
}

fn poll<F: Future + Unpin>(future: &mut F, task: &Arc<Woken>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(task));
    pin!(future).poll(&mut Context::from_waker(&waker))
}

/// Runs a future on this thread, which parks while it waits.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(thread::current()))));
    let since = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(GUARD);
        assert!(since.elapsed() < GUARD, "a wake-up was lost");
    }
}

/// One lane whose worker is busy with an event until told otherwise, and what it has begun since.
struct Held {
    topic: String,
    begun: Receiver<u64>,
    go: Sender<()>,
    /// What it has begun that somebody waited for.
    seen: RefCell<Vec<u64>>,
}

impl Held {
    /// Subscribes on the lane to its own name and to `all`, and gives it something to do.
    fn on(bus: &Bus, lane: &str) -> Self {
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
        let gone = Arc::new(Mutex::new(gone));
        for topic in [lane, "all"] {
            let (begin, gone) = (begin.clone(), Arc::clone(&gone));
            let handler = move |event: &Event<'_>| {
                begin.send(*event.payload_as::<u64>().unwrap()).unwrap();
                let _ = gone.lock().unwrap().recv();
            };
            bus.on(topic).lane(lane).handle(handler).unwrap();
        }
        bus.emit(lane, 0_u64).unwrap();
        assert_eq!(begun.recv_timeout(GUARD), Ok(0));
        Self { topic: lane.to_owned(), begun, go, seen: RefCell::default() }
    }

    /// Fills the ring with so many events, all of them 0.
    fn fill(self, bus: &Bus, events: usize) -> Self {
        (0..events).for_each(|_| assert_eq!(bus.try_emit(&self.topic, 0_u64).unwrap().admitted(), 1));
        self
    }

    /// Lets the worker end the event in hand and begin the next one, which frees a slot.
    fn free(&self) {
        self.go.send(()).unwrap();
        self.seen.borrow_mut().push(self.begun.recv_timeout(GUARD).unwrap());
    }
}

fn lane(name: &str, capacity: usize) -> Lane {
    Lane::new(name).capacity(capacity)
}

/// A bus with the lane `a`, which is busy and full.
fn full(capacity: usize, builder: Builder) -> (Bus, Held) {
    let bus = builder.lane(lane("a", capacity)).build().unwrap();
    let held = Held::on(&bus, "a").fill(&bus, capacity);
    (bus, held)
}

/// Lets everything run to its end; the books must be right. Returns what each lane began since, without the zeroes.
fn finish(bus: &Bus, helds: impl IntoIterator<Item = Held>) -> Vec<Vec<u64>> {
    let begun: Vec<_> = helds.into_iter().map(|held| (held.seen.into_inner(), held.begun)).collect();
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
    let all = |(mut seen, begun): (Vec<u64>, Receiver<u64>)| {
        seen.extend(begun.try_iter());
        seen.retain(|number| *number != 0);
        seen
    };
    begun.into_iter().map(all).collect()
}

#[test]
fn nothing_happens_before_the_first_poll_and_with_room_that_emits() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    drop(bus.emit_async("t", 1));
    assert_eq!(bus.ledger().emitted, 0);
    let task = Arc::default();
    let mut future = bus.emit_async("t", 2);
    assert!(matches!(poll(&mut future, &task), Poll::Ready(Ok(receipt)) if receipt.admitted() == 1));
    assert!(poll(&mut future, &task).is_pending(), "it is over, and emits no second time");
    assert_eq!((task.times(), bus.ledger().emitted), (0, 1));
}

#[test]
fn it_ends_as_emit_does_and_hands_the_payload_back() {
    let bus = Bus::builder().lane(lane("narrow", 1).overflow(Overflow::Reject)).build().unwrap();
    let held = Held::on(&bus, "narrow").fill(&bus, 1);
    let error = block_on(bus.emit_async("narrow", 7)).unwrap_err();
    assert!(matches!(error, EmitError::Full { lane, payload: 7 } if lane == "narrow"));
    assert!(matches!(block_on(bus.emit_async("no good", 8)), Err(EmitError::InvalidTopic { payload: 8, .. })));
    assert!(block_on(bus.emit_async("nobody", 9)).unwrap().is_unrouted());
    assert_eq!((bus.ledger().refused, bus.ledger().emitted), (2, 5));
    finish(&bus, [held]);
    assert!(matches!(block_on(bus.emit_async("nobody", 10)), Err(EmitError::Closed { payload: 10 })));
}

#[test]
fn the_first_free_slot_of_a_large_ring_wakes_it_and_what_was_taken_back_is_counted_nowhere() {
    let (bus, held) = full(1024, Bus::builder());
    let (before, task) = (bus.ledger(), Arc::default());
    let mut future = bus.emit_async("a", 1_u64);
    for _ in 0..3 {
        assert!(poll(&mut future, &task).is_pending());
    }
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.emitting), (before.emitted, 0, 0));
    assert!(ledger.balanced() && task.times() == 0, "{ledger}");
    held.free();
    task.until(1);
    assert!(matches!(poll(&mut future, &task), Poll::Ready(Ok(_))));
    assert_eq!((bus.ledger().emitted, bus.ledger().refused), (before.emitted + 1, 0));
    assert_eq!(finish(&bus, [held]), [[1]]);
}

#[test]
fn one_slot_wakes_one_of_those_who_wait_and_the_one_who_came_first() {
    let (bus, held) = full(1, Bus::builder());
    let tasks: Vec<Arc<Woken>> = (0..1_000).map(|_| Arc::default()).collect();
    let mut futures: Vec<_> = (1..=1_000_u64).map(|number| bus.emit_async("a", number)).collect();
    for (future, task) in futures.iter_mut().zip(&tasks) {
        assert!(poll(future, task).is_pending());
    }
    let woken = || tasks.iter().map(|task| task.times()).collect::<Vec<_>>();
    for turn in 0..3 {
        held.free();
        tasks[turn].until(1);
        let expected: Vec<_> = (0..1_000).map(|task| usize::from(task <= turn)).collect();
        assert_eq!(woken(), expected);
        assert!(matches!(poll(&mut futures[turn], &tasks[turn]), Poll::Ready(Ok(_))));
    }
    assert_eq!(woken().iter().sum::<usize>(), 3, "whoever gets in wakes nobody while there is no room");
    drop(futures);
    assert_eq!(finish(&bus, [held]), [[1, 2, 3]]);
}

#[test]
fn one_that_is_woken_and_dropped_passes_its_turn_on() {
    let (bus, held) = full(1, Bus::builder());
    let (first, second) = (Arc::default(), Arc::default());
    let (mut dropped, mut next) = (bus.emit_async("a", 1_u64), bus.emit_async("a", 2_u64));
    assert!(poll(&mut dropped, &first).is_pending() && poll(&mut next, &second).is_pending());
    held.free();
    first.until(1);
    assert_eq!(second.times(), 0);
    drop(dropped);
    assert_eq!(second.times(), 1, "the slot is for the next one");
    assert!(matches!(poll(&mut next, &second), Poll::Ready(Ok(_))));
    assert_eq!(finish(&bus, [held]), [[2]]);
}

#[test]
fn one_that_found_its_slot_taken_keeps_its_place_in_line() {
    let (bus, held) = full(1, Bus::builder());
    let (first, second) = (Arc::default(), Arc::default());
    let (mut one, mut two) = (bus.emit_async("a", 1_u64), bus.emit_async("a", 2_u64));
    assert!(poll(&mut one, &first).is_pending() && poll(&mut two, &second).is_pending());
    held.free();
    first.until(1);
    bus.try_emit("a", 3_u64).unwrap();
    assert!(poll(&mut one, &first).is_pending());
    held.free();
    first.until(2);
    assert_eq!(second.times(), 0);
    assert!(matches!(poll(&mut one, &first), Poll::Ready(Ok(_))));
    drop(two);
    assert_eq!(finish(&bus, [held]), [[3, 1]]);
}

#[test]
fn one_that_waits_for_two_lanes_does_not_keep_others_from_the_one_that_has_room() {
    let bus = Bus::builder().lane(lane("a", 1)).lane(lane("b", 1)).build().unwrap();
    let helds = ["a", "b"].map(|name| Held::on(&bus, name).fill(&bus, 1));
    let (first, second) = (Arc::default(), Arc::default());
    let (mut both, mut one) = (bus.emit_async("all", 1_u64), bus.emit_async("a", 2_u64));
    assert!(poll(&mut both, &first).is_pending() && poll(&mut one, &second).is_pending());
    helds[0].free();
    first.until(1);
    assert!(poll(&mut both, &first).is_pending(), "`b` is full");
    assert_eq!(second.times(), 1, "the slot in `a` is offered to the next");
    assert!(matches!(poll(&mut one, &second), Poll::Ready(Ok(_))));
    helds[1].free();
    first.until(2);
    assert!(poll(&mut both, &first).is_pending(), "now `a` is");
    helds[0].free();
    first.until(3);
    assert!(matches!(poll(&mut both, &first), Poll::Ready(Ok(receipt)) if receipt.admitted() == 2));
    assert_eq!(finish(&bus, helds), [vec![2, 1], vec![1]]);
}

#[test]
fn its_patience_ends_at_a_moment_of_the_bus_s_clock() {
    let clock = ManualClock::new();
    let narrow = lane("a", 1).overflow(Overflow::BlockFor(HOUR));
    let bus = Bus::builder().clock(&clock).lane(narrow).build().unwrap();
    let (held, task) = (Held::on(&bus, "a").fill(&bus, 1), Arc::default());
    let mut future = bus.emit_async("a", 7_u64);
    assert!(poll(&mut future, &task).is_pending());
    clock.advance(HOUR - NANO);
    assert!(poll(&mut future, &task).is_pending(), "a nanosecond is left");
    assert_eq!(task.times(), 0);
    clock.advance(NANO);
    task.until(1);
    let Poll::Ready(Err(error)) = poll(&mut future, &task) else { panic!("its time is up") };
    assert!(matches!(error, EmitError::Full { lane, payload: 7 } if lane == "a"));
    assert_eq!(bus.ledger().refused, 1);
    assert_eq!(finish(&bus, [held]), [[0; 0]]);
}

#[test]
fn a_shutdown_ends_the_wait_at_once_though_the_lane_is_stuck() {
    let (bus, held) = full(1, Bus::builder());
    let task = Arc::default();
    let mut future = bus.emit_async("a", 7);
    assert!(poll(&mut future, &task).is_pending());
    let closing = bus.clone();
    let closer = thread::spawn(move || closing.shutdown(GUARD));
    task.until(1);
    assert!(matches!(poll(&mut future, &task), Poll::Ready(Err(EmitError::Closed { payload: 7 }))));
    drop(future);
    assert_eq!(finish(&bus, [held]), [[0; 0]]);
    assert!(closer.join().unwrap().ledger.balanced());
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let (bus, held) = full(1, Bus::builder());
    let (old, new) = (Arc::default(), Arc::default());
    let mut future = bus.emit_async("a", 1_u64);
    assert!(poll(&mut future, &old).is_pending() && poll(&mut future, &new).is_pending());
    held.free();
    new.until(1);
    assert_eq!(old.times(), 0);
    drop(future);
    assert_eq!(finish(&bus, [held]), [[0; 0]]);
}

#[test]
fn it_can_be_moved_from_one_executor_to_another_while_it_waits() {
    let (bus, held) = full(1, Bus::builder());
    let (owner, task) = (bus.clone(), Arc::<Woken>::default());
    let mut future = Box::pin(async move { owner.emit_async("a", 1_u64).await });
    assert!(poll(&mut future, &task).is_pending());
    let (polled, is_polled) = mpsc::channel();
    let other = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let emit = tokio::spawn(future);
            tokio::task::yield_now().await;
            polled.send(()).unwrap();
            emit.await.unwrap()
        })
    });
    is_polled.recv_timeout(GUARD).unwrap();
    held.free();
    assert_eq!(other.join().unwrap().unwrap().admitted(), 1);
    assert_eq!(task.times(), 0);
    assert_eq!(finish(&bus, [held]), [[1]]);
}

#[test]
fn polled_by_a_worker_it_does_not_wait_for_a_lane() {
    let bus = Bus::builder().lane(lane("a", 1)).build().unwrap();
    let held = Held::on(&bus, "a").fill(&bus, 1);
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("outer", move |_| {
        let bus = weak.upgrade().unwrap();
        let polled = poll(&mut bus.emit_async("a", 7), &Arc::default());
        let Poll::Ready(Err(EmitError::Full { lane, payload })) = polled else { panic!("it waits") };
        sender.send((lane, payload)).unwrap();
    })
    .unwrap();
    bus.emit("outer", ()).unwrap();
    assert_eq!(results.recv_timeout(GUARD).unwrap(), ("a".to_owned(), 7));
    assert_eq!(bus.ledger().refused, 1);
    finish(&bus, [held]);
}

#[test]
fn a_task_that_panics_when_it_is_woken_does_not_stop_the_worker() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("not now");
        }
    }
    let (bus, held) = full(1, Bus::builder());
    let mut future = bus.emit_async("a", 1_u64);
    let waker = Waker::from(Arc::new(Panics));
    assert!(pin!(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
    held.free();
    assert!(block_on(future).is_ok());
    assert_eq!(finish(&bus, [held]), [[1]]);
}

#[test]
fn a_task_whose_last_owner_is_the_line_is_dropped_without_deadlock() {
    struct Task(Mutex<Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>>>);
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let (bus, held) = full(1, Bus::builder());
    let owner = bus.downgrade();
    let body = async move {
        let bus = owner.upgrade().unwrap();
        let _ = bus.emit_async("a", 1_u64).await;
    };
    let task = Arc::new(Task(Mutex::new(Some(Box::pin(body)))));
    let waker = Waker::from(Arc::clone(&task));
    let mut future = task.0.lock().unwrap().take().unwrap();
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    *task.0.lock().unwrap() = Some(future);
    drop((task, waker));
    held.free();
    assert_eq!(finish(&bus, [held]), [[0; 0]]);
}

#[test]
fn publishers_and_events_with_more_to_say_can_be_awaited_too() {
    let (bus, held) = full(2, Bus::builder());
    let (sources, seen) = mpsc::channel();
    bus.on("a").inline().handle(move |event| sources.send(event.source().map(str::to_owned)).unwrap()).unwrap();
    let (mut publisher, tasks) = (bus.publisher("a").unwrap(), [(); 2].map(|()| Arc::default()));
    let mut plain: EmitAsync<'_, u64> = publisher.emit_async(1);
    let mut rich = bus.event("a", 2_u64).source("shop").emit_async();
    assert!(poll(&mut plain, &tasks[0]).is_pending() && poll(&mut rich, &tasks[1]).is_pending());
    assert!(seen.try_recv().is_err(), "nobody has seen them");
    held.free();
    held.free();
    tasks.iter().for_each(|task| task.until(1));
    assert!(matches!(poll(&mut plain, &tasks[0]), Poll::Ready(Ok(_))));
    assert!(matches!(poll(&mut rich, &tasks[1]), Poll::Ready(Ok(_))));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [None, Some("shop".to_owned())]);
    assert_eq!(finish(&bus, [held]), [[1, 2]]);
}

/// A bus on which the inline handler of `all` takes the last slot of lane `a`, whose worker is busy.
fn taken_by_its_own_handler() -> (Bus, Held) {
    let bus = Bus::builder().lane(lane("a", 1)).build().unwrap();
    let (held, weak) = (Held::on(&bus, "a"), bus.downgrade());
    bus.on("all").inline().handle(move |_| drop(weak.upgrade().unwrap().emit("a", 5_u64))).unwrap();
    (bus, held)
}

#[test]
fn an_event_whose_slot_was_taken_after_others_had_seen_it_goes_in_at_the_next_one() {
    for is_dropped in [false, true] {
        let (bus, held) = taken_by_its_own_handler();
        let task = Arc::default();
        let mut future = bus.emit_async("all", 1_u64);
        for _ in 0..2 {
            assert!(poll(&mut future, &task).is_pending(), "it is not in the ring");
        }
        let mut next = bus.emit_async("a", 2_u64);
        assert!(poll(&mut next, &task).is_pending());
        if is_dropped {
            drop(future);
            held.free();
        } else {
            held.free();
            task.until(1);
            let Poll::Ready(Ok(receipt)) = poll(&mut future, &task) else { panic!("the worker has put it in") };
            assert_eq!((receipt.admitted(), receipt.refused(), receipt.inline().handled), (1, 0, 1));
        }
        assert!(poll(&mut next, &task).is_pending(), "nobody overtakes it");
        held.free();
        assert!(matches!(poll(&mut next, &task), Poll::Ready(Ok(_))));
        assert_eq!((bus.ledger().refused, bus.ledger().emitted), (0, 4));
        assert_eq!(finish(&bus, [held]), [[5, 1, 2]]);
    }
}

#[test]
fn an_event_that_waits_beside_the_ring_at_the_deadline_of_a_shutdown_is_left_over_like_one_inside() {
    let (bus, held) = taken_by_its_own_handler();
    let mut future = bus.emit_async("all", 1_u64);
    assert!(poll(&mut future, &Arc::default()).is_pending());
    let end = bus.shutdown(Duration::ZERO);
    assert_eq!((end.left, end.drained), (2, false), "{end}");
    assert!(end.ledger.balanced(), "{}", end.ledger);
    assert!(matches!(block_on(future), Ok(receipt) if receipt.admitted() == 1));
    assert_eq!(bus.dead_letters().len(), 2);
    drop(held.go);
}
