//! Models of the schedule: no wish for a turn is lost, and turns do not overlap.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering};
use nervebus_core::schedule::Schedule;
use nervebus_loom_tests::explore;

/// Something that runs in turns, and the list of what is to run.
#[derive(Default)]
struct Pool {
    schedule: Schedule,
    /// How often it is on the list.
    list: Mutex<usize>,
    /// Work that was put in place, one unit a wish; a turn takes all.
    work: AtomicUsize,
    done: UnsafeCell<usize>,
}

// SAFETY: the cell is what the models check: loom reports two turns that touch it at once.
unsafe impl Sync for Pool {}
// SAFETY: it holds numbers.
unsafe impl Send for Pool {}

impl Pool {
    fn put_on_the_list(&self) {
        let mut list = self.list.lock().unwrap();
        *list += 1;
        assert_eq!(*list, 1, "it is on the list twice");
    }

    fn ask(&self) {
        // Relaxed: what shows it to the turn is the schedule.
        self.work.store(self.work.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if self.schedule.wake() {
            self.put_on_the_list();
        }
    }

    /// Runs it if it is on the list, once.
    fn run(&self) -> bool {
        let listed = std::mem::take(&mut *self.list.lock().unwrap()) > 0;
        if listed {
            self.schedule.begin();
            let seen = self.work.load(Ordering::Relaxed);
            // SAFETY: a turn at a time, which is what the model checks.
            self.done.with_mut(|done| unsafe { *done = seen });
            if self.schedule.rest() {
                self.put_on_the_list();
            }
        }
        listed
    }

    fn done(&self) -> usize {
        // SAFETY: all threads have been joined.
        self.done.with(|done| unsafe { *done })
    }
}

/// Would catch: a wish between the last look for work and the end of the turn that leads to no other turn; a turn that
/// does not see the work; an entry on the list too many.
#[test]
fn a_wish_while_it_runs_leads_to_another_turn() {
    explore("schedule: 1 asks twice, 2 threads run", Some(3), || {
        let pool = Arc::new(Pool::default());
        let runners: Vec<_> = (0..2)
            .map(|_| {
                let pool = Arc::clone(&pool);
                loom::thread::spawn(move || pool.run())
            })
            .collect();
        pool.ask();
        pool.ask();
        for runner in runners {
            runner.join().unwrap();
        }
        while pool.run() {}
        assert_eq!(pool.done(), 2);
    });
}

/// Would catch: of two that ask at once, both or neither putting it on the list; the work of the one who did not, unseen.
#[test]
fn two_that_ask_at_once_get_a_turn_that_sees_both() {
    explore("schedule: 2 ask, 1 thread runs", Some(3), || {
        let pool = Arc::new(Pool::default());
        let works = [AtomicUsize::new(0), AtomicUsize::new(0)].map(Arc::new);
        let askers: Vec<_> = works
            .iter()
            .map(|work| {
                let (pool, work) = (Arc::clone(&pool), Arc::clone(work));
                loom::thread::spawn(move || {
                    work.store(1, Ordering::Relaxed);
                    if pool.schedule.wake() {
                        pool.put_on_the_list();
                    }
                })
            })
            .collect();
        let seen = |_: ()| works.iter().map(|work| work.load(Ordering::Relaxed)).sum::<usize>();
        let turn = || {
            let listed = std::mem::take(&mut *pool.list.lock().unwrap()) > 0;
            if !listed {
                return None;
            }
            pool.schedule.begin();
            let sum = seen(());
            if pool.schedule.rest() {
                pool.put_on_the_list();
            }
            Some(sum)
        };
        let mut last = turn();
        askers.into_iter().for_each(|asker| asker.join().unwrap());
        while let Some(sum) = turn() {
            last = Some(sum);
        }
        assert_eq!(last, Some(2), "the last turn sees the work of both");
    });
}
