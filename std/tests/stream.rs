//! Events as a stream: nothing is lost that fits, what does not is counted, and no reader sleeps through an event.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_core::Stream;
use nervebus::{Bus, EventStream, ManualClock, OwnedEvent, RecvError, SubscribeError};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Reads the next event as a task does. A wake-up that is lost ends the test.
fn next(stream: &mut EventStream) -> Option<OwnedEvent> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let since = Instant::now();
    loop {
        match Pin::new(&mut *stream).poll_next(&mut context) {
            Poll::Ready(event) => return event,
            Poll::Pending => thread::park_timeout(GUARD),
        }
        assert!(since.elapsed() < GUARD, "nobody woke the reader");
    }
}

fn number(event: &OwnedEvent) -> u64 {
    *event.payload_as().unwrap()
}

#[test]
fn a_stream_gives_the_events_of_its_pattern_from_its_beginning_on_and_in_order() {
    let bus = Bus::builder().build().unwrap();
    bus.emit("a.b", 0_u64).unwrap();
    let mut stream = bus.stream("a.*").unwrap();
    for number in 1..=5_u64 {
        bus.emit(if number == 3 { "b.a" } else { "a.b" }, number).unwrap();
    }
    assert_eq!((stream.len(), stream.missed()), (4, 0));
    let events: Vec<_> = std::iter::from_fn(|| stream.try_next()).map(|event| number(&event)).collect();
    assert_eq!(events, [1, 2, 4, 5]);
    assert!(stream.try_next().is_none() && stream.is_empty());
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn when_the_reader_is_too_slow_the_oldest_make_way_and_are_counted() {
    let bus = Bus::builder().build().unwrap();
    let mut stream = bus.on("t").stream(3).unwrap();
    for number in 1..=5_u64 {
        bus.emit("t", number).unwrap();
    }
    assert_eq!((stream.missed(), stream.take_missed(), stream.take_missed()), (2, 2, 0));
    let rest: Vec<_> = std::iter::from_fn(|| stream.try_next()).map(|event| number(&event)).collect();
    assert_eq!(rest, [3, 4, 5]);
    for number in 1..=4_u64 {
        bus.emit("t", number).unwrap();
    }
    assert_eq!((stream.take_missed(), stream.missed()), (1, 3));
    let report = bus.shutdown(GUARD);
    assert!(report.ledger.balanced());
    assert_eq!(report.handled, 9, "each went into the stream");
}

#[test]
fn capacities_out_of_range_are_refused() {
    let bus = Bus::builder().build().unwrap();
    for value in [0, (1 << 20) + 1] {
        let error = bus.on("t").stream(value).unwrap_err();
        let expected =
            SubscribeError::OutOfRange { field: "stream.capacity".into(), value: value as u64, min: 1, max: 1 << 20 };
        assert_eq!(error, expected);
    }
    assert!(matches!(bus.stream("a..b").unwrap_err(), SubscribeError::InvalidPattern { .. }));
    assert!(bus.emit("t", ()).unwrap().is_unrouted(), "nothing was subscribed");
}

#[test]
fn a_task_that_reads_sleeps_through_no_event() {
    const EACH: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    const EMITTERS: u64 = 2;
    let bus = Bus::builder().build().unwrap();
    let mut stream = bus.on("t").stream(1 << 20).unwrap();
    let emitters: Vec<_> = (0..EMITTERS)
        .map(|emitter| {
            let bus = bus.clone();
            thread::spawn(move || {
                for number in 0..EACH {
                    bus.emit("t", emitter * EACH + number).unwrap();
                    if number % 7 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut last = [None; EMITTERS as usize];
    for _ in 0..EACH * EMITTERS {
        let number = number(&next(&mut stream).unwrap());
        let last = &mut last[(number / EACH) as usize];
        assert!(*last < Some(number), "in order for each emitter");
        *last = Some(number);
    }
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    assert!(stream.is_empty() && stream.missed() == 0);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn after_a_shutdown_a_stream_gives_what_is_inside_and_then_ends() {
    let bus = Bus::builder().build().unwrap();
    let mut stream = bus.stream("*").unwrap();
    bus.on("t").handle(|_| Err("no")).unwrap();
    bus.emit("t", 1_u64).unwrap();
    assert!(bus.shutdown(GUARD).ledger.balanced());
    let topics: Vec<_> = std::iter::from_fn(|| next(&mut stream)).map(|event| event.topic().to_owned()).collect();
    assert_eq!(topics, ["t", "system.handler_error"], "also what the bus says while it drains");
    assert!(next(&mut stream).is_none() && stream.recv().is_none());
    assert_eq!(stream.recv_timeout(HOUR).unwrap_err(), RecvError::Closed);
    assert!(bus.stream("*").is_err());
}

#[test]
fn readers_that_sleep_are_woken_when_the_last_handle_is_dropped() {
    let bus = Bus::builder().build().unwrap();
    let (mut task, mut thread) = (bus.stream("t").unwrap(), bus.stream("t").unwrap());
    let (sender, ended) = mpsc::channel();
    let other = sender.clone();
    thread::spawn(move || other.send(next(&mut task).is_none()).unwrap());
    thread::spawn(move || sender.send(thread.recv().is_none()).unwrap());
    drop(bus);
    assert_eq!([(); 2].map(|()| ended.recv_timeout(GUARD)), [Ok(true); 2]);
}

#[test]
fn a_thread_waits_for_an_event_until_its_moment_of_the_clock() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let mut stream = bus.stream("t").unwrap();
    let (sender, results) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut wait = || sender.send(stream.recv_timeout(HOUR).map(|event| number(&event))).unwrap();
        wait();
        wait();
    });
    let until_waiting = || {
        let since = Instant::now();
        while clock.waiting() == 0 {
            assert!(since.elapsed() < GUARD);
            thread::yield_now();
        }
    };
    until_waiting();
    bus.emit("t", 7_u64).unwrap();
    assert_eq!(results.recv_timeout(GUARD).unwrap(), Ok(7), "the clock stands still");
    until_waiting();
    clock.advance(HOUR - Duration::from_nanos(1));
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(results.try_recv().is_err(), "a nanosecond is left");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(results.recv_timeout(GUARD).unwrap(), Err(RecvError::TimedOut));
    reader.join().unwrap();
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn dropping_a_stream_unsubscribes_it_and_lets_its_events_go() {
    #[derive(serde::Serialize)]
    struct Counted {
        #[serde(skip)]
        drops: Arc<AtomicUsize>,
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            self.drops.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (bus, drops) = (Bus::builder().build().unwrap(), Arc::<AtomicUsize>::default());
    // It keeps the old route until it emits again.
    let mut publisher = bus.publisher("t").unwrap();
    let stream = bus.stream("t").unwrap();
    publisher.emit(Counted { drops: Arc::clone(&drops) }).unwrap();
    publisher.emit(Counted { drops: Arc::clone(&drops) }).unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(stream);
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    assert!(bus.emit("t", ()).unwrap().is_unrouted());
    assert_eq!(bus.stats().subscriptions.len(), 0);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_task_may_change_between_polls() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let bus = Bus::builder().build().unwrap();
    let mut stream = bus.stream("t").unwrap();
    let tasks = [(); 2].map(|()| Arc::new(Count(AtomicUsize::new(0))));
    for task in &tasks {
        let waker = Waker::from(Arc::clone(task));
        let mut poll = std::pin::pin!(poll_fn(|context| Pin::new(&mut stream).poll_next(context)));
        assert!(poll.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    bus.emit("t", 1_u64).unwrap();
    assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [0, 1], "the last one to ask is woken");
    assert!(stream.try_next().is_some());
}
