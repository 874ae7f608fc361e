//! Models of the dead letter queue: letters put in and taken out at once.

use std::sync::Arc;

use nervebus_core::dead_letter::BoxedDeadLetterQueue;
use nervebus_core::{DeadLetter, Reason};
use nervebus_loom_tests::{Counted, explore};

type Queue = BoxedDeadLetterQueue<(u32, Counted)>;

/// Checks that of `pushed` letters each was taken once, or is still inside, or was counted as overwritten.
fn settle(queue: Arc<Queue>, mut taken: Vec<u32>, pushed: usize, drops: &std::sync::atomic::AtomicUsize) {
    taken.extend(queue.drain().map(|letter| letter.event.0));
    assert!(queue.is_empty());
    let found = taken.len();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), found, "a letter was taken twice");
    assert_eq!(queue.pushed(), pushed);
    assert_eq!(found + queue.overwritten(), pushed, "a letter was lost, or counted twice");
    drop(queue);
    assert_eq!(Counted::drops(drops), pushed, "each event is dropped once");
}

fn letter(number: u32, drops: &Arc<std::sync::atomic::AtomicUsize>) -> DeadLetter<(u32, Counted)> {
    DeadLetter { event: (number, Counted::new(drops)), reason: Reason::HandlerError, attempts: 1 }
}

/// Would catch: a letter that is taken and overwritten, or neither, when a push displaces the letter that a taker has
/// just claimed; letters taken in another order than pushed.
#[test]
fn taking_against_an_overwriting_push() {
    explore("dead_letter: 1 pusher x 3, 1 taker x 2, capacity 1", Some(2), || {
        let drops = Counted::counter();
        let queue = Arc::new(Queue::with_capacity(1).unwrap());
        let pusher = {
            let (queue, drops) = (Arc::clone(&queue), Arc::clone(&drops));
            loom::thread::spawn(move || (0..3).for_each(|number| queue.push(letter(number, &drops))))
        };
        let taken: Vec<_> = (0..2).filter_map(|_| queue.take()).map(|letter| letter.event.0).collect();
        assert!(taken.is_sorted());
        pusher.join().unwrap();
        settle(queue, taken, 3, &drops);
    });
}

/// Would catch: two overwriting pushes that displace the same letter, or count one letter for two; a letter that
/// disappears when its push gives up because others are in the slot it needs.
#[test]
fn two_overwriting_pushers_and_a_taker() {
    explore("dead_letter: 2 pushers x 2, 1 taker, capacity 2", Some(2), || {
        let drops = Counted::counter();
        let queue = Arc::new(Queue::with_capacity(2).unwrap());
        let pushers = [0, 2].map(|first| {
            let (queue, drops) = (Arc::clone(&queue), Arc::clone(&drops));
            loom::thread::spawn(move || (first..first + 2).for_each(|number| queue.push(letter(number, &drops))))
        });
        let taken = queue.take().map(|letter| letter.event.0).into_iter().collect();
        for pusher in pushers {
            pusher.join().unwrap();
        }
        settle(queue, taken, 4, &drops);
    });
}

/// Would catch: a taker that finds nothing although a letter is there, because somebody has just stopped looking at it. (A taker's
/// patience outlasts more interruptions of who looks than the bound allows.)
#[test]
fn a_letter_that_was_looked_at_is_found() {
    explore("dead_letter: 2 inspects against a take", Some(2), || {
        let drops = Counted::counter();
        let queue = Arc::new(Queue::with_capacity(2).unwrap());
        queue.push(letter(0, &drops));
        let looker = {
            let queue = Arc::clone(&queue);
            loom::thread::spawn(move || queue.inspect(1, |letter| assert_eq!(letter.event.0, 0)))
        };
        assert_eq!(queue.inspect(9, |_| ()), 1);
        let taken: Vec<_> = queue.take().map(|letter| letter.event.0).into_iter().collect();
        assert_eq!(taken, [0]);
        looker.join().unwrap();
        settle(queue, taken, 1, &drops);
    });
}

/// Would catch: a push that displaces the letter somebody looks at, or loses a letter uncounted because it may not.
#[test]
fn a_push_displaces_nothing_that_is_looked_at() {
    explore("dead_letter: 1 pusher, 1 inspect, 1 taker, capacity 1", Some(2), || {
        let drops = Counted::counter();
        let queue = Arc::new(Queue::with_capacity(1).unwrap());
        queue.push(letter(0, &drops));
        let pusher = {
            let (queue, drops) = (Arc::clone(&queue), Arc::clone(&drops));
            loom::thread::spawn(move || queue.push(letter(1, &drops)))
        };
        let looker = {
            let queue = Arc::clone(&queue);
            loom::thread::spawn(move || queue.inspect(1, |letter| assert!(letter.event.0 < 2)))
        };
        let taken = queue.take().map(|letter| letter.event.0).into_iter().collect();
        pusher.join().unwrap();
        looker.join().unwrap();
        settle(queue, taken, 2, &drops);
    });
}
