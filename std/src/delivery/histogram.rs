//! Handler timings: a histogram with logarithmic buckets of constant relative width.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Buckets per power of two: a percentile is at most 1/8 too high.
const SUB: u64 = 8;
/// Values from 2^40 ns (18 minutes) on share the last bucket.
const POWERS: u64 = 40;
const BUCKETS: usize = (SUB * (POWERS - 2)) as usize;

/// Counts durations by size. About 1.2 kB; recording is two atomic additions.
///
/// The bucket layout is the one HdrHistogram made known: linear below 8 ns, then eight buckets a power of two.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
    /// Nanoseconds.
    sum: AtomicU64,
}

/// What the buckets of [`Durations`] end at, in nanoseconds: 1 µs to 10 s.
const EDGES: [u64; 8] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// How long the calls of a handler have taken that were [timed](crate::Timing), in buckets that end at powers of ten; those of
/// several handlers can be added.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Timing, json};
/// use std::time::Duration;
///
/// let bus = Bus::builder().timing(Timing::Every).build()?;
/// bus.on("user.login").inline().handle(|_| ())?;
/// bus.emit("user.login", json!({}))?;
/// let durations = &bus.stats().subscriptions[0].durations;
/// assert_eq!(durations.count(), 1);
/// assert_eq!(durations.buckets().next().map(|(edge, _)| edge), Some(Duration::from_micros(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Durations {
    /// How many lie in each bucket, and in none before it; the last one has no end.
    counts: [u64; EDGES.len() + 1],
    sum: Duration,
}

impl Durations {
    /// How many calls were timed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// For each power of ten from 1 µs to 10 s, how many calls took no longer. Calls that took a little more than that, up to an
    /// eighth, may be among them or not.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut calls = 0;
        EDGES.iter().zip(&self.counts).map(move |(edge, count)| {
            calls += count;
            (Duration::from_nanos(*edge), calls)
        })
    }
}

impl AddAssign<&Self> for Durations {
    fn add_assign(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.sum += other.sum;
    }
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS], sum: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(index(nanos)) {
            // Relaxed: a percentile of counts that are a little old is a percentile all the same.
            bucket.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(nanos, Ordering::Relaxed);
        }
    }

    /// The same in a few buckets.
    pub(crate) fn durations(&self) -> Durations {
        let mut durations =
            Durations { sum: Duration::from_nanos(self.sum.load(Ordering::Relaxed)), ..Durations::default() };
        for (bucket, count) in self.buckets.iter().enumerate() {
            // By where it begins: what lies across an edge is in the bucket that ends there.
            let begin = bucket.checked_sub(1).map_or(0, |before| upper(before) + 1);
            let coarse = EDGES.iter().take_while(|edge| begin > **edge).count();
            if let Some(sum) = durations.counts.get_mut(coarse) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        durations
    }

    /// The duration that `share` (0 to 1) of the recorded ones do not exceed, rounded up to its bucket's end; `None`
    /// when nothing was recorded.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed).into()).collect();
        let total: u64 = counts.iter().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        counts
            .iter()
            .position(|count| {
                seen += count;
                seen >= wanted
            })
            .map(|bucket| Duration::from_nanos(upper(bucket)))
    }
}

/// The bucket of a value.
fn index(nanos: u64) -> usize {
    if nanos < SUB {
        return nanos as usize;
    }
    let power = u64::from(nanos.ilog2());
    let within = (nanos >> (power - 3)) - SUB;
    (((power - 2) * SUB + within) as usize).min(BUCKETS - 1)
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let (power, within) = (bucket / SUB + 2, bucket % SUB);
    ((SUB + within + 1) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_that_ends_at_most_an_eighth_above_it() {
        for power in 0..39 {
            for nanos in [1u64 << power, (1 << power) + 1, (1 << power) * 3 / 2] {
                let end = upper(index(nanos));
                assert!(end >= nanos && end <= nanos + nanos / 8, "{nanos} -> {end}");
            }
        }
    }

    #[test]
    fn buckets_of_powers_of_ten_have_all_that_was_recorded() {
        let histogram = Histogram::new();
        let micros = [0, 1, 9, 90, 900, 9_000, 90_000, 900_000, 9_000_000, 90_000_000];
        micros.into_iter().for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let mut durations = histogram.durations();
        let calls: Vec<u64> = durations.buckets().map(|(_, calls)| calls).collect();
        assert_eq!(calls, [2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!((durations.count(), durations.sum()), (10, Duration::from_micros(micros.into_iter().sum())));
        durations += &histogram.durations();
        assert_eq!(durations.count(), 20);
    }

    #[test]
    fn percentiles_come_from_the_recorded_values() {
        let histogram = Histogram::new();
        assert_eq!(histogram.percentile(0.5), None);
        (1..=100).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let near = |share: f64, micros: u64| {
            let value = histogram.percentile(share).unwrap_or_default();
            assert!(value >= Duration::from_micros(micros) && value <= Duration::from_micros(micros * 9 / 8 + 1));
        };
        near(0.5, 50);
        near(0.99, 99);
        histogram.record(Duration::MAX);
        assert!(histogram.percentile(1.0) > histogram.percentile(0.99));
    }
}
