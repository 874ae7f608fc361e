//! The general way of an emit: to any mixture of inline handlers, lanes and the audit log.

use nervebus_core::LaneId;

use super::{How, Refused, Returned, narrow, patience_here};
use crate::context;
use crate::delivery::deliver::deliver_envelope;
use crate::delivery::directory::{TopicRoute, TopicState};
use crate::delivery::engine::{Engine, Exit, InlineAccount as Inline};
use crate::delivery::envelope::{Envelope, Head};
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Pushed, Queue};
use crate::delivery::report::Waiter;
use crate::payload::Body;
use crate::platform::place::Place;
use crate::receipt::Receipt;

impl Engine {
    /// Emits to any mixture of inline handlers, lanes and the audit log.
    #[inline(never)]
    pub(super) fn emit_far(
        &self,
        seq: u64,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        body: Body,
        how: How<'_>,
    ) -> Result<(Exit, Receipt), Returned> {
        let mut receipt = Receipt::new(self.bus, seq);
        if self.tap.is_none() && route.is_empty() {
            drop_quietly(body);
            return Ok((Exit::Unrouted, receipt));
        }
        let queued = !route.is_all_inline();
        let patience = patience_here(how.patience);
        let head = match self.may_emit(route, how, patience, queued).and_then(|()| self.far_head(seq, route, how)) {
            Ok(head) => head,
            Err(refused) => return Err(Box::new((refused, body))),
        };
        let mut envelope = Envelope::new(head, topic.id, route.version(), body);
        if queued || self.tap.is_some() {
            envelope.head.emitted_at();
        }
        if let Some(tap) = &self.tap {
            self.push_tap(tap, &mut envelope, how.patience, place);
        }
        if !route.inline().is_empty() {
            self.emit_inline(topic, route, &mut envelope, how.waiter().map(|waiter| &**waiter), &mut receipt, place);
        }
        receipt.routed = !route.is_empty();
        self.push_lanes(route, envelope, how, patience, &mut receipt, place)?;
        Ok((if receipt.routed { Exit::Routed } else { Exit::Unrouted }, receipt))
    }

    /// Moves the event into the last of its lanes, and a copy into each before it.
    fn push_lanes(
        &self,
        route: &TopicRoute,
        envelope: Envelope,
        how: How<'_>,
        patience: Patience,
        receipt: &mut Receipt,
        place: Place,
    ) -> Result<(), Returned> {
        let mut lanes = route.lanes().peekable();
        let mut rest = Some(envelope);
        while let Some((lane, entries)) = lanes.next() {
            let (Some(queue), Some(mut next)) = (self.queue(lane), rest.take()) else { break };
            if lanes.peek().is_some() {
                rest = Some(next.share());
            }
            next.expected = narrow(entries.len());
            next.ticket = how.waiter().map(|waiter| waiter.ticket(entries.len()));
            let pushed =
                if how.is_system() { queue.push_system(next, place) } else { queue.push(next, patience, place) };
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
        Ok(())
    }

    /// Everything about lanes that can refuse an event before anybody has seen it.
    fn may_emit(&self, route: &TopicRoute, how: How<'_>, patience: Patience, queued: bool) -> Result<(), Refused> {
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

    fn far_head(&self, seq: u64, route: &TopicRoute, how: How<'_>) -> Result<Head, Refused> {
        let mut head = match self.head(seq, !route.inline().is_empty()) {
            Ok(head) => head,
            // Nothing refuses a record of the bus's own; it makes no further record, so no chain of them goes on.
            Err(_) if how.is_system() => Head::new(seq),
            Err(refused) => return Err(refused),
        };
        if let Some(extra) = how.extra {
            if extra.lineage.is_some() {
                head.lineage.clone_from(&extra.lineage);
            }
            head.meta.clone_from(&extra.meta);
            head.own = extra.system;
        }
        Ok(head)
    }

    fn push_tap(&self, tap: &Queue, envelope: &mut Envelope, patience: Patience, place: Place) {
        let patience = tap_patience(tap, patience, context::lane_of(self.bus));
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
        self.inline.add(place, Inline::ROUTED, entries.len());
        let (delivered, outcomes) = deliver_envelope(entries.iter(), envelope, &topic.name, self.bus, waiter.is_some());
        if let Some(waiter) = waiter {
            waiter.add(outcomes, delivered.cancelled());
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

/// Waiting for the audit log is safe on any thread but its own: its writer waits for nobody.
fn tap_patience(tap: &Queue, patience: Patience, worker_of: Option<LaneId>) -> Patience {
    if worker_of == Some(tap.id) { Patience::Never } else { patience }
}
