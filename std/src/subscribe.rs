//! Subscribing: what a user says before the handler.

use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use nervebus_core::{LaneId, Pattern, Priority, SubscriptionId};

use crate::bus::Bus;
use crate::delivery::async_handler::{Ground, async_thunk};
use crate::delivery::engine::Engine;
use crate::delivery::handler::{HandlerResult, Thunk, owned_thunk, thunk};
use crate::delivery::subscription::{Calls, Policies, Subscription};
use crate::error::SubscribeError;
use crate::event::{Event, OwnedEvent};
use crate::request::answer_thunk;
use crate::stream::EventStream;

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
        self.add(thunk(handler))
    }

    /// Subscribes a handler that gets the event to keep, or to send elsewhere: it outlives the call, and the payload is
    /// not copied. In all else as [`handle`](Self::handle).
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    ///
    /// # Cost
    ///
    /// Up to four allocations for each event and handler, of which the payload's move to the heap is one; that move is
    /// made once, when the first handler that needs it has its turn. Handlers of other topics pay nothing.
    pub fn handle_owned<F, R>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(OwnedEvent) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        self.add_owning(owned_thunk(handler))
    }

    /// Subscribes an async handler. The worker of its lane drives the future to its end before the next handler or event
    /// has its turn, so priorities and the order of events hold as for other handlers; so do the account, dead letters
    /// and records.
    ///
    /// A future that waits holds up its lane, and nobody else. It is dropped at the handler's timeout, if it has one,
    /// and when a shutdown's deadline passes; a panic, in the closure or in the future, goes no further. What the handler
    /// emits is caused by its event, and never waits for a full lane. Timers and sockets of a runtime can be used where the bus
    /// knows one: see `Builder::runtime`, which the feature `tokio` adds.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle); [`SubscribeError::AsyncInline`] after [`inline`](Self::inline).
    ///
    /// # Cost
    ///
    /// As [`handle_owned`](Self::handle_owned), and one allocation for a waker and one short lock of the bus's for each
    /// event.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, json};
    ///
    /// # async fn send(_: &str) -> Result<(), std::io::Error> { Ok(()) }
    /// let bus = Bus::builder().build()?;
    /// bus.on("mail.queued").handle_async(|event| async move {
    ///     send(event["to"].as_str().unwrap_or("postmaster")).await
    /// })?;
    /// let report = bus.emit_and_wait("mail.queued", json!({"to": "alice"}))?;
    /// assert!(report.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle_async<F, Fut>(mut self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(OwnedEvent) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: HandlerResult,
    {
        if matches!(self.lane, To::Inline) {
            return Err(SubscribeError::AsyncInline);
        }
        let engine = self.engine();
        let (clock, runtime) = (engine.clock.clone(), engine.runtime.clone());
        let ground = Ground { clock, runtime, cancelled: Arc::clone(&engine.cancelled) };
        // The future is dropped at its timeout, so nobody else has to watch the call.
        let timeout = self.policies.timeout.take();
        self.add_owning(async_thunk(ground, timeout, handler))
    }

    /// Subscribes a handler that answers [requests](Bus::request). It is a handler like any other, and is called for
    /// events that are no requests as well; their answers are dropped. An error, or a panic, is a failure of the
    /// handler's as any, and ends the request when nobody else is left to answer.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    pub fn answer<F, R, E>(mut self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&Event<'_>) -> Result<R, E> + Send + Sync + 'static,
        R: Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.policies.answers = true;
        self.add(answer_thunk(handler))
    }

    /// Subscribes a stream: see [`Bus::stream`]. Up to `capacity` events wait in it, 1 to 1,048,576. Of a handler's
    /// settings it has the name and the priority; events come into it on emitters' threads, whatever the lane.
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle); [`SubscribeError::OutOfRange`] for the capacity.
    pub fn stream(self, capacity: usize) -> Result<EventStream, SubscribeError> {
        EventStream::begin(self, capacity)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.bus.engine()
    }

    /// Subscribes a handler, as the bus keeps it, that needs its events for longer than a call.
    pub(crate) fn add_owning(mut self, handler: Thunk) -> Result<SubscriptionId, SubscribeError> {
        self.policies.owns = true;
        self.add(handler)
    }

    /// Subscribes a handler as the bus keeps it.
    pub(crate) fn add(self, handler: Thunk) -> Result<SubscriptionId, SubscribeError> {
        let pattern =
            Pattern::new(self.pattern).map_err(|error| SubscribeError::InvalidPattern { rule: error.to_string() })?;
        let lane = self.find_lane()?;
        let sampling = self.bus.timing().into();
        let name = self.name.unwrap_or_else(|| self.pattern.to_owned()).into();
        let policies = self.policies.kept();
        self.bus.engine().directory.subscribe(pattern, self.bus.engine().names, |id| Subscription {
            id,
            name,
            pattern: self.pattern.into(),
            lane,
            priority: self.priority,
            sampling,
            active: AtomicBool::new(true),
            calls: Calls::default(),
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
            known: queues.iter().map(|queue| queue.name.to_string()).collect(),
        })
    }
}
