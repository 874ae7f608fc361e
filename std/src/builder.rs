//! Building a bus: everything is checked here, and nothing fails later that could have failed now.

#[cfg(feature = "durable")]
mod durable;
mod guards;
mod threads;

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
use crate::delivery::lane::{Lane, Overflow, Queue};
use crate::delivery::lanes::Lanes;
use crate::delivery::timer::{self, Timer};
use crate::delivery::timing::Timing;
use crate::delivery::worker;
use crate::error::BuildError;
use crate::history;
use crate::platform::clock::Clock;
use crate::platform::manual_clock::ManualClock;
use crate::platform::random::Dice;
use crate::platform::runtime::Runtime;
use crate::platform::storage::{AppendFile, Disk, Storage};
use crate::platform::{affinity, random};
use crate::range::{TIMEOUTS, nanos};
use crate::records::audit::{AuditAccount, AuditLog};
use crate::records::audit_writer::AuditWriter;
use crate::records::dead_letter_log::DeadLetterLog;
use crate::records::dead_letter_log::writer::LetterWriter;

/// The most events a lane or the audit log may hold.
const MAX_CAPACITY: u64 = 1 << 20;
const MAX_LANES: u64 = 256;
const MAX_DEAD_LETTERS: u64 = 1 << 24;
const MAX_TOPICS: u64 = 1 << 24;
const MAX_SUBSCRIPTIONS: u64 = 1 << 24;
const MAX_DEPTH: u64 = 1_000;
const MAX_CHAIN: u64 = 1_000_000;
const MAX_WAIT: Duration = Duration::from_secs(60 * 60 * 24);

const MAX_WORKERS: u64 = 64;
const MAX_ABANDONED: u64 = 1024;
const MAX_THREAD_NAME: usize = 64;

/// Names that a lane cannot have, because the bus uses them.
const RESERVED: [&str; 3] = ["inline", "audit", "durable"];

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
    self_check: Duration,
    clock: Clock,
    storage: Arc<dyn Storage>,
    seed: u64,
    runtime: Runtime,
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
            self_check: Duration::from_secs(60),
            clock: Clock::machine(),
            storage: Arc::new(Disk),
            seed: random::bits(),
            runtime: Runtime::default(),
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
        let file = match &self.audit {
            Some(log) => Some(open(&*self.storage, log)?),
            None => None,
        };
        let (letters, letter_writer) = self.letters()?;
        #[cfg(feature = "durable")]
        let store = self.open_durable()?;
        let engine = Arc::new(self.engine(letters)?);
        #[cfg(feature = "durable")]
        let durable = self.durable_threads(&engine, store)?;
        let account = Arc::new(AuditAccount::default());
        let audit = self.audit.as_ref().map(|log| Audit { path: log.path.clone(), account: Arc::clone(&account) });
        // From here on dropping the bus stops what was started.
        let bus = Bus::new(Arc::clone(&engine), audit, self.timing);
        #[cfg(feature = "durable")]
        bus.keep_durable(durable.as_ref().map(|(core, _)| Arc::clone(core)));
        let writer = engine.tap.as_ref().zip(file).zip(bus.audit_path()).map(|((queue, (file, torn)), path)| {
            let (engine, queue, path) = (Arc::clone(&engine), Arc::clone(queue), path.to_owned());
            AuditWriter { engine, queue, account, path, file, torn }
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

    /// The store of dead letters, with those of earlier runs, and who writes down what becomes of them.
    fn letters(&self) -> Result<(DeadLetterStore, Option<LetterWriter>), BuildError> {
        let Some(log) = &self.dead_letter_log else { return Ok((DeadLetterStore::new(self.dead_letters), None)) };
        let opened = log.open(&self.storage, self.dead_letters);
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
            (0..lane.workers).map(|worker| queue(id, lane, worker, &self.clock)).collect::<Result<Vec<_>, _>>()
        });
        let queues = Lanes::new(made.collect::<Result<_, _>>()?);
        let tap = match &self.audit {
            Some(log) => Some(queue(LaneId::new(u16::MAX), &log.lane, 0, &self.clock)?),
            None => None,
        };
        let rules = self.guards.rules();
        let bus = random::bits() | 1;
        let log = self.log(bus)?;
        Ok(Engine {
            bus,
            gate: Gate::new(),
            is_bare: tap.is_none() && rules.is_empty() && self.lanes().all(|lane| lane.shed.is_none()),
            directory: Directory::new(self.limits, rules, RECORDS),
            queues,
            tap,
            log,
            inline: InlineAccount::default(),
            inline_again: Underway::default(),
            guards: self.guards.guards(),
            dead_letters,
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

    /// The lanes to be built, in the order of their numbers.
    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.default_lane).chain(&self.lanes)
    }

    /// Starts the workers, the writer of the audit log and, last, the timer.
    fn start_threads(&self, engine: &Arc<Engine>, writer: Option<AuditWriter>) -> Result<(), BuildError> {
        for queue in &engine.queues {
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

    fn check(&self) -> Result<(), BuildError> {
        let fewest = u64::from(self.dead_letter_log.is_some());
        in_range("dead_letters", self.dead_letters as u64, fewest, MAX_DEAD_LETTERS)?;
        if let Some(log) = &self.dead_letter_log {
            in_range("dead_letter_log.queue", log.queue as u64, 1, MAX_CAPACITY)?;
            if self.audit.as_ref().is_some_and(|audit| audit.path == log.path) {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "the audit log is kept there");
                return Err(BuildError::DeadLetterLog { path: log.path.clone(), error });
            }
        }
        #[cfg(feature = "durable")]
        self.durable.as_ref().map_or(Ok(()), |asked| asked.log.check())?;
        history::check(&self.histories)?;
        in_range("max_topics", self.limits.topics as u64, 16, MAX_TOPICS)?;
        in_range("max_subscriptions", self.limits.subscriptions as u64, 1, MAX_SUBSCRIPTIONS)?;
        in_range("max_depth", self.max_depth.into(), 1, MAX_DEPTH)?;
        in_range("max_chain", self.max_chain.into(), 1, MAX_CHAIN)?;
        in_range("lanes", self.lanes.len() as u64 + 1, 1, MAX_LANES)?;
        wait_in_range("wait_limit", self.wait_limit)?;
        if let Some(limit) = self.handler_timeout {
            let (min, max) = (nanos(*TIMEOUTS.start()), nanos(*TIMEOUTS.end()));
            in_range("handler_timeout in nanoseconds", nanos(limit), min, max)?;
        }
        in_range("max_abandoned", self.max_abandoned as u64, 0, MAX_ABANDONED)?;
        self.check_guards()?;
        let mut names = Vec::new();
        for lane in self.lanes() {
            check_name(&lane.name)?;
            check_lane(lane)?;
            if names.contains(&&*lane.name) {
                return Err(BuildError::DuplicateLane { name: lane.name.clone() });
            }
            names.push(&lane.name);
        }
        self.audit.as_ref().map_or(Ok(()), |log| check_lane(&log.lane))
    }
}

fn check_lane(lane: &Lane) -> Result<(), BuildError> {
    in_range(format!("lane {:?}.capacity", lane.name), lane.capacity as u64, 1, MAX_CAPACITY)?;
    if let Overflow::BlockFor(wait) = lane.overflow {
        wait_in_range(format!("lane {:?}.overflow", lane.name), wait)?;
    }
    in_range(format!("lane {:?}.workers", lane.name), lane.workers as u64, 1, MAX_WORKERS)?;
    if let Some(shed) = &lane.shed {
        shed.check(&format!("lane {:?}.shed", lane.name))?;
    }
    if let Some(core) = lane.core {
        // The last worker's core must be one that can be named.
        let max = (affinity::CORES - lane.workers) as u64;
        in_range(format!("lane {:?}.pin_to", lane.name), core as u64, 0, max)?;
    }
    lane.thread_name.as_ref().map_or(Ok(()), |name| check_thread_name(lane, name))
}

/// A name with a zero byte would panic where the thread is started.
fn check_thread_name(lane: &Lane, name: &str) -> Result<(), BuildError> {
    let printable = |byte| (b' '..=b'~').contains(&byte);
    if name.is_empty() || name.len() > MAX_THREAD_NAME || !name.bytes().all(printable) {
        return Err(BuildError::ThreadName { lane: lane.name.clone(), name: name.to_owned() });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), BuildError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) {
        return Err(BuildError::LaneName { name: name.to_owned() });
    }
    if RESERVED.contains(&name) {
        return Err(BuildError::ReservedLane { name: name.to_owned() });
    }
    Ok(())
}

fn in_range(field: impl Into<String>, value: u64, min: u64, max: u64) -> Result<(), BuildError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(BuildError::OutOfRange { field: field.into(), value, min, max })
}

fn wait_in_range(field: impl Into<String>, value: Duration) -> Result<(), BuildError> {
    if !value.is_zero() && value <= MAX_WAIT {
        return Ok(());
    }
    Err(BuildError::WaitOutOfRange { field: field.into(), value, max: MAX_WAIT })
}

fn open(storage: &dyn Storage, log: &AuditLog) -> Result<(Box<dyn AppendFile>, bool), BuildError> {
    storage.open_append(&log.path).map_err(|error| BuildError::Audit { path: log.path.clone(), error })
}

fn queue(id: LaneId, lane: &Lane, worker: usize, clock: &Clock) -> Result<Arc<Queue>, BuildError> {
    let field = || format!("lane {:?}.capacity", lane.name);
    let out_of_range = |_| BuildError::OutOfRange {
        field: field(),
        value: lane.capacity as u64,
        min: 1,
        max: nervebus_core::ring::MAX_CAPACITY as u64,
    };
    Queue::new(id, lane.clone(), worker, clock.clone()).map(Arc::new).map_err(out_of_range)
}
