//! `heapless`: `spsc` for one producer and one consumer, and `mpmc`, which its authors have deprecated.

use std::ops::Range;

use heapless_peer::{mpmc, spsc};

use super::{Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

/// `spsc::Queue<_, 1024>`, which has room for 1,023 events: with one more slot, its indices would not be masks.
#[derive(Debug)]
pub struct Spsc;

impl Ring for Spsc {
    const NAME: &'static str = "heapless_spsc";
    type Producer = spsc::Producer<'static, Payload>;
    type Consumer = spsc::Consumer<'static, Payload>;

    fn open(_producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        // Its ends borrow the queue, for as long as threads may live. 64 KiB a run are not worth a way around that.
        let queue = Box::leak(Box::new(spsc::Queue::<Payload, CAPACITY>::new()));
        let (producer, consumer) = queue.split();
        (vec![producer], consumer)
    }
}

impl Producer for spsc::Producer<'static, Payload> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(self.enqueue(payload(values.start)).is_ok())
    }
}

impl Consumer for spsc::Consumer<'static, Payload> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        self.dequeue().map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}

#[expect(deprecated, reason = "it is measured because it is in use")]
static QUEUE: mpmc::Queue<Payload, CAPACITY> = mpmc::Queue::new();

/// `mpmc::Queue` in a `static`. One run at a time.
#[derive(Debug)]
pub struct Mpmc;

/// An end of the queue in the `static`.
#[derive(Clone, Copy, Debug)]
pub struct MpmcEnd;

impl Ring for Mpmc {
    const NAME: &'static str = "heapless_mpmc";
    type Producer = MpmcEnd;
    type Consumer = MpmcEnd;

    fn open(producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        // A run that got stuck leaves events behind.
        while QUEUE.dequeue().is_some() {}
        (vec![MpmcEnd; producers], MpmcEnd)
    }
}

impl Producer for MpmcEnd {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(QUEUE.enqueue(payload(values.start)).is_ok())
    }
}

impl Consumer for MpmcEnd {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        QUEUE.dequeue().map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}
