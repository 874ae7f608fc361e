//! Duplicates: remembers which keys were seen lately.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::BuildError;
use crate::range;

const MAX_KEYS: u64 = 1 << 24;
const MAX_KEEP: Duration = Duration::from_secs(60 * 60 * 24);

/// From how many keys on the window is split, and into how many shards.
const SPLIT_FROM: usize = 4_096;
const SHARDS: usize = 16;

/// A window in which an event is recognised as a duplicate of an earlier one, by its key.
///
/// A key is remembered from when it first comes, for the time `keep`; coming again does not prolong that. When there
/// are more keys than the window has room for, the oldest is forgotten before its time, and that is counted: such a
/// key would pass a second time.
///
/// Keys are remembered as 128-bit hashes under a random seed. Two different keys are taken for the same with a
/// probability of about `capacity` / 2^128 for each new key: less than 10^-31 for the largest window.
///
/// # Cost
///
/// 44 to 48 bytes a key, all taken when the bus is built; the length of the keys does not matter. A look at a key is
/// two hashes of it and a mutex, one of 16 from 4,096 keys on. Then each of the 16 has its own share of the
/// room: keys are spread evenly but not exactly so, and the first is forgotten early when the window as a whole is
/// nearly full, not quite.
///
/// # Examples
///
/// ```
/// use nervebus::DedupWindow;
/// use std::time::Duration;
///
/// let window = DedupWindow::new(100_000, Duration::from_secs(300));
/// # let _ = window;
/// ```
#[derive(Debug, Clone)]
#[must_use = "a window does nothing until a builder takes it"]
pub struct DedupWindow {
    capacity: usize,
    keep: Duration,
}

impl DedupWindow {
    /// How many keys are remembered at most, and for how long. Ranges: 1 to 16,777,216 keys; more than zero, at most a
    /// day.
    pub fn new(capacity: usize, keep: Duration) -> Self {
        Self { capacity, keep }
    }

    /// Checks the ranges; `of` is what the window is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::number(|| format!("{of}.capacity"), self.capacity as u64, 1, MAX_KEYS)?;
        range::wait(|| format!("{of}.keep"), self.keep, MAX_KEEP)
    }
}

/// What stands for a key: 128 bits of hash.
type Hash = [u64; 2];

/// The keys seen lately, at work.
#[derive(Debug)]
pub(crate) struct Window {
    shards: Box<[Mutex<Shard>]>,
    keep: u64,
    seed: RandomState,
}

impl Window {
    /// An empty window with all its memory; the configuration has been checked.
    pub(crate) fn new(config: &DedupWindow) -> Self {
        let capacity = config.capacity.clamp(1, MAX_KEYS as usize);
        let shards = if capacity < SPLIT_FROM { 1 } else { SHARDS };
        let share = |shard: usize| capacity / shards + usize::from(shard < capacity % shards);
        let shards = (0..shards).map(|shard| Mutex::new(Shard::new(share(shard)))).collect();
        Self { shards, keep: range::nanos(config.keep), seed: RandomState::new() }
    }

    /// Whether the key comes for the first time in its window; then it is remembered, from `now` nanoseconds since an
    /// origin of the caller's.
    ///
    /// Of several threads that come with the same key at the same time, one is the first.
    pub(crate) fn first_time(&self, key: &str, now: u64) -> bool {
        let hash = self.hash(key);
        self.shard(hash).is_none_or(|mut shard| shard.first_time(hash, now, self.keep))
    }

    /// Forgets a key, so that it may come for the first time again: for whoever was first with it and then could not do
    /// what he wanted to. Whoever came second meanwhile was told that he was a duplicate.
    pub(crate) fn forget(&self, key: &str) {
        let hash = self.hash(key);
        let Some(mut shard) = self.shard(hash) else { return };
        if let Some(at) = shard.find(hash) {
            shard.remove(at);
        }
    }

    /// How many keys there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.sum(|shard| shard.entries.len() as u64) as usize
    }

    /// How many keys are held. Those whose time is over are counted until newer ones come to their shard: each takes
    /// up to two of them away.
    pub(crate) fn len(&self) -> usize {
        self.sum(|shard| u64::from(shard.len)) as usize
    }

    /// How many times a key came again.
    pub(crate) fn duplicates(&self) -> u64 {
        self.sum(|shard| shard.duplicates)
    }

    /// How many keys were forgotten before their time, because newer ones needed the room.
    pub(crate) fn evicted_early(&self) -> u64 {
        self.sum(|shard| shard.evicted_early)
    }

    fn sum(&self, what: impl Fn(&Shard) -> u64) -> u64 {
        self.shards.iter().map(|shard| what(&lock(shard))).sum()
    }

    /// Two hashes under one random key: SipHash gives unrelated values for texts that differ in their first byte.
    fn hash(&self, key: &str) -> Hash {
        [self.seed.hash_one((0u8, key)), self.seed.hash_one((1u8, key))]
    }

    fn shard(&self, hash: Hash) -> Option<MutexGuard<'_, Shard>> {
        // The high bits; a shard's buckets go by the other half.
        let index = ((u128::from(hash[0]) * self.shards.len() as u128) >> 64) as usize;
        self.shards.get(index).map(lock)
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing in a shard's methods panics half-way.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No entry.
const NIL: u32 = u32::MAX;

/// A key that is remembered, in two lists: of all entries by age, and of those in the same bucket.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: Hash,
    since: u64,
    older: u32,
    newer: u32,
    /// The next in the bucket; of an entry that is free, the next free one.
    next: u32,
}

/// A hash table with a list of its entries by age, both in arrays that never grow.
#[derive(Debug)]
struct Shard {
    /// The first entry of each bucket; their number is a power of two, and at least that of the entries.
    buckets: Box<[u32]>,
    entries: Box<[Entry]>,
    oldest: u32,
    newest: u32,
    free: u32,
    len: u32,
    duplicates: u64,
    evicted_early: u64,
}

impl Shard {
    fn new(capacity: usize) -> Self {
        let count = u32::try_from(capacity).unwrap_or(NIL - 1);
        // All free, each with the next one behind it.
        let free = |at: u32| Entry {
            hash: [0; 2],
            since: 0,
            older: NIL,
            newer: NIL,
            next: if at + 1 < count { at + 1 } else { NIL },
        };
        Self {
            buckets: vec![NIL; capacity.next_power_of_two()].into(),
            entries: (0..count).map(free).collect(),
            oldest: NIL,
            newest: NIL,
            free: 0,
            len: 0,
            duplicates: 0,
            evicted_early: 0,
        }
    }

    fn first_time(&mut self, hash: Hash, now: u64, keep: u64) -> bool {
        let is_over = |entry: &Entry| now.saturating_sub(entry.since) >= keep;
        if let Some(at) = self.find(hash) {
            if !is_over(&self.entries[at as usize]) {
                self.duplicates += 1;
                return false;
            }
            self.remove(at);
        }
        // Two for one that comes: what is over goes faster than it came, and nobody waits while thousands go.
        for _ in 0..2 {
            if self.oldest != NIL && is_over(&self.entries[self.oldest as usize]) {
                self.remove(self.oldest);
            }
        }
        if self.free == NIL {
            self.evicted_early += 1;
            self.remove(self.oldest);
        }
        self.insert(hash, now);
        true
    }

    fn bucket(&self, hash: Hash) -> usize {
        hash[1] as usize & (self.buckets.len() - 1)
    }

    fn find(&self, hash: Hash) -> Option<u32> {
        let mut at = self.buckets[self.bucket(hash)];
        while at != NIL && self.entries[at as usize].hash != hash {
            at = self.entries[at as usize].next;
        }
        (at != NIL).then_some(at)
    }

    /// Takes the first free entry; there is one.
    fn insert(&mut self, hash: Hash, since: u64) {
        let (at, bucket, older) = (self.free, self.bucket(hash), self.newest);
        let entry = &mut self.entries[at as usize];
        self.free = entry.next;
        *entry = Entry { hash, since, older, newer: NIL, next: self.buckets[bucket] };
        self.buckets[bucket] = at;
        match older {
            NIL => self.oldest = at,
            older => self.entries[older as usize].newer = at,
        }
        self.newest = at;
        self.len += 1;
    }

    /// Takes an entry out of both lists and makes it free.
    fn remove(&mut self, at: u32) {
        let Entry { hash, older, newer, next, .. } = self.entries[at as usize];
        match older {
            NIL => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        self.unchain(at, hash, next);
        self.entries[at as usize].next = self.free;
        self.free = at;
        self.len -= 1;
    }

    fn unchain(&mut self, at: u32, hash: Hash, next: u32) {
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
            return;
        }
        let mut before = self.buckets[bucket];
        while self.entries[before as usize].next != at {
            before = self.entries[before as usize].next;
        }
        self.entries[before as usize].next = next;
    }
}

#[cfg(test)]
mod tests;
