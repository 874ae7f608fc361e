//! The general way of an emit: to any mixture of inline handlers, lanes and the audit log.

use std::sync::Arc;

use nervebus_core::LaneId;

use super::admit::Admission;
use super::{How, Refused, narrow, patience_here};
use crate::context::{self, Deadline, Lineage};
use crate::delivery::class::Class;
use crate::delivery::deliver::{deliver_envelope, deliver_until};
use crate::delivery::directory::{TopicRoute, TopicState};
use crate::delivery::engine::{Engine, Exit, InlineAccount as Inline};
use crate::delivery::envelope::{Envelope, Head};
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Pushed, Queue};
use crate::delivery::report::Waiter;
use crate::delivery::watch::CallLimit;
use crate::event::Event;
use crate::platform::place::Place;
use crate::receipt::{Fate, Receipt};

impl Engine {
    /// Emits to any mixture of inline handlers, lanes and the audit log; says by which exit the event leaves the gate. The
    /// envelope keeps what nobody took: the payload of an event that is refused, or that went to inline handlers only.
    ///
    /// The event is filled in where it lies: each move of it would wait for the stores before it.
    #[inline(never)]
    pub(super) fn emit_far(
        &self,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        envelope: &mut Envelope,
        how: How<'_>,
        receipt: &mut Receipt,
    ) -> Result<Exit, Refused> {
        how.can_be_said()?;
        if topic.is_command() && !how.is_system() && !how.is_replayed() && !self.directory.has_handler(topic, route) {
            return Err(Refused::NoHandler(topic.name.clone()));
        }
        let nobody = (self.tap.is_none() || how.is_replayed()) && route.is_empty() && !is_logged(topic, how);
        if !nobody {
            self.fill_head(&mut envelope.head, route, how)?;
        }
        self.validate(topic, envelope, how)?;
        self.hold_against_schema(topic, envelope, how)?;
        if self.admit(topic, how)? == Admission::Duplicate {
            receipt.fate = Fate::Duplicate;
            return Ok(Exit::Duplicate);
        }
        if nobody {
            return Ok(Exit::Unrouted);
        }
        let sent = self.send_far(place, topic, route, envelope, how, receipt);
        if sent.is_err() {
            self.forget(how);
        }
        sent
    }

    /// Sends an event that is admitted: to the audit log, to the inline handlers, to the lanes.
    fn send_far(
        &self,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        envelope: &mut Envelope,
        how: How<'_>,
        receipt: &mut Receipt,
    ) -> Result<Exit, Refused> {
        let queued = !route.is_all_inline();
        let patience = patience_here(how.patience).not_beyond(envelope.head.expires);
        self.may_emit(envelope.head.seq, route, how, patience, queued)?;
        let logged = is_logged(topic, how);
        if queued || self.tap.is_some() || logged || self.clock.is_manual() {
            envelope.head.stamp(&self.clock);
        }
        if let Some(tap) = self.tap.as_ref().filter(|_| !how.is_replayed())
            && !self.push_tap(tap, envelope, how.patience, place)
        {
            return Err(Refused::NotYet);
        }
        #[cfg(feature = "durable")]
        if logged && let Some(log) = &self.log {
            return self.send_logged(log, place, topic, route, envelope, how, patience, receipt);
        }
        if !route.inline().is_empty() {
            self.emit_inline(topic, route, envelope, how.waiter().map(|waiter| &**waiter), receipt, place);
        }
        let is_routed = !route.is_empty();
        receipt.fate = if is_routed { Fate::Routed } else { Fate::Unrouted };
        if queued {
            self.push_lanes(route, envelope, how, patience, receipt, place)?;
        }
        Ok(if is_routed { Exit::Routed } else { Exit::Unrouted })
    }

    /// Moves the event into the last of its lanes, and a copy into each before it.
    pub(super) fn push_lanes(
        &self,
        route: &TopicRoute,
        envelope: &mut Envelope,
        how: How<'_>,
        patience: Patience,
        receipt: &mut Receipt,
        place: Place,
    ) -> Result<(), Refused> {
        let (mut lanes, pick) = (route.lanes().peekable(), how.pick(envelope.head.seq));
        while let Some((lane, entries)) = lanes.next() {
            let Some(queue) = self.queues.pick(lane, pick) else { continue };
            let (is_last, expected, class) = (lanes.peek().is_none(), narrow(entries.len()), envelope.head.class());
            let ticket = how.waiter().map(|waiter| Box::new(waiter.ticket(entries.len())));
            // In its slot, where there is one.
            let make = || {
                let next = if is_last { envelope.take() } else { envelope.share() };
                Envelope { expected, ticket, ..next }
            };
            let pushed = if how.is_system() {
                queue.push_system(make(), place)
            } else if self.sheds(queue, class) {
                queue.count_refused(expected, place);
                Pushed::Dropped
            } else {
                queue.push_with(expected, make, patience, place)
            };
            match pushed {
                Pushed::Admitted => receipt.admitted += 1,
                Pushed::Dropped => receipt.dropped += 1,
                Pushed::Refused(refusal) => {
                    let alone = self.tap.is_none() && route.entries().len() == entries.len();
                    let untouched = self.tap.is_none()
                        && route.inline().is_empty()
                        && *receipt == Receipt { fate: Fate::Routed, ..Receipt::new(self.bus, receipt.seq) };
                    if alone || (untouched && !refusal.closed && queue.puts_off(patience)) {
                        let why = if refusal.closed { Refused::Closed } else { Refused::full(queue, patience) };
                        // The copy for the lanes to come goes: a payload that comes back has one owner.
                        *envelope = refusal.envelope;
                        return Err(why);
                    }
                    if !refusal.closed && queue.puts_off(patience) {
                        queue.set_aside(refusal.envelope, place);
                        receipt.admitted += 1;
                        receipt.aside = true;
                        continue;
                    }
                    queue.count_refused(expected, place);
                    drop_quietly(refusal);
                    receipt.refused += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether a lane lets an event of this class go.
    fn sheds(&self, queue: &Queue, class: Class) -> bool {
        let Some(shedder) = &queue.shedder else { return false };
        let verdict = shedder.should_shed(class, queue.ring.len());
        if let Some(turn) = verdict.turn {
            self.shedding_turned(queue, shedder, turn);
        }
        verdict.shed
    }

    /// Everything about lanes that can refuse an event before anybody has seen it.
    fn may_emit(
        &self,
        seq: u64,
        route: &TopicRoute,
        how: How<'_>,
        patience: Patience,
        queued: bool,
    ) -> Result<(), Refused> {
        if how.is_system() {
            return Ok(());
        }
        let own = context::lane_of(self.bus);
        if !queued {
            return self.tap_has_room(how.patience, own);
        }
        if let (Some(_), Some(own)) = (how.waiter(), own)
            && !route.lane(own).is_empty()
        {
            return Err(Refused::WouldDeadlock(self.lane_name(own).to_owned()));
        }
        if let (Some(_), Some(tap)) = (how.waiter(), &self.tap)
            && own == Some(tap.id)
        {
            // Handlers on lanes may be waiting for the audit log, whose thread this is.
            return Err(Refused::WouldDeadlock(tap.name.to_string()));
        }
        // With one destination the push itself decides, and this look would be work done twice.
        let several = self.tap.is_some() || !route.inline().is_empty() || route.lanes().nth(1).is_some();
        if several {
            for (lane, _) in route.lanes() {
                // A full lane that sheds lets the event go, and none but critical ones wait for it.
                if let Some(queue) = self.queues.pick(lane, how.pick(seq))
                    && (queue.shedder.is_none() || how.class() == Class::Critical)
                    && !queue.wait_for_room(patience)
                {
                    return Err(Refused::full(queue, patience));
                }
            }
        }
        self.tap_has_room(how.patience, own)
    }

    fn tap_has_room(&self, patience: Patience, worker_of: Option<LaneId>) -> Result<(), Refused> {
        match &self.tap {
            Some(tap) => {
                let patience = tap_patience(tap, patience, worker_of);
                if tap.wait_for_room(patience) { Ok(()) } else { Err(Refused::full(tap, patience)) }
            }
            None => Ok(()),
        }
    }

    /// Says of an event what it inherits, and what its emitter has said.
    fn fill_head(&self, head: &mut Head, route: &TopicRoute, how: How<'_>) -> Result<(), Refused> {
        if let Some(extra) = how.extra {
            // Before what is inherited, which may be said in the same place.
            head.meta.clone_from(&extra.meta);
        }
        match self.inherit(head, !route.inline().is_empty()) {
            // Nothing refuses a record of the bus's own; it makes no further record, so no chain of them goes on.
            Err(refused) if !how.is_system() => return Err(refused),
            _ => {}
        }
        head.key = how.key;
        if let Some(extra) = how.extra {
            // What is replayed has what it was recorded with, whoever replays it.
            if extra.lineage.is_some() || extra.replayed {
                head.lineage.clone_from(&extra.lineage);
            }
            head.own = extra.system;
            head.set_class(extra.class);
            if extra.replayed {
                head.set_replayed();
            }
        }
        if how.is_system() { Ok(()) } else { self.bound(head, how.extra.map_or(0, |extra| extra.expires)) }
    }

    /// Sets when an event expires, by its time to live and its deadline, unless that has passed.
    fn bound(&self, head: &mut Head, ttl: u64) -> Result<(), Refused> {
        let deadline = head.lineage.as_ref().and_then(|lineage| Some((lineage, lineage.deadline.as_ref()?)));
        let expires = match deadline {
            None if ttl == 0 => return Ok(()),
            None => ttl,
            Some((lineage, deadline)) => {
                let at = deadline.on(self.bus, &self.clock);
                if deadline.bus != self.bus {
                    let deadline = Some(Deadline { at, bus: self.bus, clock: self.clock.clone() });
                    head.lineage = Some(Arc::new(Lineage { deadline, ..Lineage::clone(lineage) }));
                }
                if ttl == 0 { at } else { ttl.min(at) }
            }
        };
        head.expires = expires;
        if self.clock.now() >= expires { Err(Refused::Expired) } else { Ok(()) }
    }

    /// Pushes a copy for the audit log; `false` if the emit is to be taken back and tried again.
    fn push_tap(&self, tap: &Queue, envelope: &mut Envelope, patience: Patience, place: Place) -> bool {
        let patience = tap_patience(tap, patience, context::lane_of(self.bus));
        let copy = || Envelope { expected: 1, ..envelope.share() };
        if let Pushed::Refused(refusal) = tap.push_with(1, copy, patience, place) {
            if !refusal.closed && tap.puts_off(patience) {
                return false;
            }
            tap.count_refused(1, place);
        }
        true
    }

    pub(super) fn emit_inline(
        &self,
        topic: &TopicState,
        route: &TopicRoute,
        envelope: &mut Envelope,
        waiter: Option<&Waiter>,
        receipt: &mut Receipt,
        place: Place,
    ) {
        let entries = route.inline();
        self.inline.add(place, Inline::ROUTED, entries.len());
        let expires = envelope.head.expires;
        let (delivered, outcomes) = if expires == 0 {
            deliver_envelope(entries.iter(), envelope, &topic.name, self.bus, waiter.is_some())
        } else {
            if entries.iter().any(|entry| entry.handler.owns()) {
                envelope.body.share();
            }
            let limit = CallLimit { clock: &self.clock, deadline: expires, watchdogs: None };
            let event = Event { call: Some(&limit), ..envelope.event(&topic.name, self.bus) };
            deliver_until(entries, &event, || self.clock.now() >= expires, waiter.is_some())
        };
        if let Some(waiter) = waiter {
            waiter.add(outcomes, delivered.cancelled() + delivered.expired());
        }
        self.inline.add(place, Inline::HANDLED, delivered.handled);
        receipt.handled = narrow(delivered.handled);
        receipt.failed = narrow(delivered.failures().len());
        if let Some(trouble) = delivered.trouble {
            let Envelope { head, body, .. } = envelope.share();
            self.bury_inline(place, head, body, &topic.name, *trouble);
        }
    }
}

/// Whether the event goes to the durable log.
fn is_logged(topic: &TopicState, how: How<'_>) -> bool {
    topic.is_logged() && !how.is_system() && !how.is_replayed()
}

/// Waiting for the audit log is safe on any thread but its own: its writer waits for nobody.
fn tap_patience(tap: &Queue, patience: Patience, worker_of: Option<LaneId>) -> Patience {
    if worker_of == Some(tap.id) { Patience::Never } else { patience }
}
