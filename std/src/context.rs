//! What an event inherits from the one whose handler emits it: correlation, cause and depth.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use nervebus_core::LaneId;

thread_local! {
    static SCOPE: Scope = const {
        Scope { cause: Cell::new(0), depth: Cell::new(0), worker_of: Cell::new(None), correlation: RefCell::new(None) }
    };
}

/// What this thread is doing for a bus.
struct Scope {
    /// Sequence number of the event being handled; 0 for none.
    cause: Cell<u64>,
    /// How many inline dispatches lie on this thread's stack.
    depth: Cell<u32>,
    /// The bus and lane whose worker this thread is.
    worker_of: Cell<Option<(u64, LaneId)>>,
    correlation: RefCell<Option<Arc<str>>>,
}

/// What an emit on this thread inherits.
#[derive(Debug, Default, Clone)]
pub(crate) struct Inherited {
    pub(crate) cause: u64,
    pub(crate) correlation: Option<Arc<str>>,
}

/// What an emit on this thread inherits, right now.
#[inline]
pub(crate) fn inherited() -> Inherited {
    SCOPE.with(|scope| Inherited { cause: scope.cause.get(), correlation: scope.correlation.borrow().clone() })
}

/// How deep inline dispatches are nested on this thread.
#[inline]
pub(crate) fn depth() -> u32 {
    SCOPE.with(|scope| scope.depth.get())
}

/// The lane of this bus that this thread works for, if any.
#[inline]
pub(crate) fn lane_of(bus: u64) -> Option<LaneId> {
    SCOPE.with(|scope| scope.worker_of.get()).and_then(|(of, lane)| (of == bus).then_some(lane))
}

/// Marks this thread as a lane's worker for the rest of its life.
pub(crate) fn become_worker(bus: u64, lane: LaneId) {
    SCOPE.with(|scope| scope.worker_of.set(Some((bus, lane))));
}

/// While this value lives, emits on this thread are caused by the event it was made for.
#[derive(Debug)]
pub(crate) struct Handling {
    outer_cause: u64,
    outer_correlation: Option<Option<Arc<str>>>,
}

impl Handling {
    #[inline]
    pub(crate) fn enter(cause: u64, correlation: Option<&Arc<str>>) -> Self {
        SCOPE.with(|scope| {
            scope.depth.set(scope.depth.get() + 1);
            let mut current = scope.correlation.borrow_mut();
            // Most events have no correlation and are not emitted under one: nothing to swap, nothing to restore.
            let changes = correlation.is_some() || current.is_some();
            let outer_correlation = changes.then(|| std::mem::replace(&mut *current, correlation.cloned()));
            Self { outer_cause: scope.cause.replace(cause), outer_correlation }
        })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        SCOPE.with(|scope| {
            scope.depth.set(scope.depth.get().saturating_sub(1));
            scope.cause.set(self.outer_cause);
            if let Some(outer) = self.outer_correlation.take() {
                *scope.correlation.borrow_mut() = outer;
            }
        });
    }
}
