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
    let entered: usize = emitters.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(shared.gate.is_quiet());
    assert_eq!(
        (shared.gate.entered(), shared.gate.left(0), shared.gate.turned_away()),
        (entered, entered, 2 - entered)
    );
}
