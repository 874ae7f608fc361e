//! The subscription table of one topic: a route that can be changed while it is being read.

use core::fmt;
use core::marker::PhantomData;

use crate::entry::{Entry, SubscriptionId};
use crate::route::{EntryList, Route, StaticRoute};
use crate::snapshot::{CowCell, Retired, Snapshot, UpdateError};
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
/// Readers see the route before a change or the route after it, never a mixture.
///
/// A change clones every handler of the route, so handlers must be `Clone`: a `fn` pointer, a reference, an `Arc`, an enum.
///
/// Use it as [`StaticTable`] or `HostedTable`.
///
/// # What may still run
///
/// - After [`unsubscribe`](Self::unsubscribe) has returned, no [`load`](Self::load) that happens after it yields the
///   entry. A reader that loaded earlier may still be calling the handler, and may call it again for as long as it keeps
///   its guard. The old route keeps the handler alive until then.
/// - After [`unsubscribe_watched`](Self::unsubscribe_watched) the same holds, until its [`Unsubscribed`] says that it is
///   [quiet](Unsubscribed::is_quiet). From then on nobody calls the handler of this entry, nor will; and all that it did
///   in its calls happened before, so what it used may be taken away without a lock. A clone of the handler elsewhere,
///   in another entry or another table, is not meant.
/// - Quiet means that no guard holds a route from before the change, whether or not it had this entry; for a `HostedTable`
///   also no `RouteCache` and no `Arc` from `ArcCell::load_full`. A cache holds the route it saw last, in use or not,
///   until its next `load` or until it is dropped: a reader that has gone to sleep on one keeps the table from becoming
///   quiet. So does a guard that was forgotten (`mem::forget`), for ever.
/// - It never becomes quiet while the one who waits holds such a guard himself. A handler that waits for the end of its
///   own subscription waits for itself: let it keep the token, and look after the dispatch.
/// - Quiet does not mean that the handler has been dropped. A `StaticTable` drops it in the change that finds its route
///   unread, or in [`reclaim`](Self::reclaim); a `HostedTable` where the last guard or cache goes, on that thread, and
///   perhaps a moment after quiet was seen.
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
    /// A reader that loaded earlier may still be calling the handler; see [what may still
    /// run](Self#what-may-still-run).
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
        removed(self.cell.update(|route| without(route, id)))
    }

    /// Removes an entry, and returns what tells when nobody calls its handler any more; `None` if there was none.
    ///
    /// Never waits: that is for [`Unsubscribed`] to do, or not. See [what may still run](Self#what-may-still-run).
    ///
    /// # Errors
    ///
    /// [`Busy`] when the cell takes no new version now, which a `HostedTable` never says.
    ///
    /// # Cost
    ///
    /// That of [`unsubscribe`](Self::unsubscribe), and a look at the older versions that are still read; for a
    /// `HostedTable` also the allocation of a list of these. Readers pay nothing for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use core::hint::spin_loop;
    /// use nervebus_core::table::StaticTable;
    /// use nervebus_core::{Entry, LaneId, Priority, SubscriptionId};
    ///
    /// static TABLE: StaticTable<&str, 2> = StaticTable::new();
    ///
    /// let id = SubscriptionId::new(1);
    /// TABLE.subscribe(Entry::new(id, LaneId::INLINE, Priority::DEFAULT, "a handler"))?;
    /// let route = TABLE.load();
    /// let mut gone = TABLE.unsubscribe_watched(id).unwrap().expect("it was subscribed");
    /// assert!(!gone.is_quiet(), "somebody may still call it");
    /// drop(route);
    /// // Without threads: spin, or sleep until an interrupt. With threads: yield or park. Here for 1,000 turns at most.
    /// let version = gone.wait(|turn| {
    ///     spin_loop();
    ///     turn < 1_000
    /// });
    /// assert!(version.is_ok_and(|version| version == 2));
    /// # Ok::<(), nervebus_core::table::SubscribeError<&str>>(())
    /// ```
    pub fn unsubscribe_watched(&self, id: SubscriptionId) -> Result<Option<Unsubscribed<C::Retired<'_>>>, Busy>
    where
        H: Clone,
    {
        let removed = removed(self.cell.update_watched(|route| without(route, id)))?;
        Ok(removed.map(|(version, retired)| Unsubscribed { version, retired }))
    }
}

/// The route without this entry, and its version.
fn without<H: Clone, L: EntryList<H>>(route: &Route<H, L>, id: SubscriptionId) -> Result<(Route<H, L>, u64), ()> {
    let next = route.without(id).ok_or(())?;
    let version = next.version();
    Ok((next, version))
}

/// The answer of an unsubscribe, in which a refusal means that there was nothing to remove.
fn removed<R>(published: Result<R, UpdateError<()>>) -> Result<Option<R>, Busy> {
    match published {
        Ok(result) => Ok(Some(result)),
        Err(UpdateError::Refused(())) => Ok(None),
        Err(UpdateError::Busy) => Err(Busy),
    }
}

impl<H, L: EntryList<H>, C: Snapshot<Route<H, L>>> fmt::Debug for SubscriptionTable<H, L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubscriptionTable").field(&*self.load()).finish()
    }
}

/// A subscription that has ended, and whoever may still be calling its handler; made by
/// [`SubscriptionTable::unsubscribe_watched`].
///
/// Dropping it means that nobody wants to know any more. It may be sent to another thread, and looked at there.
#[must_use = "the subscription has ended; only `is_quiet` or `wait` says when nobody calls its handler any more"]
pub struct Unsubscribed<R> {
    version: u64,
    retired: R,
}

impl<R: Retired> Unsubscribed<R> {
    /// The version of the first route without the entry.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether nobody calls the handler any more, nor will; once `true`, always `true`.
    ///
    /// Whoever polls it, an `async` function for one, must come back by himself: readers do not know that somebody
    /// waits, so nobody is woken. What it means exactly: [what may still run](SubscriptionTable#what-may-still-run).
    ///
    /// # Cost
    ///
    /// A look at each older route that was still read at the last look; no waiting, no allocation, wait-free.
    ///
    /// # Examples
    ///
    /// In an `async` function, looking whenever the executor comes round:
    ///
    /// ```
    /// # use core::{future::{Future, poll_fn}, pin::pin, task::{Context, Poll, Waker}};
    /// # use nervebus_core::{Entry, LaneId, Priority, SubscriptionId, snapshot::Retired, table::{StaticTable, Unsubscribed}};
    /// async fn quiet(mut gone: Unsubscribed<impl Retired>) -> u64 {
    ///     poll_fn(|context| {
    ///         if gone.is_quiet() {
    ///             return Poll::Ready(());
    ///         }
    ///         context.waker().wake_by_ref();
    ///         Poll::Pending
    ///     })
    ///     .await;
    ///     gone.version()
    /// }
    /// # let table = StaticTable::<&str, 2>::new();
    /// # let id = SubscriptionId::new(1);
    /// # table.subscribe(Entry::new(id, LaneId::INLINE, Priority::DEFAULT, "a handler")).unwrap();
    /// # let route = table.load();
    /// # let mut waiting = pin!(quiet(table.unsubscribe_watched(id).unwrap().unwrap()));
    /// # let mut context = Context::from_waker(Waker::noop());
    /// # assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
    /// # drop(route);
    /// # assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(2));
    /// ```
    #[must_use]
    pub fn is_quiet(&mut self) -> bool {
        self.retired.is_quiet()
    }

    /// Looks, and calls `rest` with the number of the turn (from 0) between two looks, until it is quiet. Returns the
    /// [version](Self::version).
    ///
    /// `rest` says how to wait: by spinning, by sleeping until an interrupt, by giving way to other threads.
    ///
    /// # Errors
    ///
    /// The token, as soon as `rest` returns `false`: the waiting has been given up, and may be taken up again.
    ///
    /// # Panics
    ///
    /// Not by itself. When `rest` panics, the token is gone.
    ///
    /// # Cost
    ///
    /// Waits as long as the slowest reader, or as long as `rest` wants; for ever, under a guard of one's own and with a
    /// `rest` that never gives up.
    pub fn wait(mut self, mut rest: impl FnMut(u32) -> bool) -> Result<u64, Self> {
        let mut turn = 0_u32;
        while !self.is_quiet() {
            if !rest(turn) {
                return Err(self);
            }
            turn = turn.saturating_add(1);
        }
        Ok(self.version)
    }
}

impl<R> fmt::Debug for Unsubscribed<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsubscribed").field("version", &self.version).finish_non_exhaustive()
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
