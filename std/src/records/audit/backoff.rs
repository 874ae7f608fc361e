//! How long the log waits before it tries again.

use std::time::Duration;

/// Waits that double.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    pub(crate) const FIRST: Duration = Duration::from_millis(10);
    pub(crate) const LONGEST: Duration = Duration::from_secs(5);

    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_up_to(Self::LONGEST)
    }

    /// How long to wait after one more failure, where each attempt costs something.
    pub(crate) fn next_up_to(&mut self, longest: Duration) -> Duration {
        let wait = Self::FIRST.saturating_mul(1 << self.tries.min(20));
        self.tries = self.tries.saturating_add(1);
        wait.min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_last_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..12).map(|_| backoff.next().as_millis() as u64).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000, 5000]);
    }
}
