//! Records of what happened: the audit log, the lines it is made of, and who reads it.

pub(crate) mod audit;
pub(crate) mod dead_letter_log;
#[cfg(feature = "durable")]
pub(crate) mod durable;
pub(crate) mod line;
pub(crate) mod reader;
pub(crate) mod replay;
#[cfg(feature = "blake3")]
pub(crate) mod verify;
