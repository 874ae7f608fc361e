//! What the audit log's writer has done so far, and what is asked of it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::context;
use crate::delivery::count;
use crate::delivery::engine::Engine;
use crate::delivery::lane::Queue;
use crate::platform::threads::poll_until;

/// What the writer has done so far.
#[derive(Debug, Default)]
pub(crate) struct AuditAccount {
    /// Lines of events, and all their bytes with those of the log's own lines.
    pub(crate) lines: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) own_lines: AtomicU64,
    /// Lines lost because the file would not take them.
    pub(crate) lost: AtomicU64,
    pub(crate) rotations: AtomicU64,
    /// Torn lines that were found.
    pub(crate) torn: AtomicU64,
    pub(crate) unsynced: AtomicU64,
    pub(crate) file_bytes: AtomicU64,
    /// What failed.
    pub(crate) errors: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) last_error: Mutex<Option<String>>,
    requests: Mutex<Requests>,
    /// Whether there are any, for a cheap look.
    asked: AtomicBool,
}

#[derive(Debug, Default)]
struct Requests {
    /// The writer has ended.
    closed: bool,
    clearing: Vec<ClearRequest>,
}

/// Somebody wants the log cleared of what came in so far.
#[derive(Debug)]
pub(crate) struct ClearRequest {
    /// How many events had come in.
    pub(crate) came_in: u64,
    pub(crate) answer: SyncSender<io::Result<()>>,
}

/// Why an audit log could not be cleared.
#[derive(Debug)]
#[non_exhaustive]
pub enum AuditError {
    /// The bus keeps no audit log.
    NoLog,
    /// The bus has shut down: nobody writes the log any more.
    Closed,
    /// The call came from an inline handler on the log's own thread, which would wait for itself.
    WouldDeadlock,
    /// The log has not got so far within the builder's `wait_limit`. It is cleared when it gets there.
    TimedOut,
    /// A file could not be removed or begun.
    Io(io::Error),
}

impl fmt::Display for AuditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog => f.write_str("the bus keeps no audit log"),
            Self::Closed => f.write_str("the bus has shut down"),
            Self::WouldDeadlock => f.write_str("the audit log's own thread cannot wait for itself"),
            Self::TimedOut => f.write_str("the audit log has not got so far in time"),
            Self::Io(error) => write!(f, "the audit log could not be cleared: {error}"),
        }
    }
}

impl std::error::Error for AuditError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

/// The state of the audit log; part of [`Stats`](crate::Stats).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditStats {
    /// The file.
    pub path: PathBuf,
    /// Events whose lines were written by this bus.
    pub lines: u64,
    /// Bytes written by this bus, those of the log's own lines (seals, what was recovered) among them.
    pub bytes: u64,
    /// Bytes in the file that is written to, those of earlier runs among them.
    pub file_bytes: u64,
    /// Files that were put aside.
    pub rotations: u64,
    /// Torn last lines that were found and ended when the bus was built.
    pub torn: u64,
    /// Events lost to the log: dropped by the overflow policy, not taken by the file, or left over by a shutdown.
    pub dropped: u64,
    /// Lines in files that failed to sync: written, and lost if the machine fails.
    pub unsynced: u64,
    /// What failed: writes, syncs, rotations.
    pub errors: u64,
    /// Whether the last attempt failed, so that another is to come.
    pub failing: bool,
    /// What the last failure said.
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
            file_bytes: count::read(&self.file_bytes),
            rotations: count::read(&self.rotations),
            torn: count::read(&self.torn),
            dropped: count::read(&queue.outcomes.dropped) + count::read(&self.lost),
            unsynced: count::read(&self.unsynced),
            errors: count::read(&self.errors),
            failing: self.failing.load(Ordering::Relaxed),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lag: queue.pending_events(),
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the log cleared of what came in so far, by its writer, and waits for that.
    pub(crate) fn clear(&self, engine: &Engine) -> Result<(), AuditError> {
        let Some(queue) = &engine.tap else { return Err(AuditError::NoLog) };
        if context::lane_of(engine.bus) == Some(queue.id) {
            return Err(AuditError::WouldDeadlock);
        }
        let answered = self.ask_to_clear(queue).ok_or(AuditError::Closed)?;
        let mut answer = Err(TryRecvError::Empty);
        poll_until(&engine.clock, engine.clock.after(engine.wait_limit), || {
            answer = answered.try_recv();
            !matches!(answer, Err(TryRecvError::Empty))
        });
        match answer {
            Ok(cleared) => cleared.map_err(AuditError::Io),
            Err(TryRecvError::Disconnected) => Err(AuditError::Closed),
            Err(TryRecvError::Empty) => Err(AuditError::TimedOut),
        }
    }

    /// Asks for the log to be cleared; `None` when there is nobody to do it any more.
    fn ask_to_clear(&self, queue: &Queue) -> Option<Receiver<io::Result<()>>> {
        let (answer, answered) = sync_channel(1);
        let mut requests = self.requests();
        if requests.closed {
            return None;
        }
        requests.clearing.push(ClearRequest { came_in: queue.came_in(), answer });
        // Relaxed: the lock orders the request, and waking the writer orders this.
        self.asked.store(true, Ordering::Relaxed);
        drop(requests);
        queue.unpark_worker();
        Some(answered)
    }

    /// Takes the requests that came before so many events were done with.
    pub(crate) fn take_requests(&self, done: u64) -> Vec<ClearRequest> {
        if !self.asked.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut requests = self.requests();
        let (due, later) = std::mem::take(&mut requests.clearing).into_iter().partition(|ask| ask.came_in <= done);
        requests.clearing = later;
        self.asked.store(!requests.clearing.is_empty(), Ordering::Relaxed);
        due
    }

    /// Lets nobody ask any more; whoever has hears that there is no answer.
    pub(crate) fn close_requests(&self) {
        let mut requests = self.requests();
        requests.closed = true;
        requests.clearing.clear();
    }
}
