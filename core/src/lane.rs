//! Which queue a subscription hangs on.

use core::fmt;

/// The number of a lane: a bulkhead with a queue and workers of its own, or [`INLINE`](Self::INLINE), which has neither.
///
/// # Cost
///
/// A plain integer: copying and comparing take constant time and allocate nothing.
///
/// # Examples
///
/// ```
/// use nervebus_core::LaneId;
///
/// assert!(LaneId::INLINE.is_inline());
/// assert_eq!(LaneId::new(3).to_string(), "3");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(u16);

impl LaneId {
    /// The lane without a queue, number 0: its handlers run on the emitter's thread.
    pub const INLINE: Self = Self(0);

    /// The lane of this number; 0 is [`INLINE`](Self::INLINE).
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number of the lane.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Whether this is [`INLINE`](Self::INLINE).
    #[must_use]
    pub const fn is_inline(self) -> bool {
        self.0 == Self::INLINE.0
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
