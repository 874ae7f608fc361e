//! What can be seen of a running bus.

pub(crate) mod export;
pub(crate) mod metrics;
pub(crate) mod prometheus;
pub(crate) mod stats;
pub(crate) mod topology;
