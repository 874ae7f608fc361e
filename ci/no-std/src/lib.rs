//! What the binary runs: a bus in a static and events through it, then its parts by themselves.
//!
//! A library apart from the binary, so that targets for which the binary has no entry code can still be checked.

#![no_std]

mod bus;

use core::sync::atomic::{AtomicU32, Ordering};

use nervebus_core::dead_letter::StaticDeadLetterQueue;
use nervebus_core::ring::StaticRing;
use nervebus_core::table::StaticTable;
use nervebus_core::{DeadLetter, Entry, Handler, LaneId, Pattern, Priority, Reason, SubscriptionId, Topic, dispatch};

/// A reading as a sensor would send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Running number, from 1.
    pub number: u32,
    /// What was measured.
    pub value: u32,
}

/// The check that failed; its number is the exit code of the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Step {
    /// A topic or a pattern was judged wrongly.
    Names = 1,
    /// A subscription was refused although the table had room, or a fourth one was not.
    Subscribe = 2,
    /// The ring refused an event although it had room.
    Push = 3,
    /// The ring took an event although it was full, or gave back another one.
    Full = 4,
    /// The ring gave out another number of events than it took.
    Pop = 5,
    /// The handlers were not called in the order of their priorities.
    Order = 6,
    /// The handlers did not see each event exactly once.
    Totals = 7,
    /// The failure is not the one dead letter, or not the expected one.
    DeadLetter = 8,
    /// An unsubscribed handler was called again.
    Unsubscribe = 9,
    /// A closed ring took an event.
    Close = 10,
    /// A subscription to the bus was refused, or one that matches nothing or does not fit was not.
    BusSubscribe = 20,
    /// The bus refused an event although it had room.
    BusEmit = 21,
    /// The bus took an event although its queue was full.
    BusFull = 22,
    /// A poll delivered another number of events than were queued.
    BusPoll = 23,
    /// The bus did not call the handlers in the order of their priorities.
    BusOrder = 24,
    /// The bus's ledger or what its handlers saw is not exact.
    BusTotals = 25,
    /// The dead letters of the bus are not the failed event and the displaced one.
    BusDeadLetter = 26,
    /// The bus called an unsubscribed handler again.
    BusUnsubscribe = 27,
    /// A closed bus took an event.
    BusClose = 28,
}

/// Three handlers of one type (without an allocator there is nothing to box them in), in the order of their priorities.
#[derive(Clone, Copy, Debug)]
enum Duty {
    Count,
    Sum,
    RefuseSeven,
}

static CALLS: AtomicU32 = AtomicU32::new(0);
static COUNTED: AtomicU32 = AtomicU32::new(0);
static SUMMED: AtomicU32 = AtomicU32::new(0);
static OUT_OF_ORDER: AtomicU32 = AtomicU32::new(0);

/// Slots of the ring; fewer than there are events, so that positions wrap.
const SLOTS: usize = 8;
const EVENTS: u32 = 100;
const HANDLERS: u32 = 3;

static TABLE: StaticTable<Duty, { HANDLERS as usize }> = StaticTable::new();
static RING: StaticRing<Reading, SLOTS> = StaticRing::new();
static DEAD: StaticDeadLetterQueue<Reading, 4> = StaticDeadLetterQueue::new();

impl Handler<Reading> for Duty {
    type Error = Reason;

    fn handle(&self, reading: &Reading) -> Result<(), Reason> {
        let place = CALLS.fetch_add(1, Ordering::Relaxed) % HANDLERS;
        if place != *self as u32 {
            OUT_OF_ORDER.fetch_add(1, Ordering::Relaxed);
        }
        match self {
            Self::Count => COUNTED.fetch_add(1, Ordering::Relaxed),
            Self::Sum => SUMMED.fetch_add(reading.value, Ordering::Relaxed),
            Self::RefuseSeven if reading.number == 7 => return Err(Reason::ValidationError),
            Self::RefuseSeven => 0,
        };
        Ok(())
    }
}

/// Runs the core once through and compares every total.
///
/// Meant to be called once per process: the totals are statics.
///
/// # Errors
///
/// The first [`Step`] whose result is not exact.
pub fn run() -> Result<(), Step> {
    bus::run()?;
    names()?;
    subscribe()?;
    let (handled, failed) = pump()?;
    totals(handled, failed)?;
    dead_letter()?;
    unsubscribe()?;
    close()
}

fn check(holds: bool, step: Step) -> Result<(), Step> {
    if holds { Ok(()) } else { Err(step) }
}

fn names() -> Result<(), Step> {
    let topic = Topic::new("sensor.reading.taken").map_err(|_| Step::Names)?;
    let pattern = Pattern::new("sensor.*").map_err(|_| Step::Names)?;
    check(pattern.matches(topic) && Topic::new("sensor..taken").is_err(), Step::Names)
}

fn entry(id: u64, handler: Duty, priority: i32) -> Entry<Duty> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::from(priority), handler)
}

/// Subscribes in another order than that of the priorities.
fn subscribe() -> Result<(), Step> {
    for (id, handler, priority) in [(1, Duty::RefuseSeven, 10), (2, Duty::Count, 300), (3, Duty::Sum, 100)] {
        TABLE.subscribe(entry(id, handler, priority)).map_err(|_| Step::Subscribe)?;
    }
    check(TABLE.subscribe(entry(4, Duty::Count, 0)).is_err(), Step::Subscribe)
}

/// Sends all events through the ring in batches that fill it, and dispatches what comes out.
fn pump() -> Result<(usize, usize), Step> {
    let (mut handled, mut failed, mut next, mut popped) = (0, 0, 1, 0);
    while next <= EVENTS {
        let batch = (EVENTS + 1 - next).min(SLOTS as u32);
        for number in next..next + batch {
            RING.try_push(Reading { number, value: number * 2 }).map_err(|_| Step::Push)?;
        }
        if batch as usize == SLOTS {
            let extra = Reading { number: 0, value: 0 };
            let back = RING.try_push(extra).err().map(|refused| refused.into_inner());
            check(back == Some(extra), Step::Full)?;
        }
        while let Ok(reading) = RING.pop() {
            let tally = dispatch(TABLE.load().entries(), &reading, |_, reason| {
                DEAD.push(DeadLetter { event: reading, reason, attempts: 1 });
            });
            (handled, failed, popped) = (handled + tally.handled, failed + tally.failed, popped + 1);
        }
        next += batch;
    }
    check(popped == EVENTS, Step::Pop)?;
    Ok((handled, failed))
}

fn totals(handled: usize, failed: usize) -> Result<(), Step> {
    check(OUT_OF_ORDER.load(Ordering::Relaxed) == 0, Step::Order)?;
    let exact = handled == (EVENTS * HANDLERS - 1) as usize
        && failed == 1
        && CALLS.load(Ordering::Relaxed) == EVENTS * HANDLERS
        && COUNTED.load(Ordering::Relaxed) == EVENTS
        && SUMMED.load(Ordering::Relaxed) == EVENTS * (EVENTS + 1);
    check(exact, Step::Totals)
}

fn dead_letter() -> Result<(), Step> {
    let expected = Reading { number: 7, value: 14 };
    let letter = DEAD.take().ok_or(Step::DeadLetter)?;
    let exact = letter.event == expected && matches!(letter.reason, Reason::ValidationError) && letter.attempts == 1;
    check(exact && DEAD.take().is_none() && DEAD.overwritten() == 0, Step::DeadLetter)
}

fn unsubscribe() -> Result<(), Step> {
    let removed = TABLE.unsubscribe(SubscriptionId::new(2)).map_err(|_| Step::Unsubscribe)?;
    let last = Reading { number: EVENTS + 1, value: 0 };
    let tally = dispatch(TABLE.load().entries(), &last, |_, _| ());
    let exact = removed.is_some() && tally.handled == 2 && COUNTED.load(Ordering::Relaxed) == EVENTS;
    check(exact, Step::Unsubscribe)
}

fn close() -> Result<(), Step> {
    RING.close();
    let late = Reading { number: 0, value: 0 };
    let refused = RING.try_push(late).is_err_and(|refused| refused.is_closed());
    check(refused && RING.pop().is_err(), Step::Close)
}
