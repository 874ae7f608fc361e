//! Lanes: what happens when one is full, and that one never holds up another.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nervebus::{Bus, EmitError, Event, Lane, Overflow, Receipt};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A bus whose lane `narrow` holds `capacity` events, and whose worker is busy with event 0 of the topic `t` until told
/// otherwise. The handler says of each event when it begins, and waits for a word; when `go` is gone, it does not wait.
struct Stuck {
    bus: Bus,
    begun: Receiver<u64>,
    go: Sender<()>,
}

fn stuck(capacity: usize, overflow: Overflow) -> Stuck {
    let bus = Bus::builder().lane(Lane::new("narrow").capacity(capacity).overflow(overflow)).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |event: &Event<'_>| {
        begin.send(*event.payload_as::<u64>().unwrap()).unwrap();
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("t").lane("narrow").handle(handler).unwrap();
    bus.emit("t", 0_u64).unwrap();
    assert_eq!(begun.recv_timeout(GUARD), Ok(0));
    Stuck { bus, begun, go }
}

impl Stuck {
    /// As `stuck`, and the ring is full of events 1 to `capacity`.
    fn and_full(capacity: u64, overflow: Overflow) -> Self {
        let stuck = stuck(capacity as usize, overflow);
        (1..=capacity).for_each(|n| assert_eq!(stuck.bus.emit("t", n).unwrap().admitted(), 1));
        stuck
    }

    /// Lets the worker go on to the end; what it has handled since, in order.
    fn finish(self) -> Vec<u64> {
        drop(self.go);
        let end = self.bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
        self.begun.try_iter().collect()
    }

    /// Emits on a thread of its own, and comes back when that thread is inside the emit.
    fn emit_elsewhere(&self, n: u64) -> (JoinHandle<()>, Receiver<Result<Receipt, EmitError<u64>>>) {
        let (bus, (sender, result)) = (self.bus.clone(), mpsc::channel());
        let emitter = thread::spawn(move || sender.send(bus.emit("t", n)).unwrap());
        let since = Instant::now();
        while self.bus.ledger().emitting == 0 {
            assert!(since.elapsed() < GUARD && !emitter.is_finished(), "the emitter did not wait");
            thread::yield_now();
        }
        (emitter, result)
    }
}

#[test]
fn block_makes_the_emitter_wait_until_a_slot_is_free() {
    for overflow in [Overflow::Block, Overflow::BlockFor(GUARD * 10)] {
        let stuck = Stuck::and_full(1, overflow);
        let (emitter, result) = stuck.emit_elsewhere(2);
        assert!(result.try_recv().is_err() && !emitter.is_finished());
        stuck.go.send(()).unwrap();
        assert_eq!(result.recv_timeout(GUARD).unwrap().unwrap().admitted(), 1);
        assert_eq!(stuck.finish(), [1, 2]);
    }
}

#[test]
fn an_emitter_that_waits_goes_on_at_the_first_free_slot_of_many() {
    let stuck = Stuck::and_full(8, Overflow::Block);
    let (_, result) = stuck.emit_elsewhere(9);
    // It may take the emitter a while to fall asleep; awake, it would see the free slot by itself.
    (0..20_000).for_each(|_| thread::yield_now());
    stuck.go.send(()).unwrap();
    assert_eq!(stuck.begun.recv_timeout(GUARD), Ok(1), "one of eight slots is free now, and the worker is busy again");
    assert!(result.recv_timeout(GUARD).is_ok(), "there is room, and the emitter still waits");
    assert_eq!(stuck.finish(), (2..=9).collect::<Vec<_>>());
}

#[test]
fn many_emitters_that_wait_for_one_lane_all_get_in() {
    let stuck = Stuck::and_full(2, Overflow::Block);
    let emitters: Vec<_> = (3..11_u64)
        .map(|n| {
            let bus = stuck.bus.clone();
            thread::spawn(move || bus.emit("t", n).unwrap().admitted())
        })
        .collect();
    let since = Instant::now();
    while stuck.bus.ledger().emitting < 8 {
        assert!(since.elapsed() < GUARD, "somebody did not wait");
        thread::yield_now();
    }
    let mut seen = stuck.finish_after(emitters);
    seen.sort_unstable();
    assert_eq!(seen, (1..11).collect::<Vec<_>>());
}

impl Stuck {
    /// Lets the worker go on, waits for the emitters, and finishes.
    fn finish_after(mut self, emitters: Vec<JoinHandle<usize>>) -> Vec<u64> {
        self.go = mpsc::channel().0;
        assert!(emitters.into_iter().all(|emitter| emitter.join().unwrap() == 1));
        self.finish()
    }
}

#[test]
fn block_for_gives_up_and_hands_the_payload_back() {
    let stuck = Stuck::and_full(1, Overflow::BlockFor(Duration::from_millis(2)));
    let error = stuck.bus.emit("t", 2_u64).unwrap_err();
    assert!(error.is_full() && !error.is_closed());
    assert_eq!(error.to_string(), r#"lane "narrow" is full"#);
    assert_eq!(error.into_payload(), 2);
    assert_eq!(stuck.bus.ledger().refused, 1);
    assert_eq!(stuck.finish(), [1], "what was refused is never delivered");
}

/// Neither `Clone` nor `Copy`: what comes back is what went in.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Parcel(String);

#[test]
fn reject_hands_the_payload_back_and_no_handler_sees_it() {
    let stuck = Stuck::and_full(3, Overflow::Reject);
    stuck.bus.on("parcel").lane("narrow").handle(|_| -> Result<(), String> { panic!("it was refused") }).unwrap();
    for n in 0..4 {
        let error = stuck.bus.emit("parcel", Parcel(n.to_string())).unwrap_err();
        assert!(
            matches!(error, EmitError::Full { lane, payload } if lane == "narrow" && payload == Parcel(n.to_string()))
        );
    }
    let ledger = stuck.bus.ledger();
    assert_eq!((ledger.emitted, ledger.routed, ledger.refused), (8, 4, 4));
    assert_eq!(stuck.finish(), [1, 2, 3]);
}

#[test]
fn try_emit_never_waits_and_hands_the_payload_back() {
    for overflow in [Overflow::Block, Overflow::BlockFor(GUARD * 10), Overflow::Reject] {
        let stuck = stuck(1, overflow);
        assert_eq!(stuck.bus.try_emit("t", 1_u64).unwrap().admitted(), 1, "there is room for one");
        let error = stuck.bus.try_emit("t", 2_u64).unwrap_err();
        assert!(matches!(error, EmitError::Full { payload: 2, .. }), "{overflow:?}: {error}");
        assert_eq!(stuck.finish(), [1]);
    }
}

#[test]
fn try_emit_on_a_lane_that_drops_is_no_error() {
    let newest = Stuck::and_full(1, Overflow::DropNewest);
    assert_eq!(newest.bus.try_emit("t", 2_u64).unwrap().dropped(), 1);
    assert_eq!(newest.finish(), [1]);
    let oldest = Stuck::and_full(1, Overflow::DropOldest);
    assert_eq!(oldest.bus.try_emit("t", 2_u64).unwrap().admitted(), 1);
    assert_eq!(oldest.finish(), [2]);
}

#[test]
fn drop_newest_keeps_what_waits_and_counts_what_comes() {
    let stuck = stuck(3, Overflow::DropNewest);
    // A second handler of the lane: an event is dropped once, but for two handlers.
    stuck.bus.on("t").lane("narrow").handle(|_| ()).unwrap();
    for n in 1..=8_u64 {
        let receipt = stuck.bus.emit("t", n).unwrap();
        assert_eq!((receipt.admitted(), receipt.dropped()), if n <= 3 { (1, 0) } else { (0, 1) });
        assert!(!receipt.is_unrouted());
    }
    assert_eq!(stuck.bus.stats().lanes[1].dropped, 5);
    let bus = stuck.bus.clone();
    assert_eq!(stuck.finish(), [1, 2, 3]);
    let account = &bus.ledger().lanes[2];
    assert_eq!((account.name.as_str(), account.dropped_events, account.deliveries.dropped), ("narrow", 5, 10));
    assert_eq!((account.deliveries.handled, account.deliveries.routed), (7, 17));
}

#[test]
fn drop_oldest_keeps_what_comes_and_counts_what_waited() {
    let stuck = stuck(3, Overflow::DropOldest);
    stuck.bus.on("t").lane("narrow").handle(|_| ()).unwrap();
    for n in 1..=8_u64 {
        assert_eq!(stuck.bus.emit("t", n).unwrap().admitted(), 1);
    }
    assert_eq!(stuck.bus.stats().lanes[1].dropped, 5);
    let bus = stuck.bus.clone();
    assert_eq!(stuck.finish(), [6, 7, 8]);
    let account = &bus.ledger().lanes[2];
    assert_eq!((account.dropped_events, account.deliveries.dropped), (5, 10));
    assert_eq!((account.deliveries.handled, account.deliveries.routed), (7, 17));
}

#[test]
fn a_stuck_lane_costs_another_lane_nothing() {
    let stuck = Stuck::and_full(1, Overflow::Block);
    stuck.bus.on("elsewhere").handle(|_| ()).unwrap();
    for _ in 0..200 {
        assert!(stuck.bus.emit_and_wait("elsewhere", ()).unwrap().all_handled());
    }
    assert_eq!(stuck.finish(), [1]);
}

#[test]
fn an_event_for_two_lanes_is_refused_as_a_whole_when_one_has_no_room() {
    let stuck = Stuck::and_full(1, Overflow::Reject);
    let (sender, seen) = mpsc::channel();
    let others = sender.clone();
    stuck.bus.on("t").handle(move |_| others.send("default").unwrap()).unwrap();
    stuck.bus.on("t").inline().handle(move |_| sender.send("inline").unwrap()).unwrap();
    assert!(matches!(stuck.bus.emit("t", 2_u64), Err(EmitError::Full { payload: 2, .. })));
    assert!(stuck.bus.try_emit("t", 3_u64).unwrap_err().is_full());
    assert_eq!(stuck.finish(), [1]);
    assert_eq!(seen.try_iter().count(), 0, "no handler has seen the event");
}

#[test]
fn an_event_for_two_lanes_reaches_one_when_the_other_drops_it() {
    let stuck = Stuck::and_full(1, Overflow::DropNewest);
    let (sender, seen) = mpsc::channel();
    stuck.bus.on("t").handle(move |event| sender.send(*event.payload_as::<u64>().unwrap()).unwrap()).unwrap();
    let receipt = stuck.bus.emit("t", 2_u64).unwrap();
    assert_eq!((receipt.admitted(), receipt.dropped(), receipt.refused()), (1, 1, 0));
    assert_eq!(stuck.finish(), [1]);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_handler_that_emits_on_its_own_full_lane_gets_an_error_and_no_deadlock() {
    for overflow in [Overflow::Block, Overflow::BlockFor(GUARD * 10), Overflow::Reject] {
        let lane = Lane::new("default").capacity(1).overflow(overflow);
        let bus = Bus::builder().default_lane(lane).build().unwrap();
        let (weak, (sender, results)) = (bus.downgrade(), mpsc::channel());
        bus.subscribe("inner", |_| ()).unwrap();
        bus.subscribe("outer", move |_| {
            let bus = weak.upgrade().unwrap();
            let emits = [1_u64, 2, 3].map(|n| bus.emit("inner", n).map_err(EmitError::into_payload).is_ok());
            let refused = bus.emit("inner", 4_u64).unwrap_err();
            sender.send((emits, refused.is_full(), refused.into_payload())).unwrap();
        })
        .unwrap();
        bus.emit("outer", ()).unwrap();
        assert_eq!(results.recv_timeout(GUARD), Ok(([true, false, false], true, 4)), "{overflow:?}");
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{}", end.ledger);
        assert_eq!((end.handled, end.ledger.refused), (2, 3));
    }
}

#[test]
fn two_lanes_that_emit_into_each_other_never_lock_up() {
    let narrow = |name: &str| Lane::new(name).capacity(1);
    let bus = Bus::builder().lane(narrow("ping")).lane(narrow("pong")).build().unwrap();
    let (weak_ping, weak_pong) = (bus.downgrade(), bus.downgrade());
    let (sender, tries) = mpsc::channel();
    let others = sender.clone();
    bus.on("ping")
        .lane("ping")
        .handle(move |_| {
            (0..3).for_each(|_| sender.send(weak_ping.upgrade().map(|bus| bus.emit("pong", ()).is_ok())).unwrap());
        })
        .unwrap();
    bus.on("pong")
        .lane("pong")
        .handle(move |_| {
            (0..3).for_each(|_| others.send(weak_pong.upgrade().map(|bus| bus.emit("ping", ()).is_ok())).unwrap());
        })
        .unwrap();
    for _ in 0..50 {
        bus.emit("ping", ()).unwrap();
        bus.emit("pong", ()).unwrap();
    }
    for _ in 0..300 {
        tries.recv_timeout(GUARD).unwrap();
    }
    let end = bus.shutdown(GUARD);
    assert!(end.ledger.balanced(), "{}", end.ledger);
}

#[test]
fn the_handlers_of_a_lane_run_one_at_a_time_on_its_named_thread() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let (alone, (sender, threads)) = (Mutex::new(()), mpsc::channel());
    let alone = std::sync::Arc::new(alone);
    for topic in ["a", "b", "*"] {
        let (alone, sender) = (alone.clone(), sender.clone());
        let handler = move |_: &Event<'_>| {
            let _alone = alone.try_lock().unwrap();
            sender.send(thread::current().name().map(str::to_owned)).unwrap();
        };
        bus.on(topic).lane("io").handle(handler).unwrap();
    }
    for _ in 0..100 {
        bus.emit("a", ()).unwrap();
        bus.emit("b", ()).unwrap();
    }
    let end = bus.shutdown(GUARD);
    assert_eq!((end.handled, end.failed), (400, 0));
    assert!(threads.try_iter().all(|name| name.as_deref() == Some("nervebus-io")));
}

#[test]
fn two_buses_whose_handlers_emit_on_each_other_do_not_wait_for_each_other() {
    let narrow = || Bus::builder().default_lane(Lane::new("narrow").capacity(1)).build().unwrap();
    let (left, right) = (narrow(), narrow());
    let answer = |to: &Bus| {
        let to = to.downgrade();
        move |_: &Event<'_>| {
            // More answers than there is room for: some are refused, and the handler goes on.
            (0..3).for_each(|_| drop(to.upgrade().map(|bus| bus.emit("ball.thrown", ()))));
        }
    };
    left.subscribe("ball.thrown", answer(&right)).unwrap();
    right.subscribe("ball.thrown", answer(&left)).unwrap();
    left.emit("ball.thrown", ()).unwrap();
    while left.ledger().deliveries().handled < 1_000 {
        thread::yield_now();
    }
    for bus in [left, right] {
        let report = bus.shutdown(GUARD);
        assert!(report.drained && report.ledger.balanced(), "{report}");
    }
}
