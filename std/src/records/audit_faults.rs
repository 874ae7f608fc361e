//! The audit log on storage that fails: a disk that fills up in the middle of a line, and has room again later.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::platform::storage::{AppendFile, Storage};
use crate::{AuditLog, Bus, Record, json};

/// A disk with room for a number of bytes.
#[derive(Debug, Default, Clone)]
struct SmallDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    room: usize,
}

impl SmallDisk {
    fn with_room(bytes: usize) -> Self {
        let disk = Self::default();
        disk.give(bytes);
        disk
    }

    fn give(&self, bytes: usize) {
        self.0.lock().unwrap().room += bytes;
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().bytes.clone()).unwrap()
    }
}

impl Storage for SmallDisk {
    fn open_append(&self, _: &Path) -> io::Result<(Box<dyn AppendFile>, bool)> {
        Ok((Box::new(self.clone()), false))
    }
}

impl AppendFile for SmallDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut contents = self.0.lock().unwrap();
        let taken = bytes.len().min(contents.room);
        if taken == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        contents.room -= taken;
        contents.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits, by looking, until the writer has tried so many lines.
fn wait_for_lines(bus: &Bus, lines: u64) {
    let audit = || bus.stats().audit.unwrap();
    while audit().lines + audit().dropped < lines {
        crate::platform::threads::yield_now();
    }
}

#[test]
fn a_line_cut_off_by_a_full_disk_is_ended_before_the_next_one_when_there_is_room_again() {
    let disk = SmallDisk::with_room(200);
    let bus = Bus::builder().storage(Box::new(disk.clone())).audit(AuditLog::at("small")).build().unwrap();
    let (errors, seen) = mpsc::channel();
    let handler = move |event: &crate::Event<'_>| errors.send(event["lines_lost"].clone()).unwrap();
    bus.subscribe("system.audit_error", handler).unwrap();

    // One line fits; of the next, a part; the others not at all.
    for number in 0..5 {
        bus.emit("disk.filled", json!({"number": number})).unwrap();
    }
    seen.recv_timeout(Duration::from_secs(30)).expect("a full disk is reported");
    wait_for_lines(&bus, 6);
    let full = bus.stats().audit.unwrap();
    assert!(full.lines == 1 && full.dropped >= 5 && full.errors >= 1, "{full:?}");
    assert_eq!(disk.text().len(), 200);
    assert!(full.last_error.is_some());

    disk.give(10_000);
    bus.emit("disk.freed", json!({})).unwrap();
    let report = bus.shutdown(Duration::from_secs(30));
    assert!(report.drained && report.ledger.balanced(), "{report} {}", report.ledger);
    assert!(seen.try_recv().is_err(), "one report for one episode");

    let text = disk.text();
    let lines: Vec<&str> = text.lines().collect();
    let read: Vec<bool> = lines.iter().map(|line| Record::from_jsonl(line.as_bytes()).is_ok()).collect();
    assert_eq!(read, [true, false, true], "the torn line is alone on its line: {text}");
    assert!(text.ends_with("}\n"));
    let audit = bus.stats().audit.unwrap();
    assert_eq!(audit.lines, 2);
    assert_eq!(audit.lines + audit.dropped, bus.ledger().emitted + bus.ledger().system);
}
