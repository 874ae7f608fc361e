//! Emitting: from a topic and a payload to the handlers' lanes.
//!
//! The order of an emit: through the gate, which numbers it; the length of its chain; validation; rates, storms and duplicates; wait
//! for room in the lanes, as far as their policies allow; audit; inline handlers; lanes. An emit that fails has failed
//! before any handler saw the event.
//!
//! Most emits go to inline handlers only, or to one lane only, on a bus without an audit log and guards. These two have a
//! way of their own, on which nothing is done that they do not need; `emit_far` is the way of all others.

mod admit;
mod far;
mod how;
#[cfg(feature = "durable")]
mod logged;
mod refused;
mod schema;
mod validated;

use std::sync::Arc;

use nervebus_core::gate::Pass;

use crate::context;
use crate::context::cause::{self, Known};
use crate::delivery::count;
use crate::delivery::deliver::{Delivered, Trouble, deliver};
use crate::delivery::directory::{TopicRoute, TopicState};
use crate::delivery::engine::{Engine, Exit, InlineAccount as Inline};
use crate::delivery::envelope::{Envelope, Head, Kept};
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Pushed, Queue};
use crate::error::EmitError;
use crate::event::{Event, OwnedEvent};
use crate::event_id::EventId;
use crate::payload::{Body, Cargo, Payload};
use crate::platform::place::{Place, place};
use crate::receipt::{Fate, Receipt};

pub(crate) use how::{Extra, How};
pub(crate) use refused::Refused;

/// Why an event does not go the short way.
#[derive(Debug)]
enum Detour {
    Refused(Refused),
    Far,
}

/// The right to be inside the bus, and where this thread counts.
type Inside<'a> = Pass<'a, { Exit::COUNT }>;

impl Engine {
    /// Emits by name.
    #[inline]
    pub(crate) fn emit<P: Payload>(&self, name: &str, payload: P, how: How<'_>) -> Result<Receipt, EmitError<P>> {
        #[cfg(feature = "durable")]
        if let Some(log) = &self.log
            && how.order.is_none()
            && !how.is_replayed()
            && self.directory.is_logged(name)
        {
            return self.emit_in_order(log, logged::Target::Name(name), payload, how);
        }
        let place = place();
        let Some(pass) = self.gate.enter(place.stripe) else {
            return Err(EmitError::Closed { payload });
        };
        match self.directory.get(name) {
            Some(topic) => self.emit_on(pass, place, topic, &topic.table.load(), payload, how, topic.is_bare()),
            None => self.emit_on_new(pass, place, name, payload, how),
        }
    }

    /// Emits on a topic that may be new.
    #[cold]
    fn emit_on_new<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        name: &str,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        let checked = self.names.check(name).map_err(Refused::InvalidTopic);
        let checked = checked.and_then(|()| how.can_be_said());
        let checked = checked.and_then(|()| self.may_be_known(pass.number(), name, &payload, how));
        match checked.and_then(|()| Ok(self.directory.topic(name)?)) {
            Ok(topic) => self.emit_on(pass, place, &topic, &topic.table.load(), payload, how, topic.is_bare()),
            Err(refused) => {
                leave(pass, place, Exit::Refused);
                Err(refused.with(payload))
            }
        }
    }

    /// Emits on a topic and route that the caller keeps.
    #[inline]
    pub(crate) fn emit_to<P: Payload>(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        self.emit_kept(topic, route, payload, how, topic.is_bare())
    }

    /// As [`emit_to`](Self::emit_to), for the type that has claimed the topic: if it is a command, the caller has looked for
    /// its handler.
    #[inline]
    pub(crate) fn emit_claimed<P: Payload>(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        self.emit_kept(topic, route, payload, how, self.is_bare)
    }

    #[inline]
    fn emit_kept<P: Payload>(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
        is_bare: bool,
    ) -> Result<Receipt, EmitError<P>> {
        #[cfg(feature = "durable")]
        if let Some(log) = &self.log
            && how.order.is_none()
            && topic.is_logged()
        {
            return self.emit_in_order(log, logged::Target::Topic(topic, route), payload, how);
        }
        let place = place();
        let Some(pass) = self.gate.enter(place.stripe) else {
            return Err(EmitError::Closed { payload });
        };
        self.emit_on(pass, place, topic, route, payload, how, is_bare)
    }

    #[inline]
    #[allow(clippy::too_many_arguments, reason = "each is in a register already")]
    fn emit_on<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
        is_bare: bool,
    ) -> Result<Receipt, EmitError<P>> {
        if is_bare && how.extra.is_none() {
            if route.is_all_inline() {
                return self.emit_here(pass, place, topic, route, payload);
            }
            if let Some((lane, handlers)) = route.only_lane()
                && let Some(queue) = self.queues.pick(lane, how.pick(pass.number()))
            {
                return self.emit_into(pass, place, topic, route, queue, handlers, payload, how);
            }
        }
        self.emit_general(pass, place, topic, route, payload, how)
    }

    /// Emits in the general way.
    fn emit_general<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        let number = pass.number();
        let mut envelope = Envelope::new(Head::new(number), topic.id, route.version(), Body::new(payload));
        let mut receipt = Receipt::new(self.bus, number);
        match self.emit_far(place, topic, route, &mut envelope, how, &mut receipt) {
            Ok(exit) => {
                drop_quietly(envelope);
                leave(pass, place, exit);
                Ok(receipt)
            }
            Err(refused) => {
                leave(pass, place, refused.exit());
                self.give_back(refused, envelope.body)
            }
        }
    }

    /// Emits what the short ways would not take.
    #[cold]
    #[allow(clippy::too_many_arguments, reason = "they are those of the short ways")]
    fn emit_detour<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
        how: How<'_>,
        detour: Detour,
    ) -> Result<Receipt, EmitError<P>> {
        match detour {
            Detour::Refused(refused) => {
                leave(pass, place, refused.exit());
                Err(refused.with(payload))
            }
            Detour::Far => self.emit_general(pass, place, topic, route, payload, how),
        }
    }

    /// Emits to inline handlers only: the event lies on this thread's stack, and nothing but the handlers sees it.
    #[inline]
    fn emit_here<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        payload: P,
    ) -> Result<Receipt, EmitError<P>> {
        let entries = route.inline();
        let number = pass.number();
        if entries.is_empty() {
            drop_quietly(payload);
            leave(pass, place, Exit::Unrouted);
            return Ok(Receipt::new(self.bus, number));
        }
        let mut head = Head::new(number);
        if let Err(detour) = self.inherit_short(&mut head, true) {
            return self.emit_detour(pass, place, topic, route, payload, How::PLAIN, detour);
        }
        head.stamp_if_manual(&self.clock);
        let cargo = Cargo::new(payload);
        self.inline.add(place, Inline::ROUTED, entries.len());
        let event = Event { head: &head, content: &cargo, topic: &topic.name, bus: self.bus, call: None };
        let delivered = deliver(entries, &event);
        if delivered.trouble.is_some() {
            let receipt = self.settle_here(place, topic, route, head, Body::of(cargo), delivered);
            leave(pass, place, Exit::Routed);
            return Ok(receipt);
        }
        self.inline.add(place, Inline::HANDLED, delivered.handled);
        drop_quietly(cargo);
        leave(pass, place, Exit::Routed);
        // Made where it is returned, for the same reason as a head.
        let handled = narrow(delivered.handled);
        Ok(Receipt { handled, fate: Fate::Routed, ..Receipt::new(self.bus, number) })
    }

    /// The rest of an emit to inline handlers that did not all succeed, or of which one needs the event for longer.
    #[cold]
    #[allow(clippy::too_many_arguments, reason = "what an emit has in hand")]
    fn settle_here(
        &self,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        head: Head,
        mut body: Body,
        mut delivered: Delivered,
    ) -> Receipt {
        let mut receipt = Receipt { fate: Fate::Routed, ..Receipt::new(self.bus, head.seq) };
        if delivered.is_unfinished() {
            body.share();
            let event = Event { head: &head, content: body.content(), topic: &topic.name, bus: self.bus, call: None };
            delivered.go_on(route.inline(), &event, |_, _| ());
        }
        self.inline.add(place, Inline::HANDLED, delivered.handled);
        receipt.handled = narrow(delivered.handled);
        match delivered.trouble {
            None => drop_quietly(body),
            Some(trouble) => {
                receipt.failed = narrow(trouble.failures.len());
                self.bury_inline(place, head, body, &topic.name, *trouble);
            }
        }
        receipt
    }

    #[cold]
    pub(super) fn bury_inline(&self, place: Place, head: Head, body: Body, topic: &str, trouble: Trouble) {
        let Trouble { cancelled, expired, failures, .. } = trouble;
        self.inline.add(place, Inline::CANCELLED, cancelled);
        self.inline.add(place, Inline::FAILED, failures.len());
        self.inline.add(place, Inline::EXPIRED, expired);
        if failures.is_empty() && expired == 0 {
            return drop_quietly(body);
        }
        let event = OwnedEvent(Arc::new(Kept::new(head, body, topic, self.bus)));
        if expired > 0 {
            self.bury_expired(event.clone(), "inline");
        }
        self.bury(event, "inline", &failures);
        drop_quietly(failures);
    }

    /// Emits to one lane only: the event goes into its ring, or comes back.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "each is in a register already")]
    fn emit_into<P: Payload>(
        &self,
        pass: Inside<'_>,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        queue: &Queue,
        handlers: usize,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        let number = pass.number();
        let mut head = Head::new(number);
        if let Err(detour) = self.inherit_short(&mut head, false) {
            return self.emit_detour(pass, place, topic, route, payload, how, detour);
        }
        // Before the slot is claimed, which should not wait for it.
        head.stamp(&self.clock);
        let expected = narrow(handlers);
        let make = || {
            let mut envelope = Envelope::new(head, topic.id, route.version(), Body::new(payload));
            envelope.expected = expected;
            envelope.head.key = how.key;
            envelope
        };
        let patience = patience_here(how.patience);
        let admitted = match queue.push_with(expected, make, patience, place) {
            Pushed::Admitted => 1,
            Pushed::Dropped => 0,
            Pushed::Refused(refusal) => {
                let why = if refusal.closed { Refused::Closed } else { Refused::full(queue, patience) };
                leave(pass, place, why.exit());
                return self.give_back(why, refusal.envelope.body);
            }
        };
        leave(pass, place, Exit::Routed);
        Ok(Receipt { admitted, dropped: 1 - admitted, fate: Fate::Routed, ..Receipt::new(self.bus, number) })
    }

    /// Refuses an event that was not to come in at all, and counts it as refused.
    #[cold]
    pub(crate) fn refuse<P>(&self, why: Refused, payload: P) -> EmitError<P> {
        let place = place();
        let Some(pass) = self.gate.enter(place.stripe) else { return EmitError::Closed { payload } };
        leave(pass, place, Exit::Refused);
        why.with(payload)
    }

    /// Unpacks what was refused. It was never shared, so the value comes back; were it shared, some lane has it and
    /// the emit did not fail.
    #[cold]
    fn give_back<P: Payload>(&self, refused: Refused, body: Body) -> Result<Receipt, EmitError<P>> {
        match body.take::<P>() {
            Some(payload) => Err(refused.with(payload)),
            None => Ok(Receipt { refused: 1, fate: Fate::Routed, ..Receipt::new(self.bus, 0) }),
        }
    }

    /// Emits an event of the bus's own: never waits for a lane, never fails; what finds no room is dropped and counted.
    #[cold]
    pub(crate) fn emit_system(&self, name: &str, payload: serde_json::Value, cause: Option<&OwnedEvent>) {
        if let Some(log) = self.log.as_ref().filter(|log| log.is_held()) {
            return log.put_off(name, payload, cause);
        }
        // Before anything of it can be seen.
        count::add(&self.system_begun, 1);
        let cause = cause.map(OwnedEvent::as_event);
        let lineage = cause.and_then(|cause| cause.head.lineage.as_ref()?.without_deadline());
        let extra = Extra { lineage, system: true, ..Extra::default() };
        let how = How { extra: Some(&extra), ..How::with(Patience::Never) };
        let Ok(topic) = self.directory.topic(name) else {
            return count::add(&self.system_lost, 1);
        };
        let place = place();
        let number = self.gate.pass_by(place.stripe, Exit::System as usize);
        let hops = context::handled().hops;
        // The number of an event of an earlier run is another event's in this one, so it is nobody's cause.
        let of = cause.filter(|cause| cause.bus == self.bus).map_or(0, |cause| cause.head.seq);
        let _scope = context::Handling::enter(self.bus, of, hops, None);
        let _known = Known::by(cause.and_then(|cause| cause.head.given_id()));
        let route = topic.table.load();
        let mut envelope = Envelope::new(Head::new(number), topic.id, route.version(), Body::new(payload));
        let emitted = self.emit_far(place, &topic, &route, &mut envelope, how, &mut Receipt::new(self.bus, number));
        drop_quietly(envelope);
        count::add(if emitted.is_ok() { &self.system } else { &self.system_lost }, 1);
    }

    /// Gives an event of this thread what it has from the one that the thread is handling: cause, chain, lineage.
    ///
    /// In place: a head that is returned is copied before its parts have left the store buffer, which costs more than the
    /// handler's call.
    #[inline(always)]
    pub(super) fn inherit(&self, head: &mut Head, inline: bool) -> Result<(), Refused> {
        let handled = context::handled();
        if handled.is_nothing() { Ok(()) } else { self.descend(head, handled, inline) }
    }

    /// As [`inherit`](Self::inherit), for the short ways: what has a deadline needs the other.
    #[inline(always)]
    fn inherit_short(&self, head: &mut Head, inline: bool) -> Result<(), Detour> {
        let handled = context::handled();
        if handled.is_nothing() { Ok(()) } else { self.descend_short(head, handled, inline) }
    }

    #[inline(never)]
    fn descend_short(&self, head: &mut Head, from: context::Handled, inline: bool) -> Result<(), Detour> {
        self.descend(head, from, inline).map_err(Detour::Refused)?;
        let has_deadline = head.lineage.as_ref().is_some_and(|lineage| lineage.deadline.is_some());
        if has_deadline { Err(Detour::Far) } else { Ok(()) }
    }

    #[inline(never)]
    fn descend(&self, head: &mut Head, from: context::Handled, inline: bool) -> Result<(), Refused> {
        head.lineage = context::lineage();
        if from.depth() == 0 {
            // In a scope, and in no handler.
            return Ok(());
        }
        if inline && from.depth() >= self.max_depth {
            return Err(Refused::TooDeep(self.max_depth));
        }
        if from.hops >= self.max_chain {
            return Err(Refused::LoopDetected(self.max_chain));
        }
        head.cause = if from.bus == self.bus { from.seq } else { 0 };
        head.hops = from.hops + 1;
        if let Some(id) = cause::given() {
            head.set_cause(&id);
        } else if from.bus != self.bus && from.bus != 0 && from.seq != 0 {
            // Its number is another event's here.
            head.set_cause(&EventId::made(from.bus, from.seq).to_string());
        }
        Ok(())
    }
}

/// A worker that waits for a worker may wait for ever, even for one of another bus.
#[inline]
pub(super) fn patience_here(patience: Patience) -> Patience {
    if context::is_worker() { Patience::Never } else { patience }
}

/// A number of handlers, of which there are never so many.
#[inline]
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Leaves the gate; without a locked instruction where this thread is alone.
#[inline]
fn leave(pass: Inside<'_>, place: Place, exit: Exit) {
    if place.alone {
        pass.leave_alone(exit as usize);
    } else {
        pass.leave(exit as usize);
    }
}
