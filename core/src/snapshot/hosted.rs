//! The copy-on-write cell for hosted targets, over the `arc-swap` crate.

use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Cache};

use super::{Retired, Snapshot, UpdateError};

/// A copy-on-write cell whose versions are on the heap, behind an [`ArcSwap`].
///
/// Any number of versions can be alive at once, so an update is never [`Busy`](UpdateError::Busy): writers that race
/// repeat their change on the winner's version. A version is dropped by whoever gives up the last reference to it,
/// reader, writer or [`ArcCache`].
///
/// # Cost
///
/// `load`: no allocation, lock-free; it does not touch the version's reference count unless a thread holds many guards.
/// `update`: one allocation for each try, which repeats only after another writer has published. Writers (readers never)
/// note what they replace in a list behind a mutex, held for a look at each version that is alive and never during
/// `change` or a version's `Drop`. The list is as long as there are such versions; it allocates when it grows.
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
    /// The versions that were replaced, or are about to be, and that may be alive. Weak, so that it keeps none alive.
    replaced: Mutex<Vec<Weak<T>>>,
}

impl<T> ArcCell<T> {
    /// A cell that holds `value`.
    ///
    /// # Cost
    ///
    /// Two allocations.
    pub fn new(value: T) -> Self {
        Self { shared: Arc::new(ArcSwap::from_pointee(value)), replaced: Mutex::new(Vec::new()) }
    }

    /// What the cell is made of, for those who build something else on it.
    ///
    /// A version that is replaced by way of it is not among those that [`update_watched`](Snapshot::update_watched)
    /// watches later.
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

    /// How many older versions are alive: held by a guard, by an [`ArcCache`] that has not looked since, or by an `Arc`
    /// from [`load_full`](Self::load_full).
    ///
    /// # Cost
    ///
    /// A look at each of them, behind the mutex of the writers.
    pub fn retired(&self) -> usize {
        self.alive().len()
    }

    /// The list of replaced versions, without those that are gone.
    fn alive(&self) -> MutexGuard<'_, Vec<Weak<T>>> {
        // The list is whole at every moment, so a panic under the lock would have done no harm.
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.retain(|version| version.strong_count() > 0);
        // Acquire pairs with the Release of the last `Arc` of each version that was left out: whoever learns from this list
        // that nobody reads it comes after all who did, on whatever thread it looks.
        fence(Ordering::Acquire);
        replaced
    }

    /// Notes that `current` is about to be replaced, and takes a `look` at all that have been or are about to be.
    ///
    /// Before the swap and not after it, so that whoever replaces the successor finds `current` in the list.
    fn replacing<W>(&self, current: &Arc<T>, look: impl FnOnce(&[Weak<T>]) -> W) -> W {
        let mut replaced = self.alive();
        // It is there already when another writer, now or in a lost race, has had the same intention.
        if !replaced.iter().any(|version| core::ptr::eq(version.as_ptr(), Arc::as_ptr(current))) {
            replaced.push(Arc::downgrade(current));
        }
        look(&replaced)
    }

    /// Publishes what `change` makes of the current version, after a `look` at those that this leaves behind.
    fn update_and<R, E, W>(
        &self,
        mut change: impl FnMut(&T) -> Result<(T, R), E>,
        look: impl Fn(&[Weak<T>]) -> W,
    ) -> Result<(R, W), UpdateError<E>> {
        let mut current = self.shared.load();
        loop {
            let (next, result) = change(&current).map_err(UpdateError::Refused)?;
            let seen = self.replacing(&current, &look);
            let found = self.shared.compare_and_swap(&*current, Arc::new(next));
            if Arc::ptr_eq(&current, &found) {
                // What nobody else holds is gone with these two, and leaves the list.
                drop((current, found));
                drop(self.alive());
                return Ok((result, seen));
            }
            current = found;
        }
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

    type Retired<'a>
        = ArcRetired<T>
    where
        Self: 'a;

    fn update<R, E>(&self, change: impl FnMut(&T) -> Result<(T, R), E>) -> Result<R, UpdateError<E>> {
        let (result, ()) = self.update_and(change, |_| ())?;
        Ok(result)
    }

    fn update_watched<R, E>(
        &self,
        change: impl FnMut(&T) -> Result<(T, R), E>,
    ) -> Result<(R, ArcRetired<T>), UpdateError<E>> {
        let (result, versions) = self.update_and(change, <[Weak<T>]>::to_vec)?;
        Ok((result, ArcRetired { versions }))
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

/// The older versions of an [`ArcCell`] that were alive when an update replaced the last of them.
///
/// # How it works
///
/// It has a [`Weak`] reference to each. When a writer has swapped the pointer, `arc-swap` goes through all guards that
/// are out without having counted themselves, and counts them. So once the update has returned, the strong count of an
/// older version is the number of guards, caches and `Arc`s that hold it, and whoever has none of them cannot get one.
/// Zero is final.
///
/// The list from which the references come is taken before the swap, when the version to be replaced has just been
/// added. It is complete: each version before it was added before it was replaced. It has nothing newer: no version is
/// added before it was current.
pub struct ArcRetired<T> {
    versions: Vec<Weak<T>>,
}

impl<T> Retired for ArcRetired<T> {
    fn is_quiet(&mut self) -> bool {
        self.versions.retain(|version| version.strong_count() > 0);
        // Pairs with the Release with which each `Arc` counts itself out: the count is read with Relaxed, and what the
        // readers did must come before what the caller does now.
        fence(Ordering::Acquire);
        self.versions.is_empty()
    }
}

impl<T> fmt::Debug for ArcRetired<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArcRetired").field("awaited", &self.versions.len()).finish_non_exhaustive()
    }
}
