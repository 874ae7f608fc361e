//! Models of the queue for one producer and one consumer: order, drops, and waking a consumer that sleeps.

use std::sync::Arc;

use nervebus_core::ring::PopError;
use nervebus_core::spsc::{BoxedSpsc, Consumer, Producer};
use nervebus_core::wait::Waiter;
use nervebus_loom_tests::{Bed, Counted, explore};

type Queue<T> = Arc<BoxedSpsc<T>>;

fn queue<T>(capacity: usize) -> (Producer<T, Queue<T>>, Consumer<T, Queue<T>>) {
    BoxedSpsc::channel(capacity).unwrap()
}

/// Would catch: a slot read before it is written, or written before it is empty (loom checks the cells), across the wrap;
/// a value lost, doubled or out of order; 'closed' before the last value was taken.
#[test]
fn values_arrive_in_order_across_the_wrap() {
    explore("spsc: 3 pushes, 4 pops, capacity 2", Some(3), || {
        let (mut producer, mut consumer) = queue::<usize>(2);
        let sender = loom::thread::spawn(move || (0..3).take_while(|&n| producer.push(n).is_ok()).count());
        let (mut seen, mut closed) = (Vec::new(), false);
        for _ in 0..4 {
            match consumer.pop() {
                Ok(_) if closed => panic!("a value after 'closed'"),
                Ok(value) => seen.push(value),
                Err(PopError::Closed) => closed = true,
                Err(PopError::Empty) => assert!(!closed, "'closed' was taken back"),
            }
        }
        let (before, pushed) = (seen.len(), sender.join().unwrap());
        let _ = consumer.drain(4, |value| seen.push(value));
        assert!(!closed || before == seen.len());
        assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
        assert_eq!(consumer.pop(), Err(PopError::Closed));
    });
}

/// Would catch: the same for batches and drains.
#[test]
fn batches_arrive_in_order_across_the_wrap() {
    explore("spsc: 2 batches of 2, 2 drains of 2, capacity 3", Some(3), || {
        let (mut producer, mut consumer) = queue::<usize>(3);
        let sender = loom::thread::spawn(move || {
            let mut values = 0..4;
            let first = producer.push_batch(&mut values).unwrap_or_else(|error| error.pushed());
            first + producer.push_batch(&mut values).unwrap_or_else(|error| error.pushed())
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            let _ = consumer.drain(2, |value| seen.push(value));
        }
        let pushed = sender.join().unwrap();
        let _ = consumer.drain(4, |value| seen.push(value));
        assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
    });
}

/// Would catch: a value dropped twice or never when the consumer goes away while the producer pushes.
#[test]
fn a_consumer_that_goes_away_leaves_each_value_to_one() {
    explore("spsc: 2 pushes against a pop and the consumer's drop, capacity 1", None, || {
        let drops = Counted::counter();
        let (mut producer, mut consumer) = queue::<Counted>(1);
        let receiver = loom::thread::spawn(move || drop(consumer.pop()));
        for _ in 0..2 {
            let _ = producer.push(Counted::new(&drops));
        }
        receiver.join().unwrap();
        assert!(producer.push(Counted::new(&drops)).is_err_and(|refused| refused.is_closed()));
        drop(producer);
        assert_eq!(Counted::drops(&drops), 3);
    });
}

/// Would catch: a value dropped twice or never when the producer goes away while the consumer pops, or one that the
/// consumer is told will not come.
#[test]
fn a_producer_that_goes_away_leaves_its_values() {
    explore("spsc: a push and the producer's drop against 2 pops, capacity 1", None, || {
        let drops = Counted::counter();
        let (mut producer, mut consumer) = queue::<Counted>(1);
        let sender = {
            let drops = drops.clone();
            loom::thread::spawn(move || assert!(producer.push(Counted::new(&drops)).is_ok()))
        };
        let mut seen = 0;
        for _ in 0..2 {
            match consumer.pop() {
                Ok(_) => seen += 1,
                Err(PopError::Closed) => assert_eq!(seen, 1, "closed, and a value is left"),
                Err(PopError::Empty) => {}
            }
        }
        sender.join().unwrap();
        drop(consumer);
        assert_eq!(Counted::drops(&drops), 1);
    });
}

/// Would catch: an announced push, or the producer's end, between the consumer's last look and its sleep.
#[test]
fn a_sleeping_consumer_is_woken_by_a_push_and_by_the_end() {
    explore("spsc: push, announce, drop; consumer sleeps", Some(3), || {
        let (mut producer, mut consumer) = queue::<usize>(2);
        let waiter = Arc::new(Waiter::new(Bed::default()));
        let sender = {
            let waiter = waiter.clone();
            loom::thread::spawn(move || {
                producer.push(1).unwrap();
                producer.announce();
                waiter.wake();
                drop(producer);
                waiter.wake();
            })
        };
        let mut seen = 0;
        loop {
            match consumer.pop() {
                Ok(_) => seen += 1,
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => {
                    if !waiter.wait_unless(|| consumer.has_arrivals()) {
                        loom::thread::yield_now();
                    }
                }
            }
        }
        assert_eq!(seen, 1);
        sender.join().unwrap();
    });
}
