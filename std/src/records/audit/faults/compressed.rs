//! Rotated files that are compressed, and processes that end in the middle of that.

use super::*;
use crate::platform::storage::Storage as _;

/// The text of a file, whether it is compressed or not.
fn plain(disk: &SimulatedDisk, name: &str) -> String {
    let bytes = disk.bytes(name);
    if !name.ends_with(".zst") {
        return String::from_utf8(bytes).unwrap();
    }
    String::from_utf8(zstd::stream::decode_all(&bytes[..]).unwrap()).unwrap()
}

fn all(disk: &SimulatedDisk) -> String {
    files(disk).iter().map(|name| plain(disk, name)).collect()
}

fn compressing() -> AuditLog {
    let log = log().rotate(1_024, 100).compress();
    #[cfg(feature = "blake3")]
    let log = log.chain();
    log
}

#[test]
fn rotated_files_are_compressed_and_hold_what_they_held() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, compressing());
    emit_written(&bus, 1..=40);
    assert!(bus.shutdown(GUARD).drained);
    let names = files(&disk);
    let (active, rotated) = names.split_last().unwrap();
    assert!(active == LOG && rotated.len() > 4 && rotated.iter().all(|name| name.ends_with(".jsonl.zst")), "{names:?}");
    assert_eq!(numbers(&all(&disk)), ((1..=40).collect(), 0));
    assert_eq!(all(&disk.after_power_loss()), all(&disk), "they are on stable storage before the others are removed");
}

#[test]
fn files_that_were_not_compressed_yet_are_at_the_next_start() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100));
    emit_written(&bus, 1..=20);
    drop(bus);
    let rotated = files(&disk).len() - 1;
    disk.put("events.1.jsonl.zst", "left over, and the other is the truth");
    disk.put("events.2.jsonl.zst.tmp", "left over");
    drop(bus_on(&disk, log().rotate(1_024, 100).compress()));
    assert_eq!(disk.names().iter().filter(|name| name.ends_with(".zst")).count(), rotated, "{:?}", disk.names());
    assert_eq!((disk.names().len(), numbers(&all(&disk)).0), (rotated + 1, (1..=20).collect()));
}

#[test]
fn a_process_that_ends_between_any_two_operations_of_a_compression_loses_and_doubles_nothing() {
    let run = |disk: &SimulatedDisk| {
        let (bus, clock) = bus_on(disk, compressing());
        let mut written = 0;
        for n in 1..=14 {
            emit(&bus, [n]);
            let seen = until(&bus, |stats| stats.lag == 0 || stats.failing);
            if seen.failing {
                break;
            }
            written = n;
        }
        let ending = std::thread::spawn(move || bus.shutdown(Duration::from_secs(1)));
        while !ending.is_finished() {
            clock.advance(Duration::from_secs(1));
            std::thread::yield_now();
        }
        ending.join().unwrap();
        written
    };
    let disk = SimulatedDisk::default();
    assert_eq!(run(&disk), 14);
    for last in 1..disk.look(|contents| contents.asked) {
        let disk = SimulatedDisk::default();
        disk.change(|contents| contents.operations = last);
        let written = run(&disk);
        let disk = disk.copy();
        let (bus, _clock) = bus_on(&disk, compressing());
        emit(&bus, 100..=105);
        assert!(bus.shutdown(GUARD).drained);
        let (found, bad) = numbers(&all(&disk));
        let before = found.iter().filter(|number| **number < 100).count() as u64;
        assert!(found.iter().copied().eq((1..=before).chain(100..=105)), "{last}: {found:?} {:?}", disk.names());
        assert!(before >= written && bad <= 1, "{last}: {written} were written, {found:?}");
        assert!(disk.names().iter().all(|name| !name.ends_with(".tmp")), "{:?}", disk.names());
        let twice = |name: &String| disk.size(format!("{name}.zst").as_ref()).unwrap().is_some();
        assert!(!disk.names().iter().any(twice), "{last}: {:?}", disk.names());
    }
}

#[test]
fn what_cannot_be_compressed_stays_as_it_is_and_the_log_goes_on() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100).compress());
    emit_written(&bus, 1..=3);
    disk.change(|contents| contents.refuses_syncs = true);
    emit_written(&bus, 4..=20);
    disk.change(|contents| contents.refuses_syncs = false);
    let stats = stats(&bus);
    assert!(stats.errors > 0 && stats.dropped == 0, "{stats:?}");
    drop(bus);
    assert!(numbers(&all(&disk)).0.into_iter().eq(1..=20));
}
