//! What the models share: running one, counting its executions, counting drops, sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::model::Builder;
use loom::sync::{Condvar, Mutex};
use nervebus_core::wait::Wait;

/// How many steps one execution may take before it counts as endless.
const MAX_BRANCHES: usize = 10_000;

/// Runs `model` in every order that takes at most `bound` preemptions (all orders if `None`), and prints how many those
/// were. The environment variable `LOOM_MAX_PREEMPTIONS` replaces the bound of every model that has one.
///
/// # Panics
///
/// When an execution panics, races, deadlocks or does not end; loom prints which one.
pub fn explore(name: &str, bound: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    // Outside the model: a std atomic is no step of it, and lives on from one execution to the next.
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = Builder::new();
    let bound = bound.map(|bound| builder.preemption_bound.unwrap_or(bound));
    builder.preemption_bound = bound;
    builder.max_branches = MAX_BRANCHES;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let bound = bound.map_or("none".to_owned(), |bound| bound.to_string());
    println!("{name}: {} executions (preemption bound {bound})", executions.load(Ordering::Relaxed));
}

/// A value that counts how many of its kind have been dropped.
#[derive(Debug)]
pub struct Counted {
    drops: Arc<AtomicUsize>,
}

impl Counted {
    /// A counter that stands at 0.
    pub fn counter() -> Arc<AtomicUsize> {
        Arc::default()
    }

    /// A value that adds one to `drops` when it goes.
    pub fn new(drops: &Arc<AtomicUsize>) -> Self {
        Self { drops: Arc::clone(drops) }
    }

    /// How many values have been dropped.
    pub fn drops(drops: &AtomicUsize) -> usize {
        drops.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

/// Sleeps on a condition variable, so that a lost wake-up is a deadlock, which loom reports.
#[derive(Debug, Default)]
pub struct Bed {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wait for Bed {
    fn wait(&self) {
        let mut woken = self.woken.lock().unwrap();
        while !*woken {
            woken = self.changed.wait(woken).unwrap();
        }
        *woken = false;
    }

    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}
