//! How handlers of one lane are ordered.

use core::fmt;

/// The rank of a subscription: within a lane, the handler with the higher priority runs first.
///
/// Any `i32` is a priority. Handlers of equal priority run in the order in which they subscribed.
///
/// # Cost
///
/// A plain integer: copying and comparing take constant time and allocate nothing.
///
/// # Examples
///
/// ```
/// use nervebus_core::Priority;
///
/// assert_eq!(Priority::default(), Priority::DEFAULT);
/// assert_eq!(Priority::DEFAULT.get(), 100);
/// assert!(Priority::from(200) > Priority::DEFAULT, "200 runs before the default");
/// assert!(Priority::new(-1) < Priority::new(0), "negative priorities run last");
/// assert_eq!(Priority::new(7).to_string(), "7");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(i32);

impl Priority {
    /// The priority of a subscription that does not choose one: 100, which leaves room on both sides.
    pub const DEFAULT: Self = Self(100);

    /// Makes a priority; a higher `rank` runs first.
    #[must_use]
    pub const fn new(rank: i32) -> Self {
        Self(rank)
    }

    /// The rank as a number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

impl Default for Priority {
    /// [`Priority::DEFAULT`], not zero.
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl From<i32> for Priority {
    fn from(rank: i32) -> Self {
        Self(rank)
    }
}

impl From<Priority> for i32 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
