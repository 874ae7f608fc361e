//! The ring against a bounded `VecDeque`, step by step.

use std::collections::VecDeque;

use nervebus_core::ring::{BatchError, PopError, PushError};
use proptest::prelude::*;

use super::batch::Liar;
use super::ring;

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
            prop_assert_eq!((ring.is_closed(), ring.is_empty()), (model.closed, len == 0));
            prop_assert_eq!(ring.has_arrivals(), model.closed || len > 0);
        }
    }
}
