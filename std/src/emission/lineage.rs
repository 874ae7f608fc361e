//! What an emitter says of what an event hands down to all that its handlers emit.

use std::sync::Arc;
use std::time::Duration;

use super::Emission;
use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::context::{self, Deadline, Lineage};
use crate::delivery::engine::Engine;

/// What an emitter says of trace and baggage; absent for most.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) trace: Option<Arc<TraceContext>>,
    pub(super) baggage: Option<Arc<Baggage>>,
}

impl<P> Emission<'_, P> {
    /// The distributed trace that it belongs to. Default: that of the event whose handler emits this one, or of the
    /// [scope](crate::Scope).
    pub fn trace_context(mut self, trace: TraceContext) -> Self {
        self.said.carried.get_or_insert_default().trace = Some(Arc::new(trace));
        self
    }

    /// What its request carries along. Default: that of the event whose handler emits this one, or of the
    /// [scope](crate::Scope).
    pub fn baggage(mut self, baggage: Baggage) -> Self {
        self.said.carried.get_or_insert_default().baggage = Some(Arc::new(baggage));
        self
    }
}

/// What an event hands down whose emitter says some of it; `None` if he says nothing, for then it is what it inherits.
pub(super) fn own(
    engine: &Engine,
    correlation: Option<Arc<str>>,
    deadline: Option<Duration>,
    carried: Option<Box<Carried>>,
) -> Option<Arc<Lineage>> {
    if correlation.is_none() && deadline.is_none() && carried.is_none() {
        return None;
    }
    let mut lineage: Lineage = context::lineage().as_deref().cloned().unwrap_or_default();
    lineage.correlation = correlation.or(lineage.correlation);
    if let Some(carried) = carried {
        lineage.trace = carried.trace.or(lineage.trace);
        lineage.baggage = carried.baggage.or(lineage.baggage);
    }
    if let Some(left) = deadline {
        let own = engine.clock.after(left);
        let at = lineage.deadline.map_or(own, |inherited| inherited.on(engine.bus, &engine.clock).min(own));
        lineage.deadline = Some(Deadline { at, bus: engine.bus, clock: engine.clock.clone() });
    }
    Some(Arc::new(lineage))
}
