//! Which handler calls are timed: reading the clock twice costs more than calling a small handler.

/// Which handler calls are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// None; `p50` and `p99` stay empty.
    Off,
    /// One event in this many, by sequence number; 0 is [`Off`](Self::Off).
    Sampled(u32),
    /// Every one.
    Every,
}

impl Timing {
    #[inline]
    pub(crate) const fn applies_to(self, seq: u64) -> bool {
        match self {
            Self::Off | Self::Sampled(0) => false,
            Self::Sampled(one_in) => seq.is_multiple_of(one_in as u64),
            Self::Every => true,
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::Sampled(64)
    }
}
