//! Several values at once: batches, the holes they may leave, and drains.

use std::sync::Arc;

use nervebus_core::ring::{BatchError, BoxedRing, PopError, PushError};

use super::{panics, rest, ring};

/// Says that it has `claimed` values, whatever `values` has; at a `None` it panics.
pub(super) struct Liar<T> {
    claimed: usize,
    values: std::vec::IntoIter<Option<T>>,
}

impl<T> Liar<T> {
    pub(super) fn new(claimed: usize, values: impl IntoIterator<Item = Option<T>>) -> Self {
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
