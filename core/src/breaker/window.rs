//! Calls and failures of the recent past, in a ring of buckets.

use crate::sync::{AtomicU64, Ordering, const_array, const_fn};

/// How many buckets share a window.
const BUCKETS: usize = 8;

const COUNT_BITS: u32 = 15;
const LAP_BITS: u32 = 26;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;
const LAP_MASK: u64 = (1 << LAP_BITS) - 1;
/// The slots of time that laps and buckets can tell from one another.
const SLOT_MASK: u64 = LAP_MASK * BUCKETS as u64 + (BUCKETS as u64 - 1);

/// A bucket that is this many laps ahead of an outcome, or fewer, has moved on while the outcome's thread was stopped. One
/// that seems further ahead is from before the number of the lap wrapped.
const LAPS_AHEAD: u64 = 64;

/// A bucket that overflows keeps half of what it has, so this many calls are always seen to be so many.
pub(super) const MAX_MIN_CALLS: u32 = MAX_COUNT as u32 / 2;

/// What one bucket counted, and when.
///
/// In its word: 8 bits of the breaker's generation, 26 of the lap, 15 each of calls and failures. A bucket of another
/// generation counts as empty; one whose generation is the same modulo 256 does not, so after 256 closings within one
/// window calls from before the first of them may count once more.
#[derive(Clone, Copy)]
struct Bucket {
    generation: u8,
    lap: u64,
    calls: u64,
    failures: u64,
}

impl Bucket {
    const fn of(word: u64) -> Self {
        Self {
            generation: (word >> (2 * COUNT_BITS + LAP_BITS)) as u8,
            lap: (word >> (2 * COUNT_BITS)) & LAP_MASK,
            calls: (word >> COUNT_BITS) & MAX_COUNT,
            failures: word & MAX_COUNT,
        }
    }

    const fn word(self) -> u64 {
        (self.generation as u64) << (2 * COUNT_BITS + LAP_BITS)
            | self.lap << (2 * COUNT_BITS)
            | self.calls << COUNT_BITS
            | self.failures
    }

    /// What is in it for an outcome of this time: itself when it is of that time, or has moved on; otherwise nothing.
    const fn at(self, generation: u8, lap: u64) -> Self {
        let ahead = self.lap.wrapping_sub(lap) & LAP_MASK;
        if self.calls > 0 && self.generation == generation && ahead <= LAPS_AHEAD {
            return self;
        }
        Self { generation, lap, calls: 0, failures: 0 }
    }

    const fn with(mut self, success: bool) -> Self {
        if self.calls == MAX_COUNT {
            self.calls /= 2;
            self.failures /= 2;
        }
        self.calls += 1;
        self.failures += !success as u64;
        self
    }
}

/// Where the counts of the recent past are.
#[derive(Debug)]
pub(super) struct Window {
    /// How long a slot of time is, in nanoseconds.
    width: u64,
    /// The latest slot that anything was recorded in. Never goes down.
    latest: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Window {
    const_fn! {
        /// An empty window of that many nanoseconds.
        pub(super) const fn new(length: u64) -> Self {
            let width = length.div_ceil(BUCKETS as u64);
            Self { width, latest: AtomicU64::new(0), buckets: const_array!(AtomicU64::new(0)) }
        }
    }

    /// The slot of `now`, or the latest one if that is later.
    #[inline]
    fn slot(&self, now: u64) -> u64 {
        let slot = now / self.width;
        // Relaxed, here and below: times order nothing, and one that is seen late makes no difference but that of a slot.
        let latest = self.latest.load(Ordering::Relaxed);
        if slot <= latest { latest } else { self.latest.fetch_max(slot, Ordering::Relaxed).max(slot) }
    }

    /// Counts an outcome at `now`, if `is_current` says that its generation is still the present one.
    pub(super) fn record(&self, generation: u32, success: bool, now: u64, is_current: impl Fn() -> bool) {
        let slot = self.slot(now);
        let (bucket, lap) = (&self.buckets[slot as usize % BUCKETS], (slot / BUCKETS as u64) & LAP_MASK);
        // Acquire here and below pairs with the Release of the exchange: when the bucket already has outcomes of a later
        // generation, `is_current` finds out; and when it gets them after that, the exchange fails.
        let mut word = bucket.load(Ordering::Acquire);
        while is_current() {
            let counted = Bucket::of(word).at(generation as u8, lap).with(success).word();
            match bucket.compare_exchange_weak(word, counted, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return,
                Err(newer) => word = newer,
            }
        }
    }

    /// Calls and failures of a generation in the window that ends with `now`, or with the latest slot if that is later.
    ///
    /// It has what its own thread has just recorded, and what others recorded in the same bucket before.
    pub(super) fn sum(&self, generation: u32, now: u64) -> (u64, u64) {
        let latest = self.slot(now);
        self.buckets.iter().enumerate().fold((0, 0), |(calls, failures), (index, bucket)| {
            // Relaxed: a thread that adds to another bucket at this moment looks for itself.
            let bucket = Bucket::of(bucket.load(Ordering::Relaxed));
            let age = latest.wrapping_sub(bucket.lap * BUCKETS as u64 + index as u64) & SLOT_MASK;
            if bucket.generation != generation as u8 || age >= BUCKETS as u64 {
                return (calls, failures);
            }
            (calls + bucket.calls, failures + bucket.failures)
        })
    }
}
