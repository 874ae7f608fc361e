//! The audit log under faults that are real: processes that are killed, disks that are full, folders that go away.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

mod killed;
mod refused;
mod small_disk;
#[cfg(all(feature = "blake3", feature = "compress"))]
mod tied;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nervebus::{AuditStats, Bus, Record, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);

/// A folder of a test's own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn of(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-audit-faults-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The files of a log, the oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut numbered = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let number = match name.strip_prefix("events.").unwrap().strip_suffix("jsonl").unwrap() {
            "" => 0,
            number => number.strip_suffix('.').unwrap().parse::<u32>().unwrap(),
        };
        numbered.insert(number, path);
    }
    numbered.into_values().rev().collect()
}

/// Every event of type `t` in a log, the oldest first, and how many lines are no records.
fn events(folder: &Path) -> (Vec<Value>, usize) {
    let (mut events, mut bad) = (Vec::new(), 0);
    for path in files(folder) {
        for line in fs::read_to_string(&path).unwrap().lines() {
            match Record::from_jsonl(line.as_bytes()) {
                Ok(record) if record.event_type == "t" => events.push(record.payload),
                Ok(_) => {}
                Err(_) => bad += 1,
            }
        }
    }
    (events, bad)
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

fn emit(bus: &Bus, numbers: std::ops::RangeInclusive<u64>) {
    numbers.for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
}

fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["n"].as_u64().unwrap()).collect()
}
