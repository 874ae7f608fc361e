//! Models of the doorbell: a consumer that sleeps is woken by whatever comes after it looked for the last time.

use std::sync::Arc;

use nervebus_core::ring::{BoxedRing, PopError};
use nervebus_core::wait::Waiter;
use nervebus_loom_tests::{Bed, explore};

/// A ring, and a place beside it to sleep.
struct Lane {
    ring: BoxedRing<usize>,
    waiter: Waiter<Bed>,
}

impl Lane {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { ring: BoxedRing::with_capacity(capacity).unwrap(), waiter: Waiter::default() })
    }

    fn wake(&self) {
        self.waiter.wake();
    }

    /// Sleeps unless `busy` says that there is something to do; then it lets others run.
    fn sleep_unless(&self, busy: impl FnOnce() -> bool) {
        if !self.waiter.wait_unless(busy) {
            loom::thread::yield_now();
        }
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

/// Would catch: a batch whose claim does not show the producer that the consumer sleeps.
#[test]
fn a_batch_wakes_a_consumer_that_waits() {
    explore("wait: a batch, consumer waits", Some(3), || {
        let lane = Lane::new(2);
        let producer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                assert_eq!(lane.ring.push_batch(&mut (0..2)), Ok(2));
                lane.wake();
            })
        };
        let mut seen = 0;
        while seen < 2 {
            if lane.ring.drain(2, |_| seen += 1).is_err() {
                lane.sleep_unless(|| lane.ring.has_arrivals());
            }
        }
        producer.join().unwrap();
    });
}

/// Would catch: a drain whose claim does not show the consumer that a producer sleeps.
#[test]
fn a_drain_wakes_a_producer_that_waits() {
    explore("wait: producer waits at a full ring, a drain", Some(3), || {
        let lane = Lane::new(2);
        lane.ring.push_batch(&mut (0..2)).unwrap();
        let consumer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                assert_eq!(lane.ring.drain(2, drop), Ok(2));
                lane.wake();
            })
        };
        while lane.ring.try_push(2).is_err() {
            lane.sleep_unless(|| lane.ring.has_room());
        }
        consumer.join().unwrap();
        assert_eq!(lane.ring.pop(), Ok(2));
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
        let lane = Lane::new(1);
        assert_eq!(lane.ring.push_batch(&mut Nothing), Ok(0));
        let consumer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                let popped = lane.ring.pop();
                lane.wake();
                popped
            })
        };
        while lane.ring.try_push(2).is_err() {
            lane.sleep_unless(|| lane.ring.has_room());
        }
        // The producer may be faster than the consumer's look behind the hole.
        let popped = consumer.join().unwrap();
        assert_eq!(popped.or(lane.ring.pop()), Ok(2));
    });
}

/// Would catch: a look inside that comes between a sleeping producer and the pop that must wake it, and takes the order
/// away.
#[test]
fn a_look_inside_does_not_come_between() {
    explore("wait: producer waits, an inspect and a pop", Some(2), || {
        let lane = Lane::new(1);
        lane.ring.try_push(0).unwrap();
        let looker = {
            let lane = lane.clone();
            loom::thread::spawn(move || lane.ring.inspect(1, |_| ()))
        };
        let consumer = {
            let lane = lane.clone();
            loom::thread::spawn(move || {
                while lane.ring.pop().is_err() {
                    loom::thread::yield_now();
                }
                lane.wake();
            })
        };
        while lane.ring.try_push(2).is_err() {
            lane.sleep_unless(|| lane.ring.has_room());
        }
        consumer.join().unwrap();
        let _ = looker.join().unwrap();
        assert_eq!(lane.ring.pop(), Ok(2));
    });
}
