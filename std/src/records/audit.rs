//! The audit log: what a user says about it, and its account.

#[allow(dead_code, reason = "the verifier and the writer use it next")]
pub(crate) mod chain;
#[allow(dead_code, reason = "the reader and the writer use it next")]
pub(crate) mod segments;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::delivery::count;
use crate::delivery::lane::{Lane, Overflow, Queue};
use crate::delivery::ledger::AUDIT;

/// Where and how a bus keeps its audit log: one JSON object a line for every event it accepts, whoever listens.
///
/// The log is written by a lane of its own, in batches, never on an emitter's thread. Events are appended to what the
/// file already holds; a last line that was cut off is ended first, so that nothing is glued to it. Each line has six
/// fields first: `event_type`, `payload`, `timestamp` (seconds since the Unix epoch, microseconds kept), `event_id`,
/// `source`, `correlation_id`; then `seq`, and `causation_seq` for what a handler emitted.
///
/// When the file cannot be written (a full disk), the lines are lost and counted, a `system.audit_error` is emitted
/// once until writing works again, and the bus goes on.
///
/// # Examples
///
/// ```
/// use nervebus::{AuditLog, Bus, json};
/// use std::time::Duration;
///
/// let path = std::env::temp_dir().join(format!("nervebus-doc-{}.jsonl", std::process::id()));
/// let bus = Bus::builder().audit(AuditLog::at(&path)).build()?;
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
}

impl AuditLog {
    /// A log in this file, which is made if need be, with the folders above it. The file is opened when the bus is
    /// built: a path that cannot be written fails there.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), lane: Lane::new(AUDIT).capacity(8192) }
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
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub(crate) struct AuditAccount {
    pub(crate) lines: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// Lines lost because the file would not take them.
    pub(crate) lost: AtomicU64,
    /// Writes that failed.
    pub(crate) errors: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) last_error: Mutex<Option<String>>,
}

/// The state of the audit log; part of [`Stats`](crate::Stats).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditStats {
    /// The file.
    pub path: PathBuf,
    /// Lines written by this bus.
    pub lines: u64,
    /// Bytes written by this bus.
    pub bytes: u64,
    /// Lines lost: dropped by the overflow policy, not taken by the file, or left over by a shutdown.
    pub dropped: u64,
    /// Writes that failed.
    pub errors: u64,
    /// What the last failed write said.
    pub last_error: Option<String>,
    /// Events waiting to be written.
    pub lag: u64,
}

impl AuditAccount {
    pub(crate) fn stats(&self, path: &Path, queue: &Queue) -> AuditStats {
        AuditStats {
            path: path.to_owned(),
            lines: count::read(&self.lines),
            bytes: count::read(&self.bytes),
            dropped: count::read(&queue.outcomes.dropped) + count::read(&self.lost),
            errors: count::read(&self.errors),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lag: queue.pending_events(),
        }
    }
}
