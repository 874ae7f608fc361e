//! Emitting to handlers that run on other threads.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use crate::rounds::Member;
use crate::{Group, Payload, Tally, payload};

/// A member that carries every payload of every producer to every consumer thread.
///
/// It has room for [`CAPACITY`](crate::CAPACITY) events, holds the producer up while there is none, and calls a boxed handler
/// on the consumer's thread. Dropping the producers and then the carrier ends the threads.
pub trait Carrier: Sized {
    /// The member's name in the output.
    const NAME: &'static str;

    /// What one producer thread emits with.
    type Producer: Producer;

    /// A carrier with `producers` producers and a consumer thread for each of `tallies`.
    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>);
}

/// One producer's end of a [`Carrier`].
pub trait Producer: Send {
    /// Emits one event; waits while the carrier is full.
    fn emit(&mut self, payload: Payload);
}

/// A carrier at work, with its threads, and the tallies of its consumers.
struct Course<C: Carrier> {
    // Dropped in this order: a carrier waits for consumers, and consumers for the last producer.
    producers: Vec<C::Producer>,
    _carrier: C,
    tallies: Vec<Arc<Tally>>,
    sum: u64,
}

impl<C: Carrier> Course<C> {
    fn open(producers: usize, consumers: usize) -> Self {
        let tallies: Vec<_> = (0..consumers).map(|_| Tally::new()).collect();
        let (carrier, producers) = C::open(producers, &tallies);
        Self { producers, _carrier: carrier, tallies, sum: 0 }
    }

    /// Emits `events` events and returns the time from the first emit to the last event handled.
    fn run(&mut self, events: u64) -> Duration {
        for tally in &self.tallies {
            tally.expect(events);
        }
        let others = self.producers.len() as u64 - 1;
        let share = events / (others + 1);
        let rest = events - share * others;
        let elapsed = if others == 0 { self.emit_alone(rest) } else { self.emit_together(rest, share) };
        self.sum = self.sum.wrapping_add(sum_of(rest)).wrapping_add(sum_of(share).wrapping_mul(others));
        for tally in &self.tallies {
            assert_eq!(tally.sum(), self.sum, "{} lost, repeated or changed an event", C::NAME);
        }
        elapsed
    }

    fn emit_alone(&mut self, events: u64) -> Duration {
        let start = Instant::now();
        for producer in &mut self.producers {
            emit_all(producer, events);
        }
        wait_all(&self.tallies);
        start.elapsed()
    }

    /// The first producer runs on the bench thread, each other on a thread that is up before the clock starts.
    fn emit_together(&mut self, rest: u64, share: u64) -> Duration {
        let line = Barrier::new(self.producers.len());
        let tallies = &self.tallies;
        let mut producers = self.producers.iter_mut();
        let first = producers.next();
        thread::scope(|scope| {
            for producer in producers {
                scope.spawn(|| {
                    line.wait();
                    emit_all(producer, share);
                });
            }
            line.wait();
            let start = Instant::now();
            if let Some(producer) = first {
                emit_all(producer, rest);
            }
            wait_all(tallies);
            start.elapsed()
        })
    }
}

#[inline]
fn emit_all<P: Producer>(producer: &mut P, events: u64) {
    for value in 0..events {
        producer.emit(payload(value));
    }
}

fn wait_all(tallies: &[Arc<Tally>]) {
    for tally in tallies {
        tally.wait();
    }
}

/// 0 + 1 + … + (events - 1).
fn sum_of(events: u64) -> u64 {
    events.wrapping_mul(events.saturating_sub(1)) / 2
}

/// `C` as a member of a group that is measured in rounds: `CONSUMERS` handlers, and one of `ONE_IN` of the events for members
/// that are too slow for all of them.
#[must_use]
pub fn in_rounds<C: Carrier, const PRODUCERS: usize, const CONSUMERS: usize, const ONE_IN: u64>() -> Member {
    Member { name: C::NAME, run: |events| Ok(run_once::<C>(PRODUCERS, CONSUMERS, events / ONE_IN) * ONE_IN as u32) }
}

/// Opens a carrier and has it carry `events` events, after a few that are not timed.
fn run_once<C: Carrier>(producers: usize, consumers: usize, events: u64) -> Duration {
    let mut course = Course::<C>::open(producers, consumers);
    course.run((events / 32).max(producers as u64));
    course.run(events)
}

/// Measures `C` with that many producer and consumer threads: time for an event, the wake-up at both ends included.
///
/// # Panics
/// When an event was lost, repeated or changed on the way.
pub fn measure<C: Carrier>(group: &mut Group<'_>, producers: usize, consumers: usize) {
    group.bench_function(C::NAME, |bencher| {
        let mut course = Course::<C>::open(producers, consumers);
        bencher.iter_custom(|events| course.run(events));
    });
}
