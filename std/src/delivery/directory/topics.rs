//! The topics of a bus by name: a hash trie that only grows, so that reading it takes neither a lock nor a guard.
//!
//! After Chris Wellons' "An easy-to-implement, arena-friendly hash map" (2023): a topic sits in the first free slot on
//! its hash's way down, and holds the slots below it itself. Nothing is ever moved, so there is nothing to copy when the
//! trie grows, and nobody waits for it.

use std::fmt;
use std::hash::BuildHasher;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use hashbrown::DefaultHashBuilder;

use super::claim::Claim;
use super::{RouteCache, RouteTable};
use crate::delivery::envelope::TopicId;
use crate::delivery::guards::TopicGuards;

/// The fewest and the most slots at the top, of 16 bytes each: one for sixteen topics that there may be, within these.
const ROOTS: RangeInclusive<usize> = 1 << 8..=1 << 16;

/// Slots below each topic: 64 bytes, and one more look for four times as many topics.
const WAYS: usize = 4;

/// Where a topic is, or will be.
type Slot = OnceLock<Arc<TopicState>>;

/// A topic that was subscribed to or emitted on.
pub(crate) struct TopicState {
    pub(crate) id: TopicId,
    pub(crate) name: Box<str>,
    pub(crate) table: RouteTable,
    /// What guards it against its emitters; nothing for most.
    pub(crate) guards: Option<Box<TopicGuards>>,
    /// The type that it carries, if one has claimed it; set while the registry is locked.
    pub(crate) claim: OnceLock<Claim>,
    /// Whether emits that have nothing to say but topic and payload may take the short ways: on a bus that allows those, until
    /// a command claims the topic.
    is_bare: AtomicBool,
    /// Whether a worker keeps a copy of the route; read and written while the registry is locked.
    followed: AtomicBool,
    hash: u64,
    /// Topics whose hashes begin like this one's.
    below: [Slot; WAYS],
}

impl TopicState {
    /// A cache of the topic's route, for a reader that comes again and again.
    pub(crate) fn route_cache(&self) -> RouteCache {
        self.table.cache()
    }

    /// Whether emits that have nothing to say but topic and payload may take the short ways.
    #[inline]
    pub(crate) fn is_bare(&self) -> bool {
        // Relaxed: an emit that comes while the topic is claimed may go either way.
        self.is_bare.load(Ordering::Relaxed)
    }

    /// Has every emit on it take the general way from now on.
    pub(super) fn leave_short_ways(&self) {
        self.is_bare.store(false, Ordering::Relaxed);
    }

    /// Whether its events go to the durable log.
    pub(crate) fn is_logged(&self) -> bool {
        self.guards.as_ref().is_some_and(|guards| guards.logged)
    }

    /// Notes that a worker keeps a copy of the route from now on.
    pub(super) fn follow(&self) {
        // Relaxed: the registry's lock orders it.
        self.followed.store(true, Ordering::Relaxed);
    }

    /// Whether a worker may keep a copy of the route.
    pub(super) fn is_followed(&self) -> bool {
        // Relaxed: the registry's lock orders it.
        self.followed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for TopicState {
    /// Without the topics below, which have nothing to do with this one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, table, .. } = self;
        f.debug_struct("TopicState").field("id", id).field("name", name).field("table", table).finish_non_exhaustive()
    }
}

/// All topics by name.
///
/// # Cost
///
/// Looking up: wait-free, no allocation; one topic is looked at where there are few, three on average where there are as
/// many as the limit allows, up to a million, and one more for every four times as many. Adding: the same, and one slot
/// is written. When empty: a byte for each topic that there may be, 4 KiB to 1 MiB.
pub(super) struct Topics {
    /// A power of two.
    roots: Box<[Slot]>,
    hasher: DefaultHashBuilder,
    /// Whether new topics begin as bare ones.
    is_bare: bool,
}

impl Topics {
    pub(super) fn new(limit: usize, is_bare: bool) -> Self {
        let roots = (limit / 16).clamp(*ROOTS.start(), *ROOTS.end()).next_power_of_two();
        let roots = std::iter::repeat_with(Slot::new).take(roots).collect();
        Self { roots, hasher: DefaultHashBuilder::default(), is_bare }
    }

    /// The topic of this name, if it is known.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&Arc<TopicState>> {
        self.find(self.hasher.hash_one(name), name).ok()
    }

    /// A topic of this name that nobody finds before it is [added](Self::add).
    pub(super) fn prepare(&self, id: TopicId, name: &str, guards: Option<Box<TopicGuards>>) -> Arc<TopicState> {
        self.prepare_hashed(id, name, self.hasher.hash_one(name), guards)
    }

    fn prepare_hashed(&self, id: TopicId, name: &str, hash: u64, guards: Option<Box<TopicGuards>>) -> Arc<TopicState> {
        Arc::new(TopicState {
            id,
            name: name.into(),
            table: RouteTable::default(),
            guards,
            claim: OnceLock::new(),
            is_bare: AtomicBool::new(self.is_bare),
            followed: AtomicBool::new(false),
            hash,
            below: [const { Slot::new() }; WAYS],
        })
    }

    /// Lets others find a topic, unless there is one of its name. One thread at a time may add.
    pub(super) fn add(&self, topic: &Arc<TopicState>) {
        if let Err(slot) = self.find(topic.hash, &topic.name) {
            // With one thread at a time the slot is still free.
            let _ = slot.set(Arc::clone(topic));
        }
    }

    /// The topic of this name, or the slot where it belongs.
    #[inline]
    fn find(&self, hash: u64, name: &str) -> Result<&Arc<TopicState>, &Slot> {
        let mut slot = &self.roots[hash as usize & (self.roots.len() - 1)];
        // The low half has picked the root. Once the high half is used up, what is left goes on in the first slots.
        let mut rest = hash >> 32;
        while let Some(topic) = slot.get() {
            if topic.hash == hash && *topic.name == *name {
                return Ok(topic);
            }
            slot = &topic.below[rest as usize % WAYS];
            rest /= WAYS as u64;
        }
        Err(slot)
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_whose_hashes_are_equal_are_kept_apart_by_their_names() {
        let topics = Topics::new(16, true);
        for hash in [0, u64::MAX] {
            let names: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
            for (id, name) in (0..).zip(&names) {
                assert!(topics.find(hash, name).is_err());
                topics.add(&topics.prepare_hashed(id, name, hash, None));
            }
            for (id, name) in (0..).zip(&names) {
                assert_eq!(topics.find(hash, name).unwrap().id, id, "{name}");
            }
        }
    }
}
