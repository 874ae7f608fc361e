//! What an event inherits from the one whose handler emits it: correlation and cause; and what a thread is doing for
//! which bus.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use nervebus_core::LaneId;

thread_local! {
    static SCOPE: Scope = const {
        Scope {
            handling: RefCell::new(Vec::new()),
            worker_of: Cell::new(None),
            correlation: RefCell::new(None),
        }
    };
}

/// What this thread is doing.
struct Scope {
    /// The buses and events whose handlers lie on this thread's stack, innermost last. Grows once for each thread.
    handling: RefCell<Vec<(u64, u64)>>,
    /// The bus and lane whose worker this thread is.
    worker_of: Cell<Option<(u64, LaneId)>>,
    correlation: RefCell<Option<Arc<str>>>,
}

/// What an emit on this thread inherits.
#[derive(Debug, Default, Clone)]
pub(crate) struct Inherited {
    /// Sequence number of the event being handled; 0 for none, or for one of another bus.
    pub(crate) cause: u64,
    pub(crate) correlation: Option<Arc<str>>,
}

/// What an emit on this bus inherits on this thread, right now. A correlation goes from bus to bus; a sequence number
/// means nothing on another.
#[inline]
pub(crate) fn inherited(bus: u64) -> Inherited {
    SCOPE.with(|scope| {
        let innermost = scope.handling.borrow().last().copied();
        let cause = innermost.map_or(0, |(of, seq)| if of == bus { seq } else { 0 });
        Inherited { cause, correlation: scope.correlation.borrow().clone() }
    })
}

/// How many dispatches are nested on this thread.
#[inline]
pub(crate) fn depth() -> usize {
    SCOPE.with(|scope| scope.handling.borrow().len())
}

/// Whether this thread is inside a handler of this bus, or is one of its workers.
pub(crate) fn is_inside(bus: u64) -> bool {
    lane_of(bus).is_some() || SCOPE.with(|scope| scope.handling.borrow().iter().any(|(of, _)| *of == bus))
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
    outer_correlation: Option<Option<Arc<str>>>,
}

impl Handling {
    #[inline]
    pub(crate) fn enter(bus: u64, seq: u64, correlation: Option<&Arc<str>>) -> Self {
        SCOPE.with(|scope| {
            scope.handling.borrow_mut().push((bus, seq));
            let mut current = scope.correlation.borrow_mut();
            // Most events have no correlation and are not emitted under one: nothing to swap, nothing to restore.
            let changes = correlation.is_some() || current.is_some();
            let outer_correlation = changes.then(|| std::mem::replace(&mut *current, correlation.cloned()));
            Self { outer_correlation }
        })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        SCOPE.with(|scope| {
            scope.handling.borrow_mut().pop();
            if let Some(outer) = self.outer_correlation.take() {
                *scope.correlation.borrow_mut() = outer;
            }
        });
    }
}
