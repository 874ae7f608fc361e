//! What a user says about the audit log's files: how large, how old, how many; compressed, chained, cleared.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{AuditError, AuditLog, Bus, Record, SyncPolicy, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A folder of a test's own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn of(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-audit-log-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> AuditLog {
        AuditLog::at(self.0.join("events.jsonl"))
    }

    fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(&self.0).unwrap().map(name).collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// The numbers of the events in a file.
    fn numbers(&self, name: &str) -> Vec<u64> {
        let records = self.text(name);
        let records = records.lines().map(|line| Record::from_jsonl(line.as_bytes()).unwrap());
        records.filter(|record| record.event_type == "t").map(|record| record.payload.as_u64().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bus(log: AuditLog) -> Bus {
    Bus::builder().audit(log).build().unwrap()
}

fn emit(bus: &Bus, numbers: std::ops::Range<u64>) {
    numbers.for_each(|n| assert!(bus.emit("t", n).is_ok()));
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

#[test]
fn what_is_outside_its_range_is_named_with_its_value_and_its_range() {
    let log = || AuditLog::at("never/made/events.jsonl");
    let refusal = |log: AuditLog| Bus::builder().audit(log).build().unwrap_err().to_string();
    let expected = "audit.rotate, bytes is 1023, outside its range 1024..=1099511627776";
    assert_eq!(refusal(log().rotate(1_023, 5)), expected);
    assert!(refusal(log().rotate((1 << 40) + 1, 5)).starts_with("audit.rotate, bytes is 1099511627777, "));
    assert_eq!(refusal(log().rotate(1_024, 0)), "audit.rotate, files kept is 0, outside its range 1..=1000");
    assert!(refusal(log().rotate(1_024, 1_001)).starts_with("audit.rotate, files kept is 1001, "));
    for age in [Duration::from_millis(999), Duration::from_secs(60 * 60 * 24 * 367), Duration::MAX, Duration::ZERO] {
        assert!(refusal(log().rotate_every(age)).starts_with("audit.rotate_every in nanoseconds is "), "{age:?}");
    }
    for wait in [Duration::ZERO, Duration::from_micros(999), Duration::from_secs(3_601)] {
        assert!(refusal(log().sync(SyncPolicy::Every(wait))).starts_with("audit.sync in nanoseconds is "), "{wait:?}");
    }
    assert!(refusal(log().capacity(0)).starts_with("lane \"audit\".capacity is 0, "));
    assert!(!std::path::Path::new("never").exists(), "nothing was made");
}

#[test]
fn a_log_that_rotates_keeps_so_many_full_files_and_says_how_many_it_has_put_aside() {
    let folder = Folder::of("keep");
    let bus = bus(folder.log().rotate(2_048, 3));
    emit(&bus, 0..200);
    drained(&bus);
    assert_eq!(folder.names(), ["events.1.jsonl", "events.2.jsonl", "events.3.jsonl", "events.jsonl"]);
    let order = ["events.3.jsonl", "events.2.jsonl", "events.1.jsonl", "events.jsonl"];
    let found: Vec<u64> = order.iter().flat_map(|name| folder.numbers(name)).collect();
    assert!(found.iter().copied().eq(found[0]..200), "the newest, whole and in order: {found:?}");
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.lines, stats.dropped, stats.errors, stats.failing), (200, 0, 0, false));
    assert_eq!(stats.file_bytes, folder.text("events.jsonl").len() as u64);
    assert!(stats.rotations > 10 && stats.bytes > 200 * 100, "{stats:?}");
}

#[test]
fn a_log_that_is_cleared_holds_what_came_later_and_nothing_else() {
    let folder = Folder::of("clear");
    let bus = bus(folder.log().rotate(2_048, 3));
    emit(&bus, 0..100);
    bus.clear_audit_log().unwrap();
    assert_eq!((folder.names(), folder.text("events.jsonl").len()), (vec!["events.jsonl".to_owned()], 0));
    emit(&bus, 100..105);
    bus.clear_audit_log().unwrap();
    emit(&bus, 105..110);
    drained(&bus);
    assert_eq!(folder.numbers("events.jsonl"), [105, 106, 107, 108, 109]);
    assert_eq!(bus.stats().audit.unwrap().lines, 110, "they were written");
    assert!(matches!(bus.clear_audit_log(), Err(AuditError::Closed)));
    assert!(matches!(Bus::builder().build().unwrap().clear_audit_log(), Err(AuditError::NoLog)));
}

#[test]
fn emitters_go_on_while_a_log_is_cleared_and_every_event_is_before_or_after() {
    let folder = Folder::of("clear-race");
    let bus = bus(folder.log().capacity(64));
    let emitter = {
        let bus = bus.clone();
        thread::spawn(move || emit(&bus, 0..20_000))
    };
    let mut times = 0;
    while !emitter.is_finished() {
        bus.clear_audit_log().unwrap();
        times += 1;
    }
    emitter.join().unwrap();
    drained(&bus);
    assert!(times > 0);
    let numbers = folder.numbers("events.jsonl");
    assert!(numbers.iter().copied().eq(20_000 - numbers.len() as u64..20_000), "a suffix, whole and in order");
    assert_eq!(bus.stats().audit.unwrap().lines, 20_000);
}

#[test]
fn a_log_is_synced_by_its_policy_without_a_trace_in_it() {
    for policy in [SyncPolicy::Never, SyncPolicy::Every(Duration::from_millis(1)), SyncPolicy::EachBatch] {
        let folder = Folder::of("sync");
        let bus = bus(folder.log().rotate(1_024, 1_000).sync(policy));
        emit(&bus, 0..50);
        drained(&bus);
        assert_eq!(bus.stats().audit.unwrap().unsynced, 0);
        let found: Vec<u64> = folder.names().iter().flat_map(|name| folder.numbers(name)).collect();
        assert_eq!(found.len(), 50, "{policy:?}");
    }
}

#[test]
fn a_file_that_is_old_is_put_aside() {
    let folder = Folder::of("age");
    let clock = nervebus::ManualClock::new();
    let log = folder.log().rotate_every(Duration::from_secs(60));
    let bus = Bus::builder().clock(&clock).audit(log).build().unwrap();
    emit(&bus, 0..3);
    let since = Instant::now();
    while folder.names().len() == 1 {
        assert!(since.elapsed() < GUARD);
        clock.advance(Duration::from_secs(60));
        thread::yield_now();
    }
    emit(&bus, 3..5);
    drained(&bus);
    let found: Vec<u64> = ["events.1.jsonl", "events.jsonl"].iter().flat_map(|name| folder.numbers(name)).collect();
    assert_eq!(found, [0, 1, 2, 3, 4]);
}

#[test]
fn a_payload_that_is_one_long_line_is_a_file_of_its_own() {
    let folder = Folder::of("long");
    let bus = bus(folder.log().rotate(1_024, 10));
    for length in [10, 300_000, 10] {
        bus.emit("long", json!("x".repeat(length))).unwrap();
    }
    drained(&bus);
    assert_eq!(folder.names(), ["events.1.jsonl", "events.2.jsonl", "events.jsonl"]);
    assert!(folder.text("events.1.jsonl").len() > 300_000);
}
