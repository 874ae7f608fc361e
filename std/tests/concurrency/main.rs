//! Lanes that keep several events in flight: as many as they may, in order where there is one, and none of them lost.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "../support/drops.rs"]
mod drops;
mod faults;
#[path = "../support/gate.rs"]
mod gate;
mod shutdown;
#[path = "../support/until.rs"]
mod until;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use nervebus::{BuildError, Builder, Bus, EmitError, Lane, Overflow, OwnedEvent, ShutdownReport, WaitStrategy};

use gate::{Gate, give_way};
use until::{GUARD, until};

/// A bus whose lane `many` keeps so many in flight.
fn builder(most: usize) -> Builder {
    Bus::builder().lane(Lane::new("many").concurrency(most))
}

fn bus(most: usize) -> Bus {
    builder(most).build().unwrap()
}

/// Ends the bus with nothing left, and holds its books against each other.
fn end(bus: &Bus) -> ShutdownReport {
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}\n{}", report.ledger);
    assert_eq!(report.ledger.deliveries().pending, 0, "{}", report.ledger);
    report
}

/// How many handlers are inside, and the most that ever were.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Inside {
    fn enter(self: &Arc<Self>) -> Stay {
        let now = self.now.fetch_add(1, Ordering::AcqRel) + 1;
        self.most.fetch_max(now, Ordering::AcqRel);
        Stay(Arc::clone(self))
    }

    fn now(&self) -> usize {
        self.now.load(Ordering::Acquire)
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::Acquire)
    }
}

/// Ends when it is dropped.
struct Stay(Arc<Inside>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Subscribes to `t` on the lane `many` a handler that stays inside until the gate is opened.
fn stay(bus: &Bus, gate: &Gate) -> Arc<Inside> {
    let inside = Arc::default();
    let (counts, gate) = (Arc::<Inside>::clone(&inside), gate.clone());
    let handler = move |_| {
        let (stay, gate) = (counts.enter(), gate.clone());
        async move {
            gate.pass().await;
            drop(stay);
        }
    };
    bus.on("t").name("stays").lane("many").handle_async(handler).unwrap();
    inside
}

/// Lets other threads do what they are not supposed to do.
fn give_others_a_chance() {
    (0..10_000).for_each(|_| thread::yield_now());
}

#[test]
fn as_many_are_in_flight_as_may_be_and_never_more() {
    let (bus, gate) = (bus(4), Gate::default());
    let inside = stay(&bus, &gate);
    for number in 0..10 {
        bus.emit("t", number).unwrap();
    }
    until(|| inside.now() == 4);
    give_others_a_chance();
    assert_eq!(inside.most(), 4);
    gate.open();
    assert_eq!(end(&bus).handled, 10);
    assert_eq!(inside.most(), 4);
}

#[test]
fn each_worker_keeps_as_many_in_flight() {
    let lane = Lane::new("many").concurrency(3).workers(2);
    let (bus, gate) = (Bus::builder().lane(lane).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    for number in 0..20 {
        bus.emit("t", number).unwrap();
    }
    until(|| inside.now() == 6);
    give_others_a_chance();
    assert_eq!(inside.most(), 6);
    gate.open();
    assert_eq!(end(&bus).handled, 20);
}

#[test]
fn without_a_setting_it_is_one_at_a_time_and_in_order() {
    let (bus, log) = (Bus::builder().lane(Lane::new("many")).build().unwrap(), Arc::<Mutex<Vec<u64>>>::default());
    let inside = Arc::<Inside>::default();
    let (into, counts) = (Arc::clone(&log), Arc::clone(&inside));
    bus.on("t")
        .lane("many")
        .handle_async(move |event: OwnedEvent| {
            let (into, stay) = (Arc::clone(&into), counts.enter());
            async move {
                give_way().await;
                into.lock().unwrap().push(event.seq());
                drop(stay);
            }
        })
        .unwrap();
    for number in 0..100 {
        bus.emit("t", number).unwrap();
    }
    end(&bus);
    assert_eq!((inside.most(), log.lock().unwrap().as_slice()), (1, &*(1..=100).collect::<Vec<u64>>()));
}

#[test]
fn events_of_one_key_stay_in_order_and_never_overlap() {
    const KEYS: u64 = 5;
    const EACH: u64 = 200;
    let (bus, log) = (bus(16), Arc::<Mutex<HashMap<u64, Vec<u64>>>>::default());
    let inside: Arc<Vec<Arc<Inside>>> = Arc::new((0..KEYS).map(|_| Arc::default()).collect());
    let all = Arc::<Inside>::default();
    let (into, counts, together) = (Arc::clone(&log), Arc::clone(&inside), Arc::clone(&all));
    bus.on("t")
        .lane("many")
        .handle_async(move |event: OwnedEvent| {
            let (key, step) = *event.payload_as::<(u64, u64)>().unwrap();
            let (into, stays) = (Arc::clone(&into), (counts[key as usize].enter(), together.enter()));
            async move {
                // Later ones are quicker, as far as they may be.
                for _ in 0..(7 * key + 13 * step) % 5 {
                    give_way().await;
                }
                into.lock().unwrap().entry(key).or_default().push(step);
                drop(stays);
            }
        })
        .unwrap();
    // Some have no async handler.
    let into = Arc::clone(&log);
    bus.on("plain")
        .lane("many")
        .handle(move |event| {
            let (key, step) = *event.payload_as::<(u64, u64)>().unwrap();
            into.lock().unwrap().entry(key).or_default().push(step);
        })
        .unwrap();
    for step in 0..EACH {
        for key in 0..KEYS {
            let topic = if (step + key) % 3 == 0 { "plain" } else { "t" };
            bus.event(topic, (key, step)).key(key).emit().unwrap();
        }
    }
    assert_eq!(end(&bus).handled, KEYS * EACH);
    let log = log.lock().unwrap();
    assert!(log.values().all(|steps| steps.iter().copied().eq(0..EACH)), "a key's events were out of order");
    assert!(inside.iter().all(|inside| inside.most() == 1), "a key's events overlapped");
    assert!(all.most() > 1, "those of others did not");
}

#[test]
fn what_waits_for_its_key_holds_up_no_other_and_has_a_place() {
    let (bus, gate, (sender, begun)) = (bus(3), Gate::default(), mpsc::channel());
    let pass = gate.clone();
    bus.on("t")
        .lane("many")
        .handle_async(move |event: OwnedEvent| {
            sender.send(event.payload_as::<&str>().copied().unwrap()).unwrap();
            let pass = pass.clone();
            async move { pass.pass().await }
        })
        .unwrap();
    for (key, name) in [(1, "first"), (1, "waits"), (2, "other"), (3, "no room")] {
        bus.event("t", name).key(key).emit().unwrap();
    }
    assert_eq!([(); 2].map(|()| begun.recv_timeout(GUARD).unwrap()), ["first", "other"]);
    give_others_a_chance();
    assert!(begun.try_recv().is_err());
    gate.open();
    end(&bus);
    assert_eq!(begun.try_iter().collect::<Vec<_>>(), ["waits", "no room"]);
}

#[test]
fn handlers_of_one_event_run_by_priority_while_events_overlap() {
    let (bus, log, gate) = (bus(8), Arc::<Mutex<Vec<(u64, &str)>>>::default(), Gate::default());
    for (name, priority) in [("first", 200), ("third", 50)] {
        let log = Arc::clone(&log);
        let handler = move |event: &nervebus::Event<'_>| log.lock().unwrap().push((event.seq(), name));
        bus.on("t").lane("many").priority(priority).handle(handler).unwrap();
    }
    for (name, priority) in [("second", 100), ("fourth", 10)] {
        let (log, gate) = (Arc::clone(&log), gate.clone());
        bus.on("t")
            .lane("many")
            .priority(priority)
            .handle_async(move |event: OwnedEvent| {
                let (log, gate) = (Arc::clone(&log), gate.clone());
                async move {
                    gate.pass().await;
                    log.lock().unwrap().push((event.seq(), name));
                    give_way().await;
                }
            })
            .unwrap();
    }
    for number in 0..8 {
        bus.emit("t", number).unwrap();
    }
    until(|| log.lock().unwrap().len() == 8);
    gate.open();
    assert_eq!(end(&bus).handled, 32);
    let log = log.lock().unwrap();
    assert!(log[..8].iter().map(|(seq, name)| (*seq, *name)).eq((1..=8).map(|seq| (seq, "first"))), "all began");
    for seq in 1..=8 {
        let names: Vec<_> = log.iter().filter(|(of, _)| *of == seq).map(|(_, name)| *name).collect();
        assert_eq!(names, ["first", "second", "third", "fourth"]);
    }
}

#[test]
fn a_full_flight_leaves_the_ring_alone_until_it_is_full_too() {
    let lane = Lane::new("many").concurrency(2).capacity(2).overflow(Overflow::Reject);
    let (bus, gate) = (Bus::builder().lane(lane).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    for number in 0..2 {
        bus.emit("t", number).unwrap();
        until(|| inside.now() == number + 1);
    }
    for number in 0..2 {
        bus.emit("t", number).unwrap();
    }
    give_others_a_chance();
    assert!(matches!(bus.emit("t", 9), Err(EmitError::Full { payload: 9, .. })));
    assert!(bus.ledger().balanced());
    gate.open();
    assert_eq!(end(&bus).handled, 4);
}

#[test]
fn what_is_emitted_after_an_await_has_the_cause_and_the_correlation_of_its_own_event() {
    const EVENTS: u64 = 6;
    let (bus, gate) = (bus(8), Gate::default());
    let (weak, pass, (sender, effects)) = (bus.downgrade(), gate.clone(), mpsc::channel());
    bus.on("cause")
        .lane("many")
        .handle_async(move |_| {
            let (bus, pass) = (weak.upgrade().unwrap(), pass.clone());
            async move {
                pass.pass().await;
                give_way().await;
                bus.emit("effect", ()).map(drop).map_err(|error| error.to_string())
            }
        })
        .unwrap();
    bus.on("effect").inline().handle_owned(move |event| sender.send(event)).unwrap();
    for number in 1..=EVENTS {
        let event = bus.event("cause", ());
        // Every other one has nothing to hand down, and must not have what another has.
        let event = if number % 2 == 0 { event } else { event.correlation_id(format!("request {number}")) };
        assert_eq!(event.emit().unwrap().seq(), number);
    }
    gate.open();
    let effects = [(); EVENTS as usize].map(|()| effects.recv_timeout(GUARD).unwrap());
    for effect in &effects {
        let cause = effect.causation().unwrap();
        let expected = (cause % 2 != 0).then(|| format!("request {cause}"));
        assert_eq!(effect.correlation_id(), expected.as_deref());
    }
    let causes: std::collections::BTreeSet<_> = effects.iter().map(OwnedEvent::causation).collect();
    assert_eq!(causes.len() as u64, EVENTS);
    end(&bus);
}

#[test]
fn emitters_that_wait_for_their_events_wait_together() {
    let (bus, gate) = (bus(3), Gate::default());
    let inside = stay(&bus, &gate);
    let asking: Vec<_> = (0..3)
        .map(|number| {
            let bus = bus.clone();
            thread::spawn(move || bus.emit_and_wait("t", number).unwrap())
        })
        .collect();
    until(|| inside.now() == 3);
    assert!(asking.iter().all(|asking| !asking.is_finished()));
    gate.open();
    assert!(asking.into_iter().all(|asking| asking.join().unwrap().all_handled()));
    end(&bus);
}

#[test]
fn a_handler_that_is_unsubscribed_in_flight_ends_what_it_began_and_gets_nothing_more() {
    let (bus, gate) = (bus(2), Gate::default());
    let inside = stay(&bus, &gate);
    let behind = bus.on("t").lane("many").priority(1).handle_async(|_| async {}).unwrap();
    let first = bus.ledger().subscriptions.iter().find(|account| account.handler == "stays").unwrap().subscription();
    for number in 0..3 {
        bus.emit("t", number).unwrap();
    }
    until(|| inside.now() == 2);
    assert!(bus.unsubscribe(first) && bus.unsubscribe(behind));
    gate.open();
    let report = end(&bus);
    assert_eq!((report.handled, report.ledger.deliveries().cancelled), (2, 4));
}

#[test]
fn no_wake_up_is_lost_between_threads() {
    const EVENTS: u64 = 4_000;
    for strategy in [WaitStrategy::Park, WaitStrategy::SpinThenPark, WaitStrategy::Spin] {
        let lane = Lane::new("many").concurrency(4).capacity(8).wait(strategy);
        let bus = Bus::builder().lane(lane).build().unwrap();
        let wakers: Vec<mpsc::Sender<(Arc<AtomicBool>, Waker)>> = (0..2)
            .map(|_| {
                let (sender, calls) = mpsc::channel::<(Arc<AtomicBool>, Waker)>();
                thread::spawn(move || {
                    for (ready, waker) in calls {
                        ready.store(true, Ordering::Release);
                        waker.wake();
                    }
                });
                sender
            })
            .collect();
        bus.on("t")
            .lane("many")
            .handle_async(move |event: OwnedEvent| {
                let (ready, by) = (Arc::<AtomicBool>::default(), wakers[event.seq() as usize % 2].clone());
                let mut asked = false;
                poll_fn(move |context| {
                    if ready.load(Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    if !std::mem::replace(&mut asked, true) {
                        by.send((Arc::clone(&ready), context.waker().clone())).unwrap();
                    }
                    Poll::Pending
                })
            })
            .unwrap();
        for number in 0..EVENTS {
            bus.emit("t", number).unwrap();
        }
        assert_eq!(end(&bus).handled, EVENTS);
    }
}

#[test]
fn a_lane_keeps_one_to_65_536_in_flight() {
    for (most, fits) in [(0, false), (1, true), (65_536, true), (65_537, false)] {
        match builder(most).build() {
            Ok(bus) => assert!(fits && bus.shutdown(Duration::from_secs(1)).drained),
            Err(BuildError::OutOfRange { field, value, min: 1, max: 65_536 }) => {
                assert_eq!((field.as_str(), value, fits), (r#"lane "many".concurrency"#, most as u64, false));
            }
            Err(error) => panic!("{error}"),
        }
    }
}
