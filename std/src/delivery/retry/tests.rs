use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;

use proptest::prelude::*;

use super::*;

const MILLI: Duration = Duration::from_millis(1);

fn failure() -> HandlerError {
    HandlerError::Error("no connection".into())
}

/// Random numbers that are the same in each run (SplitMix64, Steele, Lea and Flood, 2014).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn the_ceiling_doubles_until_it_reaches_the_maximum() {
    let retry = Retry::exponential(100 * MILLI).max_delay(Duration::from_secs(1));
    let ceilings = [1, 2, 3, 4, 5, 6].map(|attempt| retry.delay(attempt, u64::MAX).as_millis());
    assert_eq!(ceilings, [100, 200, 400, 800, 1_000, 1_000]);
    assert_eq!(retry.delay(3, 0), Duration::ZERO);
    assert_eq!(retry.delay(0, u64::MAX), retry.delay(1, u64::MAX), "there is no attempt before the first");
    let short = Retry::exponential(Duration::from_secs(9)).max_delay(MILLI);
    assert_eq!(short.delay(1, u64::MAX), MILLI, "the maximum holds for the first delay as well");
}

#[test]
fn delays_are_spread_evenly_between_nothing_and_the_ceiling() {
    let retry = Retry::exponential(100 * MILLI);
    let mut state = 7;
    let mut tenths = [0; 10];
    for _ in 0..100_000 {
        let delay = retry.delay(1, random(&mut state));
        tenths[(delay.as_nanos() as usize / 10_000_000).min(9)] += 1;
    }
    assert!(tenths.iter().all(|count| (9_500..10_500).contains(count)), "{tenths:?}");
}

proptest! {
    #[test]
    fn no_attempt_and_no_setting_overflows(
        (first, zeros) in (any::<u64>(), 0u32..64), max in any::<u64>(), random in any::<u64>(),
        attempt in prop_oneof![0u32..70, any::<u32>()],
    ) {
        // Of all sizes, not only near the largest.
        let first = first >> zeros;
        let retry = Retry::exponential(Duration::from_nanos(first)).max_delay(Duration::from_nanos(max));
        let exact = (1..attempt.min(70)).fold(first, |ceiling, _| ceiling.saturating_mul(2)).min(max);
        prop_assert_eq!(retry.ceiling(attempt), exact);
        prop_assert!(retry.delay(attempt, random).as_nanos() <= exact.into());
    }
}

#[test]
fn the_longest_settings_do_not_overflow_either() {
    let retry = Retry::exponential(Duration::MAX).max_delay(Duration::MAX);
    for attempt in [0, 1, 2, 64, 65, u32::MAX] {
        assert_eq!(retry.delay(attempt, u64::MAX).as_nanos(), u64::MAX.into());
    }
}

#[test]
fn it_says_why_it_gives_up() {
    let retry = Retry::exponential(MILLI).reserve(1).only_if(|error| error.kind() == "error");
    let budget = Budget::new(&retry);
    assert_eq!(retry.next(&budget, 3, &failure(), 0), Err(GiveUp::LastAttempt));
    assert_eq!(retry.next(&budget, 1, &HandlerError::Panic("oh".into()), 0), Err(GiveUp::NotRetryable));
    // None of these has cost anything.
    assert_eq!(retry.next(&budget, 2, &failure(), u64::MAX), Ok(2 * MILLI));
    assert_eq!(retry.next(&budget, 1, &failure(), 0), Err(GiveUp::OverBudget));
    let never = Retry::exponential(MILLI).attempts(1);
    assert_eq!(never.next(&Budget::new(&never), 1, &failure(), 0), Err(GiveUp::LastAttempt));
}

#[test]
fn a_predicate_that_panics_says_no() {
    let retry = Retry::exponential(MILLI).only_if(|_| panic!("of the user's"));
    assert_eq!(retry.next(&Budget::new(&retry), 1, &failure(), 0), Err(GiveUp::NotRetryable));
}

#[test]
fn a_quiet_subscription_can_retry_and_then_earns_one_retry_with_ten_events() {
    let budget = Budget::new(&Retry::exponential(MILLI));
    assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10);
    (0..9).for_each(|_| budget.deposit());
    assert!(!budget.withdraw());
    budget.deposit();
    assert!(budget.withdraw() && !budget.withdraw());
    (0..1_000_000).for_each(|_| budget.deposit());
    assert_eq!((0..100).filter(|_| budget.withdraw()).count(), 10, "a long calm saves up no more than the reserve");
}

/// An outage: every attempt fails, one new event a millisecond, retries when they are due on a virtual clock.
#[test]
fn a_hundred_thousand_failures_add_no_more_than_the_budget() {
    for (percent, reserve) in [(10, 10), (1, 1), (100, 500)] {
        let retry = Retry::exponential(20 * MILLI).attempts(10).budget(percent).reserve(reserve);
        let budget = Budget::new(&retry);
        let (mut state, mut firsts, mut retries, mut dead) = (1, 0u64, 0u64, 0u64);
        // When an attempt is due, in nanoseconds, and its number.
        let mut due = BinaryHeap::from([Reverse((0, 1))]);
        // The most that retries were ever ahead of the share of the first attempts since some moment, in hundredths.
        let (mut lowest, mut ahead) = (0, 0);
        while let Some(Reverse((now, attempt))) = due.pop() {
            if attempt == 1 {
                firsts += 1;
                budget.deposit();
                if firsts < 100_000 {
                    due.push(Reverse((now + 1_000_000, 1)));
                }
            } else {
                retries += 1;
            }
            let level = retries as i64 * 100 - firsts as i64 * i64::from(percent);
            lowest = lowest.min(level);
            ahead = ahead.max(level - lowest);
            match retry.next(&budget, attempt, &failure(), random(&mut state)) {
                Ok(delay) => due.push(Reverse((now + delay.as_nanos() as u64, attempt + 1))),
                Err(_) => dead += 1,
            }
        }
        assert_eq!((firsts, dead), (100_000, 100_000));
        let allowed = firsts * u64::from(percent) / 100 + u64::from(reserve);
        assert!(retries <= allowed && retries + 1 >= allowed - u64::from(reserve), "{retries} of {allowed}");
        // Retries come later than they are paid for, so a stretch may hold some that were paid for before it.
        let delayed = 2 * i64::from(reserve) * 100 + 30_000 * i64::from(percent);
        assert!(ahead <= delayed, "{ahead} of {delayed}");
    }
}

proptest! {
    /// Exactly, at the moment at which retries are granted: over any stretch, not only from the beginning.
    #[test]
    fn no_stretch_is_granted_more_than_its_share_and_the_reserve(
        percent in 1u8..=100, reserve in 1u32..20, steps in prop::collection::vec(any::<bool>(), 1..500),
    ) {
        let budget = Budget::new(&Retry::exponential(MILLI).budget(percent).reserve(reserve));
        let (mut level, mut lowest) = (0i64, 0i64);
        for first in steps {
            if first {
                budget.deposit();
                level -= i64::from(percent);
            } else if budget.withdraw() {
                level += 100;
            }
            lowest = lowest.min(level);
            prop_assert!(level - lowest <= i64::from(reserve) * 100);
        }
    }
}

#[test]
fn threads_that_share_a_budget_spend_it_once() {
    const THREADS: usize = 4;
    let budget = Budget::new(&Retry::exponential(MILLI).budget(25).reserve(100));
    let (start, granted) = (Barrier::new(THREADS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..10_000 {
                    budget.deposit();
                    granted.fetch_add(usize::from(budget.withdraw()), Ordering::Relaxed);
                }
            });
        }
    });
    let (granted, allowed) = (granted.into_inner(), 100 + THREADS * 10_000 / 4);
    assert!(granted <= allowed && granted >= allowed - 101, "{granted} of {allowed}");
}

#[test]
fn the_history_keeps_the_texts_of_the_first_hundred_attempts() {
    let mut history = History::default();
    (0..150).for_each(|n| history.record(failure().to_string(), f64::from(n)));
    let attempts = history.into_attempts();
    assert_eq!(attempts.len(), 100);
    assert_eq!(attempts[1], Attempt { number: 2, error: "no connection".into(), at: 1.0 });
}

#[test]
fn what_is_outside_its_range_is_named() {
    let retry = || Retry::exponential(MILLI);
    let refusal = |retry: Retry| retry.check("retry").unwrap_err().to_string();
    assert_eq!(refusal(retry().attempts(0)), "retry.attempts is 0, outside its range 1..=100");
    assert_eq!(refusal(retry().attempts(101)), "retry.attempts is 101, outside its range 1..=100");
    assert_eq!(refusal(retry().budget(0)), "retry.budget is 0, outside its range 1..=100");
    assert_eq!(refusal(retry().budget(101)), "retry.budget is 101, outside its range 1..=100");
    assert_eq!(refusal(retry().reserve(0)), "retry.reserve is 0, outside its range 1..=10000");
    let wait = "outside its range: more than zero, at most 86400s";
    assert_eq!(refusal(Retry::exponential(Duration::ZERO)), format!("retry.first is 0ns, {wait}"));
    assert_eq!(refusal(retry().max_delay(MAX_DELAY + MILLI)), format!("retry.max_delay is 86400.001s, {wait}"));
    assert!(retry().attempts(100).budget(100).reserve(10_000).max_delay(MAX_DELAY).check("").is_ok());
}
