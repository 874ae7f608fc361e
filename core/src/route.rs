//! The handlers of one topic, in the order in which they run.

use core::cmp::Reverse;
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;

use crate::entry::{Entry, SubscriptionId};
use crate::lane::LaneId;

/// A route of at most `N` entries, kept in place.
pub type StaticRoute<H, const N: usize> = Route<H, heapless::Vec<Entry<H>, N>>;

/// A route of any number of entries, on the heap.
#[cfg(feature = "alloc")]
pub type HeapRoute<H> = Route<H, alloc::vec::Vec<Entry<H>>>;

/// An immutable list of entries, sorted by lane, then by priority (higher first), then by identity (lower first).
///
/// A change makes a new route, one [version](Self::version) further, and leaves the old one as it is for those who are
/// still reading it. `L` is where the entries are kept: in place ([`StaticRoute`]) or on the heap (`HeapRoute`).
///
/// # Examples
///
/// ```
/// use nervebus_core::{Entry, LaneId, Priority, SubscriptionId, route::StaticRoute};
///
/// let entry = |id, lane, priority| {
///     Entry::new(SubscriptionId::new(id), LaneId::new(lane), Priority::new(priority), "a handler")
/// };
/// let route = StaticRoute::<_, 4>::new();
/// let route = route.with(entry(1, 7, 100))?.with(entry(2, 0, 100))?.with(entry(3, 0, 200))?;
///
/// let inline: Vec<u64> = route.inline().iter().map(|entry| entry.id.get()).collect();
/// let queued: Vec<u16> = route.lanes().map(|(lane, _)| lane.get()).collect();
/// assert_eq!((inline, queued, route.version()), (vec![3, 2], vec![7], 3));
/// assert!(route.without(SubscriptionId::new(9)).is_none());
/// # Ok::<(), nervebus_core::route::RouteFull<&str>>(())
/// ```
#[derive(Clone)]
pub struct Route<H, L> {
    version: u64,
    /// How many of the entries, from the first, are on the inline lane.
    inline: usize,
    list: L,
    marker: PhantomData<H>,
}

/// Where a route keeps its entries; implemented for `heapless::Vec` and, with `alloc`, for `Vec`.
pub trait EntryList<H>: sealed::Sealed + Sized {
    /// A list without entries.
    fn empty() -> Self;

    /// The entries, in order.
    fn entries(&self) -> &[Entry<H>];

    /// A copy with `entry` in front of the one that is now at `at`, or at the end.
    ///
    /// # Errors
    ///
    /// The entry, when the list is as long as it can be.
    fn inserted(&self, at: usize, entry: Entry<H>) -> Result<Self, Entry<H>>
    where
        H: Clone;

    /// A copy of those entries that `keep` approves.
    fn retained(&self, keep: impl Fn(&Entry<H>) -> bool) -> Self
    where
        H: Clone;
}

mod sealed {
    pub trait Sealed {}
    impl<T, const N: usize> Sealed for heapless::Vec<T, N> {}
    #[cfg(feature = "alloc")]
    impl<T> Sealed for alloc::vec::Vec<T> {}
}

impl<H, const N: usize> EntryList<H> for heapless::Vec<Entry<H>, N> {
    fn empty() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn entries(&self) -> &[Entry<H>] {
        self
    }

    fn inserted(&self, at: usize, entry: Entry<H>) -> Result<Self, Entry<H>>
    where
        H: Clone,
    {
        if self.is_full() {
            return Err(entry);
        }
        let mut list = self.clone();
        list.insert(at.min(self.len()), entry)?;
        Ok(list)
    }

    fn retained(&self, keep: impl Fn(&Entry<H>) -> bool) -> Self
    where
        H: Clone,
    {
        self.iter().filter(|entry| keep(entry)).cloned().collect()
    }
}

#[cfg(feature = "alloc")]
impl<H> EntryList<H> for alloc::vec::Vec<Entry<H>> {
    fn empty() -> Self {
        Self::new()
    }

    #[inline(always)]
    fn entries(&self) -> &[Entry<H>] {
        self
    }

    fn inserted(&self, at: usize, entry: Entry<H>) -> Result<Self, Entry<H>>
    where
        H: Clone,
    {
        let (before, after) = self.split_at(at.min(self.len()));
        let mut list = Self::with_capacity(self.len() + 1);
        list.extend_from_slice(before);
        list.push(entry);
        list.extend_from_slice(after);
        Ok(list)
    }

    fn retained(&self, keep: impl Fn(&Entry<H>) -> bool) -> Self
    where
        H: Clone,
    {
        self.iter().filter(|entry| keep(entry)).cloned().collect()
    }
}

impl<H, const N: usize> StaticRoute<H, N> {
    /// A route without entries, version 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { version: 0, inline: 0, list: heapless::Vec::new(), marker: PhantomData }
    }
}

#[cfg(feature = "alloc")]
impl<H> HeapRoute<H> {
    /// A route without entries, version 0. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { version: 0, inline: 0, list: alloc::vec::Vec::new(), marker: PhantomData }
    }
}

impl<H, L: EntryList<H>> Default for Route<H, L> {
    fn default() -> Self {
        Self { version: 0, inline: 0, list: L::empty(), marker: PhantomData }
    }
}

impl<H, L: EntryList<H>> Route<H, L> {
    /// How many changes led to this route.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All entries, in order.
    #[inline]
    pub fn entries(&self) -> &[Entry<H>] {
        self.list.entries()
    }

    /// The entries on [`LaneId::INLINE`], in order.
    ///
    /// # Cost
    ///
    /// Constant time: they come first, and how many there are was counted when the route was made.
    #[inline]
    pub fn inline(&self) -> &[Entry<H>] {
        self.entries().get(..self.inline).unwrap_or_default()
    }

    /// Each lane other than [`LaneId::INLINE`] that has entries, by number, with its entries in order.
    ///
    /// # Cost
    ///
    /// One binary search for each lane; no allocation.
    #[inline]
    pub fn lanes(&self) -> Lanes<'_, H> {
        Lanes { rest: self.entries().get(self.inline..).unwrap_or_default() }
    }

    /// The entries on this lane, in order; none for a lane that nobody subscribed on.
    ///
    /// # Cost
    ///
    /// Two binary searches; no allocation.
    pub fn lane(&self, lane: LaneId) -> &[Entry<H>] {
        let entries = self.entries();
        if self.only_lane().is_some_and(|(only, _)| only == lane) {
            return entries;
        }
        let start = entries.partition_point(|entry| entry.lane < lane);
        let end = entries.partition_point(|entry| entry.lane <= lane);
        entries.get(start..end).unwrap_or_default()
    }

    /// Whether all handlers, if there are any, run on the emitter's thread.
    #[inline]
    pub fn is_all_inline(&self) -> bool {
        self.inline == self.entries().len()
    }

    /// The one lane that all handlers are on, with how many they are; `None` if there are several, or some are inline.
    #[inline]
    pub fn only_lane(&self) -> Option<(LaneId, usize)> {
        let entries = self.entries();
        let (first, last) = (entries.first()?, entries.last()?);
        (self.inline == 0 && first.lane == last.lane).then_some((first.lane, entries.len()))
    }

    /// Whether there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// This route with one more entry, whose `since` is set to the new route's version.
    ///
    /// Identities are the caller's to keep apart; a second entry of the same identity is taken like any other.
    ///
    /// # Errors
    ///
    /// [`RouteFull`] with the entry, when the storage is full.
    ///
    /// # Cost
    ///
    /// Copies every entry: linear in their number. One allocation on the heap, none in place.
    pub fn with(&self, mut entry: Entry<H>) -> Result<Self, RouteFull<H>>
    where
        H: Clone,
    {
        let version = self.version + 1;
        entry.since = version;
        let rank = |entry: &Entry<H>| (entry.lane, Reverse(entry.priority), entry.id);
        let new = rank(&entry);
        let at = self.entries().partition_point(|entry| rank(entry) <= new);
        let list = self.list.inserted(at, entry).map_err(RouteFull)?;
        Ok(Self::of(version, list))
    }

    /// This route without the entries of this identity; `None` if there is none.
    ///
    /// # Cost
    ///
    /// Copies every other entry: linear in their number. At most a few allocations on the heap, none in place.
    pub fn without(&self, id: SubscriptionId) -> Option<Self>
    where
        H: Clone,
    {
        if self.entries().iter().all(|entry| entry.id != id) {
            return None;
        }
        Some(Self::of(self.version + 1, self.list.retained(|entry| entry.id != id)))
    }

    fn of(version: u64, list: L) -> Self {
        let inline = list.entries().partition_point(|entry| entry.lane.is_inline());
        Self { version, inline, list, marker: PhantomData }
    }
}

impl<H, L: EntryList<H>> fmt::Debug for Route<H, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("version", &self.version).field("entries", &self.entries()).finish()
    }
}

/// The lanes of a route, without the inline lane; made by [`Route::lanes`].
#[derive(Clone)]
pub struct Lanes<'a, H> {
    rest: &'a [Entry<H>],
}

impl<'a, H> Iterator for Lanes<'a, H> {
    type Item = (LaneId, &'a [Entry<H>]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let lane = self.rest.first()?.lane;
        let (entries, rest) = self.rest.split_at(self.rest.partition_point(|entry| entry.lane <= lane));
        self.rest = rest;
        Some((lane, entries))
    }
}

impl<H> FusedIterator for Lanes<'_, H> {}

impl<H> fmt::Debug for Lanes<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.rest).finish()
    }
}

/// A route has as many entries as its storage holds; the one that did not fit comes back.
pub struct RouteFull<H>(pub Entry<H>);

impl<H> fmt::Debug for RouteFull<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteFull").field(&self.0).finish()
    }
}

impl<H> fmt::Display for RouteFull<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscription {}: the route is full", self.0.id)
    }
}

impl<H> core::error::Error for RouteFull<H> {}
