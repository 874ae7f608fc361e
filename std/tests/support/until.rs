//! Waiting in a test for what another thread is about to do.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; reached only when something hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

/// Looks again and again until it is so; fails at the caller's line when it never is.
#[track_caller]
pub(crate) fn until(mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < GUARD, "it never came about");
        thread::yield_now();
    }
}
