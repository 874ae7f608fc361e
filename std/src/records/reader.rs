//! Reading an audit log: newest first, oldest first, or as it grows.

pub(crate) mod backward;
#[cfg(feature = "compress")]
pub(crate) mod compressed;
pub(crate) mod entries;
pub(crate) mod filter;
pub(crate) mod follow;
pub(crate) mod forward;
pub(crate) mod part;
pub(crate) mod tally;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::records::reader::entries::AuditEntries;
use crate::records::reader::filter::Filter;
use crate::records::reader::follow::AuditFollow;

/// The longest line that is read, unless said otherwise.
const LONGEST_LINE: usize = 16 << 20;

/// Reads an audit log: the file it is written to, the rotated files beside it, and with the feature `compress` the
/// compressed ones.
///
/// Each setting narrows what is given out, and an event must pass all that are made; one that is made twice counts as it
/// was made last. A new reader gives out everything. It can be asked several times.
///
/// **Nothing is trusted.** A line that is no event (bytes that are not UTF-8, other JSON, a piece of a line) is skipped,
/// counted and named with its place ([`ReadTally`](crate::ReadTally)); so is one that is longer than [`longest_line`](Self::longest_line),
/// which is passed over without being held. Lines whose first key shows that they cannot match are not read further, so
/// nothing is said of them. A line feed that was turned into another byte does not cost the two events beside it. Nothing
/// is proven either: whether somebody changed the log, its chain of hashes can tell.
///
/// The files are opened when reading begins, all at one moment. Rotations, compression and removals after that change
/// nothing: what is read is the log as it was then.
///
/// # Cost
///
/// One file handle for each file of the log. Memory does not depend on how large the log is: a block of 128 KiB, at most
/// one line, and for compressed files the decoder's window. Reading compressed files newest first takes a window of 4 to
/// 32 MiB besides, and decodes a file twice if its frames are no longer than that; the frame of a file that has only one
/// is decoded again for each window, up to nine times in all for files of 512 MiB.
///
/// Times are no order: an event may carry one of its own. So `since` and `until` look at every line.
///
/// # Examples
///
/// ```
/// use nervebus::{AuditLog, AuditReader, Bus, json};
/// use std::time::Duration;
///
/// let path = std::env::temp_dir().join(format!("nervebus-reader-doc-{}.jsonl", std::process::id()));
/// let bus = Bus::builder().audit(AuditLog::at(&path)).build()?;
/// for text in ["one", "two", "three"] {
///     bus.emit("chat.sent", json!({"text": text}))?;
/// }
/// bus.emit("user.left", json!({}))?;
/// bus.shutdown(Duration::from_secs(5));
///
/// let mut newest = AuditReader::open(&path)?.topic("chat.*")?.limit(2).newest_first()?;
/// let texts: Vec<_> = newest.by_ref().map(|entry| Ok(entry?.record.payload["text"].clone())).collect::<Result<_, nervebus::ReadError>>()?;
/// assert_eq!(texts, ["three", "two"]);
/// assert_eq!(newest.tally().skipped, 0);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a reader reads nothing until it is asked for an order"]
pub struct AuditReader {
    path: PathBuf,
    pub(crate) filter: Filter,
    limit: usize,
    longest: usize,
}

impl AuditReader {
    /// A reader of the log whose active file has this path. The path of one compressed file (`.zst`) stands for that
    /// file alone.
    ///
    /// # Errors
    ///
    /// [`ReadError::NotThere`] if there is neither this file nor a rotated one of its name; [`ReadError::Unreadable`] if
    /// a file of the log is no regular file or may not be read, or is compressed and the feature `compress` is off.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let path = path.as_ref().to_owned();
        part::snapshot(&path)?;
        Ok(Self { path, filter: Filter::default(), limit: usize::MAX, longest: LONGEST_LINE })
    }

    /// The path it was opened with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Only events of this topic, or of the topics that this pattern matches: `chat.*`.
    ///
    /// # Errors
    ///
    /// [`ReadError::InvalidPattern`] if it is neither.
    pub fn topic(mut self, pattern: &str) -> Result<Self, ReadError> {
        self.filter.set_topic(pattern)?;
        Ok(self)
    }

    /// Only events of this moment or later, by their timestamps. One without a timestamp is not among them.
    pub fn since(mut self, moment: SystemTime) -> Self {
        self.filter.set_since(moment);
        self
    }

    /// Only events from before this moment, by their timestamps. One without a timestamp is not among them. So what one
    /// span leaves out, the next one [begins](Self::since) with.
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.filter.set_until(moment);
        self
    }

    /// Only events with this correlation id.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.filter.set_correlation_id(id.into());
        self
    }

    /// Only events from this source.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.filter.set_source(source.into());
        self
    }

    /// At most so many events: the first ones in the order that is asked for. Default: no limit. Following a log knows
    /// no limit.
    pub fn limit(mut self, events: usize) -> Self {
        self.limit = events;
        self
    }

    /// The longest line that is read, in bytes. Longer ones are skipped without being held. Default: 16 MiB.
    pub fn longest_line(mut self, bytes: usize) -> Self {
        self.longest = bytes;
        self
    }

    /// The events, the one written last first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), for the files are opened now.
    pub fn newest_first(&self) -> Result<AuditEntries, ReadError> {
        Ok(AuditEntries::newest_first(part::snapshot(&self.path)?, self))
    }

    /// The events, the one written first first.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), for the files are opened now.
    pub fn oldest_first(&self) -> Result<AuditEntries, ReadError> {
        let mut parts = part::snapshot(&self.path)?;
        parts.reverse();
        Ok(AuditEntries::oldest_first(parts, self))
    }

    /// The events that are written from now on, across rotations.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when the end of a compressed log cannot be found.
    pub fn follow(&self) -> Result<AuditFollow, ReadError> {
        AuditFollow::from_end(self)
    }

    /// The last so many events that pass, oldest first, and then those that are written from now on. Nothing is left out
    /// or doubled between the two.
    ///
    /// # Errors
    ///
    /// As [`follow`](Self::follow).
    pub fn follow_last(&self, events: usize) -> Result<AuditFollow, ReadError> {
        if events == 0 { self.follow() } else { AuditFollow::from_last(self, events) }
    }

    /// All events from the oldest on, and then those that are written from now on.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), for the files are opened now.
    pub fn follow_all(&self) -> Result<AuditFollow, ReadError> {
        AuditFollow::from_beginning(self)
    }
}

/// Why a log could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// What was asked for is neither a topic nor a pattern.
    InvalidPattern {
        /// Which rule it breaks, and where.
        rule: String,
    },
    /// There is no file of this log.
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of the log cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPattern { rule } => f.write_str(rule),
            Self::NotThere { path } => write!(f, "there is no log at {path:?}"),
            Self::Unreadable { path, error } => write!(f, "{path:?} cannot be read: {error}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}
