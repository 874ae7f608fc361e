//! A subscription's identity and its place in a route.

use core::fmt;

use crate::lane::LaneId;
use crate::priority::Priority;

/// The identity of a subscription, chosen by whoever subscribes and unique in its table.
///
/// # Cost
///
/// A plain integer: copying and comparing take constant time and allocate nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(u64);

impl SubscriptionId {
    /// The identity of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A subscription's place in a route.
#[derive(Clone)]
pub struct Entry<H> {
    /// Which subscription this is; among entries of equal priority, the lower one runs first.
    pub id: SubscriptionId,
    /// The lane whose workers run the handler.
    pub lane: LaneId,
    /// The handler's rank within its lane.
    pub priority: Priority,
    /// The version of the route in which the entry first appeared; set by the table.
    pub since: u64,
    /// What runs.
    pub handler: H,
}

impl<H> Entry<H> {
    /// An entry that is in no route yet.
    pub const fn new(id: SubscriptionId, lane: LaneId, priority: Priority, handler: H) -> Self {
        Self { id, lane, priority, since: 0, handler }
    }
}

impl<H> fmt::Debug for Entry<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id.0)
            .field("lane", &self.lane.get())
            .field("priority", &self.priority.get())
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
