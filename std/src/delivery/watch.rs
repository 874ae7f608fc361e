//! What a lane's worker and its watchdog share: the event in the worker's hands, how far it has come with it, and the calls
//! that do not end.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nervebus_core::breaker::Permit;
use nervebus_core::lease::{Claim, Holder, Revoked, Watchdog, lease};
use nervebus_core::{Entry, Priority, SubscriptionId};

use crate::delivery::again::Redelivery;
use crate::delivery::count::{self, Outcomes};
use crate::delivery::directory::TopicState;
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::report::{Outcome, Ticket};
use crate::delivery::subscription::Subscription;
use crate::delivery::timer::TimerKey;
use crate::event::{Call, Event, Held};
use crate::platform::clock::Clock;

/// An event in the hands of a worker whose calls are watched.
pub(crate) struct Work {
    source: Source,
    pub(crate) topic: Arc<TopicState>,
    bus: u64,
    progress: Mutex<Progress>,
}

#[allow(clippy::large_enum_variant, reason = "an event is moved, and not put on the heap, to be watched")]
enum Source {
    Own(Envelope),
    /// Shared with a call that has not ended.
    Taken(Claim<Work>),
}

/// How far a worker has come with an event.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The call that is under way, and how long it may take.
    current: Option<(Arc<Subscription>, Duration)>,
    /// The last handler whose call was watched: those before it have had their turn.
    last: Option<(Priority, SubscriptionId)>,
    pub(crate) tally: Tally,
    pub(crate) failures: Vec<(Arc<Subscription>, Arc<HandlerError>)>,
    /// Only for whoever waits for the event.
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) ticket: Option<Ticket>,
}

/// How the deliveries of an event have ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    handled: u64,
    failed: u64,
    timed_out: u64,
    pub(crate) expired: u64,
    /// Those that are in the lane's account already.
    settled: u64,
}

/// How many of an event's failures are tried again, and so have no outcome yet.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Deferred {
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
}

impl Deferred {
    pub(crate) fn add(&mut self, error: &HandlerError) {
        match error {
            HandlerError::Timeout { .. } => self.timed_out += 1,
            _ => self.failed += 1,
        }
    }
}

impl Tally {
    /// Writes into the lane's account what is not there yet, and says how many deliveries have ended in all. For the
    /// thread that is the lane's worker, or acts for it.
    ///
    /// Those that are tried again have had their turn, and no outcome yet.
    pub(crate) fn settle(&mut self, account: &Outcomes, deferred: Deferred) -> u64 {
        let Self { handled, failed, timed_out, expired, settled } = *self;
        count::add_alone(&account.handled, handled);
        count::add_alone(&account.failed, failed - deferred.failed);
        count::add_alone(&account.timed_out, timed_out - deferred.timed_out);
        count::add_alone(&account.expired, expired);
        let settled = settled + handled + failed + timed_out + expired;
        *self = Self { settled, ..Self::default() };
        settled
    }
}

impl Work {
    pub(crate) fn new(mut envelope: Envelope, topic: Arc<TopicState>, bus: u64) -> Self {
        let progress =
            Mutex::new(Progress { ticket: envelope.ticket.take().map(|ticket| *ticket), ..Progress::default() });
        Self { source: Source::Own(envelope), topic, bus, progress }
    }

    /// What is left to be done of an event whose call has not ended in time: that call is a failure, and the next
    /// handler's turn comes.
    pub(crate) fn taken_over(claim: Claim<Self>) -> Self {
        let mut progress = std::mem::take(&mut *claim.progress());
        if let Some((subscription, after)) = progress.current.take() {
            progress.tally.timed_out += 1;
            subscription.count_timed_out();
            progress.fail(&subscription, Arc::new(HandlerError::Timeout { after }));
        }
        let (topic, bus) = (Arc::clone(&claim.topic), claim.bus);
        let source = Source::Taken(match &claim.source {
            Source::Own(_) => claim,
            Source::Taken(first) => first.clone(),
        });
        Self { source, topic, bus, progress: Mutex::new(progress) }
    }

    /// The subscription whose call is under way.
    fn current(&self) -> Option<Arc<Subscription>> {
        self.progress().current.as_ref().map(|(subscription, _)| Arc::clone(subscription))
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        match &self.source {
            Source::Own(envelope) => envelope,
            // Claims are on the first holder's, which owns it.
            Source::Taken(claim) => claim.envelope(),
        }
    }

    pub(crate) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn event<'a>(&'a self, call: Option<&'a dyn Call>) -> Event<'a> {
        Event { call, ..self.envelope().event(&self.topic.name, self.bus) }
    }

    /// The same event, to be kept beyond its delivery while it is still being worked on; `None` when it is not shared.
    pub(crate) fn claim(&self) -> Option<Claim<Self>> {
        match &self.source {
            Source::Own(_) => None,
            Source::Taken(claim) => Some(claim.clone()),
        }
    }

    /// Those of a lane's handlers whose turn is still to come.
    pub(crate) fn to_come<'r>(
        &self,
        entries: &'r [Entry<Arc<Subscription>>],
    ) -> impl Iterator<Item = &'r Entry<Arc<Subscription>>> + use<'r> {
        let (version, last) = (self.envelope().version, self.progress().last);
        // Handlers run by falling priority, and equals by rising identity. Who subscribed after the emit does not get it.
        let is_behind = move |entry: &Entry<_>| match last {
            None => true,
            Some((priority, id)) => entry.priority < priority || (entry.priority == priority && entry.id > id),
        };
        entries.iter().filter(move |entry| entry.since <= version && is_behind(entry))
    }
}

/// A redelivery in the hands of a worker whose calls are watched.
#[derive(Debug)]
pub(crate) struct Retried {
    pub(crate) again: Redelivery,
    /// How long the call may take, in nanoseconds.
    pub(crate) limit: u64,
}

/// What a worker was at when its call took too long.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// An event, whose other handlers' turn may be to come.
    Event(Box<Work>),
    /// A redelivery, which has failed with this.
    Again(Box<(Redelivery, HandlerError)>),
}

impl Unfinished {
    /// What is left to be done of a redelivery whose call has not ended in time.
    fn again(claim: &Claim<Retried>) -> Self {
        let again = claim.again.clone();
        again.subscription.count_timed_out();
        let after = Duration::from_nanos(claim.limit);
        Self::Again(Box::new((again, HandlerError::Timeout { after })))
    }
}

impl Progress {
    /// Notes the call that begins, and how long it may take.
    pub(crate) fn begin(&mut self, subscription: &Arc<Subscription>, limit: u64) {
        self.last = Some((subscription.priority, subscription.id));
        self.current = Some((Arc::clone(subscription), Duration::from_nanos(limit)));
    }

    /// Notes how a call has ended.
    pub(crate) fn end(&mut self, subscription: &Arc<Subscription>, result: Result<(), HandlerError>) {
        self.current = None;
        subscription.count(&result);
        match result {
            Ok(()) => {
                self.tally.handled += 1;
                self.say(subscription, Ok(()));
            }
            Err(error) => {
                match error {
                    // The future of an async handler, which was dropped.
                    HandlerError::Timeout { .. } => self.tally.timed_out += 1,
                    _ => self.tally.failed += 1,
                }
                self.fail(subscription, Arc::new(error));
            }
        }
    }

    /// Notes that a handler was not called.
    pub(crate) fn refuse(&mut self, subscription: &Arc<Subscription>, refusal: HandlerError) {
        self.tally.failed += 1;
        self.fail(subscription, Arc::new(refusal));
    }

    fn fail(&mut self, subscription: &Arc<Subscription>, error: Arc<HandlerError>) {
        self.say(subscription, Err(Arc::clone(&error)));
        self.failures.push((Arc::clone(subscription), error));
    }

    fn say(&mut self, subscription: &Arc<Subscription>, result: Result<(), Arc<HandlerError>>) {
        if self.ticket.is_some() {
            let handler = Arc::clone(&subscription.name);
            self.outcomes.push(Outcome { subscription: subscription.id, handler, result });
        }
    }
}

impl Held for Work {
    fn view(&self) -> Event<'_> {
        self.event(None)
    }
}

impl Held for Claim<Work> {
    fn view(&self) -> Event<'_> {
        self.event(None)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("event", &self.event(None)).finish_non_exhaustive()
    }
}

/// What limits a call.
#[derive(Debug)]
pub(crate) struct CallLimit<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) deadline: u64,
    pub(crate) watchdogs: Option<&'a Watchdogs>,
}

impl Call for CallLimit<'_> {
    fn left(&self) -> Duration {
        self.clock.until(self.deadline)
    }

    fn is_abandoned(&self) -> bool {
        self.watchdogs.is_some_and(Watchdogs::is_revoked)
    }
}

/// A worker's place: what it holds its event in, or its redelivery, and the number of the worker among those that the lane
/// has had. One call is under way at most, on one of the two.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) holder: Holder<Work>,
    pub(crate) again: Holder<Retried>,
    pub(crate) watchdogs: Watchdogs,
    pub(crate) number: u64,
}

impl Seat {
    /// Says that a call on what is in the seat begins, which must end before `deadline`.
    pub(crate) fn begin(&mut self, deadline: u64) {
        // The one that holds nothing takes no note of it.
        self.holder.begin(deadline);
        self.again.begin(deadline);
    }

    /// Says that the call has ended.
    ///
    /// # Errors
    ///
    /// [`Revoked`] when it has taken too long.
    pub(crate) fn end(&mut self) -> Result<(), Revoked> {
        self.holder.end()?;
        self.again.end()
    }
}

/// The watchdog's end of a [`Seat`].
#[derive(Debug, Clone)]
pub(crate) struct Watchdogs {
    event: Watchdog<Work>,
    again: Watchdog<Retried>,
}

impl Watchdogs {
    /// The deadline of the call that is under way.
    pub(crate) fn due(&self) -> Option<u64> {
        self.event.due().or_else(|| self.again.due())
    }

    /// Whether a call has taken too long: then nothing of the seat is its worker's any more.
    fn is_revoked(&self) -> bool {
        self.event.is_revoked() || self.again.is_revoked()
    }

    /// Takes over from the call that is under way if it is overdue: whose it is, and what is left to be done.
    pub(crate) fn revoke(&self, now: u64) -> Option<(Option<Arc<Subscription>>, Unfinished)> {
        if let Some(claim) = self.event.revoke(now) {
            return Some((claim.current(), Unfinished::Event(Box::new(Work::taken_over(claim)))));
        }
        let claim = self.again.revoke(now)?;
        Some((Some(Arc::clone(&claim.again.subscription)), Unfinished::again(&claim)))
    }
}

/// A lane's worker, as its watchdog sees it, and those of its former workers that have not come back.
///
/// At each moment one thread at most is the lane's worker or acts for it: the worker, until its call is revoked; then the
/// timer's thread, until another worker takes the seat or the seat is vacant; then whoever ends the vacancy.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When the watchdog looks next; [`ASLEEP`] for never, as long as no call begins.
    next: NextLook,
    /// Whether nobody has served the lane since its last worker got stuck, and nobody could replace it.
    unserved: AtomicBool,
    /// Calls that ended after their time was up.
    pub(crate) late: AtomicU64,
    /// Threads that the system would not start.
    pub(crate) not_started: AtomicU64,
    state: Mutex<WatchState>,
    /// What the breaker of the call under way has given for it, if it has one: whoever ends the call says how it went.
    permit: Mutex<Option<Permit>>,
    /// How many threads are not to be started; for tests.
    #[cfg(test)]
    pub(crate) refuse: AtomicU64,
}

/// What is behind the lock of a [`Watch`].
#[derive(Debug, Default)]
pub(crate) struct WatchState {
    pub(crate) watchdogs: Option<Watchdogs>,
    /// The worker's number.
    pub(crate) number: u64,
    /// The job of the next look.
    pub(crate) look: Option<TimerKey>,
    /// Workers that have not come back: number and the name of the handler.
    pub(crate) stuck: Vec<(u64, Arc<str>)>,
    /// What the next worker begins with.
    pub(crate) unfinished: Option<Unfinished>,
    /// Whether the lane has no worker, and nobody is about to be it.
    pub(crate) vacant: bool,
    /// Whether that has been said, and not yet taken back.
    pub(crate) unhealthy: bool,
}

#[derive(Debug)]
struct NextLook(AtomicU64);

const ASLEEP: u64 = u64::MAX;

impl Default for NextLook {
    fn default() -> Self {
        Self(AtomicU64::new(ASLEEP))
    }
}

impl Watch {
    pub(crate) fn lock(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether emitters would wait for nobody.
    pub(crate) fn is_unserved(&self) -> bool {
        // Relaxed: who waits looks again every millisecond.
        self.unserved.load(Ordering::Relaxed)
    }

    pub(crate) fn set_unserved(&self, unserved: bool) {
        self.unserved.store(unserved, Ordering::Relaxed);
    }

    /// Says that a call has begun that must have ended at `deadline`; `true` when the caller must see to it that
    /// somebody looks then.
    #[inline]
    pub(crate) fn expect(&self, deadline: u64) -> bool {
        // AcqRel pairs with the swap in `looks_now`, the other read-modify-write of this word: if that comes later, it
        // acquires this, and whoever looks sees the call; if it came first, this finds nobody who is about to look.
        self.next.0.fetch_min(deadline, Ordering::AcqRel) > deadline
    }

    /// Says that the watchdog looks now; it looks again only for what `expect` says from here on.
    pub(crate) fn looks_now(&self) {
        // AcqRel pairs with `expect`.
        self.next.0.swap(ASLEEP, Ordering::AcqRel);
    }

    /// When to look next, if at all.
    pub(crate) fn next_look(&self) -> Option<u64> {
        // Relaxed: whoever changed it comes for the lock, under which this is called, after that.
        Some(self.next.0.load(Ordering::Relaxed)).filter(|next| *next != ASLEEP)
    }

    /// Makes the calling thread the lane's worker; returns what it begins with, and whether the lane had been unhealthy.
    pub(crate) fn sit_down(&self) -> (Seat, Option<Unfinished>, bool) {
        let ((holder, event), (again, watchdog)) = (lease(), lease());
        let watchdogs = Watchdogs { event, again: watchdog };
        let mut state = self.lock();
        state.number += 1;
        let before = state.watchdogs.replace(watchdogs.clone());
        self.set_unserved(false);
        let recovered = std::mem::take(&mut state.unhealthy);
        let (number, unfinished) = (state.number, state.unfinished.take());
        drop(state);
        // Perhaps the last that has what the worker before got stuck in.
        drop_quietly(before);
        (Seat { holder, again, watchdogs, number }, unfinished, recovered)
    }

    /// Called by a worker whose call has ended too late. `true` when the lane has no worker: then it is its worker again.
    pub(crate) fn come_back(&self, number: u64) -> bool {
        count::add(&self.late, 1);
        let mut state = self.lock();
        state.stuck.retain(|(stuck, _)| *stuck != number);
        std::mem::take(&mut state.vacant)
    }

    /// The names of the handlers that have not returned in time, and not since.
    pub(crate) fn stuck(&self) -> Vec<String> {
        self.lock().stuck.iter().map(|(_, handler)| handler.to_string()).collect()
    }

    /// Takes what nobody goes on with because the lane has no worker; `ended` is called before anybody else can be it.
    pub(crate) fn give_up(&self, ended: impl FnOnce(&Work)) -> Option<Box<Work>> {
        let mut state = self.lock();
        if !state.vacant {
            return None;
        }
        // A redelivery has no other handler, so it was settled before the lane was left without a worker.
        let Unfinished::Event(work) = state.unfinished.take()? else { return None };
        ended(&work);
        Some(work)
    }

    /// Keeps what a breaker has given for the call that is about to begin.
    pub(crate) fn keep_permit(&self, permit: Option<Permit>) {
        if permit.is_some() {
            *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = permit;
        }
    }

    /// Takes it back, for the thread that has ended the call: the worker, or its watchdog before anybody else has the seat.
    pub(crate) fn take_permit(&self, subscription: &Subscription) -> Option<Permit> {
        subscription.breaker()?;
        self.permit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Acts for the worker of a lane that has none; nobody becomes it meanwhile.
    pub(crate) fn while_vacant(&self, act: impl FnOnce()) {
        let state = self.lock();
        if state.vacant {
            act();
        }
    }

    /// Whether the lane has no worker.
    pub(crate) fn is_vacant(&self) -> bool {
        self.lock().vacant
    }
}
