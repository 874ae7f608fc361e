//! A worker that keeps several events with async handlers in flight.
//!
//! Each delivery in flight is at one future. When that ends, the worker draws the conclusion and calls the event's next
//! handlers, until one of them is async again or none is left. So the handlers of an event run one after the other, and
//! everything but the polls is the code that other lanes' workers run.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use nervebus_core::breaker::Permit;
use nervebus_core::lease::Revoked;
use nervebus_core::ring::PopError;

use super::guarded::{self, Turn};
use super::{Memory, Topics, after_pop, handle, redeliver, take_up, watchdog};
use crate::context::Handling;
use crate::context::cause::Known;
use crate::delivery::again::Redelivery;
use crate::delivery::deliver::enter;
use crate::delivery::engine::Engine;
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::handler::Starter;
use crate::delivery::idle::rest_by;
use crate::delivery::lane::Queue;
use crate::delivery::lane::flight::{Cargo, Flight, Flying, Limit, Waiting};
use crate::delivery::subscription::{Failure, Subscription};
use crate::delivery::watch::{Retried, Seat, Unfinished, Work};
use crate::event::Event;

type Outcome = Result<(), HandlerError>;

/// What a look for something new has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Something,
    Nothing,
    /// Nothing, and there will be nothing more.
    End,
}

/// What the worker remembers between its looks for something new.
#[derive(Debug, Default)]
struct Feed {
    memory: Memory,
    /// How many of the events that stepped aside are next.
    next: usize,
}

/// Runs until the lane is closed, and neither holds anything nor has anything in flight.
pub(super) fn serve(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    seat: &mut Seat,
    unfinished: Option<Unfinished>,
) -> Result<(), Revoked> {
    let (mut feed, mut idle) = (Feed::default(), 0);
    // The worker before may have got stuck in a poll.
    flight.recover();
    take_up(engine, queue, seat, &mut feed.memory, unfinished)?;
    loop {
        if queue.is_stale() {
            feed.memory.topics.refresh();
        }
        let worked = look_after(engine, queue, flight, &mut feed.memory.topics, seat)?;
        idle = match take_on(engine, queue, flight, &mut feed, seat)? {
            Found::Something => 0,
            Found::Nothing if worked => 0,
            Found::Nothing => rest_by(queue.strategy, idle, || sleep(engine, queue, flight)),
            Found::End => break,
        };
    }
    engine.leave(queue, queue.again.close());
    Ok(())
}

/// Sleeps until a future was woken or is overdue, or something has come for which there is room, and says whether it slept.
fn sleep(engine: &Engine, queue: &Queue, flight: &Flight) -> bool {
    let has_room = flight.has_room();
    flight.bell.arm();
    // With a full flight an emit has nothing to wake the worker for.
    if has_room {
        queue.bed.bell().arm();
    }
    let busy = flight.count_woken() > 0 || (has_room && queue.ring.has_arrivals());
    if !busy {
        engine.clock.park_until(flight.deadline());
    }
    queue.bed.bell().disarm();
    flight.bell.disarm();
    !busy
}

/// Goes on with the calls whose futures were woken, and with those whose time is up; says whether there were any.
fn look_after(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    topics: &mut Topics,
    seat: &mut Seat,
) -> Result<bool, Revoked> {
    let mut worked = false;
    // Futures that wake themselves do not keep the worker from the ring.
    for _ in 0..flight.count_woken() {
        let Some(flying) = flight.next_woken() else { break };
        resume(engine, queue, flight, topics, seat, flying)?;
        worked = true;
    }
    if flight.deadline().is_some() {
        let now = engine.clock.now();
        while let Some(flying) = flight.next_overdue(now) {
            resume(engine, queue, flight, topics, seat, flying)?;
            worked = true;
        }
    }
    if engine.cancelled.is_given() {
        let mut from = 0;
        while let Some(flying) = flight.next(&mut from) {
            resume(engine, queue, flight, topics, seat, flying)?;
            worked = true;
        }
    }
    Ok(worked)
}

/// Begins with what has got its key, and with what has come, as far as there is room.
fn take_on(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    feed: &mut Feed,
    seat: &mut Seat,
) -> Result<Found, Revoked> {
    if let Some(due) = flight.next_due() {
        begin_due(engine, queue, &mut feed.memory.topics, seat, due)?;
        return Ok(Found::Something);
    }
    if !flight.has_room() {
        return Ok(Found::Nothing);
    }
    feed.memory.aside.look(&queue.spill);
    let mut found = Found::Nothing;
    match queue.ring.pop() {
        Ok(envelope) => {
            found = Found::Something;
            after_pop(engine, queue);
            begin(engine, queue, flight, &mut feed.memory.topics, seat, Waiting::Event(envelope))?;
            feed.next += feed.memory.aside.popped(queue.ring.capacity());
        }
        Err(PopError::Closed) if !flight.is_empty() => return Ok(Found::Nothing),
        Err(PopError::Closed) => {
            // Between closing and here, a record of the lane's last failures may have stepped aside.
            queue.spill.close();
            let Some(envelope) = queue.spill.pop() else { return Ok(Found::End) };
            begin(engine, queue, flight, &mut feed.memory.topics, seat, Waiting::Event(envelope))?;
            return Ok(Found::Something);
        }
        // Not while somebody is in the middle of a push, with others behind that have ended theirs.
        Err(PopError::Empty) if queue.ring.is_empty() => feed.next += feed.memory.aside.emptied(),
        Err(PopError::Empty) => {}
    }
    // What stepped aside found the ring full, so it comes after what was in there.
    while feed.next > 0 && flight.has_room() {
        let Some(envelope) = queue.spill.pop() else { break };
        (found, feed.next) = (Found::Something, feed.next - 1);
        begin(engine, queue, flight, &mut feed.memory.topics, seat, Waiting::Event(envelope))?;
    }
    if flight.has_room()
        && let Some(again) = queue.again.pop()
    {
        found = Found::Something;
        begin(engine, queue, flight, &mut feed.memory.topics, seat, Waiting::Again(again))?;
    }
    Ok(found)
}

/// Begins with a delivery, unless its key is in flight.
fn begin(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    topics: &mut Topics,
    seat: &mut Seat,
    delivery: Waiting,
) -> Result<(), Revoked> {
    match flight.wait_for_key(delivery) {
        None => Ok(()),
        Some(Waiting::Event(envelope)) => handle(engine, queue, topics, seat, envelope),
        Some(Waiting::Again(again)) => redeliver::redeliver(engine, queue, seat, again),
    }
}

/// Begins with a delivery that has waited for its key: it has it, and gives it back when it has ended.
fn begin_due(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    topics: &mut Topics,
    seat: &mut Seat,
    due: Waiting,
) -> Result<(), Revoked> {
    match due {
        Waiting::Event(envelope) => guarded::handle(engine, queue, topics, seat, envelope),
        Waiting::Again(again) => {
            let (key, flies) = (again.event.as_event().head.key, again.subscription.starter().is_some());
            redeliver::redeliver(engine, queue, seat, again)?;
            if !flies {
                queue.release(key);
            }
            Ok(())
        }
    }
}

/// Goes on with a call whose future was woken, or whose time is up.
fn resume(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    topics: &mut Topics,
    seat: &mut Seat,
    mut flying: Box<Flying>,
) -> Result<(), Revoked> {
    match flying.take_cargo() {
        Some(Cargo::Event(work)) => {
            let handling = enter(&work.event(None));
            // The seat is empty between two deliveries, so this never fails.
            drop_quietly(seat.holder.hold(work));
            let polled = poll(engine, queue, seat, &mut flying)?;
            drop(handling);
            match conclude_event(engine, flight, seat, flying, polled)? {
                Turn::Away => Ok(()),
                Turn::Done | Turn::Expired => guarded::complete(engine, queue, topics, seat),
            }
        }
        Some(Cargo::Again(retried)) => fly_again(engine, queue, flight, seat, flying, retried),
        // It is taken out once for each time that it is kept, with its cargo.
        None => Ok(()),
    }
}

/// Calls an async handler with the event in the seat: its future has its first poll, and what it is at by then is kept in
/// flight, the event with it.
pub(super) fn launch(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    seat: &mut Seat,
    mut flying: Box<Flying>,
) -> Result<Turn, Revoked> {
    let work = seat.holder.value().ok_or(Revoked)?;
    let nanos = flying.limit.as_ref().map_or(u64::MAX, |limit| limit.limit);
    work.progress().begin(&flying.subscription, nanos);
    let polled = poll(engine, queue, seat, &mut flying)?;
    conclude_event(engine, flight, seat, flying, polled)
}

/// A call of an async handler that its breaker has admitted, to be launched.
pub(super) fn call(
    engine: &Engine,
    queue: &Arc<Queue>,
    flight: &Flight,
    starter: &Starter,
    subscription: &Arc<Subscription>,
    event: &Event<'_>,
    permit: Option<Permit>,
) -> Result<Box<Flying>, HandlerError> {
    let future = match starter.start(event) {
        Ok(future) => future,
        Err(error) => {
            subscription.conclude(permit, false);
            return Err(error);
        }
    };
    let mut flying = Flying::new(queue, flight, subscription, future);
    flying.permit = permit;
    flying.timed = subscription.begin_timing(event.seq());
    flying.limit = starter.timeout.map(|timeout| {
        let since = engine.clock.now();
        // Not beyond the event's own end. That of an event of an earlier run went by another clock.
        let expires = event.head.expires;
        let limit =
            if expires == 0 || event.bus != engine.bus { timeout } else { timeout.min(expires.saturating_sub(since)) };
        Limit { since, limit, _awaited: engine.clock.awaited() }
    });
    Ok(flying)
}

/// Polls the call's future, whose delivery is in the seat; `None` if it has not ended.
fn poll(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    flying: &mut Flying,
) -> Result<Option<Outcome>, Revoked> {
    let mut over = false;
    if let Some(limit) = &flying.limit {
        let now = engine.clock.now();
        over = now >= limit.deadline();
        // A future ends at its timeout by itself; only what blocks the thread instead is taken over, after twice that. What
        // waited for the thread until then has as long again.
        let watched = limit.deadline().max(now).saturating_add(limit.limit);
        queue.watch.keep_permit(flying.permit.take());
        seat.begin(watched);
        if queue.watch.expect(watched) {
            watchdog::plan(engine, queue);
        }
    }
    let polled = engine.runtime.within(|| {
        if engine.cancelled.is_given() {
            flying.end();
            return Some(Err(HandlerError::Error("the bus shut down before the handler had ended".into())));
        }
        match flying.poll() {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending if over => {
                flying.end();
                let after = flying.limit.as_ref().map_or(0, |limit| limit.limit);
                Some(Err(HandlerError::Timeout { after: Duration::from_nanos(after) }))
            }
            Poll::Pending => None,
        }
    });
    if seat.end().is_err() {
        // The breaker was told when the time was up.
        engine.runtime.within(|| flying.end());
        drop_quietly(polled);
        return Err(Revoked);
    }
    if flying.limit.is_some() {
        flying.permit = queue.watch.take_permit(&flying.subscription);
    }
    Ok(polled)
}

/// Draws the conclusion from a poll of a call with the event in the seat, or keeps both in flight.
fn conclude_event(
    engine: &Engine,
    flight: &Flight,
    seat: &mut Seat,
    mut flying: Box<Flying>,
    polled: Option<Outcome>,
) -> Result<Turn, Revoked> {
    let Some(outcome) = polled else {
        let work: Work = seat.holder.take().ok_or(Revoked)?;
        flight.keep(flying, Cargo::Event(work), &engine.cancelled);
        return Ok(Turn::Away);
    };
    land(flight, &mut flying, &outcome);
    seat.holder.value().ok_or(Revoked)?.progress().end(&flying.subscription, outcome);
    Ok(Turn::Done)
}

/// Ends a call that has an outcome.
fn land(flight: &Flight, flying: &mut Flying, outcome: &Outcome) {
    flight.vacate(flying);
    flying.subscription.end_timing(flying.timed);
    flying.subscription.conclude(flying.permit.take(), outcome.is_ok());
}

/// Makes a delivery to an async handler again.
pub(super) fn again(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    starter: &Starter,
    seat: &mut Seat,
    again: Redelivery,
) -> Result<(), Revoked> {
    let (key, subscription) = (again.event.as_event().head.key, Arc::clone(&again.subscription));
    let ended = if !subscription.is_active() {
        engine.conclude_again(Some(queue), again, Err(Failure::Cancelled))
    } else if engine.expiry(&again).is_some_and(|expires| engine.clock.now() >= expires) {
        Some(engine.expire_again(Some(queue), again))
    } else {
        let called = engine.with_event(&again, None, |event| {
            let permit = subscription.admit(event)?;
            call(engine, queue, flight, starter, &subscription, event, permit)
        });
        match called {
            Ok(flying) => {
                let limit = flying.limit.as_ref().map_or(u64::MAX, |limit| limit.limit);
                return fly_again(engine, queue, flight, seat, flying, Retried { again, limit });
            }
            Err(error) => engine.conclude_again(Some(queue), again, Err(Failure::Failed(Arc::new(error)))),
        }
    };
    engine.settle_again(queue, ended);
    queue.release(key);
    Ok(())
}

/// Polls the call of a delivery that is made again, and ends the delivery if that was the call's end.
fn fly_again(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    flight: &Flight,
    seat: &mut Seat,
    mut flying: Box<Flying>,
    retried: Retried,
) -> Result<(), Revoked> {
    let event = retried.again.event.as_event();
    let (key, own) = (event.head.key, event.bus == engine.bus);
    // The number of an event of an earlier run is another event's in this one, so it is nobody's cause.
    let seq = if own { event.head.seq } else { 0 };
    let handling = Handling::enter(engine.bus, seq, event.head.hops, event.head.lineage.as_ref());
    let known = Known::by(event.head.given_id());
    // The seat is empty between two deliveries, so this never fails.
    drop_quietly(seat.again.hold(retried));
    let polled = poll(engine, queue, seat, &mut flying)?;
    drop((known, handling));
    let retried = seat.again.take().ok_or(Revoked)?;
    let Some(outcome) = polled else {
        flight.keep(flying, Cargo::Again(retried), &engine.cancelled);
        return Ok(());
    };
    land(flight, &mut flying, &outcome);
    flying.subscription.count(&outcome);
    let result = outcome.map_err(|error| Failure::Failed(Arc::new(error)));
    let ended = engine.conclude_again(Some(queue), retried.again, result);
    engine.settle_again(queue, ended);
    queue.release(key);
    Ok(())
}
