//! What a worker keeps in flight: futures between their polls, which of them were woken, and what waits for its key.
//!
//! A set of futures that is polled as a whole (`FuturesUnordered` is the well-kept one) would do, were it not for a future
//! that blocks the thread: it would have all the others with it. Here a future that is being polled is out of the set, so
//! that another worker can go on with the rest.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use hashbrown::HashMap;
use nervebus_core::breaker::Permit;
use nervebus_core::wait::{Doorbell, Wait as _};

use crate::delivery::again::Redelivery;
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::handler::{HandlerFuture, guarded};
use crate::delivery::lane::Queue;
use crate::delivery::subscription::Subscription;
use crate::delivery::watch::{Retried, Work};
use crate::platform::clock::Awaited;
use crate::platform::signal::{Seat, Signal};

/// A bounded number of deliveries that a worker is at: those whose futures are under way, and those whose key is.
///
/// The lock is never held while something of a user's runs.
pub(crate) struct Flight {
    most: usize,
    /// Armed while the worker sleeps.
    pub(crate) bell: Doorbell,
    /// Futures that were woken, in that order, each at most once.
    woken: Mutex<VecDeque<Arc<Alarm>>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Nothing in one that is free, or whose future is being polled.
    places: Vec<Option<Box<Flying>>>,
    free: Vec<u32>,
    /// Where the future is that is being polled.
    polled: Option<u32>,
    /// The futures that have one, by deadline.
    deadlines: BTreeSet<(u64, u32)>,
    /// The keys of what is in flight, each with what waits for it, in order.
    keys: HashMap<u64, VecDeque<Waiting>>,
    /// What waited for its key, and has it.
    due: VecDeque<Waiting>,
    /// How many deliveries wait for a key, or have waited.
    waiting: usize,
    /// Has the worker woken when a shutdown's deadline has passed.
    seat: Option<Seat>,
}

/// A delivery that has come out of the ring or is to be made again, and has not begun.
pub(crate) enum Waiting {
    Event(Envelope),
    Again(Redelivery),
}

impl Waiting {
    fn key(&self) -> u64 {
        match self {
            Self::Event(envelope) => envelope.head.key,
            Self::Again(again) => again.event.as_event().head.key,
        }
    }
}

/// What a future is the handling of.
#[allow(clippy::large_enum_variant, reason = "nearly all are events, and each lies on the heap with its call")]
pub(crate) enum Cargo {
    /// An event, whose other handlers' turn may be to come.
    Event(Work),
    Again(Retried),
}

impl Cargo {
    fn key(&self) -> u64 {
        match self {
            Self::Event(work) => work.envelope().head.key,
            Self::Again(retried) => retried.again.event.as_event().head.key,
        }
    }
}

/// A call of an async handler under way.
pub(crate) struct Flying {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) permit: Option<Permit>,
    /// When the call began, if it is timed.
    pub(crate) timed: Option<Instant>,
    pub(crate) limit: Option<Limit>,
    /// Nothing while the worker has it in its seat.
    cargo: Option<Cargo>,
    /// Nothing once it has ended.
    future: Option<HandlerFuture>,
    alarm: Arc<Alarm>,
}

/// How long a call may take.
pub(crate) struct Limit {
    /// When it began, a moment of the bus's clock.
    pub(crate) since: u64,
    /// In nanoseconds.
    pub(crate) limit: u64,
    /// Says so to who asks how many wait for the clock.
    pub(crate) _awaited: Awaited,
}

impl Limit {
    pub(crate) fn deadline(&self) -> u64 {
        self.since.saturating_add(self.limit)
    }
}

/// Wakes the worker for one future.
struct Alarm {
    queue: Weak<Queue>,
    place: u32,
    /// Whether the future is among those that were woken, or has ended.
    rung: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        // AcqRel pairs with the swap in `Flying::poll`: what was done before the wake-up is seen by the poll that comes
        // after it, also when another wake-up has put the future among those that were woken.
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(queue) = self.queue.upgrade()
            && let Some(flight) = queue.flight.as_deref()
        {
            flight.woken().push_back(self);
            if flight.bell.ring() {
                queue.unpark_worker();
            }
        }
    }
}

/// Wakes the worker when a shutdown's deadline has passed.
struct LastCall(Weak<Queue>);

impl Wake for LastCall {
    fn wake(self: Arc<Self>) {
        if let Some(queue) = self.0.upgrade() {
            queue.bed.how().wake();
        }
    }
}

impl Flying {
    /// A call whose future has not been polled, at a place of the flight's of this queue.
    pub(crate) fn new(queue: &Arc<Queue>, flight: &Flight, of: &Arc<Subscription>, future: HandlerFuture) -> Box<Self> {
        let (queue, place) = (Arc::downgrade(queue), flight.lock().reserve());
        Box::new(Self {
            subscription: Arc::clone(of),
            permit: None,
            timed: None,
            limit: None,
            cargo: None,
            future: Some(future),
            alarm: Arc::new(Alarm { queue, place, rung: AtomicBool::new(false) }),
        })
    }

    /// Polls the future, and drops it if that was its end. A panic is an end as well.
    pub(crate) fn poll(&mut self) -> Poll<Result<(), HandlerError>> {
        // Acquire pairs with the swap in `wake`.
        self.alarm.rung.swap(false, Ordering::Acquire);
        let waker = Waker::from(Arc::clone(&self.alarm));
        let Some(future) = &mut self.future else {
            return Poll::Ready(Err(HandlerError::Error("the handler had ended before".into())));
        };
        let polled = guarded(|| Ok(future.as_mut().poll(&mut Context::from_waker(&waker))));
        let polled = polled.unwrap_or_else(|panic| Poll::Ready(Err(panic)));
        if polled.is_ready() {
            self.end();
        }
        polled
    }

    /// Drops the future. What panics then has done its work, or has failed already.
    pub(crate) fn end(&mut self) {
        drop_quietly(self.future.take());
    }

    pub(crate) fn take_cargo(&mut self) -> Option<Cargo> {
        self.cargo.take()
    }
}

impl Drop for Flying {
    /// What the future and its event own may panic when it is dropped.
    fn drop(&mut self) {
        self.end();
        drop_quietly(self.cargo.take());
    }
}

impl State {
    fn reserve(&mut self) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            // A lane's range has fewer.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.polled = Some(place);
        place
    }

    /// Takes out the future at a place, which stays reserved for it.
    fn take_out(&mut self, place: u32) -> Option<Box<Flying>> {
        let flying = self.places.get_mut(place as usize)?.take()?;
        if let Some(limit) = &flying.limit {
            self.deadlines.remove(&(limit.deadline(), place));
        }
        self.polled = Some(place);
        Some(flying)
    }

    fn release(&mut self, key: u64) {
        let Some(waiting) = self.keys.get_mut(&key) else { return };
        match waiting.pop_front() {
            Some(next) => self.due.push_back(next),
            None => drop(self.keys.remove(&key)),
        }
    }

    fn in_flight(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

impl Flight {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, bell: Doorbell::new(), woken: Mutex::default(), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn woken(&self) -> MutexGuard<'_, VecDeque<Arc<Alarm>>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more delivery may come in.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        state.in_flight() + state.waiting < self.most
    }

    /// Whether there is nothing in flight, and nothing waits for a key.
    pub(crate) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.in_flight() + state.waiting == 0
    }

    /// Has a delivery wait whose key is in flight; gives back any other.
    pub(crate) fn wait_for_key(&self, delivery: Waiting) -> Option<Waiting> {
        let key = delivery.key();
        if key == 0 {
            return Some(delivery);
        }
        let mut state = self.lock();
        let Some(waiting) = state.keys.get_mut(&key) else { return Some(delivery) };
        waiting.push_back(delivery);
        state.waiting += 1;
        None
    }

    /// What has waited for its key, and has it now.
    pub(crate) fn next_due(&self) -> Option<Waiting> {
        let mut state = self.lock();
        let due = state.due.pop_front()?;
        state.waiting -= 1;
        Some(due)
    }

    /// Says that a delivery of this key has ended.
    pub(crate) fn release(&self, key: u64) {
        if key != 0 {
            self.lock().release(key);
        }
    }

    /// Keeps a call until its future is woken or its time is up.
    pub(crate) fn keep(&self, mut flying: Box<Flying>, cargo: Cargo, cancelled: &Arc<Signal>) {
        let (key, place) = (cargo.key(), flying.alarm.place);
        flying.cargo = Some(cargo);
        let mut state = self.lock();
        if state.seat.is_none() {
            state.seat = cancelled.enter(Arc::new(LastCall(flying.alarm.queue.clone())).into());
        }
        if key != 0 {
            state.keys.entry(key).or_default();
        }
        if let Some(limit) = &flying.limit {
            state.deadlines.insert((limit.deadline(), place));
        }
        state.polled = None;
        if let Some(kept) = state.places.get_mut(place as usize) {
            *kept = Some(flying);
        }
    }

    /// Gives the place of a call back that has ended.
    pub(crate) fn vacate(&self, flying: &Flying) {
        // Nobody puts it among those that were woken any more. Relaxed: there is nothing to be seen.
        flying.alarm.rung.store(true, Ordering::Relaxed);
        self.recover();
    }

    /// Gives back the place of the future that is being polled: it has ended, or the worker before is stuck in it.
    pub(crate) fn recover(&self) {
        let mut state = self.lock();
        if let Some(place) = state.polled.take() {
            state.free.push(place);
        }
    }

    /// How many futures were woken.
    pub(crate) fn count_woken(&self) -> usize {
        // The worker looks with the bell armed, and the lock's word is what the waking side writes as well.
        self.woken().len()
    }

    /// The next call whose future was woken.
    pub(crate) fn next_woken(&self) -> Option<Box<Flying>> {
        loop {
            let alarm = self.woken().pop_front()?;
            let mut state = self.lock();
            let here = state.places.get(alarm.place as usize).and_then(Option::as_ref);
            // An earlier one at this place may have been woken after its end.
            if here.is_some_and(|flying| Arc::ptr_eq(&flying.alarm, &alarm)) {
                return state.take_out(alarm.place);
            }
        }
    }

    /// When the first of the calls must have ended, if one must.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.lock().deadlines.first().map(|(at, _)| *at)
    }

    /// A call that must have ended by now.
    pub(crate) fn next_overdue(&self, now: u64) -> Option<Box<Flying>> {
        let mut state = self.lock();
        let (_, place) = *state.deadlines.first().filter(|(at, _)| *at <= now)?;
        state.take_out(place)
    }

    /// The next call of all there are, from a place on that is 0 at first.
    pub(crate) fn next(&self, from: &mut usize) -> Option<Box<Flying>> {
        let mut state = self.lock();
        let place = *from + state.places.iter().skip(*from).position(Option::is_some)?;
        *from = place + 1;
        state.take_out(u32::try_from(place).ok()?)
    }

    /// Takes all that waits for a key.
    pub(crate) fn take_waiting(&self) -> Vec<Waiting> {
        let mut state = self.lock();
        state.waiting = 0;
        let due = take(&mut state.due);
        due.into_iter().chain(state.keys.values_mut().flat_map(take)).collect()
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("most", &self.most).finish_non_exhaustive()
    }
}
