//! How a worker waits while there is nothing to do.

use crate::delivery::lane::{Queue, WaitStrategy};
use crate::platform::threads;

/// How often an idle worker looks again before it lets others run, and before it goes to sleep. Together they must take
/// longer than waking it takes an emitter: else the two fall into step, with a sleep and a wake-up for every event or two,
/// and an event costs three times as much.
const SPINS: u32 = 64;
const YIELDS: u32 = 32;

/// How often a worker that never sleeps looks between two offers of its core to others. Measured on two cores: with a
/// core of its own the worker sees an event as fast with any number here; with three spinning workers, 2,048 looks cost
/// an event now and then a millisecond, and no offers at all most events several, and ten times the time for a burst.
const LOOKS_A_TURN: u32 = 64;

/// Waits for a moment as the lane's strategy says, and returns how idle the worker is now; `idle` is what it returned
/// last, or 0 after work. The caller looks at everything again after each call: the ring, what stepped aside, whether
/// the lane was closed, and whether a subscription has ended.
pub(crate) fn rest(queue: &Queue, idle: u32) -> u32 {
    rest_by(queue.strategy, idle, || park(queue))
}

/// As [`rest`], for a worker that has its own way to sleep: `park` sleeps until there is something to do, and says whether
/// it slept.
pub(crate) fn rest_by(strategy: WaitStrategy, idle: u32, park: impl FnOnce() -> bool) -> u32 {
    match strategy {
        WaitStrategy::SpinThenPark => spin_then_park(idle, park),
        WaitStrategy::Spin => spin(idle),
        WaitStrategy::Park => {
            park();
            0
        }
    }
}

/// Waits a little longer each time: spins, yields, sleeps.
fn spin_then_park(idle: u32, park: impl FnOnce() -> bool) -> u32 {
    if idle < SPINS {
        std::hint::spin_loop();
    } else if idle < SPINS + YIELDS {
        threads::yield_now();
    } else {
        return if park() { 0 } else { SPINS };
    }
    idle + 1
}

/// Looks again at once. On a core that an emitter or another spinning worker needs, it would spin for its whole time
/// slice while there is work elsewhere: so it offers the core now and then.
fn spin(idle: u32) -> u32 {
    if idle < LOOKS_A_TURN {
        std::hint::spin_loop();
        return idle + 1;
    }
    threads::yield_now();
    0
}

/// Sleeps until woken, unless something has come; says whether it slept.
fn park(queue: &Queue) -> bool {
    let slept = queue.bed.wait_unless(|| queue.ring.has_arrivals());
    if !slept {
        // Something was claimed and is about to be published.
        threads::yield_now();
    }
    slept
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, Instant};

    use nervebus_core::LaneId;
    use nervebus_core::wait::Wait as _;

    use super::*;
    use crate::delivery::lane::Lane;
    use crate::platform::clock::Clock;

    /// Long enough for the slowest machine; reached only when something hangs.
    const GUARD: Duration = Duration::from_secs(20);

    /// How often `rest` returns before it goes to sleep, up to `limit`.
    fn calls_before_sleep(strategy: WaitStrategy, limit: u32) -> u32 {
        let queue = Queue::new(LaneId::new(1), Lane::new("lane").capacity(1).wait(strategy), 0, Clock::machine(), None)
            .unwrap();
        let slept = AtomicBool::new(false);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let mut idle = 0;
                let still_awake = |_: &u32| {
                    idle = rest(&queue, idle);
                    !slept.load(Ordering::Relaxed)
                };
                (0..limit).take_while(still_awake).count()
            });
            queue.bed.how().is_done_by(worker.thread());
            let since = Instant::now();
            // The bell is armed by whoever goes to sleep, and it stays asleep until it is woken below.
            while !worker.is_finished() && !queue.bed.bell().ring() {
                assert!(since.elapsed() < GUARD, "it neither sleeps nor ends");
                thread::yield_now();
            }
            slept.store(true, Ordering::Relaxed);
            queue.bed.how().wake();
            worker.join().unwrap() as u32
        })
    }

    #[test]
    fn each_strategy_sleeps_when_it_says_so() {
        assert_eq!(calls_before_sleep(WaitStrategy::Park, 3), 0, "at once");
        assert_eq!(calls_before_sleep(WaitStrategy::SpinThenPark, 1_000), SPINS + YIELDS);
        assert_eq!(calls_before_sleep(WaitStrategy::Spin, 100_000), 100_000, "never");
    }
}
