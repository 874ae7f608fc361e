//! The ring: order, bounds, closing, overwriting and drops.
#![cfg(feature = "alloc")]

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use nervebus_core::ring::{BoxedRing, CapacityError, MAX_CAPACITY, PopError, PushError, StaticRing};
use proptest::prelude::*;

fn ring<T>(capacity: usize) -> BoxedRing<T> {
    BoxedRing::with_capacity(capacity).unwrap()
}

#[test]
fn a_full_ring_gives_the_value_back_and_an_empty_one_says_so() {
    for capacity in [1, 2, 3, 5, 8, 1_000] {
        let ring = ring(capacity);
        assert_eq!(ring.pop(), Err(PopError::Empty));
        for round in 0..3 {
            (0..capacity).for_each(|n| ring.try_push(n).unwrap());
            assert_eq!(ring.try_push(9), Err(PushError::Full(9)), "capacity {capacity} round {round}");
            assert_eq!((ring.len(), ring.free_slots()), (capacity, 0));
            (0..capacity).for_each(|n| assert_eq!(ring.pop(), Ok(n)));
            assert!(ring.is_empty());
        }
        assert_eq!((ring.pushed(), ring.popped()), (3 * capacity, 3 * capacity));
    }
}

#[test]
fn a_capacity_outside_its_range_is_an_error_that_names_it() {
    for capacity in [0, MAX_CAPACITY + 1, usize::MAX] {
        let error = BoxedRing::<u8>::with_capacity(capacity).unwrap_err();
        assert_eq!(error, CapacityError { capacity });
        assert!(error.to_string().contains(&capacity.to_string()));
    }
}

#[test]
fn a_closed_ring_takes_nothing_and_gives_what_it_has() {
    let ring = ring(2);
    ring.try_push("kept").unwrap();
    assert!(ring.close() && !ring.close() && ring.is_closed());
    assert_eq!(ring.try_push("late"), Err(PushError::Closed("late")));
    assert_eq!(ring.push_overwrite("late", |_| panic!("nothing is displaced")), Err(PushError::Closed("late")));
    assert!(ring.has_arrivals() && ring.has_room(), "both sides must look again");
    assert_eq!(ring.pop(), Ok("kept"));
    assert_eq!(ring.pop(), Err(PopError::Closed));
}

#[test]
fn values_that_are_left_are_dropped_with_the_ring_once() {
    let value = Rc::new(());
    let ring = ring(4);
    for _ in 0..3 {
        ring.try_push(Rc::clone(&value)).unwrap();
    }
    drop(ring.pop().unwrap());
    assert_eq!(Rc::strong_count(&value), 3);
    drop(ring);
    assert_eq!(Rc::strong_count(&value), 1);
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
fn overwriting_threads_and_consumers_account_for_every_value() {
    const EACH: u64 = 20_000;
    let ring: Arc<BoxedRing<u64>> = Arc::new(ring(4));
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || {
                let mut gone = 0;
                for n in 1..=EACH {
                    if let Err(refused) = ring.push_overwrite(n, |oldest| gone += oldest) {
                        gone += refused.into_inner();
                    }
                    gone += ring.pop().unwrap_or(0);
                }
                gone
            })
        })
        .collect();
    let gone: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    let left: u64 = std::iter::from_fn(|| ring.pop().ok()).sum();
    assert_eq!(gone + left, 2 * EACH * (EACH + 1) / 2);
}

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Overwrite(u8),
    Pop,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Push),
        2 => any::<u8>().prop_map(Step::Overwrite),
        6 => Just(Step::Pop),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    /// The ring does what a bounded `VecDeque` does, step by step, for any capacity.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1usize..12, steps in steps()) {
        let ring = ring(capacity);
        let (mut model, mut closed) = (VecDeque::new(), false);
        for step in steps {
            match step {
                Step::Push(value) if closed => prop_assert_eq!(ring.try_push(value), Err(PushError::Closed(value))),
                Step::Push(value) if model.len() == capacity => {
                    prop_assert!(!ring.would_accept() && !ring.has_room());
                    prop_assert_eq!(ring.try_push(value), Err(PushError::Full(value)));
                }
                Step::Push(value) => {
                    prop_assert!(ring.would_accept() && ring.has_room());
                    prop_assert_eq!(ring.try_push(value), Ok(()));
                    model.push_back(value);
                }
                Step::Overwrite(value) => {
                    let mut displaced = Vec::new();
                    let pushed = ring.push_overwrite(value, |oldest| displaced.push(oldest));
                    prop_assert_eq!(pushed.is_err(), closed);
                    if !closed {
                        let expected = if model.len() == capacity { model.pop_front() } else { None };
                        prop_assert_eq!(displaced, Vec::from_iter(expected));
                        model.push_back(value);
                    }
                }
                Step::Pop => {
                    let empty = if closed { PopError::Closed } else { PopError::Empty };
                    prop_assert_eq!(ring.pop(), model.pop_front().ok_or(empty));
                }
                Step::Close => closed |= ring.close(),
            }
            prop_assert_eq!((ring.len(), ring.is_closed()), (model.len(), closed));
            prop_assert_eq!(ring.has_arrivals(), closed || !model.is_empty());
        }
    }
}
