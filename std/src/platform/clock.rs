//! Time: the wall clock for records, the monotonic clock for waiting and measuring.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch by the wall clock; 0 for a clock set before it.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn wall_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Now by the monotonic clock.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The moment `wait` from now, or a moment too far away to matter if that cannot be expressed.
pub(crate) fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    let now = now();
    now.checked_add(wait).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

/// What is left until `deadline`, or zero.
pub(crate) fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(now())
}
