//! Models of the doorbell: a consumer that sleeps is woken by whatever comes after it looked for the last time.

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use nervebus_core::ring::{BoxedRing, PopError};
use nervebus_core::wait::{Doorbell, Wait, Waiter};
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

/// The bed alone, as a way to wait.
#[derive(Default)]
struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wait for Bed {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }

    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// A ring and a waiter beside it.
type Beside = (BoxedRing<usize>, Waiter<Bed>);

fn beside(capacity: usize) -> Arc<Beside> {
    Arc::new((BoxedRing::with_capacity(capacity).unwrap(), Waiter::new(Bed::default())))
}

/// Waits for `ready`, and lets others run when the waiter did not sleep.
fn wait_unless(waiter: &Waiter<Bed>, ready: impl FnOnce() -> bool) {
    if !waiter.wait_unless(ready) {
        loom::thread::yield_now();
    }
}

/// Would catch: a batch whose claim does not show the producer that the consumer sleeps.
#[test]
fn a_batch_wakes_a_consumer_that_waits() {
    explore("wait: a batch, consumer waits", Some(3), || {
        let both = beside(2);
        let producer = {
            let both = both.clone();
            loom::thread::spawn(move || {
                assert_eq!(both.0.push_batch(&mut (0..2)), Ok(2));
                both.1.wake();
            })
        };
        let mut seen = 0;
        while seen < 2 {
            if both.0.drain(2, |_| seen += 1).is_err() {
                wait_unless(&both.1, || both.0.has_arrivals());
            }
        }
        producer.join().unwrap();
    });
}

/// Would catch: a drain whose claim does not show the consumer that a producer sleeps.
#[test]
fn a_drain_wakes_a_producer_that_waits() {
    explore("wait: producer waits at a full ring, a drain", Some(3), || {
        let both = beside(2);
        both.0.push_batch(&mut (0..2)).unwrap();
        let consumer = {
            let both = both.clone();
            loom::thread::spawn(move || {
                assert_eq!(both.0.drain(2, drop), Ok(2));
                both.1.wake();
            })
        };
        while both.0.try_push(2).is_err() {
            wait_unless(&both.1, || both.0.has_room());
        }
        consumer.join().unwrap();
        assert_eq!(both.0.pop(), Ok(2));
    });
}

/// Would catch: a step over a hole that does not show the consumer that a producer sleeps.
#[test]
fn a_step_over_a_hole_wakes_a_producer_that_waits() {
    /// Promises a value and has none.
    struct Nothing;

    impl Iterator for Nothing {
        type Item = usize;

        fn next(&mut self) -> Option<usize> {
            None
        }
    }

    impl ExactSizeIterator for Nothing {
        fn len(&self) -> usize {
            1
        }
    }

    explore("wait: producer waits at a ring full of holes", Some(3), || {
        let both = beside(1);
        assert_eq!(both.0.push_batch(&mut Nothing), Ok(0));
        let consumer = {
            let both = both.clone();
            loom::thread::spawn(move || {
                let popped = both.0.pop();
                both.1.wake();
                popped
            })
        };
        while both.0.try_push(2).is_err() {
            wait_unless(&both.1, || both.0.has_room());
        }
        // The producer may be faster than the consumer's look behind the hole.
        let popped = consumer.join().unwrap();
        assert_eq!(popped.or(both.0.pop()), Ok(2));
    });
}

/// Would catch: a look inside that comes between a sleeping producer and the pop that must wake it, and takes the order
/// away.
#[test]
fn a_look_inside_does_not_come_between() {
    explore("wait: producer waits, an inspect and a pop", Some(2), || {
        let both = beside(1);
        both.0.try_push(0).unwrap();
        let looker = {
            let both = both.clone();
            loom::thread::spawn(move || both.0.inspect(1, |_| ()))
        };
        let consumer = {
            let both = both.clone();
            loom::thread::spawn(move || {
                while both.0.pop().is_err() {
                    loom::thread::yield_now();
                }
                both.1.wake();
            })
        };
        while both.0.try_push(2).is_err() {
            wait_unless(&both.1, || both.0.has_room());
        }
        consumer.join().unwrap();
        let _ = looker.join().unwrap();
        assert_eq!(both.0.pop(), Ok(2));
    });
}
