//! Randomness enough to tell buses apart and to spread retries; not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock;

/// 64 bits that differ from process to process and from call to call, taken from the standard library's hash keys,
/// which the system seeds.
pub(crate) fn bits() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(clock::wall_nanos());
    hasher.finish()
}

/// A number that tells a bus from all others and is higher than that of every bus that was built before: 42 bits of
/// milliseconds since the Unix epoch, then 22 that chance has set. Two of one process are never alike.
pub(crate) fn bus() -> u64 {
    const BITS: u32 = 22;
    static LAST: AtomicU64 = AtomicU64::new(0);
    let millis = clock::wall_nanos() / 1_000_000;
    let wanted = (millis << BITS) | (bits() >> (u64::BITS - BITS));
    // Relaxed: the number is all there is.
    let before = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(wanted.max(last.wrapping_add(1))));
    wanted.max(before.map_or(0, |last| last.wrapping_add(1)))
}

/// Sixteen bits that differ from process to process, for what is not told apart well enough by its moment.
pub(crate) fn process() -> u16 {
    static BITS: OnceLock<u16> = OnceLock::new();
    *BITS.get_or_init(|| (bits() >> 48) as u16)
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
