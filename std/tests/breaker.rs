//! Breakers: which calls are made, which are not, and who is told. On virtual time.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/until.rs"]
mod until;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use nervebus::{
    Breaker, BreakerState, Bus, Event, HandlerError, Lane, ManualClock, Reason, Retry, SubscribeError, Value, json,
};

use until::until;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A service behind handlers, that is up or down, and counts its calls.
#[derive(Debug, Clone, Default)]
struct Service(Arc<(AtomicBool, AtomicU64)>);

impl Service {
    fn call(&self) -> Result<(), &'static str> {
        self.0.1.fetch_add(1, Ordering::Relaxed);
        if self.0.0.load(Ordering::Relaxed) { Ok(()) } else { Err("down") }
    }

    fn handler(&self) -> impl Fn(&Event<'_>) -> Result<(), &'static str> + Send + Sync + 'static {
        let service = self.clone();
        move |_| service.call()
    }

    fn set(&self, up: bool) {
        self.0.0.store(up, Ordering::Relaxed);
    }

    fn calls(&self) -> u64 {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// Topic and payload of each record.
type Records = Arc<Mutex<Vec<(String, Value)>>>;

/// A bus on this clock that notes what it says of breakers, on the emitter's thread.
fn bus(clock: &ManualClock) -> (Bus, Records) {
    let bus = Bus::builder().clock(clock).lane(Lane::new("other")).build().unwrap();
    let records = Arc::new(Mutex::new(Vec::new()));
    for topic in ["system.breaker_opened", "system.breaker_closed"] {
        let records = Arc::clone(&records);
        let note = move |event: &Event<'_>| {
            records.lock().unwrap().push((event.topic().to_owned(), event.payload().clone()));
        };
        bus.on(topic).inline().handle(note).unwrap();
    }
    (bus, records)
}

fn told(records: &Mutex<Vec<(String, Value)>>) -> Vec<String> {
    let name = |(topic, _): &(String, Value)| topic.trim_start_matches("system.breaker_").to_owned();
    records.lock().unwrap().iter().map(name).collect()
}

/// How many deliveries wait for a retry; the lanes have nothing else to do.
fn waiting(bus: &Bus) -> u64 {
    let mut waiting = 0;
    until(|| {
        let ledger = bus.ledger();
        waiting = ledger.lanes.iter().map(|lane| lane.retrying).sum();
        ledger.lanes.iter().all(|lane| lane.pending_events == 0)
    });
    waiting
}

fn end(bus: &Bus) {
    let report = bus.shutdown(SECOND);
    assert!(report.drained && report.ledger.balanced(), "{report}; {}", report.ledger);
}

#[test]
fn it_opens_after_failures_in_a_row_refuses_calls_and_closes_by_a_probe() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(3).reset_after(10 * SECOND);
    bus.on("save").name("saver").breaker(&breaker).inline().handle(service.handler()).unwrap();
    let save = || bus.emit("save", ()).unwrap().inline();

    service.set(true);
    assert_eq!((save().handled, save().handled), (1, 1));
    service.set(false);
    (0..2).for_each(|_| assert_eq!(save().failed, 1));
    service.set(true);
    assert_eq!(save().handled, 1, "which ends the row");
    service.set(false);
    (0..2).for_each(|_| assert_eq!(save().failed, 1));
    assert_eq!((breaker.state(), service.calls()), (BreakerState::Closed, 7));
    save();
    assert_eq!((breaker.state(), breaker.opened(), told(&records)), (BreakerState::Open, 1, vec!["opened".to_owned()]));

    clock.advance(10 * SECOND - Duration::from_nanos(1));
    (0..100).for_each(|_| assert_eq!(save().failed, 1));
    assert_eq!((service.calls(), breaker.refused()), (8, 100), "none of them was made");
    let letter = bus.dead_letters().list().pop().unwrap();
    assert_eq!((letter.reason, letter.attempts), (Reason::HandlerError, 0));
    assert_eq!(letter.error, r#"not called: breaker "db" is open"#);

    // The first probe fails, the second does not.
    clock.advance(Duration::from_nanos(1));
    (0..5).for_each(|_| assert_eq!(save().failed, 1));
    assert_eq!((service.calls(), breaker.opened()), (9, 2));
    clock.advance(10 * SECOND);
    service.set(true);
    (0..5).for_each(|_| assert_eq!(save().handled, 1));
    assert_eq!((breaker.state(), service.calls()), (BreakerState::Closed, 14));
    assert_eq!(told(&records), ["opened", "opened", "closed"]);
    let records = records.lock().unwrap();
    let (opened, closed) = (&records[0].1, &records[2].1);
    // The clock stood at 1 January 2000, and failed calls are counted since the breaker was last closed.
    let until = 946_684_800 + 10;
    assert_eq!(*opened, json!({"breaker": "db", "failures": 5, "opened": 1, "until": f64::from(until)}));
    assert_eq!(*closed, json!({"breaker": "db", "failures": 6, "opened": 2}));
    let stats = bus.stats();
    let row = &stats.breakers[0];
    assert_eq!((&*row.name, &*row.state, row.opened, row.refused), ("db", "closed", 2, 104));
    let saver = stats.subscriptions.iter().find(|row| row.name == "saver").unwrap();
    assert_eq!((saver.breaker.as_deref(), saver.failed), (Some("db"), 6), "calls that were made");
    end(&bus);
}

#[test]
fn a_refused_call_is_an_outcome_that_names_the_breaker() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, _) = bus(&clock);
    let breaker = Breaker::new("db").failures(1).reset_after(10 * SECOND);
    bus.on("save").breaker(&breaker).handle(service.handler()).unwrap();
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&kinds);
    bus.on("system.handler_error")
        .handle(move |event| note.lock().unwrap().push(event["error_type"].as_str().map(str::to_owned)))
        .unwrap();
    assert!(!bus.emit_and_wait("save", ()).unwrap().all_handled());
    let report = bus.emit_and_wait("save", ()).unwrap();
    let error = report.failures().next().unwrap().result.as_ref().unwrap_err();
    let HandlerError::BreakerOpen { breaker, until } = &**error else { panic!("{error}") };
    assert_eq!((&**breaker, *until, error.kind()), ("db", 946_684_810.0, "breaker_open"));
    end(&bus);
    assert_eq!(*kinds.lock().unwrap(), [Some("error".to_owned()), Some("breaker_open".to_owned())]);
}

#[test]
fn while_the_probe_is_under_way_nobody_else_is_let_through() {
    let clock = ManualClock::new();
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(1).reset_after(10 * SECOND);
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<bool>());
    let gone = Mutex::new(gone);
    let slow = move |_: &Event<'_>| {
        let _ = begin.send(());
        if gone.lock().unwrap().recv() == Ok(true) { Ok(()) } else { Err("down") }
    };
    let service = Service::default();
    bus.on("slow").breaker(&breaker).handle(slow).unwrap();
    bus.on("quick").breaker(&breaker).inline().handle(service.handler()).unwrap();
    bus.emit("quick", ()).unwrap();
    assert_eq!((breaker.state(), service.calls()), (BreakerState::Open, 1));
    clock.advance(10 * SECOND);
    bus.emit("slow", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    service.set(true);
    (0..10).for_each(|_| assert_eq!(bus.emit("quick", ()).unwrap().inline().failed, 1));
    assert_eq!(service.calls(), 1);
    go.send(true).unwrap();
    until(|| breaker.state() == BreakerState::Closed);
    assert_eq!(bus.emit("quick", ()).unwrap().inline().handled, 1);
    until(|| told(&records) == ["opened", "closed"]);
    end(&bus);
}

#[test]
fn what_stays_down_is_called_once_in_each_wait_however_many_events_come() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(5).reset_after(60 * SECOND);
    bus.on("save").breaker(&breaker).inline().handle(service.handler()).unwrap();
    for _ in 0..3_600 {
        bus.emit("save", ()).unwrap();
        clock.advance(SECOND);
    }
    // Five to open it, at the fourth second; then one in each minute of the hour.
    assert_eq!((service.calls(), breaker.opened()), (5 + 59, 60));
    assert_eq!(told(&records).len(), 60);
    end(&bus);
}

#[test]
fn subscriptions_that_share_a_breaker_learn_from_each_other() {
    let clock = ManualClock::new();
    let (bus, records) = bus(&clock);
    let (red, blue) = (Service::default(), Service::default());
    let breaker = Breaker::new("db").failures(2);
    bus.on("red").breaker(&breaker).inline().handle(red.handler()).unwrap();
    bus.on("blue").breaker(&breaker.clone()).lane("other").handle(blue.handler()).unwrap();
    let alone = Breaker::new("db").failures(2);
    let other = Service::default();
    bus.on("green").breaker(&alone).inline().handle(other.handler()).unwrap();
    bus.emit("red", ()).unwrap();
    assert!(!bus.emit_and_wait("blue", ()).unwrap().all_handled());
    assert_eq!(breaker.state(), BreakerState::Open);
    bus.emit("red", ()).unwrap();
    assert!(!bus.emit_and_wait("blue", ()).unwrap().all_handled());
    bus.emit("green", ()).unwrap();
    assert_eq!((red.calls(), blue.calls(), other.calls()), (1, 1, 1), "a breaker is shared by handle, not by name");
    assert_eq!(bus.stats().breakers.len(), 2);
    until(|| told(&records).len() == 1);
    end(&bus);
}

#[test]
fn a_reset_by_hand_closes_it_at_once_and_says_so_once() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(1);
    bus.on("save").breaker(&breaker).inline().handle(service.handler()).unwrap();
    breaker.reset();
    assert!(told(&records).is_empty(), "it was closed");
    bus.emit("save", ()).unwrap();
    breaker.reset();
    breaker.reset();
    service.set(true);
    assert_eq!(bus.emit("save", ()).unwrap().inline().handled, 1);
    assert_eq!((told(&records), breaker.refused()), (vec!["opened".to_owned(), "closed".to_owned()], 0));
    end(&bus);
}

#[test]
fn a_panic_is_a_failure() {
    let clock = ManualClock::new();
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(2);
    bus.on("save").breaker(&breaker).inline().handle(|event| assert!(event["fine"] == true, "as asked for")).unwrap();
    (0..3).for_each(|_| assert!(bus.emit("save", ()).is_ok()));
    assert_eq!((breaker.opened(), breaker.refused(), told(&records).len()), (1, 1, 1));
    end(&bus);
}

#[test]
fn it_opens_once_however_many_threads_fail_at_once() {
    const THREADS: usize = 4;
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, records) = bus(&clock);
    let breaker = Breaker::new("db").failures(10);
    bus.on("save").breaker(&breaker).inline().handle(service.handler()).unwrap();
    let begin = Barrier::new(THREADS);
    for round in 1..=20 {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    (0..20).for_each(|_| assert!(bus.emit("save", ()).is_ok()));
                });
            }
        });
        assert_eq!(breaker.opened(), round);
        breaker.reset();
    }
    assert_eq!(told(&records).len(), 40);
    assert!(service.calls() <= 20 * (10 + THREADS as u64 - 1), "no more than those that were let in before");
    end(&bus);
}

#[test]
fn a_share_of_the_recent_calls_opens_it() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, _) = bus(&clock);
    let breaker = Breaker::new("db").failure_rate(50, 8 * SECOND, 10);
    bus.on("save").breaker(&breaker).inline().handle(service.handler()).unwrap();
    let save = |up| {
        service.set(up);
        bus.emit("save", ()).unwrap();
    };
    (0..9).for_each(|_| save(false));
    assert_eq!(breaker.state(), BreakerState::Closed, "too few to judge by");
    clock.advance(8 * SECOND);
    (0..9).for_each(|n| save(n % 3 > 0));
    save(false);
    assert_eq!(breaker.state(), BreakerState::Closed, "four of ten; what is over does not count");
    (0..2).for_each(|_| save(false));
    assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Open, 1));
    end(&bus);
}

#[test]
fn with_a_retry_policy_a_refused_call_is_put_off_and_costs_no_attempt() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, _) = bus(&clock);
    let breaker = Breaker::new("db").failures(1).reset_after(60 * SECOND);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let (note, down) = (Arc::clone(&attempts), service.clone());
    let retry = Retry::exponential(SECOND).attempts(2).budget(100).reserve(10);
    let save = move |event: &Event<'_>| {
        note.lock().unwrap().push((event["n"].as_u64().unwrap(), event.attempt()));
        down.call()
    };
    bus.on("save").retry(retry).breaker(&breaker).handle(save).unwrap();
    (0..3).for_each(|n| assert!(bus.emit("save", json!({"n": n})).is_ok()));
    assert_eq!((waiting(&bus), service.calls(), breaker.refused()), (3, 1, 2));
    // The failed one's turn comes while the breaker is open still: it is put off with the others.
    clock.advance(SECOND);
    until(|| breaker.refused() == 3);
    assert_eq!(waiting(&bus), 3);
    service.set(true);
    clock.advance(61 * SECOND);
    until(|| waiting(&bus) == 0);
    let mut attempts = attempts.lock().unwrap().clone();
    attempts.sort_unstable();
    assert_eq!(attempts, [(0, 1), (0, 2), (1, 1), (2, 1)]);
    assert!(bus.dead_letters().is_empty());
    end(&bus);
}

#[test]
fn a_call_is_put_off_no_more_often_than_it_has_attempts() {
    let (clock, service) = (ManualClock::new(), Service::default());
    let (bus, _) = bus(&clock);
    let breaker = Breaker::new("db").failures(1).reset_after(60 * SECOND);
    let retry = Retry::exponential(SECOND).attempts(3).budget(100).reserve(100);
    bus.on("keep").breaker(&breaker).inline().handle(service.handler()).unwrap();
    let never = Service::default();
    bus.on("save").retry(retry).breaker(&breaker).handle(never.handler()).unwrap();
    bus.emit("keep", ()).unwrap();
    bus.emit("save", ()).unwrap();
    for put_off in 1..=3 {
        until(|| breaker.refused() == put_off);
        assert_eq!((waiting(&bus), bus.dead_letters().len() as u64), (1, put_off), "only the probes failed");
        // Another one is the probe, and fails, each time the breaker may be tried.
        clock.advance(if put_off == 1 { 60 * SECOND } else { 59 * SECOND });
        bus.emit("keep", ()).unwrap();
        clock.advance(SECOND);
    }
    until(|| waiting(&bus) == 0);
    let letter = bus.dead_letters().list().pop().unwrap();
    assert_eq!((letter.attempts, letter.history.len(), never.calls()), (0, 0, 0));
    assert!(letter.error.contains("db"));
    end(&bus);
}

#[test]
fn settings_out_of_range_are_named_where_the_breaker_is_taken() {
    let bus = Bus::builder().build().unwrap();
    let refusal = |breaker: Breaker| {
        let refused = bus.on("save").breaker(&breaker).handle(|_| ()).unwrap_err();
        assert_eq!((breaker.state(), breaker.opened()), (BreakerState::Closed, 0));
        breaker.reset();
        refused.to_string()
    };
    let db = || Breaker::new("db");
    assert_eq!(refusal(db().failures(0)), r#"breaker "db".failures is 0, outside its range 1..=100"#);
    assert_eq!(refusal(db().failures(101)), r#"breaker "db".failures is 101, outside its range 1..=100"#);
    let rate = |percent, window, min_calls| refusal(db().failure_rate(percent, window, min_calls));
    assert_eq!(rate(101, SECOND, 1), r#"breaker "db".failure_rate.percent is 101, outside its range 1..=100"#);
    assert_eq!(rate(1, SECOND, 0), r#"breaker "db".failure_rate.min_calls is 0, outside its range 1..=16383"#);
    assert!(rate(1, Duration::ZERO, 1).starts_with(r#"breaker "db".failure_rate.window is 0ns"#));
    let refused = bus.on("save").breaker(&db().reset_after(3_601 * SECOND)).handle(|_| ()).unwrap_err();
    let field = r#"breaker "db".reset_after"#.into();
    assert_eq!(
        refused,
        SubscribeError::WaitOutOfRange { field, value: 3_601 * SECOND, max: Duration::from_secs(3_600) }
    );
    assert!(bus.on("save").breaker(&db().reset_after(Duration::from_millis(1))).handle(|_| ()).is_ok());
}
