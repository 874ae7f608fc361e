//! Looking inside without taking.

use nervebus_core::ring::{BatchError, PopError, PushError};

use super::{panics, rest, ring};

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
    assert_eq!((ring.len(), ring.popped()), (3, 0));
    assert_eq!(rest(&ring), [1, 2, 3]);
}

#[test]
fn while_somebody_looks_nobody_takes_and_pushes_go_on() {
    let ring = ring(3);
    ring.try_push(1).unwrap();
    let mut looks = 0;
    let seen = ring.inspect(9, |_| {
        looks += 1;
        assert!(ring.has_arrivals());
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
    assert_eq!((ring.len(), ring.inspect(9, |_| ())), (2, Ok(2)));
    assert_eq!(rest(&ring), [1, 2]);
}
