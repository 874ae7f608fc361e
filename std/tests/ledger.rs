//! The books balance, whatever happens at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use nervebus::{Bus, Lane, Overflow};
use serde::Serialize;

const EMITTERS: usize = 8;
const TOPICS: usize = 16;
const LANES: [&str; 3] = ["red", "green", "blue"];

/// 1,000,000 in release builds; debug builds check the same with fewer.
const EVENTS: usize = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

#[derive(Serialize)]
struct Step {
    emitter: usize,
    topic: usize,
    number: u64,
}

/// What one handler has seen: for every emitter and topic, the number it expects next.
#[derive(Default)]
struct Seen {
    next: Mutex<[[u64; TOPICS]; EMITTERS]>,
    count: AtomicU64,
}

impl Seen {
    /// Checks that the step is the next one of its emitter on its topic: nothing lost, doubled or out of order.
    fn check(&self, step: &Step) {
        let mut next = self.next.lock().unwrap();
        assert_eq!(step.number, next[step.emitter][step.topic], "emitter {} topic {}", step.emitter, step.topic);
        next[step.emitter][step.topic] += 1;
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn eight_emitters_three_lanes_and_a_restless_subscriber_lose_and_double_nothing() {
    let mut builder = Bus::builder();
    for lane in LANES {
        builder = builder.lane(Lane::new(lane).capacity(512).overflow(Overflow::Block));
    }
    let bus = builder.build().unwrap();
    let seen: Vec<Arc<Seen>> = LANES.iter().map(|_| Arc::default()).collect();
    for (lane, seen) in LANES.iter().zip(&seen) {
        let seen = Arc::clone(seen);
        bus.on("load.*").lane(*lane).handle(move |event| seen.check(event.payload_as::<Step>().unwrap())).unwrap();
    }

    let done = Arc::new(AtomicBool::new(false));
    let restless = thread::spawn({
        let (bus, done) = (bus.clone(), Arc::clone(&done));
        move || {
            let mut changes = 0;
            while !done.load(Ordering::Relaxed) {
                let topic = format!("load.t{}", changes % TOPICS);
                let pattern = if changes % 3 == 0 { "load.*" } else { &topic };
                let id = bus.on(pattern).lane(LANES[changes % 3]).handle(|_| ()).unwrap();
                let inline = bus.on(pattern).inline().handle(|_| ()).unwrap();
                assert!(bus.unsubscribe(id) && bus.unsubscribe(inline));
                assert!(bus.ledger().balanced(), "while events are moving");
                changes += 1;
            }
            changes
        }
    });

    let start = Arc::new(Barrier::new(EMITTERS));
    let emitters: Vec<_> = (0..EMITTERS)
        .map(|emitter| {
            let (bus, start) = (bus.clone(), Arc::clone(&start));
            thread::spawn(move || {
                let names: Vec<String> = (0..TOPICS).map(|topic| format!("load.t{topic}")).collect();
                start.wait();
                for event in 0..EVENTS / EMITTERS {
                    let topic = event % TOPICS;
                    let step = Step { emitter, topic, number: (event / TOPICS) as u64 };
                    let receipt = bus.emit(&names[topic], step).unwrap();
                    assert!(receipt.admitted() >= 3 && receipt.refused() == 0 && receipt.dropped() == 0);
                }
            })
        })
        .collect();
    emitters.into_iter().for_each(|thread| thread.join().unwrap());
    done.store(true, Ordering::Relaxed);
    assert!(restless.join().unwrap() > 0);

    let report = bus.shutdown(Duration::from_secs(60));
    assert!(report.drained, "{report}");
    assert!(report.ledger.balanced(), "{}", report.ledger);
    let total = (EVENTS / EMITTERS * EMITTERS) as u64;
    assert_eq!(report.ledger.emitted, total);
    assert_eq!(report.ledger.routed, total);
    for (lane, seen) in LANES.iter().zip(&seen) {
        assert_eq!(seen.count.load(Ordering::Relaxed), total, "lane {lane}");
    }
    let deliveries = report.ledger.deliveries();
    assert_eq!((deliveries.failed, deliveries.dropped, deliveries.pending), (0, 0, 0));
}
