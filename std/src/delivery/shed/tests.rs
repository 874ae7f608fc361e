use std::sync::Barrier;
use std::sync::atomic::AtomicI64;
use std::thread;

use proptest::prelude::*;

use super::*;

const KEPT: Verdict = Verdict { shed: false, turn: None };
const GONE: Verdict = Verdict { shed: true, turn: None };

fn shedder(high: u8, low: u8, capacity: usize) -> Shedder {
    Shedder::new(&Shed::new().high_water(high).low_water(low), capacity)
}

#[test]
fn shedding_begins_at_the_high_water_mark_and_stops_at_the_low_one() {
    let lane = shedder(80, 60, 100);
    assert!((0..80).all(|len| lane.should_shed(Class::Low, len) == KEPT));
    assert_eq!(lane.should_shed(Class::Low, 80), Verdict { shed: true, turn: Some(Turn::Began) });
    assert!((61..80).rev().all(|len| lane.should_shed(Class::Low, len) == GONE));
    assert_eq!(lane.should_shed(Class::Low, 60), Verdict { shed: false, turn: Some(Turn::Ended) });
    assert!((0..80).all(|len| lane.should_shed(Class::Low, len) == KEPT), "and not before it is high again");
    assert_eq!(lane.shed(Class::Low), 20);
}

#[test]
fn the_fuller_the_lane_the_higher_the_classes_that_go() {
    let lane = shedder(60, 50, 1_000);
    lane.should_shed(Class::Critical, 1_000);
    // The first number of waiting events at which a class goes.
    let from = |class| (501..=1_000).find(|len| lane.should_shed(class, *len).shed);
    assert_eq!(from(Class::Low), Some(501));
    assert_eq!(from(Class::Normal), Some(800));
    assert_eq!(from(Class::High), Some(950));
    assert_eq!(from(Class::Critical), None);
    let counts = Class::ALL.map(|class| lane.shed(class));
    assert_eq!(counts, [1, 1, 1, 0]);
}

#[test]
fn the_end_is_told_to_whoever_drains_the_lane() {
    let lane = shedder(80, 60, 10);
    assert_eq!(lane.drained_to(0), None);
    assert_eq!(lane.should_shed(Class::Critical, 8), Verdict { shed: false, turn: Some(Turn::Began) });
    assert_eq!(lane.drained_to(7), None);
    assert_eq!(lane.drained_to(6), Some(Turn::Ended));
    assert_eq!(lane.drained_to(5), None);
    assert_eq!(lane.should_shed(Class::Low, 6), KEPT);
}

#[test]
fn of_many_threads_one_begins_each_episode_and_one_ends_it() {
    const THREADS: usize = 4;
    let (lane, start) = (shedder(80, 60, 100), Barrier::new(THREADS));
    let (open, turns) = (AtomicI64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for len in [95, 10].into_iter().cycle().take(2_000) {
                    start.wait();
                    let step = match lane.should_shed(Class::Normal, len).turn {
                        Some(Turn::Began) => 1,
                        Some(Turn::Ended) => -1,
                        None => 0,
                    };
                    open.fetch_add(step, Ordering::Relaxed);
                    turns.fetch_add(step.unsigned_abs(), Ordering::Relaxed);
                    start.wait();
                    assert_eq!(open.load(Ordering::Relaxed), i64::from(len == 95));
                }
            });
        }
    });
    assert_eq!(turns.into_inner(), 2_000);
    assert_eq!(lane.shed(Class::Normal), 1_000 * THREADS as u64);
}

#[test]
fn threads_that_disagree_about_how_full_the_lane_is_leave_beginnings_and_ends_even() {
    const THREADS: usize = 4;
    let (lane, start, open) = (shedder(80, 60, 100), Barrier::new(THREADS), AtomicI64::new(0));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for len in [95, 10].into_iter().cycle().take(100_000) {
                    match lane.should_shed(Class::Critical, len).turn {
                        Some(Turn::Began) => open.fetch_add(1, Ordering::Relaxed),
                        Some(Turn::Ended) => open.fetch_sub(1, Ordering::Relaxed),
                        None => 0,
                    };
                }
            });
        }
    });
    let last = lane.drained_to(0);
    assert_eq!(open.into_inner(), i64::from(last == Some(Turn::Ended)));
}

proptest! {
    #[test]
    fn whatever_comes_it_does_what_its_marks_say(
        (high, low) in (1u8..=100).prop_flat_map(|high| (Just(high), 0..high)),
        capacity in 1usize..50,
        steps in prop::collection::vec((0usize..4, 0usize..=50), 1..200),
    ) {
        let lane = shedder(high, low, capacity);
        let mut shedding = false;
        for (class, len) in steps {
            let (class, len) = (Class::ALL[class], len.min(capacity));
            let before = shedding;
            let (above, below) = (len * 100 >= capacity * usize::from(high), len * 100 <= capacity * usize::from(low));
            shedding = above || (shedding && !below);
            let verdict = lane.should_shed(class, len);
            let turn = (before != shedding).then_some(if shedding { Turn::Began } else { Turn::Ended });
            prop_assert_eq!(verdict.turn, turn);
            prop_assert!(shedding || !verdict.shed);
            prop_assert!(!shedding || class != Class::Low || verdict.shed, "low ones always go");
            prop_assert!(class != Class::Critical || !verdict.shed);
            prop_assert!(len < capacity || class == Class::Critical || verdict.shed, "a full lane keeps its room");
        }
    }
}

#[test]
fn what_is_outside_its_range_is_named() {
    let refusal = |shed: Shed| shed.check("lane \"io\".shed").unwrap_err().to_string();
    assert_eq!(
        refusal(Shed::new().high_water(50).low_water(50)),
        "lane \"io\".shed.low_water is 50, outside its range 0..=49"
    );
    assert_eq!(
        refusal(Shed::new().high_water(0).low_water(0)),
        "lane \"io\".shed.high_water is 0, outside its range 1..=100"
    );
    assert!(Shed::new().high_water(101).check("").is_err());
    assert!(Shed::new().check("").is_ok() && Shed::new().high_water(100).low_water(99).check("").is_ok());
}
