//! One event to a lane's handlers when there is more to it than calling them: it may expire, or a call may take too long.

use std::sync::Arc;

use nervebus_core::lease::Revoked;

use super::{Topics, flight, watchdog};
use crate::delivery::count;
use crate::delivery::deliver::{RouteEntry, enter};
use crate::delivery::engine::Engine;
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::lane::Queue;
use crate::delivery::watch::{CallLimit, Deferred, Progress, Seat, Work};
use crate::event::{Call, OwnedEvent};

/// What became of a handler's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Done,
    /// Its future is in flight, and the event with it.
    Away,
    /// It came too late, as will those of all the handlers behind.
    Expired,
}

/// Delivers an event that has just come out of the ring.
///
/// # Errors
///
/// [`Revoked`] when a call has taken too long: then the calling thread is no longer the lane's worker, and must touch
/// nothing that is the worker's.
#[cold]
#[inline(never)]
pub(super) fn handle(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    topics: &mut Topics,
    seat: &mut Seat,
    envelope: Envelope,
) -> Result<(), Revoked> {
    let Some(seen) = topics.get(engine, envelope.topic) else { return Ok(()) };
    let mut envelope = envelope;
    // While it is watched nobody can move it: a handler that owns its events would find it in place.
    if seen.route.load().lane(queue.id).iter().any(|entry| entry.handler.owns()) {
        envelope.body.share();
    }
    let work = Work::new(envelope, Arc::clone(&seen.topic), engine.bus);
    go_on(engine, queue, topics, seat, work)
}

/// Goes on with an event whose first handlers may have had their turn.
///
/// # Errors
///
/// As [`handle`].
pub(super) fn go_on(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    topics: &mut Topics,
    seat: &mut Seat,
    work: Work,
) -> Result<(), Revoked> {
    report(engine, queue, &work);
    if let Err(work) = seat.holder.hold(work) {
        // The seat is empty: what was in it was taken out when its event was finished.
        finish(engine, queue, work);
        return Ok(());
    }
    complete(engine, queue, topics, seat)
}

/// Calls the handlers whose turn is to come with the event in the seat, and finishes it, unless one of them goes on in
/// flight.
///
/// # Errors
///
/// As [`handle`].
pub(super) fn complete(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    topics: &mut Topics,
    seat: &mut Seat,
) -> Result<(), Revoked> {
    if call_all(engine, queue, topics, seat)? != Turn::Away {
        let work = seat.holder.take().ok_or(Revoked)?;
        finish(engine, queue, work);
    }
    Ok(())
}

fn call_all(engine: &Arc<Engine>, queue: &Arc<Queue>, topics: &mut Topics, seat: &mut Seat) -> Result<Turn, Revoked> {
    let work = seat.holder.value().ok_or(Revoked)?;
    let Some(seen) = topics.get(engine, work.envelope().topic) else { return Ok(Turn::Done) };
    let _scope = enter(&work.event(None));
    let mut entries = work.to_come(seen.route.load().lane(queue.id));
    while let Some(entry) = entries.next() {
        // One that has ended is cancelled: that is the difference between those expected and all others.
        if !entry.handler.is_active() {
            continue;
        }
        match take_turn(engine, queue, seat, entry)? {
            Turn::Done => {}
            Turn::Away => return Ok(Turn::Away),
            Turn::Expired => {
                let late = |entry: &&RouteEntry| entry.handler.is_active();
                let behind = entries.filter(late).inspect(|entry| entry.handler.count_expired()).count();
                entry.handler.count_expired();
                let work = seat.holder.value().ok_or(Revoked)?;
                work.progress().tally.expired = 1 + behind as u64;
                break;
            }
        }
    }
    Ok(Turn::Done)
}

fn take_turn(engine: &Arc<Engine>, queue: &Arc<Queue>, seat: &mut Seat, entry: &RouteEntry) -> Result<Turn, Revoked> {
    let (clock, subscription) = (&engine.clock, &entry.handler);
    let work = seat.holder.value().ok_or(Revoked)?;
    let expires = work.envelope().head.expires;
    let timeout = subscription.timeout();
    let now = if expires == 0 && timeout.is_none() { 0 } else { clock.now() };
    if expires != 0 && now >= expires {
        return Ok(Turn::Expired);
    }
    if subscription.holds(work.envelope().head.key) {
        work.progress().refuse(subscription, HandlerError::Parked);
        return Ok(Turn::Done);
    }
    let permit = match subscription.admit(&work.event(None)) {
        Ok(permit) => permit,
        Err(refusal) => {
            work.progress().refuse(subscription, refusal);
            return Ok(Turn::Done);
        }
    };
    if let (Some(flight), Some(starter)) = (&queue.flight, subscription.starter()) {
        match flight::call(engine, queue, flight, starter, subscription, &work.event(None), permit) {
            Ok(flying) => return flight::launch(engine, queue, flight, seat, flying),
            Err(error) => work.progress().end(subscription, Err(error)),
        }
        return Ok(Turn::Done);
    }
    if expires == 0 && timeout.is_none() {
        let result = subscription.call(&work.event(None));
        subscription.conclude(permit, result.is_ok());
        work.progress().end(subscription, result);
        return Ok(Turn::Done);
    }
    let Some(timeout) = timeout else {
        let limit = CallLimit { clock, deadline: expires, watchdogs: None };
        let result = subscription.call(&work.event(Some(&limit)));
        subscription.conclude(permit, result.is_ok());
        work.progress().end(subscription, result);
        return Ok(Turn::Done);
    };
    // Not beyond the event's own end. The future of an async handler ends then by itself; only what blocks the thread
    // instead is taken over, after twice that.
    let left = expires.saturating_sub(now).saturating_mul(if subscription.awaits() { 2 } else { 1 });
    let limit = if expires == 0 { timeout } else { timeout.min(left) };
    let deadline = now.saturating_add(limit);
    work.progress().begin(subscription, limit);
    queue.watch.keep_permit(permit);
    seat.holder.begin(deadline);
    if queue.watch.expect(deadline) {
        watchdog::plan(engine, queue);
    }
    let work = seat.holder.value().ok_or(Revoked)?;
    let limit = CallLimit { clock, deadline, watchdogs: Some(&seat.watchdogs) };
    let limit: &dyn Call = &limit;
    let result = subscription.call(&work.event(Some(limit)));
    if seat.holder.end().is_err() {
        // The breaker was told when the time was up.
        drop_quietly(result);
        return Err(Revoked);
    }
    subscription.conclude(queue.watch.take_permit(subscription), result.is_ok());
    let work = seat.holder.value().ok_or(Revoked)?;
    work.progress().end(subscription, result);
    Ok(Turn::Done)
}

/// Says what is to be said of an event that was taken over, before its other handlers are called. For whoever is the
/// lane's worker, or acts for it.
pub(super) fn report(engine: &Arc<Engine>, queue: &Arc<Queue>, work: &Work) {
    let Some(claim) = work.claim() else { return };
    let (failures, outcomes) = {
        let mut progress = work.progress();
        (std::mem::take(&mut progress.failures), std::mem::take(&mut progress.outcomes))
    };
    let deferred = engine.fail(queue, OwnedEvent(Arc::new(claim)), &failures);
    drop_quietly(failures);
    let mut progress = work.progress();
    progress.tally.settle(&queue.outcomes, deferred);
    if let Some(ticket) = &mut progress.ticket {
        ticket.note(outcomes);
    }
}

/// Writes the account of an event for which nothing more will be done. For whoever is the lane's worker, or acts for it.
pub(super) fn finish(engine: &Arc<Engine>, queue: &Arc<Queue>, work: Work) {
    let Progress { mut tally, failures, outcomes, ticket, .. } = std::mem::take(&mut *work.progress());
    let (expected, key) = (u64::from(work.envelope().expected), work.envelope().head.key);
    let mut deferred = Deferred::default();
    if failures.is_empty() && tally.expired == 0 {
        drop_quietly(work);
    } else {
        let event = OwnedEvent(Arc::new(work));
        if tally.expired > 0 {
            engine.bury_expired(event.clone(), &queue.name);
        }
        deferred = engine.fail(queue, event, &failures);
    }
    let ended = tally.settle(&queue.outcomes, deferred);
    count::add_alone(&queue.outcomes.cancelled, expected.saturating_sub(ended));
    count::add_alone(&queue.outcomes.finished, 1);
    if let Some(ticket) = ticket {
        ticket.report(outcomes);
    }
    drop_quietly(failures);
    queue.release(key);
}
