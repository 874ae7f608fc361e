//! What an event inherits from the one whose handler emits it: correlation and cause; and what a thread is doing for
//! which bus.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use nervebus_core::LaneId;

thread_local! {
    /// What has no destructor, and so is there as long as the thread is.
    static STATE: State = const { State { worker_of: Cell::new(None), depth: Cell::new(0) } };

    /// What is gone when a thread emits while it ends, from the `Drop` of another thread-local value.
    static SCOPE: Scope = const { Scope { handling: RefCell::new(Vec::new()), correlation: RefCell::new(None) } };
}

/// What this thread is, and how deep it is in handlers.
struct State {
    /// The bus and lane whose worker this thread is.
    worker_of: Cell<Option<(u64, LaneId)>>,
    /// How many dispatches are nested.
    depth: Cell<u32>,
}

/// What this thread is doing.
struct Scope {
    /// The buses and events whose handlers lie on this thread's stack, innermost last. Grows once for each thread.
    handling: RefCell<Vec<(u64, u64)>>,
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
    SCOPE
        .try_with(|scope| {
            let innermost = scope.handling.borrow().last().copied();
            let cause = innermost.map_or(0, |(of, seq)| if of == bus { seq } else { 0 });
            Inherited { cause, correlation: scope.correlation.borrow().clone() }
        })
        .unwrap_or_default()
}

/// How many dispatches are nested on this thread.
#[inline]
pub(crate) fn depth() -> u32 {
    STATE.with(|state| state.depth.get())
}

/// Whether this thread is inside a handler of this bus, or is one of its workers.
pub(crate) fn is_inside(bus: u64) -> bool {
    let handling = |scope: &Scope| scope.handling.borrow().iter().any(|(of, _)| *of == bus);
    lane_of(bus).is_some() || SCOPE.try_with(handling).unwrap_or(false)
}

/// The lane of this bus that this thread works for, if any.
#[inline]
pub(crate) fn lane_of(bus: u64) -> Option<LaneId> {
    STATE.with(|state| state.worker_of.get()).and_then(|(of, lane)| (of == bus).then_some(lane))
}

/// Whether this thread is a worker of any bus.
#[inline]
pub(crate) fn is_worker() -> bool {
    STATE.with(|state| state.worker_of.get()).is_some()
}

/// Marks this thread as a lane's worker for the rest of its life.
pub(crate) fn become_worker(bus: u64, lane: LaneId) {
    STATE.with(|state| state.worker_of.set(Some((bus, lane))));
}

/// While this value lives, emits on this thread are caused by the event it was made for.
#[derive(Debug)]
pub(crate) struct Handling {
    /// Whether there is something to take back.
    noted: bool,
    outer_correlation: Option<Option<Arc<str>>>,
}

impl Handling {
    #[inline]
    pub(crate) fn enter(bus: u64, seq: u64, correlation: Option<&Arc<str>>) -> Self {
        STATE.with(|state| state.depth.set(state.depth.get() + 1));
        SCOPE
            .try_with(|scope| {
                scope.handling.borrow_mut().push((bus, seq));
                let mut current = scope.correlation.borrow_mut();
                // Most events have no correlation and are not emitted under one: nothing to swap, nothing to restore.
                let changes = correlation.is_some() || current.is_some();
                let outer_correlation = changes.then(|| std::mem::replace(&mut *current, correlation.cloned()));
                Self { noted: true, outer_correlation }
            })
            .unwrap_or_else(|_| Self { noted: false, outer_correlation: None })
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        STATE.with(|state| state.depth.set(state.depth.get().saturating_sub(1)));
        if !self.noted {
            return;
        }
        // A thread that ends between the two has nothing left to restore.
        let _ = SCOPE.try_with(|scope| {
            scope.handling.borrow_mut().pop();
            if let Some(outer) = self.outer_correlation.take() {
                *scope.correlation.borrow_mut() = outer;
            }
        });
    }
}
