//! Emitting from tasks: the wait for room blocks nobody, loses no wake-up, and leaves no trace when it is given up.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use nervebus::{Builder, Bus, EmitAsync, EmitError, Event, Lane, ManualClock, Overflow, Receipt};

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

/// A payload that holds up the audit log while it is written, and says when that begins.
struct Slow(Arc<(Sender<()>, Mutex<Receiver<()>>)>);

impl serde::Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (begin, gone) = &*self.0;
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
        serializer.serialize_none()
    }
}

/// A folder that is gone at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Polls an emit to `lanes` full lanes until it has been polled `polls` times or is ready, frees one lane after each poll,
/// and drops it. Returns whether it was ready, and what each lane has handled of it.
fn poll_and_drop(lanes: usize, with_audit: bool, polls: usize) -> (bool, Vec<usize>) {
    let folder = Folder::new(&format!("emit-async-{lanes}-{with_audit}-{polls}"));
    let names = &["a", "b", "c"][..lanes];
    let mut builder = names.iter().fold(Bus::builder(), |builder, name| builder.lane(lane(name, 1)));
    let log = folder.0.join("events.jsonl");
    if with_audit {
        builder = builder.audit(nervebus::AuditLog::at(&log).capacity(1));
    }
    let bus = builder.build().unwrap();
    let mut helds = Vec::new();
    for name in names {
        let held = Held::on(&bus, name);
        if with_audit {
            until(|| bus.stats().audit.unwrap().lag == 0, "the log is not written");
        }
        helds.push(held.fill(&bus, 1));
        if with_audit {
            until(|| bus.stats().audit.unwrap().lag == 0, "the log is not written");
        }
    }
    let ((begin, begun), (audit_go, gone)) = (mpsc::channel(), mpsc::channel());
    if with_audit {
        bus.emit("slow", Slow(Arc::new((begin, Mutex::new(gone))))).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        bus.emit("nobody", 0).unwrap();
    }
    let (before, task, mut is_ready) = (bus.ledger().emitted, Arc::<Woken>::default(), false);
    let mut audit_go = Some(audit_go);
    let mut future = bus.emit_async("all", 1_u64);
    for turn in 0..polls {
        let woken = task.times();
        if let Poll::Ready(receipt) = poll(&mut future, &task) {
            assert_eq!(receipt.unwrap().admitted(), lanes);
            is_ready = true;
            break;
        }
        match helds.get(turn) {
            Some(held) => held.free(),
            None => drop(audit_go.take()),
        }
        task.until(woken + 1);
    }
    drop(future);
    assert_eq!(bus.ledger().emitted, before + u64::from(is_ready));
    drop(audit_go);
    let handled = finish(&bus, helds).into_iter().map(|seen| seen.len()).collect();
    if with_audit {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().filter(|line| line.contains(r#""event_type":"all""#)).count();
        assert_eq!(lines, usize::from(is_ready));
    }
    (is_ready, handled)
}

#[test]
fn dropped_at_any_await_it_has_emitted_to_all_or_to_nobody() {
    for (lanes, with_audit) in [(1, false), (2, false), (3, false), (1, true), (3, true)] {
        let waits = lanes + usize::from(with_audit);
        for polls in 0..=waits + 1 {
            let (is_ready, handled) = poll_and_drop(lanes, with_audit, polls);
            let case = format!("{lanes} lanes, audit {with_audit}, {polls} polls");
            assert_eq!(is_ready, polls > waits, "{case}");
            assert_eq!(handled, vec![usize::from(is_ready); lanes], "{case}");
        }
    }
}

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

/// Every slot that the worker frees is news for the one who waits; if one look is missing, this hangs.
#[test]
fn no_wake_up_is_lost_between_a_look_and_a_pop() {
    const EVENTS: u64 = if cfg!(miri) { 100 } else { 20_000 };
    for (threads, capacity) in [(1, 1), (1, 2), (3, 1), (3, 4)] {
        let bus = Bus::builder().lane(lane("narrow", capacity)).build().unwrap();
        bus.on("t").lane("narrow").handle(|_| ()).unwrap();
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
        // Some are given up while they wait, and come again.
        let mut future = bus.emit_async(topic, number);
        match poll(&mut future, &Arc::default()) {
            Poll::Ready(done) => return done.unwrap(),
            Poll::Pending if number.is_multiple_of(3) => drop(future),
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
