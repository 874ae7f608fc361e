//! The audit log: what a user says about it.

pub(crate) mod account;
pub(crate) mod backoff;
mod batch;
pub(crate) mod chain;
#[cfg(feature = "compress")]
mod compression;
mod extras;
#[cfg(test)]
mod faults;
pub(crate) mod line;
pub(crate) mod log;
mod rotation;
pub(crate) mod segments;
pub(crate) mod sync;
mod tail;
pub(crate) mod writer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::delivery::lane::{Lane, Overflow};
use crate::delivery::ledger::AUDIT;
use crate::error::BuildError;
use crate::range::{nanos, number};
use crate::records::audit::log::Plan;
use crate::records::audit::sync::SyncPolicy;
use crate::redact::Redactor;
use crate::redact::screen::Screen;

/// The fewest and the most bytes of a file, and how many rotated ones may be kept.
const FILE_BYTES: (u64, u64) = (1 << 10, 1 << 40);
const FILES: (u64, u64) = (1, 1_000);
/// How long a file may be written to, and how long a sync may wait.
const AGES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60 * 60 * 24 * 366));
const SYNCS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60 * 60));

/// Where and how a bus keeps its audit log: one JSON object a line for every event it accepts, whoever listens.
///
/// The log is written by a lane of its own, in batches of about 64 KiB, never on an emitter's thread. Each line has six
/// fields first: `event_type`, `payload`, `timestamp` (seconds since the Unix epoch, microseconds kept), `event_id`,
/// `source`, `correlation_id`; then `seq`, and `causation_seq` and `causation_id` for what a handler emitted; then what else was
/// said of the event, with a key for each of its [`Headers`](crate::Headers); then `traceparent`, `tracestate` and `baggage`.
/// No text in an event can end its line or begin another.
///
/// # Files
///
/// Events are appended to what the file already holds. With [`rotate`](Self::rotate) or
/// [`rotate_every`](Self::rotate_every), the log at `events.jsonl` goes on in a new file when that one is full or old;
/// the full one becomes `events.1.jsonl`, what had that name before becomes `events.2.jsonl`, and so on. Its last line,
/// of the type `system.audit_sealed`, says how many lines and bytes stand before it. A process may be killed at any
/// moment: each file has a name at all times, and the next start removes what was half done.
///
/// A last line that was cut off when a process was killed is ended at the next start. Behind it stands a line of the
/// type `system.audit_recovered`, with the fragment's offset and length. Lines of these two types are the log's own:
/// their `source` is `nervebus`, and no handler sees them.
///
/// A log that rotates, is packed or is chained belongs to one bus at a time, in one process or in several: where the system
/// has advisory locks, a second bus is refused when it is built. Buses that do none of this may write to one file; where a
/// file system appends each write as a whole, as local ones do, their lines come between one another unharmed.
///
/// A file that was moved away by somebody else keeps the lines it has, and another is begun under the log's name. Lines
/// in a file that is removed are lost with it, except the batch that was just written.
///
/// # Examples
///
/// ```
/// use nervebus::{AuditLog, Bus, json};
/// use std::time::Duration;
///
/// let path = std::env::temp_dir().join(format!("nervebus-doc-{}.jsonl", std::process::id()));
/// let bus = Bus::builder().audit(AuditLog::at(&path).rotate(10 << 20, 5)).build()?;
/// bus.emit("user.login", json!({"username": "alice"}))?;
/// bus.shutdown(Duration::from_secs(5)).drained;
/// assert!(std::fs::read_to_string(&path)?.starts_with(r#"{"event_type":"user.login","payload":{"username":"alice"}"#));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "an audit log does nothing until a builder takes it"]
pub struct AuditLog {
    pub(crate) path: PathBuf,
    pub(crate) lane: Lane,
    /// What its lines pass, if that is not what the bus says.
    pub(crate) screen: Option<Screen>,
    pub(crate) plan: Plan,
}

impl AuditLog {
    /// A log in this file, which is made if need be, with the folders above it. The file is opened when the bus is
    /// built: a path that cannot be written fails there.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            lane: Lane::new(AUDIT).capacity(8192),
            plan: Plan::default(),
            screen: None,
        }
    }

    /// Has the lines of this log pass a redactor: payload, source and correlation id. Default: what the bus
    /// [redacts](crate::Builder::redact) with, which goes for error texts and dead letters as well.
    pub fn redact(mut self, redactor: Redactor) -> Self {
        self.screen = Some(Screen::new(redactor));
        self
    }

    /// How many events may wait to be written. Default: 8,192. Range: 1 to 1,048,576.
    pub fn capacity(mut self, events: usize) -> Self {
        self.lane = self.lane.capacity(events);
        self
    }

    /// What happens to an event when that many wait. Default: [`Overflow::Block`]. With a policy that drops, the event
    /// is delivered all the same; its line is lost and counted.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.lane = self.lane.overflow(policy);
        self
    }

    /// Begins a new file before a line would make one larger than this, and keeps this many of the full ones; the oldest
    /// is removed. The seal comes on top, and a line that is longer by itself has a file of its own. Default: one file
    /// that grows. Range: 1,024 bytes to a tebibyte, and 1 to 1,000 files.
    pub fn rotate(mut self, bytes: u64, keep: usize) -> Self {
        self.plan.rotate = Some((bytes, keep));
        self
    }

    /// Begins a new file when one was written to for this long, by the bus's clock; that of a file from an earlier run
    /// counts from the time of its first line. An empty file stays. Without [`rotate`](Self::rotate) all files are kept.
    /// Default: never. Range: 1 s to 366 days.
    pub fn rotate_every(mut self, age: Duration) -> Self {
        self.plan.rotate_every = Some(age);
        self
    }

    /// Compresses files that were rotated away, to `events.1.jsonl.zst` and so on, with zstd at level 1. It is done on the log's
    /// own thread, a piece at a time. Default: they stay as they are.
    #[cfg(feature = "compress")]
    #[cfg_attr(docsrs, doc(cfg(feature = "compress")))]
    pub fn compress(mut self) -> Self {
        self.plan.compress = true;
        self
    }

    /// When what was written is brought to stable storage. Default: [`SyncPolicy::Never`].
    pub fn sync(mut self, policy: SyncPolicy) -> Self {
        self.plan.sync = policy;
        self
    }

    /// Ends each line with a hash of it and of the one before it, so that whoever edits, removes, inserts or moves a line
    /// can be found out: the key `hash`, 64 digits of BLAKE3. The chain goes on across files and restarts. That the end of
    /// a log was cut off cannot be seen in the log itself. Default: no hashes.
    #[cfg(feature = "blake3")]
    #[cfg_attr(docsrs, doc(cfg(feature = "blake3")))]
    pub fn chain(mut self) -> Self {
        self.plan.chain = true;
        self
    }

    /// Checks the settings that are not its lane's.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let field = |name: &'static str| move || format!("audit.{name}");
        if let Some((bytes, keep)) = self.plan.rotate {
            number(field("rotate, bytes"), bytes, FILE_BYTES.0, FILE_BYTES.1)?;
            number(field("rotate, files kept"), keep as u64, FILES.0, FILES.1)?;
        }
        let wait = |name, wait, (min, max)| number(field(name), nanos(wait), nanos(min), nanos(max));
        if let Some(age) = self.plan.rotate_every {
            wait("rotate_every in nanoseconds", age, AGES)?;
        }
        match self.plan.sync {
            SyncPolicy::Every(every) => wait("sync in nanoseconds", every, SYNCS),
            SyncPolicy::Never | SyncPolicy::EachBatch => Ok(()),
        }
    }
}
