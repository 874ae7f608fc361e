//! Subscribing: what a user says before the handler.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use nervebus_core::{LaneId, Pattern, Priority, SubscriptionId};

use crate::bus::Bus;
use crate::delivery::handler::{HandlerResult, thunk};
use crate::delivery::subscription::{Calls, Policies, Subscription};
use crate::error::SubscribeError;
use crate::event::Event;

/// A subscription that lacks its handler; see [`Bus::on`].
#[derive(Debug)]
#[must_use = "nothing is subscribed before `handle`"]
pub struct Subscribe<'a> {
    bus: &'a Bus,
    pattern: &'a str,
    name: Option<String>,
    lane: To,
    priority: Priority,
    policies: Policies,
}

/// Which lane.
#[derive(Debug)]
enum To {
    Default,
    Inline,
    Named(String),
}

impl<'a> Subscribe<'a> {
    pub(crate) fn new(bus: &'a Bus, pattern: &'a str) -> Self {
        Self { bus, pattern, name: None, lane: To::Default, priority: Priority::DEFAULT, policies: Policies::default() }
    }

    /// What the handler is called in records, reports and statistics. Default: its pattern.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Handlers of one event on one lane run in order of priority, the highest first; equals in the order in which
    /// they subscribed. Default: 100.
    pub fn priority(mut self, priority: impl Into<Priority>) -> Self {
        self.priority = priority.into();
        self
    }

    /// The lane whose worker calls the handler. Default: the default lane. For the emitter's own thread, see
    /// [`inline`](Self::inline).
    pub fn lane(mut self, name: impl Into<String>) -> Self {
        self.lane = To::Named(name.into());
        self
    }

    /// Calls the handler on the emitter's thread, before `emit` returns.
    pub fn inline(mut self) -> Self {
        self.lane = To::Inline;
        self
    }

    /// Subscribes the handler. It may return nothing or a `Result`; a failure, be it an error or a panic, never stops
    /// the others: it makes a `system.handler_error` event and a dead letter.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`], and [`SubscribeError::UnknownLane`].
    pub fn handle<F, R>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        let pattern =
            Pattern::new(self.pattern).map_err(|error| SubscribeError::InvalidPattern { rule: error.to_string() })?;
        let lane = self.find_lane()?;
        let alone = self.bus.engine().queues.of(lane).len() == 1;
        let sampling = self.bus.timing().into();
        let name = self.name.unwrap_or_else(|| self.pattern.to_owned()).into();
        let (handler, policies) = (thunk(handler), self.policies.kept());
        self.bus.engine().directory.subscribe(pattern, self.bus.engine().names, |id| Subscription {
            id,
            name,
            pattern: self.pattern.into(),
            lane,
            priority: self.priority,
            sampling,
            active: AtomicBool::new(true),
            calls: Calls::by(alone),
            timings: OnceLock::new(),
            policies,
            handler,
        })
    }

    fn find_lane(&self) -> Result<LaneId, SubscribeError> {
        let queues = &self.bus.engine().queues;
        let wanted = match &self.lane {
            To::Inline => return Ok(LaneId::INLINE),
            To::Default => return Ok(queues.first().map_or(LaneId::INLINE, |queue| queue.id)),
            To::Named(name) => name,
        };
        let found = queues.iter().find(|queue| *queue.name == **wanted).map(|queue| queue.id);
        found.ok_or_else(|| SubscribeError::UnknownLane {
            lane: wanted.clone(),
            known: queues.by_lane().filter_map(|lane| Some(lane.first()?.name.to_string())).collect(),
        })
    }
}
