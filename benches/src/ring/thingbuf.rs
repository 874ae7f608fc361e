//! `thingbuf`: `StaticThingBuf`, pushed to and popped from by value.

use std::ops::Range;

use thingbuf::StaticThingBuf;

use super::{Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

static QUEUE: StaticThingBuf<Payload, CAPACITY> = StaticThingBuf::new();

/// `StaticThingBuf` in a `static`. One run at a time.
#[derive(Debug)]
pub struct Static;

/// An end of the queue in the `static`.
#[derive(Clone, Copy, Debug)]
pub struct StaticEnd;

impl Ring for Static {
    const NAME: &'static str = "thingbuf_static";
    type Producer = StaticEnd;
    type Consumer = StaticEnd;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        assert!(QUEUE.is_empty(), "the last run left events");
        (vec![StaticEnd; producers], StaticEnd)
    }
}

impl Producer for StaticEnd {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(QUEUE.push(payload(values.start)).is_ok())
    }
}

impl Consumer for StaticEnd {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        QUEUE.pop().map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}
