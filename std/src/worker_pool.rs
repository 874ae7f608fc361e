//! Threads that serve the lanes of several buses.

use crate::builder::Builder;
use crate::builder::checks::in_range;
use crate::error::BuildError;
use crate::platform::pool::Crew;

/// The most threads that a pool may have.
const MAX_THREADS: u64 = 1_024;

/// Threads that serve lanes together, instead of each lane having its own: for a service with many buses or lanes that
/// have little to do.
///
/// Without a pool each worker of each lane is a thread. With one, a lane that has something to do waits for the next free
/// thread of the pool, which does 64 events of it at most before others have their turn. Order, retries, breakers,
/// timeouts and accounts are the same. A call that has outlived its timeout leaves its thread behind and the pool starts
/// another one, also when its lane may leave [no more](Builder::max_abandoned): the other lanes need it.
///
/// What a pool gives up is the bulkhead: handlers without a timeout that do not return hold its threads, and when all
/// are held, all its lanes wait. The same goes for a handler that waits for another lane of the pool, by
/// [`emit_and_wait`](crate::Bus::emit_and_wait) or a request, or by shutting down another bus of the pool that has something
/// left to do: give a pool more threads than there are such calls at a time, or that lane threads of its own.
///
/// A lane keeps its own threads if it [spins](crate::WaitStrategy::Spin), since it would spin on the others' time, is pinned
/// to a core, or has a [concurrency](crate::Lane::concurrency) above 1. The audit log and the timer of a bus always have a thread each.
///
/// Cloning it is cheap, and all clones are the same pool. Its threads end when the last clone, and the last bus that uses it, are
/// gone.
///
/// # Cost
///
/// An event that finds its lane idle costs its emitter a short lock, a place in a list that the pool's lanes share, for each
/// 31 of which one block is allocated, and the wake-up of a thread if one sleeps. While the lane has events, emitting costs
/// what it does without a pool.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, WorkerPool, json};
///
/// let pool = WorkerPool::new(2)?;
/// let buses: Vec<Bus> = (0..50).map(|_| Bus::builder().worker_pool(&pool).build()).collect::<Result<_, _>>()?;
/// for bus in &buses {
///     bus.subscribe("user.login", |event| assert!(event["tenant"].is_number()))?;
/// }
/// for (tenant, bus) in buses.iter().enumerate() {
///     assert!(bus.emit_and_wait("user.login", json!({"tenant": tenant}))?.all_handled());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct WorkerPool {
    pub(crate) crew: Crew,
    threads: usize,
}

impl WorkerPool {
    /// A pool of so many threads, which are started here. Range: 1 to 1,024.
    ///
    /// # Errors
    ///
    /// [`BuildError::OutOfRange`] for any other number; [`BuildError::Thread`] when the system does not start them.
    ///
    /// ```
    /// let error = nervebus::WorkerPool::new(0).unwrap_err();
    /// assert_eq!(error.to_string(), "worker_pool.threads is 0, outside its range 1..=1024");
    /// ```
    pub fn new(threads: usize) -> Result<Self, BuildError> {
        in_range("worker_pool.threads", threads as u64, 1, MAX_THREADS)?;
        let crew = Crew::start(threads).map_err(|error| BuildError::Thread { lane: "worker pool".into(), error })?;
        Ok(Self { crew, threads })
    }

    /// How many threads it was made with.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

impl Builder {
    /// Has the lanes of this bus served by the threads of a pool, which other buses may share, and not by threads of their
    /// own. Default: each lane has its own.
    pub fn worker_pool(mut self, pool: &WorkerPool) -> Self {
        self.pool = Some(pool.clone());
        self
    }

    /// The same, unless a pool was named before.
    pub(crate) fn or_worker_pool(mut self, pool: Option<&WorkerPool>) -> Self {
        self.pool = self.pool.or_else(|| pool.cloned());
        self
    }
}
