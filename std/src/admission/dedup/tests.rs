use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;

use super::*;

fn window(capacity: usize, keep: u64) -> Window {
    Window::new(&DedupWindow::new(capacity, Duration::from_nanos(keep)))
}

#[test]
fn a_key_comes_for_the_first_time_once_until_its_time_is_over() {
    let window = window(10, 100);
    assert!(window.first_time("a", 1_000));
    assert!(window.first_time("b", 1_050));
    assert!(!window.first_time("a", 1_099));
    assert!(window.first_time("a", 1_100), "coming again at 1,099 prolongs nothing");
    assert!(!window.first_time("a", 1_199));
    assert_eq!((window.duplicates(), window.evicted_early()), (2, 0));
}

#[test]
fn a_key_that_is_forgotten_may_come_again() {
    let window = window(10, 100);
    assert!(window.first_time("a", 0) && window.first_time("b", 0));
    window.forget("a");
    window.forget("never seen");
    assert_eq!(window.len(), 1);
    assert!(window.first_time("a", 1) && !window.first_time("b", 1));
}

#[test]
fn a_full_window_forgets_its_oldest_key_and_counts_it() {
    let window = window(3, 1_000);
    assert!(["a", "b", "c"].iter().zip(0..).all(|(key, now)| window.first_time(key, now)));
    assert!(window.first_time("d", 10));
    assert_eq!((window.len(), window.evicted_early()), (3, 1));
    assert!(["b", "c", "d"].iter().all(|key| !window.first_time(key, 11)), "only the oldest has gone");
    assert!(window.first_time("a", 12));
    assert_eq!(window.evicted_early(), 2);
}

#[test]
fn room_that_a_forgotten_or_expired_key_leaves_is_used_before_a_key_is_forgotten_early() {
    let window = window(3, 1_000);
    assert!(window.first_time("old", 0) && window.first_time("kept", 900));
    (0..100).for_each(|_| {
        assert!(window.first_time("refused", 950));
        window.forget("refused");
    });
    assert!(window.first_time("third", 960));
    assert!(window.first_time("fourth", 1_000), "the time of the first is over");
    assert_eq!((window.len(), window.evicted_early()), (3, 0));
    assert!(!window.first_time("kept", 1_001));
}

#[test]
fn a_clock_that_goes_backwards_forgets_nothing() {
    let window = window(4, 100);
    assert!(window.first_time("a", 1_000));
    assert!(!window.first_time("a", 0) && !window.first_time("a", 1_001));
    assert!(window.first_time("b", 0));
    assert!(!window.first_time("a", 1_099));
}

#[test]
fn the_memory_does_not_grow_and_the_key_count_stays_within_the_capacity() {
    for capacity in [1, 2, 100, 4_096, 10_000] {
        let window = window(capacity, 1_000_000);
        let size = || window.sum(|shard| (shard.entries.len() * 100 + shard.buckets.len()) as u64);
        let before = size();
        assert_eq!(window.sum(|shard| shard.entries.len() as u64), capacity as u64);
        assert!((0..30_000).all(|n| window.first_time(&format!("key-{n}"), n)));
        assert_eq!((size(), window.len()), (before, capacity));
        assert_eq!(window.evicted_early(), 30_000 - capacity as u64);
        // Of the newest keys nearly a window full is there: shards are not filled quite evenly.
        let recent = 30_000 - capacity as u64 * 3 / 4;
        assert!((recent..30_000).all(|n| !window.first_time(&format!("key-{n}"), n)));
    }
    assert!(size_of::<Entry>() <= 40, "the docs say how many bytes a key takes");
}

#[test]
fn of_many_threads_with_the_same_keys_one_is_the_first_for_each() {
    const THREADS: usize = 4;
    const KEYS: usize = 5_000;
    let (window, start, first) = (window(8_192, 1_000), Barrier::new(THREADS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                let own = (0..KEYS).filter(|n| window.first_time(&format!("key-{n}"), 0)).count();
                first.fetch_add(own, Ordering::Relaxed);
            });
        }
    });
    assert_eq!((first.into_inner(), window.len()), (KEYS, KEYS));
    assert_eq!(window.duplicates() as usize, KEYS * (THREADS - 1));
}

#[test]
fn two_windows_hash_differently() {
    let (one, other) = (window(1, 1), window(1, 1));
    assert_ne!(one.hash("key"), other.hash("key"));
    assert_eq!(one.hash("key"), one.hash("key"));
    let [low, high] = one.hash("key");
    assert_ne!(low, high, "the halves are two hashes and not one twice");
}

/// The same in the most obvious way.
struct Model {
    keys: VecDeque<(u8, u64)>,
    evicted_early: u64,
    duplicates: u64,
}

impl Model {
    fn first_time(&mut self, key: u8, now: u64, keep: u64, capacity: usize) -> bool {
        let is_over = |since: u64| now.saturating_sub(since) >= keep;
        if self.keys.iter().any(|(known, since)| *known == key && !is_over(*since)) {
            self.duplicates += 1;
            return false;
        }
        self.keys.retain(|(known, _)| *known != key);
        for _ in 0..2 {
            if self.keys.front().is_some_and(|(_, since)| is_over(*since)) {
                self.keys.pop_front();
            }
        }
        if self.keys.len() == capacity {
            self.keys.pop_front();
            self.evicted_early += 1;
        }
        self.keys.push_back((key, now));
        true
    }
}

#[derive(Debug, Clone)]
enum Step {
    Come(u8),
    Forget(u8),
    Wait(u64),
    Back(u64),
}

proptest! {
    #[test]
    fn the_window_does_what_a_list_would_do(
        capacity in 1usize..12,
        steps in prop::collection::vec(
            prop_oneof![
                6 => (0u8..24).prop_map(Step::Come),
                1 => (0u8..24).prop_map(Step::Forget),
                2 => (0u64..60).prop_map(Step::Wait),
                1 => (0u64..20).prop_map(Step::Back),
            ],
            1..400,
        ),
    ) {
        const KEEP: u64 = 100;
        let window = window(capacity, KEEP);
        let mut model = Model { keys: VecDeque::new(), evicted_early: 0, duplicates: 0 };
        let mut now = 1_000;
        for step in steps {
            match step {
                Step::Come(key) => {
                    let expected = model.first_time(key, now, KEEP, capacity);
                    prop_assert_eq!(window.first_time(&key.to_string(), now), expected);
                }
                Step::Forget(key) => {
                    model.keys.retain(|(known, _)| *known != key);
                    window.forget(&key.to_string());
                }
                Step::Wait(nanos) => now += nanos,
                Step::Back(nanos) => now -= nanos,
            }
            prop_assert_eq!(window.len(), model.keys.len());
        }
        prop_assert_eq!((window.duplicates(), window.evicted_early()), (model.duplicates, model.evicted_early));
    }
}

#[test]
fn what_is_outside_its_range_is_named() {
    let refusal = |config: DedupWindow| config.check("dedup").unwrap_err().to_string();
    let minute = Duration::from_secs(60);
    assert_eq!(refusal(DedupWindow::new(0, minute)), "dedup.capacity is 0, outside its range 1..=16777216");
    assert_eq!(
        refusal(DedupWindow::new(1, Duration::ZERO)),
        "dedup.keep is 0ns, outside its range: more than zero, at most 86400s"
    );
    assert!(DedupWindow::new((1 << 24) + 1, minute).check("").is_err());
    assert!(DedupWindow::new(1, MAX_KEEP + Duration::from_nanos(1)).check("").is_err());
    assert!(DedupWindow::new(1 << 24, MAX_KEEP).check("").is_ok());
}
