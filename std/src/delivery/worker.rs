//! The thread behind a lane: takes events out of the ring and delivers them.

mod flight;
mod guarded;
pub(crate) mod pooled;
mod redeliver;
#[cfg(test)]
mod tests;
mod watchdog;

use std::sync::Arc;

use nervebus_core::LaneId;
use nervebus_core::lease::Revoked;
use nervebus_core::ring::PopError;

use crate::context;
use crate::delivery::count;
use crate::delivery::deliver::deliver_envelope;
use crate::delivery::directory::{RouteCache, TopicRoute, TopicState};
use crate::delivery::engine::Engine;
use crate::delivery::envelope::{Envelope, TopicId};
use crate::delivery::failure::drop_quietly;
use crate::delivery::idle::rest;
use crate::delivery::lane::Queue;
use crate::delivery::spill::Queueing;
use crate::delivery::subscription::Subscription;
use crate::delivery::watch::{Seat, Unfinished};
use crate::event::OwnedEvent;

/// Serves the lane until it is closed and drained, or until a call has taken too long and another worker has taken over.
pub(crate) fn run(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    context::become_worker(engine.bus, queue.id);
    let ending = Ending(queue);
    loop {
        // Before it looks for work: whoever has work for it wakes the thread that is named.
        queue.bed.how().is_this_thread();
        let (mut seat, unfinished, recovered) = queue.watch.sit_down();
        if recovered {
            watchdog::say_recovered(engine, queue);
        }
        let served = match &queue.flight {
            None => serve(engine, queue, &mut seat, unfinished),
            Some(flight) => flight::serve(engine, queue, flight, &mut seat, unfinished),
        };
        if served.is_ok() {
            return;
        }
        let number = seat.number;
        // Perhaps the last that has what the call was about.
        drop_quietly(seat);
        if !queue.watch.come_back(number) {
            // The lane has another worker, whose end will be the lane's.
            return std::mem::forget(ending);
        }
    }
}

/// Runs until the lane is closed and drained.
fn serve(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    unfinished: Option<Unfinished>,
) -> Result<(), Revoked> {
    let (mut memory, mut idle) = (Memory::default(), 0);
    take_up(engine, queue, seat, &mut memory, unfinished)?;
    loop {
        match step(engine, queue, seat, &mut memory)? {
            Step::Worked => idle = 0,
            Step::Idle => idle = rest(queue, idle),
            Step::Closed => return wind_up(engine, queue, seat, &mut memory),
        }
    }
}

/// What a worker knows from one event to the next.
#[derive(Debug, Default)]
struct Memory {
    topics: Topics,
    aside: Queueing,
}

/// What a look at the lane has come to.
enum Step {
    Worked,
    Idle,
    /// Nothing is in the ring, and nothing comes any more.
    Closed,
}

/// Does what is left of the event of a worker whose call has taken too long.
fn take_up(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    memory: &mut Memory,
    unfinished: Option<Unfinished>,
) -> Result<(), Revoked> {
    match unfinished {
        Some(Unfinished::Event(work)) => guarded::go_on(engine, queue, &mut memory.topics, seat, *work)?,
        Some(Unfinished::Again(again)) => watchdog::fail_again(engine, queue, *again),
        None => {}
    }
    Ok(())
}

/// Looks once for everything that a worker looks for: an event in the ring, one beside it, a redelivery.
#[inline]
fn step(engine: &Arc<Engine>, queue: &Arc<Queue>, seat: &mut Seat, memory: &mut Memory) -> Result<Step, Revoked> {
    let Memory { topics, aside } = memory;
    if queue.is_stale() {
        topics.refresh();
    }
    let (mut worked, mut next) = (false, 0);
    aside.look(&queue.spill);
    match queue.ring.pop() {
        Ok(envelope) => {
            worked = true;
            after_pop(engine, queue);
            handle(engine, queue, topics, seat, envelope)?;
            next = aside.popped(queue.ring.capacity());
        }
        Err(PopError::Closed) => return Ok(Step::Closed),
        // Not while somebody is in the middle of a push, with others behind that have ended theirs.
        Err(PopError::Empty) if queue.ring.is_empty() => next = aside.emptied(),
        Err(PopError::Empty) => {}
    }
    // What stepped aside found the ring full, so it comes after what was in there.
    while next > 0
        && let Some(envelope) = queue.spill.pop()
    {
        (worked, next) = (true, next - 1);
        handle(engine, queue, topics, seat, envelope)?;
    }
    // To one handler, whatever else there is for the others.
    if let Some(again) = queue.again.pop() {
        worked = true;
        redeliver::redeliver(engine, queue, seat, again)?;
    }
    Ok(if worked { Step::Worked } else { Step::Idle })
}

/// Tells those who wait for room, and the guard that sheds events, that an event has left the ring.
#[inline]
fn after_pop(engine: &Engine, queue: &Queue) {
    queue.after_pop();
    if let Some(shedder) = &queue.shedder
        && let Some(turn) = shedder.drained_to(queue.ring.len())
    {
        engine.shedding_turned(queue, shedder, turn);
    }
}

/// The last that is done for a lane that is closed and drained.
fn wind_up(engine: &Arc<Engine>, queue: &Arc<Queue>, seat: &mut Seat, memory: &mut Memory) -> Result<(), Revoked> {
    // Between closing and here, a record of the lane's last failures may have stepped aside.
    queue.spill.close();
    while let Some(envelope) = queue.spill.pop() {
        handle(engine, queue, &mut memory.topics, seat, envelope)?;
    }
    engine.leave(queue, queue.again.close());
    Ok(())
}

/// Says that the worker has ended, however it did. Nothing of a user's can unwind it; if something of ours does, the lane
/// is closed, so that nobody waits for it.
pub(crate) struct Ending<'a>(pub(crate) &'a Queue);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.close();
        self.0.ended.open();
    }
}

/// What a worker remembers of the topics it has seen, so that an event costs no lookup and no shared counter.
#[derive(Debug, Default)]
struct Topics {
    seen: Vec<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    topic: Arc<TopicState>,
    route: RouteCache,
    /// The version of the route for which the next was found out, or one that no route has.
    version: u64,
    /// Whether a handler of the lane has a timeout, so that its calls are watched, or one of several futures in flight.
    guarded: bool,
}

impl Seen {
    fn new((topic, route): (Arc<TopicState>, RouteCache)) -> Self {
        Self { topic, route, version: u64::MAX, guarded: false }
    }

    /// The present route, and whether there is more to a handler of this lane in it than a call.
    #[inline]
    fn look(&mut self, lane: LaneId) -> (&TopicState, &TopicRoute, bool) {
        let route = self.route.load();
        if route.version() != self.version {
            (self.version, self.guarded) = (route.version(), is_guarded(route, lane));
        }
        (&self.topic, route, self.guarded)
    }
}

#[cold]
fn is_guarded(route: &TopicRoute, lane: LaneId) -> bool {
    let is_guarded = |of: &Subscription| of.timeout().is_some() || of.starter().is_some();
    route.lane(lane).iter().any(|entry| is_guarded(&entry.handler))
}

impl Topics {
    /// Takes note of all changes, so that no handler that has ended is kept alive from here.
    #[cold]
    fn refresh(&mut self) {
        for seen in self.seen.iter_mut().flatten() {
            seen.route.load();
        }
    }

    fn get(&mut self, engine: &Engine, id: TopicId) -> Option<&mut Seen> {
        let index = id as usize;
        if index >= self.seen.len() {
            self.seen.resize_with(index + 1, || None);
        }
        let seen = self.seen.get_mut(index)?;
        if seen.is_none() {
            *seen = engine.directory.follow(id).map(Seen::new);
        }
        seen.as_mut()
    }
}

fn handle(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    topics: &mut Topics,
    seat: &mut Seat,
    mut envelope: Envelope,
) -> Result<(), Revoked> {
    let Some(seen) = topics.get(engine, envelope.topic) else {
        // Topics are never forgotten while the bus lives.
        return Ok(());
    };
    let (topic, route, guarded) = seen.look(queue.id);
    if guarded || envelope.head.expires != 0 {
        return guarded::handle(engine, queue, topics, seat, envelope);
    }
    let ticket = envelope.ticket.take();
    // Who subscribed after the emit does not get this event, though the route has them by now.
    let version = envelope.version;
    let entries = route.lane(queue.id).iter().filter(|entry| entry.since <= version);
    let (delivered, outcomes) = deliver_envelope(entries, &mut envelope, &topic.name, engine.bus, ticket.is_some());
    let (expected, handled) = (u64::from(envelope.expected), delivered.handled as u64);
    let failures = delivered.failures();
    let mut waiting = 0;
    if failures.is_empty() {
        drop_quietly(envelope);
    } else {
        // A call that is not watched has no time to be out of.
        waiting = engine.fail(queue, OwnedEvent(Arc::new(envelope.keep(&topic.name, engine.bus))), failures).failed;
    }
    let failed = failures.len() as u64;
    count::add_alone(&queue.outcomes.handled, handled);
    // What is tried again has no outcome yet.
    count::add_alone(&queue.outcomes.failed, failed - waiting);
    count::add_alone(&queue.outcomes.cancelled, expected.saturating_sub(handled + failed));
    count::add_alone(&queue.outcomes.finished, 1);
    if let Some(ticket) = ticket {
        ticket.report(outcomes);
    }
    if delivered.trouble.is_some() {
        drop_quietly(delivered);
    }
    Ok(())
}
