//! The durable log: what a user says about it, and its account.

mod chunks;
pub(crate) mod core;
pub(crate) mod cursor;
#[cfg(test)]
mod faults;
pub(crate) mod feed;
pub(crate) mod follower;
pub(crate) mod line;
pub(crate) mod reader;
pub(crate) mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::delivery::lane::{Lane, Overflow};
use crate::delivery::ledger::DURABLE;
use crate::delivery::log_tap::Level;
use crate::error::BuildError;
use crate::range;

/// A log of events that outlives the process, for the topics that are named; see [`Builder::durable`](crate::Builder::durable).
///
/// It lies in a folder of its own, in an embedded store ([fjall](https://docs.rs/fjall)) that one process and one bus has
/// open at a time. Each event of a durable topic is one line of it, in the form of an [audit line](crate::AuditLog), which
/// [`Record::from_jsonl`](crate::Record::from_jsonl) reads; its key is its position, 1 for the first, and rising. The
/// bus's own records (`system.*`) are not in it.
///
/// **What an emit is told.** [`Bus::emit_durable`](crate::Bus::emit_durable) returns when its event has reached the
/// [`Level`] asked for. Plain emits on a durable topic are in the log as well, at [`Level::Accepted`]: nobody waits for
/// those. A thread of the log's own writes what waits in batches, and syncs once for all who asked for it meanwhile.
///
/// **Order.** All emits on durable topics of a bus, by however many threads, take turns: an event's number, its place in
/// each lane and its place in the log are settled in one turn. So the order in the log is that of the numbers
/// ([`Event::seq`](crate::Event::seq)), for all topics and keys together, and each lane with one worker sees the events that
/// it gets in the same order; a lane with several workers sees those of each [key](crate::Emission::key) in it. What an
/// inline handler emits has its turn after the event that it handles. A position is never given twice; after a failure of
/// the machine or of the store there may be a gap.
///
/// **Failures.** When a write or a sync fails, every emit that waited for that batch gets an error, and a
/// `system.log_error` is emitted, once until writing works again. Such an event may be in the log or not. The store is
/// not used any more then: it is closed and opened again, with a new journal, for a sync that is tried again can succeed
/// without having brought anything to the disk. A batch is never written a second time.
///
/// **Limits.** The time to live of an event is not stored: a durable subscription gets it however late it comes to it.
///
/// # Cost
///
/// Off, it costs nothing. On, an emit on a durable topic takes one lock that all of them share, an allocation to share
/// the payload, and a place in the log's queue. Each line takes its length in the log's journal, and again in a table. A
/// thread writes and one feeds the durable subscriptions; the store has one more. The journal's files have 64 MiB each,
/// from the beginning.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, DurableLog, Level, json};
/// use std::time::Duration;
///
/// let folder = std::env::temp_dir().join(format!("nervebus-durable-doc-{}", std::process::id()));
/// let bus = Bus::builder().durable(DurableLog::at(&folder).topics("order.*")).build()?;
/// bus.on("order.*").durable("billing").from_start().handle(|event| println!("{}", event["id"]))?;
///
/// let receipt = bus.emit_durable("order.placed", json!({"id": 7}))?;
/// assert_eq!((receipt.level(), receipt.position()), (Level::Synced, Some(1)));
/// assert!(bus.shutdown(Duration::from_secs(5)).drained);
/// # drop(bus);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a durable log does nothing until a builder takes it"]
pub struct DurableLog {
    pub(crate) path: PathBuf,
    pub(crate) patterns: Vec<String>,
    pub(crate) lane: Lane,
    pub(crate) level: Level,
    pub(crate) sync_every: Duration,
    pub(crate) checkpoint_events: u64,
    pub(crate) checkpoint_every: Duration,
    pub(crate) buffer: u64,
    pub(crate) keep_bytes: Option<u64>,
    pub(crate) keep_for: Option<Duration>,
    pub(crate) keep_handled: bool,
    pub(crate) hard_limit: Option<u64>,
}

const MAX_EVERY: Duration = Duration::from_secs(60 * 60);

impl DurableLog {
    /// A log in this folder, which is made if need be, with the folders above it. It is opened when the bus is built: a
    /// folder that cannot be written, or that another bus has open, fails there.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            patterns: Vec::new(),
            lane: Lane::new(DURABLE).capacity(8192),
            level: Level::Synced,
            sync_every: Duration::from_secs(1),
            checkpoint_events: 256,
            checkpoint_every: Duration::from_secs(1),
            buffer: 16 << 20,
            keep_bytes: None,
            keep_for: None,
            keep_handled: true,
            hard_limit: None,
        }
    }

    /// Makes the topics that this pattern matches durable; may be said several times. Default: none, with which the bus is
    /// not built: such a log would take nothing.
    pub fn topics(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// How far an event comes before [`Bus::emit_durable`](crate::Bus::emit_durable) returns. Default: [`Level::Synced`].
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// How many events may wait to be written. Default: 8,192. Range: 1 to 1,048,576.
    pub fn capacity(mut self, events: usize) -> Self {
        self.lane = self.lane.capacity(events);
        self
    }

    /// What happens to an event when that many wait. Default: [`Overflow::Block`]. With [`Overflow::DropNewest`] a plain
    /// emit succeeds and its event is delivered, but is not in the log, and counted; one that waits for the log is
    /// refused. [`Overflow::DropOldest`] is refused here: what was accepted is not given up for something newer.
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.lane = self.lane.overflow(policy);
        self
    }

    /// How long a line may stay unsynced that nobody waits for. Default: 1 s. Range: 1 ms to an hour.
    pub fn sync_every(mut self, time: Duration) -> Self {
        self.sync_every = time;
        self
    }

    /// When the checkpoint of a durable subscription is saved: after so many events, after this time, and at shutdown.
    /// Default: 256 events, 1 s. Ranges: 1 to 1,048,576; 1 ms to an hour. What has ended since is given again after the
    /// process was killed.
    pub fn checkpoint(mut self, events: u64, time: Duration) -> Self {
        (self.checkpoint_events, self.checkpoint_every) = (events, time);
        self
    }

    /// How much the store collects in memory before it writes a table. Default: 16 MiB. Range: 64 KiB to 1 GiB.
    pub fn buffer(mut self, bytes: u64) -> Self {
        self.buffer = bytes;
        self
    }

    /// Keeps so many bytes of lines, and lets older ones go that all durable subscriptions have passed. Default: no such
    /// limit. Whole runs of up to 1,024 lines or a megabyte go at a time, so that somewhat more is there; the last run
    /// always stays.
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = Some(bytes);
        self
    }

    /// Keeps lines for so long, and lets older ones go that all durable subscriptions have passed. Default: for ever.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Whether lines stay that all durable subscriptions have passed, as long as the limits above allow. Default: yes.
    /// Without, they go as soon as all have; a log without any durable subscription keeps everything.
    pub fn keep_handled(mut self, keep: bool) -> Self {
        self.keep_handled = keep;
        self
    }

    /// Lets the oldest lines go when there are more bytes than this, whoever has not come to them: that is counted for
    /// each subscription ([`missed`](DurableSubscriptionStats::missed)), and a `system.log_overrun` says so. Default: no
    /// such limit.
    ///
    /// A subscription counts from its first day until [`Bus::forget_durable`](crate::Bus::forget_durable), whether its
    /// process has subscribed it again or not.
    pub fn hard_limit(mut self, bytes: u64) -> Self {
        self.hard_limit = Some(bytes);
        self
    }

    /// Checks the settings.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let refuse = |rule: &str| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, rule);
            Err(BuildError::Durable { path: self.path.clone(), error })
        };
        if self.patterns.is_empty() {
            return refuse("no topic is durable: say which with `topics`");
        }
        for pattern in &self.patterns {
            nervebus_core::Pattern::new(pattern)
                .map_err(|error| BuildError::Pattern { field: "durable.topics".into(), rule: error.to_string() })?;
        }
        range::number(|| "durable.capacity".into(), self.lane.capacity as u64, 1, 1 << 20)?;
        range::number(|| "durable.checkpoint".into(), self.checkpoint_events, 1, 1 << 20)?;
        range::number(|| "durable.buffer".into(), self.buffer, 64 << 10, 1 << 30)?;
        range::wait(|| "durable.checkpoint".into(), self.checkpoint_every, MAX_EVERY)?;
        range::wait(|| "durable.sync_every".into(), self.sync_every, MAX_EVERY)?;
        if self.lane.overflow == Overflow::DropOldest {
            return refuse("DropOldest would give up what was accepted");
        }
        Ok(())
    }
}

/// The state of the durable log; part of [`Stats`](crate::Stats).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DurableStats {
    /// The folder.
    pub path: PathBuf,
    /// The first position that may hold a line.
    pub first: u64,
    /// The position behind the last line.
    pub next: u64,
    /// Lines written by this bus.
    pub lines: u64,
    /// Bytes written by this bus.
    pub bytes: u64,
    /// Bytes of all lines that are kept.
    pub held_bytes: u64,
    /// Batches written.
    pub batches: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Events that are not in the log for certain, or perhaps not: dropped by the overflow policy, in a batch whose write or
    /// sync failed, without JSON, or left over by a shutdown.
    pub dropped: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// How often the store was opened again after a failure.
    pub reopened: u64,
    /// Lines that were let go by the limits on size and age.
    pub retired: u64,
    /// What the last failure said.
    pub last_error: Option<String>,
    /// Events waiting to be written.
    pub lag: u64,
    /// The durable subscriptions.
    pub subscriptions: Vec<DurableSubscriptionStats>,
}

/// A durable subscription in [`DurableStats`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DurableSubscriptionStats {
    /// Its name.
    pub name: String,
    /// The position below which everything has ended.
    pub checkpoint: u64,
    /// What of that is saved: after a kill, nothing below is given again.
    pub saved: u64,
    /// Positions that it has not been given yet.
    pub lag: u64,
    /// Events that it was given and that have not ended.
    pub in_flight: usize,
    /// Events that it was given in this run.
    pub given: u64,
    /// Events that have ended in this run: handled, or dead letters.
    pub ended: u64,
    /// Events that were passed because its window had their id.
    pub duplicates: u64,
    /// Positions that the log let go before it came to them.
    pub missed: u64,
}
