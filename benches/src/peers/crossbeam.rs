//! `crossbeam-channel`: one bounded channel for each consumer; a copy goes into each.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

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
