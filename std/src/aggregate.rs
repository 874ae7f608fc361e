//! Event-sourced aggregates: state that is folded from the durable log, and commands that are decided against it.

pub(crate) mod error;
mod image;
mod snapshot;

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::error::{AggregateError, CommandError};
use self::image::Image;
use crate::bus::Bus;
use crate::context::scope::Scope;
use crate::delivery::log_tap::Level;
use crate::durable_emission::DurableError;
use crate::records::durable::cursor::Cursor;
use crate::typed_event::TypedEvent;
use crate::weak_bus::WeakBus;

/// State that is what its events have made of it.
///
/// Its default is the state before the first event. See [`Aggregates`] for how it is loaded and changed.
pub trait Aggregate: Default + Clone + Serialize + DeserializeOwned + Send + 'static {
    /// What happens to it: often an enum. Its topic is durable, and it is [made from JSON](TypedEvent::from_json).
    type Event: TypedEvent;

    /// The shape of the state in [snapshots](Aggregates::snapshot_every). Raised when a field changes its meaning, for then
    /// the events must be folded anew. Default: 1.
    const SHAPE: u32 = 1;

    /// Takes an event in. It was decided on earlier, so there is nothing to refuse. One that panics here makes its
    /// aggregate [unreadable](AggregateError::Broken), and no other.
    fn apply(&mut self, event: &Self::Event);

    /// The event that the log holds, with the version that it was [emitted](TypedEvent::VERSION) with: the place to lift
    /// older versions. Default: [`TypedEvent::from_json`]. `None` if it cannot be made from JSON.
    ///
    /// # Errors
    ///
    /// What is wrong with the JSON.
    fn restore(version: Option<u32>, payload: &Value) -> Option<Result<Self::Event, Box<dyn Error + Send + Sync>>> {
        let _ = version;
        Self::Event::from_json(payload)
    }
}

/// An aggregate as it was when it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<A> {
    /// What its events have made of it.
    pub state: A,
    /// How many events that were; 0 for one that nothing has happened to.
    pub version: u64,
}

/// All aggregates of one type, each under an id of its own; clones are the same. It does not keep its bus alive.
///
/// An event of an aggregate has the [key](crate::Emission::key) `id` and the [identity](crate::Event::id) `topic/id#version`,
/// from which it is known again; so an id should be nothing that logs may not show. What is emitted on the topic in another
/// way belongs to no aggregate.
///
/// **One after the other.** While a command of an aggregate is decided and stored, others of the same id wait, no longer than
/// the builder's [`wait_limit`](crate::Builder::wait_limit); those of other ids do not, and share the log's syncs. Each event
/// says which version it makes, and of two that make the same the first one in the log counts.
///
/// **One event for each command**: a line of the log is written whole or not at all, and a run of lines is not. What must
/// happen together is one event.
///
/// **Who learns of it.** The event goes to its handlers as any other, while it is being stored. Where a handler may not know
/// more than the log, it [subscribes durably](crate::Subscribe::durable), or is a [`Projection`](crate::Projection).
///
/// # Cost
///
/// All aggregates of the type are in memory. Opening reads the log from the last snapshot, or from its beginning. Loading is
/// a look-up and a clone, and takes in what was written since, one JSON document for each event of the topic. A command is
/// that twice, and [`emit_durable`](Bus::emit_durable).
///
/// # Examples
///
/// ```
/// use nervebus::{Aggregate, Aggregates, Bus, DurableLog, Event};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(topic = "account.changed")]
/// enum Changed {
///     Paid { cents: u64 },
///     Withdrawn { cents: u64 },
/// }
///
/// #[derive(Default, Clone, Serialize, Deserialize)]
/// struct Account {
///     cents: u64,
/// }
///
/// impl Aggregate for Account {
///     type Event = Changed;
///
///     fn apply(&mut self, event: &Changed) {
///         match event {
///             Changed::Paid { cents } => self.cents += cents,
///             Changed::Withdrawn { cents } => self.cents -= cents,
///         }
///     }
/// }
///
/// let withdraw = |cents| {
///     move |account: &Account| match account.cents.checked_sub(cents) {
///         Some(_) => Ok(Changed::Withdrawn { cents }),
///         None => Err("not enough money"),
///     }
/// };
/// let folder = std::env::temp_dir().join(format!("nervebus-aggregate-doc-{}", std::process::id()));
/// let bus = Bus::builder().durable(DurableLog::at(&folder).topics("account.*")).build()?;
/// let accounts = Aggregates::<Account>::open(&bus)?;
///
/// accounts.append("7", 0, Changed::Paid { cents: 500 })?; // if nothing has happened to it yet
/// accounts.execute("7", withdraw(200))?; // whatever has
/// assert!(accounts.execute("7", withdraw(400)).is_err());
/// let account = accounts.load("7")?;
/// assert_eq!((account.state.cents, account.version), (300, 2));
/// # drop(bus);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Aggregates<A> {
    shared: Arc<Shared<A>>,
}

struct Shared<A> {
    bus: WeakBus,
    topic: String,
    cursor: Cursor,
    image: Mutex<Image<A>>,
    /// The ids whose commands are at work, and on which thread.
    at_work: Mutex<HashMap<String, ThreadId>>,
    done: Condvar,
    saving: Mutex<()>,
}

/// A command at work; the next one of its id may begin when this is dropped.
struct Turn<'a, A> {
    shared: &'a Shared<A>,
    id: &'a str,
}

impl<A> Drop for Turn<'_, A> {
    fn drop(&mut self) {
        self.shared.at_work().remove(self.id);
        self.shared.done.notify_all();
    }
}

impl<A> Shared<A> {
    fn at_work(&self) -> MutexGuard<'_, HashMap<String, ThreadId>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a command; `None` if it does not come, for one that is at work on this thread or too long.
    fn enter<'a>(&'a self, bus: &Bus, id: &'a str) -> Option<Turn<'a, A>> {
        let clock = &bus.engine().clock;
        let wait = clock.wait(Some(clock.after(bus.engine().wait_limit)));
        let (own, mut at_work) = (thread::current().id(), self.at_work());
        while let Some(thread) = at_work.get(id) {
            if *thread == own || wait.is_over() {
                return None;
            }
            at_work = wait.sleep(&self.done, at_work, Duration::MAX);
        }
        at_work.insert(id.to_owned(), own);
        Some(Turn { shared: self, id })
    }
}

impl<A: Aggregate> Aggregates<A> {
    /// Opens the aggregates of the type: claims the [topic](Bus::topic) of its events, and folds what the log has of them.
    ///
    /// # Errors
    ///
    /// [`AggregateError`]: the topic is another type's or not durable, somebody has opened them and not dropped all clones,
    /// the events have personal data, the log has let some of them go, or cannot be read.
    pub fn open(bus: &Bus) -> Result<Self, AggregateError> {
        let topic = A::Event::TOPIC;
        bus.topic::<A::Event>().map_err(AggregateError::Claim)?;
        if !A::Event::PII.is_empty() {
            return Err(AggregateError::PersonalData { topic: topic.to_owned() });
        }
        Self::on_topic(bus, topic)
    }

    /// As [`open`](Self::open), for events of whatever topic, which nobody claims.
    pub(crate) fn on_topic(bus: &Bus, topic: &str) -> Result<Self, AggregateError> {
        let core = bus.durable().filter(|_| bus.engine().directory.is_logged(topic));
        let Some(core) = core else { return Err(AggregateError::NotDurable { topic: topic.to_owned() }) };
        let cursor = Cursor::claim(core, format!("aggregate:{topic}"));
        let cursor = cursor.ok_or_else(|| AggregateError::InUse { topic: topic.to_owned() })?;
        let mut image = Image::open(&cursor, topic)?;
        image.catch_up(&cursor, topic)?;
        cursor.hold(image.needed(), image.began, image.needed());
        Ok(Self {
            shared: Arc::new(Shared {
                bus: bus.downgrade(),
                topic: topic.to_owned(),
                cursor,
                image: Mutex::new(image),
                at_work: Mutex::default(),
                done: Condvar::new(),
                saving: Mutex::default(),
            }),
        })
    }

    /// Takes a snapshot of all of them after so many of their events, on the thread whose command was the last of those. The
    /// next opening begins with it, and the log's limits may let go what is before it. Default: never.
    ///
    /// It is a file beside the log's folder, replaced as a whole. Without, the log keeps all of their events, as for a
    /// subscription that never comes; [`hard_limit`](crate::DurableLog::hard_limit) is no friend of aggregates. A snapshot
    /// that cannot be written is no failure of the command, and is tried again; see [`stats`](Self::stats).
    ///
    /// # Cost
    ///
    /// All states as JSON, in one file, and its sync.
    pub fn snapshot_every(self, events: u64) -> Self {
        self.image().every = events;
        self
    }

    /// What the log's events have made of the aggregate of this id.
    ///
    /// # Errors
    ///
    /// [`AggregateError::Broken`] if an event of it cannot be read; [`AggregateError::Log`] if the log cannot.
    pub fn load(&self, id: &str) -> Result<Loaded<A>, AggregateError> {
        let mut image = self.image();
        image.catch_up(&self.shared.cursor, &self.shared.topic)?;
        image.get(id)
    }

    /// Stores an event, if the aggregate is at this version still; its new version.
    ///
    /// # Errors
    ///
    /// [`CommandError`], with the event where nobody has seen it: [`Conflict`](CommandError::Conflict) if it has another
    /// version.
    pub fn append(&self, id: &str, expected: u64, event: A::Event) -> Result<u64, CommandError<A::Event, Infallible>> {
        let Some(bus) = self.shared.bus.upgrade() else { return Err(CommandError::Closed { event: Some(event) }) };
        let Some(_turn) = self.shared.enter(&bus, id) else {
            return Err(CommandError::Busy { id: id.to_owned(), event: Some(event) });
        };
        let found = self.load(id).map_err(CommandError::Load)?.version;
        if found != expected {
            return Err(CommandError::Conflict { expected, found, event: Some(event) });
        }
        self.store(&bus, id, expected, event).map(|stored| stored.version)
    }

    /// Decides on a command by the aggregate's state, and stores the event that it leads to, or nothing; what the aggregate
    /// is then.
    ///
    /// # Errors
    ///
    /// [`CommandError::Refused`] with what the decision said; the others say why the event was not stored.
    pub fn execute<R, E>(
        &self,
        id: &str,
        decide: impl FnOnce(&A) -> Result<R, E>,
    ) -> Result<Loaded<A>, CommandError<A::Event, E>>
    where
        R: Into<Option<A::Event>>,
    {
        let Some(bus) = self.shared.bus.upgrade() else { return Err(CommandError::Closed { event: None }) };
        let Some(_turn) = self.shared.enter(&bus, id) else {
            return Err(CommandError::Busy { id: id.to_owned(), event: None });
        };
        let loaded = self.load(id).map_err(CommandError::Load)?;
        match decide(&loaded.state).map_err(CommandError::Refused)?.into() {
            Some(event) => self.store(&bus, id, loaded.version, event),
            None => Ok(loaded),
        }
    }

    /// Stores an event that makes the next version, for whoever has the turn.
    fn store<E>(
        &self,
        bus: &Bus,
        id: &str,
        version: u64,
        event: A::Event,
    ) -> Result<Loaded<A>, CommandError<A::Event, E>> {
        let topic = &*self.shared.topic;
        // What nobody waits for could not be taken in here.
        let level = bus.engine().log.as_ref().map_or(Level::Synced, |log| log.level.max(Level::Written));
        let emission = bus.event(topic, event).event_id(image::identity(topic, id, version + 1)).key(id);
        let emission = emission.schema_version(A::Event::VERSION).class(A::Event::CLASS);
        let receipt = emission.durable(level).emit().map_err(|error| match error {
            // The version was emitted before, and stored.
            DurableError::Duplicate { .. } => {
                CommandError::Conflict { expected: version, found: version + 1, event: None }
            }
            error => CommandError::NotStored(error),
        })?;
        let loaded = {
            let mut image = self.image();
            image.catch_up(&self.shared.cursor, topic).map_err(CommandError::Load)?;
            if image.last(id) != receipt.position() {
                // An event of this version that was not known to be stored had been.
                let found = image.get(id).map_err(CommandError::Load)?.version;
                return Err(CommandError::Conflict { expected: version, found, event: None });
            }
            image.get(id).map_err(CommandError::Load)?
        };
        self.save_if_due();
        Ok(loaded)
    }

    /// The ids and versions of those that can be loaded and whose state is so.
    pub(crate) fn ids(&self, is_meant: impl Fn(&A) -> bool) -> Vec<(String, u64)> {
        self.image().ids(is_meant)
    }

    /// What the aggregate's last event handed down, for one that follows it in another call or run.
    pub(crate) fn scope_of(&self, id: &str) -> Scope {
        let last = self.image().last(id).unwrap_or_default();
        let page = self.shared.cursor.read(last, |found| found == self.shared.topic).ok();
        let event = page.and_then(|page| page.events.into_iter().find(|(position, _)| *position == last));
        event.map_or_else(Scope::detached, |(_, event)| Scope::of(&event.as_event()))
    }

    /// The aggregate, and its version, that the event of this identity makes.
    pub(crate) fn parse<'a>(&self, identity: &'a str) -> Option<(&'a str, u64)> {
        image::parse(&self.shared.topic, identity)
    }

    /// How many there are, and what was saved of them.
    pub fn stats(&self) -> AggregateStats {
        self.image().stats()
    }

    fn image(&self) -> MutexGuard<'_, Image<A>> {
        self.shared.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Clone for Aggregates<A> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<A> fmt::Debug for Aggregates<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}

/// The state of [`Aggregates`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AggregateStats {
    /// How many there are.
    pub aggregates: usize,
    /// Events that were folded since they were opened, or the snapshot was read.
    pub events: u64,
    /// Events of the topic that belong to none: not of this form, or of a version that was there already.
    pub passed: u64,
    /// The position of the last event that a snapshot has.
    pub snapshot: Option<u64>,
    /// What was wrong with the last snapshot.
    pub snapshot_error: Option<String>,
}
