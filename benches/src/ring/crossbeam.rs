//! `crossbeam-queue`: `ArrayQueue`.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_queue_peer::ArrayQueue;

use super::{Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

/// `ArrayQueue`, shared by way of an `Arc`.
#[derive(Debug)]
pub struct Array;

impl Ring for Array {
    const NAME: &'static str = "crossbeam_array_queue";
    type Producer = Arc<ArrayQueue<Payload>>;
    type Consumer = Arc<ArrayQueue<Payload>>;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let queue = Arc::new(ArrayQueue::new(CAPACITY));
        (vec![Arc::clone(&queue); producers], queue)
    }
}

impl Producer for Arc<ArrayQueue<Payload>> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(ArrayQueue::push(self, payload(values.start)).is_ok())
    }
}

impl Consumer for Arc<ArrayQueue<Payload>> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        ArrayQueue::pop(self).map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}
