//! Sagas: what is asked in which order, what is undone, and what goes on after a restart.
#![cfg(feature = "durable")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/until.rs"]
mod until;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use folder::Folder;
use nervebus::{
    Bus, DurableLog, Lane, ManualClock, Retry, Saga, SagaError, SagaHandle, SagaState, Scope, Step, TraceContext,
    Value, json,
};
use until::{GUARD, until};

const SECOND: Duration = Duration::from_secs(1);

fn build(folder: &Folder, clock: &ManualClock) -> Bus {
    let log = DurableLog::at(folder.path().join("log")).topics("trip.*").buffer(1 << 20);
    let lanes = [Lane::new("sagas").workers(2), Lane::new("slow")];
    lanes.into_iter().fold(Bus::builder().clock(clock).durable(log), |bus, lane| bus.lane(lane)).build().unwrap()
}

/// What was asked: the topic, and the key.
type Asked = Arc<Mutex<Vec<String>>>;

/// Somebody who answers requests of a topic as the request's `data` says: it fails where that has an error for the topic.
fn answer(bus: &Bus, topic: &'static str, asked: &Asked) {
    let asked = Arc::clone(asked);
    let answer = move |request: &nervebus::Event<'_>| {
        asked.lock().unwrap().push(format!("{topic} {}", request["key"].as_str().unwrap()));
        match request["data"][topic].as_str() {
            None => Ok(json!({"of": topic, "before": request["results"].as_object().unwrap().len()})),
            Some(error) => Err(error.to_owned()),
        }
    };
    bus.on(topic).answer(answer).unwrap();
}

fn trip() -> Saga {
    Saga::new("trip.booking")
        .step(Step::new("flight", "book-flight").undo("cancel-flight").timeout(SECOND))
        .step(Step::new("insurance", "insure").timeout(SECOND))
        .step(Step::new("hotel", "book-hotel").undo("cancel-hotel").timeout(SECOND).attempts(2))
        .lane("sagas")
        .retry(Retry::exponential(Duration::from_millis(1)).max_delay(Duration::from_millis(1)).attempts(3))
}

/// A bus with everybody who answers, and the saga.
fn start(folder: &Folder, clock: &ManualClock, asked: &Asked) -> (Bus, SagaHandle) {
    let bus = build(folder, clock);
    for topic in ["book-flight", "cancel-flight", "insure", "book-hotel", "cancel-hotel"] {
        answer(&bus, topic, asked);
    }
    let trips = trip().start(&bus).unwrap();
    (bus, trips)
}

fn end(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

/// Waits until it is so, while retries are due at once.
fn state(clock: &ManualClock, trips: &SagaHandle, id: &str, state: SagaState) {
    until(|| {
        clock.advance(Duration::from_millis(1));
        trips.status(id).is_some_and(|trip| trip.state == state)
    });
}

#[test]
fn its_steps_are_done_one_after_the_other_and_each_knows_the_answers_before() {
    let folder = Folder::of("saga-done");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let (bus, trips) = start(&folder, &clock, &asked);
    assert_eq!(trips.status("t1"), None);
    trips.begin("t1", json!({})).unwrap();
    let trip = trips.wait("t1", GUARD).unwrap();
    assert_eq!((trip.state, trip.step, trip.failure), (SagaState::Completed, None, None));
    assert_eq!(trip.results["hotel"], json!({"of": "book-hotel", "before": 2}));
    let keys =
        ["book-flight trip.booking/t1/flight", "insure trip.booking/t1/insurance", "book-hotel trip.booking/t1/hotel"];
    assert_eq!(*asked.lock().unwrap(), keys);
    end(&bus);
}

#[test]
fn a_step_that_fails_is_undone_with_those_before_it_the_last_one_first() {
    let folder = Folder::of("saga-undone");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let (bus, trips) = start(&folder, &clock, &asked);
    trips.begin("t1", json!({"book-hotel": "no room"})).unwrap();
    state(&clock, &trips, "t1", SagaState::Undone);
    let (step, error) = trips.status("t1").unwrap().failure.unwrap();
    assert!(step == "hotel" && error.contains("no room"), "{error}");
    let asked: Vec<String> =
        asked.lock().unwrap().iter().map(|asked| asked.split(' ').next().unwrap().into()).collect();
    let all = ["book-flight", "insure", "book-hotel", "book-hotel", "cancel-hotel", "cancel-flight"];
    assert_eq!(asked, all, "twice, for it has two attempts");
    end(&bus);
}

#[test]
fn a_step_that_nobody_was_asked_to_do_is_not_undone() {
    let folder = Folder::of("saga-nobody");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let bus = build(&folder, &clock);
    for topic in ["book-flight", "cancel-flight", "insure", "cancel-hotel"] {
        answer(&bus, topic, &asked);
    }
    let trips = trip().start(&bus).unwrap();
    trips.begin("t1", json!({})).unwrap();
    state(&clock, &trips, "t1", SagaState::Undone);
    assert!(asked.lock().unwrap().iter().all(|asked| !asked.starts_with("cancel-hotel")));
    assert_eq!(asked.lock().unwrap().last().unwrap(), "cancel-flight trip.booking/t1/flight");
    end(&bus);
}

#[test]
fn a_step_that_is_not_answered_in_time_is_undone_too() {
    let folder = Folder::of("saga-late");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let bus = build(&folder, &clock);
    answer(&bus, "cancel-flight", &asked);
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    let never = move |_: &nervebus::Event<'_>| {
        begin.send(()).unwrap();
        let _ = gone.lock().unwrap().recv();
        Ok::<Value, String>(Value::Null)
    };
    bus.on("book-flight").lane("slow").answer(never).unwrap();
    let trips = trip().start(&bus).unwrap();
    trips.begin("t1", json!({})).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    until(|| clock.waiting() > 0);
    clock.advance(SECOND - Duration::from_nanos(1));
    assert_eq!(trips.status("t1").unwrap().state, SagaState::Running);
    clock.advance(Duration::from_nanos(1));
    until(|| trips.status("t1").unwrap().state == SagaState::Undone);
    assert_eq!(trips.status("t1").unwrap().failure.unwrap().1, "no answer came in time");
    assert_eq!(*asked.lock().unwrap(), ["cancel-flight trip.booking/t1/flight"]);
    drop(go);
    end(&bus);
}

#[test]
fn a_compensation_that_fails_is_tried_again_and_then_stands_still_until_it_is_resumed() {
    let folder = Folder::of("saga-stands");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let bus = build(&folder, &clock);
    answer(&bus, "book-flight", &asked);
    let works = Arc::new(Mutex::new(false));
    let (sees, tries) = (Arc::clone(&works), Arc::new(Mutex::new(0)));
    let tried = Arc::clone(&tries);
    let cancel = move |_: &nervebus::Event<'_>| {
        *tried.lock().unwrap() += 1;
        if *sees.lock().unwrap() { Ok(Value::Null) } else { Err("the airline is closed") }
    };
    bus.on("cancel-flight").answer(cancel).unwrap();
    let trips = trip().start(&bus).unwrap();
    trips.begin("t1", json!({"insure": "too old"})).unwrap();
    until(|| {
        clock.advance(Duration::from_millis(1));
        bus.dead_letters().by_topic().contains_key("trip.booking")
    });
    let trip = trips.status("t1").unwrap();
    assert_eq!((trip.state, trip.step.as_deref(), *tries.lock().unwrap()), (SagaState::Undoing, Some("flight"), 3));
    *works.lock().unwrap() = true;
    assert!(trips.resume("t1").unwrap());
    state(&clock, &trips, "t1", SagaState::Undone);
    assert!(!trips.resume("t1").unwrap(), "it is over");
    end(&bus);
}

#[test]
fn one_that_stands_still_goes_on_when_the_saga_is_started_again() {
    let folder = Folder::of("saga-again");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let first = build(&folder, &clock);
    answer(&first, "book-flight", &asked);
    let trips = trip().start(&first).unwrap();
    // Nobody insures, and nobody is there to cancel.
    trips.begin("t1", json!({})).unwrap();
    until(|| {
        clock.advance(Duration::from_millis(1));
        first.dead_letters().by_topic().contains_key("trip.booking")
    });
    end(&first);
    drop((first, trips));
    let (second, trips) = start(&folder, &clock, &asked);
    state(&clock, &trips, "t1", SagaState::Undone);
    assert_eq!(asked.lock().unwrap().last().unwrap(), "cancel-flight trip.booking/t1/flight");
    end(&second);
}

#[test]
fn an_id_is_begun_once() {
    let folder = Folder::of("saga-once");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let (bus, trips) = start(&folder, &clock, &asked);
    trips.begin("t1", json!({})).unwrap();
    let error = trips.begin("t1", json!({"nights": 3})).unwrap_err();
    assert!(
        matches!(&error, SagaError::Begun { id, data: Some(data) } if id == "t1" && data["nights"] == 3),
        "{error}"
    );
    trips.wait("t1", GUARD);
    assert!(matches!(trips.begin("t1", json!({})), Err(SagaError::Begun { .. })), "also when it is over");
    assert_eq!(asked.lock().unwrap().len(), 3);
    end(&bus);
    let error = trips.begin("t2", json!(7)).unwrap_err();
    assert!(matches!(error, SagaError::NotStored { data: Some(data), .. } if data == 7));
}

#[test]
fn what_has_not_ended_goes_on_after_a_restart_and_what_has_does_not() {
    let folder = Folder::of("saga-restart");
    let (clock, asked) = (ManualClock::new(), Asked::default());
    let first = build(&folder, &clock);
    for topic in ["book-flight", "cancel-flight", "book-hotel"] {
        answer(&first, topic, &asked);
    }
    let (sender, reached) = mpsc::channel();
    let insure = move |request: &nervebus::Event<'_>| {
        sender.send(request["saga"].as_str().unwrap().to_owned()).unwrap();
        if request["saga"] == "stuck" { Err("closed") } else { Ok(Value::Null) }
    };
    first.on("insure").answer(insure).unwrap();
    let one = || {
        let hotel = Step::new("hotel", "book-hotel").timeout(SECOND);
        let insurance = Step::new("insurance", "insure").timeout(SECOND).attempts(100);
        let retry = Retry::exponential(Duration::from_secs(60)).attempts(100);
        let flight = Step::new("flight", "book-flight").undo("cancel-flight");
        Saga::new("trip.booking").step(flight).step(insurance).step(hotel).lane("sagas").retry(retry)
    };
    let trips = one().start(&first).unwrap();
    assert!(matches!(one().start(&first), Err(SagaError::State(_))), "it is started once");
    trips.begin("over", json!({})).unwrap();
    trips.wait("over", GUARD).unwrap();
    trips.begin("stuck", json!({})).unwrap();
    let seen: Vec<String> = (0..2).map(|_| reached.recv_timeout(GUARD).unwrap()).collect();
    assert_eq!(seen, ["over", "stuck"]);
    first.shutdown(Duration::ZERO);
    drop((first, trips));

    let before = asked.lock().unwrap().len();
    let (second, trips) = start(&folder, &clock, &asked);
    state(&clock, &trips, "stuck", SagaState::Completed);
    let asked = asked.lock().unwrap()[before..].to_vec();
    assert_eq!(asked, ["insure trip.booking/stuck/insurance", "book-hotel trip.booking/stuck/hotel"]);
    assert_eq!(trips.status("over").unwrap().state, SagaState::Completed);
    end(&second);
}

#[test]
fn what_it_asks_has_the_correlation_and_trace_that_it_was_begun_with_after_a_restart_too() {
    let folder = Folder::of("saga-context");
    let trace = TraceContext::new(7, 8).unwrap();
    let start = |fails: bool| {
        let bus = build(&folder, &ManualClock::new());
        let (sender, asked) = mpsc::channel();
        let answer = move |request: &nervebus::Event<'_>| {
            let (correlation, trace) = (request.correlation_id().map(str::to_owned), request.trace_context().cloned());
            sender.send((correlation, trace)).unwrap();
            if fails { Err("closed") } else { Ok(Value::Null) }
        };
        bus.on("insure").answer(answer).unwrap();
        let retry = Retry::exponential(Duration::from_secs(60)).attempts(100);
        let saga = Saga::new("trip.booking").step(Step::new("insurance", "insure").timeout(SECOND).attempts(100));
        (saga.lane("sagas").retry(retry).start(&bus).unwrap(), bus, asked)
    };
    let (first, bus, asked) = start(true);
    let scope = Scope::new().with_correlation_id("request 7").with_trace_context(trace.clone()).enter();
    first.begin("t1", json!({})).unwrap();
    drop(scope);
    let said = (Some("request 7".to_owned()), Some(trace));
    assert_eq!(asked.recv_timeout(GUARD).unwrap(), said);
    let scope = Scope::new().with_correlation_id("operator").enter();
    assert!(first.resume("t1").unwrap());
    drop(scope);
    assert_eq!(asked.recv_timeout(GUARD).unwrap(), said, "resumed");
    bus.shutdown(Duration::ZERO);
    drop((bus, first));

    let (second, bus, asked) = start(false);
    assert_eq!(asked.recv_timeout(GUARD).unwrap(), said, "started again");
    assert_eq!(second.wait("t1", GUARD).unwrap().state, SagaState::Completed);
    end(&bus);
}

#[test]
fn what_cannot_be_is_refused_when_it_is_started() {
    let folder = Folder::of("saga-refused");
    let bus = build(&folder, &ManualClock::new());
    let step = || Step::new("flight", "book-flight");
    let refused = |saga: Saga| match saga.start(&bus) {
        Err(SagaError::Step { step, .. }) => step,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(Saga::new("trip.booking")), "");
    assert_eq!(refused(Saga::new("trip.booking").step(step()).step(step())), "flight");
    assert_eq!(refused(Saga::new("trip.booking").step(step().attempts(0))), "flight");
    assert_eq!(refused(Saga::new("trip.booking").step(step().attempts(11))), "flight");
    assert!(matches!(Saga::new("plane.booking").step(step()).start(&bus), Err(SagaError::State(_))), "not durable");
    assert!(matches!(Saga::new("trip.booking").step(step()).lane("no").start(&bus), Err(SagaError::Subscribe(_))));
    Saga::new("trip.booking").step(step()).lane("sagas").start(&bus).unwrap();
    end(&bus);
}
