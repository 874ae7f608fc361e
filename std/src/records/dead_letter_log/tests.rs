//! The log of dead letters on storage that is full, hangs, or cannot put one file in the place of another.

use std::time::Duration;

use crate::platform::storage::simulated::SimulatedDisk;
use crate::{Bus, DeadLetterLog, DeadLetterLogStats, json};

const GUARD: Duration = Duration::from_secs(30);

/// The file.
const LETTERS: &str = "letters";

/// A bus with its letters on this disk, whose handler fails every event on `t`.
fn bus_on(disk: &SimulatedDisk, capacity: usize, queue: usize) -> Bus {
    let log = DeadLetterLog::at(LETTERS).queue(queue);
    let builder = Bus::builder().storage(Box::new(disk.clone())).dead_letters(capacity).dead_letter_log(log);
    let bus = builder.build().unwrap();
    bus.on("t").inline().handle(|_| Err("no")).unwrap();
    bus
}

fn emit(bus: &Bus, numbers: std::ops::RangeInclusive<u64>) {
    numbers.for_each(|n| assert!(bus.emit("t", json!({"n": n})).is_ok()));
}

fn log(bus: &Bus) -> DeadLetterLogStats {
    bus.stats().dead_letters.log.unwrap()
}

/// Waits, by looking, until the writer has dealt with everything.
fn settle(bus: &Bus) -> DeadLetterLogStats {
    while log(bus).lag > 0 {
        crate::platform::threads::yield_now();
    }
    log(bus)
}

fn ids(bus: &Bus) -> Vec<u64> {
    bus.dead_letters().list().iter().map(|letter| letter.id).collect()
}

#[test]
fn a_full_disk_costs_no_letter_and_is_caught_up_with_when_there_is_room_again() {
    let disk = SimulatedDisk::with_room(700);
    let bus = bus_on(&disk, 100, 100);
    emit(&bus, 1..=10);
    let full = settle(&bus);
    assert!(full.stale && full.lost > 0 && full.errors > 0 && full.last_error.is_some(), "{full:?}");
    assert_eq!(bus.dead_letters().len(), 10, "they are in memory all the same");
    assert_eq!(disk.text(LETTERS).len(), 700, "the last line is cut off");
    drop(bus);
    let bus = bus_on(&disk, 100, 100);
    let restored = log(&bus).restored;
    assert!(restored > 0 && restored < 10, "what was written is there: {restored}");
    emit(&bus, 11..=12);
    assert!(settle(&bus).stale);

    disk.change(|contents| contents.room = 100_000);
    bus.dead_letters().remove(1).unwrap();
    let after = settle(&bus);
    assert!(!after.stale && after.rewrites == 1, "{after:?}");
    let kept = ids(&bus);
    assert_eq!(kept.len() as u64, restored + 1);
    drop(bus);
    let bus = bus_on(&disk, 100, 100);
    assert_eq!(ids(&bus), kept);
    assert_eq!(log(&bus).skipped, 0, "no piece is left: {}", disk.text(LETTERS));
}

#[test]
fn a_disk_with_room_again_is_caught_up_with_at_shutdown() {
    let disk = SimulatedDisk::with_room(0);
    let bus = bus_on(&disk, 100, 100);
    emit(&bus, 1..=5);
    assert!(settle(&bus).stale && disk.text(LETTERS).is_empty());
    disk.change(|contents| contents.room = 100_000);
    assert!(bus.shutdown(GUARD).drained);
    assert!(!log(&bus).stale);
    assert_eq!(disk.text(LETTERS).lines().count(), 5);
}

#[test]
fn a_disk_that_hangs_holds_no_handler_up_and_what_did_not_fit_is_written_later() {
    let disk = SimulatedDisk::with_room(1_000_000);
    disk.change(|contents| contents.hangs = true);
    let bus = bus_on(&disk, 50, 4);
    emit(&bus, 1..=1);
    disk.wait_until_it_hangs();
    // With the writer in the middle of a write, four changes fit.
    emit(&bus, 2..=40);
    bus.dead_letters().clear_where(&crate::Query::new().limit(10)).unwrap();
    let hanging = log(&bus);
    assert_eq!((hanging.lost, hanging.lag, hanging.stale), (35 + 10, 5, true));
    assert_eq!(bus.dead_letters().len(), 30);
    let clock = &bus.engine().clock;
    assert!(!bus.engine().dead_letters.flush(clock, clock.now()), "nobody waits for it for ever");

    disk.change(|contents| contents.hangs = false);
    assert!(bus.shutdown(GUARD).drained);
    let after = log(&bus);
    assert_eq!((after.lost, after.lag, after.stale), (45, 0, false));
    drop(bus);
    assert_eq!(ids(&bus_on(&disk, 50, 4)), (11..=40).collect::<Vec<_>>());
}

#[test]
fn a_file_that_cannot_be_replaced_is_appended_to_and_read_back_as_it_is() {
    let disk = SimulatedDisk::with_room(10_000_000);
    disk.change(|contents| contents.refuses_renames = true);
    let bus = bus_on(&disk, 10, 1_000);
    emit(&bus, 1..=300);
    bus.dead_letters().remove(295).unwrap();
    let kept = ids(&bus);
    let state = settle(&bus);
    assert!(state.errors > 0 && state.rewrites == 0 && !state.stale, "{state:?}");
    assert_eq!((state.lost, state.lines), (0, 301));
    drop(bus);
    let bus = bus_on(&disk, 10, 1_000);
    assert_eq!((ids(&bus), log(&bus).surplus, log(&bus).lines), (kept.clone(), 290, 301));
    disk.change(|contents| contents.refuses_renames = false);
    assert!(bus.shutdown(GUARD).drained);
    assert_eq!(disk.text(LETTERS).lines().count(), kept.len());
}

#[test]
fn a_failed_rewrite_is_not_tried_again_for_every_letter() {
    let disk = SimulatedDisk::with_room(10_000_000);
    disk.change(|contents| contents.refuses_renames = true);
    let bus = bus_on(&disk, 1, 1_000);
    for n in 1..=500 {
        emit(&bus, n..=n);
        settle(&bus);
    }
    let errors = log(&bus).errors;
    assert!((1..=10).contains(&errors), "{errors}");
}

#[test]
fn the_piece_of_a_line_is_ended_before_the_next_line() {
    let disk = SimulatedDisk::with_room(300);
    disk.change(|contents| contents.refuses_renames = true);
    let bus = bus_on(&disk, 100, 100);
    emit(&bus, 1..=3);
    assert!(settle(&bus).stale);
    let torn = disk.text(LETTERS);
    assert!(!torn.ends_with('\n'));
    disk.change(|contents| contents.room = 100_000);
    emit(&bus, 4..=4);
    assert!(settle(&bus).stale, "what was lost is lost still");
    let text = disk.text(LETTERS);
    let behind = text.strip_prefix(&torn).unwrap();
    assert!(behind.starts_with("\n{") && behind.ends_with("}\n"), "{behind:?}");
    let log = log(&bus);
    assert_eq!(log.lines, text.lines().count() as u64);
    drop(bus);
    assert!(ids(&bus_on(&disk, 100, 100)).contains(&4));
}
