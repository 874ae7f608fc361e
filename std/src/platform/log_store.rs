//! The door to the store that the durable log lies in: numbered lines, and named marks beside them.

pub(crate) mod fjall;
#[cfg(test)]
pub(crate) mod simulated;

use std::fmt;
use std::io;

/// A line with its position.
pub(crate) type Numbered = (u64, Vec<u8>);

/// A mark's name, and what it says; nothing for one that goes.
pub(crate) type MarkChange = (Vec<u8>, Option<Vec<u8>>);

/// An open store.
///
/// One thread writes; any number may read meanwhile. After a write or a sync has failed, the store is used no more: what
/// of it is on disk is found out by [opening](OpenLog::open) it anew.
pub(crate) trait LogStore: fmt::Debug + Send + Sync {
    /// The first and the last position, if there is any line.
    fn bounds(&self) -> io::Result<Option<(u64, u64)>>;

    /// Hands lines to the operating system, all or none of them. Their positions are higher than all there are.
    fn append(&self, lines: &[Numbered]) -> io::Result<()>;

    /// Has what was handed to the operating system brought to stable storage.
    fn sync(&self) -> io::Result<()>;

    /// Lines from a position on and below another, in order: as many as asked for at most, and no more after so many
    /// bytes.
    fn read(&self, from: u64, below: u64, lines: usize, bytes: usize) -> io::Result<Vec<Numbered>>;

    /// Forgets the lines from a position on and below another.
    fn drop_range(&self, from: u64, below: u64) -> io::Result<()>;

    /// All marks.
    fn marks(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Changes marks, all or none of them; handed to the operating system, after the lines that were so before.
    fn set_marks(&self, changes: &[MarkChange]) -> io::Result<()>;
}

/// Opens a store, which no other process or bus has open then.
pub(crate) trait OpenLog: fmt::Debug + Send + Sync {
    /// Opens it. With `afresh`, nothing that is written from now on lies behind anything that was written before: a sync
    /// has failed, and the system may have forgotten that those pages never came to the disk.
    fn open(&self, afresh: bool) -> io::Result<Box<dyn LogStore>>;
}
