//! Models of the breaker: each change of state is brought about by one caller, and one probe is out.

use loom::sync::Arc;
use loom::thread::{JoinHandle, spawn};
use nervebus_core::breaker::{Breaker, Permit, Rules, State, Transition, Trip};
use nervebus_loom_tests::explore;

const RESET: u64 = 100;

fn breaker(trip: Trip) -> Arc<Breaker> {
    Arc::new(Breaker::new(Rules { trip, reset_after: RESET }).unwrap())
}

/// One that opened at 0.
fn opened() -> Arc<Breaker> {
    let breaker = breaker(Trip::Consecutive(1));
    let permit = breaker.admit(0).unwrap();
    assert_eq!(breaker.record(permit, false, 0), Some(Transition::Opened));
    breaker
}

/// One that is half-open since 100, and its probe.
fn half_open() -> (Arc<Breaker>, Permit) {
    let breaker = opened();
    let probe = breaker.admit(RESET).unwrap();
    (breaker, probe)
}

fn record(breaker: &Arc<Breaker>, permit: Permit, success: bool, now: u64) -> JoinHandle<Option<Transition>> {
    let breaker = breaker.clone();
    spawn(move || breaker.record(permit, success, now))
}

fn admit(breaker: &Arc<Breaker>, now: u64) -> JoinHandle<Option<Permit>> {
    let breaker = breaker.clone();
    spawn(move || breaker.admit(now).ok())
}

/// Would catch: two failures of which none reaches the limit, or both do.
#[test]
fn of_several_failures_one_opens_it() {
    for (trip, what) in [
        (Trip::Consecutive(2), "2 failures in a row open"),
        (Trip::Rate { percent: 100, window: 8, min_calls: 2 }, "2 failures open by rate"),
    ] {
        explore(&format!("breaker: {what}, 2 threads"), Some(3), move || {
            let breaker = breaker(trip);
            let permits = [(); 2].map(|()| breaker.admit(0).unwrap());
            let [one, other] = permits.map(|permit| record(&breaker, permit, false, 0));
            let told = [one.join().unwrap(), other.join().unwrap()];
            assert_eq!(told.into_iter().flatten().count(), 1);
            assert_eq!((breaker.state(), breaker.opened()), (State::Open, 1));
            assert!(breaker.admit(RESET - 1).is_err() && breaker.admit(RESET).is_ok());
        });
    }
}

/// Would catch: more than one opening when there are failures beyond the limit, and a wait that is too short.
#[test]
fn failures_beyond_the_limit_are_of_an_earlier_generation() {
    explore("breaker: 2 failures, 1 opens, and an admit", Some(3), || {
        let breaker = breaker(Trip::Consecutive(1));
        let permits = [(); 2].map(|()| breaker.admit(0).unwrap());
        let [one, other] = permits.map(|permit| record(&breaker, permit, false, 50));
        if breaker.state() == State::Open {
            assert!(breaker.admit(49 + RESET).is_err(), "the time was there before the state");
        }
        let told = [one.join().unwrap(), other.join().unwrap()];
        assert_eq!((told.into_iter().flatten().count(), breaker.opened()), (1, 1));
    });
}

/// Would catch: two probes at a time, a change told twice, or a probe let through before its time because the state is
/// seen and its time is not.
#[test]
fn of_several_callers_one_is_the_probe() {
    explore("breaker: 3 admits when it is time", Some(3), || {
        let breaker = opened();
        let others = [admit(&breaker, RESET), admit(&breaker, RESET + 1)];
        let mine = breaker.admit(RESET).ok();
        let probes: Vec<Permit> = others.into_iter().filter_map(|one| one.join().unwrap()).chain(mine).collect();
        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0].transition(), Some(Transition::HalfOpened));
    });
}

/// Would catch: an admission that sees the breaker open and an old time, or half-open and the time of the opening.
#[test]
fn the_time_is_never_older_than_the_state() {
    explore("breaker: open and half-open it against 2 admits", Some(3), || {
        let breaker = opened();
        let (watched, second) = (breaker.clone(), breaker.clone());
        // It opens again at 150 and is closed to everybody until 250; its first probe is out from 100 to 150.
        let failing = spawn(move || {
            let probe = breaker.admit(RESET).ok()?;
            breaker.record(probe, false, RESET + 50)
        });
        let early = spawn(move || second.admit(RESET + 49).ok().map(|permit| permit.is_probe()));
        let late = watched.admit(RESET + 49).ok().map(|permit| permit.is_probe());
        let failed = failing.join().unwrap();
        let early = early.join().unwrap();
        let let_through = usize::from(early.is_some()) + usize::from(late.is_some());
        assert_eq!(let_through, usize::from(failed.is_none()), "one probe in all");
    });
}

/// Would catch: a cancelled probe whose place nobody, or more than one, can take.
#[test]
fn a_cancelled_probe_makes_room_for_one() {
    explore("breaker: cancel against 2 admits", Some(3), || {
        let (breaker, probe) = half_open();
        let others = [admit(&breaker, RESET + 1), admit(&breaker, RESET + 1)];
        breaker.cancel(probe);
        let taken = others.into_iter().filter_map(|one| one.join().unwrap()).count();
        let now = usize::from(breaker.admit(RESET + 1).is_ok());
        assert_eq!(taken + now, 1);
    });
}

/// Would catch: a probe given up for two others, or one whose late success still closes.
#[test]
fn a_probe_that_is_given_up_is_not_heard() {
    explore("breaker: a late probe against 2 that replace it", Some(3), || {
        let (breaker, probe) = half_open();
        let others = [admit(&breaker, 2 * RESET), admit(&breaker, 2 * RESET)];
        let heard = breaker.record(probe, true, 2 * RESET);
        let let_through: Vec<Permit> = others.into_iter().filter_map(|one| one.join().unwrap()).collect();
        let probes = let_through.iter().filter(|permit| permit.is_probe()).count();
        match heard {
            // One of them may have looked while the other was about to replace the probe.
            Some(change) => {
                assert_eq!((change, probes, breaker.state()), (Transition::Closed, 0, State::Closed));
                assert!(!let_through.is_empty());
            }
            None => assert_eq!((probes, let_through.len(), breaker.state()), (1, 1, State::HalfOpen)),
        }
    });
}

/// Would catch: a reset that is lost to an outcome, or an outcome that is told although the reset came before it.
#[test]
fn a_reset_is_not_undone_by_what_was_under_way() {
    explore("breaker: reset against a failure that opens", None, || {
        let breaker = breaker(Trip::Consecutive(1));
        let permit = breaker.admit(0).unwrap();
        let failing = record(&breaker, permit, false, 0);
        let reset = breaker.reset();
        let failed = failing.join().unwrap();
        assert_eq!(reset.is_some(), failed.is_some(), "it opened and was closed, or never opened");
        assert_eq!(breaker.state(), State::Closed);
    });
    explore("breaker: reset against a probe that fails or succeeds", None, || {
        for success in [false, true] {
            let (breaker, probe) = half_open();
            let probing = record(&breaker, probe, success, RESET);
            let reset = breaker.reset();
            let told = probing.join().unwrap();
            assert_eq!((reset.is_some(), breaker.state()), (told != Some(Transition::Closed), State::Closed));
        }
    });
}

/// Would catch: a success from before the opening that closes it, or stands for the probe's.
#[test]
fn a_late_success_does_not_close_it() {
    explore("breaker: a late success against a failure and a probe", None, || {
        let breaker = breaker(Trip::Consecutive(1));
        let permits = [(); 2].map(|()| breaker.admit(0).unwrap());
        let [failing, late] = permits;
        let late = record(&breaker, late, true, RESET);
        assert_eq!(breaker.record(failing, false, 0), Some(Transition::Opened));
        let probe = breaker.admit(RESET).unwrap();
        assert_eq!(late.join().unwrap(), None);
        assert_eq!(breaker.state(), State::HalfOpen);
        assert_eq!(breaker.record(probe, true, RESET), Some(Transition::Closed));
    });
}

/// Would catch: an outcome of an earlier generation that is counted in a bucket, or takes the counts of a later one away.
#[test]
fn a_late_outcome_is_in_no_bucket() {
    explore("breaker: a late failure by rate against a reset and a failure", Some(3), || {
        let breaker = breaker(Trip::Rate { percent: 100, window: 8, min_calls: 2 });
        let late = breaker.admit(0).unwrap();
        let late = record(&breaker, late, false, 0);
        breaker.reset();
        let first = breaker.admit(0).unwrap();
        assert_eq!(breaker.record(first, false, 0), None, "one call is not enough");
        assert_eq!(late.join().unwrap(), None, "it was before the reset, or does not count");
        let second = breaker.admit(0).unwrap();
        assert_eq!(breaker.record(second, false, 0), Some(Transition::Opened));
    });
}
