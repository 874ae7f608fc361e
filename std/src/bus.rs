//! The handle that users hold.

mod audit;
mod metrics;
mod record;
mod topology;
mod typed;
mod validation;

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nervebus_core::SubscriptionId;

use crate::builder::Builder;
use crate::delivery::dead_letters::DeadLetters;
use crate::delivery::emit::How;
use crate::delivery::engine::Engine;
use crate::delivery::handler::HandlerResult;
use crate::delivery::lane::Patience;
use crate::delivery::ledger::Ledger;
use crate::delivery::report::Report;
use crate::delivery::shutdown::{ShutdownAsync, ShutdownReport};
use crate::delivery::timing::Timing;
use crate::emission::Emission;
use crate::emit_async::{EmitAndWaitAsync, EmitAsync};
use crate::error::{EmitError, RequestError, SubscribeError, WaitError};
use crate::event::{Event, OwnedEvent};
use crate::history::History;
use crate::observe::stats::{self, Stats};
use crate::payload::Payload;
use crate::publisher::Publisher;
use crate::receipt::Receipt;
use crate::records::audit::account::AuditAccount;
use crate::request::Request;
use crate::stream::{DEFAULT_CAPACITY, EventStream};
use crate::subscribe::Subscribe;
use crate::wait_for::WaitFor;
use crate::weak_bus::WeakBus;

/// How long dropping the last handle waits for a bus to drain.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// An event bus: the handle by which everything is done.
///
/// Cloning it is cheap, and all clones are the same bus. It can be used from any thread, and from inside handlers.
/// Dropping the last handle shuts the bus down with a deadline of five seconds; inside one of its handlers, and on a
/// thread of a [`WorkerPool`](crate::WorkerPool), that goes on by itself. A handler that needs the bus should hold a
/// [`WeakBus`], for a bus that is kept alive by its own handlers is never dropped.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
/// use std::time::Duration;
///
/// let bus = Bus::builder().build()?;
/// bus.subscribe("user.login", |event| println!("{} logged in", event["username"]))?;
/// bus.emit("user.login", json!({"username": "alice"}))?;
///
/// let report = bus.shutdown(Duration::from_secs(5));
/// assert!(report.drained && report.ledger.balanced());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bus {
    pub(crate) owner: Arc<Owner>,
}

/// What is shared by all handles; dropping it shuts the bus down.
#[derive(Debug)]
pub(crate) struct Owner {
    engine: Arc<Engine>,
    audit: Option<Audit>,
    timing: Timing,
    pub(crate) histories: OnceLock<Vec<Arc<History>>>,
    #[cfg(feature = "durable")]
    pub(crate) durable: OnceLock<Arc<crate::records::durable::core::Core>>,
}

/// The audit log of a bus, as its handles see it.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) path: PathBuf,
    pub(crate) account: Arc<AuditAccount>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.engine.shutdown_at_last(DROP_DEADLINE);
    }
}

impl Bus {
    /// Describes a bus to be built; every setting has a default.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(crate) fn new(engine: Arc<Engine>, audit: Option<Audit>, timing: Timing) -> Self {
        Self {
            owner: Arc::new(Owner {
                engine,
                audit,
                timing,
                histories: OnceLock::new(),
                #[cfg(feature = "durable")]
                durable: OnceLock::new(),
            }),
        }
    }

    #[inline]
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.owner.engine
    }

    pub(crate) fn timing(&self) -> Timing {
        self.owner.timing
    }

    /// A handle that does not keep the bus alive.
    pub fn downgrade(&self) -> WeakBus {
        WeakBus::of(self)
    }

    /// Subscribes a handler on the default lane with the default priority.
    ///
    /// `pattern` is a topic's name (`user.login`), or has a trailing `*` for one or more further segments (`chat.*`), a
    /// `*` elsewhere for exactly one (`order.*.failed`), or is `*` for everything. Events emitted from now on are
    /// delivered; those already on their way are not. For a lane, a priority or a name, see [`on`](Self::on).
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: a malformed pattern, a limit, or a bus that is shutting down.
    ///
    /// # Cost
    ///
    /// Linear in the handlers of the topic, and for a pattern in the number of topics. Emitters never wait for it.
    pub fn subscribe<F, R>(&self, pattern: &str, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&Event<'_>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        self.on(pattern).handle(handler)
    }

    /// Begins a subscription with more to say: lane, priority, name.
    ///
    /// ```
    /// use nervebus::{Bus, Lane, json};
    ///
    /// let bus = Bus::builder().lane(Lane::new("io")).build()?;
    /// bus.on("chat.*").priority(200).lane("io").handle(|event| println!("{}", event["text"]))?;
    /// bus.on("*").inline().handle(|event| println!("{}", event.topic()))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on<'a>(&'a self, pattern: &'a str) -> Subscribe<'a> {
        Subscribe::new(self, pattern)
    }

    /// Ends a subscription; `false` if there is none of this identity.
    ///
    /// When it returns, no event emitted later reaches the handler, and queued ones that it has not begun are skipped
    /// and counted as cancelled, as are its retries that wait. A call that another thread has already begun may still run to its end. The handler,
    /// with what it owns, is dropped soon after: when such calls have ended, the lane's worker has looked up, and the
    /// [`Publisher`]s of its topics have emitted again or gone.
    pub fn unsubscribe(&self, id: SubscriptionId) -> bool {
        self.engine().unsubscribe(id)
    }

    /// The events of a pattern as a stream, for whoever would rather ask for the next event than be called.
    ///
    /// Up to 1,024 events wait in it; for another capacity see [`Subscribe::stream`]. A reader that is too slow makes
    /// nobody wait: the oldest event makes way, and is [counted](EventStream::missed).
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn stream(&self, pattern: &str) -> Result<EventStream, SubscribeError> {
        self.on(pattern).stream(DEFAULT_CAPACITY)
    }

    /// Waits for the first event from now on that matches the pattern and satisfies the predicate.
    ///
    /// The predicate runs on emitters' threads. One that panics has failed as any handler does, and the wait goes on.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] when none has come for this long, [`WaitError::Closed`] when the bus has shut down,
    /// [`WaitError::Subscribe`] for a malformed pattern or a limit. [`WaitError::WouldDeadlock`] on a lane's worker, of
    /// whatever bus: the lane would stand still meanwhile, and with it what may be needed for the event to come.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, json};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// let ready = bus.wait_for_async("job.*", |event| event["id"] == 7, Duration::from_secs(5));
    /// bus.emit("job.done", json!({"id": 6}))?;
    /// bus.emit("job.done", json!({"id": 7}))?;
    /// assert_eq!(ready.wait()?["id"], 7);
    ///
    /// let error = bus.wait_for("job.failed", |_| true, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.to_string(), "no such event came in time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for<F>(&self, pattern: &str, predicate: F, timeout: Duration) -> Result<OwnedEvent, WaitError>
    where
        F: Fn(&Event<'_>) -> bool + Send + Sync + 'static,
    {
        WaitFor::begin(self, pattern, predicate, timeout).wait()
    }

    /// As [`wait_for`](Self::wait_for), as a future. It is subscribed when this returns, polled or not, and unsubscribed
    /// when the future ends or is dropped.
    ///
    /// An async handler that waits holds up its lane.
    pub fn wait_for_async<F>(&self, pattern: &str, predicate: F, timeout: Duration) -> WaitFor
    where
        F: Fn(&Event<'_>) -> bool + Send + Sync + 'static,
    {
        WaitFor::begin(self, pattern, predicate, timeout)
    }

    /// Emits a request and waits for the answer: that of the first handler subscribed with
    /// [`answer`](Subscribe::answer) which gives one.
    ///
    /// The request is an event like any other; all its handlers run, and the answers after the first are dropped. The
    /// emit waits for full lanes as [`emit`](Self::emit) does, and all of it no longer than the timeout.
    ///
    /// # Errors
    ///
    /// [`RequestError`]. A handler on a lane that would wait for its own lane gets [`EmitError::WouldDeadlock`].
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, RequestError};
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("math.square").answer(|event| match event.payload_as::<u64>() {
    ///     Some(number) => Ok(number * number),
    ///     None => Err("not a number"),
    /// })?;
    /// let second = Duration::from_secs(1);
    /// let square: u64 = bus.request("math.square", 12_u64, second)?;
    /// assert_eq!(square, 144);
    ///
    /// let error = bus.request::<_, u64>("math.root", 144_u64, second).unwrap_err();
    /// assert!(matches!(error, RequestError::NoResponder { payload: 144 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn request<Q, R>(&self, topic: &str, payload: Q, timeout: Duration) -> Result<R, RequestError<Q>>
    where
        Q: Payload,
        R: Send + Sync + 'static,
    {
        Request::begin(self, topic, payload, timeout, true).wait()
    }

    /// As [`request`](Self::request), as a future. The request is emitted before this returns, and never waits for room:
    /// a full lane refuses it.
    ///
    /// Dropping the future gives the answer up; the request is on its way all the same.
    pub fn request_async<Q, R>(&self, topic: &str, payload: Q, timeout: Duration) -> Request<Q, R>
    where
        Q: Payload,
        R: Send + Sync + 'static,
    {
        Request::begin(self, topic, payload, timeout, false)
    }

    /// Emits an event: runs the inline handlers on this thread, and puts the event in the lanes of the others.
    ///
    /// Waits for a full lane as its [`Overflow`](crate::Overflow) policy says; called from a handler on a lane, it waits
    /// for no lane, but for a full audit log, whose writer waits for nobody. Events emitted by one thread on one lane arrive in the order of the emits.
    ///
    /// # Errors
    ///
    /// [`EmitError`], which hands the payload back. No handler has seen the event then.
    ///
    /// # Cost
    ///
    /// No allocation by the bus for payloads of up to 64 bytes, aligned like a machine word or less, that go to one
    /// place, except for a topic's first emit; one allocation to share a payload between several lanes, or with the
    /// audit log. No lock, unless a lane is full or asleep.
    #[inline]
    pub fn emit<P: Payload>(&self, topic: &str, payload: P) -> Result<Receipt, EmitError<P>> {
        self.engine().emit(topic, payload, How::PLAIN)
    }

    /// Emits without ever waiting: a lane that would make the emitter wait refuses instead.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit); [`EmitError::Full`] where that would wait.
    pub fn try_emit<P: Payload>(&self, topic: &str, payload: P) -> Result<Receipt, EmitError<P>> {
        self.engine().emit(topic, payload, How::with(Patience::Never))
    }

    /// Emits, waits for all handlers, and returns the outcome of each.
    ///
    /// A handler with a [`Retry`](crate::Retry) has answered when its first attempt has ended: if that failed, the outcome
    /// is its error, and what becomes of the retries is told elsewhere.
    ///
    /// Waits no longer than the builder's `wait_limit`; handlers that have not answered by then are counted as
    /// unfinished and may still run.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit); [`EmitError::WouldDeadlock`] when a handler would wait for its own lane.
    pub fn emit_and_wait<P: Payload>(&self, topic: &str, payload: P) -> Result<Report, EmitError<P>> {
        self.event(topic, payload).emit_and_wait()
    }

    /// Emits, and awaits room where [`emit`](Self::emit) would make the thread wait for it.
    ///
    /// The future works on every executor. Nothing happens before it is polled. While there is room, its first poll emits;
    /// else it stands in line, and is woken at the first slot that is free when its turn comes. It ends as `emit` would:
    /// with [`EmitError::Full`] when the time of [`Overflow::BlockFor`](crate::Overflow::BlockFor) has passed on the bus's
    /// clock or the lane rejects, with [`EmitError::Closed`] as soon as the bus shuts down, and with what it was to emit in
    /// either case. Polled on a worker's thread it waits for no lane, as `emit` there does.
    ///
    /// **Cancel safety.** Dropped before it is ready, it has emitted nothing, nothing is counted, and its place in line is
    /// the next one's; there is no moment at which an event is half emitted. With several lanes there is one case in which
    /// it has emitted everything although it is not ready: when others took the last slot of a lane between its look and its
    /// push, the event goes in there at the next free slot, whether the future is dropped or not.
    ///
    /// Inline handlers run on the thread that polls. If that thread is inside a handler then, the event is caused by the
    /// one that is handled there. Emits that one task awaits one after the other arrive in that order; between tasks those
    /// who wait go first come, first served, but one that comes while there is room goes in.
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit`](Self::emit). A bus in which 65,536 waits have a moment to end at cannot note
    /// one more: [`EmitError::Full`], at once, for lanes that wait for a time.
    ///
    /// # Cost
    ///
    /// While there is room that of `emit`, with no allocation of its own. To wait takes a few allocations, a lock of the lane
    /// for each poll, and O(log n) steps among n futures that wait there; one of them is woken for each event that
    /// the lane's worker takes. The worker pays one load while nobody waits.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, json};
    ///
    /// async fn log_in(bus: &Bus, name: &str) -> bool {
    ///     bus.emit_async("user.login", json!({"username": name})).await.is_ok()
    /// }
    /// ```
    pub fn emit_async<'a, P: Payload>(&'a self, topic: &'a str, payload: P) -> EmitAsync<'a, P> {
        EmitAsync::new(self.engine(), topic, payload)
    }

    /// Emits and awaits the outcomes of all handlers, as [`emit_and_wait`](Self::emit_and_wait) waits for them.
    ///
    /// The builder's `wait_limit` counts from the first poll, on the bus's clock.
    ///
    /// **Cancel safety.** Dropped before the event got in, it has emitted nothing, as [`emit_async`](Self::emit_async);
    /// dropped later, the event is delivered all the same, and only the outcomes are lost.
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit_and_wait`](Self::emit_and_wait).
    ///
    /// # Cost
    ///
    /// That of `emit_and_wait`, and a job of the bus's timer for the limit: some allocations and locks.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, json};
    ///
    /// async fn is_stored(bus: &Bus) -> bool {
    ///     let report = bus.emit_and_wait_async("order.placed", json!({"id": 7})).await;
    ///     report.is_ok_and(|report| report.all_handled())
    /// }
    /// ```
    pub fn emit_and_wait_async<'a, P: Payload>(&'a self, topic: &'a str, payload: P) -> EmitAndWaitAsync<'a, P> {
        self.event(topic, payload).emit_and_wait_async()
    }

    /// Begins an event with more to say: source, correlation, identity, time.
    ///
    /// ```
    /// use nervebus::{Bus, json};
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.event("order.placed", json!({"id": 7})).source("shop").correlation_id("req-1").emit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn event<'a, P: Payload>(&'a self, topic: &'a str, payload: P) -> Emission<'a, P> {
        Emission::new(self, topic, payload)
    }

    /// A handle that emits on one topic, faster: the name is looked up once, and the route is read from a snapshot.
    ///
    /// # Errors
    ///
    /// [`EmitError`] for a malformed name, or a new one when the bus has its limit of topics.
    pub fn publisher(&self, topic: &str) -> Result<Publisher, EmitError<()>> {
        Publisher::new(self, topic)
    }

    /// The dead letters.
    pub fn dead_letters(&self) -> DeadLetters<'_> {
        let engine = &**self.engine();
        DeadLetters { store: &engine.dead_letters, directory: &engine.directory, sender: engine }
    }

    /// A snapshot of the bus at work.
    pub fn stats(&self) -> Stats {
        let audit = self.owner.audit.as_ref();
        let stats = stats::stats(self.engine(), audit.map(|audit| (&*audit.path, &*audit.account)));
        #[cfg(feature = "durable")]
        let stats = Stats { durable: self.durable().map(|core| core.stats()), ..stats };
        stats
    }

    /// The books: every event and delivery, and what became of it.
    pub fn ledger(&self) -> Ledger {
        self.engine().ledger()
    }

    /// Shuts the bus down: refuses new events, delivers what waits until the deadline, writes the audit log out, and
    /// returns a written account.
    ///
    /// Events are refused whoever emits them: what a handler emits while the bus drains ends with
    /// [`EmitError::Closed`](crate::EmitError::Closed) as well. Where a chain of events is to come to its end, wait for that
    /// before, for example until [`Stats::pending`](crate::Stats::pending) is 0.
    ///
    /// What is left when the deadline passes becomes dead letters with the reason `shutdown`. Retries that are due before
    /// it are waited for; those that are not become such letters at once. A handler that still
    /// runs then is left to itself. Called again, it reports again; called by several threads at once, it ends with the
    /// first deadline that passes. Called from inside a handler, it closes the
    /// bus, leaves the rest to a thread of its own and reports at once, for a handler cannot wait for itself.
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        self.engine().shutdown(deadline)
    }

    /// Shuts the bus down, as [`shutdown`](Self::shutdown) does, without making the thread wait for it.
    ///
    /// It begins with this call, not with the first poll: when this returns, the bus is closed, and a thread of its own
    /// drains it. Futures of [`emit_async`](Self::emit_async) that wait for room end with
    /// [`EmitError::Closed`](crate::EmitError::Closed).
    ///
    /// **Cancel safety.** Dropping the future stops nothing; only the account is lost, and `shutdown` gives it again.
    ///
    /// Called from inside a handler it reports at once, as `shutdown` does. Called elsewhere and awaited by a handler of
    /// this bus, it waits for that handler, until the deadline.
    ///
    /// # Cost
    ///
    /// A thread, for as long as the bus drains. Where none is to be had, nobody waits: the report says what is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::Bus;
    /// use std::time::Duration;
    ///
    /// async fn end(bus: Bus) {
    ///     let report = bus.shutdown_async(Duration::from_secs(5)).await;
    ///     assert!(report.drained, "{report}");
    /// }
    /// ```
    pub fn shutdown_async(&self, deadline: Duration) -> ShutdownAsync {
        self.engine().shutdown_async(deadline)
    }
}

// A panic that unwinds through a call of the bus leaves it whole: nothing of it is changed in the meantime.
impl UnwindSafe for Bus {}
impl RefUnwindSafe for Bus {}
