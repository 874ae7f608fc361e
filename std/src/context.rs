//! What an event inherits from the one whose handler emits it: cause, correlation, deadline; and what a thread is doing
//! for which bus.

pub(crate) mod cause;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::LaneId;

use crate::platform::clock::Clock;

thread_local! {
    /// What has no destructor costs nothing to reach, and is there as long as the thread is.
    static THREAD: Thread = const { Thread::new() };

    /// What is gone when a thread emits while it ends, from the `Drop` of another thread-local value.
    static SCOPE: Scope = const { Scope { outer: RefCell::new(Vec::new()), lineage: RefCell::new(None) } };
}

/// What this thread is, and what it is doing.
struct Thread {
    /// The bus and lane whose worker this thread is.
    worker_of: Cell<Option<(u64, LaneId)>>,
    /// The event whose handler runs.
    handling: Cell<Handled>,
    /// Whether that event hands something down.
    hands_down: Cell<bool>,
}

/// The event that a thread is handling; all zero for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handled {
    pub(crate) bus: u64,
    pub(crate) seq: u64,
    /// How many handlers' emits lie between this event and the first of its chain.
    pub(crate) hops: u32,
    /// How many dispatches are nested on this thread.
    pub(crate) depth: u32,
}

/// What is rarely there.
struct Scope {
    /// What was here before, outermost first: the bus whose handler ran, and what its event handed down.
    outer: RefCell<Vec<(u64, Option<Arc<Lineage>>)>>,
    lineage: RefCell<Option<Arc<Lineage>>>,
}

/// What goes from an event to all that its handlers emit, from bus to bus.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lineage {
    pub(crate) correlation: Option<Arc<str>>,
    /// When all of it should be done.
    pub(crate) deadline: Option<Deadline>,
}

/// A moment by which something should be done, with the clock that it is on: it means nothing on another.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    pub(crate) at: u64,
    /// The bus whose clock it is.
    pub(crate) bus: u64,
    pub(crate) clock: Clock,
}

impl Lineage {
    /// What is handed down but the deadline: for what must be said even after it.
    pub(crate) fn without_deadline(self: &Arc<Self>) -> Option<Arc<Self>> {
        match (&self.deadline, &self.correlation) {
            (None, _) => Some(Arc::clone(self)),
            (Some(_), None) => None,
            (Some(_), Some(_)) => Some(Arc::new(Self { deadline: None, ..Self::clone(self) })),
        }
    }
}

impl Deadline {
    /// The same moment on the clock of this bus: on another clock than its own, it is as far away as there.
    pub(crate) fn on(&self, bus: u64, clock: &Clock) -> u64 {
        if bus == self.bus { self.at } else { clock.after(self.left()) }
    }

    fn left(&self) -> Duration {
        self.clock.until(self.at)
    }
}

impl Thread {
    const fn new() -> Self {
        let nothing = Handled { bus: 0, seq: 0, hops: 0, depth: 0 };
        Self { worker_of: Cell::new(None), handling: Cell::new(nothing), hands_down: Cell::new(false) }
    }
}

/// The event that this thread is handling.
#[inline]
pub(crate) fn handled() -> Handled {
    THREAD.with(|thread| thread.handling.get())
}

/// What an emit on this thread inherits, besides its cause.
#[inline]
pub(crate) fn lineage() -> Option<Arc<Lineage>> {
    if THREAD.with(|thread| thread.hands_down.get()) { inherited() } else { None }
}

#[cold]
fn inherited() -> Option<Arc<Lineage>> {
    SCOPE.try_with(|scope| scope.lineage.borrow().clone()).unwrap_or_default()
}

/// Whether this thread is inside a handler of this bus, or is one of its workers.
pub(crate) fn is_inside(bus: u64) -> bool {
    let further_down = |scope: &Scope| scope.outer.borrow().iter().any(|(outer, _)| *outer == bus);
    lane_of(bus).is_some() || handled().bus == bus || SCOPE.try_with(further_down).unwrap_or(false)
}

/// The lane of this bus that this thread works for, if any.
#[inline]
pub(crate) fn lane_of(bus: u64) -> Option<LaneId> {
    THREAD.with(|thread| thread.worker_of.get()).and_then(|(of, lane)| (of == bus).then_some(lane))
}

/// Whether this thread is a worker of any bus.
#[inline]
pub(crate) fn is_worker() -> bool {
    THREAD.with(|thread| thread.worker_of.get()).is_some()
}

/// Marks this thread as a lane's worker for the rest of its life.
pub(crate) fn become_worker(bus: u64, lane: LaneId) {
    THREAD.with(|thread| thread.worker_of.set(Some((bus, lane))));
}

/// While this value lives, this thread is a lane's worker.
#[derive(Debug)]
pub(crate) struct Working {
    before: Option<(u64, LaneId)>,
}

impl Working {
    pub(crate) fn enter(bus: u64, lane: LaneId) -> Self {
        Self { before: THREAD.with(|thread| thread.worker_of.replace(Some((bus, lane)))) }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        THREAD.with(|thread| thread.worker_of.set(self.before));
    }
}

/// While this value lives, emits on this thread are caused by the event it was made for.
#[derive(Debug)]
pub(crate) struct Handling {
    outer: Handled,
    /// Whether there is more to take back than that.
    rare: bool,
}

impl Handling {
    #[inline]
    pub(crate) fn enter(bus: u64, seq: u64, hops: u32, lineage: Option<&Arc<Lineage>>) -> Self {
        THREAD.with(|thread| {
            let outer = thread.handling.get();
            thread.handling.set(Handled { bus, seq, hops, depth: outer.depth + 1 });
            // Most events hand nothing down, and are not emitted below one that does, or below one of another bus.
            let rare = lineage.is_some() || thread.hands_down.get() || (outer.bus != bus && outer.bus != 0);
            Self { outer, rare: rare && begin(outer.bus, lineage) }
        })
    }
}

impl Drop for Handling {
    #[inline]
    fn drop(&mut self) {
        THREAD.with(|thread| thread.handling.set(self.outer));
        if self.rare {
            end();
        }
    }
}

/// Notes what is above: the bus whose handler runs, and what its event hands down. `false` when a thread that ends can
/// note nothing.
#[cold]
fn begin(outer_bus: u64, lineage: Option<&Arc<Lineage>>) -> bool {
    let begun = SCOPE.try_with(|scope| {
        let above = scope.lineage.replace(lineage.cloned());
        scope.outer.borrow_mut().push((outer_bus, above));
    });
    THREAD.with(|thread| thread.hands_down.set(lineage.is_some() && begun.is_ok()));
    begun.is_ok()
}

#[cold]
fn end() {
    let above = SCOPE.try_with(|scope| {
        let (_, above) = scope.outer.borrow_mut().pop().unwrap_or_default();
        let some = above.is_some();
        scope.lineage.replace(above);
        some
    });
    THREAD.with(|thread| thread.hands_down.set(above.unwrap_or(false)));
}
