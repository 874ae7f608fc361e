//! Rows 2 and 4: the process ends at any byte or between any two operations, and the next one goes on.

use super::*;

/// A log whose every line but the last is whole.
fn text() -> String {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log());
    emit(&bus, 1..=2);
    assert!(bus.shutdown(GUARD).drained);
    disk.text(LOG)
}

#[test]
fn a_log_that_is_cut_at_any_byte_goes_on_and_glues_nothing() {
    let text = text();
    for cut in 0..=text.len() {
        let disk = SimulatedDisk::default();
        disk.put(LOG, &text[..cut]);
        let (bus, _clock) = bus_on(&disk, log());
        emit(&bus, [3]);
        assert!(bus.shutdown(GUARD).drained);
        let after = disk.text(LOG);
        let whole = text[..cut].matches('\n').count();
        let torn = cut > 0 && !text[..cut].ends_with('\n');
        assert!(after.starts_with(&text[..cut]), "what was there stays");
        // A line that lacks nothing but its end is whole once that is there.
        let complete = torn && text[cut..].starts_with('\n');
        let wanted: Vec<u64> = (1..=whole as u64 + u64::from(complete)).chain([3]).collect();
        assert_eq!(numbers(&after), (wanted, usize::from(torn && !complete)), "cut at {cut}: {after}");
        assert_eq!((stats(&bus).torn, stats(&bus).lines), (u64::from(torn), 1));
        assert_eq!(own(&after), vec!["system.audit_recovered"; usize::from(torn)]);
        if torn {
            let offset = text[..cut].rfind('\n').map_or(0, |end| end + 1);
            let line = after[cut..].lines().nth(1).unwrap();
            let record = Record::from_jsonl(line.as_bytes()).unwrap();
            assert_eq!(record.source.as_deref(), Some("nervebus"));
            let payload = &record.payload;
            assert_eq!((&payload["offset"], &payload["bytes"]), (&json!(offset), &json!(cut - offset)));
            assert_eq!(payload["fragment_hash"].is_string(), cfg!(feature = "blake3"));
        }
    }
}

#[test]
fn a_torn_line_is_ended_at_the_start_even_if_nothing_is_emitted() {
    let disk = SimulatedDisk::default();
    disk.put(LOG, "{\"event_type\":\"torn");
    drop(bus_on(&disk, log()));
    let text = disk.text(LOG);
    assert_eq!((text.lines().count(), text.ends_with('\n')), (2, true), "{text}");
    let (bus, _clock) = bus_on(&disk, log());
    assert_eq!(stats(&bus).torn, 0, "it is found once");
    drop(bus);
    assert_eq!(disk.text(LOG), text);
}

/// Runs a log that rotates until the disk fails, and says how many events were written by then.
fn run_until_it_fails(disk: &SimulatedDisk, log: AuditLog) -> u64 {
    let (bus, clock) = bus_on(disk, log);
    let (mut written, mut n) = (0, 0);
    while n < 40 && !stats(&bus).failing {
        n += 1;
        emit(&bus, [n]);
        // What the log says of itself when it fails is an event as well, and comes last.
        let seen = until(&bus, |stats| stats.lag == 0 || stats.failing);
        written = if seen.failing { written } else { n };
    }
    let ending = std::thread::spawn(move || bus.shutdown(Duration::from_secs(1)));
    let since = Instant::now();
    while !ending.is_finished() {
        assert!(since.elapsed() < GUARD);
        clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
    }
    ending.join().unwrap();
    written
}

/// Starts again on what is left, goes on, and holds the log against what was written.
fn go_on(disk: &SimulatedDisk, log: AuditLog, written: u64, what: &str) {
    let (bus, _clock) = bus_on(disk, log);
    emit(&bus, 1_001..=1_020);
    assert!(bus.shutdown(GUARD).drained, "{what}");
    let text = whole(disk);
    let (found, bad) = numbers(&text);
    let (before, after): (Vec<u64>, Vec<u64>) = found.iter().partition(|number| **number < 1_000);
    assert!(before.iter().copied().eq(1..=before.len() as u64), "{what}: none lost, none doubled, in order: {found:?}");
    assert!(before.len() as u64 >= written, "{what}: {written} were written, {found:?} found");
    assert!(after.iter().copied().eq(1_001..=1_020), "{what}: {found:?}");
    assert!(bad <= 1, "{what}: one torn line at most");
    assert!(disk.names().iter().all(|name| !name.ends_with(".tmp")), "{what}: {:?}", disk.names());
}

#[test]
fn a_process_that_ends_between_any_two_operations_of_a_rotation_loses_and_doubles_nothing() {
    for kept in [100, 1_000] {
        let rotating = || log().rotate(1_024, kept);
        let disk = SimulatedDisk::default();
        assert_eq!(run_until_it_fails(&disk, rotating()), 40);
        assert!(disk.names().len() > 4, "{:?}", disk.names());
        let operations = disk.look(|contents| contents.asked);
        for last in 0..operations {
            let disk = SimulatedDisk::default();
            disk.change(|contents| contents.operations = last.max(1));
            let written = run_until_it_fails(&disk, rotating());
            go_on(&disk.copy(), rotating(), written, &format!("killed after {last} operations"));
        }
    }
}

#[test]
fn a_process_that_ends_at_any_byte_of_a_rotating_log_loses_and_doubles_nothing() {
    let rotating = || log().rotate(1_024, 100);
    let disk = SimulatedDisk::default();
    assert_eq!(run_until_it_fails(&disk, rotating()), 40);
    let bytes = whole(&disk).len();
    // A step that is prime to everything visits each place in a line.
    for left in (1..bytes).step_by(13) {
        let disk = SimulatedDisk::default();
        disk.change(|contents| contents.bytes_left = left);
        let written = run_until_it_fails(&disk, rotating());
        go_on(&disk.copy(), rotating(), written, &format!("killed after {left} bytes"));
    }
}

#[test]
fn a_rotated_file_ends_with_a_seal_that_counts_what_stands_before_it() {
    let disk = SimulatedDisk::default();
    for run in 0..3 {
        let (bus, _clock) = bus_on(&disk, log().rotate(2_048, 100));
        emit_written(&bus, run * 20..run * 20 + 20);
        assert!(bus.shutdown(GUARD).drained);
    }
    let names = files(&disk);
    let (active, rotated) = names.split_last().unwrap();
    assert_eq!((active.as_str(), rotated.len() > 3), (LOG, true), "{names:?}");
    for name in rotated {
        let text = disk.text(name);
        let (before, seal) = text.trim_end().rsplit_once('\n').unwrap();
        let seal = Record::from_jsonl(seal.as_bytes()).unwrap();
        assert_eq!(seal.event_type, "system.audit_sealed");
        let wanted = json!({"lines": before.lines().count(), "bytes": before.len() + 1});
        assert_eq!(seal.payload, wanted, "{name}");
        assert!(before.len() < 2_048, "the limit is kept");
    }
    assert_eq!(numbers(&whole(&disk)), ((0..60).collect(), 0));
    assert_eq!(own(&whole(&disk)).len(), rotated.len(), "one seal for each");
}

#[test]
fn a_file_that_was_sealed_and_not_yet_renamed_is_put_aside_at_the_next_start() {
    let disk = SimulatedDisk::default();
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 5));
    emit_written(&bus, 1..=6);
    drop(bus);
    // As if the process had been killed right before the rename.
    let sealed = disk.text("events.1.jsonl");
    let disk = SimulatedDisk::default();
    disk.put(LOG, &sealed);
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 5));
    emit_written(&bus, [7]);
    drop(bus);
    assert_eq!(disk.text("events.1.jsonl"), sealed);
    assert_eq!(numbers(&disk.text(LOG)), (vec![7], 0));
}

#[test]
fn at_most_so_many_rotated_files_are_kept_and_gaps_and_strays_go() {
    let disk = SimulatedDisk::default();
    for (name, n) in [("events.2.jsonl", 1), ("events.3.jsonl", 2), ("events.9.jsonl", 3), ("other.9.jsonl", 4)] {
        disk.put(name, Record::new("t", json!({"n": n})).to_jsonl() + "\n");
    }
    disk.put("events.2.jsonl.zst", "left over");
    disk.put("events.7.jsonl.zst.tmp", "left over");
    let (bus, _clock) = bus_on(&disk, log().rotate(1_024, 3));
    assert_eq!(disk.names().len(), 5, "leftovers are gone at the start: {:?}", disk.names());
    emit_written(&bus, 10..=16);
    let names = files(&disk);
    assert_eq!(names, ["other.9.jsonl", "events.3.jsonl", "events.2.jsonl", "events.1.jsonl", LOG]);
    assert_eq!(numbers(&disk.text("events.2.jsonl")).0, [1], "what was behind a gap has not moved");
    emit_written(&bus, 17..=60);
    drop(bus);
    assert_eq!(files(&disk), names);
    let (found, _) =
        numbers(&["events.3.jsonl", "events.2.jsonl", "events.1.jsonl", LOG].map(|name| disk.text(name)).concat());
    assert!(found.iter().copied().eq(found[0]..=60), "the newest are kept, whole: {found:?}");
}

#[test]
fn a_file_is_put_aside_when_it_is_old_even_if_nothing_more_comes() {
    let disk = SimulatedDisk::default();
    let hour = Duration::from_secs(3_600);
    let (bus, clock) = bus_on(&disk, log().rotate_every(hour));
    emit_written(&bus, [1]);
    let since = Instant::now();
    while disk.names().len() == 1 {
        assert!(since.elapsed() < GUARD, "the file is put aside");
        clock.advance(hour);
        std::thread::yield_now();
    }
    assert_eq!(numbers(&disk.text("events.1.jsonl")), (vec![1], 0));
    assert_eq!(disk.text(LOG), "");
    clock.advance(hour * 10);
    emit_written(&bus, [2]);
    drop(bus);
    assert_eq!(numbers(&disk.text(LOG)), (vec![2], 0), "an empty file does not grow old, and is not put aside");
    assert_eq!(disk.names().len(), 2);

    // By the time of its first line, for a file of an earlier run.
    let clock = ManualClock::new();
    clock.set_wall(std::time::SystemTime::now() + hour * 2);
    let builder = Bus::builder().storage(Box::new(disk.clone())).clock(&clock);
    let bus = builder.audit(log().rotate_every(hour)).build().unwrap();
    emit_written(&bus, [3]);
    assert_eq!(numbers(&disk.text("events.1.jsonl")), (vec![2], 0));
    assert_eq!(numbers(&disk.text(LOG)), (vec![3], 0));
}
