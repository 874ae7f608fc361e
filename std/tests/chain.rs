//! Chains of events that cause each other: cut at their limits, and never stuck.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Builder, Bus, EmitError, Event, Lane, Shed, SubscriptionId, WeakBus};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A handler that emits `topic` on a bus with one more than it got, and hands a refusal over.
fn passing_on(
    bus: WeakBus,
    topic: &'static str,
    refused: Sender<(String, u64)>,
) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    move |event| {
        let next = event.payload_as::<u64>().unwrap() + 1;
        if let Err(error) = bus.upgrade().unwrap().emit(topic, next) {
            assert!(matches!(error, EmitError::LoopDetected { .. } | EmitError::TooDeep { .. }), "{error}");
            refused.send((error.to_string(), error.into_payload())).unwrap();
        }
    }
}

fn too_long(limit: u32) -> String {
    format!("a chain of events that cause each other is longer than {limit}")
}

#[test]
fn a_lane_whose_handler_emits_its_own_topic_is_cut_at_the_limit() {
    // The second bus has a guard, so that its emits take the general way.
    let builders: [fn() -> Builder; 2] =
        [Bus::builder, || Bus::builder().default_lane(Lane::new("default").shed(Shed::new()))];
    for (limit, builder) in [1, 2, 100].into_iter().flat_map(|limit| builders.map(|builder| (limit, builder))) {
        let bus = builder().max_chain(limit).build().unwrap();
        let (refused, refusals) = mpsc::channel();
        bus.subscribe("loop", passing_on(bus.downgrade(), "loop", refused)).unwrap();
        bus.emit("loop", 0_u64).unwrap();
        let (error, payload) = refusals.recv_timeout(GUARD).unwrap();
        assert_eq!((error, payload), (too_long(limit), u64::from(limit) + 1));
        let report = bus.shutdown(GUARD);
        assert_eq!((report.handled, report.ledger.refused), (u64::from(limit) + 1, 1));
        assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    }
}

#[test]
fn a_loop_across_two_lanes_is_cut_at_the_limit() {
    let bus = Bus::builder().lane(Lane::new("a")).lane(Lane::new("b")).max_chain(50).build().unwrap();
    let (refused, refusals) = mpsc::channel();
    bus.on("ping").lane("a").handle(passing_on(bus.downgrade(), "pong", refused.clone())).unwrap();
    bus.on("pong").lane("b").handle(passing_on(bus.downgrade(), "ping", refused)).unwrap();
    bus.emit("ping", 0_u64).unwrap();
    assert_eq!(refusals.recv_timeout(GUARD).unwrap(), (too_long(50), 51));
    let report = bus.shutdown(GUARD);
    assert_eq!((report.handled, report.ledger.refused), (51, 1));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    assert!(refusals.try_recv().is_err());
}

#[test]
fn a_loop_across_two_buses_is_cut_at_the_lower_limit_with_inline_handlers_and_with_lanes() {
    for inline in [false, true] {
        let buses = [30, 1_000].map(|limit| Bus::builder().max_chain(limit).max_depth(1_000).build().unwrap());
        let (refused, refusals) = mpsc::channel();
        for (own, other) in [(&buses[0], &buses[1]), (&buses[1], &buses[0])] {
            let subscribe = own.on("loop");
            let subscribe = if inline { subscribe.inline() } else { subscribe };
            subscribe.handle(passing_on(other.downgrade(), "loop", refused.clone())).unwrap();
        }
        buses[0].emit("loop", 0_u64).unwrap();
        // Even ones are on the first bus: after 30 the second bus takes number 31, and the first refuses number 32.
        assert_eq!(refusals.recv_timeout(GUARD).unwrap(), (too_long(30), 32), "inline: {inline}");
        let reports = buses.map(|bus| bus.shutdown(GUARD));
        let numbers = reports.each_ref().map(|report| (report.handled, report.ledger.refused));
        assert_eq!(numbers, [(16, 1), (16, 0)], "inline: {inline}");
        assert!(reports.iter().all(|report| report.drained && report.ledger.balanced()));
    }
}

#[test]
fn inline_handlers_go_as_deep_as_the_limit_from_1_to_1000_and_no_deeper() {
    let whole = |limit: u32| {
        let bus = Bus::builder().max_depth(limit).build().unwrap();
        let (refused, refusals) = mpsc::channel();
        bus.on("loop").inline().handle(passing_on(bus.downgrade(), "loop", refused)).unwrap();
        bus.emit("loop", 1_u64).unwrap();
        let expected = format!("inline handlers emit more than {limit} levels deep");
        assert!(refusals.try_iter().eq([(expected, u64::from(limit) + 1)]));
        let ledger = bus.ledger();
        assert_eq!((ledger.routed, ledger.refused), (u64::from(limit), 1));
        assert!(ledger.balanced(), "{ledger}");
    };
    // Each level takes stack: more of it than a test's thread has, where nothing is optimised.
    let deep = move || [1, 2, 3, 20, 300, 1_000].into_iter().for_each(whole);
    thread::Builder::new().stack_size(64 << 20).spawn(deep).unwrap().join().unwrap();
}

/// Subscribes a handler on each of so many lanes and one inline, and has each of them do everything a handler may do:
/// emit to all the others, subscribe, unsubscribe itself, and in the end shut down.
fn everything_inside_handlers(lanes: usize) {
    const NAMES: [&str; 4] = ["default", "b", "c", "d"];
    let others = NAMES.iter().take(lanes).skip(1).map(|name| Lane::new(*name).capacity(64));
    let bus = others.fold(Bus::builder(), Builder::lane).build().unwrap();
    let (done, all_done) = mpsc::channel();
    let late = Arc::new(AtomicU64::new(0));
    for name in std::iter::once("inline").chain(NAMES.into_iter().take(lanes)) {
        let (weak, done, late) = (bus.downgrade(), done.clone(), Arc::clone(&late));
        let own: Arc<Mutex<Option<SubscriptionId>>> = Arc::default();
        let mine = Arc::clone(&own);
        let handler = move |event: &Event<'_>| {
            let bus = weak.upgrade().unwrap();
            let first = event.seq();
            let late = Arc::clone(&late);
            let seen = move |event: &Event<'_>| {
                assert_ne!(event.seq(), first, "a change applies from the next event");
                late.fetch_add(1, Ordering::Relaxed);
            };
            bus.on("*").lane("default").handle(seen).unwrap();
            assert!(bus.unsubscribe(mine.lock().unwrap().unwrap()));
            for topic in ["go", "other"] {
                assert!(bus.emit(topic, ()).is_ok(), "no lane is full");
            }
            done.send(()).unwrap();
        };
        let subscribe = bus.on("go");
        let subscribe = if name == "inline" { subscribe.inline() } else { subscribe.lane(name) };
        let mut own = own.lock().unwrap();
        *own = Some(subscribe.handle(handler).unwrap());
    }
    bus.emit("go", ()).unwrap();
    (0..=lanes).for_each(|_| all_done.recv_timeout(GUARD).unwrap());
    let (down, is_down) = mpsc::channel();
    let weak = bus.downgrade();
    let end = move |_: &Event<'_>| down.send(weak.upgrade().unwrap().shutdown(GUARD).ledger.balanced()).unwrap();
    bus.on("end").lane(NAMES[lanes - 1]).handle(end).unwrap();
    bus.emit("end", ()).unwrap();
    assert!(is_down.recv_timeout(GUARD).unwrap());
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    assert_eq!((report.failed, report.ledger.refused), (0, 0), "{lanes} lanes");
    assert!(late.load(Ordering::Relaxed) > 0);
}

#[test]
fn handlers_that_emit_subscribe_unsubscribe_and_shut_down_never_lock_up() {
    (1..=4).for_each(everything_inside_handlers);
}
