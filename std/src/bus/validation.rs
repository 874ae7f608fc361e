//! Asking what validation would say.

use crate::bus::Bus;
use crate::error::ValidationReport;
use crate::payload::Payload;

impl Bus {
    /// What the rules for [names](crate::Builder::names) and those of [`Builder::validate`](crate::Builder::validate) find
    /// about an event of this topic and payload, if it were emitted here and now with nothing more to say. Nothing is
    /// emitted, counted or kept.
    ///
    /// # Cost
    ///
    /// That of the rules, whose JSON is made for this call.
    pub fn validate<P: Payload>(&self, topic: &str, payload: &P) -> ValidationReport {
        self.engine().try_out(topic, payload)
    }
}
