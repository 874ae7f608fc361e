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

    /// The versions that an update has replaced and that readers may still hold.
    type Retired<'a>: Retired
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

    /// Does what [`update`](Self::update) does, and says beside who may still be reading an older version: the one it
    /// has just replaced, or one replaced before.
    ///
    /// # Errors
    ///
    /// Those of `update`.
    fn update_watched<R, E>(
        &self,
        change: impl FnMut(&T) -> Result<(T, R), E>,
    ) -> Result<(R, Self::Retired<'_>), UpdateError<E>>;
}

/// The older versions of a [`Snapshot`] that were still read when [`update_watched`](Snapshot::update_watched) replaced
/// the last of them.
///
/// It holds nobody up and keeps no version alive. Dropping it means that nobody wants to know any more.
pub trait Retired {
    /// Whether nobody reads these versions any more, nor will. Once `true`, always `true`.
    ///
    /// When it says `true`, all that their readers did with them happened before: what they wrote is visible to the
    /// caller.
    ///
    /// # Cost
    ///
    /// A look at each version that was still read at the last look; no waiting, no allocation, wait-free.
    fn is_quiet(&mut self) -> bool;
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
