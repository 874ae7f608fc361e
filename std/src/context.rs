//! What an event inherits from the one whose handler emits it, or from the scope that it is emitted in: cause,
//! correlation, trace, baggage, deadline; and what a thread is doing for which bus.

pub(crate) mod baggage;
#[cfg(feature = "tower")]
pub(crate) mod correlation_layer;
#[cfg(feature = "http")]
mod http;
mod inherited;
pub(crate) mod scope;
pub(crate) mod trace;
mod trace_state;

pub(crate) mod cause;

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::LaneId;

use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::platform::clock::Clock;

/// What stands above the nesting in [`Handled::level`] when the thread hands something down.
const HANDS_DOWN: u32 = 1 << 31;

thread_local! {
    /// What has no destructor costs nothing to reach, and is there as long as the thread is.
    static THREAD: Thread = const { Thread::new() };

    /// What is gone when a thread emits while it ends, from the `Drop` of another thread-local value.
    static STACK: Stack = const { Stack { frames: RefCell::new(Vec::new()), lineage: RefCell::new(None) } };
}

/// What this thread is, and what it is doing.
struct Thread {
    /// The bus and lane whose worker this thread is.
    worker_of: Cell<Option<(u64, LaneId)>>,
    /// The event whose handler runs.
    handling: Cell<Handled>,
    /// How many scopes of the user's were entered on it.
    scopes: Cell<u64>,
}

/// The event that a thread is handling; all zero for none.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handled {
    pub(crate) bus: u64,
    pub(crate) seq: u64,
    /// How many handlers' emits lie between this event and the first of its chain.
    pub(crate) hops: u32,
    /// How many dispatches are nested on this thread, and whether it hands something down: in one number, so that an
    /// emit has to look at one only.
    level: u32,
}

/// What is rarely there.
struct Stack {
    /// What was here before, outermost first.
    frames: RefCell<Vec<Frame>>,
    /// What is handed down, as long as [`HANDS_DOWN`] says so.
    lineage: RefCell<Option<Arc<Lineage>>>,
}

/// What a handler's call or a scope of the user's has put out of sight.
struct Frame {
    /// The scope; 0 for a handler's call.
    scope: u64,
    /// The bus whose handler ran, for a handler's call.
    bus: u64,
    lineage: Option<Arc<Lineage>>,
}

/// What goes from an event to all that its handlers emit, from bus to bus.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lineage {
    pub(crate) correlation: Option<Arc<str>>,
    /// When all of it should be done.
    pub(crate) deadline: Option<Deadline>,
    pub(crate) trace: Option<Arc<TraceContext>>,
    pub(crate) baggage: Option<Arc<Baggage>>,
}

/// A moment by which something should be done, with the clock that it is on: it means nothing on another.
#[derive(Debug, Clone)]
pub(crate) struct Deadline {
    pub(crate) at: u64,
    /// The bus whose clock it is; 0 for a clock of nobody's.
    pub(crate) bus: u64,
    pub(crate) clock: Clock,
}

impl Lineage {
    /// What a record says of it.
    pub(crate) fn recorded(
        correlation: Option<String>,
        trace: Option<TraceContext>,
        baggage: Option<Baggage>,
    ) -> Option<Arc<Self>> {
        let (trace, baggage) = (trace.map(Arc::new), baggage.map(Arc::new));
        Self { correlation: correlation.map(Into::into), deadline: None, trace, baggage }.into_shared()
    }

    /// What is handed down but the deadline: for what must be said even after it.
    pub(crate) fn without_deadline(self: &Arc<Self>) -> Option<Arc<Self>> {
        match &self.deadline {
            None => Some(Arc::clone(self)),
            Some(_) => Self { deadline: None, ..Self::clone(self) }.into_shared(),
        }
    }

    /// Where several can have it, unless there is nothing to have.
    pub(crate) fn into_shared(self) -> Option<Arc<Self>> {
        let nothing =
            self.correlation.is_none() && self.deadline.is_none() && self.trace.is_none() && self.baggage.is_none();
        (!nothing).then(|| Arc::new(self))
    }
}

impl Deadline {
    /// The same moment on the clock of this bus: on another clock than its own, it is as far away as there.
    pub(crate) fn on(&self, bus: u64, clock: &Clock) -> u64 {
        if bus == self.bus { self.at } else { clock.after(self.left()) }
    }

    pub(crate) fn left(&self) -> Duration {
        self.clock.until(self.at)
    }
}

impl Handled {
    /// Whether what is emitted now has nothing to inherit.
    #[inline]
    pub(crate) fn is_nothing(&self) -> bool {
        self.level == 0
    }

    /// How many dispatches are nested on this thread.
    pub(crate) fn depth(&self) -> u32 {
        self.level & !HANDS_DOWN
    }

    fn hands_down(&self) -> bool {
        self.level & HANDS_DOWN != 0
    }
}

impl Thread {
    const fn new() -> Self {
        let nothing = Handled { bus: 0, seq: 0, hops: 0, level: 0 };
        Self { worker_of: Cell::new(None), handling: Cell::new(nothing), scopes: Cell::new(0) }
    }

    fn set_hands_down(&self, hands_down: bool) {
        let handled = self.handling.get();
        let level = handled.depth() | if hands_down { HANDS_DOWN } else { 0 };
        self.handling.set(Handled { level, ..handled });
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
    if handled().hands_down() { inherited() } else { None }
}

#[cold]
fn inherited() -> Option<Arc<Lineage>> {
    STACK.try_with(|stack| stack.lineage.borrow().clone()).unwrap_or_default()
}

/// Whether this thread is inside a handler of this bus, or is one of its workers.
pub(crate) fn is_inside(bus: u64) -> bool {
    let further_down = |stack: &Stack| stack.frames.borrow().iter().any(|frame| frame.bus == bus);
    lane_of(bus).is_some() || handled().bus == bus || STACK.try_with(further_down).unwrap_or(false)
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
            thread.handling.set(Handled { bus, seq, hops, level: outer.level + 1 });
            // Most events hand nothing down, and are not emitted below one that does, or below one of another bus.
            let rare = lineage.is_some() || outer.hands_down() || (outer.bus != bus && outer.bus != 0);
            Self { outer, rare: rare && begin(outer, lineage) }
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
fn begin(outer: Handled, lineage: Option<&Arc<Lineage>>) -> bool {
    let begun = push(0, outer, lineage.cloned());
    THREAD.with(|thread| thread.set_hands_down(begun && lineage.is_some()));
    begun
}

/// Takes a frame on, with what is handed down from now on; `outer` is what the thread was doing.
fn push(scope: u64, outer: Handled, lineage: Option<Arc<Lineage>>) -> bool {
    let pushed = STACK.try_with(|stack| {
        // What a scope has left there that outlived its handler's call is not handed down.
        let above = stack.lineage.replace(lineage).filter(|_| outer.hands_down());
        let bus = if scope == 0 { outer.bus } else { 0 };
        stack.frames.borrow_mut().push(Frame { scope, bus, lineage: above });
    });
    pushed.is_ok()
}

/// Takes back the innermost handler's call, and with it the scopes that were entered in it and outlive it.
#[cold]
fn end() {
    let above = STACK.try_with(|stack| {
        let mut frames = stack.frames.borrow_mut();
        let mut above = None;
        while let Some(frame) = frames.pop() {
            above = frame.lineage;
            if frame.scope == 0 {
                break;
            }
        }
        let some = above.is_some();
        stack.lineage.replace(above);
        some
    });
    THREAD.with(|thread| thread.set_hands_down(above.unwrap_or(false)));
}

/// While this value lives, emits on this thread inherit what it was made with. It is for the thread that made it.
#[derive(Debug)]
struct Inheriting {
    /// 0 when the thread ends and could not take it on.
    scope: u64,
    here: PhantomData<*const ()>,
}

impl Inheriting {
    fn enter(lineage: Option<Arc<Lineage>>) -> Self {
        let (scope, outer) = THREAD.with(|thread| {
            thread.scopes.set(thread.scopes.get() + 1);
            (thread.scopes.get(), thread.handling.get())
        });
        let some = lineage.is_some();
        let pushed = push(scope, outer, lineage);
        THREAD.with(|thread| thread.set_hands_down(pushed && some));
        Self { scope: if pushed { scope } else { 0 }, here: PhantomData }
    }
}

impl Drop for Inheriting {
    /// Takes this scope back, and no other: one that was entered later and is still there stays as it is, and what this one
    /// put out of sight comes back when that one goes.
    fn drop(&mut self) {
        let above = STACK.try_with(|stack| {
            let mut frames = stack.frames.borrow_mut();
            let at = frames.iter().rposition(|frame| self.scope != 0 && frame.scope == self.scope)?;
            let above = frames.remove(at).lineage;
            match frames.get_mut(at) {
                Some(later) => {
                    later.lineage = above;
                    None
                }
                None => {
                    let some = above.is_some();
                    stack.lineage.replace(above);
                    Some(some)
                }
            }
        });
        if let Ok(Some(hands_down)) = above {
            THREAD.with(|thread| thread.set_hands_down(hands_down));
        }
    }
}
