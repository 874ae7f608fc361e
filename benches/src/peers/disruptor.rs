//! `disruptor`, the crate: a ring whose consumers poll.
//!
//! With a core for every thread, consumers spin ([`BusySpin`]) and `publish` spins while the ring is full: the disruptor
//! as it is meant to run. With more threads than cores that spins away the time of the thread it waits for, so there
//! consumers and producers [yield](Yield) instead.

use std::sync::Arc;
use std::thread;

use disruptor::wait_strategies::WaitStrategy;
use disruptor::{
    BusySpin, MultiConsumerBarrier, MultiProducer, Producer as _, Sequence, SingleConsumerBarrier, SingleProducer,
    build_multi_producer, build_single_producer,
};

use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally};

/// Waits by giving the core to whoever wants it.
#[derive(Clone, Copy, Debug)]
pub struct Yield;

impl WaitStrategy for Yield {
    #[inline]
    fn wait_for(&self, _sequence: Sequence) {
        thread::yield_now();
    }
}

const EMPTY: fn() -> Payload = || [0; 8];

/// What a consumer thread of the disruptor runs.
fn handler(tallies: &[Arc<Tally>], index: usize) -> impl FnMut(&Payload, Sequence, bool) + Send + use<> {
    let handler = tallies[index].handler();
    move |payload, _, _| handler(payload)
}

/// One producer, one consumer, both spinning.
#[derive(Debug)]
pub struct Spinning;

impl Carrier for Spinning {
    const NAME: &'static str = "disruptor/busy_spin";
    type Producer = SingleProducer<Payload, SingleConsumerBarrier>;

    fn open(_producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let builder = build_single_producer(CAPACITY, EMPTY, BusySpin);
        (Self, vec![builder.handle_events_with(handler(tallies, 0)).build()])
    }
}

impl Producer for SingleProducer<Payload, SingleConsumerBarrier> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        self.publish(|slot| *slot = payload);
    }
}

/// One producer, one consumer, both yielding.
#[derive(Debug)]
pub struct Yielding;

/// A producer that yields while the ring is full.
#[expect(missing_debug_implementations, reason = "the producers of `disruptor` have none")]
pub struct Polite<P>(P);

impl Carrier for Yielding {
    const NAME: &'static str = "disruptor/yield";
    type Producer = Polite<SingleProducer<Payload, SingleConsumerBarrier>>;

    fn open(_producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let builder = build_single_producer(CAPACITY, EMPTY, Yield);
        (Self, vec![Polite(builder.handle_events_with(handler(tallies, 0)).build())])
    }
}

/// Several producers, one consumer, all yielding.
#[derive(Debug)]
pub struct YieldingProducers;

impl Carrier for YieldingProducers {
    const NAME: &'static str = "disruptor/yield";
    type Producer = Polite<MultiProducer<Payload, SingleConsumerBarrier>>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let builder = build_multi_producer(CAPACITY, EMPTY, Yield);
        let producer = builder.handle_events_with(handler(tallies, 0)).build();
        (Self, (0..producers).map(|_| Polite(producer.clone())).collect())
    }
}

/// One producer, three consumers, all yielding.
#[derive(Debug)]
pub struct YieldingConsumers;

impl Carrier for YieldingConsumers {
    const NAME: &'static str = "disruptor/yield";
    type Producer = Polite<SingleProducer<Payload, MultiConsumerBarrier>>;

    fn open(_producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let builder = build_single_producer(CAPACITY, EMPTY, Yield);
        let builder = builder.handle_events_with(handler(tallies, 0)).handle_events_with(handler(tallies, 1));
        (Self, vec![Polite(builder.handle_events_with(handler(tallies, 2)).build())])
    }
}

impl<P: disruptor::Producer<Payload> + Send> Producer for Polite<P> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        while self.0.try_publish(|slot| *slot = payload).is_err() {
            thread::yield_now();
        }
    }
}
