//! Row 7: the disk is full, then there is room again.

use std::thread;
use std::time::Duration;

use super::*;
use crate::{EmitError, Overflow};

#[test]
fn what_was_written_in_part_is_completed_and_nothing_is_lost_when_there_is_room_again() {
    let disk = SimulatedDisk::with_room(200);
    let (bus, clock) = bus_on(&disk, log());
    let told = told(&bus);
    emit(&bus, 1..=5);
    let (topic, error) = heard(&told);
    assert_eq!(
        (topic.as_str(), &error["action"], &error["lines_lost"]),
        ("system.audit_error", &json!("write"), &json!(0))
    );
    let full = until_later(&bus, &clock, |stats| stats.errors >= 4);
    assert!(full.failing && full.dropped == 0 && full.last_error.is_some(), "{full:?}");
    assert_eq!(disk.text(LOG).len(), 200);

    disk.change(|contents| contents.room = 100_000);
    until_later(&bus, &clock, |stats| stats.lag == 0);
    let (topic, resumed) = heard(&told);
    assert_eq!((topic.as_str(), &resumed["lines_lost"]), ("system.audit_resumed", &json!(0)));
    assert!(resumed["failed_for_seconds"].as_f64().unwrap() > 0.0);
    emit(&bus, 6..=7);
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert!(told.try_recv().is_err(), "one report for one episode");
    let text = disk.text(LOG);
    assert_eq!(numbers(&text), ((1..=7).collect(), 0), "{text}");
    assert_eq!(own(&text), ["system.audit_error", "system.audit_resumed"]);
    let stats = stats(&bus);
    assert_eq!((stats.lines, stats.dropped, stats.failing), (9, 0, false));
}

#[test]
fn each_attempt_waits_twice_as_long_as_the_one_before() {
    let disk = SimulatedDisk::with_room(0);
    let (bus, clock) = bus_on(&disk, log());
    emit(&bus, [1]);
    until(&bus, |stats| stats.errors == 1);
    for (errors, wait) in [(2, 10), (3, 20), (4, 40), (5, 80)] {
        let since = Instant::now();
        while clock.parked() < 2 {
            assert!(since.elapsed() < GUARD, "the writer and the timer wait for the clock");
            thread::yield_now();
        }
        clock.advance(Duration::from_millis(wait - 1));
        let asked = disk.look(|contents| contents.asked);
        let since = Instant::now();
        while clock.parked() < 2 {
            assert!(since.elapsed() < GUARD, "they wait for more");
            thread::yield_now();
        }
        assert_eq!(disk.look(|contents| contents.asked), asked, "it is not time yet");
        clock.advance(Duration::from_millis(1));
        until(&bus, |stats| stats.errors == errors);
    }
    disk.change(|contents| contents.room = usize::MAX);
    assert!(bus.shutdown(GUARD).drained);
}

#[test]
fn an_emitter_that_would_block_is_told_at_once_while_the_log_fails() {
    let disk = SimulatedDisk::with_room(0);
    let (bus, clock) = bus_on(&disk, log().capacity(4));
    bus.emit("t", json!({"n": 1})).unwrap();
    // The event, and the report of the failure.
    until(&bus, |stats| stats.failing && stats.lag == 2);
    // Others wait in the lane behind them until it is full.
    let refused = (2..20).find_map(|n| bus.emit("t", json!({"n": n})).err()).unwrap();
    assert!(matches!(&refused, EmitError::AuditFailing { payload } if payload["n"].is_u64()), "{refused}");
    assert!(refused.is_full());
    assert_eq!(refused.to_string(), "the audit log cannot be written, and has no more room");
    assert_eq!(stats(&bus).dropped, 0, "who is refused has no line to lose");

    disk.change(|contents| contents.room = usize::MAX);
    until_later(&bus, &clock, |stats| stats.lag == 0);
    emit(&bus, [100]);
    assert!(bus.shutdown(GUARD).drained);
    let (numbers, bad) = numbers(&disk.text(LOG));
    assert_eq!((numbers.last(), bad), (Some(&100), 0));
    assert!(!numbers.contains(&refused.into_payload()["n"].as_u64().unwrap()));
}

#[test]
fn an_emitter_that_waits_already_is_told_when_the_log_begins_to_fail() {
    let disk = SimulatedDisk::with_room(0);
    disk.change(|contents| contents.hangs = true);
    let (bus, _clock) = bus_on(&disk, log().capacity(1));
    emit(&bus, [1]);
    disk.wait_until_it_hangs();
    emit(&bus, [2]);
    let emitter = {
        let bus = bus.clone();
        thread::spawn(move || bus.emit("t", json!({"n": 3})).unwrap_err())
    };
    let since = Instant::now();
    while bus.ledger().emitting == 0 {
        assert!(since.elapsed() < GUARD);
        thread::yield_now();
    }
    disk.change(|contents| contents.hangs = false);
    assert!(matches!(emitter.join().unwrap(), EmitError::AuditFailing { .. }));
    disk.change(|contents| contents.room = usize::MAX);
    assert!(bus.shutdown(GUARD).drained);
}

#[test]
fn policies_that_drop_go_on_and_count_and_the_batch_at_hand_is_written_later() {
    for (policy, kept) in [(Overflow::DropNewest, &[1, 2][..]), (Overflow::DropOldest, &[1, 19, 20])] {
        let disk = SimulatedDisk::with_room(0);
        let (bus, clock) = bus_on(&disk, log().capacity(2).overflow(policy));
        let told = told(&bus);
        emit(&bus, [1]);
        heard(&told);
        // One of the two places has the report.
        emit(&bus, 2..=20);
        let full = stats(&bus);
        assert_eq!((full.dropped, full.lag, full.lines), (18, 3, 0), "{policy:?}");
        disk.change(|contents| contents.room = usize::MAX);
        until_later(&bus, &clock, |stats| stats.lag == 0);
        assert!(bus.shutdown(GUARD).ledger.balanced());
        let (numbers, bad) = numbers(&disk.text(LOG));
        assert_eq!(bad, 0);
        assert!(numbers.iter().all(|number| kept.contains(number)), "{policy:?}: {numbers:?}");
        let stats = stats(&bus);
        assert_eq!(stats.lines + stats.dropped, bus.ledger().emitted + bus.ledger().system);
    }
}

#[test]
fn a_shutdown_ends_at_its_deadline_and_counts_what_is_lost() {
    let disk = SimulatedDisk::with_room(250);
    let (bus, clock) = bus_on(&disk, log());
    emit(&bus, 1..=100);
    until(&bus, |stats| stats.failing);
    let ending = {
        let bus = bus.clone();
        thread::spawn(move || bus.shutdown(Duration::from_secs(60)))
    };
    let since = Instant::now();
    while !ending.is_finished() {
        assert!(since.elapsed() < GUARD, "the shutdown ends by its deadline");
        clock.advance(Duration::from_secs(1));
        thread::yield_now();
    }
    let report = ending.join().unwrap();
    assert!(report.ledger.balanced(), "{report}\n{}", report.ledger);
    let stats = stats(&bus);
    assert_eq!(stats.lines, 1, "one fitted whole");
    assert_eq!(stats.lines + stats.dropped, bus.ledger().emitted + bus.ledger().system, "{stats:?}");
    assert_eq!(stats.lag, 0);
}

#[test]
fn writes_that_take_a_byte_at_a_time_make_the_same_lines() {
    let disk = SimulatedDisk::default();
    disk.change(|contents| contents.gulp = 1);
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100));
    emit(&bus, 1..=30);
    assert!(bus.shutdown(GUARD).drained);
    assert_eq!(numbers(&whole(&disk)), ((1..=30).collect(), 0));
}
