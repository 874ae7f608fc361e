//! The standard library's `sync_channel`.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::Threads;
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally};

/// One bounded channel for each consumer, sent to and received from blocking.
#[derive(Debug)]
pub struct SyncChannel {
    _consumers: Threads,
}

impl Carrier for SyncChannel {
    const NAME: &'static str = "std_sync_channel";
    type Producer = Vec<SyncSender<Payload>>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let mut consumers = Threads::default();
        let mut senders = Vec::new();
        for tally in tallies {
            let (sender, receiver) = sync_channel(CAPACITY);
            let handler = tally.handler();
            consumers.spawn(move || receiver.iter().for_each(|payload| handler(&payload)));
            senders.push(sender);
        }
        (Self { _consumers: consumers }, vec![senders; producers])
    }
}

impl Producer for Vec<SyncSender<Payload>> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        for sender in self {
            sender.send(payload).expect("the consumer lives as long as a producer");
        }
    }
}
