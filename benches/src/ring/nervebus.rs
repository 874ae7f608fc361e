//! The core's own ring, an event at a time.

use std::ops::Range;
use std::sync::Arc;

use nervebus_core::ring::{BoxedRing, StaticRing};

use super::{Consumer, Producer, Ring, Seen};
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
