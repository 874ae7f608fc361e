//! `tokio::sync::broadcast`, received from with `blocking_recv` on plain threads.
//!
//! Its `send` never waits: a receiver that falls behind by more than the capacity misses events. To lose none, producers
//! hold back: they reserve room in blocks and wait, yielding, until the slowest consumer has handled enough.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio_peer::sync::broadcast::error::RecvError;
use tokio_peer::sync::broadcast::{Receiver, Sender, channel};

use super::Threads;
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally};

/// Events that a producer reserves at a time; an eighth of the channel, so that two producers never stall one another.
const BLOCK: u64 = CAPACITY as u64 / 8;

/// A broadcast channel with a receiver for each consumer.
#[derive(Debug)]
pub struct TokioBroadcast {
    _consumers: Threads,
}

/// A sender that holds back.
#[derive(Debug)]
pub struct PacedSender {
    sender: Sender<Payload>,
    pace: Pace,
}

/// What holds a producer back whose carrier does not.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    tallies: Vec<Arc<Tally>>,
    reserved: Arc<AtomicU64>,
    left: u64,
}

impl Carrier for TokioBroadcast {
    const NAME: &'static str = "tokio_broadcast";
    type Producer = PacedSender;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let (sender, _) = channel(CAPACITY);
        let mut consumers = Threads::default();
        for tally in tallies {
            let receiver = sender.subscribe();
            let handler = tally.handler();
            consumers.spawn(move || receive_all(receiver, &*handler));
        }
        let pace = Pace::new(tallies);
        let paced = |_| PacedSender { sender: sender.clone(), pace: pace.clone() };
        (Self { _consumers: consumers }, (0..producers).map(paced).collect())
    }
}

/// Hands every event to `handler` until the last sender is gone.
fn receive_all(mut receiver: Receiver<Payload>, handler: &dyn Fn(&Payload)) {
    loop {
        match receiver.blocking_recv() {
            Ok(payload) => handler(&payload),
            Err(RecvError::Closed) => return,
            // The bench ends in `Tally::wait`, which misses these events; this line says why.
            Err(RecvError::Lagged(missed)) => panic!("the pacing let a receiver miss {missed} events"),
        }
    }
}

impl Pace {
    /// The pace of every producer is a clone of this one.
    pub(super) fn new(tallies: &[Arc<Tally>]) -> Self {
        Self { tallies: tallies.to_vec(), reserved: Arc::new(AtomicU64::new(0)), left: 0 }
    }

    /// Waits until there is room for one more event.
    #[inline]
    pub(super) fn hold(&mut self) {
        if self.left == 0 {
            self.reserve();
        }
        self.left -= 1;
    }

    /// Reserves a block, and waits until the channel has room for all that is reserved.
    #[cold]
    fn reserve(&mut self) {
        let end = self.reserved.fetch_add(BLOCK, Ordering::Relaxed) + BLOCK;
        while end > self.slowest().saturating_add(CAPACITY as u64) {
            thread::yield_now();
        }
        self.left = BLOCK;
    }

    /// Events that every consumer has handled.
    fn slowest(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.handled()).min().unwrap_or(u64::MAX)
    }
}

impl Producer for PacedSender {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        self.pace.hold();
        self.sender.send(payload).expect("the receivers live as long as a sender");
    }
}
