//! Models of the gate: a shutdown that found it quiet can rely on nobody being inside.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use nervebus_core::gate::Gate;
use nervebus_loom_tests::explore;

/// Would catch: an emitter that slips in after the closer saw the gate quiet; loom's cell reports the two at once.
#[test]
fn nobody_is_inside_a_closed_and_quiet_gate() {
    explore("gate: 2 emitters against close, 1 stripe", Some(3), || guarded(1));
}

/// Would catch: the same with the emitters counted on different stripes.
#[test]
fn stripes_are_checked_one_by_one() {
    explore("gate: 2 emitters against close, 2 stripes", Some(3), || guarded(2));
}

struct Guarded {
    gate: Gate<1, 2>,
    /// Written by the closer, read by those inside.
    inside: UnsafeCell<usize>,
}

// SAFETY: the cell is what the model checks: loom reports any access that the gate does not order.
unsafe impl Sync for Guarded {}
// SAFETY: it holds a number.
unsafe impl Send for Guarded {}

fn guarded(stripes: usize) {
    let shared = Arc::new(Guarded { gate: Gate::new(), inside: UnsafeCell::new(7) });
    let emitters: Vec<_> = (0..2)
        .map(|n| {
            let shared = shared.clone();
            loom::thread::spawn(move || match shared.gate.enter(n % stripes) {
                Some(pass) => {
                    // SAFETY: the closer writes only when nobody is inside.
                    assert_eq!(shared.inside.with(|value| unsafe { *value }), 7);
                    pass.leave(0);
                    1
                }
                None => 0,
            })
        })
        .collect();
    shared.gate.close();
    let quiet = (0..2).any(|_| {
        loom::thread::yield_now();
        shared.gate.is_quiet()
    });
    if quiet {
        // SAFETY: the gate is closed and quiet.
        shared.inside.with_mut(|value| unsafe { *value = 0 });
    }
    let entered: u64 = emitters.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(shared.gate.is_quiet());
    assert_eq!(
        (shared.gate.entered(), shared.gate.left(0), shared.gate.turned_away()),
        (entered, entered, 2 - entered)
    );
}

/// Would catch: who leaves without an atomic addition, and does not pass on what was done inside.
#[test]
fn who_leaves_alone_is_seen_out() {
    explore("gate: 2 emitters that leave alone against close, 2 stripes", Some(3), || {
        let shared = Arc::new(Guarded { gate: Gate::new(), inside: UnsafeCell::new(7) });
        let emitter = {
            let shared = shared.clone();
            loom::thread::spawn(move || {
                if let Some(pass) = shared.gate.enter(1) {
                    // SAFETY: the closer writes only when nobody is inside.
                    assert_eq!(shared.inside.with(|value| unsafe { *value }), 7);
                    pass.leave_alone(0);
                }
            })
        };
        shared.gate.enter(0).unwrap().leave_alone(0);
        shared.gate.close();
        if shared.gate.is_quiet() {
            // SAFETY: the gate is closed and quiet.
            shared.inside.with_mut(|value| unsafe { *value = 0 });
        }
        emitter.join().unwrap();
        assert!(shared.gate.is_quiet());
    });
}

/// Would catch: books read exits first that count an exit and not its entry, or somebody turned away and not his coming.
#[test]
fn the_books_never_show_more_exits_than_entries() {
    explore("gate: 2 emitters and the close, read by the books", Some(3), || {
        let gate: Arc<Gate<1, 1>> = Arc::new(Gate::new());
        let emitters = [(); 2].map(|()| {
            let gate = gate.clone();
            loom::thread::spawn(move || {
                if let Some(pass) = gate.enter(0) {
                    pass.leave(0);
                }
            })
        });
        let left = gate.left(0);
        let entered = gate.entered();
        assert!(left <= entered && entered <= 2, "{left} out of {entered}");
        gate.close();
        assert!(gate.entered() <= 2, "more were turned away than came");
        emitters.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(gate.entered(), gate.left(0));
    });
}

/// Would catch: somebody who is turned away and counted before his coming is, and so stands in for somebody inside.
#[test]
fn who_is_turned_away_does_not_stand_in_for_who_is_inside() {
    explore("gate: 1 inside, 1 turned away, close", None, || {
        let gate: Arc<Gate<1, 1>> = Arc::new(Gate::new());
        let inside = gate.enter(0).unwrap();
        gate.close();
        let late = {
            let gate = gate.clone();
            loom::thread::spawn(move || assert!(gate.enter(0).is_none()))
        };
        assert!(!gate.is_quiet(), "one is still inside");
        late.join().unwrap();
        inside.leave(0);
        assert!(gate.is_quiet());
    });
}
