//! Rows 8 and 11: files and rights that go away under the log.

use super::*;

#[test]
fn a_file_that_is_removed_is_begun_again_with_the_batch_that_was_just_written() {
    let disk = SimulatedDisk::default();
    let (bus, clock) = bus_on(&disk, log());
    let told = told(&bus);
    emit_written(&bus, 1..=3);
    disk.take_away(LOG);
    emit(&bus, [4]);
    let (topic, error) = heard(&told);
    assert_eq!((topic.as_str(), &error["error"]), ("system.audit_error", &json!("the file was removed")));
    until_later(&bus, &clock, |stats| stats.lag == 0 && !stats.failing);
    assert_eq!(heard(&told).0, "system.audit_resumed");
    emit_written(&bus, [5]);
    drop(bus);
    assert_eq!(numbers(&disk.text(LOG)), (vec![4, 5], 0));
    assert!(told.try_recv().is_err());
}

#[test]
fn a_file_that_is_moved_away_keeps_its_lines_and_another_is_begun() {
    use crate::platform::storage::Storage as _;

    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log());
    emit_written(&bus, 1..=3);
    disk.rename(LOG.as_ref(), "moved".as_ref()).unwrap();
    emit_written(&bus, 4..=6);
    drop(bus);
    let (moved, rest) = (numbers(&disk.text("moved")).0, numbers(&disk.text(LOG)).0);
    assert_eq!([moved, rest].concat(), [1, 2, 3, 4, 5, 6], "none lost, none doubled");
}

#[test]
fn a_file_that_cannot_be_opened_again_is_tried_until_it_can() {
    let disk = SimulatedDisk::default();
    let (bus, clock) = bus_on(&disk, log());
    let told = told(&bus);
    emit_written(&bus, [1]);
    disk.change(|contents| contents.refuses_opening = true);
    disk.take_away(LOG);
    emit(&bus, [2]);
    assert_eq!(heard(&told).0, "system.audit_error");
    until_later(&bus, &clock, |stats| stats.errors >= 3);
    disk.change(|contents| contents.refuses_opening = false);
    until_later(&bus, &clock, |stats| stats.lag == 0 && !stats.failing);
    assert_eq!(heard(&told).0, "system.audit_resumed");
    drop(bus);
    assert_eq!(numbers(&disk.text(LOG)), (vec![2], 0));
}

#[test]
fn a_log_that_may_not_rename_goes_on_in_the_same_file_and_says_so_once() {
    let disk = SimulatedDisk::default();
    let (bus, clock) = bus_on(&disk, log().rotate(1_024, 3));
    let told = told(&bus);
    disk.change(|contents| contents.refuses_renames = true);
    emit_written(&bus, 1..=20);
    let (topic, error) = heard(&told);
    assert_eq!((topic.as_str(), &error["action"]), ("system.audit_error", &json!("rotate")));
    assert!(disk.names() == [LOG] && stats(&bus).failing);
    assert_eq!(numbers(&disk.text(LOG)), ((1..=20).collect(), 0));
    disk.change(|contents| contents.refuses_renames = false);
    clock.advance(Duration::from_secs(10));
    emit_written(&bus, [21]);
    assert_eq!(heard(&told).0, "system.audit_resumed");
    drop(bus);
    assert!(told.try_recv().is_err());
    assert_eq!(numbers(&whole(&disk)), ((1..=21).collect(), 0));
    assert!(disk.names().len() == 2);
}
