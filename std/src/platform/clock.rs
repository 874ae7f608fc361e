//! Time: the monotonic clock for waiting and measuring, the wall clock for records. A [`Clock`] is the machine's, or one
//! that a test moves by hand.

use std::sync::{Condvar, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::platform::manual_clock::ManualClock;

/// How long a wait on a manual clock goes without looking at it. That is real time, and decides nothing: the wait ends by
/// what it sees.
const LOOK: Duration = Duration::from_millis(1);

/// Nanoseconds since the Unix epoch by the machine's wall clock; 0 for a clock set before it.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn wall_nanos() -> u64 {
    unix_nanos(SystemTime::now())
}

/// Now by the machine's monotonic clock.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// Nanoseconds since the Unix epoch; 0 for a time before it.
pub(crate) fn unix_nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// A duration in nanoseconds, or the longest there is: 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of a bus: every moment that a bus waits for is a moment of its clock. Cheap to clone.
///
/// A moment is a number of nanoseconds since the clock's origin, which is the moment 1; so 0 can stand for none.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The machine's clocks; the monotonic one counts from here.
    Machine(Instant),
    /// One that stands still until it is moved.
    Manual(ManualClock),
}

impl Clock {
    /// The machine's clocks, with now for the origin.
    pub(crate) fn machine() -> Self {
        Self::Machine(instant())
    }

    /// Whether a test moves it.
    #[inline]
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }

    /// Now, by the monotonic clock: never less than before, whatever the wall clock does.
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Machine(origin) => nanos(instant().saturating_duration_since(*origin)).saturating_add(1),
            Self::Manual(clock) => clock.moment(),
        }
    }

    /// Nanoseconds since the Unix epoch by the wall clock; 0 for a clock set before it.
    pub(crate) fn wall_nanos(&self) -> u64 {
        match self {
            Self::Machine(_) => wall_nanos(),
            Self::Manual(clock) => clock.wall_nanos(),
        }
    }

    /// Seconds since the Unix epoch by the wall clock.
    pub(crate) fn wall_seconds(&self) -> f64 {
        self.wall_nanos() as f64 / 1e9
    }

    /// The moment `wait` from now, or the last one there is.
    pub(crate) fn after(&self, wait: Duration) -> u64 {
        self.now().saturating_add(nanos(wait))
    }

    /// What is left until `moment`, or zero.
    pub(crate) fn until(&self, moment: u64) -> Duration {
        Duration::from_nanos(moment.saturating_sub(self.now()))
    }

    /// How long ago `moment` was, or zero.
    pub(crate) fn since(&self, moment: u64) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(moment))
    }

    /// Begins a wait that ends at `deadline`; without one, something else has to end it.
    pub(crate) fn wait(&self, deadline: Option<u64>) -> Waiting<'_> {
        if let (Self::Manual(clock), Some(_)) = (self, deadline) {
            clock.count_in();
        }
        Waiting { clock: self, deadline }
    }

    /// Says that somebody waits for a moment from now on.
    pub(crate) fn awaited(&self) -> Awaited {
        Awaited(match self {
            Self::Machine(_) => None,
            Self::Manual(clock) => {
                clock.count_in();
                Some(clock.clone())
            }
        })
    }

    /// Parks this thread until it is unparked or `moment` has come; without one, until it is unparked. May return early.
    pub(crate) fn park_until(&self, moment: Option<u64>) {
        match (self, moment) {
            (_, None) => thread::park(),
            (Self::Machine(_), Some(moment)) => thread::park_timeout(self.until(moment)),
            (Self::Manual(clock), Some(moment)) => clock.park_until(moment),
        }
    }
}

/// A wait for a moment that lasts longer than a call: counted as one until this is dropped.
#[derive(Debug)]
#[must_use = "the wait is over when this is dropped"]
pub(crate) struct Awaited(Option<ManualClock>);

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(clock) = &self.0 {
            clock.count_out();
        }
    }
}

/// A wait that a clock ends.
#[derive(Debug)]
#[must_use = "the wait is over when this is dropped"]
pub(crate) struct Waiting<'a> {
    clock: &'a Clock,
    deadline: Option<u64>,
}

impl Waiting<'_> {
    /// Whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.clock.now() >= deadline)
    }

    /// Sleeps on `bed` until it is notified or the deadline has passed, and for `most` at most, which is real time. May
    /// return early.
    pub(crate) fn sleep<'g, T>(&self, bed: &Condvar, guard: MutexGuard<'g, T>, most: Duration) -> MutexGuard<'g, T> {
        bed.wait_timeout(guard, self.stretch(most)).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Parks this thread for `most` at most, which is real time, but not beyond the deadline.
    pub(crate) fn park(&self, most: Duration) {
        thread::park_timeout(self.stretch(most));
    }

    /// For how much real time to sleep before the next look.
    fn stretch(&self, most: Duration) -> Duration {
        match (self.clock, self.deadline) {
            (_, None) => most,
            (Clock::Machine(_), Some(deadline)) => most.min(self.clock.until(deadline)),
            (Clock::Manual(_), Some(_)) => most.min(LOOK),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let (Clock::Manual(clock), Some(_)) = (self.clock, self.deadline) {
            clock.count_out();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_moments_begin_at_one_and_end_at_the_last_there_is() {
        let clock = Clock::machine();
        let (first, second) = (clock.now(), clock.now());
        assert!(first >= 1 && second >= first);
        assert!(clock.after(Duration::from_secs(1)) >= second + 1_000_000_000);
        assert_eq!(clock.after(Duration::MAX), u64::MAX);
        assert_eq!((clock.until(first), clock.since(u64::MAX)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn the_wall_clock_of_a_manual_one_goes_on_from_where_it_is_set() {
        let manual = ManualClock::new();
        let (clock, second) = (Clock::Manual(manual.clone()), Duration::from_secs(1));
        assert_eq!(clock.wall_nanos(), 946_684_800_000_000_000);
        manual.advance(second);
        assert_eq!(clock.wall_nanos(), 946_684_801_000_000_000);
        manual.set_wall(UNIX_EPOCH + second * 5);
        manual.advance(second);
        assert_eq!(clock.wall_nanos(), 6_000_000_000);
        manual.set_wall(UNIX_EPOCH - second);
        assert_eq!(clock.wall_nanos(), 0);
        assert_eq!(clock.now(), 2_000_000_001, "and the moments know nothing of it");
    }
}
