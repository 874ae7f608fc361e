//! Waiting until nobody reads the older versions of a [`CowCell`].

use core::fmt;

use super::{CowCell, Writer};
use crate::snapshot::Retired;
use crate::sync::Ordering;

/// The older versions of a [`CowCell`] that were still read when an update replaced the last of them.
///
/// # How it works
///
/// Under the writers' lock, after the swap, it notes each place that holds an older version which is still read, and how
/// often that place has been used. From then on it looks by itself, without the lock. A place is done when
///
/// - it has been used again: the writer that did so had found it unread; or
/// - its balance is zero. Before the credit of the swap that retired the version, a zero may mean that no guard has been
///   given back yet. Such an old zero cannot be seen here: the credit was made by this update, or by one before it that
///   the lock has made visible, so it happened before the look, and a load cannot show a value that was overwritten
///   before it. After the credit the balance only falls, to zero, and no reader can raise it, because the version is not
///   current. A zero that belongs to a later use of the place is as good, for then the first rule holds already.
///
/// The count of uses may wrap. A place used again exactly as often as the count has numbers, since the last look, looks as
/// if it had not been; that can make a wait longer, never shorter.
pub struct CowRetired<'a, T, const K: usize> {
    cell: &'a CowCell<T, K>,
    /// For each place whose readers are not done, how often it had been used.
    uses: [Option<usize>; K],
}

impl<'a, T, const K: usize> Writer<'a, T, K> {
    /// The versions that were retired and that somebody reads.
    pub(super) fn still_read(&self) -> CowRetired<'a, T, K> {
        let uses = core::array::from_fn(|index| {
            let waits = index != self.current_index() && !self.is_unread(index);
            // Relaxed: only writers change it, and the lock has made their changes visible.
            waits.then(|| self.cell.versions[index].uses.load(Ordering::Relaxed))
        });
        CowRetired { cell: self.cell, uses }
    }
}

impl<T, const K: usize> Retired for CowRetired<'_, T, K> {
    fn is_quiet(&mut self) -> bool {
        for (version, waits) in self.cell.versions.iter().zip(&mut self.uses) {
            let Some(uses) = *waits else { continue };
            // Acquire pairs with the Release in `Writer::publish`: its writer had acquired what the readers did.
            let used_again = version.uses.load(Ordering::Acquire) != uses;
            // Acquire pairs with the Release in `CowGuard::drop`. All later changes of the balance are
            // read-modify-writes, which pass every reader's Release on.
            if used_again || version.balance.load(Ordering::Acquire) << CowCell::<T, K>::INDEX_BITS == 0 {
                *waits = None;
            }
        }
        self.uses.iter().all(Option::is_none)
    }
}

impl<T, const K: usize> fmt::Debug for CowRetired<'_, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let awaited = self.uses.iter().flatten().count();
        f.debug_struct("CowRetired").field("awaited", &awaited).finish_non_exhaustive()
    }
}
