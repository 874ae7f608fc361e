//! What a user says about a lane.

use std::fmt::Write as _;
use std::time::Duration;

use crate::delivery::shed::Shed;

/// What happens to an event that finds its lane full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The emitter waits until there is room. A handler on a lane never waits for a lane: for it this one
    /// [rejects](Self::Reject), because a worker that waits for a worker may wait for ever.
    #[default]
    Block,
    /// The emitter waits at most this long; then the lane rejects.
    BlockFor(Duration),
    /// The emit fails with [`EmitError::Full`](crate::EmitError::Full).
    Reject,
    /// The new event is dropped and counted.
    DropNewest,
    /// The oldest waiting event is dropped and counted.
    DropOldest,
}

/// How a lane's worker waits while there is nothing to do.
///
/// It decides between latency and processor time, and nothing else: with each of them the worker sees events, closing
/// and ended subscriptions, and no wake-up is missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Never sleeps.
    ///
    /// Costs a whole core for as long as the bus lives, idle or not. Gives the lowest latency, about what it takes a
    /// cache line to go from core to core; and emitters never pay for waking the worker. Every 64 looks the worker
    /// offers its core to other threads, which delays it only if one of them wants it.
    ///
    /// For a lane with a core to spare. With fewer cores than threads that spin, what was to be gained is lost: workers
    /// that have nothing to do take turns with the one that has, an event waits for those turns, and the rest of the
    /// machine gets what they leave.
    Spin,
    /// Looks again for some microseconds, then sleeps.
    ///
    /// Costs next to nothing on an idle bus. An event that comes soon after another is seen as fast as by
    /// [`Spin`](Self::Spin); the first after a pause is seen when the system has woken the thread, which takes several
    /// to some tens of microseconds, and its emitter pays for the call that wakes: some microseconds.
    #[default]
    SpinThenPark,
    /// Sleeps at once.
    ///
    /// Costs the least processor time when events come one by one with pauses between them. Each such event takes as
    /// long as waking a thread does, and its emitter pays for the call that wakes; events that come faster than they
    /// are handled find the worker awake and cost nothing more. For lanes that are seldom used, and machines on which
    /// every cycle has another taker.
    Park,
}

/// A lane to be built: a bounded queue with a worker thread of its own. A slow lane costs other lanes nothing.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Lane, Overflow};
///
/// let bus = Bus::builder()
///     .lane(Lane::new("mail").capacity(256).overflow(Overflow::DropOldest))
///     .build()?;
/// bus.on("user.signup").lane("mail").handle(|event| println!("welcome, {}", event["username"]))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a lane does nothing until a builder takes it"]
pub struct Lane {
    pub(crate) name: String,
    pub(crate) capacity: usize,
    pub(crate) overflow: Overflow,
    pub(crate) wait: WaitStrategy,
    pub(crate) thread_name: Option<String>,
    pub(crate) workers: usize,
    pub(crate) concurrency: usize,
    pub(crate) shed: Option<Shed>,
    /// The core of the first worker. Never set without the feature `affinity`.
    pub(crate) core: Option<usize>,
}

impl Lane {
    /// A lane of this name. Range: 1 to 32 letters, digits, `-`, `_` and `.`; not `inline` and not `audit`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            capacity: 4096,
            overflow: Overflow::default(),
            wait: WaitStrategy::default(),
            thread_name: None,
            workers: 1,
            concurrency: 1,
            shed: None,
            core: None,
        }
    }

    /// How many events may wait. Default: 4,096. Range: 1 to 1,048,576; memory is taken when the bus is built, 192
    /// bytes a slot.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events;
        self
    }

    /// What happens to an event that finds the lane full. Default: [`Overflow::Block`].
    pub fn overflow(mut self, policy: Overflow) -> Self {
        self.overflow = policy;
        self
    }

    /// Lets less important events go before the lane is full. Default: nothing is shed, and all are equal.
    ///
    /// An event that goes is dropped for this lane's handlers only, on the emitter's thread, before the
    /// [overflow policy](Self::overflow) is asked: [`Receipt::dropped`](crate::Receipt::dropped) says so, the ledger
    /// counts it as dropped, and [`LaneStats::shed`](crate::LaneStats::shed) by class. When shedding begins and when it
    /// ends, the bus emits `system.load_shedding` with `lane`, `state` (`began` or `ended`), `pending` and `capacity`,
    /// once each; on a lane with several [workers](Self::workers), for the ring of each. The bus's own events are never
    /// shed.
    ///
    /// On a bus where a lane sheds, every emit takes the general way, which costs some tens of nanoseconds more.
    ///
    /// ```
    /// use nervebus::{Bus, Class, Lane, Shed, json};
    ///
    /// let bus = Bus::builder().lane(Lane::new("feed").shed(Shed::new().high_water(80).low_water(60))).build()?;
    /// bus.on("news.*").lane("feed").handle(|event| println!("{}", event["title"]))?;
    /// bus.event("news.ticker", json!({"title": "rain"})).class(Class::Low).emit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shed(mut self, shed: Shed) -> Self {
        self.shed = Some(shed);
        self
    }

    /// How the worker waits while there is nothing to do. Default: [`WaitStrategy::SpinThenPark`].
    ///
    /// ```
    /// use nervebus::{Bus, Lane, WaitStrategy};
    ///
    /// let bus = Bus::builder().lane(Lane::new("nightly").wait(WaitStrategy::Park)).build()?;
    /// # Ok::<(), nervebus::BuildError>(())
    /// ```
    pub fn wait(mut self, strategy: WaitStrategy) -> Self {
        self.wait = strategy;
        self
    }

    /// How many threads handle the lane's events. Default: 1. Range: 1 to 64.
    ///
    /// With one, all events of the lane stay in order. With several, events with the same
    /// [key](crate::Emission::key) stay in order, and a handler may be called by several threads at once, for different
    /// keys. Each worker has a ring of its own, an equal share of the [capacity](Self::capacity) rounded up: a key whose
    /// worker is busy may find the lane full while others find room. Events without a key go to the workers in turn.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many events with [async handlers](crate::Subscribe::handle_async) each worker keeps in flight on its one thread.
    /// Default: 1, and all events of the lane are handled in order. Range: 1 to 65,536.
    ///
    /// With more, a future that waits holds up its own event and no other. The handlers of one event still run one after
    /// the other, by priority, async ones and plain ones. Events with the same [key](crate::Emission::key) stay in order: one
    /// whose key is in flight waits until it is not, and has a place in the flight meanwhile. Events without a key begin in
    /// order, and end in any. Retries and dead letters that were sent back are in flight as events are.
    ///
    /// A full flight is backpressure: the worker takes nothing more from the ring, which fills up then as it does behind a
    /// slow handler. A handler that is not async, or a future that blocks instead of waiting, holds up the lane's thread
    /// and all that is in flight on it. With several [workers](Self::workers), each has as many.
    ///
    /// ```
    /// use nervebus::{Bus, Lane, json};
    ///
    /// # async fn fetch(_: &str) -> Result<(), std::io::Error> { Ok(()) }
    /// let bus = Bus::builder().lane(Lane::new("fetch").concurrency(64)).build()?;
    /// bus.on("page.wanted").lane("fetch").handle_async(|event| async move {
    ///     fetch(event["url"].as_str().unwrap_or_default()).await
    /// })?;
    /// bus.emit("page.wanted", json!({"url": "https://example.org"}))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// Memory for as many events and futures as are in flight. For each call three allocations beyond those of an async
    /// handler on any lane; for each poll, and for each look for a new event, a handful of short locks, of which one is
    /// shared with whoever wakes a future. That is some hundred nanoseconds, which plain handlers on such a lane pay too.
    pub fn concurrency(mut self, events: usize) -> Self {
        self.concurrency = events;
        self
    }

    /// The name of the worker's thread, for debuggers and `top`. Default: `nervebus-` and the lane's name. Range: 1 to
    /// 64 bytes of printable ASCII. Of several workers, each has its number behind it: `-1`, `-2` and so on.
    ///
    /// The whole name is what [`Thread::name`](std::thread::Thread::name) says. Linux shows 15 bytes of it at most, and
    /// `nervebus-` are 9 of them: lanes whose names begin alike are told apart by names of their own.
    ///
    /// ```
    /// use nervebus::{Bus, Lane};
    ///
    /// let bus = Bus::builder().lane(Lane::new("payments.eu").thread_name("pay-eu")).build()?;
    /// # Ok::<(), nervebus::BuildError>(())
    /// ```
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = Some(name.into());
        self
    }

    /// Keeps the worker on one core, counted from 0 as the system does; of several workers, the second is on the next
    /// core, and so on. Default: wherever the system puts it. Range: the last worker's core is 1,023 at most.
    ///
    /// A pinned worker keeps its caches, and waits when another thread is on its core even if others are free. Nothing
    /// keeps other threads away from that core; that is for the system's administrator.
    ///
    /// The worker pins itself before it takes its first event. A system that refuses (there is no such core, the process
    /// may not use it, it has no such call) does not stop the bus: the worker runs unpinned, and
    /// [`LaneStats::pinned`](crate::LaneStats::pinned) says `Some(false)`. macOS takes it as a hint and may still move
    /// the thread.
    ///
    /// ```
    /// use nervebus::{Bus, Lane, WaitStrategy};
    ///
    /// let bus = Bus::builder().lane(Lane::new("fast").wait(WaitStrategy::SpinThenPark).pin_to(0)).build()?;
    /// # Ok::<(), nervebus::BuildError>(())
    /// ```
    #[cfg(feature = "affinity")]
    #[cfg_attr(docsrs, doc(cfg(feature = "affinity")))]
    pub fn pin_to(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// The name of a worker's thread; the workers are counted from 0.
    pub(crate) fn name_of_thread(&self, worker: usize) -> String {
        let mut name = self.thread_name.clone().unwrap_or_else(|| format!("nervebus-{}", self.name));
        if self.workers > 1 {
            let _ = write!(name, "-{}", worker + 1);
        }
        name
    }
}
