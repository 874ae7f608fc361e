//! Emitting with more to say than topic and payload.

use std::sync::Arc;

use crate::bus::Bus;
use crate::context::{self, Lineage};
use crate::delivery::emit::{Extra, How};
use crate::delivery::envelope::Meta;
use crate::delivery::lane::Patience;
use crate::delivery::report::{Report, Waiter};
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
}

impl<'a, P: Payload> Emission<'a, P> {
    pub(crate) fn new(bus: &'a Bus, topic: &'a str, payload: P) -> Self {
        Self { bus, topic, payload, meta: Meta::default(), correlation: None }
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

    /// When it happened, in seconds since the Unix epoch; a number that is not finite is ignored. Default: now.
    pub fn timestamp(mut self, seconds: f64) -> Self {
        self.meta.timestamp = Some(seconds).filter(|seconds| seconds.is_finite());
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

    fn send(self, patience: Patience, waiter: Option<Arc<Waiter>>) -> Result<Receipt, EmitError<P>> {
        let Self { bus, topic, payload, meta, correlation } = self;
        let Meta { event_id, source, timestamp, .. } = &meta;
        let given = event_id.is_some() || source.is_some() || timestamp.is_some();
        let meta = given.then(|| Arc::new(meta));
        let lineage = correlation.map(|correlation| {
            let inherited = context::lineage().as_deref().cloned().unwrap_or_default();
            Arc::new(Lineage { correlation: Some(correlation), ..inherited })
        });
        let extra = Extra { meta, lineage, waiter, system: false };
        bus.engine().emit(topic, payload, How { patience, extra: Some(&extra) })
    }
}
