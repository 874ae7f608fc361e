//! Values of the user's that misbehave when they are dropped: by a panic, by using the bus, or by coming very late.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test starts its own threads")]

use std::cell::RefCell;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Lane, Overflow, WeakBus};
use serde::{Serialize, Serializer};

/// No test waits this long unless something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

impl Serialize for Bomb {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn a_handler_that_panics_when_it_is_dropped_does_not_take_its_lane_with_it() {
    let bus = Bus::builder().wait_limit(GUARD).build().unwrap();
    let bomb = Bomb;
    let id = bus
        .subscribe("topic.a", move |_| {
            let _kept = &bomb;
        })
        .unwrap();
    bus.subscribe("topic.b", |_| ()).unwrap();
    assert!(bus.emit_and_wait("topic.a", ()).unwrap().all_handled());
    assert!(bus.unsubscribe(id));
    // Twice: the first may come before the worker has let go of the handler.
    for _ in 0..2 {
        assert!(bus.emit_and_wait("topic.a", ()).unwrap().all_handled());
        assert!(bus.emit_and_wait("topic.b", ()).unwrap().all_handled());
    }
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
}

#[test]
fn a_payload_that_panics_when_it_is_displaced_is_counted_like_any_other() {
    let lane = Lane::new("small").capacity(1).overflow(Overflow::DropOldest);
    let bus = Bus::builder().lane(lane).build().unwrap();
    let (hold, held) = (mpsc::channel::<()>(), mpsc::channel());
    let (release, released) = hold;
    let released = std::sync::Mutex::new(released);
    bus.on("topic.held")
        .lane("small")
        .handle(move |_| {
            held.0.send(()).unwrap();
            let _ = released.lock().unwrap().recv_timeout(GUARD);
        })
        .unwrap();
    bus.on("topic.bomb").lane("small").handle(|_| ()).unwrap();
    bus.emit("topic.held", ()).unwrap();
    held.1.recv_timeout(GUARD).unwrap();
    for _ in 0..3 {
        assert_eq!(bus.emit("topic.bomb", Bomb).unwrap().admitted(), 1);
    }
    release.send(()).unwrap();
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    assert_eq!(report.ledger.deliveries().dropped, 2);
}

/// Looks into the dead letters of its bus, and emits, when it is dropped.
struct Inspector(WeakBus);

impl Serialize for Inspector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        if let Some(bus) = self.0.upgrade() {
            let _ = (bus.dead_letters().len(), bus.emit("inspector.gone", ()));
        }
    }
}

#[test]
fn a_dead_letter_that_makes_way_for_a_newer_one_may_use_the_bus() {
    let bus = Bus::builder().dead_letters(1).wait_limit(GUARD).build().unwrap();
    bus.subscribe("topic.bad", |_| Err("no")).unwrap();
    for _ in 0..3 {
        assert_eq!(bus.emit_and_wait("topic.bad", Inspector(bus.downgrade())).unwrap().failures().count(), 1);
    }
    assert_eq!((bus.dead_letters().len(), bus.dead_letters().overwritten()), (1, 2));
    assert!(bus.shutdown(GUARD).drained);
}

/// Emits when its thread ends.
struct LastWord(Bus);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.event("thread.ended", ()).correlation_id("last").emit().unwrap();
    }
}

#[test]
fn a_thread_may_emit_while_it_ends() {
    thread_local!(static LAST: RefCell<Option<LastWord>> = const { RefCell::new(None) });
    let bus = Bus::builder().build().unwrap();
    let (sender, receiver) = mpsc::channel();
    bus.on("thread.*").inline().handle(move |event| sender.send(event.correlation_id().map(str::to_owned))).unwrap();
    let word = LastWord(bus.clone());
    thread::spawn(move || {
        LAST.with(|last| *last.borrow_mut() = Some(word));
        // Whatever the bus keeps for this thread was made after `LAST`, and goes before it.
        LAST.with(|last| last.borrow().as_ref().map(|word| word.0.emit("thread.works", ()).unwrap()));
    })
    .join()
    .unwrap();
    assert_eq!(receiver.recv_timeout(GUARD), Ok(None));
    assert_eq!(receiver.recv_timeout(GUARD), Ok(Some("last".into())));
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_is_routed_or_not_as_any_other() {
    let bus = Bus::builder().build().unwrap();
    bus.on("topic.a").inline().handle(|_| ()).unwrap();
    assert_eq!(bus.emit("topic.a", Bomb).unwrap().inline().handled, 1);
    assert!(bus.emit("nobody.listens", Bomb).unwrap().is_unrouted());
    let ledger = bus.ledger();
    assert_eq!((ledger.routed, ledger.unrouted, ledger.refused), (1, 1, 0));
    assert!(ledger.balanced());
}
