//! The ranges of what a builder is told: each error names the field, the value and the range.

use std::io;
use std::time::Duration;

use super::Builder;
use crate::delivery::lane::{Lane, Overflow};
use crate::error::BuildError;
use crate::history;
use crate::platform::affinity;
use crate::range::{TIMEOUTS, nanos};

/// The most events a lane or the audit log may hold.
const MAX_CAPACITY: u64 = 1 << 20;
const MAX_LANES: u64 = 256;
const MAX_DEAD_LETTERS: u64 = 1 << 24;
const MAX_TOPICS: u64 = 1 << 24;
const MAX_SUBSCRIPTIONS: u64 = 1 << 24;
const MAX_DEPTH: u64 = 1_000;
const MAX_CHAIN: u64 = 1_000_000;
const MAX_CONCURRENCY: u64 = 1 << 16;
const MAX_ABANDONED: u64 = 1024;
const MAX_WAIT: Duration = Duration::from_secs(60 * 60 * 24);
const MAX_WORKERS: u64 = 64;
const MAX_THREAD_NAME: usize = 64;

/// Names that a lane cannot have, because the bus uses them.
const RESERVED: [&str; 3] = ["inline", "audit", "durable"];

impl Builder {
    /// Checks everything that can be checked before anything is made.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let fewest = u64::from(self.dead_letter_log.is_some());
        in_range("dead_letters", self.dead_letters as u64, fewest, MAX_DEAD_LETTERS)?;
        if let Some(log) = &self.dead_letter_log {
            in_range("dead_letter_log.queue", log.queue as u64, 1, MAX_CAPACITY)?;
            if self.audit.as_ref().is_some_and(|audit| audit.path == log.path) {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "the audit log is kept there");
                return Err(BuildError::DeadLetterLog { path: log.path.clone(), error });
            }
        }
        #[cfg(feature = "durable")]
        self.durable.as_ref().map_or(Ok(()), |asked| asked.log.check())?;
        history::check(&self.histories)?;
        in_range("max_topics", self.limits.topics as u64, 16, MAX_TOPICS)?;
        in_range("max_subscriptions", self.limits.subscriptions as u64, 1, MAX_SUBSCRIPTIONS)?;
        in_range("max_depth", self.max_depth.into(), 1, MAX_DEPTH)?;
        in_range("max_chain", self.max_chain.into(), 1, MAX_CHAIN)?;
        in_range("lanes", self.lanes.len() as u64 + 1, 1, MAX_LANES)?;
        wait_in_range("wait_limit", self.wait_limit)?;
        if let Some(limit) = self.handler_timeout {
            let (min, max) = (nanos(*TIMEOUTS.start()), nanos(*TIMEOUTS.end()));
            in_range("handler_timeout in nanoseconds", nanos(limit), min, max)?;
        }
        in_range("max_abandoned", self.max_abandoned as u64, 0, MAX_ABANDONED)?;
        self.check_guards()?;
        let mut names = Vec::new();
        for lane in self.lanes() {
            check_name(&lane.name)?;
            check_lane(lane)?;
            if names.contains(&&*lane.name) {
                return Err(BuildError::DuplicateLane { name: lane.name.clone() });
            }
            names.push(&lane.name);
        }
        self.audit.as_ref().map_or(Ok(()), |log| check_lane(&log.lane).and_then(|()| log.check()))
    }
}

fn check_lane(lane: &Lane) -> Result<(), BuildError> {
    in_range(format!("lane {:?}.capacity", lane.name), lane.capacity as u64, 1, MAX_CAPACITY)?;
    if let Overflow::BlockFor(wait) = lane.overflow {
        wait_in_range(format!("lane {:?}.overflow", lane.name), wait)?;
    }
    in_range(format!("lane {:?}.workers", lane.name), lane.workers as u64, 1, MAX_WORKERS)?;
    in_range(format!("lane {:?}.concurrency", lane.name), lane.concurrency as u64, 1, MAX_CONCURRENCY)?;
    if let Some(shed) = &lane.shed {
        shed.check(&format!("lane {:?}.shed", lane.name))?;
    }
    if let Some(core) = lane.core {
        // The last worker's core must be one that can be named.
        let max = (affinity::CORES - lane.workers) as u64;
        in_range(format!("lane {:?}.pin_to", lane.name), core as u64, 0, max)?;
    }
    lane.thread_name.as_ref().map_or(Ok(()), |name| check_thread_name(lane, name))
}

/// A name with a zero byte would panic where the thread is started.
fn check_thread_name(lane: &Lane, name: &str) -> Result<(), BuildError> {
    let printable = |byte| (b' '..=b'~').contains(&byte);
    if name.is_empty() || name.len() > MAX_THREAD_NAME || !name.bytes().all(printable) {
        return Err(BuildError::ThreadName { lane: lane.name.clone(), name: name.to_owned() });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), BuildError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) {
        return Err(BuildError::LaneName { name: name.to_owned() });
    }
    if RESERVED.contains(&name) {
        return Err(BuildError::ReservedLane { name: name.to_owned() });
    }
    Ok(())
}

pub(crate) fn in_range(field: impl Into<String>, value: u64, min: u64, max: u64) -> Result<(), BuildError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(BuildError::OutOfRange { field: field.into(), value, min, max })
}

pub(super) fn wait_in_range(field: impl Into<String>, value: Duration) -> Result<(), BuildError> {
    if !value.is_zero() && value <= MAX_WAIT {
        return Ok(());
    }
    Err(BuildError::WaitOutOfRange { field: field.into(), value, max: MAX_WAIT })
}
