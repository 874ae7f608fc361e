//! The way of an event whose topic is durable: into its lanes and the durable log, in one order.
//!
//! Whoever emits on a durable topic takes the log's order first, then a number, then puts the event in its lanes, then in
//! the log, and gives the order back. So among durable topics the order of numbers, that in the log and that in each lane
//! are the same. Nobody waits for room while he holds the order: an attempt that finds none is taken back, and made again
//! when there is some. Inline handlers run after the order was given back, those of the bus's own records as well.

use std::sync::Arc;

use super::{Exit, Extra, How, Refused, patience_here};
use crate::context;
use crate::delivery::directory::{TopicRoute, TopicState};
use crate::delivery::engine::Engine;
use crate::delivery::envelope::Envelope;
use crate::delivery::lane::{Overflow, Patience, Queue};
use crate::delivery::log_tap::{LogTap, PutOff};
use crate::error::EmitError;
use crate::payload::Payload;
use crate::platform::place::Place;
use crate::receipt::{Fate, Receipt};

/// What is emitted on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    Name(&'a str),
    Topic(&'a TopicState, &'a TopicRoute),
}

impl Engine {
    /// Emits on a durable topic, when it is this event's turn.
    #[cold]
    #[inline(never)]
    pub(super) fn emit_in_order<P: Payload>(
        &self,
        log: &LogTap,
        target: Target<'_>,
        payload: P,
        how: How<'_>,
    ) -> Result<Receipt, EmitError<P>> {
        let wanted = patience_here(how.patience);
        let patience = if wanted == Patience::Never { Patience::Never } else { Patience::Later };
        let payload = match target {
            Target::Name(name) => {
                self.validate_ahead(name, self.directory.get(name).map(|topic| &**topic), payload, how)?
            }
            Target::Topic(topic, _) => self.validate_ahead(&topic.name, Some(topic), payload, how)?,
        };
        let mut again: Option<Extra> = None;
        let (mut payload, begun) = (payload, self.clock.now());
        loop {
            let order = log.enter();
            let extra = again.as_ref().or(how.extra);
            let attempt = How { patience, key: how.key, extra, order: Some(&order) };
            let emitted = match target {
                Target::Name(name) => self.emit(name, payload, attempt),
                Target::Topic(topic, route) => self.emit_to(topic, route, payload, attempt),
            };
            drop(order);
            for PutOff { name, payload, cause, .. } in log.due() {
                self.emit_system(&name, payload, cause.as_ref());
            }
            let waited = match emitted {
                // This is what an attempt that was taken back looks like.
                Err(EmitError::Full { lane, payload: back }) if lane.is_empty() && wanted != Patience::Later => {
                    payload = back;
                    self.wait_in_order(log, target, how, wanted, begun)
                }
                Err(EmitError::Full { lane, payload: back }) if wanted != how.patience => {
                    payload = back;
                    self.wait_for_tap(lane, how, begun)
                }
                done => return done,
            };
            if let Err(lane) = waited {
                return Err(EmitError::Full { lane, payload });
            }
            // It counts once for the limits.
            again.get_or_insert_with(|| Extra { admitted: true, ..how.extra.cloned().unwrap_or_default() });
        }
    }

    /// Waits, as the policies allow, for room wherever the event goes; or says which lane has none.
    fn wait_in_order(
        &self,
        log: &LogTap,
        target: Target<'_>,
        how: How<'_>,
        patience: Patience,
        begun: u64,
    ) -> Result<(), String> {
        let wait = |queue: &Arc<Queue>| self.wait_for(queue, how, patience, begun);
        wait(&log.queue)?;
        // The audit log's own thread does not wait for itself; it is a worker, and does not come here.
        self.tap.iter().try_for_each(wait)?;
        let loaded;
        let route = match target {
            Target::Topic(_, route) => route,
            Target::Name(name) => match self.directory.get(name) {
                Some(topic) => {
                    loaded = topic.table.load();
                    &*loaded
                }
                None => return Ok(()),
            },
        };
        let pick = how.pick(self.gate.entered());
        route.lanes().filter_map(|(lane, _)| self.queues.pick(lane, pick)).try_for_each(wait)
    }

    /// Waits on a worker's thread, which waits for no lane, but for a log: its thread waits for nobody.
    fn wait_for_tap(&self, name: String, how: How<'_>, begun: u64) -> Result<(), String> {
        let own = context::lane_of(self.bus);
        match self.taps().find(|tap| *tap.name == *name && own != Some(tap.id) && tap.makes_wait()) {
            Some(tap) if how.patience != Patience::Later => self.wait_for(tap, how, how.patience, begun),
            _ => Err(name),
        }
    }

    fn wait_for(&self, queue: &Queue, how: How<'_>, patience: Patience, begun: u64) -> Result<(), String> {
        let end = match queue.overflow {
            Overflow::BlockFor(wait) => begun.saturating_add(crate::range::nanos(wait)),
            _ => 0,
        };
        let patience = patience.not_beyond(end).not_beyond(self.end_of(how));
        if queue.wait_for_room(patience) { Ok(()) } else { Err(queue.name.to_string()) }
    }

    /// When it is no use to wait any longer, because the event has expired; 0 for never.
    fn end_of(&self, how: How<'_>) -> u64 {
        let Some(extra) = how.extra else { return 0 };
        let deadline = extra.lineage.as_ref().and_then(|lineage| lineage.deadline.as_ref());
        let deadline = deadline.map(|deadline| deadline.on(self.bus, &self.clock));
        deadline.into_iter().chain((extra.expires != 0).then_some(extra.expires)).min().unwrap_or(0)
    }

    /// Lets an event come again that is not in the durable log for certain.
    pub(crate) fn forget_logged(&self, extra: &Extra) {
        self.forget(How { extra: Some(extra), ..How::PLAIN });
    }

    /// Sends an event that is admitted to its lanes, to the durable log, and then to the inline handlers.
    #[allow(clippy::too_many_arguments, reason = "what an emit has in hand")]
    pub(super) fn send_logged(
        &self,
        log: &LogTap,
        place: Place,
        topic: &TopicState,
        route: &TopicRoute,
        envelope: &mut Envelope,
        how: How<'_>,
        patience: Patience,
        receipt: &mut Receipt,
    ) -> Result<Exit, Refused> {
        let commit = how.extra.and_then(|extra| extra.commit.as_ref());
        // Whoever has the order is alone in putting events in: what room there is stays.
        if !log.queue.ring.would_accept() && (commit.is_some() || log.queue.overflow != Overflow::DropNewest) {
            // The log's thread cannot wait for itself.
            let own = context::lane_of(self.bus) == Some(log.queue.id);
            let patience = if own { Patience::Never } else { patience };
            return Err(Refused::full(&log.queue, patience));
        }
        let record = envelope.share();
        let inline = (!route.inline().is_empty()).then(|| envelope.share());
        let is_routed = !route.is_empty();
        receipt.fate = if is_routed { Fate::Routed } else { Fate::Unrouted };
        if !route.is_all_inline() {
            self.push_lanes(route, envelope, how, patience, receipt, place)?;
        }
        let is_logged = log.push(record, commit, place);
        if let Some(order) = how.order {
            order.give_back();
        }
        if let Some(mut envelope) = inline {
            let waiter = how.extra.and_then(|extra| extra.waiter.as_deref());
            self.emit_inline(topic, route, &mut envelope, waiter, receipt, place);
        }
        receipt.fate = match (is_routed, is_logged) {
            (false, false) => return Ok(Exit::Unrouted),
            (true, false) => Fate::Routed,
            (false, true) => Fate::Logged,
            (true, true) => Fate::RoutedAndLogged,
        };
        Ok(Exit::Routed)
    }
}
