//! A store that a test tears, fills, fails and robs of its power.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{LogStore, MarkChange, Numbered, OpenLog};

/// A disk with one store on it. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimulatedLog(Arc<Mutex<Disk>>, Arc<AtomicUsize>);

/// One change, as the journal has it.
#[derive(Debug, Clone)]
enum Change {
    Line(u64, Vec<u8>),
    Drop(u64, u64),
    Mark(Vec<u8>, Option<Vec<u8>>),
}

/// A batch of changes: it is there or it is not.
#[derive(Debug, Clone)]
struct Entry {
    changes: Vec<Change>,
    /// Which file it was written to.
    file: u64,
    synced: bool,
    /// Whether a sync has failed after it was written: the system takes it for written, and no sync will write it.
    forgotten: bool,
}

#[derive(Debug, Default)]
struct Disk {
    entries: Vec<Entry>,
    file: u64,
    /// Which opening is valid; others are of machines that have failed, or closed.
    opened: u64,
    is_open: bool,
    /// Bytes that there is room for, if that is bounded.
    room: Option<usize>,
    failing_appends: usize,
    failing_syncs: usize,
    failing_opens: usize,
    /// Appends that fail when the batch is in the file.
    torn_after: usize,
}

/// A store that is open.
#[derive(Debug)]
struct Open {
    disk: SimulatedLog,
    number: u64,
}

impl SimulatedLog {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let disk = self.0.lock().unwrap();
        self.1.fetch_sub(1, Ordering::Relaxed);
        disk
    }

    /// How many threads wait until the disk is no longer held.
    pub(crate) fn waiting(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    /// The power goes, and comes again: what was not synced is gone, and whatever lies behind a gap in its file.
    pub(crate) fn lose_power(&self) {
        let mut disk = self.lock();
        disk.opened += 1;
        disk.is_open = false;
        let (mut kept, mut gap) = (Vec::new(), None);
        for entry in std::mem::take(&mut disk.entries) {
            if entry.synced && gap != Some(entry.file) {
                kept.push(entry);
            } else {
                gap = Some(entry.file);
            }
        }
        disk.entries = kept;
    }

    pub(crate) fn fail_appends(&self, times: usize) {
        self.lock().failing_appends = times;
    }

    pub(crate) fn fail_syncs(&self, times: usize) {
        self.lock().failing_syncs = times;
    }

    pub(crate) fn fail_opens(&self, times: usize) {
        self.lock().failing_opens = times;
    }

    /// Has appends of lines fail although the batch is in the file.
    pub(crate) fn tear(&self, times: usize) {
        self.lock().torn_after = times;
    }

    /// Leaves so much room from now on.
    pub(crate) fn leave_room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    /// Has every access wait until the guard is dropped.
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.lock()
    }
}

impl OpenLog for SimulatedLog {
    fn open(&self, afresh: bool) -> io::Result<Box<dyn LogStore>> {
        let mut disk = self.lock();
        if disk.is_open {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "another process or bus has it open"));
        }
        if disk.failing_opens > 0 {
            disk.failing_opens -= 1;
            return Err(io::Error::other("no such disk"));
        }
        disk.opened += 1;
        disk.is_open = true;
        disk.file += u64::from(afresh);
        let number = disk.opened;
        Ok(Box::new(Open { disk: self.clone(), number }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if disk.opened == self.number {
            disk.is_open = false;
        }
    }
}

impl Open {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk.lock();
        if disk.opened == self.number { Ok(disk) } else { Err(io::Error::other("the machine has failed")) }
    }

    fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        let mut disk = self.disk()?;
        let size: usize = changes.iter().map(Change::size).sum();
        if disk.failing_appends > 0 {
            disk.failing_appends -= 1;
            return Err(io::Error::other("the disk would not write"));
        }
        if let Some(room) = &mut disk.room {
            *room = room.checked_sub(size).ok_or(io::ErrorKind::StorageFull)?;
        }
        let (file, has_lines) = (disk.file, changes.iter().any(|change| matches!(change, Change::Line(..))));
        disk.entries.push(Entry { changes, file, synced: false, forgotten: false });
        if disk.torn_after > 0 && has_lines {
            disk.torn_after -= 1;
            return Err(io::Error::other("the disk said nothing"));
        }
        Ok(())
    }

    fn contents(&self) -> io::Result<Contents> {
        let disk = self.disk()?;
        let mut contents = Contents::default();
        for change in disk.entries.iter().flat_map(|entry| &entry.changes) {
            match change {
                Change::Line(position, line) => drop(contents.lines.insert(*position, line.clone())),
                Change::Drop(from, below) => contents.lines.retain(|at, _| !(*from..*below).contains(at)),
                Change::Mark(name, Some(value)) => drop(contents.marks.insert(name.clone(), value.clone())),
                Change::Mark(name, None) => drop(contents.marks.remove(name)),
            }
        }
        Ok(contents)
    }
}

impl Change {
    fn size(&self) -> usize {
        match self {
            Self::Line(_, line) => line.len(),
            Self::Drop(..) => 16,
            Self::Mark(name, value) => name.len() + value.as_ref().map_or(0, Vec::len),
        }
    }
}

#[derive(Default)]
struct Contents {
    lines: BTreeMap<u64, Vec<u8>>,
    marks: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl LogStore for Open {
    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let lines = self.contents()?.lines;
        Ok(lines.first_key_value().zip(lines.last_key_value()).map(|((first, _), (last, _))| (*first, *last)))
    }

    fn append(&self, lines: &[Numbered]) -> io::Result<()> {
        self.write(lines.iter().map(|(position, line)| Change::Line(*position, line.clone())).collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk()?;
        if disk.failing_syncs > 0 {
            disk.failing_syncs -= 1;
            disk.entries.iter_mut().filter(|entry| !entry.synced).for_each(|entry| entry.forgotten = true);
            return Err(io::Error::other("the disk would not sync"));
        }
        disk.entries.iter_mut().filter(|entry| !entry.forgotten).for_each(|entry| entry.synced = true);
        Ok(())
    }

    fn read(&self, from: u64, below: u64, lines: usize, bytes: usize) -> io::Result<Vec<Numbered>> {
        let contents = self.contents()?;
        let (mut found, mut size) = (Vec::new(), 0);
        for (position, line) in contents.lines.range(from..below.max(from)).take(lines) {
            found.push((*position, line.clone()));
            size += line.len();
            if size >= bytes {
                break;
            }
        }
        Ok(found)
    }

    fn drop_range(&self, from: u64, below: u64) -> io::Result<()> {
        self.write(vec![Change::Drop(from, below)])
    }

    fn marks(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.contents()?.marks.into_iter().collect())
    }

    fn set_marks(&self, changes: &[MarkChange]) -> io::Result<()> {
        self.write(changes.iter().map(|(name, value)| Change::Mark(name.clone(), value.clone())).collect())
    }
}
