//! What a test's handlers leave behind: a value that says when it is dropped, and a panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a future does that panics.
pub(crate) fn lose_my_head(why: &str) {
    panic!("{why}");
}

/// Says when it is dropped.
pub(crate) struct Drops(pub(crate) Arc<AtomicBool>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
