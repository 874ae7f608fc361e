//! Panics in all code of the user's that the bus runs, thousands of times.

use std::error::Error;
use std::fmt;
use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use futures_core::Stream;
use nervebus::{AuditLog, Bus, Event, ManualClock, Record, Redactor, json};
use serde::{Serialize, Serializer};

use super::{ASKED, DAY, bounded, end, hush, is_quiet, until};

const EVENTS: u64 = 10_000;

/// A bus with two handlers of `t` on its lane and two inline, between which others may go wrong.
fn bus() -> (Bus, Arc<AtomicU64>) {
    hush();
    let bus = Bus::builder().clock(&ManualClock::new()).dead_letters(16).build().unwrap();
    let calls = with_siblings(&bus);
    (bus, calls)
}

fn with_siblings(bus: &Bus) -> Arc<AtomicU64> {
    let calls = Arc::new(AtomicU64::new(0));
    let sibling = || {
        let calls = Arc::clone(&calls);
        move |_: &Event<'_>| {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    for priority in [200, 1] {
        bus.on("t").priority(priority).handle(sibling()).unwrap();
        bus.on("t").priority(priority).inline().handle(sibling()).unwrap();
    }
    calls
}

/// Ends the bus: so many failures, and each sibling has had every event.
fn siblings_all_ran(bus: &Bus, calls: &AtomicU64, handled: u64, failed: u64) {
    let of = end(bus).deliveries();
    assert_eq!(calls.load(Ordering::Relaxed), 4 * EVENTS);
    assert_eq!((of.handled, of.failed), (4 * EVENTS + handled, failed));
    assert_eq!(bus.dead_letters().total(), failed);
}

#[test]
fn a_handler_that_always_panics_costs_its_siblings_no_event() {
    bounded(|| {
        let (bus, calls) = bus();
        bus.on("t").handle(|_| -> () { panic!("{ASKED}") }).unwrap();
        bus.on("t").inline().handle(|_| -> () { panic!("{ASKED}") }).unwrap();
        (0..EVENTS).for_each(|_| assert_eq!(bus.emit("t", ()).unwrap().inline().failed, 1));
        siblings_all_ran(&bus, &calls, 0, 2 * EVENTS);
    });
}

/// An error whose text panics.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("{ASKED}")
    }
}

impl Error for Unspeakable {}

#[test]
fn errors_whose_text_always_panics_are_failures_like_others() {
    bounded(|| {
        let (bus, calls) = bus();
        bus.on("t").handle(|_| Err(Unspeakable)).unwrap();
        bus.on("t").inline().handle(|_| Err(Unspeakable)).unwrap();
        (0..EVENTS).for_each(|_| assert_eq!(bus.emit("t", ()).unwrap().inline().failed, 1));
        siblings_all_ran(&bus, &calls, 0, 2 * EVENTS);
        assert_eq!(bus.dead_letters().list()[0].error, "an error whose Display panicked");
    });
}

/// Panics when it is written down.
struct Illegible;

impl Serialize for Illegible {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("{ASKED}")
    }
}

#[test]
fn payloads_that_always_panic_under_the_audit_log_have_a_line_each_and_reach_everybody() {
    bounded(|| {
        hush();
        let path = std::env::temp_dir().join(format!("nervebus-faults-{}.jsonl", std::process::id()));
        let _ = fs::remove_file(&path);
        let builder = Bus::builder().clock(&ManualClock::new()).audit(AuditLog::at(&path));
        let bus = builder.build().unwrap();
        let calls = with_siblings(&bus);
        (0..EVENTS).for_each(|_| assert!(bus.emit("t", Illegible).is_ok()));
        let of = end(&bus).deliveries();
        assert_eq!((calls.load(Ordering::Relaxed), of.handled, of.failed), (4 * EVENTS, 4 * EVENTS, 0));
        let lines = fs::read_to_string(&path).unwrap();
        let _ = fs::remove_file(&path);
        let of_events = lines.lines().filter(|line| line.contains(r#""event_type":"t""#));
        let says = |line: &&str| line.contains("its Serialize implementation panicked");
        assert_eq!(of_events.filter(says).count() as u64, EVENTS);
        assert_eq!(bus.dead_letters().total(), EVENTS, "none of them was recorded as it is");
    });
}

#[test]
fn hooks_of_a_redactor_that_always_panic_leave_a_placeholder_and_never_the_value() {
    bounded(|| {
        hush();
        let path = std::env::temp_dir().join(format!("nervebus-faults-hook-{}.jsonl", std::process::id()));
        let _ = fs::remove_file(&path);
        let redactor = Redactor::default().allow_if(|_, _| panic!("{ASKED}"));
        let log = AuditLog::at(&path).redact(redactor.clone());
        let bus = Bus::builder().clock(&ManualClock::new()).redact(redactor).audit(log).build().unwrap();
        let calls = with_siblings(&bus);
        bus.on("t").handle(|_| Err("no mailbox eve@example.org")).unwrap();
        for number in 0..EVENTS {
            // Each third one panics while it is written down, under the same redactor.
            let event = match number % 3 {
                0 => bus.event("t", Illegible).source("mallory@example.org").emit().is_ok(),
                _ => bus.event("t", json!({"to": "alice@example.org", "number": number})).emit().is_ok(),
            };
            assert!(event);
        }
        let of = end(&bus).deliveries();
        assert_eq!((calls.load(Ordering::Relaxed), of.handled, of.failed), (4 * EVENTS, 4 * EVENTS, EVENTS));
        let text = fs::read_to_string(&path).unwrap();
        let _ = fs::remove_file(&path);
        let lines = || text.lines().map(|line| Record::from_jsonl(line.as_bytes()).expect("a line is one event"));
        assert_eq!(lines().filter(|record| record.event_type == "t").count() as u64, EVENTS);
        let placeholder = |record: &Record| record.event_type == "t" && record.payload["to"] == "[REDACTED_EMAIL]";
        assert_eq!(lines().filter(placeholder).count() as u64, EVENTS * 2 / 3);
        assert!(!text.contains("@example.org"), "a value has come through");
        assert!(bus.dead_letters().list().iter().all(|letter| !letter.error.contains("eve@")));
    });
}

/// Panics when it is dropped, and counts that.
#[derive(Serialize)]
struct Bomb {
    #[serde(skip)]
    dropped: Arc<AtomicU64>,
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        panic!("{ASKED}");
    }
}

#[test]
fn payloads_that_always_panic_when_they_are_dropped_cost_nobody_an_event() {
    bounded(|| {
        let (bus, calls) = bus();
        let dropped = Arc::new(AtomicU64::new(0));
        (0..EVENTS).for_each(|_| assert!(bus.emit("t", Bomb { dropped: Arc::clone(&dropped) }).is_ok()));
        siblings_all_ran(&bus, &calls, 0, 0);
        assert_eq!(dropped.load(Ordering::Relaxed), EVENTS);
    });
}

#[test]
fn a_predicate_that_always_panics_fails_each_time_until_one_event_fits() {
    bounded(|| {
        let (bus, calls) = bus();
        let fits = |event: &Event<'_>| *event.payload_as::<u64>().unwrap() == EVENTS || panic!("{ASKED}");
        let waiting = bus.wait_for_async("t", fits, DAY);
        (1..=EVENTS).for_each(|number| assert!(bus.emit("t", number).is_ok()));
        assert_eq!(waiting.wait().unwrap().payload_as(), Some(&EVENTS));
        siblings_all_ran(&bus, &calls, 1, EVENTS - 1);
    });
}

/// A task that panics when it is woken, and counts that.
#[derive(Default)]
struct Grumpy(AtomicU64);

impl Wake for Grumpy {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("{ASKED}");
    }
}

#[test]
fn a_reader_of_a_stream_that_panics_whenever_it_is_woken_misses_no_event() {
    bounded(|| {
        let (bus, calls) = bus();
        let mut stream = bus.stream("t").unwrap();
        let task = Arc::new(Grumpy::default());
        let waker = Waker::from(Arc::clone(&task));
        for number in 1..=EVENTS {
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
            assert!(bus.emit("t", number).is_ok());
            assert_eq!(stream.try_next().unwrap().payload_as(), Some(&number));
        }
        until("the lane is not done", || is_quiet(&bus));
        assert_eq!(task.0.load(Ordering::Relaxed), EVENTS);
        siblings_all_ran(&bus, &calls, 0, EVENTS);
    });
}
