//! Threads that several things share, each of which runs in turns.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use crossbeam_queue::SegQueue;
use nervebus_core::schedule::Schedule;

use super::threads;

thread_local! {
    /// Whether this thread is a crew's.
    static IN_A_CREW: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is one of a crew: what it waits for may be waiting for it.
pub(crate) fn is_in_a_crew() -> bool {
    IN_A_CREW.with(Cell::get)
}

/// Something that runs in turns, on whichever thread is free.
pub(crate) trait Turns: Send + Sync {
    /// Has a turn on this thread, as the job by which it is asked for more. It should not be long: others wait for theirs.
    fn turn(&self, job: &Arc<Job>) -> After;
}

/// How a turn has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// There was nothing left to do; whoever has something asks for a turn.
    Rests,
    /// There is more to do.
    GoesOn,
    /// There will never be anything more to do.
    Ended,
    /// The turn took so long that another job has the work by now.
    Ousted,
}

/// The threads of a pool, as those see them who have work for them.
#[derive(Clone)]
pub(crate) struct Crew {
    shared: Arc<Shared>,
    /// The last of these to go sends the threads home.
    _owner: Arc<Owner>,
}

struct Shared {
    /// What is to run, each once.
    ready: SegQueue<Arc<Job>>,
    /// Threads that sleep or are about to.
    idle: AtomicUsize,
    /// Whether the threads go home when nothing is to run.
    closed: Mutex<bool>,
    came: Condvar,
    /// Threads that were ever started.
    started: AtomicUsize,
    /// How many threads there are above the number that there should be, those left out that are given up as stuck; below
    /// it, less than 0.
    spare: AtomicIsize,
}

struct Owner(Arc<Shared>);

/// Something that a crew runs in turns. Waking it asks for a turn.
pub(crate) struct Job {
    schedule: Schedule,
    work: Box<dyn Turns>,
    crew: Crew,
}

impl Crew {
    /// Starts so many threads.
    pub(crate) fn start(threads: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            ready: SegQueue::new(),
            idle: AtomicUsize::new(0),
            closed: Mutex::new(false),
            came: Condvar::new(),
            started: AtomicUsize::new(0),
            spare: AtomicIsize::new(0),
        });
        // If one cannot be started, those before it go home when this is dropped.
        let crew = Self { _owner: Arc::new(Owner(Arc::clone(&shared))), shared };
        (0..threads).try_for_each(|_| crew.add_thread())?;
        Ok(crew)
    }

    /// Gives a thread up that is stuck in a turn, until that says that it is [back](Self::comes_back).
    pub(crate) fn gives_up(&self) {
        // Relaxed, here and below: the number is all there is to it.
        self.shared.spare.fetch_sub(1, Ordering::Relaxed);
    }

    /// Says that this thread, which was given up, is back. If another is in its place by now, one of them goes home.
    pub(crate) fn comes_back(&self) {
        self.shared.spare.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts threads in place of those that were given up.
    pub(crate) fn fill_up(&self) -> io::Result<()> {
        let one_more = |spare| (spare < 0).then_some(spare + 1);
        while self.shared.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
            // One that is not started is missing still.
            self.add_thread().inspect_err(|_| self.gives_up())?;
        }
        Ok(())
    }

    fn add_thread(&self) -> io::Result<()> {
        let number = self.shared.started.fetch_add(1, Ordering::Relaxed) + 1;
        let shared = Arc::clone(&self.shared);
        threads::spawn(format!("nervebus-pool-{number}"), move || shared.work()).map(drop)
    }
}

impl Job {
    /// Something for a crew; it has no turn until it is asked for one.
    pub(crate) fn new(crew: &Crew, work: impl Turns + 'static) -> Arc<Self> {
        Arc::new(Self { schedule: Schedule::new(), work: Box::new(work), crew: crew.clone() })
    }

    /// Asks for a turn, unless it waits for one anyway.
    pub(crate) fn ask(self: &Arc<Self>) {
        if self.schedule.wake() {
            self.crew.shared.list(Arc::clone(self));
        }
    }
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        self.ask();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ask();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job on the list of what is to run, and wakes a thread for it.
    fn list(&self, job: Arc<Job>) {
        self.ready.push(job);
        // AcqRel, and a read-modify-write though it changes nothing: it pairs with the one in `next`. If that comes first,
        // this sees the sleeper; if this comes first, the sleeper sees the job.
        if self.idle.fetch_add(0, Ordering::AcqRel) > 0 {
            // A thread that has counted itself holds the lock until it sleeps.
            let _closed = self.lock();
            self.came.notify_one();
        }
    }

    /// The next job; sleeps while there is none. `None` when the thread is to go home.
    fn next(&self) -> Option<Arc<Job>> {
        loop {
            if let Some(job) = self.ready.pop() {
                return Some(job);
            }
            let mut closed = self.lock();
            // AcqRel pairs with the one in `list`.
            self.idle.fetch_add(1, Ordering::AcqRel);
            while self.ready.is_empty() && !*closed {
                closed = self.came.wait(closed).unwrap_or_else(PoisonError::into_inner);
            }
            // Relaxed: one too many costs a lock and wakes nobody.
            self.idle.fetch_sub(1, Ordering::Relaxed);
            if *closed && self.ready.is_empty() {
                return None;
            }
        }
    }

    /// What a thread of the pool does.
    fn work(&self) {
        IN_A_CREW.with(|own| own.set(true));
        while let Some(job) = self.next() {
            job.schedule.begin();
            // Nothing of a user's unwinds a turn; if something of ours does, the others still need the thread.
            match catch_unwind(AssertUnwindSafe(|| job.work.turn(&job))).unwrap_or(After::Ended) {
                After::Rests if !job.schedule.rest() => {}
                After::Rests => self.list(job),
                After::GoesOn => {
                    job.schedule.rest_a_moment();
                    self.list(job);
                }
                After::Ended => job.schedule.end(),
                After::Ousted => {}
            }
            if self.has_spare() {
                return;
            }
        }
    }

    /// Whether there is one thread too many, which the caller is from now on.
    fn has_spare(&self) -> bool {
        let is_spare = |spare| (spare > 0).then_some(spare - 1);
        self.spare.load(Ordering::Relaxed) > 0
            && self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_spare).is_ok()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        *self.0.lock() = true;
        self.0.came.notify_all();
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let started = self.shared.started.load(Ordering::Relaxed);
        f.debug_struct("Crew").field("started", &started).field("ready", &self.shared.ready.len()).finish()
    }
}

#[cfg(test)]
mod tests;
