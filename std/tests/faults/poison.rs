//! Events that always fail, and far more of them than dead letters are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use nervebus::{Bus, Event, ManualClock, Reason, Retry};

use super::{DAY, SECOND, bounded, end, is_quiet, until};

const EVENTS: u64 = 10_000;
const ATTEMPTS: u32 = 3;

#[test]
fn ten_thousand_poison_events_are_tried_exactly_as_often_as_allowed_and_ten_are_kept() {
    bounded(|| {
        let clock = ManualClock::new();
        let bus = Bus::builder().clock(&clock).dead_letters(10).build().unwrap();
        let attempts: Arc<Mutex<HashMap<u64, Vec<u32>>>> = Arc::default();
        // Two retries for each of its events are what one subscription can have saved up.
        for topic in ["a", "b"] {
            let noted = Arc::clone(&attempts);
            let fail = move |event: &Event<'_>| {
                noted.lock().unwrap().entry(event.seq()).or_default().push(event.attempt());
                Err("poison")
            };
            let retry = Retry::exponential(SECOND).attempts(ATTEMPTS).budget(100).reserve(10_000);
            bus.on(topic).retry(retry).handle(fail).unwrap();
        }
        let kept_at_most_ten = || assert!(bus.dead_letters().len() <= 10);
        for number in 0..EVENTS {
            bus.emit(if number % 2 == 0 { "a" } else { "b" }, number).unwrap();
        }
        until("a retry never comes", || {
            clock.advance(SECOND);
            kept_at_most_ten();
            is_quiet(&bus)
        });
        let attempts = attempts.lock().unwrap();
        assert_eq!(attempts.len() as u64, EVENTS);
        let all: Vec<_> = (1..=ATTEMPTS).collect();
        assert!(attempts.values().all(|attempts| *attempts == all), "not exactly {ATTEMPTS} attempts each");
        let letters = bus.dead_letters();
        assert_eq!((letters.len(), letters.total(), letters.overwritten()), (10, EVENTS, EVENTS - 10));
        let kept = letters.list();
        assert!(kept.iter().all(|letter| (letter.reason, letter.attempts) == (Reason::HandlerError, ATTEMPTS)));
        assert!(kept.iter().all(|letter| letter.history.len() == ATTEMPTS as usize));
        // Nothing of them is tried again, however much time passes.
        clock.advance(DAY);
        let of = end(&bus).deliveries();
        assert_eq!((of.routed, of.handled, of.failed), (EVENTS, 0, EVENTS));
        let rows = bus.stats().subscriptions;
        let retries: u64 = rows.iter().filter_map(|row| row.retry).map(|retry| retry.retries).sum();
        assert_eq!(retries, u64::from(ATTEMPTS - 1) * EVENTS);
    });
}
