//! Records of what happened: the audit log and the lines it is made of.

pub(crate) mod audit;
#[cfg(test)]
mod audit_faults;
pub(crate) mod audit_writer;
pub(crate) mod dead_letter_log;
#[cfg(feature = "durable")]
pub(crate) mod durable;
pub(crate) mod line;
pub(crate) mod replay;
