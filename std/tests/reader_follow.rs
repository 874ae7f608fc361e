//! Following a log that grows, is rotated, compressed and taken away.

#[path = "support/logs.rs"]
mod logs;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use logs::{Folder, line, lines, named, number};
use nervebus::{AuditFollow, AuditReader};

fn open(folder: &Folder) -> AuditReader {
    AuditReader::open(folder.log()).unwrap()
}

/// What is there now.
fn drain(follow: &mut AuditFollow) -> Vec<u64> {
    std::iter::from_fn(|| follow.poll().unwrap()).map(|entry| number(&entry)).collect()
}

/// What a writer does: the highest number first, then the active file, then a new one.
fn rotate(folder: &Folder, compress_new: bool) {
    for number in (1..50).rev() {
        for end in ["", ".zst"] {
            let (from, to) = (format!("events.{number}.jsonl{end}"), format!("events.{}.jsonl{end}", number + 1));
            let _ = fs::rename(folder.path(&from), folder.path(&to));
        }
    }
    folder.rename("events.jsonl", "events.1.jsonl");
    folder.write("events.jsonl", "");
    if compress_new {
        compress(folder, 1);
    }
}

#[cfg(feature = "compress")]
fn compress(folder: &Folder, number: u32) {
    let plain = format!("events.{number}.jsonl");
    let packed = zstd::encode_all(&fs::read(folder.path(&plain)).unwrap()[..], 1).unwrap();
    folder.write(&format!("{plain}.zst.tmp"), packed);
    folder.rename(&format!("{plain}.zst.tmp"), &format!("{plain}.zst"));
    folder.remove(&plain);
}

/// Without the feature, files stay as they are.
#[cfg(not(feature = "compress"))]
fn compress(_: &Folder, _: u32) {}

#[test]
fn new_lines_come_once_they_have_an_end() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=3));
    let mut follow = open(&folder).follow().unwrap();
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", lines(4..=5));
    assert_eq!(drain(&mut follow), [4, 5]);
    // Byte by byte, it is there with its last one only.
    let text = line(6);
    for byte in 0..text.len() {
        assert_eq!(drain(&mut follow), [0; 0]);
        folder.append("events.jsonl", &text.as_bytes()[byte..=byte]);
    }
    assert_eq!(drain(&mut follow), [6]);
    assert_eq!((follow.gaps(), follow.tally().skipped, follow.tally().unfinished), (0, 0, 0));
}

#[test]
fn a_piece_of_a_line_at_the_start_is_waited_for() {
    let folder = Folder::new();
    let (begin, end) = (line(2)[..50].to_owned(), line(2)[50..].to_owned());
    folder.write("events.jsonl", line(1) + &begin);
    let mut follow = open(&folder).follow().unwrap();
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", end + &line(3));
    assert_eq!(drain(&mut follow), [2, 3]);
}

#[test]
fn the_last_events_that_pass_come_first_and_then_what_is_new() {
    let folder = Folder::new();
    folder.write("events.2.jsonl", lines(1..=4));
    folder.write("events.1.jsonl", lines(5..=8) + &named("order.placed", 9));
    folder.write("events.jsonl", lines(10..=11));
    let all: Vec<u64> = (1..=12).collect();
    for (count, from) in [(0, 12), (1, 11), (2, 10), (3, 9), (7, 5), (8, 4), (11, 1), (50, 1)] {
        let mut follow = open(&folder).follow_last(count).unwrap();
        folder.append("events.jsonl", line(12));
        assert_eq!(drain(&mut follow), all[from - 1..], "the last {count}");
        folder.write("events.jsonl", lines(10..=11));
    }
    let mut follow = open(&folder).topic("order.*").unwrap().follow_last(5).unwrap();
    folder.append("events.jsonl", named("order.placed", 12) + &line(13));
    assert_eq!(drain(&mut follow), [9, 12]);
    assert_eq!(drain(&mut open(&folder).follow_all().unwrap()), (1..=13).collect::<Vec<_>>());
}

#[test]
fn a_rotation_loses_nothing_and_doubles_nothing() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=3));
    let mut follow = open(&folder).follow_all().unwrap();
    assert_eq!(drain(&mut follow), [1, 2, 3]);
    // Written after the last look, and then renamed.
    folder.append("events.jsonl", lines(4..=5));
    rotate(&folder, false);
    folder.append("events.jsonl", line(6));
    assert_eq!(drain(&mut follow), [4, 5, 6]);
    // Several between two looks.
    for number in 7..=12 {
        folder.append("events.jsonl", line(number));
        rotate(&folder, false);
    }
    assert_eq!(drain(&mut follow), (7..=12).collect::<Vec<_>>());
    folder.append("events.jsonl", line(13));
    assert_eq!(drain(&mut follow), [13]);
    assert_eq!(follow.gaps(), 0);
}

#[test]
fn a_compressed_file_is_known_again() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=3));
    let mut follow = open(&folder).follow_all().unwrap();
    assert_eq!(drain(&mut follow), [1, 2, 3]);
    folder.append("events.jsonl", line(4));
    rotate(&folder, true);
    assert_eq!(drain(&mut follow), [4]);
    folder.append("events.jsonl", line(5));
    rotate(&folder, true);
    folder.append("events.jsonl", line(6));
    rotate(&folder, true);
    folder.append("events.jsonl", line(7));
    assert_eq!(drain(&mut follow), [5, 6, 7]);
    assert_eq!(follow.gaps(), 0);
    // A file that was empty when it was looked at last.
    rotate(&folder, true);
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", line(8));
    rotate(&folder, true);
    assert_eq!(drain(&mut follow), [8]);
    assert_eq!(follow.gaps(), 0);
}

#[test]
fn every_moment_of_a_rotation_can_be_looked_at() {
    let folder = Folder::new();
    folder.write("events.1.jsonl", line(1));
    folder.write("events.jsonl", line(2));
    let mut follow = open(&folder).follow_all().unwrap();
    assert_eq!(drain(&mut follow), [1, 2]);
    folder.rename("events.1.jsonl", "events.2.jsonl");
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", line(3));
    folder.rename("events.jsonl", "events.1.jsonl");
    assert_eq!(drain(&mut follow), [3]);
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.write("events.jsonl", "");
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", line(4));
    assert_eq!(drain(&mut follow), [4]);
    assert_eq!(follow.gaps(), 0);
}

#[test]
fn a_file_that_is_gone_or_emptied_is_a_gap_and_reading_goes_on() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=3));
    let mut follow = open(&folder).follow_all().unwrap();
    assert_eq!(drain(&mut follow), [1, 2, 3]);
    // More rotations than files are kept: 4 is lost.
    folder.append("events.jsonl", line(4));
    folder.remove("events.jsonl");
    folder.write("events.1.jsonl", line(6));
    folder.write("events.jsonl", line(7));
    // It was written to the file that is still open.
    assert_eq!(drain(&mut follow), [4, 6, 7]);
    assert_eq!(follow.gaps(), 1);
    folder.write("events.jsonl", "");
    assert_eq!(drain(&mut follow), [0; 0]);
    folder.append("events.jsonl", line(8));
    assert_eq!((drain(&mut follow), follow.gaps()), (vec![8], 2));
}

#[test]
fn a_piece_of_a_line_that_a_rotation_left_is_skipped() {
    let folder = Folder::new();
    folder.write("events.jsonl", line(1) + &line(2)[..40]);
    let mut follow = open(&folder).follow_all().unwrap();
    assert_eq!((drain(&mut follow), follow.tally().skipped), (vec![1], 0));
    rotate(&folder, false);
    folder.append("events.jsonl", line(3));
    assert_eq!((drain(&mut follow), follow.tally().skipped), (vec![3], 1));
    assert_eq!(follow.tally().first_skipped[0].offset, line(1).len() as u64);
}

#[test]
fn waiting_ends_with_an_event_or_in_time() {
    let folder = Folder::new();
    folder.write("events.jsonl", line(1));
    let mut follow = open(&folder).follow().unwrap().interval(Duration::from_millis(1));
    assert!(follow.next_within(Duration::from_millis(5)).unwrap().is_none());
    let (ready, wait) = mpsc::channel();
    let writer = thread::spawn({
        let path = folder.log();
        move || {
            wait.recv().unwrap();
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, line(2).as_bytes()).unwrap();
        }
    });
    ready.send(()).unwrap();
    let entry = follow.next_within(Duration::from_secs(60)).unwrap().expect("it was written");
    assert_eq!(number(&entry), 2);
    writer.join().unwrap();
}

/// A writer that appends and rotates as fast as it can, beside a follower that looks as often as it can.
#[test]
fn beside_a_writer_that_rotates_all_the_time_every_line_comes_once_and_in_order() {
    const LINES: u64 = 12_000;
    let folder = Arc::new(Folder::new());
    folder.write("events.jsonl", "");
    let mut follow = open(&folder).follow_all().unwrap();
    let writer = thread::spawn({
        let folder = Arc::clone(&folder);
        move || {
            for number in 0..LINES {
                // In two writes, so that the follower meets pieces.
                let text = line(number);
                let (begin, end) = text.split_at(number as usize % text.len());
                folder.append("events.jsonl", begin);
                folder.append("events.jsonl", end);
                if number % 300 == 299 {
                    rotate(&folder, number % 900 == 899);
                }
            }
        }
    });
    let mut next = 0;
    while next < LINES {
        let entry = follow.next_within(Duration::from_secs(60)).unwrap().expect("the writer writes");
        assert_eq!(number(&entry), next);
        next += 1;
    }
    writer.join().unwrap();
    assert!(follow.poll().unwrap().is_none());
    assert_eq!((follow.gaps(), follow.tally().skipped, follow.tally().mended), (0, 0, 0));
}

/// A rotation every other line, so that many come between a look at the end of a file and one at its name.
#[test]
fn what_is_written_just_before_a_rotation_is_not_missed() {
    const LINES: u64 = 1_200;
    let folder = Arc::new(Folder::new());
    folder.write("events.jsonl", "");
    let mut follow = open(&folder).follow_all().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let writer = thread::spawn({
        let (folder, seen) = (Arc::clone(&folder), Arc::clone(&seen));
        move || {
            for number in 0..LINES {
                folder.append("events.jsonl", line(number));
                if number % 2 == 1 {
                    rotate(&folder, false);
                }
                // Not so far ahead that files are removed before they are read.
                while number > seen.load(Ordering::Relaxed) + 40 {
                    thread::yield_now();
                }
            }
        }
    });
    let mut next = 0;
    while next < LINES {
        let Some(entry) = follow.poll().unwrap() else { continue };
        assert_eq!(number(&entry), next);
        next += 1;
        seen.store(next, Ordering::Relaxed);
    }
    writer.join().unwrap();
    assert_eq!(follow.gaps(), 0);
}
