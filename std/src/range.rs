//! Ranges of settings: what is outside is refused with the setting's name, its value and its range.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::BuildError;

/// How long a handler's call may be given.
pub(crate) const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60 * 60 * 24);

/// Checks a number. The field is made into text only when it is refused.
pub(crate) fn number(field: impl FnOnce() -> String, value: u64, min: u64, max: u64) -> Result<(), BuildError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(BuildError::OutOfRange { field: field(), value, min, max })
}

/// Checks a wait, which must be more than zero.
pub(crate) fn wait(field: impl FnOnce() -> String, value: Duration, max: Duration) -> Result<(), BuildError> {
    if !value.is_zero() && value <= max {
        return Ok(());
    }
    Err(BuildError::WaitOutOfRange { field: field(), value, max })
}

/// A duration in nanoseconds; one that is too long for 64 bits is as long as they can say.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
