//! The chain of hashes across rotations, restarts, torn lines, and compressed files.

use super::*;
use crate::records::audit::chain::{BEGINNING, Chain, split};

/// Follows the chain through some text; the number of lines that have a hash, and of those that have none.
fn follow(text: &str) -> (usize, usize) {
    let (mut chain, mut bare) = (Chain::after(BEGINNING), 0);
    let mut tied = 0;
    for line in text.lines() {
        match split(line.as_bytes()) {
            Some((body, digits)) => {
                tied += 1;
                assert_eq!(&chain.next(body), digits, "line {} is tied to the one before it: {line}", tied + bare);
            }
            None => bare += 1,
        }
    }
    (tied, bare)
}

#[test]
fn the_chain_goes_on_across_files_restarts_and_torn_lines() {
    let disk = SimulatedDisk::default();
    for run in 0..4 {
        let (bus, _clock) = bus_on(&disk, log().rotate(2_048, 100).chain());
        emit(&bus, run * 20..run * 20 + 20);
        assert!(bus.shutdown(GUARD).drained);
        if run == 1 {
            // As a process leaves it that is killed in the middle of a line.
            let torn = disk.text(LOG) + r#"{"event_type":"t","payload":{"n":1},"hash":"0"#;
            disk.put(LOG, torn);
        }
        if run == 2 {
            // As one leaves it that is killed right after the rename.
            let last = files(&disk).len();
            disk.put("events.0.jsonl", "");
            disk.take_away("events.0.jsonl");
            assert_eq!(files(&disk).len(), last);
        }
    }
    let text = whole(&disk);
    let (tied, bare) = follow(&text);
    assert_eq!((numbers(&text), bare), (((0..80).collect(), 1), 1), "all but the torn one");
    assert_eq!(tied, 80 + own(&text).len(), "seals and what was recovered are tied as well");
    assert!(files(&disk).len() > 5);
}

#[test]
fn the_chain_goes_on_when_the_active_file_is_not_there_yet() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100).chain());
    emit_written(&bus, 1..=10);
    drop(bus);
    let before = follow(&whole(&disk)).0;
    // Between the rename of the active file and the making of another.
    disk.put("events.0.jsonl", disk.text(LOG));
    let all = whole(&disk);
    disk.take_away("events.0.jsonl");
    let active = disk.text(LOG);
    disk.take_away(LOG);
    for number in (1..files(&disk).len() as u32 + 1).rev() {
        use crate::platform::storage::Storage as _;
        let path = |number: u32| std::path::PathBuf::from(format!("events.{number}.jsonl"));
        disk.rename(&path(number), &path(number + 1)).unwrap();
    }
    disk.put("events.1.jsonl", active);
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100).chain());
    emit_written(&bus, 11..=12);
    drop(bus);
    assert!(all.len() > 1_024 && follow(&whole(&disk)).0 > before + 1);
    assert_eq!(numbers(&whole(&disk)), ((1..=12).collect(), 0));
}

#[test]
fn a_limit_of_bytes_counts_the_hashes() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(2_048, 100).chain());
    emit(&bus, 0..60);
    drop(bus);
    for name in files(&disk) {
        let text = disk.text(&name);
        let (before, seal) = text.trim_end().rsplit_once('\n').unwrap_or(("", ""));
        let lines = if seal.contains("audit_sealed") { before } else { &text };
        assert!(lines.len() <= 2_048, "{name} has {} bytes", lines.len());
    }
    follow(&whole(&disk));
}

#[test]
fn a_full_disk_does_not_break_the_chain() {
    for room in (100..1_500).step_by(37) {
        let disk = SimulatedDisk::with_room(room);
        let (bus, clock) = bus_on(&disk, log().rotate(1_024, 100).chain());
        emit(&bus, 1..=10);
        until(&bus, |stats| stats.failing);
        disk.change(|contents| contents.room = usize::MAX);
        until_later(&bus, &clock, |stats| stats.lag == 0 && !stats.failing);
        drop(bus);
        assert_eq!(follow(&whole(&disk)).1, 0, "room for {room} bytes");
        assert_eq!(numbers(&whole(&disk)), ((1..=10).collect(), 0));
    }
}

#[test]
fn a_chain_begins_anew_when_the_log_is_cleared() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().chain());
    emit(&bus, 1..=10);
    bus.clear_audit_log().unwrap();
    emit(&bus, 11..=12);
    drop(bus);
    assert_eq!(follow(&whole(&disk)), (2, 0));
}
