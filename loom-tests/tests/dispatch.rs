//! Models of dispatch: a handler that changes the table from which it is called, while another thread dispatches.

use std::cell::RefCell;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use nervebus_core::route::StaticRoute;
use nervebus_core::snapshot::cow::CowRetired;
use nervebus_core::table::{StaticTable, Unsubscribed};
use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, dispatch};
use nervebus_loom_tests::explore;

/// Four versions: one under each dispatcher's guard, one current, one spare; so no change is ever refused.
type Table = StaticTable<Duty, 2, 4>;
type Gone<'a> = Unsubscribed<CowRetired<'a, StaticRoute<Duty, 2>, 4>>;

/// What the handlers share.
struct Scene {
    table: Table,
    /// Used by the handler that goes, and taken away when nobody calls it any more. Loom reports the two if they race.
    resource: UnsafeCell<()>,
}

// SAFETY: loom runs one thread at a time, and ends the model at the first access to `resource` that races with another.
unsafe impl Sync for Scene {}

#[derive(Clone, Copy)]
enum Duty {
    /// Subscribes a successor and unsubscribes itself, when the event says so.
    Replace,
    Nothing,
}

/// An event, who has been called with it, and the subscription that a handler ended.
struct Event<'a> {
    scene: &'a Scene,
    replace: bool,
    called: RefCell<Vec<u64>>,
    gone: RefCell<Option<Gone<'a>>>,
}

fn entry(id: u64, priority: i32, duty: Duty) -> Entry<Duty> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::new(priority), duty)
}

impl<'a> Handler<Event<'a>> for Duty {
    type Error = ();

    fn handle(&self, event: &Event<'a>) -> Result<(), ()> {
        let Self::Replace = self else {
            event.called.borrow_mut().push(2);
            return Ok(());
        };
        event.called.borrow_mut().push(1);
        event.scene.resource.with(|_| ());
        if event.replace {
            event.scene.table.subscribe(entry(2, 200, Self::Nothing)).expect("one version is spare");
            let gone = event.scene.table.unsubscribe_watched(SubscriptionId::new(1)).expect("one version is spare");
            let mut gone = gone.expect("it is still subscribed");
            assert!(!gone.is_quiet(), "this very call is one of those to wait for");
            *event.gone.borrow_mut() = Some(gone);
        }
        Ok(())
    }
}

/// Dispatches one event; which handlers were called, and which subscription they ended.
fn emit(scene: &Scene, replace: bool) -> (Vec<u64>, Option<Gone<'_>>) {
    let event = Event { scene, replace, called: RefCell::default(), gone: RefCell::default() };
    let route = scene.table.load();
    let tally = dispatch(route.entries(), &event, |_, ()| unreachable!("no handler fails"));
    assert_eq!(tally.handled, route.entries().len(), "the route changed under the dispatch");
    (event.called.into_inner(), event.gone.into_inner())
}

/// Would catch: a handler that waits for its own guard or is refused without cause when it changes the table; a dispatch
/// that sees half of such a change; 'quiet' while this dispatch or the other one may still call the handler.
#[test]
fn a_handler_changes_the_table_while_another_thread_dispatches() {
    explore("dispatch: a handler replaces itself, 2 dispatchers, 4 versions", Some(2), || {
        let scene = Arc::new(Scene { table: Table::new(), resource: UnsafeCell::new(()) });
        scene.table.subscribe(entry(1, 100, Duty::Replace)).unwrap();
        let other = {
            let scene = Arc::clone(&scene);
            loom::thread::spawn(move || [emit(&scene, false).0, emit(&scene, false).0])
        };
        let (called, gone) = emit(&scene, true);
        assert_eq!(called, [1], "this dispatch goes on with the route it began with");
        let mut gone = gone.expect("the handler has left it");
        if gone.is_quiet() {
            scene.resource.with_mut(|_| ());
        }
        for called in other.join().unwrap() {
            assert!([&[1][..], &[2, 1], &[2]].contains(&&called[..]), "{called:?}");
        }
        assert!(gone.is_quiet(), "both dispatches have ended");
        assert_eq!(emit(&scene, false).0, [2]);
    });
}
