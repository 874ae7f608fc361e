//! Duplicates: which events are recognised, and what their emitters are told.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads, read files and stop at the first surprise"
)]

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{
    AuditLog, Builder, Bus, DedupWindow, EmitError, Event, Lane, ManualClock, Overflow, RateLimit, Receipt, Record,
    json,
};
use serde::Serialize;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const MINUTE: Duration = Duration::from_secs(60);

fn window() -> DedupWindow {
    DedupWindow::new(1_000, MINUTE)
}

fn bus(clock: &ManualClock, builder: Builder) -> Bus {
    builder.clock(clock).dedup(window()).build().unwrap()
}

/// Counts the events that reach it.
fn counting(bus: &Bus, topic: &str) -> Arc<AtomicU64> {
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    bus.on(topic)
        .inline()
        .handle(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    seen
}

fn with_id(bus: &Bus, topic: &str, id: &str) -> Result<Receipt, EmitError<&'static str>> {
    bus.event(topic, "payload").event_id(id).emit()
}

/// A bus whose one lane holds one event and has a worker that is busy until told otherwise.
fn full() -> (Bus, Sender<()>) {
    let lane = Lane::new("default").capacity(1).overflow(Overflow::Reject);
    let bus = bus(&ManualClock::new(), Bus::builder().default_lane(lane));
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone: Mutex<Receiver<()>> = Mutex::new(gone);
    let handler = move |_: &Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("t").handle(handler).unwrap();
    bus.emit("t", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", ()).unwrap();
    (bus, go)
}

#[test]
fn an_event_that_comes_again_within_the_window_succeeds_and_reaches_nobody() {
    let clock = ManualClock::new();
    let bus = bus(&clock, Bus::builder());
    let seen = counting(&bus, "t");
    let first = with_id(&bus, "t", "a").unwrap();
    assert!(!first.is_duplicate() && !first.is_unrouted());
    clock.advance(MINUTE - Duration::from_nanos(1));
    let again = with_id(&bus, "t", "a").unwrap();
    assert!(again.is_duplicate() && !again.is_unrouted() && again.seq() > first.seq());
    assert_eq!((again.admitted(), again.dropped(), again.inline().total()), (0, 0, 0));
    clock.advance(Duration::from_nanos(1));
    assert!(
        !with_id(&bus, "t", "a").unwrap().is_duplicate(),
        "the window is over, and coming again did not prolong it"
    );
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.routed, ledger.duplicates, seen.load(Ordering::Relaxed)), (3, 2, 1, 2));
    assert!(ledger.balanced(), "{ledger}");
    assert!(ledger.to_string().contains(" + duplicates 1 + under way 0"), "{ledger}");
    let stats = serde_json::to_value(bus.stats()).unwrap();
    assert_eq!(stats["guards"]["dedup"], json!({"len": 1, "capacity": 1_000, "duplicates": 1, "evicted_early": 0}));
    assert_eq!((&stats["ledger"]["duplicates"], &stats["ledger"]["balanced"]), (&json!(1), &json!(true)));
}

#[test]
fn the_idempotency_key_stands_in_for_the_identity_on_whatever_topic() {
    let bus = bus(&ManualClock::new(), Bus::builder());
    let (tell, told) = mpsc::channel();
    let note = move |event: &Event<'_>| tell.send(event.idempotency_key().map(str::to_owned)).unwrap();
    bus.on("*").inline().handle(note).unwrap();
    let emit = |topic, id: &str, key: &str| {
        bus.event(topic, ()).event_id(id).idempotency_key(key).emit().unwrap().is_duplicate()
    };
    assert!(!emit("pay", "1", "k"));
    assert!(emit("pay", "2", "k") && emit("refund", "3", "k"), "the key is the same");
    assert!(!emit("pay", "1", "l"), "the identity does not count where there is a key");
    assert!(!with_id(&bus, "pay", "1").unwrap().is_duplicate(), "and was not remembered");
    assert!(with_id(&bus, "pay", "k").unwrap().is_duplicate(), "keys and identities are one space");
    assert!(bus.emit("pay", ()).is_ok() && bus.event("pay", ()).source("s").emit().is_ok());
    let key = |text: &str| Some(text.to_owned());
    assert!(told.try_iter().eq([key("k"), key("l"), None, None, None]));
    assert!(bus.ledger().balanced());
}

#[test]
fn events_without_key_and_identity_are_never_duplicates() {
    let bus = bus(&ManualClock::new(), Bus::builder());
    let seen = counting(&bus, "t");
    for _ in 0..10 {
        assert!(!bus.emit("t", 1).unwrap().is_duplicate());
        assert!(!bus.event("t", 1).source("s").correlation_id("c").emit().unwrap().is_duplicate());
    }
    assert_eq!((seen.load(Ordering::Relaxed), bus.ledger().duplicates), (20, 0));
    assert!(bus.ledger().balanced());
}

#[test]
fn every_form_of_emit_and_every_kind_of_route_knows_duplicates() {
    let bus = bus(&ManualClock::new(), Bus::builder().lane(Lane::new("io")));
    counting(&bus, "inline");
    bus.subscribe("lane", |_| ()).unwrap();
    bus.subscribe("both", |_| ()).unwrap();
    bus.on("both").lane("io").handle(|_| ()).unwrap();
    for topic in ["inline", "lane", "both", "nobody"] {
        let mut record = Record::new(topic, json!({}));
        record.event_id = Some(topic.to_owned());
        assert!(!bus.emit_record(record.clone()).unwrap().is_duplicate());
        assert!(bus.emit_record(record).unwrap().is_duplicate());
        let report = bus.event(topic, ()).event_id(topic).emit_and_wait().unwrap();
        assert!(report.receipt.is_duplicate() && report.outcomes.is_empty() && report.not_delivered == 0);
    }
    let report = bus.shutdown(GUARD);
    assert_eq!((report.ledger.routed, report.ledger.unrouted, report.ledger.duplicates), (3, 1, 8));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn an_emit_that_one_full_lane_refuses_can_be_repeated() {
    let (bus, go) = full();
    let refused = with_id(&bus, "t", "a").unwrap_err();
    assert!(refused.is_full());
    assert!(with_id(&bus, "t", "a").unwrap_err().is_full(), "refused, not taken for a duplicate");
    drop(go);
    while with_id(&bus, "t", "a").is_err() {
        thread::yield_now();
    }
    assert!(with_id(&bus, "t", "a").unwrap().is_duplicate());
    let report = bus.shutdown(GUARD);
    assert_eq!((report.handled, report.ledger.duplicates), (3, 1));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn an_emit_that_finds_no_room_before_its_inline_handlers_can_be_repeated() {
    let (bus, go) = full();
    let seen = counting(&bus, "t");
    assert!(with_id(&bus, "t", "a").unwrap_err().is_full());
    assert_eq!(seen.load(Ordering::Relaxed), 0);
    drop(go);
    while with_id(&bus, "t", "a").is_err() {
        thread::yield_now();
    }
    assert_eq!(seen.load(Ordering::Relaxed), 1);
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn an_emit_that_a_rate_limit_or_a_chain_refuses_is_not_remembered() {
    let clock = ManualClock::new();
    let limit = RateLimit::per_second(1).burst(1);
    let bus = bus(&clock, Bus::builder().rate_limit("rated", limit).max_depth(1));
    counting(&bus, "rated");
    counting(&bus, "deep");
    assert!(with_id(&bus, "rated", "a").is_ok() && with_id(&bus, "rated", "b").is_err());
    clock.advance(Duration::from_secs(1));
    assert!(!with_id(&bus, "rated", "b").unwrap().is_duplicate());
    let weak = bus.downgrade();
    let deeper = move |_: &Event<'_>| match with_id(&weak.upgrade().unwrap(), "deep", "c") {
        Err(EmitError::TooDeep { limit: 1, .. }) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    bus.on("outer").inline().handle(deeper).unwrap();
    assert_eq!(bus.emit("outer", ()).unwrap().inline().handled, 1);
    assert!(!with_id(&bus, "deep", "c").unwrap().is_duplicate());
    assert!(bus.ledger().balanced());
}

#[test]
fn of_threads_that_emit_the_same_event_at_once_one_is_the_first() {
    const THREADS: usize = 8;
    const EVENTS: usize = 500;
    let bus = bus(&ManualClock::new(), Bus::builder());
    let seen = counting(&bus, "t");
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let first = |n: &usize| !with_id(&bus, "t", &n.to_string()).unwrap().is_duplicate();
                (0..EVENTS).filter(first).count()
            })
        })
        .collect();
    let firsts: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!((firsts, seen.load(Ordering::Relaxed)), (EVENTS, EVENTS as u64));
    let ledger = bus.shutdown(GUARD).ledger;
    assert_eq!((ledger.routed, ledger.duplicates), (EVENTS as u64, ((THREADS - 1) * EVENTS) as u64));
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn a_duplicate_leaves_no_line_in_the_audit_log() {
    let path = std::env::temp_dir().join(format!("nervebus-dedup-{}.jsonl", std::process::id()));
    let _ = fs::remove_file(&path);
    let bus = bus(&ManualClock::new(), Bus::builder().audit(AuditLog::at(&path)));
    counting(&bus, "t");
    for topic in ["t", "nobody"] {
        (0..3).for_each(|_| assert!(with_id(&bus, topic, topic).is_ok()));
    }
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    assert_eq!((report.ledger.duplicates, fs::read_to_string(&path).unwrap().lines().count()), (4, 2));
    fs::remove_file(&path).unwrap();
}

#[derive(Debug, Serialize)]
struct Dropped {
    #[serde(skip)]
    drops: Arc<AtomicU64>,
}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        assert!(!thread::panicking());
        panic!("a payload that panics when it is dropped");
    }
}

#[test]
fn the_payload_of_a_duplicate_is_dropped_once_and_its_panic_goes_no_further() {
    let bus = bus(&ManualClock::new(), Bus::builder());
    let drops = Arc::new(AtomicU64::new(0));
    counting(&bus, "t");
    for n in 0..3 {
        let receipt = bus.event("t", Dropped { drops: Arc::clone(&drops) }).event_id("a").emit().unwrap();
        assert_eq!((receipt.is_duplicate(), drops.load(Ordering::Relaxed)), (n > 0, n + 1));
    }
    assert!(bus.ledger().balanced());
}

#[test]
fn a_window_outside_its_ranges_is_refused_by_name_value_and_range() {
    let refusal = |window| Bus::builder().dedup(window).build().unwrap_err().to_string();
    let range = "outside its range 1..=16777216";
    assert_eq!(refusal(DedupWindow::new(0, MINUTE)), format!("dedup.capacity is 0, {range}"));
    assert_eq!(refusal(DedupWindow::new((1 << 24) + 1, MINUTE)), format!("dedup.capacity is 16777217, {range}"));
    let range = "outside its range: more than zero, at most 86400s";
    assert_eq!(refusal(DedupWindow::new(1, Duration::ZERO)), format!("dedup.keep is 0ns, {range}"));
    assert_eq!(refusal(DedupWindow::new(1, MINUTE * 1_441)), format!("dedup.keep is 86460s, {range}"));
    assert!(Bus::builder().dedup(DedupWindow::new(1, MINUTE * 1_440)).build().is_ok());
}
