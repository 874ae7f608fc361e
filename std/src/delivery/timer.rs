//! Jobs that wait for their moment, and the one thread of a bus that runs them.
//!
//! They wait in a tree, ordered by moment. A timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels",
//! 1987) takes a constant number of steps where the tree takes the logarithm of a number that is at most 65,536. But the
//! wheel rounds moments to its ticks, has to sort within one, and steps through the empty ones when a clock jumps; a heap
//! keeps what was cancelled until its moment comes, and most timeouts are cancelled. The tree is exact to the nanosecond,
//! gives the place of a cancelled job back at once, and is the standard library's.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nervebus_core::wait::Wait;

use crate::delivery::count;
use crate::delivery::failure::drop_quietly;
use crate::platform::clock::{Clock, nanos};
use crate::platform::threads::{Latch, Park};

/// How many jobs of a bus may wait.
pub(crate) const CAPACITY: usize = 65_536;

/// What is to be done, once, with the timer's owner. It runs on the timer's thread, and holds up all later ones.
pub(crate) type Job<T> = Box<dyn FnOnce(&Arc<T>) + Send>;

/// What is to be done again and again.
type Beat<T> = Arc<dyn Fn(&Arc<T>) + Send + Sync>;

/// Which job: its moment, and its number among all that were scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    at: u64,
    number: u64,
}

/// Why a job was not scheduled; it comes back.
pub(crate) enum ScheduleError<T> {
    /// As many jobs wait as may.
    Full(Job<T>),
    /// The timer has been closed.
    Closed(Job<T>),
}

impl<T> ScheduleError<T> {
    /// The job, back again.
    pub(crate) fn into_job(self) -> Job<T> {
        match self {
            Self::Full(job) | Self::Closed(job) => job,
        }
    }
}

impl<T> fmt::Debug for ScheduleError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Closed(_) => "Closed",
        })
    }
}

/// Jobs that wait for their moment. The thread that runs them ([`run`]) is parked while none is due, and does not keep
/// their owner alive; a job that waits does, if it holds the owner.
///
/// A job never runs early. It runs late by what the system takes to wake a thread and by what the jobs before it take,
/// and in order of moments, those of one moment in the order in which they came.
///
/// # Cost
///
/// One lock, and O(log n) steps for n jobs that wait, to schedule, cancel or run one; one allocation for each job, and
/// one for the tree every few jobs.
pub(crate) struct Timer<T> {
    clock: Clock,
    capacity: usize,
    state: Mutex<State<T>>,
    sleeper: Park,
    /// Jobs that panicked.
    panics: AtomicU64,
    /// Opened when the thread has ended.
    pub(crate) ended: Latch,
}

struct State<T> {
    waiting: BTreeMap<TimerKey, Task<T>>,
    /// How many were ever put in.
    numbers: u64,
    closed: bool,
}

enum Task<T> {
    Once(Job<T>),
    Every(Duration, Beat<T>),
}

/// What the thread does next.
enum Next<T> {
    Run(Task<T>),
    /// Nothing before this moment, if there is one.
    Sleep(Option<u64>),
    End,
}

impl<T> State<T> {
    /// Puts a task in, and says under which key and whether it is the next one due.
    fn insert(&mut self, at: u64, task: Task<T>) -> (TimerKey, bool) {
        let key = TimerKey { at, number: self.numbers };
        self.numbers += 1;
        self.waiting.insert(key, task);
        (key, self.waiting.first_key_value().is_some_and(|(first, _)| *first == key))
    }
}

impl<T> Timer<T> {
    /// A timer for so many waiting jobs; it does nothing until a thread [runs](run) it.
    pub(crate) fn new(clock: Clock, capacity: usize) -> Self {
        let state = State { waiting: BTreeMap::new(), numbers: 0, closed: false };
        let (sleeper, ended) = (Park::default(), Latch::default());
        Self { clock, capacity, state: Mutex::new(state), sleeper, panics: AtomicU64::new(0), ended }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a job run at a moment of the clock; at once if that has passed.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] with the job, when too many wait or the timer is closed.
    pub(crate) fn schedule(&self, at: u64, job: Job<T>) -> Result<TimerKey, ScheduleError<T>> {
        self.schedule_within(self.capacity, at, job)
    }

    /// As [`schedule`](Self::schedule), even when as many jobs wait as may: for jobs of which each lane has one or two.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Closed`] with the job.
    pub(crate) fn schedule_always(&self, at: u64, job: Job<T>) -> Result<TimerKey, ScheduleError<T>> {
        self.schedule_within(usize::MAX, at, job)
    }

    fn schedule_within(&self, capacity: usize, at: u64, job: Job<T>) -> Result<TimerKey, ScheduleError<T>> {
        let mut state = self.lock();
        if state.closed {
            return Err(ScheduleError::Closed(job));
        }
        if state.waiting.len() >= capacity {
            return Err(ScheduleError::Full(job));
        }
        let (key, is_next) = state.insert(at, Task::Once(job));
        drop(state);
        if is_next {
            self.sleeper.wake();
        }
        Ok(key)
    }

    /// Takes a job back that has not begun; `None` if it has.
    pub(crate) fn cancel(&self, key: TimerKey) -> Option<Job<T>> {
        match self.lock().waiting.remove(&key) {
            Some(Task::Once(job)) => Some(job),
            _ => None,
        }
    }

    /// Calls `beat` each time `period` has passed, until the timer is closed; `false` if there is no room for it, or the
    /// timer is closed. Beats that were missed, because the jobs before took long or the clock jumped, are left out. A
    /// period of less than a millisecond is one of a millisecond.
    pub(crate) fn every(&self, period: Duration, beat: impl Fn(&Arc<T>) + Send + Sync + 'static) -> bool {
        let period = period.max(Duration::from_millis(1));
        let at = self.clock.after(period);
        let mut state = self.lock();
        if state.closed || state.waiting.len() >= self.capacity {
            return false;
        }
        let (_, is_next) = state.insert(at, Task::Every(period, Arc::new(beat)));
        drop(state);
        if is_next {
            self.sleeper.wake();
        }
        true
    }

    /// How many jobs wait; what is done again and again counts as one.
    pub(crate) fn pending(&self) -> usize {
        self.lock().waiting.len()
    }

    /// How many jobs have panicked.
    pub(crate) fn panics(&self) -> u64 {
        count::read(&self.panics)
    }

    /// Lets nothing more in, ends the thread after the job that it is at, and hands back, by moment, what has not run.
    /// Harmless when repeated.
    pub(crate) fn close(&self) -> Vec<Job<T>> {
        let mut state = self.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.sleeper.wake();
        let once = |task| match task {
            Task::Once(job) => Some(job),
            Task::Every(_, beat) => {
                drop_quietly(beat);
                None
            }
        };
        waiting.into_values().filter_map(once).collect()
    }

    fn next(&self) -> Next<T> {
        let mut state = self.lock();
        if state.closed {
            return Next::End;
        }
        let now = self.clock.now();
        let Some(first) = state.waiting.first_entry() else { return Next::Sleep(None) };
        let at = first.key().at;
        if at > now {
            return Next::Sleep(Some(at));
        }
        let task = first.remove();
        if let Task::Every(period, beat) = &task {
            // Its place is taken again before it runs, so that nobody else can take it.
            let again = Task::Every(*period, Arc::clone(beat));
            state.insert(next_beat(at, now, *period), again);
        }
        Next::Run(task)
    }

    /// Runs a task; a panic goes no further.
    fn call(&self, task: Task<T>, owner: &Arc<T>) {
        let call = AssertUnwindSafe(|| match task {
            Task::Once(job) => job(owner),
            Task::Every(_, beat) => beat(owner),
        });
        if let Err(payload) = catch_unwind(call) {
            count::add(&self.panics, 1);
            drop_quietly(payload);
        }
    }
}

/// The first moment after `now` that is a number of periods after `at`.
fn next_beat(at: u64, now: u64, period: Duration) -> u64 {
    let period = nanos(period).max(1);
    let missed = now.saturating_sub(at) / period;
    at.saturating_add(period.saturating_mul(missed + 1))
}

/// Runs jobs on this thread until the timer is closed, or its owner has gone when one is due.
pub(crate) fn run<T>(timer: &Timer<T>, owner: &Weak<T>) {
    // Whoever scheduled before this line found nobody to wake; the look at the jobs comes after it.
    timer.sleeper.is_this_thread();
    let _ending = Ending(timer);
    loop {
        match timer.next() {
            Next::Run(task) => {
                let Some(owner) = owner.upgrade() else { return drop_quietly(task) };
                timer.call(task, &owner);
                // This may be the last reference to it.
                drop_quietly(owner);
            }
            Next::Sleep(moment) => timer.clock.park_until(moment),
            Next::End => return,
        }
    }
}

/// Says that the thread has ended, however it did.
struct Ending<'a, T>(&'a Timer<T>);

impl<T> Drop for Ending<'_, T> {
    fn drop(&mut self) {
        self.0.close().into_iter().for_each(drop_quietly);
        self.0.ended.open();
    }
}

impl<T> fmt::Debug for Timer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pending, panics) = (self.pending(), self.panics());
        f.debug_struct("Timer").field("pending", &pending).field("panics", &panics).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
