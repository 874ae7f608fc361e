//! Emitting what was recorded.

use crate::bus::Bus;
use crate::error::EmitError;
use crate::receipt::Receipt;
use crate::records::line::Record;

impl Bus {
    /// Emits an event that was read from a log or from another system, with the identity and time it came with.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), with the event's payload.
    pub fn emit_record(&self, record: Record) -> Result<Receipt, EmitError<serde_json::Value>> {
        let Record {
            event_type,
            payload,
            timestamp,
            event_id,
            source,
            correlation_id,
            schema_version,
            trace_context,
            baggage,
        } = record;
        let mut emission = self.event(&event_type, payload);
        if let Some(event_id) = event_id {
            emission = emission.event_id(event_id);
        }
        if let Some(source) = source {
            emission = emission.source(source);
        }
        if let Some(correlation_id) = correlation_id {
            emission = emission.correlation_id(correlation_id);
        }
        if let Some(timestamp) = timestamp {
            emission = emission.timestamp(timestamp);
        }
        if let Some(version) = schema_version {
            emission = emission.schema_version(version);
        }
        if let Some(trace) = trace_context {
            emission = emission.trace_context(trace);
        }
        if let Some(baggage) = baggage {
            emission = emission.baggage(baggage);
        }
        emission.emit()
    }
}
