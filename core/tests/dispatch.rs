//! Dispatch: order, isolation of failures, and handlers that change the table they are called from.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nervebus_core::table::{StaticTable, SubscribeError};
use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, Tally, dispatch};

fn entry<H>(id: u64, priority: i32, handler: H) -> Entry<H> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::new(priority), handler)
}

/// Notes its number and then succeeds, fails or panics.
#[derive(Clone, Copy)]
enum Note {
    Ok(u8),
    Fail(u8),
    Panic(u8),
}

type Notes = RefCell<Vec<u8>>;

impl Handler<Notes> for Note {
    type Error = u8;

    fn handle(&self, notes: &Notes) -> Result<(), u8> {
        let (Self::Ok(number) | Self::Fail(number) | Self::Panic(number)) = *self;
        notes.borrow_mut().push(number);
        match self {
            Self::Ok(_) => Ok(()),
            Self::Fail(number) => Err(*number),
            Self::Panic(_) => panic!("handler"),
        }
    }
}

#[test]
fn handlers_run_by_priority_and_one_failure_stops_nobody() {
    let table = StaticTable::<Note, 4>::new();
    table.subscribe(entry(1, 100, Note::Ok(3))).unwrap();
    table.subscribe(entry(2, 300, Note::Fail(1))).unwrap();
    table.subscribe(entry(3, 200, Note::Fail(2))).unwrap();
    table.subscribe(entry(4, 100, Note::Ok(4))).unwrap();
    let notes = Notes::default();
    let mut failures = Vec::new();
    let tally = dispatch(table.load().entries(), &notes, |entry, error| {
        failures.push((entry.id.get(), error, notes.borrow().len()));
    });
    assert_eq!(tally, Tally { handled: 2, failed: 2 });
    assert_eq!(*notes.borrow(), [1, 2, 3, 4]);
    assert_eq!(failures, [(2, 1, 1), (3, 2, 2)], "each failure is reported before the next handler runs");
}

#[test]
fn nobody_subscribed_means_nobody_called() {
    let none: [Entry<Note>; 0] = [];
    assert_eq!(dispatch(&none, &Notes::default(), |_, _| panic!("no failure")), Tally::default());
}

#[test]
fn tallies_add_up() {
    let mut sum = Tally { handled: 1, failed: 2 };
    sum += Tally { handled: 10, failed: 20 };
    assert_eq!((sum, sum.total()), (Tally { handled: 11, failed: 22 }, 33));
}

#[test]
fn a_panicking_handler_reaches_the_caller_and_leaves_the_table_usable() {
    let table = StaticTable::<Note, 4, 2>::new();
    table.subscribe(entry(1, 100, Note::Ok(1))).unwrap();
    table.subscribe(entry(2, 90, Note::Panic(2))).unwrap();
    table.subscribe(entry(3, 80, Note::Ok(3))).unwrap();
    let notes = Notes::default();
    for _ in 0..3 {
        let panicked = catch_unwind(AssertUnwindSafe(|| dispatch(table.load().entries(), &notes, |_, _| ())));
        assert!(panicked.is_err());
    }
    assert_eq!(*notes.borrow(), [1, 2].repeat(3), "those behind were not called");
    assert_eq!(table.unsubscribe(SubscriptionId::new(2)), Ok(Some(4)), "no version is held by the panics");
    assert_eq!(dispatch(table.load().entries(), &notes, |_, _| ()).handled, 2);
}

type Table = StaticTable<Change, 4>;

/// A handler that changes the table it was called from.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Subscribe(u64),
    Unsubscribe(u64),
}

struct Seen<'a> {
    table: &'a Table,
    calls: Cell<usize>,
}

impl Handler<Seen<'_>> for Change {
    type Error = SubscribeError<Self>;

    fn handle(&self, seen: &Seen<'_>) -> Result<(), Self::Error> {
        seen.calls.set(seen.calls.get() + 1);
        match *self {
            Self::Nothing => {}
            Self::Subscribe(id) => drop(seen.table.subscribe(entry(id, 1, Self::Nothing))?),
            Self::Unsubscribe(id) => assert!(seen.table.unsubscribe(SubscriptionId::new(id)).is_ok()),
        }
        Ok(())
    }
}

#[test]
fn a_handler_may_subscribe_and_unsubscribe_and_the_running_dispatch_goes_on_unchanged() {
    let table = Table::new();
    table.subscribe(entry(1, 400, Change::Subscribe(9))).unwrap();
    table.subscribe(entry(2, 300, Change::Unsubscribe(3))).unwrap();
    table.subscribe(entry(3, 200, Change::Nothing)).unwrap();
    let seen = Seen { table: &table, calls: Cell::new(0) };
    let tally = dispatch(table.load().entries(), &seen, |_, error| panic!("{error}"));
    assert_eq!((tally.handled, seen.calls.get()), (3, 3), "the entries that were there when it began");
    let now: Vec<_> = table.load().entries().iter().map(|entry| entry.id.get()).collect();
    assert_eq!(now, [1, 2, 9]);
}

#[test]
fn dispatch_in_dispatch_with_changes_at_each_depth_is_refused_at_worst() {
    struct Nested<'a>(&'a StaticTable<Dive, 2, 3>, Cell<u32>);
    #[derive(Clone, Copy)]
    struct Dive;
    impl Handler<Nested<'_>> for Dive {
        type Error = ();
        fn handle(&self, nested: &Nested<'_>) -> Result<(), ()> {
            nested.1.set(nested.1.get() + 1);
            if nested.1.get() > 10 {
                return Ok(());
            }
            let subscribed = nested.0.subscribe(entry(u64::from(nested.1.get()), 1, Dive)).is_ok();
            let inner = dispatch(nested.0.load().entries().first(), nested, |_, ()| ());
            if subscribed && inner.total() == 1 { Ok(()) } else { Err(()) }
        }
    }
    let table = StaticTable::new();
    table.subscribe(entry(0, 100, Dive)).unwrap();
    let nested = Nested(&table, Cell::new(0));
    let tally = dispatch(table.load().entries(), &nested, |_, ()| ());
    assert_eq!((tally.total(), nested.1.get()), (1, 11), "it came to an end");
}

#[test]
fn references_function_pointers_and_boxes_are_handlers() {
    fn positive(number: &i32) -> Result<(), &'static str> {
        if *number > 0 { Ok(()) } else { Err("not positive") }
    }
    let pointer: fn(&i32) -> Result<(), &'static str> = positive;
    let shared: &dyn Handler<i32, Error = &'static str> = &pointer;
    assert_eq!(dispatch(&[entry(1, 1, pointer)], &5, |_, _| ()).handled, 1);
    assert_eq!(dispatch(&[entry(1, 1, shared)], &-5, |_, error| assert_eq!(error, "not positive")).failed, 1);
    #[cfg(feature = "alloc")]
    {
        let boxed: Box<dyn Handler<i32, Error = &'static str>> = Box::new(pointer);
        let counted: std::sync::Arc<dyn Handler<i32, Error = &'static str>> = std::sync::Arc::new(pointer);
        assert_eq!(dispatch(&[entry(1, 1, boxed)], &5, |_, _| ()).handled, 1);
        assert_eq!(dispatch(&[entry(1, 1, counted)], &5, |_, _| ()).handled, 1);
    }
}

#[test]
fn an_event_may_be_unsized() {
    let count: fn(&str) -> Result<(), usize> = |text| Err(text.len());
    dispatch(&[entry(1, 1, count)], "four", |_, length| assert_eq!(length, 4));
}
