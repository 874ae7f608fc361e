//! When a breaker opens, and for how long.

use core::fmt;

use super::window::MAX_MIN_CALLS;
use super::word::MAX_COUNT;

/// When a [`Breaker`](super::Breaker) opens, and how long it stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// What opens it. Default: five failures in a row.
    pub trip: Trip,
    /// How long it stays open before it lets a probe through, and how long that probe may take before the next one is let
    /// through, in nanoseconds; at least 1. Default: 30 seconds.
    pub reset_after: u64,
}

/// What opens a [`Breaker`](super::Breaker).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// This many failures in a row, in the order in which they are recorded; `1..=2^30 - 1`.
    Consecutive(u32),
    /// A share of the calls of the recent past. Looked at after each failure.
    ///
    /// The window is kept in eight buckets: what is counted are the calls recorded in the present eighth of it and in the
    /// seven before. So each call counts for at least seven eighths of the window and at most the whole of it. Up to 32,767
    /// calls in an eighth are counted exactly; beyond that both counts of the eighth are halved, which keeps their ratio to
    /// within 1 in 16,383.
    Rate {
        /// How many of a hundred calls must have failed; `1..=100`.
        percent: u8,
        /// How far back calls count, in nanoseconds; at least 1.
        window: u64,
        /// How many calls the window must have before any share of them counts; `1..=16,383`.
        min_calls: u32,
    },
}

impl Rules {
    /// Whether every setting is in its range. [`Breaker::new`](super::Breaker::new) asks the same.
    ///
    /// # Errors
    ///
    /// [`RulesError`] names the first setting that is not.
    pub const fn check(&self) -> Result<(), RulesError> {
        match self.wrong() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    const fn wrong(&self) -> Option<RulesError> {
        if self.reset_after == 0 {
            return Some(RulesError { field: "reset_after", value: 0, min: 1, max: u64::MAX });
        }
        match self.trip {
            Trip::Consecutive(failures) => outside("consecutive", failures as u64, MAX_COUNT as u64),
            Trip::Rate { percent, .. } if percent == 0 || percent > 100 => outside("percent", percent as u64, 100),
            Trip::Rate { window: 0, .. } => outside("window", 0, u64::MAX),
            Trip::Rate { min_calls, .. } => outside("min_calls", min_calls as u64, MAX_MIN_CALLS as u64),
        }
    }
}

const fn outside(field: &'static str, value: u64, max: u64) -> Option<RulesError> {
    if value >= 1 && value <= max { None } else { Some(RulesError { field, value, min: 1, max }) }
}

impl Default for Rules {
    fn default() -> Self {
        Self { trip: Trip::Consecutive(5), reset_after: 30_000_000_000 }
    }
}

/// A setting of [`Rules`] is outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RulesError {
    /// Which one.
    pub field: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The smallest value allowed.
    pub min: u64,
    /// The largest value allowed.
    pub max: u64,
}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, outside its range {}..={}", self.field, self.value, self.min, self.max)
    }
}

impl core::error::Error for RulesError {}
