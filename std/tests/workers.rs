//! Lanes with several workers: order by key, and an account that adds up over all rings.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Lane, Overflow};

const GRACE: Duration = Duration::from_secs(60);

fn bus(workers: usize, capacity: usize) -> Bus {
    Bus::builder().lane(Lane::new("many").workers(workers).capacity(capacity)).build().unwrap()
}

#[test]
fn events_of_one_key_stay_in_order_whoever_handles_them() {
    const KEYS: u64 = 50;
    const EACH: u64 = 400;
    let bus = bus(4, 64);
    let seen: Arc<Mutex<HashMap<u64, Vec<u64>>>> = Arc::default();
    let into = Arc::clone(&seen);
    bus.on("step")
        .lane("many")
        .handle(move |event| {
            let (key, step) = *event.payload_as::<(u64, u64)>().unwrap();
            into.lock().unwrap().entry(key).or_default().push(step);
        })
        .unwrap();
    // Two emitters share the keys between them, so that each key has one order of emits.
    let emitters: Vec<_> = (0..2)
        .map(|half| {
            let bus = bus.clone();
            thread::spawn(move || {
                let mut steps = bus.publisher("step").unwrap();
                for step in 0..EACH {
                    for key in (0..KEYS).filter(|key| key % 2 == half) {
                        if step % 2 == 0 {
                            steps.emit_keyed(key, (key, step)).unwrap();
                        } else {
                            bus.event("step", (key, step)).key(key).emit().unwrap();
                        }
                    }
                }
            })
        })
        .collect();
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    let report = bus.shutdown(GRACE);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len() as u64, KEYS);
    assert!(seen.values().all(|steps| steps.iter().copied().eq(0..EACH)), "a key's events were out of order");
}

#[test]
fn a_busy_worker_holds_up_its_own_keys_only() {
    let bus = bus(2, 64);
    let (release, gate): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (done, handled) = mpsc::channel();
    let gate = Mutex::new(gate);
    bus.on("work")
        .lane("many")
        .handle(move |event| {
            let number = *event.payload_as::<u64>().unwrap();
            if number == 0 {
                gate.lock().unwrap().recv().unwrap();
            }
            done.send(number).unwrap();
        })
        .unwrap();
    // Without a key, events go to the two workers in turn: every second one waits behind the first.
    let admitted: usize = (0..9_u64).map(|number| bus.emit("work", number).unwrap().admitted()).sum();
    assert_eq!(admitted, 9);
    let mut passed: Vec<u64> = (0..4).map(|_| handled.recv_timeout(GRACE).unwrap()).collect();
    passed.sort_unstable();
    assert_eq!(passed, [1, 3, 5, 7], "the other worker went on");
    release.send(()).unwrap();
    let report = bus.shutdown(GRACE);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!(report.handled, 9);
}

#[test]
fn as_many_handlers_run_at_once_as_the_lane_has_workers() {
    const WORKERS: usize = 3;
    let bus = bus(WORKERS, 16);
    // It opens only when all three stand before it.
    let together = Arc::new(Barrier::new(WORKERS));
    bus.on("meet").lane("many").handle(move |_| _ = together.wait()).unwrap();
    (0..WORKERS).for_each(|_| _ = bus.emit("meet", ()).unwrap());
    assert!(bus.shutdown(GRACE).drained);
}

#[test]
fn what_is_said_of_a_lane_is_the_sum_over_its_workers() {
    let bus =
        Bus::builder().lane(Lane::new("many").workers(3).capacity(10).overflow(Overflow::DropNewest)).build().unwrap();
    let (release, gate): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (began, begun) = mpsc::channel();
    let gate = Mutex::new(gate);
    let handler = bus
        .on("held")
        .lane("many")
        .handle(move |_| {
            began.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        })
        .unwrap();
    (0..3).for_each(|_| _ = bus.emit("held", ()).unwrap());
    (0..3).for_each(|_| begun.recv_timeout(GRACE).unwrap());
    // A third of ten, rounded up, for each worker: twelve wait, and three of fifteen are dropped.
    let dropped: usize = (0..15).map(|_| bus.emit("held", ()).unwrap().dropped()).sum();
    let stats = bus.stats();
    let lane = stats.lanes.iter().find(|lane| lane.name == "many").unwrap();
    assert_eq!((lane.workers, lane.capacity, lane.len, lane.free_slots), (3, 12, 12, 0));
    assert_eq!((dropped, lane.dropped), (3, 3));
    (0..15).for_each(|_| release.send(()).unwrap());
    let report = bus.shutdown(GRACE);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    let account = report.ledger.lanes.iter().find(|lane| lane.name == "many").unwrap().deliveries;
    assert_eq!((account.routed, account.handled, account.dropped), (18, 15, 3));
    let calls = report.ledger.subscriptions.iter().find(|of| of.subscription() == handler).unwrap();
    assert_eq!(calls.handled, 15, "workers that count for one handler at once lose no call");
}

#[test]
fn each_worker_has_a_name_of_its_own() {
    let bus = bus(2, 16);
    let (tell, names) = mpsc::channel();
    bus.on("who")
        .lane("many")
        .handle(move |_| tell.send(thread::current().name().map(str::to_owned)).unwrap())
        .unwrap();
    (0..2).for_each(|_| _ = bus.emit("who", ()).unwrap());
    let mut names: Vec<_> = (0..2).map(|_| names.recv_timeout(GRACE).unwrap().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["nervebus-many-1", "nervebus-many-2"]);
}

#[test]
fn the_number_of_workers_has_a_range() {
    for workers in [0, 65] {
        let error = Bus::builder().lane(Lane::new("many").workers(workers)).build().unwrap_err();
        assert_eq!(error.to_string(), format!(r#"lane "many".workers is {workers}, outside its range 1..=64"#));
    }
}

#[test]
fn an_emit_that_is_awaited_waits_for_the_worker_of_its_key() {
    let bus = bus(2, 2);
    let (release, gate): (Sender<()>, Receiver<()>) = mpsc::channel();
    let (began, begun) = mpsc::channel();
    let gate = Mutex::new(gate);
    bus.on("held")
        .lane("many")
        .handle(move |_| {
            began.send(()).unwrap();
            let _ = gate.lock().unwrap().recv();
        })
        .unwrap();
    (0..2).for_each(|_| _ = bus.emit("held", ()).unwrap());
    (0..2).for_each(|_| begun.recv_timeout(GRACE).unwrap());
    while bus.try_emit("held", ()).is_ok() {}
    // Both rings are full, for every key.
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut futures: Vec<_> = (0..8_u64).map(|key| Box::pin(bus.event("held", ()).key(key).emit_async())).collect();
    assert!(futures.iter_mut().all(|future| future.as_mut().poll(&mut context).is_pending()));
    drop(release);
    while !futures.is_empty() {
        futures.retain_mut(|future| future.as_mut().poll(&mut context).is_pending());
        thread::yield_now();
    }
    let report = bus.shutdown(GRACE);
    assert!(report.drained && report.ledger.balanced(), "{report}");
}
