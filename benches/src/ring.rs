//! Rings alone: threads that push and a thread that pops, with nothing around them.
//!
//! Every member is driven by the same loops: who finds no room, or nothing, tries again after a spin hint, and after
//! 100 tries in vain gives its core away between tries.

pub mod concurrent;
pub mod crossbeam;
pub mod disruptor;
pub mod heapless;
pub mod nervebus;
pub mod rtrb;
pub mod thingbuf;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, hint, thread};

use crate::{Payload, payload};

/// Tries in vain after which a side yields between tries.
const SPINS: u32 = 100;

/// How long a side tries in vain before its member counts as stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Yields between two looks at the clock: some 0.1 ms.
const YIELDS_A_LOOK: u32 = 256;

/// How many events a batch has, for members that move batches.
pub const BATCH: u64 = 64;

/// A ring of [`CAPACITY`](crate::CAPACITY) slots.
pub trait Ring {
    /// The member's name in the output.
    const NAME: &'static str;

    /// What one producer thread pushes with.
    type Producer: Producer;

    /// What the only consumer thread receives with.
    type Consumer: Receive;

    /// An empty ring through which `events` events will go.
    fn open(producers: usize, events: u64) -> (Vec<Self::Producer>, Self::Consumer);
}

/// One producer's end of a ring.
pub trait Producer: Send {
    /// Pushes the payloads of the first of `values`, as many as this member pushes at a time, and says how many; 0 when
    /// there is no room. `values` is not empty.
    fn push(&mut self, values: Range<u64>) -> u64;
}

/// The consumer's end of a ring that is popped from.
pub trait Consumer {
    /// Pops as many events as this member pops at a time, shows them to `seen`, and says how many; 0 when there are none.
    fn pop(&mut self, seen: &mut Seen) -> u64;
}

/// The consumer's end of any ring.
pub trait Receive {
    /// Waits for `events` events; returns when the last of them had come, and what came.
    ///
    /// # Errors
    /// [`Stuck`] when nothing came for 5 s.
    fn receive(&mut self, events: u64) -> Result<(Instant, Seen), Stuck>;
}

impl<C: Consumer> Receive for C {
    fn receive(&mut self, events: u64) -> Result<(Instant, Seen), Stuck> {
        let mut seen = Seen::default();
        let mut left = events;
        while left > 0 {
            left -= try_until(|| self.pop(&mut seen), "an event")?;
        }
        Ok((Instant::now(), seen))
    }
}

/// A side has tried for 5 s in vain: the ring has lost an event or a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    awaited: &'static str,
}

impl Stuck {
    pub(crate) fn waiting_for(awaited: &'static str) -> Self {
        Self { awaited }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {PATIENCE:?} for {}", self.awaited)
    }
}

/// What a consumer has seen: enough to notice an event that was lost, repeated or changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    events: u64,
    sum: u64,
    squares: u64,
}

impl Seen {
    /// Reads all eight words of a payload.
    #[inline]
    pub fn add(&mut self, payload: &Payload) {
        let sum = payload.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
        self.events += 1;
        self.sum = self.sum.wrapping_add(sum);
        self.squares = self.squares.wrapping_add(sum.wrapping_mul(sum));
    }

    /// What a consumer sees when every event comes through once.
    fn all(events: u64) -> Self {
        let mut seen = Self::default();
        (0..events).for_each(|value| seen.add(&payload(value)));
        seen
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

/// Repeats `work` until it has moved something, and returns how much.
#[inline]
fn try_until(mut work: impl FnMut() -> u64, awaited: &'static str) -> Result<u64, Stuck> {
    for _ in 0..=SPINS {
        let moved = work();
        if moved > 0 {
            return Ok(moved);
        }
        hint::spin_loop();
    }
    let since = Instant::now();
    loop {
        for _ in 0..YIELDS_A_LOOK {
            thread::yield_now();
            let moved = work();
            if moved > 0 {
                return Ok(moved);
            }
        }
        if since.elapsed() > PATIENCE {
            return Err(Stuck::waiting_for(awaited));
        }
    }
}

fn push_all<P: Producer>(producer: &mut P, mut values: Range<u64>) -> Result<(), Stuck> {
    while !values.is_empty() {
        values.start += try_until(|| producer.push(values.clone()), "a slot")?;
    }
    Ok(())
}

/// Where threads meet before they start: a barrier that does not sleep, so that none starts late.
#[derive(Debug)]
struct StartLine {
    missing: AtomicUsize,
}

impl StartLine {
    fn wait(&self) {
        // Relaxed: the line orders nothing, it only makes the threads start together.
        self.missing.fetch_sub(1, Ordering::Relaxed);
        while self.missing.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }
}

/// Moves `events` events from `producers` threads to this one, and returns the time from the first push to the last pop.
///
/// # Errors
/// [`Stuck`] when a side tried for 5 s in vain.
///
/// # Panics
/// When an event was lost, repeated or changed on the way.
pub fn run<R: Ring>(producers: usize, events: u64) -> Result<Duration, Stuck> {
    let (producers, mut consumer) = R::open(producers, events);
    let line = StartLine { missing: AtomicUsize::new(producers.len() + 1) };
    let count = producers.len() as u64;
    let share = |index: u64| events * index / count..events * (index + 1) / count;
    let (starts, received) = thread::scope(|scope| {
        let push = |(index, mut producer): (u64, R::Producer)| {
            let (line, values) = (&line, share(index));
            scope.spawn(move || {
                line.wait();
                let start = Instant::now();
                push_all(&mut producer, values)?;
                Ok(start)
            })
        };
        let threads: Vec<_> = (0..).zip(producers).map(push).collect();
        line.wait();
        let received = consumer.receive(events);
        let starts: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("a producer panicked")).collect();
        (starts, received)
    });
    let (end, seen) = received?;
    let starts: Vec<Instant> = starts.into_iter().collect::<Result<_, _>>()?;
    assert_eq!(seen, Seen::all(events), "{} lost, repeated or changed an event", R::NAME);
    let start = starts.into_iter().min().expect("there is a producer");
    Ok(end.saturating_duration_since(start))
}

/// Pushes and pops `events` events on this thread, always `burst` pushes and then as many pops.
///
/// # Errors
/// [`Stuck`] when a push finds no room, or a pop nothing, for 5 s.
///
/// # Panics
/// When an event was lost, repeated or changed on the way.
pub fn run_alone<R: Ring<Consumer: Consumer>>(burst: u64, events: u64) -> Result<Duration, Stuck> {
    let (mut producers, mut consumer) = R::open(1, events);
    let producer = producers.first_mut().expect("one was asked for");
    let mut seen = Seen::default();
    let start = Instant::now();
    let mut next = 0;
    while next < events {
        let end = events.min(next + burst);
        push_all(producer, next..end)?;
        while next < end {
            next += try_until(|| consumer.pop(&mut seen), "an event")?;
        }
    }
    let elapsed = start.elapsed();
    assert_eq!(seen, Seen::all(events), "{} lost, repeated or changed an event", R::NAME);
    Ok(elapsed)
}
