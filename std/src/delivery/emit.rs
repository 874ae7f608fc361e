//! Emitting: from a topic and a payload to the handlers' lanes.
//!
//! The order of an emit: through the gate; number; wait for room in the lanes, as far as their policies allow; audit;
//! inline handlers; lanes. An emit that fails has failed before any handler saw the event.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nervebus_core::LaneId;
use nervebus_core::gate::Pass;

use crate::context;
use crate::delivery::count::{self, Place, place};
use crate::delivery::deliver::deliver;
use crate::delivery::directory::{TooManyTopics, TopicRoute, TopicState};
use crate::delivery::engine::{Engine, Exit};
use crate::delivery::envelope::{Envelope, Meta};
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Pushed, Queue};
use crate::delivery::report::Waiter;
use crate::error::EmitError;
use crate::event::{Event, OwnedEvent};
use crate::payload::{Body, Payload};
use crate::receipt::Receipt;

/// What an emitter may add to topic and payload.
#[derive(Debug, Clone)]
pub(crate) struct How {
    pub(crate) patience: Patience,
    pub(crate) meta: Option<Arc<Meta>>,
    pub(crate) correlation: Option<Arc<str>>,
    pub(crate) waiter: Option<Arc<Waiter>>,
    /// Emitted by the bus itself: nothing refuses it as a whole.
    pub(crate) system: bool,
}

impl How {
    pub(crate) const PLAIN: Self =
        Self { patience: Patience::Policy, meta: None, correlation: None, waiter: None, system: false };
}

/// Why an event is refused.
#[derive(Debug)]
pub(crate) enum Refused {
    InvalidTopic(String),
    TooManyTopics(usize),
    Full(String),
    TooDeep(u32),
    WouldDeadlock(String),
    Closed,
}

impl From<TooManyTopics> for Refused {
    fn from(error: TooManyTopics) -> Self {
        Self::TooManyTopics(error.limit)
    }
}

impl Refused {
    fn with<P>(self, payload: P) -> EmitError<P> {
        match self {
            Self::InvalidTopic(rule) => EmitError::InvalidTopic { rule, payload },
            Self::TooManyTopics(limit) => EmitError::TooManyTopics { limit, payload },
            Self::Full(lane) => EmitError::Full { lane, payload },
            Self::TooDeep(limit) => EmitError::TooDeep { limit, payload },
            Self::WouldDeadlock(lane) => EmitError::WouldDeadlock { lane, payload },
            Self::Closed => EmitError::Closed { payload },
        }
    }
}

/// An event that is refused, with what it carried.
type Returned = Box<(Refused, Body)>;

impl Engine {
    /// Emits by name.
    #[inline]
    pub(crate) fn emit<P: Payload>(&self, name: &str, payload: P, how: How) -> Result<Receipt, EmitError<P>> {
        let place = place();
        let Some(pass) = self.gate.enter(place.stripe) else {
            return Err(EmitError::Closed { payload });
        };
        let check = || self.names.check(name).map_err(Refused::InvalidTopic);
        // The payload is moved into the closure only when there is a topic to emit on.
        let mut payload = Some(payload);
        let emitted = self.directory.with_topic(name, check, |topic| {
            payload.take().map(|payload| self.emit_on(topic, &topic.table.load(), Body::new(payload), how))
        });
        let (exit, result) = match (emitted, payload) {
            (Ok(Some(Ok((exit, receipt)))), _) => (exit, Ok(receipt)),
            (Ok(Some(Err(returned))), _) => (Exit::Refused, self.give_back(*returned)),
            (Err(refused), Some(payload)) => (Exit::Refused, Err(refused.with(payload))),
            // Neither happens: the payload is taken exactly when the closure runs.
            (Ok(None) | Err(_), _) => (Exit::Refused, Ok(Receipt::new(self.bus, 0))),
        };
        leave(pass, place, exit);
        result
    }

    /// Emits on a topic and route that the caller keeps.
    #[inline]
    pub(crate) fn emit_to<P: Payload>(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How,
    ) -> Result<Receipt, EmitError<P>> {
        let place = place();
        let Some(pass) = self.gate.enter(place.stripe) else {
            return Err(EmitError::Closed { payload });
        };
        let (exit, result) = match self.emit_on(topic, route, Body::new(payload), how) {
            Ok((exit, receipt)) => (exit, Ok(receipt)),
            Err(returned) => (Exit::Refused, self.give_back(*returned)),
        };
        leave(pass, place, exit);
        result
    }

    /// Unpacks what was refused. It was never shared, so the value comes back; were it shared, some lane has it and
    /// the emit did not fail.
    #[cold]
    fn give_back<P: Payload>(&self, (refused, body): (Refused, Body)) -> Result<Receipt, EmitError<P>> {
        match body.take::<P>() {
            Some(payload) => Err(refused.with(payload)),
            None => Ok(Receipt { refused: 1, routed: true, ..Receipt::new(self.bus, 0) }),
        }
    }

    /// Emits an event of the bus's own: never waits for a lane, never fails; what finds no room is dropped and counted.
    #[cold]
    pub(crate) fn emit_system(&self, name: &str, payload: serde_json::Value, cause: Option<&OwnedEvent>) {
        let correlation = cause.and_then(|cause| cause.0.envelope.correlation.clone());
        let seq = cause.map_or(0, |cause| cause.0.envelope.seq);
        let how = How { correlation, system: true, ..How::PLAIN };
        let emitted = self.directory.with_topic(
            name,
            || Ok::<_, Refused>(()),
            |topic| {
                let _scope = context::Handling::enter(self.bus, seq, None);
                self.emit_on(topic, &topic.table.load(), Body::new(payload), how)
            },
        );
        match emitted {
            Ok(Ok(_)) => count::add(&self.system, 1),
            Ok(Err(_)) | Err(_) => count::add(&self.system_lost, 1),
        }
    }

    fn emit_on(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        body: Body,
        how: How,
    ) -> Result<(Exit, Receipt), Returned> {
        let place = place();
        // Relaxed: the number is all there is; order between threads comes from the rings.
        let seq = self.seq.0.fetch_add(1, Ordering::Relaxed) + 1;
        let mut receipt = Receipt::new(self.bus, seq);
        let mut lanes = route.lanes().peekable();
        if self.tap.is_none() && route.is_empty() {
            drop_quietly(body);
            return Ok((Exit::Unrouted, receipt));
        }
        let worker_of = context::lane_of(self.bus);
        // A worker that waits for a worker may wait for ever, even for one of another bus.
        let patience = if context::is_worker() { Patience::Never } else { how.patience };
        let queued = lanes.peek().is_some();
        if let Err(refused) = self.may_emit(route, &how, patience, queued) {
            return Err(Box::new((refused, body)));
        }
        let mut envelope = self.envelope(seq, topic, route, body, &how);
        if queued || self.tap.is_some() {
            envelope.emitted_at();
        }
        if let Some(tap) = &self.tap {
            self.push_tap(tap, &mut envelope, how.patience, worker_of, place);
        }
        if !route.inline().is_empty() {
            self.emit_inline(topic, route, &mut envelope, how.waiter.as_deref(), &mut receipt, place);
        }
        receipt.routed = !route.is_empty();
        let mut rest = Some(envelope);
        while let Some((lane, entries)) = lanes.next() {
            let (Some(queue), Some(mut next)) = (self.queue(lane), rest.take()) else { break };
            if lanes.peek().is_some() {
                rest = Some(next.share());
            }
            next.expected = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            next.ticket = how.waiter.as_ref().map(|waiter| waiter.ticket(entries.len()));
            let pushed = if how.system { queue.push_system(next, place) } else { queue.push(next, patience, place) };
            match pushed {
                Pushed::Admitted => receipt.admitted += 1,
                Pushed::Dropped => receipt.dropped += 1,
                Pushed::Refused(refusal) => {
                    let alone = self.tap.is_none() && route.entries().len() == entries.len();
                    if alone {
                        let why = if refusal.closed { Refused::Closed } else { Refused::Full(queue.name.to_string()) };
                        return Err(Box::new((why, refusal.envelope.body)));
                    }
                    queue.count_refused(&refusal.envelope, place);
                    drop_quietly(refusal);
                    receipt.refused += 1;
                }
            }
        }
        if rest.is_some() {
            // No lane has taken it: its payload goes here, on the emitter's thread.
            drop_quietly(rest);
        }
        Ok((if receipt.routed { Exit::Routed } else { Exit::Unrouted }, receipt))
    }

    /// Everything that can refuse an event before anybody has seen it.
    fn may_emit(&self, route: &TopicRoute, how: &How, patience: Patience, queued: bool) -> Result<(), Refused> {
        if how.system {
            return Ok(());
        }
        if !route.inline().is_empty() && context::depth() >= self.max_depth {
            return Err(Refused::TooDeep(self.max_depth));
        }
        let own = context::lane_of(self.bus);
        if !queued {
            return self.tap_has_room(how.patience, own);
        }
        if let (Some(_), Some(own)) = (&how.waiter, own)
            && !route.lane(own).is_empty()
        {
            return Err(Refused::WouldDeadlock(self.lane_name(own).to_owned()));
        }
        if let (Some(_), Some(tap)) = (&how.waiter, &self.tap)
            && own == Some(tap.id)
        {
            // Handlers on lanes may be waiting for the audit log, whose thread this is.
            return Err(Refused::WouldDeadlock(tap.name.to_string()));
        }
        // With one destination the push itself decides, and this look would be work done twice.
        let several = self.tap.is_some() || !route.inline().is_empty() || route.lanes().nth(1).is_some();
        if several {
            for (lane, _) in route.lanes() {
                if let Some(queue) = self.queue(lane)
                    && !queue.wait_for_room(patience)
                {
                    return Err(Refused::Full(queue.name.to_string()));
                }
            }
        }
        self.tap_has_room(how.patience, own)
    }

    fn tap_has_room(&self, patience: Patience, worker_of: Option<LaneId>) -> Result<(), Refused> {
        match &self.tap {
            Some(tap) if !tap.wait_for_room(tap_patience(tap, patience, worker_of)) => {
                Err(Refused::Full(tap.name.to_string()))
            }
            _ => Ok(()),
        }
    }

    fn envelope(&self, seq: u64, topic: &TopicState, route: &TopicRoute, body: Body, how: &How) -> Envelope {
        let inherited = context::inherited(self.bus);
        let mut envelope = Envelope::new(seq, topic.id, route.version(), body);
        envelope.cause = inherited.cause;
        envelope.correlation = how.correlation.clone().or(inherited.correlation);
        envelope.meta = how.meta.clone();
        envelope.own = how.system;
        envelope
    }

    fn push_tap(
        &self,
        tap: &Queue,
        envelope: &mut Envelope,
        patience: Patience,
        worker_of: Option<LaneId>,
        place: Place,
    ) {
        let patience = tap_patience(tap, patience, worker_of);
        let mut copy = envelope.share();
        copy.expected = 1;
        if let Pushed::Refused(refusal) = tap.push(copy, patience, place) {
            tap.count_refused(&refusal.envelope, place);
        }
    }

    fn emit_inline(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        envelope: &mut Envelope,
        waiter: Option<&Waiter>,
        receipt: &mut Receipt,
        place: Place,
    ) {
        let entries = route.inline();
        let account = &self.inline;
        account.routed.add(place, entries.len() as u64);
        let event = Event { envelope, topic: &topic.name, bus: self.bus };
        let delivered = deliver(entries, &event, waiter.is_some());
        let failed = delivered.failures.len();
        if delivered.handled > 0 {
            account.handled.add(place, delivered.handled as u64);
        }
        if failed > 0 {
            account.failed.add(place, failed as u64);
            self.bury(envelope.share(), &topic.name, "inline", &delivered.failures);
            drop_quietly(delivered.failures);
        }
        if delivered.cancelled > 0 {
            account.cancelled.add(place, delivered.cancelled as u64);
        }
        receipt.handled = u32::try_from(delivered.handled).unwrap_or(u32::MAX);
        receipt.failed = u32::try_from(failed).unwrap_or(u32::MAX);
        if let Some(waiter) = waiter {
            waiter.add(delivered.outcomes, delivered.cancelled);
        }
    }
}

/// Waiting for the audit log is safe on any thread but its own: its writer waits for nobody.
fn tap_patience(tap: &Queue, patience: Patience, worker_of: Option<LaneId>) -> Patience {
    if worker_of == Some(tap.id) { Patience::Never } else { patience }
}

/// Leaves the gate; without a locked instruction where this thread is alone.
#[inline]
fn leave(pass: Pass<'_, 3>, place: Place, exit: Exit) {
    if place.alone {
        pass.leave_alone(exit as usize);
    } else {
        pass.leave(exit as usize);
    }
}
