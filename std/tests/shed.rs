//! Load shedding: which events a lane lets go before it is full, and what it says of that.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Builder, Bus, Class, Event, Lane, ManualClock, Overflow, Receipt, Shed, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A lane of ten that sheds from eight waiting events on, until no more than six wait: normal ones from nine on, high
/// ones from ten on.
fn ten(overflow: Overflow) -> Lane {
    Lane::new("ten").capacity(10).overflow(overflow).shed(Shed::new())
}

/// A bus whose lane `ten` is held up by an event of `t` until told otherwise.
struct Rig {
    /// Before the bus: a test that fails lets the worker go, and then waits for it.
    go: Sender<()>,
    bus: Bus,
    /// The records of shedding.
    told: Receiver<Value>,
    handled: Arc<AtomicU64>,
}

impl Rig {
    fn new(lane: Lane, builder: Builder) -> Self {
        let bus = builder.lane(lane).build().unwrap();
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
        let (gone, handled): (Mutex<Receiver<()>>, _) = (Mutex::new(gone), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&handled);
        let handler = move |_: &Event<'_>| {
            let _ = begin.send(());
            let _ = gone.lock().unwrap().recv();
            count.fetch_add(1, Ordering::Relaxed);
        };
        bus.on("t").lane("ten").handle(handler).unwrap();
        let (tell, told) = mpsc::channel();
        let tell = move |event: &Event<'_>| tell.send(event.payload().clone()).unwrap();
        bus.on("system.load_shedding").inline().handle(tell).unwrap();
        bus.emit("t", ()).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        Self { go, bus, told, handled }
    }

    fn emit(&self, class: Class) -> Receipt {
        self.bus.event("t", ()).class(class).emit().unwrap()
    }

    /// Whether an event of this class was dropped rather than admitted.
    fn goes(&self, class: Class) -> bool {
        let receipt = self.emit(class);
        assert_eq!(receipt.admitted() + receipt.dropped(), 1);
        receipt.dropped() == 1
    }

    fn fill(&self, events: usize) {
        (0..events).for_each(|_| assert_eq!(self.emit(Class::Low).admitted(), 1));
    }

    /// What the lane let go: low, normal and high ones, and all.
    fn shed(&self) -> ([u64; 3], u64) {
        let stats = self.bus.stats();
        let lane = stats.lanes.iter().find(|lane| lane.name == "ten").unwrap();
        let shed = lane.shed.as_ref().unwrap();
        ([shed.low, shed.normal, shed.high], lane.dropped)
    }
}

#[test]
fn the_fuller_the_lane_the_more_important_the_events_that_go() {
    let rig = Rig::new(ten(Overflow::Reject), Bus::builder());
    rig.fill(8);
    assert!(rig.told.try_recv().is_err(), "eight came in before it was at its mark");
    assert!(rig.goes(Class::Low) && !rig.goes(Class::Normal));
    assert!(rig.goes(Class::Low) && rig.goes(Class::Normal) && !rig.goes(Class::High));
    assert!(rig.goes(Class::Low) && rig.goes(Class::Normal) && rig.goes(Class::High));
    let refused = rig.bus.event("t", "critical").class(Class::Critical).emit().unwrap_err();
    assert!(refused.is_full(), "the lane is full, and its policy decides");
    assert_eq!(rig.bus.emit("t", ()).unwrap().dropped(), 1, "an event is normal unless its emitter says otherwise");
    let began = json!({"lane": "ten", "state": "began", "pending": 8, "capacity": 10});
    assert!(rig.told.try_iter().eq([began]), "told once");
    assert_eq!(rig.shed(), ([3, 3, 1], 7));
    drop(rig.go);
    let report = rig.bus.shutdown(GUARD);
    let dropped = report.ledger.deliveries().dropped;
    assert_eq!((rig.handled.load(Ordering::Relaxed), dropped, report.ledger.refused), (11, 7, 1));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn the_worker_tells_of_the_end_when_it_has_drained_the_lane_in_every_episode() {
    let rig = Rig::new(ten(Overflow::Reject), Bus::builder());
    for episode in 0..3 {
        rig.fill(8);
        assert!(rig.goes(Class::Low));
        assert_eq!(rig.told.recv_timeout(GUARD).unwrap()["state"], "began");
        rig.go.send(()).unwrap();
        // Seven wait, and it still sheds; six wait, and it does not.
        assert!(rig.told.recv_timeout(Duration::ZERO).is_err());
        rig.go.send(()).unwrap();
        let ended = rig.told.recv_timeout(GUARD).unwrap();
        assert_eq!(ended, json!({"lane": "ten", "state": "ended", "pending": 6, "capacity": 10}));
        assert!(!rig.goes(Class::Low));
        (0..7).for_each(|_| rig.go.send(()).unwrap());
        let since = Instant::now();
        while rig.handled.load(Ordering::Relaxed) < (episode + 1) * 9 || rig.bus.stats().pending != 1 {
            assert!(since.elapsed() < GUARD);
            thread::yield_now();
        }
    }
    assert_eq!(rig.shed(), ([3, 0, 0], 3));
    drop(rig.go);
    let report = rig.bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    assert!(rig.told.try_recv().is_err());
}

#[test]
fn what_one_lane_lets_go_reaches_the_other_lanes_and_the_inline_handlers() {
    let rig = Rig::new(ten(Overflow::Block), Bus::builder());
    rig.fill(8);
    let (tell, told) = mpsc::channel();
    for lane in ["inline", "default"] {
        let tell = tell.clone();
        let subscribe = rig.bus.on("t");
        let subscribe = if lane == "inline" { subscribe.inline() } else { subscribe };
        subscribe.handle(move |event| tell.send((lane, event.class())).unwrap()).unwrap();
    }
    let receipt = rig.emit(Class::Low);
    assert_eq!((receipt.admitted(), receipt.dropped(), receipt.inline().handled), (1, 1, 1));
    let mut seen: Vec<_> = (0..2).map(|_| told.recv_timeout(GUARD).unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("default", Class::Low), ("inline", Class::Low)]);
    let report = rig.bus.event("t", ()).class(Class::Low).emit_and_wait().unwrap();
    assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (2, 1, 0));
    drop(rig.go);
    let report = rig.bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn nobody_waits_for_a_full_lane_that_sheds_but_the_emitter_of_a_critical_event() {
    let (clock, minute) = (ManualClock::new(), Duration::from_secs(60));
    let rig = Rig::new(ten(Overflow::BlockFor(minute)), Bus::builder().clock(&clock));
    rig.fill(8);
    rig.bus.on("t").handle(|_| ()).unwrap();
    assert_eq!(rig.emit(Class::Normal).admitted(), 2);
    assert_eq!(rig.emit(Class::High).admitted(), 2);
    for class in [Class::Low, Class::Normal, Class::High] {
        let receipt = rig.emit(class);
        assert_eq!((receipt.admitted(), receipt.dropped()), (1, 1), "{class}");
    }
    let bus = rig.bus.clone();
    let critical = thread::spawn(move || bus.event("t", ()).class(Class::Critical).emit());
    let since = Instant::now();
    while clock.waiting() == 0 {
        assert!(since.elapsed() < GUARD && !critical.is_finished());
        thread::yield_now();
    }
    clock.advance(minute);
    assert!(critical.join().unwrap().unwrap_err().is_full(), "it waited as the policy says");
    // More than there are events; the worker goes on at once.
    (0..30).for_each(|_| rig.go.send(()).unwrap());
    let receipt = rig.emit(Class::Critical);
    assert_eq!((receipt.admitted(), receipt.dropped()), (2, 0));
    let report = rig.bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn the_records_of_the_bus_are_never_shed() {
    let rig = Rig::new(ten(Overflow::Reject), Bus::builder());
    let (tell, told) = mpsc::channel();
    rig.bus.on("system.handler_error").lane("ten").handle(move |_| tell.send(()).unwrap()).unwrap();
    rig.bus.on("bad").inline().handle(|_| Err("no")).unwrap();
    rig.fill(8);
    assert!(rig.goes(Class::Low));
    (0..20).for_each(|_| assert_eq!(rig.bus.emit("bad", ()).unwrap().inline().failed, 1));
    drop(rig.go);
    let report = rig.bus.shutdown(GUARD);
    assert_eq!((told.try_iter().count(), report.ledger.system_lost), (20, 0));
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn a_lane_that_does_not_shed_takes_all_classes_alike() {
    let rig = Rig::new(Lane::new("ten").capacity(10).overflow(Overflow::Reject), Bus::builder());
    rig.fill(10);
    for class in Class::ALL {
        assert!(rig.bus.event("t", ()).class(class).emit().unwrap_err().is_full());
    }
    assert!(rig.bus.stats().lanes.iter().all(|lane| lane.shed.is_none()));
    assert!(rig.told.try_recv().is_err());
    drop(rig.go);
    let report = rig.bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
}

#[test]
fn emitters_that_flood_a_lane_lose_no_critical_event_and_every_other_is_accounted_for() {
    const THREADS: usize = 4;
    const EACH: u64 = 3_000;
    let lane = Lane::new("ten").capacity(64).shed(Shed::new().high_water(50).low_water(25));
    let bus = Bus::builder().lane(lane).build().unwrap();
    let seen: Arc<[AtomicU64; 4]> = Arc::default();
    let count = Arc::clone(&seen);
    bus.on("t")
        .lane("ten")
        .handle(move |event| {
            count[event.class() as usize].fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    let turns: Arc<[AtomicU64; 2]> = Arc::default();
    let count = Arc::clone(&turns);
    let note = move |event: &Event<'_>| {
        count[usize::from(event["state"] == "ended")].fetch_add(1, Ordering::Relaxed);
    };
    bus.on("system.load_shedding").inline().handle(note).unwrap();
    let start = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                let dropped =
                    |n| bus.event("t", n).class(Class::ALL[(n % 4) as usize]).emit().unwrap().dropped() as u64;
                (0..EACH).map(dropped).sum::<u64>()
            })
        })
        .collect();
    let dropped: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{}", report.ledger);
    let stats = bus.stats();
    let lane = stats.lanes.iter().find(|lane| lane.name == "ten").unwrap();
    let shed = lane.shed.as_ref().unwrap();
    assert_eq!((shed.low + shed.normal + shed.high, lane.dropped), (dropped, dropped));
    let each = THREADS as u64 * EACH / 4;
    let seen = [0, 1, 2, 3].map(|class| seen[class].load(Ordering::Relaxed));
    assert_eq!(seen, [each - shed.low, each - shed.normal, each - shed.high, each]);
    let [began, ended] = [&turns[0], &turns[1]].map(|turns| turns.load(Ordering::Relaxed));
    assert_eq!((began, shed.shedding), (ended, false), "each episode that began has ended");
}

#[test]
fn marks_outside_their_ranges_are_refused_by_lane_name_value_and_range() {
    let refusal = |shed| Bus::builder().lane(Lane::new("io").shed(shed)).build().unwrap_err().to_string();
    let high = "outside its range 1..=100";
    assert_eq!(refusal(Shed::new().high_water(0)), format!(r#"lane "io".shed.high_water is 0, {high}"#));
    assert_eq!(refusal(Shed::new().high_water(101)), format!(r#"lane "io".shed.high_water is 101, {high}"#));
    let low = Shed::new().high_water(50).low_water(50);
    assert_eq!(refusal(low.clone()), r#"lane "io".shed.low_water is 50, outside its range 0..=49"#);
    assert!(Bus::builder().default_lane(Lane::new("d").shed(low.low_water(49))).build().is_ok());
}
