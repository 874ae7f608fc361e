//! A durable subscription at work: what it has been given, what has ended, and what is saved of that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::DurableSubscriptionStats;
use super::core::Core;
use crate::admission::dedup::Window;
use crate::delivery::again::Followed;
use crate::delivery::subscription::Subscription;

/// How the marks of durable subscriptions begin.
const PREFIX: &[u8] = b"s/";

/// How many events of one subscription are in its lane at once.
pub(crate) const WINDOW: usize = 256;

/// How many events may have ended behind one that has not.
const AHEAD: usize = 4_096;

/// How far a subscription has come: everything below `low` has ended, and so have those above it that are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) low: u64,
    pub(crate) ended: BTreeSet<u64>,
}

impl Mark {
    /// The name of a subscription's mark in the store.
    pub(crate) fn key(name: &str) -> Vec<u8> {
        [PREFIX, name.as_bytes()].concat()
    }

    /// As it lies in the store.
    pub(crate) fn encode(&self) -> Vec<u8> {
        std::iter::once(&self.low).chain(&self.ended).flat_map(|position| position.to_be_bytes()).collect()
    }

    /// A mark from the store, if it is a subscription's.
    pub(crate) fn restore(key: &[u8], value: &[u8]) -> Option<(String, Self)> {
        let name = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
        let mut positions = value.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let low = positions.next()?;
        Some((name.to_owned(), Self { low, ended: positions.collect() }))
    }
}

/// A durable subscription.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) name: String,
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) window: Option<Window>,
    progress: Mutex<Progress>,
    core: Weak<Core>,
}

#[derive(Debug)]
struct Progress {
    /// The next position to be read.
    next: u64,
    /// What is in the lane, or waits for a retry.
    given: BTreeSet<u64>,
    /// What has ended, at or above the low-water mark.
    ended: BTreeSet<u64>,
    /// Whether there is something new to save, and how much has ended since the last time.
    fresh: bool,
    unsaved: u64,
    /// The low-water mark that was saved last.
    saved: u64,
    counts: Counts,
    /// The run whose keys are in the lane.
    run: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) given: u64,
    pub(crate) ended: u64,
    pub(crate) duplicates: u64,
    pub(crate) missed: u64,
}

impl Progress {
    /// The position below which everything has ended.
    fn low(&self) -> u64 {
        self.given.first().copied().unwrap_or(self.next).min(self.next)
    }
}

impl Follower {
    pub(crate) fn new(
        name: String,
        subscription: Arc<Subscription>,
        window: Option<Window>,
        mark: Mark,
        core: &Arc<Core>,
    ) -> Self {
        let progress = Progress {
            next: mark.low,
            given: BTreeSet::new(),
            ended: mark.ended,
            fresh: true,
            unsaved: 0,
            saved: mark.low,
            counts: Counts::default(),
            run: None,
        };
        Self { name, subscription, window, progress: Mutex::new(progress), core: Arc::downgrade(core) }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to read on, and how many events there is room for.
    pub(crate) fn wants(&self) -> (u64, usize) {
        let progress = self.lock();
        let room = WINDOW.saturating_sub(progress.given.len());
        let behind = progress.ended.len() + progress.given.len();
        (progress.next, if behind >= AHEAD { 0 } else { room.min(AHEAD - behind) })
    }

    /// Nothing below a position is there any more: what had not been read is missed. How much that is at most.
    pub(crate) fn skip_to(&self, first: u64) -> u64 {
        let mut progress = self.lock();
        let missed = first.saturating_sub(progress.next);
        if missed > 0 {
            progress.next = first;
            progress.counts.missed += missed;
            progress.fresh = true;
            progress.ended = progress.ended.split_off(&first);
        }
        missed
    }

    /// Passes a position that holds nothing for this subscription.
    pub(crate) fn pass(&self, position: u64, duplicate: bool) {
        let mut progress = self.lock();
        if position < progress.next {
            return;
        }
        progress.next = position + 1;
        progress.ended.remove(&position);
        progress.counts.duplicates += u64::from(duplicate);
        progress.fresh = true;
    }

    /// Whether an event has ended already, in an earlier run.
    pub(crate) fn has_ended(&self, position: u64) -> bool {
        self.lock().ended.contains(&position)
    }

    /// Whether an event of a run may be given now. Keys of different runs cannot be compared, so on a lane with several
    /// workers the events of one run have to end before those of the next are given.
    pub(crate) fn may_give(&self, run: Option<u64>) -> bool {
        let mut progress = self.lock();
        if run.is_none() || run == progress.run {
            return true;
        }
        let free = progress.given.is_empty();
        if free {
            progress.run = run;
        }
        free
    }

    /// Notes that an event goes to the lane, before it does; `false` for one that was let go, and counted as missed, since
    /// it was read.
    pub(crate) fn give(&self, position: u64) -> bool {
        let mut progress = self.lock();
        if position < progress.next {
            return false;
        }
        progress.next = position + 1;
        progress.given.insert(position);
        progress.counts.given += 1;
        true
    }

    /// Takes back what the lane did not take.
    pub(crate) fn take_back(&self, position: u64) {
        let mut progress = self.lock();
        if progress.next == position + 1 {
            progress.next = position;
        } else {
            // The log has let it go meanwhile.
            progress.counts.missed += 1;
        }
        progress.given.remove(&position);
        progress.counts.given -= 1;
    }

    /// What is to be saved, if there is anything new.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let mut progress = self.lock();
        if !std::mem::take(&mut progress.fresh) {
            return None;
        }
        progress.unsaved = 0;
        let low = progress.low();
        progress.ended = progress.ended.split_off(&low);
        Some(Mark { low, ended: progress.ended.clone() })
    }

    /// What was to be saved was not.
    pub(crate) fn mark_again(&self) {
        self.lock().fresh = true;
    }

    /// What was to be saved was.
    pub(crate) fn note_saved(&self, low: u64) {
        let mut progress = self.lock();
        progress.saved = progress.saved.max(low);
    }

    /// The position below which everything has ended.
    pub(crate) fn low(&self) -> u64 {
        self.lock().low()
    }

    pub(crate) fn stats(&self, next: u64) -> DurableSubscriptionStats {
        let progress = self.lock();
        DurableSubscriptionStats {
            name: self.name.clone(),
            checkpoint: progress.low(),
            saved: progress.saved,
            lag: next.saturating_sub(progress.next),
            in_flight: progress.given.len(),
            given: progress.counts.given,
            ended: progress.counts.ended,
            duplicates: progress.counts.duplicates,
            missed: progress.counts.missed,
        }
    }
}

impl Followed for Follower {
    fn ended(&self, position: u64) {
        let Some(core) = self.core.upgrade() else { return };
        let mut progress = self.lock();
        if !progress.given.remove(&position) {
            return;
        }
        progress.ended.insert(position);
        let low = progress.low();
        progress.ended = progress.ended.split_off(&low);
        progress.fresh = true;
        progress.unsaved += 1;
        progress.counts.ended += 1;
        let due = progress.unsaved == core.settings.checkpoint_events;
        drop(progress);
        core.tap.feeding.wake();
        if due {
            core.want_chores();
        }
    }
}
