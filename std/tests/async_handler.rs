//! Async handlers: in order with all others, isolated as all others, and ended when the bus is.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/drops.rs"]
mod drops;
#[path = "support/gate.rs"]
mod gate;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Bus, Lane, ManualClock, OwnedEvent, Reason, SubscribeError, json};

use drops::{Drops, lose_my_head};
use gate::{Gate, give_way};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn plain_and_async_handlers_run_by_priority_and_events_in_order() {
    let bus = Bus::builder().build().unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    for (name, priority) in [("first", 200), ("third", 50)] {
        let calls = Arc::clone(&calls);
        bus.on("t").priority(priority).handle(move |event| calls.lock().unwrap().push((event.seq(), name))).unwrap();
    }
    let log = Arc::clone(&calls);
    let handler = move |event: OwnedEvent| {
        let log = Arc::clone(&log);
        async move {
            give_way().await;
            log.lock().unwrap().push((event.seq(), "second"));
            give_way().await;
        }
    };
    bus.on("t").priority(100).handle_async(handler).unwrap();
    for number in 0..100 {
        bus.emit("t", number).unwrap();
    }
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    let expected: Vec<_> = (1..=100).flat_map(|seq| [(seq, "first"), (seq, "second"), (seq, "third")]).collect();
    assert_eq!(*calls.lock().unwrap(), expected);
    assert_eq!(report.handled, 300);
}

#[test]
fn a_future_that_waits_holds_up_its_lane_and_no_other_until_another_thread_wakes_it() {
    let bus = Bus::builder().lane(Lane::new("other")).build().unwrap();
    let (gate, (sender, ended)) = (Gate::default(), mpsc::channel());
    let (pass, log) = (gate.clone(), sender.clone());
    bus.on("t")
        .handle_async(move |event: OwnedEvent| {
            let (pass, log) = (pass.clone(), log.clone());
            async move {
                pass.pass().await;
                log.send(event.payload_as::<u32>().copied()).unwrap();
            }
        })
        .unwrap();
    bus.on("t").lane("other").handle(move |_| sender.send(None)).unwrap();
    bus.emit("t", 7_u32).unwrap();
    bus.emit("t", 8_u32).unwrap();
    assert_eq!([(); 2].map(|()| ended.recv_timeout(GUARD).unwrap()), [None; 2], "the other lane goes on");
    assert!(ended.try_recv().is_err());
    gate.open();
    assert_eq!([(); 2].map(|()| ended.recv_timeout(GUARD).unwrap()), [Some(7), Some(8)]);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn errors_and_panics_in_closure_and_future_are_counted_like_those_of_plain_handlers() {
    let bus = Bus::builder().build().unwrap();
    let on = |name| bus.on("t").name(name);
    on("error").handle_async(|_| async { Err("no") }).unwrap();
    on("panic, late")
        .handle_async(|_| async {
            give_way().await;
            lose_my_head("late");
        })
        .unwrap();
    on("panic, early")
        .handle_async(|event: OwnedEvent| {
            assert!(event["calm"].is_null(), "early");
            async {}
        })
        .unwrap();
    on("good").handle_async(|_| async { Ok::<(), String>(()) }).unwrap();
    let report = bus.emit_and_wait("t", json!({"calm": 1})).unwrap();
    let told =
        |result: &Result<(), _>| result.as_ref().err().map(|error: &Arc<nervebus::HandlerError>| error.to_string());
    let told: Vec<_> =
        report.outcomes.iter().map(|outcome| (outcome.handler.to_string(), told(&outcome.result))).collect();
    let some = |text: &str| Some(text.to_owned());
    let expected = [
        ("error", some("no")),
        ("panic, late", some("panicked: late")),
        ("panic, early", some("panicked: early")),
        ("good", None),
    ];
    assert_eq!(told, expected.map(|(name, error)| (name.to_owned(), error)));
    assert_eq!(bus.dead_letters().len(), 3);
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!((report.handled, report.failed), (1, 3));
}

#[test]
fn a_future_that_panics_when_it_is_dropped_hurts_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let bus = Bus::builder().build().unwrap();
    let handler = |_| {
        let bomb = Bomb;
        // The future owns the bomb and never touches it: it goes off when the future is dropped.
        poll_fn(move |_| {
            let _ = &bomb;
            Poll::Ready(())
        })
    };
    bus.on("t").handle_async(handler).unwrap();
    let report = [(); 2].map(|()| bus.emit_and_wait("t", ()).unwrap().all_handled());
    assert_eq!(report, [true; 2], "it had ended well, and its lane goes on");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn what_is_emitted_after_an_await_has_its_cause_and_correlation() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, effects)) = (bus.downgrade(), mpsc::channel());
    bus.on("cause")
        .handle_async(move |_| {
            let bus = weak.upgrade().unwrap();
            async move {
                give_way().await;
                bus.emit("effect", ()).map(drop).map_err(|error| error.to_string())
            }
        })
        .unwrap();
    bus.on("effect").inline().handle_owned(move |event| sender.send(event)).unwrap();
    let cause = bus.event("cause", ()).correlation_id("request 1").emit().unwrap();
    let effect = effects.recv_timeout(GUARD).unwrap();
    assert_eq!((effect.causation(), effect.correlation_id()), (Some(cause.seq()), Some("request 1")));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_shutdown_drops_futures_at_its_deadline_and_accounts_for_them() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (gone, (begin, begun)) = (Arc::<AtomicBool>::default(), mpsc::channel());
    let drops = Mutex::new(Some(Drops(Arc::clone(&gone))));
    let id = bus
        .on("t")
        .name("endless")
        .handle_async(move |_| {
            let drops = drops.lock().unwrap().take();
            begin.send(()).unwrap();
            async move {
                let _drops = drops;
                std::future::pending::<()>().await;
            }
        })
        .unwrap();
    bus.emit("t", 1).unwrap();
    bus.emit("t", 2).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let closing = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(HOUR)
    });
    let since = Instant::now();
    while clock.waiting() == 0 {
        assert!(since.elapsed() < GUARD);
        thread::yield_now();
    }
    clock.advance(HOUR - Duration::from_nanos(1));
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!gone.load(Ordering::Relaxed) && !closing.is_finished(), "a nanosecond is left");
    clock.advance(Duration::from_nanos(1));
    let report = closing.join().unwrap();
    assert!(gone.load(Ordering::Relaxed), "the future is gone");
    assert_eq!((report.failed, report.left, report.lanes[0].abandoned), (1, 1, false), "{report}");
    assert!(report.ledger.balanced(), "{}", report.ledger);
    let letters = bus.dead_letters().by_reason();
    assert_eq!(letters.values().sum::<usize>(), 2, "{letters:?}");
    let failed = bus.dead_letters().list().into_iter().find(|letter| letter.reason == Reason::HandlerError).unwrap();
    assert_eq!(failed.subscription, Some(id));
    assert_eq!(failed.error, "the bus shut down before the handler had ended");
    assert!(begun.try_recv().is_err(), "the second was never begun");
}

#[test]
fn an_async_handler_cannot_be_inline() {
    let bus = Bus::builder().build().unwrap();
    let error = bus.on("t").inline().handle_async(|_| async {}).unwrap_err();
    assert_eq!(error, SubscribeError::AsyncInline);
    assert!(bus.emit("t", ()).unwrap().is_unrouted(), "nothing was subscribed");
}

#[cfg(feature = "tokio")]
mod tokio_runtime {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    /// Whether a handler on the bus can use what only a runtime has.
    fn has_runtime(bus: &Bus) -> bool {
        bus.on("t").handle_async(|_| async { tokio::spawn(async {}).await }).unwrap();
        let handled = bus.emit_and_wait("t", ()).unwrap().all_handled();
        assert!(bus.shutdown(GUARD).ledger.balanced());
        handled
    }

    #[test]
    fn handlers_use_the_runtime_that_the_builder_was_given() {
        let runtime = runtime();
        assert!(has_runtime(&Bus::builder().runtime(runtime.handle().clone()).build().unwrap()));
    }

    #[test]
    fn handlers_use_the_runtime_in_which_the_bus_was_built() {
        let runtime = runtime();
        let bus = {
            let _inside = runtime.enter();
            Bus::builder().build().unwrap()
        };
        assert!(has_runtime(&bus));
    }

    #[test]
    fn without_a_runtime_its_resources_are_missing_and_the_handler_fails() {
        assert!(!has_runtime(&Bus::builder().build().unwrap()));
    }
}
