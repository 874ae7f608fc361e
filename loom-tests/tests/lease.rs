//! Models of the lease: a call ends or is revoked, and whoever has the value may read it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use loom::cell::UnsafeCell;
use nervebus_core::lease::{Holder, Watchdog, lease};
use nervebus_loom_tests::{Counted, explore};

/// What is held: a cell that loom watches, which is read through a shared reference alone.
struct Value {
    number: UnsafeCell<usize>,
    _counted: Counted,
}

// SAFETY: the cell is what the model checks: it is only read, and loom reports a write that the lease does not order.
unsafe impl Sync for Value {}
// SAFETY: it holds a number and a counter.
unsafe impl Send for Value {}

impl Value {
    fn new(drops: &Arc<AtomicUsize>) -> Self {
        Self { number: UnsafeCell::new(0), _counted: Counted::new(drops) }
    }

    /// Makes the value what it is, on the thread that holds it.
    fn set(self, number: usize) -> Self {
        // SAFETY: the caller owns it.
        self.number.with_mut(|place| unsafe { *place = number });
        self
    }

    fn get(&self) -> usize {
        // SAFETY: whoever has a reference reads.
        self.number.with(|place| unsafe { *place })
    }
}

/// A lease of 7, put in on this thread, and the counter of drops.
fn held() -> (Holder<Value>, Watchdog<Value>, Arc<AtomicUsize>) {
    let drops = Counted::counter();
    let (mut holder, watchdog) = lease();
    assert!(holder.hold(Value::new(&drops).set(7)).is_ok());
    (holder, watchdog, drops)
}

/// A thread that revokes what is overdue at `now`, reads it, and says whether there was anything.
fn revoker(watchdog: Watchdog<Value>, now: u64) -> loom::thread::JoinHandle<Option<usize>> {
    loom::thread::spawn(move || watchdog.revoke(now).map(|claim| claim.get()))
}

/// Would catch: an end and a revocation that both succeed, or neither; a claim that does not show the value; a value
/// dropped twice, never, or while it is read.
#[test]
fn a_call_ends_or_is_revoked() {
    explore("lease: end against revoke", None, || {
        let (mut holder, watchdog, drops) = held();
        let watching = revoker(watchdog, 5);
        holder.begin(5);
        assert_eq!(holder.value().map(Value::get), Some(7));
        let ended = holder.end().is_ok();
        assert_eq!(holder.value().map(Value::get), Some(7), "the value is there either way");
        let last = loom::thread::spawn(move || drop(holder));
        match watching.join().unwrap() {
            Some(seen) => assert!(!ended && seen == 7),
            None => assert!(ended),
        }
        last.join().unwrap();
        assert_eq!(Counted::drops(&drops), 1);
    });
}

/// Would catch: a value that is taken out, or changed for another, while a claim reads it.
#[test]
fn what_is_taken_was_not_revoked() {
    explore("lease: take and hold against revoke", None, || {
        let (mut holder, watchdog, drops) = held();
        let watching = revoker(watchdog, 5);
        holder.begin(5);
        assert!(holder.take().is_none(), "not during a call");
        let ended = holder.end().is_ok();
        let taken = holder.take();
        assert_eq!(taken.is_some(), ended);
        let put = taken.and_then(|value| holder.hold(value.set(8)).ok());
        assert_eq!(put.is_some(), ended);
        assert_eq!(watching.join().unwrap(), (!ended).then_some(7));
        drop(holder);
        assert_eq!(Counted::drops(&drops), 1);
    });
}

/// Would catch: two watchdogs that both take over.
#[test]
fn one_of_several_watchdogs_takes_over() {
    explore("lease: 2 revokers against end", Some(3), || {
        let (mut holder, watchdog, drops) = held();
        holder.begin(5);
        let watching = [revoker(watchdog.clone(), 5), revoker(watchdog, 6)];
        let ended = holder.end().is_ok();
        let claims = watching.map(|one| one.join().unwrap()).into_iter().flatten().count();
        assert_eq!(claims, usize::from(!ended));
        drop(holder);
        assert_eq!(Counted::drops(&drops), 1);
    });
}

/// Would catch: a call that is revoked although the deadline that has passed is that of the call before.
#[test]
fn a_call_is_not_judged_by_the_deadline_of_another() {
    explore("lease: an old deadline against the next call", None, || {
        let (mut holder, watchdog, _drops) = held();
        let watching = revoker(watchdog, 10);
        holder.begin(5);
        let first = holder.end().is_ok();
        holder.begin(20);
        let second = holder.end().is_ok();
        assert_eq!(first, second, "the second call is not due before 20");
        assert_eq!(watching.join().unwrap(), (!first).then_some(7));
    });
}

/// Would catch: a claim that shows an earlier value than the call was about, over several of them.
#[test]
fn a_claim_shows_the_value_of_its_call() {
    explore("lease: 2 values x hold, begin, end, take against revoke x 2", Some(3), || {
        let drops = Counted::counter();
        let (mut holder, watchdog) = lease::<Value>();
        let watching = loom::thread::spawn(move || {
            // Each value is due at its own number.
            [1, 2].into_iter().find_map(|now| watchdog.revoke(now).map(|claim| (now, claim.get())))
        });
        let mut lost = None;
        for number in 1..=2 {
            assert!(holder.hold(Value::new(&drops).set(number)).is_ok());
            holder.begin(number as u64);
            if holder.end().is_err() {
                lost = Some(number);
                break;
            }
            assert_eq!(holder.take().map(|value| value.get()), Some(number));
        }
        let claimed = watching.join().unwrap();
        assert_eq!(claimed.map(|(_, number)| number), lost);
        assert!(claimed.is_none_or(|(now, number)| now as usize >= number));
        let held = 2.min(lost.unwrap_or(2));
        drop(holder);
        assert_eq!(Counted::drops(&drops), held);
    });
}

/// What a watchdog leaves for the worker that it takes over from.
struct Note(UnsafeCell<usize>);

// SAFETY: loom reports a read that the revocation does not order after the write.
unsafe impl Sync for Note {}
// SAFETY: it holds a number.
unsafe impl Send for Note {}

/// Would catch: a worker that learns of the revocation and not of what the watchdog did before it.
#[test]
fn what_a_watchdog_did_before_is_seen_after() {
    for by_end in [true, false] {
        let name = if by_end { "end" } else { "is_revoked" };
        explore(&format!("lease: a note before revoke, read after {name}"), None, move || {
            let (mut holder, watchdog, _drops) = held();
            let note = Arc::new(Note(UnsafeCell::new(0)));
            holder.begin(5);
            let watching = {
                let note = note.clone();
                loom::thread::spawn(move || {
                    // SAFETY: nobody reads before the revocation.
                    note.0.with_mut(|place| unsafe { *place = 3 });
                    watchdog.revoke(5).is_some()
                })
            };
            let revoked = if by_end { holder.end().is_err() } else { holder.is_revoked() };
            if revoked {
                // SAFETY: the watchdog wrote before it took over.
                assert_eq!(note.0.with(|place| unsafe { *place }), 3);
            }
            assert!(watching.join().unwrap() || !revoked);
        });
    }
}
