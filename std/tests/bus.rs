//! Handles: clones are one bus, weak ones keep nothing alive, and the last one ends it.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test reads a file, and stops at the first surprise"
)]

#[path = "support/held.rs"]
mod held;

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use nervebus::{AuditLog, Bus, WeakBus};

use held::held;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Waits until the other end is gone with all that it was part of.
fn until_gone<T>(receiver: &Receiver<T>) {
    while match receiver.recv_timeout(GUARD) {
        Ok(_) => true,
        Err(RecvTimeoutError::Disconnected) => false,
        Err(RecvTimeoutError::Timeout) => panic!("it is still there"),
    } {}
}

#[test]
fn clones_are_the_same_bus() {
    let bus = Bus::builder().build().unwrap();
    let other = bus.clone();
    let id = bus.subscribe("t", |_| Err("no")).unwrap();
    assert!(!other.emit_and_wait("t", ()).unwrap().all_handled());
    assert_eq!((bus.ledger().emitted, bus.dead_letters().total()), (1, 1));
    assert!(other.unsubscribe(id) && !bus.unsubscribe(id));
    assert!(other.shutdown(GUARD).drained);
    assert!(bus.emit("t", ()).unwrap_err().is_closed());
}

#[test]
fn handles_go_to_other_threads() {
    fn goes<T: Send + Sync + 'static>() {}
    goes::<Bus>();
    goes::<WeakBus>();
    goes::<nervebus::Publisher>();
    goes::<nervebus::DeadLetter>();
    goes::<nervebus::ShutdownReport>();
    goes::<nervebus::EmitError<u8>>();
}

#[test]
fn a_weak_handle_leads_to_the_bus_as_long_as_it_lives() {
    let bus = Bus::builder().build().unwrap();
    let weak = bus.downgrade();
    weak.upgrade().unwrap().subscribe("t", |_| ()).unwrap();
    assert!(weak.clone().upgrade().unwrap().emit_and_wait("t", ()).unwrap().all_handled());
    let other = bus.clone();
    drop(bus);
    assert!(weak.upgrade().is_some(), "another handle is there");
    drop(other);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_handler_with_a_weak_handle_does_not_keep_its_bus_alive() {
    let bus = Bus::builder().build().unwrap();
    let (weak, (sender, receiver)) = (bus.downgrade(), mpsc::channel());
    bus.subscribe("t", move |_| sender.send(weak.upgrade().is_some()).unwrap()).unwrap();
    bus.emit("t", ()).unwrap();
    assert_eq!(receiver.recv_timeout(GUARD), Ok(true));
    drop(bus);
    until_gone(&receiver);
}

#[test]
fn dropping_the_last_handle_delivers_what_waits() {
    let bus = Bus::builder().build().unwrap();
    let (handler, begun, go) = held();
    bus.subscribe("t", handler).unwrap();
    (0..500).for_each(|n| assert!(bus.emit("t", n).is_ok()));
    let other = bus.clone();
    drop(bus);
    begun.recv_timeout(GUARD).unwrap();
    drop(go);
    drop(other);
    assert_eq!(begun.try_iter().count(), 499, "they have been delivered when the drop is done");
    until_gone(&begun);
}

#[test]
fn a_bus_that_was_shut_down_ends_its_threads_and_drops_its_handlers() {
    let bus = Bus::builder().build().unwrap();
    let (sender, receiver) = mpsc::channel::<()>();
    let owned = sender.clone();
    bus.on("t").inline().handle(move |_| owned.send(()).unwrap()).unwrap();
    bus.on("t").handle(move |_| sender.send(()).unwrap()).unwrap();
    bus.emit("t", ()).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);
    until_gone(&receiver);
}

/// Drops the last handle inside a handler, while an event waits behind it.
fn last_handle_inside_a_handler(bus: Bus) {
    let (sender, receiver) = mpsc::channel();
    let (weak, (go, gone)) = (bus.downgrade(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    bus.subscribe("t", move |event| {
        let bus = weak.upgrade();
        sender.send((event.seq(), bus.is_some())).unwrap();
        let _ = gone.lock().unwrap().recv();
    })
    .unwrap();
    bus.emit("t", ()).unwrap();
    assert_eq!(receiver.recv_timeout(GUARD), Ok((1, true)));
    bus.emit("t", ()).unwrap();
    drop(bus);
    drop(go);
    assert_eq!(receiver.recv_timeout(GUARD), Ok((2, false)), "what waits is delivered");
    until_gone(&receiver);
}

#[test]
fn a_bus_whose_last_handle_is_dropped_inside_a_handler_delivers_what_waits_and_ends() {
    last_handle_inside_a_handler(Bus::builder().build().unwrap());
}

#[test]
fn so_does_one_with_an_audit_log() {
    let path = std::env::temp_dir().join(format!("nervebus-bus-last-handle-{}.jsonl", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    assert_eq!(bus.audit_path(), Some(&*path));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| last_handle_inside_a_handler(bus)));
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    std::fs::remove_file(&path).unwrap();
    assert!(ended.is_ok(), "the audit log's thread goes on for ever");
    assert_eq!(lines, 2);
}
