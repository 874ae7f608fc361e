//! A reader of the durable log beside its subscriptions: in order, at its own pace, with a mark of its own that says from
//! where on the log is to keep lines for it.

use std::io;
use std::sync::Arc;

use super::core::Core;
use super::follower::Mark;
use super::line;
use crate::event::OwnedEvent;

/// How many lines are read at a time.
const READ: usize = 256;

/// Reads the log under a name, which nobody else on the bus has meanwhile.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) core: Arc<Core>,
    name: String,
}

/// Some events of the log.
#[derive(Debug)]
pub(crate) struct Page {
    /// Those that were asked for, with their positions.
    pub(crate) events: Vec<(u64, OwnedEvent)>,
    /// Where to read on.
    pub(crate) next: u64,
    /// Whether there was anything to read.
    pub(crate) is_empty: bool,
    /// Positions that the log had let go.
    pub(crate) missed: u64,
}

impl Cursor {
    /// Claims the name; `None` if somebody has it.
    pub(crate) fn claim(core: &Arc<Core>, name: String) -> Option<Self> {
        let mut followers = core.lock();
        let is_taken = followers.active.iter().any(|active| active.name == name && active.subscription.is_active());
        if is_taken || !followers.claimed.insert(name.clone()) {
            return None;
        }
        Some(Self { core: Arc::clone(core), name })
    }

    /// Where it [began](Self::hold) and where it is to go on, if the log knows the name. Nothing of the two is left when a
    /// hard limit has let go what was to be kept for it.
    pub(crate) fn mark(&self) -> Option<Option<(u64, u64)>> {
        let followers = self.core.lock();
        let positions = &followers.marks.get(&self.name)?.ended;
        Some(positions.first().copied().zip(positions.last().copied()))
    }

    /// Has the log keep lines from a position on, for who has begun with one and goes on with another. That is saved as the
    /// checkpoints of subscriptions are.
    pub(crate) fn hold(&self, keep: u64, began: u64, next: u64) {
        let mut followers = self.core.lock();
        // Whoever has to skip a mark takes such positions out of it. Nobody but this reads this one.
        followers.marks.insert(self.name.clone(), Mark { low: keep, ended: [began, next].into() });
        followers.changed.insert(self.name.clone());
    }

    /// The next events of the topics that are wanted.
    pub(crate) fn read(&self, from: u64, wants: impl Fn(&str) -> bool) -> io::Result<Page> {
        let first = self.core.first();
        let (at, missed) = (from.max(first), first.saturating_sub(from));
        let lines = self.core.read(at, READ)?;
        let next = lines.last().map_or(at, |(last, _)| last + 1);
        let is_empty = lines.is_empty();
        let wanted = lines.into_iter().filter(|(_, line)| topic(line).is_some_and(|topic| wants(&topic)));
        let events = wanted.filter_map(|(position, line)| Some((position, line::read(&line, 0)?.event))).collect();
        Ok(Page { events, next, is_empty, missed })
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.core.lock().claimed.remove(&self.name);
    }
}

/// The topic of a line, which stands first in it.
fn topic(line: &[u8]) -> Option<String> {
    let rest = line.strip_prefix(br#"{"event_type":"#)?;
    serde_json::Deserializer::from_slice(rest).into_iter().next()?.ok()
}
