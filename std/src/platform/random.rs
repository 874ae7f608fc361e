//! Randomness enough to tell buses apart; not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::clock;

/// 64 bits that differ from process to process and from call to call, taken from the standard library's hash keys,
/// which the system seeds.
pub(crate) fn bits() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(clock::wall_nanos());
    hasher.finish()
}
