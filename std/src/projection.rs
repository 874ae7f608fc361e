//! Projections: read models that are kept up with the durable log.

pub(crate) mod error;
mod runner;

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nervebus_core::Pattern;
use serde::Serialize;

use self::error::ProjectionError;
use self::runner::Runner;
use crate::bus::Bus;
use crate::event::Event;
use crate::platform::threads;
use crate::records::durable::core::Core;
use crate::records::durable::cursor::Cursor;

/// What a read model says is wrong.
type Failure = Box<dyn Error + Send + Sync>;

/// What is made of events to be read: a table, an index, a sum. See [`Projection`].
pub trait ReadModel: Send + 'static {
    /// Takes in the next event, which is at this position of the log.
    ///
    /// # Errors
    ///
    /// What went wrong; then nothing has changed, and the same event comes again. A panic counts as such an error.
    fn apply(&mut self, event: &Event<'_>, position: u64) -> Result<(), Failure>;

    /// Called behind each run of up to 256 events, with the last position that is behind the model now, be it of an event that
    /// was not for it. A model in a store with transactions begins one in [`apply`](Self::apply) and ends it here, **with the
    /// position**: then each event has its effect exactly once, whatever is killed when. Default: nothing to do.
    ///
    /// # Errors
    ///
    /// What went wrong; then the model says by its [`position`](Self::position) from where on it needs the events again.
    fn commit(&mut self, position: u64) -> Result<(), Failure> {
        let _ = position;
        Ok(())
    }

    /// The last position that the model has behind it, by what it has stored itself; 0 for an empty one. Asked at the start, and
    /// after a commit that failed. A model in memory says 0 at the start, and so is made anew by each process.
    ///
    /// `None`, the default, for a model whose store keeps no position: the checkpoint is kept by the log then, as for a
    /// [durable subscription](crate::Subscribe::durable), and after a kill the last events come again.
    ///
    /// # Errors
    ///
    /// What went wrong. It is asked again.
    fn position(&mut self) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    /// Empties the model, to be [made anew](ProjectionHandle::rebuild), with the position that it has stored.
    ///
    /// # Errors
    ///
    /// What went wrong. It is asked again.
    fn reset(&mut self) -> Result<(), Failure>;
}

/// A read model that is kept up with the [durable log](crate::DurableLog), under a name.
///
/// A thread of its own reads the log and gives the model the events of its topics, in the order of the log and each when the
/// log has it; a name that the log does not know begins with the first. So a model is never ahead of the log, as a handler of
/// a lane may be, and makes no emitter wait.
///
/// **An event that fails holds up those behind it**: a model with a gap would be wrong. It is tried again, after 10 ms at first
/// and up to 5 s, until it succeeds or somebody [skips](ProjectionHandle::skip) it;
/// [`status`](ProjectionHandle::status) says so.
///
/// **What the log keeps for it.** The log's limits let go what all projections and subscriptions have passed. Where the model is
/// to be made anew, [`keep_all`](Self::keep_all) has all lines stay from where it has begun.
///
/// # Cost
///
/// A thread, which is asleep while there is nothing to read. Each event of its topics is one JSON document.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, DurableLog, Event, Projection, ReadModel, json};
/// use std::error::Error;
/// use std::time::Duration;
///
/// /// In memory: made anew by each process.
/// #[derive(Default)]
/// struct Turnover {
///     cents: u64,
///     position: u64,
/// }
///
/// impl ReadModel for Turnover {
///     fn apply(&mut self, event: &Event<'_>, position: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
///         self.cents += event["cents"].as_u64().ok_or("an order without a price")?;
///         self.position = position;
///         Ok(())
///     }
///
///     fn position(&mut self) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
///         Ok(Some(self.position))
///     }
///
///     fn reset(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
///         Ok(*self = Self::default())
///     }
/// }
///
/// let folder = std::env::temp_dir().join(format!("nervebus-projection-doc-{}", std::process::id()));
/// let bus = Bus::builder().durable(DurableLog::at(&folder).topics("order.*")).build()?;
/// let turnover = Projection::new("turnover", Turnover::default()).topics("order.placed").start(&bus)?;
///
/// let receipt = bus.emit_durable("order.placed", json!({"cents": 1999}))?;
/// let position = receipt.position().unwrap_or(0);
/// assert!(turnover.wait_for(position, Duration::from_secs(5))); // to read what was just written
/// assert_eq!(turnover.read(|model| model.cents), 1999);
/// # drop((turnover, bus));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is read before `start`"]
pub struct Projection<M> {
    name: String,
    model: M,
    patterns: Vec<String>,
    keep_all: bool,
}

impl<M: ReadModel> Projection<M> {
    /// A projection of this name into this model.
    pub fn new(name: impl Into<String>, model: M) -> Self {
        Self { name: name.into(), model, patterns: Vec::new(), keep_all: false }
    }

    /// The events of topics that this pattern matches; may be said several times. Default: all that are in the log.
    pub fn topics(mut self, pattern: impl Into<String>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Has the log keep all lines from where this projection has begun, whatever its limits on size and age say, so that it
    /// can be made anew. Default: those that it has not passed.
    pub fn keep_all(mut self) -> Self {
        self.keep_all = true;
        self
    }

    /// Starts the thread that keeps the model up. It does not keep the bus alive, and ends with it.
    ///
    /// # Errors
    ///
    /// [`ProjectionError`]: a bus without a durable log, a name that is empty or in use, a malformed pattern, or a system
    /// without room for one more thread.
    pub fn start(self, bus: &Bus) -> Result<ProjectionHandle<M>, ProjectionError> {
        let Self { name, model, patterns, keep_all } = self;
        for pattern in &patterns {
            Pattern::new(pattern).map_err(|error| ProjectionError::InvalidPattern { rule: error.to_string() })?;
        }
        let Some(core) = bus.durable() else { return Err(ProjectionError::NoLog) };
        let claimed = Some(format!("projection:{name}")).filter(|_| !name.is_empty());
        let cursor = claimed.and_then(|claimed| Cursor::claim(core, claimed));
        let cursor = cursor.ok_or_else(|| ProjectionError::Name { name: name.clone() })?;
        let clock = bus.engine().clock.clone();
        let shared = Arc::new(Shared {
            model: Mutex::new(model),
            state: Mutex::default(),
            changed: Condvar::new(),
            core: Arc::clone(core),
            clock,
        });
        let runner = Runner::new(Arc::clone(&shared), cursor, patterns, keep_all);
        let thread = threads::spawn("nervebus-project".into(), || runner.run()).map_err(ProjectionError::Thread)?;
        Ok(ProjectionHandle { name, shared, thread: Some(thread) })
    }
}

/// What a projection's thread shares with its handle.
struct Shared<M> {
    model: Mutex<M>,
    state: Mutex<State>,
    changed: Condvar,
    core: Arc<Core>,
    clock: crate::platform::clock::Clock,
}

#[derive(Debug, Default)]
struct State {
    /// Where the log is read on.
    next: u64,
    applied: u64,
    skipped: u64,
    missed: u64,
    failing: Option<ProjectionFailure>,
    /// The position that is to be skipped.
    skip: Option<u64>,
    rebuild: bool,
    stopped: bool,
    ended: bool,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model(&self) -> MutexGuard<'_, M> {
        // A model that has panicked has changed nothing, or is asked for its position.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what the thread is to do, and has it look.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
        self.core.tap.feeding.wake();
    }
}

/// What a projection stands still at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectionFailure {
    /// The event's position; that of the next one if it is not an event that failed.
    pub position: u64,
    /// How often it was tried.
    pub attempts: u64,
    /// What the last attempt said.
    pub error: String,
}

/// How far a projection is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// The last position that it has behind it.
    pub position: u64,
    /// Positions of the log that are before it; not all of them are events of its topics.
    pub lag: u64,
    /// Events that the model has taken in, in this run.
    pub applied: u64,
    /// Events that were skipped, in this run.
    pub skipped: u64,
    /// Positions that the log had let go when it came to them, in this run: the model may lack events.
    pub missed: u64,
    /// What it stands still at, if it does.
    pub failing: Option<ProjectionFailure>,
    /// Whether the thread has ended: it was stopped, or the bus is shut down.
    pub ended: bool,
}

/// A projection at work. Dropping it has the thread end after the run that it is in.
pub struct ProjectionHandle<M> {
    name: String,
    shared: Arc<Shared<M>>,
    thread: Option<JoinHandle<()>>,
}

impl<M> ProjectionHandle<M> {
    /// Reads the model, between two runs of events.
    ///
    /// # Cost
    ///
    /// A lock, which the thread holds while the model takes in a run.
    pub fn read<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.shared.model())
    }

    /// How far it is.
    pub fn status(&self) -> ProjectionStatus {
        let end = self.shared.core.next();
        let state = self.shared.lock();
        ProjectionStatus {
            name: self.name.clone(),
            position: state.next.saturating_sub(1),
            lag: end.saturating_sub(state.next),
            applied: state.applied,
            skipped: state.skipped,
            missed: state.missed,
            failing: state.failing.clone(),
            ended: state.ended,
        }
    }

    /// Waits until the model has this position behind it, as an [emit](crate::DurableReceipt::position) said it; `false` when
    /// that has not come about in time, on the bus's clock, or never will.
    pub fn wait_for(&self, position: u64, timeout: Duration) -> bool {
        let wait = self.shared.clock.wait(Some(self.shared.clock.after(timeout)));
        let mut state = self.shared.lock();
        while state.next <= position && !state.ended && !wait.is_over() {
            state = wait.sleep(&self.shared.changed, state, Duration::MAX);
        }
        state.next > position
    }

    /// Passes over the event at this position, if that is what it stands still at; `false` if it is not.
    pub fn skip(&self, position: u64) -> bool {
        let stands = self.shared.lock().failing.as_ref().is_some_and(|failing| failing.position == position);
        if stands {
            self.shared.tell(|state| state.skip = Some(position));
        }
        stands
    }

    /// Empties the model and makes it anew, from the first line that the log has; those that it has let go count as
    /// [missed](ProjectionStatus::missed). Returns at once.
    pub fn rebuild(&self) {
        self.shared.tell(|state| {
            state.rebuild = true;
            // Whoever waits for a position means the new model.
            state.next = 0;
        });
    }

    /// Ends it, and waits for the run that it is in.
    pub fn stop(mut self) {
        self.shared.tell(|state| state.stopped = true);
        if let Some(thread) = self.thread.take() {
            // It has no panic to tell of: those of the model are caught.
            let _ = thread.join();
        }
    }
}

impl<M> Drop for ProjectionHandle<M> {
    fn drop(&mut self) {
        self.shared.tell(|state| state.stopped = true);
    }
}

impl<M> fmt::Debug for ProjectionHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionHandle").field("name", &self.name).finish_non_exhaustive()
    }
}
