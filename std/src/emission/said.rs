//! What can be said of an event before it is emitted, in whatever way that is.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::lineage::{self, Carried};
use crate::context::Lineage;
use crate::delivery::class::Class;
use crate::delivery::emit::Extra;
use crate::delivery::engine::Engine;
use crate::delivery::envelope::Meta;
use crate::delivery::key;
use crate::delivery::report::Waiter;
use crate::headers::Headers;
use crate::headers::attributes::AttributeError;
use crate::records::line::restored::Restored;

/// All that is said of an event but topic and payload.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) meta: Meta,
    pub(crate) correlation: Option<Arc<str>>,
    pub(crate) key: u64,
    pub(crate) deadline: Option<Duration>,
    pub(super) carried: Option<Box<Carried>>,
    pub(crate) class: Class,
    pub(crate) ttl: Option<Duration>,
    /// What is left of its time to live, if not all of it.
    pub(crate) lasts: Option<Duration>,
    invalid: Option<Box<AttributeError>>,
}

impl Said {
    /// What was recorded of an event; the payload is left out.
    pub(crate) fn recorded(restored: &mut Restored) -> Self {
        let lineage = restored.lineage.take();
        let carried = |lineage: &Lineage| Carried { trace: lineage.trace.clone(), baggage: lineage.baggage.clone() };
        Self {
            meta: std::mem::take(&mut restored.meta),
            correlation: lineage.as_ref().and_then(|lineage| lineage.correlation.clone()),
            carried: lineage.as_deref().map(|lineage| Box::new(carried(lineage))),
            key: restored.key,
            class: restored.class,
            ..Self::default()
        }
    }

    pub(crate) fn headers(&mut self) -> &mut Headers {
        self.meta.headers.get_or_insert_default()
    }

    pub(crate) fn add_attribute(&mut self, name: Box<str>, value: Box<str>) {
        if let Err(error) = self.headers().attributes.insert(name, value) {
            self.invalid.get_or_insert_with(|| Box::new(error));
        }
    }

    /// The hash of its key, and the rest as an emit takes it.
    pub(crate) fn taken_apart(self, engine: &Engine, waiter: Option<Arc<Waiter>>) -> (u64, Extra) {
        let Self { meta, correlation, key, ttl, lasts, deadline, carried, class, invalid } = self;
        let lineage = lineage::own(engine, correlation, deadline, carried);
        let headers = meta.headers.as_deref();
        let partition_key = headers.and_then(|headers| headers.partition_key.as_deref());
        let key = if key == 0 { partition_key.map_or(0, key::hash) } else { key };
        let lasts = lasts.or(ttl).or(headers.and_then(|headers| headers.ttl));
        let extra = Extra {
            meta: shared(meta, ttl),
            lineage,
            expires: lasts.map_or(0, |lasts| engine.clock.after(lasts)),
            waiter,
            class,
            invalid,
            ..Extra::default()
        };
        (key, extra)
    }
}

thread_local! {
    /// What an event says of which nothing but its time to live was said, the last such of this thread: who says it says
    /// the same for many.
    static LASTING: RefCell<Option<(Duration, Arc<Meta>)>> = const { RefCell::new(None) };
}

/// What was said, where lanes can share it; nothing, if nothing was said.
fn shared(mut meta: Meta, ttl: Option<Duration>) -> Option<Arc<Meta>> {
    if meta.is_empty() {
        return ttl.map(|ttl| {
            // On a thread that ends it is made anew.
            let known = LASTING
                .try_with(|last| last.borrow().as_ref().filter(|last| last.0 == ttl).map(|last| Arc::clone(&last.1)));
            known.ok().flatten().unwrap_or_else(|| lasting(ttl))
        });
    }
    if ttl.is_some() {
        meta.headers.get_or_insert_default().ttl = ttl;
    }
    Some(Arc::new(meta))
}

#[cold]
fn lasting(ttl: Duration) -> Arc<Meta> {
    let headers = Headers { ttl: Some(ttl), ..Headers::default() };
    let meta = Arc::new(Meta { headers: Some(Box::new(headers)), ..Meta::default() });
    let _ = LASTING.try_with(|last| last.replace(Some((ttl, Arc::clone(&meta)))));
    meta
}

/// The methods that say it, for a type that has a [`Said`] in its field `said`.
macro_rules! saying {
    () => {
        /// Who emits it. Default: nobody.
        pub fn source(mut self, source: impl Into<Box<str>>) -> Self {
            self.said.meta.source = Some(source.into());
            self
        }

        /// What ties together all events of one request. Default: that of the event whose handler emits this one, or of the
        /// [scope](crate::CorrelationScope).
        pub fn correlation_id(mut self, id: impl Into<std::sync::Arc<str>>) -> Self {
            self.said.correlation = Some(id.into());
            self
        }

        /// The event's identity. Default: one that no other event of any bus has.
        pub fn event_id(mut self, id: impl Into<std::sync::Arc<str>>) -> Self {
            self.said.meta.event_id = Some(id.into());
            self
        }

        /// The version of the payload's shape, for handlers that know several. Default: none was said.
        pub fn schema_version(mut self, version: u32) -> Self {
            self.said.meta.schema_version = Some(version);
            self
        }

        /// Which events it stays in order with, on lanes with several [workers](crate::Lane::workers): those of the same
        /// key. Only a hash of it is kept; [`partition_key`](Self::partition_key) keeps the text. Default: none, which promises
        /// no order there.
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
        pub fn key(mut self, key: impl std::hash::Hash) -> Self {
            self.said.key = $crate::delivery::key::hash(&key);
            self
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
            self.said.meta.idempotency_key = Some(key.into());
            self
        }

        /// How much it matters to a lane that [sheds load](crate::Lane::shed). Default: [`Class::Normal`](crate::Class::Normal).
        pub fn class(mut self, class: $crate::Class) -> Self {
            self.said.class = class;
            self
        }

        /// When it happened, in seconds since the Unix epoch; a number that is not finite is ignored. Default: now.
        pub fn timestamp(mut self, seconds: f64) -> Self {
            self.said.meta.timestamp = Some(seconds).filter(|seconds| seconds.is_finite());
            self
        }

        /// How long from now the event is worth delivering. A handler whose turn comes later is not called: that is counted
        /// as expired, and the event is one dead letter with the reason [`Expired`](crate::Reason::Expired), for however
        /// many handlers. Default: for ever. What the event's handlers emit does not inherit it; see
        /// [`deadline`](Self::deadline) for that.
        ///
        /// Said alone, it allocates nothing when the last that was said alone on this thread was the same; else it costs
        /// two allocations.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.said.ttl = Some(ttl);
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
        pub fn deadline(mut self, from_now: std::time::Duration) -> Self {
            self.said.deadline = Some(from_now);
            self
        }

        /// The identity of the event that caused it, which may be one of another process. Default: that of the event whose
        /// handler emits this one.
        pub fn causation_id(mut self, id: impl Into<Box<str>>) -> Self {
            self.said.headers().causation_id = Some(id.into());
            self
        }

        /// Which events it stays in order with, as text that goes with the event; its hash is the [`key`](Self::key), unless
        /// that was said as well. Default: none.
        pub fn partition_key(mut self, key: impl Into<Box<str>>) -> Self {
            self.said.headers().partition_key = Some(key.into());
            self
        }

        /// What kind of data the payload is, as a media type. Default: not said.
        pub fn content_type(mut self, media_type: impl Into<Box<str>>) -> Self {
            self.said.headers().content_type = Some(media_type.into());
            self
        }

        /// For whom it is meant; every handler whose pattern matches gets it all the same. Default: not said.
        pub fn destination(mut self, name: impl Into<Box<str>>) -> Self {
            self.said.headers().destination = Some(name.into());
            self
        }

        /// What is being done. Default: not said.
        pub fn operation_name(mut self, name: impl Into<Box<str>>) -> Self {
            self.said.headers().operation_name = Some(name.into());
            self
        }

        /// What a broker finds its way by. Default: not said.
        pub fn routing_key(mut self, key: impl Into<Box<str>>) -> Self {
            self.said.headers().routing_key = Some(key.into());
            self
        }

        /// How often it was tried before it came here. Default: not said.
        pub fn retry_count(mut self, count: u32) -> Self {
            self.said.headers().retry_count = Some(count);
            self
        }

        /// How often it should be tried at most, to whoever minds; handlers here have their [`Retry`](crate::Retry). Default:
        /// not said.
        pub fn max_retries(mut self, count: u32) -> Self {
            self.said.headers().max_retries = Some(count);
            self
        }

        /// A header of any name. One that breaks a rule of [`Attributes`](crate::Attributes) has the emit fail with
        /// [`EmitError::InvalidAttribute`](crate::EmitError::InvalidAttribute); the first such counts.
        pub fn attribute(mut self, name: impl Into<Box<str>>, value: impl Into<Box<str>>) -> Self {
            self.said.add_attribute(name.into(), value.into());
            self
        }
    };
}

pub(crate) use saying;
