//! The copy-on-write cell for hosted targets, over the `arc-swap` crate.

use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;

use arc_swap::{ArcSwap, Cache};

use super::{Snapshot, UpdateError};

/// A copy-on-write cell whose versions are on the heap, behind an [`ArcSwap`].
///
/// Any number of versions can be alive at once, so an update is never [`Busy`](UpdateError::Busy): writers that race
/// repeat their change on the winner's version. A version is dropped by whoever gives up the last reference to it,
/// reader, writer or [`ArcCache`].
///
/// # Cost
///
/// `load`: no allocation, lock-free; it does not touch the version's reference count unless a thread holds many guards.
/// `update`: one allocation for each try; lock-free, a try repeats only after another writer has published.
///
/// # Examples
///
/// ```
/// use nervebus_core::snapshot::{ArcCell, Snapshot};
///
/// let names = ArcCell::new(vec!["ada"]);
/// let mut cache = names.cache();
/// let before = names.load();
/// let count = names.update(|old| {
///     let mut new = old.clone();
///     new.push("grace");
///     let count = new.len();
///     Ok::<_, core::convert::Infallible>((new, count))
/// });
/// assert_eq!(count, Ok(2));
/// assert_eq!(*before, ["ada"]);
/// assert_eq!(*cache.load(), ["ada", "grace"]);
/// ```
pub struct ArcCell<T> {
    shared: Arc<ArcSwap<T>>,
}

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    ///
    /// # Cost
    ///
    /// Two allocations.
    pub fn new(value: T) -> Self {
        Self { shared: Arc::new(ArcSwap::from_pointee(value)) }
    }

    /// What the cell is made of, for those who build something else on it.
    pub fn shared(&self) -> &Arc<ArcSwap<T>> {
        &self.shared
    }

    /// The current version as an [`Arc`] that outlives the cell.
    ///
    /// # Cost
    ///
    /// No allocation; one more atomic addition than [`load`](Snapshot::load), on a counter that all threads share.
    pub fn load_full(&self) -> Arc<T> {
        self.shared.load_full()
    }

    /// A private copy of the pointer to the current version, for a reader that comes back often.
    pub fn cache(&self) -> ArcCache<T> {
        ArcCache { cache: Cache::new(Arc::clone(&self.shared)) }
    }
}

impl<T> Snapshot<T> for ArcCell<T> {
    type Guard<'a>
        = ArcGuard<T>
    where
        Self: 'a;

    #[inline]
    fn load(&self) -> ArcGuard<T> {
        ArcGuard { guard: self.shared.load() }
    }

    fn update<R, E>(&self, mut change: impl FnMut(&T) -> Result<(T, R), E>) -> Result<R, UpdateError<E>> {
        let mut current = self.shared.load();
        loop {
            let (next, result) = change(&current).map_err(UpdateError::Refused)?;
            let found = self.shared.compare_and_swap(&*current, Arc::new(next));
            if Arc::ptr_eq(&current, &found) {
                return Ok(result);
            }
            current = found;
        }
    }
}

impl<T: Default> Default for ArcCell<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for ArcCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArcCell").field(&*self.load()).finish()
    }
}

/// Lends one version of an [`ArcCell`].
pub struct ArcGuard<T> {
    guard: arc_swap::Guard<Arc<T>>,
}

impl<T> Deref for ArcGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for ArcGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A reader's own reference to the version of an [`ArcCell`] that it saw last.
///
/// It keeps that version alive until it sees a newer one or is dropped, whatever becomes of the cell.
///
/// # Cost
///
/// `load` is one relaxed load and a compare while nothing has changed, and a full load after a change. No allocation.
/// Making or cloning one takes a reference: one atomic addition.
#[derive(Clone)]
pub struct ArcCache<T> {
    cache: Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

impl<T> ArcCache<T> {
    /// The current version.
    ///
    /// A version that another thread published without synchronising with this one may be seen a moment late.
    #[inline]
    pub fn load(&mut self) -> &T {
        self.cache.load()
    }
}

impl<T: fmt::Debug> fmt::Debug for ArcCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArcCache").field(&**self.cache.arc_swap().load()).finish()
    }
}
