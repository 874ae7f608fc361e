//! The main path: a whole bus in a static.

use core::sync::atomic::{AtomicU32, Ordering};

use nervebus_core::bus::{EmitError, Event, StaticBus, SubscribeError, TopicId};
use nervebus_core::{Handler, Priority, Reason, SubscriptionId};

use crate::{EVENTS, Reading, Step, check};

const TOPICS: [&str; 2] = ["sensor.reading.taken", "alarm.raised"];
const TAKEN: TopicId = TopicId::of(&TOPICS, "sensor.reading.taken").unwrap();
const RAISED: TopicId = TopicId::of(&TOPICS, "alarm.raised").unwrap();

/// Events in the queue; fewer than there are in all, so that positions wrap.
const QUEUE: usize = 8;

static BUS: StaticBus<Reading, Task, 2, 4, QUEUE, 4> = StaticBus::new(TOPICS);

/// The handlers, in the order of their priorities.
#[derive(Clone, Copy, Debug)]
enum Task {
    Count,
    Sum,
    RefuseSeven,
    RaiseAlarm,
}

static CALLS: AtomicU32 = AtomicU32::new(0);
static COUNTED: AtomicU32 = AtomicU32::new(0);
static SUMMED: AtomicU32 = AtomicU32::new(0);
static OUT_OF_ORDER: AtomicU32 = AtomicU32::new(0);

impl Handler<Event<Reading>> for Task {
    type Error = ();

    fn handle(&self, event: &Event<Reading>) -> Result<(), ()> {
        if CALLS.fetch_add(1, Ordering::Relaxed) % 4 != *self as u32 {
            OUT_OF_ORDER.fetch_add(1, Ordering::Relaxed);
        }
        match self {
            Self::Count => _ = COUNTED.fetch_add(1, Ordering::Relaxed),
            Self::Sum => _ = SUMMED.fetch_add(event.payload.value, Ordering::Relaxed),
            Self::RefuseSeven if event.payload.number == 7 => return Err(()),
            Self::RaiseAlarm if event.payload.number == 9 => return BUS.emit(RAISED, event.payload).map_err(drop),
            Self::RefuseSeven | Self::RaiseAlarm => {}
        }
        Ok(())
    }
}

/// Sends events through the bus and compares every total; meant to be called once, as the bus is a static.
pub(crate) fn run() -> Result<(), Step> {
    let counting = subscribe()?;
    pump()?;
    totals()?;
    dead_letters()?;
    unsubscribe(counting)?;
    close()
}

/// Subscribes in another order than that of the priorities; returns who counts.
fn subscribe() -> Result<SubscriptionId, Step> {
    let of =
        |pattern, priority, task| BUS.subscribe(pattern, Priority::new(priority), task).map_err(|_| Step::BusSubscribe);
    of("sensor.reading.taken", 1, Task::RaiseAlarm)?;
    of("sensor.*", 10, Task::RefuseSeven)?;
    let counting = of("sensor.reading.*", 300, Task::Count)?;
    let unmatched = BUS.subscribe("sensor.lost", Priority::DEFAULT, Task::Sum);
    check(matches!(unmatched, Err(SubscribeError::NoTopic { .. })), Step::BusSubscribe)?;
    of("*.*.taken", 100, Task::Sum)?;
    let fifth = BUS.subscribe("*", Priority::DEFAULT, Task::Count);
    check(matches!(fifth, Err(SubscribeError::Full(_))), Step::BusSubscribe)?;
    Ok(counting)
}

/// Emits in batches that fill the queue, and polls.
fn pump() -> Result<(), Step> {
    let mut next = 1;
    while next <= EVENTS {
        let batch = (EVENTS + 1 - next).min((QUEUE - BUS.ledger().pending) as u32);
        for number in next..next + batch {
            BUS.emit(TAKEN, Reading { number, value: number * 2 }).map_err(|_| Step::BusEmit)?;
        }
        if BUS.ledger().pending == QUEUE {
            let extra = Reading { number: 0, value: 0 };
            check(BUS.emit(TAKEN, extra) == Err(EmitError::Full(extra)), Step::BusFull)?;
        }
        let pending = BUS.ledger().pending;
        check(BUS.poll() == Ok(pending), Step::BusPoll)?;
        next += batch;
    }
    Ok(())
}

fn totals() -> Result<(), Step> {
    BUS.poll().map_err(|_| Step::BusPoll)?;
    check(OUT_OF_ORDER.load(Ordering::Relaxed) == 0, Step::BusOrder)?;
    let ledger = BUS.ledger();
    let exact = ledger.balanced()
        && ledger.emitted - ledger.refused == (EVENTS + 1) as usize
        && ledger.delivered == EVENTS as usize
        && ledger.unrouted == 1
        && ledger.handled == (4 * EVENTS - 1) as usize
        && ledger.failed == 1
        && COUNTED.load(Ordering::Relaxed) == EVENTS
        && SUMMED.load(Ordering::Relaxed) == EVENTS * (EVENTS + 1);
    check(exact, Step::BusTotals)
}

/// One event failed, and one more is displaced here.
fn dead_letters() -> Result<(), Step> {
    for number in 1..=QUEUE as u32 + 1 {
        BUS.emit_overwrite(RAISED, Reading { number, value: 0 }).map_err(|_| Step::BusEmit)?;
    }
    let mut letters = BUS.dead_letters().drain();
    let failed = letters.next().ok_or(Step::BusDeadLetter)?;
    let displaced = letters.next().ok_or(Step::BusDeadLetter)?;
    let exact = (failed.event.payload.number, failed.reason) == (7, Reason::HandlerError)
        && (displaced.event.payload.number, displaced.reason) == (1, Reason::Overflow)
        && letters.next().is_none();
    check(exact && BUS.ledger().balanced(), Step::BusDeadLetter)
}

fn unsubscribe(counting: SubscriptionId) -> Result<(), Step> {
    check(BUS.unsubscribe(counting) == Ok(true), Step::BusUnsubscribe)?;
    check(BUS.unsubscribe(counting) == Ok(false), Step::BusUnsubscribe)?;
    BUS.poll().map_err(|_| Step::BusPoll)?;
    BUS.emit(TAKEN, Reading { number: 0, value: 0 }).map_err(|_| Step::BusEmit)?;
    check(BUS.poll() == Ok(1) && COUNTED.load(Ordering::Relaxed) == EVENTS, Step::BusUnsubscribe)
}

fn close() -> Result<(), Step> {
    BUS.close();
    let late = Reading { number: 0, value: 0 };
    check(BUS.emit(TAKEN, late) == Err(EmitError::Closed(late)), Step::BusClose)?;
    check(BUS.poll() == Ok(0) && BUS.ledger().balanced(), Step::BusClose)
}
