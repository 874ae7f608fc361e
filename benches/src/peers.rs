//! The peers, one file each.

pub mod arc_swap;
#[cfg(feature = "bevy")]
pub mod bevy;
pub mod crossbeam;
pub mod disruptor;
pub mod hand_written;
#[cfg(feature = "qubit")]
pub mod qubit;
pub mod sync_channel;
pub mod tokio_broadcast;

use std::thread::{self, JoinHandle, Thread};

/// Consumer threads, joined when dropped.
#[derive(Debug, Default)]
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    pub(crate) fn spawn(&mut self, work: impl FnOnce() + Send + 'static) -> Thread {
        let handle = thread::spawn(work);
        let thread = handle.thread().clone();
        self.0.push(handle);
        thread
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // A consumer that panicked has said so already.
            let _ = thread.join();
        }
    }
}
