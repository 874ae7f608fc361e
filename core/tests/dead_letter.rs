//! The dead letter queue: order, overwriting, and that every letter is accounted for.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::dead_letter::StaticDeadLetterQueue;
use nervebus_core::{DeadLetter, Reason};

fn letter<T>(event: T) -> DeadLetter<T> {
    DeadLetter { event, reason: Reason::HandlerError, attempts: 3 }
}

#[test]
fn letters_come_out_as_they_went_in() {
    let queue = StaticDeadLetterQueue::<_, 3>::new();
    assert_eq!((queue.take(), queue.is_empty(), queue.capacity()), (None, true, 3));
    queue.push(DeadLetter { event: "a", reason: Reason::Expired, attempts: 7 });
    queue.push(letter("b"));
    assert_eq!(queue.len(), 2);
    assert_eq!(queue.take(), Some(DeadLetter { event: "a", reason: Reason::Expired, attempts: 7 }));
    assert_eq!(queue.take(), Some(letter("b")));
    assert_eq!((queue.take(), queue.overwritten()), (None, 0));
}

#[test]
fn a_full_queue_keeps_the_newest_and_counts_the_rest() {
    let queue = StaticDeadLetterQueue::<_, 3>::default();
    (0..10).for_each(|number| queue.push(letter(number)));
    assert_eq!((queue.len(), queue.overwritten(), queue.pushed()), (3, 7, 10));
    let left: Vec<_> = queue.drain().map(|letter| letter.event).collect();
    assert_eq!(left, [7, 8, 9]);
    assert!(queue.is_empty());
}

#[test]
fn a_drain_ends_although_letters_keep_coming_and_leaves_what_it_has_not_taken() {
    let queue = StaticDeadLetterQueue::<_, 4>::new();
    (0..4).for_each(|number| queue.push(letter(number)));
    let drained: Vec<_> = queue.drain().inspect(|letter| queue.push(letter.clone())).collect();
    assert_eq!((drained.len(), queue.len()), (4, 4));
    assert_eq!(queue.drain().take(1).count(), 1);
    assert_eq!(queue.len(), 3);
}

#[test]
fn what_is_overwritten_or_left_is_dropped_once() {
    let event = Arc::new(());
    let queue = StaticDeadLetterQueue::<_, 2>::new();
    (0..5).for_each(|_| queue.push(letter(Arc::clone(&event))));
    assert_eq!(Arc::strong_count(&event), 3, "one here, two in the queue");
    drop(queue);
    assert_eq!(Arc::strong_count(&event), 1);
}

#[test]
fn reasons_have_stable_names() {
    let names = [
        (Reason::HandlerError, "handler_error"),
        (Reason::HandlerTimeout, "handler_timeout"),
        (Reason::AllHandlersFailed, "all_handlers_failed"),
        (Reason::ValidationError, "validation_error"),
        (Reason::SerializationError, "serialization_error"),
        (Reason::Overflow, "overflow"),
        (Reason::Expired, "expired"),
        (Reason::LoopDetected, "loop_detected"),
        (Reason::Shutdown, "shutdown"),
    ];
    for (reason, name) in names {
        assert_eq!((reason.as_str(), reason.to_string().as_str()), (name, name));
    }
    assert_eq!(format!("{:>10}", Reason::Expired), "   expired");
}

#[test]
fn under_pushes_and_takes_by_many_every_letter_is_taken_once_or_counted() {
    const EACH: u64 = 20_000;
    static QUEUE: StaticDeadLetterQueue<u64, 16> = StaticDeadLetterQueue::new();
    let start = Barrier::new(4);
    let pushing = AtomicBool::new(true);
    let mut taken: Vec<u64> = thread::scope(|scope| {
        let takers = [(); 2].map(|()| {
            scope.spawn(|| {
                start.wait();
                let mut taken = Vec::new();
                while pushing.load(Ordering::Relaxed) {
                    taken.extend(QUEUE.take().map(|letter| letter.event));
                }
                taken
            })
        });
        let pushers = [0, EACH].map(|first| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                (first..first + EACH).for_each(|number| QUEUE.push(letter(number)));
            })
        });
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        pushing.store(false, Ordering::Relaxed);
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    taken.extend(QUEUE.drain().map(|letter| letter.event));
    let distinct: BTreeSet<_> = taken.iter().collect();
    assert_eq!(distinct.len(), taken.len(), "no letter was taken twice");
    assert_eq!(QUEUE.pushed(), 2 * EACH as usize);
    assert_eq!(taken.len() + QUEUE.overwritten(), QUEUE.pushed(), "none was lost uncounted");
}

#[test]
fn a_look_leaves_letters_their_reasons_and_attempts_where_they_are() {
    let queue = StaticDeadLetterQueue::<_, 3>::new();
    assert_eq!((queue.peek(), queue.inspect(9, |_| panic!("there is none"))), (None, 0));
    let letters = [(Reason::Overflow, 0), (Reason::Shutdown, u16::MAX)].map(|(reason, attempts)| DeadLetter {
        event: attempts,
        reason,
        attempts,
    });
    letters.iter().for_each(|letter| queue.push(letter.clone()));
    for _ in 0..2 {
        assert_eq!(queue.peek(), Some(letters[0].clone()));
        let mut seen = Vec::new();
        assert_eq!(queue.inspect(9, |letter| seen.push(letter.clone())), 2);
        assert_eq!((seen, queue.inspect(1, |_| ()), queue.inspect(0, |_| ())), (letters.to_vec(), 1, 0));
    }
    assert_eq!((queue.len(), queue.pushed(), queue.overwritten()), (2, 2, 0));
    assert_eq!(queue.drain().collect::<Vec<_>>(), letters);
}

#[test]
fn a_push_to_a_full_queue_somebody_looks_at_loses_the_new_letter_and_counts_it() {
    let queue = StaticDeadLetterQueue::<_, 2>::new();
    queue.push(letter(1));
    let seen = queue.inspect(9, |seen| {
        queue.push(letter(seen.event + 10));
        assert_eq!((queue.take(), queue.peek()), (None, None), "who looks keeps others off");
    });
    assert_eq!((seen, queue.pushed(), queue.overwritten()), (2, 3, 1));
    assert_eq!(queue.drain().map(|letter| letter.event).collect::<Vec<_>>(), [1, 11]);
}

#[test]
fn a_panic_while_looking_leaves_the_queue_usable() {
    let queue = StaticDeadLetterQueue::<_, 2>::new();
    (0..2).for_each(|number| queue.push(letter(number)));
    let look = || queue.inspect(2, |letter| assert_ne!(letter.event, 1, "looked at the second"));
    assert!(catch_unwind(AssertUnwindSafe(look)).is_err());
    queue.push(letter(2));
    assert_eq!((queue.overwritten(), queue.peek()), (1, Some(letter(1))));
    assert_eq!(queue.drain().map(|letter| letter.event).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn under_looks_pushes_and_takes_by_many_every_letter_is_taken_once_or_counted() {
    const EACH: u64 = 10_000;
    let queue = StaticDeadLetterQueue::<Box<u64>, 4>::new();
    let pushing = AtomicBool::new(true);
    let mut taken: Vec<u64> = thread::scope(|scope| {
        let lookers = [0, 1].map(|way| {
            let (queue, pushing) = (&queue, &pushing);
            scope.spawn(move || {
                while pushing.load(Ordering::Relaxed) {
                    if way == 0 {
                        assert!(queue.peek().is_none_or(|letter| *letter.event < 2 * EACH && letter.attempts == 3));
                    } else {
                        let mut last = [None, None];
                        queue.inspect(4, |letter| {
                            let before = &mut last[usize::from(*letter.event >= EACH)];
                            assert!(*before < Some(*letter.event), "a pusher's letters are in order");
                            *before = Some(*letter.event);
                        });
                    }
                    thread::yield_now();
                }
            })
        });
        let taker = scope.spawn(|| {
            let mut taken = Vec::new();
            while pushing.load(Ordering::Relaxed) {
                taken.extend(queue.take().map(|letter| *letter.event));
            }
            taken
        });
        let pushers = [0, EACH].map(|first| {
            let queue = &queue;
            scope.spawn(move || (first..first + EACH).for_each(|number| queue.push(letter(Box::new(number)))))
        });
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        pushing.store(false, Ordering::Relaxed);
        lookers.into_iter().for_each(|looker| looker.join().unwrap());
        taker.join().unwrap()
    });
    taken.extend(queue.drain().map(|letter| *letter.event));
    let distinct: BTreeSet<_> = taken.iter().collect();
    assert_eq!(distinct.len(), taken.len(), "no letter was taken twice");
    assert_eq!(taken.len() + queue.overwritten(), queue.pushed(), "none was lost uncounted");
    assert_eq!(queue.pushed(), 2 * EACH as usize);
}

#[cfg(feature = "alloc")]
#[test]
fn a_capacity_chosen_at_run_time_is_checked() {
    use nervebus_core::dead_letter::BoxedDeadLetterQueue;
    let queue = BoxedDeadLetterQueue::with_capacity(2).unwrap();
    (0..3).for_each(|number| queue.push(letter(number)));
    assert_eq!((queue.overwritten(), queue.take().map(|letter| letter.event)), (1, Some(1)));
    assert_eq!(BoxedDeadLetterQueue::<u8>::with_capacity(0).unwrap_err().capacity, 0);
}
