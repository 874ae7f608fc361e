//! What is refused before it costs anything.

pub(crate) mod name;
