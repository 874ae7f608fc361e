//! Emitting with more to say than topic and payload.

mod lineage;
pub(crate) mod said;

use std::sync::Arc;

use self::said::{Said, saying};
use crate::bus::Bus;
use crate::delivery::emit::{Extra, How};
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
    said: Said,
}

impl<'a, P: Payload> Emission<'a, P> {
    pub(crate) fn new(bus: &'a Bus, topic: &'a str, payload: P) -> Self {
        Self::saying(bus, topic, payload, Said::default())
    }

    pub(crate) fn saying(bus: &'a Bus, topic: &'a str, payload: P, said: Said) -> Self {
        Self { bus, topic, payload, said }
    }

    saying!();

    /// As [`key`](Self::key), of a key that was hashed before; 0 for none.
    pub(crate) fn hashed_key(mut self, key: u64) -> Self {
        self.said.key = key;
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
        let Self { bus, topic, payload, said } = self;
        let (key, extra) = said.taken_apart(bus.engine(), waiter);
        (bus, topic, payload, key, extra)
    }
}
