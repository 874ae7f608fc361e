//! The subscription table of one topic: a route that can be changed while it is being read.

use core::fmt;
use core::marker::PhantomData;

use crate::entry::{Entry, SubscriptionId};
use crate::route::{EntryList, Route, StaticRoute};
use crate::snapshot::{CowCell, Snapshot, UpdateError};
use crate::sync::const_fn;

#[cfg(feature = "std")]
use crate::{
    route::HeapRoute,
    snapshot::hosted::{ArcCache, ArcCell},
};

/// A table of at most `N` subscriptions that needs neither an allocator nor threads, and fits in a `static`.
///
/// It keeps up to `K` versions of its route in place; see [`CowCell`] for what that means when all are in use.
pub type StaticTable<H, const N: usize, const K: usize = 4> =
    SubscriptionTable<H, heapless::Vec<Entry<H>, N>, CowCell<StaticRoute<H, N>, K>>;

/// A table of any number of subscriptions, over `arc-swap`; never busy.
#[cfg(feature = "std")]
pub type HostedTable<H> = SubscriptionTable<H, alloc::vec::Vec<Entry<H>>, ArcCell<HeapRoute<H>>>;

/// A reader's own reference to the route of a [`HostedTable`] that it saw last; made by [`HostedTable::cache`].
#[cfg(feature = "std")]
pub type RouteCache<H> = ArcCache<HeapRoute<H>>;

/// The subscriptions of one topic: a [`Route`] that is replaced as a whole, in a cell `C` that says how.
///
/// Readers see the route before a change or the route after it, never a mixture. Once an unsubscribe has returned, no
/// [`load`](Self::load) that happens after it yields the entry; a reader that loaded earlier may still be calling the
/// handler, and the old route keeps the handler alive until it is done.
///
/// Use it as [`StaticTable`] or `HostedTable`.
///
/// # Cost
///
/// `load`: that of the cell; no allocation. A change copies the route: linear in the number of entries.
///
/// # Examples
///
/// ```
/// use nervebus_core::table::{SubscribeError, StaticTable};
/// use nervebus_core::{Entry, LaneId, Priority, SubscriptionId};
///
/// type Alarm = fn(&u32) -> Result<(), ()>;
///
/// static ALARMS: StaticTable<Alarm, 2> = StaticTable::new();
///
/// fn ring(_reading: &u32) -> Result<(), ()> {
///     Ok(())
/// }
///
/// let entry = |id| Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, ring as Alarm);
/// assert_eq!(ALARMS.subscribe(entry(1)).unwrap(), 1);
/// assert_eq!(ALARMS.subscribe(entry(2)).unwrap(), 2);
/// assert!(matches!(ALARMS.subscribe(entry(3)), Err(SubscribeError::Full(entry)) if entry.id.get() == 3));
/// assert_eq!(ALARMS.unsubscribe(SubscriptionId::new(1)), Ok(Some(3)));
/// assert_eq!(ALARMS.load().entries().len(), 1);
/// ```
pub struct SubscriptionTable<H, L, C> {
    cell: C,
    marker: PhantomData<Route<H, L>>,
}

impl<H, const N: usize, const K: usize> StaticTable<H, N, K> {
    const_fn! {
        /// A table without subscriptions.
        pub const fn new() -> Self {
            Self { cell: CowCell::new(StaticRoute::new()), marker: PhantomData }
        }
    }

    /// Drops the old routes that nobody reads any more, and with them handlers that were unsubscribed.
    ///
    /// Every change does this as well. It is needed only when a reader was still at work while the last change was
    /// made, and the handler should not wait for the next one.
    pub fn reclaim(&self) {
        self.cell.reclaim();
    }
}

impl<H, const N: usize, const K: usize> Default for StaticTable<H, N, K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "std")]
impl<H> HostedTable<H> {
    /// A table without subscriptions. Allocates twice.
    #[must_use]
    pub fn new() -> Self {
        Self { cell: ArcCell::new(HeapRoute::new()), marker: PhantomData }
    }

    /// A private copy of the pointer to the current route, for an emitter that comes back often.
    pub fn cache(&self) -> RouteCache<H> {
        self.cell.cache()
    }
}

#[cfg(feature = "std")]
impl<H> Default for HostedTable<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H, L: EntryList<H>, C: Snapshot<Route<H, L>>> SubscriptionTable<H, L, C> {
    /// The current route.
    #[inline]
    pub fn load(&self) -> C::Guard<'_> {
        self.cell.load()
    }

    /// The cell that holds the route.
    pub fn cell(&self) -> &C {
        &self.cell
    }

    /// Adds an entry, and returns the version of the route in which it appears first, which becomes its `since`.
    ///
    /// Identities are the caller's to keep apart.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Full`] when the storage is full; [`SubscribeError::Busy`] when the cell takes no new version
    /// now, which a `HostedTable` never says. Either gives the entry back.
    ///
    /// # Cost
    ///
    /// Copies the route: linear in the number of entries.
    pub fn subscribe(&self, entry: Entry<H>) -> Result<u64, SubscribeError<H>>
    where
        H: Clone,
    {
        let published = self.cell.update(|route| {
            let next = route.with(entry.clone()).map_err(drop)?;
            let version = next.version();
            Ok((next, version))
        });
        match published {
            Ok(version) => Ok(version),
            Err(UpdateError::Refused(())) => Err(SubscribeError::Full(entry)),
            Err(UpdateError::Busy) => Err(SubscribeError::Busy(entry)),
        }
    }

    /// Removes an entry, and returns the version of the first route without it; `None` if there was none.
    ///
    /// # Errors
    ///
    /// [`Busy`] when the cell takes no new version now, which a `HostedTable` never says.
    ///
    /// # Cost
    ///
    /// Copies the route: linear in the number of entries.
    pub fn unsubscribe(&self, id: SubscriptionId) -> Result<Option<u64>, Busy>
    where
        H: Clone,
    {
        let published = self.cell.update(|route| {
            let next = route.without(id).ok_or(())?;
            let version = next.version();
            Ok((next, version))
        });
        match published {
            Ok(version) => Ok(Some(version)),
            Err(UpdateError::Refused(())) => Ok(None),
            Err(UpdateError::Busy) => Err(Busy),
        }
    }
}

impl<H, L: EntryList<H>, C: Snapshot<Route<H, L>>> fmt::Debug for SubscriptionTable<H, L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubscriptionTable").field(&*self.load()).finish()
    }
}

/// Why a subscription was refused; the entry comes back.
#[non_exhaustive]
pub enum SubscribeError<H> {
    /// The table has as many entries as it holds.
    Full(Entry<H>),
    /// Another change is being made, or every spare version of the route is being read. Try again later.
    Busy(Entry<H>),
}

impl<H> SubscribeError<H> {
    /// The entry that was refused.
    pub fn into_inner(self) -> Entry<H> {
        match self {
            Self::Full(entry) | Self::Busy(entry) => entry,
        }
    }

    /// Whether the table was full.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether the table was busy.
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

impl<H> fmt::Debug for SubscribeError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, entry) = match self {
            Self::Full(entry) => ("Full", entry),
            Self::Busy(entry) => ("Busy", entry),
        };
        f.debug_tuple(name).field(entry).finish()
    }
}

impl<H> fmt::Display for SubscribeError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(entry) => write!(f, "subscription {}: the table is full", entry.id),
            Self::Busy(entry) => write!(f, "subscription {}: {Busy}", entry.id),
        }
    }
}

impl<H> core::error::Error for SubscribeError<H> {}

/// The table takes no change now: another one is being made, or every spare version of the route is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the table is being changed, or every spare version of its route is being read")
    }
}

impl core::error::Error for Busy {}
