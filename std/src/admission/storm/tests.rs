use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::thread;

use proptest::prelude::*;

use super::*;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

fn detector(per_second: u32) -> Detector {
    Detector::new(&StormGuard::per_second(per_second))
}

/// What `count` events at one moment are told.
fn burst(detector: &Detector, count: usize, now: u64) -> Vec<Verdict> {
    (0..count).map(|_| detector.observe(now)).collect()
}

#[test]
fn the_event_that_is_one_too_many_begins_the_storm_and_a_calm_window_ends_it() {
    let detector = detector(100);
    assert_eq!(burst(&detector, 100, 10 * SECOND), [Verdict::Calm; 100]);
    assert_eq!(burst(&detector, 3, 10 * SECOND), [Verdict::Began, Verdict::Raging, Verdict::Raging]);
    // Not one calm window yet: the rest of the tenth second is not a whole one.
    assert_eq!(detector.observe(11 * SECOND + 999 * MILLI), Verdict::Raging);
    assert_eq!(detector.observe(12 * SECOND), Verdict::Ended { lasted: SECOND, events: 4 });
    assert_eq!(detector.observe(12 * SECOND), Verdict::Calm);
}

#[test]
fn the_usual_rate_for_hours_is_no_storm() {
    let detector = detector(100);
    let calm = (0..360_000).all(|n| detector.observe(n * 10 * MILLI) == Verdict::Calm);
    assert!(calm, "one event every 10 ms is 100 a second");
}

#[test]
fn a_burst_across_the_border_of_two_windows_is_seen() {
    let detector = detector(100);
    assert_eq!(burst(&detector, 90, 10 * SECOND - 1), [Verdict::Calm; 90]);
    let verdicts = burst(&detector, 20, 10 * SECOND + 1);
    assert_eq!(verdicts[11], Verdict::Began, "90 in the second before, 12 in this one");
    // Half a window later half of the 90 counts.
    let later = self::detector(100);
    burst(&later, 90, 10 * SECOND - 1);
    assert_eq!(burst(&later, 56, 10 * SECOND + SECOND / 2), [Verdict::Calm; 56]);
    assert_eq!(later.observe(10 * SECOND + SECOND / 2), Verdict::Began);
}

#[test]
fn a_storm_lasts_until_its_last_window_with_too_many() {
    let detector = detector(100);
    let began = (0..5_000).filter(|n| detector.observe(n * 2 * MILLI) == Verdict::Began).count();
    assert_eq!(began, 1, "ten seconds of 500 a second are one episode");
    let Verdict::Ended { lasted, events } = detector.observe(20 * SECOND) else { panic!("it is over") };
    assert_eq!((lasted, events), (10 * SECOND, 4_900), "the first 100 were none of it");
}

#[test]
fn a_rate_within_the_limit_ends_the_storm_although_events_keep_coming() {
    let detector = detector(100);
    burst(&detector, 101, 0);
    let verdicts: Vec<_> = (1..=400).map(|n| detector.observe(SECOND + n * 10 * MILLI)).collect();
    assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Ended { .. })).count(), 1);
    assert_eq!(verdicts.last(), Some(&Verdict::Calm));
}

#[test]
fn a_topic_that_falls_silent_is_calm_again_when_somebody_looks() {
    let detector = detector(1);
    assert_eq!(detector.look(5 * SECOND), Verdict::Calm);
    burst(&detector, 2, 5 * SECOND);
    assert_eq!(detector.look(6 * SECOND), Verdict::Raging);
    assert_eq!(detector.look(7 * SECOND), Verdict::Ended { lasted: SECOND, events: 1 });
    assert_eq!(detector.look(7 * SECOND), Verdict::Calm);
}

#[test]
fn a_clock_that_goes_backwards_neither_begins_nor_ends_an_episode() {
    let detector = detector(10);
    burst(&detector, 10, 9 * SECOND);
    assert_eq!(detector.observe(3 * SECOND), Verdict::Began, "it counts where the clock has been");
    assert_eq!(detector.observe(0), Verdict::Raging);
    assert_eq!(detector.look(0), Verdict::Raging);
    assert!(matches!(detector.observe(11 * SECOND), Verdict::Ended { .. }));
    assert_eq!(detector.observe(9 * SECOND), Verdict::Calm);
}

#[test]
fn somebody_who_was_stopped_during_the_last_storm_does_not_begin_a_new_one() {
    let detector = detector(10);
    burst(&detector, 11, SECOND);
    assert!(matches!(detector.look(5 * SECOND), Verdict::Ended { .. }));
    assert_eq!(detector.judge(1, true), Verdict::Calm, "what it saw was over long ago");
    assert_eq!(detector.judge(5, true), Verdict::Began);
}

#[test]
fn somebody_who_was_stopped_between_two_windows_does_not_bring_an_old_one_back() {
    let detector = detector(10);
    burst(&detector, 5, 3 * SECOND);
    // What others noted meanwhile.
    detector.previous.store(pack(8, 7), Ordering::Relaxed);
    detector.observe(4 * SECOND);
    assert_eq!(detector.previous.load(Ordering::Relaxed), pack(8, 7));
}

#[test]
fn of_many_threads_one_begins_each_episode_and_one_ends_it() {
    const THREADS: usize = 4;
    const EPISODES: u64 = 200;
    let (detector, start) = (detector(50), Barrier::new(THREADS));
    let (began, ended, events) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for episode in 0..EPISODES {
                    start.wait();
                    // First all of them make a storm, then all of them find it over.
                    for now in [episode * 10 * SECOND; 40].into_iter().chain([(episode * 10 + 5) * SECOND; 10]) {
                        if now % (10 * SECOND) > 0 {
                            start.wait();
                        }
                        match detector.observe(now) {
                            Verdict::Began => began.fetch_add(1, Ordering::Relaxed),
                            Verdict::Ended { events: seen, .. } => {
                                events.fetch_add(seen, Ordering::Relaxed);
                                ended.fetch_add(1, Ordering::Relaxed)
                            }
                            _ => 0,
                        };
                    }
                }
            });
        }
    });
    assert_eq!((began.into_inner(), ended.into_inner()), (EPISODES as usize, EPISODES as usize));
    // One that is noted at the same time as the first one too many may be counted with it.
    let exact = EPISODES * (40 * THREADS as u64 - 50);
    assert!((exact..exact + EPISODES * THREADS as u64).contains(&events.into_inner()));
}

proptest! {
    /// Whatever comes: beginnings and ends take turns, a storm never begins within the limit, and a window that alone
    /// has too many is always part of one.
    #[test]
    fn beginnings_and_ends_take_turns(
        limit in 1u32..20,
        gaps in prop::collection::vec(prop_oneof![9 => 0u64..120 * MILLI, 1 => 0u64..5 * SECOND], 1..400),
    ) {
        let detector = detector(limit);
        let (mut now, mut storm, mut times) = (0, false, Vec::<u64>::new());
        for gap in gaps {
            now += gap;
            times.push(now);
            let verdict = detector.observe(now);
            match verdict {
                Verdict::Began => {
                    prop_assert!(!storm);
                    let two = times.iter().filter(|at| **at / SECOND + 1 >= now / SECOND).count();
                    prop_assert!(two > limit as usize, "{two} events in two windows");
                }
                Verdict::Ended { lasted, .. } => {
                    prop_assert!(storm);
                    prop_assert!(lasted >= SECOND && lasted <= now + SECOND);
                }
                other => prop_assert_eq!(other.is_storm(), storm),
            }
            storm = verdict.is_storm();
            let own = times.iter().filter(|at| **at / SECOND == now / SECOND).count();
            prop_assert!(storm || own <= limit as usize);
        }
    }
}

#[test]
fn short_and_long_windows_hold_their_share() {
    let events = |guard: StormGuard| {
        let detector = Detector::new(&guard);
        (0..).take_while(|_| detector.observe(1).eq(&Verdict::Calm)).count()
    };
    assert_eq!(events(StormGuard::per_second(100).window(Duration::from_millis(100))), 10);
    assert_eq!(events(StormGuard::per_second(100).window(Duration::from_secs(60))), 6_000);
    assert_eq!(events(StormGuard::per_second(1).window(Duration::from_millis(100))), 1, "rounded up");
}

#[test]
fn a_count_that_is_full_stays_in_its_window() {
    let detector = detector(1_000_000);
    detector.current.store(pack(3, MAX_COUNT), Ordering::Relaxed);
    assert_eq!(detector.observe(3 * SECOND), Verdict::Began);
    assert_eq!(detector.current.load(Ordering::Relaxed), pack(3, MAX_COUNT));
}

#[test]
fn what_is_outside_its_range_is_named() {
    let refusal = |guard: StormGuard| guard.check("storm_guard").unwrap_err().to_string();
    assert_eq!(refusal(StormGuard::per_second(0)), "storm_guard.per_second is 0, outside its range 1..=1000000");
    assert_eq!(
        refusal(StormGuard::per_second(1).window(Duration::from_nanos(99_999_999))),
        "storm_guard.window in microseconds is 99999, outside its range 100000..=60000000"
    );
    assert!(StormGuard::per_second(1_000_001).check("").is_err());
    assert!(StormGuard::per_second(1).window(Duration::MAX).check("").is_err());
    assert!(StormGuard::per_second(100).answer(Storm::Refuse).check("").is_ok());
}
