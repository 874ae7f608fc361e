//! Emitting what was recorded.

use std::time::Duration;

use crate::bus::Bus;
use crate::emission::Emission;
use crate::emission::said::Said;
use crate::error::EmitError;
use crate::receipt::Receipt;
use crate::records::line::Record;

impl Bus {
    /// Emits an event that was read from a log or from another system, with the identity, time and headers it came with. What
    /// it says of a time to live counts from its timestamp, so it may have expired already.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit), with the event's payload.
    pub fn emit_record(&self, record: Record) -> Result<Receipt, EmitError<serde_json::Value>> {
        let ttl = record.headers.as_ref().and_then(|headers| headers.ttl);
        let age = record.timestamp.map_or(0.0, |happened| self.engine().clock.wall_seconds() - happened);
        let mut restored = record.restored();
        let mut said = Said::recorded(&mut restored);
        // Of an event of the future, nothing has passed.
        said.lasts = ttl.map(|ttl| ttl.saturating_sub(Duration::try_from_secs_f64(age).unwrap_or_default()));
        Emission::saying(self, &restored.topic, restored.payload, said).emit()
    }
}
