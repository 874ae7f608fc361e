//! The copy-on-write cells: what readers see, when writers are refused, and that every version is dropped once.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::snapshot::{CowCell, Snapshot, UpdateError};

type Refused = UpdateError<&'static str>;

fn set<T>(cell: &impl Snapshot<T>, value: T) -> Result<(), Refused> {
    let mut value = Some(value);
    cell.update(|_| value.take().map(|value| (value, ())).ok_or("called twice"))
}

/// Counts the values that are alive.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

struct One(Alive);

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_guard_keeps_its_version_while_newer_ones_are_published() {
    let cell = CowCell::<_, 4>::new("first");
    let first = cell.load();
    set(&cell, "second").unwrap();
    let second = cell.load();
    set(&cell, "third").unwrap();
    assert_eq!((*first, *second, *cell.load()), ("first", "second", "third"));
}

#[test]
fn a_change_sees_the_current_version_and_its_answer_comes_back() {
    let cell = CowCell::<_, 2>::new(20);
    let answer = cell.update(|old| Ok::<_, ()>((old + 1, "done")));
    assert_eq!((answer, *cell.load()), (Ok("done"), 21));
}

#[test]
fn a_refused_change_leaves_the_value_and_the_cell_usable() {
    let cell = CowCell::<_, 2>::new(1);
    assert_eq!(cell.update(|_| Err::<(i32, ()), _>("no")), Err(UpdateError::Refused("no")));
    assert_eq!(*cell.load(), 1);
    set(&cell, 2).unwrap();
    assert_eq!(*cell.load(), 2);
}

#[test]
fn an_update_is_busy_when_every_spare_version_is_read_and_works_when_one_is_given_back() {
    let cell = CowCell::<_, 3>::new(0);
    let zero = cell.load();
    set(&cell, 1).unwrap();
    let one = cell.load();
    set(&cell, 2).unwrap();
    assert_eq!(set(&cell, 3), Err(UpdateError::Busy));
    drop(one);
    set(&cell, 3).unwrap();
    assert_eq!((*zero, *cell.load()), (0, 3));
}

#[test]
fn a_reader_may_update_as_often_as_it_likes_under_its_guard() {
    let cell = CowCell::<_, 3>::new(0);
    let before = cell.load();
    for value in 1..=100 {
        set(&cell, value).unwrap();
    }
    assert_eq!((*before, *cell.load()), (0, 100));
}

#[test]
fn an_update_inside_an_update_is_busy_and_harms_neither() {
    let cell = CowCell::<_, 4>::new(0);
    let inner = cell.update(|old| Ok::<_, ()>((old + 1, set(&cell, 99))));
    assert_eq!(inner, Ok(Err(UpdateError::Busy)));
    assert_eq!(*cell.load(), 1);
    set(&cell, 2).unwrap();
    assert_eq!(*cell.load(), 2);
}

#[test]
fn an_update_that_is_refused_as_busy_does_not_end_the_one_that_runs() {
    let cell = CowCell::<_, 4>::new(0);
    let inner = cell.update(|_| Ok::<_, ()>((1, [set(&cell, 8), set(&cell, 9)])));
    assert_eq!(inner, Ok([Err(UpdateError::Busy); 2]), "the first refusal must not let the second in");
}

#[test]
fn a_panicking_reader_gives_its_version_back() {
    let cell = CowCell::<_, 2>::new(1);
    let panicked = catch_unwind(|| {
        let _guard = cell.load();
        panic!("reader");
    });
    assert!(panicked.is_err());
    set(&cell, 2).unwrap();
    set(&cell, 3).unwrap();
    assert_eq!(*cell.load(), 3);
}

#[test]
fn a_panicking_change_publishes_nothing_and_lets_the_next_one_in() {
    let cell = CowCell::<_, 2>::new(1);
    let panicked = catch_unwind(|| cell.update(|_| -> Result<(i32, ()), ()> { panic!("writer") }));
    assert!(panicked.is_err());
    assert_eq!(*cell.load(), 1);
    set(&cell, 2).unwrap();
    assert_eq!(*cell.load(), 2);
}

#[test]
fn an_old_version_is_dropped_at_once_or_when_its_reader_is_done() {
    let alive = Alive::default();
    let cell = CowCell::<_, 4>::new(alive.one());
    set(&cell, alive.one()).unwrap();
    assert_eq!(alive.count(), 1, "nobody read the first one");
    let guard = cell.load();
    set(&cell, alive.one()).unwrap();
    assert_eq!(alive.count(), 2, "the second one is read");
    drop(guard);
    cell.reclaim();
    assert_eq!(alive.count(), 1);
}

#[test]
fn dropping_a_cell_drops_every_version_once() {
    let alive = Alive::default();
    let cell = CowCell::<_, 4>::new(alive.one());
    let guard = cell.load();
    set(&cell, alive.one()).unwrap();
    std::mem::forget(guard);
    set(&cell, alive.one()).unwrap();
    assert_eq!(alive.count(), 2, "the current one, and the one whose guard was forgotten");
    drop(cell);
    assert_eq!(alive.count(), 0);
}

#[test]
fn dropping_an_old_version_may_use_the_cell() {
    struct Farewell(&'static CowCell<Option<Farewell>, 3>, Arc<AtomicBool>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let published = self.0.update(|_| Ok::<_, ()>((None, ())));
            self.1.store(published.is_ok(), Ordering::SeqCst);
        }
    }
    let cell: &'static CowCell<_, 3> = Box::leak(Box::new(CowCell::new(None)));
    let published = Arc::new(AtomicBool::new(false));
    set(cell, Some(Farewell(cell, Arc::clone(&published)))).unwrap();
    set(cell, None).unwrap();
    assert!(published.load(Ordering::SeqCst), "no lock is held while a version is dropped");
}

#[test]
fn a_panic_while_an_old_version_is_dropped_leaves_the_new_one_published() {
    struct Bomb(bool);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 {
                panic!("drop");
            }
        }
    }
    let cell = CowCell::<_, 2>::new(Bomb(true));
    assert!(catch_unwind(AssertUnwindSafe(|| set(&cell, Bomb(false)))).is_err());
    assert!(!cell.load().0);
    set(&cell, Bomb(false)).unwrap();
}

#[test]
fn a_cell_in_a_static_is_shared_and_debuggable() {
    static CELL: CowCell<[u8; 2]> = CowCell::new([1, 2]);
    thread::scope(|scope| {
        scope.spawn(|| set(&CELL, [3, 4]).unwrap());
    });
    assert_eq!(format!("{CELL:?} {:?}", CELL.load()), "CowCell([3, 4]) [3, 4]");
}

#[test]
fn errors_say_what_happened() {
    assert_eq!(UpdateError::Refused("no such field").to_string(), "no such field");
    assert!(Refused::Busy.to_string().starts_with("another writer is at work"));
}

/// Threads read and write one cell as fast as they can; every version a reader sees must be whole and alive, readers
/// must never go back, and no update may be lost.
fn stress(cell: &(impl Snapshot<(u64, u64, One)> + Sync), alive: &Alive) {
    const WRITES: u64 = 20_000;
    let start = Barrier::new(4);
    let running = AtomicUsize::new(2);
    let total: u64 = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                let mut last = 0;
                while running.load(Ordering::Relaxed) > 0 {
                    let guard = cell.load();
                    assert_eq!(guard.1, guard.0.wrapping_mul(3), "torn");
                    assert!(guard.0 >= last, "older than before");
                    last = guard.0;
                }
            });
        }
        let writers = [(); 2].map(|()| {
            scope.spawn(|| {
                start.wait();
                let written = (0..WRITES).filter(|_| {
                    let change = |old: &(u64, u64, One)| Ok::<_, ()>(((old.0 + 1, (old.0 + 1) * 3, alive.one()), ()));
                    cell.update(change).is_ok()
                });
                let written = written.count() as u64;
                running.fetch_sub(1, Ordering::Relaxed);
                written
            })
        });
        writers.map(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic))).iter().sum()
    });
    assert_eq!(cell.load().0, total, "each update that succeeded counted once");
}

#[test]
fn stress_in_place() {
    let alive = Alive::default();
    let cell = CowCell::<_, 4>::new((0, 0, alive.one()));
    stress(&cell, &alive);
    cell.reclaim();
    assert_eq!(alive.count(), 1, "only the current version is left");
    drop(cell);
    assert_eq!(alive.count(), 0);
}

#[cfg(feature = "std")]
mod hosted {
    use super::*;
    use nervebus_core::snapshot::ArcCell;

    #[test]
    fn stress_on_the_heap() {
        let alive = Alive::default();
        let cell = ArcCell::new((0, 0, alive.one()));
        stress(&cell, &alive);
        assert_eq!(alive.count(), 1, "only the current version is left");
        drop(cell);
        assert_eq!(alive.count(), 0);
    }

    #[test]
    fn an_update_is_never_busy() {
        let cell = ArcCell::new(0);
        let guards: Vec<_> = (1..=20)
            .map(|value| {
                let guard = cell.load();
                set(&cell, value).unwrap();
                guard
            })
            .collect();
        assert!(guards.iter().enumerate().all(|(value, guard)| **guard == value as i32));
    }

    #[test]
    fn an_update_that_lost_a_race_changes_the_winners_version() {
        let cell = ArcCell::new(0);
        let mut calls = 0;
        let seen = cell.update(|old| {
            calls += 1;
            if calls == 1 {
                set(&cell, 10).unwrap();
            }
            Ok::<_, ()>((old + 1, *old))
        });
        assert_eq!((seen, calls, *cell.load()), (Ok(10), 2, 11));
    }

    #[test]
    fn a_cache_follows_the_cell_and_outlives_it() {
        let cell = ArcCell::new("old");
        let mut cache = cell.cache();
        let mut copy = cache.clone();
        assert_eq!(*cache.load(), "old");
        set(&cell, "new").unwrap();
        assert_eq!((*cache.load(), *copy.load(), *cell.load_full()), ("new", "new", "new"));
        assert_eq!(*cell.shared().load_full(), "new");
        drop(cell);
        assert_eq!(*cache.load(), "new");
    }

    #[test]
    fn a_refused_change_leaves_the_value() {
        let cell = ArcCell::new(1);
        assert_eq!(cell.update(|_| Err::<(i32, ()), _>("no")), Err(UpdateError::Refused("no")));
        assert_eq!(format!("{cell:?} {:?} {:?}", cell.load(), cell.cache()), "ArcCell(1) 1 ArcCache(1)");
    }
}
