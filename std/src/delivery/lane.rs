//! Lanes: what a user says about one, and the queue behind it.

mod config;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nervebus_core::LaneId;
use nervebus_core::ring::{BoxedRing, CapacityError, PushError};
use nervebus_core::wait::{Wait, Waiter};

use crate::delivery::again::Again;
use crate::delivery::count::{self, Outcomes, Striped};
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::room::{Offered, Room};
use crate::delivery::shed::Shedder;
use crate::delivery::spill::Spill;
use crate::delivery::watch::Watch;
use crate::platform::affinity::Pinning;
use crate::platform::clock::{Clock, Waiting};
use crate::platform::place::Place;
use crate::platform::threads::{self, Latch, Park};

pub use self::config::{Lane, Overflow, WaitStrategy};

/// Whether an emitter may be made to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// As the lane's policy says.
    Policy,
    /// As the lane's policy says, but not beyond this moment of the bus's clock.
    Until(u64),
    /// Never: `try_emit`, handlers, and the bus itself.
    Never,
    /// Not in this call: where the lane's policy is to wait, the emit is taken back as if it had never been, and tried
    /// again when there is room.
    Later,
}

impl Patience {
    /// No longer than until this moment of the bus's clock; 0 for none.
    pub(crate) fn not_beyond(self, moment: u64) -> Self {
        match self {
            patience if moment == 0 => patience,
            Self::Policy => Self::Until(moment),
            Self::Until(earlier) => Self::Until(earlier.min(moment)),
            Self::Never => Self::Never,
            Self::Later => Self::Later,
        }
    }
}

/// What became of a push.
#[derive(Debug)]
pub(crate) enum Pushed {
    Admitted,
    /// Dropped by policy and counted.
    Dropped,
    /// Not taken; the envelope comes back. Not counted.
    Refused(Box<Refusal>),
}

/// An envelope that a lane would not take.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) envelope: Envelope,
    pub(crate) closed: bool,
}

/// A lane at work: its ring, the bed of its worker, the room where emitters wait and its account.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) id: LaneId,
    pub(crate) name: Box<str>,
    pub(crate) overflow: Overflow,
    pub(crate) strategy: WaitStrategy,
    /// What the worker's thread is called, and the core it stays on.
    pub(crate) thread: Box<str>,
    pub(crate) core: Option<usize>,
    pub(crate) pinning: Pinning,
    pub(crate) ring: BoxedRing<Envelope>,
    /// Where the worker sleeps; it is named before the bus is handed out, and a worker that takes over names itself.
    pub(crate) bed: Waiter<Park>,
    pub(crate) room: Room,
    /// What emitters' waits are measured by.
    clock: Clock,
    pub(crate) spill: Spill,
    /// Deliveries to single handlers that are made again.
    pub(crate) again: Again,
    /// What lets events go before the lane is full; nothing for most.
    pub(crate) shedder: Option<Box<Shedder>>,
    /// Whether a subscription has ended since the worker last looked at all the routes that it keeps.
    pub(crate) stale: AtomicBool,
    pub(crate) ended: Latch,
    /// Deliveries that this lane took on, less those it gave back: counted before the push.
    pub(crate) routed: Striped<1>,
    pub(crate) retracted: AtomicU64,
    /// Events that left the ring undelivered: displaced by newer ones, or left over by a shutdown.
    pub(crate) taken_out: AtomicU64,
    /// Events that were dropped, from the ring or before it.
    pub(crate) dropped_events: AtomicU64,
    /// Events that a shutdown left over.
    pub(crate) left: AtomicU64,
    pub(crate) outcomes: Outcomes,
    /// The worker, as its watchdog sees it.
    pub(crate) watch: Watch,
    /// Whether a shutdown's deadline has passed: what the worker has in hand is lost.
    given_up: AtomicBool,
}

impl Queue {
    pub(crate) fn new(id: LaneId, lane: Lane, worker: usize, clock: Clock) -> Result<Self, CapacityError> {
        let capacity = lane.capacity.div_ceil(lane.workers.max(1));
        Ok(Self {
            id,
            ring: BoxedRing::with_capacity(capacity)?,
            thread: lane.name_of_thread(worker).into(),
            core: lane.core.map(|first| first + worker),
            name: lane.name.into(),
            overflow: lane.overflow,
            strategy: lane.wait,
            pinning: Pinning::default(),
            bed: Waiter::default(),
            room: Room::default(),
            clock,
            spill: Spill::default(),
            again: Again::default(),
            shedder: lane.shed.map(|shed| Box::new(Shedder::new(&shed, capacity))),
            stale: AtomicBool::new(false),
            ended: Latch::default(),
            routed: Striped::default(),
            retracted: AtomicU64::new(0),
            taken_out: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            left: AtomicU64::new(0),
            outcomes: Outcomes::default(),
            watch: Watch::default(),
            given_up: AtomicBool::new(false),
        })
    }

    /// Puts an event in by the lane's policy.
    pub(crate) fn push(&self, envelope: Envelope, patience: Patience, place: Place) -> Pushed {
        self.push_with(envelope.expected, || envelope, patience, place)
    }

    /// Puts an event in by the lane's policy; it is made in its slot, for so many handlers.
    #[inline]
    pub(crate) fn push_with(
        &self,
        expected: u32,
        make: impl FnOnce() -> Envelope,
        patience: Patience,
        place: Place,
    ) -> Pushed {
        self.routed.add(place, 0, expected.into());
        match self.ring.try_push_with(make) {
            Ok(()) => {
                self.bed.wake();
                Pushed::Admitted
            }
            Err(PushError::Full(make)) => self.push_full(make(), patience),
            Err(PushError::Closed(make)) => self.refuse(make(), true),
        }
    }

    #[cold]
    fn push_full(&self, envelope: Envelope, patience: Patience) -> Pushed {
        match (self.overflow, patience) {
            (Overflow::DropNewest, _) => {
                self.count_dropped(&envelope);
                drop_quietly(envelope);
                Pushed::Dropped
            }
            (Overflow::DropOldest, _) => self.push_over(envelope),
            (Overflow::Reject, _) | (_, Patience::Never | Patience::Later) => self.refuse(envelope, false),
            // Nobody waits for a lane that nobody serves.
            _ if self.watch.is_unserved() => self.refuse(envelope, false),
            (Overflow::Block | Overflow::BlockFor(_), _) => {
                let deadline = self.deadline(patience);
                self.push_when_free(envelope, deadline)
            }
        }
    }

    fn push_over(&self, envelope: Envelope) -> Pushed {
        let displaced = |oldest: Envelope| {
            self.count_dropped(&oldest);
            count::add(&self.taken_out, 1);
            drop_quietly(oldest);
        };
        match self.ring.push_overwrite(envelope, displaced) {
            Ok(()) => {
                self.bed.wake();
                Pushed::Admitted
            }
            Err(PushError::Full(envelope)) => {
                self.count_dropped(&envelope);
                drop_quietly(envelope);
                Pushed::Dropped
            }
            Err(PushError::Closed(envelope)) => self.refuse(envelope, true),
        }
    }

    fn push_when_free(&self, mut envelope: Envelope, deadline: Option<u64>) -> Pushed {
        let wait = self.clock.wait(deadline);
        loop {
            let in_time = self.wait(&wait);
            match self.ring.try_push(envelope) {
                Ok(()) => {
                    self.bed.wake();
                    return Pushed::Admitted;
                }
                Err(PushError::Closed(envelope)) => return self.refuse(envelope, true),
                Err(PushError::Full(back)) if in_time => {
                    envelope = back;
                    threads::yield_now();
                }
                Err(PushError::Full(envelope)) => return self.refuse(envelope, false),
            }
        }
    }

    /// Waits, as far as the policy allows, until a push has a chance; `false` when the lane would refuse.
    pub(crate) fn wait_for_room(&self, patience: Patience) -> bool {
        if self.ring.would_accept() {
            return true;
        }
        let deadline = match (self.overflow, patience) {
            (Overflow::DropNewest | Overflow::DropOldest, _) => return true,
            (Overflow::Reject, _) | (_, Patience::Never | Patience::Later) => return false,
            _ if self.watch.is_unserved() => return false,
            (Overflow::Block | Overflow::BlockFor(_), _) => self.deadline(patience),
        };
        let wait = self.clock.wait(deadline);
        loop {
            let in_time = self.wait(&wait);
            if self.ring.would_accept() {
                return true;
            }
            if !in_time {
                return false;
            }
            threads::yield_now();
        }
    }

    /// Until when an emitter may wait; `None` for as long as it takes.
    pub(crate) fn deadline(&self, patience: Patience) -> Option<u64> {
        let own = match self.overflow {
            Overflow::BlockFor(wait) => Some(self.clock.after(wait)),
            _ => None,
        };
        match patience {
            Patience::Until(moment) => Some(own.map_or(moment, |own| own.min(moment))),
            _ => own,
        }
    }

    /// Whether an emitter waits for room here.
    pub(crate) fn makes_wait(&self) -> bool {
        matches!(self.overflow, Overflow::Block | Overflow::BlockFor(_)) && !self.watch.is_unserved()
    }

    /// Whether an emit of this patience that finds no room here is taken back.
    pub(crate) fn puts_off(&self, patience: Patience) -> bool {
        patience == Patience::Later && self.makes_wait()
    }

    /// Lets the next in line have what room there is.
    pub(crate) fn offer_room(&self) {
        if self.room.has_line() && self.ring.has_room() && self.take_in().is_none() {
            self.room.wake_next();
        }
    }

    /// Takes an event on for which the ring has no room, though other lanes have taken it: it goes in at the next free slot.
    #[cold]
    pub(crate) fn set_aside(&self, envelope: Envelope, place: Place) {
        self.routed.add(place, 0, envelope.expected.into());
        self.room.set_aside(envelope);
        // What was freed before it was seen there lets nobody in.
        while self.ring.has_room() && self.take_in() == Some(false) {
            // The slot's last value is being taken out.
            threads::yield_now();
        }
    }

    /// Puts the first event that was set aside into the ring, or beside a closed one, where the worker ends.
    fn take_in(&self) -> Option<bool> {
        self.room.take_in(|envelope| match self.ring.try_push(envelope) {
            Ok(()) => {
                self.bed.wake();
                Offered::Taken
            }
            Err(PushError::Full(envelope)) => Offered::Full(envelope),
            Err(PushError::Closed(envelope)) => self.step_aside(envelope),
        })
    }

    /// Puts an event that was set aside among the bus's own; what finds no room there is lost, and counted.
    fn step_aside(&self, envelope: Envelope) -> Offered {
        let Err(envelope) = self.spill.push(envelope) else { return Offered::Taken };
        self.count_dropped(&envelope);
        Offered::Lost(*envelope)
    }

    fn wait(&self, wait: &Waiting<'_>) -> bool {
        !self.watch.is_unserved() && self.room.wait(|| self.ring.would_accept(), || self.ring.has_room(), wait)
    }

    fn refuse(&self, envelope: Envelope, closed: bool) -> Pushed {
        count::add(&self.retracted, envelope.expected.into());
        Pushed::Refused(Box::new(Refusal { envelope, closed }))
    }

    /// Counts an event that was taken on and will not be delivered.
    pub(crate) fn count_dropped(&self, envelope: &Envelope) {
        count::add(&self.outcomes.dropped, envelope.expected.into());
        count::add(&self.dropped_events, 1);
    }

    /// Puts an event of the bus's own in: beside the ring if that is full.
    #[cold]
    pub(crate) fn push_system(&self, envelope: Envelope, place: Place) -> Pushed {
        let mut envelope = envelope;
        if !self.spill.is_occupied() {
            envelope = match self.push(envelope, Patience::Never, place) {
                Pushed::Refused(refusal) if !refusal.closed => refusal.envelope,
                done => return done,
            };
        }
        let expected = envelope.expected;
        match self.spill.push(envelope) {
            Ok(()) => {
                self.routed.add(place, 0, expected.into());
                self.unpark_worker();
                Pushed::Admitted
            }
            Err(envelope) => Pushed::Refused(Box::new(Refusal { envelope: *envelope, closed: false })),
        }
    }

    /// Counts an event that this lane refused although others had taken it: taken on after all, and dropped.
    #[cold]
    pub(crate) fn count_refused(&self, envelope: &Envelope, place: Place) {
        self.routed.add(place, 0, envelope.expected.into());
        self.count_dropped(envelope);
    }

    /// Wakes the worker even if it has not said yet that it sleeps.
    #[cold]
    pub(crate) fn unpark_worker(&self) {
        self.bed.how().wake();
    }

    /// Called by the worker after each pop.
    #[inline]
    pub(crate) fn after_pop(&self) {
        if self.room.is_wanted() {
            self.share_room();
        }
    }

    /// Wakes threads that wait once half the ring is free, so that they do not wake up for one slot each; until then they
    /// look by themselves now and then. Futures cannot: one of them is woken for each slot.
    #[cold]
    fn share_room(&self) {
        if self.room.has_sleepers() && self.ring.len() <= self.ring.capacity() / 2 {
            self.room.wake_sleepers();
        }
        if self.room.has_line() && self.take_in().is_none() {
            self.room.wake_next();
        }
    }

    /// Makes the worker let go of the handlers that have ended, even if it sleeps.
    pub(crate) fn forget_ended(&self) {
        // Release pairs with the Acquire in `is_stale`; waking the worker orders it as well.
        self.stale.store(true, Ordering::Release);
        self.unpark_worker();
    }

    /// Whether a subscription has ended since the last call.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        // Acquire pairs with the Release in `forget_ended`: the new routes are seen.
        self.stale.load(Ordering::Relaxed) && self.stale.swap(false, Ordering::Acquire)
    }

    /// Whether this is the audit log's, and its file does not take what is in it.
    pub(crate) fn is_failing_log(&self) -> bool {
        self.id == LaneId::new(u16::MAX) && self.watch.is_unserved()
    }

    /// Tells the worker that nobody waits any more for what it has in hand.
    pub(crate) fn give_up(&self) {
        // Relaxed: the flag is all there is; waking the worker makes it look.
        self.given_up.store(true, Ordering::Relaxed);
        self.unpark_worker();
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Lets nothing more in, and wakes everybody who waits for the ring.
    pub(crate) fn close(&self) {
        // Before the ring is closed: the worker, which ends then, gets to it still.
        while self.room.take_in(|envelope| self.step_aside(envelope)).is_some() {}
        self.ring.close();
        while self.take_in() == Some(true) {}
        self.unpark_worker();
        self.room.wake_sleepers();
        self.room.wake_line();
    }

    /// Events waiting, and those in the worker's hands.
    pub(crate) fn pending_events(&self) -> u64 {
        // What is done first: an event that ends between the loads then counts as pending, not as less than nothing.
        let done = count::read(&self.outcomes.finished) + count::read(&self.taken_out);
        self.came_in().saturating_sub(done)
    }

    /// Events that ever came in.
    pub(crate) fn came_in(&self) -> u64 {
        self.ring.pushed() as u64 + count::read(&self.spill.taken_in)
    }
}
