//! Row 6: syncs, syncs that fail, and the loss of power.

use super::*;
use crate::SyncPolicy;

#[test]
fn what_was_synced_is_there_after_a_power_loss() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 100).sync(SyncPolicy::EachBatch));
    for n in 1..=30 {
        emit_written(&bus, [n]);
        let since = Instant::now();
        while numbers(&whole(&disk.after_power_loss())).0.len() < n as usize {
            assert!(since.elapsed() < GUARD, "{n} is synced");
            std::thread::yield_now();
        }
    }
    let rest = disk.after_power_loss();
    drop(bus);
    let (bus, _clock) = bus_on(&rest, log().rotate(1_024, 100));
    emit(&bus, [31]);
    drop(bus);
    assert_eq!(numbers(&whole(&rest)), ((1..=31).collect(), 0));
}

#[test]
fn what_was_never_synced_is_forgotten_and_that_is_what_never_means() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log());
    emit_written(&bus, 1..=3);
    assert_eq!(whole(&disk.after_power_loss()), "");
    drop(bus);
    assert_eq!(numbers(&whole(&disk.after_power_loss())).0, [1, 2, 3], "a shutdown syncs");
}

#[test]
fn a_log_is_synced_when_its_time_has_come_even_if_nothing_more_does() {
    let disk = SimulatedDisk::default();
    let second = Duration::from_secs(1);
    let (bus, clock) = bus_on(&disk, log().sync(SyncPolicy::Every(second)));
    emit_written(&bus, 1..=3);
    assert_eq!(disk.look(|contents| contents.syncs), 0);
    let since = Instant::now();
    while disk.look(|contents| contents.syncs) == 0 {
        assert!(since.elapsed() < GUARD);
        clock.advance(second);
        std::thread::yield_now();
    }
    assert_eq!(numbers(&whole(&disk.after_power_loss())).0, [1, 2, 3]);
    for _ in 0..100 {
        clock.advance(second);
        std::thread::yield_now();
    }
    assert_eq!(disk.look(|contents| contents.syncs), 1, "there is nothing more to sync");
    drop(bus);
}

#[test]
fn a_failed_sync_is_reported_and_never_tried_again_on_the_same_file() {
    let disk = SimulatedDisk::default();
    let (bus, clock) = bus_on(&disk, log().sync(SyncPolicy::EachBatch));
    let told = told(&bus);
    emit_written(&bus, 1..=2);
    until(&bus, |_| disk.look(|contents| contents.syncs) == 2);
    disk.change(|contents| contents.refuses_syncs = true);
    emit(&bus, [3]);
    let (topic, error) = heard(&told);
    assert_eq!((topic.as_str(), &error["action"]), ("system.audit_error", &json!("sync")));
    // The file that was begun then fails as well, by the report's own line or by this one.
    emit_written(&bus, [4]);
    until(&bus, |stats| stats.errors >= 2);
    disk.change(|contents| contents.refuses_syncs = false);
    clock.advance(Duration::from_secs(1));
    emit_written(&bus, [5]);
    until(&bus, |stats| !stats.failing && stats.lag == 0);
    assert_eq!(heard(&told).0, "system.audit_resumed");
    let rest = disk.after_power_loss();
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert!(stats(&bus).unsynced >= 1 && stats(&bus).rotations >= 1, "{:?}", stats(&bus));
    assert!(told.try_recv().is_err());
    let given_up = disk.text(&files(&disk)[0]);
    assert!(numbers(&given_up).0.starts_with(&[1, 2, 3]), "it is put aside as it is: {given_up}");
    assert!(!own(&given_up).contains(&"system.audit_sealed".to_owned()), "nothing more was written to it");
    let (found, bad) = numbers(&whole(&rest));
    assert!(found.starts_with(&[1, 2]) && found.ends_with(&[5]), "what was synced is there: {found:?}");
    assert!(!found.contains(&3), "what was not is lost, and counted: {found:?}");
    assert_eq!(bad, 0);
}

#[test]
fn a_file_that_can_neither_be_synced_nor_put_aside_is_written_to_and_not_synced_again() {
    let disk = SimulatedDisk::default();
    let (bus, clock) = bus_on(&disk, log().sync(SyncPolicy::EachBatch));
    disk.change(|contents| (contents.refuses_syncs, contents.refuses_renames) = (true, true));
    emit(&bus, [1]);
    until(&bus, |stats| stats.failing && stats.lag == 0);
    disk.change(|contents| contents.refuses_syncs = false);
    emit_written(&bus, 2..=4);
    assert_eq!(disk.look(|contents| contents.syncs), 0, "a sync that says yes now would be worth nothing");
    assert!(stats(&bus).failing);
    disk.change(|contents| contents.refuses_renames = false);
    until_later(&bus, &clock, |stats| {
        emit(&bus, [5]);
        stats.rotations == 1
    });
    until(&bus, |stats| stats.lag == 0 && !stats.failing);
    assert!(disk.look(|contents| contents.syncs) > 0);
    drop(bus);
    assert_eq!(numbers(&disk.text("events.1.jsonl")).0[..4], [1, 2, 3, 4]);
}
