//! Records of what happened: the audit log, the lines it is made of, and who reads it.

pub(crate) mod audit;
pub(crate) mod dead_letter_log;
pub(crate) mod line;
pub(crate) mod reader;
#[cfg(feature = "blake3")]
pub(crate) mod verify;
