//! Holding the run to a number of events per second, for people who want to watch.

use super::interrupt::Interrupt;
use std::time::{Duration, Instant};

/// How far a run may catch up: sleeping is not exact, and without it a high pace would never be reached.
const LAG: Duration = Duration::from_millis(100);

/// When the next event is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// None: at once.
    interval: Option<Duration>,
    due: Instant,
}

impl Pace {
    /// At most so many events per second, counted from now; all at once without a number.
    pub(super) fn new(events_per_second: Option<f64>) -> Self {
        let interval = events_per_second.map(|pace| Duration::from_secs_f64(1.0 / pace));
        Pace { interval, due: Instant::now() }
    }

    /// Waits until the next event is due, or less long when the run is interrupted.
    pub(super) fn wait(&mut self, interrupt: &Interrupt) {
        let Some(interval) = self.interval else { return };
        interrupt.wait_until(self.due);
        let earliest = Instant::now().checked_sub(LAG).unwrap_or(self.due);
        self.due = self.due.max(earliest) + interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_due_one_interval_after_the_one_before() {
        let interrupt = Interrupt::default();
        // A raised interrupt ends every wait, so that the test sees the schedule without living through it.
        interrupt.raise();
        let mut pace = Pace::new(Some(0.5));
        let first = pace.due;
        pace.wait(&interrupt);
        pace.wait(&interrupt);
        assert_eq!(pace.due - first, Duration::from_secs(4));
    }

    #[test]
    fn a_run_that_fell_behind_catches_up_only_so_far() {
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(60)) else { return };
        let mut pace = Pace { interval: Some(Duration::from_secs(1)), due: long_ago };
        pace.wait(&Interrupt::default());
        assert!(pace.due + LAG > long_ago + Duration::from_secs(60));
    }
}
