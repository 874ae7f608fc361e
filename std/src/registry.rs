//! Several buses of one service, by name.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use crate::builder::Builder;
use crate::bus::Bus;
use crate::context;
use crate::delivery::shutdown::ShutdownReport;
use crate::error::BuildError;
use crate::platform::threads;
use crate::worker_pool::WorkerPool;

/// How many buses a registry may be asked to hold.
const MAX_BUSES: usize = 65_536;
const MAX_NAME: usize = 64;

/// Why a registry refused. Nothing changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RegistryError {
    /// The number of buses asked for is outside its range.
    OutOfRange {
        /// What was asked for.
        value: usize,
        /// The smallest value allowed.
        min: usize,
        /// The largest value allowed.
        max: usize,
    },
    /// The registry has as many buses as it may have, those that are being built among them.
    Full {
        /// How many that is.
        max: usize,
    },
    /// A name breaks the rule for names.
    Name {
        /// The name.
        name: String,
        /// The rule.
        rule: &'static str,
    },
    /// There is a bus of this name.
    Exists {
        /// The name.
        name: String,
    },
    /// The code that builds this bus asks for it, directly or by waiting for another bus whose code does.
    WouldDeadlock {
        /// The name.
        name: String,
    },
    /// The registry was shut down.
    Closed,
    /// The bus could not be built.
    Build(BuildError),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { value, min, max } => {
                write!(f, "registry.max is {value}, outside its range {min}..={max}")
            }
            Self::Full { max } => write!(f, "the registry has its limit of {max} buses"),
            Self::Name { name, rule } => write!(f, "bus name {name:?} is not {rule}"),
            Self::Exists { name } => write!(f, "there is a bus {name:?} already"),
            Self::WouldDeadlock { name } => write!(f, "the code that builds bus {name:?} cannot wait for that bus"),
            Self::Closed => f.write_str("the registry was shut down"),
            Self::Build(error) => write!(f, "the bus could not be built: {error}"),
        }
    }
}

impl std::error::Error for RegistryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Build(error) => Some(error),
            _ => None,
        }
    }
}

/// Buses by name, for a service that hosts several: a bus for each tenant, plugin or test.
///
/// Cloning it is cheap, and all clones are the same registry. There is no registry of the whole process, and the library
/// makes none: what belongs to nobody is shut down by nobody, cannot be had twice by two tests that run side by side,
/// and hides who depends on whom. Make one where the service starts, and pass it on.
///
/// The registry holds a handle of each of its buses, and so keeps them alive. Dropping its last clone drops those
/// handles, and each bus of which nobody has another shuts down as [`Bus`] says, one after the other;
/// [`shutdown_all`](Self::shutdown_all) gives them one deadline, at the same time, and reports. A handler should hold a
/// [`WeakBus`](crate::WeakBus) and no registry, for it would keep itself alive.
///
/// A name has 1 to 64 bytes of ASCII letters, digits, `-`, `_`, `.` and `/`.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, BusRegistry, Lane, json};
/// use std::time::Duration;
///
/// let tenants = BusRegistry::new(100)?;
/// for tenant in ["acme", "globex", "acme"] {
///     let bus = tenants.get_or_create(tenant, || Bus::builder().default_lane(Lane::new("default").capacity(64)))?;
///     bus.emit("user.login", json!({"tenant": tenant}))?;
/// }
/// assert_eq!(tenants.names(), ["acme", "globex"]);
///
/// for (name, report) in tenants.shutdown_all(Duration::from_secs(5)) {
///     assert!(report.drained && report.ledger.balanced(), "{name}: {report}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct BusRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    max: usize,
    /// What serves the lanes of buses that name no pool of their own.
    pool: Option<WorkerPool>,
    state: Mutex<State>,
    /// A build has ended, well or not, or the registry was closed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    places: BTreeMap<Box<str>, Place>,
    /// Which bus a thread waits for: nobody may wait in a circle.
    waiting: HashMap<ThreadId, Box<str>>,
    closed: bool,
}

enum Place {
    /// This thread builds it, with no lock held.
    Building(ThreadId),
    Ready(Bus),
}

/// Who has a name.
enum Claim<'a> {
    Theirs(Bus),
    Mine(Build<'a>),
}

/// The right and the duty to build the bus of a name; dropped without a bus, it leaves no trace.
struct Build<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl BusRegistry {
    /// A registry for at most this many buses.
    ///
    /// # Errors
    ///
    /// [`RegistryError::OutOfRange`] for a number outside 1 to 65,536.
    ///
    /// ```
    /// let error = nervebus::BusRegistry::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "registry.max is 0, outside its range 1..=65536");
    /// ```
    pub fn new(max: usize) -> Result<Self, RegistryError> {
        Self::make(max, None)
    }

    /// A registry for at most this many buses, whose lanes are served by the threads of a pool. A bus whose builder names
    /// another [pool](Builder::worker_pool) is served by that.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// ```
    /// use nervebus::{Bus, BusRegistry, WorkerPool};
    ///
    /// let tenants = BusRegistry::with_worker_pool(10_000, &WorkerPool::new(4)?)?;
    /// let bus = tenants.get_or_create("acme", Bus::builder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_worker_pool(max: usize, pool: &WorkerPool) -> Result<Self, RegistryError> {
        Self::make(max, Some(pool.clone()))
    }

    fn make(max: usize, pool: Option<WorkerPool>) -> Result<Self, RegistryError> {
        if !(1..=MAX_BUSES).contains(&max) {
            return Err(RegistryError::OutOfRange { value: max, min: 1, max: MAX_BUSES });
        }
        Ok(Self { shared: Arc::new(Shared { max, pool, state: Mutex::default(), changed: Condvar::new() }) })
    }

    /// The bus of this name, if there is one; one that is being built is not there yet. After
    /// [`shutdown_all`](Self::shutdown_all) it is still there, for its books and dead letters.
    ///
    /// # Cost
    ///
    /// A lock that all names share and that is held for a look-up only, never while a bus is built. Whoever emits often
    /// keeps the handle and does not ask for each event.
    pub fn get(&self, name: &str) -> Option<Bus> {
        match self.shared.lock().places.get(name) {
            Some(Place::Ready(bus)) => Some(bus.clone()),
            _ => None,
        }
    }

    /// The bus of this name; if there is none, `describe` says how to build it.
    ///
    /// Of several threads that ask for the same new name one builds the bus, and the others wait for it. Threads that ask
    /// for other names do not wait. If `describe` panics or the bus cannot be built, that thread has the panic or the
    /// error, and the next one that asks or waits tries with its own `describe`.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]: a malformed name, a full or closed registry, a bus that cannot be built, or a `describe` that
    /// waits for the very bus it describes.
    ///
    /// # Panics
    ///
    /// Where `describe` does.
    pub fn get_or_create(&self, name: &str, describe: impl FnOnce() -> Builder) -> Result<Bus, RegistryError> {
        match self.shared.claim(name)? {
            Claim::Theirs(bus) => Ok(bus),
            Claim::Mine(build) => build.run(describe),
        }
    }

    /// Builds a bus of a new name. If another thread is building one of this name, this waits to see how that ends.
    ///
    /// # Errors
    ///
    /// As [`get_or_create`](Self::get_or_create); [`RegistryError::Exists`] if there is a bus of this name. `describe` is
    /// called only when the name is free.
    ///
    /// # Panics
    ///
    /// Where `describe` does.
    ///
    /// ```
    /// use nervebus::{Bus, BusRegistry};
    ///
    /// let plugins = BusRegistry::new(8)?;
    /// plugins.create("audio/mixer", Bus::builder)?;
    /// let error = plugins.create("audio/mixer", Bus::builder).unwrap_err();
    /// assert_eq!(error.to_string(), r#"there is a bus "audio/mixer" already"#);
    /// # Ok::<(), nervebus::RegistryError>(())
    /// ```
    pub fn create(&self, name: &str, describe: impl FnOnce() -> Builder) -> Result<Bus, RegistryError> {
        match self.shared.claim(name)? {
            Claim::Theirs(_) => Err(RegistryError::Exists { name: name.to_owned() }),
            Claim::Mine(build) => build.run(describe),
        }
    }

    /// Takes a bus out and hands it over; its name is free again. The bus is **not** shut down: it goes on until somebody
    /// shuts it down or its last handle is dropped, which may be the one that this returns.
    #[must_use = "dropping the last handle shuts the bus down, and waits for that"]
    pub fn remove(&self, name: &str) -> Option<Bus> {
        let mut state = self.shared.lock();
        // A bus that is being built belongs to its builder.
        if !matches!(state.places.get(name), Some(Place::Ready(_))) {
            return None;
        }
        match state.places.remove(name)? {
            Place::Ready(bus) => Some(bus),
            Place::Building(_) => None,
        }
    }

    /// The names of the buses, in order; those that are being built are not among them.
    pub fn names(&self) -> Vec<String> {
        self.shared.lock().ready().map(|(name, _)| name.to_owned()).collect()
    }

    /// How many buses there are; those that are being built are not among them.
    pub fn len(&self) -> usize {
        self.shared.lock().ready().count()
    }

    /// Whether there is no bus.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many buses there may be.
    pub fn max(&self) -> usize {
        self.shared.max
    }

    /// Closes the registry and shuts all its buses down, at the same time and by one deadline; returns the account of
    /// each, by name, in order.
    ///
    /// From then on, whoever asks for a bus to be built gets [`RegistryError::Closed`]; so does whoever waits for a build
    /// or is in the middle of one, whose bus is shut down at once and is not in the accounts. The buses stay to be looked
    /// at. Called again, this reports again. Called from inside a handler, it does not wait for the bus of that handler,
    /// as [`Bus::shutdown`] says.
    ///
    /// # Cost
    ///
    /// A thread for each bus while it drains, no more than the bus has itself.
    pub fn shutdown_all(&self, deadline: Duration) -> Vec<(String, ShutdownReport)> {
        shut_down_together(self.close(), deadline)
    }

    /// Closes the registry and shuts all its buses down, as [`shutdown_all`](Self::shutdown_all) does, without making the
    /// thread wait for it.
    ///
    /// It begins with this call, not with the first poll: when this returns, the registry and its buses are closed.
    ///
    /// **Cancel safety.** Dropping the future stops nothing; only the accounts are lost, and `shutdown_all` gives them
    /// again.
    ///
    /// # Cost
    ///
    /// A thread for each bus while it drains. Where one is not to be had, the report of that bus says what is pending.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::BusRegistry;
    /// use std::time::Duration;
    ///
    /// async fn end(tenants: BusRegistry) {
    ///     for (name, report) in tenants.shutdown_all_async(Duration::from_secs(5)).await {
    ///         assert!(report.drained, "{name}: {report}");
    ///     }
    /// }
    /// ```
    pub fn shutdown_all_async(
        &self,
        deadline: Duration,
    ) -> impl Future<Output = Vec<(String, ShutdownReport)>> + Send + 'static {
        let begin = |(name, bus): (String, Bus)| (name, bus.engine().shutdown_async(deadline));
        let under_way: Vec<_> = self.close().into_iter().map(begin).collect();
        async move {
            let mut reports = Vec::with_capacity(under_way.len());
            for (name, shutdown) in under_way {
                reports.push((name, shutdown.await));
            }
            reports
        }
    }

    /// Lets nobody build a bus from now on, and nobody emit on those there are.
    fn close(&self) -> Vec<(String, Bus)> {
        let buses: Vec<_> = {
            let mut state = self.shared.lock();
            state.closed = true;
            state.ready().map(|(name, bus)| (name.to_owned(), bus.clone())).collect()
        };
        self.shared.changed.notify_all();
        // Nobody may emit on one bus while another one drains.
        buses.iter().for_each(|(_, bus)| bus.engine().close());
        buses
    }
}

impl fmt::Debug for BusRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, closed) = (self.len(), self.shared.lock().closed);
        f.debug_struct("BusRegistry").field("len", &len).field("max", &self.max()).field("closed", &closed).finish()
    }
}

impl Shared {
    /// Nothing of a user's runs and nothing is dropped while this is held, so a poisoned lock guards a whole state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a name's bus, or gives the caller the right to build it; waits while another thread has that right.
    fn claim<'a>(&'a self, name: &'a str) -> Result<Claim<'a>, RegistryError> {
        check_name(name)?;
        let me = thread::current().id();
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(RegistryError::Closed);
            }
            match state.places.get(name) {
                Some(Place::Ready(bus)) => return Ok(Claim::Theirs(bus.clone())),
                None if state.places.len() >= self.max => return Err(RegistryError::Full { max: self.max }),
                None => {
                    state.places.insert(name.into(), Place::Building(me));
                    return Ok(Claim::Mine(Build { shared: self, name }));
                }
                Some(Place::Building(_)) if state.leads_to(name, me) => {
                    return Err(RegistryError::WouldDeadlock { name: name.to_owned() });
                }
                Some(Place::Building(_)) => {
                    state.waiting.insert(me, name.into());
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    state.waiting.remove(&me);
                }
            }
        }
    }
}

impl State {
    fn ready(&self) -> impl Iterator<Item = (&str, &Bus)> {
        self.places.iter().filter_map(|(name, place)| match place {
            Place::Ready(bus) => Some((&**name, bus)),
            Place::Building(_) => None,
        })
    }

    /// Whether the build of this name is up to the given thread in the end: it builds the bus itself, or one that the
    /// builder waits for. Nobody waits in a circle, so this ends.
    fn leads_to(&self, name: &str, thread: ThreadId) -> bool {
        let mut name = name;
        while let Some(Place::Building(by)) = self.places.get(name) {
            if *by == thread {
                return true;
            }
            let Some(next) = self.waiting.get(by) else { break };
            name = next;
        }
        false
    }
}

impl Build<'_> {
    /// Builds the bus with no lock held, and puts it in its place.
    fn run(self, describe: impl FnOnce() -> Builder) -> Result<Bus, RegistryError> {
        let bus = describe().or_worker_pool(self.shared.pool.as_ref()).build().map_err(RegistryError::Build)?;
        let mut state = self.shared.lock();
        if state.closed {
            // The lock goes before the bus, which is shut down by being dropped, and has nothing to drain.
            drop(state);
            return Err(RegistryError::Closed);
        }
        if let Some(place) = state.places.get_mut(self.name) {
            *place = Place::Ready(bus.clone());
        }
        Ok(bus)
    }
}

impl Drop for Build<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(Place::Building(_)) = state.places.get(self.name) {
            state.places.remove(self.name);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Shuts each bus down on a thread of its own: one that is stuck until the deadline must not eat up the others' time.
fn shut_down_together(buses: Vec<(String, Bus)>, deadline: Duration) -> Vec<(String, ShutdownReport)> {
    let (sender, reports) = mpsc::channel();
    for (index, (_, bus)) in buses.iter().enumerate() {
        let (engine, sender) = (Arc::clone(bus.engine()), sender.clone());
        // Nobody hears it only if whoever asked has gone.
        let body = move || drop(sender.send((index, engine.shutdown(deadline))));
        if context::is_inside(bus.engine().bus) {
            // A handler cannot wait for itself, not by way of another thread either. Here the bus knows, and does not wait.
            body();
        } else {
            // Where there is no thread to be had, the bus is shut down below.
            drop(threads::spawn("nervebus-shutdown".into(), body));
        }
    }
    drop(sender);
    let mut done: BTreeMap<usize, ShutdownReport> = reports.into_iter().collect();
    let report = |(index, (name, bus)): (usize, (String, Bus))| {
        let report = done.remove(&index).unwrap_or_else(|| bus.shutdown(deadline));
        (name, report)
    };
    buses.into_iter().enumerate().map(report).collect()
}

fn check_name(name: &str) -> Result<(), RegistryError> {
    const RULE: &str = "1 to 64 bytes of letters, digits, '-', '_', '.' and '/'";
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
        return Err(RegistryError::Name { name: name.to_owned(), rule: RULE });
    }
    Ok(())
}
