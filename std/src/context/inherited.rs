//! What an event says of its trace and its baggage.

use super::baggage::Baggage;
use super::trace::TraceContext;
use crate::event::{Event, OwnedEvent};

impl<'a> Event<'a> {
    /// The distributed trace that it belongs to; handlers' own emits inherit it.
    pub fn trace_context(&self) -> Option<&'a TraceContext> {
        self.head.lineage.as_deref()?.trace.as_deref()
    }

    /// What its request carries along; handlers' own emits inherit it.
    pub fn baggage(&self) -> Option<&'a Baggage> {
        self.head.lineage.as_deref()?.baggage.as_deref()
    }
}

impl OwnedEvent {
    /// See [`Event::trace_context`].
    pub fn trace_context(&self) -> Option<&TraceContext> {
        self.as_event().trace_context()
    }

    /// See [`Event::baggage`].
    pub fn baggage(&self) -> Option<&Baggage> {
        self.as_event().baggage()
    }
}
