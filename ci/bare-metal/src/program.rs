//! What the main loop and the interrupt do, and what must come out.

use nervebus_core::bus::EmitError;
use nervebus_core::dead_letter::StaticDeadLetterQueue;
use nervebus_core::ring::StaticRing;
use nervebus_core::table::StaticTable;
use nervebus_core::{DeadLetter, Entry, LaneId, Priority, Reason, SubscriptionId};

use crate::board;
use crate::contexts::{Count, Place, at, hits, note_hit};
use crate::handlers::{BUS, Duty, FAILURES, LOST, NOTED, QUEUE, RAISED, READ, RELAY_REFUSED, RELAYED};

/// Interrupts in a run.
const TICKS: u32 = 2_000;
/// The main loop is slow once in so many interrupts, so that the queue fills.
const SLOW_EVERY: u32 = 40;

static TICK: Count = Count::new();
/// What the interrupt emitted: by the topics' kind, and how it ended.
static SENSOR_QUEUED: Count = Count::new();
static ALARM_QUEUED: Count = Count::new();
static FULL: Count = Count::new();
/// What must not happen, seen from the interrupt.
static WRONG: Count = Count::new();
/// How often one event of the interrupt displaced several.
static GREEDY: Count = Count::new();

/// The parts by themselves, used by both contexts as well.
static RING: StaticRing<u32, 3> = StaticRing::new();
static TABLE: StaticTable<u32, 4> = StaticTable::new();
static DEAD: StaticDeadLetterQueue<u32, 3> = StaticDeadLetterQueue::new();
static PUSHED: Count = Count::new();
static PUSHED_SUM: Count = Count::new();

/// The interrupt's own subscription: 0, or its identity.
static OWN: Count = Count::new();
static CHANGES: Count = Count::new();
static BUSY: Count = Count::new();

/// The interrupt.
pub fn tick() {
    let tick = TICK.get() + 1;
    if tick > TICKS {
        return;
    }
    if note_hit() && BUS.poll().is_ok() {
        // In a handler, so a poll is under way.
        WRONG.add(1);
    }
    emit(tick);
    change(tick);
    parts(tick);
    TICK.set(tick);
}

fn emit(tick: u32) {
    let (topic, queued) = match tick % 4 {
        0 | 1 => (RAISED, &ALARM_QUEUED),
        2 => (READ, &SENSOR_QUEUED),
        _ => (LOST, &SENSOR_QUEUED),
    };
    let displaced = BUS.ledger().displaced;
    let emitted = if tick.is_multiple_of(3) { BUS.emit_overwrite(topic, tick) } else { BUS.emit(topic, tick) };
    match emitted {
        Ok(()) => queued.add(1),
        Err(EmitError::Full(payload)) if payload == tick => FULL.add(1),
        Err(_) => WRONG.add(1),
    }
    if BUS.ledger().displaced - displaced > 1 {
        GREEDY.add(1);
    }
}

/// Subscribes and unsubscribes in turn; when that stops a change of the main loop, it is refused, and the next interrupt
/// tries again.
fn change(tick: u32) {
    let own = OWN.get();
    if own != 0 {
        match BUS.unsubscribe(SubscriptionId::new(own.into())) {
            Ok(true) => OWN.set(0),
            Ok(false) => WRONG.add(1),
            Err(_busy) => return BUSY.add(1),
        }
    } else {
        match BUS.subscribe("audit.*", Priority::new(tick as i32), Duty::Note) {
            Ok(id) => OWN.set(id.get() as u32),
            Err(refused) if refused.is_busy() => return BUSY.add(1),
            Err(_) => WRONG.add(1),
        }
    }
    CHANGES.add(1);
}

fn parts(tick: u32) {
    if RING.try_push(tick).is_ok() {
        PUSHED.add(1);
        PUSHED_SUM.add(tick);
    }
    DEAD.push(DeadLetter { event: tick, reason: Reason::Expired, attempts: 1 });
    // The main loop puts two entries in and takes them out one by one, so the second is never there alone.
    if matches!(TABLE.load().entries(), [one, ..] if one.handler != 1) {
        WRONG.add(1);
    }
}

/// What the main loop counts.
#[derive(Default)]
struct Totals {
    turns: u32,
    queued: u32,
    refused: u32,
    visits: u32,
    failed: u32,
    displaced_sensors: u32,
    displaced_alarms: u32,
    popped: u32,
    popped_sum: u32,
    letters: u32,
}

/// What was wrong.
type Check = Result<(), &'static str>;

fn check(holds: bool, wrong: &'static str) -> Check {
    if holds { Ok(()) } else { Err(wrong) }
}

/// Runs everything, prints the totals, and compares them.
pub fn run() -> Check {
    wrap()?;
    for (pattern, duty) in [("sensor.*", Duty::Count), ("alarm.raised", Duty::Refuse), ("*.raised", Duty::Relay)] {
        BUS.subscribe(pattern, Priority::DEFAULT, duty).map_err(|_| "a handler could not subscribe")?;
    }
    let mut totals = Totals::default();
    board::start();
    while TICK.get() < TICKS {
        turn(&mut totals)?;
        if TICK.get() % SLOW_EVERY == 0 {
            let until = TICK.get() + QUEUE as u32 + 4;
            while TICK.get() < until.min(TICKS) {}
        }
    }
    // What the last poll's handlers emitted is for the next.
    while BUS.has_events() {
        turn(&mut totals)?;
    }
    print(&totals);
    of_the_bus(&totals)?;
    of_the_parts(&totals)?;
    of_the_interrupt()?;
    end()
}

/// One turn of the main loop.
fn turn(totals: &mut Totals) -> Check {
    totals.turns += 1;
    // From none to as many as the queue holds.
    for number in 0..totals.turns % (QUEUE as u32 + 1) {
        match at(Place::Emit, || BUS.emit(READ, number)) {
            Ok(()) => totals.queued += 1,
            Err(_full) => totals.refused += 1,
        }
    }
    let subscribed = at(Place::Change, || BUS.subscribe("*", Priority::new(-1), Duty::Visit));
    let visitor = subscribed.map_err(|_| "the visitor could not subscribe")?;
    let polled = at(Place::Poll, || BUS.poll()).map_err(|_| "somebody else polls")?;
    totals.visits += polled as u32;
    let gone = at(Place::Change, || BUS.unsubscribe(visitor));
    check(gone == Ok(true), "the visitor could not unsubscribe")?;
    at(Place::Poll, || BUS.poll()).map_err(|_| "somebody else polls")?;
    for letter in BUS.dead_letters().drain() {
        match letter.reason {
            Reason::Overflow if letter.event.topic == RAISED => totals.displaced_alarms += 1,
            Reason::Overflow if letter.event.topic == NOTED => {}
            Reason::Overflow => totals.displaced_sensors += 1,
            _ => totals.failed += 1,
        }
    }
    at(Place::Parts, || use_parts(totals))
}

fn use_parts(totals: &mut Totals) -> Check {
    while let Ok(value) = RING.pop() {
        totals.popped += 1;
        totals.popped_sum += value;
    }
    totals.letters += DEAD.drain().count() as u32;
    let entry = |id| Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, id as u32);
    for id in [1, 2] {
        TABLE.subscribe(entry(id)).map_err(|_| "the table took no entry")?;
    }
    for id in [2, 1] {
        check(matches!(TABLE.unsubscribe(SubscriptionId::new(id)), Ok(Some(_))), "the table kept an entry")?;
    }
    Ok(())
}

fn print(totals: &Totals) {
    let ledger = BUS.ledger();
    board::say(format_args!("{}: {TICKS} interrupts, {} turns of the main loop", board::NAME, totals.turns));
    board::say(format_args!(
        "  stopped the main loop in an emit {}, in a poll {}, in a handler {}, in a change {}, in the parts {}, elsewhere {}",
        hits(Place::Emit),
        hits(Place::Poll),
        hits(Place::Handler),
        hits(Place::Change),
        hits(Place::Parts),
        hits(Place::Elsewhere)
    ));
    board::say(format_args!("  changed subscriptions {}, found that busy {}", CHANGES.get(), BUSY.get()));
    board::say(format_args!("  {ledger:?}"));
    board::say(format_args!("  the bus takes {} bytes", size_of_val(&BUS)));
}

fn of_the_bus(totals: &Totals) -> Check {
    let ledger = BUS.ledger();
    let (relayed, relay_refused) = (RELAYED.get(), RELAY_REFUSED.get());
    check(ledger.balanced(), "the ledger is not balanced")?;
    check(ledger.pending == 0, "events are left")?;
    check(ledger.emitted as u32 == TICKS + totals.queued + totals.refused + relayed + relay_refused, "emitted")?;
    check(ledger.refused as u32 == FULL.get() + totals.refused + relay_refused, "refused")?;
    check(ledger.refused > 0 && ledger.displaced > 0, "the queue never filled")?;
    check((ledger.handled + ledger.failed) as u32 == Duty::all_calls(), "calls of handlers")?;
    let (sensors, alarms) = (SENSOR_QUEUED.get() + totals.queued, ALARM_QUEUED.get());
    check(Duty::Count.calls() == sensors - totals.displaced_sensors, "calls for sensors")?;
    check(Duty::Refuse.calls() == alarms - totals.displaced_alarms, "calls for alarms")?;
    check(Duty::Relay.calls() == Duty::Refuse.calls(), "calls for alarms, relayed")?;
    check(Duty::Visit.calls() == totals.visits, "calls of the visitor")?;
    check(ledger.failed as u32 == FAILURES.get() && FAILURES.get() == totals.failed, "failures")?;
    let dead = BUS.dead_letters();
    check(dead.overwritten() == 0 && dead.pushed() == ledger.failed + ledger.displaced, "dead letters of the bus")
}

fn of_the_parts(totals: &Totals) -> Check {
    check(totals.popped == PUSHED.get() && totals.popped_sum == PUSHED_SUM.get(), "values of the ring")?;
    let letters = totals.letters + DEAD.overwritten() as u32;
    check(DEAD.pushed() as u32 == TICKS && letters == TICKS, "dead letters")?;
    check(TABLE.load().is_empty(), "the table is not empty")
}

fn of_the_interrupt() -> Check {
    check(WRONG.get() == 0, "something in the interrupt")?;
    let of_the_bus = hits(Place::Emit) + hits(Place::Poll) + hits(Place::Handler) + hits(Place::Change);
    let inside = of_the_bus + hits(Place::Parts);
    check(inside + hits(Place::Elsewhere) == TICKS, "interrupts")?;
    check(of_the_bus > 0, "no interrupt stopped the main loop inside the bus: the run shows nothing")?;
    check(GREEDY.get() == 0, "one event displaced several")?;
    check(CHANGES.get() + BUSY.get() == TICKS, "changes by the interrupt")
}

/// The interrupt's last subscription counts, and a closed bus takes nothing.
fn end() -> Check {
    let (own, before) = (OWN.get(), Duty::Note.calls());
    BUS.emit(NOTED, 0).map_err(|_| "the empty bus took no event")?;
    BUS.close();
    check(matches!(BUS.emit(NOTED, 1), Err(EmitError::Closed(1))), "the closed bus took an event")?;
    check(BUS.poll() == Ok(1), "the last event is lost")?;
    check(Duty::Note.calls() - before == u32::from(own != 0), "the interrupt's subscription")?;
    check(BUS.ledger().balanced(), "the ledger is not balanced at the end")
}

/// Rings and queues that go on while the number of the lap wraps, in words of this board's size.
fn wrap() -> Check {
    // A lap of a ring of 3 adds 8 to a position, so this is 100 laps before the end.
    const LAST: usize = usize::MAX / 8 - 100;
    let mut ring: StaticRing<u32, 3> = StaticRing::new();
    ring.start_at_lap(LAST);
    for number in (0..3_000).step_by(3) {
        check(ring.push_batch(&mut [number, number + 1].into_iter()) == Ok(2), "an empty ring is full")?;
        ring.try_push(number + 2).map_err(|_| "a ring with room is full")?;
        check(ring.len() == 3 && !ring.has_room() && ring.try_push(0).is_err(), "a full ring has room")?;
        let displaced = &mut 0;
        ring.push_overwrite(number + 3, |oldest| *displaced = oldest).map_err(|_| "nothing was displaced")?;
        check(*displaced == number && ring.pop() == Ok(number + 1), "a ring gave out another value")?;
        let mut next = number + 2;
        let drained = ring.drain(3, |value| {
            next = if value == next { next + 1 } else { 0 };
        });
        check(drained == Ok(2) && next == number + 4 && ring.is_empty(), "a ring gave out other values")?;
    }
    check(ring.pushed() < LAST, "the positions have not wrapped")
}
