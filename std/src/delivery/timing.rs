//! Which handler calls are timed: reading the clock twice costs more than calling a small handler.

/// Which handler calls are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// None; `p50` and `p99` stay empty.
    Off,
    /// One event in this many, by sequence number, rounded up to a power of two; 0 is [`Off`](Self::Off).
    Sampled(u32),
    /// Every one.
    Every,
}

impl Default for Timing {
    fn default() -> Self {
        Self::Sampled(64)
    }
}

/// A [`Timing`] as a mask, so that asking costs no division.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    mask: u64,
}

impl From<Timing> for Sampling {
    fn from(timing: Timing) -> Self {
        let mask = match timing {
            // Sequence numbers begin at 1, and none has all bits.
            Timing::Off | Timing::Sampled(0) => u64::MAX,
            Timing::Sampled(one_in) => u64::from(one_in).next_power_of_two() - 1,
            Timing::Every => 0,
        };
        Self { mask }
    }
}

impl Sampling {
    #[inline]
    pub(crate) const fn applies_to(self, seq: u64) -> bool {
        seq & self.mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_rounded_up_to_a_power_of_two() {
        let timed = |timing: Timing| (1..=1_024).filter(|seq| Sampling::from(timing).applies_to(*seq)).count();
        assert_eq!(timed(Timing::Every), 1_024);
        assert_eq!(timed(Timing::Sampled(1)), 1_024);
        assert_eq!(timed(Timing::Sampled(64)), 16);
        assert_eq!(timed(Timing::Sampled(100)), 8);
        assert_eq!((timed(Timing::Off), timed(Timing::Sampled(0))), (0, 0));
    }
}
