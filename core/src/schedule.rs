//! Whether something that runs in turns, on whichever thread is free, is to have another turn.

use core::fmt;

use crate::sync::{AtomicUsize, Ordering, const_fn};

/// It waits for its turn, or wants another one after the present one.
const WANTED: usize = 1;
/// A thread has it.
const RUNNING: usize = 2;
/// It has no more turns.
const ENDED: usize = 4;

/// The state of something that threads of a pool run in turns: a lane without a thread of its own.
///
/// It is on the pool's list of what is to run once at most, it runs on one thread at a time, and no wish for a turn is
/// lost: one that comes while it runs leads to another turn. Whoever wants a turn has its work in place first; the turn
/// that follows sees it.
///
/// # Cost
///
/// One locked instruction for each call. Wait-free.
///
/// # Examples
///
/// ```
/// use nervebus_core::schedule::Schedule;
///
/// let schedule = Schedule::new();
/// assert!(schedule.wake()); // the caller puts it on the list
/// assert!(!schedule.wake()); // it is there already
/// schedule.begin(); // a thread has taken it off the list
/// assert!(!schedule.wake()); // the thread hears of it
/// assert!(schedule.rest()); // here: it goes on the list again
/// schedule.begin();
/// assert!(!schedule.rest());
/// assert!(schedule.wake());
/// ```
pub struct Schedule {
    state: AtomicUsize,
}

impl Schedule {
    const_fn! {
        /// One that has no turn to come.
        pub const fn new() -> Self {
            Self { state: AtomicUsize::new(0) }
        }
    }

    /// Asks for a turn; `true` when the caller must put it on the list of what is to run.
    #[inline]
    pub fn wake(&self) -> bool {
        // Release pairs with the Acquire of `begin`: the turn sees what it was asked for, even if others have asked before,
        // because each of these is a read-modify-write of the same word.
        self.state.fetch_or(WANTED, Ordering::Release) == 0
    }

    /// Begins a turn; to be called by the thread that has taken it off the list.
    #[inline]
    pub fn begin(&self) {
        // Acquire pairs with the Release of `wake`, and with that of `rest`: a turn sees what those before it have done.
        self.state.swap(RUNNING, Ordering::Acquire);
    }

    /// Ends a turn; `true` when there was a wish for another one, for which the caller puts it on the list again.
    #[inline]
    pub fn rest(&self) -> bool {
        // Release pairs with the Acquire of the next `begin`.
        self.state.fetch_and(!RUNNING, Ordering::Release) & WANTED != 0
    }

    /// Ends a turn with the wish for another one: the caller puts it on the list again.
    #[inline]
    pub fn rest_a_moment(&self) {
        // Release pairs with the Acquire of the next `begin`, should the list that it goes on order less than ours does.
        self.state.swap(WANTED, Ordering::Release);
    }

    /// Ends the last turn: whoever asks for one from now on asks in vain.
    #[inline]
    pub fn end(&self) {
        self.state.swap(ENDED, Ordering::Relaxed);
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        f.debug_struct("Schedule")
            .field("wanted", &(state & WANTED != 0))
            .field("running", &(state & RUNNING != 0))
            .field("ended", &(state & ENDED != 0))
            .finish()
    }
}
