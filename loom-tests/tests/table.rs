//! Models of the subscription table: subscribing, unsubscribing and reading at once.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use nervebus_core::table::{StaticTable, SubscribeError};
use nervebus_core::{Entry, LaneId, Priority, SubscriptionId};
use nervebus_loom_tests::{Counted, explore};

/// Three versions: one current, one that a reader may hold, one spare.
type Table<H = u64> = StaticTable<H, 4, 3>;

fn entry<H>(id: u64, handler: H) -> Entry<H> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, handler)
}

/// The version and the identities of the route that is current now.
fn look(table: &Table) -> (u64, Vec<u64>) {
    let route = table.load();
    for entry in route.entries() {
        assert_eq!(entry.handler, entry.id.get() * 10, "the handler of another entry");
        assert!(entry.since <= route.version(), "an entry from the future");
    }
    (route.version(), route.entries().iter().map(|entry| entry.id.get()).collect())
}

/// Would catch: a reader that sees half of a change (an entry added but the version old, an entry removed and its
/// neighbour not yet moved up), or an older route after a newer one.
#[test]
fn a_reader_sees_the_table_before_or_after_a_change() {
    explore("table: subscribe and unsubscribe against a reader x 2", Some(2), || {
        let table = Arc::new(Table::new());
        table.subscribe(entry(1, 10)).unwrap();
        let reader = {
            let table = Arc::clone(&table);
            loom::thread::spawn(move || [look(&table), look(&table)])
        };
        assert_eq!(table.subscribe(entry(2, 20)).unwrap(), 2);
        assert_eq!(table.unsubscribe(SubscriptionId::new(1)), Ok(Some(3)));
        let seen = reader.join().unwrap();
        for (version, ids) in &seen {
            let expected: &[u64] = [&[1][..], &[1, 2], &[2]][*version as usize - 1];
            assert_eq!(ids, expected, "version {version}");
        }
        assert!(seen.is_sorted_by_key(|(version, _)| *version));
    });
}

/// Would catch: of two threads that subscribe at once, one whose entry is taken but not in the table, or is in the table
/// although it was given back.
#[test]
fn two_subscribers_are_both_in_or_told_busy() {
    explore("table: 2 subscribers x 2, 1 reader", Some(2), || {
        let table = Arc::new(Table::new());
        let subscriber = |ids: [u64; 2]| {
            let table = Arc::clone(&table);
            move || -> Vec<u64> {
                let taken = ids.into_iter().filter(|id| match table.subscribe(entry(*id, *id * 10)) {
                    Ok(_) => true,
                    Err(SubscribeError::Busy(back)) => {
                        assert_eq!(back.id.get(), *id);
                        false
                    }
                    Err(other) => panic!("{other}"),
                });
                taken.collect()
            }
        };
        let other = loom::thread::spawn(subscriber([3, 4]));
        let reader = {
            let table = Arc::clone(&table);
            loom::thread::spawn(move || look(&table))
        };
        let mut taken = subscriber([1, 2])();
        taken.extend(other.join().unwrap());
        let (version, ids) = reader.join().unwrap();
        assert_eq!(version as usize, ids.len(), "each change added one entry");
        assert!(ids.iter().all(|id| taken.contains(id)));
        assert_eq!(look(&table), (taken.len() as u64, taken));
    });
}

/// A handler whose calls and whose drop are steps of the model, so that loom tries both orders of the two.
struct Called {
    step: Arc<AtomicUsize>,
    _drop: Counted,
}

impl Drop for Called {
    fn drop(&mut self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }
}

/// Would catch: an emit that begins after an unsubscribe has returned and still finds the handler; a handler that is
/// dropped while it is called, or that stays alive in a table that has been emptied.
#[test]
fn an_unsubscribed_handler_is_not_found_and_not_kept() {
    explore("table: unsubscribe against an emitter x 2", Some(3), || {
        let drops = Counted::counter();
        let step = Arc::new(AtomicUsize::new(0));
        let handler = Called { step: Arc::clone(&step), _drop: Counted::new(&drops) };
        let scene = Arc::new((Table::<Arc<Called>>::new(), AtomicBool::new(false)));
        scene.0.subscribe(entry(1, Arc::new(handler))).unwrap();
        let emitter = {
            let (scene, drops) = (Arc::clone(&scene), Arc::clone(&drops));
            loom::thread::spawn(move || {
                for _ in 0..2 {
                    // Acquire pairs with the Release below: then the unsubscribe happened before this load.
                    let gone = scene.1.load(Ordering::Acquire);
                    let route = scene.0.load();
                    assert!(!gone || route.is_empty(), "an unsubscribed handler was found");
                    for entry in route.entries() {
                        entry.handler.step.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(Counted::drops(&drops), 0, "a handler was dropped in its call");
                    }
                }
            })
        };
        assert_eq!(scene.0.unsubscribe(SubscriptionId::new(1)), Ok(Some(2)));
        scene.1.store(true, Ordering::Release);
        emitter.join().unwrap();
        scene.0.reclaim();
        assert_eq!(Counted::drops(&drops), 1, "an emptied table keeps nothing alive");
    });
}

/// What a handler uses, and what is taken away when nobody calls it any more; loom reports a use and a taking away that
/// are not in order, one way or the other.
struct Resource(UnsafeCell<()>);

// SAFETY: loom runs one thread at a time, and ends the model at the first access that races with another.
unsafe impl Sync for Resource {}

impl Resource {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(())))
    }

    fn used(&self) {
        self.0.with(|_| ());
    }

    fn taken_away(&self) {
        self.0.with_mut(|_| ());
    }
}

/// Loads the route that many times, and calls the handlers it finds.
fn caller<const K: usize>(table: &Arc<StaticTable<Arc<Resource>, 4, K>>, times: usize) -> loom::thread::JoinHandle<()> {
    let table = Arc::clone(table);
    loom::thread::spawn(move || {
        for _ in 0..times {
            table.load().entries().iter().for_each(|entry| entry.handler.used());
        }
    })
}

/// Would catch: 'quiet' while a reader still calls the handler or before what it did in its call is visible; a handler
/// called after 'quiet'; a token that never becomes quiet although the readers are gone.
#[test]
fn after_quiet_nobody_calls_the_handler() {
    explore("table: unsubscribe watched against a reader x 2", Some(3), || {
        let table = Arc::new(StaticTable::<_, 4, 2>::new());
        let resource = Resource::new();
        table.subscribe(entry(1, Arc::clone(&resource))).unwrap();
        let reader = caller(&table, 2);
        let mut gone = table.unsubscribe_watched(SubscriptionId::new(1)).unwrap().unwrap();
        if (0..2).any(|_| gone.is_quiet()) {
            resource.taken_away();
            assert!(gone.is_quiet(), "once quiet, always quiet");
        }
        reader.join().unwrap();
        assert!(gone.is_quiet(), "the reader is gone");
    });
}

/// Would catch: the same when an older version than the one just retired has the handler too, and both are still read.
#[test]
fn after_quiet_nobody_calls_the_handler_in_an_older_version() {
    explore("table: unsubscribe watched under a guard, 2 retired versions, 1 reader", Some(3), || {
        let table = Arc::new(StaticTable::<_, 4, 3>::new());
        let resource = Resource::new();
        table.subscribe(entry(1, Arc::clone(&resource))).unwrap();
        let reader = caller(&table, 1);
        table.subscribe(entry(2, Resource::new())).unwrap();
        let own = table.load();
        let mut gone = table.unsubscribe_watched(SubscriptionId::new(1)).expect("one version is spare").unwrap();
        assert!(!gone.is_quiet(), "this thread could still call it");
        drop(own);
        if gone.is_quiet() {
            resource.taken_away();
        }
        reader.join().unwrap();
        assert!(gone.is_quiet(), "the reader is gone");
    });
}
