//! `disruptor`, the crate: its own consumer thread spins without pause ([`BusySpin`]); a poller runs in our loop.
//!
//! Either consumer reads all that is there before it says that the slots are free: it reads in batches whether the
//! producer publishes in batches or singly.

use std::ops::Range;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use disruptor::{
    BusySpin, EventPoller, MultiProducer, MultiProducerBarrier, Sequence, SingleConsumerBarrier, SingleProducer,
    build_multi_producer, build_single_producer,
};

use super::{BATCH, Consumer, PATIENCE, Producer, Receive, Ring, Seen, Stuck};
use crate::{CAPACITY, Payload, payload};

const EMPTY: fn() -> Payload = || [0; 8];

/// Waits for the word of the disruptor's consumer thread that it has seen everything.
#[derive(Debug)]
pub struct Report(Receiver<(Instant, Seen)>);

impl Receive for Report {
    fn receive(&mut self, _events: u64) -> Result<(Instant, Seen), Stuck> {
        // The whole run is waited for, and not a single event: none takes as long.
        self.0.recv_timeout(2 * PATIENCE).map_err(|_| Stuck::waiting_for("all events, twice"))
    }
}

/// What the disruptor's consumer thread runs.
fn handler(events: u64, report: Sender<(Instant, Seen)>) -> impl FnMut(&Payload, Sequence, bool) + Send {
    let mut seen = Seen::default();
    move |payload, _, _| {
        seen.add(payload);
        if seen.events() == events {
            // Nobody waits any more when the run has failed.
            let _ = report.send((Instant::now(), seen));
        }
    }
}

/// A producer that publishes `SIZE` events at a time.
#[expect(missing_debug_implementations, reason = "the producers of `disruptor` have none")]
pub struct Publisher<P, const SIZE: u64>(P);

impl<P: disruptor::Producer<Payload> + Send> Producer for Publisher<P, 1> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(self.0.try_publish(|slot| *slot = payload(values.start)).is_ok())
    }
}

impl<P: disruptor::Producer<Payload> + Send> Producer for Publisher<P, BATCH> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        let size = BATCH.min(values.end - values.start);
        let published = self.0.try_batch_publish(size as usize, |slots| {
            for (slot, value) in slots.zip(values) {
                *slot = payload(value);
            }
        });
        published.map_or(0, |_| size)
    }
}

/// One producer that publishes `SIZE` events at a time, and a consumer thread that spins.
#[derive(Debug)]
pub struct Single<const SIZE: u64>;

impl<const SIZE: u64> Single<SIZE> {
    fn open(events: u64) -> (Vec<Publisher<SingleProducer<Payload, SingleConsumerBarrier>, SIZE>>, Report) {
        let (report, reports) = mpsc::channel();
        let builder = build_single_producer(CAPACITY, EMPTY, BusySpin);
        let producer = builder.handle_events_with(handler(events, report)).build();
        (vec![Publisher(producer)], Report(reports))
    }
}

impl Ring for Single<1> {
    const NAME: &'static str = "disruptor_sp/busy_spin";
    type Producer = Publisher<SingleProducer<Payload, SingleConsumerBarrier>, 1>;
    type Consumer = Report;

    fn open(_producers: usize, events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        Self::open(events)
    }
}

impl Ring for Single<BATCH> {
    const NAME: &'static str = "disruptor_sp/batch_publish";
    type Producer = Publisher<SingleProducer<Payload, SingleConsumerBarrier>, BATCH>;
    type Consumer = Report;

    fn open(_producers: usize, events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        Self::open(events)
    }
}

/// Producers that may be several, publish `SIZE` events at a time, and a consumer thread that spins.
#[derive(Debug)]
pub struct Multi<const SIZE: u64>;

impl<const SIZE: u64> Multi<SIZE> {
    fn open(
        producers: usize,
        events: u64,
    ) -> (Vec<Publisher<MultiProducer<Payload, SingleConsumerBarrier>, SIZE>>, Report) {
        let (report, reports) = mpsc::channel();
        let builder = build_multi_producer(CAPACITY, EMPTY, BusySpin);
        let producer = builder.handle_events_with(handler(events, report)).build();
        ((0..producers).map(|_| Publisher(producer.clone())).collect(), Report(reports))
    }
}

impl Ring for Multi<1> {
    const NAME: &'static str = "disruptor_mp/busy_spin";
    type Producer = Publisher<MultiProducer<Payload, SingleConsumerBarrier>, 1>;
    type Consumer = Report;

    fn open(producers: usize, events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        Self::open(producers, events)
    }
}

impl Ring for Multi<BATCH> {
    const NAME: &'static str = "disruptor_mp/batch_publish";
    type Producer = Publisher<MultiProducer<Payload, SingleConsumerBarrier>, BATCH>;
    type Consumer = Report;

    fn open(producers: usize, events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        Self::open(producers, events)
    }
}

/// Producers that may be several, and a poller in our own loop.
#[derive(Debug)]
pub struct Polled;

impl Ring for Polled {
    const NAME: &'static str = "disruptor_mp/poller";
    type Producer = Publisher<MultiProducer<Payload, SingleConsumerBarrier>, 1>;
    type Consumer = EventPoller<Payload, MultiProducerBarrier>;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let (poller, builder) = build_multi_producer(CAPACITY, EMPTY, BusySpin).new_event_poller();
        let producer = builder.build();
        ((0..producers).map(|_| Publisher(producer.clone())).collect(), poller)
    }
}

impl Consumer for EventPoller<Payload, MultiProducerBarrier> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        let before = seen.events();
        if let Ok(mut events) = self.poll() {
            (&mut events).for_each(|payload| seen.add(payload));
        }
        seen.events() - before
    }
}
