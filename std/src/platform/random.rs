//! Randomness enough to tell buses apart and to spread retries; not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;

/// 64 bits that differ from process to process and from call to call, taken from the standard library's hash keys,
/// which the system seeds.
pub(crate) fn bits() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(clock::wall_nanos());
    hasher.finish()
}

/// Even numbers that the same seed gives again (SplitMix64, Steele, Lea and Flood, 2014). One atomic addition each.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub(crate) fn roll(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        // Relaxed: the number is all there is.
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
