//! The gate: who goes in comes out by an exit, even by a panic, and a closed one lets nobody in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use nervebus_core::gate::Gate;

#[test]
fn entries_and_exits_are_counted_by_kind() {
    let gate: Gate<3, 2> = Gate::new();
    for (stripe, kind) in [(0, 0), (1, 1), (7, 1), (3, 9)] {
        gate.enter(stripe).unwrap().leave(kind);
    }
    assert_eq!((gate.entered(), gate.left(0), gate.left(1), gate.left(2), gate.left(9)), (4, 1, 2, 1, 0));
}

#[test]
fn a_panic_inside_leaves_by_the_last_exit() {
    let gate: Gate<2, 1> = Gate::new();
    let inside = catch_unwind(AssertUnwindSafe(|| {
        let _pass = gate.enter(0).unwrap();
        panic!("inside");
    }));
    assert!(inside.is_err() && gate.is_quiet());
    assert_eq!(gate.left(1), 1);
}

#[test]
fn who_comes_late_is_turned_away_and_counted() {
    let gate: Arc<Gate<1, 4>> = Arc::default();
    let threads: Vec<_> = (0..4)
        .map(|stripe| {
            let gate = Arc::clone(&gate);
            thread::spawn(move || std::iter::from_fn(|| gate.enter(stripe).map(|pass| pass.leave(0))).count() as u64)
        })
        .collect();
    assert!(gate.close() && !gate.close());
    let entered: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(gate.is_quiet() && gate.is_closed());
    assert_eq!((gate.entered(), gate.left(0), gate.turned_away()), (entered, entered, 4));
}

#[test]
fn every_comer_has_a_number_of_its_own() {
    let gate: Gate<2, 2> = Gate::new();
    let first = gate.enter(0).unwrap();
    let own = gate.pass_by(1, 1);
    let second = gate.enter(0).unwrap();
    assert_eq!((first.number(), own, second.number()), (1, 2, 3));
    first.leave(0);
    second.leave(0);
    gate.close();
    assert_eq!(gate.pass_by(0, 1), 4, "the owner still gets a number when the gate is closed");
    assert!(gate.is_quiet());
    assert_eq!((gate.entered(), gate.left(0), gate.left(1)), (4, 2, 2));
}
