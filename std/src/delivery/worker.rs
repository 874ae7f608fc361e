//! The thread behind a lane: takes events out of the ring and delivers them.

use std::sync::Arc;

use nervebus_core::ring::PopError;

use crate::context;
use crate::delivery::count;
use crate::delivery::deliver::deliver_envelope;
use crate::delivery::directory::{RouteCache, TopicState};
use crate::delivery::engine::Engine;
use crate::delivery::envelope::{Envelope, TopicId};
use crate::delivery::failure::drop_quietly;
use crate::delivery::idle::rest;
use crate::delivery::lane::Queue;
use crate::event::OwnedEvent;

/// Runs until the lane is closed and drained.
pub(crate) fn run(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    context::become_worker(engine.bus, queue.id);
    let _ending = Ending(queue);
    let (mut topics, mut idle) = (Topics::default(), 0);
    loop {
        if queue.is_stale() {
            topics.refresh();
        }
        let mut worked = false;
        match queue.ring.pop() {
            Ok(envelope) => {
                worked = true;
                queue.after_pop();
                handle(engine, queue, &mut topics, envelope);
            }
            Err(PopError::Closed) => break,
            Err(PopError::Empty) => {}
        }
        // What stepped aside found the ring full, so it comes after what was in there.
        if let Some(envelope) = queue.spill.pop() {
            worked = true;
            handle(engine, queue, &mut topics, envelope);
        }
        idle = if worked { 0 } else { rest(queue, idle) };
    }
    // Between closing and here, a record of the lane's last failures may have stepped aside.
    queue.spill.close();
    while let Some(envelope) = queue.spill.pop() {
        handle(engine, queue, &mut topics, envelope);
    }
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
            *seen = engine.directory.follow(id).map(|(topic, route)| Seen { topic, route });
        }
        seen.as_mut()
    }
}

fn handle(engine: &Arc<Engine>, queue: &Queue, topics: &mut Topics, mut envelope: Envelope) {
    let Some(Seen { topic, route }) = topics.get(engine, envelope.topic) else {
        // Topics are never forgotten while the bus lives.
        return;
    };
    let ticket = envelope.ticket.take();
    // Who subscribed after the emit does not get this event, though the route has them by now.
    let version = envelope.version;
    let entries = route.load().lane(queue.id).iter().filter(|entry| entry.since <= version);
    let (delivered, outcomes) = deliver_envelope(entries, &mut envelope, &topic.name, engine.bus, ticket.is_some());
    let (expected, handled) = (u64::from(envelope.expected), delivered.handled as u64);
    let (failures, failed) = (delivered.failures(), delivered.failures().len() as u64);
    if failures.is_empty() {
        drop_quietly(envelope);
    } else {
        let own = envelope.head.own;
        engine.bury(OwnedEvent(Arc::new(envelope.keep(&topic.name, engine.bus))), own, &queue.name, failures);
    }
    count::add_alone(&queue.outcomes.handled, handled);
    count::add_alone(&queue.outcomes.failed, failed);
    count::add_alone(&queue.outcomes.cancelled, expected.saturating_sub(handled + failed));
    count::add_alone(&queue.outcomes.finished, 1);
    if let Some(ticket) = ticket {
        ticket.report(outcomes);
    }
    if delivered.trouble.is_some() {
        drop_quietly(delivered);
    }
}
