//! A circuit breaker around handlers: calls of what keeps failing are not made for a while.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nervebus_core::breaker::{Breaker as Core, Open, Permit, Rules, State, Transition, Trip};

use crate::delivery::count;
use crate::delivery::failure::HandlerError;
use crate::error::BuildError;
use crate::platform::clock::Clock;
use crate::range;

const MAX_FAILURES: u64 = 100;
const MAX_MIN_CALLS: u64 = 16_383;
const MAX_WINDOW: Duration = Duration::from_secs(60 * 60 * 24);
const MAX_RESET: Duration = Duration::from_secs(60 * 60);

/// Stops calling handlers that keep failing, and tries them again later.
///
/// **Closed**, it lets every call through. After too many failures it **opens**: for [`reset_after`](Self::reset_after)
/// no call is made. Then one call is let through as a probe, and the breaker is **half-open**: a probe that succeeds
/// closes it, one that fails opens it for as long again. An error and a panic are both failures.
///
/// A clone is the same breaker: subscriptions that are given clones of one share it, so that what one of them learns of
/// a database that is down spares the others the wait. The setters are for before that: each makes a breaker of its own.
///
/// A call that is refused is not made. It fails with [`HandlerError::BreakerOpen`]: a dead letter at once; or, for a
/// handler with a [`Retry`](crate::Retry), it is put off until the breaker may be tried again, and as much longer as a
/// first retry may wait. That costs neither an attempt nor budget, and is done as often for each event as the policy
/// has attempts.
///
/// The bus emits `system.breaker_opened` each time it opens, and `system.breaker_closed` each time it closes, by a probe or
/// by [`reset`](Self::reset). When subscriptions of several buses share a breaker, the first that took it emits, and it
/// goes by the clock of that one.
///
/// # Cost
///
/// Closed, while nothing fails: one load before the call and one after; with a failure rate, a reading of the clock and
/// an exchange more. No lock, no allocation, unless a call is refused or the state changes.
///
/// # Examples
///
/// ```
/// use nervebus::{Breaker, BreakerState, Bus};
/// use std::time::Duration;
///
/// let bus = Bus::builder().build()?;
/// let database = Breaker::new("database").failures(2).reset_after(Duration::from_secs(60));
/// bus.on("order.placed").breaker(&database).inline().handle(|_| Err::<(), _>("no connection"))?;
/// bus.on("order.paid").breaker(&database).inline().handle(|_| println!("paid"))?;
///
/// (0..2).try_for_each(|_| bus.emit("order.placed", ()).map(drop))?;
/// assert_eq!((database.state(), database.opened()), (BreakerState::Open, 1));
/// assert_eq!(bus.emit("order.paid", ())?.inline().failed, 1); // was not called
/// assert_eq!(database.refused(), 1);
///
/// database.reset();
/// assert_eq!(bus.emit("order.paid", ())?.inline().handled, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a breaker does nothing until a subscription takes it"]
pub struct Breaker {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    settings: Settings,
    /// `None` with settings out of range, which are refused where the breaker is taken.
    core: Option<Core>,
    home: OnceLock<Home>,
    /// Calls that were not made.
    refused: AtomicU64,
    /// Failures since it was last closed.
    failures: AtomicU64,
    /// The latest moment that a refused caller was told to wait for.
    until: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    trip: Tripping,
    reset_after: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Tripping {
    Row(u32),
    Rate { percent: u8, window: Duration, min_calls: u32 },
}

/// The bus that took the breaker first.
struct Home {
    clock: Clock,
    listener: Listener,
}

/// Who is told that a breaker has opened or closed.
pub(crate) type Listener = Box<dyn Fn(&Change) + Send + Sync>;

/// A breaker has opened or closed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) breaker: Arc<str>,
    /// Failures since it was closed before.
    pub(crate) failures: u64,
    /// How often it has opened so far.
    pub(crate) opened: u64,
    /// When it may be tried again, in seconds since the Unix epoch; `None`: it has closed.
    pub(crate) until: Option<f64>,
}

impl Settings {
    fn rules(self) -> Rules {
        let trip = match self.trip {
            Tripping::Row(failures) => Trip::Consecutive(failures),
            Tripping::Rate { percent, window, min_calls } => {
                Trip::Rate { percent, window: range::nanos(window), min_calls }
            }
        };
        Rules { trip, reset_after: range::nanos(self.reset_after) }
    }

    fn check(self, of: &str) -> Result<(), BuildError> {
        let field = |name| move || format!("{of}.{name}");
        match self.trip {
            Tripping::Row(failures) => range::number(field("failures"), failures.into(), 1, MAX_FAILURES)?,
            Tripping::Rate { percent, window, min_calls } => {
                range::number(field("failure_rate.percent"), percent.into(), 1, 100)?;
                range::wait(field("failure_rate.window"), window, MAX_WINDOW)?;
                range::number(field("failure_rate.min_calls"), min_calls.into(), 1, MAX_MIN_CALLS)?;
            }
        }
        range::wait(field("reset_after"), self.reset_after, MAX_RESET)
    }
}

impl Breaker {
    /// A closed breaker; its name is what records, errors and statistics call it.
    pub fn new(name: impl Into<String>) -> Self {
        let settings = Settings { trip: Tripping::Row(5), reset_after: Duration::from_secs(30) };
        Self::with(name.into().into(), settings)
    }

    fn with(name: Arc<str>, settings: Settings) -> Self {
        let [refused, failures, until] = [0; 3].map(AtomicU64::new);
        let (core, home) = (Core::new(settings.rules()).ok(), OnceLock::new());
        Self { shared: Arc::new(Shared { name, settings, core, home, refused, failures, until }) }
    }

    /// Opens after so many failures in a row. Default: 5. Range: 1 to 100.
    pub fn failures(self, in_a_row: u32) -> Self {
        let settings = Settings { trip: Tripping::Row(in_a_row), ..self.shared.settings };
        Self::with(Arc::clone(&self.shared.name), settings)
    }

    /// Opens, instead of after failures in a row, when so many of a hundred calls of the recent past have failed: of the
    /// last `window`, to within an eighth of it, once that has `min_calls`. Ranges: 1 to 100; more than zero, at most a
    /// day; 1 to 16,383.
    pub fn failure_rate(self, percent: u8, window: Duration, min_calls: u32) -> Self {
        let settings = Settings { trip: Tripping::Rate { percent, window, min_calls }, ..self.shared.settings };
        Self::with(Arc::clone(&self.shared.name), settings)
    }

    /// How long it stays open before it is tried again, and how long a probe may take before the next one is let
    /// through. Default: 30 s. Range: more than zero, at most an hour.
    pub fn reset_after(self, wait: Duration) -> Self {
        let settings = Settings { reset_after: wait, ..self.shared.settings };
        Self::with(Arc::clone(&self.shared.name), settings)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What it does with calls now. Open stays open until a call comes that is let through as the probe.
    pub fn state(&self) -> State {
        self.shared.core.as_ref().map_or(State::Closed, Core::state)
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.shared.core.as_ref().map_or(0, Core::opened)
    }

    /// How many calls it has refused.
    pub fn refused(&self) -> u64 {
        count::read(&self.shared.refused)
    }

    /// Closes it and forgets what it has counted. Calls that are under way no longer count, however they go; retries
    /// that wait for it stay where they are until they are due.
    pub fn reset(&self) {
        if let Some(Transition::Closed) = self.shared.core.as_ref().and_then(Core::reset) {
            self.tell_closed();
        }
    }

    /// Checks the ranges.
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        self.shared.settings.check(&format!("breaker {:?}", self.name()))
    }

    /// Puts it on the clock of a bus that takes it, and names who is to be told of its changes, unless another bus has
    /// done so.
    pub(crate) fn is_taken_by(&self, clock: &Clock, listener: impl FnOnce() -> Listener) {
        self.shared.home.get_or_init(|| Home { clock: clock.clone(), listener: listener() });
    }

    /// Whether both are the same breaker.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn now(&self) -> u64 {
        self.shared.home.get().map_or(0, |home| home.clock.now())
    }

    /// Asks for leave to make a call; without one there is nothing to record.
    #[inline]
    pub(crate) fn admit(&self) -> Result<Option<Permit>, HandlerError> {
        let Some(core) = &self.shared.core else { return Ok(None) };
        // A closed breaker does not look at the time. At the moment 0 an open one always refuses: no permit is ever
        // cancelled, so it waits for a later moment than that.
        match core.admit(0).or_else(|_| core.admit(self.now())) {
            Ok(permit) => Ok(Some(permit)),
            Err(open) => Err(self.refuse(open)),
        }
    }

    #[cold]
    fn refuse(&self, Open { until }: Open) -> HandlerError {
        count::add(&self.shared.refused, 1);
        // Relaxed: the number is all there is.
        self.shared.until.fetch_max(until, Ordering::Relaxed);
        HandlerError::BreakerOpen { breaker: Arc::clone(&self.shared.name), until: self.wall_time(until) }
    }

    /// How long until a caller that was refused just now may try again, on whatever clock.
    pub(crate) fn next_try(&self) -> Duration {
        let until = self.shared.until.load(Ordering::Relaxed);
        self.shared.home.get().map_or(Duration::ZERO, |home| home.clock.until(until))
    }

    /// Says how a call went.
    #[inline]
    pub(crate) fn record(&self, permit: Option<Permit>, success: bool) {
        let (Some(core), Some(permit)) = (&self.shared.core, permit) else { return };
        let is_timeless = matches!(self.shared.settings.trip, Tripping::Row(_)) && success && !permit.is_probe();
        let now = if is_timeless { 0 } else { self.now() };
        if !success {
            count::add(&self.shared.failures, 1);
        }
        match core.record(permit, success, now) {
            Some(Transition::Opened) => self.tell_opened(now),
            Some(Transition::Closed) => self.tell_closed(),
            _ => {}
        }
    }

    #[cold]
    fn tell_opened(&self, now: u64) {
        let until = self.wall_time(now.saturating_add(range::nanos(self.shared.settings.reset_after)));
        self.tell(count::read(&self.shared.failures), Some(until));
    }

    #[cold]
    fn tell_closed(&self) {
        // Relaxed: the number is all there is.
        let failures = self.shared.failures.swap(0, Ordering::Relaxed);
        self.tell(failures, None);
    }

    fn tell(&self, failures: u64, until: Option<f64>) {
        if let Some(home) = self.shared.home.get() {
            let breaker = Arc::clone(&self.shared.name);
            (home.listener)(&Change { breaker, failures, opened: self.opened(), until });
        }
    }

    /// A moment of the clock as seconds since the Unix epoch.
    fn wall_time(&self, moment: u64) -> f64 {
        self.shared.home.get().map_or(0.0, |home| {
            let ahead = moment.saturating_sub(home.clock.now());
            home.clock.wall_nanos().saturating_add(ahead) as f64 / 1e9
        })
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.shared.name)
            .field("settings", &self.shared.settings)
            .field("state", &self.state())
            .field("opened", &self.opened())
            .field("refused", &self.refused())
            .finish()
    }
}
