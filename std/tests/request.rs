//! Requests: one answer each, or a reason why there is none, by its moment of the clock.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/until.rs"]
mod until;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use nervebus::{Breaker, Bus, EmitError, Event, Lane, ManualClock, Overflow, RequestError, Retry};

use until::{GUARD, until};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// A hundred years.
const AGE: Duration = Duration::from_secs(60 * 60 * 24 * 36_525);
const NANO: Duration = Duration::from_nanos(1);

fn double(event: &Event<'_>) -> Result<u64, &'static str> {
    event.payload_as::<u64>().map(|number| number * 2).ok_or("not a number")
}

/// A responder that says when it begins, and answers when told or when nobody is left to tell it.
fn held() -> (impl Fn(&Event<'_>) -> Result<u64, String> + Send + Sync + 'static, Receiver<()>, Sender<()>) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
        Ok(double(event)?)
    };
    (handler, begun, go)
}

#[derive(Default)]
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Asks on a thread of its own.
fn asking(bus: &Bus) -> thread::JoinHandle<Result<u64, RequestError<u64>>> {
    let bus = bus.clone();
    thread::spawn(move || bus.request("t", 21, HOUR))
}

/// What a thread ends with, if it does.
fn end_of<T>(thread: thread::JoinHandle<T>) -> T {
    until(|| thread.is_finished());
    thread.join().unwrap()
}

#[test]
fn a_request_is_answered_on_a_lane_and_inline() {
    let bus = Bus::builder().build().unwrap();
    bus.on("lane").answer(double).unwrap();
    bus.on("inline").inline().answer(double).unwrap();
    for topic in ["lane", "inline"] {
        assert_eq!(bus.request::<_, u64>(topic, 21_u64, HOUR).unwrap(), 42);
    }
    let report = bus.shutdown(GUARD);
    assert!(report.ledger.balanced());
    assert_eq!((report.handled, report.ledger.routed), (2, 2), "each is an event like any other");
}

#[test]
fn who_answers_a_pattern_answers_the_first_request_on_a_new_topic() {
    let bus = Bus::builder().build().unwrap();
    bus.on("math.*").answer(double).unwrap();
    assert_eq!(bus.request::<_, u64>("math.double", 21_u64, HOUR).unwrap(), 42);
}

#[test]
fn the_first_answer_wins_and_all_handlers_run() {
    let bus = Bus::builder().lane(Lane::new("slow")).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").lane("slow").answer(handler).unwrap();
    bus.on("t").answer(|_| Ok::<_, String>(1_u64)).unwrap();
    bus.on("t").priority(1).answer(|_| Ok::<_, String>(2_u64)).unwrap();
    bus.on("t").handle(|_| ()).unwrap();
    assert_eq!(bus.request::<_, u64>("t", 21_u64, HOUR).unwrap(), 1);
    begun.recv_timeout(GUARD).unwrap();
    go.send(()).unwrap();
    let report = bus.shutdown(GUARD);
    assert!(report.ledger.balanced());
    assert_eq!(report.handled, 4);
}

#[test]
fn without_a_responder_a_request_comes_back_at_once_and_is_not_emitted() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").handle(|_| ()).unwrap();
    for topic in ["t", "nobody.knows"] {
        let error = bus.request::<_, u64>(topic, 21_u64, HOUR).unwrap_err();
        assert!(matches!(error, RequestError::NoResponder { payload: 21 }), "{error}");
    }
    let error = bus.request::<_, u64>("a..b", 21_u64, HOUR).unwrap_err();
    assert!(matches!(error, RequestError::Emit(EmitError::InvalidTopic { payload: 21, .. })), "{error}");
    assert_eq!(bus.ledger().emitted, 0);
}

#[test]
fn a_request_ends_at_its_moment_of_the_clock_and_the_late_answer_is_dropped() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").answer(handler).unwrap();
    let asking = asking(&bus);
    begun.recv_timeout(GUARD).unwrap();
    until(|| clock.waiting() > 0);
    clock.advance(HOUR - NANO);
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!asking.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    assert!(matches!(end_of(asking), Err(RequestError::TimedOut)));
    go.send(()).unwrap();
    let report = bus.shutdown(GUARD);
    assert!(report.ledger.balanced());
    assert_eq!(report.handled, 1, "the handler did what it should");
}

#[test]
fn a_request_fails_when_all_responders_have_failed_and_not_before() {
    let bus = Bus::builder().build().unwrap();
    bus.on("one").answer(|_| -> Result<u64, String> { panic!("lost my head") }).unwrap();
    bus.on("two").priority(200).answer(|_| Err::<u64, _>("first")).unwrap();
    bus.on("two").answer(|_| Err::<u64, _>("second")).unwrap();
    bus.on("three").priority(200).answer(|_| Err::<u64, _>("first")).unwrap();
    bus.on("three").answer(double).unwrap();
    let ask = |topic| bus.request::<_, u64>(topic, 21_u64, HOUR);
    let failed = |result: Result<u64, RequestError<u64>>| match result {
        Err(RequestError::Failed { error }) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed(ask("one")), "panicked: lost my head");
    assert_eq!(failed(ask("two")), "second");
    assert_eq!(ask("three").unwrap(), 42);
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert_eq!(bus.dead_letters().len(), 4, "each failure is one as any");
}

#[test]
fn an_answer_of_another_type_is_named() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").answer(double).unwrap();
    let error = bus.request::<_, String>("t", 21_u64, HOUR).unwrap_err();
    assert_eq!(error.to_string(), "the answer is of type u64, not alloc::string::String");
}

#[test]
fn who_is_unsubscribed_before_its_turn_leaves_the_request_unanswered() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.on("busy").answer(handler).unwrap();
    let responder = bus.on("t").answer(double).unwrap();
    bus.emit("busy", 1_u64).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    let asking = asking(&bus);
    until(|| bus.stats().lanes[0].len == 1);
    bus.unsubscribe(responder);
    go.send(()).unwrap();
    assert!(matches!(end_of(asking), Err(RequestError::Unanswered)), "and nobody waits for an hour");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_full_lane_refuses_a_request_and_the_payload_comes_back() {
    let lane = Lane::new("default").capacity(1).overflow(Overflow::Reject);
    let bus = Bus::builder().default_lane(lane).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").answer(handler).unwrap();
    bus.emit("t", 1_u64).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2_u64).unwrap();
    let error = bus.request::<_, u64>("t", 21_u64, HOUR).unwrap_err();
    assert!(matches!(error, RequestError::Emit(EmitError::Full { payload: 21, .. })), "{error}");
    drop(go);
    assert!(bus.shutdown(GUARD).ledger.balanced());
    let error = bus.request::<_, u64>("t", 21_u64, HOUR).unwrap_err();
    assert!(matches!(error, RequestError::Emit(EmitError::Closed { payload: 21 })), "{error}");
}

#[test]
fn a_handler_may_ask_another_lane_and_not_its_own() {
    let bus = Bus::builder().lane(Lane::new("other")).build().unwrap();
    bus.on("own").answer(double).unwrap();
    bus.on("else").lane("other").answer(double).unwrap();
    let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
    bus.on("ask")
        .handle(move |_| {
            let bus = weak.upgrade().unwrap();
            let ask = |topic| bus.request::<_, u64>(topic, 21_u64, HOUR).map_err(|error| error.to_string());
            sender.send((ask("own"), ask("else"))).unwrap();
        })
        .unwrap();
    bus.emit("ask", ()).unwrap();
    let (own, other) = results.recv_timeout(GUARD).unwrap();
    assert_eq!(own.unwrap_err(), r#"a handler of lane "default" cannot wait for handlers of that lane"#);
    assert_eq!(other, Ok(42));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_shutdown_at_its_deadline_ends_the_request_too() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").answer(handler).unwrap();
    let asking = asking(&bus);
    begun.recv_timeout(GUARD).unwrap();
    until(|| clock.waiting() > 0);
    let report = bus.shutdown(Duration::ZERO);
    assert!(report.ledger.balanced() && report.lanes[0].abandoned);
    assert!(matches!(end_of(asking), Err(RequestError::Closed)));
    drop(go);
}

#[test]
fn a_task_that_asks_is_woken_by_the_answer_or_at_its_moment() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").answer(handler).unwrap();
    let task = Arc::<Task>::default();
    let waker = Waker::from(Arc::clone(&task));
    let mut context = Context::from_waker(&waker);

    let mut asking = pin!(bus.request_async::<_, u64>("t", 21_u64, HOUR));
    begun.recv_timeout(GUARD).unwrap();
    assert!(asking.as_mut().poll(&mut context).is_pending() && !task.0.load(Ordering::Acquire));
    go.send(()).unwrap();
    until(|| task.0.swap(false, Ordering::AcqRel));
    assert!(matches!(asking.poll(&mut context), Poll::Ready(Ok(42))));

    let mut asking = pin!(bus.request_async::<_, u64>("t", 21_u64, HOUR));
    assert!(asking.as_mut().poll(&mut context).is_pending());
    clock.advance(HOUR);
    until(|| task.0.load(Ordering::Acquire));
    assert!(matches!(asking.poll(&mut context), Poll::Ready(Err(RequestError::TimedOut))));
    drop(go);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn an_answer_to_an_event_that_is_no_request_goes_nowhere() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").answer(double).unwrap();
    assert!(bus.emit_and_wait("t", 21_u64).unwrap().all_handled());
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

/// What a request that failed was told.
fn told(result: Result<u64, RequestError<u64>>) -> String {
    match result {
        Err(RequestError::Failed { error }) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_responder_that_is_tried_again_fails_when_its_attempts_are_used_up_and_not_before() {
    let bus = Bus::builder().build().unwrap();
    let retry = || Retry::exponential(Duration::from_millis(1)).attempts(3);
    let fails_until = |attempt| {
        move |event: &Event<'_>| match event.attempt() {
            now if now < attempt => Err(format!("attempt {now}")),
            _ => Ok(double(event)?),
        }
    };
    bus.on("last").retry(retry()).answer(fails_until(3)).unwrap();
    bus.on("never").retry(retry()).answer(fails_until(9)).unwrap();
    bus.on("hopeless").retry(retry().only_if(|_| false)).answer(fails_until(2)).unwrap();
    bus.on("two").retry(retry()).answer(fails_until(9)).unwrap();
    bus.on("two").answer(fails_until(9)).unwrap();
    let ask = |topic| bus.request::<_, u64>(topic, 21_u64, GUARD);
    assert_eq!(ask("last").unwrap(), 42);
    assert_eq!(told(ask("never")), "attempt 3");
    assert_eq!(told(ask("hopeless")), "attempt 1");
    assert_eq!(told(ask("two")), "attempt 3", "the other one failed first");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn an_open_breaker_ends_a_request_at_once_unless_another_can_answer() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).lane(Lane::new("other")).build().unwrap();
    let breaker = Breaker::new("far").failures(1).reset_after(HOUR);
    let fails = |_: &Event<'_>| Err::<u64, _>("down");
    bus.on("trip").breaker(&breaker).answer(fails).unwrap();
    assert_eq!(told(bus.request("trip", 21_u64, HOUR)), "down");
    let closed = r#"not called: breaker "far" is open"#;
    assert_eq!(told(bus.request("trip", 21_u64, HOUR)), closed);

    let retry = Retry::exponential(Duration::from_millis(1)).attempts(1);
    bus.on("put.off").breaker(&breaker).retry(retry).answer(fails).unwrap();
    assert_eq!(told(bus.request("put.off", 21_u64, AGE)), closed, "the clock stands still");

    // One declines, and another one is still to answer.
    let (handler, begun, go) = held();
    bus.on("put.off").lane("other").answer(handler).unwrap();
    let asking = thread::spawn({
        let bus = bus.clone();
        move || bus.request::<_, u64>("put.off", 21_u64, AGE)
    });
    begun.recv_timeout(GUARD).unwrap();
    until(|| bus.ledger().lanes.iter().map(|lane| lane.retrying).sum::<u64>() == 2);
    until(|| {
        clock.advance(HOUR);
        bus.dead_letters().len() == 4
    });
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!asking.is_finished(), "who has declined is not counted again when it fails");
    go.send(()).unwrap();
    assert_eq!(end_of(asking).unwrap(), 42);
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_responder_that_does_not_return_in_time_has_failed() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").timeout(Duration::from_secs(1)).answer(handler).unwrap();
    let asking = asking(&bus);
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(told(end_of(asking)), "did not return within 1s");
    drop(go);
    until(|| bus.shutdown(GUARD).ledger.balanced());
}
