//! What a reader of an audit log gives out, in which order, and what it says of the rest.

#[path = "support/logs.rs"]
mod logs;

use std::time::{Duration, UNIX_EPOCH};

use logs::{Folder, line, lines, name, named, number, numbers};
use nervebus::{AuditLog, AuditReader, Bus, ReadError, ReadTally, SkipReason, json};
use proptest::prelude::*;

fn open(folder: &Folder) -> AuditReader {
    AuditReader::open(folder.log()).unwrap()
}

fn adds_up(tally: &ReadTally) -> bool {
    tally.lines == tally.matched + tally.other + tally.blank + tally.skipped + tally.unfinished
}

/// A set of three files with a gap in the numbers: events 1 to 12.
fn three_files() -> Folder {
    let folder = Folder::new();
    folder.write("events.5.jsonl", lines(1..=4));
    folder.write("events.1.jsonl", lines(5..=8));
    folder.write("events.jsonl", lines(9..=12));
    folder.write("events.01.jsonl", lines(90..=99));
    folder.write("events.jsonl.new", lines(90..=99));
    folder
}

#[test]
fn the_whole_set_is_read_in_either_order() {
    let folder = three_files();
    assert_eq!(numbers(open(&folder).oldest_first().unwrap()), (1..=12).collect::<Vec<_>>());
    assert_eq!(numbers(open(&folder).newest_first().unwrap()), (1..=12).rev().collect::<Vec<_>>());

    let mut entries = open(&folder).oldest_first().unwrap();
    let sixth = entries.nth(5).unwrap().unwrap();
    assert_eq!((name(&sixth.path), sixth.offset, sixth.line), ("events.1.jsonl", line(5).len() as u64, Some(2)));
    assert_eq!((sixth.seq(), sixth.causation_seq(), sixth.hash()), (Some(6), None, None));
    assert_eq!(sixth.json(), line(6).trim_end());
    let sixth = open(&folder).newest_first().unwrap().nth(6).unwrap().unwrap();
    assert_eq!((number(&sixth), sixth.offset, sixth.line), (6, line(5).len() as u64, None));
}

#[test]
fn filters_narrow_it_and_the_limit_counts_what_passes() {
    let folder = Folder::new();
    folder.write("events.1.jsonl", lines(1..=40) + &named("order.placed", 41));
    folder.write("events.jsonl", lines(42..=60) + &named("chat.room.left", 61));
    let reader = || open(&folder);
    let second = |number: u64| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number);

    assert_eq!(numbers(reader().topic("order.*").unwrap().newest_first().unwrap()), [41]);
    assert_eq!(numbers(reader().topic("*.room.left").unwrap().newest_first().unwrap()), [61]);
    assert_eq!(numbers(reader().topic("chat.*").unwrap().limit(2).newest_first().unwrap()), [61, 60]);
    assert_eq!(numbers(reader().topic("chat.sent").unwrap().limit(2).oldest_first().unwrap()), [1, 2]);
    let span = reader().since(second(39)).until(second(43));
    assert_eq!(numbers(span.oldest_first().unwrap()), [39, 40, 41, 42], "the end does not belong to it");
    assert_eq!(numbers(span.clone().topic("chat.*").unwrap().correlation_id("c-2").newest_first().unwrap()), [42]);
    assert_eq!(numbers(reader().source("web").newest_first().unwrap()), [0; 0]);

    let mut entries = reader().topic("order.*").unwrap().oldest_first().unwrap();
    assert_eq!(entries.by_ref().count(), 1);
    let tally = entries.tally();
    assert_eq!((tally.lines, tally.matched, tally.other, tally.files), (61, 1, 60, 2));
    assert!(adds_up(tally));
}

#[test]
fn a_wrong_pattern_a_missing_log_and_a_folder_are_refused() {
    let folder = Folder::new();
    let missing = AuditReader::open(folder.log()).unwrap_err();
    assert!(matches!(&missing, ReadError::NotThere { path } if *path == folder.log()), "{missing}");
    folder.write("events.1.jsonl", lines(1..=1));
    assert_eq!(numbers(open(&folder).newest_first().unwrap()), [1], "the active file may be missing");
    let refused = open(&folder).topic("chat.").unwrap_err();
    assert!(refused.to_string().starts_with(r#"pattern "chat.": "#), "{refused}");
    let refused = AuditReader::open(std::env::temp_dir()).unwrap_err();
    assert!(refused.to_string().contains("not a regular file"), "{refused}");
}

/// Lines that are no event, each of another kind.
fn bad_lines() -> Vec<Vec<u8>> {
    let whole = line(7).trim_end().to_owned();
    vec![
        b"\xff\xfe\x00bad".to_vec(),
        whole.replace("chat", "ch\0t").into_bytes(),
        [whole.as_bytes(), b"\xc3\x28"].concat(),
        b"[1,2,3]".to_vec(),
        b"{\"level\":\"info\",\"message\":\"foreign\"}".to_vec(),
        whole[..60].to_owned().into_bytes(),
        whole[60..].to_owned().into_bytes(),
        vec![0; 300],
        b"x".repeat(3_000),
    ]
}

#[test]
fn one_bad_line_at_any_position_costs_no_other() {
    let folder = Folder::new();
    let good: Vec<String> = (1..=50).map(line).collect();
    for bad in bad_lines() {
        for position in 0..=50 {
            let mut text: Vec<u8> = good[..position].concat().into_bytes();
            let place = text.len() as u64;
            text.extend_from_slice(&bad);
            text.push(b'\n');
            text.extend_from_slice(good[position..].concat().as_bytes());
            folder.write("events.jsonl", text);
            for newest_first in [false, true] {
                let reader = open(&folder).longest_line(2_000);
                let mut entries =
                    if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
                let mut found = numbers(entries.by_ref());
                if newest_first {
                    found.reverse();
                }
                let tally = entries.tally();
                assert_eq!(found, (1..=50).collect::<Vec<_>>(), "{bad:?} at {position}");
                assert_eq!((tally.lines, tally.skipped), (51, 1), "{bad:?} at {position}");
                let skipped = &tally.first_skipped[0];
                assert_eq!((skipped.offset, skipped.length), (place, bad.len() as u64));
                assert_eq!(skipped.line, (!newest_first).then_some(position as u64 + 1));
                assert_eq!(matches!(skipped.reason, SkipReason::TooLong { limit: 2_000 }), bad.len() == 3_000);
            }
        }
    }
}

#[test]
fn a_skipped_line_is_described_on_one_line() {
    let folder = Folder::new();
    folder.write("events.jsonl", line(1) + "{\"event_type\":\"a.\x1b[31m\r\x07b\"}\n");
    let mut entries = open(&folder).oldest_first().unwrap();
    assert_eq!(entries.by_ref().count(), 1);
    let text = entries.tally().first_skipped[0].to_string();
    assert!(text.contains(&format!("events.jsonl: line 2, byte {}: the line is not JSON", line(1).len())), "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[test]
fn a_last_line_without_an_end_is_an_event_if_it_is_whole_and_unfinished_if_not() {
    let folder = Folder::new();
    for cut in 1..line(2).len() {
        folder.write("events.jsonl", line(1) + &line(2)[..cut]);
        let whole = cut == line(2).len() - 1;
        for mut entries in [open(&folder).oldest_first().unwrap(), open(&folder).newest_first().unwrap()] {
            assert_eq!(entries.by_ref().count(), 1 + usize::from(whole), "{cut}");
            let tally = entries.tally();
            assert_eq!((tally.skipped, tally.unfinished), (0, u64::from(!whole)));
            assert!(adds_up(tally));
        }
    }
    // Nobody writes to a rotated file any more.
    folder.rename("events.jsonl", "events.1.jsonl");
    folder.write("events.1.jsonl", &line(1)[..30]);
    let mut entries = open(&folder).oldest_first().unwrap();
    assert_eq!((entries.by_ref().count(), entries.tally().skipped), (0, 1));
}

#[test]
fn a_line_feed_that_became_another_byte_costs_neither_of_its_lines() {
    let folder = Folder::new();
    for bit in 0..8 {
        let mut text = lines(1..=4).into_bytes();
        let place = lines(1..=2).len() - 1;
        text[place] ^= 1 << bit;
        folder.write("events.jsonl", &text);
        for newest_first in [false, true] {
            let reader = open(&folder);
            let mut entries =
                if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
            let mut found: Vec<_> = entries.by_ref().map(|entry| entry.unwrap()).collect();
            if newest_first {
                found.reverse();
            }
            assert_eq!(found.iter().map(number).collect::<Vec<_>>(), [1, 2, 3, 4], "bit {bit}");
            assert_eq!(found[2].offset, place as u64 + 1);
            assert_eq!((entries.tally().mended, entries.tally().lines), (1, 4));
            assert!(adds_up(entries.tally()));
        }
    }
}

#[test]
fn a_rotation_while_it_is_read_changes_nothing() {
    let folder = three_files();
    for newest_first in [false, true] {
        let reader = open(&folder);
        let mut entries = if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
        let first = number(&entries.next().unwrap().unwrap());
        folder.append("events.jsonl", line(13));
        folder.remove("events.5.jsonl");
        folder.rename("events.1.jsonl", "events.2.jsonl");
        folder.rename("events.jsonl", "events.1.jsonl");
        folder.write("events.jsonl", line(14));
        let mut found = numbers(entries);
        found.push(first);
        found.sort_unstable();
        assert_eq!(found, (1..=12).collect::<Vec<_>>());
        folder.remove("events.2.jsonl");
        folder.write("events.5.jsonl", lines(1..=4));
        folder.write("events.1.jsonl", lines(5..=8));
        folder.write("events.jsonl", lines(9..=12));
    }
}

#[test]
fn lines_that_span_blocks_are_whole_in_either_order() {
    let folder = Folder::new();
    // Blocks are of 64 and 128 KiB; lines of all sizes around that.
    let sizes = [10, 65_000, 65_536, 70_000, 131_071, 131_072, 400_000, 3, 1_000_000, 1];
    let line_of = |(number, size): (usize, usize)| {
        format!("{{\"event_type\":\"a.b\",\"payload\":{{\"n\":{number},\"pad\":\"{}\"}}}}\n", "p".repeat(size))
    };
    let text: String = sizes.into_iter().enumerate().map(line_of).collect();
    folder.write("events.jsonl", &text);
    let sizes_of = |entries: nervebus::AuditEntries| -> Vec<usize> {
        entries.map(|entry| entry.unwrap().record.payload["pad"].as_str().unwrap().len()).collect()
    };
    assert_eq!(sizes_of(open(&folder).oldest_first().unwrap()), sizes);
    let mut backwards = sizes_of(open(&folder).newest_first().unwrap());
    backwards.reverse();
    assert_eq!(backwards, sizes);
}

#[test]
fn a_bus_gives_a_reader_of_its_own_log() {
    let folder = Folder::new();
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).build().unwrap();
    for n in 1..=3 {
        bus.emit("chat.sent", json!({"n": n})).unwrap();
    }
    assert!(bus.shutdown(Duration::from_secs(30)).drained);
    let reader = bus.audit_reader().unwrap().expect("the bus has a log");
    assert_eq!(numbers(reader.topic("chat.*").unwrap().newest_first().unwrap()), [3, 2, 1]);
    assert!(Bus::builder().build().unwrap().audit_reader().unwrap().is_none());
}

/// Pieces of which a log may consist, so that lines that are nearly right are met often.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0_u64..100).prop_map(|n| line(n).into_bytes()),
        2 => (0_u64..100, 0_usize..120).prop_map(|(n, at)| line(n).as_bytes()[..at].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
        2 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"{\"event_type\":".to_vec()),
        1 => Just(b"}{".to_vec()),
        1 => Just(vec![0; 40]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_a_log_and_every_line_is_accounted_for(
        pieces in proptest::collection::vec(piece(), 0..12),
        longest in prop_oneof![Just(16 << 20), 20_usize..200],
    ) {
        let folder = Folder::new();
        let bytes = pieces.concat();
        folder.write("events.jsonl", &bytes);
        let there = bytes.split(|byte| *byte == b'\n').count() - usize::from(bytes.is_empty() || bytes.ends_with(b"\n"));
        let reader = open(&folder).longest_line(longest);
        let (mut oldest, mut newest) = (reader.oldest_first().unwrap(), reader.newest_first().unwrap());
        let forwards: Vec<_> = oldest.by_ref().map(|entry| entry.unwrap()).collect();
        let mut backwards: Vec<_> = newest.by_ref().map(|entry| entry.unwrap()).collect();
        backwards.reverse();
        let places = |entries: &[nervebus::AuditEntry]| -> Vec<(u64, String)> {
            entries.iter().map(|entry| (entry.offset, entry.json().to_owned())).collect()
        };
        prop_assert_eq!(places(&forwards), places(&backwards));
        for tally in [oldest.tally(), newest.tally()] {
            prop_assert!(adds_up(tally), "{:?}", tally);
            prop_assert_eq!(tally.lines, there as u64 + tally.mended);
            prop_assert_eq!(tally.matched as usize, forwards.len());
            prop_assert_eq!(tally.bytes, bytes.len() as u64);
            prop_assert_eq!(tally.first_skipped.len() as u64, tally.skipped);
        }
        for entry in &forwards {
            let at = entry.offset as usize;
            prop_assert_eq!(&bytes[at..at + entry.json().len()], entry.json().as_bytes());
        }
    }
}

#[cfg(feature = "compress")]
mod compressed {
    use super::*;

    /// One frame, or one for each of these pieces.
    fn pack(pieces: &[&[u8]]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| zstd::encode_all(*piece, 3).unwrap()).collect()
    }

    #[test]
    fn compressed_files_are_read_in_either_order() {
        let folder = Folder::new();
        folder.write("events.3.jsonl.zst", pack(&[lines(1..=4).as_bytes()]));
        folder.write("events.2.jsonl", lines(5..=8));
        // The uncompressed one is the truth.
        folder.write("events.2.jsonl.zst", pack(&[lines(90..=99).as_bytes()]));
        folder.write("events.1.jsonl.zst", pack(&[lines(9..=10).as_bytes(), b"", lines(11..=12).as_bytes()]));
        folder.write("events.jsonl", lines(13..=14));
        assert_eq!(numbers(open(&folder).oldest_first().unwrap()), (1..=14).collect::<Vec<_>>());
        assert_eq!(numbers(open(&folder).newest_first().unwrap()), (1..=14).rev().collect::<Vec<_>>());
        let one = AuditReader::open(folder.path("events.1.jsonl.zst")).unwrap();
        assert_eq!(numbers(one.newest_first().unwrap()), [12, 11, 10, 9]);
        assert_eq!(numbers(one.oldest_first().unwrap()), [9, 10, 11, 12]);
    }

    #[test]
    fn windows_and_frames_fit_together_without_losing_a_byte() {
        let folder = Folder::new();
        // More than two windows of 4 MiB.
        let text = lines(0..70_000);
        assert!(text.len() > 9 << 20);
        let (first, rest) = text.as_bytes().split_at(1_234_567);
        let (second, third) = rest.split_at(5_000_000);
        for pieces in [vec![text.as_bytes()], vec![first, second, third], text.as_bytes().chunks(700_001).collect()] {
            folder.write("events.1.jsonl.zst", pack(&pieces));
            let mut entries = open(&folder).newest_first().unwrap();
            let mut expected = 70_000;
            for entry in entries.by_ref() {
                expected -= 1;
                assert_eq!(number(&entry.unwrap()), expected);
            }
            assert_eq!((expected, entries.tally().bytes), (0, text.len() as u64));
        }
    }

    #[test]
    fn a_damaged_file_gives_what_stands_before_the_damage_and_does_not_hide_the_others() {
        let folder = Folder::new();
        let packed = pack(&[lines(1..=4).as_bytes(), lines(5..=8).as_bytes()]);
        folder.write("events.jsonl", lines(9..=10));
        for cut in [1, 30] {
            folder.write("events.1.jsonl.zst", &packed[..packed.len() - cut]);
            for newest_first in [false, true] {
                let reader = open(&folder);
                let mut entries =
                    if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
                let mut found = numbers(entries.by_ref());
                found.sort_unstable();
                assert!(found.starts_with(&[1, 2, 3, 4]) && found.ends_with(&[9, 10]), "{found:?}");
                let tally = entries.tally();
                assert!(tally.skipped >= 1 && adds_up(tally), "{tally:?}");
                let damaged = |skipped: &nervebus::SkippedLine| matches!(skipped.reason, SkipReason::Damaged { .. });
                assert!(tally.first_skipped.iter().any(damaged), "{tally:?}");
            }
        }
    }
}
