//! Something that goes down and comes back all the time, behind a breaker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nervebus::{Breaker, BreakerState, Bus, Event, ManualClock};

use super::{DAY, SECOND, bounded, end};

const RESET_AFTER: u32 = 60;

/// Notes what the bus says of the breaker, on the emitter's thread.
fn changes(bus: &Bus) -> Arc<Mutex<Vec<&'static str>>> {
    let told: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    for (topic, word) in [("system.breaker_opened", "opened"), ("system.breaker_closed", "closed")] {
        let told = Arc::clone(&told);
        bus.on(topic).inline().handle(move |_| told.lock().unwrap().push(word)).unwrap();
    }
    told
}

#[test]
fn a_service_that_flaps_for_a_day_is_never_called_while_open_and_the_breaker_changes_no_faster_than_its_wait() {
    bounded(|| {
        let clock = ManualClock::new();
        let bus = Bus::builder().clock(&clock).dead_letters(10).build().unwrap();
        let told = changes(&bus);
        let breaker = Breaker::new("flap").failures(1).reset_after(SECOND * RESET_AFTER);
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (noted, own, time) = (Arc::clone(&calls), breaker.clone(), clock.clone());
        let flap = move |_: &Event<'_>| {
            let mut calls = noted.lock().unwrap();
            // Every other call is well: each probe closes the breaker, and the next call opens it again.
            let is_well = calls.len() % 2 == 1;
            let state = own.state();
            assert_eq!(state, if is_well { BreakerState::HalfOpen } else { BreakerState::Closed });
            calls.push(time.now());
            if is_well { Ok(()) } else { Err("down again") }
        };
        bus.on("job").breaker(&breaker).inline().handle(flap).unwrap();
        let seconds = DAY.as_secs();
        for _ in 0..seconds {
            bus.emit("job", ()).unwrap();
            clock.advance(SECOND);
        }
        // A failure, a wait, a probe, and a second later the next failure.
        let period = u64::from(RESET_AFTER) + 1;
        let calls = calls.lock().unwrap();
        let expected = (0..seconds).filter(|second| [0, period - 1].contains(&(second % period)));
        assert!(calls.iter().map(|at| at.as_secs()).eq(expected));
        let opened = seconds.div_ceil(period);
        let told = told.lock().unwrap();
        assert!(told.iter().eq(["opened", "closed"].iter().cycle().take(calls.len())), "they take turns");
        assert!(told.len() as u64 <= 2 * (seconds / u64::from(RESET_AFTER)));
        assert_eq!((breaker.opened(), breaker.refused()), (opened, seconds - calls.len() as u64));
        let of = end(&bus).deliveries();
        let made = calls.len() as u64;
        assert_eq!((of.handled, of.failed), (made - opened + made, seconds - (made - opened)));
    });
}

#[test]
fn of_threads_that_all_come_when_the_wait_is_over_one_makes_the_probe() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 100;
    bounded(|| {
        let clock = ManualClock::new();
        let bus = Bus::builder().clock(&clock).build().unwrap();
        let told = changes(&bus);
        let breaker = Breaker::new("down").failures(1).reset_after(SECOND);
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let fail = move |_: &Event<'_>| {
            count.fetch_add(1, Ordering::Relaxed);
            // Long enough for the other threads to come meanwhile.
            (0..20).for_each(|_| thread::yield_now());
            Err("down")
        };
        bus.on("job").breaker(&breaker).inline().handle(fail).unwrap();
        bus.emit("job", ()).unwrap();
        for round in 1..=ROUNDS {
            clock.advance(SECOND);
            let start = Barrier::new(THREADS);
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        start.wait();
                        (0..5).for_each(|_| assert_eq!(bus.emit("job", ()).unwrap().inline().failed, 1));
                    });
                }
            });
            assert_eq!(calls.load(Ordering::Relaxed), 1 + round, "one probe in each wait");
        }
        assert_eq!((breaker.opened(), told.lock().unwrap().len() as u64), (1 + ROUNDS, 1 + ROUNDS));
        let emitted = 1 + ROUNDS * THREADS as u64 * 5;
        assert_eq!(breaker.refused(), emitted - 1 - ROUNDS);
        let ledger = end(&bus);
        assert_eq!((ledger.emitted, ledger.subscriptions.len()), (emitted, 3));
        assert_eq!(ledger.deliveries().failed, emitted);
    });
}
