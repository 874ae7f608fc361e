//! Building a bus: everything is checked here, and nothing fails later that could have failed now.

pub(crate) mod checks;
#[cfg(feature = "durable")]
mod durable;
mod guards;
#[cfg(feature = "schema")]
mod schema;
mod threads;
mod validation;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use nervebus_core::LaneId;
use nervebus_core::gate::Gate;

use self::threads::{start, start_letter_writer, start_timer};
use crate::admission::name::NameRule;
use crate::bus::{Audit, Bus};
use crate::delivery::again::Underway;
use crate::delivery::dead_letters::DeadLetterStore;
use crate::delivery::directory::{Directory, Limits};
use crate::delivery::engine::{Engine, InlineAccount, RECORDS};
use crate::delivery::guards::GuardSettings;
use crate::delivery::lane::{Lane, Queue, WaitStrategy};
use crate::delivery::lanes::Lanes;
use crate::delivery::timer::{self, Timer};
use crate::delivery::timing::Timing;
use crate::delivery::worker::{self, pooled};
use crate::error::BuildError;
use crate::history;
use crate::platform::clock::Clock;
use crate::platform::manual_clock::ManualClock;
use crate::platform::pool::Crew;
use crate::platform::random;
use crate::platform::random::Dice;
use crate::platform::runtime::Runtime;
use crate::platform::storage::{Disk, Storage};
use crate::range::nanos;
use crate::records::audit::AuditLog;
use crate::records::audit::account::AuditAccount;
use crate::records::audit::log::Log;
use crate::records::audit::segments::Names;
use crate::records::audit::writer::AuditWriter;
use crate::records::dead_letter_log::DeadLetterLog;
use crate::records::dead_letter_log::writer::LetterWriter;
use crate::redact::Redactor;
use crate::redact::screen::Screen;
use crate::schema::Schemas;
use crate::worker_pool::WorkerPool;

/// The lane of the timer's thread: one that no handler can be on.
const TIMER: LaneId = LaneId::new(u16::MAX - 1);

/// Describes a bus to be built; see [`Bus::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    default_lane: Lane,
    lanes: Vec<Lane>,
    audit: Option<AuditLog>,
    #[cfg(feature = "durable")]
    durable: Option<durable::Asked>,
    pub(crate) histories: Vec<(String, usize)>,
    dead_letters: usize,
    dead_letter_log: Option<DeadLetterLog>,
    timing: Timing,
    names: NameRule,
    limits: Limits,
    max_depth: u32,
    max_chain: u32,
    wait_limit: Duration,
    handler_timeout: Option<Duration>,
    max_abandoned: usize,
    guards: GuardSettings,
    schemas: Option<Arc<dyn Schemas>>,
    self_check: Duration,
    clock: Clock,
    storage: Arc<dyn Storage>,
    seed: u64,
    runtime: Runtime,
    pub(crate) pool: Option<WorkerPool>,
    screen: Screen,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            default_lane: Lane::new("default"),
            lanes: Vec::new(),
            audit: None,
            #[cfg(feature = "durable")]
            durable: None,
            histories: Vec::new(),
            dead_letters: 1_000,
            dead_letter_log: None,
            timing: Timing::default(),
            names: NameRule::default(),
            limits: Limits { topics: 16_384, subscriptions: 65_536 },
            max_depth: 16,
            max_chain: 10_000,
            wait_limit: Duration::from_secs(30),
            handler_timeout: None,
            max_abandoned: 8,
            guards: GuardSettings::default(),
            schemas: None,
            self_check: Duration::from_secs(60),
            clock: Clock::machine(),
            storage: Arc::new(Disk),
            seed: random::bits(),
            runtime: Runtime::default(),
            pool: None,
            screen: Screen::default(),
        }
    }

    /// Keeps an audit log. Default: none.
    pub fn audit(mut self, log: AuditLog) -> Self {
        self.audit = Some(log);
        self
    }

    /// How many dead letters are kept. Default: 1,000. Range: 0 to 16,777,216; with 0, failures are counted and none
    /// is kept.
    pub fn dead_letters(mut self, capacity: usize) -> Self {
        self.dead_letters = capacity;
        self
    }

    /// Keeps the dead letters in a file as well, from which they come back when a bus is built with it again. Default:
    /// none. Needs room for at least one [dead letter](Self::dead_letters).
    pub fn dead_letter_log(mut self, log: DeadLetterLog) -> Self {
        self.dead_letter_log = Some(log);
        self
    }

    /// Has everything that leaves the bus for a record pass a redactor: the lines of the audit log and of the dead letter
    /// log, and the texts of errors in dead letters, in the history of their attempts, in the answers of requests and in
    /// `system.*` events. Handlers see events as they were emitted, and so does a dead letter that is sent back.
    ///
    /// Default: nothing is redacted. What was replaced is counted by class, in [`Stats::redacted`](crate::Stats::redacted). A
    /// redactor whose hooks panic hides the whole value.
    ///
    /// # Cost
    ///
    /// Nothing for emitters: it runs on the threads that write the logs, and where a handler has failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Redactor, json};
    ///
    /// let bus = Bus::builder().redact(Redactor::default()).build()?;
    /// bus.on("user.login").handle(|event| Err(format!("no account for {}", event["email"])))?;
    /// let _ = bus.emit_and_wait("user.login", json!({"email": "alice@example.org"}))?;
    /// let letter = &bus.dead_letters().list()[0];
    /// assert_eq!(letter.error, r#"no account for "[REDACTED_EMAIL]""#);
    /// assert_eq!(letter.event["email"], "alice@example.org", "what would be sent back");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn redact(mut self, redactor: Redactor) -> Self {
        self.screen = Screen::new(redactor);
        self
    }

    /// The lane of handlers that name none. Default: `Lane::new("default")`.
    pub fn default_lane(mut self, lane: Lane) -> Self {
        self.default_lane = lane;
        self
    }

    /// Adds a lane. Default: none but the default lane. Range: 256 lanes in all.
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lanes.push(lane);
        self
    }

    /// Which handler calls are timed. Default: one in 64.
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// What the names of topics must look like. Default: [`NameRule::Lenient`].
    pub fn names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    /// How many topics the bus may know. Default: 16,384. Range: 16 to 16,777,216.
    pub fn max_topics(mut self, limit: usize) -> Self {
        self.limits.topics = limit;
        self
    }

    /// How many subscriptions there may be at once. Default: 65,536. Range: 1 to 16,777,216.
    pub fn max_subscriptions(mut self, limit: usize) -> Self {
        self.limits.subscriptions = limit;
        self
    }

    /// How deep handlers may emit to inline handlers inside each other on one thread. Default: 16. Range: 1 to 1,000;
    /// each level takes stack.
    pub fn max_depth(mut self, limit: u32) -> Self {
        self.max_depth = limit;
        self
    }

    /// How long a chain of events may be of which each is emitted by a handler of the one before, on whatever thread.
    /// Default: 10,000. Range: 1 to 1,000,000. The emit that would make it longer fails with
    /// [`EmitError::LoopDetected`](crate::EmitError::LoopDetected).
    pub fn max_chain(mut self, limit: u32) -> Self {
        self.max_chain = limit;
        self
    }

    /// How long `emit_and_wait` waits at most. Default: 30 s. Range: more than zero, at most a day.
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.wait_limit = limit;
        self
    }

    /// How long a call of a handler may take that does not say so itself; see
    /// [`Subscribe::timeout`](crate::Subscribe::timeout). It does not apply to inline handlers, which run on the emitter's
    /// thread. Default: `None`, as long as it likes. Range: 1 ms to a day.
    pub fn handler_timeout(mut self, limit: Option<Duration>) -> Self {
        self.handler_timeout = limit;
        self
    }

    /// How many threads each lane may leave to handlers that have not returned in time. Default: 8. Range: 0 to 1,024.
    ///
    /// With one more, the lane has no worker until one of them returns: it is unhealthy
    /// ([`LaneStats::healthy`](crate::LaneStats::healthy)), a `system.lane_unhealthy` event says so, and what it is given
    /// waits in its ring. When that is full its overflow policy applies, except that emitters do not wait for it: they
    /// are refused. When a handler returns, its thread serves the lane, and a `system.lane_recovered` event says so. The
    /// same holds when the system has no room for another thread; then it is asked again every 100 ms.
    pub fn max_abandoned(mut self, limit: usize) -> Self {
        self.max_abandoned = limit;
        self
    }

    /// Puts the bus on a clock that is moved by hand, for tests. Default: the machine's clocks.
    pub fn clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Clock::Manual(clock.clone());
        self
    }

    /// Has retries wait as long as they do with every bus of this seed.
    #[cfg(test)]
    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The runtime whose timers and sockets [async handlers](crate::Subscribe::handle_async) use. Default: the one in
    /// which [`build`](Self::build) is called, if any; without one, they run all the same, and cannot use those.
    ///
    /// The bus does not keep the runtime alive. One of a single thread drives its timers and sockets only while that
    /// thread is in `block_on`.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn runtime(mut self, handle: tokio::runtime::Handle) -> Self {
        self.runtime = Runtime::of(handle);
        self
    }

    /// Puts the audit log and the log of dead letters on other storage than this machine's files.
    #[cfg(test)]
    pub(crate) fn storage(mut self, storage: Box<dyn Storage>) -> Self {
        self.storage = Arc::from(storage);
        self
    }

    /// Checks everything, opens the audit log, reads the log of dead letters back and starts the workers.
    ///
    /// # Errors
    ///
    /// [`BuildError`]: which setting is outside its range and what the range is, which file cannot be written, or that
    /// a thread cannot be started. Whatever had been started is stopped again.
    ///
    /// ```
    /// use nervebus::{Bus, Lane};
    ///
    /// let error = Bus::builder().default_lane(Lane::new("default").capacity(0)).build().unwrap_err();
    /// assert_eq!(error.to_string(), r#"lane "default".capacity is 0, outside its range 1..=1048576"#);
    /// ```
    pub fn build(#[cfg_attr(not(feature = "durable"), allow(unused_mut))] mut self) -> Result<Bus, BuildError> {
        self.check()?;
        #[cfg(feature = "schema")]
        self.check_schemas()?;
        let account = Arc::new(AuditAccount::default());
        let log = self.audit.as_ref().map(|log| self.open(log, &account)).transpose()?;
        let (letters, letter_writer) = self.letters()?;
        #[cfg(feature = "durable")]
        let store = self.open_durable()?;
        let engine = Arc::new(self.engine(letters)?);
        #[cfg(feature = "durable")]
        let durable = self.durable_threads(&engine, store)?;
        let audit = self.audit.as_ref().map(|log| Audit { path: log.path.clone(), account: Arc::clone(&account) });
        // From here on dropping the bus stops what was started.
        let bus = Bus::new(Arc::clone(&engine), audit, self.timing);
        #[cfg(feature = "durable")]
        bus.keep_durable(durable.as_ref().map(|(core, _)| Arc::clone(core)));
        let screen = engine.audit_screen.clone().unwrap_or_else(|| engine.screen.clone());
        let writer = engine.tap.as_ref().zip(log).map(|(queue, log)| {
            let (engine, queue) = (Arc::clone(&engine), Arc::clone(queue));
            AuditWriter { engine, queue, account, log, screen, woken_at: None, failing_since: 0 }
        });
        let started = start_letter_writer(letter_writer).and_then(|()| self.start_threads(&engine, writer));
        #[cfg(feature = "durable")]
        let started =
            started.and_then(|()| durable.map_or(Ok(()), |(core, writer)| durable::start(&engine, core, writer)));
        if let Err(error) = started {
            // Nobody will wait for a thread that never ran.
            let unstarted = engine.queues.iter().chain(engine.taps()).filter(|queue| !queue.bed.how().is_named());
            unstarted.for_each(|queue| queue.ended.open());
            engine.log.iter().for_each(|log| log.feeding.ended.open());
            engine.timer.ended.open();
            return Err(error);
        }
        history::begin(&bus, &self.histories);
        Ok(bus)
    }

    fn open(&self, log: &AuditLog, account: &Arc<AuditAccount>) -> Result<Log, BuildError> {
        let (plan, clock) = (log.plan.clone(), self.clock.clone());
        Log::open(&self.storage, &log.path, plan, clock, Arc::clone(account), random::bits())
            .map_err(|error| BuildError::Audit { path: log.path.clone(), error })
    }

    /// The store of dead letters, with those of earlier runs, and who writes down what becomes of them.
    fn letters(&self) -> Result<(DeadLetterStore, Option<LetterWriter>), BuildError> {
        let Some(log) = &self.dead_letter_log else {
            return Ok((DeadLetterStore::new(self.dead_letters, self.clock.clone()), None));
        };
        if self.audit.as_ref().is_some_and(|audit| Names::of(&audit.path).claims(&log.path)) {
            // Each would take the other's lines for damage, and this one writes its file anew without them.
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is, or will be, a file of the audit log");
            return Err(BuildError::DeadLetterLog { path: log.path.clone(), error });
        }
        let screen = if log.is_redacted { &self.screen } else { &Screen::default() };
        let opened = log.open(&self.storage, self.dead_letters, self.clock.clone(), screen);
        let (store, writer) = opened.map_err(|error| BuildError::DeadLetterLog { path: log.path.clone(), error })?;
        Ok((store, Some(writer)))
    }

    /// The durable log, as emitters see it.
    #[cfg(not(feature = "durable"))]
    fn log(&self, _bus: u64) -> Result<Option<Arc<crate::delivery::log_tap::LogTap>>, BuildError> {
        Ok(None)
    }

    fn engine(&self, dead_letters: DeadLetterStore) -> Result<Engine, BuildError> {
        let made = self.lanes().zip(1..).map(|(lane, id)| {
            let id = LaneId::new(id);
            (0..lane.workers)
                .map(|worker| queue(id, lane, worker, &self.clock, self.crew(lane)))
                .collect::<Result<Vec<_>, _>>()
        });
        let queues = Lanes::new(made.collect::<Result<_, _>>()?);
        let tap = match &self.audit {
            Some(log) => Some(queue(LaneId::new(u16::MAX), &log.lane, 0, &self.clock, None)?),
            None => None,
        };
        let rules = self.guards.rules();
        let bus = random::bus();
        let log = self.log(bus)?;
        let is_bare = tap.is_none()
            && rules.is_empty()
            && self.lanes().all(|lane| lane.shed.is_none())
            && !self.schemas.as_ref().is_some_and(|schemas| schemas.look_at_emit());
        Ok(Engine {
            bus,
            gate: Gate::new(),
            is_bare,
            directory: Directory::new(self.limits, rules, RECORDS, is_bare),
            queues,
            tap,
            log,
            inline: InlineAccount::default(),
            inline_again: Underway::default(),
            guards: self.guards.guards(),
            schemas: self.schemas.clone(),
            dead_letters,
            screen: self.screen.clone(),
            audit_screen: self.audit.as_ref().and_then(|log| log.screen.clone()),
            system_begun: AtomicU64::new(0),
            system: AtomicU64::new(0),
            system_lost: AtomicU64::new(0),
            names: self.names,
            max_depth: self.max_depth,
            max_chain: self.max_chain,
            wait_limit: self.wait_limit,
            handler_timeout: self.handler_timeout.map(nanos),
            max_abandoned: self.max_abandoned,
            clock: self.clock.clone(),
            timer: Arc::new(Timer::new(self.clock.clone(), timer::CAPACITY)),
            dice: Dice::new(self.seed),
            runtime: self.runtime.clone().or_current(),
            cancelled: Arc::default(),
            ended: Arc::default(),
            started: self.clock.now(),
            draining: AtomicBool::new(false),
        })
    }

    /// The threads that serve a lane in turns, if it has none of its own. One that spins would do so on others' time, and one
    /// with futures in flight waits for more than events.
    fn crew(&self, lane: &Lane) -> Option<&Crew> {
        let own = lane.wait == WaitStrategy::Spin || lane.core.is_some() || lane.concurrency > 1;
        self.pool.as_ref().filter(|_| !own).map(|pool| &pool.crew)
    }

    /// The lanes to be built, in the order of their numbers.
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.default_lane).chain(&self.lanes)
    }

    /// Starts the workers, the writer of the audit log and, last, the timer.
    fn start_threads(&self, engine: &Arc<Engine>, writer: Option<AuditWriter>) -> Result<(), BuildError> {
        for queue in &engine.queues {
            if let Some(crew) = &queue.crew {
                pooled::join(engine, queue, crew);
                continue;
            }
            let (engine, own) = (Arc::clone(engine), Arc::clone(queue));
            start(queue, move || {
                own.pinning.pin_to(own.core);
                worker::run(&engine, &own);
            })?;
        }
        if let Some(writer) = writer {
            start(&Arc::clone(&writer.queue), || writer.run())?;
        }
        start_timer(engine)?;
        self.start_self_check(engine);
        Ok(())
    }
}

fn queue(id: LaneId, lane: &Lane, worker: usize, clock: &Clock, crew: Option<&Crew>) -> Result<Arc<Queue>, BuildError> {
    let field = || format!("lane {:?}.capacity", lane.name);
    let out_of_range = |_| BuildError::OutOfRange {
        field: field(),
        value: lane.capacity as u64,
        min: 1,
        max: nervebus_core::ring::MAX_CAPACITY as u64,
    };
    Queue::new(id, lane.clone(), worker, clock.clone(), crew.cloned()).map(Arc::new).map_err(out_of_range)
}
