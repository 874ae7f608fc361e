//! `rtrb`: a ring for one producer and one consumer, an event at a time and in chunks.

use std::ops::Range;

use rtrb::RingBuffer;
use rtrb::chunks::ChunkError;

use super::{BATCH, Consumer, Producer, Ring, Seen};
use crate::{CAPACITY, Payload, payload};

/// `push` and `pop`.
#[derive(Debug)]
pub struct Single;

impl Ring for Single {
    const NAME: &'static str = "rtrb";
    type Producer = rtrb::Producer<Payload>;
    type Consumer = rtrb::Consumer<Payload>;

    fn open(_producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let (producer, consumer) = RingBuffer::new(CAPACITY);
        (vec![producer], consumer)
    }
}

impl Producer for rtrb::Producer<Payload> {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        u64::from(rtrb::Producer::push(self, payload(values.start)).is_ok())
    }
}

impl Consumer for rtrb::Consumer<Payload> {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        rtrb::Consumer::pop(self).map_or(0, |payload| {
            seen.add(&payload);
            1
        })
    }
}

/// `write_chunk_uninit` of 64 and `read_chunk` of what is there, at most 64.
#[derive(Debug)]
pub struct Chunks;

/// The producer of chunks.
#[derive(Debug)]
pub struct ChunkProducer(rtrb::Producer<Payload>);

/// The consumer of chunks.
#[derive(Debug)]
pub struct ChunkConsumer(rtrb::Consumer<Payload>);

impl Ring for Chunks {
    const NAME: &'static str = "rtrb/chunks";
    type Producer = ChunkProducer;
    type Consumer = ChunkConsumer;

    fn open(_producers: usize, _events: u64) -> (Vec<Self::Producer>, Self::Consumer) {
        let (producer, consumer) = RingBuffer::new(CAPACITY);
        (vec![ChunkProducer(producer)], ChunkConsumer(consumer))
    }
}

impl Producer for ChunkProducer {
    #[inline]
    fn push(&mut self, values: Range<u64>) -> u64 {
        let size = BATCH.min(values.end - values.start);
        let Ok(chunk) = self.0.write_chunk_uninit(size as usize) else { return 0 };
        chunk.fill_from_iter(values.map(payload)) as u64
    }
}

impl Consumer for ChunkConsumer {
    #[inline]
    fn pop(&mut self, seen: &mut Seen) -> u64 {
        let chunk = match self.0.read_chunk(BATCH as usize) {
            Err(ChunkError::TooFewSlots(ready)) if ready > 0 => self.0.read_chunk(ready),
            chunk => chunk,
        };
        let Ok(chunk) = chunk else { return 0 };
        let events = chunk.len();
        chunk.into_iter().for_each(|payload| seen.add(&payload));
        events as u64
    }
}
