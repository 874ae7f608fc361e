//! How emitters wait for room in a full lane: threads asleep, and futures in a line.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::waking;
use crate::platform::clock::Waiting;
use crate::platform::threads;

/// How often an emitter looks again before it goes to sleep: a worker frees a slot in well under a microsecond.
const SPINS: usize = 64;

/// How long an emitter sleeps at most before it looks again. Workers wake it when half the ring is free, not for each
/// slot; behind a handler that is slow, this is what it waits for a single one.
const REST: Duration = Duration::from_millis(1);

/// What a sleeping thread adds to the count of those who wait.
const THREAD: u64 = 1;

/// What a future in the line adds to it, and an event that was set aside.
const FUTURE: u64 = 1 << 32;

/// A place to wait for emitters that found a lane full.
///
/// The sleepers' side of the protocol in [`Doorbell`](nervebus_core::wait::Doorbell), for many sleepers: count
/// yourself in, look once more by a read-modify-write of the ring's head, sleep. A worker that pops looks at the count.
///
/// Futures stand in a line, and each slot that a worker frees wakes the first of them, which has gone from the line then:
/// it goes in, or stands in line again under its old number, or [offers](crate::delivery::lane::Queue::offer_room) the
/// room to the next. So a wake-up is never lost, and no more are woken than can go on.
///
/// Events that other lanes had taken when this one turned out to be full are set aside here, and go in before all others.
/// They were promised a place: nobody has to come for them.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Threads in the low half, futures in the high one.
    waiting: AtomicU64,
    line: Mutex<Line>,
    freed: Condvar,
}

/// Futures that wait, by number: whoever came first is first, also when it comes back.
#[derive(Debug, Default)]
struct Line {
    wakers: BTreeMap<u64, Waker>,
    /// What goes in at the next free slots. As many at most as threads have seen the same last slot.
    aside: VecDeque<Aside>,
    /// How many numbers were ever given.
    numbers: u64,
}

/// An event that waits beside the ring, and the task that waits for that.
#[derive(Debug)]
struct Aside {
    envelope: Envelope,
    task: Option<Waker>,
}

/// What became of an event that was set aside.
#[derive(Debug)]
pub(crate) enum Offered {
    /// The lane has it.
    Taken,
    /// There is no room for it.
    Full(Envelope),
    /// There is no lane for it any more; it has been counted.
    Lost(Envelope),
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room or `wait` is over; says which. May return early.
    ///
    /// `glance` is a cheap look that may be wrong; `has_room` is the one that cannot miss a pop.
    pub(crate) fn wait(&self, glance: impl Fn() -> bool, has_room: impl Fn() -> bool, wait: &Waiting<'_>) -> bool {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if glance() {
                return true;
            }
        }
        threads::yield_now();
        let bed = self.lock();
        // Relaxed: `has_room` is the read-modify-write that orders this count against the worker's look at it.
        self.waiting.fetch_add(THREAD, Ordering::Relaxed);
        let free = has_room();
        let in_time = free || !wait.is_over();
        if in_time && !free {
            drop(wait.sleep(&self.freed, bed, REST));
        }
        self.waiting.fetch_sub(THREAD, Ordering::Relaxed);
        in_time
    }

    /// Whether anybody waits here. One relaxed load: the pop before it orders it.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether threads sleep here.
    pub(crate) fn has_sleepers(&self) -> bool {
        !self.waiting.load(Ordering::Relaxed).is_multiple_of(FUTURE)
    }

    /// Whether futures stand in line here.
    pub(crate) fn has_line(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= FUTURE
    }

    /// Wakes all threads that sleep.
    #[cold]
    pub(crate) fn wake_sleepers(&self) {
        // Taking the lock makes sure that whoever has counted itself in is asleep by now, or has seen the room.
        drop(self.lock());
        self.freed.notify_all();
    }

    /// Puts a future in line that is not in it: under its old number if it had one, else as the last. Returns the number.
    /// The caller looks for room once more, by a read-modify-write of the ring's head.
    pub(crate) fn stand_in_line(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let waker = waker.clone();
        let mut line = self.lock();
        let number = number.unwrap_or(line.numbers);
        line.numbers = line.numbers.max(number + 1);
        // Relaxed: as in `wait`.
        self.waiting.fetch_add(FUTURE, Ordering::Relaxed);
        let none = line.wakers.insert(number, waker);
        drop(line);
        drop(none);
        number
    }

    /// Takes a future out of the line; `false` if it has been woken, and room was meant for it.
    pub(crate) fn leave_line(&self, number: u64) -> bool {
        let waker = self.take(|line| line.wakers.remove(&number));
        // A waker may be the last that holds its task, whose futures would ask for the lock when they go.
        waker.is_some()
    }

    /// Wakes the first in line.
    #[cold]
    pub(crate) fn wake_next(&self) {
        let first = self.take(|line| line.wakers.pop_first().map(|(_, waker)| waker));
        if let Some(waker) = first {
            waking::wake(waker);
        }
    }

    fn take(&self, which: impl FnOnce(&mut Line) -> Option<Waker>) -> Option<Waker> {
        let mut line = self.lock();
        let waker = which(&mut line);
        if waker.is_some() {
            self.waiting.fetch_sub(FUTURE, Ordering::Relaxed);
        }
        waker
    }

    /// Sets an event aside. The caller looks for room once more, by a read-modify-write of the ring's head.
    pub(crate) fn set_aside(&self, envelope: Envelope) {
        let mut line = self.lock();
        line.aside.push_back(Aside { envelope, task: None });
        // Relaxed: as in `wait`.
        self.waiting.fetch_add(FUTURE, Ordering::Relaxed);
    }

    /// Whether this event waits here; then the task is woken when it has gone in.
    pub(crate) fn is_aside(&self, seq: u64, waker: &Waker) -> bool {
        if !self.has_line() {
            // Relaxed: the task's own emit counted the event in, or it was woken by whoever counted it out.
            return false;
        }
        let waker = waker.clone();
        let mut line = self.lock();
        let Some(aside) = line.aside.iter_mut().find(|aside| aside.envelope.head.seq == seq) else { return false };
        let old = aside.task.replace(waker);
        drop(line);
        drop(old);
        true
    }

    /// Has the first event that was set aside put in by `push`. `None` if there is none, else whether it has gone.
    #[cold]
    pub(crate) fn take_in(&self, push: impl FnOnce(Envelope) -> Offered) -> Option<bool> {
        let mut line = self.lock();
        let Aside { envelope, task } = line.aside.pop_front()?;
        // With the lock held: an event is here until it is in the ring.
        let lost = match push(envelope) {
            Offered::Full(envelope) => {
                line.aside.push_front(Aside { envelope, task });
                return Some(false);
            }
            Offered::Lost(envelope) => Some(envelope),
            Offered::Taken => None,
        };
        self.waiting.fetch_sub(FUTURE, Ordering::Relaxed);
        drop(line);
        drop_quietly(lost);
        task.into_iter().for_each(waking::wake);
        Some(true)
    }

    /// Wakes all who stand in line: nothing is left to wait for.
    #[cold]
    pub(crate) fn wake_line(&self) {
        let mut line = self.lock();
        let all = std::mem::take(&mut line.wakers);
        self.waiting.fetch_sub(FUTURE * all.len() as u64, Ordering::Relaxed);
        drop(line);
        all.into_values().for_each(waking::wake);
    }
}
