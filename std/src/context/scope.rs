//! Scopes: what is emitted in one inherits from it, as what a handler emits inherits from its event.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::baggage::Baggage;
use super::trace::TraceContext;
use super::{Deadline, Inheriting, Lineage, lineage};
use crate::event::Event;
use crate::platform::clock::Clock;
use crate::platform::random;

/// While this value lives, everything that its thread emits has its correlation id, unless it says its own.
///
/// Scopes nest: the innermost counts, and when it is dropped, the one around it is back. Handlers that run on this thread
/// meanwhile inherit from their events and from nothing else. A scope that is dropped before one that was entered in it
/// does no harm: that one stays as it is until it is dropped itself, and then what was before both is back. One that is
/// entered in a handler ends with the handler's call at the latest.
///
/// It is for one thread, and cannot be sent to another. **In async code**, use [`run`](Self::run): a scope that is held
/// over an `.await` would be the other tasks' of its thread meanwhile. A future that emits, such as
/// [`Bus::emit_async`](crate::Bus::emit_async)'s, does so where it is polled, and not where it was made.
///
/// [`Scope`] has more than the correlation.
///
/// # Cost
///
/// Entering allocates once or twice; leaving allocates nothing. An emit in a scope counts a reference; one outside of every
/// scope costs what it would without them.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, CorrelationScope, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("user.*").inline().handle(|event| assert_eq!(event.correlation_id(), Some("req-1")))?;
/// {
///     let _scope = CorrelationScope::enter("req-1");
///     assert!(bus.emit_and_wait("user.login", json!({"username": "alice"}))?.all_handled());
///     assert_eq!(CorrelationScope::current().as_deref(), Some("req-1"));
/// }
/// assert_eq!(CorrelationScope::current(), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct CorrelationScope {
    _inheriting: Inheriting,
}

impl CorrelationScope {
    /// Enters a scope with this correlation id on this thread, within whatever scope it is in.
    pub fn enter(id: impl Into<Arc<str>>) -> Self {
        Self { _inheriting: Scope::new().with_correlation_id(id).begin() }
    }

    /// What this thread's next emit would have for its correlation id: that of the innermost scope or handled event.
    pub fn current() -> Option<Arc<str>> {
        lineage()?.correlation.clone()
    }

    /// A future that does what this one does, in a scope with this correlation id; see [`Scope::run`].
    pub fn run<F: Future>(id: impl Into<Arc<str>>, future: F) -> impl Future<Output = F::Output> {
        Scope::new().with_correlation_id(id).run(future)
    }
}

/// What everything inherits that is emitted in it: correlation id, trace, baggage and deadline.
///
/// It is entered by a thread ([`enter`](Self::enter)) or goes with a future ([`run`](Self::run)). What it does not say comes
/// from the scope or the handled event that is around it by then, unless it is [detached](Self::detached).
///
/// # Examples
///
/// A thread or a task that works for an event has the event's scope:
///
/// ```
/// use nervebus::{Bus, Scope, json};
/// use std::time::Duration;
///
/// let bus = Bus::builder().build()?;
/// let weak = bus.downgrade();
/// bus.on("order.placed").handle(move |event| {
///     let (scope, bus) = (Scope::of(event), weak.upgrade());
///     std::thread::spawn(move || {
///         let _scope = scope.enter();
///         bus.map(|bus| bus.emit("order.checked", json!({})))
///     });
/// })?;
/// let checked = bus.wait_for_async("order.checked", |_| true, Duration::from_secs(5));
/// bus.event("order.placed", json!({"id": 7})).correlation_id("req-1").emit()?;
/// assert_eq!(checked.wait()?.correlation_id(), Some("req-1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Scope {
    /// Whether what it does not say comes from what is around it.
    inherits: bool,
    lineage: Lineage,
}

/// While this value lives, its thread is in a [`Scope`]; all that is said of [`CorrelationScope`] holds for it.
#[derive(Debug)]
#[must_use = "the scope ends when this is dropped"]
pub struct EnteredScope {
    _inheriting: Inheriting,
}

impl Scope {
    /// A scope that says nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { inherits: true, lineage: Lineage::default() }
    }

    /// A scope that says nothing yet, and takes nothing from what is around it: where something begins that has no part in
    /// what this thread was doing.
    #[must_use]
    pub fn detached() -> Self {
        Self { inherits: false, ..Self::new() }
    }

    /// What this thread's next emit would inherit, to be taken to another thread or task. Detached.
    #[must_use]
    pub fn current() -> Self {
        Self { inherits: false, lineage: lineage().as_deref().cloned().unwrap_or_default() }
    }

    /// What the emits of this event's handlers inherit, to be taken to another thread or task. Detached.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        Self { inherits: false, lineage: event.head.lineage.as_deref().cloned().unwrap_or_default() }
    }

    /// What ties together all events of one request. Default: what is around it.
    #[must_use]
    pub fn with_correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.lineage.correlation = Some(id.into());
        self
    }

    /// As [`with_correlation_id`](Self::with_correlation_id), with an id that no other request has: 32 hexadecimal digits,
    /// of which later ones are higher.
    #[must_use]
    pub fn with_new_correlation_id(self) -> Self {
        self.with_correlation_id(format!("{:016x}{:016x}", random::bus(), random::bits()))
    }

    /// The distributed trace that it is part of. Default: what is around it.
    #[must_use]
    pub fn with_trace_context(mut self, trace: TraceContext) -> Self {
        self.lineage.trace = Some(Arc::new(trace));
        self
    }

    /// What is carried along. Default: what is around it.
    #[must_use]
    pub fn with_baggage(mut self, baggage: Baggage) -> Self {
        self.lineage.baggage = Some(Arc::new(baggage));
        self
    }

    /// By when, from now, all that is emitted should be done, and all that comes of it; see
    /// [`Emission::deadline`](crate::Emission::deadline). The earlier one counts, this or the one around it. Default: what is
    /// around it.
    ///
    /// It runs by the machine's clock. To a bus with another one, what is left of it counts from the emit.
    #[must_use]
    pub fn with_deadline(mut self, from_now: Duration) -> Self {
        let clock = Clock::machine();
        self.lineage.deadline = Some(Deadline { at: clock.after(from_now), bus: 0, clock });
        self
    }

    /// The correlation id that it says.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.lineage.correlation.as_deref()
    }

    /// The trace that it says.
    #[must_use]
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.lineage.trace.as_deref()
    }

    /// The baggage that it says.
    #[must_use]
    pub fn baggage(&self) -> Option<&Baggage> {
        self.lineage.baggage.as_deref()
    }

    /// What is left until the deadline that it says, or zero.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.lineage.deadline.as_ref().map(Deadline::left)
    }

    /// Enters it on this thread.
    pub fn enter(self) -> EnteredScope {
        EnteredScope { _inheriting: self.begin() }
    }

    fn begin(self) -> Inheriting {
        Inheriting::enter(self.settled())
    }

    /// A future that does what this one does, in this scope: each poll of it enters the scope and leaves it again, on
    /// whatever thread and executor. What is around the scope is what is around this call, not what is around the polls.
    ///
    /// What the future's values emit when they are dropped with it, because nobody polls it any more, is emitted in the scope
    /// of who drops it.
    ///
    /// # Cost
    ///
    /// A count of references and a push onto a stack for each poll.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Scope, json};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let bus = Bus::builder().build()?;
    /// bus.on("user.login").inline().handle(|event| assert_eq!(event.correlation_id(), Some("req-1")))?;
    /// let request = async {
    ///     bus.emit_and_wait_async("user.login", json!({"username": "alice"})).await
    /// };
    /// assert!(Scope::new().with_correlation_id("req-1").run(request).await?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        let lineage = self.settled();
        async move {
            let mut future = pin!(future);
            poll_fn(move |context| {
                let _inheriting = Inheriting::enter(lineage.clone());
                future.as_mut().poll(context)
            })
            .await
        }
    }

    /// What is inherited in it, with what is around it now.
    pub(crate) fn settled(self) -> Option<Arc<Lineage>> {
        let Self { inherits, lineage: own } = self;
        let around = if inherits { lineage() } else { None };
        let Some(around) = around else { return own.into_shared() };
        let deadline = match (own.deadline, around.deadline.clone()) {
            (Some(own), Some(around)) => Some(if around.left() < own.left() { around } else { own }),
            (own, around) => own.or(around),
        };
        let settled = Lineage {
            correlation: own.correlation.or_else(|| around.correlation.clone()),
            deadline,
            trace: own.trace.or_else(|| around.trace.clone()),
            baggage: own.baggage.or_else(|| around.baggage.clone()),
        };
        settled.into_shared()
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}
