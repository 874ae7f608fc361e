//! Holding an event that is emitted against its schema.

use super::{How, Refused};
use crate::delivery::directory::TopicState;
use crate::delivery::engine::{Engine, SCHEMA_MISMATCH};
use crate::delivery::envelope::Envelope;
use crate::error::SchemaMismatch;
use crate::schema::Verdict;

impl Engine {
    /// Refuses a payload that does not fit its schema, or tells of it. What was admitted before, and waited for room, was
    /// looked at; what is replayed was emitted before; and the bus's own events are exempt.
    pub(super) fn hold_against_schema(
        &self,
        topic: &TopicState,
        envelope: &Envelope,
        how: How<'_>,
    ) -> Result<(), Refused> {
        let Some(schemas) = self.schemas.as_ref().filter(|schemas| schemas.look_at_emit()) else { return Ok(()) };
        let extra = how.extra;
        if how.is_system() || how.is_replayed() || extra.is_some_and(|extra| extra.admitted) {
            return Ok(());
        }
        let said = extra.and_then(|extra| extra.meta.as_deref()).and_then(|meta| meta.schema_version);
        let content = envelope.body.content();
        match schemas.at_emit(&topic.name, said.or_else(|| content.version()), content) {
            Verdict::Fits => Ok(()),
            Verdict::Refused(mismatch) => Err(Refused::SchemaMismatch(self.screened_mismatch(mismatch))),
            Verdict::Told(mismatch) => {
                self.tell_of_mismatch(&self.screened_mismatch(mismatch));
                Ok(())
            }
        }
    }

    /// Has all that is quoted of the payload, of which the names of fields are a part, pass the redactor that errors pass.
    #[cold]
    fn screened_mismatch(&self, mut mismatch: Box<SchemaMismatch>) -> Box<SchemaMismatch> {
        mismatch.path = self.screen.owned(std::mem::take(&mut mismatch.path));
        mismatch.rule = self.screen.owned(std::mem::take(&mut mismatch.rule));
        mismatch.value = mismatch.value.take().map(|value| self.screen.owned(value));
        mismatch
    }

    #[cold]
    fn tell_of_mismatch(&self, mismatch: &SchemaMismatch) {
        // Without the value, which may be what no log should hold.
        let record = serde_json::json!({
            "event_type": mismatch.topic,
            "version": mismatch.version,
            "path": mismatch.path,
            "rule": mismatch.rule,
        });
        self.emit_system(SCHEMA_MISMATCH, record, None);
    }
}
