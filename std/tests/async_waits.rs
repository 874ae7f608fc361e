//! Waiting for handlers and for a shutdown from tasks: nobody's thread is held up, and whoever goes away misses nothing but
//! the account.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{
    Builder, Bus, BusRegistry, EmitAndWaitAsync, EmitAsync, EmitError, Event, Lane, ManualClock, Report, ShutdownAsync,
};

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
    fn until(&self, times: usize) {
        let since = Instant::now();
        while self.0.load(Ordering::SeqCst) < times {
            assert!(since.elapsed() < GUARD, "it is not woken");
            thread::yield_now();
        }
    }
}

fn poll<F: Future + Unpin>(future: &mut F, task: &Arc<Woken>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(task));
    pin!(future).poll(&mut Context::from_waker(&waker))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// A bus whose default lane is busy with an event on `t` until told otherwise.
fn stuck(builder: Builder) -> (Bus, Receiver<u64>, Sender<()>) {
    let bus = builder.build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        let _ = begin.send(event.seq());
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("t").name("held").handle(handler).unwrap();
    bus.emit("t", 0).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (bus, begun, go)
}

fn told(report: &Report) -> Vec<(&str, bool)> {
    report.outcomes.iter().map(|outcome| (&*outcome.handler, outcome.result.is_ok())).collect()
}

#[test]
fn the_outcome_of_every_handler_is_awaited() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).build().unwrap();
    bus.on("t").lane("a").name("good").handle(|_| ()).unwrap();
    bus.on("t").lane("b").name("bad").handle(|_| Err("as it must")).unwrap();
    bus.on("t").inline().name("inline").handle(|_| ()).unwrap();
    let report = runtime().block_on(bus.emit_and_wait_async("t", 1)).unwrap();
    let mut told = told(&report);
    told.sort_unstable();
    assert_eq!(told, [("bad", false), ("good", true), ("inline", true)]);
    assert_eq!((report.receipt.admitted(), report.unfinished, report.not_delivered), (2, 0, 0));
}

#[test]
fn it_is_woken_when_the_last_handler_has_answered_and_its_thread_is_free_meanwhile() {
    let (bus, begun, go) = stuck(Bus::builder());
    let task = Arc::default();
    let mut future = bus.event("t", 1).source("shop").emit_and_wait_async();
    assert!(poll(&mut future, &task).is_pending());
    go.send(()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    assert!(poll(&mut future, &task).is_pending(), "its handler has only begun");
    go.send(()).unwrap();
    task.until(1);
    let Poll::Ready(Ok(report)) = poll(&mut future, &task) else { panic!("it was woken for nothing") };
    assert_eq!(told(&report), [("held", true)]);
    assert!(poll(&mut future, &task).is_pending(), "it is over");
}

#[test]
fn the_wait_limit_is_a_moment_of_the_bus_s_clock_for_the_handlers_and_for_the_room() {
    let clock = ManualClock::new();
    let narrow = Bus::builder().clock(&clock).wait_limit(HOUR).default_lane(Lane::new("narrow").capacity(1));
    let (bus, _begun, go) = stuck(narrow);
    let (waits, blocked) = (Arc::default(), Arc::default());
    let mut inside = bus.emit_and_wait_async("t", 1);
    let mut outside = bus.emit_and_wait_async("t", 2);
    assert!(poll(&mut inside, &waits).is_pending() && poll(&mut outside, &blocked).is_pending());
    assert_eq!(bus.ledger().emitted, 2, "one of them got in");
    clock.advance(HOUR - NANO);
    assert!(poll(&mut inside, &waits).is_pending() && poll(&mut outside, &blocked).is_pending());
    clock.advance(NANO);
    waits.until(1);
    blocked.until(1);
    let Poll::Ready(Ok(report)) = poll(&mut inside, &waits) else { panic!("its time is up") };
    assert_eq!((report.unfinished, report.outcomes.len()), (1, 0));
    let Poll::Ready(Err(error)) = poll(&mut outside, &blocked) else { panic!("its time is up") };
    assert!(matches!(error, EmitError::Full { lane, payload: 2 } if lane == "narrow"));
    drop(go);
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    assert_eq!((end.handled, end.ledger.refused), (2, 1));
}

#[test]
fn attempts_that_were_taken_back_are_no_deliveries_that_were_missed() {
    let lanes = Bus::builder().default_lane(Lane::new("narrow").capacity(1)).lane(Lane::new("wide"));
    let (bus, begun, go) = stuck(lanes);
    bus.on("t").lane("wide").name("wide").handle(|_| ()).unwrap();
    bus.emit("t", 1).unwrap();
    let task = Arc::default();
    let mut future = bus.emit_and_wait_async("t", 2);
    for _ in 0..3 {
        assert!(poll(&mut future, &task).is_pending());
    }
    go.send(()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    task.until(1);
    assert!(poll(&mut future, &task).is_pending(), "it is in, and waits for its handlers");
    drop(go);
    let report = runtime().block_on(future).unwrap();
    assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (2, 0, 0));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn dropped_while_its_handlers_are_at_work_it_is_delivered_all_the_same() {
    let (bus, _begun, go) = stuck(Bus::builder());
    let mut future = bus.emit_and_wait_async("t", 1);
    assert!(poll(&mut future, &Arc::default()).is_pending());
    drop(future);
    drop(go);
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    assert_eq!((end.handled, end.ledger.emitted), (2, 2));
}

#[test]
fn a_handler_that_would_await_its_own_lane_is_refused() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("inner", |_| ()).unwrap();
    bus.subscribe("outer", move |_| {
        let bus = weak.upgrade().unwrap();
        let polled = poll(&mut bus.emit_and_wait_async("inner", 7), &Arc::default());
        sender.send(matches!(polled, Poll::Ready(Err(EmitError::WouldDeadlock { payload: 7, .. })))).unwrap();
    })
    .unwrap();
    bus.emit("outer", ()).unwrap();
    assert_eq!(results.recv_timeout(GUARD), Ok(true));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_shutdown_that_is_awaited_leaves_the_thread_to_the_tasks_that_it_waits_for() {
    let (bus, _begun, go) = stuck(Bus::builder());
    let report = runtime().block_on(async {
        let shutdown = bus.shutdown_async(GUARD);
        assert!(bus.emit("t", 1).unwrap_err().is_closed(), "it has begun");
        let other = tokio::spawn(async move { drop(go) });
        let report = shutdown.await;
        other.await.unwrap();
        report
    });
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!(report.handled, 1);
}

#[test]
fn a_shutdown_goes_on_when_its_future_is_dropped() {
    let (bus, _begun, go) = stuck(Bus::builder());
    bus.emit("t", 1).unwrap();
    let mut future = bus.shutdown_async(GUARD);
    assert!(poll(&mut future, &Arc::default()).is_pending());
    drop(future);
    drop(go);
    let since = Instant::now();
    while bus.ledger().deliveries().handled < 2 {
        assert!(since.elapsed() < GUARD && bus.emit("t", 2).unwrap_err().is_closed());
        thread::yield_now();
    }
    assert!(bus.shutdown(GUARD).drained);
}

#[test]
fn the_deadline_of_an_awaited_shutdown_is_a_moment_of_the_bus_s_clock() {
    let clock = ManualClock::new();
    let (bus, _begun, go) = stuck(Bus::builder().clock(&clock));
    bus.emit("t", 1).unwrap();
    let (mut future, task) = (bus.shutdown_async(HOUR), Arc::default());
    assert!(poll(&mut future, &task).is_pending());
    while clock.waiting() == 0 {
        thread::yield_now();
    }
    clock.advance(HOUR);
    task.until(1);
    let Poll::Ready(report) = poll(&mut future, &task) else { panic!("its time is up") };
    assert_eq!((report.drained, report.left, report.lanes[0].abandoned), (false, 1, true), "{report}");
    assert!(report.ledger.balanced());
    drop(go);
}

#[test]
fn a_handler_that_shuts_its_bus_down_has_the_report_at_once() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("t", move |_| {
        let mut future = weak.upgrade().unwrap().shutdown_async(GUARD);
        sender.send(poll(&mut future, &Arc::default()).is_ready()).unwrap();
    })
    .unwrap();
    bus.emit("t", ()).unwrap();
    assert_eq!(results.recv_timeout(GUARD), Ok(true));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn emitters_that_wait_hear_of_an_awaited_shutdown() {
    let (bus, _begun, go) = stuck(Bus::builder().default_lane(Lane::new("narrow").capacity(1)));
    bus.emit("t", 1).unwrap();
    let task = Arc::default();
    let mut waits = bus.emit_async("t", 2);
    assert!(poll(&mut waits, &task).is_pending());
    let shutdown = bus.shutdown_async(GUARD);
    task.until(1);
    assert!(matches!(poll(&mut waits, &task), Poll::Ready(Err(EmitError::Closed { payload: 2 }))));
    drop(go);
    let report = runtime().block_on(shutdown);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!((report.ledger.refused, report.handled), (1, 2));
}

#[test]
fn a_registry_s_shutdown_can_be_awaited() {
    let registry = BusRegistry::new(4).unwrap();
    for name in ["b", "a"] {
        let bus = registry.create(name, Bus::builder).unwrap();
        bus.subscribe("t", |_| ()).unwrap();
        bus.emit("t", 1).unwrap();
    }
    let future = registry.shutdown_all_async(GUARD);
    assert!(registry.create("c", Bus::builder).is_err(), "it has begun");
    let reports = runtime().block_on(future);
    assert_eq!(reports.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(reports.iter().all(|(_, report)| report.drained && report.handled == 1 && report.ledger.balanced()));
}

#[test]
fn the_futures_can_be_sent_to_other_threads() {
    fn can<T: Send + Unpin>() {}
    can::<EmitAsync<'_, String>>();
    can::<EmitAndWaitAsync<'_, String>>();
    can::<ShutdownAsync>();
}
