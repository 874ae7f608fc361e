//! Records of what happened: the audit log and the lines it is made of.

pub(crate) mod audit;
pub(crate) mod dead_letter_log;
pub(crate) mod line;
