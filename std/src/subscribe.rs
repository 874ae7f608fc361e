//! Subscribing: what a user says before the handler.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nervebus_core::{LaneId, Pattern, Priority, SubscriptionId};

use crate::bus::Bus;
use crate::delivery::breaker::Breaker;
use crate::delivery::handler::{HandlerResult, thunk};
use crate::delivery::retry::{Retry, Retrying};
use crate::delivery::subscription::{Calls, Policies, Subscription};
use crate::error::{BuildError, SubscribeError};
use crate::event::Event;
use crate::range::{TIMEOUTS, nanos};

/// A subscription that lacks its handler; see [`Bus::on`].
#[derive(Debug)]
#[must_use = "nothing is subscribed before `handle`"]
pub struct Subscribe<'a> {
    bus: &'a Bus,
    pattern: &'a str,
    name: Option<String>,
    lane: To,
    priority: Priority,
    timeout: Timeout,
    policies: Policies,
}

/// How long a call may take.
#[derive(Debug)]
enum Timeout {
    /// As long as the bus says.
    Default,
    Own(Option<Duration>),
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
        let (lane, timeout, policies) = (To::Default, Timeout::Default, Policies::default());
        Self { bus, pattern, name: None, lane, priority: Priority::DEFAULT, timeout, policies }
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

    /// How long a call of the handler may take; `None` for as long as it likes, whatever the bus's default is. Default:
    /// [`Builder::handler_timeout`](crate::Builder::handler_timeout). Range: 1 ms to a day, and not for a handler that is
    /// [`inline`](Self::inline): it runs on the emitter's thread, which nobody can take it from.
    ///
    /// A handler cannot be stopped from outside. When its time is up, its thread is left to it and another takes over
    /// the lane: the event becomes a dead letter with the reason [`HandlerTimeout`](crate::Reason::HandlerTimeout), a
    /// `system.handler_timeout` event says so, whoever waits for the event is told, its other handlers are called, and
    /// the lane goes on. Should the handler return after all, what it returns is discarded. How many threads may be left
    /// like that is the builder's [`max_abandoned`](crate::Builder::max_abandoned). A handler that looks at
    /// [`Event::deadline`] or [`Event::is_abandoned`] gives up by itself.
    ///
    /// # Cost
    ///
    /// For each call two looks at the clock, two locks that nobody else wants, and three locked instructions. Handlers of
    /// other topics pay nothing.
    pub fn timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.timeout = Timeout::Own(limit.into());
        self
    }

    /// What becomes of a failure: the handler is called again with the event, up to a number of attempts, and other
    /// handlers are not. Default: none; each failure is a dead letter at once. Not for [`inline`](Self::inline) handlers.
    ///
    /// ```
    /// use nervebus::{Bus, Retry, json};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// let retry = Retry::exponential(Duration::from_millis(1)).attempts(3);
    /// bus.on("job.run").retry(retry).handle(|event| if event.attempt() < 3 { Err("busy") } else { Ok(()) })?;
    /// bus.emit("job.run", json!({}))?;
    ///
    /// let report = bus.shutdown(Duration::from_secs(5));
    /// assert_eq!((report.handled, report.failed), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(mut self, retry: Retry) -> Self {
        self.policies.retry = Some(Retrying::new(retry));
        self
    }

    /// Makes no calls while the breaker is open. Subscriptions that are given the same breaker share it. Default: none.
    pub fn breaker(mut self, breaker: &Breaker) -> Self {
        self.policies.breaker = Some(breaker.clone());
        self
    }

    /// Subscribes the handler. It may return nothing or a `Result`; a failure, be it an error or a panic, never stops
    /// the others: it makes a `system.handler_error` event and a dead letter.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`], and [`SubscribeError::UnknownLane`]; for a setting that is outside its range, or that the
    /// handler's lane does not allow, which one.
    pub fn handle<F, R>(mut self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        let pattern =
            Pattern::new(self.pattern).map_err(|error| SubscribeError::InvalidPattern { rule: error.to_string() })?;
        let lane = self.find_lane()?;
        let alone = self.bus.engine().queues.of(lane).len() == 1;
        self.policies.timeout = self.find_timeout(lane)?;
        self.check_policies(lane)?;
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

    /// How long a call may take, in nanoseconds.
    fn find_timeout(&self, lane: LaneId) -> Result<Option<u64>, SubscribeError> {
        let limit = match self.timeout {
            Timeout::Default if lane.is_inline() => return Ok(None),
            Timeout::Default => return Ok(self.bus.engine().handler_timeout),
            Timeout::Own(None) => return Ok(None),
            Timeout::Own(Some(limit)) => limit,
        };
        let refuse = |rule| Err(SubscribeError::InvalidSetting { setting: "timeout", rule });
        if lane.is_inline() {
            return refuse("an inline handler runs on the emitter's thread, and cannot have one".into());
        }
        if !TIMEOUTS.contains(&limit) {
            return refuse(format!("{limit:?} is outside its range {:?} to {:?}", TIMEOUTS.start(), TIMEOUTS.end()));
        }
        Ok(Some(nanos(limit)))
    }

    fn check_policies(&self, lane: LaneId) -> Result<(), SubscribeError> {
        if let Some(retrying) = &self.policies.retry {
            if lane.is_inline() {
                return Err(SubscribeError::NotInline { setting: "retry" });
            }
            retrying.policy.check("retry").map_err(out_of_range)?;
        }
        let Some(breaker) = &self.policies.breaker else { return Ok(()) };
        breaker.check().map_err(out_of_range)?;
        let engine = self.bus.engine();
        breaker.is_taken_by(&engine.clock, || {
            let engine = Arc::downgrade(engine);
            Box::new(move |change| {
                if let Some(engine) = engine.upgrade() {
                    engine.record_change(change);
                }
            })
        });
        Ok(())
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

/// A range that was checked as if the bus were being built.
fn out_of_range(error: BuildError) -> SubscribeError {
    match error {
        BuildError::OutOfRange { field, value, min, max } => SubscribeError::OutOfRange { field, value, min, max },
        BuildError::WaitOutOfRange { field, value, max } => SubscribeError::WaitOutOfRange { field, value, max },
        // A check of ranges says nothing else.
        other => SubscribeError::OutOfRange { field: other.to_string(), value: 0, min: 0, max: 0 },
    }
}
