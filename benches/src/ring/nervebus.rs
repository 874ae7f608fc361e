//! The core's own rings, an event at a time and in batches.

use std::ops::Range;
use std::sync::Arc;

use nervebus_core::ring::{BatchError, BoxedRing, StaticRing};
use nervebus_core::spsc::{self, BoxedSpsc};

use super::{BATCH, Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

/// `BoxedRing`, shared by way of an `Arc`.
#[derive(Debug)]
pub struct Boxed;

impl Ring for Boxed {
    const NAME: &'static str = "core/ring";
    type Producer = Arc<BoxedRing<Payload>>;
    type Consumer = Arc<BoxedRing<Payload>>;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let ring = Arc::new(BoxedRing::with_capacity(CAPACITY).expect("the capacity is valid"));
        (vec![Arc::clone(&ring); producers], ring)
    }
}

impl Producer for Arc<BoxedRing<Payload>> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(self.try_push(payload(values.start)).is_ok())
    }
}

impl Consumer for Arc<BoxedRing<Payload>> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        BoxedRing::pop(self).map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}

static RING: StaticRing<Payload, CAPACITY> = StaticRing::new();

/// `StaticRing` in a `static`. One run at a time.
#[derive(Debug)]
pub struct Static;

/// An end of the ring in the `static`.
#[derive(Clone, Copy, Debug)]
pub struct StaticEnd;

impl Ring for Static {
    const NAME: &'static str = "core/static_ring";
    type Producer = StaticEnd;
    type Consumer = StaticEnd;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        assert!(RING.is_empty(), "the last run left events");
        (vec![StaticEnd; producers], StaticEnd)
    }
}

impl Producer for StaticEnd {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(RING.try_push(payload(values.start)).is_ok())
    }
}

impl Consumer for StaticEnd {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        RING.pop().map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}

/// `BoxedRing` with `push_batch` and `drain`.
#[derive(Debug)]
pub struct Batched;

/// An end of a ring that moves batches.
#[derive(Clone, Debug)]
pub struct BatchEnd(Arc<BoxedRing<Payload>>);

/// The payloads of the first of `values`, at most a batch.
fn batch(values: Range<u64>) -> impl ExactSizeIterator<Item = Payload> {
    let size = BATCH.min(values.end - values.start) as usize;
    (0..size).map(move |index| payload(values.start + index as u64))
}

fn pushed(result: Result<usize, BatchError>) -> u64 {
    result.unwrap_or_else(|error| error.pushed()) as u64
}

impl Ring for Batched {
    const NAME: &'static str = "core/ring_batch";
    type Producer = BatchEnd;
    type Consumer = BatchEnd;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let end = BatchEnd(Arc::new(BoxedRing::with_capacity(CAPACITY).expect("the capacity is valid")));
        (vec![end.clone(); producers], end)
    }
}

impl Producer for BatchEnd {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        pushed(self.0.push_batch(&mut batch(values)))
    }
}

impl Consumer for BatchEnd {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        self.0.drain(BATCH as usize, |payload| seen.add(&payload)).map_or(0, |events| events as u64)
    }
}

type Queue = Arc<BoxedSpsc<Payload>>;

/// `BoxedSpsc`, an event at a time.
#[derive(Debug)]
pub struct Spsc;

impl Ring for Spsc {
    const NAME: &'static str = "core/spsc";
    type Producer = spsc::Producer<Payload, Queue>;
    type Consumer = spsc::Consumer<Payload, Queue>;

    fn open(_producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let (producer, consumer) = BoxedSpsc::channel(CAPACITY).expect("the capacity is valid");
        (vec![producer], consumer)
    }
}

impl Producer for spsc::Producer<Payload, Queue> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(spsc::Producer::push(self, payload(values.start)).is_ok())
    }
}

impl Consumer for spsc::Consumer<Payload, Queue> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        spsc::Consumer::pop(self).map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}

/// `BoxedSpsc` with `push_batch` and `drain`.
#[derive(Debug)]
pub struct SpscBatched;

/// The producer of batches.
#[derive(Debug)]
pub struct SpscBatchProducer(spsc::Producer<Payload, Queue>);

/// The consumer of batches.
#[derive(Debug)]
pub struct SpscBatchConsumer(spsc::Consumer<Payload, Queue>);

impl Ring for SpscBatched {
    const NAME: &'static str = "core/spsc_batch";
    type Producer = SpscBatchProducer;
    type Consumer = SpscBatchConsumer;

    fn open(_producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let (producer, consumer) = BoxedSpsc::channel(CAPACITY).expect("the capacity is valid");
        (vec![SpscBatchProducer(producer)], SpscBatchConsumer(consumer))
    }
}

impl Producer for SpscBatchProducer {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        pushed(self.0.push_batch(&mut batch(values)))
    }
}

impl Consumer for SpscBatchConsumer {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        self.0.drain(BATCH as usize, |payload| seen.add(&payload)).map_or(0, |events| events as u64)
    }
}
