//! Handler timings: a histogram with logarithmic buckets of constant relative width.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Buckets per power of two: a percentile is at most 1/8 too high.
const SUB: u64 = 8;
/// Values from 2^40 ns (18 minutes) on share the last bucket.
const POWERS: u64 = 40;
const BUCKETS: usize = (SUB * (POWERS - 2)) as usize;

/// Counts durations by size. About 1.2 kB; recording is one atomic addition.
///
/// The bucket layout is the one HdrHistogram made known: linear below 8 ns, then eight buckets a power of two.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: [const { AtomicU32::new(0) }; BUCKETS] }
    }

    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(index(nanos)) {
            // Relaxed: a percentile of counts that are a little old is a percentile all the same.
            bucket.fetch_add(1, Ordering::Relaxed);
        }
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
