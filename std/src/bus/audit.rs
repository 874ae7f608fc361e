//! A bus's own audit log, read back.

use crate::bus::Bus;
use crate::records::reader::{AuditReader, ReadError};

impl Bus {
    /// A reader of the bus's own audit log, if it has one. It sees what was written; what still waits to be written
    /// ([`AuditStats::lag`](crate::AuditStats::lag)) is not in the file yet.
    ///
    /// # Errors
    ///
    /// As [`AuditReader::open`].
    pub fn audit_reader(&self) -> Result<Option<AuditReader>, ReadError> {
        self.audit_path().map(AuditReader::open).transpose()
    }
}
