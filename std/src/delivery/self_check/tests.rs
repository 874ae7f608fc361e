use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::bus::Bus;
use crate::delivery::engine::InlineAccount as Inline;
use crate::platform::manual_clock::ManualClock;
use crate::platform::place::place;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_secs(60);

struct Rig {
    clock: ManualClock,
    bus: Bus,
    told: Receiver<String>,
}

impl Rig {
    fn new() -> Self {
        let (clock, (tell, told)) = (ManualClock::new(), mpsc::channel());
        let bus = Bus::builder().clock(&clock).build().unwrap();
        let tell = move |event: &crate::Event<'_>| tell.send(event["imbalance"].as_str().unwrap().to_owned()).unwrap();
        bus.on("system.ledger_imbalance").inline().handle(tell).unwrap();
        Self { clock, bus, told }
    }

    /// Lets the bus look at its books once.
    fn look(&self) {
        self.settle();
        self.clock.advance(PERIOD);
        self.settle();
    }

    /// Waits until the timer sleeps.
    fn settle(&self) {
        while self.clock.parked() == 0 {
            thread::yield_now();
        }
    }

    /// Writes more into the books than there was.
    fn falsify(&self) {
        self.bus.engine().inline.add(place(), Inline::ROUTED, 1);
    }

    /// Writes off what [`falsify`](Self::falsify) has written in.
    fn mend(&self) {
        self.bus.engine().inline.add(place(), Inline::CANCELLED, 1);
    }
}

#[test]
fn books_that_do_not_balance_in_two_readings_in_a_row_are_told_once() {
    let rig = Rig::new();
    rig.look();
    rig.falsify();
    rig.look();
    assert!(rig.told.try_recv().is_err(), "one reading is not enough");
    rig.look();
    let expected = r#"lane "inline" has 1 deliveries without outcome and 0 events pending"#;
    assert_eq!(rig.told.recv_timeout(GUARD).as_deref(), Ok(expected));
    (0..5).for_each(|_| rig.look());
    assert!(rig.told.try_recv().is_err(), "once an episode");
    assert!(!rig.bus.stats().ledger.balanced());
    let stats = serde_json::to_value(rig.bus.stats()).unwrap();
    assert_eq!(stats["ledger"]["balanced"], false);
}

#[test]
fn an_imbalance_that_comes_again_after_a_balance_is_told_again() {
    let rig = Rig::new();
    for _ in 0..3 {
        rig.falsify();
        (0..4).for_each(|_| rig.look());
        rig.mend();
        rig.look();
    }
    assert_eq!(rig.told.try_iter().count(), 3);
    assert!(rig.bus.ledger().balanced());
}

#[test]
fn books_that_balance_every_other_reading_are_not_told_of() {
    let rig = Rig::new();
    for _ in 0..4 {
        rig.falsify();
        rig.look();
        rig.mend();
        rig.look();
    }
    assert!(rig.told.try_recv().is_err());
}

#[test]
fn a_bus_without_self_check_never_looks() {
    let (clock, (tell, told)) = (ManualClock::new(), mpsc::channel());
    let bus = Bus::builder().clock(&clock).self_check(Duration::ZERO).build().unwrap();
    bus.on("system.ledger_imbalance").inline().handle(move |_| tell.send(()).unwrap()).unwrap();
    assert_eq!(bus.engine().timer.pending(), 0);
    bus.engine().inline.add(place(), Inline::ROUTED, 1);
    clock.advance(PERIOD * 10);
    drop(bus);
    assert_eq!(told.recv_timeout(GUARD), Err(RecvTimeoutError::Disconnected));
}
