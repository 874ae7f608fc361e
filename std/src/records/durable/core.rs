//! What the threads of a durable log share: the store, positions, and the account.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::follower::{Follower, Mark};
use super::{DurableLog, DurableStats};
use crate::delivery::count;
use crate::delivery::log_tap::LogTap;
use crate::platform::log_store::{LogStore, Numbered, OpenLog};

/// What the threads of a durable log share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) settings: DurableLog,
    pub(crate) tap: Arc<LogTap>,
    opener: Box<dyn OpenLog>,
    /// Nothing while it is being opened again after a failure.
    store: RwLock<Option<Box<dyn LogStore>>>,
    /// The position behind the last line that may be read.
    next: AtomicU64,
    /// The first position that may hold a line.
    first: AtomicU64,
    pub(crate) followers: Mutex<Followers>,
    /// Whether the log's thread has something to do besides writing events.
    chores: AtomicBool,
    pub(crate) account: DurableAccount,
}

/// The durable subscriptions, and what is known of those that are not there.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    pub(crate) active: Vec<Arc<Follower>>,
    /// What is saved, by name.
    pub(crate) marks: BTreeMap<String, Mark>,
    /// Names whose marks in the store are not those above.
    pub(crate) changed: BTreeSet<String>,
    /// Names under which the log is read [beside](super::cursor) its subscriptions.
    pub(crate) claimed: BTreeSet<String>,
}

/// What the log has done so far.
#[derive(Debug, Default)]
pub(crate) struct DurableAccount {
    pub(crate) lines: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) write_errors: AtomicU64,
    pub(crate) sync_errors: AtomicU64,
    pub(crate) reopened: AtomicU64,
    pub(crate) retired: AtomicU64,
    pub(crate) held_bytes: AtomicU64,
    pub(crate) failing: AtomicBool,
    pub(crate) last_error: Mutex<Option<String>>,
}

impl Core {
    pub(crate) fn new(
        settings: DurableLog,
        tap: Arc<LogTap>,
        opener: Box<dyn OpenLog>,
        store: Box<dyn LogStore>,
    ) -> io::Result<Self> {
        let (first, last) = store.bounds()?.unwrap_or((1, 0));
        let mut followers = Followers::default();
        for (name, value) in store.marks()? {
            if let Some((name, mark)) = Mark::restore(&name, &value) {
                followers.marks.insert(name, mark);
            }
        }
        // A checkpoint beyond the end is from lines that the machine has forgotten: their positions are not given again.
        let behind = followers.marks.values().map(|mark| mark.low).max().unwrap_or(1);
        Ok(Self {
            settings,
            tap,
            opener,
            store: RwLock::new(Some(store)),
            next: AtomicU64::new((last + 1).max(behind)),
            first: AtomicU64::new(first),
            followers: Mutex::new(followers),
            chores: AtomicBool::new(false),
            account: DurableAccount::default(),
        })
    }

    /// The position behind the last line that may be read.
    pub(crate) fn next(&self) -> u64 {
        // Acquire pairs with the Release in `advance`: the lines below are in the store.
        self.next.load(Ordering::Acquire)
    }

    /// Lets lines below a position be read.
    pub(crate) fn advance(&self, next: u64) {
        // Release pairs with the Acquire in `next`.
        self.next.fetch_max(next, Ordering::Release);
        self.tap.feeding.wake();
    }

    /// The first position that may hold a line.
    pub(crate) fn first(&self) -> u64 {
        // Acquire pairs with the Release in `begin_at`.
        self.first.load(Ordering::Acquire)
    }

    /// Nothing below a position is there any more.
    pub(crate) fn begin_at(&self, first: u64) {
        // Release pairs with the Acquire in `first`.
        self.first.fetch_max(first, Ordering::Release);
    }

    /// Does something with the store, if it is open.
    pub(crate) fn with_store<T>(&self, act: impl FnOnce(&dyn LogStore) -> io::Result<T>) -> io::Result<T> {
        match &*self.store.read().unwrap_or_else(PoisonError::into_inner) {
            Some(store) => act(&**store),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "the log is being opened again after a failure")),
        }
    }

    /// Opens the store again, after a failure.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        // The old one first: a store is open once.
        *store = None;
        *store = Some(self.opener.open(true)?);
        count::add(&self.account.reopened, 1);
        Ok(())
    }

    /// Closes the store.
    pub(crate) fn close(&self) {
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lines that may be read, from a position on.
    pub(crate) fn read(&self, from: u64, lines: usize) -> io::Result<Vec<Numbered>> {
        const READ_BYTES: usize = 1 << 20;
        let next = self.next();
        if from >= next {
            return Ok(Vec::new());
        }
        self.with_store(|store| store.read(from, next, lines, READ_BYTES))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Followers> {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the log's thread look at what there is to do besides writing events.
    pub(crate) fn want_chores(&self) {
        // Release pairs with the Acquire in `take_chores`; waking the thread orders it as well.
        self.chores.store(true, Ordering::Release);
        self.tap.queue.unpark_worker();
    }

    /// Whether there is something to do; asked once for each time it is.
    pub(crate) fn take_chores(&self) -> bool {
        // Acquire pairs with the Release in `want_chores`.
        self.chores.load(Ordering::Relaxed) && self.chores.swap(false, Ordering::Acquire)
    }

    pub(crate) fn stats(&self) -> DurableStats {
        let (of, next) = (&self.account, self.next());
        let subscriptions = self.lock().active.iter().map(|follower| follower.stats(next)).collect();
        DurableStats {
            path: self.settings.path.clone(),
            first: self.first(),
            next,
            lines: count::read(&of.lines),
            bytes: count::read(&of.bytes),
            held_bytes: count::read(&of.held_bytes),
            batches: count::read(&of.batches),
            syncs: count::read(&of.syncs),
            dropped: count::read(&self.tap.queue.outcomes.dropped) + count::read(&of.lost),
            write_errors: count::read(&of.write_errors),
            sync_errors: count::read(&of.sync_errors),
            reopened: count::read(&of.reopened),
            retired: count::read(&of.retired),
            last_error: of.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lag: self.tap.queue.pending_events(),
            subscriptions,
        }
    }
}
