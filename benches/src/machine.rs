//! What this machine takes to tell one thread of another: the measure for everything that is handed over.
//!
//! Two threads answer one another as fast as they can; half of a round trip is one way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use std::{hint, thread};

use crate::percentiles::Member;

/// Round trips that are timed together where a clock call would take as long as a tenth of one.
const BLOCK: u64 = 16;

/// Median time from a relaxed store until another thread, which spins, has seen it.
pub const STORE_TO_SEEN: Member = Member { name: "machine/store_to_seen", run: store_to_seen };

/// Median time from an unpark until the thread, which was parked, runs.
pub const UNPARK: Member = Member { name: "machine/unpark", run: unpark };

/// A word on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Word(AtomicU64);

impl Word {
    /// Spins until the word says `value`. Relaxed: the number is all there is.
    fn await_value(&self, value: u64) {
        while self.0.load(Ordering::Relaxed) != value {
            hint::spin_loop();
        }
    }
}

/// Half a round trip of two spinning threads, for every block of 16.
fn store_to_seen(blocks: u64) -> Vec<u64> {
    let (there, back) = (Word::default(), Word::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            for trip in 1..=blocks * BLOCK {
                there.await_value(trip);
                back.0.store(trip, Ordering::Relaxed);
            }
        });
        let block = |first: u64| {
            let start = Instant::now();
            for trip in first..first + BLOCK {
                there.0.store(trip, Ordering::Relaxed);
                back.await_value(trip);
            }
            start.elapsed().as_nanos() as u64 / (2 * BLOCK)
        };
        (0..blocks).map(|index| block(index * BLOCK + 1)).collect()
    })
}

/// Half a round trip of two threads that park until they are unparked.
fn unpark(trips: u64) -> Vec<u64> {
    let (there, back) = (AtomicBool::new(false), AtomicBool::new(false));
    // Acquire and Release: each flag pairs with itself, as a queue's would.
    let await_flag = |flag: &AtomicBool| {
        while !flag.swap(false, Ordering::Acquire) {
            thread::park();
        }
    };
    let first = thread::current();
    thread::scope(|scope| {
        let second = scope.spawn(|| {
            for _ in 0..trips {
                await_flag(&there);
                back.store(true, Ordering::Release);
                first.unpark();
            }
        });
        let trip = |_| {
            let start = Instant::now();
            there.store(true, Ordering::Release);
            second.thread().unpark();
            await_flag(&back);
            start.elapsed().as_nanos() as u64 / 2
        };
        (0..trips).map(trip).collect()
    })
}
