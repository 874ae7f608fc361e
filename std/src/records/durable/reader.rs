//! A durable log, read without a bus.

use std::fmt;
use std::io;
use std::path::Path;

use crate::platform::log_store::fjall::{FjallFolder, is_store};
use crate::platform::log_store::{LogStore, Numbered, OpenLog};
use crate::records::line::{LineError, Record};

/// How many lines are read at once, and no more after so many bytes.
const LINES: usize = 256;
const BYTES: usize = 1 << 20;

/// What the store collects in memory before it writes a table; nothing is written from here.
const BUFFER: u64 = 16 << 20;

/// The lines of a [`DurableLog`](crate::DurableLog) that no bus has open, in the order of their positions.
///
/// It has the log to itself until it is dropped: a bus that wants to open it meanwhile is refused. Opening it does what a
/// bus does as well, which is to recover the store after a kill; so it needs the right to write to the folder. No line and
/// no mark of a subscription is changed.
///
/// # Cost
///
/// Up to 256 lines or a megabyte are in memory at once, beside what the store takes for itself.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, DurableLog, DurableReader, json};
/// use std::time::Duration;
///
/// let folder = std::env::temp_dir().join(format!("nervebus-durable-reader-doc-{}", std::process::id()));
/// let bus = Bus::builder().durable(DurableLog::at(&folder).topics("order.*")).build()?;
/// bus.emit_durable("order.placed", json!({"id": 7}))?;
/// bus.shutdown(Duration::from_secs(5));
/// drop(bus);
///
/// let entry = DurableReader::open(&folder)?.next().ok_or("a line")??;
/// assert_eq!((entry.position, entry.record()?.payload), (1, json!({"id": 7})));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DurableReader {
    store: Box<dyn LogStore>,
    lines: std::vec::IntoIter<Numbered>,
    at: u64,
    end: u64,
}

/// A line of a durable log, and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurableEntry {
    /// Where it is in the log; 1 was the first.
    pub position: u64,
    line: Vec<u8>,
}

impl DurableEntry {
    /// The line as it is in the log, without an end; one JSON object, unless somebody has changed it.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The event.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, as [`Record::from_jsonl`] says.
    pub fn record(&self) -> Result<Record, LineError> {
        Record::from_jsonl(&self.line)
    }
}

impl DurableReader {
    /// Opens the log in this folder.
    ///
    /// # Errors
    ///
    /// `NotFound` when there is no folder, or no durable log in it: none is made. `WouldBlock` while a bus or another reader
    /// has it open. Else what the system says.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        if !is_store(path)? {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no durable log in this folder"));
        }
        let store = FjallFolder { path: path.to_owned(), buffer: BUFFER }.open(false)?;
        let (at, end) = store.bounds()?.map_or((1, 1), |(first, last)| (first, last + 1));
        Ok(Self { store, lines: Vec::new().into_iter(), at, end })
    }

    /// Passes over the lines before this position. To be said before the first line is asked for.
    #[must_use]
    pub fn from_position(mut self, first: u64) -> Self {
        self.at = self.at.max(first);
        self
    }

    /// The position of the line that comes next, or would: with which another reading goes on from here.
    #[must_use]
    pub fn next_position(&self) -> u64 {
        self.lines.as_slice().first().map_or(self.at, |(position, _)| *position)
    }
}

impl fmt::Debug for DurableReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableReader").field("at", &self.at).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Iterator for DurableReader {
    type Item = io::Result<DurableEntry>;

    /// The next line. After an error the next call tries again.
    fn next(&mut self) -> Option<Self::Item> {
        if self.lines.len() == 0 && self.at < self.end {
            match self.store.read(self.at, self.end, LINES, BYTES) {
                Ok(lines) => {
                    // Where none is left, positions were given that no line has.
                    self.at = lines.last().map_or(self.end, |(last, _)| last + 1);
                    self.lines = lines.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let (position, line) = self.lines.next()?;
        Some(Ok(DurableEntry { position, line }))
    }
}
