//! A consumer that is too slow, under each policy: the lane never holds more than it has room for, every event has one
//! outcome, and another lane notices nothing.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Event, Lane, Ledger, ManualClock, Overflow};

use super::{GUARD, HOUR, bounded, end, idle, until};

const CAPACITY: usize = 16;
const MINUTE: Duration = Duration::from_secs(60);

/// A bus whose lane `slow` does one event for each word it is given.
struct Rig {
    clock: ManualClock,
    bus: Bus,
    /// The numbers that the slow lane has begun.
    begun: Receiver<u64>,
    go: Sender<()>,
    seen: Arc<Mutex<Vec<u64>>>,
}

impl Rig {
    /// With one event, 0, in the hands of the slow lane's worker.
    fn new(overflow: Overflow) -> Self {
        let (clock, slow) = (ManualClock::new(), Lane::new("slow").capacity(CAPACITY).overflow(overflow));
        let bus = Bus::builder().clock(&clock).lane(slow).lane(Lane::new("other")).build().unwrap();
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
        let (gone, seen) = (Mutex::new(gone), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&seen);
        let consume = move |event: &Event<'_>| {
            let number = *event.payload_as::<u64>().unwrap();
            noted.lock().unwrap().push(number);
            let _ = begin.send(number);
            let _ = gone.lock().unwrap().recv();
        };
        bus.on("slow").lane("slow").handle(consume).unwrap();
        bus.on("other").lane("other").handle(|_| ()).unwrap();
        bus.emit("slow", 0_u64).unwrap();
        assert_eq!(begun.recv_timeout(GUARD), Ok(0));
        Self { clock, bus, begun, go, seen }
    }

    /// How many events wait in the slow lane: never more than it has room for.
    fn len(&self) -> usize {
        let stats = self.bus.stats();
        let slow = stats.lanes.iter().find(|lane| lane.name == "slow").unwrap();
        assert!(slow.len <= CAPACITY && slow.capacity == CAPACITY, "{} wait", slow.len);
        slow.len
    }

    /// The other lane handles an event, whatever the slow one does.
    fn other_goes_on(&self) {
        assert!(self.bus.emit_and_wait("other", ()).unwrap().all_handled());
    }

    /// Lets the slow lane finish; every event on it has been delivered, dropped or refused.
    fn end(self) -> (Vec<u64>, Ledger) {
        drop(self.go);
        let ledger = end(&self.bus);
        let slow = ledger.lanes.iter().find(|lane| lane.name == "slow").unwrap();
        let other = ledger.lanes.iter().find(|lane| lane.name == "other").unwrap().deliveries;
        assert_eq!((other.routed, other.dropped), (other.handled, 0));
        let of = slow.deliveries;
        assert_eq!(slow.dropped_events, of.dropped);
        assert_eq!(ledger.emitted - other.routed, of.handled + of.dropped + ledger.refused);
        let seen = self.seen.lock().unwrap().clone();
        assert_eq!(seen.len() as u64, of.handled);
        (seen, ledger)
    }
}

/// Emits a thousand events, and one more in each minute of an hour, on a lane whose worker does not come back.
fn overrun(overflow: Overflow) -> (Vec<u64>, [u64; 2]) {
    let rig = Rig::new(overflow);
    let mut refused = 0;
    let mut emit = |number: u64| match rig.bus.emit("slow", number) {
        Ok(receipt) => assert_eq!(receipt.admitted() + receipt.dropped(), 1),
        Err(error) => {
            assert!(error.is_full() && error.into_payload() == number);
            refused += 1;
        }
    };
    for number in 1..=1_000 {
        emit(number);
        assert_eq!(rig.len(), CAPACITY.min(number as usize));
    }
    for minute in 1..=60 {
        rig.clock.advance(MINUTE);
        emit(1_000 + minute);
        assert_eq!(rig.len(), CAPACITY);
        rig.other_goes_on();
    }
    let (seen, ledger) = rig.end();
    assert_eq!((ledger.refused, ledger.emitted), (refused, 1 + 1_060 + 60));
    (seen, [ledger.deliveries().dropped, refused])
}

/// How many of the events find no room: all but the one in hand and those that fill the lane.
const TOO_MANY: u64 = 1_060 - CAPACITY as u64;

#[test]
fn a_full_lane_that_rejects_refuses_the_rest_for_an_hour() {
    bounded(|| assert_eq!(overrun(Overflow::Reject), ((0..=16).collect(), [0, TOO_MANY])));
}

#[test]
fn a_full_lane_that_drops_the_newest_keeps_the_first_for_an_hour() {
    bounded(|| assert_eq!(overrun(Overflow::DropNewest), ((0..=16).collect(), [TOO_MANY, 0])));
}

#[test]
fn a_full_lane_that_drops_the_oldest_has_the_last_after_an_hour() {
    bounded(|| {
        let kept: Vec<_> = std::iter::once(0).chain(1_045..=1_060).collect();
        assert_eq!(overrun(Overflow::DropOldest), (kept, [TOO_MANY, 0]));
    });
}

#[test]
fn a_full_lane_that_blocks_keeps_its_emitter_for_an_hour_and_then_loses_nothing() {
    const EVENTS: u64 = 1_000;
    bounded(|| {
        let rig = Rig::new(Overflow::Block);
        let emitter = rig.bus.clone();
        let emitting = thread::spawn(move || (1..=EVENTS).for_each(|n| assert!(emitter.emit("slow", n).is_ok())));
        until("the emitter does not fill the lane", || rig.len() == CAPACITY);
        for _ in 0..60 {
            rig.clock.advance(MINUTE);
            rig.other_goes_on();
        }
        idle();
        assert!(!emitting.is_finished() && rig.len() == CAPACITY);
        assert_eq!(rig.bus.ledger().refused, 0);
        for number in 1..=EVENTS {
            rig.go.send(()).unwrap();
            assert_eq!(rig.begun.recv_timeout(GUARD), Ok(number));
            rig.len();
        }
        emitting.join().unwrap();
        let (seen, ledger) = rig.end();
        assert!(seen.into_iter().eq(0..=EVENTS));
        assert_eq!((ledger.refused, ledger.deliveries().dropped), (0, 0));
    });
}

#[test]
fn a_full_lane_that_blocks_for_a_minute_refuses_one_event_in_each_minute_of_an_hour() {
    const EVENTS: u64 = CAPACITY as u64 + 60;
    bounded(|| {
        let rig = Rig::new(Overflow::BlockFor(MINUTE));
        let (emitter, (sender, refusals)) = (rig.bus.clone(), mpsc::channel());
        let emitting = thread::spawn(move || {
            for number in 1..=EVENTS {
                if let Err(error) = emitter.emit("slow", number) {
                    assert!(error.is_full());
                    sender.send(error.into_payload()).unwrap();
                }
            }
        });
        for number in 1..=60 {
            until("the emitter does not wait", || rig.clock.waiting() == 1);
            assert_eq!(rig.len(), CAPACITY);
            assert!(refusals.try_recv().is_err(), "its minute is not over");
            rig.clock.advance(MINUTE);
            assert_eq!(refusals.recv_timeout(GUARD), Ok(CAPACITY as u64 + number));
        }
        emitting.join().unwrap();
        assert_eq!(rig.clock.now(), HOUR);
        rig.other_goes_on();
        let (seen, ledger) = rig.end();
        assert!(seen.into_iter().eq(0..=CAPACITY as u64));
        assert_eq!((ledger.refused, ledger.deliveries().dropped), (60, 0));
    });
}
