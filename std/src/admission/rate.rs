//! How many events a second may pass: a token bucket in one word.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::BuildError;
use crate::range;

const MAX_PER_SECOND: u64 = 10_000_000;
const MAX_BURST: u64 = 10_000_000;

/// Buckets keep time in sixteenths of a nanosecond: fine enough that rounding costs no rate less than a thousandth,
/// coarse enough that 64 bits last for 36 years.
const TICKS_PER_NANO: u64 = 16;
const TICKS_PER_SECOND: u64 = 1_000_000_000 * TICKS_PER_NANO;

/// A limit on events per second: a token bucket, full at first, that holds [`burst`](Self::burst) tokens and is
/// refilled evenly. What finds it empty is refused; nothing waits.
///
/// Over any stretch of `t` seconds at most `burst + per_second × t` events pass, whatever the threads and the clock
/// do. What this limit refuses costs no token; what it lets pass does, even if something else refuses it later.
///
/// # Examples
///
/// ```
/// use nervebus::RateLimit;
///
/// // A thousand events a second, and not more than fifty of them at once.
/// let limit = RateLimit::per_second(1_000).burst(50);
/// # let _ = limit;
/// ```
#[derive(Debug, Clone)]
#[must_use = "a limit does nothing until a builder takes it"]
pub struct RateLimit {
    per_second: u32,
    burst: Option<u32>,
}

impl RateLimit {
    /// At most `events` a second for any length of time. Range: 1 to 10,000,000.
    ///
    /// The time between two tokens is rounded up to a sixteenth of a nanosecond, so the limit is never exceeded, and
    /// missed by less than a tenth of a per cent.
    pub fn per_second(events: u32) -> Self {
        Self { per_second: events, burst: None }
    }

    /// How many events may pass at once after a pause. Default: as many as pass in a second. Range: 1 to 10,000,000.
    pub fn burst(mut self, events: u32) -> Self {
        self.burst = Some(events);
        self
    }

    /// Checks the ranges; `of` is what the limit is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::number(|| format!("{of}.per_second"), self.per_second.into(), 1, MAX_PER_SECOND)?;
        // Without a burst of its own it has the other number, which is in this range as well.
        range::number(|| format!("{of}.burst"), self.burst.unwrap_or(self.per_second).into(), 1, MAX_BURST)
    }
}

/// How long to wait, in nanoseconds, until a token is there, if nobody else takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryAfter(pub(crate) u64);

/// How fast a bucket is refilled and how much it holds, in ticks.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Between two tokens.
    interval: u64,
    /// From empty to full.
    depth: u64,
}

impl Pace {
    fn new(limit: &RateLimit) -> Self {
        let burst = limit.burst.unwrap_or(limit.per_second).max(1);
        // Rounded up: a limit errs towards less.
        let interval = TICKS_PER_SECOND.div_ceil(limit.per_second.max(1).into());
        Self { interval, depth: interval.saturating_mul(burst.into()) }
    }

    /// Takes a token from the bucket that will be full again at the tick `full_at`.
    ///
    /// This is the generic cell rate algorithm (ITU-T I.371, annex A, virtual scheduling): the one number is the
    /// 'theoretical arrival time', and a token is there unless it lies more than the depth ahead. A time earlier than
    /// another thread's only makes that distance larger, so a clock that goes backwards lets nothing more pass.
    #[inline]
    fn take(self, full_at: &AtomicU64, now: u64) -> Result<(), RetryAfter> {
        let now = now.saturating_mul(TICKS_PER_NANO);
        let latest = now.saturating_add(self.depth);
        let next = |full_at: u64| full_at.max(now).saturating_add(self.interval);
        // Relaxed: the number is all there is, and nothing is published by it.
        let taken = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            Some(next(full_at)).filter(|next| *next <= latest)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(full_at) => Err(RetryAfter((next(full_at) - latest).div_ceil(TICKS_PER_NANO))),
        }
    }
}

/// A token bucket.
///
/// # Cost
///
/// 24 bytes. Taking a token is one load and one compare-and-swap, refusing one load; lock-free, no allocation.
#[derive(Debug)]
pub(crate) struct Bucket {
    pace: Pace,
    full_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(limit: &RateLimit) -> Self {
        Self { pace: Pace::new(limit), full_at: AtomicU64::new(0) }
    }

    /// Takes a token, at `now` nanoseconds since an origin of the caller's, or says when to come back.
    ///
    /// Exact for 36 years from the origin; later everything passes.
    #[inline]
    pub(crate) fn try_take(&self, now: u64) -> Result<(), RetryAfter> {
        self.pace.take(&self.full_at, now)
    }
}

/// A bucket for each source, in a fixed amount of memory.
///
/// A source is any text, and nobody can say how many there will be. So there is a fixed number of buckets, and the hash
/// of a source says which one is its own. Two sources with the same bucket share its tokens: a source may get less than
/// its limit because of another one, never more. Beside `k` other sources that are at work that happens to one with a
/// probability of about `k / buckets`. Which sources share differs from process to process and cannot be guessed from
/// outside. Keeping an exact map instead would need a second answer for the source that finds it full.
///
/// # Cost
///
/// 8 bytes a bucket. Taking a token is a hash of the source (SipHash) and what [`Bucket`] costs.
#[derive(Debug)]
pub(crate) struct Sources {
    pace: Pace,
    full_at: Box<[AtomicU64]>,
    seed: RandomState,
}

impl Sources {
    /// Full buckets, at least one.
    pub(crate) fn new(limit: &RateLimit, buckets: usize) -> Self {
        let full_at = (0..buckets.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { pace: Pace::new(limit), full_at, seed: RandomState::new() }
    }

    /// Takes a token of this source's; otherwise as [`Bucket::try_take`].
    #[inline]
    pub(crate) fn try_take(&self, source: &str, now: u64) -> Result<(), RetryAfter> {
        let Some(full_at) = self.full_at.get(self.bucket(source)) else { return Ok(()) };
        self.pace.take(full_at, now)
    }

    /// Which bucket a source has: the high bits of hash × buckets, which are even over any number of buckets.
    fn bucket(&self, source: &str) -> usize {
        let hash = u128::from(self.seed.hash_one(source));
        ((hash * self.full_at.len() as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests;
