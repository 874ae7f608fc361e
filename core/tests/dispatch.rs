//! Dispatch: order, isolation of failures, and handlers that change the table they are called from.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nervebus_core::route::EntryList;
use nervebus_core::snapshot::Snapshot;
use nervebus_core::table::{StaticTable, SubscribeError, SubscriptionTable};
use nervebus_core::{Entry, Handler, LaneId, Priority, Route, SubscriptionId, Tally, dispatch};

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

/// A handler that changes the table it was called from.
#[derive(Clone, Copy)]
enum Change {
    Nothing,
    Subscribe(u64),
    Unsubscribe(u64),
    Await(u64),
}

struct Seen<'a, L, C> {
    table: &'a SubscriptionTable<Change, L, C>,
    calls: Cell<usize>,
    looks: Cell<u32>,
}

impl<'a, L, C> Seen<'a, L, C> {
    fn new(table: &'a SubscriptionTable<Change, L, C>) -> Self {
        Self { table, calls: Cell::new(0), looks: Cell::new(0) }
    }
}

impl<L: EntryList<Change>, C: Snapshot<Route<Change, L>>> Handler<Seen<'_, L, C>> for Change {
    type Error = SubscribeError<Self>;

    fn handle(&self, seen: &Seen<'_, L, C>) -> Result<(), Self::Error> {
        seen.calls.set(seen.calls.get() + 1);
        match *self {
            Self::Nothing => {}
            Self::Subscribe(id) => drop(seen.table.subscribe(entry(id, 1, Self::Nothing))?),
            Self::Unsubscribe(id) => assert!(seen.table.unsubscribe(SubscriptionId::new(id)).is_ok()),
            Self::Await(id) => {
                let gone = seen.table.unsubscribe_watched(SubscriptionId::new(id)).unwrap().unwrap();
                let waited = gone.wait(|turn| {
                    seen.looks.set(turn + 1);
                    turn < 99
                });
                assert!(waited.is_err(), "this call is one of those that are waited for");
            }
        }
        Ok(())
    }
}

fn the_running_dispatch_goes_on<L, C>(table: &SubscriptionTable<Change, L, C>)
where
    L: EntryList<Change>,
    C: Snapshot<Route<Change, L>>,
{
    table.subscribe(entry(1, 400, Change::Subscribe(9))).unwrap();
    table.subscribe(entry(2, 300, Change::Unsubscribe(3))).unwrap();
    table.subscribe(entry(3, 200, Change::Nothing)).unwrap();
    let seen = Seen::new(table);
    let tally = dispatch(table.load().entries(), &seen, |_, error| panic!("{error}"));
    assert_eq!((tally.handled, seen.calls.get()), (3, 3), "the entries that were there when it began");
    let now: Vec<_> = table.load().entries().iter().map(|entry| entry.id.get()).collect();
    assert_eq!(now, [1, 2, 9]);
}

fn waiting_in_a_handler_is_given_up<L, C>(table: &SubscriptionTable<Change, L, C>)
where
    L: EntryList<Change>,
    C: Snapshot<Route<Change, L>>,
{
    table.subscribe(entry(1, 100, Change::Await(1))).unwrap();
    let seen = Seen::new(table);
    assert_eq!(dispatch(table.load().entries(), &seen, |_, error| panic!("{error}")).handled, 1);
    assert_eq!(seen.looks.get(), 100, "it was asked after each look whether to go on, and then came back");
    assert!(table.load().is_empty(), "the subscription has ended all the same");
}

#[test]
fn a_handler_may_subscribe_and_unsubscribe_and_the_running_dispatch_goes_on_unchanged() {
    the_running_dispatch_goes_on(&StaticTable::<_, 4>::new());
    #[cfg(feature = "std")]
    the_running_dispatch_goes_on(&nervebus_core::table::HostedTable::new());
}

#[test]
fn a_handler_that_waits_for_its_own_end_gives_up_and_does_not_hang() {
    waiting_in_a_handler_is_given_up(&StaticTable::<_, 4>::new());
    #[cfg(feature = "std")]
    waiting_in_a_handler_is_given_up(&nervebus_core::table::HostedTable::new());
}

#[cfg(feature = "std")]
#[test]
fn a_panicking_handler_leaves_caches_guards_and_rings_usable() {
    use nervebus_core::ring::BoxedRing;
    use nervebus_core::table::HostedTable;

    let table = HostedTable::new();
    table.subscribe(entry(1, 100, Note::Ok(1))).unwrap();
    table.subscribe(entry(2, 90, Note::Panic(2))).unwrap();
    let mut route = table.cache();
    let ring = BoxedRing::with_capacity(2).unwrap();
    for _ in 0..5 {
        ring.try_push(Notes::default()).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let event = ring.pop().unwrap();
            dispatch(route.load().entries(), &event, |_, _| ());
        }));
        assert!(panicked.is_err());
        let guarded = AssertUnwindSafe(|| dispatch(table.load().entries(), &Notes::default(), |_, _| ()));
        assert!(catch_unwind(guarded).is_err());
    }
    assert_eq!((ring.len(), ring.pushed(), ring.popped()), (0, 5, 5), "the slots are free again");
    let mut gone = table.unsubscribe_watched(SubscriptionId::new(2)).unwrap().unwrap();
    assert!(!gone.is_quiet(), "the cache has the old route");
    assert_eq!(dispatch(route.load().entries(), &Notes::default(), |_, _| ()).handled, 1);
    assert!(gone.is_quiet(), "the guards were given back when the handlers panicked");
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

/// Handlers come and go on some threads while others dispatch; each one says exactly which events it was called with.
mod coming_and_going {
    use std::cmp::Reverse;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const EMITTERS: usize = 2;
    const SUBSCRIBERS: u64 = 3;
    const ROUNDS: u64 = 120;
    /// How often to look before a wait counts as endless.
    const PATIENCE: u32 = 10_000_000;

    type Rank = (Reverse<Priority>, u64);

    struct Event {
        emitter: usize,
        number: u64,
        /// The handler that was called before.
        last: Cell<Option<Rank>>,
    }

    struct Listener {
        rank: Rank,
        quiet: AtomicBool,
        /// For each emitter, its first event here and the one after its last.
        calls: [[AtomicU64; 2]; EMITTERS],
    }

    #[derive(Clone)]
    struct Shared(Arc<Listener>);

    impl Handler<Event> for Shared {
        type Error = Infallible;

        fn handle(&self, event: &Event) -> Result<(), Infallible> {
            let Listener { rank, quiet, calls } = &*self.0;
            assert!(!quiet.load(Ordering::Relaxed), "called after it was quiet");
            assert!(event.last.replace(Some(*rank)) < Some(*rank), "out of order, or called twice");
            let [first, next] = &calls[event.emitter];
            match next.swap(event.number + 1, Ordering::Relaxed) {
                0 => first.store(event.number, Ordering::Relaxed),
                next => assert_eq!(next, event.number, "an event was left out, or came twice"),
            }
            Ok(())
        }
    }

    /// Counts a subscriber out, in a panic too, so that the emitters end.
    struct Leaving<'a>(&'a AtomicUsize);

    impl Drop for Leaving<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[derive(Default)]
    struct Progress {
        begun: [AtomicU64; EMITTERS],
        ended: [AtomicU64; EMITTERS],
    }

    impl Progress {
        /// How many events each emitter has begun. Every change of the counts is a read-modify-write, and so is this: an
        /// event that it does not count begins after it, and after what came before it.
        fn begun(&self) -> [u64; EMITTERS] {
            self.begun.each_ref().map(|count| count.fetch_add(0, Ordering::AcqRel))
        }

        fn ended(&self) -> [u64; EMITTERS] {
            self.ended.each_ref().map(|count| count.load(Ordering::Acquire))
        }
    }

    /// Repeats what may be busy: whoever is in the way goes on by himself.
    fn insist<R>(mut attempt: impl FnMut() -> Option<R>) -> R {
        for _ in 0..PATIENCE {
            match attempt() {
                Some(done) => return done,
                None => thread::yield_now(),
            }
        }
        panic!("busy for ever");
    }

    /// Subscribes a handler, lets some events pass, unsubscribes it, and compares. Returns the number of its calls.
    fn visit<L, C>(table: &SubscriptionTable<Shared, L, C>, progress: &Progress, id: u64) -> u64
    where
        L: EntryList<Shared>,
        C: Snapshot<Route<Shared, L>>,
    {
        let priority = (id % 3) as i32;
        let listener = Arc::new(Listener {
            rank: (Reverse(Priority::new(priority)), id),
            quiet: AtomicBool::new(false),
            calls: Default::default(),
        });
        let over = progress.ended();
        insist(|| table.subscribe(entry(id, priority, Shared(Arc::clone(&listener)))).ok());
        let begun = progress.begun();
        for _ in 0..100 {
            if progress.ended().iter().zip(begun).all(|(ended, begun)| *ended > begun + 1) {
                break;
            }
            thread::yield_now();
        }
        let ended = progress.ended();
        let gone = insist(|| table.unsubscribe_watched(SubscriptionId::new(id)).ok()).expect("it is subscribed");
        let late = progress.begun();
        let resting = |turn| {
            thread::yield_now();
            turn < PATIENCE
        };
        assert!(gone.wait(resting).is_ok(), "never quiet");
        listener.quiet.store(true, Ordering::Relaxed);
        let calls = (0..EMITTERS).map(|emitter| {
            let [first, next] = listener.calls[emitter].each_ref().map(|number| number.load(Ordering::Relaxed));
            if next == 0 {
                assert!(ended[emitter] <= begun[emitter], "an event began and ended while it was in, and never came");
                return 0;
            }
            assert!((over[emitter]..=begun[emitter]).contains(&first), "the first event came too early or too late");
            assert!((ended[emitter]..=late[emitter]).contains(&next), "the last event came too early or too late");
            next - first
        });
        calls.sum()
    }

    fn stress<L, C, D: FnMut(&Event)>(table: &SubscriptionTable<Shared, L, C>, dispatcher: impl Fn() -> D + Sync)
    where
        L: EntryList<Shared> + Sync,
        C: Snapshot<Route<Shared, L>> + Sync,
    {
        let (progress, running) = (Progress::default(), AtomicUsize::new(SUBSCRIBERS as usize));
        let calls = AtomicU64::new(0);
        thread::scope(|scope| {
            for emitter in 0..EMITTERS {
                let (progress, running, dispatcher) = (&progress, &running, &dispatcher);
                scope.spawn(move || {
                    let mut dispatch = dispatcher();
                    while running.load(Ordering::Relaxed) > 0 {
                        let number = progress.begun[emitter].fetch_add(1, Ordering::AcqRel);
                        dispatch(&Event { emitter, number, last: Cell::new(None) });
                        progress.ended[emitter].store(number + 1, Ordering::Release);
                    }
                });
            }
            for subscriber in 0..SUBSCRIBERS {
                let (progress, running, calls) = (&progress, &running, &calls);
                scope.spawn(move || {
                    let _leaving = Leaving(running);
                    let seen = (0..ROUNDS).map(|round| visit(table, progress, round * SUBSCRIBERS + subscriber)).sum();
                    calls.fetch_add(seen, Ordering::Relaxed);
                });
            }
        });
        assert!(table.load().is_empty() && calls.load(Ordering::Relaxed) >= ROUNDS);
    }

    fn call(entries: &[Entry<Shared>], event: &Event) {
        assert_eq!(dispatch(entries, event, |_, never| match never {}).handled, entries.len());
    }

    #[test]
    fn each_handler_gets_exactly_the_events_of_its_time_in_place() {
        let table = StaticTable::<_, { SUBSCRIBERS as usize }, 6>::new();
        stress(&table, || |event: &Event| call(table.load().entries(), event));
    }

    #[cfg(feature = "std")]
    #[test]
    fn each_handler_gets_exactly_the_events_of_its_time_on_the_heap() {
        let table = nervebus_core::table::HostedTable::new();
        stress(&table, || |event: &Event| call(table.load().entries(), event));
        assert_eq!(table.cell().retired(), 0, "no old route is left");
    }

    #[cfg(feature = "std")]
    #[test]
    fn each_handler_gets_exactly_the_events_of_its_time_through_a_cache() {
        let table = nervebus_core::table::HostedTable::new();
        stress(&table, || {
            let mut route = table.cache();
            move |event: &Event| call(route.load().entries(), event)
        });
        assert_eq!(table.cell().retired(), 0, "no old route is left");
    }
}
