//! Models of the ring: pushes, pops, closing and overwriting by several threads at once.

use std::sync::Arc;

use nervebus_core::ring::{BoxedRing, PopError, PushError};
use nervebus_loom_tests::{Counted, explore};

fn ring<T>(capacity: usize) -> Arc<BoxedRing<T>> {
    Arc::new(BoxedRing::with_capacity(capacity).unwrap())
}

/// Takes what is left when all threads have ended.
fn drain<T>(ring: &BoxedRing<T>) -> Vec<T> {
    std::iter::from_fn(|| ring.pop().ok()).collect()
}

/// Would catch: a value lost, doubled or reordered when two producers race for slots and one consumer reads across the
/// wrap of a two-slot ring; a slot read before it is written (loom checks the cells).
#[test]
fn two_producers_one_consumer_across_the_wrap() {
    explore("ring: 2 producers x 2, 1 consumer, capacity 2", Some(2), || {
        let ring = ring::<(usize, usize)>(2);
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let ring = ring.clone();
                loom::thread::spawn(move || (0..2).take_while(|&n| ring.try_push((producer, n)).is_ok()).count())
            })
            .collect();
        let mut seen: Vec<_> = (0..3).filter_map(|_| ring.pop().ok()).collect();
        let pushed: Vec<usize> = producers.into_iter().map(|thread| thread.join().unwrap()).collect();
        seen.extend(drain(&ring));
        for (producer, &count) in pushed.iter().enumerate() {
            let own: Vec<_> = seen.iter().filter(|event| event.0 == producer).map(|event| event.1).collect();
            assert_eq!(own, (0..count).collect::<Vec<_>>(), "each producer's values once and in order");
        }
    });
}

/// Would catch: two consumers taking the same value, or a value that neither takes.
#[test]
fn two_consumers_share_each_value_once() {
    explore("ring: 1 producer x 3, 2 consumers x 2, capacity 2", Some(2), || {
        let ring = ring::<usize>(2);
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                let ring = ring.clone();
                loom::thread::spawn(move || (0..2).filter_map(|_| ring.pop().ok()).collect::<Vec<_>>())
            })
            .collect();
        let pushed = (0..3).filter(|&n| ring.try_push(n).is_ok()).count();
        let mut seen: Vec<_> = consumers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        seen.extend(drain(&ring));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), pushed);
    });
}

/// Would catch: a push that succeeds after the ring was closed and drained, or a consumer told 'closed' while a value
/// is still on its way.
#[test]
fn nothing_is_pushed_after_closed_was_seen() {
    explore("ring: close against 2 pushes and a pop, capacity 2", Some(3), || {
        let ring = ring::<usize>(2);
        let producer = {
            let ring = ring.clone();
            loom::thread::spawn(move || (0..2).filter(|&n| ring.try_push(n).is_ok()).count())
        };
        let closer = {
            let ring = ring.clone();
            loom::thread::spawn(move || ring.close())
        };
        let mut seen = 0;
        let mut closed = false;
        for _ in 0..3 {
            match ring.pop() {
                Ok(_) if closed => panic!("a value after 'closed'"),
                Ok(_) => seen += 1,
                Err(PopError::Closed) => closed = true,
                Err(PopError::Empty) => assert!(!closed, "'closed' was taken back"),
            }
        }
        let pushed = producer.join().unwrap();
        assert!(closer.join().unwrap());
        let left = drain(&ring).len();
        assert!(!closed || left == 0);
        assert_eq!(seen + left, pushed);
        assert_eq!(ring.try_push(9), Err(PushError::Closed(9)));
    });
}

/// Would catch: a value dropped twice or never, by pop, by a full ring or when the ring itself goes.
#[test]
fn every_value_is_dropped_once() {
    explore("ring: drops with capacity 1", Some(3), || {
        let drops = Counted::counter();
        let ring = ring::<Counted>(1);
        let producer = {
            let (ring, drops) = (ring.clone(), drops.clone());
            loom::thread::spawn(move || {
                for _ in 0..2 {
                    let _ = ring.try_push(Counted::new(&drops));
                }
            })
        };
        let _ = ring.pop();
        producer.join().unwrap();
        drop(ring);
        assert_eq!(Counted::drops(&drops), 2);
    });
}

/// Would catch: an overwriting push that loses a value without handing it out, or hands out one that a consumer also
/// took.
#[test]
fn overwriting_accounts_for_every_value() {
    explore("ring: 2 overwriting producers, 1 consumer, capacity 1", Some(2), || {
        let ring = ring::<usize>(1);
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let ring = ring.clone();
                loom::thread::spawn(move || {
                    let mut out = Vec::new();
                    if let Err(refused) = ring.push_overwrite(producer, |oldest| out.push(oldest)) {
                        out.push(refused.into_inner());
                    }
                    out
                })
            })
            .collect();
        let mut seen: Vec<_> = ring.pop().into_iter().collect();
        seen.extend(producers.into_iter().flat_map(|thread| thread.join().unwrap()));
        seen.extend(drain(&ring));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
    });
}
