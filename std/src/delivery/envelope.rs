//! An event on its way: what lies in a lane's ring slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::Lineage;
use crate::delivery::class::Class;
use crate::delivery::reply::ReplyTo;
use crate::delivery::report::Ticket;
use crate::event::{Event, Held, OwnedEvent};
use crate::headers::Headers;
use crate::payload::{Body, Content};
use crate::platform::clock::{self, Clock};

/// The number of a topic in its bus's directory.
pub(crate) type TopicId = u32;

/// What an emitter has said of an event beyond topic and payload; absent for most.
#[derive(Debug, Default, Clone)]
pub(crate) struct Meta {
    pub(crate) event_id: Option<Arc<str>>,
    pub(crate) source: Option<Box<str>>,
    /// What two events with the same meaning have in common.
    pub(crate) idempotency_key: Option<Box<str>>,
    /// Seconds since the Unix epoch, when the emitter said when the event happened.
    pub(crate) timestamp: Option<f64>,
    /// The version of the payload's shape, when the emitter said one.
    pub(crate) schema_version: Option<u32>,
    /// Where the answer goes, when the event is a request.
    pub(crate) reply: Option<Arc<ReplyTo>>,
    /// What is said more rarely.
    pub(crate) headers: Option<Box<Headers>>,
}

impl Meta {
    /// Whether the emitter has said nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let Self { event_id, source, idempotency_key, timestamp, schema_version, reply, headers } = self;
        let texts = source.is_none() && idempotency_key.is_none() && event_id.is_none();
        texts && timestamp.is_none() && schema_version.is_none() && reply.is_none() && headers.is_none()
    }
}

/// A class as a number that is 0 for a normal event: beside other zeros it is written for nothing. The highest bit says
/// whether the event is replayed, for which an event's slot has no other room.
#[derive(Debug, Clone, Copy)]
struct Rank(u8);

impl Rank {
    const REPLAYED: u8 = 1 << 7;
    const NORMAL: Self = Self::of(Class::Normal);

    const fn of(class: Class) -> Self {
        Self(class as u8 ^ Class::Normal as u8)
    }
}

/// What is known of an event but its topic and payload.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) seq: u64,
    /// Nanoseconds since the Unix epoch; 0 until somebody needs it, for a clock call costs more than a handler call.
    time: AtomicU64,
    /// Sequence number of the event whose handler emitted this one; 0 for none.
    pub(crate) cause: u64,
    /// How many handlers' emits lie between this event and the first of its chain.
    pub(crate) hops: u32,
    /// Whether the bus emitted it itself.
    pub(crate) own: bool,
    /// The hash of its key; 0 for none.
    pub(crate) key: u64,
    /// The moment of the bus's clock from which on it is delivered to nobody; 0 for none.
    pub(crate) expires: u64,
    /// How often the handler that sees it was called with it before; up to the most that fits.
    pub(crate) earlier: u16,
    /// How much it matters when not all events can stay.
    class: Rank,
    pub(crate) lineage: Option<Arc<Lineage>>,
    pub(crate) meta: Option<Arc<Meta>>,
}

impl Head {
    pub(crate) const fn new(seq: u64) -> Self {
        Self {
            seq,
            time: AtomicU64::new(0),
            cause: 0,
            hops: 0,
            own: false,
            earlier: 0,
            key: 0,
            expires: 0,
            class: Rank::NORMAL,
            lineage: None,
            meta: None,
        }
    }

    /// How much the event matters when not all can stay.
    pub(crate) fn class(&self) -> Class {
        let number = usize::from((self.class.0 & !Rank::REPLAYED) ^ Class::Normal as u8);
        Class::ALL.get(number).copied().unwrap_or_default()
    }

    pub(crate) fn set_class(&mut self, class: Class) {
        self.class = Rank(Rank::of(class).0 | (self.class.0 & Rank::REPLAYED));
    }

    /// Whether it was recorded earlier, and is given once more.
    pub(crate) fn is_replayed(&self) -> bool {
        self.class.0 & Rank::REPLAYED != 0
    }

    pub(crate) fn set_replayed(&mut self) {
        self.class.0 |= Rank::REPLAYED;
    }

    /// The identity that was given to it.
    #[inline]
    pub(crate) fn given_id(&self) -> Option<&Arc<str>> {
        self.meta.as_deref()?.event_id.as_ref()
    }

    /// What is said of it rarely.
    pub(crate) fn headers(&self) -> Option<&Headers> {
        self.meta.as_deref()?.headers.as_deref()
    }

    /// Says which event has caused it, unless its emitter did: one whose number says it to nobody.
    #[cold]
    pub(crate) fn set_cause(&mut self, id: &str) {
        let meta = Arc::make_mut(self.meta.get_or_insert_default());
        meta.headers.get_or_insert_default().causation_id.get_or_insert_with(|| id.into());
    }

    /// Says that the event is emitted now, by this clock. An emit that leaves the emitter's thread does so, and every one
    /// on a clock that is not the machine's.
    pub(crate) fn stamp(&mut self, clock: &Clock) {
        *self.time.get_mut() = clock.wall_nanos();
    }

    /// As [`stamp`](Self::stamp), if the clock is not the machine's, by which an event is stamped when somebody asks.
    #[inline]
    pub(crate) fn stamp_if_manual(&mut self, clock: &Clock) {
        #[cold]
        #[inline(never)]
        fn stamp(head: &mut Head, clock: &Clock) {
            head.stamp(clock);
        }
        if clock.is_manual() {
            stamp(self, clock);
        }
    }

    /// When the event was emitted, in nanoseconds since the Unix epoch. If it was not [stamped](Self::stamp), the first to
    /// ask sets it.
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
}

impl Clone for Head {
    fn clone(&self) -> Self {
        Self {
            seq: self.seq,
            time: AtomicU64::new(self.time.load(Ordering::Relaxed)),
            cause: self.cause,
            hops: self.hops,
            own: self.own,
            key: self.key,
            expires: self.expires,
            earlier: self.earlier,
            class: self.class,
            lineage: self.lineage.clone(),
            meta: self.meta.clone(),
        }
    }
}

/// An event in a ring.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) head: Head,
    pub(crate) topic: TopicId,
    /// How many handlers of the lane it lies in were subscribed when it was emitted.
    pub(crate) expected: u32,
    /// The version of the topic's route it was emitted under.
    pub(crate) version: u64,
    pub(crate) ticket: Option<Box<Ticket>>,
    pub(crate) body: Body,
}

impl Envelope {
    pub(crate) const fn new(head: Head, topic: TopicId, version: u64, body: Body) -> Self {
        Self { head, topic, expected: 0, version, ticket: None, body }
    }

    /// The event, whose place it leaves to one that carries nothing.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Head::new(0), 0, 0, Body::new(())))
    }

    /// What handlers see of it.
    #[inline]
    pub(crate) fn event<'a>(&'a self, topic: &'a str, bus: u64) -> Event<'a> {
        Event { head: &self.head, content: self.body.content(), topic, bus, call: None }
    }

    /// A second copy that shares the payload, without the right to report to a waiter.
    pub(crate) fn share(&mut self) -> Self {
        Self {
            head: self.head.clone(),
            topic: self.topic,
            expected: self.expected,
            version: self.version,
            ticket: None,
            body: self.body.clone_shared(),
        }
    }

    /// Keeps the event beyond its delivery.
    pub(crate) fn keep(self, topic: &str, bus: u64) -> Kept {
        Kept::new(self.head, self.body, topic, bus)
    }
}

/// An event beyond its delivery, with what its topic and bus would have said.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) head: Head,
    body: Body,
    topic: Box<str>,
    bus: u64,
}

impl Kept {
    pub(crate) fn new(head: Head, body: Body, topic: &str, bus: u64) -> Self {
        // Nobody may have asked yet, and later would be too late.
        head.emitted_at();
        let mut body = body;
        // A handler that owns its events may be the next to see it, and finds it in place no longer.
        body.share();
        Self { head, body, topic: topic.into(), bus }
    }
}

impl Event<'_> {
    /// The event for longer than this view lasts, with the same payload; `None` while that lies [in
    /// place](Event::is_shared).
    ///
    /// Costs two allocations.
    pub(crate) fn keep(&self) -> Option<OwnedEvent> {
        let body = Body::Shared(Arc::clone(self.content.shared()?));
        Some(OwnedEvent(Arc::new(Kept::new(self.head.clone(), body, self.topic, self.bus))))
    }
}

impl Held for Kept {
    fn view(&self) -> Event<'_> {
        let content: &dyn Content = self.body.content();
        Event { head: &self.head, content, topic: &self.topic, bus: self.bus, call: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_and_its_slot_fill_three_cache_lines() {
        assert!(size_of::<Envelope>() <= 3 * 64 - size_of::<usize>(), "{}", size_of::<Envelope>());
    }
}
