//! An event on its way: what lies in a lane's ring slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::delivery::report::Ticket;
use crate::payload::Body;
use crate::platform::clock;

/// The number of a topic in its bus's directory.
pub(crate) type TopicId = u32;

/// What is known of an event beyond its payload; absent for most.
#[derive(Debug, Default, Clone)]
pub(crate) struct Meta {
    pub(crate) event_id: Option<Box<str>>,
    pub(crate) source: Option<Box<str>>,
    /// Seconds since the Unix epoch, when the emitter said when the event happened.
    pub(crate) timestamp: Option<f64>,
}

/// An event in a ring.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) seq: u64,
    /// Nanoseconds since the Unix epoch; 0 until somebody needs it, for a clock call costs more than a handler call.
    time: AtomicU64,
    pub(crate) topic: TopicId,
    /// How many handlers of the lane it lies in were subscribed when it was emitted.
    pub(crate) expected: u32,
    /// Whether the bus emitted it itself.
    pub(crate) own: bool,
    /// The version of the topic's route it was emitted under.
    pub(crate) version: u64,
    /// Sequence number of the event whose handler emitted this one; 0 for none.
    pub(crate) cause: u64,
    pub(crate) correlation: Option<Arc<str>>,
    pub(crate) meta: Option<Arc<Meta>>,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) body: Body,
}

impl Envelope {
    pub(crate) fn new(seq: u64, topic: TopicId, version: u64, body: Body) -> Self {
        Self {
            seq,
            time: AtomicU64::new(0),
            topic,
            expected: 0,
            own: false,
            version,
            cause: 0,
            correlation: None,
            meta: None,
            ticket: None,
            body,
        }
    }

    /// When the event was emitted, in nanoseconds since the Unix epoch. The first to ask sets it: an emit that leaves
    /// the emitter's thread asks at once.
    pub(crate) fn emitted_at(&self) -> u64 {
        match self.time.load(Ordering::Relaxed) {
            0 => {
                let now = clock::wall_nanos();
                // Relaxed: the number is all there is. If two ask at once, the first one's answer stands.
                self.time.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).map_or_else(|set| set, |_| now)
            }
            set => set,
        }
    }

    /// A second copy that shares the payload, without the right to report to a waiter.
    pub(crate) fn share(&mut self) -> Self {
        Self {
            seq: self.seq,
            time: AtomicU64::new(self.time.load(Ordering::Relaxed)),
            topic: self.topic,
            expected: self.expected,
            own: self.own,
            version: self.version,
            cause: self.cause,
            correlation: self.correlation.clone(),
            meta: self.meta.clone(),
            ticket: None,
            body: self.body.clone_shared(),
        }
    }

    /// Keeps the event beyond its delivery.
    pub(crate) fn keep(mut self, topic: &str, bus: u64) -> Kept {
        self.ticket = None;
        // Nobody may have asked yet, and later would be too late.
        self.emitted_at();
        Kept { envelope: self, topic: topic.into(), bus }
    }
}

/// An event beyond its delivery, with what its topic and bus would have said.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) envelope: Envelope,
    pub(crate) topic: Box<str>,
    pub(crate) bus: u64,
}
