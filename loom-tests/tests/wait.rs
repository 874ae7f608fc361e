//! Models of the doorbell: a consumer that sleeps is woken by whatever comes after it looked for the last time.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use nervebus_core::ring::{BoxedRing, PopError};
use nervebus_core::wait::Doorbell;
use nervebus_loom_tests::explore;

/// A ring with a bell and a bed: sleeping is a condition variable, so that a lost wake-up is a deadlock loom reports.
struct Lane {
    ring: BoxedRing<usize>,
    bell: Doorbell,
    woken: Mutex<bool>,
    bed: Condvar,
}

impl Lane {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            ring: BoxedRing::with_capacity(capacity).unwrap(),
            bell: Doorbell::new(),
            woken: Mutex::new(false),
            bed: Condvar::new(),
        })
    }

    fn wake(&self) {
        if self.bell.ring() {
            *self.woken.lock().unwrap() = true;
            self.bed.notify_one();
        }
    }

    /// Sleeps unless `busy` says that there is something to do.
    fn sleep_unless(&self, busy: impl FnOnce() -> bool) {
        self.bell.arm();
        if busy() {
            self.bell.disarm();
            loom::thread::yield_now();
            return;
        }
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.bed.wait(woken).unwrap();
        }
        *woken = false;
    }

    /// Pops until the ring is closed and drained, or that many have come.
    fn consume(&self, enough: usize) -> usize {
        let mut seen = 0;
        while seen < enough {
            match self.ring.pop() {
                Ok(_) => seen += 1,
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => self.sleep_unless(|| self.ring.has_arrivals()),
            }
        }
        seen
    }
}

/// Would catch: a push or a close between the consumer's last look and its sleep that nobody wakes it for (deadlock).
#[test]
fn a_sleeping_consumer_is_woken_by_a_push_and_by_the_close() {
    explore("wait: producer pushes and closes, consumer sleeps", Some(3), || {
        let lane = Lane::new(2);
        let producer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                lane.ring.try_push(1).unwrap();
                lane.wake();
                lane.ring.close();
                lane.wake();
            })
        };
        assert_eq!(lane.consume(usize::MAX), 1);
        producer.join().unwrap();
    });
}

/// Would catch: the bell answering only the first of two producers, with the second one's event left behind.
#[test]
fn two_producers_wake_one_consumer() {
    explore("wait: 2 producers, consumer sleeps", Some(2), || {
        let lane = Lane::new(2);
        let producers: Vec<_> = (0..2)
            .map(|n| {
                let lane = lane.clone();
                loom::thread::spawn(move || {
                    lane.ring.try_push(n).unwrap();
                    lane.wake();
                })
            })
            .collect();
        assert_eq!(lane.consume(2), 2);
        producers.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Would catch: a producer that sleeps at a full ring and is not woken when a slot comes free.
#[test]
fn a_sleeping_producer_is_woken_by_a_pop() {
    explore("wait: producer sleeps at a full ring", Some(3), || {
        let lane = Lane::new(1);
        lane.ring.try_push(0).unwrap();
        let consumer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                assert_eq!(lane.ring.pop(), Ok(0));
                lane.wake();
            })
        };
        while lane.ring.try_push(1).is_err() {
            lane.sleep_unless(|| lane.ring.has_room());
        }
        consumer.join().unwrap();
        assert_eq!(lane.ring.pop(), Ok(1));
    });
}
