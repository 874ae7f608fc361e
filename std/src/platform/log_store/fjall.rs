//! The durable log in fjall, an embedded store: a write-ahead journal with a checksum for each batch, and sorted tables
//! that what it holds is moved to.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use ::fjall::{Database, Error, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{LogStore, MarkChange, Numbered, OpenLog};

/// Memory for blocks of tables that are read back.
const CACHE_BYTES: u64 = 8 << 20;

/// How many lines are forgotten in one batch.
const DROP_BATCH: u64 = 1_024;

/// Where a store is, and how large its memory is.
#[derive(Debug, Clone)]
pub(crate) struct FjallFolder {
    pub(crate) path: PathBuf,
    /// Bytes that are collected in memory, beside the journal, before they are written to a table.
    pub(crate) buffer: u64,
}

/// A store that is open.
struct FjallStore {
    lines: Keyspace,
    marks: Keyspace,
    // The last field: it waits for its threads when it goes.
    database: Database,
}

impl std::fmt::Debug for FjallStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FjallStore")
    }
}

impl OpenLog for FjallFolder {
    fn open(&self, afresh: bool) -> io::Result<Box<dyn LogStore>> {
        make_folder(&self.path)?;
        if afresh {
            begin_journal(&self.path)?;
        }
        let database = Database::builder(&self.path)
            .worker_threads(1)
            .cache_size(CACHE_BYTES)
            .manual_journal_persist(true)
            .open()
            .map_err(said)?;
        let buffer = self.buffer;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(buffer);
        let lines = database.keyspace("lines", options).map_err(said)?;
        let marks = database.keyspace("marks", options).map_err(said)?;
        Ok(Box::new(FjallStore { lines, marks, database }))
    }
}

/// Whether a store was ever opened in this folder: it has a journal then.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn is_store(path: &Path) -> io::Result<bool> {
    let journal = |entry: io::Result<fs::DirEntry>| entry.map(|entry| journal_number(&entry.file_name()).is_some());
    fs::read_dir(path)?.map(journal).find(|found| !matches!(found, Ok(false))).unwrap_or(Ok(false))
}

/// The number of a journal, by the name of its file.
fn journal_number(name: &OsStr) -> Option<u64> {
    name.to_str()?.strip_suffix(".jnl")?.parse().ok()
}

#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Begins a new journal, as the store itself does when one is full: an empty file with the next number. The one before is
/// sealed by that; when the store is opened, what it holds goes to tables, which are synced as files of their own.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn begin_journal(path: &Path) -> io::Result<()> {
    let mut last = None;
    for entry in fs::read_dir(path)? {
        last = last.max(journal_number(&entry?.file_name()));
    }
    let Some(last) = last else { return Ok(()) };
    File::create_new(path.join(format!("{}.jnl", last + 1)))?.sync_all()?;
    // Where folders cannot be synced, the system decides when the new name is on disk.
    if let Ok(folder) = File::open(path) {
        let _ = folder.sync_all();
    }
    Ok(())
}

impl LogStore for FjallStore {
    fn bounds(&self) -> io::Result<Option<(u64, u64)>> {
        let first = self.lines.first_key_value().map(|guard| guard.key()).transpose().map_err(said)?;
        let last = self.lines.last_key_value().map(|guard| guard.key()).transpose().map_err(said)?;
        match (first, last) {
            (Some(first), Some(last)) => Ok(Some((position(&first)?, position(&last)?))),
            _ => Ok(None),
        }
    }

    fn append(&self, lines: &[Numbered]) -> io::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for (position, line) in lines {
            batch.insert(&self.lines, position.to_be_bytes(), line.as_slice());
        }
        batch.commit().map_err(said)
    }

    fn sync(&self) -> io::Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(said)
    }

    fn read(&self, from: u64, below: u64, lines: usize, bytes: usize) -> io::Result<Vec<Numbered>> {
        let (mut found, mut size) = (Vec::new(), 0);
        for guard in self.lines.range(from.to_be_bytes()..below.to_be_bytes()).take(lines) {
            let (key, line) = guard.into_inner().map_err(said)?;
            size += line.len();
            found.push((position(&key)?, line.to_vec()));
            if size >= bytes {
                break;
            }
        }
        Ok(found)
    }

    fn drop_range(&self, from: u64, below: u64) -> io::Result<()> {
        let mut at = from;
        while at < below {
            let end = below.min(at + DROP_BATCH);
            let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
            for position in at..end {
                batch.remove(&self.lines, position.to_be_bytes());
            }
            batch.commit().map_err(said)?;
            at = end;
        }
        Ok(())
    }

    fn marks(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let read = |guard: ::fjall::Guard| {
            let (name, value) = guard.into_inner().map_err(said)?;
            Ok((name.to_vec(), value.to_vec()))
        };
        self.marks.iter().map(read).collect()
    }

    fn set_marks(&self, changes: &[MarkChange]) -> io::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for (name, value) in changes {
            match value {
                Some(value) => batch.insert(&self.marks, name.as_slice(), value.as_slice()),
                None => batch.remove(&self.marks, name.as_slice()),
            }
        }
        batch.commit().map_err(said)
    }
}

fn position(key: &[u8]) -> io::Result<u64> {
    let bytes =
        key.try_into().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a position of another format"))?;
    Ok(u64::from_be_bytes(bytes))
}

/// What the store said, in terms of the system.
fn said(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Locked => io::Error::new(io::ErrorKind::WouldBlock, "another process or bus has it open"),
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store in a folder of its own, which goes with it.
    struct Rig(FjallFolder);

    impl Rig {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("nervebus-fjall-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(FjallFolder { path, buffer: 1 << 20 })
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0.path);
        }
    }

    fn line(position: u64) -> Numbered {
        (position, format!("line {position}").into_bytes())
    }

    #[test]
    fn what_was_appended_is_read_back_in_order_and_after_opening_it_again() {
        let rig = Rig::new("order");
        let store = rig.0.open(false).unwrap();
        assert_eq!(store.bounds().unwrap(), None);
        store.append(&[line(1), line(2)]).unwrap();
        store.append(&[line(300)]).unwrap();
        store.set_marks(&[(b"a".to_vec(), Some(b"1".to_vec())), (b"b".to_vec(), Some(b"2".to_vec()))]).unwrap();
        store.set_marks(&[(b"a".to_vec(), None)]).unwrap();
        store.sync().unwrap();
        assert_eq!(rig.0.open(false).unwrap_err().kind(), io::ErrorKind::WouldBlock, "one at a time");
        drop(store);
        let store = rig.0.open(false).unwrap();
        assert_eq!(store.bounds().unwrap(), Some((1, 300)));
        assert_eq!(store.read(1, 300, 10, 1_000).unwrap(), [line(1), line(2)]);
        assert_eq!(store.read(2, 301, 1, 1_000).unwrap(), [line(2)]);
        assert_eq!(store.read(1, 301, 10, 1).unwrap(), [line(1)]);
        assert_eq!(store.marks().unwrap(), [(b"b".to_vec(), b"2".to_vec())]);
        store.drop_range(1, 3).unwrap();
        assert_eq!(store.bounds().unwrap(), Some((300, 300)));
    }

    #[test]
    fn opened_afresh_it_keeps_what_it_had_and_writes_to_a_new_journal() {
        let rig = Rig::new("afresh");
        let journals = || {
            let names = fs::read_dir(&rig.0.path).unwrap().map(|entry| entry.unwrap().file_name());
            names.filter(|name| name.to_str().unwrap().ends_with(".jnl")).max().unwrap()
        };
        let store = rig.0.open(false).unwrap();
        store.append(&[line(1), line(2)]).unwrap();
        drop(store);
        let before = journals();
        for round in 0..3 {
            let store = rig.0.open(true).unwrap();
            assert_eq!(store.bounds().unwrap(), Some((1, 2 + round)));
            store.append(&[line(3 + round)]).unwrap();
            store.sync().unwrap();
            drop(store);
        }
        assert!(journals() > before);
        let store = rig.0.open(false).unwrap();
        assert_eq!(store.read(1, 100, 10, 1_000).unwrap(), [line(1), line(2), line(3), line(4), line(5)]);
    }
}
