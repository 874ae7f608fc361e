//! The queue for one producer and one consumer: order, bounds, closing from both ends, batches and drops.
#![cfg(feature = "alloc")]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nervebus_core::ring::{BatchError, CapacityError, MAX_CAPACITY, PopError, PushError};
use nervebus_core::spsc::{BoxedSpsc, Consumer, Producer, StaticSpsc};
use proptest::prelude::*;

type Queue<T> = Arc<BoxedSpsc<T>>;

fn queue<T>(capacity: usize) -> (Producer<T, Queue<T>>, Consumer<T, Queue<T>>) {
    BoxedSpsc::channel(capacity).unwrap()
}

/// Everything that can be popped now.
fn rest<T>(consumer: &mut Consumer<T, Queue<T>>) -> Vec<T> {
    std::iter::from_fn(|| consumer.pop().ok()).collect()
}

/// Whether `call` panics, with what it used looked at afterwards all the same.
fn panics<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

#[test]
fn a_full_queue_gives_the_value_back_and_an_empty_one_says_so() {
    for capacity in [1, 2, 3, 5, 8, 1_000] {
        let (mut producer, mut consumer) = queue(capacity);
        assert_eq!(consumer.pop(), Err(PopError::Empty));
        for round in 0..3 {
            (0..capacity).for_each(|n| producer.push(n).unwrap());
            assert_eq!(producer.push(9), Err(PushError::Full(9)), "capacity {capacity} round {round}");
            assert_eq!((producer.len(), producer.free_slots(), consumer.lag()), (capacity, 0, capacity));
            (0..capacity).for_each(|n| assert_eq!(consumer.pop(), Ok(n)));
            assert_eq!(consumer.pop(), Err(PopError::Empty));
            assert!(producer.is_empty() && consumer.is_empty() && !producer.is_closed() && !consumer.is_closed());
        }
    }
}

#[test]
fn order_is_kept_across_the_wrap_however_full_the_queue_is() {
    for capacity in [1, 2, 3, 8] {
        for inside in 0..capacity {
            let (mut producer, mut consumer) = queue(capacity);
            (0..inside).for_each(|n| producer.push(n).unwrap());
            for n in 0..5 * capacity {
                producer.push(n + inside).unwrap();
                assert_eq!((consumer.pop(), consumer.len()), (Ok(n), inside));
            }
        }
    }
}

#[test]
fn a_producer_that_goes_closes_the_queue_once_it_is_drained() {
    let (mut producer, mut consumer) = queue(4);
    producer.push_batch(&mut (0..3)).unwrap();
    assert!(!consumer.is_closed());
    drop(producer);
    assert!(consumer.is_closed() && consumer.has_arrivals());
    assert_eq!((consumer.pop(), consumer.drain(9, drop), consumer.drain(0, drop)), (Ok(0), Ok(2), Ok(0)));
    assert_eq!((consumer.pop(), consumer.drain(1, drop)), (Err(PopError::Closed), Err(PopError::Closed)));
    assert!(consumer.has_arrivals(), "a consumer must not sleep when nobody can wake it");
}

#[test]
fn a_consumer_that_goes_hands_every_value_back() {
    let (mut producer, consumer) = queue(4);
    producer.push("kept").unwrap();
    drop(consumer);
    assert!(producer.is_closed());
    assert_eq!(producer.push("late"), Err(PushError::Closed("late")));
    let mut late = ["a", "b"].into_iter();
    assert_eq!(producer.push_batch(&mut late), Err(BatchError::Closed { pushed: 0 }));
    assert_eq!((late.len(), producer.push_batch(&mut [].into_iter())), (2, Ok(0)));
}

#[test]
fn every_value_is_dropped_once_whoever_goes_first() {
    for consumer_first in [true, false] {
        let value = Arc::new(());
        let (mut producer, mut consumer) = queue(3);
        // Across the wrap: the first slot is used a second time.
        producer.push_batch(&mut (0..3).map(|_| Arc::clone(&value))).unwrap();
        drop(consumer.pop());
        producer.push(Arc::clone(&value)).unwrap();
        assert_eq!(Arc::strong_count(&value), 4);
        if consumer_first {
            drop(consumer);
            assert_eq!(Arc::strong_count(&value), 4, "what is inside goes with the queue");
            drop(producer);
        } else {
            drop(producer);
            drop(consumer.pop());
            drop(consumer);
        }
        assert_eq!(Arc::strong_count(&value), 1);
    }
}

#[test]
fn a_batch_goes_in_as_far_as_there_is_room() {
    for capacity in [1, 2, 3, 16, 40] {
        let (mut producer, mut consumer) = queue(capacity);
        let (mut values, mut seen) = (0..200, Vec::new());
        assert_eq!(producer.push_batch(&mut values), Err(BatchError::Full { pushed: capacity }));
        assert_eq!(values.start, capacity);
        while producer.push_batch(&mut values).is_err() {
            consumer.drain(capacity.div_ceil(2), |value| seen.push(value)).unwrap();
        }
        assert_eq!(producer.push_batch(&mut values), Ok(0));
        seen.extend(rest(&mut consumer));
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn a_drain_takes_as_many_as_it_may() {
    let (mut producer, mut consumer) = queue(8);
    assert_eq!((consumer.drain(0, drop), consumer.drain(1, drop)), (Ok(0), Err(PopError::Empty)));
    producer.push_batch(&mut (0..8)).unwrap();
    let mut seen = Vec::new();
    assert_eq!(consumer.drain(3, |value| seen.push(value)), Ok(3));
    assert_eq!(consumer.drain(usize::MAX, |value| seen.push(value)), Ok(5));
    assert_eq!((seen, consumer.len()), ((0..8).collect(), 0));
}

#[test]
fn an_iterator_that_panics_or_lies_leaves_what_it_gave() {
    /// Promises one more than it has.
    struct Short(std::ops::Range<u8>);

    impl Iterator for Short {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            self.0.next()
        }
    }

    impl ExactSizeIterator for Short {
        fn len(&self) -> usize {
            self.0.len() + 1
        }
    }

    let (mut producer, mut consumer) = queue(8);
    assert!(panics(|| producer.push_batch(&mut (0..5).inspect(|&n| assert_ne!(n, 2, "the iterator panics here")))));
    assert_eq!((producer.len(), producer.free_slots()), (2, 6));
    assert_eq!(producer.push_batch(&mut Short(2..4)), Ok(2));
    assert_eq!(producer.push(4), Ok(()));
    assert_eq!(rest(&mut consumer), [0, 1, 2, 3, 4]);
}

#[test]
fn a_panic_while_draining_leaves_the_values_behind() {
    let value = Arc::new(());
    let (mut producer, mut consumer) = queue(4);
    producer.push_batch(&mut (0..4).map(|_| Arc::clone(&value))).unwrap();
    let mut left = 2;
    let drain = || {
        consumer.drain(4, |_value| {
            left -= 1;
            assert!(left > 0, "the second is one too many");
        })
    };
    assert!(panics(drain));
    assert_eq!((Arc::strong_count(&value), producer.free_slots()), (3, 2));
    assert_eq!(rest(&mut consumer).len(), 2);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_queue_is_split_once() {
    static QUEUE: StaticSpsc<u8, 2> = StaticSpsc::new();
    let (mut producer, consumer) = QUEUE.split().unwrap();
    assert!(QUEUE.split().is_none());
    producer.push(1).unwrap();
    assert_eq!((QUEUE.len(), QUEUE.free_slots(), QUEUE.capacity(), QUEUE.is_empty()), (1, 1, 2, false));
    drop((producer, consumer));
    assert!(QUEUE.split().is_none() && QUEUE.is_closed(), "ends that are gone do not come again");
    let boxed = BoxedSpsc::<u8>::with_capacity(1).unwrap();
    assert!(boxed.split().is_some() && boxed.split().is_none());
}

#[test]
fn a_capacity_outside_its_range_is_an_error_that_names_it() {
    for capacity in [0, MAX_CAPACITY + 1, usize::MAX] {
        assert_eq!(BoxedSpsc::<u8>::with_capacity(capacity).unwrap_err(), CapacityError { capacity });
        assert_eq!(BoxedSpsc::<u8>::channel(capacity).unwrap_err(), CapacityError { capacity });
    }
}

#[test]
fn arrivals_are_what_can_be_popped() {
    let (mut producer, mut consumer) = queue(2);
    assert!(!consumer.has_arrivals());
    producer.push(1).unwrap();
    producer.announce();
    assert!(consumer.has_arrivals());
    consumer.pop().unwrap();
    assert!(!consumer.has_arrivals());
}

#[test]
fn the_ends_may_be_sent_to_threads() {
    fn is_send<T: Send>() {}
    // `Cell` is `Send` but not `Sync`, and that is enough.
    is_send::<Producer<std::cell::Cell<u8>, Queue<std::cell::Cell<u8>>>>();
    is_send::<Consumer<std::cell::Cell<u8>, &'static StaticSpsc<std::cell::Cell<u8>, 4>>>();
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Pop,
    Batch(Vec<u8>),
    Drain(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => any::<u8>().prop_map(Step::Push),
        3 => Just(Step::Pop),
        2 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Step::Batch),
        2 => (0usize..12).prop_map(Step::Drain),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// The queue does what a bounded `VecDeque` does, step by step, for any capacity, and when its producer goes.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1usize..12, steps in steps()) {
        let (mut producer, mut consumer) = queue(capacity);
        let mut model = VecDeque::new();
        for step in steps {
            let free = capacity - model.len();
            match step {
                Step::Push(value) if free == 0 => prop_assert_eq!(producer.push(value), Err(PushError::Full(value))),
                Step::Push(value) => {
                    prop_assert_eq!(producer.push(value), Ok(()));
                    model.push_back(value);
                }
                Step::Pop => prop_assert_eq!(consumer.pop(), model.pop_front().ok_or(PopError::Empty)),
                Step::Batch(values) => {
                    let pushed = free.min(values.len());
                    let expected = if pushed < values.len() { Err(BatchError::Full { pushed }) } else { Ok(pushed) };
                    model.extend(&values[..pushed]);
                    prop_assert_eq!(producer.push_batch(&mut values.into_iter()), expected);
                }
                Step::Drain(max) => {
                    let expected: Vec<_> = model.drain(..max.min(model.len())).collect();
                    let empty = max > 0 && expected.is_empty();
                    let mut seen = Vec::new();
                    let drained = consumer.drain(max, |value| seen.push(value));
                    prop_assert_eq!(drained, if empty { Err(PopError::Empty) } else { Ok(expected.len()) });
                    prop_assert_eq!(seen, expected);
                }
            }
            prop_assert_eq!((producer.len(), consumer.len(), producer.free_slots()),
                (model.len(), model.len(), capacity - model.len()));
            prop_assert_eq!(consumer.has_arrivals(), !model.is_empty());
        }
        drop(producer);
        prop_assert_eq!(rest(&mut consumer), Vec::from(model));
        prop_assert_eq!(consumer.pop(), Err(PopError::Closed));
    }
}

/// Counts its drops, and panics in the first.
struct Fragile(Arc<AtomicUsize>);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0, "the first one breaks");
    }
}

#[test]
fn a_value_whose_drop_panics_does_not_keep_the_others_from_being_dropped() {
    let drops = Arc::default();
    let queue = StaticSpsc::<_, 4>::new();
    let (mut producer, consumer) = queue.split().unwrap();
    assert!((0..3).all(|_| producer.push(Fragile(Arc::clone(&drops))).is_ok()));
    drop((producer, consumer));
    assert!(catch_unwind(AssertUnwindSafe(|| drop(queue))).is_err());
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn the_length_of_an_empty_queue_is_never_that_of_a_full_one() {
    let queue = StaticSpsc::<u32, 3>::new();
    let (mut producer, mut consumer) = queue.split().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..10_000 {
                while producer.push(number).is_err() {
                    thread::yield_now();
                }
                // One at a time, so that there are never more than two.
                while !producer.is_empty() && !producer.is_closed() {
                    thread::yield_now();
                }
            }
        });
        let mut seen = 0;
        while seen < 10_000 {
            assert!(consumer.len() < 3, "there is one at most");
            seen += u32::from(consumer.pop().is_ok());
        }
    });
}
