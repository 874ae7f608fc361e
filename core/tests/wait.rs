//! Waiting and waking: a thread that parks, a task that is polled, and a sleeper that is none.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use nervebus_core::ring::{PopError, PushError, StaticRing};
use nervebus_core::spsc::StaticSpsc;
use nervebus_core::wait::{Doorbell, Spin, Wait, Waiter};

/// Parks one thread.
struct Park(Thread);

impl Wait for Park {
    fn wait(&self) {
        thread::park();
    }

    fn wake(&self) {
        self.0.unpark();
    }
}

/// A waiter for this thread.
fn parking() -> Waiter<Park> {
    Waiter::new(Park(thread::current()))
}

const EACH: usize = 2_000;

#[test]
fn a_parked_consumer_is_woken_by_pushes_batches_and_the_close() {
    let (ring, waiter) = (StaticRing::<usize, 4>::new(), parking());
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EACH {
                while ring.try_push(n).is_err() {
                    thread::yield_now();
                }
                waiter.wake();
            }
            let mut batch = EACH..2 * EACH;
            while ring.push_batch(&mut batch).is_err() {
                waiter.wake();
                thread::yield_now();
            }
            waiter.wake();
            ring.close();
            waiter.wake();
        });
        let mut seen = Vec::new();
        loop {
            match ring.pop() {
                Ok(value) => seen.push(value),
                Err(PopError::Closed) => break seen,
                Err(PopError::Empty) => _ = waiter.wait_unless(|| ring.has_arrivals()),
            }
        }
    });
    assert_eq!(seen, (0..2 * EACH).collect::<Vec<_>>());
}

#[test]
fn a_parked_producer_is_woken_by_room_and_by_the_close() {
    let (ring, waiter) = (StaticRing::<usize, 2>::new(), parking());
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            let mut taken = 0;
            while taken < EACH {
                taken += usize::from(ring.pop().is_ok());
                waiter.wake();
            }
            while ring.len() < 2 {
                thread::yield_now();
            }
            ring.close();
            waiter.wake();
        });
        let mut pushed = 0;
        loop {
            match ring.try_push(pushed) {
                Ok(()) => pushed += 1,
                Err(PushError::Closed(_)) => break,
                Err(PushError::Full(_)) => _ = waiter.wait_unless(|| ring.has_room()),
            }
        }
        assert_eq!(pushed, EACH + 2);
        consumer.join().unwrap();
    });
}

#[test]
fn a_parked_consumer_of_a_queue_for_two_is_woken_by_announcements_and_by_the_end() {
    let (queue, waiter) = (StaticSpsc::<usize, 4>::new(), parking());
    let (mut producer, mut consumer) = queue.split().unwrap();
    let seen = thread::scope(|scope| {
        let waiter = &waiter;
        scope.spawn(move || {
            for n in 0..EACH {
                while producer.push(n).is_err() {
                    thread::yield_now();
                }
                producer.announce();
                waiter.wake();
            }
            drop(producer);
            waiter.wake();
        });
        let mut seen = Vec::new();
        loop {
            match consumer.drain(3, |value| seen.push(value)) {
                Ok(_) => {}
                Err(PopError::Closed) => break seen,
                Err(PopError::Empty) => _ = waiter.wait_unless(|| consumer.has_arrivals()),
            }
        }
    });
    assert_eq!(seen, (0..EACH).collect::<Vec<_>>());
}

#[test]
fn nobody_is_woken_when_nobody_sleeps() {
    let woken = AtomicUsize::new(0);
    struct Count<'a>(&'a AtomicUsize);
    impl Wait for Count<'_> {
        fn wait(&self) {}
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let waiter = Waiter::new(Count(&woken));
    assert!(!waiter.wake());
    assert!(!waiter.wait_unless(|| true), "there was something to do");
    assert!(!waiter.wake(), "the bell was disarmed");
    assert!(waiter.wait_unless(|| false) && !waiter.wake());
    assert_eq!(woken.load(Ordering::Relaxed), 0);

    let woke_while_looking = std::cell::Cell::new(false);
    waiter.wait_unless(|| {
        woke_while_looking.set(waiter.wake());
        assert!(!waiter.wake(), "once is enough");
        true
    });
    assert!(woke_while_looking.get() && woken.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_spinning_waiter_returns_and_wakes_nobody() {
    let waiter = Waiter::new(Spin);
    assert!(waiter.wait_unless(|| false), "it counts as having slept");
    assert!(!waiter.wait_unless(|| true) && !waiter.wake());
    let by_reference: &dyn Wait = waiter.how();
    by_reference.wait();
    Wait::wake(&by_reference);
}

#[test]
fn many_who_ring_at_once_wake_one_time() {
    let bell = Doorbell::default();
    for _ in 0..200 {
        bell.arm();
        let woken: usize = thread::scope(|scope| {
            let ringers = [(); 3].map(|()| scope.spawn(|| usize::from(bell.ring())));
            ringers.into_iter().map(|ringer| ringer.join().unwrap()).sum()
        });
        assert_eq!(woken, 1);
    }
}

/// Keeps the waker of a task that sleeps.
#[derive(Default)]
struct Task(Mutex<Option<Waker>>);

impl Wait for Task {
    /// A task does not sleep in a call.
    fn wait(&self) {}

    fn wake(&self) {
        if let Some(waker) = self.0.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// Wakes by unparking, and counts.
struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unpark();
    }
}

/// The next value, or `None` when the ring is closed and drained.
fn poll_next<const N: usize>(
    ring: &StaticRing<usize, N>,
    waiter: &Waiter<Task>,
    context: &mut Context<'_>,
) -> Poll<Option<usize>> {
    loop {
        match ring.pop() {
            Ok(value) => return Poll::Ready(Some(value)),
            Err(PopError::Closed) => return Poll::Ready(None),
            Err(PopError::Empty) => {
                *waiter.how().0.lock().unwrap() = Some(context.waker().clone());
                waiter.bell().arm();
                if !ring.has_arrivals() {
                    return Poll::Pending;
                }
                waiter.bell().disarm();
            }
        }
    }
}

#[test]
fn an_async_consumer_is_woken_when_it_is_pending_and_not_otherwise() {
    let (ring, waiter) = (StaticRing::<usize, 2>::new(), Waiter::<Task>::default());
    let unpark = Arc::new(Unpark(thread::current(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let woken = || unpark.1.load(Ordering::Relaxed);

    ring.try_push(1).unwrap();
    assert!(!waiter.wake());
    assert_eq!(poll_next(&ring, &waiter, &mut context), Poll::Ready(Some(1)));
    assert!(poll_next(&ring, &waiter, &mut context).is_pending());
    assert_eq!(woken(), 0);
    ring.try_push(2).unwrap();
    assert!(waiter.wake() && !waiter.wake());
    assert_eq!((woken(), poll_next(&ring, &waiter, &mut context)), (1, Poll::Ready(Some(2))));
    assert!(poll_next(&ring, &waiter, &mut context).is_pending());
    ring.close();
    assert!(waiter.wake());
    assert_eq!((woken(), poll_next(&ring, &waiter, &mut context)), (2, Poll::Ready(None)));
}

#[test]
fn an_async_consumer_takes_everything_that_threads_push() {
    let (ring, waiter) = (StaticRing::<usize, 4>::new(), Waiter::<Task>::default());
    let waker = Waker::from(Arc::new(Unpark(thread::current(), AtomicUsize::new(0))));
    let mut context = Context::from_waker(&waker);
    let all = async {
        let mut sum = 0;
        while let Some(value) = poll_fn(|context| poll_next(&ring, &waiter, context)).await {
            sum += value;
        }
        sum
    };
    let sum = thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EACH {
                while ring.try_push(n).is_err() {
                    thread::yield_now();
                }
                waiter.wake();
            }
            ring.close();
            waiter.wake();
        });
        let mut all = pin!(all);
        loop {
            match all.as_mut().poll(&mut context) {
                Poll::Ready(sum) => break sum,
                Poll::Pending => thread::park(),
            }
        }
    });
    assert_eq!(sum, EACH * (EACH - 1) / 2);
}
