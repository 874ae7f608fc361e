//! Counts what a handler has seen and wakes the bench when it has seen everything.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::Payload;

/// How long nothing may arrive before a bench gives up with a panic.
const PATIENCE: Duration = Duration::from_secs(20);

/// The tally of one consumer: how many events it has handled, and the sum of their last words.
///
/// One thread counts; any thread reads. Counting costs two loads, two stores and a comparison: no read-modify-write, so
/// that what is measured is the way to the handler.
#[repr(align(128))]
pub struct Tally {
    handled: AtomicU64,
    sum: AtomicU64,
    goal: Goal,
    log: Option<Log>,
}

/// How late each event was when its handler saw it.
struct Log {
    /// Where the payloads' due times count from.
    origin: Instant,
    late: Box<[AtomicU64]>,
}

/// What the bench thread waits for, away from the line that the consumer writes.
#[repr(align(128))]
struct Goal {
    handled: AtomicU64,
    waiter: Thread,
}

impl Tally {
    /// A tally that wakes the calling thread.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::with(None))
    }

    /// A tally that also notes how late each of at most `events` events is seen: they say in their first word when they
    /// are due, in nanoseconds since `origin`.
    #[must_use]
    pub fn timed(origin: Instant, events: u64) -> Arc<Self> {
        let late = (0..events).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self::with(Some(Log { origin, late })))
    }

    fn with(log: Option<Log>) -> Self {
        let goal = Goal { handled: AtomicU64::new(0), waiter: thread::current() };
        Self { handled: AtomicU64::new(0), sum: AtomicU64::new(0), goal, log }
    }

    /// Whether the tally notes how late events are.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.log.is_some()
    }

    /// How late each event was, in nanoseconds and in the order in which they were seen; empty unless it was noted.
    #[must_use]
    pub fn late(&self) -> Vec<u64> {
        let handled = self.handled() as usize;
        let late = self.log.iter().flat_map(|log| log.late.iter().take(handled));
        late.map(|late| late.load(Ordering::Relaxed)).collect()
    }

    /// [Counts](Self::count) one event after noting how late it is. One thread at a time.
    #[inline]
    pub fn time(&self, payload: &Payload) {
        if let Some(log) = &self.log {
            let late = (log.origin.elapsed().as_nanos() as u64).saturating_sub(payload[0]);
            if let Some(entry) = log.late.get(self.handled.load(Ordering::Relaxed) as usize) {
                entry.store(late, Ordering::Relaxed);
            }
        }
        self.count(payload);
    }

    /// Counts one event. One thread at a time.
    #[inline]
    pub fn count(&self, payload: &Payload) {
        let [.., last] = *payload;
        self.sum.store(self.sum.load(Ordering::Relaxed).wrapping_add(last), Ordering::Relaxed);
        let handled = self.handled.load(Ordering::Relaxed) + 1;
        // Release: pairs with the Acquire in `handled`, so that whoever sees the count sees the sum.
        self.handled.store(handled, Ordering::Release);
        // The goal was set before the event was emitted, and came with it.
        if handled == self.goal.handled.load(Ordering::Relaxed) {
            self.goal.waiter.unpark();
        }
    }

    /// A boxed handler that counts, and notes if the tally does: what the peers' consumer threads call.
    #[must_use]
    pub fn handler(self: &Arc<Self>) -> Box<dyn Fn(&Payload) + Send + Sync> {
        let tally = Arc::clone(self);
        if self.is_timed() {
            return Box::new(move |payload| tally.time(payload));
        }
        Box::new(move |payload| tally.count(payload))
    }

    /// Events handled so far.
    #[inline]
    #[must_use]
    pub fn handled(&self) -> u64 {
        // Acquire: pairs with the Release in `count`.
        self.handled.load(Ordering::Acquire)
    }

    /// The wrapping sum of the last words so far.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Raises the goal by `events`. Before the first of them is emitted.
    pub fn expect(&self, events: u64) {
        let goal = self.goal.handled.load(Ordering::Relaxed) + events;
        self.goal.handled.store(goal, Ordering::Relaxed);
    }

    /// Sleeps until the goal is reached. On the thread that made the tally.
    ///
    /// # Panics
    /// When no event arrives for 20 s: then one was lost, and a measurement of lost events is worth nothing.
    pub fn wait(&self) {
        let goal = self.goal.handled.load(Ordering::Relaxed);
        let mut last = (self.handled(), Instant::now());
        while last.0 < goal {
            // Another tally of this thread may have woken it, so that a return says nothing about this one.
            thread::park_timeout(PATIENCE);
            let handled = self.handled();
            if handled > last.0 {
                last = (handled, Instant::now());
            }
            assert!(last.1.elapsed() < PATIENCE, "{handled} of {goal} events came, then none for {PATIENCE:?}");
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").field("handled", &self.handled()).field("sum", &self.sum()).finish_non_exhaustive()
    }
}
