//! Copy-on-write values: many readers that never wait, and writers that publish a whole new version.

use core::fmt;
use core::ops::Deref;

pub mod cow;
#[cfg(feature = "std")]
pub mod hosted;

pub use cow::CowCell;
#[cfg(feature = "std")]
pub use hosted::ArcCell;

/// A value that is read in place and replaced as a whole.
///
/// A reader gets a guard to the version that was current at that moment; it never sees half of a change, and what it
/// sees does not change while it holds the guard. Other threads may publish newer versions meanwhile.
///
/// A guard may be held across anything, an [`update`](Self::update) of the same cell by the same thread included: that
/// publishes, or is refused as [`Busy`](UpdateError::Busy), but never waits for the guard.
pub trait Snapshot<T> {
    /// Keeps one version alive and lends it.
    type Guard<'a>: Deref<Target = T>
    where
        Self: 'a;

    /// The current version.
    fn load(&self) -> Self::Guard<'_>;

    /// Publishes what `change` makes of the current version, and returns what it says beside.
    ///
    /// `change` may be called again when another writer was faster; only the result of the last call counts.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Refused`] with the error of `change`, when it returns one; [`UpdateError::Busy`] when this cell
    /// cannot take a new version now. In both cases the current version stays.
    fn update<R, E>(&self, change: impl FnMut(&T) -> Result<(T, R), E>) -> Result<R, UpdateError<E>>;
}

/// Why an update published nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateError<E> {
    /// Another writer is at work, or every spare version is still being read. Try again later, not in a loop: the one
    /// in the way may be the caller's own guard, or the code that an interrupt stopped.
    Busy,
    /// The change itself was refused.
    Refused(E),
}

impl<E: fmt::Display> fmt::Display for UpdateError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another writer is at work, or every spare version is still being read"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for UpdateError<E> {}
