//! When retries are due, to the nanosecond, which nobody outside can see.

use std::time::{Duration, Instant};

use crate::{Bus, ManualClock, Retry};

const SECOND: Duration = Duration::from_secs(1);

/// The delays that a bus of this seed has after each of four failed attempts of one event.
fn delays(seed: u64) -> Vec<u64> {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).seed(seed).build().unwrap();
    let retry = Retry::exponential(SECOND).max_delay(4 * SECOND).attempts(5);
    bus.on("t").retry(retry).handle(|_| Err("no")).unwrap();
    bus.emit("t", ()).unwrap();
    let again = &bus.engine().queues[0].again;
    let (since, mut delays) = (Instant::now(), Vec::new());
    while delays.len() < 4 {
        assert!(since.elapsed() < Duration::from_secs(20), "it never waits");
        let state = again.lock();
        if let Some((number, waiting)) = state.waiting.first_key_value()
            && *number as usize == delays.len()
        {
            let delay = Duration::from_nanos(waiting.at) - clock.now() - Duration::from_nanos(1);
            delays.push(delay.as_nanos() as u64);
            drop(state);
            clock.advance(delay);
        }
        std::thread::yield_now();
    }
    while again.underway.now() > 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "it never ends");
        std::thread::yield_now();
    }
    let ledger = bus.shutdown(SECOND).ledger;
    assert!(ledger.balanced() && ledger.deliveries().failed == 1);
    delays
}

#[test]
fn delays_lie_within_ceilings_that_double_and_come_again_with_the_seed() {
    let ceilings = [1, 2, 4, 4].map(|seconds| seconds * 1_000_000_000);
    let mut longest = [0; 4];
    for seed in 0..20 {
        let delays = delays(seed);
        for ((delay, ceiling), longest) in delays.iter().zip(ceilings).zip(&mut longest) {
            assert!(*delay <= ceiling, "{delays:?}");
            *longest = (*delay).max(*longest);
        }
    }
    assert!(longest.iter().zip(ceilings).all(|(longest, ceiling)| *longest > ceiling / 2), "{longest:?}");
    assert_eq!(delays(7), delays(7));
    assert_ne!(delays(7), delays(8));
}
