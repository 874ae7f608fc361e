//! Subscribing: what a user says before the handler.

use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nervebus_core::{LaneId, Pattern, Priority, SubscriptionId};

use crate::bus::Bus;
use crate::delivery::async_handler::{Ground, async_thunk};
use crate::delivery::breaker::Breaker;
use crate::delivery::engine::Engine;
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::{HandlerResult, Starter, Thunk, owned_thunk, thunk};
use crate::delivery::parking::{KeyOrder, Parking};
use crate::delivery::retry::{Retry, Retrying};
use crate::delivery::subscription::{Aside, Calls, Policies, Subscription};
#[cfg(feature = "durable")]
use crate::durable_subscription::Durably;
use crate::error::{BuildError, SubscribeError};
use crate::event::{Event, OwnedEvent};
use crate::range::{TIMEOUTS, nanos};
use crate::request::answer_thunk;
use crate::schema::Schemas;
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
    timeout: Timeout,
    order: Option<KeyOrder>,
    policies: Policies,
    /// Whether it is given first what a history has.
    pub(crate) wants_history: bool,
    /// Whether it is fed from the durable log.
    #[cfg(feature = "durable")]
    pub(crate) durable: Option<Durably>,
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
        Self {
            bus,
            pattern,
            name: None,
            lane,
            priority: Priority::DEFAULT,
            timeout,
            order: None,
            policies,
            wants_history: false,
            #[cfg(feature = "durable")]
            durable: None,
        }
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
    /// [`Event::deadline`] or [`Event::is_abandoned`] gives up by itself. A retry, or a dead letter that was sent back, has as
    /// long, and is a failed try when that is up.
    ///
    /// # Cost
    ///
    /// For each call two looks at the clock, two locks that nobody else wants, and three locked instructions. Handlers of
    /// other topics pay nothing. One allocation for an event that a handler of the same lane [owns](Self::handle_owned).
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

    /// Keeps the events of each [key](crate::Emission::key) in order where one of them fails: those behind it are not
    /// delivered to this handler before it has been handled. Default: they are, and it comes late or not at all. Not for
    /// [`inline`](Self::inline) handlers, among whose emitters there is no order, nor on a bus that keeps no dead letters.
    ///
    /// While a failed event waits for its [`retry`](Self::retry), up to 64 later ones of its key wait behind it, and follow
    /// when it has been handled. Once it is a dead letter, they are dead letters behind it, with the reason
    /// [`Parked`](crate::Reason::Parked), and so is each that comes later. Events of other keys, and other handlers, have
    /// nothing to do with it. When the first is [retried](crate::DeadLetters::retry) and handled, those behind it go back
    /// by themselves, one after the other; if one of these fails, or its breaker refuses the call, it is the first, and the
    /// rest stays behind it. None but the first can be retried by hand.
    ///
    /// * A first letter that is [removed](crate::DeadLetters::remove) or cleared is done with: the next one goes back. One
    ///   that is overwritten by newer letters was given up by nobody: the next is the first in its place, and stays.
    /// * What has expired holds nobody up: those behind it go on.
    /// * An event without a key is in no sequence. Two topics share one where the pattern matches both. Keys are told apart
    ///   by their hashes, of 64 bits.
    /// * The letters of a [log](crate::DeadLetterLog) keep their places from run to run, and hold up the handler of their
    ///   name and pattern when it is subscribed again. Events that a shutdown left in a lane have none. Once a shutdown has
    ///   begun, no further letter goes back.
    /// * In the ledger a parked event has failed; whoever waits for it is told [`HandlerError::Parked`]. It makes no
    ///   `system.handler_error`.
    /// * How much may be held up is bounded, by [`key_order`](Self::key_order); how much is,
    ///   [`SubscriptionStats::parking`](crate::SubscriptionStats::parking) says.
    ///
    /// # Cost
    ///
    /// For each event of this handler one relaxed load while no key is held up; else a lock that nobody else wants for long,
    /// and a lookup. Handlers without this pay nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Reason};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// use std::time::Duration;
    ///
    /// static UP: AtomicBool = AtomicBool::new(false);
    /// let bus = Bus::builder().build()?;
    /// let book = |_: &nervebus::Event<'_>| if UP.load(Ordering::Relaxed) { Ok(()) } else { Err("database is down") };
    /// bus.on("order.*").keep_order_per_key().handle(book)?;
    ///
    /// bus.event("order.placed", ()).key("order-7").emit()?;
    /// let report = bus.event("order.paid", ()).key("order-7").emit_and_wait()?;
    /// assert!(!report.all_handled());
    /// assert_eq!(bus.dead_letters().get(2).map(|letter| letter.reason), Some(Reason::Parked));
    ///
    /// UP.store(true, Ordering::Relaxed);
    /// bus.dead_letters().retry(1)?;
    /// while !bus.dead_letters().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(bus.shutdown(Duration::from_secs(5)).handled, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`HandlerError::Parked`]: crate::HandlerError::Parked
    pub fn keep_order_per_key(self) -> Self {
        self.key_order(KeyOrder::new())
    }

    /// As [`keep_order_per_key`](Self::keep_order_per_key), within these bounds.
    pub fn key_order(mut self, order: KeyOrder) -> Self {
        self.order = Some(order);
        self
    }

    /// Subscribes the handler. It may return nothing or a `Result`; a failure, be it an error or a panic, never stops
    /// the others: it makes a `system.handler_error` event and a dead letter.
    ///
    /// # Errors
    ///
    /// As [`Bus::subscribe`], and [`SubscribeError::UnknownLane`]; for a setting that is outside its range, or that the
    /// handler's lane does not allow, which one.
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
        self.add_owning(owned_thunk(move |event| Ok(handler(event))))
    }

    /// Subscribes an async handler. The worker of its lane drives the future to its end before the next handler or event
    /// has its turn, so priorities and the order of events hold as for other handlers; so do the account, dead letters
    /// and records. On a lane with a [concurrency](crate::Lane::concurrency) above 1 it keeps the futures of several events
    /// in flight, and only the order within each key is kept.
    ///
    /// A future that waits holds up its lane, unless that keeps several in flight, and nobody else. It is dropped at the handler's timeout, if it has one,
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
    pub fn handle_async<F, Fut>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(OwnedEvent) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: HandlerResult,
    {
        self.add_async(move |event| Ok(handler(event)))
    }

    /// Subscribes an async handler that may find that an event is none that it can take.
    pub(crate) fn add_async<F, Fut>(mut self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(OwnedEvent) -> Result<Fut, HandlerError> + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: HandlerResult,
    {
        if matches!(self.lane, To::Inline) {
            return Err(SubscribeError::AsyncInline);
        }
        let lane = self.find_lane()?;
        let timeout = self.find_timeout(lane)?;
        let engine = self.engine();
        let (clock, runtime) = (engine.clock.clone(), engine.runtime.clone());
        let ground = Ground { clock, runtime, cancelled: Arc::clone(&engine.cancelled) };
        let one_at_a_time = engine.queue(lane).is_none_or(|queue| queue.flight.is_none());
        // The future is dropped at its timeout. Only one that blocks the thread instead of waiting outlives that, and is
        // watched for twice as long.
        self.timeout =
            Timeout::Own(timeout.map(|limit| Duration::from_nanos(limit).saturating_mul(2).min(*TIMEOUTS.end())));
        self.policies.awaits = true;
        if one_at_a_time {
            return self.add_owning(async_thunk(ground, timeout, handler));
        }
        let handler = Arc::new(handler);
        self.policies.starter = Some(Starter::new(timeout, Arc::clone(&handler)));
        self.add_owning(async_thunk(ground, timeout, move |event| handler(event)))
    }

    /// Subscribes a handler that answers [requests](Bus::request). It is a handler like any other, and is called for
    /// events that are no requests as well; their answers are dropped. An error, a panic or a call that takes too long is a
    /// failure of the handler's as any, and ends the request when nobody else is left to answer: after the last attempt,
    /// where a [`retry`](Self::retry) makes several. An open [`breaker`](Self::breaker) ends it at once, though the handler
    /// may be called when the breaker lets it; that answer comes too late, unless another responder is still to answer.
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
    pub(crate) fn add(mut self, handler: Thunk) -> Result<SubscriptionId, SubscribeError> {
        let pattern =
            Pattern::new(self.pattern).map_err(|error| SubscribeError::InvalidPattern { rule: error.to_string() })?;
        let lane = self.find_lane()?;
        let alone = self.bus.engine().queues.of(lane).len() == 1;
        self.policies.timeout = self.find_timeout(lane)?;
        self.check_policies(lane)?;
        let sampling = self.bus.timing().into();
        let name: Arc<str> = self.name.clone().unwrap_or_else(|| self.pattern.to_owned()).into();
        self.policies.parking = self.hold_up(lane, &name)?;
        self.policies.schemas = self.schemas().filter(|schemas| schemas.look_at_consume());
        let policies = self.policies.kept();
        let make = |id| Subscription {
            id,
            name,
            pattern: self.pattern.into(),
            lane,
            priority: self.priority,
            sampling,
            active: AtomicBool::new(true),
            calls: Calls::by(alone),
            aside: Aside::default(),
            timings: OnceLock::new(),
            policies,
            handler,
        };
        #[cfg(feature = "durable")]
        if let Some(durably) = self.durable {
            return durably.subscribe(self.bus, self.pattern, lane, self.wants_history, make);
        }
        if self.wants_history {
            return crate::history::subscribe(self.bus, self.pattern, lane, make);
        }
        self.bus.engine().directory.subscribe(pattern, self.bus.engine().names, make)
    }

    /// The schemas of the bus.
    pub(crate) fn schemas(&self) -> Option<Arc<dyn Schemas>> {
        self.bus.engine().schemas.clone()
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

    /// Where keys are held up, if their order is kept: with what an earlier handler of this name and pattern has left.
    fn hold_up(&self, lane: LaneId, name: &str) -> Result<Option<Arc<Parking>>, SubscribeError> {
        const SETTING: &str = "keep_order_per_key";
        let Some(order) = self.order else { return Ok(None) };
        order.check("key_order").map_err(out_of_range)?;
        if lane.is_inline() {
            return Err(SubscribeError::NotInline { setting: SETTING });
        }
        #[cfg(feature = "durable")]
        if self.durable.is_some() {
            let rule = "a durable subscription is given its events anew after a restart, and parks none".into();
            return Err(SubscribeError::InvalidSetting { setting: SETTING, rule });
        }
        let engine = self.bus.engine();
        if engine.dead_letters.capacity() == 0 {
            let rule = "the bus keeps no dead letters, so that there is nowhere to park events".into();
            return Err(SubscribeError::InvalidSetting { setting: SETTING, rule });
        }
        let parking = Arc::new(Parking::new(order));
        let others = engine.directory.subscriptions().iter().map(|other| other.id).collect();
        engine.dead_letters.adopt(&parking, name, self.pattern, &others);
        Ok(Some(parking))
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
