//! Which topics carry which type, and what follows from that.

use std::any::TypeId;
use std::sync::Arc;

use super::{Directory, Registry, TooManyTopics, TopicRoute, TopicState};
use crate::error::{ClaimError, SubscribeError};

/// The type that a topic carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) id: TypeId,
    /// The type's name, for people.
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    /// The topics that its handlers emit on, as it says.
    pub(crate) emits: &'static [&'static str],
    /// Whether exactly one handler may be subscribed by the topic's name.
    pub(crate) is_command: bool,
}

impl Directory {
    /// The topic of this name, made known if it is new, and claimed for this type from now on.
    pub(crate) fn claim(&self, name: &str, claim: Claim) -> Result<Arc<TopicState>, ClaimError> {
        let mut registry = self.lock();
        let topic =
            self.intern(&mut registry, name).map_err(|TooManyTopics { limit }| ClaimError::TooManyTopics { limit })?;
        if let Some(first) = topic.claim.get() {
            return if first.id == claim.id { Ok(topic) } else { Err(claimed(name, first, &claim)) };
        }
        let handlers = handlers(&registry, &topic);
        if claim.is_command && handlers.len() > 1 {
            return Err(ClaimError::Handlers { topic: name.to_owned(), handlers });
        }
        // While the registry is locked nobody else sets it.
        let _ = topic.claim.set(claim);
        if claim.is_command {
            // Whoever emits by name is asked there whether there is a handler.
            topic.leave_short_ways();
        }
        Ok(topic)
    }

    /// Refuses a second handler of a command, while the registry is locked.
    pub(super) fn may_handle(&self, registry: &Registry, topic: &TopicState) -> Result<(), SubscribeError> {
        if !topic.is_command() {
            return Ok(());
        }
        match handlers(registry, topic).pop() {
            None => Ok(()),
            Some(handler) => Err(SubscribeError::CommandHandled { topic: topic.name.to_string(), handler }),
        }
    }

    /// Whether somebody is subscribed by this topic's name, rather than by a pattern; in its route, or apart from it.
    #[inline]
    pub(crate) fn has_handler(&self, topic: &TopicState, route: &TopicRoute) -> bool {
        route.entries().iter().any(|entry| entry.handler.pattern == topic.name) || self.has_handler_apart(topic)
    }

    /// Who is fed from the durable log, or by a history, is in no route.
    #[cold]
    fn has_handler_apart(&self, topic: &TopicState) -> bool {
        !handlers(&self.lock(), topic).is_empty()
    }
}

impl TopicState {
    /// Whether it carries a type that exactly one handler may be subscribed to.
    pub(crate) fn is_command(&self) -> bool {
        self.claim.get().is_some_and(|claim| claim.is_command)
    }
}

/// The names of those who are subscribed by a topic's name.
fn handlers(registry: &Registry, topic: &TopicState) -> Vec<String> {
    let by_name = registry.subscriptions.values().filter(|subscription| subscription.pattern == topic.name);
    by_name.map(|subscription| subscription.name.to_string()).collect()
}

fn claimed(topic: &str, first: &Claim, second: &Claim) -> ClaimError {
    ClaimError::Claimed {
        topic: topic.to_owned(),
        by: first.name,
        by_version: first.version,
        asked: second.name,
        asked_version: second.version,
    }
}
