//! Queues under threads: every value once and in order, at the wrap of the lap number as well.
#![cfg(feature = "alloc")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::ring::{BoxedRing, PopError, StaticRing};
use nervebus_core::spsc::BoxedSpsc;

/// A value: who pushed it, and its number.
type Value = (usize, usize);

/// A ring that goes round its last few laps before the number of the lap wraps.
fn near_the_wrap<T>(capacity: usize) -> BoxedRing<T> {
    let mut ring = BoxedRing::with_capacity(capacity).unwrap();
    ring.start_at_lap(usize::MAX - 50);
    ring
}

/// Yields at every so many calls, at others than the threads beside it do.
fn stumble(calls: &mut usize, every: usize) {
    *calls += 1;
    if calls.is_multiple_of(every) {
        thread::yield_now();
    }
}

/// Checks that each of the producers' values was seen by one consumer, and by each consumer in order.
fn settle(seen: &[Vec<Value>], producers: usize, each: usize) {
    for consumer in seen {
        let mut next = vec![0; producers];
        for &(producer, number) in consumer {
            assert!(number >= next[producer], "{number} of producer {producer} comes too late, or twice");
            next[producer] = number + 1;
        }
    }
    let mut all: Vec<_> = seen.iter().flatten().copied().collect();
    all.sort_unstable();
    let expected: Vec<_> =
        (0..producers).flat_map(|producer| (0..each).map(move |number| (producer, number))).collect();
    assert_eq!(all.len(), expected.len());
    assert!(all == expected, "a value was lost or doubled");
}

/// How the threads of a run put values in, and take them out.
#[derive(Clone, Copy)]
enum Way {
    OneByOne,
    /// Several at a time, of different numbers by turns.
    Together,
}

/// Two producers and two consumers; the last consumer ends when the ring is closed and drained.
fn run(ring: &BoxedRing<Value>, put: Way, take: Way, each: usize) {
    let start = Barrier::new(4);
    let open = AtomicUsize::new(2);
    let produce = |producer: usize| {
        let (mut values, mut calls) = ((0..each).map(|number| (producer, number)), 0);
        start.wait();
        match put {
            Way::OneByOne => values.for_each(|value| {
                while ring.try_push(value).is_err() {
                    thread::yield_now();
                }
                stumble(&mut calls, 97 + producer);
            }),
            Way::Together => {
                while values.len() > 0 {
                    let most = 1 + (calls * 7) % 23;
                    let mut part: Vec<_> = values.by_ref().take(most).collect();
                    while !part.is_empty() {
                        let mut left = part.into_iter();
                        let _ = ring.push_batch(&mut left);
                        part = left.collect();
                        stumble(&mut calls, 3 + producer);
                    }
                }
            }
        }
        if open.fetch_sub(1, Ordering::AcqRel) == 1 {
            ring.close();
        }
    };
    let consume = |consumer: usize| {
        let (mut seen, mut calls) = (Vec::new(), 0);
        start.wait();
        loop {
            let taken = match take {
                Way::OneByOne => ring.pop().map(|value| seen.push(value)),
                Way::Together => ring.drain(1 + (calls * 5) % 19, |value| seen.push(value)).map(drop),
            };
            match taken {
                Ok(()) => stumble(&mut calls, 101 + consumer),
                Err(PopError::Closed) => return seen,
                Err(PopError::Empty) => thread::yield_now(),
            }
        }
    };
    let seen = thread::scope(|scope| {
        let (produce, consume) = (&produce, &consume);
        let consumers = [0, 1].map(|consumer| scope.spawn(move || consume(consumer)));
        for producer in [0, 1] {
            scope.spawn(move || produce(producer));
        }
        consumers.map(|thread| thread.join().unwrap())
    });
    settle(&seen, 2, each);
    assert_eq!((ring.len(), ring.pop()), (0, Err(PopError::Closed)));
}

#[test]
fn single_pushes_and_pops_keep_each_value_once_across_the_wrap_of_the_lap() {
    for capacity in [1, 2, 3, 5, 8] {
        run(&near_the_wrap(capacity), Way::OneByOne, Way::OneByOne, 3_000);
    }
}

#[test]
fn batches_and_drains_keep_each_value_once_across_the_wrap_of_the_lap() {
    for capacity in [1, 2, 3, 5, 8, 64] {
        run(&near_the_wrap(capacity), Way::Together, Way::Together, 3_000);
    }
}

#[test]
fn batches_against_pops_and_pushes_against_drains() {
    for capacity in [2, 20] {
        run(&near_the_wrap(capacity), Way::Together, Way::OneByOne, 3_000);
        run(&near_the_wrap(capacity), Way::OneByOne, Way::Together, 3_000);
    }
}

#[test]
fn a_ring_in_a_static_is_shared_by_threads() {
    static RING: StaticRing<usize, 8> = StaticRing::new();
    const EACH: usize = 20_000;
    let producers: Vec<_> = (0..2)
        .map(|producer| {
            thread::spawn(move || {
                for n in 0..EACH {
                    while RING.try_push(producer * EACH + n).is_err() {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut next = [0, 0];
    while next != [EACH, EACH] {
        let Ok(value) = RING.pop() else {
            thread::yield_now();
            continue;
        };
        assert_eq!(value % EACH, next[value / EACH], "each producer's values come once and in order");
        next[value / EACH] += 1;
    }
    producers.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn overwriting_threads_consumers_and_those_who_look_account_for_every_value() {
    const EACH: u64 = 20_000;
    for capacity in [1, 4] {
        let ring: BoxedRing<Box<u64>> = near_the_wrap(capacity);
        let working = AtomicUsize::new(2);
        let gone: u64 = thread::scope(|scope| {
            let worker = || {
                let mut gone = 0;
                for n in 1..=EACH {
                    if let Err(refused) = ring.push_overwrite(Box::new(n), |oldest| gone += *oldest) {
                        gone += *refused.into_inner();
                    }
                    gone += ring.pop().map_or(0, |value| *value);
                }
                working.fetch_sub(1, Ordering::Relaxed);
                gone
            };
            let looker = || {
                let mut looks = 0;
                while working.load(Ordering::Relaxed) > 0 {
                    // What is looked at is still there: each value is memory of its own.
                    let _ = ring.inspect(capacity, |value| assert!((1..=EACH).contains(&**value)));
                    stumble(&mut looks, 10);
                }
            };
            scope.spawn(looker);
            let workers = [(); 2].map(|()| scope.spawn(worker));
            workers.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let left: u64 = std::iter::from_fn(|| ring.pop().ok()).map(|value| *value).sum();
        assert_eq!(gone + left, 2 * EACH * (EACH + 1) / 2);
    }
}

#[test]
fn a_batch_that_is_cut_short_by_the_close_says_how_many_came() {
    for round in 0..200 {
        let ring = BoxedRing::<Arc<()>>::with_capacity(40).unwrap();
        let value = Arc::new(());
        let start = Barrier::new(3);
        let (pushed, seen) = thread::scope(|scope| {
            let producer = scope.spawn(|| {
                start.wait();
                match ring.push_batch(&mut (0..40).map(|_| Arc::clone(&value))) {
                    Ok(pushed) => pushed,
                    Err(error) => {
                        assert!(error.is_closed());
                        error.pushed()
                    }
                }
            });
            scope.spawn(|| {
                start.wait();
                (0..round).for_each(|_| std::hint::spin_loop());
                assert!(ring.close());
            });
            start.wait();
            let mut seen = 0;
            loop {
                match ring.drain(7, |_| seen += 1) {
                    Ok(_) => {}
                    Err(PopError::Closed) => break,
                    Err(PopError::Empty) => thread::yield_now(),
                }
            }
            (producer.join().unwrap(), seen)
        });
        assert_eq!((seen, Arc::strong_count(&value)), (pushed, 1));
    }
}

#[test]
fn a_queue_for_two_keeps_each_value_once_and_in_order_whoever_stumbles() {
    const EACH: usize = 20_000;
    for (capacity, producer_every, consumer_every) in [(1, 50, 70), (3, 7, 1_000), (8, 1_000, 7), (64, 3, 5)] {
        let (mut producer, mut consumer) = BoxedSpsc::<Box<usize>>::channel(capacity).unwrap();
        let sender = thread::spawn(move || {
            let (mut values, mut calls) = ((0..EACH).map(Box::new), 0);
            while values.len() > 0 {
                if calls % 2 == 0 {
                    let _ = producer.push_batch(&mut values);
                } else if let Some(mut value) = values.next() {
                    while let Err(refused) = producer.push(value) {
                        value = refused.into_inner();
                        thread::yield_now();
                    }
                }
                stumble(&mut calls, producer_every);
            }
        });
        let (mut seen, mut calls) = (Vec::new(), 0);
        loop {
            let taken = if calls % 3 == 0 {
                consumer.drain(5, |value| seen.push(*value)).map(drop)
            } else {
                consumer.pop().map(|value| seen.push(*value))
            };
            match taken {
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => thread::yield_now(),
                Ok(()) => {}
            }
            stumble(&mut calls, consumer_every);
        }
        sender.join().unwrap();
        assert!(seen == (0..EACH).collect::<Vec<_>>(), "capacity {capacity}");
    }
}
