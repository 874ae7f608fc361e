//! One event through the handlers of a route.

use core::ops::{Add, AddAssign};

use crate::depth::{Depth, TooDeep};
use crate::entry::Entry;
use crate::handler::Handler;

/// How the handlers of one dispatch ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    /// How many returned `Ok`.
    pub handled: usize,
    /// How many returned an error.
    pub failed: usize,
}

impl Tally {
    /// How many handlers were called.
    #[must_use]
    pub const fn total(self) -> usize {
        self.handled + self.failed
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { handled: self.handled + other.handled, failed: self.failed + other.failed }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Calls the handler of each entry with `event`, in the order of the entries, and `on_failure` for each that fails.
///
/// The entries of a [`Route`](crate::Route) are in order of priority within each lane. One handler's error never stops
/// the others. `on_failure` is called before the next handler is.
///
/// A handler may subscribe and unsubscribe, to and from the table whose guard lends these entries: that publishes a new
/// route (or is refused, never waits), and this dispatch goes on with the entries it was given.
///
/// A handler may dispatch in its turn. How deep that goes is nobody's business here: [`dispatch_nested`] counts.
///
/// # Panics
///
/// Not by itself. When a handler or `on_failure` panics, the panic goes through to the caller, and the entries behind
/// are not called.
///
/// # Cost
///
/// No allocation, no lock, no atomic operation: a loop over the entries.
///
/// # Examples
///
/// ```
/// use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, Tally, dispatch};
///
/// struct AtMost(u32);
/// impl Handler<u32> for AtMost {
///     type Error = u32;
///     fn handle(&self, event: &u32) -> Result<(), u32> {
///         if *event > self.0 { Err(*event - self.0) } else { Ok(()) }
///     }
/// }
///
/// let entry = |id, limit| Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, AtMost(limit));
/// let mut failures = Vec::new();
/// let tally = dispatch(&[entry(1, 5), entry(2, 10)], &7, |entry, excess| failures.push((entry.id.get(), excess)));
/// assert_eq!((tally, failures), (Tally { handled: 1, failed: 1 }, vec![(1, 2)]));
/// ```
#[inline]
pub fn dispatch<'r, E: ?Sized, H: Handler<E> + 'r>(
    entries: impl IntoIterator<Item = &'r Entry<H>>,
    event: &E,
    mut on_failure: impl FnMut(&'r Entry<H>, H::Error),
) -> Tally {
    let mut tally = Tally::default();
    for entry in entries {
        match entry.handler.handle(event) {
            Ok(()) => tally.handled += 1,
            Err(error) => {
                tally.failed += 1;
                on_failure(entry, error);
            }
        }
    }
    tally
}

/// Does what [`dispatch`] does, unless that many dispatches are running already on this `depth`, one inside the other.
///
/// Handlers that dispatch to each other in a circle would use up the stack, which ends the program; with a limit the
/// innermost is told [`TooDeep`] and the others go on.
///
/// # Errors
///
/// [`TooDeep`], and no handler has been called, when `limit` dispatches are running. With a limit of 0, always.
///
/// # Panics
///
/// As [`dispatch`]. The depth is then what it was before.
///
/// # Cost
///
/// That of `dispatch`, and one plain addition and subtraction.
///
/// # Examples
///
/// ```
/// use nervebus_core::{Depth, Entry, Handler, LaneId, Priority, SubscriptionId, TooDeep, dispatch_nested};
///
/// struct Echo;
/// impl Handler<Depth> for Echo {
///     type Error = TooDeep;
///     fn handle(&self, depth: &Depth) -> Result<(), TooDeep> {
///         let mut refused = Ok(());
///         let inner = Entry::new(SubscriptionId::new(1), LaneId::INLINE, Priority::DEFAULT, Echo);
///         dispatch_nested(depth, 3, [&inner], depth, |_, error| refused = Err(error))?;
///         refused
///     }
/// }
///
/// assert_eq!(Echo.handle(&Depth::new()), Err(TooDeep { limit: 3 }));
/// ```
#[inline]
pub fn dispatch_nested<'r, E: ?Sized, H: Handler<E> + 'r>(
    depth: &Depth,
    limit: u32,
    entries: impl IntoIterator<Item = &'r Entry<H>>,
    event: &E,
    on_failure: impl FnMut(&'r Entry<H>, H::Error),
) -> Result<Tally, TooDeep> {
    let _nested = depth.enter(limit)?;
    Ok(dispatch(entries, event, on_failure))
}
