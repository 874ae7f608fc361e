//! Whether the bus is ready, and why not.

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use nervebus::console::Console;
use nervebus::{AuditLog, Bus, Lane, ManualClock, json};
use serde_json::Value;

use crate::client::{GUARD, Served};
use crate::folder::Folder;
use crate::until::until;

fn reasons(served: &Served) -> (u16, Value) {
    let answer = served.get("/health");
    let body = answer.json();
    assert_eq!(body["status"], if answer.status == 200 { "ready" } else { "not_ready" }, "{body}");
    (answer.status, body["reasons"].clone())
}

/// A bus whose one worker is held up by its first event, and what lets it go. The lane has room for four.
fn held_up() -> (Bus, mpsc::Sender<()>) {
    let bus = Bus::builder().lane(Lane::new("mail").capacity(4)).build().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let (here, arrived) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let handler = move |_: &nervebus::Event<'_>| {
        let _ = here.send(());
        let _ = wait.lock().unwrap().recv();
    };
    bus.on("mail.send").lane("mail").handle(handler).unwrap();
    bus.emit("mail.send", json!({})).unwrap();
    arrived.recv_timeout(GUARD).unwrap();
    (bus, go)
}

#[test]
fn a_lane_is_not_ready_above_the_limit_and_is_again_below_it() {
    let (bus, go) = held_up();
    let served = Served::of(Console::of(&bus).max_lag(1));
    bus.emit("mail.send", json!({})).unwrap();
    until(|| bus.stats().lanes.iter().any(|lane| lane.name == "mail" && lane.len == 1));
    assert_eq!(reasons(&served), (200, json!([])));
    bus.emit("mail.send", json!({})).unwrap();
    let message = "2 events wait on lane \"mail\", more than 1";
    assert_eq!(reasons(&served), (503, json!([{"reason": "lane_lag", "lane": "mail", "message": message}])));
    assert_eq!(served.get("/health/live").status, 200);
    drop(go);
    until(|| reasons(&served).0 == 200);
}

#[test]
fn without_a_limit_a_lane_without_room_is_not_ready() {
    let (bus, _go) = held_up();
    let served = Served::of(Console::of(&bus));
    let full = |bus: &Bus| bus.stats().lanes.iter().any(|lane| lane.name == "mail" && lane.free_slots == 0);
    assert_eq!(reasons(&served), (200, json!([])));
    while !full(&bus) {
        bus.emit("mail.send", json!({})).unwrap();
    }
    let message = "lane \"mail\" is full with 4 events";
    assert_eq!(reasons(&served), (503, json!([{"reason": "lane_lag", "lane": "mail", "message": message}])));
}

#[test]
fn a_bus_that_shuts_down_is_not_ready() {
    let bus = Bus::builder().build().unwrap();
    let served = Served::of(Console::of(&bus));
    assert_eq!(reasons(&served), (200, json!([])));
    bus.shutdown(GUARD);
    let (status, reasons) = reasons(&served);
    assert_eq!((status, &reasons[0]["reason"], reasons.as_array().map(Vec::len)), (503, &json!("closed"), Some(1)));
}

#[test]
fn a_lane_that_nobody_serves_is_not_ready() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).max_abandoned(0).build().unwrap();
    let (here, arrived) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let handler = move |_: &nervebus::Event<'_>| {
        let _ = here.send(());
        let _ = wait.lock().unwrap().recv();
    };
    bus.on("job.run").timeout(Duration::from_secs(1)).handle(handler).unwrap();
    let served = Served::of(Console::of(&bus));
    bus.emit("job.run", json!({})).unwrap();
    arrived.recv_timeout(GUARD).unwrap();
    assert_eq!(reasons(&served), (200, json!([])));
    clock.advance(Duration::from_secs(1));
    until(|| bus.stats().lanes.iter().any(|lane| !lane.healthy));
    let lane = bus.stats().lanes[0].name.clone();
    let message = format!("nobody serves lane {lane:?}");
    assert_eq!(reasons(&served), (503, json!([{"reason": "lane_unserved", "lane": lane, "message": message}])));
    drop(go);
    until(|| reasons(&served).0 == 200);
}

#[test]
fn an_audit_log_that_cannot_be_written_is_not_ready() {
    let folder = Folder::of("console-audit");
    let logs = folder.path().join("logs");
    let bus = Bus::builder().audit(AuditLog::at(logs.join("events.jsonl"))).build().unwrap();
    let served = Served::of(Console::of(&bus));
    bus.emit("order.placed", json!({})).unwrap();
    until(|| bus.stats().audit.is_some_and(|audit| audit.lag == 0));
    assert_eq!(reasons(&served), (200, json!([])));
    fs::remove_dir_all(&logs).unwrap();
    fs::write(&logs, "no folder").unwrap();
    bus.emit("order.placed", json!({})).unwrap();
    until(|| bus.stats().audit.is_some_and(|audit| audit.failing));
    let (status, reasons) = reasons(&served);
    assert_eq!((status, &reasons[0]["reason"]), (503, &json!("audit_failing")), "{reasons}");
    fs::remove_file(&logs).unwrap();
}
