use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::platform::manual_clock::ManualClock;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: u64 = 1_000_000_000;

fn ground(clock: &ManualClock) -> Ground {
    Ground { clock: Clock::Manual(clock.clone()), runtime: Runtime::default(), cancelled: Arc::default() }
}

/// Says when it is dropped.
struct Drops(Arc<AtomicBool>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until_waiting(clock: &ManualClock) {
    let since = Instant::now();
    while clock.waiting() == 0 {
        assert!(since.elapsed() < GUARD, "nobody waits");
        thread::yield_now();
    }
}

#[test]
fn a_future_is_dropped_at_its_timeout_and_not_a_nanosecond_before() {
    let (clock, gone) = (ManualClock::new(), Arc::<AtomicBool>::default());
    let (ground, drops) = (ground(&clock), Drops(Arc::clone(&gone)));
    let driving = thread::spawn(move || {
        let future = async move {
            let _drops = drops;
            pending::<()>().await;
        };
        ground.drive(future, Some(SECOND))
    });
    until_waiting(&clock);
    clock.advance(Duration::from_nanos(SECOND - 1));
    (0..10_000).for_each(|_| thread::yield_now());
    assert!(!driving.is_finished() && !gone.load(Ordering::Relaxed), "a nanosecond is left");
    clock.advance(Duration::from_nanos(1));
    let error = driving.join().unwrap().unwrap_err();
    assert!(matches!(error, HandlerError::Timeout { after } if after == Duration::from_secs(1)), "{error}");
    assert_eq!((error.kind(), error.to_string()), ("timeout", "did not return within 1s".to_owned()));
    assert!(gone.load(Ordering::Relaxed));
    assert_eq!(clock.waiting(), 0);
}

#[test]
fn what_is_ready_when_the_clock_jumps_past_the_timeout_has_ended_in_time() {
    let clock = ManualClock::new();
    let (ground, mut polls) = (ground(&clock), 0);
    let future = std::future::poll_fn(move |_| {
        polls += 1;
        // The clock jumps in the middle of the first poll; with the second one it is ready.
        clock.advance(Duration::from_secs(2));
        if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
    });
    assert!(ground.drive(future, Some(SECOND)).is_ok());
}

#[test]
fn a_future_that_wakes_itself_for_ever_ends_at_its_timeout_as_well() {
    let clock = ManualClock::new();
    let ground = ground(&clock);
    let driving = thread::spawn(move || {
        let restless = std::future::poll_fn(|context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        ground.drive(restless, Some(SECOND))
    });
    until_waiting(&clock);
    clock.advance(Duration::from_secs(1));
    assert!(matches!(driving.join().unwrap(), Err(HandlerError::Timeout { .. })));
}

#[test]
fn what_comes_after_the_signal_is_not_begun() {
    let ground = ground(&ManualClock::new());
    ground.cancelled.give();
    let error = ground.drive(std::future::poll_fn(|_| -> Poll<()> { panic!("begun") }), None).unwrap_err();
    assert_eq!(error.to_string(), "the bus shut down before the handler had ended");
}
