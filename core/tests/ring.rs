//! The ring: order, bounds, closing, overwriting, batches, holes, looking inside, the wrap of the lap number and drops.
#![cfg(feature = "alloc")]

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use nervebus_core::ring::{BatchError, BoxedRing, CapacityError, MAX_CAPACITY, PopError, PushError};
use proptest::prelude::*;

fn ring<T>(capacity: usize) -> BoxedRing<T> {
    BoxedRing::with_capacity(capacity).unwrap()
}

/// Says that it has `claimed` values, whatever `values` has; at a `None` it panics.
struct Liar<T> {
    claimed: usize,
    values: std::vec::IntoIter<Option<T>>,
}

impl<T> Liar<T> {
    fn new(claimed: usize, values: impl IntoIterator<Item = Option<T>>) -> Self {
        Self { claimed, values: values.into_iter().collect::<Vec<_>>().into_iter() }
    }
}

impl<T> Iterator for Liar<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.claimed = self.claimed.saturating_sub(1);
        self.values.next().map(|value| value.expect("the iterator panics here"))
    }
}

impl<T> ExactSizeIterator for Liar<T> {
    fn len(&self) -> usize {
        self.claimed
    }
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
fn a_batch_goes_in_as_far_as_there_is_room_and_the_rest_stays_in_the_iterator() {
    for capacity in [1, 2, 3, 16, 17, 40] {
        let ring = ring(capacity);
        let mut values = 0..capacity + 3;
        assert_eq!(ring.push_batch(&mut values), Err(BatchError::Full { pushed: capacity }));
        assert_eq!(values, capacity..capacity + 3);
        assert_eq!(ring.push_batch(&mut values), Err(BatchError::Full { pushed: 0 }));
        assert_eq!((values.len(), ring.len(), ring.pushed()), (3, capacity, capacity));
        assert_eq!(rest(&ring), (0..capacity).collect::<Vec<_>>());
    }
}

#[test]
fn an_empty_batch_is_taken_even_by_a_full_or_closed_ring() {
    let ring = ring::<u8>(1);
    assert_eq!(ring.push_batch(&mut [].into_iter()), Ok(0));
    ring.try_push(1).unwrap();
    assert_eq!(ring.push_batch(&mut [].into_iter()), Ok(0));
    ring.close();
    assert_eq!(ring.push_batch(&mut [].into_iter()), Ok(0));
    assert_eq!(ring.pushed(), 1);
}

#[test]
fn a_batch_larger_than_the_ring_goes_through_in_turns_and_in_order() {
    for capacity in [1, 3, 8, 20] {
        let ring = ring(capacity);
        let (mut values, mut seen) = (0..1_000, Vec::new());
        let mut turns = 0;
        while let Err(error) = ring.push_batch(&mut values) {
            assert!(!error.is_closed() && error.pushed() > 0);
            turns += 1;
            // Leaves one behind from time to time, so that runs start anywhere.
            ring.drain(capacity - usize::from(capacity > 1 && turns % 2 == 0), |value| seen.push(value)).unwrap();
        }
        seen.extend(rest(&ring));
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>(), "capacity {capacity}");
    }
}

#[test]
fn an_iterator_that_panics_leaves_what_it_gave_before_and_holes_that_all_step_over() {
    let value = Arc::new(());
    let ring = ring(8);
    let given = (0..3).map(|_| Some(Arc::clone(&value))).chain([None, Some(Arc::clone(&value))]);
    let mut values = Liar::new(5, given);
    assert!(panics(|| ring.push_batch(&mut values)));
    drop(values);
    assert_eq!((Arc::strong_count(&value), ring.len(), ring.pushed()), (4, 5, 5), "three values and two holes");
    ring.try_push(Arc::clone(&value)).unwrap();
    assert_eq!(rest(&ring).len(), 4);
    assert_eq!((Arc::strong_count(&value), ring.is_empty(), ring.popped()), (1, true, 6));
}

#[test]
fn holes_are_stepped_over_by_whoever_comes() {
    /// A ring of 5 that holds `1, hole, hole, 2`.
    fn holed() -> BoxedRing<u8> {
        let ring = ring(5);
        assert_eq!(ring.push_batch(&mut Liar::new(3, [Some(1)])), Ok(1));
        ring.try_push(2).unwrap();
        assert_eq!((ring.len(), ring.free_slots(), ring.pushed()), (4, 1, 4), "a hole takes a slot");
        ring
    }

    assert_eq!(rest(&holed()), [1, 2]);

    let ring = holed();
    let mut seen = Vec::new();
    assert_eq!(ring.inspect(9, |value| seen.push(*value)), Ok(2));
    assert_eq!((ring.inspect(1, |value| seen.push(*value)), ring.len()), (Ok(1), 4));
    assert_eq!(ring.drain(9, |value| seen.push(value)), Ok(2));
    assert_eq!((seen, ring.popped(), ring.len()), (vec![1, 2, 1, 1, 2], 4, 0));

    let ring = holed();
    let mut displaced = Vec::new();
    (3..=9).for_each(|value| ring.push_overwrite(value, |oldest| displaced.push(oldest)).unwrap());
    assert_eq!((rest(&ring), displaced), (vec![5, 6, 7, 8, 9], vec![1, 2, 3, 4]));
}

#[test]
fn a_ring_full_of_holes_is_full_until_somebody_looks_for_a_value() {
    let ring = ring(2);
    assert_eq!(ring.push_batch(&mut Liar::<u8>::new(9, [])), Ok(0));
    assert_eq!(ring.try_push(1), Err(PushError::Full(1)));
    assert!(!ring.would_accept() && !ring.has_room(), "a push is refused, so none of them may say otherwise");
    assert_eq!(ring.pop(), Err(PopError::Empty));
    assert!(ring.would_accept() && ring.has_room() && ring.is_empty());
    assert_eq!(ring.push_batch(&mut Liar::<u8>::new(9, [])), Ok(0));
    ring.close();
    assert_eq!(ring.inspect(1, |_| ()), Err(PopError::Closed), "nothing but holes is nothing");
}

#[test]
fn an_iterator_that_changes_its_mind_about_its_length_ends_all_the_same() {
    /// Says 'one more' at every other question.
    struct Fickle(std::cell::Cell<usize>);

    impl Iterator for Fickle {
        type Item = u8;

        fn next(&mut self) -> Option<u8> {
            Some(7)
        }
    }

    impl ExactSizeIterator for Fickle {
        fn len(&self) -> usize {
            self.0.set(self.0.get() + 1);
            assert!(self.0.get() < 100, "asked for ever");
            self.0.get() % 2
        }
    }

    let ring = ring(4);
    assert_eq!(ring.push_batch(&mut Fickle(0.into())), Ok(1));
    assert_eq!(rest(&ring), [7]);
}

#[test]
fn an_iterator_may_use_the_ring_it_fills() {
    let ring = ring(8);
    let mut values = (0..3).inspect(|&n| {
        assert_eq!(ring.pop(), if n == 0 { Err(PopError::Empty) } else { Ok(n - 1) });
        ring.try_push(n + 10).unwrap();
    });
    assert_eq!(ring.push_batch(&mut values), Ok(3));
    assert_eq!(rest(&ring), [2, 10, 11, 12], "what it pushes comes behind its run");
}

#[test]
fn a_drain_takes_as_many_as_it_may() {
    let ring = ring(20);
    assert_eq!(ring.drain(0, drop), Ok(0), "nothing was asked for");
    assert_eq!(ring.drain(1, drop), Err(PopError::Empty));
    ring.push_batch(&mut (0..20)).unwrap();
    let mut seen = Vec::new();
    assert_eq!(ring.drain(0, |value| seen.push(value)), Ok(0));
    assert_eq!(ring.drain(17, |value| seen.push(value)), Ok(17));
    assert_eq!(ring.drain(usize::MAX, |value| seen.push(value)), Ok(3));
    assert_eq!((seen, ring.popped()), ((0..20).collect(), 20));
}

#[test]
fn a_panic_while_draining_drops_what_was_claimed_once_and_leaves_the_rest() {
    let value = Arc::new(());
    let ring = ring(20);
    ring.push_batch(&mut (0..20).map(|_| Arc::clone(&value))).unwrap();
    let mut left = 3;
    let drain = || {
        ring.drain(20, |_value| {
            left -= 1;
            assert!(left > 0, "the third is one too many");
        })
    };
    assert!(panics(drain));
    assert_eq!((Arc::strong_count(&value), ring.len()), (1 + 4, 4), "a run is 16");
    for _ in 0..2 {
        while ring.try_push(Arc::clone(&value)).is_ok() {}
        assert_eq!((ring.len(), rest(&ring).len()), (20, 20));
    }
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn looking_inside_leaves_everything_where_it_is() {
    let ring = ring(4);
    assert_eq!(ring.inspect(9, |_: &u8| ()), Err(PopError::Empty));
    ring.push_batch(&mut [1, 2, 3].into_iter()).unwrap();
    for (max, expected) in [(0, &[][..]), (2, &[1, 2]), (3, &[1, 2, 3]), (usize::MAX, &[1, 2, 3])] {
        let mut seen = Vec::new();
        assert_eq!(ring.inspect(max, |value| seen.push(*value)), Ok(expected.len()));
        assert_eq!(seen, expected);
    }
    assert_eq!((ring.len(), ring.popped(), ring.is_inspected()), (3, 0, false));
    assert_eq!(rest(&ring), [1, 2, 3]);
}

#[test]
fn while_somebody_looks_nobody_takes_and_pushes_go_on() {
    let ring = ring(3);
    ring.try_push(1).unwrap();
    let mut looks = 0;
    let seen = ring.inspect(9, |_| {
        looks += 1;
        assert!(ring.is_inspected() && ring.has_arrivals());
        assert_eq!((ring.pop(), ring.drain(9, drop)), (Err(PopError::Empty), Err(PopError::Empty)));
        assert_eq!(ring.inspect(9, |_| panic!("two at once")), Err(PopError::Empty));
        let room = 3 - ring.len();
        assert_eq!((ring.has_room(), ring.would_accept(), ring.free_slots()), (room > 0, room > 0, room));
        assert_eq!(ring.try_push(2), if room > 0 { Ok(()) } else { Err(PushError::Full(2)) });
        if room == 0 {
            let refused = ring.push_overwrite(3, |_| panic!("nothing is displaced"));
            assert_eq!(refused, Err(PushError::Full(3)));
            assert_eq!(ring.push_batch(&mut [4].into_iter()), Err(BatchError::Full { pushed: 0 }));
        }
        assert_eq!((ring.popped(), ring.pushed()), (0, ring.len()));
    });
    assert_eq!((seen, looks), (Ok(3), 3), "what comes in meanwhile is seen");
    assert!(ring.close());
    assert_eq!(rest(&ring), [1, 2, 2]);
}

#[test]
fn a_panic_while_looking_leaves_the_ring_as_it_was() {
    let ring = ring(2);
    ring.push_batch(&mut [1, 2].into_iter()).unwrap();
    assert!(panics(|| ring.inspect(2, |value| assert_ne!(*value, 2, "looked at the second"))));
    assert!(!ring.is_inspected());
    assert_eq!((ring.len(), ring.inspect(9, |_| ())), (2, Ok(2)));
    assert_eq!(rest(&ring), [1, 2]);
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

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Overwrite(u8),
    Pop,
    /// Values, and how many more the iterator promises than it has.
    Batch(Vec<u8>, usize),
    Drain(usize),
    Inspect(usize),
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let missing = prop_oneof![4 => Just(0usize), 1 => 1usize..4];
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Push),
        2 => any::<u8>().prop_map(Step::Overwrite),
        6 => Just(Step::Pop),
        4 => (prop::collection::vec(any::<u8>(), 0..20), missing).prop_map(|(values, missing)| Step::Batch(values, missing)),
        4 => (0usize..20).prop_map(Step::Drain),
        2 => (0usize..20).prop_map(Step::Inspect),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 0..200)
}

/// What the ring must do: a bounded queue, in which `None` is a hole.
struct Model {
    slots: VecDeque<Option<u8>>,
    capacity: usize,
    closed: bool,
}

impl Model {
    fn is_full(&self) -> bool {
        self.slots.len() == self.capacity
    }

    fn empty(&self) -> PopError {
        if self.closed { PopError::Closed } else { PopError::Empty }
    }

    fn push(&mut self, value: u8) -> Result<(), PushError<u8>> {
        if self.closed {
            return Err(PushError::Closed(value));
        }
        if self.is_full() {
            return Err(PushError::Full(value));
        }
        self.slots.push_back(Some(value));
        Ok(())
    }

    fn pop(&mut self) -> Result<u8, PopError> {
        while self.slots.front() == Some(&None) {
            self.slots.pop_front();
        }
        self.slots.pop_front().flatten().ok_or(self.empty())
    }

    fn overwrite(&mut self, value: u8) -> (Result<(), PushError<u8>>, Option<u8>) {
        let displaced = if self.is_full() && !self.closed { self.pop().ok() } else { None };
        (self.push(value), displaced)
    }

    fn batch(&mut self, values: &[u8], missing: usize) -> Result<usize, BatchError> {
        let claimed = values.len() + missing;
        let mut pushed = 0;
        while pushed < claimed {
            if self.closed {
                return Err(BatchError::Closed { pushed });
            }
            if self.is_full() {
                return Err(BatchError::Full { pushed });
            }
            let run = (claimed - pushed).min(16).min(self.capacity - self.slots.len());
            let given = (values.len() - pushed).min(run);
            self.slots.extend(values[pushed..pushed + given].iter().map(|value| Some(*value)));
            self.slots.extend(std::iter::repeat_n(None, run - given));
            pushed += given;
            if given < run {
                break;
            }
        }
        Ok(pushed)
    }

    fn drain(&mut self, max: usize) -> (Result<usize, PopError>, Vec<u8>) {
        let mut seen = Vec::new();
        while seen.len() < max {
            match self.pop() {
                Ok(value) => seen.push(value),
                Err(error) if seen.is_empty() => return (Err(error), seen),
                Err(_) => break,
            }
        }
        (Ok(seen.len()), seen)
    }

    fn inspect(&mut self, max: usize) -> (Result<usize, PopError>, Vec<u8>) {
        while self.slots.front() == Some(&None) {
            self.slots.pop_front();
        }
        if self.slots.is_empty() {
            return (Err(self.empty()), Vec::new());
        }
        let seen: Vec<_> = self.slots.iter().flatten().copied().take(max).collect();
        (Ok(seen.len()), seen)
    }
}

proptest! {
    /// The ring does what a bounded `VecDeque` does, step by step, for any capacity, in its first laps and where the
    /// number of the lap wraps.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1usize..24, laps_to_the_wrap in 0usize..4, steps in steps()) {
        let mut ring = ring(capacity);
        ring.start_at_lap(0usize.wrapping_sub(laps_to_the_wrap));
        let mut model = Model { slots: VecDeque::new(), capacity, closed: false };
        for step in steps {
            match step {
                Step::Push(value) => prop_assert_eq!(ring.try_push(value), model.push(value)),
                Step::Overwrite(value) => {
                    let mut displaced = Vec::new();
                    let pushed = ring.push_overwrite(value, |oldest| displaced.push(oldest));
                    let (expected, oldest) = model.overwrite(value);
                    prop_assert_eq!((pushed, displaced), (expected, Vec::from_iter(oldest)));
                }
                Step::Pop => prop_assert_eq!(ring.pop(), model.pop()),
                Step::Batch(values, missing) => {
                    let expected = model.batch(&values, missing);
                    let mut liar = Liar::new(values.len() + missing, values.into_iter().map(Some));
                    prop_assert_eq!(ring.push_batch(&mut liar), expected);
                }
                Step::Drain(max) => {
                    let mut seen = Vec::new();
                    let drained = ring.drain(max, |value| seen.push(value));
                    prop_assert_eq!((drained, seen), model.drain(max));
                }
                Step::Inspect(max) => {
                    let mut seen = Vec::new();
                    let inspected = ring.inspect(max, |value| seen.push(*value));
                    prop_assert_eq!((inspected, seen), model.inspect(max));
                }
                Step::Close => prop_assert_eq!(ring.close(), !std::mem::replace(&mut model.closed, true)),
            }
            let (len, room) = (model.slots.len(), !model.is_full() || model.closed);
            prop_assert_eq!((ring.len(), ring.lag(), ring.free_slots()), (len, len, capacity - len));
            prop_assert_eq!((ring.would_accept(), ring.has_room()), (room, room));
            prop_assert_eq!((ring.is_closed(), ring.is_empty(), ring.is_inspected()), (model.closed, len == 0, false));
            prop_assert_eq!(ring.has_arrivals(), model.closed || len > 0);
        }
    }
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
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(ring))).is_err());
    assert_eq!(drops.get(), 4);
}
