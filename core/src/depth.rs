//! How deep dispatches are nested, and where that ends.

use core::cell::Cell;
use core::fmt;

/// How many dispatches are running on one thread, one inside the other.
///
/// There is one for each stack that dispatches: one for each thread, or one for each interrupt priority. So it is not
/// `Sync`. With threads, keep it in a thread-local; without, hand it on by reference, in the event for example.
/// [`dispatch_nested`](crate::dispatch_nested) does the counting.
///
/// # Cost
///
/// One word, changed by plain additions.
///
/// # Examples
///
/// ```
/// use nervebus_core::{Depth, TooDeep};
///
/// let depth = Depth::new();
/// let outer = depth.enter(2)?;
/// let inner = depth.enter(2)?;
/// assert_eq!(depth.enter(2).unwrap_err(), TooDeep { limit: 2 });
/// drop((outer, inner));
/// assert_eq!(depth.get(), 0);
/// # Ok::<(), TooDeep>(())
/// ```
///
/// It cannot be shared by threads:
///
/// ```compile_fail,E0277
/// # use nervebus_core::Depth;
/// let depth = Depth::new();
/// std::thread::scope(|scope| drop(scope.spawn(|| depth.get())));
/// ```
///
/// It can be moved to one:
///
/// ```
/// # use nervebus_core::Depth;
/// let depth = Depth::new();
/// std::thread::scope(|scope| drop(scope.spawn(move || depth.get())));
/// ```
#[derive(Debug, Default)]
pub struct Depth {
    running: Cell<u32>,
}

impl Depth {
    /// A depth of 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { running: Cell::new(0) }
    }

    /// How many dispatches are running.
    #[inline]
    #[must_use]
    pub const fn get(&self) -> u32 {
        self.running.get()
    }

    /// Goes one deeper until the guard is dropped, in a panic as well.
    ///
    /// A guard that is forgotten (`mem::forget`) counts for ever: the limit is then met sooner, never later.
    ///
    /// # Errors
    ///
    /// [`TooDeep`] when `limit` are running.
    #[inline]
    pub fn enter(&self, limit: u32) -> Result<Nested<'_>, TooDeep> {
        let running = self.get();
        if running >= limit {
            return Err(TooDeep { limit });
        }
        self.running.set(running + 1);
        Ok(Nested { depth: self })
    }
}

/// One dispatch that is running; made by [`Depth::enter`].
#[must_use = "the dispatch counts as running until this is dropped"]
#[derive(Debug)]
pub struct Nested<'a> {
    depth: &'a Depth,
}

impl Drop for Nested<'_> {
    #[inline]
    fn drop(&mut self) {
        // Each guard takes back the one it has added, so this cannot fall below zero.
        self.depth.running.set(self.depth.get().wrapping_sub(1));
    }
}

/// As many dispatches are running, one inside the other, as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooDeep {
    /// How many that are.
    pub limit: u32,
}

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dispatches are running, one inside the other, and no more may", self.limit)
    }
}

impl core::error::Error for TooDeep {}
