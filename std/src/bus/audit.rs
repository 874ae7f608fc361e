//! A bus's own audit log: where it is, cleared, and read back.

use std::path::Path;

use crate::bus::Bus;
use crate::records::audit::account::AuditError;
use crate::records::reader::{AuditReader, ReadError};

impl Bus {
    /// The audit log's file, if there is one.
    pub fn audit_path(&self) -> Option<&Path> {
        self.owner.audit.as_ref().map(|audit| &*audit.path)
    }

    /// Removes all that the audit log holds, rotated files included, once what was emitted so far is written; what comes
    /// later stays. It is done by the log's writer. A chain begins anew.
    ///
    /// # Errors
    ///
    /// [`AuditError`].
    pub fn clear_audit_log(&self) -> Result<(), AuditError> {
        let audit = self.owner.audit.as_ref().ok_or(AuditError::NoLog)?;
        audit.account.clear(self.engine())
    }

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
