//! The bus reads its own books: what it makes of good ones. Bad ones have to be forged, which only the library's own
//! tests can do.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Lane, ManualClock, Overflow};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_bus_at_work_that_looks_at_its_books_all_the_time_finds_them_right() {
    const THREADS: usize = 3;
    let clock = ManualClock::new();
    let lane = Lane::new("io").capacity(8).overflow(Overflow::DropOldest);
    let bus = Bus::builder().clock(&clock).self_check(SECOND).lane(lane).build().unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    bus.on("system.ledger_imbalance")
        .inline()
        .handle(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    bus.on("t").inline().handle(|_| ()).unwrap();
    bus.on("t").lane("io").handle(|_| ()).unwrap();
    bus.on("u").handle(|_| ()).unwrap();
    let (start, done) = (Arc::new(Barrier::new(THREADS + 1)), Arc::new(AtomicBool::new(false)));
    let watch = thread::spawn({
        let (clock, start, done) = (clock.clone(), Arc::clone(&start), Arc::clone(&done));
        move || {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                clock.advance(SECOND);
                thread::yield_now();
            }
        }
    });
    let emitters: Vec<_> = (0..THREADS)
        .map(|_| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for n in 0..3_000 {
                    bus.emit(["t", "u", "nobody", "not a topic"][n % 4], n).ok();
                }
            })
        })
        .collect();
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    done.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    let report = bus.shutdown(GUARD);
    assert_eq!(told.load(Ordering::Relaxed), 0);
    assert!(report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn the_books_are_part_of_the_statistics_with_their_verdict() {
    let bus = Bus::builder().build().unwrap();
    bus.on("t").inline().handle(|_| ()).unwrap();
    bus.emit("t", ()).unwrap();
    let stats = serde_json::to_value(bus.stats()).unwrap();
    assert_eq!((&stats["ledger"]["routed"], &stats["ledger"]["balanced"]), (&1.into(), &true.into()));
    assert_eq!(stats["ledger"]["lanes"][0]["deliveries"]["handled"], 1);
    assert_eq!(bus.stats().ledger, bus.ledger());
    let report = serde_json::to_value(bus.shutdown(GUARD)).unwrap();
    assert_eq!(report["ledger"]["balanced"], true);
}

#[test]
fn a_period_of_more_than_a_day_is_refused_and_none_means_never() {
    let day = Duration::from_secs(60 * 60 * 24);
    let error = Bus::builder().self_check(day + SECOND).build().unwrap_err();
    assert_eq!(error.to_string(), "self_check is 86401s, outside its range: more than zero, at most 86400s");
    for period in [Duration::ZERO, Duration::from_nanos(1), day] {
        assert!(Bus::builder().self_check(period).build().is_ok(), "{period:?}");
    }
}
