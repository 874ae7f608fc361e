//! The schemas that a bus holds its events against.

use std::sync::Arc;

use super::Builder;
use crate::error::BuildError;
use crate::schema::gate::{Gate, SchemaCheck};
use crate::schema::registry::SchemaRegistry;

impl Builder {
    /// Holds events against their JSON Schemas, and brings those of old versions to the versions of typed handlers. Default:
    /// neither. What a schema is of, [`SchemaRegistry`] says; when it is asked, [`SchemaCheck`].
    ///
    /// A payload is held against its schema before rates, storms and duplicates are looked at, with its personal data in it;
    /// an error shows none of that. What is read back from an audit log lacks it, and may not fit.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) fails if an upcaster is missing between two others ([`BuildError::Schemas`]).
    ///
    /// # Cost
    ///
    /// Checked at emit, or sampled, every emit takes the general way, and looks its topic up. A payload that has a schema is
    /// walked through, in some microseconds; one that is no JSON value is made into one first. Checked before handlers, an
    /// event is walked through for each of them.
    #[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
    pub fn schemas(mut self, registry: SchemaRegistry, check: SchemaCheck) -> Self {
        self.schemas = Some(Arc::new(Gate::new(registry, check)));
        self
    }

    /// Whether the schemas lack something.
    pub(super) fn check_schemas(&self) -> Result<(), BuildError> {
        let complete = self.schemas.as_ref().map_or(Ok(()), |schemas| schemas.complete());
        complete.map_err(|error| BuildError::Schemas { rule: error.to_string() })
    }
}
