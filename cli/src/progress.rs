//! How far long work has come, on standard error if that is a terminal.

use std::io::{self, IsTerminal, Write};

/// So many bytes go by between two signs of life.
const STEP: u64 = 32 << 20;

/// Signs of life.
pub(crate) struct Progress {
    shown: u64,
    wanted: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        // Where the results go to the same terminal line by line, they are sign enough.
        Self { shown: 0, wanted: io::stderr().is_terminal() }
    }

    /// So many bytes were read by now.
    pub(crate) fn at(&mut self, bytes: u64) {
        if self.wanted && bytes >= self.shown + STEP {
            self.shown = bytes;
            let _ = write!(io::stderr(), "\r{} MB read", bytes / 1_000_000);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown > 0 {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
