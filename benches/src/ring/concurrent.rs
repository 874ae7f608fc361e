//! `concurrent-queue`, bounded.

use std::ops::Range;
use std::sync::Arc;

use concurrent_queue::ConcurrentQueue;

use super::{Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

/// `ConcurrentQueue::bounded`, shared by way of an `Arc`.
#[derive(Debug)]
pub struct Bounded;

impl Ring for Bounded {
    const NAME: &'static str = "concurrent_queue";
    type Producer = Arc<ConcurrentQueue<Payload>>;
    type Consumer = Arc<ConcurrentQueue<Payload>>;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let queue = Arc::new(ConcurrentQueue::bounded(CAPACITY));
        (vec![Arc::clone(&queue); producers], queue)
    }
}

impl Producer for Arc<ConcurrentQueue<Payload>> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(ConcurrentQueue::push(self, payload(values.start)).is_ok())
    }
}

impl Consumer for Arc<ConcurrentQueue<Payload>> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        ConcurrentQueue::pop(self).map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}
