//! What handlers see of an event, and what is kept of one.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::delivery::class::Class;
use crate::delivery::envelope::Head;
use crate::event_id::EventId;
use crate::headers::Headers;
use crate::payload::Content;

/// An event as a handler sees it: a view that lives as long as the call.
///
/// `event["field"]` reads the payload as JSON (`null` for what is not there); [`payload_as`](Self::payload_as) reads it
/// as the Rust value that was emitted.
///
/// # Cost
///
/// Looking at topic, sequence, source and ids is free. The JSON view of a payload that was emitted as a Rust type is
/// made when it is first asked for, once for each event (once for all lanes, when several share it).
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("user.login").inline().handle(|event| {
///     assert_eq!(event.topic(), "user.login");
///     assert_eq!(event["username"], "alice");
///     assert!(event["password"].is_null());
/// })?;
/// bus.emit("user.login", json!({"username": "alice"}))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Event<'a> {
    pub(crate) head: &'a Head,
    pub(crate) content: &'a dyn Content,
    pub(crate) topic: &'a str,
    pub(crate) bus: u64,
    /// What limits the call, if anything does.
    pub(crate) call: Option<&'a dyn Call>,
}

/// What limits the call of a handler.
pub(crate) trait Call: Send + Sync {
    /// What is left of its time.
    fn left(&self) -> Duration;

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool;
}

impl<'a> Event<'a> {
    /// The name under which the event was emitted.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The number of the event on its bus: later emits have higher numbers. Starts at 1.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }

    /// The event's identity: the one it was emitted with, or one that no other event of any bus has.
    pub fn id(&self) -> EventId<'a> {
        match self.head.meta.as_deref().and_then(|meta| meta.event_id.as_deref()) {
            Some(given) => EventId::given(given),
            None => EventId::made(self.bus, self.head.seq),
        }
    }

    /// When the event happened, in seconds since the Unix epoch: as given by its emitter, or when it was emitted.
    pub fn timestamp(&self) -> f64 {
        match self.head.meta.as_deref().and_then(|meta| meta.timestamp) {
            Some(given) => given,
            None => self.head.emitted_at() as f64 / 1e9,
        }
    }

    /// Who emitted it, if the emitter said so.
    pub fn source(&self) -> Option<&'a str> {
        self.head.meta.as_deref()?.source.as_deref()
    }

    /// What it has in common with other events that mean the same, if the emitter said so.
    pub fn idempotency_key(&self) -> Option<&'a str> {
        self.head.meta.as_deref()?.idempotency_key.as_deref()
    }

    /// The version of the payload's shape: that of the [type](crate::TypedEvent::VERSION) that a typed topic emitted, or
    /// what the emitter said.
    pub fn schema_version(&self) -> Option<u32> {
        self.head.meta.as_deref().and_then(|meta| meta.schema_version).or_else(|| self.content.version())
    }

    /// For how long after its emit it is worth delivering: what the emitter said, or the [type](crate::TypedEvent::TTL) that
    /// a typed topic emitted. What is left of it during a call is part of [`deadline`](Self::deadline).
    pub fn ttl(&self) -> Option<Duration> {
        self.headers().and_then(|headers| headers.ttl).or_else(|| self.content.ttl())
    }

    /// What was said of it that few events have, if anything was. The table there says where every other header is.
    pub fn headers(&self) -> Option<&'a Headers> {
        self.head.headers()
    }

    /// The [attribute](crate::Emission::attribute) of this name, if the emitter said one.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.headers()?.attributes.get(name)
    }

    /// How much it matters when not all events can stay.
    pub fn class(&self) -> Class {
        self.head.class()
    }

    /// What ties together all events of one request; handlers' own emits inherit it, as it may come from a
    /// [scope](crate::CorrelationScope).
    pub fn correlation_id(&self) -> Option<&'a str> {
        self.head.lineage.as_deref()?.correlation.as_deref()
    }

    /// The identity of the event that caused it: the one that the emitter [said](crate::Emission::causation_id), or that of
    /// the event whose handler emitted it, on whatever bus. `None` when nothing caused it, and where only its number is
    /// known, as for some lines of other writers.
    pub fn causation_id(&self) -> Option<EventId<'a>> {
        match self.headers().and_then(|headers| headers.causation_id.as_deref()) {
            Some(given) => Some(EventId::given(given)),
            None => self.causation().filter(|_| self.bus != 0).map(|cause| EventId::made(self.bus, cause)),
        }
    }

    /// The sequence number of the event whose handler emitted this one, on this bus.
    pub fn causation(&self) -> Option<u64> {
        (self.head.cause != 0).then_some(self.head.cause)
    }

    /// What is left of the time that this call has: until the handler's timeout or until the event expires, whichever comes
    /// first; zero once it has passed. `None` when nothing limits the call, and for events that are kept, such as those
    /// in dead letters.
    ///
    /// ```
    /// use nervebus::{Bus, json};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("report.wanted").timeout(Duration::from_secs(60)).handle(|event| {
    ///     let left = event.deadline().expect("this handler has a timeout");
    ///     assert!(left <= Duration::from_secs(60) && !event.is_abandoned());
    /// })?;
    /// assert!(bus.emit_and_wait("report.wanted", json!({}))?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// One look at the bus's clock, if there is a limit.
    pub fn deadline(&self) -> Option<Duration> {
        self.call.map(Call::left)
    }

    /// Whether this call has taken longer than the handler's timeout, so that nobody waits for it any more: the event is
    /// a dead letter, another worker has taken over, and what the handler returns is discarded. A handler that takes
    /// long looks now and then, and gives up when it is so.
    ///
    /// # Cost
    ///
    /// One load.
    pub fn is_abandoned(&self) -> bool {
        self.call.is_some_and(Call::is_abandoned)
    }

    /// Whether it was recorded earlier and is given once more, by [`Bus::replay`](crate::Bus::replay).
    pub fn is_replayed(&self) -> bool {
        self.head.is_replayed()
    }

    /// Which attempt this is to have the handler that is looking handle the event: 1 for the first, more for retries.
    pub fn attempt(&self) -> u32 {
        u32::from(self.head.earlier) + 1
    }

    /// The payload as JSON; `null` when its `Serialize` implementation fails.
    pub fn payload(&self) -> &'a Value {
        self.content.json()
    }

    /// The payload as the type it was emitted as; `None` for any other type. Name the type: `payload_as::<u64>()` of an
    /// event that was emitted with `1` is `None`, for that is an `i32`.
    pub fn payload_as<T: 'static>(&self) -> Option<&'a T> {
        self.content.as_any().downcast_ref()
    }

    /// The payload as JSON with its [personal data](crate::TypedEvent::PII), which [`payload`](Self::payload) and
    /// `event["field"]` do not show. The same as `payload` where a type has none.
    ///
    /// # Cost
    ///
    /// The JSON is made for each call.
    pub fn reveal(&self) -> Value {
        self.content.reveal()
    }

    /// Whether the payload is where several can own it.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        self.content.shared().is_some()
    }
}

impl Index<&str> for Event<'_> {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.payload()[field]
    }
}

impl fmt::Debug for Event<'_> {
    /// Identity only: a payload may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("topic", &self.topic).field("seq", &self.seq()).finish_non_exhaustive()
    }
}

/// An event that outlives its delivery: what dead letters hold, and what handlers get that
/// [own](crate::Subscribe::handle_owned) their events.
///
/// It is read as an [`Event`] is. Cheap to clone; the payload is shared, never copied.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, OwnedEvent, json};
/// use std::sync::mpsc;
///
/// let bus = Bus::builder().build()?;
/// let (sender, events) = mpsc::channel();
/// bus.on("user.login").handle_owned(move |event: OwnedEvent| sender.send(event))?;
/// bus.emit("user.login", json!({"username": "alice"}))?;
///
/// let event = events.recv()?;
/// assert_eq!((event.topic(), event["username"].as_str()), ("user.login", Some("alice")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OwnedEvent(pub(crate) Arc<dyn Held>);

/// Whatever holds an event beyond its delivery.
pub(crate) trait Held: Send + Sync {
    /// What handlers see of it.
    fn view(&self) -> Event<'_>;
}

impl OwnedEvent {
    /// The view that handlers see.
    pub fn as_event(&self) -> Event<'_> {
        self.0.view()
    }

    /// See [`Event::topic`].
    pub fn topic(&self) -> &str {
        self.as_event().topic()
    }

    /// See [`Event::seq`].
    pub fn seq(&self) -> u64 {
        self.as_event().seq()
    }

    /// See [`Event::id`].
    pub fn id(&self) -> EventId<'_> {
        self.as_event().id()
    }

    /// See [`Event::timestamp`].
    pub fn timestamp(&self) -> f64 {
        self.as_event().timestamp()
    }

    /// See [`Event::source`].
    pub fn source(&self) -> Option<&str> {
        self.as_event().source()
    }

    /// See [`Event::schema_version`].
    pub fn schema_version(&self) -> Option<u32> {
        self.as_event().schema_version()
    }

    /// See [`Event::headers`].
    pub fn headers(&self) -> Option<&Headers> {
        self.as_event().headers()
    }

    /// See [`Event::attribute`].
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.as_event().attribute(name)
    }

    /// See [`Event::causation_id`].
    pub fn causation_id(&self) -> Option<EventId<'_>> {
        self.as_event().causation_id()
    }

    /// See [`Event::correlation_id`].
    pub fn correlation_id(&self) -> Option<&str> {
        self.as_event().correlation_id()
    }

    /// See [`Event::causation`].
    pub fn causation(&self) -> Option<u64> {
        self.as_event().causation()
    }

    /// See [`Event::is_replayed`].
    pub fn is_replayed(&self) -> bool {
        self.as_event().is_replayed()
    }

    /// See [`Event::payload`].
    pub fn payload(&self) -> &Value {
        self.as_event().payload()
    }

    /// See [`Event::payload_as`].
    pub fn payload_as<T: 'static>(&self) -> Option<&T> {
        self.as_event().payload_as()
    }

    /// See [`Event::reveal`].
    pub fn reveal(&self) -> Value {
        self.as_event().reveal()
    }
}

impl Index<&str> for OwnedEvent {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.payload()[field]
    }
}

impl fmt::Debug for OwnedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_event().fmt(f)
    }
}
