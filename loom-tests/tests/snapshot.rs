//! Models of the copy-on-write cell: readers and writers at once.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use nervebus_core::snapshot::{CowCell, Retired, Snapshot, UpdateError};
use nervebus_loom_tests::explore;

/// Which versions exist.
#[derive(Default)]
struct Register {
    /// A std mutex: no step of the model, and never held across one.
    alive: Mutex<BTreeSet<usize>>,
    /// A step that every use and every drop of a version takes, so that loom tries both orders of the two. It is relaxed:
    /// it orders nothing for the cell.
    step: AtomicUsize,
}

impl Register {
    fn count(&self) -> usize {
        self.alive.lock().unwrap().len()
    }
}

/// A version that is in the register from when it is made until it is dropped.
struct Version {
    number: usize,
    /// Always `number` times 3, to see a torn one.
    tripled: usize,
    register: Arc<Register>,
}

impl Version {
    fn new(number: usize, register: &Arc<Register>) -> Self {
        assert!(register.alive.lock().unwrap().insert(number), "version {number} was made twice");
        Self { number, tripled: number * 3, register: Arc::clone(register) }
    }

    fn check(&self, register: &Register) -> usize {
        register.step.fetch_add(1, Ordering::Relaxed);
        assert_eq!(self.tripled, self.number * 3, "a torn version");
        assert!(register.alive.lock().unwrap().contains(&self.number), "a dropped version is being read");
        self.number
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        self.register.step.fetch_add(1, Ordering::Relaxed);
        let known = self.register.alive.lock().is_ok_and(|mut alive| alive.remove(&self.number));
        assert!(known || std::thread::panicking(), "version {} was dropped twice", self.number);
    }
}

struct Scene<const K: usize> {
    cell: CowCell<Version, K>,
    register: Arc<Register>,
}

impl<const K: usize> Scene<K> {
    fn new() -> Arc<Self> {
        let register = Arc::default();
        let cell = CowCell::new(Version::new(0, &register));
        Arc::new(Self { cell, register })
    }

    /// Reads the current version's number.
    fn read(&self) -> usize {
        self.cell.load().check(&self.register)
    }

    /// Publishes the next version; `false` if the cell was busy.
    fn write(&self) -> bool {
        let written = self.cell.update(|old| {
            let number = old.check(&self.register);
            Ok::<_, Infallible>((Version::new(number + 1, &self.register), ()))
        });
        match written {
            Ok(()) => true,
            Err(UpdateError::Busy) => false,
        }
    }

    /// After all threads have ended: one version is left, and then none.
    fn finish(self: Arc<Self>) -> usize {
        let last = self.read();
        self.cell.reclaim();
        assert_eq!(self.register.count(), 1, "a retired version was not dropped");
        let register = Arc::clone(&self.register);
        drop(Arc::into_inner(self).unwrap());
        assert_eq!(register.count(), 0, "the cell did not drop what it held");
        last
    }
}

/// Starts a thread that reads `times` times and sees versions only grow.
fn reader<const K: usize>(scene: &Arc<Scene<K>>, times: usize) -> loom::thread::JoinHandle<()> {
    let scene = Arc::clone(scene);
    loom::thread::spawn(move || {
        let seen: Vec<_> = (0..times).map(|_| scene.read()).collect();
        assert!(seen.is_sorted(), "a reader went back to an older version");
    })
}

/// Would catch: a version dropped, overwritten or reused while it is read; a version read before it is written; a
/// version dropped twice or never; an update lost.
#[test]
fn one_reader_three_writes() {
    explore("snapshot: 1 reader x 2, 3 writes, 2 versions", Some(2), || {
        let scene = Scene::<2>::new();
        let reader = reader(&scene, 2);
        let written = (0..3).filter(|_| scene.write()).count();
        reader.join().unwrap();
        assert!(written >= 1, "the first write found the spare version taken");
        assert_eq!(scene.finish(), written);
    });
}

/// Would catch: as above, in every order there is, and so small that they can all be explored.
#[test]
fn one_reader_one_write() {
    explore("snapshot: 1 reader, 1 write, 2 versions", None, || {
        let scene = Scene::<2>::new();
        let reader = reader(&scene, 1);
        assert!(scene.write(), "the other version is spare");
        reader.join().unwrap();
        assert_eq!(scene.finish(), 1);
    });
}

/// Would catch: as above, where two readers of one version give it back in any order, and of two versions at once.
#[test]
fn two_readers_two_writes() {
    explore("snapshot: 2 readers, 2 writes, 2 versions", Some(2), || {
        let scene = Scene::<2>::new();
        let readers = [reader(&scene, 1), reader(&scene, 1)];
        let written = (0..2).filter(|_| scene.write()).count();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(scene.finish(), written);
    });
}

/// Would catch: two writers in one place at once; an update made of a version that is no longer current, and so lost; a
/// writer that does not see what the one before it has done.
#[test]
fn two_writers_one_reader() {
    explore("snapshot: 2 writers x 2, 1 reader, 3 versions", Some(2), || {
        let scene = Scene::<3>::new();
        let reader = reader(&scene, 1);
        let writer = {
            let scene = Arc::clone(&scene);
            loom::thread::spawn(move || (0..2).filter(|_| scene.write()).count())
        };
        let written = (0..2).filter(|_| scene.write()).count() + writer.join().unwrap();
        reader.join().unwrap();
        assert_eq!(scene.finish(), written);
    });
}

/// Would catch: a handler that updates the cell whose guard it holds waiting for itself, or being refused although
/// nobody else is in the way.
#[test]
fn an_update_while_holding_a_guard() {
    explore("snapshot: an update under a guard, 1 reader, 3 versions", Some(3), || {
        let scene = Scene::<3>::new();
        let reader = reader(&scene, 2);
        let guard = scene.cell.load();
        assert!(scene.write(), "one version is held by the guard, one is current, one is spare");
        assert_eq!(guard.check(&scene.register), 0);
        drop(guard);
        reader.join().unwrap();
        assert_eq!(scene.finish(), 1);
    });
}

/// Something used under the first version's guard, and taken away afterwards; loom reports the two if they race.
struct Resource(UnsafeCell<()>);

// SAFETY: loom runs one thread at a time, and ends the model at the first access that races with another.
unsafe impl Sync for Resource {}

/// Would catch: a watcher that takes a place which another writer has used again for one that is still read, and waits
/// for ever; or that learns from its being used again that the readers are gone, but not what they did.
#[test]
fn a_watched_place_is_used_again() {
    explore("snapshot: an update watched, 1 reader that writes, 2 versions", Some(3), || {
        let scene = Arc::new((CowCell::<usize, 2>::new(0), Resource(UnsafeCell::new(()))));
        let next = |old: &usize| Ok::<_, Infallible>((old + 1, ()));
        let other = {
            let scene = Arc::clone(&scene);
            loom::thread::spawn(move || {
                let guard = scene.0.load();
                if *guard == 0 {
                    scene.1.0.with(|_| ());
                }
                drop(guard);
                let _busy_if_the_other_one_writes = scene.0.update(next);
                // A guard of the new version that was given back: the balance of its place is not zero any more.
                drop(scene.0.load());
            })
        };
        let watched = scene.0.update_watched(next);
        if let Ok(((), mut retired)) = watched {
            if retired.is_quiet() {
                scene.1.0.with_mut(|_| ());
            }
            other.join().unwrap();
            assert!(retired.is_quiet(), "the reader is gone");
        }
    });
}
