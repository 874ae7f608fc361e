//! From the moment an event is due until its handler has it, at a pace that the consumer keeps up with.
//!
//! The producer's events are due at fixed times, and each says in its first word when it was: an event that was emitted late
//! because the one before it took long counts as late from when it was due, so that a stall is not left out by whoever
//! waits for it (no coordinated omission). Between events the producer looks at the clock without pause; what it finds is
//! up to one such look late, some 25 ns, and the handler's own look takes as long. Both are in every member's figures,
//! and in those of `bare_store` and `bare_unpark`, which are the least that can be measured in this way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;
use std::{fmt, hint};

use crate::peers::Threads;
use crate::percentiles::Member;
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally, payload};

/// Events before those that count, so that threads, caches and branch predictors are warm.
const WARM_UP: u64 = 200;

/// Nanoseconds before the first event: a thread that was just started may share a core with the one that started it until
/// the system looks again, and two that spin on one core measure its time slices.
const SETTLING: u64 = 20_000_000;

/// A carrier as a member, with an event every `PACE` nanoseconds.
#[must_use]
pub fn member<C: Carrier, const PACE: u64>() -> Member {
    Member { name: C::NAME, run: run::<C, PACE> }
}

/// Sends `events` events to one consumer thread, and returns by how many nanoseconds each was late.
fn run<C: Carrier, const PACE: u64>(events: u64) -> Vec<u64> {
    let origin = Instant::now();
    let tally = Tally::timed(origin, WARM_UP + events);
    let (carrier, mut producers) = C::open(1, std::slice::from_ref(&tally));
    let since_origin = || origin.elapsed().as_nanos() as u64;
    tally.expect(WARM_UP + events);
    let (start, mut sum) = (since_origin() + SETTLING, 0u64);
    for producer in &mut producers {
        for index in 0..WARM_UP + events {
            let due = start + index * PACE;
            while since_origin() < due {}
            producer.emit(payload(due));
            sum = sum.wrapping_add(due);
        }
    }
    tally.wait();
    assert_eq!(tally.sum(), sum, "{} lost, repeated or changed an event", C::NAME);
    drop(producers);
    drop(carrier);
    tally.late().split_off(WARM_UP as usize)
}

/// Words between two threads, written one after the other, and whether their sender is gone: what the bare members have
/// instead of a queue. One word would do, but not where the consumer has lost its core for a moment: then it would take
/// a time slice to hand over each event that has become due since.
#[repr(align(128))]
struct Words {
    due: [AtomicU64; CAPACITY],
    closed: AtomicBool,
}

/// A store that a spinning thread sees: there is no faster way between two threads.
#[derive(Debug)]
pub struct BareStore {
    _consumer: Threads,
}

/// A store, and an unpark for the thread that sleeps.
#[derive(Debug)]
pub struct BareUnpark {
    _consumer: Threads,
}

/// The producer's end of a bare member.
pub struct Bare {
    words: Arc<Words>,
    tally: Arc<Tally>,
    sent: usize,
    /// Events that may be sent before the producer must look how far the consumer is.
    room: usize,
    sleeper: Option<Thread>,
}

impl fmt::Debug for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare").field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Carrier for BareStore {
    const NAME: &'static str = "bare_store";
    type Producer = Bare;

    fn open(_producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Bare>) {
        let (consumer, bare) = open_bare(tallies, hint::spin_loop, false);
        (Self { _consumer: consumer }, vec![bare])
    }
}

impl Carrier for BareUnpark {
    const NAME: &'static str = "bare_unpark";
    type Producer = Bare;

    fn open(_producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Bare>) {
        let (consumer, bare) = open_bare(tallies, thread::park, true);
        (Self { _consumer: consumer }, vec![bare])
    }
}

/// A consumer thread that calls `rest` while nothing is there.
fn open_bare(tallies: &[Arc<Tally>], rest: fn(), sleeps: bool) -> (Threads, Bare) {
    let words = Words { due: [const { AtomicU64::new(0) }; CAPACITY], closed: AtomicBool::new(false) };
    let (words, tally) = (Arc::new(words), Arc::clone(&tallies[0]));
    let mut consumer = Threads::default();
    let (shared, handler) = (Arc::clone(&words), tally.handler());
    let sleeper = consumer.spawn(move || {
        let (mut seen, mut next) = ([0; CAPACITY], 0);
        loop {
            // Acquire: pairs with the Release in `emit`, as any queue would have it.
            match shared.due[next].load(Ordering::Acquire) {
                // Due times differ, and none is 0.
                due if due != seen[next] => {
                    seen[next] = due;
                    next = (next + 1) % CAPACITY;
                    handler(&payload(due));
                }
                _ if shared.closed.load(Ordering::Relaxed) => return,
                _ => rest(),
            }
        }
    });
    let sleeper = sleeps.then_some(sleeper);
    (consumer, Bare { words, tally, sent: 0, room: CAPACITY, sleeper })
}

impl Producer for Bare {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        while self.room == 0 {
            thread::yield_now();
            self.room = CAPACITY - (self.sent - self.tally.handled() as usize);
        }
        self.room -= 1;
        // Release: pairs with the Acquire of the consumer.
        self.words.due[self.sent % CAPACITY].store(payload[0], Ordering::Release);
        self.sent += 1;
        self.sleeper.iter().for_each(Thread::unpark);
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // The bench has waited for the last event.
        self.words.closed.store(true, Ordering::Relaxed);
        self.sleeper.iter().for_each(Thread::unpark);
    }
}
