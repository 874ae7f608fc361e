//! What a breaker decides on, in one word: its state, a count, and its generation.

use super::State;

/// The largest number that fits in as the count.
pub(super) const MAX_COUNT: u32 = (1 << STATE_SHIFT) - 1;

/// The count of a half-open breaker whose probe is on its way.
pub(super) const PROBING: u32 = 1;
/// The count of one whose probe may be taken.
pub(super) const FREE: u32 = 0;

const STATE_SHIFT: u32 = 30;
const GENERATION_SHIFT: u32 = 32;

/// The generation in the upper half; below it two bits of state and thirty of count.
///
/// The generation goes up at every change of state, and when a probe is replaced, so that an outcome can be told from one
/// of another time. It wraps.
#[derive(Clone, Copy)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// Closed, without failures, of generation 0.
    pub(super) const FIRST: Self = Self(0);

    const fn new(generation: u32, state: State, count: u32) -> Self {
        let state = match state {
            State::Closed => 0,
            State::Open => 1,
            State::HalfOpen => 2,
        };
        Self((generation as u64) << GENERATION_SHIFT | state << STATE_SHIFT | count as u64)
    }

    #[inline(always)]
    pub(super) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    #[inline(always)]
    pub(super) const fn state(self) -> State {
        match (self.0 >> STATE_SHIFT) & 0b11 {
            0 => State::Closed,
            1 => State::Open,
            _ => State::HalfOpen,
        }
    }

    /// How many failures there were in a row, or whether the probe is on its way.
    #[inline(always)]
    pub(super) const fn count(self) -> u32 {
        self.0 as u32 & MAX_COUNT
    }

    /// The same with another count.
    #[inline]
    pub(super) const fn with_count(self, count: u32) -> Self {
        Self::new(self.generation(), self.state(), count)
    }

    /// The first word of the next generation.
    #[inline]
    pub(super) const fn next(self, state: State, count: u32) -> Self {
        Self::new(self.generation().wrapping_add(1), state, count)
    }
}
