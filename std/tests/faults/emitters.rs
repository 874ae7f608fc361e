//! Ten thousand emitters at once, as tasks and as threads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nervebus::{Bus, Event, Lane, ManualClock};

use super::{bounded, end};

const TASKS: u64 = 10_000;
const THREADS: u64 = 64;
const EACH: u64 = 100;

/// What was seen of each emitter, in order; and every number and identity.
#[derive(Default)]
struct Seen {
    of: HashMap<u64, Vec<u64>>,
    seqs: HashSet<u64>,
    ids: HashSet<String>,
}

impl Seen {
    fn is_whole(&self, emitters: u64, each: u64) {
        assert_eq!(self.of.len() as u64, emitters);
        let all: Vec<_> = (0..each).collect();
        assert!(self.of.values().all(|numbers| *numbers == all), "an emitter's events are lost or out of order");
        let events = emitters * each;
        assert_eq!((self.seqs.len() as u64, self.ids.len() as u64), (events, events));
    }
}

/// A bus whose lane notes what it sees, and has room for all of it.
fn bus(workers: usize) -> (Bus, Arc<Mutex<Seen>>) {
    let lane = Lane::new("default").workers(workers).capacity(1 << 15);
    let bus = Bus::builder().clock(&ManualClock::new()).default_lane(lane).build().unwrap();
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let noted = Arc::clone(&seen);
    let note = move |event: &Event<'_>| {
        let (emitter, number) = *event.payload_as::<(u64, u64)>().unwrap();
        let mut seen = noted.lock().unwrap();
        seen.of.entry(emitter).or_default().push(number);
        seen.seqs.insert(event.seq());
        seen.ids.insert(event.id().to_string());
    };
    bus.subscribe("t", note).unwrap();
    (bus, seen)
}

fn ends_whole(bus: &Bus, seen: &Mutex<Seen>, emitters: u64, each: u64) {
    let ledger = end(bus);
    assert_eq!((ledger.emitted, ledger.refused), (emitters * each, 0));
    assert_eq!(ledger.deliveries().handled, emitters * each);
    seen.lock().unwrap().is_whole(emitters, each);
}

#[test]
fn of_ten_thousand_tasks_on_a_few_threads_each_keeps_its_order_and_loses_nothing() {
    bounded(|| {
        for workers in [1, 4] {
            let (bus, seen) = bus(workers);
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
            runtime.block_on(async {
                let emitter = |task: u64| {
                    let bus = bus.clone();
                    async move {
                        for number in 0..2_u64 {
                            bus.event("t", (task, number)).key(task).emit_async().await.unwrap();
                            tokio::task::yield_now().await;
                        }
                    }
                };
                let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(emitter(task))).collect();
                for task in tasks {
                    task.await.unwrap();
                }
            });
            ends_whole(&bus, &seen, TASKS, 2);
        }
    });
}

#[test]
fn of_64_threads_each_keeps_its_order_and_loses_nothing() {
    bounded(|| {
        for workers in [1, 4] {
            let (bus, seen) = bus(workers);
            let start = Barrier::new(THREADS as usize);
            thread::scope(|scope| {
                for emitter in 0..THREADS {
                    let (bus, start) = (&bus, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut last = 0;
                        for number in 0..EACH {
                            let receipt = bus.event("t", (emitter, number)).key(emitter).emit().unwrap();
                            assert!(receipt.seq() > last, "numbers rise");
                            last = receipt.seq();
                        }
                    });
                }
            });
            ends_whole(&bus, &seen, THREADS, EACH);
        }
    });
}
