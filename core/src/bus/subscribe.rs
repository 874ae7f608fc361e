//! Who is called for which topics.

use super::{Event, StaticBus, SubscribeError};
use crate::entry::{Entry, SubscriptionId};
use crate::handler::Handler;
use crate::lane::LaneId;
use crate::pattern::Pattern;
use crate::priority::Priority;
use crate::sync::Ordering;
use crate::table::{self, Busy};
use crate::topic::Topic;

/// A handler, and the set of topics it asked for, one bit each.
#[derive(Clone)]
pub(super) struct Member<H> {
    pub(super) topics: u64,
    handler: H,
}

impl<E, H: Handler<Event<E>>> Handler<Event<E>> for Member<H> {
    type Error = H::Error;

    #[inline]
    fn handle(&self, event: &Event<E>) -> Result<(), H::Error> {
        self.handler.handle(event)
    }
}

impl<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize>
    StaticBus<E, H, TOPICS, HANDLERS, QUEUE, DEAD>
{
    /// Has the handler called with every event of the topics that `pattern` matches, from the next delivery on, those
    /// already queued included. Higher priorities run first; among equal ones, those who subscribed first.
    ///
    /// The identity is unique until its number wraps at the machine's word.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::BadPattern`] when the text is not a [pattern](Pattern::new), [`SubscribeError::NoTopic`] when
    /// it matches no topic of this bus, [`SubscribeError::Full`] when the table has no room, and
    /// [`SubscribeError::Busy`] when this call interrupts another change: try again when that one is done, which an
    /// interrupt must not wait for. Each gives the handler back.
    ///
    /// # Cost
    ///
    /// Matches the pattern with each topic and copies the table. No allocation, no waiting.
    pub fn subscribe<'p>(
        &self,
        pattern: &'p str,
        priority: Priority,
        handler: H,
    ) -> Result<SubscriptionId, SubscribeError<'p, H>>
    where
        H: Clone,
    {
        let pattern = match Pattern::new(pattern) {
            Ok(pattern) => pattern,
            Err(error) => return Err(SubscribeError::BadPattern { error, handler }),
        };
        let topics = self.matched_by(pattern);
        if topics == 0 {
            return Err(SubscribeError::NoTopic { pattern, handler });
        }
        // Relaxed: a number that nobody else gets, and nothing more.
        let id = SubscriptionId::new(self.next_subscription.fetch_add(1, Ordering::Relaxed) as u64);
        let entry = Entry::new(id, LaneId::INLINE, priority, Member { topics, handler });
        match self.table.subscribe(entry) {
            Ok(_version) => Ok(id),
            Err(table::SubscribeError::Full(entry)) => Err(SubscribeError::Full(entry.handler.handler)),
            Err(table::SubscribeError::Busy(entry)) => Err(SubscribeError::Busy(entry.handler.handler)),
        }
    }

    /// The set of topics that a pattern matches.
    fn matched_by(&self, pattern: Pattern<'_>) -> u64 {
        let matched = |name: &&'static str| Topic::new(name).is_ok_and(|topic| pattern.matches(topic));
        self.topics.iter().enumerate().fold(0, |set, (index, name)| set | u64::from(matched(name)) << index)
    }

    /// Ends a subscription; `false` if there was none of this identity.
    ///
    /// No delivery that begins after this returned calls the handler. One that is under way, and that this call
    /// interrupts or is made from, still does. The handler is dropped by the next change at the latest.
    ///
    /// # Errors
    ///
    /// [`Busy`] when this call interrupts another change, as for [`subscribe`](Self::subscribe).
    ///
    /// # Cost
    ///
    /// Copies the table. No allocation, no waiting.
    pub fn unsubscribe(&self, id: SubscriptionId) -> Result<bool, Busy>
    where
        H: Clone,
    {
        self.table.unsubscribe(id).map(|version| version.is_some())
    }
}
