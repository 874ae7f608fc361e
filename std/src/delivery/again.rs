//! Deliveries to one handler that are made again: where they wait beside a lane, and how many are under way.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nervebus_core::SubscriptionId;

use crate::delivery::count;
use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::failure::drop_quietly;
use crate::delivery::handler::guarded;
use crate::delivery::parking::{Parking, Spot};
use crate::delivery::retry::History;
use crate::delivery::subscription::Subscription;
use crate::delivery::timer::{Job, ScheduleError, Timer, TimerKey};
use crate::event::OwnedEvent;

/// How many redeliveries of a lane may wait.
const CAPACITY: usize = 65_536;

/// A delivery of an event to one handler that is to be made again.
#[derive(Debug, Clone)]
pub(crate) struct Redelivery {
    pub(crate) event: OwnedEvent,
    pub(crate) subscription: Arc<Subscription>,
    /// How often the handler was called with this event so far.
    pub(crate) calls: u32,
    /// How often a breaker has refused the call.
    pub(crate) put_off: u32,
    pub(crate) history: History,
    pub(crate) origin: Origin,
    /// Where it stands in the sequence of its key, if its handler keeps order.
    pub(crate) spot: Option<Spot>,
}

/// What a redelivery comes from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// An emit: the handler's retry policy decides what becomes of a failure.
    Emit,
    /// A dead letter that was sent back: it is tried once.
    Letter(Arc<DeadLetter>),
    /// A log of events: as an emit, but it is there in the next run as well if it has not ended in this one.
    Log(Arc<dyn Followed>, u64),
}

impl Origin {
    /// Tells whoever reads a log that the delivery has ended.
    pub(crate) fn has_ended(&self) {
        if let Self::Log(followed, position) = self {
            followed.ended(*position);
        }
    }
}

/// Whoever gives events from a log to one handler, and wants to know when a delivery has ended.
pub(crate) trait Followed: fmt::Debug + Send + Sync {
    /// The delivery of the event at this position has ended: it was handled, or has become a dead letter.
    fn ended(&self, position: u64);
}

impl Redelivery {
    /// A delivery that is being made for the first time.
    pub(crate) fn first(event: OwnedEvent, subscription: &Arc<Subscription>) -> Self {
        let (subscription, history) = (Arc::clone(subscription), History::default());
        Self { event, subscription, calls: 0, put_off: 0, history, origin: Origin::Emit, spot: None }
    }

    /// Tells whoever asked, if the event is a request that the handler answers, that it has not and why. Once for each
    /// delivery of an emit: those who have declined are counted.
    #[cold]
    pub(crate) fn decline(&self, error: String) {
        let event = self.event.as_event();
        let reply = event.head.meta.as_deref().and_then(|meta| meta.reply.as_deref());
        if let (Some(reply), true, Origin::Emit) = (reply, self.subscription.answers(), &self.origin) {
            // Waking who asked is user code.
            let _ = guarded(|| {
                reply.fail(error);
                Ok(())
            });
        }
    }

    /// A delivery of an event that was read from a log.
    pub(crate) fn of_log(
        event: OwnedEvent,
        subscription: &Arc<Subscription>,
        followed: Arc<dyn Followed>,
        position: u64,
    ) -> Self {
        Self { origin: Origin::Log(followed, position), ..Self::first(event, subscription) }
    }

    /// One more delivery of a dead letter.
    pub(crate) fn of_letter(letter: Arc<DeadLetter>, subscription: &Arc<Subscription>) -> Self {
        let (event, calls) = (letter.event.clone(), letter.attempts);
        let history = History::of(&letter.history, calls, &letter.error, letter.failed_at);
        let (spot, origin) = (letter.spot, Origin::Letter(letter));
        Self { event, subscription: Arc::clone(subscription), calls, put_off: 0, history, origin, spot }
    }

    /// The sequence it is part of.
    fn sequence(&self) -> Option<Sequence> {
        Some((address(self.subscription.parking()?), self.spot?.key))
    }
}

/// How many deliveries have begun to be made again, and how many of these have an outcome. A delivery that waits for a
/// retry has none; it is under way until the last retry has ended.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Underway {
    /// Before the delivery can be seen anywhere else.
    pub(crate) fn begin(&self) {
        count::add(&self.begun, 1);
    }

    /// After its outcome was counted.
    pub(crate) fn end(&self) {
        count::add(&self.ended, 1);
    }

    /// How many are under way.
    pub(crate) fn now(&self) -> u64 {
        // What has ended first, so that a delivery that ends between the two still counts.
        let ended = count::read(&self.ended);
        self.ever().saturating_sub(ended)
    }

    /// How many there ever were.
    pub(crate) fn ever(&self) -> u64 {
        count::read(&self.begun)
    }
}

/// A bounded side room of a lane for redeliveries: some wait for their moment, others for the worker.
///
/// The room keeps them; the timer has a small job for each, which moves it from the ones to the others. So those that
/// a shutdown or the end of a subscription concerns can be found. With nothing for the worker this costs it one load an
/// event.
#[derive(Debug, Default)]
pub(crate) struct Again {
    /// Whether something is ready.
    occupied: AtomicBool,
    state: Mutex<State>,
    pub(crate) underway: Underway,
}

#[derive(Debug)]
struct State {
    /// By number, which is the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    ready: VecDeque<Redelivery>,
    /// Those that wait behind another of their key, oldest first.
    behind: HashMap<Sequence, VecDeque<Redelivery>>,
    /// How many these are.
    lined_up: usize,
    numbers: u64,
    /// The last moment at which a retry may be due.
    latest: u64,
    /// Whose first a shutdown has taken out: nothing lines up behind it any more.
    left: HashSet<Sequence>,
    closed: bool,
}

impl Default for State {
    fn default() -> Self {
        let (waiting, ready, behind, left) = (BTreeMap::new(), VecDeque::new(), HashMap::new(), HashSet::new());
        Self { waiting, ready, behind, lined_up: 0, numbers: 0, latest: u64::MAX, left, closed: false }
    }
}

/// Where a handler's keys are held up, and which key.
type Sequence = (usize, u64);

fn address(parking: &Arc<Parking>) -> usize {
    Arc::as_ptr(parking).addr()
}

#[derive(Debug)]
struct Waiting {
    at: u64,
    key: TimerKey,
    redelivery: Redelivery,
}

/// Why a redelivery cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoWait {
    /// As many wait as may, here or at the timer.
    Full,
    /// The bus is shutting down, and will be gone when it is due.
    Closing,
}

/// A redelivery that cannot wait, back again.
pub(crate) type Returned = Box<(Redelivery, NoWait)>;

impl State {
    fn refusal(&self, at: u64) -> Option<NoWait> {
        if self.closed || at > self.latest {
            return Some(NoWait::Closing);
        }
        (self.waiting.len() + self.ready.len() + self.lined_up >= CAPACITY).then_some(NoWait::Full)
    }

    /// Takes out of those that wait.
    fn take(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let numbers: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| wanted(waiting)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| self.waiting.remove(number)).collect()
    }

    /// Takes out all that wait behind others of a key, oldest first.
    fn take_behind(&mut self, sequence: Sequence) -> VecDeque<Redelivery> {
        let behind = self.behind.remove(&sequence).unwrap_or_default();
        self.lined_up -= behind.len();
        behind
    }
}

// Sequences: what waits behind another redelivery of its key.
impl Again {
    /// Takes in what waits behind another redelivery of its key.
    pub(crate) fn line_up(&self, redelivery: Redelivery) -> Result<(), Returned> {
        let mut state = self.lock();
        let sequence = redelivery.sequence();
        match (state.refusal(0), sequence) {
            (None, Some(sequence)) if !state.left.contains(&sequence) => {
                state.lined_up += 1;
                state.behind.entry(sequence).or_default().push_back(redelivery);
                Ok(())
            }
            (why, _) => Err(Box::new((redelivery, why.unwrap_or(NoWait::Closing)))),
        }
    }

    /// The turn of the next one of a key has come. The caller wakes the worker.
    pub(crate) fn advance(&self, parking: &Arc<Parking>, key: u64) {
        let mut state = self.lock();
        let sequence = (address(parking), key);
        let Some(behind) = state.behind.get_mut(&sequence) else { return };
        let next = behind.pop_front();
        if behind.is_empty() {
            state.behind.remove(&sequence);
        }
        if let Some(next) = next {
            state.lined_up -= 1;
            state.ready.push_back(next);
            self.mark();
        }
    }

    /// Takes out all that wait behind others of a key, oldest first.
    pub(crate) fn take_behind(&self, parking: &Arc<Parking>, key: u64) -> VecDeque<Redelivery> {
        self.lock().take_behind((address(parking), key))
    }
}

impl Again {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a redelivery in that is due at a moment. `job` makes what the timer does then: it calls
    /// [`is_due`](Self::is_due) with the number it was made with.
    pub(crate) fn defer<T>(
        &self,
        at: u64,
        redelivery: Redelivery,
        timer: &Timer<T>,
        job: impl FnOnce(u64) -> Job<T>,
    ) -> Result<(), Returned> {
        let mut state = self.lock();
        if let Some(why) = state.refusal(at) {
            return Err(Box::new((redelivery, why)));
        }
        let number = state.numbers;
        // A job that runs at once waits for the lock that is held here. The timer's own is never held the other way round.
        let key = match timer.schedule(at, job(number)) {
            Ok(key) => key,
            Err(ScheduleError::Full(_)) => return Err(Box::new((redelivery, NoWait::Full))),
            Err(ScheduleError::Closed(_)) => return Err(Box::new((redelivery, NoWait::Closing))),
        };
        state.numbers += 1;
        state.waiting.insert(number, Waiting { at, key, redelivery });
        Ok(())
    }

    /// Takes a redelivery in that is due now. The caller wakes the worker.
    pub(crate) fn push(&self, redelivery: Redelivery) -> Result<(), Returned> {
        let mut state = self.lock();
        if let Some(why) = state.refusal(0) {
            return Err(Box::new((redelivery, why)));
        }
        state.ready.push_back(redelivery);
        self.mark();
        Ok(())
    }

    /// The moment of a redelivery has come; `false` if it is gone. The caller wakes the worker.
    pub(crate) fn is_due(&self, number: u64) -> bool {
        let mut state = self.lock();
        let Some(due) = state.waiting.remove(&number) else { return false };
        state.ready.push_back(due.redelivery);
        self.mark();
        true
    }

    /// Has the worker look at the redeliveries to a subscription now, because it has ended; says whether there are any.
    pub(crate) fn hurry<T>(&self, subscription: SubscriptionId, timer: &Timer<T>) -> bool {
        if self.underway.now() == 0 {
            return false;
        }
        let mut state = self.lock();
        let theirs = state.take(|waiting| waiting.redelivery.subscription.id == subscription);
        let is_theirs =
            |behind: &VecDeque<Redelivery>| behind.front().is_some_and(|first| first.subscription.id == subscription);
        let sequences: Vec<Sequence> =
            state.behind.iter().filter(|(_, behind)| is_theirs(behind)).map(|(sequence, _)| *sequence).collect();
        let some = !theirs.is_empty() || !sequences.is_empty();
        for sequence in sequences {
            let behind = state.take_behind(sequence);
            state.ready.extend(behind);
        }
        for Waiting { key, redelivery, .. } in theirs {
            drop(timer.cancel(key));
            state.ready.push_back(redelivery);
        }
        if some {
            self.mark();
        }
        some
    }

    /// Called with the lock held.
    fn mark(&self) {
        // Release pairs with the Acquire in `pop`; waking the worker orders it as well.
        self.occupied.store(true, Ordering::Release);
    }

    /// The oldest redelivery that is due, if there is one.
    #[inline]
    pub(crate) fn pop(&self) -> Option<Redelivery> {
        // Acquire pairs with the Release in `mark`.
        if self.occupied.load(Ordering::Acquire) { self.pop_locked() } else { None }
    }

    #[cold]
    fn pop_locked(&self) -> Option<Redelivery> {
        let mut state = self.lock();
        let oldest = state.ready.pop_front();
        // Relaxed: the lock orders it against `mark`.
        self.occupied.store(!state.ready.is_empty(), Ordering::Relaxed);
        oldest
    }

    /// Lets nothing wait beyond a moment from now on, and hands back what does.
    pub(crate) fn end_by(&self, moment: u64) -> Vec<Redelivery> {
        let mut state = self.lock();
        state.latest = state.latest.min(moment);
        let mut late = Vec::new();
        for Waiting { redelivery, .. } in state.take(|waiting| waiting.at > moment) {
            let sequence = redelivery.sequence();
            late.push(redelivery);
            if let Some(sequence) = sequence {
                late.extend(state.take_behind(sequence));
                // The worker may have found it waiting here, and be about to line up behind it.
                state.left.insert(sequence);
            }
        }
        late
    }

    /// Lets nothing more in, and hands back what is inside. Harmless when repeated.
    pub(crate) fn close(&self) -> Vec<Redelivery> {
        let mut state = self.lock();
        state.closed = true;
        let ready = std::mem::take(&mut state.ready).into_iter();
        let waiting = std::mem::take(&mut state.waiting).into_values().map(|waiting| waiting.redelivery);
        state.lined_up = 0;
        let behind = std::mem::take(&mut state.behind).into_values().flatten();
        ready.chain(waiting).chain(behind).collect()
    }
}

impl Drop for State {
    /// What the events carry may panic when it is dropped, each of them.
    fn drop(&mut self) {
        self.ready.drain(..).for_each(drop_quietly);
        std::mem::take(&mut self.waiting).into_values().for_each(drop_quietly);
        std::mem::take(&mut self.behind).into_values().flatten().for_each(drop_quietly);
    }
}

#[cfg(test)]
mod tests;
