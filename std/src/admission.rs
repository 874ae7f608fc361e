//! What is refused before it costs anything.

pub(crate) mod dedup;
pub(crate) mod name;
pub(crate) mod rate;
pub(crate) mod storm;
pub(crate) mod validation;
