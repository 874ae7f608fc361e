//! When what is written is brought to stable storage.

use std::time::Duration;

/// When the audit log asks the system to bring what it has written to stable storage.
///
/// What is written survives the end of the process, however it ends. Only what is synced survives the failure of the
/// machine. A sync takes from a fraction of a millisecond to many of them, on the log's own thread.
///
/// A sync that fails is never tried again on the same file, for the system may have forgotten what it could not write
/// and then say yes. The file is given up instead: it is renamed as it is, like one that is rotated away, and another is
/// begun. [`AuditStats::unsynced`](crate::AuditStats::unsynced) counts the lines that this concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// The system decides; only when the bus shuts down the log is synced. The default.
    #[default]
    Never,
    /// When something was written, and this time has passed on the bus's clock since the last sync. Range: 1 ms to
    /// an hour.
    Every(Duration),
    /// After every batch, before the next one is written: while little happens, after every event.
    EachBatch,
}
