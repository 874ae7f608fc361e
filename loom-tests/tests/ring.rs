//! Models of the ring: pushes, pops, closing and overwriting by several threads at once.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};
use nervebus_core::ring::{BatchError, BoxedRing, PopError, PushError};
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

/// Promises `len` values and gives those it has.
struct Liar<T> {
    len: usize,
    values: std::vec::IntoIter<T>,
}

impl<T> Liar<T> {
    fn new(len: usize, values: Vec<T>) -> Self {
        Self { len, values: values.into_iter() }
    }
}

impl<T> Iterator for Liar<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.len = self.len.saturating_sub(1);
        self.values.next()
    }
}

impl<T> ExactSizeIterator for Liar<T> {
    fn len(&self) -> usize {
        self.len
    }
}

/// Checks that each producer's values, counted from 0, were seen once and in order.
fn in_order(seen: &[(usize, usize)], pushed: &[usize]) {
    for (producer, &count) in pushed.iter().enumerate() {
        let own: Vec<_> = seen.iter().filter(|event| event.0 == producer).map(|event| event.1).collect();
        assert_eq!(own, (0..count).collect::<Vec<_>>(), "each producer's values once and in order");
    }
}

/// How many of a batch are in the ring.
fn pushed(batch: Result<usize, BatchError>) -> usize {
    batch.unwrap_or_else(|error| error.pushed())
}

/// Would catch: two batches that claim one slot, a run that goes beyond what is free, a value of a run read before it is
/// written.
#[test]
fn two_batches_and_a_consumer_across_the_wrap() {
    explore("ring: 2 batches of 2, 1 consumer x 2, capacity 3", Some(2), || {
        let ring = ring::<(usize, usize)>(3);
        let producers = [0, 1].map(|producer| {
            let ring = ring.clone();
            loom::thread::spawn(move || pushed(ring.push_batch(&mut (0..2).map(|n| (producer, n)))))
        });
        let mut seen: Vec<_> = (0..2).filter_map(|_| ring.pop().ok()).collect();
        let pushed = producers.map(|thread| thread.join().unwrap());
        seen.extend(drain(&ring));
        in_order(&seen, &pushed);
        assert_eq!(seen.len(), pushed.iter().sum::<usize>());
    });
}

/// Would catch: a batch whose run spans the wrap of a small ring and takes a slot that a single push has claimed, or one
/// that is not empty yet.
#[test]
fn a_batch_against_a_push_across_the_wrap() {
    explore("ring: 1 batch of 2, 1 push, 1 consumer x 2, capacity 2", Some(2), || {
        let ring = ring::<(usize, usize)>(2);
        ring.try_push((0, 0)).unwrap();
        let batch = {
            let ring = ring.clone();
            loom::thread::spawn(move || pushed(ring.push_batch(&mut (1..3).map(|n| (0, n)))))
        };
        let single = {
            let ring = ring.clone();
            loom::thread::spawn(move || usize::from(ring.try_push((1, 0)).is_ok()))
        };
        let mut seen: Vec<_> = (0..2).filter_map(|_| ring.pop().ok()).collect();
        let pushed = [1 + batch.join().unwrap(), single.join().unwrap()];
        seen.extend(drain(&ring));
        in_order(&seen, &pushed);
    });
}

/// Would catch: two drains that take one value, or a run that takes a slot whose value has not come.
#[test]
fn two_drains_share_each_value_once() {
    explore("ring: 2 drains of 2, 1 push, capacity 3", Some(2), || {
        let ring = ring::<usize>(3);
        (0..3).for_each(|n| ring.try_push(n).unwrap());
        let consumers = [(); 2].map(|()| {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut seen = Vec::new();
                let _ = ring.drain(2, |value| seen.push(value));
                seen
            })
        });
        let pushed = 3 + usize::from(ring.try_push(3).is_ok());
        let mut seen: Vec<_> = consumers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        seen.extend(drain(&ring));
        seen.sort_unstable();
        assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
    });
}

/// Would catch: a hole taken for a value, freed twice, or passed on while its slot is still in use.
#[test]
fn a_hole_is_stepped_over_once() {
    explore("ring: a batch with a hole, 1 push, 2 consumers, capacity 2", Some(2), || {
        let drops = Counted::counter();
        let ring = ring::<Counted>(2);
        let liar = {
            let (ring, drops) = (ring.clone(), drops.clone());
            loom::thread::spawn(move || pushed(ring.push_batch(&mut Liar::new(2, vec![Counted::new(&drops)]))))
        };
        let other = {
            let (ring, drops) = (ring.clone(), drops.clone());
            loom::thread::spawn(move || {
                let _ = ring.pop();
                usize::from(ring.try_push(Counted::new(&drops)).is_ok())
            })
        };
        let _ = ring.drain(2, drop);
        let _ = ring.pop();
        let pushed = liar.join().unwrap() + other.join().unwrap();
        let offered = 2;
        drain(&ring);
        assert!(ring.is_empty() && pushed <= offered);
        ring.push_batch(&mut (0..2).map(|_| Counted::new(&drops))).unwrap();
        drop(ring);
        assert_eq!(Counted::drops(&drops), offered + 2);
    });
}

/// Would catch: with one slot, where a position and the one a lap later are neighbours, a value doubled or lost, or a
/// number of a lap that does not wrap.
#[test]
fn one_slot_across_the_wrap_of_the_lap() {
    explore("ring: 2 producers x 2, 1 consumer x 2, capacity 1, last lap", Some(2), || {
        let mut ring = BoxedRing::<(usize, usize)>::with_capacity(1).unwrap();
        ring.start_at_lap(usize::MAX);
        let ring = Arc::new(ring);
        let producers = [0, 1].map(|producer| {
            let ring = ring.clone();
            loom::thread::spawn(move || (0..2).take_while(|&n| ring.try_push((producer, n)).is_ok()).count())
        });
        let mut seen: Vec<_> = (0..2).filter_map(|_| ring.pop().ok()).collect();
        let pushed = producers.map(|thread| thread.join().unwrap());
        seen.extend(drain(&ring));
        in_order(&seen, &pushed);
        assert!(ring.is_empty() && ring.would_accept());
    });
}

/// Would catch: a value taken out, or dropped, while somebody looks at it (loom checks the slot's cell), and a look at a
/// value that has not come.
#[test]
fn what_is_looked_at_stays() {
    explore("ring: inspect against 2 pops and 2 pushes, capacity 2", Some(2), || {
        let ring = ring::<usize>(2);
        ring.try_push(0).unwrap();
        let looker = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut seen = Vec::new();
                let looked = ring.inspect(2, |value| seen.push(*value));
                assert_eq!(seen.len(), looked.unwrap_or(0));
                assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "neighbours, in order: {seen:?}");
            })
        };
        let taker = {
            let ring = ring.clone();
            loom::thread::spawn(move || (0..2).filter_map(|_| ring.pop().ok()).collect::<Vec<_>>())
        };
        let pushed = 1 + (1..3).take_while(|&n| ring.try_push(n).is_ok()).count();
        looker.join().unwrap();
        let mut seen = taker.join().unwrap();
        seen.extend(drain(&ring));
        assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
    });
}

/// Would catch: a drain that takes what is looked at, and two who look at once.
#[test]
fn one_at_a_time_looks_and_drains_keep_off() {
    explore("ring: 2 inspects against a drain, capacity 2", Some(3), || {
        let ring = ring::<usize>(2);
        (0..2).for_each(|n| ring.try_push(n).unwrap());
        let lookers = [(); 2].map(|()| {
            let ring = ring.clone();
            loom::thread::spawn(move || ring.inspect(2, |value| assert!(*value < 2)))
        });
        let mut seen = Vec::new();
        let _ = ring.drain(2, |value| seen.push(value));
        for looked in lookers.map(|thread| thread.join().unwrap()) {
            assert!(matches!(looked, Ok(2) | Err(PopError::Empty)), "a drain takes both or none: {looked:?}");
        }
        seen.extend(drain(&ring));
        assert_eq!(seen, [0, 1]);
    });
}

/// Would catch: an overwriting push that displaces what is looked at, or loses a value when it may not.
#[test]
fn an_overwriting_push_leaves_alone_what_is_looked_at() {
    explore("ring: inspect against 2 overwriting pushes, capacity 1", Some(2), || {
        let ring = ring::<usize>(1);
        ring.try_push(0).unwrap();
        let looker = {
            let ring = ring.clone();
            loom::thread::spawn(move || {
                let mut before = None;
                for _ in 0..2 {
                    let _ = ring.inspect(1, |value| assert!(before.replace(*value) <= Some(*value)));
                }
            })
        };
        let mut seen = Vec::new();
        for n in 1..3 {
            if let Err(refused) = ring.push_overwrite(n, |oldest| seen.push(oldest)) {
                seen.push(refused.into_inner());
            }
        }
        looker.join().unwrap();
        seen.extend(drain(&ring));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    });
}

/// Would catch: a run of a batch that comes in after a consumer saw the ring closed and drained, or a count that does not
/// agree with what is in.
#[test]
fn a_batch_is_cut_short_by_the_close() {
    explore("ring: close against a batch of 3 and 2 drains, capacity 4", Some(2), || {
        let ring = ring::<usize>(4);
        let producer = {
            let ring = ring.clone();
            loom::thread::spawn(move || match ring.push_batch(&mut (0..3)) {
                Ok(pushed) => pushed,
                Err(error) => {
                    assert!(error.is_closed());
                    error.pushed()
                }
            })
        };
        let closer = {
            let ring = ring.clone();
            loom::thread::spawn(move || ring.close())
        };
        let mut seen = Vec::new();
        let ends = [(); 2].map(|()| ring.drain(4, |value| seen.push(value)) == Err(PopError::Closed));
        assert!(!ends[0] || ends[1], "'closed' was taken back");
        let (before, pushed) = (seen.len(), producer.join().unwrap());
        assert!(closer.join().unwrap());
        seen.extend(drain(&ring));
        assert!(!ends[1] || before == seen.len(), "a value after 'closed'");
        assert_eq!(seen, (0..pushed).collect::<Vec<_>>());
        assert_eq!(ring.pop(), Err(PopError::Closed));
    });
}

/// Would catch: a thread that is told 'closed' by a push, a batch or a look, and then 'empty' by a pop, so that it waits
/// for what cannot come.
#[test]
fn closed_once_is_closed_ever_after() {
    explore("ring: close against pushes, looks and pops, capacity 1", None, || {
        let ring = ring::<usize>(1);
        let closer = {
            let ring = ring.clone();
            loom::thread::spawn(move || ring.close())
        };
        if ring.is_closed() {
            assert_eq!(ring.inspect(1, |_| ()), Err(PopError::Closed));
        } else {
            let told = match ring.try_push(1) {
                Ok(()) => {
                    ring.pop().unwrap();
                    ring.push_batch(&mut [2].into_iter()) == Err(BatchError::Closed { pushed: 0 })
                }
                Err(refused) => refused.is_closed(),
            };
            if told {
                assert_eq!(ring.pop(), Err(PopError::Closed));
            }
        }
        assert!(closer.join().unwrap());
    });
}

/// Would catch: books that count a push or a pop without showing what was done before it.
#[test]
fn the_books_show_what_came_before_what_they_count() {
    explore("ring: 1 push, 1 pop, read by the books, capacity 2", None, || {
        let ring = ring::<usize>(2);
        ring.try_push(0).unwrap();
        let steps = Arc::new([(); 2].map(|()| AtomicBool::new(false)));
        let worker = {
            let (ring, steps) = (ring.clone(), steps.clone());
            loom::thread::spawn(move || {
                steps[0].store(true, Ordering::Relaxed);
                ring.try_push(1).unwrap();
                steps[1].store(true, Ordering::Relaxed);
                ring.pop().unwrap();
            })
        };
        if ring.popped() == 1 {
            assert!(steps[1].load(Ordering::Relaxed));
        }
        if ring.pushed() == 2 {
            assert!(steps[0].load(Ordering::Relaxed));
        }
        worker.join().unwrap();
    });
}
