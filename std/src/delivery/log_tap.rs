//! The durable log as emitters see it: its queue, the order in which events go in, and who waits for what.
#![cfg_attr(not(feature = "durable"), allow(dead_code, reason = "there is never a log without the feature"))]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use serde::Serialize;

use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Pushed, Queue};
use crate::delivery::waking::WakerSlot;
use crate::event::OwnedEvent;
use crate::platform::place::Place;
use crate::platform::threads::Latch;

/// How far an event has come on its way to stable storage. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(feature = "durable"), allow(unreachable_pub, reason = "it goes out with the feature"))]
pub enum Level {
    /// It waits in memory for the log's thread. It is lost if the process ends without a shutdown.
    Accepted,
    /// The operating system has it. It outlives the process, and is lost if the machine fails before the next sync.
    Written,
    /// `fsync` has returned. It outlives a failure of the machine, as far as the machine's storage keeps its word.
    Synced,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Written => "written",
            Self::Synced => "synced",
        })
    }
}

/// Somebody who waits until an event has come as far as asked for: at which position it is, or why it is not.
#[derive(Debug)]
pub(crate) struct Commit {
    level: Level,
    outcome: Mutex<Option<Outcome>>,
    settled: Condvar,
    waiting: WakerSlot,
}

/// The position in the log, or what went wrong.
pub(crate) type Outcome = Result<u64, Arc<str>>;

impl Commit {
    pub(crate) fn new(level: Level) -> Self {
        Self { level, outcome: Mutex::new(None), settled: Condvar::new(), waiting: WakerSlot::default() }
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outcome>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how it ended. What was said first counts.
    pub(crate) fn settle(&self, outcome: Outcome) {
        self.lock().get_or_insert(outcome);
        self.settled.notify_all();
        self.waiting.wake();
    }

    /// Waits for the end. The log's thread settles everything it was given, also when it ends.
    pub(crate) fn wait(&self) -> Outcome {
        let mut outcome = self.lock();
        loop {
            match &*outcome {
                Some(settled) => return settled.clone(),
                None => outcome = self.settled.wait(outcome).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The end, or a waker to be called at it.
    pub(crate) fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        // The waker first: whoever settles after the look below finds it.
        self.waiting.set(waker);
        self.lock().clone().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The right to put events in the log: whoever has it numbers an event, puts it in its lanes and in the log, and gives it
/// back.
pub(crate) trait Order: fmt::Debug {
    /// Gives the right back; harmless when repeated.
    fn give_back(&self);
}

thread_local! {
    /// The log whose order this thread holds; 0 for none.
    static HELD: Cell<u64> = const { Cell::new(0) };

    /// What is to be emitted when this thread has given orders back.
    static PUT_OFF: RefCell<Vec<PutOff>> = const { RefCell::new(Vec::new()) };
}

/// A record of the bus's own that came about while its thread had the order.
#[derive(Debug)]
pub(crate) struct PutOff {
    bus: u64,
    pub(crate) name: Box<str>,
    pub(crate) payload: serde_json::Value,
    pub(crate) cause: Option<OwnedEvent>,
}

/// The order, held by this thread.
#[derive(Debug)]
pub(crate) struct Held<'a>(RefCell<Option<MutexGuard<'a, ()>>>);

impl Order for Held<'_> {
    fn give_back(&self) {
        if let Some(guard) = self.0.take() {
            HELD.with(|held| held.set(0));
            drop(guard);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// The durable log as emitters see it.
#[derive(Debug)]
pub(crate) struct LogTap {
    /// The bus it belongs to.
    bus: u64,
    pub(crate) queue: Arc<Queue>,
    /// The level of emits that name none.
    pub(crate) level: Level,
    order: Mutex<()>,
    /// Who waits for the event of this number.
    waiting: Mutex<BTreeMap<u64, Arc<Commit>>>,
    pub(crate) feeding: Feeding,
}

impl LogTap {
    pub(crate) fn new(bus: u64, queue: Arc<Queue>, level: Level) -> Self {
        let (order, waiting) = (Mutex::new(()), Mutex::default());
        Self { bus, queue, level, order, waiting, feeding: Feeding::default() }
    }

    /// Waits for its turn to put an event in. Nobody waits for a lane, or runs a handler of a durable topic, while it has
    /// the turn; so it comes soon.
    pub(crate) fn enter(&self) -> Held<'_> {
        // What is dropped while an event goes in may emit itself, on this thread: its turn is now.
        if self.is_held() {
            return Held(RefCell::new(None));
        }
        let guard = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        HELD.with(|held| held.set(self.bus));
        Held(RefCell::new(Some(guard)))
    }

    /// Whether this thread has the turn.
    pub(crate) fn is_held(&self) -> bool {
        HELD.with(Cell::get) == self.bus
    }

    /// Keeps a record until this thread has given the turn back: the record's inline handlers may wait for another emitter.
    pub(crate) fn put_off(&self, name: &str, payload: serde_json::Value, cause: Option<&OwnedEvent>) {
        let record = PutOff { bus: self.bus, name: name.into(), payload, cause: cause.cloned() };
        // A thread that ends takes what it cannot keep along.
        let _ = PUT_OFF.try_with(|records| records.borrow_mut().push(record));
    }

    /// The records that were kept, unless this thread has the turn still.
    pub(crate) fn due(&self) -> Vec<PutOff> {
        if self.is_held() {
            return Vec::new();
        }
        let own = |record: &mut PutOff| record.bus == self.bus;
        PUT_OFF.try_with(|records| records.borrow_mut().extract_if(.., own).collect()).unwrap_or_default()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Commit>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event in, for whoever has the order and has looked for room; whether the log has taken it.
    /// One that is dropped is counted.
    pub(crate) fn push(&self, mut envelope: Envelope, commit: Option<&Arc<Commit>>, place: Place) -> bool {
        let seq = envelope.head.seq;
        envelope.expected = 1;
        let later = commit.filter(|commit| commit.level > Level::Accepted);
        if let Some(commit) = later {
            // Before the log's thread can see the event.
            self.waiting().insert(seq, Arc::clone(commit));
        }
        let refused = match self.queue.push(envelope, Patience::Never, place) {
            Pushed::Admitted => None,
            Pushed::Dropped => Some("the log has no room"),
            Pushed::Refused(refusal) => {
                self.queue.count_refused(refusal.envelope.expected, place);
                let why = if refusal.closed { "the log is closed" } else { "the log has no room" };
                drop_quietly(refusal);
                Some(why)
            }
        };
        match (refused, commit) {
            (Some(why), Some(commit)) => {
                self.waiting().remove(&seq);
                commit.settle(Err(why.into()));
            }
            (None, Some(commit)) if later.is_none() => commit.settle(Ok(0)),
            _ => {}
        }
        refused.is_none()
    }

    /// Takes who waits for the event of this number.
    pub(crate) fn take(&self, seq: u64) -> Option<Arc<Commit>> {
        self.waiting().remove(&seq)
    }

    /// Tells everybody who waits still that nothing will come.
    pub(crate) fn abandon(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_values().for_each(|commit| commit.settle(Err("the log's thread has ended".into())));
    }
}

/// What wakes and stops the thread that feeds durable subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Feeding {
    state: Mutex<FeedState>,
    woken: Condvar,
    /// Opened when the thread has ended.
    pub(crate) ended: Latch,
}

#[derive(Debug, Default, Clone, Copy)]
struct FeedState {
    wakes: u64,
    stopped: bool,
}

impl Feeding {
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to look at.
    pub(crate) fn wake(&self) {
        self.lock().wakes += 1;
        self.woken.notify_all();
    }

    /// Nothing more is to be fed.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.woken.notify_all();
    }

    /// Waits until there is something to look at that was not there at `seen` wakes, or for `most`; how many wakes there
    /// were, or `None` when nothing more is to be fed.
    pub(crate) fn wait(&self, seen: u64, most: Option<Duration>) -> Option<u64> {
        let mut state = self.lock();
        while !state.stopped && state.wakes == seen {
            state = match most {
                None => self.woken.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(most) => {
                    let (state, timed_out) =
                        self.woken.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner);
                    if timed_out.timed_out() {
                        return (!state.stopped).then_some(state.wakes);
                    }
                    state
                }
            };
        }
        (!state.stopped).then_some(state.wakes)
    }
}
