use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Whether no stretch of the passes' times holds more than burst + rate × its length. In 1/1,000,000,000 events.
fn within(limit: &RateLimit, mut passes: Vec<u64>) -> bool {
    passes.sort_unstable();
    let rate = i128::from(limit.per_second);
    let burst = i128::from(limit.burst.unwrap_or(limit.per_second)) * i128::from(SECOND);
    // A stretch from the i-th pass to the j-th has j - i + 1; what may not exceed the burst is the difference of two
    // values of `ahead`, plus one event.
    let mut lowest = i128::MAX;
    passes.iter().zip(0i128..).all(|(&at, index)| {
        let ahead = index * i128::from(SECOND) - i128::from(at) * rate;
        lowest = lowest.min(ahead);
        ahead - lowest + i128::from(SECOND) <= burst
    })
}

#[test]
fn a_burst_passes_at_once_and_then_one_event_for_each_interval() {
    let bucket = Bucket::new(&RateLimit::per_second(1_000).burst(3));
    let start = 7 * SECOND;
    (0..3).for_each(|_| assert_eq!(bucket.try_take(start), Ok(())));
    assert_eq!(bucket.try_take(start), Err(RetryAfter(SECOND / 1_000)));
    assert_eq!(bucket.try_take(start + 400_000), Err(RetryAfter(600_000)));
    assert_eq!(bucket.try_take(start + 999_999), Err(RetryAfter(1)));
    assert_eq!(bucket.try_take(start + 1_000_000), Ok(()));
    assert!(bucket.try_take(start + 1_000_000).is_err());
    // A long pause fills it up, and not beyond.
    let passed = (0..10).filter(|_| bucket.try_take(start + 100 * SECOND).is_ok()).count();
    assert_eq!(passed, 3);
}

#[test]
fn a_new_bucket_is_full_at_the_origin_of_time() {
    let bucket = Bucket::new(&RateLimit::per_second(5));
    assert_eq!((0..10).filter(|_| bucket.try_take(0).is_ok()).count(), 5, "the default burst is a second's worth");
}

#[test]
fn under_pressure_the_rate_is_reached_and_not_exceeded() {
    for per_second in [1, 3, 7, 1_000, 999_983, 10_000_000] {
        let bucket = Bucket::new(&RateLimit::per_second(per_second).burst(2));
        // For as long as 50,000 events take, asked four times for each.
        let step = (SECOND / u64::from(per_second) / 4).max(1);
        let length = SECOND / u64::from(per_second) * 50_000;
        let passed = (0..length).step_by(step as usize).filter(|now| bucket.try_take(*now).is_ok()).count() as u64;
        let allowed = 2 + u64::from(per_second) * length / SECOND;
        assert!(passed <= allowed && passed >= allowed - allowed / 1_000 - 2, "{per_second}: {passed} of {allowed}");
    }
}

#[test]
fn the_wait_that_a_refusal_names_is_enough_and_not_a_nanosecond_too_long() {
    for per_second in [1, 3, 1_000, 999_983] {
        let bucket = Bucket::new(&RateLimit::per_second(per_second).burst(2));
        let mut now = 12_345;
        for _ in 0..1_000 {
            let Err(RetryAfter(wait)) = bucket.try_take(now) else { continue };
            assert!(wait > 0 && bucket.try_take(now + wait - 1).is_err());
            now += wait;
            assert_eq!(bucket.try_take(now), Ok(()), "{per_second}");
        }
    }
}

#[test]
fn a_clock_that_goes_backwards_lets_nothing_more_pass() {
    let bucket = Bucket::new(&RateLimit::per_second(10).burst(4));
    assert_eq!((0..10).filter(|_| bucket.try_take(9 * SECOND).is_ok()).count(), 4);
    for now in [8 * SECOND, 0, 9 * SECOND, SECOND, 9 * SECOND + 1] {
        assert!(bucket.try_take(now).is_err(), "{now}");
    }
    assert_eq!(bucket.try_take(9 * SECOND + SECOND / 10), Ok(()));
}

#[test]
fn threads_that_share_a_bucket_pass_no_more_than_one_thread_may() {
    const THREADS: usize = 4;
    const STEPS: u64 = 20_000;
    let limit = RateLimit::per_second(100_000).burst(32);
    // A virtual clock of 1 µs a step, on which every thread works: ten steps for each token.
    let (bucket, clock, start) = (Bucket::new(&limit), AtomicU64::new(0), Barrier::new(THREADS));
    let passes: Vec<u64> = thread::scope(|scope| {
        let work = || {
            start.wait();
            let mut passes = Vec::new();
            loop {
                let now = clock.fetch_add(1_000, Ordering::Relaxed);
                if now >= STEPS * 1_000 {
                    return passes;
                }
                // Four tries at each moment, so that tokens are fought for.
                (0..4).filter(|_| bucket.try_take(now).is_ok()).for_each(|_| passes.push(now));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let allowed = 32 + STEPS as usize / 10;
    assert!(passes.len() <= allowed && passes.len() >= allowed * 9 / 10, "{} of {allowed}", passes.len());
    assert!(within(&limit, passes));
}

proptest! {
    #[test]
    fn no_stretch_of_time_has_more_than_its_burst_and_its_rate(
        per_second in 1u32..=2_000_000,
        burst in 1u32..20,
        steps in prop::collection::vec((0u64..3_000, any::<bool>()), 1..300),
    ) {
        let limit = RateLimit::per_second(per_second).burst(burst);
        let bucket = Bucket::new(&limit);
        let interval = SECOND / u64::from(per_second);
        let (mut now, mut passes) = (1_000 * SECOND, Vec::new());
        for (thousandths, back) in steps {
            let step = interval * thousandths / 1_000;
            now = if back { now - step } else { now + step };
            if bucket.try_take(now).is_ok() {
                passes.push(now);
            }
        }
        prop_assert!(within(&limit, passes));
    }
}

#[test]
fn a_source_is_limited_by_itself_and_the_memory_is_fixed() {
    let sources = Sources::new(&RateLimit::per_second(10).burst(2), 64);
    let pass = |source: &str| (0..5).filter(|_| sources.try_take(source, 0).is_ok()).count();
    assert_eq!(pass("sensor-1"), 2);
    assert_eq!(pass("sensor-1"), 0);
    let other = (2..).map(|n| format!("sensor-{n}")).find(|other| sources.bucket(other) != sources.bucket("sensor-1"));
    assert_eq!(pass(&other.unwrap()), 2, "the other's tokens are its own");
    // Ten thousand sources spend the tokens of 64 buckets and no more.
    let all: usize = (0..10_000).map(|n| pass(&format!("source-{n}"))).sum();
    assert_eq!(all, 2 * 64 - 4);
}

#[test]
fn one_bucket_serves_all_sources_and_none_is_not_possible() {
    for buckets in [0, 1] {
        let sources = Sources::new(&RateLimit::per_second(1).burst(3), buckets);
        assert_eq!((0..10).filter(|n| sources.try_take(&n.to_string(), 0).is_ok()).count(), 3);
    }
}

#[test]
fn what_is_outside_its_range_is_named() {
    let refusal = |limit: RateLimit| limit.check("rate_limit").unwrap_err().to_string();
    assert_eq!(
        refusal(RateLimit::per_second(0).burst(1)),
        "rate_limit.per_second is 0, outside its range 1..=10000000"
    );
    assert_eq!(refusal(RateLimit::per_second(1).burst(0)), "rate_limit.burst is 0, outside its range 1..=10000000");
    assert!(RateLimit::per_second(10_000_001).check("").is_err());
    assert!(RateLimit::per_second(1).burst(10_000_001).check("").is_err());
    assert!(RateLimit::per_second(10_000_000).check("").is_ok());
}

#[test]
fn the_end_of_time_is_no_overflow() {
    let bucket = Bucket::new(&RateLimit::per_second(1).burst(10_000_000));
    assert_eq!(bucket.try_take(u64::MAX), Ok(()));
    assert!(bucket.try_take(0).is_err());
}
