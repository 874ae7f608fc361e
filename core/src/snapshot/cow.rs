//! A copy-on-write cell without an allocator: a few versions in place, and split reference counts.
//!
//! # How it works
//!
//! One word, the *state*, holds the index of the current version and how many references to it readers have acquired:
//! `acquired << INDEX_BITS | index`. A reader adds one to the upper part; the same atomic step tells it the index. So
//! there is no moment at which it knows a version without holding it, and nothing to repeat.
//!
//! A reader gives its reference back on a counter that belongs to the version, the *balance*, by subtracting one. As
//! long as the version is current, its balance is minus the number of references given back. A writer that replaces the
//! state learns from the old one how many were ever acquired, and adds that number to the balance of the version that it
//! has just retired. From then on the balance is the number of references still out, no reader can add to it, and once it
//! is zero it stays zero: only then may a writer drop the version and use its place again.
//!
//! Counts are compared modulo `2^(word - INDEX_BITS)`, which is where the upper part of the state wraps.
//!
//! Writers exclude each other with a flag that they only try, so that an interrupt or a handler that writes while a
//! writer is stopped is told [`Busy`](UpdateError::Busy) and never waits for it.
//!
//! Who wants to know when the readers of retired versions are done looks at the same balances, without the flag;
//! [`CowRetired`] says why that is enough. Readers do nothing for it.

use core::fmt;
use core::mem;
use core::ops::Deref;
use core::panic::RefUnwindSafe;

mod retired;

pub use retired::CowRetired;

use super::{Snapshot, UpdateError};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, UnsafeCell, const_array, const_fn};

/// The largest number of versions a cell can have.
pub const MAX_VERSIONS: usize = 64;

/// A copy-on-write cell that keeps up to `K` versions of a `T` inside it, and so fits in a `static`.
///
/// One version is current, the others are spare or still being read. An [`update`](Snapshot::update) needs a spare one:
/// it is refused as [`Busy`](UpdateError::Busy) when `K - 1` older versions are still being read, or when another update
/// is running, be it on another thread or further up on this thread's own stack. A reader that updates while it holds a
/// guard occupies one version, so with the default `K` of 4 it can update as often as it likes. `K` outside `2..=64`
/// fails to compile.
///
/// A retired version is dropped by the next writer that finds it unread: by the update that retired it when nobody reads
/// it, else by a later update or by [`reclaim`](Self::reclaim). No lock is held meanwhile, so the values' `Drop` may use
/// the cell. Dropping the cell drops every version that is left, each once.
///
/// When a reader panics, its guard gives the reference back; when `change` panics, nothing has been published and the
/// next update works. A guard that is forgotten (`mem::forget`) occupies its version for ever. On targets whose word has
/// fewer than 64 bits, the program is stopped when some 2^27 guards of one version have been forgotten, before a counter
/// could wrap onto a guard that is alive.
///
/// # Cost
///
/// `load` and dropping its guard: one atomic addition and one subtraction; no allocation, no loop; wait-free where the
/// target adds atomically (lock-free where it must emulate that with load and store exclusive). All readers share the
/// cache line of the state. `update`: no allocation, no waiting; one call of `change`, one move of `T` into its place,
/// and a look at each of the `K` versions. Memory: `K` times a `T`, even when one version is in use.
///
/// # Examples
///
/// ```
/// use nervebus_core::snapshot::{CowCell, Snapshot, UpdateError};
///
/// static LIMITS: CowCell<(u32, u32)> = CowCell::new((10, 20));
///
/// let before = LIMITS.load();
/// let refused = LIMITS.update(|&(low, high)| if low > 15 { Ok(((low, high + 1), ())) } else { Err("too low") });
/// assert_eq!(refused, Err(UpdateError::Refused("too low")));
/// LIMITS.update(|&(_, high)| Ok::<_, ()>(((high, high * 2), ())))?;
/// assert_eq!((*before, *LIMITS.load()), ((10, 20), (20, 40)));
/// # Ok::<(), UpdateError<()>>(())
/// ```
pub struct CowCell<T, const K: usize = 4> {
    /// `acquired << INDEX_BITS | index` of the current version.
    state: Padded<AtomicUsize>,
    /// Whether a writer is at work.
    writing: AtomicBool,
    versions: [Version<T>; K],
}

/// Keeps the word that every reader changes away from its neighbours' cache line.
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
struct Padded<A>(A);

/// A place for one version.
#[cfg_attr(target_pointer_width = "64", repr(align(64)))]
struct Version<T> {
    /// References acquired (added when the version is retired) minus references given back.
    balance: AtomicUsize,
    /// How many versions have been put here after the first; read by those who wait for the readers of one.
    uses: AtomicUsize,
    /// The version; `None` while the place is spare.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: `value` is the only part that is not `Sync` by itself. Several threads get a `&T` from it at once, hence
// `T: Sync`; a writer on another thread than the one that wrote it takes it out, hence `T: Send`. A writer touches the
// value only between `Writer::spare`, which finds it unreferenced, and the swap in `Writer::publish`, which makes it
// current: no reader holds it in that time, and the flag `writing` keeps other writers away.
unsafe impl<T: Send + Sync> Sync for Version<T> {}

// A panic while a guard is out or while an update runs leaves the cell as it was; see the documentation of `CowCell`.
impl<T: RefUnwindSafe, const K: usize> RefUnwindSafe for CowCell<T, K> {}

impl<T> Version<T> {
    const_fn! {
        const fn of(value: Option<T>) -> Self {
            Self { balance: AtomicUsize::new(0), uses: AtomicUsize::new(0), value: UnsafeCell::new(value) }
        }
    }

    /// The version in this place.
    ///
    /// # Safety
    ///
    /// The place must hold a version, and nobody may change that as long as the reference lives.
    #[inline(always)]
    unsafe fn get(&self) -> &T {
        // SAFETY: nobody changes the place meanwhile, says the caller.
        let value = self.value.with(|place| unsafe { &*place });
        // SAFETY: the place holds a version, says the caller.
        unsafe { value.as_ref().unwrap_unchecked() }
    }

    /// Changes what is in this place, and returns what was there.
    ///
    /// # Safety
    ///
    /// No reader may hold a reference to the place or get one meanwhile, and no other writer may touch it.
    unsafe fn replace(&self, value: Option<T>) -> Option<T> {
        // SAFETY: nobody else uses the place, says the caller, so this is the only reference to it.
        self.value.with_mut(|place| mem::replace(unsafe { &mut *place }, value))
    }
}

impl<T, const K: usize> CowCell<T, K> {
    /// How many bits of the state the index takes.
    const INDEX_BITS: u32 = usize::BITS - (K - 1).leading_zeros();
    const INDEX_MASK: usize = (1 << Self::INDEX_BITS) - 1;
    const ONE_REFERENCE: usize = 1 << Self::INDEX_BITS;
    /// Whether so many references can be acquired in a program's life that the count wraps.
    const WRAPS: bool = usize::BITS < 64 || cfg!(test);
    /// The state without its two upper bits and its index: all ones once in every quarter of the count's range.
    const QUARTER: usize = (usize::MAX >> 2) & !Self::INDEX_MASK;

    const_fn! {
        /// A cell whose current version is `value`.
        ///
        /// ```compile_fail
        /// // One version leaves no room for a second: does not compile.
        /// let _ = nervebus_core::snapshot::CowCell::<u8, 1>::new(0);
        /// ```
        ///
        /// ```
        /// let _ = nervebus_core::snapshot::CowCell::<u8, 2>::new(0);
        /// ```
        pub const fn new(value: T) -> Self {
            const { assert!(K >= 2 && K <= MAX_VERSIONS, "a cell needs 2 to 64 versions") };
            let mut versions: [Version<T>; K] = const_array!(Version::of(None));
            // The place that gives way is empty; a constant function cannot drop it.
            mem::forget(mem::replace(&mut versions[0], Version::of(Some(value))));
            Self { state: Padded(AtomicUsize::new(0)), writing: AtomicBool::new(false), versions }
        }
    }

    /// Drops the retired versions that nobody reads any more, if no other writer is at work (it will do so itself).
    ///
    /// # Cost
    ///
    /// For each version dropped, and once more, a look at each of the `K` versions; no waiting.
    pub fn reclaim(&self) {
        // Each one is dropped after its writer is gone, so that its `Drop` may update this cell.
        while let Some(retired) = self.lock().and_then(|mut writer| writer.take_unread()) {
            drop(retired);
        }
    }

    /// Publishes what `change` makes of the current version, and takes a `look` before the next writer may begin.
    fn update_and<'a, R, E, W>(
        &'a self,
        mut change: impl FnMut(&T) -> Result<(T, R), E>,
        look: impl FnOnce(&Writer<'a, T, K>) -> W,
    ) -> Result<(R, W), UpdateError<E>> {
        let mut writer = self.lock().ok_or(UpdateError::Busy)?;
        let spare = writer.spare().ok_or(UpdateError::Busy)?;
        let (next, result) = change(writer.current()).map_err(UpdateError::Refused)?;
        let stale = writer.publish(spare, next);
        let seen = look(&writer);
        // Old versions are dropped after this writer is gone, so that their `Drop` may update this cell.
        drop(writer);
        drop(stale);
        self.reclaim();
        Ok((result, seen))
    }

    /// Begins to write, unless somebody else does.
    fn lock(&self) -> Option<Writer<'_, T, K>> {
        // Acquire pairs with the Release in `Writer::drop`: this writer sees all that the one before has done.
        self.writing.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Writer { cell: self })
    }

    /// Stops the program when so many guards of the current version are out that the count could come round.
    ///
    /// Called once in every quarter of the count's range, by the reader that completes it, while it holds its reference.
    /// Guards that exist take room in memory, so only forgotten ones can be that many; guards taken and dropped cancel
    /// out. A limit of an eighth of the range leaves room for those that are forgotten before the next check.
    #[cold]
    fn check_for_leaks(&self, state: usize) {
        let index = state & Self::INDEX_MASK;
        // Acquire pairs with the Release of the credit in `Writer::publish`: if this balance has been credited, the
        // next line sees that the version is no longer current.
        let balance = self.versions[index].balance.load(Ordering::Acquire);
        if self.state.0.load(Ordering::Relaxed) & Self::INDEX_MASK != index {
            // It has been retired: nobody can acquire it any more, so its count has stopped.
            return;
        }
        let out = (state & !Self::INDEX_MASK).wrapping_add(balance << Self::INDEX_BITS);
        if out.cast_signed() > isize::MAX >> 2 {
            abort();
        }
    }
}

/// Ends the program without `std`: a panic while a panic unwinds does, and where panics do not unwind the first is final.
#[cold]
fn abort() -> ! {
    struct Again;
    impl Drop for Again {
        fn drop(&mut self) {
            panic!("too many guards of a CowCell were forgotten");
        }
    }
    let _again = Again;
    panic!("too many guards of a CowCell were forgotten");
}

impl<T, const K: usize> Snapshot<T> for CowCell<T, K> {
    type Guard<'a>
        = CowGuard<'a, T>
    where
        Self: 'a;

    #[inline]
    fn load(&self) -> CowGuard<'_, T> {
        // Acquire pairs with the Release of the swap in `Writer::publish`: this reader sees the version written before
        // it. Other readers' additions in between are read-modify-writes, which pass the Release on.
        let state = self.state.0.fetch_add(Self::ONE_REFERENCE, Ordering::Acquire);
        if Self::WRAPS && state & Self::QUARTER == Self::QUARTER {
            self.check_for_leaks(state);
        }
        CowGuard { version: &self.versions[state & Self::INDEX_MASK] }
    }

    type Retired<'a>
        = CowRetired<'a, T, K>
    where
        Self: 'a;

    fn update<R, E>(&self, change: impl FnMut(&T) -> Result<(T, R), E>) -> Result<R, UpdateError<E>> {
        let (result, ()) = self.update_and(change, |_| ())?;
        Ok(result)
    }

    fn update_watched<R, E>(
        &self,
        change: impl FnMut(&T) -> Result<(T, R), E>,
    ) -> Result<(R, CowRetired<'_, T, K>), UpdateError<E>> {
        self.update_and(change, |writer| writer.still_read())
    }
}

/// The right to write to a cell; exists once at most.
struct Writer<'a, T, const K: usize> {
    cell: &'a CowCell<T, K>,
}

impl<T, const K: usize> Writer<'_, T, K> {
    fn current_index(&self) -> usize {
        // Relaxed: only writers change the index, and the lock has made their changes visible.
        self.cell.state.0.load(Ordering::Relaxed) & CowCell::<T, K>::INDEX_MASK
    }

    fn current(&self) -> &T {
        // SAFETY: the current place holds a version since `new` or `publish`, and only a writer could change that; this
        // is the only one, and its methods that do so take `&mut self`.
        unsafe { self.cell.versions[self.current_index()].get() }
    }

    /// Whether nobody reads the version in this place, nor will.
    fn is_unread(&self, index: usize) -> bool {
        // Acquire pairs with the Release in `CowGuard::drop`: what the readers did with the version comes before what
        // the writer does to it. All other changes of the balance are read-modify-writes, which pass every reader's
        // Release on; and the lock has made the last credit visible, so that a zero from before it cannot be seen.
        let balance = self.cell.versions[index].balance.load(Ordering::Acquire);
        index != self.current_index() && balance << CowCell::<T, K>::INDEX_BITS == 0
    }

    /// A place for the next version: one that is not current and that nobody reads.
    fn spare(&self) -> Option<usize> {
        (0..K).find(|&index| self.is_unread(index))
    }

    /// Takes out a version that was retired and that nobody reads, if there is one.
    fn take_unread(&mut self) -> Option<T> {
        (0..K).filter(|&index| self.is_unread(index)).find_map(|index| {
            // SAFETY: `is_unread` says that no reader holds the place; a place that is not current gets no new readers,
            // and this is the only writer.
            unsafe { self.cell.versions[index].replace(None) }
        })
    }

    /// Makes `next` the current version, in the place `spare` found by [`spare`](Self::spare), and returns what was left
    /// there.
    fn publish(&mut self, spare: usize, next: T) -> Option<T> {
        let uses = &self.cell.versions[spare].uses;
        // Only writers change it, one at a time. Release pairs with the Acquire in `CowRetired::is_quiet`: the readers of
        // what was here before are done (`spare` has acquired what they did) before anybody is told that they are.
        uses.store(uses.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // SAFETY: `spare` found this place unread, and it has not become current since: this is the only writer.
        let stale = unsafe { self.cell.versions[spare].replace(Some(next)) };
        // Release pairs with the Acquire of the addition in `load`: whoever gets the new index sees the new version.
        let retired = self.cell.state.0.swap(spare, Ordering::Release);
        let place = &self.cell.versions[retired & CowCell::<T, K>::INDEX_MASK];
        // Release pairs with the Acquire in `check_for_leaks`; writers see the credit by way of the lock.
        place.balance.fetch_add(retired >> CowCell::<T, K>::INDEX_BITS, Ordering::Release);
        stale
    }
}

impl<T, const K: usize> Drop for Writer<'_, T, K> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `CowCell::lock`.
        self.cell.writing.store(false, Ordering::Release);
    }
}

/// Lends one version of a [`CowCell`], and keeps its place occupied until dropped.
pub struct CowGuard<'a, T> {
    /// The place and not the value: while `drop` gives the reference back, a writer may already be changing the value,
    /// and a `&T` must not exist then.
    version: &'a Version<T>,
}

impl<T> Deref for CowGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `load` counted this guard in the same step in which it learnt that the version was current; writers
        // leave a place alone that is current or has guards out (`is_unread`), and this guard is out until `drop`.
        unsafe { self.version.get() }
    }
}

impl<T> Drop for CowGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release pairs with the Acquire in `Writer::is_unread`: this reader is done before the writer begins.
        self.version.balance.fetch_sub(1, Ordering::Release);
    }
}

impl<T: fmt::Debug, const K: usize> fmt::Debug for CowCell<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CowCell").field(&*self.load()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for CowGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Default, const K: usize> Default for CowCell<T, K> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell whose current version looks as if all but `left` of the references that can be counted had been acquired,
    /// and given back, before.
    fn near_the_wrap<const K: usize>(value: u32, left: usize) -> CowCell<u32, K> {
        let cell = CowCell::new(value);
        let acquired = (usize::MAX >> CowCell::<u32, K>::INDEX_BITS) + 1 - left;
        cell.state.0.store(acquired << CowCell::<u32, K>::INDEX_BITS, Ordering::Relaxed);
        cell.versions[0].balance.store(acquired.wrapping_neg(), Ordering::Relaxed);
        cell
    }

    fn set(cell: &impl Snapshot<u32>, value: u32) -> Result<(), UpdateError<()>> {
        cell.update(|_| Ok((value, ())))
    }

    #[test]
    fn a_count_that_wraps_neither_frees_a_version_that_is_read_nor_keeps_one_that_is_not() {
        let cell = near_the_wrap::<2>(1, 2);
        let guards = [cell.load(), cell.load(), cell.load(), cell.load()];
        set(&cell, 2).unwrap();
        assert_eq!(set(&cell, 3), Err(UpdateError::Busy), "the only spare version is still read");
        assert!(guards.iter().all(|guard| **guard == 1));
        drop(guards);
        set(&cell, 3).unwrap();
        assert_eq!(*cell.load(), 3);
    }

    #[test]
    fn guards_that_were_given_back_do_not_count_as_forgotten() {
        for quarter in 0..4 {
            let range = (usize::MAX >> CowCell::<u32, 4>::INDEX_BITS) + 1;
            let cell = near_the_wrap::<4>(1, range / 4 * quarter + 3);
            let held = cell.load();
            for _ in 0..8 {
                drop(cell.load());
            }
            set(&cell, 2).unwrap();
            assert_eq!((*held, *cell.load()), (1, 2));
        }
    }
}
