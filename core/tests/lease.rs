//! The lease: a call ends or is revoked, never both, and the value survives either.
#![cfg(feature = "alloc")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::lease::{Revoked, lease};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_lease_serves_one_value_after_another() {
    let (mut holder, watchdog) = lease();
    for round in 0..3 {
        assert_eq!(holder.value(), None);
        assert_eq!(holder.take(), None);
        assert_eq!(holder.hold(round), Ok(()));
        for handler in 0..3 {
            holder.begin(10 * handler);
            assert_eq!((watchdog.due(), holder.take()), (Some(10 * handler), None));
            assert_eq!((holder.end(), watchdog.due(), watchdog.is_busy()), (Ok(()), None, false));
        }
        assert_eq!(holder.value(), Some(&round));
        assert_eq!(holder.take(), Some(round));
    }
    assert!(!holder.is_revoked() && !watchdog.is_revoked());
}

#[test]
fn a_second_value_is_refused_and_comes_back() {
    let (mut holder, watchdog) = lease();
    assert_eq!(holder.hold("first"), Ok(()));
    assert_eq!(holder.hold("second"), Err("second"));
    holder.begin(0);
    assert!(watchdog.revoke(0).is_some());
    assert_eq!(holder.hold("third"), Err("third"));
    assert_eq!(holder.value(), Some(&"first"));
}

#[test]
fn only_an_overdue_call_is_revoked() {
    let (mut holder, watchdog) = lease();
    assert!(watchdog.revoke(u64::MAX).is_none(), "nothing is held");
    holder.hold('x').unwrap();
    assert!(watchdog.revoke(u64::MAX).is_none(), "no call is under way");
    holder.begin(50);
    assert!(watchdog.revoke(49).is_none(), "it is not due yet");
    assert_eq!(holder.end(), Ok(()));
    assert!(watchdog.revoke(u64::MAX).is_none(), "it has ended");
    holder.begin(60);
    assert_eq!(watchdog.revoke(60).as_deref(), Some(&'x'));
}

#[test]
fn a_revoked_lease_can_be_read_and_nothing_else() {
    let (mut holder, watchdog) = lease();
    holder.hold(7).unwrap();
    holder.begin(1);
    let claim = watchdog.clone().revoke(2).unwrap();
    assert!(watchdog.revoke(u64::MAX).is_none(), "once is enough");
    assert!(holder.is_revoked() && watchdog.is_revoked());
    assert_eq!((holder.take(), holder.end(), holder.end()), (None, Err(Revoked), Err(Revoked)));
    holder.begin(9);
    assert_eq!((watchdog.due(), holder.end(), holder.take()), (None, Err(Revoked), None));
    assert_eq!((holder.value(), *claim, *claim.clone()), (Some(&7), 7, 7));
}

#[test]
fn a_call_on_nothing_is_no_call() {
    let (mut holder, watchdog) = lease::<u8>();
    holder.begin(5);
    assert_eq!((watchdog.due(), watchdog.revoke(5).is_none(), holder.end()), (None, true, Ok(())));
    assert_eq!(holder.hold(1), Ok(()));
}

#[test]
fn a_second_begin_ends_the_first_call() {
    let (mut holder, watchdog) = lease();
    holder.hold(()).unwrap();
    holder.begin(5);
    holder.begin(8);
    assert_eq!((watchdog.due(), watchdog.revoke(7).is_none()), (Some(8), true));
    assert!(watchdog.revoke(8).is_some());
    holder.begin(20);
    assert_eq!((watchdog.due(), holder.end()), (None, Err(Revoked)));
}

#[test]
fn every_deadline_can_be_told_from_no_call() {
    let (mut holder, watchdog) = lease();
    holder.hold(()).unwrap();
    for (deadline, seen) in
        [(0, 0), (u64::MAX - 2, u64::MAX - 2), (u64::MAX - 1, u64::MAX - 2), (u64::MAX, u64::MAX - 2)]
    {
        holder.begin(deadline);
        assert_eq!((watchdog.due(), holder.is_revoked()), (Some(seen), false));
        holder.end().unwrap();
    }
}

#[test]
fn the_value_is_dropped_once_whoever_lasts_longest() {
    for order in 0..6 {
        let drops = Arc::new(AtomicUsize::new(0));
        let (mut holder, watchdog) = lease();
        assert!(holder.hold(Counted(Arc::clone(&drops))).is_ok());
        holder.begin(0);
        let claim = watchdog.revoke(0).unwrap();
        let mut ends: Vec<Box<dyn std::any::Any>> = vec![Box::new(holder), Box::new(watchdog), Box::new(claim)];
        let first = ends.remove(order % 3);
        let second = ends.remove(order / 3);
        for end in [first, second] {
            drop(end);
            assert_eq!(drops.load(Ordering::Relaxed), 0);
        }
        drop(ends);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_holder_that_unwinds_ends_its_call_and_drops_its_value() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (mut holder, watchdog) = lease();
    assert!(holder.hold(Counted(Arc::clone(&drops))).is_ok());
    let call = catch_unwind(AssertUnwindSafe(move || {
        holder.begin(5);
        panic!("in the call");
    }));
    assert!(call.is_err() && watchdog.revoke(u64::MAX).is_none());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// What a round under threads came to.
#[derive(Default)]
struct Score {
    ended: usize,
    revoked: usize,
}

#[test]
fn under_threads_each_call_ends_or_is_revoked_by_one() {
    const ROUNDS: usize = if cfg!(debug_assertions) { 2_000 } else { 20_000 };
    const CALLS: u64 = 8;
    let (mut score, drops) = (Score::default(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..ROUNDS {
        let (mut holder, watchdog) = lease();
        assert!(holder.hold(Counted(Arc::clone(&drops))).is_ok());
        let start = Arc::new(Barrier::new(3));
        let watchdogs = [(); 2].map(|()| {
            let (watchdog, start) = (watchdog.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                (0..=CALLS).any(|now| watchdog.revoke(now).is_some())
            })
        });
        start.wait();
        let all_ended = (0..CALLS).all(|call| {
            holder.begin(call);
            holder.end().is_ok()
        });
        let revokers = watchdogs.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>();
        assert_eq!(revokers, usize::from(!all_ended), "one of them, and only if a call did not end");
        assert_eq!(holder.take().is_some(), all_ended);
        score.ended += usize::from(all_ended);
        score.revoked += revokers;
    }
    assert_eq!((score.ended + score.revoked, drops.load(Ordering::Relaxed)), (ROUNDS, ROUNDS));
}
