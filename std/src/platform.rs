//! The doors to the outside: time, files, threads, cores and randomness. Nothing else in this crate calls the system for them,
//! so that each can be replaced by a simulated one.

pub(crate) mod affinity;
pub(crate) mod clock;
pub(crate) mod log_file;
#[cfg(feature = "durable")]
pub(crate) mod log_store;
pub(crate) mod manual_clock;
pub(crate) mod place;
pub(crate) mod pool;
pub(crate) mod random;
pub(crate) mod runtime;
pub(crate) mod signal;
pub(crate) mod slot;
pub(crate) mod storage;
pub(crate) mod task;
pub(crate) mod threads;
