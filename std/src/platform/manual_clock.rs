//! A clock that a test moves by hand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, SystemTime};

use crate::platform::clock::{nanos, unix_nanos};

/// What the wall clock says at first: midnight of 1 January 2000, UTC.
const WALL_START: u64 = 946_684_800 * 1_000_000_000;

/// A clock that stands still until it is moved, so that no test needs to sleep.
///
/// A bus that is built on it ([`Builder::clock`](crate::Builder::clock)) measures every wait by it: how long an emitter
/// waits for a lane ([`Overflow::BlockFor`](crate::Overflow::BlockFor)), the builder's `wait_limit`, the deadline of a
/// shutdown, and the uptime. An hour passes when [`advance`](Self::advance) says so, and no wait ends by itself. Handlers
/// run in real time all the same, and how long their calls take is measured in real time.
///
/// A wait that nobody ends goes on for ever: a shutdown, or dropping the last handle of a bus, with a handler that does
/// not return, ends only when another thread moves the clock past the deadline.
///
/// Clones are the same clock, and any number of buses may share it.
///
/// # Cost
///
/// A bus on this clock takes a lock to read it, and a thread that waits looks at it every millisecond: it is for tests.
///
/// # Examples
///
/// The emitter of a full lane gives up after a minute, at once:
///
/// ```
/// use nervebus::{Bus, Lane, ManualClock, Overflow};
/// use std::time::Duration;
/// use std::{sync::mpsc, thread};
///
/// let clock = ManualClock::new();
/// let minute = Duration::from_secs(60);
/// let lane = Lane::new("mail").capacity(1).overflow(Overflow::BlockFor(minute));
/// let bus = Bus::builder().clock(&clock).lane(lane).build()?;
/// let (begin, begun) = mpsc::channel();
/// let (go, gone) = mpsc::sync_channel::<()>(0);
/// let gone = std::sync::Mutex::new(gone);
/// bus.on("mail").lane("mail").handle(move |_| {
///     begin.send(()).unwrap();
///     let _ = gone.lock().unwrap().recv();
/// })?;
///
/// bus.emit("mail", 1)?;
/// begun.recv()?; // The worker is busy with the first,
/// bus.emit("mail", 2)?; // and the second fills the lane.
/// let emitter = thread::spawn({
///     let bus = bus.clone();
///     move || bus.emit("mail", 3)
/// });
/// while clock.waiting() == 0 {
///     thread::yield_now();
/// }
/// clock.advance(minute);
/// assert!(emitter.join().unwrap().unwrap_err().is_full());
/// drop(go);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// The present moment: nanoseconds, of which the first was there at the start.
    now: u64,
    /// What the wall clock said at a moment.
    wall: (u64, u64),
    /// Waits for a moment that have begun and not ended.
    waiting: usize,
    /// Threads that are parked until a moment comes.
    parked: Vec<Thread>,
}

impl Default for State {
    fn default() -> Self {
        Self { now: 1, wall: (WALL_START, 1), waiting: 0, parked: Vec::new() }
    }
}

impl ManualClock {
    /// A clock that stands at its start, where the wall clock says 1 January 2000, 00:00:00 UTC.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock on, and with it the wall clock. What became due is done by the threads that wait for it, soon
    /// after. It goes no further than 584 years.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.now = state.now.saturating_add(nanos(by));
        // Who is not asleep yet will not fall asleep; whoever waits for more takes note of itself again.
        state.parked.drain(..).for_each(|thread| thread.unpark());
    }

    /// How far the clock has been moved since its start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.moment() - 1)
    }

    /// Sets the wall clock, forwards or backwards; it goes on from there. No wait ends sooner or later by that. A time
    /// before 1970 counts as 1970.
    pub fn set_wall(&self, time: SystemTime) {
        let mut state = self.lock();
        state.wall = (unix_nanos(time), state.now);
    }

    /// How many calls on buses of this clock wait for a moment of it right now: they have their deadline, and will end
    /// when the clock is moved there. A test that is about to move the clock waits for this number first.
    pub fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present moment; 1 at the start.
    pub(crate) fn moment(&self) -> u64 {
        self.lock().now
    }

    /// Nanoseconds since the Unix epoch by the wall clock.
    pub(crate) fn wall_nanos(&self) -> u64 {
        let state = self.lock();
        let (wall, at) = state.wall;
        wall.saturating_add(state.now - at)
    }

    /// How many threads have looked at the clock since it was last moved, and sleep until a later moment.
    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    pub(crate) fn count_in(&self) {
        self.lock().waiting += 1;
    }

    pub(crate) fn count_out(&self) {
        self.lock().waiting -= 1;
    }

    /// Parks this thread until it is unparked, which the clock does each time it is moved, unless the moment has come.
    pub(crate) fn park_until(&self, moment: u64) {
        let own = thread::current();
        {
            let mut state = self.lock();
            if state.now >= moment {
                return;
            }
            state.parked.push(own.clone());
        }
        thread::park();
        self.lock().parked.retain(|parked| parked.id() != own.id());
    }
}
