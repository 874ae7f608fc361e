//! Sagas: steps that are done one after the other, and undone if one of them cannot be.

pub(crate) mod error;
mod progress;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::SubscriptionId;
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::error::SagaError;
use self::progress::{Asked, Next, Progress, Transition};
use crate::aggregate::Aggregates;
use crate::aggregate::error::CommandError;
use crate::bus::Bus;
use crate::delivery::retry::Retry;
use crate::error::RequestError;
use crate::event::Event;
use crate::weak_bus::WeakBus;

/// How long a wait lasts before the next look, in real time.
const LOOK: Duration = Duration::from_millis(20);

/// A step of a [`Saga`]: a request that somebody answers, and one that takes it back.
#[derive(Debug, Clone)]
pub struct Step {
    name: String,
    topic: String,
    undo: Option<String>,
    timeout: Duration,
    attempts: u32,
}

impl Step {
    /// A step of this name that is done by a request on this topic.
    pub fn new(name: impl Into<String>, topic: impl Into<String>) -> Self {
        let (timeout, attempts) = (Duration::from_secs(10), 1);
        Self { name: name.into(), topic: topic.into(), undo: None, timeout, attempts }
    }

    /// The topic of the request that takes it back. Default: it has nothing to take back.
    pub fn undo(mut self, topic: impl Into<String>) -> Self {
        self.undo = Some(topic.into());
        self
    }

    /// How long an answer may take, to either request, on the bus's clock. Default: 10 s.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.timeout = time;
        self
    }

    /// How often it is tried before the saga is undone. Default: once. At most as often as the saga's
    /// [retries](Saga::retry) allow.
    pub fn attempts(mut self, total: u32) -> Self {
        self.attempts = total;
        self
    }
}

/// Steps that are done one after the other; if one of them cannot be done, those before it are undone, the last one first.
///
/// Each step is a [request](Bus::request), whose payload is an object: `saga` (its id), `step`, `key`, `data` (what the saga
/// [began](SagaHandle::begin) with) and `results` (the answers to the steps before, by their names). The answer is a
/// [`Value`](crate::Value).
///
/// **State.** Each transition is an event on the saga's topic, which is durable: nothing is asked before the log has what led
/// to it. A process that is killed goes on, when it starts the saga again, with the request that had no answer in the log. So a
/// request comes **at least once**, and who answers tells by its `key`, which is the same each time, that it has been done.
///
/// **Undoing.** A step that failed or was not answered in time may have been done for all that, so it is undone as well, unless
/// nobody was asked. To undo what was not done must succeed. A compensation is tried as often as [`retry`](Self::retry) says;
/// then the saga stands still, its last transition is a dead letter, and [`resume`](SagaHandle::resume) tries again. The request
/// that somebody answered with an error is a dead letter too, as for any handler that fails.
///
/// **Context.** What a saga asks has the correlation id, the trace and the baggage that it was begun with, over restarts too.
///
/// **Lanes.** The saga waits for its answers on a [lane](Self::lane), whose workers are as many as sagas go on at a time. Those
/// who answer are on other lanes, or inline.
///
/// # Cost
///
/// An [`emit_durable`](Bus::emit_durable) to begin, and one for each step that is done or undone. What every saga that the log has
/// has come to is in memory, as [aggregates](crate::Aggregates) are.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, DurableLog, Lane, Saga, SagaState, Step, Value, json};
/// use std::time::Duration;
///
/// let folder = std::env::temp_dir().join(format!("nervebus-saga-doc-{}", std::process::id()));
/// let bus = Bus::builder()
///     .durable(DurableLog::at(&folder).topics("trip.*"))
///     .lane(Lane::new("sagas").workers(4))
///     .build()?;
/// bus.on("flight.book").answer(|request| Ok::<Value, String>(json!({"seat": "7A", "key": request["key"]})))?;
/// bus.on("flight.cancel").answer(|_| Ok::<Value, String>(Value::Null))?;
/// bus.on("hotel.book").answer(|request| match request["data"]["nights"].as_u64() {
///     Some(nights @ 1..14) => Ok(json!({"nights": nights})),
///     _ => Err("no room for so long"),
/// })?;
///
/// let trips = Saga::new("trip.booking")
///     .step(Step::new("flight", "flight.book").undo("flight.cancel"))
///     .step(Step::new("hotel", "hotel.book").timeout(Duration::from_secs(5)).attempts(2))
///     .lane("sagas")
///     .start(&bus)?;
/// trips.begin("trip-1", json!({"nights": 3}))?;
/// trips.begin("trip-2", json!({"nights": 30}))?;
/// let second = Duration::from_secs(5);
/// assert_eq!(trips.wait("trip-1", second).map(|trip| trip.state), Some(SagaState::Completed));
/// assert_eq!(trips.wait("trip-2", second).map(|trip| trip.state), Some(SagaState::Undone));
/// # drop(bus);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is done before `start`"]
pub struct Saga {
    topic: String,
    steps: Vec<Step>,
    lane: Option<String>,
    retry: Retry,
}

impl Saga {
    /// A saga whose transitions are events of this topic.
    pub fn new(topic: impl Into<String>) -> Self {
        let retry = Retry::exponential(Duration::from_millis(100)).attempts(10).reserve(1_000);
        Self { topic: topic.into(), steps: Vec::new(), lane: None, retry }
    }

    /// One more step. A saga that has begun has the steps that there were then, known by their names.
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The lane on which it waits for answers. Default: the default lane, where nobody else may answer then.
    pub fn lane(mut self, name: impl Into<String>) -> Self {
        self.lane = Some(name.into());
        self
    }

    /// The pauses between attempts, and how often a compensation is tried. Default: 10 attempts, 100 ms to 30 s apart.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Starts it, and has all that have begun and not ended go on. Who answers should be subscribed before.
    ///
    /// # Errors
    ///
    /// [`SagaError`]: no steps, two of one name, more attempts than retries allow; the topic is not durable, or another saga's;
    /// what [`subscribing`](crate::Subscribe::durable) says of the lane.
    pub fn start(self, bus: &Bus) -> Result<SagaHandle, SagaError> {
        let Self { topic, steps, lane, retry } = self;
        check(&steps, retry.most_attempts())?;
        let sagas = Aggregates::<Progress>::on_topic(bus, &topic).map_err(SagaError::State)?;
        let shared = Arc::new(Shared { bus: bus.downgrade(), sagas, steps, topic });
        // First, so that what is delivered again is out of date.
        for (id, version) in shared.sagas.ids(|progress| progress.next() != Next::Nothing) {
            let _scope = shared.sagas.scope_of(&id).enter();
            shared.sagas.append(&id, version, Transition::Resumed).map_err(|error| not_stored(error, None))?;
        }
        let driver = Arc::clone(&shared);
        let mut to = bus.on(&shared.topic).durable(format!("saga:{}", shared.topic)).from_start();
        to = to.name(&*shared.topic).timeout(None).retry(retry);
        if let Some(lane) = lane {
            to = to.lane(lane);
        }
        let subscription = to.handle(move |event| driver.drive(event)).map_err(SagaError::Subscribe)?;
        Ok(SagaHandle { shared, subscription })
    }
}

fn check(steps: &[Step], most: u32) -> Result<(), SagaError> {
    let refuse = |step: &str, rule: &'static str| Err(SagaError::Step { step: step.to_owned(), rule });
    if steps.is_empty() {
        return refuse("", "a saga has at least one step");
    }
    for (number, step) in steps.iter().enumerate() {
        if steps.iter().take(number).any(|other| other.name == step.name) {
            return refuse(&step.name, "there is another of that name");
        }
        if step.attempts == 0 || step.attempts > most {
            return refuse(&step.name, "it is tried at least once, and no more often than the saga's retries allow");
        }
    }
    Ok(())
}

fn not_stored<E: fmt::Display>(error: CommandError<Transition, E>, id: Option<&str>) -> SagaError {
    let is_known = error.is_conflict();
    let said = error.to_string();
    let data = error.into_event().and_then(Transition::into_data);
    match id {
        Some(id) if is_known => SagaError::Begun { id: id.to_owned(), data },
        _ => SagaError::NotStored { error: said, data },
    }
}

struct Shared {
    bus: WeakBus,
    sagas: Aggregates<Progress>,
    steps: Vec<Step>,
    topic: String,
}

/// Why a transition is to be tried again.
type Again = Box<dyn std::error::Error + Send + Sync>;

impl Shared {
    /// Does what a transition leads to.
    fn drive(&self, event: &Event<'_>) -> Result<(), Again> {
        let identity = event.id().to_string();
        let Some((id, version)) = self.sagas.parse(&identity) else { return Ok(()) };
        let saga = self.sagas.load(id)?;
        // One that is not the last has led to what it leads to.
        if saga.version != version {
            return Ok(());
        }
        let transition = match saga.state.next() {
            Next::Nothing => return Ok(()),
            Next::Do(name) => {
                let step = self.step(name)?;
                match self.ask(id, step, &step.topic, &saga.state) {
                    Ok(result) => Transition::Done { result },
                    Err((_, error)) if event.attempt() < step.attempts => return Err(error.into()),
                    // One that failed because the bus is shut down is refused by it too, and done again by the next.
                    Err((asked, error)) => Transition::Failed { error, asked },
                }
            }
            Next::Undo(name) => {
                let step = self.step(name)?;
                if let Some(undo) = &step.undo {
                    self.ask(id, step, undo, &saga.state).map_err(|(_, error)| error)?;
                }
                Transition::Undone
            }
        };
        match self.sagas.append(id, version, transition) {
            // Somebody has resumed it meanwhile.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error.to_string().into()),
            Ok(_) => Ok(()),
        }
    }

    fn step(&self, name: &str) -> Result<&Step, String> {
        let step = self.steps.iter().find(|step| step.name == name);
        step.ok_or_else(|| format!("the saga has begun with a step {name:?}, which it has no longer"))
    }

    /// Asks for a step to be done or undone. On failure: whether somebody may have been asked, and what was wrong.
    fn ask(&self, id: &str, step: &Step, topic: &str, state: &Progress) -> Result<Value, (Asked, String)> {
        let Some(bus) = self.bus.upgrade() else { return Err((Asked::No, "the bus is gone".to_owned())) };
        let key = format!("{}/{id}/{}", self.topic, step.name);
        let Progress { data, results, .. } = state;
        let payload = json!({"saga": id, "step": step.name, "key": key, "data": data, "results": results});
        bus.request(topic, payload, step.timeout).map_err(|error| {
            let asked = match error {
                RequestError::Emit(_) | RequestError::NoResponder { .. } | RequestError::TooManyTimers { .. } => {
                    Asked::No
                }
                _ => Asked::Perhaps,
            };
            (asked, error.to_string())
        })
    }
}

/// How a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    /// Its steps are being done.
    Running,
    /// One could not be done; those before it are being undone.
    Undoing,
    /// All steps are done.
    Completed,
    /// Everything is undone.
    Undone,
}

/// How far a saga is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SagaStatus {
    /// How it is.
    pub state: SagaState,
    /// The step that is being done or undone.
    pub step: Option<String>,
    /// The answers to the steps that were done.
    pub results: Map<String, Value>,
    /// The step that could not be done, and what was said.
    pub failure: Option<(String, String)>,
}

/// A saga at work; clones are the same. It does not keep its bus alive, and goes on without a handle.
#[derive(Clone)]
pub struct SagaHandle {
    shared: Arc<Shared>,
    subscription: SubscriptionId,
}

impl SagaHandle {
    /// Begins one with an id of its own; returns when the log has it.
    ///
    /// # Errors
    ///
    /// [`SagaError::Begun`] if there is one of this id, whatever has become of it; [`SagaError::NotStored`] if the log may not
    /// have it. Begun again with the same id, it is begun once.
    pub fn begin(&self, id: &str, data: Value) -> Result<(), SagaError> {
        let steps = self.shared.steps.iter().map(|step| step.name.clone()).collect();
        let begun = self.shared.sagas.append(id, 0, Transition::Begun { data, steps });
        begun.map(drop).map_err(|error| not_stored(error, Some(id)))
    }

    /// How far the one of this id is; `None` if there is none, or the log cannot be read.
    pub fn status(&self, id: &str) -> Option<SagaStatus> {
        let saga = self.shared.sagas.load(id).ok()?;
        (saga.version > 0).then(|| saga.state.status())
    }

    /// Waits until it is completed or undone, on the bus's clock; how it is when it is, or when the time has passed.
    pub fn wait(&self, id: &str, timeout: Duration) -> Option<SagaStatus> {
        let bus = self.shared.bus.upgrade()?;
        let clock = &bus.engine().clock;
        let (wait, mut seen) = (clock.wait(Some(clock.after(timeout))), u64::MAX);
        loop {
            let status = self.status(id);
            let is_over = |status: &SagaStatus| matches!(status.state, SagaState::Completed | SagaState::Undone);
            if status.as_ref().is_some_and(is_over) || wait.is_over() {
                return status;
            }
            match bus.durable()?.tap.feeding.wait(seen, Some(LOOK)) {
                Some(wakes) => seen = wakes,
                None => return status,
            }
        }
    }

    /// Has one that stands still go on; `false` if it is over, or there is none of this id.
    ///
    /// # Errors
    ///
    /// [`SagaError::NotStored`].
    pub fn resume(&self, id: &str) -> Result<bool, SagaError> {
        let saga = self.shared.sagas.load(id).map_err(SagaError::State)?;
        if saga.state.next() == Next::Nothing {
            return Ok(false);
        }
        let _scope = self.shared.sagas.scope_of(id).enter();
        match self.shared.sagas.append(id, saga.version, Transition::Resumed) {
            // It goes on as it is.
            Err(error) if error.is_conflict() => Ok(true),
            resumed => resumed.map(|_| true).map_err(|error| not_stored(error, None)),
        }
    }

    /// The subscription that has them go on. Without it they stand still.
    pub fn subscription(&self) -> SubscriptionId {
        self.subscription
    }
}

impl fmt::Debug for SagaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagaHandle").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}
