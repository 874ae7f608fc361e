//! `crossbeam-channel`: one bounded channel for each consumer; a copy goes into each.

use std::hint;
use std::sync::Arc;

use crossbeam_channel::{Sender, TryRecvError, bounded};

use super::Threads;
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally};

/// Bounded channels, sent to and received from blocking.
#[derive(Debug)]
pub struct Crossbeam {
    _consumers: Threads,
}

impl Carrier for Crossbeam {
    const NAME: &'static str = "crossbeam_channel";
    type Producer = Vec<Sender<Payload>>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let mut consumers = Threads::default();
        let mut senders = Vec::new();
        for tally in tallies {
            let (sender, receiver) = bounded(CAPACITY);
            let handler = tally.handler();
            consumers.spawn(move || receiver.iter().for_each(|payload| handler(&payload)));
            senders.push(sender);
        }
        (Self { _consumers: consumers }, vec![senders; producers])
    }
}

impl Producer for Vec<Sender<Payload>> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        for sender in self {
            sender.send(payload).expect("the consumer lives as long as a producer");
        }
    }
}

/// A bounded channel whose receiver spins, sent to blocking.
#[derive(Debug)]
pub struct Spinning {
    _consumers: Threads,
}

impl Carrier for Spinning {
    const NAME: &'static str = "crossbeam_channel/try_recv";
    type Producer = Vec<Sender<Payload>>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let mut consumers = Threads::default();
        let mut senders = Vec::new();
        for tally in tallies {
            let (sender, receiver) = bounded::<Payload>(CAPACITY);
            let handler = tally.handler();
            consumers.spawn(move || {
                loop {
                    match receiver.try_recv() {
                        Ok(payload) => handler(&payload),
                        Err(TryRecvError::Empty) => hint::spin_loop(),
                        Err(TryRecvError::Disconnected) => return,
                    }
                }
            });
            senders.push(sender);
        }
        (Self { _consumers: consumers }, vec![senders; producers])
    }
}

/// The same channels with slots as large as those of a lane.
#[derive(Debug)]
pub struct Wide {
    _consumers: Threads,
}

/// A payload in as many bytes as an event takes in a lane: 184, which with the channel's own word make a slot of 192.
#[derive(Clone, Copy, Debug)]
pub struct Padded {
    payload: Payload,
    /// Copied with the payload, as an event's other fields are.
    _rest: [u64; 15],
}

// What `Lane::capacity` says that a slot takes, less the word that says whose turn a slot is.
const _: () = assert!(size_of::<Padded>() == 192 - size_of::<usize>());

impl Carrier for Wide {
    const NAME: &'static str = "crossbeam_channel/192_byte_slots";
    type Producer = Vec<Sender<Padded>>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let mut consumers = Threads::default();
        let mut senders = Vec::new();
        for tally in tallies {
            let (sender, receiver) = bounded::<Padded>(CAPACITY);
            let handler = tally.handler();
            consumers.spawn(move || receiver.iter().for_each(|padded| handler(&padded.payload)));
            senders.push(sender);
        }
        (Self { _consumers: consumers }, vec![senders; producers])
    }
}

impl Producer for Vec<Sender<Padded>> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        for sender in self {
            let padded = std::hint::black_box(Padded { payload, _rest: [payload[0]; 15] });
            sender.send(padded).expect("the consumer lives as long as a producer");
        }
    }
}
