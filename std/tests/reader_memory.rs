//! The memory of a reader does not depend on what it reads: counted over the whole process.
//!
//! A program of its own (no test harness), so that nothing else allocates meanwhile.

#[path = "support/logs.rs"]
mod logs;

use std::alloc::System;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};

use logs::{Folder, line, lines};
use nervebus::{AuditReader, SkipReason};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const GIB: u64 = 1 << 30;
const MIB: usize = 1 << 20;

fn main() {
    a_line_of_a_gibibyte();
    many_lines();
    println!("2 passed, 0 failed");
}

/// Two events, between them one line of 1 GiB, which takes no room on the disk.
fn a_line_of_a_gibibyte() {
    let folder = Folder::new();
    folder.write("events.jsonl", line(1));
    let mut file = OpenOptions::new().write(true).open(folder.log()).unwrap();
    file.seek(SeekFrom::Start(line(1).len() as u64 + GIB)).unwrap();
    file.write_all(format!("\n{}", line(2)).as_bytes()).unwrap();
    drop(file);
    for newest_first in [false, true] {
        let region = Region::new(ALLOCATOR);
        let reader = AuditReader::open(folder.log()).unwrap();
        let mut entries = if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
        assert_eq!(entries.by_ref().filter(|entry| entry.is_ok()).count(), 2);
        let skipped = &entries.tally().first_skipped;
        assert_eq!((skipped.len(), skipped[0].offset, skipped[0].length), (1, line(1).len() as u64, GIB));
        assert!(matches!(skipped[0].reason, SkipReason::TooLong { .. }));
        // All that was ever asked for, not only what was held at once: the line up to the limit, and its growing.
        let allocated = region.change().bytes_allocated;
        assert!(allocated < 80 * MIB, "{allocated} bytes allocated, newest first: {newest_first}");
        println!("a line of 1 GiB, newest first: {newest_first}: {} KiB allocated in all", allocated / 1024);
    }
}

/// What is held after each event is the same at the beginning and at the end of a log of 20 MB.
fn many_lines() {
    let folder = Folder::new();
    folder.write("events.1.jsonl", lines(0..60_000));
    folder.write("events.jsonl", lines(60_000..120_000));
    for newest_first in [false, true] {
        let region = Region::new(ALLOCATOR);
        let reader = AuditReader::open(folder.log()).unwrap();
        let entries = if newest_first { reader.newest_first().unwrap() } else { reader.oldest_first().unwrap() };
        let (mut count, mut most) = (0, 0);
        for entry in entries {
            drop(entry.unwrap());
            count += 1;
            let change = region.change();
            // A buffer that grows is counted by how much it grew.
            most = most.max(change.bytes_allocated.saturating_sub(change.bytes_deallocated));
        }
        assert_eq!(count, 120_000);
        assert!(most < MIB, "{most} bytes held, newest first: {newest_first}");
        println!("120,000 events, newest first: {newest_first}: {} KiB held at most", most / 1024);
    }
}
