//! Cores: keeping a thread on one of them.

use std::sync::atomic::{AtomicU8, Ordering};

/// One more than the highest number a core may have: what the system's mask of cores has room for.
pub(crate) const CORES: usize = 1024;

/// Whether the workers of a lane are on the cores that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Pinning(AtomicU8);

const PINNED: u8 = 1;
const REFUSED: u8 = 2;

impl Pinning {
    /// Keeps the calling thread on a core, if one is asked for, and notes whether the system did it.
    pub(crate) fn pin_to(&self, core: Option<usize>) {
        let Some(core) = core else { return };
        let state = if pin(core) { PINNED } else { REFUSED };
        // Relaxed: a note for statistics, which guards nothing. One refusal among several workers stays.
        self.0.fetch_max(state, Ordering::Relaxed);
    }

    /// `None` when nothing was asked for, or nothing has been tried yet.
    pub(crate) fn outcome(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            PINNED => Some(true),
            REFUSED => Some(false),
            _ => None,
        }
    }
}

/// Whether the system has put the calling thread on this core.
#[cfg(feature = "affinity")]
fn pin(core: usize) -> bool {
    // Where the mask is one machine word, a core beyond it cannot be named.
    const NAMEABLE: usize = if cfg!(windows) { usize::BITS as usize } else { CORES };
    core < NAMEABLE && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

#[cfg(not(feature = "affinity"))]
fn pin(_: usize) -> bool {
    false
}
