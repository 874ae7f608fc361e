//! The ring: order, bounds, closing, overwriting and drops; its batches, looks inside and the whole against a model in the
//! files beside this one.
#![cfg(feature = "alloc")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use nervebus_core::ring::{BatchError, BoxedRing, CapacityError, MAX_CAPACITY, PopError, PushError, StaticRing};

mod batch;
mod inspect;
mod model;

fn ring<T>(capacity: usize) -> BoxedRing<T> {
    BoxedRing::with_capacity(capacity).unwrap()
}

/// Everything that can be popped now.
fn rest<T>(ring: &BoxedRing<T>) -> Vec<T> {
    std::iter::from_fn(|| ring.pop().ok()).collect()
}

/// Whether `call` panics, with the ring looked at afterwards all the same.
fn panics<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
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
fn a_ring_closed_while_somebody_looks_or_fills_is_closed_for_all() {
    let ring = ring(4);
    let mut values = (0..3).inspect(|&n| assert_eq!(ring.close(), n == 0));
    assert_eq!(ring.push_batch(&mut values), Ok(3), "what was claimed before the close goes in");
    assert_eq!(ring.push_batch(&mut [9].into_iter()), Err(BatchError::Closed { pushed: 0 }));
    let closed = ring.inspect(9, |_| assert_eq!(ring.try_push(9), Err(PushError::Closed(9))));
    assert_eq!((closed, ring.drain(2, drop), rest(&ring)), (Ok(3), Ok(2), vec![2]));
    assert_eq!((ring.drain(1, drop), ring.pop()), (Err(PopError::Closed), Err(PopError::Closed)));
    assert_eq!(ring.inspect(1, |_| ()), Err(PopError::Closed));
    assert_eq!(BatchError::Closed { pushed: 3 }.to_string(), "the ring is closed; 3 values of the batch were pushed");
    assert_eq!(BatchError::Full { pushed: 3 }.to_string(), "the ring is full; 3 values of the batch were pushed");
}

/// Counts its drops, and panics in the first.
struct Fragile(Rc<std::cell::Cell<usize>>);

impl Drop for Fragile {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        assert!(self.0.get() > 1, "the first one breaks");
    }
}

#[test]
fn a_value_whose_drop_panics_does_not_keep_the_others_from_being_dropped() {
    let drops = Rc::default();
    let ring = ring(4);
    assert!((0..4).all(|_| ring.try_push(Fragile(Rc::clone(&drops))).is_ok()));
    assert!(panics(|| drop(ring)));
    assert_eq!(drops.get(), 4);
}

#[test]
fn a_value_that_is_made_in_its_slot_arrives_like_any_other() {
    let ring: StaticRing<String, 2> = StaticRing::new();
    assert!(ring.try_push_with(|| "a".to_owned()).is_ok());
    assert!(ring.try_push("b".to_owned()).is_ok());
    let Err(PushError::Full(make)) = ring.try_push_with(|| "c".to_owned()) else { panic!("there was room") };
    assert_eq!((ring.pop(), make()), (Ok("a".to_owned()), "c".to_owned()));
    ring.close();
    assert!(ring.try_push_with(|| "d".to_owned()).is_err_and(|error| error.is_closed()));
    assert_eq!(ring.pop(), Ok("b".to_owned()));
    assert_eq!(ring.pop(), Err(PopError::Closed));
}

#[test]
fn a_value_whose_making_panics_leaves_a_hole_that_nobody_falls_into() {
    let ring: StaticRing<u32, 4> = StaticRing::new();
    for round in 0..10 {
        ring.try_push(round).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| ring.try_push_with(|| panic!("no value"))));
        assert!(panicked.is_err());
        ring.try_push(round + 100).unwrap();
        assert_eq!((ring.pop(), ring.pop(), ring.pop()), (Ok(round), Ok(round + 100), Err(PopError::Empty)));
    }
}
