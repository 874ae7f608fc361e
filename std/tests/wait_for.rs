//! Waiting for an event: the first one that fits ends the wait, or its moment of the clock does.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/until.rs"]
mod until;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Event, ManualClock, SubscribeError, WaitError};

use until::{GUARD, until};

const HOUR: Duration = Duration::from_secs(60 * 60);
const NANO: Duration = Duration::from_nanos(1);

fn is_even(event: &Event<'_>) -> bool {
    event.payload_as::<u64>().is_some_and(|number| number % 2 == 0)
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Task {
    fn woken(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

/// A task, and its waker.
fn task() -> (Arc<Task>, Waker) {
    let task = Arc::<Task>::default();
    (Arc::clone(&task), task.into())
}

/// What a thread ends with, if it does.
fn end_of<T>(thread: thread::JoinHandle<T>) -> T {
    until(|| thread.is_finished());
    thread.join().unwrap()
}

#[test]
fn the_first_event_that_matches_and_fits_ends_the_wait() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    bus.emit("a.b", 0_u64).unwrap();
    let waiting = thread::spawn({
        let bus = bus.clone();
        move || bus.wait_for("a.*", is_even, HOUR)
    });
    until(|| clock.waiting() > 0);
    for (topic, number) in [("a.b", 1_u64), ("b.a", 2), ("a.c", 4), ("a.b", 6)] {
        bus.emit(topic, number).unwrap();
    }
    let event = end_of(waiting).unwrap();
    assert_eq!((event.topic(), event.payload_as()), ("a.c", Some(&4_u64)));
    until(|| bus.stats().subscriptions.is_empty());
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_wait_ends_at_its_moment_of_the_clock_and_not_a_nanosecond_before() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let waiting = thread::spawn({
        let bus = bus.clone();
        move || bus.wait_for("t", is_even, HOUR).unwrap_err()
    });
    until(|| clock.waiting() > 0);
    bus.emit("t", 1_u64).unwrap();
    clock.advance(HOUR - NANO);
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!waiting.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    assert_eq!(end_of(waiting), WaitError::TimedOut);
    assert_eq!((bus.stats().subscriptions.len(), clock.waiting()), (0, 0), "nothing is left of it");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_task_that_waits_is_woken_by_the_event_and_gets_it_whole() {
    let bus = Bus::builder().build().unwrap();
    let (task, waker) = task();
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(bus.wait_for_async("t", is_even, HOUR));
    bus.emit("t", 1_u64).unwrap();
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(!task.woken());
    bus.event("t", 2_u64).source("here").emit().unwrap();
    assert!(task.woken());
    let Poll::Ready(Ok(event)) = waiting.as_mut().poll(&mut context) else { panic!("it was woken for nothing") };
    assert_eq!((event.payload_as(), event.source()), (Some(&2_u64), Some("here")));
    assert!(bus.stats().subscriptions.is_empty());
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_task_sees_what_came_before_it_was_polled() {
    let bus = Bus::builder().build().unwrap();
    let waiting = pin!(bus.wait_for_async("t", is_even, HOUR));
    bus.emit("t", 2_u64).unwrap();
    assert!(waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn a_task_that_waits_is_woken_at_its_moment_of_the_clock() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (task, waker) = task();
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(bus.wait_for_async("t", is_even, HOUR));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    clock.advance(HOUR - NANO);
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!task.woken() && waiting.as_mut().poll(&mut context).is_pending(), "a nanosecond is left");
    clock.advance(NANO);
    until(|| task.woken());
    assert!(matches!(waiting.poll(&mut context), Poll::Ready(Err(WaitError::TimedOut))));
    assert!(bus.stats().subscriptions.is_empty());
}

#[test]
fn dropping_the_future_unsubscribes_it() {
    let bus = Bus::builder().build().unwrap();
    let waiting = bus.wait_for_async("t", |_| true, HOUR);
    assert_eq!(bus.stats().subscriptions.len(), 1);
    drop(waiting);
    assert!(bus.emit("t", ()).unwrap().is_unrouted());
}

#[test]
fn a_shutdown_ends_all_waits() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (task, waker) = task();
    let mut context = Context::from_waker(&waker);
    let mut waiting = pin!(bus.wait_for_async("t", |_| true, HOUR));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let thread = thread::spawn({
        let bus = bus.clone();
        move || bus.wait_for("t", |_| true, HOUR).unwrap_err()
    });
    until(|| clock.waiting() > 0);
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert_eq!(end_of(thread), WaitError::Closed);
    assert!(task.woken());
    assert!(matches!(waiting.poll(&mut context), Poll::Ready(Err(WaitError::Closed))));
    assert_eq!(bus.wait_for("t", |_| true, HOUR).unwrap_err(), WaitError::Subscribe(SubscribeError::Closed));
}

#[test]
fn a_predicate_that_panics_has_failed_and_the_wait_goes_on() {
    let bus = Bus::builder().build().unwrap();
    let fits = |event: &Event<'_>| {
        assert!(event.payload().is_u64(), "not a number");
        true
    };
    let waiting = bus.wait_for_async("t", fits, HOUR);
    bus.emit("t", "text").unwrap();
    bus.emit("t", 2_u64).unwrap();
    assert_eq!(waiting.wait().unwrap().payload_as(), Some(&2_u64));
    assert_eq!(bus.dead_letters().list()[0].error, "panicked: not a number");
    let report = bus.shutdown(GUARD);
    assert!(report.ledger.balanced());
    assert_eq!((report.handled, report.failed), (1, 1));
}

#[test]
fn the_worker_of_a_lane_may_not_wait_and_keeps_no_subscription() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.on("t")
        .handle(move |_| {
            let bus = weak.upgrade().unwrap();
            sender.send((bus.wait_for("u", |_| true, HOUR).unwrap_err(), bus.stats().subscriptions.len())).unwrap();
        })
        .unwrap();
    bus.emit("t", ()).unwrap();
    assert_eq!(results.recv_timeout(GUARD).unwrap(), (WaitError::WouldDeadlock, 1));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}
