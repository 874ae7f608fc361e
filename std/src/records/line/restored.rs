//! A record as an event: the one place that says what of a record becomes what of an event.

use std::sync::Arc;

use serde_json::Value;

use super::Record;
use crate::context::Lineage;
use crate::delivery::class::Class;
use crate::delivery::envelope::{Head, Kept, Meta};
use crate::delivery::key;
use crate::payload::Body;

/// A record, taken apart into what an event is made of.
#[derive(Debug)]
pub(crate) struct Restored {
    pub(crate) topic: String,
    pub(crate) payload: Value,
    pub(crate) meta: Meta,
    /// What the event hands down, if it hands down anything.
    pub(crate) lineage: Option<Arc<Lineage>>,
    pub(crate) class: Class,
    /// The hash of its partition key; 0 for none.
    pub(crate) key: u64,
}

impl Record {
    pub(crate) fn restored(self) -> Restored {
        let Self { event_type, payload, timestamp, event_id, source, correlation_id, .. } = self;
        let Self { schema_version, idempotency_key, class, headers, trace_context, baggage, .. } = self;
        let partition_key = headers.as_ref().and_then(|headers| headers.partition_key.as_deref());
        Restored {
            topic: event_type,
            payload,
            key: partition_key.map_or(0, key::hash),
            meta: Meta {
                event_id: event_id.map(Into::into),
                source: source.map(Into::into),
                idempotency_key: idempotency_key.map(Into::into),
                timestamp,
                schema_version,
                reply: None,
                headers,
            },
            lineage: Lineage::recorded(correlation_id, trace_context, baggage),
            class,
        }
    }
}

impl Restored {
    /// The event of this number, as one that is kept. A bus of 0 is none.
    pub(crate) fn kept(self, seq: u64, bus: u64) -> Kept {
        let mut head = Head::new(seq);
        head.key = self.key;
        head.set_class(self.class);
        head.lineage = self.lineage;
        head.meta = Some(Arc::new(self.meta));
        Kept::new(head, Body::new(self.payload), &self.topic, bus)
    }
}
