//! The audit log on storage that fails: full, torn at any byte, unable to sync or to rename, taken away, hanging.

#[cfg(feature = "blake3")]
mod chained;
#[cfg(feature = "compress")]
mod compressed;
mod disk_full;
mod power;
mod restart;
mod taken_away;

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::platform::storage::simulated::SimulatedDisk;
use crate::{AuditLog, AuditStats, Bus, ManualClock, Record, Value, json};

const GUARD: Duration = Duration::from_secs(30);

/// The file.
const LOG: &str = "events.jsonl";

fn log() -> AuditLog {
    AuditLog::at(LOG)
}

/// A bus on this disk and on a clock that stands still.
fn bus_on(disk: &SimulatedDisk, log: AuditLog) -> (Bus, ManualClock) {
    let clock = ManualClock::new();
    let bus = Bus::builder().storage(Box::new(disk.clone())).clock(&clock).audit(log).build().unwrap();
    (bus, clock)
}

fn stats(bus: &Bus) -> AuditStats {
    bus.stats().audit.unwrap()
}

/// Waits, by looking, until the log is as it should be.
fn until(bus: &Bus, what: impl Fn(&AuditStats) -> bool) -> AuditStats {
    let since = Instant::now();
    loop {
        let stats = stats(bus);
        if what(&stats) {
            return stats;
        }
        assert!(since.elapsed() < GUARD, "{stats:?}");
        std::thread::yield_now();
    }
}

/// Moves the clock on, past one attempt after the other, until the log is as it should be.
fn until_later(bus: &Bus, clock: &ManualClock, what: impl Fn(&AuditStats) -> bool) -> AuditStats {
    until(bus, |stats| {
        clock.advance(Duration::from_millis(1));
        what(stats)
    })
}

/// Emits events with these numbers.
fn emit(bus: &Bus, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
}

/// Emits events with these numbers, each of which is written before the next.
fn emit_written(bus: &Bus, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        emit(bus, [n]);
        until(bus, |stats| stats.lag == 0);
    }
}

/// The numbers of the events in some text, in order; and how many of its lines are no records.
fn numbers(text: &str) -> (Vec<u64>, usize) {
    let records: Vec<_> = text.lines().map(|line| Record::from_jsonl(line.as_bytes())).collect();
    let bad = records.iter().filter(|record| record.is_err()).count();
    let number = |record: Record| (record.event_type == "t").then(|| record.payload["n"].as_u64().unwrap());
    (records.into_iter().flatten().filter_map(number).collect(), bad)
}

/// The types of the log's own lines and of the bus's own events.
fn own(text: &str) -> Vec<String> {
    let records = text.lines().flat_map(|line| Record::from_jsonl(line.as_bytes()));
    records.map(|record| record.event_type).filter(|name| name.starts_with("system.")).collect()
}

/// The files of the log, the oldest first.
fn files(disk: &SimulatedDisk) -> Vec<String> {
    let number = |name: &String| name.split('.').nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    let mut names = disk.names();
    names.sort_by_key(|name| std::cmp::Reverse(number(name)));
    names
}

/// All that is in the log, the oldest first.
fn whole(disk: &SimulatedDisk) -> String {
    files(disk).iter().map(|name| disk.text(name)).collect()
}

/// What the bus says about its log.
fn told(bus: &Bus) -> Receiver<(String, Value)> {
    let (sender, told) = mpsc::channel();
    let sender = Arc::new(sender);
    for topic in ["system.audit_error", "system.audit_resumed"] {
        let sender = Arc::clone(&sender);
        let tell = move |event: &crate::Event<'_>| sender.send((event.topic().to_owned(), event.payload().clone()));
        bus.on(topic).handle(move |event| assert!(tell(event).is_ok())).unwrap();
    }
    told
}

fn heard(told: &Receiver<(String, Value)>) -> (String, Value) {
    told.recv_timeout(GUARD).unwrap()
}
