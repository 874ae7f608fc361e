//! Emitting with more to say than topic and payload.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::context::{self, Deadline, Lineage};
use crate::delivery::class::Class;
use crate::delivery::emit::{Extra, How};
use crate::delivery::envelope::Meta;
use crate::delivery::key;
use crate::delivery::lane::Patience;
use crate::delivery::report::{Report, Waiter};
use crate::emit_async::{EmitAndWaitAsync, EmitAsync};
use crate::error::EmitError;
use crate::payload::Payload;
use crate::receipt::Receipt;

/// An event that has not been emitted yet; see [`Bus::event`].
#[derive(Debug)]
#[must_use = "nothing is emitted before `emit`"]
pub struct Emission<'a, P> {
    bus: &'a Bus,
    topic: &'a str,
    payload: P,
    meta: Meta,
    correlation: Option<Arc<str>>,
    key: u64,
    ttl: Option<Duration>,
    deadline: Option<Duration>,
    class: Class,
}

impl<'a, P: Payload> Emission<'a, P> {
    pub(crate) fn new(bus: &'a Bus, topic: &'a str, payload: P) -> Self {
        Self {
            bus,
            topic,
            payload,
            meta: Meta::default(),
            correlation: None,
            key: 0,
            ttl: None,
            deadline: None,
            class: Class::default(),
        }
    }

    /// Who emits it. Default: nobody.
    pub fn source(mut self, source: impl Into<Box<str>>) -> Self {
        self.meta.source = Some(source.into());
        self
    }

    /// What ties together all events of one request. Default: that of the event whose handler emits this one.
    pub fn correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.correlation = Some(id.into());
        self
    }

    /// The event's identity. Default: one that no other event of any bus has.
    pub fn event_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.meta.event_id = Some(id.into());
        self
    }

    /// The version of the payload's shape, for handlers that know several. Default: none was said.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.meta.schema_version = Some(version);
        self
    }

    /// Which events it stays in order with, on lanes with several [workers](crate::Lane::workers): those of the same
    /// key. Only a hash of it is kept. Default: none, which promises no order there.
    ///
    /// ```
    /// use nervebus::{Bus, Lane, json};
    ///
    /// let bus = Bus::builder().lane(Lane::new("accounts").workers(4)).build()?;
    /// bus.on("account.*").lane("accounts").handle(|event| println!("{}", event["balance"]))?;
    /// for balance in [10, 20, 30] {
    ///     bus.event("account.changed", json!({"balance": balance})).key("account-7").emit()?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn key(mut self, key: impl Hash) -> Self {
        self.key = key::hash(&key);
        self
    }

    /// As [`key`](Self::key), of a key that was hashed before; 0 for none.
    pub(crate) fn hashed_key(self, key: u64) -> Self {
        Self { key, ..self }
    }

    /// What two events have in common that mean the same: of those with one key, a bus with a
    /// [window for duplicates](crate::Builder::dedup) delivers the first only. It stands in for the
    /// [`event_id`](Self::event_id) there, and is nothing else's business. Default: none.
    ///
    /// ```
    /// use nervebus::{Bus, DedupWindow, json};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().dedup(DedupWindow::new(1_000, Duration::from_secs(60))).build()?;
    /// let pay = || bus.event("payment.made", json!({"amount": 7})).idempotency_key("order-1/payment").emit();
    /// assert!(!pay()?.is_duplicate());
    /// assert!(pay()?.is_duplicate());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn idempotency_key(mut self, key: impl Into<Box<str>>) -> Self {
        self.meta.idempotency_key = Some(key.into());
        self
    }

    /// How much it matters to a lane that [sheds load](crate::Lane::shed). Default: [`Class::Normal`].
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// When it happened, in seconds since the Unix epoch; a number that is not finite is ignored. Default: now.
    pub fn timestamp(mut self, seconds: f64) -> Self {
        self.meta.timestamp = Some(seconds).filter(|seconds| seconds.is_finite());
        self
    }

    /// How long from now the event is worth delivering. A handler whose turn comes later is not called: that is counted
    /// as expired, and the event is one dead letter with the reason [`Expired`](crate::Reason::Expired), for however
    /// many handlers. Default: for ever. What the event's handlers emit does not inherit it; see
    /// [`deadline`](Self::deadline) for that.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// By when, from now, all should be done: the event expires then, as with [`ttl`](Self::ttl), and so does everything
    /// that its handlers emit, on whatever lane or bus, and what the handlers of those emit. An emit that comes after the
    /// deadline fails with [`EmitError::Expired`]. Default: that of the event whose handler emits this one; the earlier of the
    /// two counts.
    ///
    /// On another bus, what is left of the time counts from the emit there.
    ///
    /// ```
    /// use nervebus::{Bus, json};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.event("quote.wanted", json!({})).deadline(Duration::from_millis(250)).emit()?;
    /// let late = bus.event("quote.wanted", json!({})).deadline(Duration::ZERO).emit();
    /// # assert!(late.is_ok(), "nobody was subscribed, so nothing was late");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn deadline(mut self, from_now: Duration) -> Self {
        self.deadline = Some(from_now);
        self
    }

    /// Emits it; see [`Bus::emit`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit`].
    pub fn emit(self) -> Result<Receipt, EmitError<P>> {
        self.send(Patience::Policy, None)
    }

    /// Emits it and waits for its handlers; see [`Bus::emit_and_wait`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit_and_wait`].
    pub fn emit_and_wait(self) -> Result<Report, EmitError<P>> {
        let engine = Arc::clone(self.bus.engine());
        let deadline = engine.clock.after(engine.wait_limit);
        let waiter = Arc::new(Waiter::default());
        let receipt = self.send(Patience::Until(deadline), Some(Arc::clone(&waiter)))?;
        Ok(waiter.wait(&engine.clock, deadline, receipt))
    }

    /// Emits it, and awaits room where [`emit`](Self::emit) would wait; see [`Bus::emit_async`].
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit`](Self::emit).
    pub fn emit_async(self) -> EmitAsync<'a, P> {
        let (bus, topic, payload, key, extra) = self.taken_apart(None);
        EmitAsync::with(bus.engine(), topic, payload, key, extra)
    }

    /// Emits it and awaits its handlers; see [`Bus::emit_and_wait_async`].
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit_and_wait`](Self::emit_and_wait).
    pub fn emit_and_wait_async(self) -> EmitAndWaitAsync<'a, P> {
        EmitAndWaitAsync::new(self.emit_async())
    }

    fn send(self, patience: Patience, waiter: Option<Arc<Waiter>>) -> Result<Receipt, EmitError<P>> {
        let (bus, topic, payload, key, extra) = self.taken_apart(waiter);
        bus.engine().emit(topic, payload, How { key, extra: Some(&extra), ..How::with(patience) })
    }

    pub(crate) fn taken_apart(self, waiter: Option<Arc<Waiter>>) -> (&'a Bus, &'a str, P, u64, Extra) {
        let Self { bus, topic, payload, meta, correlation, key, ttl, deadline, class } = self;
        let engine = bus.engine();
        let Meta { event_id, source, idempotency_key, timestamp, schema_version, .. } = &meta;
        let texts = [event_id, source, idempotency_key];
        let given = timestamp.is_some() || schema_version.is_some() || texts.into_iter().any(Option::is_some);
        let meta = given.then(|| Arc::new(meta));
        let lineage = (correlation.is_some() || deadline.is_some()).then(|| {
            let mut lineage: Lineage = context::lineage().as_deref().cloned().unwrap_or_default();
            if correlation.is_some() {
                lineage.correlation = correlation;
            }
            if let Some(left) = deadline {
                let own = engine.clock.after(left);
                let at = lineage.deadline.map_or(own, |inherited| inherited.on(engine.bus, &engine.clock).min(own));
                lineage.deadline = Some(Deadline { at, bus: engine.bus, clock: engine.clock.clone() });
            }
            Arc::new(lineage)
        });
        let expires = ttl.map_or(0, |ttl| engine.clock.after(ttl));
        let extra = Extra {
            meta,
            lineage,
            expires,
            waiter,
            class,
            admitted: false,
            system: false,
            commit: None,
            replayed: false,
        };
        (bus, topic, payload, key, extra)
    }
}
