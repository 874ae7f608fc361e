//! Storms of events that all fail and would all be tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use nervebus::{Bus, Event, ManualClock, Retry, StormGuard};

use super::{GUARD, SECOND, bounded, end, is_quiet, until};

const EPISODES: u64 = 4;
const EVENTS: u64 = 100_000;
const RESERVE: u64 = 10;

#[test]
fn a_hundred_thousand_failures_in_four_storms_are_told_four_times_and_retried_within_the_budget() {
    bounded(|| {
        let clock = ManualClock::new();
        let bus = Bus::builder().clock(&clock).storm_guard(StormGuard::per_second(1_000)).build().unwrap();
        let (tell, told) = mpsc::channel();
        for topic in ["system.event_storm", "system.event_storm_ended"] {
            let tell = tell.clone();
            let tell = move |event: &Event<'_>| {
                tell.send((event.topic().to_owned(), event["event_type"].as_str().map(str::to_owned))).unwrap();
            };
            bus.on(topic).inline().handle(tell).unwrap();
        }
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let retry = Retry::exponential(SECOND).attempts(10).budget(10).reserve(RESERVE as u32);
        let fail = move |_: &Event<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            Err("down")
        };
        bus.on("job").retry(retry).handle(fail).unwrap();
        let word = |topic: &str| (format!("system.{topic}"), Some("job".to_owned()));
        for _ in 0..EPISODES {
            (0..EVENTS / EPISODES).for_each(|_| assert!(bus.emit("job", ()).is_ok()));
            assert_eq!(told.try_iter().collect::<Vec<_>>(), [word("event_storm")], "once an episode");
            until("the lane does not go on", || bus.ledger().lanes.iter().all(|lane| lane.pending_events == 0));
            clock.advance(3 * SECOND);
            assert_eq!(told.recv_timeout(GUARD).unwrap(), word("event_storm_ended"));
            until("a retry never comes", || {
                clock.advance(SECOND);
                is_quiet(&bus)
            });
        }
        assert!(told.try_recv().is_err(), "retries make no storm");
        let retried = calls.load(Ordering::Relaxed) - EVENTS;
        assert!((EVENTS / 20..=EVENTS / 10 + RESERVE).contains(&retried), "{retried} retries");
        let stats = bus.stats();
        assert_eq!(stats.guards.storms, EPISODES);
        let job = stats.subscriptions.iter().find_map(|row| row.retry).unwrap();
        assert_eq!((job.retries, job.no_room), (retried, 0));
        let ledger = end(&bus);
        assert_eq!((ledger.emitted, ledger.refused), (EVENTS, 0), "the guard only tells");
        assert_eq!(bus.dead_letters().total(), EVENTS, "each ends once");
        assert!(ledger.lanes.iter().any(|lane| lane.name == "default" && lane.deliveries.failed == EVENTS));
    });
}
