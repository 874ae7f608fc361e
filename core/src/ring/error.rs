//! Why a ring refuses.

use core::fmt;

use super::MAX_CAPACITY;

/// Why a push was refused; the value comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError<T> {
    /// Every slot is taken.
    Full(T),
    /// The ring was closed; no push will succeed again.
    Closed(T),
}

impl<T> PushError<T> {
    /// The value that was refused.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// Whether the ring had no free slot.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the ring was closed.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "the ring is full" } else { "the ring is closed" })
    }
}

impl<T: fmt::Debug> core::error::Error for PushError<T> {}

/// Why a batch was not pushed to its end; what was not pushed is still in the iterator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// Every slot is taken.
    Full {
        /// How many values of the batch are in the ring.
        pushed: usize,
    },
    /// The ring was closed; no push will succeed again.
    Closed {
        /// How many values of the batch are in the ring.
        pushed: usize,
    },
}

impl BatchError {
    /// How many values of the batch are in the ring.
    #[must_use]
    pub const fn pushed(&self) -> usize {
        match *self {
            Self::Full { pushed } | Self::Closed { pushed } => pushed,
        }
    }

    /// Whether the ring had no free slot.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// Whether the ring was closed.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.is_closed() { "closed" } else { "full" };
        write!(f, "the ring is {state}; {} values of the batch were pushed", self.pushed())
    }
}

impl core::error::Error for BatchError {}

/// Why there was nothing to pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PopError {
    /// Nothing is ready; a value may still come.
    Empty,
    /// Nothing is left and nothing will come: the ring was closed and every value has been taken.
    Closed,
}

impl fmt::Display for PopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the ring is empty",
            Self::Closed => "the ring is closed and drained",
        })
    }
}

impl core::error::Error for PopError {}

/// Why there is nothing to take. A [`PopError`] does not tell who waits that another thread looks at the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    Empty,
    /// Another thread inspects the ring.
    Held,
    Closed,
}

impl From<Miss> for PopError {
    #[inline(always)]
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Empty | Miss::Held => Self::Empty,
            Miss::Closed => Self::Closed,
        }
    }
}

/// A capacity that no ring can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapacityError {
    /// The capacity asked for, in slots.
    pub capacity: usize,
}

impl fmt::Display for CapacityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capacity {} is outside 1..={MAX_CAPACITY}", self.capacity)
    }
}

impl core::error::Error for CapacityError {}
